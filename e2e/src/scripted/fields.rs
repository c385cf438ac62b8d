//! Field ownership as server-side apply keeps it: which paths an object has, what of them belongs to whom, and how a
//! new version is merged into the live one. Good for the objects that the operator writes, not for all that exist.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// A path, in the spelling of `fieldsV1`: `f:spec`, `k:{"name":"x"}`, `v:"x"`.
pub type Path = Vec<String>;
/// Paths that somebody owns.
pub type Fields = BTreeSet<Path>;

/// How a part of an object is merged.
enum Shape {
    /// Member by member, or not at all.
    Granular,
    /// As a whole.
    Atomic,
    /// Item by item, by these members.
    Keyed(&'static [&'static str]),
    /// A set of plain values.
    Set,
}

/// The names that lead somewhere, without the items of lists.
type Trail<'a> = Vec<&'a str>;

fn list_shape(kind: &str, trail: &[&str]) -> Shape {
    let last = trail.last().copied().unwrap_or_default();
    let parent = trail.len().checked_sub(2).map_or("", |at| trail[at]);
    match (kind, parent, last) {
        (_, "metadata", "ownerReferences") => Shape::Keyed(&["uid"]),
        (_, "metadata", "finalizers") => Shape::Set,
        (_, "status", "conditions") => Shape::Keyed(&["type"]),
        ("GoProxy", "status", "effective") => Shape::Keyed(&["field"]),
        ("Service", "spec", "ports") => Shape::Keyed(&["port", "protocol"]),
        ("GoProxy", "status", "regions")
        | ("GoProxy", "regions", "revisions")
        | ("Deployment", "spec", "containers" | "initContainers" | "volumes" | "imagePullSecrets")
        | ("Deployment", "containers" | "initContainers", "env") => Shape::Keyed(&["name"]),
        ("Deployment", "containers" | "initContainers", "ports") => Shape::Keyed(&["containerPort", "protocol"]),
        ("Deployment", "containers" | "initContainers", "volumeMounts") => Shape::Keyed(&["mountPath"]),
        ("Deployment", "spec", "topologySpreadConstraints") => Shape::Keyed(&["topologyKey", "whenUnsatisfiable"]),
        ("Deployment", "spec", "hostAliases") => Shape::Keyed(&["ip"]),
        _ => Shape::Atomic,
    }
}

fn map_shape(kind: &str, trail: &[&str]) -> Shape {
    match trail.last().copied().unwrap_or_default() {
        "selector" | "nodeSelector" | "labelSelector" | "podSelector" | "scaleTargetRef" | "ownerReferences"
        | "configMapKeyRef" | "secretKeyRef" | "fieldRef" | "resourceFieldRef" => Shape::Atomic,
        "data" if kind == "ControllerRevision" => Shape::Atomic,
        _ => Shape::Granular,
    }
}

/// Every path of what somebody applies.
pub fn of(kind: &str, object: &Value) -> Fields {
    let mut fields = Fields::new();
    collect(kind, object, &mut Trail::new(), &mut Path::new(), &mut fields);
    fields
}

fn collect<'a>(kind: &str, value: &'a Value, trail: &mut Trail<'a>, path: &mut Path, fields: &mut Fields) {
    match value {
        Value::Object(members) if !members.is_empty() && matches!(map_shape(kind, trail), Shape::Granular) => {
            for (name, member) in members {
                trail.push(name);
                path.push(format!("f:{name}"));
                collect(kind, member, trail, path, fields);
                path.pop();
                trail.pop();
            }
        }
        Value::Array(items) => match list_shape(kind, trail) {
            Shape::Keyed(keys) => {
                for item in items {
                    path.push(item_name(keys, item));
                    fields.insert(path.clone());
                    collect(kind, item, trail, path, fields);
                    path.pop();
                }
            }
            Shape::Set => {
                for item in items {
                    path.push(format!("v:{item}"));
                    fields.insert(path.clone());
                    path.pop();
                }
            }
            Shape::Atomic | Shape::Granular => {
                fields.insert(path.clone());
            }
        },
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            fields.insert(path.clone());
        }
    }
}

/// The item's key members, sorted by name as the API server writes them.
fn item_name(keys: &[&str], item: &Value) -> String {
    let mut names: Vec<_> = keys.to_vec();
    names.sort_unstable();
    let members: Map<String, Value> =
        names.into_iter().filter_map(|name| Some((name.to_owned(), item.get(name)?.clone()))).collect();
    format!("k:{}", Value::Object(members))
}

/// Merges what is applied into what is live.
pub fn merge(kind: &str, live: &Value, applied: &Value) -> Value {
    merge_at(kind, live, applied, &mut Trail::new())
}

