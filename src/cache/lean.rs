//! Reading with forgetting while the text is still being read. Most of an object is ownership of other managers and, of a
//! pod, its spec: none of it ever becomes a tree in memory.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::plan::object::FIELD_MANAGER;

/// What of a spec is read by kind.
pub const KEPT_OF_SPEC: [&str; 6] = ["replicas", "selector", "resources", "protocol", "settled", "trial"];

/// An object without what nobody asks for: ownership by other managers, and where we own nothing, most of the spec.
pub struct Lean(pub Value);

/// A fleet without any ownership: all of its spec is the user's.
pub struct LeanFleet(pub Value);

impl<'de> Deserialize<'de> for Lean {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Part::Object { owned: true }.deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for LeanFleet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Part::Object { owned: false }.deserialize(deserializer).map(Self)
    }
}

/// The part of an object that is being read.
#[derive(Clone, Copy)]
enum Part {
    /// All of it; whether ownership is wanted.
    Object { owned: bool },
    /// `metadata`; whether ownership is wanted.
    Metadata { owned: bool },
    /// `metadata.managedFields`.
    Managers,
    /// One entry of it: null unless it is ours.
    Manager,
    /// `spec` of what others made.
    ForeignSpec,
    /// What is kept as it is.
    Whole,
    /// What is dropped.
    Nothing,
}

impl Part {
    /// What to do with a member, by what was read of the object before it. Whatever order the members come in, what is
    /// kept is enough; in the API server's order it is also little.
    fn member(self, name: &str, before: &Map<String, Value>) -> Self {
        match (self, name) {
            (Self::Object { owned }, "metadata") => Self::Metadata { owned },
            (Self::Object { owned: true }, "spec") if before.get("metadata").is_some_and(is_foreign) => {
                Self::ForeignSpec
            }
            (Self::Metadata { owned: true }, "managedFields") => Self::Managers,
            (Self::Manager, "fieldsV1") if !may_be_ours(before) => Self::Nothing,
            (Self::ForeignSpec, name) if KEPT_OF_SPEC.contains(&name) => Self::Whole,
            (Self::Object { owned: true }, "apiVersion" | "kind")
            | (Self::Metadata { owned: false }, "managedFields")
            | (Self::ForeignSpec, _) => Self::Nothing,
            _ => Self::Whole,
        }
    }
}

fn is_foreign(metadata: &Value) -> bool {
    metadata.get("managedFields").and_then(Value::as_array).is_none_or(Vec::is_empty)
}

fn may_be_ours(entry: &Map<String, Value>) -> bool {
    entry.get("manager").is_none_or(|manager| manager == FIELD_MANAGER)
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Self::Whole => Value::deserialize(deserializer),
            Self::Nothing => IgnoredAny::deserialize(deserializer).map(|_| Value::Null),
            Self::Object { .. } | Self::Metadata { .. } | Self::Managers | Self::Manager | Self::ForeignSpec => {
                deserializer.deserialize_any(self)
            }
        }
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of the API")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<Cow<'de, str>>()? {
            let part = self.member(&name, &members);
            let value = access.next_value_seed(part)?;
            if !matches!(part, Self::Nothing) {
                members.insert(name.into_owned(), value);
            }
        }
        if matches!(self, Self::Manager) && !may_be_ours(&members) {
            return Ok(Value::Null);
        }
        Ok(Value::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Self::Manager)? {
            if !item.is_null() {
                items.push(item);
            }
        }
        Ok(Value::Array(items))
    }

    // What is no object where one belongs is as if it were not there.
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{cache::decode::Seen, plan::object::Kind};

    /// Objects as an API server stored them, with what was applied. See the tests of the projection.
    const RECORDED: &str = include_str!("testdata/applied_and_stored.json");

    fn lean(object: &Value) -> Value {
        serde_json::from_str::<Lean>(&object.to_string()).unwrap().0
    }

    #[test]
    fn what_is_left_tells_as_much_as_the_whole() {
        let pairs: Vec<Value> = serde_json::from_str(RECORDED).unwrap();
        for stored in pairs.into_iter().map(|mut pair| pair["stored"].take()) {
            let read: Seen = serde_json::from_str(&stored.to_string()).unwrap();
            let whole = Seen::new(stored.clone());
            assert_eq!((read.live, read.managed), (whole.live, whole.managed), "{stored}");
            assert!(read.managed, "{stored}");
            let told = |seen: &Seen| Kind::ALL.map(|kind| seen.detail(kind));
            assert_eq!(told(&read), told(&whole), "{stored}");
            assert_eq!((read.fleet(), read.owner()), (whole.fleet(), whole.owner()), "{stored}");
        }
    }

    #[test]
    fn of_others_nothing_is_kept_that_costs_much() {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "a", "labels": { "b": "c" }, "managedFields": [
                { "manager": "kubelet", "operation": "Update", "fieldsV1": { "f:status": {} }, "subresource": "status" },
            ] },
            "spec": { "containers": [{ "name": "x" }], "replicas": 3, "selector": { "d": "e" } },
            "status": { "phase": "Running" },
        });
        assert_eq!(
            lean(&object),
            json!({
                "metadata": { "name": "a", "labels": { "b": "c" }, "managedFields": [] },
                "spec": { "replicas": 3, "selector": { "d": "e" } },
                "status": { "phase": "Running" },
            })
        );
    }

    #[test]
    fn any_order_of_members_keeps_what_is_ours() {
        let ours =
            r#"{ "fieldsV1": { "f:spec": { "f:a": {} } }, "operation": "Apply", "manager": "goproxy-operator" }"#;
        let other = r#"{ "fieldsV1": { "f:spec": {} }, "manager": "kubectl" }"#;
        let text = format!(r#"{{ "spec": {{ "a": 1 }}, "metadata": {{ "managedFields": [{other}, {ours}] }} }}"#);
        let Lean(object) = serde_json::from_str(&text).unwrap();
        let ours: Value = serde_json::from_str(ours).unwrap();
        assert_eq!(object, json!({ "metadata": { "managedFields": [ours] }, "spec": { "a": 1 } }));
    }

    #[test]
    fn what_cannot_be_understood_is_as_if_it_were_not_there() {
        for odd in [json!(null), json!(1), json!(-1), json!(1.5), json!(true), json!("x"), json!([1]), json!([])] {
            lean(&odd);
            lean(&json!({ "metadata": odd, "spec": odd }));
            lean(&json!({ "metadata": { "managedFields": odd } }));
            lean(&json!({ "metadata": { "managedFields": [odd] }, "spec": odd }));
        }
    }
}
