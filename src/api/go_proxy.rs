//! `GoProxy`: one fleet of Go module proxies. The field docs below are what `kubectl explain` prints.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    autoscaling::v2::MetricSpec,
    core::v1::{Affinity, Toleration},
};
use kube::{
    CustomResource, KubeSchema,
    core::{Duration, Message},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{quantity::Quantity, status::GoProxyStatus};

/// A fleet of Go module proxies. The smallest one ends in `spec: {}`: one Athens proxy that keeps its modules on a 20Gi
/// volume and fetches what it lacks as the go command itself would. Clients use `http://NAME.NAMESPACE.svc` as GOPROXY.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "goproxy.rs",
    version = "v1alpha1",
    kind = "GoProxy",
    plural = "goproxies",
    singular = "goproxy",
    shortname = "gp",
    category = "goproxy",
    namespaced,
    status = "GoProxyStatus",
    derive = "PartialEq",
    doc = "A fleet of Go module proxies. The smallest one ends in `spec: {}`: one Athens proxy that keeps its modules on a 20Gi volume and fetches what it lacks as the go command itself would. Clients use `http://NAME.NAMESPACE.svc` as GOPROXY.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40")
        .message(expression("'metadata.name \\'' + self.metadata.name + '\\' cannot name a Service: use at most 40 lower-case letters, digits and dashes, starting with a letter'")),
    validation = Rule::new("!['-engine', '-origin', '-edge', '-data'].exists(e, self.metadata.name.endsWith(e))")
        .message(expression("'metadata.name \\'' + self.metadata.name + '\\' ends like an object of another fleet: choose one that does not end in -engine, -origin, -edge or -data'"))
)]
#[kube(
    validation = Rule::new("self.replicas <= 1")
        .message(expression("'spec.replicas ' + string(self.replicas) + ' is too many: memory and disk storage belong to one proxy at a time; use 0 or 1'"))
        .field_path(".replicas"),
    validation = Rule::new("!has(self.autoscaling) || self.autoscaling.maxReplicas <= 1")
        .message(expression("'spec.autoscaling.maxReplicas ' + string(self.autoscaling.maxReplicas) + ' is too many: memory and disk storage belong to one proxy at a time; use 1'"))
        .field_path(".autoscaling"),
    validation = Rule::new(SHRINK)
        .message(expression(SHRINK_MESSAGE)),
    validation = Rule::new(SAME_CLASS)
        .message("spec.storage.disk.storageClassName cannot change: the volume with its modules exists already; create a fleet under another name, or go back to the old value"),
    validation = Rule::new(SAME_ACCESS_MODE)
        .message("spec.storage.disk.accessMode cannot change: the volume with its modules exists already; create a fleet under another name, or go back to the old value")
)]
#[serde(rename_all = "camelCase")]
pub struct GoProxySpec {
    /// Stops the operator from touching anything of this fleet; what runs goes on running, edits of its objects are not
    /// repaired. Default: false. Setting it back makes the operator catch up at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,

    /// The proxy program: version, settings and how its pods run. Default: the newest Athens this operator was tested with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Engine")]
    pub engine: Option<Engine>,

    /// How clients inside the cluster, or a load balancer, reach the fleet. Default: a ClusterIP Service with the fleet's name, port 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Service")]
    pub service: Option<Service>,

    /// Number of proxy pods. Unit: pods. Default: 1. 0 stops the fleet and keeps its storage. Memory and disk storage
    /// allow one at most. `kubectl scale` sets it; leave it out of Git when `autoscaling` is used.
    #[serde(default = "one_replica")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,

    /// Lets a HorizontalPodAutoscaler set `replicas` through this object's scale subresource. Default: absent, `replicas` is yours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Autoscaling")]
    pub autoscaling: Option<Autoscaling>,

    /// Where modules are kept: exactly one of `memory` and `disk`. Default: `disk` with 20Gi on the cluster's default StorageClass.
    /// Another kind starts empty; a volume that is no longer used is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Storage")]
    pub storage: Option<Storage>,

    /// Where modules come from that the fleet does not have yet. Default: what the go command does by itself, with checksums verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Upstream")]
    pub upstream: Option<Upstream>,

    /// Your own modules, which must never be asked for at a public server. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Private")]
    pub private: Option<Private>,

