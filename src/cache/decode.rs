//! Decoding with forgetting: an object is read, what the plan needs of it is kept, and the rest is dropped before the
//! next one is read. A typed Deployment costs fifty times what is kept of it.

mod edge;
mod pods;
mod volumes;

use std::{borrow::Cow, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope, NamespaceResourceScope};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use super::{
    lean::{KEPT_OF_SPEC, Lean, LeanFleet},
    projection,
};
use crate::{
    api::{GROUP, go_proxy::GoProxy},
    plan::{
        DeploymentView, Lead, StatefulSetView,
        edge::EdgeStateView,
        object::{EDGE_ONLY_ANNOTATION, FLEET_LABEL, Fingerprint, Kind},
        volume::ClaimView,
    },
};

/// What kube-controller-manager gives as reason of a Deployment's `Progressing` condition, once its pods were available.
const COMPLETED: &str = "NewReplicaSetAvailable";

/// A child or pod as it came from the API server, with everything dropped that nobody asks for.
#[derive(Clone, Debug)]
pub struct Seen {
    metadata: ObjectMeta,
    /// Digest of the fields that we own.
    pub live: Fingerprint,
    /// Whether our manager owns any field of it.
    pub managed: bool,
    /// Digest of a ConfigMap's text, which is not kept itself.
    text: Option<Fingerprint>,
    rest: Value,
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(Lean::deserialize(deserializer)?.0))
    }
}

impl Seen {
    /// Reads an object. Never fails: what cannot be understood is as if it were not there, so that one odd object does
    /// not end the watch for all others.
    pub fn new(mut object: Value) -> Self {
        let managed = projection::owned_fields(&object).is_some();
        let live = Fingerprint::of_content(&projection::project(&object));
        let metadata = ObjectMeta {
            name: text(&object, "/metadata/name"),
            namespace: text(&object, "/metadata/namespace"),
            uid: text(&object, "/metadata/uid"),
            resource_version: text(&object, "/metadata/resourceVersion"),
            ..ObjectMeta::default()
        };
        let text = forget(&mut object);
        Self { metadata, live, managed, text, rest: object }
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// `metadata.resourceVersion`.
    pub fn resource_version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }

    /// The fleet that its label names.
    pub fn fleet(&self) -> Option<&str> {
        self.label(FLEET_LABEL)
    }

    /// Uid and kind-qualified name of its controller.
    pub fn owner(&self) -> Option<Owner<'_>> {
        let owners = self.rest.pointer("/metadata/ownerReferences")?.as_array()?;
        let controller = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)));
        // A reference without the controller mark still makes the object go with its owner.
        let owner = controller.or_else(|| owners.iter().find(|owner| is_fleet(owner)))?;
        let member = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        Some(Owner { uid: member("uid"), fleet: is_fleet(owner).then(|| member("name")) })
    }

    /// True once it is being deleted.
    pub fn deleting(&self) -> bool {
        self.rest.pointer("/metadata/deletionTimestamp").is_some()
    }

    /// What its kind tells beyond that.
    pub fn detail(&self, kind: Kind) -> Detail {
        match kind {
            Kind::ControllerRevision => self.revision(),
            Kind::Deployment => Detail::Deployment(Box::new(self.deployment())),
            Kind::Service => Detail::Service(Box::new(self.lead())),
            Kind::StatefulSet => Detail::StatefulSet(Box::new(self.stateful_set())),
            Kind::PersistentVolumeClaim => Detail::Claim(Box::new(self.claim())),
            Kind::ConfigMap => self.text.map_or(Detail::None, |digest| Detail::Text { digest }),
            Kind::NetworkPolicy => Detail::NetworkPolicy { edge_only: self.annotation(EDGE_ONLY_ANNOTATION).is_some() },
            Kind::EdgeState => self.edge_state().map_or(Detail::None, |view| Detail::EdgeState(Box::new(view))),
            Kind::ServiceAccount
            | Kind::Role
            | Kind::RoleBinding
            | Kind::PodDisruptionBudget
            | Kind::HorizontalPodAutoscaler => Detail::None,
        }
    }

    fn revision(&self) -> Detail {
        let data = self.rest.get("data").map_or(Cow::Borrowed("null"), |data| Cow::Owned(data.to_string()));
        let number = self.rest.get("revision").and_then(Value::as_i64).unwrap_or_default();
        Detail::Revision { data: data.into(), number }
    }

    fn deployment(&self) -> DeploymentView {
        let number = |path: &str| self.rest.pointer(path).and_then(Value::as_i64);
        let count = |path: &str| number(path).and_then(|n| i32::try_from(n).ok()).unwrap_or_default();
        DeploymentView {
            replicas: number("/spec/replicas").and_then(|n| i32::try_from(n).ok()).unwrap_or(1),
            observed: number("/status/observedGeneration") >= number("/metadata/generation"),
            current: count("/status/replicas"),
            ready: count("/status/readyReplicas"),
            available: count("/status/availableReplicas"),
            replica_failure: self.condition("ReplicaFailure", "True"),
            completed: self.found_condition("Progressing", "True").is_some_and(|one| one["reason"] == COMPLETED),
        }
    }

    /// Message of the condition, if it has this status.
    fn condition(&self, type_: &str, status: &str) -> Option<String> {
        let found = self.found_condition(type_, status)?;
        Some(found.get("message").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    fn found_condition(&self, type_: &str, status: &str) -> Option<&Value> {
        let conditions = self.rest.pointer("/status/conditions")?.as_array()?;
        conditions.iter().find(|one| one["type"] == type_ && one["status"] == status)
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.rest.pointer("/metadata/labels")?.get(key)?.as_str()
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.rest.pointer("/metadata/annotations")?.get(key)?.as_str()
    }
}

/// Who controls an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The owner's uid.
    pub uid: &'a str,
    /// The owner's name, if it is a fleet.
    pub fleet: Option<&'a str>,
}

