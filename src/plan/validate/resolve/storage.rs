//! Where modules are kept and what locks them, with defaults.

use super::Defaults;
use crate::{
    api::{
        go_proxy::{LocalReference, Lock, RedisLock, S3Addressing, S3Storage, Storage, Tls, WhenDeleted},
        quantity::Quantity,
        status::DefaultSource,
    },
    plan::{
        object,
        validate::{
            AzureIdentity, FleetName, ManagedRedis, RedisServers, Settings, ValidLock, ValidRedis, ValidStorage, Volume,
        },
    },
};

const VOLUME_SIZE: Quantity = Quantity::gibibytes(20);
const LOCK_VOLUME_SIZE: Quantity = Quantity::gibibytes(1);
/// Region of a bucket: most stores other than AWS take it.
pub const S3_REGION: &str = "us-east-1";
/// Database in MongoDB, as the engine calls it.
pub const MONGO_DATABASE: &str = "athens";
/// Collection of it, as the engine calls it.
pub const MONGO_COLLECTION: &str = "modules";

/// Where modules are kept: on a disk, unless another place is named.
pub fn storage(given: Option<Storage>, confirmed: bool, defaults: &mut Defaults) -> ValidStorage {
    let given = given.unwrap_or_default();
    if given.memory.is_some() {
        return ValidStorage::Memory;
    }
    if let Some(remote) = remote(&given, defaults) {
        return remote;
    }
    let disk = given.disk.unwrap_or_default();
    let volume = if let Some(claim) = disk.existing_claim {
        Volume::Existing { claim }
    } else {
        let when_deleted = defaults.word("spec.storage.whenDeleted", given.when_deleted);
        Volume::Own {
            size: defaults.or("spec.storage.disk.size", disk.size, VOLUME_SIZE),
            class: disk.storage_class_name,
            deleted_with_fleet: when_deleted == WhenDeleted::Delete && confirmed,
        }
    };
    ValidStorage::Disk { volume, access_mode: defaults.word("spec.storage.disk.accessMode", disk.access_mode) }
}

fn remote(given: &Storage, defaults: &mut Defaults) -> Option<ValidStorage> {
    let named = |reference: &LocalReference| reference.name.clone();
    if let Some(s3) = given.s3.clone() {
        return Some(self::s3(s3, defaults));
    }
    if let Some(gcs) = given.gcs.clone() {
        let secret = gcs.credentials_secret_ref.as_ref().map(named);
        return Some(ValidStorage::Gcs { bucket: gcs.bucket, project: gcs.project, secret });
    }
    if let Some(azure) = given.azure_blob.clone() {
        // One of the two is there: a rule says so.
        let identity = match azure.managed_identity {
            Some(identity) => AzureIdentity::Managed(identity.resource_id),
            None => AzureIdentity::Key(azure.credentials_secret_ref.unwrap_or_default().name),
        };
        return Some(ValidStorage::AzureBlob { account: azure.account_name, container: azure.container, identity });
    }
    if let Some(mongo) = given.mongo.clone() {
        return Some(ValidStorage::Mongo {
            secret: mongo.credentials_secret_ref.name,
            database: defaults.or("spec.storage.mongo.database", mongo.database, MONGO_DATABASE.to_owned()),
            collection: defaults.or("spec.storage.mongo.collection", mongo.collection, MONGO_COLLECTION.to_owned()),
        });
    }
    if let Some(minio) = given.minio.clone() {
        return Some(ValidStorage::Minio {
            tls: defaults.word("spec.storage.minio.tls", minio.tls) == Tls::Enabled,
            endpoint: minio.endpoint,
            bucket: minio.bucket,
            region: minio.region,
            secret: minio.credentials_secret_ref.name,
        });
    }
    given.external.clone().map(|external| ValidStorage::External { url: external.url })
}

