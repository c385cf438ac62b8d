//! From what a user wrote to what can be built: every rule checked, every default resolved, once.

mod edge;
mod outside;
mod resolve;
mod rules;
mod schema;
mod storage;
#[cfg(test)]
mod tests;
mod update;

use std::{collections::BTreeMap, fmt, time::Duration};

use k8s_openapi::api::autoscaling::v2::MetricSpec;

use serde_json::Value;

pub use edge::ValidEdge;
pub use outside::{Login, ValidCredential, ValidEgress};
pub use resolve::{
    FETCH_TIMEOUT, FETCH_WORKERS, INSIDE, MONGO_COLLECTION, MONGO_DATABASE, OWN_POD, S3_REGION, SSH_PORT, SSH_USER,
    storage_and_lock,
};
pub use rules::{is_about, one_pod};
pub use storage::{AzureIdentity, ManagedRedis, RedisServers, ValidLock, ValidRedis, ValidStorage, Volume};

use crate::api::{
    go_proxy::{EngineKind, EnginePod, GoProxy, GoProxySpec, ImagePullPolicy, LogLevel, ServiceType, TryNextOn},
    quantity::Quantity,
    status::EffectiveDefault,
};
use crate::engine::version::Version;

/// What an installation of the operator sets for all fleets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Repository of Athens' image, without tag.
    pub engine_image_repository: String,
    /// Repository of goproxy's image, without tag. `None`: fleets of that engine name their image themselves.
    pub goproxy_image_repository: Option<String>,
    /// Image of the Redis that fleets bring along.
    pub redis_image: String,
    /// Image of the edge. `None`: fleets cannot have one.
    pub edge_image: Option<String>,
    /// Image of the sidecar of proxies. `None`: they have none.
    pub sidecar_image: Option<String>,
    /// DNS suffix of Services.
    pub cluster_domain: String,
}

impl Settings {
    /// Repository of an engine's image, without tag.
    pub fn image_repository(&self, kind: EngineKind) -> Option<&str> {
        match kind {
            EngineKind::Athens => Some(&self.engine_image_repository),
            EngineKind::Goproxy => self.goproxy_image_repository.as_deref(),
        }
    }

    /// What a fleet needs and no setting gives. No rule of the CRD knows settings.
    fn lacks(&self, spec: &GoProxySpec) -> impl Iterator<Item = Refusal> {
        let named = spec.engine.as_ref().is_some_and(|engine| engine.image.is_some());
        let known = named || self.image_repository(spec.engine_kind()).is_some();
        let engine = (!known).then(|| Refusal::new("spec.engine.image", NO_IMAGE));
        let edgeless = spec.edge.is_some() && self.edge_image.is_none();
        let edge = edgeless.then(|| Refusal::new("spec.edge", NO_EDGE_IMAGE));
        engine.into_iter().chain(edge).chain(self.lacks_sidecar(spec))
    }

    /// Fields of logins that only a sidecar makes work.
    fn lacks_sidecar(&self, spec: &GoProxySpec) -> impl Iterator<Item = Refusal> {
        let credentials = spec.private.iter().flat_map(|private| &private.credentials).enumerate();
        let needing = credentials.flat_map(|(index, credential)| {
            let app = credential.git_hub_app.is_some().then_some("gitHubApp");
            let probe = credential.probe.is_some().then_some("probe");
            let path = move |field| format!("spec.private.credentials[{index}].{field}");
            app.into_iter().chain(probe).map(move |field| Refusal::new(path(field), NO_SIDECAR_IMAGE))
        });
        needing.filter(|_| self.sidecar_image.is_none())
    }
}

const NO_IMAGE: &str = "the operator was told no repository of this engine's image: name the image here, or let whoever \
                        installed the operator set engine.goproxyImageRepository of its chart";

const NO_EDGE_IMAGE: &str = "the operator was told no image of the edge: remove edge, or let whoever installed the operator set \
                             edge.image of its chart";