fn is_fleet(owner: &Value) -> bool {
    let member = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
    member("kind") == "GoProxy" && member("apiVersion").split('/').next() == Some(GROUP)
}

/// What a child's kind tells, packed: a revision's content stays text until a plan needs it, because as a tree it
/// would take ten times the memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// Nothing that the plan needs.
    None,
    /// A stored revision.
    Revision {
        /// Its `data`, as JSON. Shared, since it is by far the most that is kept of a fleet.
        data: Arc<str>,
        /// Its `revision`.
        number: i64,
    },
    /// A Deployment.
    Deployment(Box<DeploymentView>),
    /// The client Service, or another one.
    Service(Box<Lead>),
    /// The text of a ConfigMap, which can never change.
    Text {
        /// Its digest.
        digest: Fingerprint,
    },
    /// A volume's claim.
    Claim(Box<ClaimView>),
    /// A StatefulSet.
    StatefulSet(Box<StatefulSetView>),
    /// A NetworkPolicy.
    NetworkPolicy {
        /// Whether it lets in nobody but the edge.
        edge_only: bool,
    },
    /// What the edge is told, and what it answers.
    EdgeState(Box<EdgeStateView>),
}

/// A fleet as it came from the API server.
#[derive(Clone, Debug)]
pub struct SeenFleet {
    metadata: ObjectMeta,
    /// The fleet without `managedFields`, or why it cannot be read.
    pub fleet: Result<Arc<GoProxy>, Arc<str>>,
}

impl<'de> Deserialize<'de> for SeenFleet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let LeanFleet(mut object) = LeanFleet::deserialize(deserializer)?;
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            // Often a whole copy of the object, which nothing here reads.
            if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
        }
        let metadata = read(object.get("metadata")).unwrap_or_default();
        let fleet = serde_json::from_value(object).map(Arc::new).map_err(|error| error.to_string().into());
        Ok(Self { metadata, fleet })
    }
}

impl SeenFleet {
    /// `metadata`, which can be read even where the spec cannot.
    pub const fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
}

/// Drops the bulk: what is left is read once more by kind and then dropped as well. Of a text that is dropped, its digest.
fn forget(object: &mut Value) -> Option<Fingerprint> {
    let Value::Object(members) = object else { return None };
    let mut text = None;
    if !members.contains_key("revision") {
        text = members.remove("data").map(|data| Fingerprint::of_content(&data));
        members.remove("binaryData");
    }
    if let Some(Value::Object(metadata)) = members.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    if let Some(Value::Object(spec)) = members.get_mut("spec") {
        spec.retain(|key, _| KEPT_OF_SPEC.contains(&key.as_str()));
    }
    text
}

fn text(object: &Value, path: &str) -> Option<String> {
    object.pointer(path)?.as_str().map(str::to_owned)
}

fn read<T: DeserializeOwned>(value: Option<&Value>) -> Option<T> {
    T::deserialize(value?).ok()
}

impl kube::Resource for Seen {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl kube::Resource for SeenFleet {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        GoProxy::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        GoProxy::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        GoProxy::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        GoProxy::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_that_was_once_complete_is_known_by_its_condition() {
        let completed = |type_: &str, status: &str, reason: &str| {
            let conditions = [
                json!({ "type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable" }),
                json!({ "type": type_, "status": status, "reason": reason }),
            ];
            Seen::new(json!({ "status": { "conditions": conditions } })).deployment().completed
        };
        assert!(completed("Progressing", "True", "NewReplicaSetAvailable"));
        assert!(!completed("Progressing", "True", "ReplicaSetUpdated"), "its first pods start");
        assert!(!completed("Progressing", "False", "ProgressDeadlineExceeded"));
        assert!(!Seen::new(json!({})).deployment().completed);
    }
}
