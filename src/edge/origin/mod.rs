//! Mirrors: which is asked next, how often one may be asked, and when it is left alone.
//!
//! Plain state machines. Time is given to them as a [`Moment`], read by the caller from a clock that never goes back.

pub mod breaker;
pub mod chain;
pub mod pacing;
pub mod score;

use std::time::Duration;

/// A reading of a clock that never goes back: the time since the program began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl Moment {
    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// How long ago `earlier` was; nothing if it is still to come.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
