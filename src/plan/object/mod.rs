//! The objects of a fleet: their kinds, names and labels, and the form in which they are compared and sent.
//!
//! This is the only place that formats a name. One file per kind beside it builds the typed object.

pub mod config_map;
pub mod controller_revision;
pub mod deployment;
pub mod edge;
pub mod horizontal_pod_autoscaler;
mod kind;
pub mod lock;
pub mod network_policy;
pub mod persistent_volume_claim;
pub mod pod;
pub mod pod_disruption_budget;
pub mod service;
pub mod service_account;
pub mod stage;
pub mod stored_form;

use std::{collections::BTreeMap, fmt::Write as _};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::stage::Stage;
use super::validate::{FleetName, ValidFleet};
pub use kind::Kind;

/// The field manager of every write.
pub const FIELD_MANAGER: &str = "goproxy-operator";
/// Label with the fleet's name, on every child and pod. Watches and prunes select by it.
pub const FLEET_LABEL: &str = "goproxy.rs/fleet";
/// Label with the revision's name, on what belongs to one revision.
pub const REVISION_LABEL: &str = "goproxy.rs/revision";
/// Annotation of the client Service: when its selector moved to the revision it names. RFC 3339.
pub const MOVED_AT_ANNOTATION: &str = "goproxy.rs/moved-at";
/// Label of the edge's pods, with the fleet's name. Not the fleet's own label: they are none of its proxies.
pub const EDGE_LABEL: &str = "goproxy.rs/edge";
/// Annotation of the client Service where it leads to the edge: the revision that clients get from there.
pub const SERVES_ANNOTATION: &str = "goproxy.rs/serves";
/// Annotation of the client Service: when it moved to the edge, or back from it. RFC 3339.
pub const FRONT_MOVED_AT_ANNOTATION: &str = "goproxy.rs/front-moved-at";
/// Annotation of the proxies' NetworkPolicy while it lets in nobody but the edge.
pub const EDGE_ONLY_ANNOTATION: &str = "goproxy.rs/edge-only";
/// Annotation of a `GoProxy` that confirms, with the fleet's name as value, that its volume may be deleted with it.
pub const CONFIRM_DELETE_ANNOTATION: &str = "goproxy.rs/confirm-delete";
/// Annotation of a `GoProxy` whose value, any text, is part of what makes a revision: another one starts new pods. It is only
/// ever digested, so its length and form do not matter.
pub const RESTART_ANNOTATION: &str = "goproxy.rs/restart";

/// Digest of what we want, or of what the server holds of it: equal means nothing to write.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of an object's content: everything but its identity and its status. Keys are sorted by `serde_json`'s map.
    pub fn of(object: &Value) -> Self {
        Self::of_content(&Content::Object(object))
    }

    /// Of content that is known to have neither: the same digest if it is written as [`Content`] would be.
    pub fn of_content(content: &impl Serialize) -> Self {
        let text = serde_json::to_vec(content).expect("API objects are plain data with string keys");
        let digest = Sha256::digest(text);
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        Self(short)
    }
}

/// What a digest is made of, written without being copied: canonical, as by [`canonicalise`].
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// A whole object, of which identity and status are left out.
    Object(&'a Value),
    /// Its metadata.
    Metadata(&'a Value),
    /// Anything below.
    Part(&'a Value),
}

impl<'a> Content<'a> {
    /// What a member is, if it is part of the content.
    fn member(self, name: &str, value: &'a Value) -> Option<Self> {
        match self {
            _ if is_nothing(value) => None,
            Self::Object(_) if matches!(name, "apiVersion" | "kind" | "status") => None,
            Self::Object(_) if name == "metadata" => Some(Self::Metadata(value)),
            Self::Metadata(_) if !matches!(name, "labels" | "annotations" | "ownerReferences" | "finalizers") => None,
            Self::Object(_) | Self::Metadata(_) | Self::Part(_) => Some(Self::Part(value)),
        }
    }
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (Self::Object(value) | Self::Metadata(value) | Self::Part(value)) = self;
        match value {
            Value::Object(members) => serializer
                .collect_map(members.iter().filter_map(|(name, value)| Some((name, self.member(name, value)?)))),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Content::Part)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.serialize(serializer),
        }
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The first `length` hexadecimal digits of a text's digest, for names and labels.
pub fn short_hash(text: &str, length: usize) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex.truncate(length);
    hex
}

/// Drops what the API server would drop or own for nothing: nulls and empty lists. Empty objects stay: `emptyDir: {}` means something.
pub fn canonicalise(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(canonicalise);
            members.retain(|_, member| !is_nothing(member));
        }
        Value::Array(items) => items.iter_mut().for_each(canonicalise),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// What must hold at the moment of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing: applying the same content twice is harmless.
    #[default]
    None,
    /// The live object is still the one that was planned on. For transitions: a deposed leader's late write fails.
    Unchanged {
        /// `metadata.resourceVersion` of the observed object.
        resource_version: String,
    },
    /// What is there can never become this: exactly that is deleted first.
    Replaces {
        /// `metadata.uid` of the observed object.
        uid: String,
        /// `metadata.resourceVersion` of it.
        resource_version: String,
    },
    /// No pod of the fleet exists outside these revisions, asked of the API server itself just before the write: caches
    /// lag, and two writers that do not lock each other out corrupt what they share.
    NoPodsOutside {
        /// The revision that is to start.
        revision: String,
        /// Others that it may run beside.
        beside: Vec<String>,
        /// `metadata.resourceVersion` of its Deployment if there is one: it must still be the one that was planned on.
        resource_version: Option<String>,
        /// A claim that somebody else made: no pod of anybody else may mount it.
        claim: Option<String>,
    },
}

