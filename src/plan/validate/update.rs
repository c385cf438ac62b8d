//! The rules that compare a spec with the one before.

use super::{Refusal, rules::shown};
use crate::api::{
    go_proxy::{
        DiskStorage, GoProxySpec, LockPersistence, Service, ServiceType,
        update::{BALANCER, CLASS, LOCK_CLASS, SHRINK},
    },
    quantity::Quantity,
};

/// Checks a change.
pub fn check(old: &GoProxySpec, new: &GoProxySpec) -> Vec<Refusal> {
    let mut found = Vec::new();
    if let (Some(old), Some(new)) = (disk(old), disk(new)) {
        check_disk(&old, &new, &mut found);
    }
    if let (Some(old), Some(new)) = (locks(old), locks(new))
        && old.storage_class_name != new.storage_class_name
    {
        found.push(Refusal::new("spec.lock.managedRedis.persistence.storageClassName", LOCK_CLASS));
    }
    if let (Some(old), Some(new)) = (balanced(old), balanced(new))
        && old.load_balancer_class != new.load_balancer_class
    {
        found.push(Refusal::new("spec.service.loadBalancerClass", BALANCER));
    }
    found
}

fn check_disk(old: &DiskStorage, new: &DiskStorage, found: &mut Vec<Refusal>) {
    let size = |disk: &DiskStorage| disk.size.unwrap_or(Quantity::gibibytes(20));
    if size(new) < size(old) {
        found.push(shown("spec.storage.disk.size", SHRINK, &[&size(new).to_string(), &size(old).to_string()]));
    }
    if new.storage_class_name != old.storage_class_name {
        found.push(Refusal::new("spec.storage.disk.storageClassName", CLASS));
    }
    if new.access_mode.unwrap_or_default() != old.access_mode.unwrap_or_default() {
        found.push(Refusal::new("spec.storage.disk.accessMode", CLASS));
    }
}

/// The disk of its own that a spec asks for, by default or in words.
fn disk(spec: &GoProxySpec) -> Option<DiskStorage> {
    match &spec.storage {
        None => Some(DiskStorage::default()),
        Some(storage) => storage.disk.clone().filter(|disk| disk.existing_claim.is_none()),
    }
}

/// The volume of the locks that a spec asks for.
fn locks(spec: &GoProxySpec) -> Option<&LockPersistence> {
    spec.lock.as_ref()?.managed_redis.as_ref()?.persistence.as_ref()
}

fn balanced(spec: &GoProxySpec) -> Option<&Service> {
    spec.service.as_ref().filter(|service| service.type_ == Some(ServiceType::LoadBalancer))
}
