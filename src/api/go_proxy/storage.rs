//! The storage part of a `GoProxy`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{quantity::Quantity, rule};

/// Why none or two places are refused.
pub const ONE_STORAGE: &str =
    "modules live in one place: set exactly one of memory and disk, or leave storage out for a disk of 20Gi";

/// Where modules are kept: exactly one of the back-ends.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("[has(self.memory), has(self.disk)].filter(x, x).size() == 1")
        .message(ONE_STORAGE)
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// What becomes of the stored modules when this object is deleted: Retain or Delete. Default: Retain. Delete also needs the
    /// annotation goproxy.rs/confirm-delete with the fleet's name as its value; until then the volume is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "WhenDeleted")]
    pub when_deleted: Option<WhenDeleted>,

    /// Modules live in the pod's memory and are lost with it: for trials and tests. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MemoryStorage")]
    pub memory: Option<MemoryStorage>,

    /// Modules live on a PersistentVolumeClaim, NAME-data, which only one proxy writes at a time. Default: this one, when
    /// `storage` is absent. A change therefore ends the running proxy before the next one starts: nobody is served meanwhile, and with
    /// a next one that cannot start (a wrong image, say) until the spec is mended, or set back, which starts exactly the old one again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DiskStorage")]
    pub disk: Option<DiskStorage>,
}

/// What becomes of stored modules.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum WhenDeleted {
    /// They are kept; a fleet of the same name finds them again.
    #[default]
    Retain,
    /// They are deleted, once the annotation confirms it.
    Delete,
}

/// Modules in the pod's memory.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct MemoryStorage {}

/// Modules on a volume.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DiskStorage {
    /// Size of the volume. Unit: bytes, as a Kubernetes quantity. Default: 20Gi. It can grow where the StorageClass allows it, never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    #[x_kube(validation = rule::VOLUME_SIZE.rule())]
    pub size: Option<Quantity>,

    /// StorageClass of the volume. Default: the cluster's default class. It cannot change later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    #[x_kube(validation = rule::OBJECT_NAME.rule())]
    pub storage_class_name: Option<String>,

    /// How the volume is attached: ReadWriteOnce or ReadWriteOncePod. Default: ReadWriteOnce. The latter lets Kubernetes itself
    /// refuse a second pod, if the StorageClass has it. It cannot change later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessMode")]
    pub access_mode: Option<AccessMode>,
}

/// How a volume is attached.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum AccessMode {
    /// To one node.
    #[default]
    ReadWriteOnce,
    /// To one pod.
    ReadWriteOncePod,
}
