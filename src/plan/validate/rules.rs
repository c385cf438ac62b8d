//! The rules that speak of more than one field, or that no pattern can express. Each stands in the CRD too, in CEL and
//! with the same message.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use super::{Refusal, ValidLock, ValidStorage, resolve};
use crate::api::{
    go_proxy::{
        Autoscaling, BAD_IPV6, BALANCER_ONLY, BOUNDS_CROSS, ChecksumDatabase, Credential, DELETE_ELSEWHERE,
        DISABLED_DATABASE, Direct, Edge, EdgeLists, Engine, FETCH_BEYOND_LEASE, FETCH_BEYOND_LOCK, FOREIGN_ACCOUNT,
        FOREIGN_KEY, GoProxySpec, LIMIT_BELOW_REQUEST, Lock, NEEDLESS_LOCK, NO_NATIVE_LOCK, NO_NETWORK, NO_ORIGIN,
        NOT_OURS_TO_CHANGE, NOT_OURS_TO_DELETE, ONE_AZURE_IDENTITY, ONE_DATABASE, ONE_LOCK, ONE_LOGIN, ONE_REDIS,
        ONE_STORAGE, ONE_WRITER, OWN_CLAIM, PROBE_ELSEWHERE, PUBLIC_PROBE, Private, Resources, SAME_NAME, SAME_URL,
        SENTINEL_TLS, Service, ServiceType, Storage, TTLS_CROSS, Tls, UNCOVERED_HOST, UNKNOWN_DATABASE, UNLOCKED,
        USER_WITHOUT_PASSWORD, Upstream, WhenDeleted,
    },
    quantity::Quantity,
    rule,
};
use crate::engine::{
    capability::{self, Wish},
    coordination::{self, Together},
    origins::{KNOWN_DATABASE, KNOWN_DATABASE_MIRROR},
    version,
};

/// Databases whose keys the go command carries.
const KNOWN_DATABASES: [&str; 2] = [KNOWN_DATABASE, KNOWN_DATABASE_MIRROR];

/// Checks the fleet's name.
pub fn name(name: &str) -> Vec<Refusal> {
    let forms = [&rule::FLEET_NAME, &rule::FLEET_NAME_ENDING];
    forms.iter().filter_map(|form| form.refuse(name)).map(|reason| Refusal::new("metadata.name", &reason)).collect()
}

/// Checks the fields that the fleet's name has a say in.
pub fn named(name: &str, spec: &GoProxySpec) -> Option<Refusal> {
    let claim = spec.storage.as_ref()?.disk.as_ref()?.existing_claim.as_ref()?;
    let own = claim.strip_suffix("-data") == Some(name);
    own.then(|| shown("spec.storage.disk.existingClaim", OWN_CLAIM, &[claim]))
}

/// Checks what the schema leaves open.
pub fn check(spec: &GoProxySpec) -> Vec<Refusal> {
    let mut found = Vec::new();
    check_for_engine(spec, &mut found);
    check_sharing(spec, &mut found);
    found.extend(check_fetch_time(spec));
    if let Some(autoscaling) = &spec.autoscaling {
        check_autoscaling(autoscaling, &mut found);
    }
    if let Some(engine) = &spec.engine {
        check_engine(engine, &mut found);
    }
    if let Some(edge) = &spec.edge {
        check_edge(edge, &mut found);
    }
    if let Some(service) = &spec.service {
        check_service(service, &mut found);
    }
    if let Some(storage) = &spec.storage {
        check_storage(storage, &mut found);
    }
    if let Some(lock) = &spec.lock {
        check_lock(lock, &mut found);
    }
    if let Some(upstream) = &spec.upstream {
        check_upstream(upstream, &mut found);
    }
    if let Some(private) = &spec.private {
        check_private(private, &mut found);
    }
    found
}

/// A refusal whose reason shows values.
pub(super) fn shown(field: &str, reason: &str, values: &[&str]) -> Refusal {
    let filled = values.iter().fold(reason.to_owned(), |text, value| text.replacen("%s", &rule::on_one_line(value), 1));
    Refusal::new(field, &filled)
}

/// What depends on the engine. The same tables make the rules of the CRD.
fn check_for_engine(spec: &GoProxySpec, found: &mut Vec<Refusal>) {
    let kind = spec.engine_kind();
    let version = spec.engine.as_ref().and_then(|engine| engine.version.as_ref());
    let refused = version.into_iter().flat_map(|version| version::refuse(kind, version));
    found.extend(refused.map(|reason| Refusal::new("spec.engine.version", &reason)));
    let Ok(spec) = serde_json::to_value(spec) else { return };
    let early = version::GATES
        .iter()
        .filter(|gate| [gate.field, gate.beside].iter().all(|field| Wish::Given(field).is_in(&spec)));
    found.extend(early.map(|gate| Refusal::new(format!("spec.{}", gate.field), gate.reason)));
    let lacks = capability::lacks(kind, &spec);
    found.extend(lacks.map(|lack| Refusal::new(format!("spec.{}", lack.wish.field()), lack.reason)));
}

