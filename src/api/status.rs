//! What the operator reports. Nothing lives here alone: every field can be derived again from objects of the cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator found and did. Instants, never durations, so that it changes only when something happens.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GoProxyStatus {
    /// The `metadata.generation` that everything below speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub observed_generation: Option<i64>,

    /// One line for people: what serves, and what is under way or wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub summary: Option<String>,

    /// Release of the engine that clients get; that of another engine than Athens after its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub version: Option<String>,

    /// Pods of the revision that clients get; the scale subresource shows it. Unit: pods.
    #[serde(default)]
    pub replicas: i32,

    /// Those of them that are ready to serve. Unit: pods.
    #[serde(default)]
    pub ready_replicas: i32,

    /// Label selector of the pods that `replicas` counts, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub selector: Option<String>,

    /// Ready: clients are served. Reconciling: a change is under way. Stalled: it cannot go on by itself.
    /// EngineUpdateAvailable: a newer tested engine exists than the fleet runs; with the reason FaultyEngine, what it runs has a known fault.
    /// VolumeSized: False while the volume does not have the size that the spec asks for, and why; absent when it has.
    /// VolumeHasRoom: False while little of the volume is free, or nothing. LockReady: False while the lock does not answer, with where and since
    /// when. LoginsWork: False while a login with a probe, or a GitHub App, does not work, with the host, since when and why. StorageExclusive: False while
    /// a fleet of another operator marks the bucket of storage.s3 as its own. These four are told from inside the pods, and absent where nothing there looks.
    /// EdgeReady: a pod of the edge serves, and none goes on by older settings; absent where there is no edge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// What a client sets to use this fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ClientSettings")]
    pub client: Option<ClientSettings>,

    /// The edge. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EdgeStatus")]
    pub edge: Option<EdgeStatus>,

    /// Every field that the spec leaves out and that matters at run time: the value in force and where it comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["field"]))]
    pub effective: Vec<EffectiveDefault>,

    /// One entry per region; a fleet without regions has one, `default`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub regions: Vec<RegionStatus>,
}

/// Environment of a client of this fleet.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ClientSettings {
    /// Value for GOPROXY inside the cluster.
    pub goproxy: String,

    /// Value for GOSUMDB: the checksum database, reached through the fleet where that is possible.
    pub gosumdb: String,

    /// Value for GONOSUMDB: modules without a public checksum. Empty when there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gonosumdb: String,

    /// For people: where checksums are looked up, and what fails while the checksum database cannot be reached.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checksums: String,
}

/// How the edge does.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeStatus {
    /// Pods that it shall have. Unit: pods.
    pub replicas: i32,

    /// Pods that are ready to serve. Unit: pods.
    pub ready_replicas: i32,

    /// The number of the oldest settings that a pod of it serves by; `EdgeState` of the fleet's name tells the newest. Absent while a
    /// pod has not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub generation: Option<u64>,

    /// Whom the fleet's Service leads clients to: Engines (the proxies) or Edges.
    pub clients: ClientsReach,
}

/// Whom clients reach first.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum ClientsReach {
    /// The proxies.
    #[default]
    Engines,
    /// The edge.
    Edges,
}

/// A field that the spec leaves out, as the operator resolved it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct EffectiveDefault {
    /// Path of the field, such as spec.engine.version.
    pub field: String,

    /// The value in force.
    pub value: String,

    /// Where it comes from: Default (a constant of the operator), Pinned (kept from when the fleet was created) or
    /// Derived (follows from other fields).
    pub source: DefaultSource,
}

/// Where a default comes from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum DefaultSource {
    /// A constant of this operator.
    #[default]
    Default,
    /// Resolved when the fleet was created, and kept.
    Pinned,
    /// Follows from other fields.
    Derived,
}

/// One region of the fleet.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RegionStatus {
    /// Name of the region; `default` when the fleet names none.
    pub name: String,

    /// Healthy (clients are served), Progressing (pods are starting and none is ready), Unavailable (nobody is served) or Stopped (replicas is 0).
    pub state: RegionState,

    /// Pods that clients are served by. Unit: pods.
    #[serde(default)]
    pub ready_replicas: i32,

    /// The revisions that have or get pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub revisions: Vec<RevisionStatus>,

    /// The change under way. Absent at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RolloutStatus")]
    pub rollout: Option<RolloutStatus>,

    /// PersistentVolumeClaim with the modules of a disk that `storage` does not name any more. It is kept, nothing reads it, and
    /// `storage.disk` finds it again; delete it when it is not wanted. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub unused_volume: Option<String>,
}

/// How a region does.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum RegionState {
    /// Clients are served.
    Healthy,
    /// Pods are starting, and none is ready.
    #[default]
    Progressing,
    /// Nobody is served.
    Unavailable,
    /// `replicas` is 0.
    Stopped,
}

/// One revision of the engine.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct RevisionStatus {
    /// Name of its ControllerRevision, Deployment and ConfigMap.
    pub name: String,

    /// Stable (clients get it), Next (it is to replace the stable one) or Old (it is on its way to 0 pods).
    pub role: RevisionRole,

    /// Release of its engine; that of another engine than Athens after its name.
    pub version: String,

    /// Ready pods. Unit: pods.
    #[serde(default)]
    pub ready: i32,
}

/// Part that a revision plays.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum RevisionRole {
    /// Clients get it.
    #[default]
    Stable,
    /// It is to replace the stable one.
    Next,
    /// It is on its way to 0 pods.
    Old,
}

/// A change under way.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Starting (the next revision is not available yet), Stopping (the old revision ends first: its storage has one
    /// writer, or storage or lock change) or Draining (clients have moved, the old revision still runs).
    pub phase: RolloutPhase,

    /// What the change waits for, and until when at most if that is known.
    pub waiting_for: WaitingFor,
}

/// Where a change is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum RolloutPhase {
    /// The next revision is not available yet.
    #[default]
    Starting,
    /// The old revision's pods must end before the next one starts.
    Stopping,
    /// Clients have moved; the old revision still runs.
    Draining,
}

/// What a change waits for.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct WaitingFor {
    /// NextAvailable (pods of the next revision), OldPodsGone (pods of the old revision still exist), ScaleDownDelay
    /// (spec.rollout.scaleDownDelay), EdgesFollow (an edge pod may still lead clients to the old revision) or RolloutSlot (other fleets
    /// change for the same operator upgrade).
    pub reason: WaitingReason,

    /// When the wait ends, if it ends by time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub until: Option<Time>,
}

/// Why a change does not move on now.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum WaitingReason {
    /// Pods of the next revision are not available.
    #[default]
    NextAvailable,
    /// Pods of the old revision still exist.
    OldPodsGone,
    /// The old revision is kept for a while.
    ScaleDownDelay,
    /// An edge pod may still lead clients to the old revision.
    EdgesFollow,
    /// Other fleets change for the same operator upgrade.
    RolloutSlot,
}