    /// How a change of the engine reaches the clients. Default: all at once, with the old revision kept for 30s where storage allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rollout")]
    pub rollout: Option<Rollout>,
}

const SHRINK: &str = "(has(self.storage) && !has(self.storage.disk)) || (has(oldSelf.storage) && !has(oldSelf.storage.disk)) || \
    quantity(has(self.storage) && has(self.storage.disk.size) ? string(self.storage.disk.size) : '20Gi').compareTo(\
    quantity(has(oldSelf.storage) && has(oldSelf.storage.disk.size) ? string(oldSelf.storage.disk.size) : '20Gi')) >= 0";
const SHRINK_MESSAGE: &str = "'spec.storage.disk.size ' + (has(self.storage) && has(self.storage.disk.size) ? string(self.storage.disk.size) : '20Gi') \
    + ' is less than the volume has: volumes cannot shrink; keep ' + (has(oldSelf.storage) && has(oldSelf.storage.disk.size) ? string(oldSelf.storage.disk.size) : '20Gi') + ' or more'";
const SAME_CLASS: &str = "(has(self.storage) && !has(self.storage.disk)) || (has(oldSelf.storage) && !has(oldSelf.storage.disk)) || \
    (has(self.storage) && has(self.storage.disk.storageClassName) ? self.storage.disk.storageClassName : '') == \
    (has(oldSelf.storage) && has(oldSelf.storage.disk.storageClassName) ? oldSelf.storage.disk.storageClassName : '')";
const SAME_ACCESS_MODE: &str = "(has(self.storage) && !has(self.storage.disk)) || (has(oldSelf.storage) && !has(oldSelf.storage.disk)) || \
    (has(self.storage) && has(self.storage.disk.accessMode) ? self.storage.disk.accessMode : 'ReadWriteOnce') == \
    (has(oldSelf.storage) && has(oldSelf.storage.disk.accessMode) ? oldSelf.storage.disk.accessMode : 'ReadWriteOnce')";

/// A message that the API server computes, so that it can show the value it refuses.
fn expression(text: &str) -> Message {
    Message::Expression(text.to_owned())
}

/// The default of `replicas`. It is in the schema, because the scale subresource has no value to show otherwise.
const fn one_replica() -> i32 {
    1
}

/// The proxy program and how its pods run. A change of any field makes a new revision, except where its text says otherwise.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.version) || self.version in ['v0.18.0', 'v0.18.1']")
        .message(expression("'spec.engine.version \\'' + self.version + '\\' is not supported: use v0.18.1 or v0.18.0; older ones serve wrong answers or corrupt storage, newer ones are not tested yet'"))
        .field_path(".version"),
    validation = Rule::new("!has(self.image) || self.image.contains('@sha256:') || (self.image.matches(':[A-Za-z0-9_][A-Za-z0-9._-]*$') && !self.image.endsWith(':latest'))")
        .message(expression("'spec.engine.image \\'' + self.image + '\\' can change under a running fleet: name a tag other than latest, or a digest'"))
        .field_path(".image"),
    validation = Rule::new("!has(self.fetchTimeout) || (duration(self.fetchTimeout) >= duration('10s') && duration(self.fetchTimeout) <= duration('1h'))")
        .message(expression("'spec.engine.fetchTimeout ' + self.fetchTimeout + ' is out of range: use 10s to 1h'"))
        .field_path(".fetchTimeout"),
    validation = Rule::new("!has(self.goEnv) || self.goEnv.all(k, k in ['GOTOOLCHAIN', 'GODEBUG', 'GOVCS', 'GOGC', 'GOMEMLIMIT', 'GOMAXPROCS'])")
        .message(expression("'spec.engine.goEnv: ' + self.goEnv.map(k, k).filter(k, !(k in ['GOTOOLCHAIN', 'GODEBUG', 'GOVCS', 'GOGC', 'GOMEMLIMIT', 'GOMAXPROCS']))[0] + ' cannot be set here: allowed are GOTOOLCHAIN, GODEBUG, GOVCS, GOGC, GOMEMLIMIT and GOMAXPROCS; origins, checksums and private modules have fields of their own'"))
        .field_path(".goEnv"),
    validation = Rule::new("!has(self.goEnv) || self.goEnv.all(k, size(self.goEnv[k]) > 0 && self.goEnv[k].matches('^[ -:<-~]*$'))")
        .message("spec.engine.goEnv: a value is empty or holds a semicolon or a control character, which would end the setting early: remove the key or the character")
        .field_path(".goEnv")
)]
#[serde(rename_all = "camelCase")]
pub struct Engine {
    /// Release of Athens: v0.18.0 or v0.18.1. Default: the newest this operator was tested with when the fleet was created;
    /// it then stays, whatever operator comes later, and the condition EngineUpdateAvailable tells of a newer one.
    /// v0.18.0 can answer 404 for modules that exist (a race in its child reaper); prefer v0.18.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 32))]
    pub version: Option<String>,

