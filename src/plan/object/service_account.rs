//! Identity of the engine's pods.

use k8s_openapi::{api::core::v1::ServiceAccount, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::{Kind, Object, metadata};
use crate::plan::validate::{ValidFleet, ValidServiceAccount};

/// The fleet's own ServiceAccount; none where the fleet names an existing one.
pub fn build(fleet: &ValidFleet) -> Option<Object> {
    let ValidServiceAccount::Own(annotations) = &fleet.engine.service_account else { return None };
    let name = fleet.name.engine();
    let account = ServiceAccount {
        metadata: ObjectMeta {
            annotations: (!annotations.is_empty()).then(|| annotations.clone()),
            ..metadata(fleet, &name)
        },
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    Some(Object::new(Kind::ServiceAccount, &name, &account))
}