/// Why a fleet of this storage and lock may have one pod alone, if it may. There is a place in it for how many it is to have.
pub fn one_pod(spec: &GoProxySpec) -> Option<&'static str> {
    let (storage, lock) = resolve::storage_and_lock(spec);
    if !storage.is_shared() {
        return Some(ONE_WRITER);
    }
    let damaging = coordination::together(spec.engine_kind(), &storage, &lock) == Together::Damaging;
    // A lock that the storage does not have is refused by itself.
    (damaging && lock != ValidLock::Native).then_some(UNLOCKED)
}

/// What several proxies may share: `engine::coordination` decides. The same as `go_proxy::sharing` says in CEL.
fn check_sharing(spec: &GoProxySpec, found: &mut Vec<Refusal>) {
    let undecided = spec.storage.as_ref().is_some_and(|storage| storage.places() > 1)
        || spec.lock.as_ref().is_some_and(|lock| lock.kinds() != 1);
    if undecided {
        // That is refused, and there is nothing to judge.
        return;
    }
    let (storage, lock) = resolve::storage_and_lock(spec);
    let pods = [
        ("spec.replicas", Some(spec.replicas)),
        ("spec.autoscaling.maxReplicas", spec.autoscaling.as_ref().map(|autoscaling| autoscaling.max_replicas)),
    ];
    for (field, pods) in pods.into_iter().filter_map(|(field, pods)| Some((field, pods.filter(|pods| *pods > 1)?))) {
        found.extend(one_pod(spec).map(|why| shown(field, why, &[&pods.to_string()])));
    }
    if !storage.is_shared() && matches!(lock, ValidLock::Redis(_) | ValidLock::Etcd { .. }) {
        found.push(Refusal::new("spec.lock", NEEDLESS_LOCK));
    }
    let too_early = matches!(storage, ValidStorage::S3 { .. });
    if lock == ValidLock::Native && !too_early && !coordination::is_lockable(&storage) {
        found.push(Refusal::new("spec.lock.native", NO_NATIVE_LOCK));
    }
}

/// A lock that ends before the fetch it guards.
fn check_fetch_time(spec: &GoProxySpec) -> Option<Refusal> {
    let given = spec.engine.as_ref()?.fetch_timeout?;
    let service = spec
        .lock
        .as_ref()
        .is_some_and(|lock| lock.redis.is_some() || lock.managed_redis.is_some() || lock.etcd.is_some());
    let azure = spec.storage.as_ref().is_some_and(|storage| storage.azure_blob.is_some());
    let leased = azure && spec.lock.as_ref().is_none_or(|lock| lock.native.is_some());
    let (message, longest) = if service {
        (FETCH_BEYOND_LOCK, Duration::from_mins(15))
    } else {
        (FETCH_BEYOND_LEASE, Duration::from_mins(if leased { 10 } else { 60 }))
    };
    (given.get() > longest).then(|| shown("spec.engine.fetchTimeout", message, &[&given.to_string()]))
}

fn check_storage(storage: &Storage, found: &mut Vec<Refusal>) {
    if storage.places() != 1 {
        found.push(Refusal::new("spec.storage", ONE_STORAGE));
    }
    if let Some(claim) = storage.disk.as_ref().and_then(|disk| disk.existing_claim.as_ref()) {
        let disk = storage.disk.clone().unwrap_or_default();
        if disk.size.is_some() || disk.storage_class_name.is_some() {
            found.push(shown("spec.storage.disk.existingClaim", NOT_OURS_TO_CHANGE, &[claim]));
        }
        if storage.when_deleted == Some(WhenDeleted::Delete) {
            found.push(Refusal::new("spec.storage.whenDeleted", NOT_OURS_TO_DELETE));
        }
    }
    let own = storage.memory.is_some() || storage.disk.is_some();
    if storage.when_deleted == Some(WhenDeleted::Delete) && !own {
        found.push(Refusal::new("spec.storage.whenDeleted", DELETE_ELSEWHERE));
    }
    let azure = storage.azure_blob.as_ref();
    if azure.is_some_and(|azure| azure.credentials_secret_ref.is_some() == azure.managed_identity.is_some()) {
        found.push(Refusal::new("spec.storage.azureBlob", ONE_AZURE_IDENTITY));
    }
    let endpoint = storage.s3.as_ref().and_then(|s3| s3.endpoint.as_ref());
    found.extend(endpoint.and_then(|url| check_ipv6("spec.storage.s3.endpoint", url)));
    let external = storage.external.as_ref();
    found.extend(external.and_then(|external| check_ipv6("spec.storage.external.url", &external.url)));
}