    /// Container image, by tag or digest; the tag `latest` is refused. Default: the installation's image repository with
    /// `version` as its tag. It must keep the contract of the official image: an init as entry point and `athens-proxy` on the PATH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "String",
        length(min = 1, max = 512),
        regex(
            pattern = r"^[a-z0-9]([a-z0-9._/:-]*[a-z0-9])?(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[a-f0-9]{64})?$"
        )
    )]
    pub image: Option<String>,

    /// When the kubelet pulls the image: Always, IfNotPresent or Never. Default: IfNotPresent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ImagePullPolicy")]
    pub image_pull_policy: Option<ImagePullPolicy>,

    /// Fetches that one proxy runs at the same time. Unit: fetches. Default: 10. More fill an empty fleet faster and need
    /// more CPU, memory and scratch space; 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1, max = 100))]
    pub fetch_workers: Option<i32>,

    /// Longest time one fetch may take, from the first byte asked for to the module being stored. Unit: Go duration. Default: 10m.
    /// 10s to 1h. It also sets how long a stopping proxy waits for fetches under way, and so how long a change can take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 2, max = 24), regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    pub fetch_timeout: Option<Duration>,

    /// What the proxy logs: Debug, Info, Warn or Error. Default: Info. Debug tells of every storage access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LogLevel")]
    pub log_level: Option<LogLevel>,

    /// Environment of the go command that fetches modules, for the few settings that no other field covers: GOTOOLCHAIN,
    /// GODEBUG, GOVCS, GOGC, GOMEMLIMIT and GOMAXPROCS. Default: GOTOOLCHAIN=local, so that a module cannot make a proxy download a toolchain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "go_env_schema")]
    pub go_env: BTreeMap<String, String>,

    /// Identity of the pods, for clouds that give roles to ServiceAccounts. Default: one of the fleet's own without rights or token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EngineServiceAccount")]
    pub service_account: Option<EngineServiceAccount>,

    /// CPU and memory of one proxy. Default: requests of 250m and 512Mi, a memory limit of 2Gi, no CPU limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Resources")]
    pub resources: Option<Resources>,

    /// Where pods run and what they carry. Default: anywhere, spread over zones and nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EnginePod")]
    pub pod: Option<EnginePod>,
}

fn go_env_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 6,
        "additionalProperties": { "type": "string", "maxLength": 1024 },
    })
}

/// When the kubelet pulls an image.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum ImagePullPolicy {
    /// At every start of a pod.
    Always,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Never: the image must be on the node.
    Never,
}

/// How much the engine logs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum LogLevel {
    /// Everything, including storage accesses.
    Debug,
    /// Requests and events.
    #[default]
    Info,
    /// What needs attention.
    Warn,
    /// Failures only.
    Error,
}

/// Identity of the engine's pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.name) || !has(self.annotations) || size(self.annotations) == 0")
        .message(expression("'spec.engine.serviceAccount: annotations cannot be put on \\'' + self.name + '\\', which is not the fleet\\'s own: annotate it yourself, or leave out name'"))
)]
pub struct EngineServiceAccount {
    /// Name of an existing ServiceAccount in the fleet's namespace. Default: the operator makes one, NAME-engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: Option<String>,

    /// Annotations of the ServiceAccount that the operator makes; clouds bind their roles by them. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations_schema")]
    pub annotations: BTreeMap<String, String>,
}

fn annotations_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 4096 },
    })
}

fn labels_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 63, "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$" },
    })
}