impl Precondition {
    /// The version that the live object must still have.
    pub fn resource_version(&self) -> Option<&str> {
        match self {
            Self::None | Self::Replaces { .. } => None,
            Self::Unchanged { resource_version } => Some(resource_version),
            Self::NoPodsOutside { resource_version, .. } => resource_version.as_deref(),
        }
    }
}

/// One desired object, ready to be compared and sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Kind of the object.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The whole of it, canonical, as server-side apply sends it.
    pub body: Value,
    /// Digest of `body`.
    pub fingerprint: Fingerprint,
    /// What must hold when it is written.
    pub precondition: Precondition,
    /// When it is written, among the others.
    pub stage: Stage,
}

impl Object {
    /// Wraps a typed object.
    pub fn new<K: k8s_openapi::Resource + Serialize>(kind: Kind, name: &str, typed: &K) -> Self {
        let body = serde_json::to_value(typed).expect("API objects are plain data with string keys");
        Self::from_body(kind, name, body)
    }

    /// Wraps an object that is already plain data, because part of it was stored as such.
    pub fn from_body(kind: Kind, name: &str, mut body: Value) -> Self {
        canonicalise(&mut body);
        Self {
            kind,
            name: name.to_owned(),
            fingerprint: Fingerprint::of(&body),
            body,
            precondition: Precondition::None,
            stage: Stage::of(kind),
        }
    }

    /// The same with a precondition.
    #[must_use]
    pub fn only_if(mut self, precondition: Precondition) -> Self {
        self.precondition = precondition;
        self
    }

    /// The same in another stage than most of its kind.
    #[must_use]
    pub fn in_stage(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }
}

/// Names of a fleet's objects. Fixed for ever: clients and volumes depend on them.
impl FleetName {
    /// The Service that clients use, and the objects that guard the fleet as a whole.
    pub fn service(&self) -> &str {
        self.as_str()
    }

    /// ServiceAccount and NetworkPolicy of the engine, and the Service by which an edge finds its pods.
    pub fn engine(&self) -> String {
        format!("{self}-engine")
    }

    /// The volume.
    pub fn data(&self) -> String {
        format!("{self}-data")
    }

    /// The Redis that the fleet brings along, its Service, its NetworkPolicy and its volume.
    pub fn lock(&self) -> String {
        format!("{self}-lock")
    }

    /// A login of it. Another one has another name.
    pub fn login(&self, nonce: &str) -> String {
        format!("{self}-lock-{nonce}")
    }

    /// All that is the edge's, but what it is told.
    pub fn edge(&self) -> String {
        format!("{self}-edge")
    }

    /// A pod of the edge, by its place.
    pub fn edge_pod(&self, place: i32) -> String {
        format!("{self}-edge-{place}")
    }

    /// What the edge's pods are made of, by the digest of what was said.
    pub fn edge_record(&self, digest: &str) -> String {
        format!("{}{}{digest}", self.edge(), edge::RECORD)
    }

    /// What the edge is told.
    pub fn edge_state(&self) -> &str {
        self.as_str()
    }

    /// A revision, by the digest of its inputs. The digest holds no dash, so two fleets never share a name.
    pub fn revision(&self, digest: &str) -> String {
        format!("{self}-{digest}")
    }
}

/// Labels of every child.
pub fn labels(fleet: &ValidFleet) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "goproxy"),
        ("app.kubernetes.io/instance", fleet.name.as_str()),
        ("app.kubernetes.io/managed-by", FIELD_MANAGER),
        (FLEET_LABEL, fleet.name.as_str()),
        #[cfg(feature = "drill-label")]
        ("goproxy.rs/drill", "true"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Metadata of a child: our labels and the fleet as its controller. Nothing of the parent's own labels or annotations is
/// copied, so that GitOps tools do not take children for objects of theirs.
pub fn metadata(fleet: &ValidFleet, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(fleet.namespace.clone()),
        labels: Some(labels(fleet)),
        owner_references: Some(vec![owner(fleet)]),
        ..ObjectMeta::default()
    }
}

/// The fleet as owner of a child.
pub fn owner(fleet: &ValidFleet) -> OwnerReference {
    OwnerReference {
        api_version: format!("{}/v1alpha1", crate::api::GROUP),
        kind: "GoProxy".to_owned(),
        name: fleet.name.to_string(),
        uid: fleet.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The labels that select all pods of a fleet.
pub fn fleet_labels(fleet: &ValidFleet) -> BTreeMap<String, String> {
    [(FLEET_LABEL.to_owned(), fleet.name.to_string())].into()
}

/// The labels that select the pods of one revision.
pub fn revision_labels(fleet: &ValidFleet, revision: &str) -> BTreeMap<String, String> {
    [(FLEET_LABEL.to_owned(), fleet.name.to_string()), (REVISION_LABEL.to_owned(), revision.to_owned())].into()
}

/// Metadata of what belongs to one revision and has its name.
pub fn revision_metadata(fleet: &ValidFleet, revision: &str) -> ObjectMeta {
    let mut metadata = metadata(fleet, revision);
    metadata.labels.get_or_insert_default().insert(REVISION_LABEL.to_owned(), revision.to_owned());
    metadata
}

#[cfg(test)]
mod tests;
