//! What happens when several proxies use one storage at the same time, by the lock between them. A change that surges, a
//! canary and a replica are all the same here: a second proxy.

use crate::{
    api::go_proxy::EngineKind,
    plan::{
        ownership,
        validate::{ValidFleet, ValidLock, ValidStorage},
    },
};

/// Between the place and the lock of an agreement. Neither holds a space before `locked`.
const LOCKED_BY: &str = " locked by ";
/// Before the login of a lock that the fleet brings along: proxies with different ones never run together.
const WITH_LOGIN: &str = " with ";

/// What a second proxy does to what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// It has storage of its own.
    Apart,
    /// One of them stores a module, the other one waits. As far as locks go: requests for a branch and for its version lock
    /// different names and store the same version, and a Redis that fails over or loses its memory loses its locks. Where
    /// objects are replaced as a whole that does no harm; on a disk it may.
    Safe,
    /// Both may fetch and store the same module; each object is replaced as a whole, so what is served stays right.
    Wasteful,
    /// Both may write into the same object: it would be damaged.
    Damaging,
}

/// What a second proxy of a fleet does. The table is read from the engines' sources: object stores replace whole objects, a
/// disk is written in place by Athens and file by whole file by goproxy, a database refuses the second writer, and of an old
/// client or a stranger's service nothing is known. A volume of one node is kept for one proxy whatever the engine.
///
/// What Athens calls its lock for gcs holds nobody back. The store takes the first of two writes and refuses the second, under every
/// lock; with this one a proxy does not even put those together who wait for the same version: they go through its
/// workers in turns, and each turn is another fetch. Seen with v0.18.1: 50 clients of two proxies with 5 workers each made 6 fetches of one
/// cold module with it, and 2 with `inProcess`.
pub const fn together(kind: EngineKind, storage: &ValidStorage, lock: &ValidLock) -> Together {
    match (storage, lock) {
        (ValidStorage::Memory, _) => Together::Apart,
        (ValidStorage::Disk { .. }, _) if !storage.is_shared() => Together::Damaging,
        (ValidStorage::Disk { .. }, ValidLock::InProcess) if matches!(kind, EngineKind::Goproxy) => Together::Wasteful,
        (_, ValidLock::Redis(_) | ValidLock::Etcd { .. }) | (ValidStorage::AzureBlob { .. }, ValidLock::Native) => {
            Together::Safe
        }
        (ValidStorage::Gcs { .. }, ValidLock::Native)
        | (ValidStorage::S3 { .. } | ValidStorage::Gcs { .. } | ValidStorage::AzureBlob { .. }, ValidLock::InProcess) => {
            Together::Wasteful
        }
        (_, ValidLock::InProcess | ValidLock::Native) => Together::Damaging,
    }
}

/// Whether the engine has a lock by this name for this storage.
pub const fn is_lockable(storage: &ValidStorage) -> bool {
    matches!(storage, ValidStorage::Gcs { .. } | ValidStorage::AzureBlob { .. })
}

/// Whether a second proxy of this fleet may run at all.
pub const fn may_overlap(fleet: &ValidFleet) -> bool {
    !matches!(together(fleet.engine.version.kind(), &fleet.storage, &fleet.lock), Together::Damaging)
}

/// What two proxies must agree on to run at the same time: the storage that they share, or could both name, and the lock on it.
/// `None` where each has its own. Two revisions with different texts never overlap.
pub fn agreement(fleet: &ValidFleet) -> Option<String> {
    let place = ownership::place(&fleet.storage, &fleet.namespace, &fleet.name)?;
    let login = fleet.managed_redis.as_ref().map_or_else(String::new, |redis| format!("{WITH_LOGIN}{}", redis.login));
    let lock = match (&fleet.storage, &fleet.lock) {
        // The store decides between two writers, under the one as under the other.
        (ValidStorage::Gcs { .. }, ValidLock::InProcess) => ValidLock::Native.identity(),
        (_, lock) => lock.identity(),
    };
    Some(format!("{place}{LOCKED_BY}{lock}{login}"))
}

/// The login that an agreement speaks of, if the fleet brings its lock along.
pub fn login_of(agreement: &str) -> Option<&str> {
    Some(agreement.rsplit_once(WITH_LOGIN)?.1)
}

/// The place that an agreement speaks of.
pub fn place_of(agreement: &str) -> Option<&str> {
    agreement.split_once(LOCKED_BY).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{locks, places, smallest};

    fn verdict(place: &str, lock: &str) -> Together {
        let find = |wanted: &str| places().into_iter().find(|(name, _)| *name == wanted).unwrap().1;
        let lock = locks().into_iter().find(|(name, _)| *name == lock).unwrap().1;
        together(EngineKind::Athens, &find(place), &lock)
    }

    #[test]
    fn every_pair_has_its_verdict() {
        use Together::{Apart, Damaging, Safe, Wasteful};
        let service = ["redis", "redis-tls", "sentinel", "cluster", "etcd"];
        for (place, in_process, native, by_service) in [
            ("memory", Apart, Apart, Apart),
            ("disk", Damaging, Damaging, Damaging),
            ("shared-disk", Damaging, Damaging, Safe),
            ("claim", Damaging, Damaging, Damaging),
            ("shared-claim", Damaging, Damaging, Safe),
            ("s3", Wasteful, Damaging, Safe),
            ("gcs", Wasteful, Wasteful, Safe),
            ("azure-key", Wasteful, Safe, Safe),
            ("azure-managed", Wasteful, Safe, Safe),
            ("mongo", Damaging, Damaging, Safe),
            ("minio", Damaging, Damaging, Safe),
            ("external", Damaging, Damaging, Safe),
        ] {
            assert_eq!(verdict(place, "in-process"), in_process, "{place} alone");
            assert_eq!(verdict(place, "native"), native, "{place} native");
            for lock in service {
                assert_eq!(verdict(place, lock), by_service, "{place} {lock}");
            }
        }
    }

    #[test]
    fn whole_files_may_be_put_on_one_disk_twice() {
        let on = |place: &str| {
            let storage = places().into_iter().find(|(name, _)| *name == place).unwrap().1;
            together(EngineKind::Goproxy, &storage, &ValidLock::InProcess)
        };
        assert_eq!(on("shared-disk"), Together::Wasteful);
        assert_eq!(on("disk"), Together::Damaging);
    }

    #[test]
    fn two_fleets_agree_when_storage_and_lock_are_the_same() {
        let fleet = |place: &str, lock: &str| ValidFleet {
            storage: places().into_iter().find(|(name, _)| *name == place).unwrap().1,
            lock: locks().into_iter().find(|(name, _)| *name == lock).unwrap().1,
            ..smallest()
        };
        assert_eq!(agreement(&fleet("memory", "in-process")), None);
        assert_ne!(agreement(&fleet("shared-disk", "redis")), agreement(&fleet("shared-claim", "redis")));
        assert_eq!(agreement(&fleet("s3", "redis")), agreement(&fleet("s3", "redis")));
        assert_ne!(agreement(&fleet("s3", "redis")), agreement(&fleet("s3", "etcd")));
        assert_ne!(agreement(&fleet("s3", "redis")), agreement(&fleet("gcs", "redis")));
        assert_eq!(agreement(&fleet("gcs", "native")), agreement(&fleet("gcs", "in-process")), "the store decides");
        assert_ne!(agreement(&fleet("gcs", "native")), agreement(&fleet("gcs", "redis")));
        assert_ne!(agreement(&fleet("azure-key", "native")), agreement(&fleet("azure-key", "in-process")));
    }
}
