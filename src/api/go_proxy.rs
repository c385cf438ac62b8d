//! `GoProxy`: one fleet of Go module proxies. The field docs below are what `kubectl explain` prints.

mod edge;
mod engine;
mod engines;
mod lock;
mod private;
mod remote_storage;
mod service;
mod sharing;
mod storage;
pub mod update;
mod upstream;

use k8s_openapi::api::autoscaling::v2::MetricSpec;
use kube::{CustomResource, KubeSchema, core::Message};
use serde::{Deserialize, Serialize};

pub use edge::*;
pub use engine::*;
pub use engines::rules as engine_rules;
pub use lock::*;
pub use private::*;
pub use remote_storage::*;
pub use service::*;
pub use storage::*;
pub use upstream::*;

use super::{duration::GoDuration, rule, status::GoProxyStatus};

/// A fleet of Go module proxies. The smallest one ends in `spec: {}`: one Athens proxy that keeps its modules on a 20Gi
/// volume and fetches what it lacks as the go command itself would. Clients use `http://NAME.NAMESPACE.svc` as GOPROXY.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "goproxy.rs",
    version = "v1alpha1",
    kind = "GoProxy",
    plural = "goproxies",
    singular = "goproxy",
    shortname = "gp",
    category = "goproxy",
    namespaced,
    status = "GoProxyStatus",
    derive = "PartialEq",
    doc = "A fleet of Go module proxies. The smallest one ends in `spec: {}`: one Athens proxy that keeps its modules on a 20Gi volume and fetches what it lacks as the go command itself would. Clients use `http://NAME.NAMESPACE.svc` as GOPROXY.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = name_rule(&rule::FLEET_NAME),
    validation = name_rule(&rule::FLEET_NAME_ENDING),
    validation = own_claim_rule()
)]
#[x_kube(
    validation = sharing::replicas_rule(ONE_WRITER, &sharing::one_writer()),
    validation = sharing::autoscaling_rule(ONE_WRITER, &sharing::one_writer()),
    validation = sharing::replicas_rule(UNLOCKED, &sharing::unlocked()),
    validation = sharing::autoscaling_rule(UNLOCKED, &sharing::unlocked()),
    validation = sharing::needless_lock_rule(),
    validation = sharing::native_lock_rule(),
    validation = sharing::fetch_beyond_lock_rule(),
    validation = sharing::fetch_beyond_lease_rule(),
    validation = update::shrink_rule(),
    validation = update::class_rule(),
    validation = update::access_mode_rule(),
    validation = update::lock_class_rule(),
    validation = update::balancer_rule()
)]
#[serde(rename_all = "camelCase")]
pub struct GoProxySpec {
    /// Stops the operator from touching anything of this fleet; what runs goes on running, edits of its objects are not
    /// repaired. Default: false. Setting it back makes the operator catch up at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,

    /// The proxy program: which one, its version and settings, and how its pods run. Default: the newest Athens this operator was tested with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Engine")]
    pub engine: Option<Engine>,

    /// How clients inside the cluster, or a load balancer, reach the fleet. Default: a ClusterIP Service with the fleet's name, port 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Service")]
    pub service: Option<Service>,

    /// Number of proxy pods. Unit: pods. Default: 1. 0 stops the fleet and keeps its storage. Memory and a disk that is not
    /// ReadWriteMany allow one at most; where two that store one module would damage it, `lock` must name redis or etcd.
    /// `kubectl scale` sets it; leave it out of Git when `autoscaling` is used.
    #[serde(default = "one_replica")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,

    /// Lets a HorizontalPodAutoscaler set `replicas` through this object's scale subresource. Default: absent, `replicas` is yours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Autoscaling")]
    pub autoscaling: Option<Autoscaling>,

    /// Where modules are kept: exactly one place. Default: `disk` with 20Gi on the cluster's default StorageClass. Another place
    /// starts empty; a volume, bucket or database that is no longer used is kept. Logins come from Secrets of this namespace
    /// and are read when a proxy starts. Where the operator may read Secrets (`fleetNamespaces` of its chart), a changed one is a
    /// new revision and an ordinary rollout. Elsewhere, and for any other reason, another value of the annotation
    /// goproxy.rs/restart of this object is one: `kubectl annotate goproxy NAME goproxy.rs/restart=$(date +%s) --overwrite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Storage")]
    pub storage: Option<Storage>,

    /// What keeps two proxies from storing one module at the same time. Default: that of azureBlob, elsewhere none beyond each proxy's
    /// own: on s3 and gcs two proxies may then fetch one module twice, and what is stored stays right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Lock")]
    pub lock: Option<Lock>,

