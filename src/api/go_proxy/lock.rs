//! What keeps two proxies from storing one module at the same time.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{LocalReference, Tls};
use crate::api::{quantity::Quantity, rule};

/// Why none or two locks are refused.
pub const ONE_LOCK: &str =
    "one lock counts: set exactly one of inProcess, native, redis, managedRedis and etcd, or leave lock out";

/// Why a lock where there is nothing to lock is refused.
pub const NEEDLESS_LOCK: &str = "memory and disk storage of one proxy need no lock, and a lost one would stop every fetch: remove lock, or choose storage that proxies can share";

/// Why the storage's own lock is refused.
pub const NO_NATIVE_LOCK: &str =
    "only gcs and azureBlob storage have a lock of their own: use redis or etcd, or leave lock out";

/// Why a long fetch is refused with a lock service.
pub const FETCH_BEYOND_LOCK: &str =
    "'%s' is too long with lock redis or etcd, for which the engine has 15 minutes: use at most 15m, or another lock";

/// Why a long fetch is refused with the lock of Azure.
pub const FETCH_BEYOND_LEASE: &str = "'%s' is too long with azureBlob's own lock, which leaves queue and fetch 10 minutes together: use at most 10m, or set lock to redis or etcd";

/// Why one address of two kinds is refused.
pub const ONE_REDIS: &str = "Redis is found one way: set exactly one of address, sentinel and cluster";

/// Why sentinels over TLS are refused.
pub const SENTINEL_TLS: &str =
    "the engine speaks to sentinels in clear only: remove tls, or name the server in address or cluster";

/// Why a name without a password is refused.
pub const USER_WITHOUT_PASSWORD: &str =
    "'%s' cannot log in without a password: name its Secret in credentialsSecretRef, or remove username";

/// What keeps two proxies from storing one module at the same time: exactly one. A change of it ends every old proxy before a
/// new one starts. It has limits: who asks for a branch locks the branch, and may store the version that somebody else
/// locked; and a Redis that loses its memory or fails over loses its locks. Object stores then replace an object by the
/// same one; on a ReadWriteMany disk two proxies may write one file.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("[has(self.inProcess), has(self.native), has(self.redis), has(self.managedRedis), has(self.etcd)].filter(x, x).size() == 1")
        .message(ONE_LOCK)
)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    /// Within one proxy only. Two proxies may then fetch the same module twice; where that would damage it, more than one
    /// proxy is refused. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "InProcessLock")]
    pub in_process: Option<InProcessLock>,

    /// The storage's own. Needs no other service. That of azureBlob is a lease: one proxy fetches a version, and the others wait. That of
    /// gcs holds nobody back. Two proxies never store different things there, but that is so with every lock, because the store
    /// refuses the second of two writes. It spares no fetch: those who ask one proxy for the same cold module go
    /// through its `engine.fetchWorkers` in turns, and each turn is another fetch, while with `inProcess` each proxy makes one. With
    /// redis, managedRedis or etcd all make one. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NativeLock")]
    pub native: Option<NativeLock>,

    /// A Redis server, or several. Proxies that run serve what is stored while it is away, and what is not fails; a proxy that
    /// starts meanwhile ends again, because the engine asks for Redis first. If a proxy dies while
    /// it fetches a version, the others get that version once its lock ends: after `engine.fetchTimeout` and a minute on
    /// object stores, and elsewhere, where two writers would damage it, after all fetches that a proxy may have in its queue,
    /// with the default workers 11 times that. Locks are named MODULE@VERSION in database 0:
    /// fleets that share a Redis wait for each other's fetches, and give up if they are slow, so give each fleet its own.
    /// Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RedisLock")]
    pub redis: Option<RedisLock>,

    /// A Redis of the fleet's own, NAME-lock: one pod with a login that nobody is shown, and rules that let in the fleet's proxies
    /// alone. It is asked in clear. Needs no other service. While it is away, as for a moment when its pod moves, what is stored is served and what is not
    /// fails. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ManagedRedisLock")]
    pub managed_redis: Option<ManagedRedisLock>,

    /// An etcd cluster. Its locks end within a minute of the proxy that holds them; it is asked in clear and without a login,
    /// so keep it where only proxies reach it. While it is away, proxies serve what is stored, those that start too, and who asks
    /// for what is not stored waits until it is back, without an end. Each who waits takes one of the places for requests of its
    /// proxy, of which there are ten for each of `engine.fetchWorkers`, at least 50 and at most 400; once none is left, what is
    /// stored waits too. Fleets that share it wait for each other's fetches of the same version. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EtcdLock")]
    pub etcd: Option<EtcdLock>,
}

