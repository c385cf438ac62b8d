//! What an edge's pods are made of, rendered once and stored as a `ControllerRevision`: another operator finds it and replaces no pod.
//!
//! As with a revision of the proxies, a digest of what was said names it, so that a default or a builder of a newer operator changes
//! nothing. What was said includes the image, which the installation says: another one is how the pods of edges are replaced on
//! purpose. Only one is kept. Going back to what was said before replaces the pods in any case, so it may as well be rendered anew.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    api::go_proxy::GoProxySpec,
    plan::{
        Child, Children, Detail,
        object::{Kind, canonicalise, edge::pod_template, short_hash},
        validate::{ValidEdge, ValidFleet},
    },
};

/// Digits of the digest in its name.
const NAME_DIGITS: usize = 10;

/// What a `ControllerRevision` of an edge holds: its StatefulSet's pods are only ever made from this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredEdge {
    /// The pod template, an apps/v1 `PodTemplateSpec`. The name tells it from a revision of the proxies.
    pub edge_template: Value,
}

/// The record under its name.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeRecord {
    /// Name of its ControllerRevision.
    pub name: String,
    /// Its content.
    pub stored: Arc<StoredEdge>,
}

/// The record that is asked for: the stored one if this was said before and not left since, else a new one.
pub fn wanted(spec: &GoProxySpec, fleet: &ValidFleet, edge: &ValidEdge, children: &Children) -> EdgeRecord {
    let name = fleet.name.edge_record(&short_hash(&inputs(spec, edge).to_string(), NAME_DIGITS));
    let stored = match children.get(&(Kind::ControllerRevision, name.clone())) {
        Some(Child { detail: Detail::EdgeRecord(stored), deleting: false, .. }) => stored.clone(),
        _ => Arc::new(StoredEdge { edge_template: render(fleet, edge) }),
    };
    EdgeRecord { name, stored }
}

/// What was said that reaches the pods. How many they are is the StatefulSet's affair, and for how long lists are trusted they are told.
fn inputs(spec: &GoProxySpec, edge: &ValidEdge) -> Value {
    let mut said = json!(spec.edge);
    if let Value::Object(members) = &mut said {
        members.remove("replicas");
        if let Some(Value::Object(cache)) = members.get_mut("cache") {
            cache.remove("list");
        }
        members.retain(|_, member| member.as_object().is_none_or(|object| !object.is_empty()));
    }
    // They live on until the longest fetch has ended.
    let fetch_timeout = spec.engine.as_ref().and_then(|engine| engine.fetch_timeout);
    let mut inputs = json!({ "edge": said, "fetchTimeout": fetch_timeout, "image": edge.image });
    canonicalise(&mut inputs);
    inputs
}

fn render(fleet: &ValidFleet, edge: &ValidEdge) -> Value {
    let mut template = serde_json::to_value(pod_template(fleet, edge)).expect("a pod template is plain data");
    canonicalise(&mut template);
    template
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{edge, smallest};

    fn name(spec: Value) -> String {
        let spec: GoProxySpec = serde_json::from_value(spec).unwrap();
        wanted(&spec, &smallest(), &edge(), &Children::new()).name
    }

    #[test]
    fn what_reaches_no_pod_and_what_is_said_by_nobody_is_no_input() {
        let plain = name(json!({ "edge": {} }));
        assert_eq!(plain, "corp-edge-t9062a88e92", "a new name would replace the pods of every smallest edge");
        for same in [
            json!({ "edge": { "replicas": 3 } }),
            json!({ "edge": { "cache": { "list": { "minTTL": "1s", "maxTTL": "1h" } } } }),
            json!({ "edge": { "cache": {}, "resources": {}, "pod": {} } }),
            json!({ "edge": {}, "replicas": 2, "engine": { "logLevel": "Debug" }, "private": { "modules": ["a.example.com"] } }),
        ] {
            assert_eq!(name(same.clone()), plain, "{same}");
        }
        for other in [
            json!({ "edge": { "cache": { "size": "20Gi" } } }),
            json!({ "edge": { "cache": { "volume": {} } } }),
            json!({ "edge": { "resources": { "limits": { "memory": "2Gi" } } } }),
            json!({ "edge": { "pod": { "nodeSelector": { "disk": "fast" } } } }),
            json!({ "edge": {}, "engine": { "fetchTimeout": "20m" } }),
        ] {
            assert_ne!(name(other.clone()), plain, "{other}");
        }
    }

    #[test]
    fn another_image_is_another_record() {
        let named = |image: &str| {
            let edge = ValidEdge { image: image.to_owned(), ..edge() };
            wanted(&GoProxySpec::default(), &smallest(), &edge, &Children::new()).name
        };
        assert_ne!(named("registry.example.com/goproxy-edge:v1"), named("registry.example.com/goproxy-edge:v2"));
    }
}
