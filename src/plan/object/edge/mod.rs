//! The edge: its pods, whom they are known to, what they may ask and whom they may talk to.

mod access;
mod pod;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec},
        core::v1::{PodTemplateSpec, Service, ServicePort, ServiceSpec},
        networking::v1::{NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicySpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::json;

use super::{
    EDGE_LABEL, Kind, Object, controller_revision, fleet_labels, metadata,
    network_policy::{elsewhere, names, port},
    pod::selector,
    pod_disruption_budget::one_at_a_time,
};
use crate::{
    api::edge_state::EdgeStateSpec,
    engine::contract::{self, PORT_NAME},
    plan::{
        edge::record::EdgeRecord,
        validate::{FleetName, ValidEdge, ValidFleet},
    },
};
pub use pod::template as pod_template;

/// Where clients are served.
pub const PORT: u16 = 8080;
/// Where the agent says how it does.
pub const AGENT_PORT: u16 = 8082;
/// Where agent and nginx meet: sockets and nginx's files.
pub const RUN_DIRECTORY: &str = "/run/edge";
/// nginx's file, below that.
pub const CONFIGURATION: &str = "conf/nginx.conf";
/// Where files are kept.
pub const CACHE_DIRECTORY: &str = "/var/cache/edge";

/// What follows the edge's name in that of its record. The letter is in no name that the controller of a StatefulSet gives to its own
/// records.
pub const RECORD: &str = "-t";

/// How long a pod must be ready to count as one: long enough for one probe to be no accident.
const MIN_READY_SECONDS: i32 = 1;

/// The labels that select the pods of a fleet's edge.
pub fn pod_labels(fleet: &FleetName) -> BTreeMap<String, String> {
    [(EDGE_LABEL.to_owned(), fleet.to_string())].into()
}

/// All that an edge consists of, but what it is told.
pub fn build(fleet: &ValidFleet, edge: &ValidEdge, record: &EdgeRecord) -> Vec<Object> {
    vec![
        controller_revision::of_edge(fleet, record),
        access::service_account(fleet),
        access::role(fleet),
        access::role_binding(fleet),
        network_policy(fleet),
        stateful_set(fleet, edge, record),
        headless(fleet, &fleet.name.edge(), pod_labels(&fleet.name), PORT),
        headless(fleet, &fleet.name.engine(), fleet_labels(fleet), contract::PORT),
        one_at_a_time(fleet, &fleet.name.edge(), pod_labels(&fleet.name)),
    ]
}

/// What the edge is told.
pub fn state(fleet: &ValidFleet, spec: &EdgeStateSpec) -> Object {
    let (_, version, _) = Kind::EdgeState.resource();
    let name = fleet.name.edge_state();
    let body = json!({
        "apiVersion": format!("{}/{version}", crate::api::GROUP),
        "kind": Kind::EdgeState.as_str(),
        "metadata": metadata(fleet, name),
        "spec": spec,
    });
    Object::from_body(Kind::EdgeState, name, body)
}

/// Whether an object belongs to the edge.
pub fn is_part(fleet: &FleetName, kind: Kind, name: &str) -> bool {
    let record = kind == Kind::ControllerRevision && is_record_of(&fleet.edge(), name);
    name == fleet.edge() || kind == Kind::EdgeState || (kind == Kind::Service && name == fleet.engine()) || record
}

/// Whether an edge's pods are made from this record, or were.
pub fn is_record_of(set: &str, record: &str) -> bool {
    record.strip_prefix(set).is_some_and(|rest| rest.starts_with(RECORD))
}

/// Pods with names that last: what each answers is known by its name. They are made of what was stored, whatever this operator would
/// render today.
fn stateful_set(fleet: &ValidFleet, edge: &ValidEdge, record: &EdgeRecord) -> Object {
    let name = fleet.name.edge();
    let set = StatefulSet {
        metadata: metadata(fleet, &name),
        spec: Some(StatefulSetSpec {
            min_ready_seconds: Some(MIN_READY_SECONDS),
            // A pod that never got ready is replaced by one that can, without anybody's help.
            pod_management_policy: Some("Parallel".to_owned()),
            replicas: Some(edge.replicas),
            revision_history_limit: Some(0),
            selector: selector(pod_labels(&fleet.name)),
            service_name: Some(name.clone()),
            template: PodTemplateSpec::default(),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    };
    let mut body = serde_json::to_value(&set).expect("API objects are plain data with string keys");
    body["spec"]["template"] = record.stored.edge_template.clone();
    Object::from_body(Kind::StatefulSet, &name, body)
}

/// A Service by which pods are found one by one, and nobody is led anywhere.
fn headless(fleet: &ValidFleet, name: &str, pods: BTreeMap<String, String>, number: u16) -> Object {
    let service = Service {
        metadata: metadata(fleet, name),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                port: i32::from(number),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                ..ServicePort::default()
            }]),
            selector: Some(pods),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    Object::new(Kind::Service, name, &service)
}

/// In: clients, and whoever reads the agent's figures. Out: names, and whatever is not node-local, because the API server may be at any address and port; the engines are among that.
fn network_policy(fleet: &ValidFleet) -> Object {
    let name = fleet.name.edge();
    let policy = NetworkPolicy {
        metadata: metadata(fleet, &name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(pod_labels(&fleet.name))),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                ports: Some([PORT, AGENT_PORT].map(|number| port("TCP", Some(number))).into()),
                ..NetworkPolicyIngressRule::default()
            }]),
            egress: Some(vec![names(), elsewhere()]),
        }),
    };
    Object::new(Kind::NetworkPolicy, &name, &policy)
}

#[cfg(test)]
mod tests;
