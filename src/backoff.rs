//! Growing pauses between attempts. Pure: the caller keeps the count and brings the chance.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    time::Duration,
};

/// How pauses grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// No pause is longer.
    pub most: Duration,
}

impl Backoff {
    /// For a fleet whose reconcile fails: soon once, because most failures are races, and then rarely, because what
    /// remains needs a person; five minutes is what a person waits without asking.
    pub const FLEET: Self = Self { first: Duration::from_millis(250), most: Duration::from_mins(5) };

    /// For a watch that fails: a server that restarts is back within seconds, and each watch asks for itself.
    pub const WATCH: Self = Self { first: Duration::from_millis(250), most: Duration::from_secs(30) };

    /// The pause after `failures` failures in a row (1 or more). Doubles each time and is spread over the upper half
    /// of its length by `chance` (0 to 1), so that what failed together is not tried again together.
    pub fn pause(self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let whole = self.first.saturating_mul(1 << doublings).min(self.most);
        whole.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }
}

/// A number from 0 to 1 that differs from call to call. Not for secrets.
pub fn chance() -> f64 {
    f64::from(draw()) / f64::from(u32::MAX)
}

/// A number that differs from call to call. Not for secrets.
pub fn draw() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubles_up_to_the_most() {
        let pauses: Vec<_> = (1..=12).map(|n| Backoff::FLEET.pause(n, 1.0).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000]);
    }

    proptest! {
        #[test]
        fn stays_between_half_and_whole(failures in 0_u32.., chance in 0.0_f64..=1.0) {
            let pause = Backoff::WATCH.pause(failures, chance);
            prop_assert!(pause >= Backoff::WATCH.first / 2);
            prop_assert!(pause <= Backoff::WATCH.most);
        }
    }

    #[test]
    fn chance_differs() {
        let drawn: std::collections::BTreeSet<_> = (0..32).map(|_| chance().to_bits()).collect();
        assert!(drawn.len() > 16);
    }
}
