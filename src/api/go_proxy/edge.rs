//! What stands between clients and the proxies.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{EnginePod, Resources};
use crate::api::{duration::GoDuration, quantity::Quantity, rule};

/// Why bounds of trust that cross are refused: the lower, then the upper.
pub const TTLS_CROSS: &str = "'%s' is above maxTTL '%s': lower it or raise maxTTL";

/// Pods that stand between clients and the proxies, keep what they have fetched on disk, and fetch what many ask for once. Clients
/// keep their address: the fleet's Service leads to the edge once one of its pods serves, and back to the proxies before the edge
/// goes. From then on only the edge may reach the proxies. Setting or removing it restarts no proxy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Number of edge pods. Unit: pods. Default: 1; 1 to 20. Each keeps what it has fetched for itself. With one, clients wait while it is
    /// replaced; two or more are replaced one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1, max = 20))]
    pub replicas: Option<i32>,

    /// What each pod keeps, where, and for how long what changes is taken for true. Default: 10Gi on the node's disk; see the fields below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EdgeCache")]
    pub cache: Option<EdgeCache>,

    /// CPU and memory of the nginx of one pod; the program beside it has amounts of its own. Default: requests of 250m and 256Mi, a memory limit of 1Gi, no CPU limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Resources")]
    pub resources: Option<Resources>,

    /// Where pods run and what they carry. Default: anywhere, spread over zones and nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EnginePod")]
    pub pod: Option<EnginePod>,
}

/// What an edge pod keeps.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeCache {
    /// Room for it. Unit: bytes, as a Kubernetes quantity. Default: 10Gi. Files fill seven eighths of it at most; what was not asked for longest goes first.
    /// A change replaces the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    #[x_kube(validation = rule::VOLUME_SIZE.rule())]
    pub size: Option<Quantity>,

    /// A volume for each pod, made and deleted with it. Default: absent, the node's own disk; a pod that fills more than `size` of that is evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EdgeCacheVolume")]
    pub volume: Option<EdgeCacheVolume>,

    /// For how long lists of versions, and what a branch or `latest` stands for, are taken for true. Default: from 5s to 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EdgeLists")]
    pub list: Option<EdgeLists>,
}

/// A volume for each pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeCacheVolume {
    /// StorageClass of the volumes: it decides what they are made on, and how fast that is. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    #[x_kube(validation = rule::OBJECT_NAME.rule())]
    pub storage_class_name: Option<String>,
}

/// A copy is taken for true for a tenth of the time for which it has not changed, within these bounds.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.minTTL) || !has(self.maxTTL) || duration(self.minTTL) <= duration(self.maxTTL)")
        .message(rule::shown(TTLS_CROSS, "self.minTTL, self.maxTTL"))
        .field_path(".minTTL")
)]
pub struct EdgeLists {
    /// Shortest time for which a copy is taken for true: a module that was released a moment ago is asked about this often. Unit: Go duration.
    /// Default: 5s; 1s to 24h. A change restarts nothing.
    #[serde(rename = "minTTL", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GoDuration")]
    #[x_kube(validation = rule::LIST_TTL.rule())]
    pub min_ttl: Option<GoDuration>,

    /// Longest time for which a copy is taken for true, of a module that has not changed for long. Unit: Go duration. Default: 5m, or
    /// `minTTL` if that is more; 1s to 24h. A change restarts nothing.
    #[serde(rename = "maxTTL", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GoDuration")]
    #[x_kube(validation = rule::LIST_TTL.rule())]
    pub max_ttl: Option<GoDuration>,
}
