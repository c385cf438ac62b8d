//! The tables of the file that say where modules are kept and what locks them. Logins are not in it: they come from Secrets,
//! by environment or as files, and the engine lets those win.

use serde::Serialize;

use crate::{
    engine::{
        athens::{DATA_DIRECTORY, config::protocol_workers},
        contract::Timing,
        coordination::{Together, together},
    },
    plan::validate::{AzureIdentity, RedisServers, ValidFleet, ValidLock, ValidRedis, ValidStorage},
};

/// What a managed identity asks Azure for.
const AZURE_SCOPE: &str = "https://storage.azure.com/.default";
/// A lock outlives what it guards by this, so that it never ends while its holder still writes.
const LOCK_MARGIN_SECONDS: u64 = 60;
/// The engine gives up a request that waits for a lock, or for the fetch behind it, after 15 minutes. A wait ends before that,
/// so that who gets the lock at last still has the time to give it back.
const LONGEST_WAIT_SECONDS: u64 = 14 * 60;

/// The word for the storage.
pub const fn storage_type(storage: &ValidStorage) -> &'static str {
    match storage {
        ValidStorage::Memory => "memory",
        ValidStorage::Disk { .. } => "disk",
        ValidStorage::S3 { .. } => "s3",
        ValidStorage::Gcs { .. } => "gcp",
        ValidStorage::AzureBlob { .. } => "azureblob",
        ValidStorage::Mongo { .. } => "mongo",
        ValidStorage::Minio { .. } => "minio",
        ValidStorage::External { .. } => "external",
    }
}