fn s3(given: S3Storage, defaults: &mut Defaults) -> ValidStorage {
    let addressing = given.addressing.unwrap_or_else(|| {
        let chosen = if given.endpoint.is_some() { S3Addressing::Path } else { S3Addressing::VirtualHosted };
        defaults.note("spec.storage.s3.addressing", format_args!("{chosen:?}"), DefaultSource::Derived);
        chosen
    });
    ValidStorage::S3 {
        region: defaults.or("spec.storage.s3.region", given.region, S3_REGION.to_owned()),
        bucket: given.bucket,
        path_style: addressing == S3Addressing::Path,
        endpoint: given.endpoint,
        secret: given.credentials_secret_ref.map(|secret| secret.name),
    }
}

/// The Redis that the fleet brings along, if it does.
pub fn managed_redis(given: Option<&Lock>, settings: &Settings, defaults: &mut Defaults) -> Option<ManagedRedis> {
    let given = given?.managed_redis.as_ref()?;
    let persistence = given.persistence.as_ref().map(|persistence| {
        let size = defaults.or("spec.lock.managedRedis.persistence.size", persistence.size, LOCK_VOLUME_SIZE);
        (size, persistence.storage_class_name.clone())
    });
    Some(ManagedRedis { login: String::new(), image: settings.redis_image.clone(), persistence })
}

/// What the engine needs to know of it. The plan names the login.
fn managed_lock(namespace: &str, fleet: &str) -> ValidLock {
    let host = FleetName(fleet.to_owned()).lock();
    ValidLock::Redis(ValidRedis {
        servers: RedisServers::One(format!("{host}.{namespace}.svc:{}", object::lock::PORT)),
        tls: false,
        username: None,
        secret: None,
    })
}

/// The lock named, else the storage's own where it is one, else none. `whose` is the fleet's namespace and name.
pub fn lock(given: Option<Lock>, storage: &ValidStorage, whose: (&str, &str), defaults: &mut Defaults) -> ValidLock {
    let given = given.unwrap_or_default();
    if given.managed_redis.is_some() {
        return managed_lock(whose.0, whose.1);
    }
    if let Some(redis) = given.redis {
        return ValidLock::Redis(self::redis(redis, defaults));
    }
    if let Some(etcd) = given.etcd {
        return ValidLock::Etcd { addresses: etcd.addresses };
    }
    if given.native.is_some() {
        return ValidLock::Native;
    }
    if given.in_process.is_some() {
        return ValidLock::InProcess;
    }
    let (chosen, word) = match storage {
        ValidStorage::AzureBlob { .. } => (ValidLock::Native, "native"),
        // What is called the lock of gcs prevents nothing that the store does not prevent by itself: `engine::coordination`.
        ValidStorage::Gcs { .. }
        | ValidStorage::Memory
        | ValidStorage::Disk { .. }
        | ValidStorage::S3 { .. }
        | ValidStorage::Mongo { .. }
        | ValidStorage::Minio { .. }
        | ValidStorage::External { .. } => (ValidLock::InProcess, "inProcess"),
    };
    if storage.is_shared() {
        defaults.note("spec.lock", word, DefaultSource::Derived);
    }
    chosen
}

fn redis(given: RedisLock, defaults: &mut Defaults) -> ValidRedis {
    let sentinel = given
        .sentinel
        .map(|sentinel| RedisServers::Sentinel { master_name: sentinel.master_name, addresses: sentinel.addresses });
    let cluster = given.cluster.map(|cluster| RedisServers::Cluster(cluster.addresses));
    let tls = if sentinel.is_some() {
        // Another word is refused: the engine cannot do it.
        if given.tls.is_none() {
            defaults.note("spec.lock.redis.tls", "Disabled", DefaultSource::Derived);
        }
        Tls::Disabled
    } else {
        defaults.word("spec.lock.redis.tls", given.tls)
    };
    ValidRedis {
        servers: sentinel.or(cluster).unwrap_or_else(|| RedisServers::One(given.address.unwrap_or_default())),
        tls: tls == Tls::Enabled,
        username: given.username,
        secret: given.credentials_secret_ref.map(|secret| secret.name),
    }
}
