//! The pipeline, in one place: observe, plan, apply, status. Whoever asks for it, it looks at the whole fleet and
//! assumes nothing about why.

pub mod queue;
pub mod run;
mod slots;
mod states;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};
use serde_json::json;
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    api::{
        condition::Reason,
        go_proxy::GoProxy,
        status::{GoProxyStatus, RegionState, WaitingReason},
    },
    apply::{Applied, Applier, Fleet, request::Setback},
    cache::{FleetKey, Source, decode::SeenFleet, store::Snapshot},
    clock::Clock,
    events::Events,
    metrics::{Metrics, Outcome, WriteResult, Written},
    observe::{Circumstances, ca_bundle_found, login_found, observe},
    plan::{ContractChange, Observed, Plan, plan, report::Verdict, validate::Settings},
    status::status,
};
use queue::{Next, Queue};
use slots::Slots;
use states::States;

/// A fleet that waits for other fleets' changes to end looks again after this long: nothing tells it.
const SLOT_PERIOD: Duration = Duration::from_secs(30);

/// A fleet that waits for somebody else's pod to leave its claim looks again after this long: no watch of ours tells of that pod.
const STRANGER_PERIOD: Duration = Duration::from_secs(10);

/// What reconciling needs. Shared by all workers.
pub struct Context {
    /// What is known, and how it is changed.
    pub applier: Applier,
    /// The fleets to look at.
    pub queue: Arc<Queue>,
    /// Where events go.
    pub events: Events,
    /// Settings of the installation.
    pub settings: Arc<Settings>,
    /// The time of day.
    pub clock: Clock,
    slots: Slots,
    states: States,
    /// Fleets whose last status was not taken: they may be gone, and the watch does not tell yet.
    doubted: Mutex<HashSet<FleetKey>>,
}

impl Context {
    /// With nothing known about any fleet yet.
    pub fn new(applier: Applier, queue: Arc<Queue>, events: Events, settings: Arc<Settings>, clock: Clock) -> Self {
        let (slots, states) = (Slots::new(applier.metrics.clone()), States::new(applier.metrics.clone()));
        Self { applier, queue, events, settings, clock, slots, states, doubted: Mutex::default() }
    }

    fn metrics(&self) -> &Metrics {
        &self.applier.metrics
    }
}

/// Works on fleets until the queue is closed. Any number of these may run.
pub async fn work(context: Arc<Context>) {
    while let Some(key) = context.queue.next().await {
        let span = tracing::info_span!("reconcile", namespace = %key.namespace, fleet = %key.name);
        let began = Instant::now();
        let (outcome, next) = context.reconcile(&key).instrument(span).await;
        context.metrics().reconciled(outcome, began.elapsed());
        context.queue.done(&key, next);
    }
}

impl Context {
    async fn reconcile(&self, key: &FleetKey) -> (Outcome, Next) {
        let Some(snapshot) = self.applier.store.snapshot(key) else { return self.forget(key) };
        let fleet = match &snapshot.fleet {
            Ok(fleet) => fleet.clone(),
            Err(error) => return self.undecodable(key, &snapshot, error),
        };
        let around = self.circumstances(&fleet).await; // at most one request
        let mut observed = observe(fleet.clone(), snapshot, around); // in memory
        observed.login_found = login_found(&self.applier.writer, &observed).await; // one request, or none
        let (observed, planned) = self.plan(key, observed); // pure
        let applied = self.applier.apply(self.whose(key, &fleet), &planned.targets).await; // requests
        let planned = self.learn(key, observed, planned, &applied); // pure
        let next = status(&fleet, &planned.report, (self.clock)()); // pure
        let told = match &applied.setback {
            Some(setback) => Err(setback.clone()),
            // The next look follows at once and knows more.
            None if applied.news => Ok(false),
            None => self.write_status(key, &fleet, &next).await, // one request, or none
        };
        if told == Ok(true) {
            self.events.conditions(&fleet, &next);
            self.events.volume(&fleet, &next);
        }
        self.states.set_impaired(key, &next);
        self.doubt(key, matches!(told, Err(Setback::NotFound(_) | Setback::Conflict(_))));
        self.close(key, &fleet, &planned, &applied, told)
    }

