//! The Service that clients use. Its selector is the switch between revisions.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{Kind, MOVED_AT_ANNOTATION, Object, metadata, revision_labels};
use crate::{api::go_proxy::ServiceType, engine::contract::PORT_NAME, plan::validate::ValidFleet};

/// Port of the Service: the default of http, so that clients need none in the address.
const PORT: i32 = 80;

/// The client Service, leading to one revision, with the instant at which it was made to.
pub fn build(fleet: &ValidFleet, revision: &str, moved_at: Option<Timestamp>) -> Object {
    let given = &fleet.service;
    let mut annotations = given.annotations.clone();
    annotations.extend(moved_at.map(|instant| (MOVED_AT_ANNOTATION.to_owned(), instant.to_string())));
    let name = fleet.name.service();
    let kind = match given.type_ {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let service = Service {
        metadata: ObjectMeta { annotations: (!annotations.is_empty()).then_some(annotations), ..metadata(fleet, name) },
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
            selector: Some(revision_labels(fleet, revision)),
            type_: Some(kind.to_owned()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    Object::new(Kind::Service, name, &service)
}
