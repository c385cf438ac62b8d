//! What pods of every kind have in common: they pass Pod Security `restricted`, and hold every field in the form the API server stores.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, EmptyDirVolumeSource, PodSecurityContext, ResourceRequirements, SeccompProfile, SecurityContext,
        TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity as StoredQuantity, apis::meta::v1::LabelSelector},
};

use crate::api::quantity::Quantity;

/// A pod that runs as this user and group, which own its volumes.
pub fn pod_security(user: i64) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(user),
        run_as_group: Some(user),
        fs_group: Some(user),
        // A big volume that has the right owner already is not walked at every start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        ..PodSecurityContext::default()
    }
}

/// A container that can get no further rights, and writes to volumes alone.
pub fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

/// Requests and limits, of CPU and of memory.
pub fn resources(cpu: (Quantity, Option<Quantity>), memory: (Quantity, Quantity)) -> ResourceRequirements {
    let amounts = |cpu: Option<Quantity>, memory: Quantity| {
        let amounts = cpu.map(|cpu| ("cpu", cpu)).into_iter().chain([("memory", memory)]);
        Some(amounts.map(|(name, amount)| (name.to_owned(), stored(amount))).collect())
    };
    ResourceRequirements {
        requests: amounts(Some(cpu.0), memory.0),
        limits: amounts(cpu.1, memory.1),
        ..ResourceRequirements::default()
    }
}

/// Pods with these labels, over zones and nodes.
pub fn spread(labels: &BTreeMap<String, String>) -> Vec<TopologySpreadConstraint> {
    ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            // A wish, not a demand: a fleet on one node is better than one that waits.
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(selector(labels.clone())),
            ..TopologySpreadConstraint::default()
        })
        .into()
}

/// What has these labels.
pub fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

/// A map, or nothing where the API server would drop it.
pub fn some_map(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| map.clone())
}

/// A quantity as the API server stores it.
pub fn stored(quantity: Quantity) -> StoredQuantity {
    StoredQuantity(quantity.to_string())
}

/// Room on the node's disk, for as long as the pod lives.
pub fn empty_dir(name: &str, size: Quantity) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { size_limit: Some(stored(size)), ..EmptyDirVolumeSource::default() }),
        ..Volume::default()
    }
}

/// A volume at a path.
pub fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

/// The same, for reading alone.
pub fn read_only(mount: VolumeMount) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount }
}
