//! What of a live object is ours: the fields that our field manager owns by server-side apply, and nothing else.
//!
//! The API server records ownership in `metadata.managedFields` as a tree whose keys tell what they lead to: `f:` a
//! member of an object, `k:` the item of a list with these key fields, `v:` the item with this value, `i:` the item at
//! this place, `.` the thing itself. An empty tree owns all that is below.

use serde_json::{Map, Value};

use crate::plan::object::FIELD_MANAGER;

/// The part of an object that we own. Empty when we own nothing: then whatever we want differs from it.
pub fn project(object: &Value) -> Value {
    owned_fields(object).map_or_else(|| Value::Object(Map::new()), |fields| pick(object, fields))
}

/// The tree of fields that our manager owns through server-side apply of the object itself, not of a subresource.
pub fn owned_fields(object: &Value) -> Option<&Map<String, Value>> {
    object.pointer("/metadata/managedFields")?.as_array()?.iter().find_map(|entry| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let ours = text("manager") == FIELD_MANAGER && text("operation") == "Apply" && text("subresource").is_empty();
        if ours { entry.get("fieldsV1")?.as_object() } else { None }
    })
}

fn pick(live: &Value, fields: &Map<String, Value>) -> Value {
    if fields.is_empty() {
        return live.clone();
    }
    match live {
        Value::Object(members) => Value::Object(pick_members(members, fields)),
        Value::Array(items) => Value::Array(pick_items(items, fields)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => live.clone(),
    }
}

fn pick_members(members: &Map<String, Value>, fields: &Map<String, Value>) -> Map<String, Value> {
    fields
        .iter()
        .filter_map(|(key, below)| {
            let name = key.strip_prefix("f:")?;
            Some((name.to_owned(), pick(members.get(name)?, below.as_object()?)))
        })
        .collect()
}

/// Keeps the order of the live list: order means something in a list.
fn pick_items(items: &[Value], fields: &Map<String, Value>) -> Vec<Value> {
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
