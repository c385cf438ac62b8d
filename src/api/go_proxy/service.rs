//! The client Service's part of a `GoProxy`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::engine::annotations_schema;
use crate::api::rule;

/// Why settings of a load balancer are refused.
pub const BALANCER_ONLY: &str = "it has no effect without a load balancer: set type to LoadBalancer, or remove it";

/// Why a network is refused.
pub const NO_NETWORK: &str = "'%s' is no network in CIDR form without host bits: write it like 10.0.0.0/8";

/// How clients reach the fleet.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.loadBalancerClass) || (has(self.type) && self.type == 'LoadBalancer')")
        .message(BALANCER_ONLY)
        .field_path(".loadBalancerClass"),
    validation = Rule::new("!has(self.loadBalancerSourceRanges) || size(self.loadBalancerSourceRanges) == 0 || (has(self.type) && self.type == 'LoadBalancer')")
        .message(BALANCER_ONLY)
        .field_path(".loadBalancerSourceRanges")
)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Kind of Service: ClusterIP, NodePort or LoadBalancer. Default: ClusterIP, reachable inside the cluster only.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ServiceType")]
    pub type_: Option<ServiceType>,

    /// Annotations of the Service; load balancers and DNS controllers read them. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations_schema")]
    #[x_kube(validation = rule::META_KEY.key_rule(), validation = rule::OWN_KEY.key_rule())]
    pub annotations: BTreeMap<String, String>,

    /// Which load balancer implementation serves the Service. Default: the cluster's. Only with type LoadBalancer; it cannot change later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    #[x_kube(validation = rule::LOAD_BALANCER_CLASS.rule())]
    pub load_balancer_class: Option<String>,

    /// Networks in CIDR form from which the load balancer accepts clients. Default: all. Only with type LoadBalancer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "cidrs_schema")]
    pub load_balancer_source_ranges: Vec<String>,
}

fn cidrs_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let network = kube::core::Rule::new("isCIDR(self) && cidr(self) == cidr(self).masked()")
        .message(rule::shown(NO_NETWORK, "self"));
    schemars::json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": { "type": "string", "maxLength": 43, "x-kubernetes-validations": [network] },
    })
}

/// Kind of Service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum ServiceType {
    /// Inside the cluster only.
    #[default]
    ClusterIP,
    /// A port on every node.
    NodePort,
    /// An address of a load balancer.
    LoadBalancer,
}
