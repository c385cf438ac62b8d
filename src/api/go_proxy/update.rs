//! What a change of a `GoProxy` may not do: lose data, or ask for what Kubernetes refuses later.

use kube::core::Rule;

use crate::api::rule;

/// Why a smaller volume is refused: the new size, then the old one.
pub const SHRINK: &str = "'%s' is less than the volume has: volumes cannot shrink; keep '%s' or more";

/// Why another class is refused.
pub const CLASS: &str = "it cannot change, because the volume with its modules exists already: go back to the old value, or make a fleet of another name";

/// Why another class for the volume of the locks is refused.
pub const LOCK_CLASS: &str = "it cannot change, because the volume of the locks exists already: go back to the old value, or make a fleet of another name";

/// Why another balancer is refused.
pub const BALANCER: &str = "it cannot change while the Service has a load balancer: set type to ClusterIP first, then to LoadBalancer with the new class";

/// `then`, unless one side keeps its modules elsewhere or on a volume that is not its own: a volume that is used again is
/// judged when it is claimed.
fn on_disk(then: &str) -> String {
    let elsewhere = |object: &str| {
        format!("(has({object}.storage) && (!has({object}.storage.disk) || has({object}.storage.disk.existingClaim)))")
    };
    format!("{} || {} || {then}", elsewhere("self"), elsewhere("oldSelf"))
}

/// A field of the disk, or its default.
fn disk(object: &str, field: &str, default: &str) -> String {
    format!(
        "(has({object}.storage) && has({object}.storage.disk.{field}) ? {object}.storage.disk.{field} : '{default}')"
    )
}

fn unchanged(field: &str, default: &str) -> Rule {
    Rule::new(on_disk(&format!("{} == {}", disk("self", field, default), disk("oldSelf", field, default))))
        .message(CLASS)
        .field_path(format!(".storage.disk.{field}"))
}

/// A volume does not shrink.
pub(super) fn shrink_rule() -> Rule {
    // A size is a number or a text: `string` makes one of both.
    let (new, old) = (disk("self", "size", "20Gi"), disk("oldSelf", "size", "20Gi"));
    Rule::new(on_disk(&format!("quantity(string({new})).compareTo(quantity(string({old}))) >= 0")))
        .message(rule::shown(SHRINK, &format!("{new}, {old}")))
        .field_path(".storage.disk.size")
}

/// A volume keeps its class.
pub(super) fn class_rule() -> Rule {
    unchanged("storageClassName", "")
}

/// A volume keeps its access mode.
pub(super) fn access_mode_rule() -> Rule {
    unchanged("accessMode", "ReadWriteOnce")
}

/// The volume of the locks keeps its class.
pub(super) fn lock_class_rule() -> Rule {
    let volume = |object: &str| format!("{object}.lock.managedRedis.persistence");
    let kept = |object: &str| {
        let [lock, redis] = ["lock", "lock.managedRedis"].map(|field| format!("has({object}.{field})"));
        format!("{lock} && {redis} && has({})", volume(object))
    };
    let class = |object: &str| {
        let class = format!("{}.storageClassName", volume(object));
        format!("(has({class}) ? {class} : '')")
    };
    Rule::new(format!("!({} && {}) || {} == {}", kept("self"), kept("oldSelf"), class("self"), class("oldSelf")))
        .message(LOCK_CLASS)
        .field_path(".lock.managedRedis.persistence.storageClassName")
}

/// A load balancer keeps its class.
pub(super) fn balancer_rule() -> Rule {
    let balanced = |object: &str| {
        format!("has({object}.service) && has({object}.service.type) && {object}.service.type == 'LoadBalancer'")
    };
    let class =
        |object: &str| format!("(has({object}.service.loadBalancerClass) ? {object}.service.loadBalancerClass : '')");
    Rule::new(format!(
        "!({} && {}) || {} == {}",
        balanced("self"),
        balanced("oldSelf"),
        class("self"),
        class("oldSelf")
    ))
    .message(BALANCER)
    .field_path(".service.loadBalancerClass")
}
