//! The engine's configuration files, one immutable ConfigMap per revision.

use k8s_openapi::api::core::v1::ConfigMap;

use super::{Kind, Object, revision_metadata};
use crate::plan::{StoredRevision, validate::ValidFleet};

/// The ConfigMap of a revision whose engine reads files. A pod can only ever see those that it was rendered with.
pub fn build(fleet: &ValidFleet, name: &str, stored: &StoredRevision) -> Option<Object> {
    if stored.config.is_empty() {
        return None;
    }
    let config = ConfigMap {
        metadata: revision_metadata(fleet, name),
        data: Some(stored.config.clone()),
        immutable: Some(true),
        ..ConfigMap::default()
    };
    Some(Object::new(Kind::ConfigMap, name, &config))
}
