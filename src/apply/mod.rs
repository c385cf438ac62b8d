//! Makes the cluster as a plan says: compares each object with what is held of it, writes those that differ, in stages,
//! and removes what is left over once all is written. Decides nothing.

mod one_writer;
mod refusal;
pub mod request;

use std::sync::Arc;

use futures::future::join_all;
use tokio::time::Instant;

use crate::{
    api::condition::Reason,
    cache::{
        FleetKey, Source,
        decode::{Owner, Seen},
        kept::Child,
        store::Store,
    },
    metrics::{Metrics, WriteResult, Written},
    observe::is_ours,
    plan::{
        Obstacle, Prune, Target, TargetPlan,
        object::{Kind, Object, Precondition},
    },
};
use refusal::{naming, taken};
use request::{Setback, Writer};

/// What an apply needs.
#[derive(Clone)]
pub struct Applier {
    /// Requests.
    pub writer: Writer,
    /// What is held of each object; answers go straight into it.
    pub store: Arc<Store>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// How many requests changed something.
    pub writes: usize,
    /// Whether the store holds something that the plan did not know.
    pub news: bool,
    /// What the API server refuses.
    pub obstacles: Vec<Obstacle>,
    /// What else went wrong, the first of it.
    pub setback: Option<Setback>,
    /// Whether something that pods need is refused and missing.
    unmade: bool,
    /// Revisions whose record is refused and missing.
    unrecorded: Vec<String>,
}

/// Whose objects are applied.
#[derive(Clone, Copy, Debug)]
pub struct Fleet<'a> {
    /// Its name.
    pub key: &'a FleetKey,
    /// Its uid.
    pub uid: &'a str,
    /// Whether its newest spec was looked at before, so that everything should be there, or its existence is in doubt.
    pub known: bool,
}

impl Applied {
    /// Nothing is made from a record that is not there: a revision without its record cannot be told from a second
    /// writer.
    fn lacks_record(&self, object: &Object) -> bool {
        matches!(object.kind, Kind::ConfigMap | Kind::Deployment) && self.unrecorded.contains(&object.name)
    }

    fn add(&mut self, written: Result<Outcome, Setback>) {
        match written {
            Ok(Outcome { wrote, news }) => {
                self.writes += usize::from(wrote);
                self.news |= news;
            }
            Err(Setback::Refused(obstacle)) => self.obstacles.push(obstacle),
            Err(setback) => {
                // Nothing outranks having lost the lead.
                if self.setback.is_none() || setback == Setback::Deposed {
                    self.setback = Some(setback);
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    wrote: bool,
    news: bool,
}

/// Stages of an apply, in order. Within one, nothing depends on anything else, so it is written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The record from which the rest is made.
    Record,
    /// What pods need.
    Ground,
    /// The pods, one Deployment after the other: one may wait for another's pods to end.
    Pods,
    /// What leads to pods or watches them.
    Front,
}

impl Stage {
    /// Exhaustive on purpose: a new kind that nobody placed does not compile.
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::ControllerRevision => Self::Record,
            Kind::ServiceAccount | Kind::NetworkPolicy | Kind::ConfigMap | Kind::PersistentVolumeClaim => Self::Ground,
            Kind::Deployment => Self::Pods,
            Kind::Service | Kind::PodDisruptionBudget | Kind::HorizontalPodAutoscaler => Self::Front,
        }
    }

    const ALL: [Self; 4] = [Self::Record, Self::Ground, Self::Pods, Self::Front];
}

impl Applier {
    /// Applies what a plan says for each target.
    pub async fn apply(&self, fleet: Fleet<'_>, targets: &[TargetPlan]) -> Applied {
        let mut applied = Applied::default();
        for TargetPlan { target, objects, prune } in targets {
            let Target { region: _, cluster } = target;
            debug_assert!(cluster.is_none(), "plans name no other cluster yet");
            self.write_stages(fleet, objects, &mut applied).await;
            if applied.setback.is_none() && applied.obstacles.is_empty() {
                for one in prune {
                    applied.add(self.prune(fleet.key, fleet.uid, one).await);
                }
            }
        }
        applied
    }

    async fn write_stages(&self, fleet: Fleet<'_>, objects: &[Object], applied: &mut Applied) {
        let Fleet { key, uid, .. } = fleet;
        for stage in Stage::ALL {
            let due: Vec<&Object> = objects
                .iter()
                .filter(|one| {
                    Stage::of(one.kind) == stage && !applied.lacks_record(one) && !self.at_rest(key, uid, one)
                })
                .collect();
            if let Err(setback) = self.confirm(fleet, &due).await {
                applied.add(Err(setback));
                return;
            }
            if stage == Stage::Pods {
                self.write_pods(fleet, due, applied).await;
            } else if !due.is_empty() {
                let all = due.iter().map(|object| self.write(key, uid, object));
                for (object, written) in due.iter().zip(join_all(all).await) {
                    self.note(fleet, object, written, applied);
                }
            }
            // What comes later relies on what came before. A refusal is told and goes on: one refused object should
            // not keep the others from being repaired.
            if applied.setback.is_some() {
                return;
            }
        }
    }

