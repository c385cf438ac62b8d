//! What of a live object is ours: the fields that our field manager owns by server-side apply, and nothing else.
//!
//! The API server records ownership in `metadata.managedFields` as a tree whose keys tell what they lead to: `f:` a
//! member of an object, `k:` the item of a list with these key fields, `v:` the item with this value, `i:` the item at
//! this place, `.` the thing itself. An empty tree owns all that is below.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::plan::object::{Content, FIELD_MANAGER};

/// A part of a live object, not copied, written as its digest wants it.
#[derive(Debug)]
pub enum Picked<'a> {
    /// All that is there.
    Whole(&'a Value),
    /// Some members, sorted as those of the tree are.
    Members(Vec<(&'a str, Self)>),
    /// Some items, in the live order: order means something in a list.
    Items(Vec<Self>),
}

/// The part of an object that we own. Empty when we own nothing: then whatever we want differs from it.
pub fn project(object: &Value) -> Picked<'_> {
    owned_fields(object).map_or(Picked::Members(Vec::new()), |fields| pick(object, fields))
}

/// The tree of fields that our manager owns through server-side apply of the object itself, not of a subresource.
pub fn owned_fields(object: &Value) -> Option<&Map<String, Value>> {
    object.pointer("/metadata/managedFields")?.as_array()?.iter().find_map(|entry| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let ours = text("manager") == FIELD_MANAGER && text("operation") == "Apply" && text("subresource").is_empty();
        if ours { entry.get("fieldsV1")?.as_object() } else { None }
    })
}

fn pick<'a>(live: &'a Value, fields: &'a Map<String, Value>) -> Picked<'a> {
    match live {
        Value::Object(members) if !fields.is_empty() => Picked::Members(pick_members(members, fields)),
        Value::Array(items) if !fields.is_empty() => Picked::Items(pick_items(items, fields)),
        Value::Object(_) | Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Picked::Whole(live)
        }
    }
}

fn pick_members<'a>(members: &'a Map<String, Value>, fields: &'a Map<String, Value>) -> Vec<(&'a str, Picked<'a>)> {
    let picked = fields.iter().filter_map(|(key, below)| {
        let name = key.strip_prefix("f:")?;
        Some((name, pick(members.get(name)?, below.as_object()?)))
    });
    picked.filter(|(_, part)| !part.is_nothing()).collect()
}

fn pick_items<'a>(items: &'a [Value], fields: &'a Map<String, Value>) -> Vec<Picked<'a>> {
    let wanted: Vec<(Item, &Map<String, Value>)> =
        fields.iter().filter_map(|(key, below)| Some((Item::parse(key)?, below.as_object()?))).collect();
    items
        .iter()
        .enumerate()
        .filter_map(|(place, item)| {
            let (_, below) = wanted.iter().find(|(wanted, _)| wanted.is(place, item))?;
            Some(pick(item, below))
        })
        .collect()
}

impl Picked<'_> {
    /// What a canonical object has no member for.
    fn is_nothing(&self) -> bool {
        match self {
            Self::Whole(value) => value.is_null() || value.as_array().is_some_and(Vec::is_empty),
            Self::Members(_) => false,
            Self::Items(items) => items.is_empty(),
        }
    }
}

impl Serialize for Picked<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(value) => Content::Part(value).serialize(serializer),
            Self::Members(members) => serializer.collect_map(members.iter().map(|(name, part)| (name, part))),
            Self::Items(items) => serializer.collect_seq(items),
        }
    }
}

/// How a list's item is named in the tree.
enum Item {
    Keyed(Map<String, Value>),
    Valued(Value),
    Placed(usize),
}

impl Item {
    fn parse(key: &str) -> Option<Self> {
        let (form, rest) = key.split_once(':')?;
        match form {
            "k" => serde_json::from_str(rest).ok().map(Self::Keyed),
            "v" => serde_json::from_str(rest).ok().map(Self::Valued),
            "i" => rest.parse().ok().map(Self::Placed),
            _ => None,
        }
    }

    fn is(&self, place: usize, item: &Value) -> bool {
        match self {
            Self::Keyed(keys) => keys.iter().all(|(key, value)| item.get(key) == Some(value)),
            Self::Valued(value) => item == value,
            Self::Placed(index) => place == *index,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{cache::decode::Seen, plan::object::Fingerprint};

    /// Objects as they were applied, and as an API server 1.36 stored them: two fleets, one of them with most fields
    /// set and a Deployment to which another manager has added labels, a volume and an environment variable.
    const RECORDED: &str = include_str!("testdata/applied_and_stored.json");

    fn recorded() -> Vec<(Value, Value)> {
        let pairs: Vec<Value> = serde_json::from_str(RECORDED).unwrap();
        pairs.into_iter().map(|mut pair| (pair["applied"].take(), pair["stored"].take())).collect()
    }

    #[test]
    fn finds_what_was_applied_in_what_a_real_server_stored() {
        let pairs = recorded();
        assert!(pairs.len() >= 16);
        for (applied, stored) in pairs {
            let (kind, wanted) = (applied["kind"].clone(), Fingerprint::of(&applied));
            let live = json!(project(&stored));
            assert_eq!(Seen::new(stored).live, wanted, "{kind}: applied {applied}\nfound {live}");
        }
    }

    /// Every path to a leaf that we own in a recorded object, and a change of it by somebody who leaves ownership alone.
    #[test]
    fn sees_every_change_of_what_was_applied() {
        for (applied, stored) in recorded() {
            let wanted = Fingerprint::of(&applied);
            for path in leaves(&applied).into_iter().filter(|path| counts(path)) {
                // Another manager may have put items before ours: only paths that lead to the same value are ours.
                if stored.pointer(&path) != applied.pointer(&path) {
                    continue;
                }
                let mut changed = stored.clone();
                *changed.pointer_mut(&path).unwrap() = json!("somebody's");
                assert_ne!(Seen::new(changed).live, wanted, "{path}");
            }
        }
    }

    fn counts(path: &str) -> bool {
        !matches!(path, "/apiVersion" | "/kind" | "/metadata/name" | "/metadata/namespace")
    }

    fn leaves(value: &Value) -> Vec<String> {
        let below = |(key, value): (String, &Value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            leaves(value).into_iter().map(move |rest| format!("/{key}{rest}")).collect::<Vec<_>>()
        };
        match value {
            Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).flat_map(below).collect(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, v)| (at.to_string(), v)).flat_map(below).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![String::new()],
        }
    }

