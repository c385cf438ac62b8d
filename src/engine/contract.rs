//! What a container of Athens needs and promises: paths, ports, times, probes, and the pod built from them.
//!
//! The image's own entry point stays: it is an init that reaps what `go`, `git` and `ssh` leave behind. Everything that
//! the configuration file can say is said there; the environment only holds what the file cannot.

mod pod;

use std::time::Duration;

pub use pod::pod_template;
pub use secrets::{CLOUD_FILE, misses_key_file};

use super::coordination;
use crate::plan::validate::ValidFleet;

/// Raised when pods of unchanged fleets must be made anew: that restarts them, a bounded number at a time.
pub const ENGINE_CONTRACT: u32 = 1;

/// Name of the container.
pub const CONTAINER: &str = "athens";
/// Port of the proxy, its probes and its metrics.
pub const PORT: u16 = 3000;
/// Name of that port.
pub const PORT_NAME: &str = "http";
/// Answers 200 while the process handles requests at all.
pub const LIVE_PATH: &str = "/healthz";
/// Answers 200 while the storage can be read.
pub const READY_PATH: &str = "/readyz";

/// Key of the configuration file in its ConfigMap.
pub const CONFIG_FILE: &str = "config.toml";
/// Where that ConfigMap is mounted: over the sample file of the image, so that nobody starts with its placeholders.
pub const CONFIG_DIRECTORY: &str = "/config";
/// Where the volume is mounted.
pub const DATA_DIRECTORY: &str = "/var/lib/athens";
/// Where fetches work. It is the system's own temporary directory, because the go command and git are told no other.
pub const SCRATCH_DIRECTORY: &str = "/tmp";
/// Home of the engine: git and go keep small files there.
pub const HOME_DIRECTORY: &str = "/home/athens";
/// Where the CA bundle's ConfigMap is mounted, as a directory: a file mounted by itself would never be updated.
pub const CA_DIRECTORY: &str = "/etc/goproxy/ca";
/// Name of the bundle in it.
pub const CA_FILE: &str = "bundle.crt";

/// Longest answer to a question for versions. Such questions are small next to a fetch, and each holds a place.
const LIST_SECONDS: u64 = 300;
/// For the answer that follows a fetch to reach the client.
const ANSWER_SECONDS: u64 = 10;
/// For routes to the pod to be withdrawn everywhere before it stops to listen. Athens closes its port at the signal.
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

/// Rounded up, and never 0: the engine takes 0 as "give up at once".
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// What the engine says when it read its configuration and will not start with it.
const REFUSALS: [&str; 3] = ["Could not load config file:", "Could not parse log level", "Could not create App:"];

/// What it says in the same words although the place is to blame: a volume, an image without the go command, a file's owner,
/// or a server that does not answer.
const NOT_THE_CONFIGURATION: [&str; 11] = [
    "no such file or directory",
    "executable file not found",
    "permission denied",
    "could not check if root directory",
    "could not create new storage from os fs",
    "connection refused",
    "connection reset",
    "no route to host",
    "no such host",
    "i/o timeout",
    "context deadline exceeded",
];

/// Whether a container that ended with this code and these last words refused its configuration, rather than crashed.
pub fn is_config_refusal(exit_code: i32, message: &str) -> bool {
    // The refusal is the last thing it says. Lines before may quote requests, and so anybody's words.
    let last = message.trim_end().lines().last().unwrap_or_default();
    exit_code == 1
        && REFUSALS.iter().any(|refusal| last.contains(refusal))
        && !NOT_THE_CONFIGURATION.iter().any(|cause| last.contains(cause))
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

    /// Last words of real runs of v0.18.1.
    #[test]
    fn tells_a_refused_configuration_from_other_ends() {
        let json = |text: &str| format!(r#"{{"time":"2026-11-21T10:55:20Z","level":"ERROR","msg":"{text}"}}"#);
        for refused in [
            r#"2026/11/21 10:55:20 Could not load config file: storage type "bogus" is unknown"#.to_owned(),
            "2026/11/21 10:55:20 Could not load config file: toml: line 1: expected '.' or '=', but got '\\n' instead\n".to_owned(),
            r#"2026/11/21 10:55:20 Could not parse log level "x": not a valid log level: "x""#.to_owned(),
            "{\"level\":\"INFO\",\"msg\":\"starts\"}\n".to_owned()
                + &json("Could not create App: adding proxy routes: sumdb: http://a must have an https scheme"),
            json("Could not create App: adding proxy routes: incorrect env format: A"),
        ] {
            assert!(is_config_refusal(1, &refused), "{refused}");
            assert!(!is_config_refusal(137, &refused), "killed: {refused}");
        }
        for other in [
            "2026/11/21 10:55:20 Could not load config file: open /config/config.toml: no such file or directory"
                .to_owned(),
            json("Could not create App: adding proxy routes: exec: \\\"go\\\": executable file not found in $PATH"),
            json(
                "Could not create App: getting storage configuration: could not create new storage from os fs (root directory `/x` does not exist)",
            ),
            json("Could not listen on TCP port \\\":3000\\\": listen tcp :3000: bind: address already in use"),
            json("Could not create App: adding proxy routes: dial tcp 10.0.0.9:6379: connect: connection refused"),
            json("Could not create App: adding proxy routes: dial tcp: lookup redis.build.svc: no such host"),
            json("Could not shut down server: context deadline exceeded"),
            json("Could not create App: quoted by a request")
                + "\n"
                + &json("Could not shut down server: context deadline exceeded"),
            String::new(),
        ] {
            assert!(!is_config_refusal(1, &other), "{other}");
        }
    }
}