fn check_lock(lock: &Lock, found: &mut Vec<Refusal>) {
    if lock.kinds() != 1 {
        found.push(Refusal::new("spec.lock", ONE_LOCK));
    }
    let Some(redis) = &lock.redis else { return };
    let found_by = [redis.address.is_some(), redis.sentinel.is_some(), redis.cluster.is_some()];
    if found_by.into_iter().filter(|named| *named).count() != 1 {
        found.push(Refusal::new("spec.lock.redis", ONE_REDIS));
    }
    if redis.sentinel.is_some() && redis.tls == Some(Tls::Enabled) {
        found.push(Refusal::new("spec.lock.redis.tls", SENTINEL_TLS));
    }
    if let Some(username) = redis.username.as_ref().filter(|_| redis.credentials_secret_ref.is_none()) {
        found.push(shown("spec.lock.redis.username", USER_WITHOUT_PASSWORD, &[username]));
    }
}

fn check_autoscaling(autoscaling: &Autoscaling, found: &mut Vec<Refusal>) {
    let most = autoscaling.max_replicas;
    if let Some(fewest) = autoscaling.min_replicas.filter(|fewest| *fewest > most) {
        found.push(shown("spec.autoscaling.minReplicas", BOUNDS_CROSS, &[&fewest.to_string(), &most.to_string()]));
    }
}

fn check_engine(engine: &Engine, found: &mut Vec<Refusal>) {
    if let Some(account) = &engine.service_account
        && let Some(name) = &account.name
        && !account.annotations.is_empty()
    {
        found.push(shown("spec.engine.serviceAccount.annotations", FOREIGN_ACCOUNT, &[name]));
    }
    check_resources("spec.engine.resources", engine.resources.as_ref(), found);
}

fn check_edge(edge: &Edge, found: &mut Vec<Refusal>) {
    check_resources("spec.edge.resources", edge.resources.as_ref(), found);
    let list = edge.cache.as_ref().and_then(|cache| cache.list.as_ref());
    if let Some(EdgeLists { min_ttl: Some(least), max_ttl: Some(most) }) = list
        && least > most
    {
        found.push(shown("spec.edge.cache.list.minTTL", TTLS_CROSS, &[&least.to_string(), &most.to_string()]));
    }
}

fn check_resources(field: &str, resources: Option<&Resources>, found: &mut Vec<Refusal>) {
    if let Some(Resources { requests: Some(requests), limits: Some(limits) }) = resources {
        let pairs = [("cpu", requests.cpu, limits.cpu), ("memory", requests.memory, limits.memory)];
        found.extend(pairs.into_iter().filter_map(|(name, request, limit)| limit_below(field, name, request?, limit?)));
    }
}

fn limit_below(resources: &str, name: &str, request: Quantity, limit: Quantity) -> Option<Refusal> {
    let field = format!("{resources}.limits.{name}");
    (limit < request).then(|| shown(&field, LIMIT_BELOW_REQUEST, &[&limit.to_string(), &request.to_string()]))
}

fn check_service(service: &Service, found: &mut Vec<Refusal>) {
    if service.type_ != Some(ServiceType::LoadBalancer) {
        if service.load_balancer_class.is_some() {
            found.push(Refusal::new("spec.service.loadBalancerClass", BALANCER_ONLY));
        }
        if !service.load_balancer_source_ranges.is_empty() {
            found.push(Refusal::new("spec.service.loadBalancerSourceRanges", BALANCER_ONLY));
        }
    }
    for (index, range) in service.load_balancer_source_ranges.iter().enumerate() {
        if !is_network(range) {
            found.push(shown(&format!("spec.service.loadBalancerSourceRanges[{index}]"), NO_NETWORK, &[range]));
        }
    }
}