    /// Plans, and plans again if the fleet gets a place among those that change for another operator version.
    fn plan(&self, key: &FleetKey, observed: Observed) -> (Observed, Plan) {
        let planned = plan(&observed);
        let sound = planned.report.state == RegionState::Healthy && planned.report.trouble.is_none();
        let may = self.slots.ask(key, planned.contract_change, sound, || self.applier.store.fleets());
        if !may || planned.contract_change != Some(ContractChange::Due) {
            return (observed, planned);
        }
        let observed = Observed { contract_slot: true, ..observed };
        let planned = plan(&observed);
        (observed, planned)
    }

    /// What a plan needs to know beside the objects.
    async fn circumstances(&self, fleet: &GoProxy) -> Circumstances {
        Circumstances {
            now: (self.clock)(),
            ca_bundle_found: ca_bundle_found(&self.applier.writer.client, fleet).await,
            nonce: format!("{:08x}", crate::backoff::draw()),
            settings: self.settings.clone(),
        }
    }

    /// What could not be written belongs in the status at once, so the plan is made again with it. Nothing of this
    /// second plan is applied.
    fn learn(&self, key: &FleetKey, observed: Observed, planned: Plan, applied: &Applied) -> Plan {
        if applied.setback.is_some() || !self.applier.store.set_obstacles(key, applied.obstacles.clone()) {
            return planned;
        }
        let second = plan(&Observed { obstacles: applied.obstacles.clone(), ..observed });
        Plan { transition: planned.transition, ..second }
    }

    /// Writes the status if it says something new. True if it did. The version makes sure that it is the status of the
    /// fleet that was looked at.
    async fn write_status(&self, key: &FleetKey, fleet: &GoProxy, next: &GoProxyStatus) -> Result<bool, Setback> {
        if fleet.status.as_ref() == Some(next) {
            return Ok(false);
        }
        let body = json!({
            "apiVersion": GoProxy::api_version(&()),
            "kind": GoProxy::kind(&()),
            "metadata": { "name": &*key.name, "resourceVersion": fleet.resource_version() },
            "status": next,
        });
        let written = self.applier.writer.apply(Source::Fleets, &key.namespace, &key.name, &body, true).await;
        let result = match &written {
            Ok(_) => WriteResult::Changed,
            Err(Setback::Conflict(_)) => WriteResult::Conflict,
            Err(Setback::Refused(_)) => WriteResult::Refused,
            Err(Setback::NotFound(_) | Setback::Deposed | Setback::Failing { .. }) => WriteResult::Failed,
        };
        self.metrics().wrote(Written::Status, result);
        match written?.read::<SeenFleet>() {
            // Known at once, so that the next look does not write it again.
            Ok(stored) => drop(self.applier.store.answer_fleet(stored)),
            Err(error) => tracing::warn!(%error, "the answer to a status cannot be read"),
        }
        Ok(true)
    }

