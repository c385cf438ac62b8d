//! The client Service's part of a `GoProxy`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::engine::annotations_schema;

/// How clients reach the fleet.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("(!has(self.loadBalancerClass) && (!has(self.loadBalancerSourceRanges) || size(self.loadBalancerSourceRanges) == 0)) || (has(self.type) && self.type == 'LoadBalancer')")
        .message("spec.service: loadBalancerClass and loadBalancerSourceRanges need type LoadBalancer: set the type or remove them"),
    validation = Rule::new("!has(self.loadBalancerSourceRanges) || self.loadBalancerSourceRanges.all(r, isCIDR(r) && cidr(r) == cidr(r).masked())")
        .message("spec.service.loadBalancerSourceRanges: an entry is no network in CIDR form without host bits: write it like 10.0.0.0/8")
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
    pub annotations: BTreeMap<String, String>,

    /// Which load balancer implementation serves the Service. Default: the cluster's. Only with type LoadBalancer; it cannot change later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "String",
        length(min = 1, max = 253),
        regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$")
    )]
    pub load_balancer_class: Option<String>,

    /// Networks in CIDR form from which the load balancer accepts clients. Default: all. Only with type LoadBalancer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "cidrs_schema")]
    pub load_balancer_source_ranges: Vec<String>,
}

fn cidrs_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "array", "maxItems": 64, "items": { "type": "string", "maxLength": 43 } })
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
