//! How a fleet's volume does beside what the spec asks for: whether it grows, and why not.

use super::{
    Children, Detail, Observed, Obstacle,
    object::Kind,
    steady::steady,
    validate::{ValidFleet, ValidStorage, Volume},
};
use crate::api::{condition::Reason, quantity::Quantity};

/// What is kept of a volume's claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimView {
    /// `status.phase`, such as `Bound`.
    pub phase: Option<String>,
    /// What it asks for.
    pub asked: Option<Quantity>,
    /// What the volume has.
    pub capacity: Option<Quantity>,
    /// How a larger size comes along.
    pub growth: Option<Growth>,
}

/// How a volume that is to grow comes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Its driver is at it.
    Volume,
    /// The file system on it is still as small as it was.
    FileSystem,
    /// It failed, and is tried again.
    Failed(String),
}

/// Why a volume does not have the size that the spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// Why.
    pub reason: Reason,
    /// The same in words.
    pub message: String,
}

/// What is known of a claim of the fleet.
pub fn claim<'a>(children: &'a Children, name: &str) -> Option<&'a ClaimView> {
    match &children.get(&(Kind::PersistentVolumeClaim, name.to_owned()))?.detail {
        Detail::Claim(view) => Some(view),
        Detail::None
        | Detail::Revision(_)
        | Detail::EdgeRecord(_)
        | Detail::Deployment(_)
        | Detail::Service(_)
        | Detail::Text { .. }
        | Detail::StatefulSet(_)
        | Detail::NetworkPolicy { .. }
        | Detail::EdgeState(_) => None,
    }
}

/// What to ask for where this is wanted: never less than is asked for already, because volumes cannot shrink.
pub fn size_to_ask(children: &Children, name: &str, wanted: Quantity) -> Quantity {
    claim(children, name).and_then(|claim| claim.asked).map_or(wanted, |held| held.max(wanted))
}

/// Why a bound volume is not as the spec says. `None` when it is.
pub fn sizing(observed: &Observed, fleet: &ValidFleet) -> Option<Sizing> {
    let ValidStorage::Disk { volume: Volume::Own { size, .. }, .. } = fleet.storage else { return None };
    let claim = claim(&observed.children, &fleet.name.data())?;
    if claim.phase.as_deref() != Some("Bound") {
        return None;
    }
    let not = |reason, message: String| Some(Sizing { reason, message });
    if let Some(obstacle) = refused(&observed.obstacles) {
        return not(obstacle.reason, obstacle.message.clone());
    }
    let name = fleet.name.data();
    if let Some(held) = claim.asked.filter(|held| *held > size) {
        return not(
            Reason::VolumeCannotShrink,
            format!(
                "spec.storage.disk.size: '{size}' is less than {name} has: volumes cannot shrink, so it is kept; set '{held}' or more"
            ),
        );
    }
    match &claim.growth {
        Some(Growth::Failed(message)) => not(
            Reason::VolumeResizeFailed,
            format!("{name} cannot be made {size}, the fleet goes on with what it has: {}", steady(message)),
        ),
        Some(Growth::FileSystem) => not(
            Reason::FileSystemResizePending,
            format!(
                "{name} has {size}; its file system grows on the node, with some drivers only when the next pod starts"
            ),
        ),
        _ if claim.growth == Some(Growth::Volume) || claim.capacity.is_some_and(|capacity| capacity < size) => {
            not(Reason::Resizing, format!("{name} is on its way to {size}; the fleet goes on meanwhile"))
        }
        _ => None,
    }
}

/// The volume of a fleet that keeps its modules elsewhere now. It is kept for the way back, and nothing reads it.
pub fn unused(children: &Children, fleet: &ValidFleet) -> Option<String> {
    if fleet.storage.has_own_volume() {
        return None;
    }
    let name = fleet.name.data();
    let child = children.get(&(Kind::PersistentVolumeClaim, name.clone()))?;
    (!child.deleting).then_some(name)
}

