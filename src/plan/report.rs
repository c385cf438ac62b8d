//! What the plan found. All that the status and the events say comes from here.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    DeploymentView, Observed, Obstacle, StoredRevision,
    assemble::deployment_of,
    edge::{Edge, EdgeSight},
    front::{self, Front},
    health,
    inside::{self, Finding},
    lead, login,
    rollout::{Decision, Overlap},
    served_by, unready,
    validate::{FleetName, Refusal, ValidFleet},
    volume::{self, Sizing},
};
use crate::api::{
    condition::{ConditionType, Reason},
    status::{RegionState, RevisionRole, RevisionStatus, RolloutStatus, WaitingReason},
};

/// What the plan found: all that the status says comes from here.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Whether the fleet could be judged.
    pub verdict: Verdict,
    /// The region's state.
    pub state: RegionState,
    /// The revisions that have or get pods.
    pub revisions: Vec<RevisionStatus>,
    /// The change under way.
    pub rollout: Option<RolloutStatus>,
    /// Whether the revisions of that change may run at the same time.
    pub overlap: Overlap,
    /// Name of the revision that clients get.
    pub stable: Option<String>,
    /// Pods of it.
    pub replicas: i32,
    /// Ready ones.
    pub ready: i32,
    /// Why the lock that the fleet brings along does not work.
    pub lock: Option<Obstacle>,
    /// What is told from inside the pods.
    pub inside: BTreeMap<ConditionType, Finding>,
    /// How the edge does, where there is one or shall be.
    pub edge: Option<EdgeSight>,
    /// How the size of the volume comes along.
    pub volume: Option<Sizing>,
    /// A volume with modules of a storage that the spec does not name any more.
    pub unused_volume: Option<String>,
    /// Why clients are not served, or a next revision does not start.
    pub trouble: Option<Trouble>,
}

/// Why it does not get on, and what is to be expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The cause.
    pub obstacle: Obstacle,
    /// Whether pods are on their way nevertheless.
    pub starting: bool,
    /// Whether somebody has to see to it, or it took longer than it may.
    pub stalled: bool,
}

impl Trouble {
    /// What others tell of, somebody has to see to, unless its reason says that it only takes a while. Before the first pod was ready it
    /// may be no more than a volume or a node that is being made.
    const fn named(obstacle: Obstacle, served: bool) -> Self {
        let stalled = !matches!(obstacle.reason, Reason::Progressing);
        Self { obstacle, starting: !(stalled && served), stalled }
    }
}

/// What became of the spec.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It was built.
    Planned(Box<ValidFleet>),
    /// It was refused; the last good state goes on.
    Refused(Vec<Refusal>),
    /// Another fleet has the storage that it names; the last good state goes on.
    StorageTaken(Refusal),
    /// The fleet is suspended.
    Suspended,
    /// The fleet is being deleted; its children follow by garbage collection.
    Deleting,
}

/// Gathers the report.
pub fn report(
    observed: &Observed,
    kept: &BTreeMap<String, Arc<StoredRevision>>,
    decided: Option<(&Decision, &front::Decision)>,
    wanted: &str,
    verdict: Verdict,
) -> Report {
    let (decision, front) = (decided.map(|(decision, _)| decision), decided.map(|(_, front)| front));
    let name = observed.fleet.metadata.name.as_deref().unwrap_or_default();
    let stable = decision.map(|decision| decision.serve.as_str()).or(served_by(&observed.children, name));
    let serving = stable.map(|stable| view(observed, stable)).unwrap_or_default();
    let trouble = Troubles { observed, verdict: &verdict, wanted, stable }.find(&serving).or_else(|| {
        let rollout = decision.and_then(|decision| decision.rollout.as_ref())?;
        let overdue = (rollout.waiting_for.reason == WaitingReason::OldPodsGone).then(|| health::overdue(observed));
        overdue.flatten().map(|obstacle| Trouble::named(obstacle, serving.completed))
    });
    let beside = Beside::of(observed, &verdict);
    let inside = inside::findings(observed, planned(&verdict), stable);
    let edge = edge(observed, &verdict, front);
    let shut_out = edge.as_ref().is_some_and(|edge| edge.outage().is_some());
    let state = if serving.ready > 0 && !shut_out {
        RegionState::Healthy
    } else if observed.fleet.spec.replicas == 0 {
        RegionState::Stopped
    } else if shut_out || trouble.is_some() {
        RegionState::Unavailable
    } else {
        RegionState::Progressing
    };
    Report {
        verdict,
        state,
        revisions: revisions(observed, kept, decision, stable, wanted),
        rollout: decision.and_then(|decision| decision.rollout.clone()),
        overlap: decision.map_or(Overlap::Allowed, |decision| decision.overlap),
        stable: stable.map(str::to_owned),
        replicas: serving.current,
        ready: serving.ready,
        lock: beside.lock,
        inside,
        edge,
        volume: beside.volume,
        unused_volume: beside.unused_volume,
        trouble,
    }
}

