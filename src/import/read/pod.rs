//! What pods of a workload and of a chart have in common with those of a fleet.

use std::str::FromStr as _;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::environment::variable;
use crate::{
    api::{
        go_proxy::{EnginePod, LocalReference, ResourceAmounts, Resources},
        quantity::Quantity,
    },
    import::found::{Found, NotCarried, Value as Given},
};

/// Whether a value says nothing.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A value as text, unless it is a structure.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads a part that both have in the same form. What cannot be read is told, without its content.
pub fn part<T: DeserializeOwned>(path: &str, value: &Value, found: &mut Found) -> Option<T> {
    if is_empty(value) {
        return None;
    }
    let read = serde_json::from_value(value.clone());
    if read.is_err() {
        found.lost.push(NotCarried::hidden(path, "it does not have the form that Kubernetes gives it"));
    }
    read.ok()
}

/// Where pods run. Names are those of a pod's spec.
pub fn placement(name: &str, path: &str, value: &Value, pod: &mut EnginePod, found: &mut Found) {
    match name {
        "nodeSelector" => pod.node_selector = part(path, value, found).unwrap_or_default(),
        "tolerations" => pod.tolerations = part(path, value, found).unwrap_or_default(),
        "affinity" => pod.affinity = part(path, value, found),
        "priorityClassName" => pod.priority_class_name = part(path, value, found),
        "imagePullSecrets" => {
            pod.image_pull_secrets = part::<Vec<LocalReference>>(path, value, found).unwrap_or_default();
        }
        _ => {}
    }
}

/// CPU and memory; a fleet has no other amounts.
pub fn resources(path: &str, value: &Value, found: &mut Found) -> Option<Resources> {
    let mut amounts = |kind: &str| {
        let mut taken = ResourceAmounts::default();
        for (name, amount) in value.get(kind).and_then(Value::as_object).into_iter().flatten() {
            let read = scalar(amount).and_then(|text| Quantity::from_str(&text).ok());
            match (name.as_str(), read) {
                ("cpu", Some(read)) => taken.cpu = Some(read),
                ("memory", Some(read)) => taken.memory = Some(read),
                _ => {
                    let why =
                        "a fleet's pods have amounts of CPU and memory, and scratch space by spec.engine.fetchWorkers";
                    found.lost.push(NotCarried::hidden(format!("{path}.{kind}.{name}"), why));
                }
            }
        }
        (taken != ResourceAmounts::default()).then_some(taken)
    };
    let resources = Resources { requests: amounts("requests"), limits: amounts("limits") };
    (resources != Resources::default()).then_some(resources)
}

/// Variables as a container has them. A later one wins.
pub fn variables(path: &str, value: &Value, found: &mut Found) {
    let Some(items) = value.as_array() else {
        if !is_empty(value) {
            found.lost.push(NotCarried::hidden(path, "it is no list of variables with name and value"));
        }
        return;
    };
    for item in items {
        let Some(name) = item.get("name").and_then(Value::as_str) else {
            found.lost.push(NotCarried::hidden(path, "one of its variables has no name"));
            continue;
        };
        let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(from) = item.get("valueFrom") {
            if from.get("secretKeyRef").is_some() {
                let (secret, key) = (text("/valueFrom/secretKeyRef/name"), text("/valueFrom/secretKeyRef/key"));
                variable(name, &Given::Secret { name: secret, key }, found);
            } else {
                let why = "its value is elsewhere (valueFrom) and not known here: give it in a file with --env";
                found.lost.push(NotCarried::hidden(name, why));
            }
        } else {
            let value = item.get("value").and_then(scalar).unwrap_or_default();
            variable(name, &Given::Text(value), found);
        }
    }
}
