//! How many of the fleet's pods may be evicted at once.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Kind, Object, fleet_labels, metadata, pod::selector};
use crate::plan::validate::ValidFleet;

/// One pod at a time, over all revisions. A fleet of one pod can still be evicted, so that nodes can be drained, and a pod
/// that does not serve anyway never stands in the way.
pub fn build(fleet: &ValidFleet) -> Object {
    one_at_a_time(fleet, fleet.name.service(), fleet_labels(fleet))
}

/// The same for any pods.
pub(super) fn one_at_a_time(fleet: &ValidFleet, name: &str, pods: BTreeMap<String, String>) -> Object {
    let budget = PodDisruptionBudget {
        metadata: metadata(fleet, name),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector(pods)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    };
    Object::new(Kind::PodDisruptionBudget, name, &budget)
}