/// The fleet that was built.
fn planned(verdict: &Verdict) -> Option<&ValidFleet> {
    match verdict {
        Verdict::Planned(valid) => Some(valid.as_ref()),
        Verdict::Refused(_) | Verdict::StorageTaken(_) | Verdict::Suspended | Verdict::Deleting => None,
    }
}

/// How what is not a proxy does.
#[derive(Default)]
struct Beside {
    lock: Option<Obstacle>,
    volume: Option<Sizing>,
    unused_volume: Option<String>,
}

impl Beside {
    fn of(observed: &Observed, verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Planned(valid) => Self {
                lock: login::trouble(observed, valid),
                volume: volume::sizing(observed, valid),
                unused_volume: volume::unused(&observed.children, valid),
            },
            Verdict::Refused(_) | Verdict::StorageTaken(_) | Verdict::Suspended | Verdict::Deleting => Self::default(),
        }
    }
}

/// How the edge does. Of a spec that is not followed, what runs counts.
fn edge(observed: &Observed, verdict: &Verdict, front: Option<&front::Decision>) -> Option<EdgeSight> {
    let name = FleetName::of(&observed.fleet);
    let wanted = match verdict {
        Verdict::Planned(valid) => valid.edge.as_ref().map(|edge| edge.replicas),
        Verdict::Refused(_) | Verdict::StorageTaken(_) | Verdict::Suspended | Verdict::Deleting => None,
    };
    let led = || lead(&observed.children, name.service()).map_or(Front::Engines, |lead| lead.front);
    Edge::of(&observed.children, &name).sight(wanted, front.map_or_else(led, |front| front.front))
}

fn view(observed: &Observed, revision: &str) -> DeploymentView {
    deployment_of(&observed.children, revision).cloned().unwrap_or_default()
}

/// Where to look for what is wrong.
struct Troubles<'a> {
    observed: &'a Observed,
    verdict: &'a Verdict,
    wanted: &'a str,
    stable: Option<&'a str>,
}

impl Troubles<'_> {
    /// A refused write comes first; then what keeps the wanted revision down; then what keeps clients from being served.
    fn find(&self, serving: &DeploymentView) -> Option<Trouble> {
        if let Some(obstacle) = self.observed.obstacles.first() {
            return Some(Trouble::named(obstacle.clone(), serving.completed));
        }
        if self.observed.fleet.spec.replicas == 0 {
            return None;
        }
        let valid = planned(self.verdict);
        let down = self.stable.filter(|stable| serving.ready == 0 && *stable != self.wanted);
        [Some(self.wanted), down].into_iter().flatten().find_map(|revision| {
            let served = self.stable == Some(revision) && serving.completed;
            let named = health::trouble(self.observed, valid, revision);
            // What another revision was made from, the spec does not tell any more.
            let made_from = valid.filter(|_| revision == self.wanted);
            named
                .map(|obstacle| Trouble::named(obstacle, served))
                .or_else(|| unready::trouble(self.observed, made_from, revision, served))
        })
    }
}

/// The revisions that shall have pods. What is on its way out is left out from the step that ends it, and a next one
/// counts its pods once clients may move to them: so that a step of a change is one write of the status, not two.
fn revisions(
    observed: &Observed,
    kept: &BTreeMap<String, Arc<StoredRevision>>,
    decision: Option<&Decision>,
    stable: Option<&str>,
    wanted: &str,
) -> Vec<RevisionStatus> {
    let stays = |name: &str, live: &DeploymentView| match decision {
        Some(decision) => decision.scale.get(name).is_some_and(|pods| *pods > 0),
        None => live.replicas > 0,
    };
    let status = |(name, stored): (&String, &Arc<StoredRevision>)| {
        let live = view(observed, name);
        let (role, ready) = if Some(name.as_str()) == stable {
            (RevisionRole::Stable, live.ready)
        } else if name == wanted {
            (RevisionRole::Next, live.available)
        } else if stays(name, &live) {
            (RevisionRole::Old, live.ready)
        } else {
            return None;
        };
        Some(RevisionStatus { name: name.clone(), role, version: stored.version.clone(), ready })
    };
    let lost = stable.filter(|name| !kept.contains_key(*name)).and_then(|name| textless(observed, name));
    kept.iter().filter_map(status).chain(lost).collect()
}

/// What clients get although its text is lost. Its version is what was told of it before.
fn textless(observed: &Observed, name: &str) -> Option<RevisionStatus> {
    let live = deployment_of(&observed.children, name)?;
    let regions = observed.fleet.status.iter().flat_map(|status| &status.regions);
    let told = regions.flat_map(|region| &region.revisions).find(|revision| revision.name == name);
    let version = told.map_or_else(|| "unknown".to_owned(), |told| told.version.clone());
    Some(RevisionStatus { name: name.to_owned(), role: RevisionRole::Stable, version, ready: live.ready })
}