fn merge_at<'a>(kind: &str, live: &Value, applied: &'a Value, trail: &mut Trail<'a>) -> Value {
    match (live, applied) {
        (Value::Object(old), Value::Object(new)) if matches!(map_shape(kind, trail), Shape::Granular) => {
            let mut merged = old.clone();
            for (name, member) in new {
                trail.push(name);
                let value = merge_at(kind, old.get(name).unwrap_or(&Value::Null), member, trail);
                trail.pop();
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Value::Array(old), Value::Array(new)) => match list_shape(kind, trail) {
            Shape::Keyed(keys) => {
                let same = |left: &Value, right: &Value| item_name(keys, left) == item_name(keys, right);
                let mut merged: Vec<_> = new
                    .iter()
                    .map(|item| {
                        let held = old.iter().find(|held| same(held, item));
                        held.map_or_else(|| item.clone(), |held| merge_at(kind, held, item, trail))
                    })
                    .collect();
                merged.extend(old.iter().filter(|held| !new.iter().any(|item| same(held, item))).cloned());
                Value::Array(merged)
            }
            Shape::Set => {
                let mut merged = old.clone();
                merged.extend(new.iter().filter(|item| !old.contains(item)).cloned());
                Value::Array(merged)
            }
            Shape::Atomic | Shape::Granular => applied.clone(),
        },
        _ => applied.clone(),
    }
}

/// What is at a path.
pub fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| match value {
        Value::Object(members) => members.get(step.strip_prefix("f:")?),
        Value::Array(items) => items.iter().find(|item| is_item(step, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn is_item(step: &str, item: &Value) -> bool {
    if let Some(keys) = step.strip_prefix("k:") {
        let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
        return keys.iter().all(|(name, value)| item.get(name) == Some(value));
    }
    step.strip_prefix("v:").is_some_and(|text| serde_json::from_str::<Value>(text).is_ok_and(|value| value == *item))
}

/// Removes what is at a path, and the parents that are empty then.
pub fn remove(value: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    match value {
        Value::Object(members) => {
            let Some(name) = step.strip_prefix("f:") else { return };
            if rest.is_empty() {
                members.remove(name);
            } else if let Some(member) = members.get_mut(name) {
                remove(member, rest);
                if is_empty(member) {
                    members.remove(name);
                }
            }
        }
        Value::Array(items) => {
            let Some(place) = items.iter().position(|item| is_item(step, item)) else { return };
            if rest.is_empty() {
                items.remove(place);
            } else {
                remove(&mut items[place], rest);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// Paths as `fieldsV1`.
pub fn to_tree(fields: &Fields) -> Value {
    let mut tree = Map::new();
    for path in fields {
        let mut node = &mut tree;
        for step in path {
            let below = node.entry(step.clone()).or_insert_with(|| json!({}));
            let Value::Object(below) = below else { unreachable!("the tree holds objects only") };
            node = below;
        }
        // The path itself, beside those that go on from it.
        node.insert(".".to_owned(), json!({}));
    }
    let mut tree = Value::Object(tree);
    tidy(&mut tree);
    tree
}

/// A dot alone says nothing: an empty node means the same.
fn tidy(node: &mut Value) {
    if let Value::Object(members) = node {
        members.values_mut().for_each(tidy);
        if members.len() == 1 && members.contains_key(".") {
            members.clear();
        }
    }
}

/// `fieldsV1` as paths.
pub fn from_tree(tree: &Value) -> Fields {
    let mut fields = Fields::new();
    walk(tree, &mut Path::new(), &mut fields);
    fields
}

fn walk(node: &Value, path: &mut Path, fields: &mut Fields) {
    let Value::Object(members) = node else { return };
    if members.is_empty() {
        fields.insert(path.clone());
    }
    for (step, below) in members {
        if step == "." {
            fields.insert(path.clone());
            continue;
        }
        path.push(step.clone());
        walk(below, path, fields);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(replicas: i32, args: &[&str]) -> Value {
        json!({ "spec": { "replicas": replicas, "selector": { "matchLabels": { "a": "b" } }, "template": { "spec": {
            "containers": [{ "name": "x", "args": args, "ports": [{ "containerPort": 1, "protocol": "TCP" }] }],
            "volumes": [{ "name": "tmp", "emptyDir": {} }],
        } } } })
    }

    #[test]
    fn a_tree_names_items_and_leaves() {
        let fields = of("Deployment", &deployment(1, &["-a"]));
        let tree = to_tree(&fields);
        let container = &tree["f:spec"]["f:template"]["f:spec"]["f:containers"][r#"k:{"name":"x"}"#];
        assert_eq!(container["."], json!({}));
        assert_eq!(container["f:args"], json!({}));
        assert_eq!(container["f:ports"][r#"k:{"containerPort":1,"protocol":"TCP"}"#]["f:containerPort"], json!({}));
        assert_eq!(tree["f:spec"]["f:selector"], json!({}));
        assert_eq!(tree["f:spec"]["f:template"]["f:spec"]["f:volumes"][r#"k:{"name":"tmp"}"#]["f:emptyDir"], json!({}));
        assert_eq!(from_tree(&tree), fields);
    }

    #[test]
    fn a_merge_keeps_what_others_added() {
        let mut live = deployment(1, &["-a"]);
        live["spec"]["paused"] = json!(true);
        live["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "sidecar" }));
        let merged = merge("Deployment", &live, &deployment(2, &["-b"]));
        let containers = merged["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        assert_eq!((containers.len(), &containers[0]["args"]), (2, &json!(["-b"])));
        assert_eq!((&merged["spec"]["paused"], &merged["spec"]["replicas"]), (&json!(true), &json!(2)));
    }

    #[test]
    fn removing_the_last_member_removes_the_parent() {
        let mut object = json!({ "metadata": { "labels": { "a": "b" } }, "spec": {} });
        remove(&mut object, &["f:metadata".to_owned(), "f:labels".to_owned(), "f:a".to_owned()]);
        assert_eq!(object, json!({ "spec": {} }));
    }
}
