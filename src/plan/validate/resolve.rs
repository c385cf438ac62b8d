//! Defaults, resolved once. What was resolved is kept, so that the status can tell.

mod edge;
mod outside;
mod storage;

pub use outside::{INSIDE, OWN_POD, SSH_PORT, SSH_USER};
pub use storage::{MONGO_COLLECTION, MONGO_DATABASE, S3_REGION};

use std::{collections::BTreeMap, fmt::Display};

use k8s_openapi::api::autoscaling::v2::{MetricSpec, MetricTarget, ResourceMetricSource};

use super::{
    Checksums, FleetName, Origin, Settings, ValidAutoscaling, ValidEngine, ValidFleet, ValidLock, ValidService,
    ValidServiceAccount, ValidStorage, ValidUpstream,
};
use crate::{
    api::{
        duration::GoDuration,
        go_proxy::{
            Autoscaling, ChecksumDatabase, Direct, Engine, EngineKind, EngineServiceAccount, GoProxy, GoProxySpec,
            Resources, Service, TryNextOn, Upstream,
        },
        quantity::Quantity,
        status::{DefaultSource, EffectiveDefault},
    },
    engine::{capability, origins::KNOWN_DATABASE, version::Version},
    plan::object::{CONFIRM_DELETE_ANNOTATION, RESTART_ANNOTATION},
};

/// Toolchains come with the image: a module must not make a proxy download another one.
const TOOLCHAIN: (&str, &str) = ("GOTOOLCHAIN", "local");
/// Fetches at the same time.
pub const FETCH_WORKERS: i32 = 10;
/// Longest fetch.
pub const FETCH_TIMEOUT: GoDuration = GoDuration::seconds(600);
const SCALE_DOWN_DELAY: GoDuration = GoDuration::seconds(30);
const REVISION_HISTORY: i32 = 5;
const AMOUNTS: AmountDefaults = AmountDefaults {
    cpu_request: Quantity::milli(250),
    memory_request: Quantity::mebibytes(512),
    memory_limit: Quantity::gibibytes(2),
};
const CPU_UTILISATION: i32 = 70;

/// What was resolved so far.
#[derive(Default)]
struct Defaults(Vec<EffectiveDefault>);

impl Defaults {
    fn note(&mut self, field: &str, value: impl Display, source: DefaultSource) {
        self.0.push(EffectiveDefault { field: field.to_owned(), value: value.to_string(), source });
    }

    /// The value given, or a constant.
    fn or<T: Display>(&mut self, field: &str, given: Option<T>, constant: T) -> T {
        given.unwrap_or_else(|| {
            self.note(field, &constant, DefaultSource::Default);
            constant
        })
    }

    /// The word given, or the type's default one.
    fn word<T: Default + std::fmt::Debug>(&mut self, field: &str, given: Option<T>) -> T {
        given.unwrap_or_else(|| {
            // Variants are named as the API spells them.
            self.note(field, format_args!("{:?}", T::default()), DefaultSource::Default);
            T::default()
        })
    }

    /// A constant, or what another field makes of it.
    fn bounded(&mut self, field: &str, constant: Quantity, other: Quantity, chosen: Quantity) -> Quantity {
        let source =
            if chosen == other && chosen != constant { DefaultSource::Derived } else { DefaultSource::Default };
        self.note(field, chosen, source);
        chosen
    }
}

/// Storage and lock of a spec that names at most one of each, for the rules about both.
pub fn storage_and_lock(spec: &GoProxySpec) -> (ValidStorage, ValidLock) {
    let nobody_asks = &mut Defaults::default();
    let storage = storage::storage(spec.storage.clone(), false, nobody_asks);
    let lock = storage::lock(spec.lock.clone(), &storage, ("", ""), nobody_asks);
    (storage, lock)
}

