//! The engine's part of a `GoProxy`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{duration::GoDuration, quantity::Quantity, rule};

/// The proxy program and how its pods run. A change of any field makes a new revision, except where its text says otherwise.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Engine {
    /// The program: Athens or Goproxy. Default: Athens, which can do all that has a field here. Goproxy (github.com/goproxy/goproxy)
    /// is for public modules of other proxies: it needs `upstream.proxies` and a disk, runs no go command, answers lists of
    /// versions from what it knows while its origins are away, and refuses what it lacks. Each begins with empty storage on the same volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EngineKind")]
    pub kind: Option<EngineKind>,

    /// Release of the program: v0.18.0 or v0.18.1 of Athens, v0.20.0 of Goproxy. Default: the newest this operator was tested with
    /// when the fleet was created; it then stays, whatever operator comes later, and the condition EngineUpdateAvailable tells of a
    /// newer one. Athens v0.18.0 can answer 404 for modules that exist (its child reaper races the go command); prefer v0.18.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 32))]
    pub version: Option<String>,

    /// Container image, by tag or digest; the tag `latest` is refused. Default: the installation's image repository with
    /// `version` as its tag, for Goproxy without the v. It must keep the contract of the official one: for Athens an init as
    /// entry point and `athens-proxy` on the PATH, for Goproxy `goproxy` on the PATH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 512))]
    #[x_kube(validation = rule::IMAGE.rule(), validation = rule::IMAGE_PINNED.rule(), validation = rule::IMAGE_LATEST.rule())]
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
    /// 10s to 1h; at most 15m with lock redis or etcd, 10m with azureBlob's own.
    /// It also sets how long a stopping proxy waits for fetches under way, and so how long a change can take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GoDuration")]
    #[x_kube(validation = rule::FETCH_TIMEOUT.rule())]
    pub fetch_timeout: Option<GoDuration>,

    /// What the proxy logs: Debug, Info, Warn or Error. Default: Info. Debug tells of every storage access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LogLevel")]
    pub log_level: Option<LogLevel>,

    /// Environment of the go command that fetches modules, for the few settings that no other field covers: GOTOOLCHAIN,
    /// GODEBUG, GOVCS, GOGC, GOMEMLIMIT and GOMAXPROCS. Default: GOTOOLCHAIN=local, so that a module cannot make a proxy download a toolchain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "go_env_schema")]
    #[x_kube(validation = rule::GO_ENV_KEY.key_rule())]
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
        "additionalProperties": { "type": "string", "maxLength": 1024, "x-kubernetes-validations": [rule::GO_ENV_VALUE.rule()] },
    })
}

/// A program that serves modules.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[schemars(inline)]
pub enum EngineKind {
    /// Athens: every storage, version control, private modules.
    #[default]
    Athens,
    /// goproxy: public modules of other proxies, on a disk.
    Goproxy,
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

/// Why a ServiceAccount that exists already gets no annotations.
pub const FOREIGN_ACCOUNT: &str =
    "annotations cannot be put on '%s', which is not the fleet's own: annotate it yourself, or leave out name";

/// Identity of the engine's pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.name) || !has(self.annotations) || size(self.annotations) == 0")
        .message(rule::shown(FOREIGN_ACCOUNT, "self.name"))
        .field_path(".annotations")
)]
pub struct EngineServiceAccount {
    /// Name of an existing ServiceAccount in the fleet's namespace. Default: the operator makes one, NAME-engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    #[x_kube(validation = rule::OBJECT_NAME.rule())]
    pub name: Option<String>,

    /// Annotations of the ServiceAccount that the operator makes; clouds bind their roles by them. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations_schema")]
    #[x_kube(validation = rule::META_KEY.key_rule(), validation = rule::OWN_KEY.key_rule())]
    pub annotations: BTreeMap<String, String>,
}

pub(super) fn annotations_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
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
        "additionalProperties": { "type": "string", "maxLength": 63, "x-kubernetes-validations": [rule::LABEL_VALUE.rule()] },
    })
}

/// Why a limit is refused: its value, then the request's.
pub const LIMIT_BELOW_REQUEST: &str = "the limit '%s' is below the request '%s': raise the limit or lower the request";

/// CPU and memory. A limit below its request is refused.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.requests) || !has(self.limits) || !has(self.requests.cpu) || !has(self.limits.cpu) || quantity(string(self.requests.cpu)).compareTo(quantity(string(self.limits.cpu))) <= 0")
        .message(rule::shown(LIMIT_BELOW_REQUEST, "self.limits.cpu, self.requests.cpu"))
        .field_path(".limits.cpu"),
    validation = Rule::new("!has(self.requests) || !has(self.limits) || !has(self.requests.memory) || !has(self.limits.memory) || quantity(string(self.requests.memory)).compareTo(quantity(string(self.limits.memory))) <= 0")
        .message(rule::shown(LIMIT_BELOW_REQUEST, "self.limits.memory, self.requests.memory"))
        .field_path(".limits.memory")
)]
pub struct Resources {
    /// What the scheduler sets aside for each. Default: see the field above; a key that is left out keeps its default
    /// unless the limit of the same key is lower, which then is the request too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ResourceAmounts")]
    pub requests: Option<ResourceAmounts>,

    /// What each may use at most. Default: see the field above, but no less memory than the request. Beyond its memory it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ResourceAmounts")]
    pub limits: Option<ResourceAmounts>,
}

/// Amounts of CPU and memory.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ResourceAmounts {
    /// Processor time: as a request it is set aside on the node, at its limit a pod is slowed down. Unit: cores, as a Kubernetes
    /// quantity (250m is a quarter). Default: see the field above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    #[x_kube(validation = rule::CPU.rule())]
    pub cpu: Option<Quantity>,

    /// Memory: as a request it is set aside on the node, beyond its limit a pod is killed. Unit: bytes, as a Kubernetes quantity.
    /// Default: see the field above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    #[x_kube(validation = rule::MEMORY.rule())]
    pub memory: Option<Quantity>,
}

/// Where pods run and what they carry.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EnginePod {
    /// Labels that a node must have. Default: none, any node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    #[x_kube(validation = rule::META_KEY.key_rule())]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that the pods accept, to run on nodes kept for such. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,

    /// Rules for choosing nodes beside the spread that the operator asks for. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Affinity")]
    pub affinity: Option<Affinity>,

    /// PriorityClass of the pods, which says who goes first when a node is full. Default: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    #[x_kube(validation = rule::OBJECT_NAME.rule())]
    pub priority_class_name: Option<String>,

    /// Secrets of the fleet's namespace with which the kubelet pulls the image. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<LocalReference>,

    /// Further labels of the pods, for your own tools. Default: none. Keys of goproxy.rs/ and app.kubernetes.io/ are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    #[x_kube(validation = rule::META_KEY.key_rule(), validation = rule::OWN_KEY.key_rule(), validation = rule::OWN_LABEL.key_rule())]
    pub labels: BTreeMap<String, String>,

    /// Further annotations of the pods, for your own tools. Default: none. Keys of goproxy.rs/ are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations_schema")]
    #[x_kube(validation = rule::META_KEY.key_rule(), validation = rule::OWN_KEY.key_rule())]
    pub annotations: BTreeMap<String, String>,
}

/// An object of the same namespace, by name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct LocalReference {
    /// Name of the object, in the fleet's own namespace. Required.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::OBJECT_NAME.rule())]
    pub name: String,
}
