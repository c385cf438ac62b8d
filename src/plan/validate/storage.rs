//! Where modules are kept and what is locked, resolved.

use crate::api::{go_proxy::AccessMode, quantity::Quantity};

/// Where modules are kept. Secrets are named, never held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidStorage {
    /// In the pod.
    Memory,
    /// On a volume.
    Disk {
        /// Which one.
        volume: Volume,
        /// How it is attached.
        access_mode: AccessMode,
    },
    /// In a bucket of S3 or of a store that speaks its protocol.
    S3 {
        /// Its name.
        bucket: String,
        /// Its region.
        region: String,
        /// The store's address; AWS' own without.
        endpoint: Option<String>,
        /// Whether addresses hold the bucket in their path.
        path_style: bool,
        /// Secret with the keys; the pod's own role without.
        secret: Option<String>,
    },
    /// In a bucket of Google Cloud Storage.
    Gcs {
        /// Its name.
        bucket: String,
        /// Its project, if it is named.
        project: Option<String>,
        /// Secret with the key file; the pod's own identity without.
        secret: Option<String>,
    },
    /// In a container of Azure Blob Storage.
    AzureBlob {
        /// The storage account.
        account: String,
        /// The container.
        container: String,
        /// How the engine logs in.
        identity: AzureIdentity,
    },
    /// In a MongoDB database.
    Mongo {
        /// Secret with the connection string.
        secret: String,
        /// Database.
        database: String,
        /// Collection.
        collection: String,
    },
    /// In a MinIO bucket, by the old client.
    Minio {
        /// Host and port.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// Its region, if it is named.
        region: Option<String>,
        /// Whether the server is asked over TLS.
        tls: bool,
        /// Secret with the keys.
        secret: String,
    },
    /// Behind a service of one's own.
    External {
        /// Its address.
        url: String,
    },
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Volume {
    /// Of a claim that the operator makes for the fleet.
    Own {
        /// Its size.
        size: Quantity,
        /// Its class; the cluster's default without.
        class: Option<String>,
        /// True when the volume goes with the fleet: the spec says Delete and the annotation confirms it.
        deleted_with_fleet: bool,
    },
    /// Of a claim that somebody else made. It is mounted, and nothing else is ever done to it.
    Existing {
        /// The claim's name.
        claim: String,
    },
}

/// How the engine logs in to Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureIdentity {
    /// With the account's key, from this Secret.
    Key(String),
    /// As this managed identity.
    Managed(String),
}

impl ValidStorage {
    /// Whether several proxies can reach it.
    pub const fn is_shared(&self) -> bool {
        match self {
            Self::Memory => false,
            Self::Disk { access_mode, .. } => matches!(access_mode, AccessMode::ReadWriteMany),
            Self::S3 { .. }
            | Self::Gcs { .. }
            | Self::AzureBlob { .. }
            | Self::Mongo { .. }
            | Self::Minio { .. }
            | Self::External { .. } => true,
        }
    }

    /// Whether modules are kept on a volume that the operator makes for the fleet.
    pub const fn has_own_volume(&self) -> bool {
        matches!(self, Self::Disk { volume: Volume::Own { .. }, .. })
    }

    /// The claim of somebody else that modules are kept on.
    pub fn foreign_claim(&self) -> Option<&str> {
        if let Self::Disk { volume: Volume::Existing { claim }, .. } = self { Some(claim) } else { None }
    }
}

/// What keeps two proxies from storing one module at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidLock {
    /// Nothing beyond each proxy's own.
    InProcess,
    /// The storage's own.
    Native,
    /// Redis.
    Redis(ValidRedis),
    /// etcd.
    Etcd {
        /// Host and port of each member.
        addresses: Vec<String>,
    },
}

/// Redis as part of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedRedis {
    /// Name of the Secret with its login. Empty until the plan has named it.
    pub login: String,
    /// Its image.
    pub image: String,
    /// Size and class of its volume; none where locks may be lost with its pod.
    pub persistence: Option<(Quantity, Option<String>)>,
}

/// Redis as a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidRedis {
    /// How it is found.
    pub servers: RedisServers,
    /// Whether it is asked over TLS.
    pub tls: bool,
    /// User of its access control, if named.
    pub username: Option<String>,
    /// Secret with the password, if there is one.
    pub secret: Option<String>,
}

/// How Redis is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServers {
    /// At this host and port.
    One(String),
    /// As what sentinels know by this name.
    Sentinel {
        /// The name.
        master_name: String,
        /// Host and port of each sentinel.
        addresses: Vec<String>,
    },
    /// As a cluster with these members.
    Cluster(Vec<String>),
}

impl ValidLock {
    /// Which lock it is: two that are equal here keep each other out. Logins are no part of it.
    pub fn identity(&self) -> String {
        match self {
            Self::InProcess => "inProcess".to_owned(),
            Self::Native => "native".to_owned(),
            Self::Redis(redis) => match &redis.servers {
                RedisServers::One(address) => format!("redis {address}"),
                RedisServers::Sentinel { master_name, addresses } => {
                    format!("redis sentinel {master_name} {}", addresses.join(","))
                }
                RedisServers::Cluster(addresses) => format!("redis cluster {}", addresses.join(",")),
            },
            Self::Etcd { addresses } => format!("etcd {}", addresses.join(",")),
        }
    }
}
