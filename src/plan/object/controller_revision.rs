//! The stored revision: what its Deployment and ConfigMap are made from, now and when it is gone back to. And what an edge's pods are
//! made from.

use k8s_openapi::{api::apps::v1::ControllerRevision, apimachinery::pkg::runtime::RawExtension};

use super::{Kind, Object, metadata, revision_metadata};
use crate::plan::{StoredRevision, edge::record::EdgeRecord, validate::ValidFleet};

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

/// That of an edge's pods.
pub fn of_edge(fleet: &ValidFleet, record: &EdgeRecord) -> Object {
    let data = serde_json::to_value(&*record.stored).expect("a stored pod template is plain data with string keys");
    let revision = ControllerRevision {
        metadata: metadata(fleet, &record.name),
        data: Some(RawExtension(data)),
        // There is one at a time, so they are in no order.
        revision: 1,
    };
    Object::new(Kind::ControllerRevision, &record.name, &revision)
}
