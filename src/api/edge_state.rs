//! `EdgeState`: what the edges of one target shall do, as the operator tells them, and what they answer.
//!
//! Internal: written by the operator, read by edges of this release and the one before. So it has a version of its own, and nothing here
//! is a default with consequences: the operator has resolved everything. Secrets are never in it; it names them.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of this object that is written. A field that restricts what clients may do, or without which an edge would
/// serve wrongly, raises it: an edge that does not know the field must not go on as if it were not there. A field that may be ignored does not.
pub const PROTOCOL: u32 = 1;

/// The oldest version that is read: the one before, once there is one.
pub const PROTOCOL_OLDEST: u32 = 1;

/// What the edges shall do.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "goproxy.rs",
    version = "v1alpha1",
    kind = "EdgeState",
    plural = "edgestates",
    singular = "edgestate",
    namespaced,
    status = "EdgeStateStatus",
    derive = "PartialEq",
    doc = "What the edges of a fleet shall do, and what they answer. Written by the operator for its own edges alone: it is no place to set anything, and every edit is undone.",
    printcolumn(name = "Generation", type_ = "integer", json_path = ".spec.settled.number"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".spec.settled.settings.weights.stable"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct EdgeStateSpec {
    /// Version of this object's form.
    #[schemars(with = "i32", range(min = 1))]
    pub protocol: u32,
    /// What every edge serves by that is not on trial.
    pub settled: Generation,
    /// What some edges try first. Taking it out takes them back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Trial")]
    pub trial: Option<Trial>,
}

/// Settings and their number.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// Grows with every change of the settings; the same number always means the same settings.
    #[schemars(with = "i64", range(min = 0))]
    pub number: u64,
    /// What holds.
    pub settings: EdgeSettings,
}

/// Settings that some edges try.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// What they try.
    pub generation: Generation,
    /// Names of their pods.
    pub edges: Vec<String>,
}

/// Everything that changes without a restart.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeSettings {
    /// Which revision answers.
    pub weights: WeightSettings,
    /// Patterns of private modules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub private_modules: Vec<String>,
    /// Which addresses may speak.
    #[serde(default, skip_serializing_if = "is_default")]
    pub addresses: AddressSettings,
    /// Who has to say who they are; absent: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "IdentitySettings")]
    pub identity: Option<IdentitySettings>,
    /// Mirrors, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<MirrorSettings>,
    /// How long what changes is taken for true.
    #[serde(default)]
    pub lists: ListSettings,
    /// The longest fetch of the engine, in seconds: nothing waits less for one. It is in nginx's file, so a change is a reload.
    #[serde(default = "fetch_seconds")]
    #[schemars(with = "i32", range(min = 1))]
    pub fetch_seconds: u32,
}

/// Within these bounds lists of versions and answers about branches are taken for true, in seconds.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ListSettings {
    /// At least so long.
    #[schemars(with = "i32", range(min = 1))]
    pub min_seconds: u32,
    /// At most so long.
    #[schemars(with = "i32", range(min = 1))]
    pub max_seconds: u32,
}

impl Default for ListSettings {
    fn default() -> Self {
        Self { min_seconds: 5, max_seconds: 300 }
    }
}

impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            weights: WeightSettings::default(),
            private_modules: Vec::new(),
            addresses: AddressSettings::default(),
            identity: None,
            mirrors: Vec::new(),
            lists: ListSettings::default(),
            fetch_seconds: fetch_seconds(),
        }
    }
}

/// What the engine takes for a fetch where nobody says.
const fn fetch_seconds() -> u32 {
    600
}

/// Which revision answers.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct WeightSettings {
    /// The stable revision.
    pub stable: String,
    /// A revision that is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CanarySettings")]
    pub canary: Option<CanarySettings>,
    /// Differs from rollout to rollout.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub salt: String,
}

/// A revision that is tried.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct CanarySettings {
    /// Its name.
    pub revision: String,
    /// How many of a hundred clients it answers.
    #[schemars(with = "i32", range(min = 0, max = 100))]
    pub percent: u8,
}

/// Which addresses may speak.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AddressSettings {
    /// Only these networks, unless empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Never these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// For private modules only these, unless empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub private_allow: Vec<String>,
    /// Proxies whose word about addresses counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
}

/// How clients say who they are.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct IdentitySettings {
    /// By token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "JwtSettings")]
    pub jwt: Option<JwtSettings>,
    /// What they may do then; none: read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<RoleSettings>,
}

/// Which tokens count.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct JwtSettings {
    /// Who issues them.
    pub issuer: String,
    /// For whom.
    pub audience: String,
    /// Whether they may be for others too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shared_audience: bool,
    /// By how many seconds clocks may differ.
    #[schemars(with = "i32", range(min = 0))]
    pub leeway_seconds: u32,
    /// The claim that lists groups.
    pub groups_claim: String,
}

/// What somebody may do.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct RoleSettings {
    /// Its name.
    pub name: String,
    /// Subjects that have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// Groups that have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Scopes that have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// With which modules.
    pub modules: Vec<String>,
    /// Read, Publish or Purge.
    pub actions: Vec<String>,
}

/// One mirror.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MirrorSettings {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Whether the next one is asked after any failure, or only where this one says that it lacks the module.
    #[serde(default, skip_serializing_if = "is_default")]
    pub next_on_any_error: bool,
    /// Requests a second that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1))]
    pub requests_per_second: Option<u32>,
    /// Requests at a time that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1))]
    pub connections: Option<u32>,
}

/// What the edges answer: each writes its own entry.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct EdgeStateStatus {
    /// By the name of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub edges: BTreeMap<String, EdgeReport>,
}

/// What one edge answers.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeReport {
    /// The newest version of this object's form that it reads.
    #[schemars(with = "i32", range(min = 1))]
    pub protocol: u32,
    /// The generation that it serves by; 0 while there is none.
    #[schemars(with = "i64", range(min = 0))]
    pub generation: u64,
    /// Why it does not serve by the one it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub trouble: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
