//! The engine's part of a `GoProxy`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use kube::{KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expression;
use crate::api::quantity::Quantity;

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