/// Whether a text is a network in CIDR form without host bits, and no IPv4 network in disguise.
fn is_network(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    let (Ok(address), Ok(length)) = (address.parse::<IpAddr>(), prefix.parse::<u32>()) else { return false };
    if prefix != length.to_string() {
        return false;
    }
    let host_bits = match address {
        IpAddr::V4(address) => length <= 32 && address.to_bits() & u32::MAX.checked_shr(length).unwrap_or(0) == 0,
        IpAddr::V6(address) => length <= 128 && address.to_bits() & u128::MAX.checked_shr(length).unwrap_or(0) == 0,
    };
    host_bits && !matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn check_upstream(upstream: &Upstream, found: &mut Vec<Refusal>) {
    if upstream.direct == Some(Direct::Disabled) && upstream.proxies.is_empty() {
        found.push(Refusal::new("spec.upstream.direct", NO_ORIGIN));
    }
    let names: Vec<_> = upstream.proxies.iter().map(|proxy| proxy.name.as_str()).collect();
    let urls: Vec<_> = upstream.proxies.iter().map(|proxy| proxy.url.as_str()).collect();
    for (values, reason) in [(&names, SAME_NAME), (&urls, SAME_URL)] {
        let twice = values.iter().enumerate().find(|(index, value)| values[index + 1..].contains(value));
        found.extend(twice.map(|(_, value)| shown("spec.upstream.proxies", reason, &[value])));
    }
    for (index, url) in urls.iter().enumerate() {
        found.extend(check_ipv6(&format!("spec.upstream.proxies[{index}].url"), url));
    }
    if let Some(database) = &upstream.checksum_database {
        check_database(database, found);
    }
    if let Some(egress) = &upstream.egress_proxy {
        found.extend(check_ipv6("spec.upstream.egressProxy.httpsProxy", &egress.https));
        let plain = egress.http.as_ref();
        found.extend(plain.and_then(|url| check_ipv6("spec.upstream.egressProxy.httpProxy", url)));
    }
}

fn check_private(private: &Private, found: &mut Vec<Refusal>) {
    for (index, credential) in private.credentials.iter().enumerate() {
        if credential.ways() != 1 {
            found.push(Refusal::new(format!("spec.private.credentials[{index}]"), ONE_LOGIN));
        }
        let Credential { host, probe, .. } = credential;
        if let Some(probe) = probe.as_ref().filter(|probe| !probe.starts_with(&format!("{host}/"))) {
            let field = format!("spec.private.credentials[{index}].probe");
            found.push(shown(&field, PROBE_ELSEWHERE, &[probe, host, host]));
        }
    }
    let public = private.credentials.iter().find_map(|one| {
        let probe = one.probe.as_ref()?;
        (!private.modules.iter().any(|m| surely_covers(m, probe, &one.host))).then_some(probe)
    });
    found.extend(public.map(|probe| shown("spec.private.credentials", PUBLIC_PROBE, &[probe, probe])));
    let uncovered = private.credentials.iter().find(|one| !private.modules.iter().any(|m| is_about(m, &one.host)));
    if let Some(Credential { host, .. }) = uncovered {
        found.push(shown("spec.private.credentials", UNCOVERED_HOST, &[host, host]));
    }
}

/// Whether a pattern of modules is about a host, by its text or by its end after a star.
pub fn is_about(pattern: &str, host: &str) -> bool {
    let first = pattern.split('/').next().unwrap_or_default();
    first == host || (first.starts_with("*.") && host.ends_with(&first[1..]))
}

/// Whether a pattern of one of the plain forms covers a module of a host. The same as the rule of the CRD says.
fn surely_covers(pattern: &str, module: &str, host: &str) -> bool {
    let below = match pattern.strip_suffix('*').filter(|path| path.ends_with('/')) {
        Some(path) => module.starts_with(path),
        None => module.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    };
    let first = pattern.split('/').next().unwrap_or_default();
    let whole = pattern == first || pattern.strip_prefix(first) == Some("/*");
    below || (whole && first.starts_with("*.") && host.ends_with(&first[1..]))
}

/// Refuses an IPv6 address that leads where no origin is.
fn check_ipv6(field: &str, url: &str) -> Option<Refusal> {
    let (_, rest) = url.split_once("://[")?;
    let address = rest.split(']').next().and_then(|text| text.parse::<Ipv6Addr>().ok());
    let usable = address.is_some_and(|address| {
        !address.is_loopback()
            && !address.is_unspecified()
            && !address.is_multicast()
            && !address.is_unicast_link_local()
            && address.to_ipv4_mapped().is_none()
    });
    (!usable).then(|| shown(field, BAD_IPV6, &[url]))
}

fn check_database(database: &ChecksumDatabase, found: &mut Vec<Refusal>) {
    let path = |field: &str| format!("spec.upstream.checksumDatabase.{field}");
    if database.name.is_some() == database.disabled.is_some() {
        found.push(Refusal::new("spec.upstream.checksumDatabase", ONE_DATABASE));
    }
    if database.disabled.is_some() && (database.url.is_some() || database.key.is_some()) {
        found.push(Refusal::new(path("disabled"), DISABLED_DATABASE));
    }
    if let Some(name) = &database.name {
        if !KNOWN_DATABASES.contains(&name.as_str()) && (database.key.is_none() || database.url.is_none()) {
            found.push(shown(&path("name"), UNKNOWN_DATABASE, &[name]));
        }
        if let Some(key) = database.key.as_ref().filter(|key| !key.starts_with(&format!("{name}+"))) {
            found.push(shown(&path("key"), FOREIGN_KEY, &[key, name]));
        }
    }
    found.extend(database.url.as_ref().and_then(|url| check_ipv6(&path("url"), url)));
}