    #[test]
    fn owns_nothing_where_only_others_do() {
        let entry = |manager: &str, operation: &str, subresource: &str| {
            json!({ "metadata": { "managedFields": [{
                "manager": manager, "operation": operation, "subresource": subresource, "fieldsV1": { "f:a": {} },
            }] }, "a": 1 })
        };
        assert_eq!(json!(project(&entry("goproxy-operator", "Apply", ""))), json!({ "a": 1 }));
        for other in [
            entry("kubectl", "Apply", ""),
            entry("goproxy-operator", "Update", ""),
            entry("goproxy-operator", "Apply", "status"),
            json!({ "a": 1 }),
        ] {
            assert_eq!(json!(project(&other)), json!({}));
        }
    }

    #[test]
    fn follows_every_form_of_key() {
        let stored = json!({
            "ports": [{ "port": 1, "protocol": "UDP", "x": 0 }, { "port": 1, "protocol": "TCP", "x": 1, "y": 2 }],
            "set": ["a", "b"],
            "places": [7, 8, 9],
            "granular": { "ours": 1, "theirs": 2 },
            "whole": { "any": [1, { "b": null }] },
        });
        let fields = json!({
            "f:ports": { ".": {}, "k:{\"port\":1,\"protocol\":\"TCP\"}": { ".": {}, "f:port": {}, "f:x": {} } },
            "f:set": { "v:\"b\"": {} },
            "f:places": { "i:2": {} },
            "f:granular": { "f:ours": {}, "f:gone": {} },
            "f:whole": {},
        });
        let owned = json!({
            "ports": [{ "port": 1, "x": 1 }],
            "set": ["b"],
            "places": [9],
            "granular": { "ours": 1 },
            "whole": { "any": [1, {}] },
        });
        assert_eq!(json!(pick(&stored, fields.as_object().unwrap())), owned);
    }

    /// What a user of server-side apply sends: objects, keyed lists, lists that are one value, and scalars.
    fn content() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            "[a-z]{1,3}".prop_map(Value::from),
            (0..9).prop_map(Value::from),
            any::<bool>().prop_map(Value::from)
        ];
        let atomic = prop::collection::vec(scalar.clone(), 1..3).prop_map(Value::from);
        prop_oneof![scalar, atomic].prop_recursive(4, 24, 4, |inner| {
            let object = prop::collection::btree_map("[a-z]{1,2}", inner, 1..4);
            let list = prop::collection::btree_map("[a-z]{1,3}", object.clone(), 1..3).prop_map(|items| {
                let named = |(name, mut item): (String, std::collections::BTreeMap<String, Value>)| {
                    item.insert("name".to_owned(), name.into());
                    json!(item)
                };
                Value::Array(items.into_iter().map(named).collect())
            });
            prop_oneof![object.prop_map(|members| json!(members)), list]
        })
    }

    /// The ownership that an API server would record for it.
    fn ownership(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                members.iter().map(|(key, value)| (format!("f:{key}"), ownership(value))).collect()
            }
            Value::Array(items) if items.iter().all(Value::is_object) => {
                let key = |item: &Value| format!("k:{}", json!({ "name": item["name"] }));
                let own = |item: &Value| {
                    let mut below = ownership(item);
                    below["."] = json!({});
                    (key(item), below)
                };
                items.iter().map(own).collect()
            }
            Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => json!({}),
        }
    }

    /// What others and defaulting add: members and items beside ours, at every level.
    fn with_additions(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let more = [("THEIRS".to_owned(), json!({ "name": "x" }))];
                members.iter().map(|(key, value)| (key.clone(), with_additions(value))).chain(more).collect()
            }
            Value::Array(items) if items.iter().all(Value::is_object) => {
                let more = json!({ "name": "THEIRS" });
                std::iter::once(more).chain(items.iter().map(with_additions)).collect()
            }
            Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    proptest! {
        #[test]
        fn additions_by_others_are_never_drift(spec in content()) {
            let applied = json!({ "spec": { "a": spec } });
            let mut stored = with_additions(&applied);
            stored["metadata"] = json!({ "managedFields": [
                { "manager": "other", "operation": "Apply", "fieldsV1": { "f:spec": {} } },
                { "manager": "goproxy-operator", "operation": "Apply", "fieldsV1": ownership(&applied) },
            ] });
            prop_assert_eq!(Seen::new(stored).live, Fingerprint::of(&applied));
        }
    }
}