/// Resolves a fleet that broke no rule.
pub fn fleet(fleet: &GoProxy, settings: &Settings, pinned: Option<Version>) -> ValidFleet {
    let (spec, metadata) = (&fleet.spec, &fleet.metadata);
    let name = metadata.name.clone().unwrap_or_default();
    let defaults = &mut Defaults::default();
    let kind = spec.engine_kind();
    let rollout = spec.rollout.clone().unwrap_or_default();
    let engine = engine(&name, spec.engine.clone().unwrap_or_default(), settings, pinned, defaults);
    let service = service(spec.service.clone().unwrap_or_default(), defaults);
    let autoscaling = spec.autoscaling.clone().map(|autoscaling| self::autoscaling(autoscaling, defaults));
    let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key));
    let confirmation = annotation(CONFIRM_DELETE_ANNOTATION);
    let storage = storage::storage(spec.storage.clone(), confirmation == Some(&name), defaults);
    let managed_redis = storage::managed_redis(spec.lock.as_ref(), settings, defaults);
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let lock = storage::lock(spec.lock.clone(), &storage, (&namespace, &name), defaults);
    let upstream = upstream(spec.upstream.clone().unwrap_or_default(), kind, defaults);
    let delay = defaults.or("spec.rollout.scaleDownDelay", rollout.scale_down_delay, SCALE_DOWN_DELAY);
    let egress = spec.upstream.as_ref().and_then(|upstream| upstream.egress_proxy.clone());
    let private = spec.private.clone().unwrap_or_default();
    let credentials = outside::credentials(private.credentials, defaults);
    let edge = spec.edge.clone().map(|given| edge::edge(given, settings, defaults));
    let history = defaults.or("spec.rollout.revisionHistoryLimit", rollout.revision_history_limit, REVISION_HISTORY);
    let mut resolved = ValidFleet {
        name: FleetName(name),
        namespace,
        uid: metadata.uid.clone().unwrap_or_default(),
        cluster: settings.cluster_domain.clone(),
        replicas: spec.replicas,
        engine,
        service,
        autoscaling,
        storage,
        lock,
        managed_redis,
        upstream,
        private_modules: private.modules,
        credentials,
        restart: annotation(RESTART_ANNOTATION).cloned(),
        secrets: None,
        sidecar_image: settings.sidecar_image.clone(),
        edge,
        scale_down_delay: delay.get(),
        revision_history_limit: usize::try_from(history).unwrap_or_default(),
        defaults: Vec::new(),
    };
    // Last, because all that the fleet asks decides what is reached past the proxy.
    resolved.upstream.egress =
        egress.map(|given| outside::egress(given, &resolved, &settings.cluster_domain, defaults));
    defaults.0.retain(|default| !capability::means_nothing(kind, &default.field));
    resolved.defaults = std::mem::take(&mut defaults.0);
    resolved
}

fn engine(
    fleet: &str,
    given: Engine,
    settings: &Settings,
    pinned: Option<Version>,
    defaults: &mut Defaults,
) -> ValidEngine {
    let kind = defaults.word("spec.engine.kind", given.kind);
    let version = version(kind, given.version.as_deref(), pinned, defaults);
    let image = given.image.unwrap_or_else(|| {
        // Refused before where there is none.
        let repository = settings.image_repository(kind).unwrap_or_default();
        let image = format!("{repository}:{}", version.image_tag());
        defaults.note("spec.engine.image", &image, DefaultSource::Derived);
        image
    });
    let timeout = defaults.or("spec.engine.fetchTimeout", given.fetch_timeout, FETCH_TIMEOUT);
    let amounts = amounts(given.resources.unwrap_or_default(), "spec.engine.resources", &AMOUNTS, defaults);
    ValidEngine {
        version,
        image,
        image_pull_policy: defaults.word("spec.engine.imagePullPolicy", given.image_pull_policy),
        fetch_workers: defaults.or("spec.engine.fetchWorkers", given.fetch_workers, FETCH_WORKERS),
        fetch_timeout: timeout.get(),
        log_level: defaults.word("spec.engine.logLevel", given.log_level),
        go_env: go_env(given.go_env, defaults),
        service_account: service_account(fleet, given.service_account.unwrap_or_default(), defaults),
        cpu_request: amounts.cpu_request,
        cpu_limit: amounts.cpu_limit,
        memory_request: amounts.memory_request,
        memory_limit: amounts.memory_limit,
        pod: given.pod.unwrap_or_default(),
    }
}

/// The version named, else the one of this engine that the fleet runs already, else the newest.
fn version(kind: EngineKind, given: Option<&str>, pinned: Option<Version>, defaults: &mut Defaults) -> Version {
    given.and_then(|name| Version::of(kind, name)).unwrap_or_else(|| {
        let pinned = pinned.filter(|version| version.kind() == kind);
        let source = if pinned.is_some() { DefaultSource::Pinned } else { DefaultSource::Default };
        let version = pinned.unwrap_or(Version::newest(kind));
        defaults.note("spec.engine.version", version.as_str(), source);
        version
    })
}

fn go_env(mut given: BTreeMap<String, String>, defaults: &mut Defaults) -> BTreeMap<String, String> {
    let (key, value) = TOOLCHAIN;
    let toolchain = defaults.or(&format!("spec.engine.goEnv.{key}"), given.remove(key), value.to_owned());
    given.insert(key.to_owned(), toolchain);
    given
}

