//! `EdgeState`: what the edges of one target shall do, as the operator tells them, and what they answer.
//!
//! Internal: written by the operator, read by edges of this release and the one before. So it has a version of its own, and nothing here
//! is a default with consequences: the operator has resolved everything. Secrets are never in it; it names them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of this object that is written. A field that restricts what clients may do, or without which an edge would
/// serve wrongly, raises it: an edge that does not know the field must not go on as if it were not there. A field that may be ignored does not.
pub const PROTOCOL: u32 = 1;

/// The oldest version that is read: the one before, once there is one.
pub const PROTOCOL_OLDEST: u32 = 1;

/// What the edges shall do.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeStateSpec {
    /// Version of this object's form.
    pub protocol: u32,
    /// What every edge serves by that is not on trial.
    pub settled: Generation,
    /// What some edges try first. Taking it out takes them back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// Settings and their number.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// Grows with every change of the settings; the same number always means the same settings.
    pub number: u64,
    /// What holds.
    pub settings: EdgeSettings,
}

/// Settings that some edges try.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// What they try.
    pub generation: Generation,
    /// Names of their pods.
    pub edges: Vec<String>,
}

/// Everything that changes without a reload.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
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
    pub identity: Option<IdentitySettings>,
    /// Mirrors, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<MirrorSettings>,
}

/// Which revision answers.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct WeightSettings {
    /// The stable revision.
    pub stable: String,
    /// A revision that is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanarySettings>,
    /// Differs from rollout to rollout.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub salt: String,
}

/// A revision that is tried.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct CanarySettings {
    /// Its name.
    pub revision: String,
    /// How many of a hundred clients it answers.
    pub percent: u8,
}

/// Which addresses may speak.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
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
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct IdentitySettings {
    /// By token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtSettings>,
    /// What they may do then; none: read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<RoleSettings>,
}

/// Which tokens count.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
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
    pub leeway_seconds: u32,
    /// The claim that lists groups.
    pub groups_claim: String,
}

/// What somebody may do.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
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
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
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
    pub requests_per_second: Option<u32>,
    /// Requests at a time that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
}

/// What the edges answer: each writes its own entry.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct EdgeStateStatus {
    /// By the name of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub edges: BTreeMap<String, EdgeReport>,
}

/// What one edge answers.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeReport {
    /// The newest version of this object's form that it reads.
    pub protocol: u32,
    /// The generation that it serves by.
    pub generation: u64,
    /// Why it does not serve by the one it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
