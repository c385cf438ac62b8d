//! The schema of the CRD, applied without an API server: types, bounds, unknown fields, and the forms of single values.
//! It is read from the CRD itself, so that the two cannot differ; what it finds is said in the API server's words.

use std::{collections::BTreeMap, sync::LazyLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::CustomResourceExt;
use serde_json::Value;

use super::Refusal;
use crate::api::{
    crd,
    go_proxy::{GoProxy, GoProxySpec},
    rule::Form,
};

/// What may stand at one place.
#[derive(Debug, Default)]
struct Node {
    kind: Kind,
    properties: BTreeMap<String, Self>,
    required: Vec<String>,
    /// Of a map's values, or of a list's items.
    inner: Option<Box<Self>>,
    allowed: Vec<String>,
    bounds: Bounds,
    forms: Vec<(&'static Form, bool)>,
    /// Items of the list differ, in these keys if any are named.
    distinct: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Object,
    Map,
    List,
    Text,
    Whole,
    Boolean,
    WholeOrText,
}

#[derive(Debug, Default)]
struct Bounds {
    minimum: Option<i64>,
    maximum: Option<i64>,
    shortest: Option<u64>,
    longest: Option<u64>,
    fewest_items: Option<u64>,
    most_items: Option<u64>,
    most_keys: Option<u64>,
}

static SPEC: LazyLock<Node> = LazyLock::new(|| {
    let schema = crd::schema();
    Node::read(&schema["properties"]["spec"])
});

/// Checks a whole object and removes the nulls that the API server would remove.
pub fn check_object(object: &mut Value) -> Vec<Refusal> {
    let Some(members) = object.as_object_mut() else {
        return vec![Refusal::new("object", "it is no object: begin with apiVersion and kind")];
    };
    let mut found = Vec::new();
    let resource = GoProxy::api_resource();
    for (key, wanted) in [("apiVersion", &resource.api_version), ("kind", &resource.kind)] {
        if members.get(key).and_then(Value::as_str) != Some(wanted) {
            found.push(Refusal::new(key, &format!("it must be '{wanted}'")));
        }
    }
    for key in members.keys() {
        if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&key.as_str()) {
            found.push(unknown(key, ["metadata", "spec"].into_iter(), key));
        }
    }
    check_metadata(members.get("metadata").unwrap_or(&Value::Null), &mut found);
    match members.get_mut("spec") {
        Some(spec) if !spec.is_null() => SPEC.check(spec, "spec", &mut found),
        _ => found.push(Refusal::new("spec", "Required value: write `spec: {}` for a fleet of defaults")),
    }
    found
}

/// Reads metadata and writes it again: what is lost on the way is no field of it.
fn check_metadata(given: &Value, found: &mut Vec<Refusal>) {
    let read = serde_json::from_value::<ObjectMeta>(given.clone()).and_then(serde_json::to_value);
    match (read, given) {
        (Ok(Value::Object(known)), Value::Object(given)) => {
            for (name, _) in given.iter().filter(|(name, value)| !value.is_null() && !known.contains_key(*name)) {
                found.push(unknown(&format!("metadata.{name}"), METADATA.into_iter(), name));
            }
        }
        (Err(error), _) => found.push(Refusal::new("metadata", &error.to_string())),
        (Ok(_), _) => found.push(Refusal::new("metadata", "Required value: it holds the fleet's name")),
    }
}

/// Fields of metadata that people write.
const METADATA: [&str; 5] = ["name", "namespace", "labels", "annotations", "finalizers"];

/// Checks a spec that was read already.
pub fn check_spec(spec: &GoProxySpec) -> Vec<Refusal> {
    let mut found = Vec::new();
    match serde_json::to_value(spec) {
        Ok(mut value) => SPEC.check(&mut value, "spec", &mut found),
        Err(error) => found.push(Refusal::new("spec", &error.to_string())),
    }
    found
}

impl Node {
    fn read(schema: &Value) -> Self {
        let inner =
            schema.get("items").or_else(|| schema.get("additionalProperties")).filter(|inner| inner.is_object());
        let strings = |key: &str| {
            let list = schema[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
        Self {
            kind: Kind::read(schema),
            properties: schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, property)| (name.clone(), Self::read(property)))
                .collect(),
            required: strings("required"),
            inner: inner.map(|inner| Box::new(Self::read(inner))),
            allowed: strings("enum"),
            bounds: Bounds::read(schema),
            forms: rules.filter_map(|rule| Form::of(rule["rule"].as_str()?)).collect(),
            distinct: match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => Some(Vec::new()),
                Some("map") => Some(strings("x-kubernetes-list-map-keys")),
                _ => None,
            },
        }
    }

    fn check(&self, value: &mut Value, path: &str, found: &mut Vec<Refusal>) {
        match (self.kind, &mut *value) {
            (Kind::Object, Value::Object(members)) => self.check_object(members, path, found),
            (Kind::Map, Value::Object(members)) => self.check_map(members, path, found),
            (Kind::List, Value::Array(items)) => self.check_list(items, path, found),
            (Kind::Text | Kind::WholeOrText, Value::String(text)) => self.check_text(text, path, found),
            (Kind::Whole, Value::Number(number)) if !number.is_f64() => self.check_number(number, path, found),
            (Kind::WholeOrText, Value::Number(number)) if !number.is_f64() => {
                self.check_form(&number.to_string(), path, found);
            }
            (Kind::Boolean, Value::Bool(_)) => {}
            _ => found.push(wrong_type(path, self.kind, value)),
        }
    }

    fn check_object(&self, members: &mut serde_json::Map<String, Value>, path: &str, found: &mut Vec<Refusal>) {
        members.retain(|name, value| !(value.is_null() && self.properties.contains_key(name)));
        for name in &self.required {
            if !members.contains_key(name) {
                found.push(Refusal::new(format!("{path}.{name}"), "Required value"));
            }
        }
        for (name, value) in members {
            let path = format!("{path}.{name}");
            match self.properties.get(name) {
                Some(property) => property.check(value, &path, found),
                None => found.push(unknown(&path, self.properties.keys().map(String::as_str), name)),
            }
        }
    }

    fn check_map(&self, members: &mut serde_json::Map<String, Value>, path: &str, found: &mut Vec<Refusal>) {
        members.retain(|_, value| !value.is_null());
        if self.bounds.most_keys.is_some_and(|most| members.len() as u64 > most) {
            let most = self.bounds.most_keys.unwrap_or_default();
            found.push(Refusal::new(path, &format!("Too many: {}: must have at most {most} items", members.len())));
        }
        for key in members.keys() {
            let refused = self.forms.iter().filter(|(_, keys)| *keys).find_map(|(form, _)| form.refuse(key));
            found.extend(refused.map(|reason| Refusal::new(path, &reason)));
        }
        if let Some(inner) = &self.inner {
            members.iter_mut().for_each(|(key, value)| inner.check(value, &format!("{path}.{key}"), found));
        }
    }

    fn check_list(&self, items: &mut [Value], path: &str, found: &mut Vec<Refusal>) {
        if let Some(fewest) = self.bounds.fewest_items.filter(|fewest| (items.len() as u64) < *fewest) {
            let message = format!("Invalid value: {}: should have at least {fewest} items", items.len());
            found.push(Refusal::new(path, &message));
        }
        if self.bounds.most_items.is_some_and(|most| items.len() as u64 > most) {
            let most = self.bounds.most_items.unwrap_or_default();
            found.push(Refusal::new(path, &format!("Too many: {}: must have at most {most} items", items.len())));
        }
        if let Some(keys) = &self.distinct {
            let identity = |item: &Value| match keys.as_slice() {
                [] => item.clone(),
                keys => keys.iter().map(|key| item[key].clone()).collect(),
            };
            for (index, item) in items.iter().enumerate() {
                if items[..index].iter().any(|earlier| identity(earlier) == identity(item)) {
                    found.push(Refusal::new(format!("{path}[{index}]"), &format!("Duplicate value: {item}")));
                }
            }
        }
        if let Some(inner) = &self.inner {
            for (index, item) in items.iter_mut().enumerate() {
                inner.check(item, &format!("{path}[{index}]"), found);
            }
        }
    }

    fn check_text(&self, text: &str, path: &str, found: &mut Vec<Refusal>) {
        let length = text.chars().count() as u64;
        if let Some(shortest) = self.bounds.shortest.filter(|shortest| length < *shortest) {
            found.push(Refusal::new(path, &format!("it should be at least {shortest} chars long")));
        } else if let Some(longest) = self.bounds.longest.filter(|longest| length > *longest) {
            found.push(Refusal::new(path, &format!("Too long: may not be more than {longest} bytes")));
        } else if !self.allowed.is_empty() && !self.allowed.iter().any(|allowed| allowed == text) {
            let supported: Vec<_> = self.allowed.iter().map(|allowed| format!("\"{allowed}\"")).collect();
            let reason = format!("Unsupported value: \"{text}\": supported values: {}", supported.join(", "));
            found.push(Refusal::new(path, &reason));
        } else {
            self.check_form(text, path, found);
        }
    }

    fn check_number(&self, number: &serde_json::Number, path: &str, found: &mut Vec<Refusal>) {
        // Beyond 64 bits it is beyond every bound of ours.
        let value = number.as_i64().unwrap_or(i64::MAX);
        if let Some(minimum) = self.bounds.minimum.filter(|minimum| value < *minimum) {
            found.push(Refusal::new(path, &format!("{value} should be greater than or equal to {minimum}")));
        }
        if let Some(maximum) = self.bounds.maximum.filter(|maximum| value > *maximum) {
            found.push(Refusal::new(path, &format!("{number} should be less than or equal to {maximum}")));
        }
    }

    fn check_form(&self, text: &str, path: &str, found: &mut Vec<Refusal>) {
        let reasons = self.forms.iter().filter(|(_, keys)| !keys).filter_map(|(form, _)| form.refuse(text));
        found.extend(reasons.map(|reason| Refusal::new(path, &reason)));
    }
}

