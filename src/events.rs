//! Events: what happened to a fleet, for `kubectl describe`. They are told, not relied on: a queue of fixed length
//! keeps them from ever slowing a reconcile, and what does not fit is counted and dropped.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;

use crate::{
    api::{go_proxy::GoProxy, status::GoProxyStatus},
    client::describe,
    leader::Leadership,
    metrics::{Metrics, WriteResult, Written},
    plan::{Plan, Transition},
};

/// Enough for one event of each of a thousand fleets that change at once.
const WAITING_MOST: usize = 1024;
/// The API refuses notes of 1 kB or more.
const NOTE_MOST: usize = 1000;

/// Where events are handed in.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<(Event, ObjectReference)>,
    metrics: Arc<Metrics>,
}

impl Events {
    /// A queue, and the work that empties it.
    pub fn new(
        client: Client,
        leadership: Leadership,
        identity: &str,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, mut receiver) = mpsc::channel(WAITING_MOST);
        let reporter = Reporter { controller: "goproxy-operator".to_owned(), instance: Some(identity.to_owned()) };
        // One recorder: repeats are only counted up by the one that sent the first.
        let recorder = Recorder::new(client, reporter);
        let told = metrics.clone();
        let work = async move {
            while let Some((event, fleet)) = receiver.recv().await {
                // An event is a write too: one that waited here while others took over is not ours to tell any more.
                if !leadership.still_ours() {
                    told.lost_event();
                    continue;
                }
                let result = match recorder.publish(&event, &fleet).await {
                    Ok(()) => WriteResult::Created,
                    Err(error) => {
                        tracing::info!(error = describe(&error), "event not sent");
                        WriteResult::Failed
                    }
                };
                told.wrote(Written::Event, result);
            }
        };
        (Self { sender, metrics }, work)
    }

    /// Tells the step that a plan took.
    pub fn transition(&self, fleet: &GoProxy, plan: &Plan) {
        let (reason, note) = match &plan.transition {
            None => return,
            // The first one of a fleet is nobody's news: that it serves, or why not, is told anyway.
            Some(Transition::Started { revision }) if plan.report.stable.as_ref() == Some(revision) => return,
            Some(Transition::Started { revision }) => ("RevisionStarted", format!("revision {revision} starts")),
            Some(Transition::Moved { from, to }) => ("ClientsMoved", format!("clients move from {from} to {to}")),
            Some(Transition::ScaledDown { revisions }) => {
                ("RevisionScaledDown", format!("{} goes to 0 pods", revisions.join(", ")))
            }
        };
        self.tell(fleet, EventType::Normal, reason, "Rollout", note);
    }

    /// Tells every change of Ready, Stalled and what is told of only while it is wrong.
    pub fn conditions(&self, fleet: &GoProxy, next: &GoProxyStatus) {
        let before = fleet.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        for condition in next
            .conditions
            .iter()
            .filter(|one| matches!(one.type_.as_str(), "Ready" | "Stalled" | "VolumeSized" | "LockReady"))
        {
            let old = before.iter().find(|one| one.type_ == condition.type_);
            if old.map(|one| (&one.status, &one.reason)) == Some((&condition.status, &condition.reason)) {
                continue;
            }
            let good = (condition.type_ != "Stalled") == (condition.status == "True");
            // A new fleet is not ready and not stalled: that is nobody's news.
            if old.is_none()
                && !matches!(condition.type_.as_str(), "VolumeSized" | "LockReady")
                && (condition.type_ == "Stalled") == good
            {
                continue;
            }
            let meant = matches!(
                condition.reason.as_str(),
                "Progressing" | "Stopped" | "Suspended" | "Resizing" | "FileSystemResizePending"
            );
            let type_ = if good || meant { EventType::Normal } else { EventType::Warning };
            let action = if condition.type_ == "Ready" { "Serve" } else { "Reconcile" };
            self.tell(fleet, type_, &condition.reason, action, condition.message.clone());
        }
    }

    /// Tells of a volume that a fleet left behind.
    pub fn volume(&self, fleet: &GoProxy, next: &GoProxyStatus) {
        let left = |status: &GoProxyStatus| status.regions.iter().find_map(|region| region.unused_volume.clone());
        let before = fleet.status.as_ref().and_then(left);
        if let Some(name) = left(next).filter(|name| before.as_ref() != Some(name)) {
            let note = format!("the new storage starts empty; PersistentVolumeClaim {name} is kept with what it holds");
            self.tell(fleet, EventType::Normal, "VolumeKept", "Reconcile", note);
        }
    }

    /// Tells something that a person must know.
    pub fn warn(&self, fleet: &ObjectReference, reason: &str, note: String) {
        self.send(event(EventType::Warning, reason, "Reconcile", note), fleet.clone());
    }

    fn tell(&self, fleet: &GoProxy, type_: EventType, reason: &str, action: &str, note: String) {
        self.send(event(type_, reason, action, note), fleet.object_ref(&()));
    }

    fn send(&self, event: Event, fleet: ObjectReference) {
        if self.sender.try_send((event, fleet)).is_err() {
            self.metrics.lost_event();
        }
    }
}

fn event(type_: EventType, reason: &str, action: &str, mut note: String) -> Event {
    let end = (0..=NOTE_MOST.min(note.len())).rev().find(|at| note.is_char_boundary(*at)).unwrap_or_default();
    note.truncate(end);
    Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None }
}

#[cfg(test)]
mod tests {
    use kube::client::Body;

    use super::*;

    #[tokio::test]
    async fn a_replica_that_does_not_lead_tells_nothing() {
        let (mock, mut requests) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let metrics = Arc::<Metrics>::default();
        let (events, telling) = Events::new(Client::new(mock, "ns"), Leadership::none(), "operator-0", metrics.clone());
        events.warn(&ObjectReference::default(), "Undecodable", "what waited in the queue".to_owned());
        drop(events);
        telling.await;
        assert!(requests.next_request().await.is_none(), "nothing was asked of the API server");
        assert!(metrics.encode().contains("lost_events_total 1"), "{}", metrics.encode());
    }
}
