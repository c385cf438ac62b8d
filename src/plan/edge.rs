//! The edge: what is known of it, and what it is told.
//!
//! An edge has been told once it answers with the number of the settings that it serves by. Settings change by number alone: the same
//! settings keep theirs, so that planning again tells nobody anything.
//!
//! # What the operator and the edge's pods agree on
//!
//! * The edge's `EdgeState` has the fleet's name. A pod may read that one object, by a list or watch that names it in a field
//!   selector, and apply its own entry of `status.edges` under its own name as field manager; and list and watch EndpointSlices.
//! * Its engines are the endpoints of the Service `<fleet>-engine`, at the port `http`; an endpoint's revision is what its pod's name
//!   begins with.
//! * A pod runs `agent` and then `nginx`, of one image, as one user in one process namespace. The agent is asked on [`AGENT_PORT`]:
//!   `/startz` says yes once nginx can be started from what was written below [`RUN_DIRECTORY`], `/readyz` once the nginx that runs has
//!   been told, `/livez` as long as it works. nginx is started in that directory, with `conf/nginx.conf`, and keeps files in
//!   [`CACHE_DIRECTORY`]. It ends first, by `SIGQUIT`, which the image names.
//! * What changes without a restart is in the `EdgeState`, all else in the agent's arguments.
//!
//! [`AGENT_PORT`]: super::object::edge::AGENT_PORT
//! [`RUN_DIRECTORY`]: super::object::edge::RUN_DIRECTORY
//! [`CACHE_DIRECTORY`]: super::object::edge::CACHE_DIRECTORY

pub mod record;

use std::{collections::BTreeMap, time::Duration};

use super::{
    Children, Detail, Obstacle, StatefulSetView,
    front::Front,
    object::Kind,
    validate::{FleetName, ValidEdge, ValidFleet},
};
use crate::api::{
    condition::Reason,
    edge_state::{EdgeReport, EdgeSettings, EdgeStateSpec, Generation, ListSettings, PROTOCOL, WeightSettings},
};

/// What is kept of an `EdgeState`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EdgeStateView {
    /// What the edge is told.
    pub spec: EdgeStateSpec,
    /// What its pods answer, by their names.
    pub edges: BTreeMap<String, EdgeReport>,
}

/// How an edge does, for the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSight {
    /// Its name.
    pub name: String,
    /// Whether the spec asks for it.
    pub wanted: bool,
    /// Pods that it shall have.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// The oldest settings that a pod of it serves by; `None` while one has not answered.
    pub generation: Option<u64>,
    /// Whom clients reach first.
    pub front: Front,
    /// Why a pod of it goes on by older settings, in its own words.
    pub refusal: Option<String>,
}

impl EdgeSight {
    /// Why clients are served by nobody, if they come here and nobody is there.
    pub fn outage(&self) -> Option<Obstacle> {
        let Self { name, ready, front, .. } = self;
        (*front == Front::Edges && *ready == 0).then(|| Obstacle {
            reason: Reason::EdgeUnavailable,
            message: format!("edge {name} has no ready pod: `kubectl describe pod {name}-0` tells why"),
        })
    }
}

/// What is known of a fleet's edge.
#[derive(Clone, Copy, Debug)]
pub struct Edge<'a> {
    name: &'a FleetName,
    set: Option<&'a StatefulSetView>,
    state: Option<&'a EdgeStateView>,
}

impl<'a> Edge<'a> {
    /// As it was observed.
    pub fn of(children: &'a Children, name: &'a FleetName) -> Self {
        let detail = |kind, name: String| children.get(&(kind, name)).map(|child| &child.detail);
        let set = match detail(Kind::StatefulSet, name.edge()) {
            Some(Detail::StatefulSet(view)) => Some(view),
            _ => None,
        };
        let state = match detail(Kind::EdgeState, name.edge_state().to_owned()) {
            Some(Detail::EdgeState(view)) => Some(view.as_ref()),
            _ => None,
        };
        Self { name, set, state }
    }