impl Kind {
    fn read(schema: &Value) -> Self {
        if schema["x-kubernetes-int-or-string"] == true {
            return Self::WholeOrText;
        }
        match schema["type"].as_str() {
            Some("array") => Self::List,
            Some("string") => Self::Text,
            Some("integer") => Self::Whole,
            Some("boolean") => Self::Boolean,
            _ if schema["additionalProperties"].is_object() => Self::Map,
            _ => Self::Object,
        }
    }

    /// As the API server names it.
    const fn name(self) -> &'static str {
        match self {
            Self::Object | Self::Map => "object",
            Self::List => "array",
            Self::Text => "string",
            Self::Whole => "integer",
            Self::Boolean => "boolean",
            Self::WholeOrText => "integer,string",
        }
    }
}

impl Bounds {
    fn read(schema: &Value) -> Self {
        // The derive writes bounds as floats.
        #[expect(clippy::cast_possible_truncation, reason = "our bounds are small whole numbers")]
        let whole = |key: &str| schema[key].as_f64().map(|bound| bound as i64);
        let count = |key: &str| schema[key].as_u64();
        Self {
            minimum: whole("minimum"),
            maximum: whole("maximum"),
            shortest: count("minLength"),
            longest: count("maxLength"),
            fewest_items: count("minItems"),
            most_items: count("maxItems"),
            most_keys: count("maxProperties"),
        }
    }
}

fn wrong_type(path: &str, wanted: Kind, value: &Value) -> Refusal {
    let given = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Refusal::new(path, &format!("it must be of type {}: \"{given}\"", wanted.name()))
}

/// A field that does not exist, with the one that was probably meant.
fn unknown<'a>(path: &str, known: impl Iterator<Item = &'a str>, name: &str) -> Refusal {
    let similar = known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    let advice = match similar {
        Some((_, candidate)) => format!("did you mean '{candidate}'?"),
        None => "remove it, or see `kubectl explain goproxy.spec --recursive`".to_owned(),
    };
    Refusal::new(path, &format!("unknown field \"{path}\": {advice}"))
}