/// CPU and memory of one proxy. A limit below its request is refused.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.requests) || !has(self.limits) || !has(self.requests.cpu) || !has(self.limits.cpu) || quantity(string(self.requests.cpu)).compareTo(quantity(string(self.limits.cpu))) <= 0")
        .message(expression("'spec.engine.resources.limits.cpu ' + string(self.limits.cpu) + ' is below the request of ' + string(self.requests.cpu) + ': raise the limit or lower the request'")),
    validation = Rule::new("!has(self.requests) || !has(self.limits) || !has(self.requests.memory) || !has(self.limits.memory) || quantity(string(self.requests.memory)).compareTo(quantity(string(self.limits.memory))) <= 0")
        .message(expression("'spec.engine.resources.limits.memory ' + string(self.limits.memory) + ' is below the request of ' + string(self.requests.memory) + ': raise the limit or lower the request'"))
)]
pub struct Resources {
    /// What the scheduler sets aside for one proxy. Default: cpu 250m, memory 512Mi; a key that is left out keeps its default
    /// unless the limit of the same key is lower, which then is the request too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ResourceAmounts")]
    pub requests: Option<ResourceAmounts>,

    /// What one proxy may use at most. Default: memory 2Gi (or the request, if that is more), no CPU limit. Beyond its memory a proxy is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ResourceAmounts")]
    pub limits: Option<ResourceAmounts>,
}

/// Amounts of CPU and memory.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ResourceAmounts {
    /// Processor time. Unit: cores, as a Kubernetes quantity (250m is a quarter). Default: see the field above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    pub cpu: Option<Quantity>,

    /// Memory. Unit: bytes, as a Kubernetes quantity. Default: see the field above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    pub memory: Option<Quantity>,
}

/// Where pods run and what they carry.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.labels) || self.labels.all(k, !k.contains('goproxy.rs/') && !k.startsWith('app.kubernetes.io/'))")
        .message("spec.engine.pod.labels: keys of goproxy.rs/ and app.kubernetes.io/ belong to the operator: use a prefix of your own")
        .field_path(".labels"),
    validation = Rule::new("!has(self.annotations) || self.annotations.all(k, !k.contains('goproxy.rs/'))")
        .message("spec.engine.pod.annotations: keys of goproxy.rs/ belong to the operator: use a prefix of your own")
        .field_path(".annotations")
)]
#[serde(rename_all = "camelCase")]
pub struct EnginePod {
    /// Labels that a node must have. Default: none, any node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that the pods accept. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,

    /// Rules for choosing nodes beside the spread that the operator asks for. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Affinity")]
    pub affinity: Option<Affinity>,

    /// PriorityClass of the pods. Default: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub priority_class_name: Option<String>,

    /// Secrets of the fleet's namespace with which the kubelet pulls the image. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Vec<LocalReference>,

    /// Further labels of the pods, for your own tools. Default: none. Keys of goproxy.rs/ and app.kubernetes.io/ are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub labels: BTreeMap<String, String>,

    /// Further annotations of the pods, for your own tools. Default: none. Keys of goproxy.rs/ are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations_schema")]
    pub annotations: BTreeMap<String, String>,
}

/// An object of the same namespace, by name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct LocalReference {
    /// Name of the object, in the fleet's own namespace. Required.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// How clients reach the fleet.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("(!has(self.loadBalancerClass) && (!has(self.loadBalancerSourceRanges) || size(self.loadBalancerSourceRanges) == 0)) || (has(self.type) && self.type == 'LoadBalancer')")
        .message("spec.service: loadBalancerClass and loadBalancerSourceRanges need type LoadBalancer: set the type or remove them"),
    validation = Rule::new("!has(self.loadBalancerSourceRanges) || self.loadBalancerSourceRanges.all(r, isCIDR(r) && cidr(r) == cidr(r).masked())")
        .message("spec.service.loadBalancerSourceRanges: an entry is no network in CIDR form without host bits: write it like 10.0.0.0/8")
        .field_path(".loadBalancerSourceRanges")
)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Kind of Service: ClusterIP, NodePort or LoadBalancer. Default: ClusterIP, reachable inside the cluster only.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ServiceType")]
    pub type_: Option<ServiceType>,

    /// Annotations of the Service; load balancers and DNS controllers read them. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations_schema")]
    pub annotations: BTreeMap<String, String>,

    /// Which load balancer implementation serves the Service. Default: the cluster's. Only with type LoadBalancer; it cannot change later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "String",
        length(min = 1, max = 253),
        regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$")
    )]
    pub load_balancer_class: Option<String>,

    /// Networks in CIDR form from which the load balancer accepts clients. Default: all. Only with type LoadBalancer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "cidrs_schema")]
    pub load_balancer_source_ranges: Vec<String>,
}

