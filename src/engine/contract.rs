//! What the pods of every engine have in common: port, directories, times, and the pod built from them.

mod pod;
pub mod sidecar;
mod way_out;

use std::{collections::BTreeMap, time::Duration};

pub use pod::pod_template;

use self::sidecar::Sidecar;
use super::{Program, coordination};
use crate::plan::validate::ValidFleet;

/// Raised when pods of unchanged fleets must be made anew: that restarts them, a bounded number at a time.
pub const ENGINE_CONTRACT: u32 = 1;

/// Port of the proxy, its probes and its metrics.
pub const PORT: u16 = 3000;
/// Name of that port.
pub const PORT_NAME: &str = "http";
/// Where fetches work. It is the system's own temporary directory, because the go command and git are told no other.
pub const SCRATCH_DIRECTORY: &str = "/tmp";
/// Where the CA bundle's ConfigMap is mounted, as a directory: a file mounted by itself would never be updated.
pub const CA_DIRECTORY: &str = "/etc/goproxy/ca";
/// Name of the bundle in it.
pub const CA_FILE: &str = "bundle.crt";
/// Where logins for Git servers are mounted: a directory for each host, a file for each key.
pub const LOGIN_DIRECTORY: &str = "/etc/goproxy/logins";

/// Longest answer to a question for versions. Such questions are small next to a fetch, and each holds a place.
const LIST_SECONDS: u64 = 300;
/// For the answer that follows a fetch to reach the client.
const ANSWER_SECONDS: u64 = 10;
/// For routes to the pod to be withdrawn everywhere before it stops to listen. An engine closes its port at the signal.
const ROUTES_SECONDS: u64 = 5;
/// For what remains after the engine's own deadline: it stops its exporters, and the init ends its children.
const MARGIN_SECONDS: u64 = 10;

/// Times that follow from the longest fetch, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// One storage operation, or one question for versions.
    pub storage_timeout: u64,
    /// One fetch until it is stored.
    pub stash_timeout: u64,
    /// How long a stopping engine waits for requests under way: a whole fetch and its answer.
    pub shutdown_timeout: u64,
    /// How long a pod goes on serving after it was told to stop. `None` where its successor waits for its end: a pause would
    /// only make the change longer.
    pub pre_stop: Option<u64>,
    /// When the kubelet kills what still runs. It is more than all of the above together.
    pub grace_period: u64,
}

impl Timing {
    /// Of a fleet.
    pub fn of(fleet: &ValidFleet) -> Self {
        let fetch = whole_seconds(fleet.engine.fetch_timeout);
        let shutdown_timeout = fetch + ANSWER_SECONDS;
        let pre_stop = coordination::may_overlap(fleet).then_some(ROUTES_SECONDS);
        Self {
            storage_timeout: fetch.min(LIST_SECONDS),
            stash_timeout: fetch,
            shutdown_timeout,
            pre_stop,
            grace_period: pre_stop.unwrap_or(0) + shutdown_timeout + MARGIN_SECONDS,
        }
    }
}

/// Files of a revision's ConfigMap: those of the engine, and what its sidecar is told.
pub fn files(fleet: &ValidFleet, program: &Program) -> BTreeMap<String, String> {
    let sidecar = Sidecar::of(fleet, program).map(|sidecar| (sidecar::CONFIG_FILE.to_owned(), sidecar.text()));
    program.files.clone().into_iter().chain(sidecar).collect()
}

/// Rounded up, and never 0: the engine takes 0 as "give up at once".
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{fixture::smallest, validate::ValidStorage};

    fn fetching_at_most(fetch_timeout: Duration, storage: ValidStorage) -> Timing {
        let mut fleet = ValidFleet { storage, ..smallest() };
        fleet.engine.fetch_timeout = fetch_timeout;
        Timing::of(&fleet)
    }

    #[test]
    fn nobody_is_killed_within_the_time_a_fetch_may_take() {
        let disk = smallest().storage;
        for storage in [ValidStorage::Memory, disk] {
            for fetch in [Duration::from_secs(10), Duration::from_mins(10), Duration::from_hours(1)] {
                let timing = fetching_at_most(fetch, storage.clone());
                assert_eq!(timing.stash_timeout, fetch.as_secs());
                assert!(timing.shutdown_timeout > timing.stash_timeout, "{timing:?}");
                let needed = timing.pre_stop.unwrap_or(0) + timing.shutdown_timeout;
                assert!(timing.grace_period > needed, "{timing:?}");
                assert!(timing.storage_timeout <= timing.stash_timeout, "{timing:?}");
            }
        }
    }

    #[test]
    fn one_writer_does_not_pause_before_it_stops() {
        let fetch = Duration::from_mins(10);
        assert_eq!(fetching_at_most(fetch, smallest().storage).pre_stop, None);
        assert_eq!(fetching_at_most(fetch, ValidStorage::Memory).pre_stop, Some(5));
    }

    #[test]
    fn part_of_a_second_counts_as_one() {
        assert_eq!(fetching_at_most(Duration::from_millis(10_001), ValidStorage::Memory).stash_timeout, 11);
        assert_eq!(fetching_at_most(Duration::ZERO, ValidStorage::Memory).stash_timeout, 1);
    }
}
