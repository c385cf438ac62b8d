//! The time of day, as something that is passed in.

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the time of day. Passed in, so that tests decide what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
