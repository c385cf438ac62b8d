//! Parts of an object that the user gave in the API's own types, in the form in which the API server will store them.
//!
//! They go into lists that the server treats as one value: if it stored but one member of them otherwise than we send it,
//! every comparison would find a difference, for ever.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::canonicalise;
use crate::api::quantity::Quantity;

/// Members that hold labels: there an empty value means something.
const LABELS: &str = "matchLabels";
/// Member of a metric that holds quantities. Elsewhere the same names hold plain text, as the value of a toleration does.
const TARGET: &str = "target";

/// The same, as the server stores it: nothing that is empty, quantities in their canonical form.
pub fn stored_form<T: Serialize + DeserializeOwned>(given: &T) -> T {
    let mut value = serde_json::to_value(given).expect("API objects are plain data with string keys");
    canonicalise(&mut value);
    tidy(&mut value);
    serde_json::from_value(value).expect("only optional members were removed")
}

fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, member| match member {
                Value::String(text) => !text.is_empty(),
                Value::Object(labels) => name != LABELS || !labels.is_empty(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => true,
            });
            for (name, member) in members.iter_mut().filter(|(name, _)| *name != LABELS) {
                if name == TARGET {
                    canonical_quantities(member);
                }
                tidy(member);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn canonical_quantities(target: &mut Value) {
    for name in ["averageValue", "value"] {
        let Some(member) = target.get_mut(name) else { continue };
        // What is no quantity stays: the server refuses it with a better message.
        if let Some(quantity) = member.as_str().and_then(|text| text.parse::<Quantity>().ok()) {
            *member = Value::String(quantity.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{
        autoscaling::v2::MetricSpec,
        core::v1::{Affinity, Toleration},
    };
    use serde_json::{from_value, json, to_value};

    use super::*;

    fn after<T: Serialize + DeserializeOwned>(given: Value) -> Value {
        let mut value = to_value(stored_form(&from_value::<T>(given).unwrap())).unwrap();
        canonicalise(&mut value);
        value
    }

    #[test]
    fn drops_what_the_server_drops() {
        let toleration = json!({ "key": "pool", "operator": "Equal", "value": "1000", "effect": "" });
        assert_eq!(after::<Toleration>(toleration), json!({ "key": "pool", "operator": "Equal", "value": "1000" }));
        let affinity = json!({ "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname",
            "namespaces": [],
            "labelSelector": { "matchLabels": {} },
        }] } });
        let stored = json!({ "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {},
        }] } });
        assert_eq!(after::<Affinity>(affinity), stored);
    }

    #[test]
    fn keeps_empty_label_values() {
        let affinity = json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": { "matchLabels": { "example.com/canary": "" } },
        }] } });
        assert_eq!(after::<Affinity>(affinity.clone()), affinity);
    }

    #[test]
    fn writes_quantities_of_metrics_as_the_server_does() {
        let metric = |amount: &str| {
            json!({ "type": "Pods", "pods": {
                "metric": { "name": "requests" },
                "target": { "type": "AverageValue", "averageValue": amount },
            } })
        };
        assert_eq!(after::<MetricSpec>(metric("1000m")), metric("1"));
        assert_eq!(after::<MetricSpec>(metric("many")), metric("many"));
    }
}