fn cidrs_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "array", "maxItems": 64, "items": { "type": "string", "maxLength": 43 } })
}

/// Kind of Service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[expect(clippy::enum_variant_names, reason = "these are the names of the Service types")]
pub enum ServiceType {
    /// Inside the cluster only.
    #[default]
    ClusterIP,
    /// A port on every node.
    NodePort,
    /// An address of a load balancer.
    LoadBalancer,
}

/// Bounds and metrics of the HorizontalPodAutoscaler.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.minReplicas) || self.minReplicas <= self.maxReplicas")
        .message(expression("'spec.autoscaling.minReplicas ' + string(self.minReplicas) + ' is above maxReplicas ' + string(self.maxReplicas) + ': lower it or raise maxReplicas'"))
)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Fewest pods. Unit: pods. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1, max = 100))]
    pub min_replicas: Option<i32>,

    /// Most pods. Unit: pods. Required. Memory and disk storage allow 1.
    #[schemars(range(min = 1, max = 100))]
    pub max_replicas: i32,

    /// What is measured, as in autoscaling/v2. Default: CPU at 70 % of its request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub metrics: Vec<MetricSpec>,
}

/// Where modules are kept: exactly one of the back-ends.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("[has(self.memory), has(self.disk)].filter(x, x).size() == 1")
        .message("spec.storage: set exactly one of memory and disk")
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// What becomes of the stored modules when this object is deleted: Retain or Delete. Default: Retain. Delete also needs the
    /// annotation goproxy.rs/confirm-delete with the fleet's name as its value; until then the volume is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "WhenDeleted")]
    pub when_deleted: Option<WhenDeleted>,

    /// Modules live in the pod's memory and are lost with it: for trials and tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MemoryStorage")]
    pub memory: Option<MemoryStorage>,

    /// Modules live on a PersistentVolumeClaim, NAME-data, which only one proxy writes at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DiskStorage")]
    pub disk: Option<DiskStorage>,
}

/// What becomes of stored modules.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum WhenDeleted {
    /// They are kept; a fleet of the same name finds them again.
    #[default]
    Retain,
    /// They are deleted, once the annotation confirms it.
    Delete,
}

/// Modules in the pod's memory.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct MemoryStorage {}

/// Modules on a volume.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.size) || quantity(string(self.size)).compareTo(quantity('100Mi')) >= 0")
        .message(expression("'spec.storage.disk.size ' + string(self.size) + ' is too small for modules: use 100Mi or more'"))
        .field_path(".size")
)]
#[serde(rename_all = "camelCase")]
pub struct DiskStorage {
    /// Size of the volume. Unit: bytes, as a Kubernetes quantity. Default: 20Gi. It can grow where the StorageClass allows it, never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    pub size: Option<Quantity>,

    /// StorageClass of the volume. Default: the cluster's default class. It cannot change later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub storage_class_name: Option<String>,

    /// How the volume is attached: ReadWriteOnce or ReadWriteOncePod. Default: ReadWriteOnce. The latter lets Kubernetes itself
    /// refuse a second pod, if the StorageClass has it. It cannot change later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessMode")]
    pub access_mode: Option<AccessMode>,
}

/// How a volume is attached.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum AccessMode {
    /// To one node.
    #[default]
    ReadWriteOnce,
    /// To one pod.
    ReadWriteOncePod,
}