impl Lock {
    /// How many locks are named. Taken apart whole, so that a new one that is not counted does not compile.
    pub fn kinds(&self) -> usize {
        let Self { in_process, native, redis, managed_redis, etcd } = self;
        let named = [in_process.is_some(), native.is_some(), redis.is_some(), managed_redis.is_some(), etcd.is_some()];
        named.into_iter().filter(|named| *named).count()
    }
}

/// Within one proxy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct InProcessLock {}

/// The storage's own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct NativeLock {}

/// Redis, found by its address, through sentinels, or as a cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("[has(self.address), has(self.sentinel), has(self.cluster)].filter(x, x).size() == 1")
        .message(ONE_REDIS),
    validation = Rule::new("!has(self.sentinel) || !has(self.tls) || self.tls == 'Disabled'")
        .message(SENTINEL_TLS)
        .field_path(".tls"),
    validation = Rule::new("!has(self.username) || has(self.credentialsSecretRef)")
        .message(rule::shown(USER_WITHOUT_PASSWORD, "self.username"))
        .field_path(".username")
)]
#[serde(rename_all = "camelCase")]
pub struct RedisLock {
    /// Host and port of one server, or of a service in front of several. Exactly one of this, `sentinel` and `cluster`. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 260))]
    #[x_kube(validation = rule::HOST_PORT.rule(), validation = rule::HOST_PORT_LOCAL.rule())]
    pub address: Option<String>,

    /// Sentinels that know the server: proxies ask them which one leads. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RedisSentinel")]
    pub sentinel: Option<RedisSentinel>,

    /// Members of a Redis Cluster, over which the locks are spread. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RedisCluster")]
    pub cluster: Option<RedisCluster>,

    /// Whether Redis is asked over TLS: Enabled or Disabled. Default: Enabled; Disabled with `sentinel`, which the engine reaches
    /// in clear only. What `upstream.caBundle` holds is trusted. In a cluster every member's certificate must name the host
    /// of the first address, because the engine expects that name of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Tls")]
    pub tls: Option<Tls>,

    /// User of Redis' access control. Default: absent, the default user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 128))]
    #[x_kube(validation = rule::REDIS_USER.rule())]
    pub username: Option<String>,

    /// Secret whose key `password` holds the password. With `sentinel` the key `sentinelPassword` holds that of the sentinels, and
    /// either may be missing where nobody asks for it. Default: absent, no login. It is read when a proxy starts:
    /// `spec.storage` tells how a changed Secret gets to all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LocalReference")]
    pub credentials_secret_ref: Option<LocalReference>,
}

/// A Redis of the fleet's own. Its image is the installation's.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManagedRedisLock {
    /// Keeps locks on a volume, NAME-lock, so that a Redis that starts anew still knows who holds them. It goes with the fleet, and
    /// stays when this field is taken away. To take it away, patch it to null (`kubectl patch --type merge`): where a server-side apply
    /// leaves nothing in managedRedis, the API server makes a null of that and refuses it. Default: absent, locks are lost
    /// with the pod; two proxies may then store one module at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LockPersistence")]
    pub persistence: Option<LockPersistence>,
}

/// The volume of the locks.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LockPersistence {
    /// Size of the volume. Unit: bytes, as a Kubernetes quantity. Default: 1Gi, far more than locks need. It can grow where the
    /// StorageClass allows it; a volume that is larger already stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    #[x_kube(validation = rule::VOLUME_SIZE.rule())]
    pub size: Option<Quantity>,

    /// StorageClass of the volume. Default: the cluster's default class. It cannot change later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    #[x_kube(validation = rule::OBJECT_NAME.rule())]
    pub storage_class_name: Option<String>,
}

/// Sentinels.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RedisSentinel {
    /// Name under which the sentinels know the server. Required.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rule::REDIS_USER.rule())]
    pub master_name: String,

    /// Host and port of each sentinel. Required.
    #[schemars(schema_with = "addresses_schema")]
    pub addresses: Vec<String>,
}

/// Members of a Redis Cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct RedisCluster {
    /// Host and port of some members; they name the others. Required.
    #[schemars(schema_with = "addresses_schema")]
    pub addresses: Vec<String>,
}

/// An etcd cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct EtcdLock {
    /// Host and port of each member. Required.
    #[schemars(schema_with = "addresses_schema")]
    pub addresses: Vec<String>,
}

fn addresses_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 9,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 260,
            "x-kubernetes-validations": [rule::HOST_PORT.rule(), rule::HOST_PORT_LOCAL.rule()],
        },
    })
}