    /// One Deployment after the other, those that stop something last. While what a revision needs cannot be made,
    /// nothing that runs is taken away for it.
    async fn write_pods(&self, fleet: Fleet<'_>, mut due: Vec<&Object>, applied: &mut Applied) {
        let stops = |object: &Object| matches!(object.precondition, Precondition::Unchanged { .. });
        due.sort_by_key(|object| stops(object));
        for object in due {
            if stops(object) && applied.unmade {
                continue;
            }
            let written = self.write(fleet.key, fleet.uid, object).await;
            self.note(fleet, object, written, applied);
            if applied.setback.is_some() {
                return;
            }
        }
    }

    fn note(&self, fleet: Fleet<'_>, object: &Object, written: Result<Outcome, Setback>, applied: &mut Applied) {
        let needed = matches!(
            object.kind,
            Kind::ControllerRevision | Kind::ConfigMap | Kind::PersistentVolumeClaim | Kind::Deployment
        );
        if needed && matches!(written, Err(Setback::Refused(_))) && !self.is_there(fleet, object) {
            applied.unmade = true;
            if object.kind == Kind::ControllerRevision {
                applied.unrecorded.push(object.name.clone());
            }
        }
        applied.add(written);
    }

    /// A child of a fleet that was looked at before is missing: somebody removed it, or the fleet itself is gone, its
    /// children with it, and the watch does not tell yet. Asked of the API server before anything is made anew.
    async fn confirm(&self, fleet: Fleet<'_>, due: &[&Object]) -> Result<(), Setback> {
        if !fleet.known || due.iter().all(|object| self.is_there(fleet, object)) {
            return Ok(());
        }
        let Fleet { key, uid, .. } = fleet;
        let found: Seen = self.writer.get(Source::Fleets, &key.namespace, &key.name).await?.read()?;
        if found.uid() == uid && !found.deleting() {
            return Ok(());
        }
        Err(Setback::Conflict("the fleet is being deleted or was replaced".to_owned()))
    }

    fn is_there(&self, fleet: Fleet<'_>, object: &Object) -> bool {
        let held = self.store.child(fleet.key, object.kind, &object.name);
        held.is_some_and(|held| is_ours(&held, fleet.uid))
    }

    /// Whether nothing need be written. The common case: no request, no copy.
    fn at_rest(&self, key: &FleetKey, fleet_uid: &str, object: &Object) -> bool {
        self.store.child(key, object.kind, &object.name).is_some_and(|held| {
            let same = held.live == object.fingerprint || held.same_as_live == Some(object.fingerprint);
            // What is being deleted is made anew once it is gone; writing to it would change nothing.
            is_ours(&held, fleet_uid) && (same || held.deleting)
        })
    }

    async fn write(&self, key: &FleetKey, fleet_uid: &str, object: &Object) -> Result<Outcome, Setback> {
        let written = self.write_checked(key, fleet_uid, object).await;
        if let Err(setback) = &written {
            let result = match setback {
                Setback::Deposed => return written,
                Setback::Conflict(_) => WriteResult::Conflict,
                Setback::Refused(obstacle) if obstacle.reason == Reason::NameTaken => WriteResult::NameTaken,
                Setback::Refused(_) => WriteResult::Refused,
                Setback::NotFound(_) | Setback::Failing { .. } => WriteResult::Failed,
            };
            self.metrics.wrote(Written::Child(object.kind), result);
            tracing::info!(kind = object.kind.as_str(), name = object.name, %setback, "not written");
        }
        written.map_err(|setback| naming(object, setback))
    }

    async fn write_checked(&self, key: &FleetKey, fleet_uid: &str, object: &Object) -> Result<Outcome, Setback> {
        // It may have been deleted since the plan was made; its objects go with it.
        if !self.store.is_fleet(key, fleet_uid) {
            return Err(Setback::NotFound(format!("the fleet {key} is gone")));
        }
        let held = || self.store.child(key, object.kind, &object.name);
        let before = held();
        let wrote = match &before {
            Some(before) if is_ours(before, fleet_uid) => {
                self.change(key, fleet_uid, object, (&before.uid, &before.resource_version)).await?
            }
            Some(before) => {
                let by_name = before.owner.as_ref().is_some_and(|(_, by_name)| *by_name);
                return Err(Setback::Refused(taken(object, by_name)));
            }
            None => self.create(key, fleet_uid, object).await?,
        };
        // Compared here and not where the answer is put away: the watch may have been faster than the answer.
        let news = match (before, held()) {
            (Some(before), Some(after)) => !after.looks_like(&before),
            (before, after) => before.is_some() || after.is_some(),
        };
        Ok(Outcome { wrote, news })
    }

    /// Creates what is not there. Version 1 is no object's: an object of the name makes this a conflict, so that
    /// nothing foreign is ever taken over.
    async fn create(&self, key: &FleetKey, fleet_uid: &str, object: &Object) -> Result<bool, Setback> {
        self.check(key, fleet_uid, object).await?;
        match self.send(key, object, ("resourceVersion", "1"), None).await {
            Err(Setback::Conflict(_)) => self.meet(key, fleet_uid, object).await,
            other => other,
        }
    }

