//! The Service that clients use. Where it leads is the switch between revisions: by its selector, or, where that selects the edge, by
//! an annotation.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{
    FRONT_MOVED_AT_ANNOTATION, Kind, MOVED_AT_ANNOTATION, Object, SERVES_ANNOTATION, edge, metadata, revision_labels,
};
use crate::{
    api::go_proxy::ServiceType,
    engine::contract::PORT_NAME,
    plan::{Lead, front::Front, validate::ValidFleet},
};

/// Port of the Service: the default of http, so that clients need none in the address.
const PORT: i32 = 80;

/// The client Service, leading to one revision, through the edge or without, with the instants at which it was made to.
pub fn build(fleet: &ValidFleet, lead: &Lead) -> Object {
    let given = &fleet.service;
    let selector = match lead.front {
        Front::Engines => revision_labels(fleet, lead.revision.as_deref().unwrap_or_default()),
        Front::Edges => edge::pod_labels(&fleet.name),
    };
    let name = fleet.name.service();
    let kind = match given.type_ {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let service = Service {
        metadata: ObjectMeta { annotations: annotations(given.annotations.clone(), lead), ..metadata(fleet, name) },
        spec: Some(ServiceSpec {
            load_balancer_class: given.load_balancer_class.clone(),
            load_balancer_source_ranges: Some(given.load_balancer_source_ranges.clone()),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                port: PORT,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                ..ServicePort::default()
            }]),
            selector: Some(selector),
            type_: Some(kind.to_owned()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    Object::new(Kind::Service, name, &service)
}

/// The user's, and what has to be remembered.
fn annotations(mut all: BTreeMap<String, String>, lead: &Lead) -> Option<BTreeMap<String, String>> {
    let serves = lead.revision.clone().filter(|_| lead.front == Front::Edges);
    let instants = [(MOVED_AT_ANNOTATION, lead.moved_at), (FRONT_MOVED_AT_ANNOTATION, lead.front_moved_at)];
    let told = instants.into_iter().filter_map(|(key, instant)| Some((key, instant?.to_string())));
    all.extend(told.chain(serves.map(|name| (SERVES_ANNOTATION, name))).map(|(key, text)| (key.to_owned(), text)));
    (!all.is_empty()).then_some(all)
}
