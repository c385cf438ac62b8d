//! How many fleets may change at once for no other reason than another operator version.
//!
//! The rule, and why it is so:
//!
//! * **Only such changes count, and only they wait.** What users change by themselves is their own affair: a bad image in
//!   five fleets must not hold up an upgrade of the other thousand, nor the other way round.
//! * **A place is held until clients have moved to the new revision**, or the fleet is edited, suspended, deleted or
//!   cannot be read any more. A change that does not get on keeps its place, so a contract that breaks fleets breaks a
//!   handful of them and stops there. That is the purpose, and it is told: in the log, in the metric
//!   `contract_changes`, and by the `Stalled` condition of the fleets in question.
//! * **A stall that is most likely the fleet's own gives its place up after an hour**: an image that cannot be pulled, a
//!   quota, a missing Secret or ConfigMap, a taken name, or a fleet that did not serve before the change either. The
//!   contract changes none of these, so they must not hold up everybody for ever. An hour, because a registry that is
//!   down looks the same in every fleet, and an upgrade must not go through all of them meanwhile.
//! * **What is in the middle of a change takes its place first.** Places are only in memory. After a start nobody gets a
//!   new one before every fleet was looked at once.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{api::condition::Reason, cache::FleetKey, metrics::Metrics, plan::ContractChange};

/// Few enough that a bad engine contract is noticed before it is everywhere, enough that a thousand fleets are through
/// within hours.
const AT_ONCE: usize = 5;

/// How long a stall of a fleet's own holds a place.
const OWN_STALL_MOST: Duration = Duration::from_hours(1);

/// Causes that the contract has no part in.
const OWN: [Reason; 5] = [
    Reason::ImageUnavailable,
    Reason::QuotaExceeded,
    Reason::SecretMissing,
    Reason::ConfigMapMissing,
    Reason::NameTaken,
];

/// The places.
#[derive(Debug)]
pub struct Slots {
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<FleetKey, Place>,
    waiting: HashSet<FleetKey>,
    /// Fleets that were not looked at since the start. `None`: not counted yet.
    unseen: Option<HashSet<FleetKey>>,
}

#[derive(Debug)]
struct Place {
    /// Whether the fleet served before the change, as far as that is known.
    sound: bool,
    stall: Option<Stall>,
}

#[derive(Debug)]
struct Stall {
    since: Instant,
    own: bool,
}

impl Place {
    fn counts(&self, now: Instant) -> bool {
        self.stall.as_ref().is_none_or(|stall| !stall.own || now.duration_since(stall.since) < OWN_STALL_MOST)
    }
}

impl Slots {
    /// Nobody changes.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, state: Mutex::default() }
    }

    /// Tells what a fleet's plan found, and returns whether such a change may go on. `all` are the fleets there are,
    /// asked for once.
    pub fn ask(
        &self,
        key: &FleetKey,
        change: Option<ContractChange>,
        sound: bool,
        all: impl FnOnce() -> Vec<FleetKey>,
    ) -> bool {
        let now = Instant::now();
        self.change(|state| {
            let unseen = state.unseen.get_or_insert_with(|| all().into_iter().collect());
            unseen.remove(key);
            let all_seen = unseen.is_empty();
            let State { places, waiting, .. } = state;
            let may = match change {
                None => {
                    places.remove(key);
                    false
                }
                Some(_) if places.contains_key(key) => true,
                // It went on before this process did; that it served before is all that can be assumed.
                Some(ContractChange::Begun) => places.insert(key.clone(), Place { sound: true, stall: None }).is_none(),
                Some(ContractChange::Due) => {
                    let room = places.values().filter(|place| place.counts(now)).count() < AT_ONCE;
                    all_seen && room && places.insert(key.clone(), Place { sound, stall: None }).is_none()
                }
            };
            if change.is_some() && !may {
                waiting.insert(key.clone());
            } else {
                waiting.remove(key);
            }
            may
        })
    }

    /// Why a fleet's change does not get on, if it does not.
    pub fn tell(&self, key: &FleetKey, trouble: Option<Reason>) {
        let now = Instant::now();
        self.change(|state| {
            let Some(place) = state.places.get_mut(key) else { return };
            let since = place.stall.as_ref().map(|stall| stall.since);
            if let (Some(reason), None) = (trouble, since) {
                let reason = reason.as_str();
                tracing::warn!(reason, "a change for this operator version does not get on and keeps others waiting");
            }
            let own = |reason| !place.sound || OWN.contains(&reason);
            place.stall = trouble.map(|reason| Stall { since: since.unwrap_or(now), own: own(reason) });
        });
    }

    /// The fleet is gone or cannot be read.
    pub fn leave(&self, key: &FleetKey) {
        self.change(|state| {
            state.places.remove(key);
            state.waiting.remove(key);
            if let Some(unseen) = &mut state.unseen {
                unseen.remove(key);
            }
        });
    }

    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.counts();
        let done = act(&mut state);
        let counts = state.counts();
        if counts != before {
            for (word, count) in ["changing", "stalled", "waiting"].into_iter().zip(counts) {
                self.metrics.set_contract_changes(word, count);
            }
        }
        done
    }
}

