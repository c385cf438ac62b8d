//! What several proxies may share, as rules of the CRD. The same table in Rust is `engine::coordination`.

use kube::core::Rule;

use super::{EngineKind, FETCH_BEYOND_LEASE, FETCH_BEYOND_LOCK, NEEDLESS_LOCK, NO_NATIVE_LOCK, engines};
use crate::api::{duration::GoDuration, rule};

const SHARED_DISK: &str = "(has(self.storage) && has(self.storage.disk) && has(self.storage.disk.accessMode) && self.storage.disk.accessMode == 'ReadWriteMany')";

/// Whether the storage is one of these.
fn stored_in(places: &[&str]) -> String {
    let named: Vec<_> = places.iter().map(|place| format!("has(self.storage.{place})")).collect();
    format!("(has(self.storage) && ({}))", named.join(" || "))
}

/// Whether the storage belongs to one proxy: whatever is neither in its pod nor on a volume of one node is shared.
pub fn one_writer() -> String {
    format!("(!has(self.storage) || has(self.storage.memory) || (has(self.storage.disk) && !{SHARED_DISK}))")
}

/// Whether proxies share storage that they damage without a lock between them. Athens writes files in place.
pub fn unlocked() -> String {
    let fragile = stored_in(&["mongo", "minio", "external"]);
    let athens = engines::is(EngineKind::Athens);
    format!("{athens} && ({SHARED_DISK} || {fragile}) && (!has(self.lock) || has(self.lock.inProcess))")
}

/// Refuses more than one pod where `alone` holds.
pub fn replicas_rule(message: &str, alone: &str) -> Rule {
    Rule::new(format!("self.replicas <= 1 || !({alone})"))
        .message(rule::shown(message, "self.replicas"))
        .field_path(".replicas")
}

/// Refuses an autoscaler that would start more than one.
pub fn autoscaling_rule(message: &str, alone: &str) -> Rule {
    Rule::new(format!("!has(self.autoscaling) || self.autoscaling.maxReplicas <= 1 || !({alone})"))
        .message(rule::shown(message, "self.autoscaling.maxReplicas"))
        .field_path(".autoscaling.maxReplicas")
}

/// Refuses a lock service for one proxy.
pub fn needless_lock_rule() -> Rule {
    Rule::new(format!("!has(self.lock) || has(self.lock.inProcess) || has(self.lock.native) || !({})", one_writer()))
        .message(NEEDLESS_LOCK)
        .field_path(".lock")
}

/// Refuses the storage's own lock where it has none. That of s3 is for a later release: `engine::version::GATES`.
pub fn native_lock_rule() -> Rule {
    Rule::new(format!("!has(self.lock) || !has(self.lock.native) || {}", stored_in(&["gcs", "azureBlob", "s3"])))
        .message(NO_NATIVE_LOCK)
        .field_path(".lock.native")
}

/// Refuses a fetch that lasts longer than a lock service can be held.
pub fn fetch_beyond_lock_rule() -> Rule {
    fetch_rule(
        FETCH_BEYOND_LOCK,
        "15m",
        "has(self.lock) && (has(self.lock.redis) || has(self.lock.managedRedis) || has(self.lock.etcd))",
    )
}

/// Refuses a fetch that lasts longer than Azure's lease can be held.
pub fn fetch_beyond_lease_rule() -> Rule {
    let leased = format!("{} && (!has(self.lock) || has(self.lock.native))", stored_in(&["azureBlob"]));
    fetch_rule(FETCH_BEYOND_LEASE, "10m", &leased)
}

/// What is no length of time at all has a rule of its own.
fn fetch_rule(message: &str, longest: &str, locked: &str) -> Rule {
    let (given, pattern) = ("self.engine.fetchTimeout", GoDuration::PATTERN);
    Rule::new(format!(
        "!has(self.engine) || !has({given}) || !{given}.matches(r'{pattern}') || duration({given}) <= duration('{longest}') || !({locked})"
    ))
    .message(rule::shown(message, given))
    .field_path(".engine.fetchTimeout")
}
