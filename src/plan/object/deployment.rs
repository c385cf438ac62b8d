//! The pods of one revision.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{Kind, Object, revision_labels, revision_metadata};
use crate::plan::{StoredRevision, validate::ValidFleet};

/// How long a pod must be ready to count as available: long enough for one readiness probe to be no accident.
const MIN_READY_SECONDS: i32 = 1;
/// When the Deployment itself reports that it does not get on.
pub const PROGRESS_DEADLINE_SECONDS: i32 = 600;

/// The Deployment of a revision, with the pod template exactly as it was stored: whatever this operator would render today
/// does not matter to pods that run.
pub fn build(fleet: &ValidFleet, name: &str, stored: &StoredRevision, replicas: i32) -> Object {
    let deployment = Deployment {
        metadata: revision_metadata(fleet, name),
        spec: Some(DeploymentSpec {
            min_ready_seconds: Some(MIN_READY_SECONDS),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE_SECONDS),
            replicas: Some(replicas),
            // Revisions are kept by the operator; the template of a Deployment never changes.
            revision_history_limit: Some(0),
            selector: LabelSelector { match_labels: Some(revision_labels(fleet, name)), ..LabelSelector::default() },
            strategy: Some(strategy(stored.may_overlap)),
            template: PodTemplateSpec::default(),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    };
    let mut body = serde_json::to_value(&deployment).expect("API objects are plain data with string keys");
    body["spec"]["template"] = stored.template.clone();
    Object::from_body(Kind::Deployment, name, body)
}

/// Only counts when somebody edited the template and it is put back.
fn strategy(may_overlap: bool) -> DeploymentStrategy {
    if !may_overlap {
        return DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
    }
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        }),
    }
}
