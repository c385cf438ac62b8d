//! The autoscaler. It sets the fleet's own `replicas`, never a Deployment's: the operator shares pods out to revisions.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};

use super::{Kind, Object, metadata, owner, stored_form::stored_form};
use crate::plan::validate::ValidFleet;

/// Part of its requested CPU that a pod uses on average when no metric is given. Unit: per cent.
pub const DEFAULT_CPU_UTILIZATION: i32 = 70;

/// The autoscaler of a fleet that wants one.
pub fn build(fleet: &ValidFleet) -> Option<Object> {
    let given = fleet.autoscaling.as_ref()?;
    let metrics =
        if given.metrics.is_empty() { default_metrics() } else { given.metrics.iter().map(stored_form).collect() };
    let name = fleet.name.service();
    let target = owner(fleet);
    let autoscaler = HorizontalPodAutoscaler {
        metadata: metadata(fleet, name),
        spec: Some(HorizontalPodAutoscalerSpec {
            min_replicas: Some(given.min_replicas),
            max_replicas: given.max_replicas,
            metrics: Some(metrics),
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some(target.api_version),
                kind: target.kind,
                name: target.name,
            },
            ..HorizontalPodAutoscalerSpec::default()
        }),
        ..HorizontalPodAutoscaler::default()
    };
    Some(Object::new(Kind::HorizontalPodAutoscaler, name, &autoscaler))
}

/// What is measured when the fleet does not say.
pub fn default_metrics() -> Vec<MetricSpec> {
    vec![MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(DEFAULT_CPU_UTILIZATION),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }]
}