fn refused(obstacles: &[Obstacle]) -> Option<&Obstacle> {
    obstacles.iter().find(|obstacle| obstacle.reason == Reason::VolumeCannotGrow)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::{Child, Plan, fixture, object::Fingerprint, plan};

    fn planned(size: &str, view: ClaimView, obstacles: Vec<Obstacle>) -> Plan {
        planned_on(&json!({ "disk": { "size": size } }), view, obstacles)
    }

    fn planned_on(storage: &serde_json::Value, view: ClaimView, obstacles: Vec<Obstacle>) -> Plan {
        let fleet = json!({
            "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy",
            "metadata": {"name": "corp", "namespace": "build", "uid": "u"},
            "spec": {"replicas": 1, "storage": storage},
        });
        let volume = Child {
            uid: "claim".to_owned(),
            resource_version: "7".to_owned(),
            owner_uid: None,
            live: Fingerprint::of(&json!({})),
            deleting: false,
            detail: Detail::Claim(Box::new(view)),
        };
        let children = [((Kind::PersistentVolumeClaim, "corp-data".to_owned()), volume)].into();
        plan(&Observed { children, obstacles, ..fixture::observed(fleet) })
    }

    fn bound(asked: u128, capacity: u128, growth: Option<Growth>) -> ClaimView {
        let size = |count| Some(Quantity::gibibytes(count));
        ClaimView { phase: Some("Bound".to_owned()), asked: size(asked), capacity: size(capacity), growth }
    }

    fn request(plan: &Plan) -> &str {
        let objects = &plan.targets[0].objects;
        let claim = objects.iter().find(|object| object.kind == Kind::PersistentVolumeClaim).unwrap();
        claim.body["spec"]["resources"]["requests"]["storage"].as_str().unwrap()
    }

    #[test]
    fn a_larger_size_is_asked_for_and_told_of_until_it_is_there() {
        let told = |view: ClaimView| {
            let plan = planned("50Gi", view, Vec::new());
            assert_eq!(request(&plan), "50Gi");
            plan.report.volume.map(|volume| volume.reason)
        };
        assert_eq!(told(bound(20, 20, None)), Some(Reason::Resizing));
        assert_eq!(told(bound(50, 20, Some(Growth::Volume))), Some(Reason::Resizing));
        assert_eq!(told(bound(50, 20, Some(Growth::FileSystem))), Some(Reason::FileSystemResizePending));
        let failed = Some(Growth::Failed("no space in the pool".to_owned()));
        assert_eq!(told(bound(50, 20, failed)), Some(Reason::VolumeResizeFailed));
        assert_eq!(told(bound(50, 50, None)), None);
        assert_eq!(told(ClaimView { phase: Some("Pending".to_owned()), ..bound(20, 20, None) }), None);
    }

    #[test]
    fn a_volume_that_was_kept_is_never_asked_to_shrink() {
        let plan = planned("20Gi", bound(50, 50, None), Vec::new());
        assert_eq!(request(&plan), "50Gi");
        let sizing = plan.report.volume.unwrap();
        assert_eq!(sizing.reason, Reason::VolumeCannotShrink);
        for part in ["'20Gi'", "corp-data", "'50Gi' or more"] {
            assert!(sizing.message.contains(part), "{}", sizing.message);
        }
    }

    #[test]
    fn a_volume_that_is_used_no_more_is_kept_and_named() {
        for storage in [json!({ "memory": {} }), json!({ "disk": { "existingClaim": "athens" } })] {
            let elsewhere = planned_on(&storage, bound(20, 20, None), Vec::new());
            assert_eq!(elsewhere.report.unused_volume.as_deref(), Some("corp-data"), "{storage}");
            let target = &elsewhere.targets[0];
            assert!(target.prune.iter().all(|one| one.kind != Kind::PersistentVolumeClaim));
            assert!(target.objects.iter().all(|one| one.kind != Kind::PersistentVolumeClaim));
        }
        assert_eq!(planned("20Gi", bound(20, 20, None), Vec::new()).report.unused_volume, None);
    }

    #[test]
    fn a_class_that_lets_nothing_grow_is_told_of() {
        let refused = Obstacle { reason: Reason::VolumeCannotGrow, message: "corp-data: set it".to_owned() };
        let volume = planned("50Gi", bound(20, 20, None), vec![refused.clone()]).report.volume.unwrap();
        assert_eq!((volume.reason, volume.message), (refused.reason, refused.message));
    }
}
