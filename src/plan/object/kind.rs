//! The kinds of objects that a fleet has.

/// Kinds of child, in the order in which they are applied: what a pod needs comes before the pod, and the Service that
/// leads clients to it after; then budgets and autoscalers, which only watch, and what edges are told of all that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The stored revision, from which the next two are made.
    ControllerRevision,
    /// Identity of the pods.
    ServiceAccount,
    /// What the edge may ask the API server for.
    Role,
    /// Traffic rules, before there is a pod that they apply to.
    NetworkPolicy,
    /// The engine's configuration, one per revision, immutable.
    ConfigMap,
    /// The volume.
    PersistentVolumeClaim,
    /// The Redis that a fleet brings along, and its edge.
    StatefulSet,
    /// The pods, one per revision.
    Deployment,
    /// What clients use.
    Service,
    /// That the edge may.
    RoleBinding,
    /// How many pods may be evicted at once.
    PodDisruptionBudget,
    /// Sets the fleet's replicas.
    HorizontalPodAutoscaler,
    /// What the edge is told. Last: what it tells was decided by what is written before.
    EdgeState,
}

impl Kind {
    /// Every kind, in apply order.
    pub const ALL: [Self; 13] = [
        Self::ControllerRevision,
        Self::ServiceAccount,
        Self::Role,
        Self::NetworkPolicy,
        Self::ConfigMap,
        Self::PersistentVolumeClaim,
        Self::StatefulSet,
        Self::Deployment,
        Self::Service,
        Self::RoleBinding,
        Self::PodDisruptionBudget,
        Self::HorizontalPodAutoscaler,
        Self::EdgeState,
    ];

    /// API group ("" for core), version and plural name.
    pub const fn resource(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ControllerRevision => ("apps", "v1", "controllerrevisions"),
            Self::ServiceAccount => ("", "v1", "serviceaccounts"),
            Self::Role => ("rbac.authorization.k8s.io", "v1", "roles"),
            Self::RoleBinding => ("rbac.authorization.k8s.io", "v1", "rolebindings"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "networkpolicies"),
            Self::ConfigMap => ("", "v1", "configmaps"),
            Self::PersistentVolumeClaim => ("", "v1", "persistentvolumeclaims"),
            Self::StatefulSet => ("apps", "v1", "statefulsets"),
            Self::Deployment => ("apps", "v1", "deployments"),
            Self::Service => ("", "v1", "services"),
            Self::PodDisruptionBudget => ("policy", "v1", "poddisruptionbudgets"),
            Self::HorizontalPodAutoscaler => ("autoscaling", "v2", "horizontalpodautoscalers"),
            Self::EdgeState => (crate::api::GROUP, "v1alpha1", "edgestates"),
        }
    }

    /// The kind's name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControllerRevision => "ControllerRevision",
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ConfigMap => "ConfigMap",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::StatefulSet => "StatefulSet",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::EdgeState => "EdgeState",
        }
    }
}
