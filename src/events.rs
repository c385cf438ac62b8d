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
    plan::{Plan, Transition, front::Front},
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
            Some(Transition::Fronted { by: Front::Edges }) => ("EdgeServes", "clients reach the edge".to_owned()),
            Some(Transition::Fronted { by: Front::Engines }) => {
                ("EdgeLeft", "clients reach the proxies themselves".to_owned())
            }
            Some(Transition::ScaledDown { revisions }) => {
                ("RevisionScaledDown", format!("{} goes to 0 pods", revisions.join(", ")))
            }
        };
        self.tell(fleet, EventType::Normal, reason, "Rollout", note);
    }

    /// Tells every change of Ready, Stalled and what is told of only while it is wrong.
    pub fn conditions(&self, fleet: &GoProxy, next: &GoProxyStatus) {
        let before = fleet.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        for condition in next.conditions.iter().filter(|one| is_told(&one.type_)) {
            let old = before.iter().find(|one| one.type_ == condition.type_);
            if old.map(|one| (&one.status, &one.reason)) == Some((&condition.status, &condition.reason)) {
                continue;
            }
            let good = (condition.type_ != "Stalled") == (condition.status == "True");
            // A new fleet is not ready and not stalled, and what is looked at first is well: that is nobody's news.
            let expected = if is_beside(&condition.type_) { good } else { (condition.type_ == "Stalled") == good };
            if old.is_none() && expected {
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

/// Whether changes of a condition are told.
fn is_told(type_: &str) -> bool {
    is_beside(type_) || matches!(type_, "Ready" | "Stalled" | "EdgeReady")
}

/// Whether a condition is about what fails beside a fleet that serves.
fn is_beside(type_: &str) -> bool {
    matches!(type_, "VolumeSized" | "VolumeHasRoom" | "LockReady" | "LoginsWork" | "StorageExclusive")
}

fn event(type_: EventType, reason: &str, action: &str, mut note: String) -> Event {
    let end = (0..=NOTE_MOST.min(note.len())).rev().find(|at| note.is_char_boundary(*at)).unwrap_or_default();
    note.truncate(end);
    Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::{
        api::status::RegionStatus,
        plan::{fixture, plan},
    };

    const NORMAL: bool = true;
    const WARNING: bool = false;

    /// What is told of a change, as `kubectl describe` shows it: whether it is nothing to worry about, its reason, its text.
    fn told(tell: impl FnOnce(&Events)) -> Vec<(bool, String, String)> {
        let (sender, mut receiver) = mpsc::channel(WAITING_MOST);
        let events = Events { sender, metrics: Arc::default() };
        tell(&events);
        drop(events);
        std::iter::from_fn(|| receiver.try_recv().ok())
            .map(|(event, fleet)| {
                assert_eq!((fleet.name.as_deref(), fleet.namespace.as_deref()), (Some("corp"), Some("build")));
                (matches!(event.type_, EventType::Normal), event.reason, event.note.unwrap_or_default())
            })
            .collect()
    }

    fn fleet(status: Option<GoProxyStatus>) -> GoProxy {
        let metadata = json!({ "name": "corp", "namespace": "build", "uid": "u" });
        let object =
            json!({ "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "metadata": metadata, "spec": {} });
        GoProxy { status, ..serde_json::from_value(object).unwrap() }
    }

    #[test]
    fn a_step_of_a_rollout_is_told_and_nothing_else_is() {
        let (old, new) = ("corp-1".to_owned(), "corp-2".to_owned());
        let started = || Some(Transition::Started { revision: new.clone() });
        let cases = [
            ("no step", None, Some(&old), None),
            ("the first revision", started(), Some(&new), None),
            ("a next revision", started(), Some(&old), Some(("RevisionStarted", "revision corp-2 starts"))),
            ("while nothing serves", started(), None, Some(("RevisionStarted", "revision corp-2 starts"))),
            (
                "clients move",
                Some(Transition::Moved { from: old.clone(), to: new.clone() }),
                Some(&new),
                Some(("ClientsMoved", "clients move from corp-1 to corp-2")),
            ),
            (
                "clients come to the edge",
                Some(Transition::Fronted { by: Front::Edges }),
                Some(&old),
                Some(("EdgeServes", "clients reach the edge")),
            ),
            (
                "clients leave the edge",
                Some(Transition::Fronted { by: Front::Engines }),
                Some(&old),
                Some(("EdgeLeft", "clients reach the proxies themselves")),
            ),
            (
                "old ones end",
                Some(Transition::ScaledDown { revisions: vec!["corp-0".to_owned(), old.clone()] }),
                Some(&new),
                Some(("RevisionScaledDown", "corp-0, corp-1 goes to 0 pods")),
            ),
        ];
        for (case, transition, stable, expected) in cases {
            let object = serde_json::to_value(fleet(None)).unwrap();
            let mut planned = plan(&fixture::observed(object));
            planned.transition = transition;
            planned.report.stable = stable.cloned();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(reason, note): (&str, &str)| (NORMAL, reason.to_owned(), note.to_owned()))
                .collect();
            assert_eq!(told(|events| events.transition(&fleet(None), &planned)), expected, "{case}");
        }
    }

    /// A status with one condition, if any: type, status, reason.
    fn status(condition: Option<(&str, &str, &str)>, message: &str) -> GoProxyStatus {
        let conditions = condition.map(|(type_, status, reason)| Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
            observed_generation: Some(1),
        });
        GoProxyStatus { conditions: conditions.into_iter().collect(), ..GoProxyStatus::default() }
    }

    #[test]
    fn a_condition_is_told_when_it_changes() {
        let ready = ("Ready", "True", "Available");
        let starting = ("Ready", "False", "Progressing");
        let crash = ("Ready", "False", "CrashLoop");
        let stalled = ("Stalled", "True", "ImageUnavailable");
        let going = ("Stalled", "False", "Available");
        let resizing = ("VolumeSized", "False", "Resizing");
        let stuck = ("VolumeSized", "False", "VolumeCannotGrow");
        let unlocked = ("LockReady", "False", "LockUnavailable");
        let edge_starts = ("EdgeReady", "False", "Progressing");
        let edge_serves = ("EdgeReady", "True", "Available");
        let edge_lost = ("EdgeReady", "False", "EdgeUnavailable");
        let cases = [
            (None, Some(edge_starts), None),
            (Some(edge_starts), Some(edge_serves), Some(NORMAL)),
            (Some(edge_serves), Some(edge_lost), Some(WARNING)),
            // What did not change is no news.
            (Some(ready), Some(ready), None),
            (Some(crash), Some(crash), None),
            (Some(stalled), Some(stalled), None),
            (Some(stuck), Some(stuck), None),
            // Neither is that a new fleet does not serve yet.
            (None, Some(starting), None),
            (None, Some(going), None),
            // What is wrong with it from the start is.
            (None, Some(stalled), Some(WARNING)),
            (None, Some(stuck), Some(WARNING)),
            (None, Some(unlocked), Some(WARNING)),
            (None, Some(resizing), Some(NORMAL)),
            (None, Some(ready), Some(NORMAL)),
            // From good to bad, from bad to good, and from one trouble to another.
            (Some(ready), Some(crash), Some(WARNING)),
            (Some(crash), Some(ready), Some(NORMAL)),
            (Some(starting), Some(crash), Some(WARNING)),
            (Some(going), Some(stalled), Some(WARNING)),
            (Some(stalled), Some(going), Some(NORMAL)),
            (Some(resizing), Some(stuck), Some(WARNING)),
            // Not served, because somebody wants it so.
            (Some(ready), Some(("Ready", "False", "Stopped")), Some(NORMAL)),
            (Some(ready), Some(("Ready", "False", "Suspended")), Some(NORMAL)),
            // What goes without saying is not told when it goes, and other types are not told at all.
            (Some(stuck), None, None),
            (None, Some(("Reconciling", "True", "Progressing")), None),
            (None, Some(("EngineUpdateAvailable", "True", "NewerEngine")), None),
        ];
        for (before, after, expected) in cases {
            let (old, new) = (status(before, "as it was"), status(after, "as it is"));
            let reason = after.map_or("", |(_, _, reason)| reason);
            let expected: Vec<_> =
                expected.into_iter().map(|kind| (kind, reason.to_owned(), "as it is".to_owned())).collect();
            assert_eq!(
                told(|events| events.conditions(&fleet(Some(old)), &new)),
                expected,
                "from {before:?} to {after:?}"
            );
        }
    }

    #[test]
    fn another_text_or_time_of_a_condition_is_no_event() {
        let crash = Some(("Ready", "False", "CrashLoop"));
        let before = fleet(Some(status(crash, "restarted 3 times")));
        assert!(told(|events| events.conditions(&before, &status(crash, "restarted 4 times"))).is_empty());
        assert_eq!(told(|events| events.conditions(&fleet(None), &status(crash, "why"))).len(), 0);
    }

    #[test]
    fn a_volume_left_behind_is_told_once() {
        let left = |name: Option<&str>| GoProxyStatus {
            regions: vec![RegionStatus { unused_volume: name.map(str::to_owned), ..RegionStatus::default() }],
            ..GoProxyStatus::default()
        };
        let cases = [
            (None, None, false),
            (None, Some("corp-data"), true),
            (Some("corp-data"), Some("corp-data"), false),
            (Some("corp-data"), None, false),
            (Some("corp-data"), Some("corp-other"), true),
        ];
        for (before, after, news) in cases {
            let said = told(|events| events.volume(&fleet(Some(left(before))), &left(after)));
            assert_eq!(said.len(), usize::from(news), "from {before:?} to {after:?}");
            for (normal, reason, note) in said {
                assert!(normal && reason == "VolumeKept" && note.contains(after.unwrap()), "{note}");
            }
        }
    }

    #[test]
    fn a_long_note_is_cut_where_a_character_ends() {
        let note = event(EventType::Normal, "Any", "Any", format!("{}äö", "a".repeat(NOTE_MOST - 1))).note.unwrap();
        assert_eq!(note.len(), NOTE_MOST - 1);
        assert_eq!(event(EventType::Normal, "Any", "Any", "short".to_owned()).note.as_deref(), Some("short"));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_dropped() {
        let (sender, mut receiver) = mpsc::channel(1);
        let metrics = Arc::<Metrics>::default();
        let events = Events { sender, metrics: metrics.clone() };
        for text in ["first", "second", "third"] {
            events.warn(&ObjectReference::default(), "Undecodable", text.to_owned());
        }
        assert_eq!(receiver.try_recv().unwrap().0.note.as_deref(), Some("first"));
        assert!(receiver.try_recv().is_err());
        assert!(metrics.encode().contains("lost_events_total 2"), "{}", metrics.encode());
    }

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
