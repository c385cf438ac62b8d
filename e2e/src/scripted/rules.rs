//! What must hold at every step of every history. Checked on each change, before anybody else sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

use super::store::{Change, Key, State};

const FLEET: &str = "goproxy.rs/fleet";
const REVISION: &str = "goproxy.rs/revision";
/// The field manager of the operator.
pub const OPERATOR: &str = "goproxy-operator";

/// The rules, and what they found.
#[derive(Debug, Default)]
pub struct Rules {
    /// Objects that are not the operator's business. They must stay exactly as they are.
    pub foreign: BTreeSet<Key>,
    /// Whether volumes may be removed.
    pub volume_may_go: bool,
    /// Whether the past came back: what the operator knows is then mixed for a while, and so is what it does.
    pub restored: bool,
    /// What was broken.
    pub broken: Vec<String>,
    /// Pods that were ever created.
    pub pods_started: usize,
}

impl Rules {
    /// Checks one change.
    pub fn check(&mut self, state: &State, change: &Change) {
        let mut broken = Vec::new();
        if change.key.resource.kind == "Pod" && change.before.is_none() {
            self.pods_started += 1;
            broken.extend(two_writers(state, change));
            broken.extend(two_fleets(state, change));
        }
        broken.extend(self.foreign_touched(change));
        broken.extend(self.volume_removed(change));
        if !self.restored {
            broken.extend(selector_moved(state, change));
            broken.extend(serving_stopped(state, change));
        }
        for text in broken {
            self.broken.push(format!("{} s, {}: {text}", change.second, change.actor));
        }
    }

    fn foreign_touched(&self, change: &Change) -> Option<String> {
        self.foreign.contains(&change.key).then(|| format!("{} is not the fleet's and was changed", change.key))
    }

    fn volume_removed(&self, change: &Change) -> Option<String> {
        let volume = change.key.resource.kind == "PersistentVolumeClaim";
        let deleted = |object: &Option<Arc<Value>>| {
            object.as_ref().is_none_or(|object| object.pointer("/metadata/deletionTimestamp").is_some())
        };
        let gone = change.before.is_some() && deleted(&change.after);
        (volume && gone && !self.volume_may_go).then(|| format!("{} was removed without being asked", change.key))
    }
}

/// A volume with one writer: no pod of one revision begins while a pod of another exists.
fn two_writers(state: &State, change: &Change) -> Option<String> {
    let pod = change.after.as_ref()?;
    let volume = claim(pod)?;
    let revision = label(pod, REVISION);
    let other = state.list(change.key.resource, Some(&change.key.namespace)).find(|(key, other)| {
        **key != change.key && claim(other) == Some(volume) && label(other, REVISION) != revision
    })?;
    Some(format!("{} starts on volume {volume} while {} of another revision exists", change.key, other.0))
}

/// A bucket has one fleet: no pod begins that stores where a pod of another fleet does.
fn two_fleets(state: &State, change: &Change) -> Option<String> {
    let pod = change.after.as_ref()?;
    let namespace = &change.key.namespace;
    let bucket = |pod: &Value| bucket(state, namespace, pod);
    let own = bucket(pod)?;
    let mut pods = state.list(change.key.resource, Some(namespace));
    let (other, _) = pods.find(|(_, other)| {
        label(other, FLEET) != label(pod, FLEET) && bucket(other).as_deref() == Some(own.as_str())
    })?;
    Some(format!("{} starts on a bucket that {other} of another fleet uses", change.key))
}

/// The bucket in which the modules of a pod, or of a Deployment, are kept.
fn bucket(state: &State, namespace: &str, of: &Value) -> Option<String> {
    let config = state.get(&Key::new("configmaps", namespace, label(of, REVISION)?))?;
    let text = config["data"].as_object()?.values().find_map(|text| text.as_str()?.split_once("[Storage.S3]"))?.1;
    Some(text.lines().find(|line| line.trim_start().starts_with("Bucket"))?.to_owned())
}

