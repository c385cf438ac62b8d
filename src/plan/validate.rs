//! From what a user wrote to what can be built: every rule checked, every default resolved, once.

use std::{collections::BTreeMap, fmt, time::Duration};

use k8s_openapi::api::autoscaling::v2::MetricSpec;

use crate::api::{
    go_proxy::{
        AccessMode, ChecksumDatabase, Direct, EnginePod, EngineServiceAccount, GoProxy, ImagePullPolicy, LogLevel,
        ServiceType, TryNextOn, WhenDeleted,
    },
    quantity::Quantity,
    status::EffectiveDefault,
};
use crate::engine::version::Version;

/// What an installation of the operator sets for all fleets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Repository of the engine's image, without tag.
    pub engine_image_repository: String,
    /// DNS suffix of Services.
    pub cluster_domain: String,
}

/// A fleet's name: DNS-1035, at most 40 characters, none of the endings that belong to other fleets' objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FleetName(String);

impl FleetName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FleetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
impl FleetName {
    /// For fixtures: takes the name as it is.
    pub fn unchecked(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// One thing that is wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Path of the field, such as `spec.engine.version`.
    pub field: String,
    /// What is wrong and what to do, naming field and value.
    pub message: String,
}

/// A fleet that can be built: builders take only this and cannot fail.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidFleet {
    /// Its name.
    pub name: FleetName,
    /// Its namespace.
    pub namespace: String,
    /// `metadata.uid`, for owner references.
    pub uid: String,
    /// Pods wanted.
    pub replicas: i32,
    /// The engine, resolved.
    pub engine: ValidEngine,
    /// The client Service.
    pub service: ValidService,
    /// The autoscaler, if wanted.
    pub autoscaling: Option<ValidAutoscaling>,
    /// Where modules are kept.
    pub storage: ValidStorage,
    /// Where modules come from.
    pub upstream: ValidUpstream,
    /// Patterns of private modules, in the order given.
    pub private_modules: Vec<String>,
    /// How long the old revision stays after clients moved.
    pub scale_down_delay: Duration,
    /// Old revisions kept.
    pub revision_history_limit: usize,
    /// Every default that was resolved, for the status.
    pub defaults: Vec<EffectiveDefault>,
}

/// The engine, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidEngine {
    /// Release.
    pub version: Version,
    /// Image reference, complete.
    pub image: String,
    /// When it is pulled.
    pub image_pull_policy: ImagePullPolicy,
    /// Concurrent fetches.
    pub fetch_workers: i32,
    /// Longest fetch.
    pub fetch_timeout: Duration,
    /// Log level.
    pub log_level: LogLevel,
    /// Environment of the go command beyond what other fields give, defaults included.
    pub go_env: BTreeMap<String, String>,
    /// Identity of the pods.
    pub service_account: ValidServiceAccount,
    /// Requests.
    pub cpu_request: Quantity,
    /// Limit, if any.
    pub cpu_limit: Option<Quantity>,
    /// Request.
    pub memory_request: Quantity,
    /// Limit.
    pub memory_limit: Quantity,
    /// Scheduling and decoration of the pods, as given.
    pub pod: EnginePod,
}

/// Identity of the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidServiceAccount {
    /// Made by the operator, with these annotations.
    Own(BTreeMap<String, String>),
    /// An existing one.
    Existing(String),
}

/// The client Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidService {
    /// Its type.
    pub type_: ServiceType,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Load balancer implementation, only with type LoadBalancer.
    pub load_balancer_class: Option<String>,
    /// Networks that may use the load balancer.
    pub load_balancer_source_ranges: Vec<String>,
}

/// The autoscaler.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidAutoscaling {
    /// Fewest pods.
    pub min_replicas: i32,
    /// Most pods.
    pub max_replicas: i32,
    /// Metrics, default resolved.
    pub metrics: Vec<MetricSpec>,
}

/// Where modules are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidStorage {
    /// In the pod.
    Memory,
    /// On a volume.
    Disk {
        /// Its size.
        size: Quantity,
        /// Its class; the cluster's default without.
        class: Option<String>,
        /// How it is attached.
        access_mode: AccessMode,
        /// True when the volume goes with the fleet: the spec says Delete and the annotation confirms it.
        deleted_with_fleet: bool,
    },
}

impl ValidStorage {
    /// Whether pods of two revisions may run at the same time.
    pub const fn may_overlap(&self) -> bool {
        match self {
            Self::Memory => true,
            Self::Disk { .. } => false,
        }
    }
}

/// Where modules come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidUpstream {
    /// Named proxies in order; empty means the go command's own default chain, if `direct` is true.
    pub proxies: Vec<Origin>,
    /// Whether version control comes last.
    pub direct: bool,
    /// Checksum verification.
    pub checksums: Checksums,
    /// ConfigMap and key with the CA bundle.
    pub ca_bundle: Option<(String, String)>,
}

/// One entry of the origin chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its name.
    pub name: String,
    /// Its address, free of anything that GOPROXY could misread.
    pub url: String,
    /// When the next one is asked.
    pub try_next_on: TryNextOn,
}

/// How checksums are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// Against a database.
    Database {
        /// Its name.
        name: String,
        /// Its address, when it is not `https://` and the name.
        url: Option<String>,
        /// Its key, when the go command does not know it.
        key: Option<String>,
    },
    /// Not at all.
    Disabled,
}

