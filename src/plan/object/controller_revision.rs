//! The stored revision: what its Deployment and ConfigMap are made from, now and when it is gone back to.

use k8s_openapi::{api::apps::v1::ControllerRevision, apimachinery::pkg::runtime::RawExtension};

use super::{Kind, Object, revision_metadata};
use crate::plan::{StoredRevision, validate::ValidFleet};

/// The ControllerRevision of this name. The API server lets its data never change.
pub fn build(fleet: &ValidFleet, name: &str, stored: &StoredRevision) -> Object {
    let data = serde_json::to_value(stored).expect("a stored revision is plain data with string keys");
    let revision = ControllerRevision {
        metadata: revision_metadata(fleet, name),
        data: Some(RawExtension(data)),
        revision: stored.number,
    };
    Object::new(Kind::ControllerRevision, name, &revision)
}
