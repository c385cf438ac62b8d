//! Makes the cluster as a plan says: compares each object with what is held of it, writes those that differ, in stages,
//! and removes what is left over once all is written. Decides nothing.

mod child;
mod login;
mod one_writer;
mod refusal;
pub mod request;

use std::sync::Arc;

use futures::future::join_all;

use crate::{
    cache::{FleetKey, Source, decode::Seen, store::Store},
    metrics::Metrics,
    observe::is_ours,
    plan::{
        Obstacle, Target, TargetPlan,
        object::{Kind, Object, Precondition, edge, stage::Stage},
    },
};
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
    /// Whether that is a volume or a login: pods would use another's that has its name.
    unclaimed: bool,
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
    /// writer, and an edge without its own would be made anew by the next operator.
    fn lacks_record(&self, object: &Object) -> bool {
        let Object { kind, name, .. } = object;
        let of_revision = matches!(kind, Kind::ConfigMap | Kind::Deployment);
        let of_edge = *kind == Kind::StatefulSet;
        self.unrecorded
            .iter()
            .any(|record| (of_revision && record == name) || (of_edge && edge::is_record_of(name, record)))
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

impl Applier {
    /// Applies what a plan says for each target.
    pub async fn apply(&self, fleet: Fleet<'_>, targets: &[TargetPlan]) -> Applied {
        let mut applied = Applied::default();
        for planned in targets {
            let TargetPlan { target, login: _, objects: _, let_go, prune } = planned;
            let Target { region: _, cluster } = target;
            debug_assert!(cluster.is_none(), "plans name no other cluster yet");
            self.write_stages(fleet, planned, &mut applied).await;
            if applied.setback.is_none() {
                for one in let_go {
                    applied.add(self.let_go(fleet.key, fleet.uid, one).await);
                }
            }
            if applied.setback.is_none() && applied.obstacles.is_empty() {
                for one in prune {
                    applied.add(self.prune(fleet.key, fleet.uid, one).await);
                }
            }
        }
        applied
    }

    async fn write_stages(&self, fleet: Fleet<'_>, planned: &TargetPlan, applied: &mut Applied) {
        let TargetPlan { login, objects, .. } = planned;
        let Fleet { key, uid, .. } = fleet;
        for stage in Stage::ALL {
            if let Some(login) = login.as_ref().filter(|_| stage == Stage::Ground) {
                self.ensure_login(fleet, login, applied).await;
                if applied.setback.is_some() {
                    return;
                }
            }
            let due: Vec<&Object> = objects
                .iter()
                .filter(|one| one.stage == stage && !applied.lacks_record(one) && !self.at_rest(key, uid, one))
                .collect();
            if let Err(setback) = self.confirm(fleet, &due).await {
                applied.add(Err(setback));
                return;
            }
            if stage == Stage::Pods {
                self.write_pods(fleet, due, applied).await;
            } else if !due.is_empty() {
                let all = due.iter().map(|object| self.write(fleet, object));
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

    /// One after the other, the lock first and what stops something last. While what a revision needs cannot be made,
    /// nothing that runs is taken away for it, and while its volume or its login is not ours, nothing starts.
    async fn write_pods(&self, fleet: Fleet<'_>, mut due: Vec<&Object>, applied: &mut Applied) {
        let stops = |object: &Object| matches!(object.precondition, Precondition::Unchanged { .. });
        due.sort_by_key(|object| stops(object));
        for object in due {
            let held_back = if stops(object) { applied.unmade } else { applied.unclaimed };
            if held_back {
                continue;
            }
            let written = self.write(fleet, object).await;
            self.note(fleet, object, written, applied);
            if applied.setback.is_some() {
                return;
            }
        }
    }

    fn note(&self, fleet: Fleet<'_>, object: &Object, written: Result<Outcome, Setback>, applied: &mut Applied) {
        let needed = matches!(
            object.kind,
            Kind::ControllerRevision
                | Kind::ConfigMap
                | Kind::PersistentVolumeClaim
                | Kind::StatefulSet
                | Kind::Deployment
        );
        if needed && matches!(written, Err(Setback::Refused(_))) && !self.is_there(fleet, object) {
            applied.unmade = true;
            applied.unclaimed |= object.kind == Kind::PersistentVolumeClaim;
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
}

#[cfg(test)]
mod tests;
