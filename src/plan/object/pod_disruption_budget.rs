//! How many of the fleet's pods may be evicted at once.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{Kind, Object, fleet_labels, metadata};
use crate::plan::validate::ValidFleet;

/// One pod at a time, over all revisions. A fleet of one pod can still be evicted, so that nodes can be drained, and a pod
/// that does not serve anyway never stands in the way.
pub fn build(fleet: &ValidFleet) -> Object {
    let name = fleet.name.service();
    let budget = PodDisruptionBudget {
        metadata: metadata(fleet, name),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector { match_labels: Some(fleet_labels(fleet)), ..LabelSelector::default() }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    };
    Object::new(Kind::PodDisruptionBudget, name, &budget)
}
