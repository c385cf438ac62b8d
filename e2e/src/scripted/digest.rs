//! The state of a namespace in a form that two runs can be compared by: without what differs from run to run.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use super::store::State;

/// Members that say when or by whom, not what.
const MASKED: [&str; 9] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "generation",
    "observedGeneration",
    "lastTransitionTime",
    "startedAt",
];

/// The objects by kind and name, masked. Leases and events are left out, and pods go by what they are made of.
pub fn digest(state: &State) -> BTreeMap<String, Value> {
    let mut digest = BTreeMap::new();
    let mut pods: BTreeMap<String, usize> = BTreeMap::new();
    for (key, object) in &state.objects {
        if matches!(key.resource.kind, "Lease" | "Event") {
            continue;
        }
        let mut masked = (**object).clone();
        mask(&mut masked);
        if key.resource.kind == "Pod" {
            if let Some(metadata) = masked["metadata"].as_object_mut() {
                metadata.remove("name");
            }
            *pods.entry(masked.to_string()).or_default() += 1;
        } else {
            digest.insert(key.to_string(), masked);
        }
    }
    for (number, (pod, count)) in pods.into_iter().enumerate() {
        digest.insert(format!("Pod {number} of {count}"), serde_json::from_str(&pod).unwrap_or(Value::Null));
    }
    digest
}

/// Takes out what says when or by whom, not what.
pub fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !MASKED.contains(&name.as_str()) && name != "goproxy.rs/moved-at");
            members.values_mut().for_each(mask);
            members
                .retain(|name, member| name != "annotations" || member.as_object().is_none_or(|all| !all.is_empty()));
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Leaves out what only tells of the past: revisions that nobody is served by, and the count of them.
pub fn forget_history(digest: &mut BTreeMap<String, Value>) {
    let idle: Vec<String> = digest
        .iter()
        .filter(|(name, object)| name.starts_with("Deployment ") && object["spec"]["replicas"] == 0)
        .filter_map(|(name, _)| name.strip_prefix("Deployment ").map(str::to_owned))
        .collect();
    let served: Vec<Value> = digest
        .iter()
        .filter(|(name, _)| name.starts_with("Service "))
        .map(|(_, service)| service["spec"]["selector"]["goproxy.rs/revision"].clone())
        .collect();
    for name in idle {
        let revision = name.rsplit('/').next().unwrap_or_default();
        if !served.iter().any(|served| served == revision) {
            for kind in ["Deployment", "ConfigMap", "ControllerRevision"] {
                digest.remove(&format!("{kind} {name}"));
            }
        }
    }
    for (_, revision) in digest.iter_mut().filter(|(name, _)| name.starts_with("ControllerRevision ")) {
        revision["revision"] = Value::Null;
    }
}

/// What differs, one line per object. Empty when nothing does.
pub fn difference(expected: &BTreeMap<String, Value>, found: &BTreeMap<String, Value>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (name, object) in expected {
        match found.get(name) {
            None => {
                let _ = writeln!(text, "  missing: {name}");
            }
            Some(other) if other != object => {
                let _ = writeln!(text, "  differs: {name}\n    expected {object}\n    found    {other}");
            }
            Some(_) => {}
        }
    }
    for name in found.keys().filter(|name| !expected.contains_key(*name)) {
        let _ = writeln!(text, "  left over: {name}");
    }
    text
}
