//! How many fleets are in which state, and how many lack something beside, for the gauges.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    api::{
        condition::ConditionType,
        status::{GoProxyStatus, RegionState},
    },
    cache::FleetKey,
    metrics::Metrics,
};

/// What fails beside a fleet that serves.
const BESIDE: [ConditionType; 5] = [
    ConditionType::VolumeSized,
    ConditionType::VolumeHasRoom,
    ConditionType::LockReady,
    ConditionType::LoginsWork,
    ConditionType::StorageExclusive,
];

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
    /// Fleets with a condition that is False, alone: most have none.
    impaired: HashMap<FleetKey, Vec<&'static str>>,
    impaired_counts: BTreeMap<&'static str, i64>,
}

impl States {
    /// Of no fleet yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        // A series that comes with the first trouble would tell an alert nothing of its beginning.
        for type_ in BESIDE {
            metrics.set_impaired(type_.as_str(), 0);
        }
        Self { metrics, known: Mutex::default() }
    }

    /// A fleet is in this state now.
    pub fn set(&self, key: &FleetKey, state: RegionState) {
        self.change(key, Some(word(state)));
    }

    /// A fleet lacks this now.
    pub fn set_impaired(&self, key: &FleetKey, next: &GoProxyStatus) {
        let is = |type_: &ConditionType| {
            next.conditions.iter().any(|one| one.type_ == type_.as_str() && one.status == "False")
        };
        self.impair(key, BESIDE.iter().filter(|type_| is(type_)).map(|type_| type_.as_str()).collect());
    }

    /// A fleet is no more.
    pub fn forget(&self, key: &FleetKey) {
        self.change(key, None);
        self.impair(key, Vec::new());
    }

    fn impair(&self, key: &FleetKey, next: Vec<&'static str>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.impaired.remove(key).unwrap_or_default();
        let gone = before.iter().filter(|one| !next.contains(one)).map(|one| (*one, -1));
        let come = next.iter().filter(|one| !before.contains(one)).map(|one| (*one, 1));
        for (condition, by) in gone.chain(come) {
            let count = known.impaired_counts.entry(condition).or_default();
            *count += by;
            self.metrics.set_impaired(condition, *count);
        }
        if !next.is_empty() {
            known.impaired.insert(key.clone(), next);
        }
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