/// Where modules come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.direct) || self.direct != 'Disabled' || (has(self.proxies) && size(self.proxies) > 0)")
        .message("spec.upstream: direct is Disabled and proxies is empty, so nothing could be fetched: name a proxy or enable direct"),
    validation = Rule::new("!has(self.proxies) || self.proxies.all(p, self.proxies.exists_one(q, q.name == p.name))")
        .message("spec.upstream.proxies: two proxies have the same name: rename one")
        .field_path(".proxies"),
    validation = Rule::new("!has(self.proxies) || self.proxies.all(p, self.proxies.exists_one(q, q.url == p.url))")
        .message("spec.upstream.proxies: two proxies have the same url: remove one")
        .field_path(".proxies")
)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// Module proxies, asked in this order. Default: empty, the go command's own default chain, which ends in version control.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub proxies: Vec<UpstreamProxy>,

    /// Whether version control servers are asked last: Enabled or Disabled. Default: Enabled. Disabled keeps a fleet to the named proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Direct")]
    pub direct: Option<Direct>,

    /// The database that module checksums are verified against. Default: the go command's own, sum.golang.org.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ChecksumDatabase")]
    pub checksum_database: Option<ChecksumDatabase>,

    /// Certificate authorities that go and git trust instead of the image's own set. Default: the image's. A changed bundle
    /// reaches new fetches within about a minute, without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CaBundle")]
    pub ca_bundle: Option<CaBundle>,
}

/// One module proxy upstream.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("isURL(self.url) && url(self.url).getScheme() in ['http', 'https'] && size(url(self.url).getHostname()) > 0")
        .message(expression("'spec.upstream.proxies: url \\'' + self.url + '\\' is not an http or https address: write it like https://mirror.example.com'"))
        .field_path(".url"),
    validation = Rule::new("self.url.matches('^[A-Za-z0-9:/._~%+\\\\[\\\\]-]*$') && !self.url.endsWith('/')")
        .message(expression("'spec.upstream.proxies: url \\'' + self.url + '\\' has a user, a query, a trailing slash or a character that GOPROXY cannot hold: give only scheme, host, port and path'"))
        .field_path(".url"),
    validation = Rule::new(FORBIDDEN_HOST)
        .message(expression("'spec.upstream.proxies: url \\'' + self.url + '\\' leads to the proxy itself or to node-local services: name a host, not localhost, a link-local, loopback or unspecified address, or a number'"))
        .field_path(".url")
)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamProxy {
    /// Short name of this proxy, used in status and metrics. Required.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,

    /// Address of the proxy: http or https, host, optional port and path. No user or password in it. Required.
    #[schemars(length(min = 1, max = 512))]
    pub url: String,

    /// When the next entry is asked: NotFound or AnyError. Default: NotFound. NotFound moves on only where this proxy says that
    /// it does not have the module (404 or 410; a comma in GOPROXY), so an outage fails clearly. AnyError moves on after any
    /// failure (a pipe in GOPROXY), which rides out an outage but may tell the next proxy which modules you use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TryNextOn")]
    pub try_next_on: Option<TryNextOn>,
}

/// Hosts that no upstream may have. `url().getHostname()` keeps the brackets of an IPv6 address.
const FORBIDDEN_HOST: &str = "!isURL(self.url) || (\
    !url(self.url).getHostname().lowerAscii().matches('^(localhost|.*\\\\.localhost|localhost\\\\.|[0-9.]*|0x[0-9a-f.x]*|([0-9]+|0x[0-9a-f]+)(\\\\.([0-9]+|0x[0-9a-f]+)){0,3}\\\\.?)$') \
    || isIP(url(self.url).getHostname())) && (\
    !isIP(url(self.url).getHostname().replace('[', '').replace(']', '')) || (\
    !ip(url(self.url).getHostname().replace('[', '').replace(']', '')).isLoopback() && \
    !ip(url(self.url).getHostname().replace('[', '').replace(']', '')).isLinkLocalUnicast() && \
    !ip(url(self.url).getHostname().replace('[', '').replace(']', '')).isUnspecified()))";

/// When the next entry of the chain is asked.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum TryNextOn {
    /// After 404 and 410 only.
    #[default]
    NotFound,
    /// After any failure.
    AnyError,
}

/// Whether version control is asked last.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum Direct {
    /// Version control servers are the last origin.
    #[default]
    Enabled,
    /// Only the named proxies are asked.
    Disabled,
}

