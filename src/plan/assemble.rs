//! From a decision to the objects of a target: all that shall exist, and what shall no longer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Child, Children, Detail, Lead, Observed, Prune, StoredRevision,
    edge::{Edge, record},
    front, login,
    object::{
        Fingerprint, Kind, Object, Precondition, config_map, controller_revision, deployment, edge as edge_objects,
        horizontal_pod_autoscaler, lock, network_policy, persistent_volume_claim, pod_disruption_budget, service,
        service_account,
    },
    overlap,
    revision::{self, Revision},
    rollout::Decision,
    validate::ValidFleet,
    volume,
};

/// The revisions that stay: the wanted one, what clients get, whatever has pods, and the newest of the others to go back to.
pub fn kept_revisions(
    observed: &Observed,
    fleet: &ValidFleet,
    wanted: Option<&Revision>,
    decision: &Decision,
    stored: &BTreeMap<String, Arc<StoredRevision>>,
) -> BTreeMap<String, Arc<StoredRevision>> {
    let mut kept = BTreeMap::new();
    let mut spare: Vec<_> = Vec::new();
    for (name, revision) in stored {
        if *name == decision.serve || decision.scale.contains_key(name) || in_use(observed, name) {
            kept.insert(name.clone(), revision.clone());
        } else {
            spare.push((revision.number, name.clone(), revision.clone()));
        }
    }
    spare.sort_by_key(|(number, ..)| std::cmp::Reverse(*number));
    kept.extend(spare.into_iter().take(fleet.revision_history_limit).map(|(_, name, revision)| (name, revision)));
    kept.extend(wanted.map(|wanted| (wanted.name.clone(), wanted.stored.clone())));
    kept
}

/// Everything that shall exist, in apply order.
pub fn objects(
    observed: &Observed,
    fleet: &ValidFleet,
    kept: &BTreeMap<String, Arc<StoredRevision>>,
    decision: &Decision,
    front: &front::Decision,
) -> Vec<Object> {
    let children = &observed.children;
    let mut objects: Vec<Object> = Vec::with_capacity(6 + 3 * kept.len());
    for (name, stored) in kept {
        objects.push(controller_revision::build(fleet, name, stored));
        objects.extend(config_map::build(fleet, name, stored).map(|object| {
            let fence = text_fence(children, &object, stored);
            object.only_if(fence)
        }));
        let replicas = decision.scale.get(name).copied().unwrap_or(0);
        let object = deployment::build(fleet, name, stored, replicas);
        let beside = (!decision.alone).then(|| overlap::beside(kept, name, stored)).flatten();
        let start = Start { revision: name, beside, claim: foreign_claim(fleet, stored) };
        objects.push(object.only_if(deployment_fence(children, start, replicas, decision)));
    }
    objects.extend(service_account::build(fleet));
    objects.push(engines_policy(children, fleet, front));
    let size = |name: &str, wanted| volume::size_to_ask(children, name, wanted);
    objects.extend(persistent_volume_claim::build(fleet, size));
    objects.extend(lock::build(fleet, size));
    objects.push(client_service(children, fleet, decision, front));
    objects.extend(fleet.edge.iter().flat_map(|edge| {
        edge_objects::build(fleet, edge, &record::wanted(&observed.fleet.spec, fleet, edge, children))
    }));
    objects.extend(edge_state(children, fleet, decision, front));
    objects.push(pod_disruption_budget::build(fleet));
    objects.extend(horizontal_pod_autoscaler::build(fleet));
    objects.sort_by(|left, right| (left.kind, &left.name).cmp(&(right.kind, &right.name)));
    objects
}

/// Where clients are led is what the operator remembers of a change: a patch that changes it is about the object that was planned on.
fn client_service(children: &Children, fleet: &ValidFleet, decision: &Decision, front: &front::Decision) -> Object {
    let lead = Lead {
        revision: Some(decision.serve.clone()),
        moved_at: decision.moved_at,
        front: front.front,
        front_moved_at: front.moved_at,
    };
    let fence = match children.get(&(Kind::Service, fleet.name.service().to_owned())) {
        Some(child @ Child { detail: Detail::Service(from), .. })
            if from.revision.as_ref().is_some_and(|revision| *revision != decision.serve)
                || from.front != front.front =>
        {
            unchanged(child)
        }
        _ => Precondition::None,
    };
    service::build(fleet, &lead).only_if(fence)
}

/// Whoever closes the proxies has to know that nobody has opened them since.
fn engines_policy(children: &Children, fleet: &ValidFleet, front: &front::Decision) -> Object {
    let policy = network_policy::build(fleet, !front.engines_open);
    match children.get(&(Kind::NetworkPolicy, policy.name.clone())) {
        Some(child @ Child { detail: Detail::NetworkPolicy { edge_only: false }, .. }) if !front.engines_open => {
            policy.only_if(unchanged(child))
        }
        _ => policy,
    }
}

/// What the edge is told, as long as it is there. Its number says what it is about, so that it too belongs to what was planned on.
fn edge_state(children: &Children, fleet: &ValidFleet, decision: &Decision, front: &front::Decision) -> Option<Object> {
    let edge = Edge::of(children, &fleet.name);
    let spec = edge.tell(fleet, &decision.serve).filter(|_| front.keep)?;
    let fence = match children.get(&(Kind::EdgeState, fleet.name.edge_state().to_owned())) {
        Some(child) if edge.told() != Some(&spec.settled) => unchanged(child),
        _ => Precondition::None,
    };
    Some(edge_objects::state(fleet, &spec).only_if(fence))
}