    /// Where modules come from that the fleet does not have yet. Default: what the go command does by itself, with checksums verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Upstream")]
    pub upstream: Option<Upstream>,

    /// Your own modules, which must never be asked for at a public server. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Private")]
    pub private: Option<Private>,

    /// Pods that cache and collapse what clients ask for. Default: absent, clients reach the proxies themselves; `edge: {}` is one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Edge")]
    pub edge: Option<Edge>,

    /// How a change of the engine reaches the clients. Default: all at once, with the old revision kept for 30s where storage allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rollout")]
    pub rollout: Option<Rollout>,
}

impl GoProxySpec {
    /// The program that the fleet runs.
    pub fn engine_kind(&self) -> EngineKind {
        self.engine.as_ref().and_then(|engine| engine.kind).unwrap_or_default()
    }
}

impl Default for GoProxySpec {
    /// What `spec: {}` means to the API server.
    fn default() -> Self {
        Self {
            suspend: false,
            engine: None,
            service: None,
            replicas: one_replica(),
            autoscaling: None,
            storage: None,
            lock: None,
            upstream: None,
            private: None,
            edge: None,
            rollout: None,
        }
    }
}

/// Why more than one pod is refused.
pub const ONE_WRITER: &str = "'%s' pods are too many: memory belongs to one proxy, and so does a disk that is not ReadWriteMany; use at most 1, or storage that proxies can share";

/// Why more than one pod without a lock is refused.
pub const UNLOCKED: &str = "'%s' pods are too many without a lock: two that store one module at the same time would damage it; set lock to redis or etcd, or use at most 1";

/// Why bounds that cross are refused: the lower, then the upper.
pub const BOUNDS_CROSS: &str = "'%s' is above maxReplicas '%s': lower it or raise maxReplicas";

/// A form as a rule on the object's name.
fn name_rule(form: &rule::Form) -> kube::core::Rule {
    let rule = form.rule();
    let on_name = |text: &str| text.replace("self", "self.metadata.name");
    // The server does not say which field a rule on the whole object is about.
    let named = |text: &str| on_name(text).replacen('"', "\"metadata.name: ", 1);
    let message = rule.message.map(|message| match message {
        Message::Message(text) => Message::Message(text),
        Message::Expression(text) => Message::Expression(named(&text)),
    });
    kube::core::Rule { rule: on_name(&rule.rule), message, ..rule }
}

/// A fleet cannot take over the volume that it would make itself.
fn own_claim_rule() -> kube::core::Rule {
    let claim = "self.spec.storage.disk.existingClaim";
    let named = format!("has(self.spec.storage) && has(self.spec.storage.disk) && has({claim})");
    kube::core::Rule::new(format!("!({named}) || {claim} != self.metadata.name + '-data'"))
        .message(rule::shown(&format!("spec.storage.disk.existingClaim: {OWN_CLAIM}"), claim))
}

/// The default of `replicas`. It is in the schema, because the scale subresource has no value to show otherwise.
const fn one_replica() -> i32 {
    1
}

/// Bounds and metrics of the HorizontalPodAutoscaler.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.minReplicas) || self.minReplicas <= self.maxReplicas")
        .message(rule::shown(BOUNDS_CROSS, "self.minReplicas, self.maxReplicas"))
        .field_path(".minReplicas")
)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Fewest pods, which run however little is asked for. Unit: pods. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1, max = 100))]
    pub min_replicas: Option<i32>,

    /// Most pods. Unit: pods. Required. Memory and a disk that is not ReadWriteMany allow 1.
    #[schemars(range(min = 1, max = 100))]
    pub max_replicas: i32,

    /// What is measured, as in autoscaling/v2. Default: CPU at 70 % of its request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub metrics: Vec<MetricSpec>,
}

/// How a change of the engine reaches the clients.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// How long the old revision goes on running after clients moved to the new one, to go back fast and let builds finish.
    /// Unit: Go duration. Default: 30s; at most 1h. Without effect where the old one must end first: on a disk
    /// without `lock`, and when `storage` or `lock` change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GoDuration")]
    #[x_kube(validation = rule::SCALE_DOWN_DELAY.rule())]
    pub scale_down_delay: Option<GoDuration>,

    /// How many old revisions are kept to go back to. Unit: revisions. Default: 5. Fewer save objects in the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 0, max = 50))]
    pub revision_history_limit: Option<i32>,
}