/// The table of the storage.
#[derive(Serialize)]
pub enum Storage<'a> {
    Disk(Disk),
    S3(S3<'a>),
    #[serde(rename = "GCP")]
    Gcp(Gcp<'a>),
    AzureBlob(AzureBlob<'a>),
    Minio(Minio<'a>),
    External(External<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Disk {
    root_path: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct S3<'a> {
    region: &'a str,
    bucket: &'a str,
    /// The usual chain of environment, files and roles: without it the pod's own role would be ignored.
    use_default_configuration: bool,
    force_path_style: bool,
    endpoint: &'a str,
}

#[derive(Serialize)]
pub struct Gcp<'a> {
    #[serde(rename = "ProjectID")]
    project_id: &'a str,
    #[serde(rename = "Bucket")]
    bucket: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AzureBlob<'a> {
    account_name: &'a str,
    container_name: &'a str,
    #[serde(rename = "ManagedIdentityResourceID")]
    managed_identity_resource_id: &'a str,
    credential_scope: &'static str,
}

#[derive(Serialize)]
pub struct Minio<'a> {
    #[serde(rename = "Endpoint")]
    endpoint: &'a str,
    #[serde(rename = "Bucket")]
    bucket: &'a str,
    #[serde(rename = "Region")]
    region: &'a str,
    #[serde(rename = "EnableSSL")]
    enable_ssl: bool,
}

#[derive(Serialize)]
pub struct External<'a> {
    #[serde(rename = "URL")]
    url: &'a str,
}

impl<'a> Storage<'a> {
    /// Of a fleet. Memory has no settings, and MongoDB's come by environment alone: the engine overwrites what the file says of them.
    pub fn of(storage: &'a ValidStorage) -> Option<Self> {
        let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        Some(match storage {
            ValidStorage::Memory | ValidStorage::Mongo { .. } => return None,
            ValidStorage::Disk { .. } => Self::Disk(Disk { root_path: DATA_DIRECTORY }),
            ValidStorage::S3 { bucket, region, endpoint, path_style, .. } => Self::S3(S3 {
                region,
                bucket,
                use_default_configuration: true,
                force_path_style: *path_style,
                endpoint: text(endpoint),
            }),
            ValidStorage::Gcs { bucket, project, .. } => Self::Gcp(Gcp { project_id: text(project), bucket }),
            ValidStorage::AzureBlob { account, container, identity } => {
                let (managed, scope) = match identity {
                    AzureIdentity::Key(_) => ("", ""),
                    AzureIdentity::Managed(id) => (id.as_str(), AZURE_SCOPE),
                };
                Self::AzureBlob(AzureBlob {
                    account_name: account,
                    container_name: container,
                    managed_identity_resource_id: managed,
                    credential_scope: scope,
                })
            }
            ValidStorage::Minio { endpoint, bucket, region, tls, .. } => {
                Self::Minio(Minio { endpoint, bucket, region: text(region), enable_ssl: *tls })
            }
            ValidStorage::External { url } => Self::External(External { url }),
        })
    }
}

/// The word for the lock.
pub const fn lock_type(storage: &ValidStorage, lock: &ValidLock) -> &'static str {
    match (lock, storage) {
        (ValidLock::Redis(ValidRedis { servers: RedisServers::Sentinel { .. }, .. }), _) => "redis-sentinel",
        (ValidLock::Redis(_), _) => "redis",
        (ValidLock::Etcd { .. }, _) => "etcd",
        (ValidLock::Native, ValidStorage::Gcs { .. }) => "gcp",
        (ValidLock::Native, ValidStorage::AzureBlob { .. }) => "azureblob",
        (ValidLock::InProcess | ValidLock::Native, _) => "memory",
    }
}

/// The table of the lock.
#[derive(Serialize)]
pub enum Lock<'a> {
    Etcd(Etcd),
    Redis(Redis),
    RedisSentinel(RedisSentinel<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Etcd {
    endpoints: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Redis {
    endpoint: String,
    cluster: bool,
    lock_config: LockTimes,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RedisSentinel<'a> {
    endpoints: &'a [String],
    master_name: &'a str,
    /// Said even when there is none: the engine's own default is a password.
    sentinel_password: &'static str,
    redis_username: &'a str,
    #[serde(rename = "DB")]
    db: u8,
    lock_config: LockTimes,
}

/// How long a lock is held, and how long others wait for it. The engine takes the lock first and a worker then, so
/// its holder may have to wait for all fetches that its proxy has before this one; the lock is not renewed
/// meanwhile, and the queue knows no deadline. Where two proxies that store one module would damage it, the lock lives as
/// long as that queue. Where they only do the same twice, it lives as long as one fetch, so that a version is not out of
/// reach for hours when its proxy dies. The engine's own wait of 15 seconds would make every slow fetch fail for everybody else.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LockTimes {
    timeout: u64,
    #[serde(rename = "TTL")]
    ttl: u64,
    max_retries: u64,
}

impl LockTimes {
    /// The engine asks again every second.
    fn of(fleet: &ValidFleet) -> Self {
        let workers = fleet.engine.fetch_workers.max(1);
        // Everybody whom the proxy serves at the same time may wait for a worker; and one fetch may be just under way.
        let turns = u64::from((protocol_workers(workers) / workers + 1).unsigned_abs());
        let fetch = Timing::of(fleet).stash_timeout;
        let queue = turns * fetch + LOCK_MARGIN_SECONDS;
        let ttl = match together(fleet.engine.version.kind(), &fleet.storage, &ValidLock::InProcess) {
            Together::Apart | Together::Safe | Together::Wasteful => fetch + LOCK_MARGIN_SECONDS,
            Together::Damaging => queue,
        };
        let wait = queue.min(LONGEST_WAIT_SECONDS);
        Self { timeout: wait, ttl, max_retries: wait }
    }
}

impl<'a> Lock<'a> {
    /// Of a fleet; the locks within a proxy and of the storage itself have no settings.
    pub fn of(fleet: &'a ValidFleet) -> Option<Self> {
        match &fleet.lock {
            ValidLock::InProcess | ValidLock::Native => None,
            ValidLock::Etcd { addresses } => Some(Self::Etcd(Etcd { endpoints: addresses.join(",") })),
            ValidLock::Redis(redis) => Some(Self::redis(redis, LockTimes::of(fleet))),
        }
    }

    fn redis(redis: &'a ValidRedis, lock_config: LockTimes) -> Self {
        match &redis.servers {
            RedisServers::One(address) => {
                Self::Redis(Redis { endpoint: redis_url(redis, address), cluster: false, lock_config })
            }
            RedisServers::Cluster(addresses) => {
                let urls: Vec<_> = addresses.iter().map(|address| redis_url(redis, address)).collect();
                Self::Redis(Redis { endpoint: urls.join(","), cluster: true, lock_config })
            }
            RedisServers::Sentinel { master_name, addresses } => Self::RedisSentinel(RedisSentinel {
                endpoints: addresses,
                master_name,
                sentinel_password: "",
                redis_username: redis.username.as_deref().unwrap_or_default(),
                db: 0,
                lock_config,
            }),
        }
    }
}

/// Both parts were checked: neither holds a character that a URL would have to escape.
fn redis_url(redis: &ValidRedis, address: &str) -> String {
    let scheme = if redis.tls { "rediss" } else { "redis" };
    let user = redis.username.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    format!("{scheme}://{user}{address}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{engine::athens::config::render, plan::fixture};

    #[test]
    fn every_place_has_its_table() {
        for (place, storage) in fixture::places() {
            let fleet = ValidFleet { storage, ..fixture::smallest() };
            let text = render(&fleet);
            let tables = text.find("[storage").or(text.find("[Storage")).map_or("", |at| &text[at..]);
            let kind = text.lines().find(|line| line.starts_with("StorageType")).unwrap_or_default();
            insta::with_settings!({ snapshot_suffix => place }, {
                insta::assert_snapshot!(format!("{kind}\n{tables}"));
            });
        }
    }

    #[test]
    fn a_lock_outlives_what_it_must_and_nobody_waits_longer_than_the_engine() {
        let shared_disk = fixture::places().into_iter().find(|(name, _)| *name == "shared-disk").unwrap().1;
        for workers in [1, 4, 5, 7, 10, 40, 100] {
            for minutes in [1, 10, 15] {
                let mut fleet = fixture::smallest();
                fleet.storage = shared_disk.clone();
                fleet.engine.fetch_workers = workers;
                fleet.engine.fetch_timeout = Duration::from_mins(minutes);
                let LockTimes { timeout, ttl, max_retries } = LockTimes::of(&fleet);
                let fetch = minutes * 60;
                // Whoever is last of all that one proxy takes at a time: those before it by turns, then its own.
                let queue = u64::from(protocol_workers(workers).unsigned_abs().div_ceil(workers.unsigned_abs()));
                assert!(ttl > queue * fetch, "{workers} workers, {minutes} minutes: {ttl} s");
                assert!(timeout < 900 && timeout >= fetch.min(840), "{timeout} s");
                assert_eq!(max_retries, timeout, "one try a second");
                fleet.storage = fixture::bucket();
                assert_eq!(LockTimes::of(&fleet).ttl, fetch + 60, "a second fetch of it damages nothing");
            }
        }
    }

    #[test]
    fn every_lock_has_its_table_and_waits_for_a_whole_fetch() {
        for (name, lock) in fixture::locks() {
            let fleet = ValidFleet { storage: fixture::bucket(), lock, ..fixture::smallest() };
            let text = render(&fleet);
            let tables = text.find("[SingleFlight").map_or("", |at| &text[at..]);
            let kind = text.lines().find(|line| line.starts_with("SingleFlightType")).unwrap_or_default();
            insta::with_settings!({ snapshot_suffix => name }, {
                insta::assert_snapshot!(format!("{kind}\n{tables}"));
            });
        }
    }
}