/// What a revision's pods meet when they start.
struct Start<'a> {
    revision: &'a str,
    /// The only revisions that it may run with, where it is not free to run with any.
    beside: Option<Vec<String>>,
    /// The claim of somebody else that its pods mount.
    claim: Option<String>,
}

/// The claim of somebody else that a revision's pods mount, by the text they are made of.
fn foreign_claim(fleet: &ValidFleet, stored: &StoredRevision) -> Option<String> {
    let volumes = stored.template.pointer("/spec/volumes")?.as_array()?;
    let named =
        |volume: &serde_json::Value| volume.pointer("/persistentVolumeClaim/claimName")?.as_str().map(str::to_owned);
    volumes.iter().find_map(named).filter(|claim| *claim != fleet.name.data())
}

/// Scaling to 0 and starting on storage that others can write to are transitions; any other write of a Deployment may be
/// repeated freely.
fn deployment_fence(
    children: &Children,
    Start { revision, beside, claim }: Start<'_>,
    replicas: i32,
    decision: &Decision,
) -> Precondition {
    let child = children.get(&(Kind::Deployment, revision.to_owned()));
    let running = deployment_of(children, revision).map_or(0, |view| view.replicas);
    let starts_beside = running == 0 && beside.is_some();
    if replicas > 0 && (decision.alone || starts_beside) {
        let resource_version = child.map(|child| child.resource_version.clone());
        let (revision, beside) = (revision.to_owned(), beside.unwrap_or_default());
        return Precondition::NoPodsOutside { revision, beside, resource_version, claim };
    }
    match child {
        Some(child) if replicas == 0 && running > 0 => unchanged(child),
        _ => Precondition::None,
    }
}

/// A text that was made from a record which is lost since, in the words of another operator, can never take ours. Pods that
/// run have their copy of it.
fn text_fence(children: &Children, object: &Object, stored: &StoredRevision) -> Precondition {
    match children.get(&(Kind::ConfigMap, object.name.clone())) {
        Some(Child { detail: Detail::Text { digest }, uid, resource_version, deleting: false, live, .. })
            if *live != object.fingerprint && *digest != Fingerprint::of_content(&stored.config) =>
        {
            Precondition::Replaces { uid: uid.clone(), resource_version: resource_version.clone() }
        }
        _ => Precondition::None,
    }
}

fn unchanged(child: &Child) -> Precondition {
    Precondition::Unchanged { resource_version: child.resource_version.clone() }
}

/// Our own children that are not desired any more, dependants first. Volumes are never among them, nor is what belongs
/// to a revision that shall have pods: where its text is lost, what is there is all that is left of it.
pub fn prune(
    observed: &Observed,
    fleet: &ValidFleet,
    objects: &[Object],
    decision: &Decision,
    front: &front::Decision,
) -> Vec<Prune> {
    let desired: BTreeSet<_> = objects.iter().map(|object| (object.kind, object.name.as_str())).collect();
    // Old proxies that lock with it still run: nothing of it goes before them.
    let stored = revision::stored(&observed.children);
    let lock_needed = login::still_needed(&stored, |name| in_use(observed, name));
    // What clients are about to leave stays as it is. Of an edge that is asked for, only what is asked for does.
    let leaves = front.keep && fleet.edge.is_none();
    let mut prune: Vec<_> = observed
        .children
        .iter()
        .filter(|((kind, name), child)| {
            *kind != Kind::PersistentVolumeClaim
                && !child.deleting
                && child.owner_uid.as_deref() == Some(fleet.uid.as_str())
                && !desired.contains(&(*kind, name.as_str()))
                && !(lock_needed && is_lock(fleet, name))
                && !(leaves && edge_objects::is_part(&fleet.name, *kind, name))
                && !(of_one_revision(*kind) && decision.scale.get(name).is_some_and(|pods| *pods > 0))
        })
        .map(as_observed)
        .collect();
    prune.reverse();
    prune
}

/// Volumes that are not in the plan any more and still belong to the fleet: whoever once said that a volume goes with the
/// fleet did not say so of one that is not used any more. That of the lock goes with it in any case.
pub fn let_go(observed: &Observed, fleet: &ValidFleet) -> Vec<Prune> {
    if fleet.storage.has_own_volume() {
        return Vec::new();
    }
    let owned = observed.children.iter().filter(|((kind, name), child)| {
        *kind == Kind::PersistentVolumeClaim
            && !is_lock(fleet, name)
            && !child.deleting
            && child.owner_uid.as_deref() == Some(fleet.uid.as_str())
    });
    owned.map(as_observed).collect()
}

fn as_observed(((kind, name), child): (&(Kind, String), &Child)) -> Prune {
    Prune { kind: *kind, name: name.clone(), uid: child.uid.clone(), resource_version: child.resource_version.clone() }
}

fn is_lock(fleet: &ValidFleet, name: &str) -> bool {
    name == fleet.name.lock()
}

/// Whether a revision has pods or asks for them.
pub fn in_use(observed: &Observed, name: &str) -> bool {
    deployment_of(&observed.children, name).is_some_and(|view| view.replicas > 0 || view.current > 0)
        || observed.pods.iter().any(|pod| pod.revision == name)
}

/// Kinds of which each revision has one of its own, under its name.
const fn of_one_revision(kind: Kind) -> bool {
    matches!(kind, Kind::ControllerRevision | Kind::ConfigMap | Kind::Deployment)
}

/// What is known of a revision's Deployment.
pub fn deployment_of<'a>(children: &'a Children, name: &str) -> Option<&'a super::DeploymentView> {
    match children.get(&(Kind::Deployment, name.to_owned())) {
        Some(Child { detail: Detail::Deployment(view), .. }) => Some(view),
        _ => None,
    }
}
