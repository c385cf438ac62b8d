//! How many fleets may change at once for no other reason than a new operator.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::cache::FleetKey;

/// Few enough that a bad engine contract is noticed before it is everywhere, enough that a thousand fleets are through
/// within hours.
const AT_ONCE: usize = 5;

/// Fleets that are changing now, for whatever reason: a change that only a new operator asks for starts while there
/// are few of them.
#[derive(Debug, Default)]
pub struct Slots(Mutex<HashSet<FleetKey>>);

impl Slots {
    /// Whether this fleet may start such a change. It holds a place from here on, until told otherwise.
    pub fn ask(&self, key: &FleetKey) -> bool {
        let mut changing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if changing.contains(key) {
            return true;
        }
        changing.len() < AT_ONCE && changing.insert(key.clone())
    }

    /// Whether this fleet is changing, as its plan found.
    pub fn set(&self, key: &FleetKey, changing: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if changing {
            all.insert(key.clone());
        } else {
            all.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_a_few_in_and_the_next_when_one_is_done() {
        let slots = Slots::default();
        let key = |n: usize| FleetKey::new("ns", &n.to_string());
        assert!((0..AT_ONCE).all(|n| slots.ask(&key(n))));
        assert!(!slots.ask(&key(99)));
        assert!(slots.ask(&key(0)), "it has its place already");
        slots.set(&key(0), false);
        assert!(slots.ask(&key(99)));
        // A change by the user takes place whether there is room or not, and counts.
        slots.set(&key(50), true);
        slots.set(&key(99), false);
        assert!(!slots.ask(&key(98)));
    }
}
