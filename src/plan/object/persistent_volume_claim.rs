//! The volume that modules are kept on.

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use super::{Kind, Object, metadata};
use crate::{
    api::{go_proxy::AccessMode, quantity::Quantity as Size},
    plan::validate::{ValidFleet, ValidStorage, Volume},
};

/// The claim of a fleet with disk storage. It has an owner only when it shall go with the fleet: without one no garbage
/// collection can reach it, and a fleet of the same name finds it again. `sized` says what to ask for, by the claim's name and
/// what is wanted. A claim that somebody else made is no object of ours.
pub fn build(fleet: &ValidFleet, sized: impl Fn(&str, Size) -> Size) -> Option<Object> {
    let ValidStorage::Disk { volume: Volume::Own { size, class, deleted_with_fleet }, access_mode } = &fleet.storage
    else {
        return None;
    };
    let name = fleet.name.data();
    let common = metadata(fleet, &name);
    let mode = match access_mode {
        AccessMode::ReadWriteOnce => "ReadWriteOnce",
        AccessMode::ReadWriteOncePod => "ReadWriteOncePod",
        AccessMode::ReadWriteMany => "ReadWriteMany",
    };
    let claim = PersistentVolumeClaim {
        metadata: ObjectMeta { owner_references: common.owner_references.filter(|_| *deleted_with_fleet), ..common },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![mode.to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(sized(&name, *size).to_string()))].into()),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    };
    Some(Object::new(Kind::PersistentVolumeClaim, &name, &claim))
}