    /// An object of the name exists that no watch has brought: either it is ours and the watch lags or its label was
    /// removed, or it is somebody else's.
    async fn meet(&self, key: &FleetKey, fleet_uid: &str, object: &Object) -> Result<bool, Setback> {
        let source = Source::Children(object.kind);
        let found: Seen = self.writer.get(source, &key.namespace, &object.name).await?.read()?;
        match found.owner() {
            Some(Owner { uid, .. }) if uid == fleet_uid => {}
            None if object.kind == Kind::PersistentVolumeClaim
                && (found.managed || found.fleet() == Some(&*key.name)) => {}
            Some(Owner { fleet, .. }) => return Err(Setback::Refused(taken(object, fleet == Some(&*key.name)))),
            None => return Err(Setback::Refused(taken(object, false))),
        }
        self.store.answer_child(object.kind, &found);
        if found.deleting() {
            return Err(Setback::Conflict("the old one is still being deleted".to_owned()));
        }
        if found.live == object.fingerprint {
            return Ok(false);
        }
        self.change(key, fleet_uid, object, (found.uid(), found.resource_version())).await
    }

    /// Changes the object of this uid, known in this version, and no other.
    async fn change(
        &self,
        key: &FleetKey,
        fleet_uid: &str,
        object: &Object,
        known: (&str, &str),
    ) -> Result<bool, Setback> {
        let (uid, version) = known;
        self.check(key, fleet_uid, object).await?;
        if !self.store.allow_change(key, object.kind, &object.name, Instant::now()) {
            let (kind, name) = (object.kind.as_str(), &object.name);
            let message = format!(
                "changed back as often as the operator changes it: find who else writes it with \
                 `kubectl get {kind} {name} -o yaml --show-managed-fields`"
            );
            return Err(Setback::Refused(Obstacle { reason: Reason::ObjectRefused, message }));
        }
        self.send(key, object, ("uid", uid), Some(version)).await
    }

    /// Sends an object with a guard in its metadata. True: the API server took it.
    async fn send(
        &self,
        key: &FleetKey,
        object: &Object,
        guard: (&str, &str),
        version: Option<&str>,
    ) -> Result<bool, Setback> {
        let mut body = object.body.clone();
        body["metadata"][guard.0] = guard.1.into();
        if let Some(version) = object.precondition.resource_version() {
            body["metadata"]["resourceVersion"] = version.into();
        }
        let source = Source::Children(object.kind);
        let answer = self.writer.apply(source, &key.namespace, &object.name, &body, false).await?;
        let stored: Seen = answer.read()?;
        let result = match (answer.created, version == Some(stored.resource_version())) {
            (true, _) => WriteResult::Created,
            (false, true) => WriteResult::Unchanged,
            (false, false) => WriteResult::Changed,
        };
        self.metrics.wrote(Written::Child(object.kind), result);
        tracing::debug!(kind = object.kind.as_str(), name = object.name, ?result, "written");
        self.store.answer_child(object.kind, &stored);
        self.remember_form(key, object, &stored);
        Ok(true)
    }

    /// The server may keep what it was given in another form, which would look like drift for ever.
    fn remember_form(&self, key: &FleetKey, object: &Object, stored: &Seen) {
        if stored.live != object.fingerprint
            && self.store.set_same_as_live(key, object.kind, &object.name, object.fingerprint)
        {
            self.metrics.write_loop_avoided(object.kind);
            let (kind, name) = (object.kind.as_str(), &object.name);
            tracing::warn!(kind, name, "the API server keeps this object in another form than it was applied in");
        }
    }

    async fn prune(&self, key: &FleetKey, fleet_uid: &str, prune: &Prune) -> Result<Outcome, Setback> {
        let Prune { kind, name, uid, resource_version } = prune;
        let held: Option<Child> = self.store.child(key, *kind, name);
        if !held.is_some_and(|held| is_ours(&held, fleet_uid) && *held.uid == **uid && !held.deleting) {
            return Ok(Outcome::default());
        }
        let source = Source::Children(*kind);
        let deleted = self.writer.delete(source, &key.namespace, name, uid, resource_version).await;
        let result = match &deleted {
            Ok(_) | Err(Setback::NotFound(_)) => WriteResult::Deleted,
            Err(Setback::Conflict(_)) => WriteResult::Conflict,
            Err(Setback::Refused(_)) => WriteResult::Refused,
            Err(Setback::Failing { .. } | Setback::Deposed) => WriteResult::Failed,
        };
        self.metrics.wrote(Written::Child(*kind), result);
        match deleted {
            // The watch tells when it is gone.
            Ok(_) => Ok(Outcome { wrote: true, news: false }),
            // That it is gone is believed when the watch tells it, because nothing would tell that it is not.
            Err(Setback::NotFound(message)) => Err(Setback::Conflict(message)),
            Err(setback) => Err(setback),
        }
    }
}

#[cfg(test)]
mod tests;