const NO_SIDECAR_IMAGE: &str = "the operator was told no image of the sidecar that this needs: remove the field, or let whoever \
                                installed the operator set sidecar.enabled of its chart";

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

impl FleetName {
    /// That of an object, well-formed or not.
    pub fn of(fleet: &GoProxy) -> Self {
        Self(fleet.metadata.name.clone().unwrap_or_default())
    }

    /// That by which an edge's pod was told whose it is.
    pub fn told(name: String) -> Self {
        Self(name)
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

impl Refusal {
    /// A refusal of a field's value. The message names the field too, as it may be shown alone.
    fn new(field: impl Into<String>, reason: &str) -> Self {
        let field = field.into();
        let message = format!("{field}: {reason}");
        Self { field, message }
    }
}

/// Reads an object as it stands in a file: what the API server would refuse by the schema alone is refused here too, in
/// the same words.
pub fn parse(mut object: Value) -> Result<GoProxy, Vec<Refusal>> {
    let refusals = schema::check_object(&mut object);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let fleet = serde_json::from_value(object).map_err(|error| vec![Refusal::new("object", &error.to_string())])?;
    let refusals = refusals_of(&fleet);
    if refusals.is_empty() { Ok(fleet) } else { Err(refusals) }
}

/// Checks every rule of the CRD and resolves every default. `pinned` is the engine version that the fleet runs already.
pub fn validate(fleet: &GoProxy, settings: &Settings, pinned: Option<Version>) -> Result<ValidFleet, Vec<Refusal>> {
    let refusals: Vec<_> = refusals_of(fleet).into_iter().chain(settings.lacks(&fleet.spec)).collect();
    if refusals.is_empty() { Ok(resolve::fleet(fleet, settings, pinned)) } else { Err(refusals) }
}

/// The storage that a fleet names, without anything else of it being judged. `None` where it names two.
pub fn storage_of(fleet: &GoProxy) -> Option<(FleetName, ValidStorage)> {
    let clear = fleet.spec.storage.as_ref().is_none_or(|storage| storage.places() <= 1);
    clear.then(|| (FleetName::of(fleet), resolve::storage_and_lock(&fleet.spec).0))
}

/// Checks what a change may not do: the rules that compare a spec with the one before.
pub fn validate_update(old: &GoProxySpec, new: &GoProxySpec) -> Vec<Refusal> {
    update::check(old, new)
}

/// Schema first: the other rules speak of fields that are well-formed by themselves.
fn refusals_of(fleet: &GoProxy) -> Vec<Refusal> {
    let refusals = schema::check_spec(&fleet.spec);
    let name = fleet.metadata.name.as_deref().unwrap_or_default();
    let named = rules::name(name).into_iter().chain(rules::named(name, &fleet.spec));
    refusals.into_iter().chain(named).chain(rules::check(&fleet.spec)).collect()
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
    /// DNS suffix of Services, by which people may know the cluster.
    pub cluster: String,
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
    /// What keeps two proxies from storing one module at the same time.
    pub lock: ValidLock,
    /// The Redis that the fleet brings along; `lock` then names it.
    pub managed_redis: Option<ManagedRedis>,
    /// Where modules come from.
    pub upstream: ValidUpstream,
    /// Patterns of private modules, in the order given.
    pub private_modules: Vec<String>,
    /// Logins for Git servers, by host.
    pub credentials: Vec<ValidCredential>,
    /// What asks for a new revision beside the spec: the value of the annotation, any text.
    pub restart: Option<String>,
    /// Digest of what the Secrets hold that the engine reads at its start alone. `None` until the plan has asked, and where one of
    /// them is not known.
    pub secrets: Option<String>,
    /// Image of the sidecar that proxies get which have something to do for one. `None`: none gets one.
    pub sidecar_image: Option<String>,
    /// What stands between clients and the proxies, if anything does.
    pub edge: Option<ValidEdge>,
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
    /// Release, and with it the program.
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
    /// The proxy on the way out.
    pub egress: Option<ValidEgress>,
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
