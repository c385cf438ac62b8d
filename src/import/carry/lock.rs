//! What keeps several proxies from storing one module at the same time.

use super::Carrier;
use crate::{
    api::go_proxy::{EtcdLock, Lock, NEEDLESS_LOCK, RedisCluster, RedisLock, RedisSentinel, Tls},
    import::found::{NotCarried, without_login},
    plan::validate::{ValidStorage, storage_and_lock},
};

/// Port of Redis where none is named.
const REDIS_PORT: &str = "6379";

/// Carries the lock. It must come after the storage.
pub fn carry(carrier: &mut Carrier<'_>) {
    let Some(kind) = carrier.found.text("SingleFlightType").map(str::to_owned) else { return };
    let (storage, _) = storage_and_lock(&carrier.carried.spec);
    let native = matches!(
        (kind.as_str(), &storage),
        ("gcp", ValidStorage::Gcs { .. }) | ("azureblob", ValidStorage::AzureBlob { .. })
    );
    let lock = match kind.as_str() {
        // Within each proxy there is always one; azureBlob's own is the default there, and that of gcs holds nobody back.
        _ if native || kind == "memory" => return,
        "redis" | "redis-sentinel" | "etcd" if !storage.is_shared() => {
            return carrier.lose("SingleFlightType", NEEDLESS_LOCK);
        }
        "redis" => Lock { redis: redis(carrier), ..Lock::default() },
        "redis-sentinel" => Lock { redis: Some(sentinel(carrier)), ..Lock::default() },
        "etcd" => Lock { etcd: Some(etcd(carrier)), ..Lock::default() },
        "gcp" | "azureblob" => return carrier.lose("SingleFlightType", "only that storage itself has this lock"),
        _ => return carrier.lose("SingleFlightType", "a fleet has no such lock"),
    };
    carrier.carried.spec.lock = (lock != Lock::default()).then_some(lock);
}

/// An address of Redis in any of the forms that the engine takes.
struct Address {
    host_port: String,
    tls: bool,
    user: Option<String>,
    password: bool,
    database: Option<String>,
}

impl Address {
    fn parse(text: &str) -> Self {
        let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
        let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let host = host.split('?').next().unwrap_or_default();
        Self {
            host_port: if host.contains(':') { host.to_owned() } else { format!("{host}:{REDIS_PORT}") },
            tls: scheme == "rediss",
            user: Some(user.to_owned()).filter(|user| !user.is_empty()),
            password: !password.is_empty(),
            database: Some(path.split('?').next().unwrap_or_default().to_owned())
                .filter(|path| !matches!(path.as_str(), "" | "0")),
        }
    }
}

fn redis(carrier: &mut Carrier<'_>) -> Option<RedisLock> {
    let addresses: Vec<_> =
        carrier.found.items("SingleFlight.Redis.Endpoint").iter().map(|text| Address::parse(text)).collect();
    let Some(first) = addresses.first() else {
        carrier.lose("SingleFlightType", "no address of Redis is given");
        return None;
    };
    if addresses.iter().any(|address| address.database.is_some()) {
        let name = carrier.found.name("SingleFlight.Redis.Endpoint");
        carrier
            .carried
            .lost
            .push(NotCarried::hidden(name, "its database was left out: locks are kept in database 0 of Redis"));
    }
    // A password stands by itself or in the address; the engine wants both to be equal if both are given.
    let apart = carrier.found.get("SingleFlight.Redis.Password").is_some();
    let setting = if apart { "SingleFlight.Redis.Password" } else { "SingleFlight.Redis.Endpoint" };
    let login = (apart || addresses.iter().any(|address| address.password))
        .then(|| carrier.secret("redis", &[("password", setting, false)]))
        .flatten();
    if !first.tls {
        carrier
            .carried
            .notes
            .push("Redis is asked in clear, as Athens asked it; a fleet asks over TLS by itself".to_owned());
    }
    let cluster = carrier.found.is_on("SingleFlight.Redis.Cluster");
    let all = || addresses.iter().map(|address| address.host_port.clone()).collect();
    Some(RedisLock {
        address: (!cluster).then(|| first.host_port.clone()),
        cluster: cluster.then(|| RedisCluster { addresses: all() }),
        tls: (!first.tls).then_some(Tls::Disabled),
        username: first.user.clone().filter(|_| login.is_some()),
        credentials_secret_ref: login,
        ..RedisLock::default()
    })
}

fn sentinel(carrier: &mut Carrier<'_>) -> RedisLock {
    let table = |name: &str| format!("SingleFlight.RedisSentinel.{name}");
    let (password, of_sentinels) = (table("RedisPassword"), table("SentinelPassword"));
    if carrier.found.get(&of_sentinels).is_none() {
        carrier.carried.notes.push(
            "no password of the sentinels was given, and Athens then uses one of its own making; the fleet logs in to them \
             without, unless the Secret has the key sentinelPassword"
                .to_owned(),
        );
    }
    let login = carrier.secret("redis", &[("password", &password, false), ("sentinelPassword", &of_sentinels, false)]);
    RedisLock {
        sentinel: Some(RedisSentinel {
            master_name: carrier.found.text(&table("MasterName")).unwrap_or_default().to_owned(),
            addresses: carrier.found.items(&table("Endpoints")).iter().map(|address| bare(address)).collect(),
        }),
        username: carrier.found.text(&table("RedisUsername")).map(str::to_owned),
        credentials_secret_ref: login,
        ..RedisLock::default()
    }
}

fn etcd(carrier: &mut Carrier<'_>) -> EtcdLock {
    let given = carrier.found.items("SingleFlight.Etcd.Endpoints");
    if given.iter().any(|address| address.starts_with("https://")) {
        let name = carrier.found.name("SingleFlight.Etcd.Endpoints");
        carrier.carried.lost.push(NotCarried::hidden(name, "the engine asks etcd in clear, whatever the address says"));
    }
    EtcdLock { addresses: given.iter().map(|address| bare(address)).collect() }
}

/// Host and port of an address, without scheme and login: neither has a place in a fleet.
fn bare(address: &str) -> String {
    let (address, _) = without_login(address);
    address.split_once("://").map_or(address.as_str(), |(_, host)| host).trim_end_matches('/').to_owned()
}
