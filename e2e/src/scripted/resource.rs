//! The kinds that the server knows, and what is peculiar to each.

use serde_json::{Value, json};

/// A kind of object.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// API group, empty for core.
    pub group: &'static str,
    /// Version of the group.
    pub version: &'static str,
    /// Plural name, as in a path.
    pub plural: &'static str,
    /// Name of the kind.
    pub kind: &'static str,
}

const fn resource(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str) -> Resource {
    Resource { group, version, plural, kind }
}

/// Every kind, all namespaced.
pub static RESOURCES: [Resource; 18] = [
    resource("goproxy.rs", "v1alpha1", "goproxies", "GoProxy"),
    resource("", "v1", "pods", "Pod"),
    resource("", "v1", "services", "Service"),
    resource("", "v1", "configmaps", "ConfigMap"),
    resource("", "v1", "serviceaccounts", "ServiceAccount"),
    resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    resource("apps", "v1", "controllerrevisions", "ControllerRevision"),
    resource("apps", "v1", "deployments", "Deployment"),
    resource("apps", "v1", "statefulsets", "StatefulSet"),
    resource("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    resource("goproxy.rs", "v1alpha1", "edgestates", "EdgeState"),
    resource("coordination.k8s.io", "v1", "leases", "Lease"),
    resource("events.k8s.io", "v1", "events", "Event"),
    resource("", "v1", "events", "Event"),
];

impl Resource {
    /// The kind of a path's parts.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|known| known.group == group && known.version == version && known.plural == plural)
    }

    /// The kind of a plural name. Where two groups have it, the first of the table.
    ///
    /// # Panics
    ///
    /// Panics for a name that is not in the table: a mistake in the test that asks.
    pub fn named(plural: &str) -> &'static Self {
        RESOURCES.iter().find(|known| known.plural == plural).expect("a plural name of the table")
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether the status is written by a path of its own.
    pub fn has_status(&self) -> bool {
        matches!(
            self.kind,
            "GoProxy"
                | "EdgeState"
                | "Pod"
                | "Service"
                | "PersistentVolumeClaim"
                | "Deployment"
                | "StatefulSet"
                | "PodDisruptionBudget"
                | "HorizontalPodAutoscaler"
        )
    }

    /// Fills in what the API server fills in and what something relies on.
    pub fn default(&self, object: &mut Value) {
        match self.kind {
            "Deployment" => {
                set(object, "/spec", "replicas", json!(1));
                set(object, "/spec", "strategy", json!({ "type": "RollingUpdate" }));
                set(object, "/spec", "revisionHistoryLimit", json!(10));
                set(object, "/spec", "progressDeadlineSeconds", json!(600));
                set(object, "/spec/template/spec", "restartPolicy", json!("Always"));
                set(object, "/spec/template/spec", "schedulerName", json!("default-scheduler"));
                set(object, "/spec/template/spec", "dnsPolicy", json!("ClusterFirst"));
            }
            "Service" => {
                set(object, "/spec", "type", json!("ClusterIP"));
                set(object, "/spec", "sessionAffinity", json!("None"));
                set(object, "/spec", "clusterIP", json!("10.96.0.10"));
                set(object, "/spec", "internalTrafficPolicy", json!("Cluster"));
            }
            "PersistentVolumeClaim" => {
                set(object, "/spec", "volumeMode", json!("Filesystem"));
                set(object, "/spec", "storageClassName", json!("standard"));
                set(object, "", "status", json!({ "phase": "Pending" }));
            }
            "GoProxy" => set(object, "/spec", "replicas", json!(1)),
            _ => {}
        }
    }

    /// Why an update is refused: a field that may never change did.
    pub fn immutable(&self, old: &Value, new: &Value) -> Option<&'static str> {
        let differ = |path: &str| old.pointer(path) != new.pointer(path);
        match self.kind {
            "ConfigMap"
                if old.pointer("/immutable") == Some(&Value::Bool(true))
                    && (differ("/data") || differ("/immutable")) =>
            {
                Some("data: Forbidden: field is immutable when `immutable` is set")
            }
            "ControllerRevision" if differ("/data") => Some("data: Invalid value: field is immutable"),
            "Deployment" if differ("/spec/selector") => Some("spec.selector: Invalid value: field is immutable"),
            "PersistentVolumeClaim"
                if ["/spec/accessModes", "/spec/storageClassName", "/spec/volumeMode", "/spec/selector"]
                    .into_iter()
                    .any(differ) =>
            {
                Some("spec: Forbidden: spec is immutable after creation except resources.requests")
            }
            _ => None,
        }
    }
}

/// Sets a member where it is missing and its parent exists.
fn set(object: &mut Value, parent: &str, key: &str, value: Value) {
    if let Some(Value::Object(members)) = object.pointer_mut(parent) {
        members.entry(key).or_insert(value);
    }
}
