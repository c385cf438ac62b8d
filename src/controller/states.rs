//! How many fleets are in which state, for the gauge.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{api::status::RegionState, cache::FleetKey, metrics::Metrics};

/// The state of each fleet, as its last plan found it.
#[derive(Debug)]
pub struct States {
    metrics: Arc<Metrics>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    states: HashMap<FleetKey, &'static str>,
    counts: BTreeMap<&'static str, i64>,
}

impl States {
    /// Of no fleet yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, known: Mutex::default() }
    }

    /// A fleet is in this state now.
    pub fn set(&self, key: &FleetKey, state: RegionState) {
        self.change(key, Some(word(state)));
    }

    /// A fleet is no more.
    pub fn forget(&self, key: &FleetKey) {
        self.change(key, None);
    }

    fn change(&self, key: &FleetKey, next: Option<&'static str>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match next {
            Some(state) => known.states.insert(key.clone(), state),
            None => known.states.remove(key),
        };
        if before == next {
            return;
        }
        for (state, by) in before.map(|state| (state, -1)).into_iter().chain(next.map(|state| (state, 1))) {
            let count = known.counts.entry(state).or_default();
            *count += by;
            self.metrics.set_fleets(state, *count);
        }
    }
}

const fn word(state: RegionState) -> &'static str {
    match state {
        RegionState::Healthy => "Healthy",
        RegionState::Progressing => "Progressing",
        RegionState::Unavailable => "Unavailable",
        RegionState::Stopped => "Stopped",
    }
}
