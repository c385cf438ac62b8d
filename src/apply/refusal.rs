//! Refusals in words that a person can act on.

use super::request::Setback;
use crate::{
    api::condition::Reason,
    cache::{
        FleetKey,
        decode::{Owner, Seen},
    },
    plan::{
        Obstacle,
        object::{FLEET_LABEL, Kind, Object},
    },
};

/// A name that is not ours to use. `left_over`: it belongs to a fleet of the same name that was deleted before.
pub(super) fn taken(object: &Object, left_over: bool) -> Obstacle {
    let (kind, name) = (object.kind.as_str(), &object.name);
    if left_over {
        let message = format!("{kind} {name} belongs to an earlier fleet of this name and is waited for to be removed");
        return Obstacle { reason: Reason::Progressing, message };
    }
    let message =
        format!("{kind} {name} exists and is not this fleet's: rename or remove it, or give the fleet another name");
    Obstacle { reason: Reason::NameTaken, message }
}

/// Somebody else writes what we write.
pub(super) fn changed_back(object: &Object) -> Obstacle {
    let (kind, name) = (object.kind.as_str(), &object.name);
    let message = format!(
        "changed back as often as the operator changes it: find who else writes it with \
         `kubectl get {kind} {name} -o yaml --show-managed-fields`"
    );
    Obstacle { reason: Reason::ObjectRefused, message }
}

/// Somebody deletes what we make.
pub(super) fn deleted_again() -> Obstacle {
    let message =
        "deleted as often as the operator makes it: the API server's audit log tells who does, such as a policy or a \
                   clean-up job"
            .to_owned();
    Obstacle { reason: Reason::ObjectRefused, message }
}

/// What the API server says of a claim whose StorageClass does not let it grow.
const CANNOT_GROW: &str = "storageclass that provisions the pvc must support resize";

/// An obstacle's message tells which object it is about.
pub(super) fn naming(object: &Object, setback: Setback) -> Setback {
    if let Setback::Refused(Obstacle { message, .. }) = &setback
        && object.kind == Kind::PersistentVolumeClaim
        && message.contains(CANNOT_GROW)
    {
        let message = format!(
            "PersistentVolumeClaim {} cannot grow, because its StorageClass does not let it: set allowVolumeExpansion on the \
             class if its driver can, or make a fleet of another name; this one goes on with what it has",
            object.name
        );
        return Setback::Refused(Obstacle { reason: Reason::VolumeCannotGrow, message });
    }
    if let Setback::Refused(Obstacle { reason, message }) = &setback
        && !matches!(reason, Reason::NameTaken | Reason::VolumeInUse | Reason::Progressing)
    {
        let message = format!("{} {}: {message}", object.kind.as_str(), object.name);
        return Setback::Refused(Obstacle { reason: *reason, message });
    }
    setback
}

/// Somebody else writes to the claim that the fleet is to take over.
pub(super) fn in_use(claim: &str, who: &str) -> Setback {
    let message = format!(
        "{who} mounts PersistentVolumeClaim {claim}, which spec.storage.disk.existingClaim names: end it, by scaling what \
         made it to 0; two writers would damage modules"
    );
    Setback::Refused(Obstacle { reason: Reason::VolumeInUse, message })
}

/// A Deployment of another revision, or of somebody else who gave it the fleet's label, where one writer is to start alone.
pub(super) fn may_start_pods(found: &Seen, key: &FleetKey, fleet_uid: &str) -> Setback {
    let (name, fleet) = (found.name(), &key.name);
    match found.owner() {
        Some(Owner { uid, .. }) if uid == fleet_uid => {
            Setback::Conflict(format!("Deployment {name} may still start pods"))
        }
        Some(Owner { fleet: Some(by_name), .. }) if *by_name == **fleet => Setback::Refused(Obstacle {
            reason: Reason::Progressing,
            message: format!("Deployment {name} of an earlier fleet of this name is waited for to be removed"),
        }),
        _ => Setback::Refused(Obstacle {
            reason: Reason::ObjectRefused,
            message: format!(
                "Deployment {name} has the label {FLEET_LABEL}={fleet} and is not this fleet's, so its pods may write to \
                 the same storage: remove the label, or the Deployment"
            ),
        }),
    }
}