    /// How it ended, and when to look again.
    fn close(
        &self,
        key: &FleetKey,
        fleet: &GoProxy,
        planned: &Plan,
        applied: &Applied,
        told: Result<bool, Setback>,
    ) -> (Outcome, Next) {
        let waiting = planned.report.rollout.as_ref().map(|rollout| rollout.waiting_for.reason);
        // Also before its first pod: what is refused then does not get on either. Without a place this says nothing.
        if planned.contract_change.is_some() {
            let stalled = planned.report.trouble.as_ref().filter(|trouble| trouble.stalled);
            self.slots.tell(key, stalled.map(|trouble| trouble.obstacle.reason));
        }
        // What this fleet wrote may be what another one waits for.
        self.queue.push_all(self.applier.store.take_woken());
        self.states.set(key, planned.report.state);
        if applied.news {
            // What was written is known now; whether it was the last step, the next look tells.
            self.queue.push_all([key.clone()]);
        }
        match told {
            // Most often this process ends now. If it goes on to lead, nobody else looks at this fleet again.
            Err(Setback::Deposed) => return (Outcome::Deposed, Next::Failed { not_before: None }),
            Err(Setback::Conflict(_)) => return (Outcome::Conflict, Next::Failed { not_before: None }),
            // Deleted meanwhile: the watch tells.
            Err(Setback::NotFound(_)) if self.applier.store.snapshot(key).is_none() => {
                return (Outcome::Gone, Next::Wait);
            }
            // Most likely deleted as well, but not for sure: the rest of the work may still be due.
            Err(Setback::NotFound(_)) => return (Outcome::Failed, Next::Failed { not_before: None }),
            Err(Setback::Refused(obstacle)) => {
                tracing::warn!(message = obstacle.message, "the status is refused");
                return (Outcome::Failed, Next::Failed { not_before: None });
            }
            Err(Setback::Failing { message, not_before }) => {
                tracing::warn!(message, "trying again later");
                return (Outcome::Failed, Next::Failed { not_before });
            }
            Ok(_) => {}
        }
        if applied.writes > 0 {
            self.events.transition(fleet, planned);
        }
        if !applied.obstacles.is_empty() {
            let waits = applied.obstacles.iter().all(|obstacle| obstacle.reason == Reason::VolumeInUse);
            let next = if waits { Next::After(STRANGER_PERIOD) } else { Next::Failed { not_before: None } };
            return (Outcome::Obstructed, next);
        }
        (outcome(planned, applied), self.next(planned, waiting))
    }

    fn next(&self, planned: &Plan, waiting: Option<WaitingReason>) -> Next {
        let until = |at: Timestamp| {
            let pause = at.duration_since((self.clock)());
            Next::After(Duration::try_from(pause).unwrap_or_default())
        };
        match (planned.again_at, waiting) {
            (Some(at), _) => until(at),
            (None, Some(WaitingReason::RolloutSlot)) => {
                Next::After(SLOT_PERIOD.mul_f64(0.75 + crate::backoff::chance() / 2.0))
            }
            (None, _) => Next::Wait,
        }
    }

    fn whose<'a>(&self, key: &'a FleetKey, fleet: &'a GoProxy) -> Fleet<'a> {
        let looked_at = fleet.status.as_ref().and_then(|status| status.observed_generation);
        let doubted = self.doubted.lock().unwrap_or_else(PoisonError::into_inner).contains(key);
        Fleet {
            key,
            uid: fleet.metadata.uid.as_deref().unwrap_or_default(),
            known: doubted || (looked_at.is_some() && looked_at == fleet.metadata.generation),
        }
    }

    fn doubt(&self, key: &FleetKey, doubted: bool) {
        let mut all = self.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        if doubted {
            all.insert(key.clone());
        } else {
            all.remove(key);
        }
    }

    fn forget(&self, key: &FleetKey) -> (Outcome, Next) {
        self.slots.leave(key);
        self.doubt(key, false);
        self.states.forget(key);
        (Outcome::Gone, Next::Wait)
    }

    /// One object that cannot be read is told of and left alone; all others go on.
    fn undecodable(&self, key: &FleetKey, snapshot: &Snapshot, error: &str) -> (Outcome, Next) {
        tracing::warn!(error, "this fleet cannot be read; it is left as it is");
        self.slots.leave(key);
        let reference = ObjectReference {
            api_version: Some(GoProxy::api_version(&()).into_owned()),
            kind: Some(GoProxy::kind(&()).into_owned()),
            name: Some(key.name.to_string()),
            namespace: Some(key.namespace.to_string()),
            uid: Some(snapshot.uid.to_string()),
            ..ObjectReference::default()
        };
        let note = format!("this object does not fit its definition and is left as it is: {error}");
        self.events.warn(&reference, "Undecodable", note);
        (Outcome::Undecodable, Next::Wait)
    }
}

fn outcome(planned: &Plan, applied: &Applied) -> Outcome {
    match &planned.report.verdict {
        Verdict::Refused(_) | Verdict::StorageTaken(_) => Outcome::Refused,
        Verdict::Suspended => Outcome::Suspended,
        Verdict::Deleting => Outcome::Gone,
        Verdict::Planned(_) if applied.writes > 0 => Outcome::Applied,
        Verdict::Planned(_) if planned.report.rollout.is_some() => Outcome::Waiting,
        Verdict::Planned(_) => Outcome::AtRest,
    }
}