fn service_account(fleet: &str, given: EngineServiceAccount, defaults: &mut Defaults) -> ValidServiceAccount {
    if let Some(name) = given.name {
        return ValidServiceAccount::Existing(name);
    }
    defaults.note("spec.engine.serviceAccount.name", FleetName(fleet.to_owned()).engine(), DefaultSource::Derived);
    ValidServiceAccount::Own(given.annotations)
}

/// What is asked for and allowed where nobody says.
struct AmountDefaults {
    cpu_request: Quantity,
    memory_request: Quantity,
    memory_limit: Quantity,
}

struct Amounts {
    cpu_request: Quantity,
    cpu_limit: Option<Quantity>,
    memory_request: Quantity,
    memory_limit: Quantity,
}

/// A default never makes an invalid pair of what was given: requests follow a lower limit, the limit follows a higher request.
fn amounts(given: Resources, field: &str, otherwise: &AmountDefaults, defaults: &mut Defaults) -> Amounts {
    let (requests, limits) = (given.requests.unwrap_or_default(), given.limits.unwrap_or_default());
    let path = |part: &str| format!("{field}.{part}");
    let mut request = |part: &str, given: Option<Quantity>, limit: Option<Quantity>, constant: Quantity| {
        let limit = limit.unwrap_or(constant);
        given.unwrap_or_else(|| defaults.bounded(&path(part), constant, limit, constant.min(limit)))
    };
    let cpu_request = request("requests.cpu", requests.cpu, limits.cpu, otherwise.cpu_request);
    let memory_request = request("requests.memory", requests.memory, limits.memory, otherwise.memory_request);
    let memory_limit = limits.memory.unwrap_or_else(|| {
        let chosen = otherwise.memory_limit.max(memory_request);
        defaults.bounded(&path("limits.memory"), otherwise.memory_limit, memory_request, chosen)
    });
    Amounts { cpu_request, cpu_limit: limits.cpu, memory_request, memory_limit }
}

fn service(given: Service, defaults: &mut Defaults) -> ValidService {
    ValidService {
        type_: defaults.word("spec.service.type", given.type_),
        annotations: given.annotations,
        load_balancer_class: given.load_balancer_class,
        load_balancer_source_ranges: given.load_balancer_source_ranges,
    }
}

fn autoscaling(given: Autoscaling, defaults: &mut Defaults) -> ValidAutoscaling {
    let mut metrics = given.metrics;
    if metrics.is_empty() {
        defaults.note("spec.autoscaling.metrics", format_args!("cpu at {CPU_UTILISATION} %"), DefaultSource::Default);
        metrics.push(cpu_metric());
    }
    ValidAutoscaling {
        min_replicas: defaults.or("spec.autoscaling.minReplicas", given.min_replicas, 1),
        max_replicas: given.max_replicas,
        metrics,
    }
}

fn cpu_metric() -> MetricSpec {
    let target = MetricTarget {
        type_: "Utilization".to_owned(),
        average_utilization: Some(CPU_UTILISATION),
        ..MetricTarget::default()
    };
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: "cpu".to_owned(), target }),
        ..MetricSpec::default()
    }
}

fn upstream(given: Upstream, kind: EngineKind, defaults: &mut Defaults) -> ValidUpstream {
    if given.proxies.is_empty() {
        defaults.note("spec.upstream.proxies", "the go command's own", DefaultSource::Default);
    }
    let direct = match (kind, given.direct) {
        (EngineKind::Goproxy, None) => {
            defaults.note("spec.upstream.direct", "Disabled", DefaultSource::Derived);
            Direct::Disabled
        }
        (EngineKind::Athens, None) | (_, Some(_)) => defaults.word("spec.upstream.direct", given.direct),
    };
    let origin = |proxy: crate::api::go_proxy::UpstreamProxy, defaults: &mut Defaults| Origin {
        try_next_on: defaults
            .word::<TryNextOn>(&format!("spec.upstream.proxies.{}.tryNextOn", proxy.name), proxy.try_next_on),
        name: proxy.name,
        url: proxy.url,
    };
    ValidUpstream {
        proxies: given.proxies.into_iter().map(|proxy| origin(proxy, defaults)).collect(),
        direct: direct == Direct::Enabled,
        checksums: checksums(given.checksum_database, defaults),
        ca_bundle: given.ca_bundle.map(|bundle| (bundle.config_map_key_ref.name, bundle.config_map_key_ref.key)),
        egress: None,
    }
}

fn checksums(given: Option<ChecksumDatabase>, defaults: &mut Defaults) -> Checksums {
    let given = given.unwrap_or_default();
    if given.disabled.is_some() {
        return Checksums::Disabled;
    }
    let name = defaults.or("spec.upstream.checksumDatabase.name", given.name, KNOWN_DATABASE.to_owned());
    Checksums::Database { name, url: given.url, key: given.key }
}
