//! Chance that can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

/// A linear congruential generator with Knuth's constants, of which the upper bits are used: the same seed throws the
/// same on every machine.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Throws the same from the same seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of so many sides, counted from 0.
    pub fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let sides = u64::try_from(sides.max(1)).unwrap_or(1);
        usize::try_from((self.0 >> 33) % sides).unwrap_or(0)
    }

    /// Brings `count` items drawn from all of them to the front.
    pub fn shuffle<T>(&mut self, items: &mut [T], count: usize) {
        for at in 0..count.min(items.len()) {
            let other = at + self.throw(items.len() - at);
            items.swap(at, other);
        }
    }
}

/// `FAULTS_SEED` repeats a sample of faults; without it, each run draws another one.
pub fn seed() -> u64 {
    let given = std::env::var("FAULTS_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |passed| passed.as_secs()))
}

/// `FAULTS_SAMPLE` sets another size of a sample of faults.
pub fn sample(usual: usize) -> usize {
    std::env::var("FAULTS_SAMPLE").ok().and_then(|text| text.parse().ok()).filter(|size| *size > 0).unwrap_or(usual)
}
