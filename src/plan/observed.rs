//! What a plan is made from.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    edge::{EdgeStateView, record::StoredEdge},
    front::Front,
    object::{Fingerprint, Kind},
    ownership::Claim,
    secret::Digests,
    sight::Sight,
    validate::Settings,
    volume::ClaimView,
};
use crate::api::{condition::Reason, go_proxy::GoProxy};

/// Everything that a plan may depend on: one snapshot, stale by nature.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The fleet as the API server last told.
    pub fleet: Arc<GoProxy>,
    /// The instant of the snapshot.
    pub now: Timestamp,
    /// The fleet's children that carry its label.
    pub children: Children,
    /// The fleet's pods, those that are ending included.
    pub pods: Vec<Pod>,
    /// What pods tell of themselves, by their names. A pod that never answered is not in it.
    pub reports: BTreeMap<String, Arc<Sight>>,
    /// Whether the ConfigMap key that `upstream.caBundle` names exists. `None`: not asked, because nothing is wrong or nothing is named.
    pub ca_bundle_found: Option<bool>,
    /// Whether the login of the lock that the fleet brings along exists. `None`: not asked, because nothing is wrong.
    pub login_found: Option<bool>,
    /// A text that no other snapshot has, for the name of a login that has to be made.
    pub nonce: String,
    /// Digests of those Secrets that the engine reads at its start alone and that exist. `None`: they may not be read.
    pub secrets: Option<Digests>,
    /// What other fleets say or do about the place where this one wants to store.
    pub claims: Vec<Claim>,
    /// Objects that could not be written last time, and why.
    pub obstacles: Vec<Obstacle>,
    /// Whether this fleet may start a change that only a new operator asks for.
    pub contract_slot: bool,
    /// Settings of the installation.
    pub settings: Arc<Settings>,
}

impl Observed {
    /// A fleet by itself, before anything of it exists: nobody else stores where it does, nothing was asked of the API server and
    /// nothing was refused. For renderings, and for all that looks at one part of a plan and sets that part on top of this.
    pub fn alone(fleet: Arc<GoProxy>, now: Timestamp, settings: Arc<Settings>) -> Self {
        Self {
            fleet,
            now,
            children: Children::new(),
            pods: Vec::new(),
            reports: BTreeMap::new(),
            ca_bundle_found: None,
            login_found: None,
            nonce: "0a1b2c3d".to_owned(),
            secrets: None,
            claims: Vec::new(),
            obstacles: Vec::new(),
            contract_slot: true,
            settings,
        }
    }
}

/// Children by kind and name.
pub type Children = BTreeMap<(Kind, String), Child>;

/// What is kept of a child: enough to see drift, to fence a write, and to judge readiness.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Uid of the controlling owner; `None` where there is none, as on a volume.
    pub owner_uid: Option<String>,
    /// Digest of the fields that our field manager owns, as the server holds them.
    pub live: Fingerprint,
    /// True once it is being deleted.
    pub deleting: bool,
    /// What the kind tells beyond that.
    pub detail: Detail,
}

/// What a child's kind tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// Nothing that the plan needs.
    None,
    /// A stored revision.
    Revision(Arc<StoredRevision>),
    /// What an edge's pods are made of.
    EdgeRecord(Arc<StoredEdge>),
    /// A Deployment.
    Deployment(DeploymentView),
    /// The client Service: where it leads, and since when.
    Service(Lead),
    /// The text of a ConfigMap, which can never change.
    Text {
        /// Its digest.
        digest: Fingerprint,
    },
    /// A volume's claim.
    Claim(Box<ClaimView>),
    /// A StatefulSet: the Redis that the fleet brings along, or its edge.
    StatefulSet(StatefulSetView),
    /// A NetworkPolicy: whether it lets in nobody but the edge.
    NetworkPolicy {
        /// Whether it says so.
        edge_only: bool,
    },
    /// What the edge is told, and what it answers.
    EdgeState(Box<EdgeStateView>),
}

/// What a revision's ControllerRevision holds: its Deployment and ConfigMap are only ever made from this.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredRevision {
    /// Digest of the inputs alone, without the contract.
    pub inputs: String,
    /// The same without what the Secrets held. `None` where that was not known, or nothing is read from Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart_from_secrets: Option<String>,
    /// `ENGINE_CONTRACT` it was rendered under.
    pub contract: u32,
    /// Engine version.
    pub version: String,
    /// Whether its pods may run beside pods of another revision.
    pub may_overlap: bool,
    /// What pods of another revision must agree on to run beside its own: the storage and the lock on it. `None` where each has
    /// its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<String>,
    /// The pod template, an apps/v1 `PodTemplateSpec`.
    pub template: Value,
    /// Files of its ConfigMap.
    pub config: BTreeMap<String, String>,
    /// `revision` of the ControllerRevision: counts up, newest highest. Not part of the stored data.
    #[serde(skip)]
    pub number: i64,
}

/// What is kept of a Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentView {
    /// `spec.replicas`.
    pub replicas: i32,
    /// Whether the controller has seen the newest spec.
    pub observed: bool,
    /// `status.replicas`: pods it counts, ending ones not included.
    pub current: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// Message of a true `ReplicaFailure` condition.
    pub replica_failure: Option<String>,
    /// Whether its pods were available once, by the reason of its `Progressing` condition.
    pub completed: bool,
}

/// Where the client Service leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lead {
    /// The revision that clients get, through the edge or without.
    pub revision: Option<String>,
    /// When clients moved to that revision, if it is said.
    pub moved_at: Option<Timestamp>,
    /// Whom they reach first.
    pub front: Front,
    /// When that changed, if it is said.
    pub front_moved_at: Option<Timestamp>,
}

/// What is kept of a StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatefulSetView {
    /// The login that a Redis was made with.
    pub login: Option<String>,
    /// Whether the controller has seen the newest spec.
    pub observed: bool,
    /// Pods that are asked for.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
}

/// What is kept of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Value of its revision label.
    pub revision: String,
    /// True once it is being deleted.
    pub deleting: bool,
    /// When it shall be gone at the latest, once it is being deleted.
    pub gone_by: Option<Timestamp>,
    /// Whether it is ready.
    pub ready: bool,
    /// Since when it is not, and who says so.
    pub unready: Option<Unready>,
    /// Since when its engine has run, once the start is over.
    pub running: Option<Timestamp>,
    /// Message of a false `PodScheduled` condition.
    pub unschedulable: Option<String>,
    /// Reason and message of its container's waiting state.
    pub waiting: Option<(String, String)>,
    /// Exit code and message of the container's last end.
    pub terminated: Option<(i32, String)>,
    /// When the pod was created.
    pub created: Option<Timestamp>,
    /// Whether it has a sidecar, which may tell more.
    pub sidecar: bool,
}

/// A pod that is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unready {
    /// Since when.
    pub since: Timestamp,
    /// Whether its own node asked and says so. Of a pod on a lost node others say it.
    pub asked: bool,
}

/// A write that the API server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Reason for the condition.
    pub reason: Reason,
    /// What was refused and why.
    pub message: String,
}