/// Resolves a spec. Rules beyond the schema's are checked on the way.
pub fn validate(fleet: &GoProxy, settings: &Settings, pinned: Option<Version>) -> Result<ValidFleet, Vec<Refusal>> {
    let spec = &fleet.spec;
    let engine = spec.engine.clone().unwrap_or_default();
    let version = match &engine.version {
        Some(named) => Version::parse(named).ok_or_else(|| {
            vec![Refusal {
                field: "spec.engine.version".to_owned(),
                message: format!("spec.engine.version '{named}' is not supported"),
            }]
        })?,
        None => pinned.unwrap_or(Version::NEWEST),
    };
    let requests = engine.resources.as_ref().and_then(|resources| resources.requests.clone()).unwrap_or_default();
    let limits = engine.resources.as_ref().and_then(|resources| resources.limits.clone()).unwrap_or_default();
    let memory_request = requests.memory.unwrap_or(Quantity::mebibytes(512));
    let service = spec.service.clone().unwrap_or_default();
    let upstream = spec.upstream.clone().unwrap_or_default();
    let rollout = spec.rollout.clone().unwrap_or_default();
    let mut go_env = BTreeMap::from([("GOTOOLCHAIN".to_owned(), "local".to_owned())]);
    go_env.extend(engine.go_env.clone());
    Ok(ValidFleet {
        name: FleetName(fleet.metadata.name.clone().unwrap_or_default()),
        namespace: fleet.metadata.namespace.clone().unwrap_or_default(),
        uid: fleet.metadata.uid.clone().unwrap_or_default(),
        replicas: spec.replicas,
        engine: ValidEngine {
            version,
            image: engine.image.clone().unwrap_or_else(|| format!("{}:{version}", settings.engine_image_repository)),
            image_pull_policy: engine.image_pull_policy.unwrap_or_default(),
            fetch_workers: engine.fetch_workers.unwrap_or(10),
            fetch_timeout: engine.fetch_timeout.map_or(Duration::from_secs(600), Into::into),
            log_level: engine.log_level.unwrap_or_default(),
            go_env,
            service_account: match engine.service_account.clone().unwrap_or_default() {
                EngineServiceAccount { name: Some(name), .. } => ValidServiceAccount::Existing(name),
                EngineServiceAccount { name: None, annotations } => ValidServiceAccount::Own(annotations),
            },
            cpu_request: requests.cpu.unwrap_or(Quantity::milli(250)),
            cpu_limit: limits.cpu,
            memory_request,
            memory_limit: limits.memory.unwrap_or(Quantity::gibibytes(2).max(memory_request)),
            pod: engine.pod.clone().unwrap_or_default(),
        },
        service: ValidService {
            type_: service.type_.unwrap_or_default(),
            annotations: service.annotations,
            load_balancer_class: service.load_balancer_class,
            load_balancer_source_ranges: service.load_balancer_source_ranges,
        },
        autoscaling: spec.autoscaling.clone().map(|autoscaling| ValidAutoscaling {
            min_replicas: autoscaling.min_replicas.unwrap_or(1),
            max_replicas: autoscaling.max_replicas,
            metrics: autoscaling.metrics,
        }),
        storage: storage(fleet),
        upstream: ValidUpstream {
            proxies: upstream
                .proxies
                .into_iter()
                .map(|proxy| Origin {
                    name: proxy.name,
                    url: proxy.url,
                    try_next_on: proxy.try_next_on.unwrap_or_default(),
                })
                .collect(),
            direct: upstream.direct.unwrap_or_default() == Direct::Enabled,
            checksums: match upstream.checksum_database {
                Some(ChecksumDatabase { disabled: Some(_), .. }) => Checksums::Disabled,
                Some(ChecksumDatabase { name, url, key, disabled: None }) => {
                    Checksums::Database { name: name.unwrap_or_else(|| "sum.golang.org".to_owned()), url, key }
                }
                None => Checksums::Database { name: "sum.golang.org".to_owned(), url: None, key: None },
            },
            ca_bundle: upstream.ca_bundle.map(|bundle| (bundle.config_map_key_ref.name, bundle.config_map_key_ref.key)),
        },
        private_modules: spec.private.clone().unwrap_or_default().modules,
        scale_down_delay: rollout.scale_down_delay.map_or(Duration::from_secs(30), Into::into),
        revision_history_limit: rollout
            .revision_history_limit
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(5),
        defaults: Vec::new(),
    })
}

fn storage(fleet: &GoProxy) -> ValidStorage {
    let storage = fleet.spec.storage.clone().unwrap_or_default();
    if storage.memory.is_some() {
        return ValidStorage::Memory;
    }
    let disk = storage.disk.unwrap_or_default();
    let confirmed =
        fleet.metadata.annotations.as_ref().and_then(|all| all.get(super::object::CONFIRM_DELETE_ANNOTATION))
            == fleet.metadata.name.as_ref();
    ValidStorage::Disk {
        size: disk.size.unwrap_or(Quantity::gibibytes(20)),
        class: disk.storage_class_name,
        access_mode: disk.access_mode.unwrap_or_default(),
        deleted_with_fleet: storage.when_deleted == Some(WhenDeleted::Delete) && confirmed,
    }
}