    /// What it was told last.
    pub fn told(&self) -> Option<&'a Generation> {
        self.state.map(|state| &state.spec.settled)
    }

    /// Pods that are ready.
    pub fn ready(&self) -> i32 {
        self.set.map_or(0, |set| set.ready)
    }

    /// Pods that serve by what the edge was told last.
    pub fn current(&self) -> i32 {
        let current = self.answers().filter(|(_, report)| report.is_some_and(|report| self.is_current(report)));
        i32::try_from(current.count()).unwrap_or(i32::MAX)
    }

    /// Whether a pod of it is ready and serves by what was told last, which names this revision.
    pub fn serves(&self, revision: &str) -> bool {
        self.names(revision) && self.ready() > 0 && self.current() > 0
    }

    /// Whether every pod that it shall have serves by what was told last, which names this revision. One that does not answer may still
    /// lead clients to another.
    pub fn all_serve(&self, revision: &str) -> bool {
        let asked = self.set.map_or(0, |set| set.replicas);
        self.names(revision) && asked > 0 && self.current() == asked
    }

    /// How it does, if it is there or this many pods of it are wanted.
    pub fn sight(&self, wanted: Option<i32>, front: Front) -> Option<EdgeSight> {
        let replicas = wanted.or_else(|| self.set.map(|set| set.replicas))?;
        let mut refusing = self.answers().filter_map(|(pod, report)| Some((pod, report?.trouble.as_ref()?)));
        Some(EdgeSight {
            name: self.name.edge(),
            wanted: wanted.is_some(),
            replicas,
            ready: self.ready(),
            generation: self.answers().map(|(_, report)| report.map(|report| report.generation)).min().flatten(),
            front,
            refusal: refusing.next().map(|(pod, why)| format!("{pod} goes on by what it was told before: {why}")),
        })
    }

    fn names(&self, revision: &str) -> bool {
        self.told().is_some_and(|told| told.settings.weights.stable == revision)
    }

    fn is_current(&self, report: &EdgeReport) -> bool {
        self.told().is_some_and(|told| told.number == report.generation)
    }

    /// What each pod that it shall have answers.
    fn answers(&self) -> impl Iterator<Item = (String, Option<&'a EdgeReport>)> {
        let (name, state) = (self.name, self.state);
        let places = 0..self.set.map_or(0, |set| set.replicas);
        places.map(move |place| {
            let pod = name.edge_pod(place);
            let report = state.and_then(|state| state.edges.get(&pod));
            (pod, report)
        })
    }

    /// What it shall be told: of an edge that the spec does not ask for any more, what it knows, and where clients get their modules now.
    pub fn tell(&self, fleet: &ValidFleet, serve: &str) -> Option<EdgeStateSpec> {
        let settings = match (&fleet.edge, self.told()) {
            (Some(edge), _) => settings(fleet, edge, serve),
            (None, Some(told)) => EdgeSettings { weights: weights(serve), ..told.settings.clone() },
            (None, None) => return None,
        };
        let number = match self.told() {
            Some(told) if told.settings == settings => told.number,
            told => told.map_or(0, |told| told.number).saturating_add(1),
        };
        Some(EdgeStateSpec { protocol: PROTOCOL, settled: Generation { number, settings }, trial: None })
    }
}

fn settings(fleet: &ValidFleet, edge: &ValidEdge, serve: &str) -> EdgeSettings {
    EdgeSettings {
        weights: weights(serve),
        private_modules: fleet.private_modules.clone(),
        lists: ListSettings { min_seconds: seconds(edge.list_least), max_seconds: seconds(edge.list_most) },
        fetch_seconds: seconds(fleet.engine.fetch_timeout),
        ..EdgeSettings::default()
    }
}

fn weights(serve: &str) -> WeightSettings {
    WeightSettings { stable: serve.to_owned(), ..WeightSettings::default() }
}

/// Durations of the API are whole seconds, at least one here, and no more than a day.
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
