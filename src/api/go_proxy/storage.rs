//! The storage part of a `GoProxy`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AzureBlobStorage, ExternalStorage, GcsStorage, MinioStorage, MongoStorage, S3Storage};
use crate::api::{quantity::Quantity, rule};

/// Why none or two places are refused.
pub const ONE_STORAGE: &str = "modules live in one place: set exactly one of memory, disk, s3, gcs, azureBlob, mongo, minio and external, or leave storage out for a disk of 20Gi";

/// Why a promise to delete what is not the fleet's own is refused.
pub const DELETE_ELSEWHERE: &str =
    "'Delete' reaches the fleet's own volume alone: remove whenDeleted, and empty the bucket or the database yourself";

/// Why the end of a volume that is not the fleet's own is refused.
pub const NOT_OURS_TO_DELETE: &str =
    "a claim that exists already is not this fleet's to delete: remove whenDeleted, or leave out existingClaim";

/// Why properties of a volume that exists already are refused.
pub const NOT_OURS_TO_CHANGE: &str =
    "'%s' exists already and is taken as it is: remove size and storageClassName, or leave out existingClaim";

/// Why a fleet's own volume cannot be named.
pub const OWN_CLAIM: &str = "'%s' is the name of the volume that this fleet makes by itself: leave out existingClaim to use that one, or give the fleet another name";

/// Where modules are kept: exactly one of the back-ends.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.whenDeleted) || self.whenDeleted != 'Delete' || !has(self.disk) || !has(self.disk.existingClaim)")
        .message(NOT_OURS_TO_DELETE)
        .field_path(".whenDeleted"),
    validation = Rule::new("[has(self.memory), has(self.disk), has(self.s3), has(self.gcs), has(self.azureBlob), has(self.mongo), has(self.minio), has(self.external)].filter(x, x).size() == 1")
        .message(ONE_STORAGE),
    validation = Rule::new("!has(self.whenDeleted) || self.whenDeleted != 'Delete' || has(self.memory) || has(self.disk)")
        .message(DELETE_ELSEWHERE)
        .field_path(".whenDeleted")
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// What becomes of the stored modules when this object is deleted: Retain or Delete. Default: Retain. Delete also needs the
    /// annotation goproxy.rs/confirm-delete with the fleet's name as its value; until then the volume is kept. Buckets,
    /// databases and services of your own are always kept, and Delete is refused with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "WhenDeleted")]
    pub when_deleted: Option<WhenDeleted>,

    /// Modules live in the pod's memory and are lost with it: for trials and tests. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MemoryStorage")]
    pub memory: Option<MemoryStorage>,

    /// Modules live on a PersistentVolumeClaim, NAME-data. Only one proxy writes it at a time, unless its access mode is
    /// ReadWriteMany and `lock` names redis or etcd. Default: this one, when `storage` is absent. With one writer a change ends the
    /// running proxy before the next one starts: nobody is served meanwhile, and with a next one that cannot start (a wrong image, say) until the spec is mended, or set
    /// back, which starts exactly the old one again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DiskStorage")]
    pub disk: Option<DiskStorage>,

    /// Modules live in a bucket of S3 or of a store that speaks its protocol. How objects are encrypted at rest is the bucket's own
    /// setting, its default encryption, with a key of yours too: Athens can ask for it with each object from v0.19.0 on, which this
    /// operator was not tested with. A bucket whose policy denies uploads that do not ask for it cannot be used. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "S3Storage")]
    pub s3: Option<S3Storage>,

    /// Modules live in a bucket of Google Cloud Storage. Tested against a server that stands for it. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GcsStorage")]
    pub gcs: Option<GcsStorage>,

    /// Modules live in a container of Azure Blob Storage. Of that, no more was tested than that the engine starts with it and asks the
    /// account's address. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AzureBlobStorage")]
    pub azure_blob: Option<AzureBlobStorage>,

    /// Modules live in a MongoDB database. Tested against FerretDB, which speaks its protocol. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MongoStorage")]
    pub mongo: Option<MongoStorage>,

    /// Modules live in a MinIO bucket, reached with an old client: it sees at most about 330 versions of a module and takes
    /// 600 MB of memory for an upload. `s3` reaches the same server and is better. Tested against another store, by its S3 protocol.
    /// Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MinioStorage")]
    pub minio: Option<MinioStorage>,

    /// Modules live behind a service of your own that speaks the engine's storage protocol. Tested with a service of our own
    /// alone. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ExternalStorage")]
    pub external: Option<ExternalStorage>,
}

impl Storage {
    /// How many places are named. Taken apart whole, so that a new one that is not counted does not compile.
    pub fn places(&self) -> usize {
        let Self { when_deleted: _, memory, disk, s3, gcs, azure_blob, mongo, minio, external } = self;
        let named = [
            memory.is_some(),
            disk.is_some(),
            s3.is_some(),
            gcs.is_some(),
            azure_blob.is_some(),
            mongo.is_some(),
            minio.is_some(),
            external.is_some(),
        ];
        named.into_iter().filter(|named| *named).count()
    }
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
#[x_kube(
    validation = Rule::new("!has(self.existingClaim) || (!has(self.size) && !has(self.storageClassName))")
        .message(rule::shown(NOT_OURS_TO_CHANGE, "self.existingClaim"))
        .field_path(".existingClaim")
)]
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

    /// How the volume is attached: ReadWriteOnce, ReadWriteOncePod or ReadWriteMany. Default: ReadWriteOnce. ReadWriteOncePod
    /// lets Kubernetes itself refuse a second pod, if the StorageClass has it. ReadWriteMany allows several proxies, which
    /// then need `lock`. It cannot change later, except with `existingClaim`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessMode")]
    pub access_mode: Option<AccessMode>,

    /// A PersistentVolumeClaim of the fleet's namespace that exists already, for instance one that an Athens run by hand filled: its
    /// modules, in the root of the volume, are served from then on. Default: absent, the operator makes a volume of the fleet's own.
    /// The claim is never changed, and never deleted with the fleet. The fleet starts once no other pod mounts it, and its
    /// `accessMode` says how it is used, so write ReadWriteMany only if the claim has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    #[x_kube(validation = rule::OBJECT_NAME.rule())]
    pub existing_claim: Option<String>,
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
    /// To any number of nodes.
    ReadWriteMany,
}