/// Clients are only ever led to a revision that can serve them; the first one has nobody to take clients from.
fn selector_moved(state: &State, change: &Change) -> Option<String> {
    if change.key.resource.kind != "Service" || change.actor != OPERATOR {
        return None;
    }
    let leads_to =
        |object: &Option<Arc<Value>>| Some(object.as_ref()?["spec"]["selector"][REVISION].as_str()?.to_owned());
    let (from, to) = (leads_to(&change.before)?, leads_to(&change.after)?);
    if from == to || is_available(state, &change.key.namespace, &to) {
        return None;
    }
    // Back to where it belongs after somebody else led it astray: that revision's pods may be restarting.
    if !exists(state, &change.key.namespace, &from) {
        return None;
    }
    Some(format!("{} was led from {from} to {to}, which is not available", change.key))
}

/// What clients get is not taken away by the operator while the fleet shall run, except where storage has one writer or
/// changes: there revisions never overlap.
fn serving_stopped(state: &State, change: &Change) -> Option<String> {
    if change.key.resource.kind != "Deployment" || change.actor != OPERATOR {
        return None;
    }
    let replicas = |object: &Value| object["spec"]["replicas"].as_i64().unwrap_or(1);
    let before = change.before.as_ref()?;
    let after = change.after.as_ref().map_or(0, |after| replicas(after));
    let fleet = label(before, FLEET)?;
    let namespace = &change.key.namespace;
    let mut deployments = state.list(change.key.resource, Some(namespace));
    let volume = deployments.any(|(_, other)| other.pointer("/spec/template").and_then(claim).is_some());
    let kept_in = bucket(state, namespace, before);
    let mut siblings =
        state.list(change.key.resource, Some(namespace)).filter(|(_, other)| label(other, FLEET) == Some(fleet));
    let moves = siblings.any(|(_, other)| bucket(state, namespace, other) != kept_in);
    let spec = state.get(&Key::new("goproxies", namespace, fleet))?;
    let service = state.get(&Key::new("services", namespace, fleet))?;
    let serving = service["spec"]["selector"][REVISION].as_str() == Some(change.key.name.as_str());
    let stops = replicas(before) > 0 && after == 0 && spec["spec"]["replicas"].as_i64() != Some(0);
    (serving && stops && !volume && !moves).then(|| format!("{} serves and was stopped", change.key))
}

fn deployment<'a>(state: &'a State, namespace: &str, name: &str) -> Option<&'a Arc<Value>> {
    state.get(&Key::new("deployments", namespace, name))
}

fn exists(state: &State, namespace: &str, name: &str) -> bool {
    deployment(state, namespace, name).is_some()
}

fn is_available(state: &State, namespace: &str, name: &str) -> bool {
    deployment(state, namespace, name).is_some_and(|deployment| {
        let number = |path: &str| deployment.pointer(path).and_then(Value::as_i64).unwrap_or(0);
        number("/status/availableReplicas") >= number("/spec/replicas")
            && number("/status/observedGeneration") >= number("/metadata/generation")
    })
}

/// The claim that a pod, or a pod template, mounts.
pub fn claim(pod: &Value) -> Option<&str> {
    let volumes = pod.pointer("/spec/volumes")?.as_array()?;
    volumes.iter().find_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
}

/// A label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

/// What belongs to a fleet that does not exist any more: everything but volumes.
pub fn orphans(state: &State) -> Vec<String> {
    let uids: BTreeMap<&str, &Key> =
        state.objects.iter().filter_map(|(key, object)| Some((object["metadata"]["uid"].as_str()?, key))).collect();
    let mut orphans = Vec::new();
    for (key, object) in &state.objects {
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let dangling = owners.is_some_and(|owners| {
            owners.iter().all(|owner| !owner["uid"].as_str().is_some_and(|uid| uids.contains_key(uid)))
        });
        let free = owners.is_none() && label(object, FLEET).is_some() && key.resource.kind != "PersistentVolumeClaim";
        if dangling || free {
            orphans.push(key.to_string());
        }
    }
    orphans
}