/// The checksum database: one by name, or none for a stated reason.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.name) != has(self.disabled)")
        .message("spec.upstream.checksumDatabase: set exactly one of name and disabled"),
    validation = Rule::new("!has(self.disabled) || (!has(self.url) && !has(self.key))")
        .message("spec.upstream.checksumDatabase: url and key have no meaning when it is disabled: remove them"),
    validation = Rule::new("!has(self.name) || self.name in ['sum.golang.org', 'sum.golang.google.cn'] || (has(self.key) && has(self.url))")
        .message(expression("'spec.upstream.checksumDatabase: the go command has no key for \\'' + self.name + '\\': give key and url, or use sum.golang.org'")),
    validation = Rule::new("!has(self.key) || !has(self.name) || self.key.startsWith(self.name + '+')")
        .message("spec.upstream.checksumDatabase.key: it must start with name and a plus sign, as the database's operator published it"),
    validation = Rule::new("!has(self.url) || (isURL(self.url) && url(self.url).getScheme() == 'https' && self.url.matches('^[A-Za-z0-9:/._~%+-]*$') && !self.url.endsWith('/'))")
        .message(expression("'spec.upstream.checksumDatabase.url \\'' + self.url + '\\' is not usable: give an https address with host, optional port and path, without user, query or trailing slash'"))
)]
pub struct ChecksumDatabase {
    /// Name of the database, which is also the host it is published under. Default: sum.golang.org.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: Option<String>,

    /// Address at which the database, or a mirror of it, answers. Default: https:// and the name. Only https: the engine refuses others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 512))]
    pub url: Option<String>,

    /// Public key of a database of your own, NAME+HASH+KEY as its operator published it. Default: the go command knows the keys of
    /// sum.golang.org and sum.golang.google.cn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "String",
        length(min = 1, max = 512),
        regex(pattern = r"^[a-z0-9.-]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+$")
    )]
    pub key: Option<String>,

    /// Turns verification off for every module that this fleet fetches. Default: absent, verification is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ChecksumsDisabled")]
    pub disabled: Option<ChecksumsDisabled>,
}

/// Why checksums are not verified.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ChecksumsDisabled {
    /// Why nothing is verified, for whoever reads this later. Required.
    #[schemars(length(min = 8, max = 512))]
    pub reason: String,
}

/// Certificate authorities, from a ConfigMap.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CaBundle {
    /// The ConfigMap of the fleet's namespace, and its key, that hold the certificates in PEM form. Required.
    pub config_map_key_ref: KeyReference,
}

/// A key of an object of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct KeyReference {
    /// Name of the object, in the fleet's own namespace. Required.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,

    /// Key within the object. Required.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Your own modules.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.modules) || self.modules.all(m, m.matches('^[A-Za-z0-9._~*?/-]+$') && !m.startsWith('/') && !m.endsWith('/') && !m.contains('//') && !m.split('/').exists(s, s == '.' || s == '..'))")
        .message(expression("'spec.private.modules: \\'' + self.modules.filter(m, !m.matches('^[A-Za-z0-9._~*?/-]+$') || m.startsWith('/') || m.endsWith('/') || m.contains('//') || m.split('/').exists(s, s == '.' || s == '..'))[0] + '\\' is not a module pattern: write it like git.example.com/team/* without scheme or spaces'"))
        .field_path(".modules"),
    validation = Rule::new("!has(self.modules) || !self.modules.exists(m, m.matches('^[*?/]+$'))")
        .message("spec.private.modules: a pattern of wildcards alone would turn off checksums for every module: name a host, or disable the checksum database with a reason")
        .field_path(".modules")
)]
pub struct Private {
    /// Patterns of module paths, as in GOPRIVATE (`git.example.com/*`): a pattern matches a path and all below it. Default: none.
    /// What matches is fetched from version control directly, is never asked for at a proxy and never looked up in the checksum database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "patterns_schema")]
    pub modules: Vec<String>,
}

fn patterns_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "array", "maxItems": 100, "items": { "type": "string", "minLength": 1, "maxLength": 256 } })
}

/// How a change of the engine reaches the clients.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.scaleDownDelay) || duration(self.scaleDownDelay) <= duration('1h')")
        .message(expression("'spec.rollout.scaleDownDelay ' + self.scaleDownDelay + ' is too long: use at most 1h'"))
        .field_path(".scaleDownDelay")
)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// How long the old revision goes on running after clients moved to the new one, to go back fast and let builds finish.
    /// Unit: Go duration. Default: 30s; at most 1h. Without effect on disk storage, where the old one must end first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 2, max = 24), regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    pub scale_down_delay: Option<Duration>,

    /// How many old revisions are kept to go back to. Unit: revisions. Default: 5. Fewer save objects in the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 0, max = 50))]
    pub revision_history_limit: Option<i32>,
}