impl State {
    fn counts(&self) -> [usize; 3] {
        let stalled = self.places.values().filter(|place| place.stall.is_some()).count();
        [self.places.len() - stalled, stalled, self.waiting.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: Option<ContractChange> = Some(ContractChange::Due);
    const BEGUN: Option<ContractChange> = Some(ContractChange::Begun);

    fn key(n: usize) -> FleetKey {
        FleetKey::new("ns", &n.to_string())
    }

    fn slots() -> Slots {
        Slots::new(Arc::default())
    }

    fn ask(slots: &Slots, n: usize, change: Option<ContractChange>) -> bool {
        slots.ask(&key(n), change, true, Vec::new)
    }

    /// All places taken, each by a change that stalls.
    fn full(trouble: Reason, sound: bool) -> Slots {
        let slots = slots();
        for n in 0..AT_ONCE {
            assert!(slots.ask(&key(n), DUE, sound, Vec::new));
            slots.tell(&key(n), Some(trouble));
        }
        slots
    }

    #[tokio::test(start_paused = true)]
    async fn lets_a_few_in_and_the_next_when_one_is_done() {
        let slots = slots();
        assert!((0..AT_ONCE).all(|n| ask(&slots, n, DUE)));
        assert!(!ask(&slots, 99, DUE));
        assert!(ask(&slots, 0, DUE) && ask(&slots, 0, BEGUN), "it has its place already");
        assert!(!ask(&slots, 50, None), "who changes by himself takes none");
        assert!(!ask(&slots, 99, DUE));
        ask(&slots, 0, None);
        assert!(ask(&slots, 99, DUE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_contract_that_breaks_fleets_breaks_a_handful_of_them() {
        let slots = full(Reason::CrashLoop, true);
        tokio::time::advance(OWN_STALL_MOST * 100).await;
        assert!(!ask(&slots, 99, DUE), "it went on spreading");
        let page = slots.metrics.encode();
        assert!(page.contains("contract_changes{state=\"stalled\"} 5"), "{page}");
        assert!(page.contains("contract_changes{state=\"waiting\"} 1"), "{page}");
        slots.tell(&key(0), None);
        assert!(!ask(&slots, 99, DUE), "it gets on, but is not done");
        slots.leave(&key(0));
        assert!(ask(&slots, 99, DUE));
    }

    #[tokio::test(start_paused = true)]
    async fn fleets_with_troubles_of_their_own_do_not_hold_up_everybody_for_ever() {
        for (trouble, sound) in [(Reason::QuotaExceeded, true), (Reason::CrashLoop, false)] {
            let slots = full(trouble, sound);
            assert!(!ask(&slots, 99, DUE), "it may be a registry that is down for all");
            tokio::time::advance(OWN_STALL_MOST).await;
            slots.tell(&key(0), Some(Reason::ImageUnavailable));
            assert!(ask(&slots, 99, DUE));
            assert!(ask(&slots, 0, BEGUN), "who was passed over still goes on");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_start_those_in_the_middle_take_their_places_first() {
        let slots = slots();
        let all = || (0..10).map(key).collect::<Vec<_>>();
        assert!(!slots.ask(&key(9), DUE, true, all), "others may be in the middle");
        assert!((0..=AT_ONCE).all(|n| slots.ask(&key(n), BEGUN, true, all)), "nobody is sent back");
        slots.leave(&key(6));
        assert!(!slots.ask(&key(7), None, true, all));
        assert!(!slots.ask(&key(8), DUE, true, all), "all were looked at, and there are enough");
        slots.leave(&key(0));
        slots.leave(&key(1));
        assert!(slots.ask(&key(8), DUE, true, all));
    }
}
