//! The CustomResourceDefinition as it is committed under `crds/` and installed: generated from the types, then tidied
//! where the derive says more than the API server should store.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResourceExt, core::Rule};
use serde_json::Value;

use super::{
    edge_state::EdgeState,
    go_proxy::{GoProxy, engine_rules},
};

/// Everything that is installed as a CRD.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![tidy(&GoProxy::crd(), &engine_rules()), tidy(&EdgeState::crd(), &[])]
}

/// The schema of a `GoProxy` as it is installed.
pub fn schema() -> Value {
    let crd = serde_json::to_value(&all()[0]).expect("a CRD is plain data");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// One CRD as the text of a file under `crds/`.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let text = serde_saphyr::to_string(crd)?;
    Ok(format!("# Generated from the types in src/api by `goproxy-operator crd`. Do not edit.\n{text}"))
}

/// Where a CRD is kept.
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

/// Adds rules that are made from tables. Removes `nullable`: a stored null would count as set in every CEL rule and block
/// defaults. And joins the lines of descriptions, which are broken to fit the source, not the terminal of who reads
/// `kubectl explain`.
fn tidy(crd: &CustomResourceDefinition, rules: &[Rule]) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(crd).expect("a CRD is plain data");
    tidy_value(&mut value);
    add_rules(&mut value, rules);
    serde_json::from_value(value).expect("only optional members were removed")
}

/// The derive takes rules one by one; these come from tables.
fn add_rules(crd: &mut Value, rules: &[Rule]) {
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    if let Some(present) = spec["x-kubernetes-validations"].as_array_mut() {
        present.extend(rules.iter().map(|rule| serde_json::to_value(rule).expect("a rule is plain data")));
    }
}

fn tidy_value(value: &mut Value) {
    match value {
        Value::Object(members) => {
            // A field of the API may have such a name too: only the schema's own boolean and text are meant.
            if members.get("nullable").is_some_and(Value::is_boolean) {
                members.remove("nullable");
            }
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text =
                    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
            }
            members.values_mut().for_each(tidy_value);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy_value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::{
        api::{
            go_proxy::GoProxySpec,
            status::{DefaultSource, GoProxyStatus},
        },
        plan::validate::{Settings, validate},
    };

    /// One property of the schema and where it is.
    struct Field {
        path: String,
        schema: Value,
    }

    impl Field {
        fn description(&self) -> &str {
            self.schema["description"].as_str().unwrap_or_default()
        }

        /// Whether its text is ours: types of Kubernetes bring their own.
        fn is_ours(&self) -> bool {
            ![
                "spec.engine.pod.tolerations[].",
                "spec.engine.pod.affinity.",
                "spec.edge.pod.tolerations[].",
                "spec.edge.pod.affinity.",
                "spec.autoscaling.metrics[].",
                "status.conditions[].",
            ]
            .iter()
            .any(|foreign| self.path.starts_with(foreign))
        }
    }

    /// Every property, at any depth.
    fn fields() -> Vec<Field> {
        let mut found = Vec::new();
        let schema = schema();
        for name in ["spec", "status"] {
            let schema = &schema["properties"][name];
            found.push(Field { path: name.to_owned(), schema: schema.clone() });
            collect(schema, name, &mut found);
        }
        assert!(found.len() > 250, "{} fields", found.len());
        found
    }

    fn collect(schema: &Value, path: &str, found: &mut Vec<Field>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            collect(property, &path, found);
            found.push(Field { path, schema: property.clone() });
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                collect(&schema[inner], &format!("{path}[]"), found);
            }
        }
    }

    /// Every schema: properties, items and values of maps.
    fn schemas(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
        visit(path, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            schemas(property, &format!("{path}.{name}"), visit);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                schemas(&schema[inner], &format!("{path}[]"), visit);
            }
        }
    }

    #[test]
    fn the_committed_files_are_what_the_types_say() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        let mut expected = Vec::new();
        for crd in all() {
            let path = directory.join(file_name(&crd));
            let committed = std::fs::read_to_string(&path).unwrap();
            assert!(
                committed == to_yaml(&crd).unwrap(),
                "{} is old: write it again with `goproxy-operator crd`",
                path.display()
            );
            expected.push(path);
        }
        let mut present: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        present.sort();
        expected.sort();
        assert_eq!(present, expected);
    }

    #[test]
    fn every_field_is_described() {
        for field in fields() {
            assert!(field.description().len() > 10, "{} is not described", field.path);
        }
    }

    #[test]
    fn every_field_of_a_spec_says_its_default_unit_and_words() {
        for field in fields().iter().filter(|field| field.path.starts_with("spec.") && field.is_ours()) {
            let (path, text) = (&field.path, field.description());
            assert!(text.contains("Default: ") || text.contains("Required"), "{path} says no default: {text}");
            let is_amount = field.schema["x-kubernetes-int-or-string"] == true
                || field.schema["type"] == "integer"
                || path.ends_with("Timeout")
                || path.ends_with("Delay");
            assert!(!is_amount || text.contains("Unit: "), "{path} says no unit: {text}");
            for word in field.schema["enum"].as_array().into_iter().flatten() {
                assert!(text.contains(word.as_str().unwrap()), "{path} does not tell of {word}");
            }
            assert!(
                effect(text).split_whitespace().count() > 5,
                "{path} is named, but does not say what it does: {text}"
            );
        }
    }

    /// A text without unit and default: what it says of what a field does. A default may be explained after its value.
    fn effect(text: &str) -> String {
        let sentences = text.split_inclusive(". ").map(str::trim_end);
        let told = sentences.map(|sentence| match sentence.strip_prefix("Default: ") {
            Some(default) => default.split_once([',', ';']).map_or("", |(_, why)| why),
            None if sentence.starts_with("Unit: ") || sentence == "Required." => "",
            None => sentence,
        });
        told.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_name_with_its_default_says_nothing_of_an_effect() {
        for text in
            ["Database. Default: athens.", "Fewest pods. Unit: pods. Default: 1.", "Key within the object. Required."]
        {
            assert!(effect(text).split_whitespace().count() < 5, "{text}");
        }
        assert_eq!(effect("Port. Unit: port number. Default: 22, as ssh has it."), "Port.   as ssh has it.");
    }

    #[test]
    fn the_defaults_told_are_the_defaults_used() {
        let settings = Settings {
            engine_image_repository: "registry.example.com/athens".to_owned(),
            goproxy_image_repository: Some("registry.example.com/goproxy".to_owned()),
            redis_image: "r/redis:7.2.11".to_owned(),
            edge_image: Some("registry.example.com/goproxy-edge:v1".to_owned()),
            sidecar_image: Some("registry.example.com/goproxy-operator:v1".to_owned()),
            cluster_domain: "cluster.local".to_owned(),
        };
        let spec: GoProxySpec =
            serde_json::from_value(json!({ "autoscaling": { "maxReplicas": 1 }, "edge": {} })).unwrap();
        let fleet = validate(&GoProxy::new("corp", spec), &settings, None).unwrap();
        let fields = fields();
        let constant = fleet.defaults.iter().filter(|default| default.source == DefaultSource::Default);
        for default in constant.clone().filter(|default| default.field != "spec.engine.version") {
            let told = fields.iter().filter(|field| default.field.starts_with(&field.path)).any(|field| {
                let text = field.description().to_lowercase();
                text.split_once("default: ").is_some_and(|(_, after)| after.contains(&default.value.to_lowercase()))
            });
            assert!(told, "no description says that {} is {}", default.field, default.value);
        }
        assert!(constant.count() >= 24);
    }

    #[test]
    fn the_schema_is_structural() {
        schemas(&schema()["properties"]["spec"], "spec", &mut |path, schema| {
            let is_amount = schema["x-kubernetes-int-or-string"] == true;
            assert!(schema["type"].is_string() || is_amount, "{path} has no type");
            for keyword in ["oneOf", "allOf", "not", "$ref", "nullable", "x-kubernetes-preserve-unknown-fields"] {
                assert!(schema.get(keyword).is_none(), "{path} uses {keyword}");
            }
            assert!(schema.get("anyOf").is_none() || is_amount, "{path} uses anyOf");
        });
    }

    #[test]
    fn what_edges_are_told_has_a_schema_that_api_servers_take() {
        let crd = serde_json::to_value(&all()[1]).unwrap();
        let version = &crd["spec"]["versions"][0];
        assert_eq!(version["subresources"]["status"], json!({}));
        for part in ["spec", "status"] {
            schemas(&version["schema"]["openAPIV3Schema"]["properties"][part], part, &mut |path, schema| {
                assert!(schema["type"].is_string(), "{path} has no type");
                assert!(
                    schema["description"].as_str().is_some_and(|text| text.len() > 8) || path.ends_with("[]"),
                    "{path}"
                );
                // Others are taken with a warning at every apply.
                assert!(matches!(schema["format"].as_str(), None | Some("int32" | "int64")), "{path}");
                for keyword in ["oneOf", "anyOf", "allOf", "not", "$ref", "nullable"] {
                    assert!(schema.get(keyword).is_none(), "{path} uses {keyword}");
                }
            });
        }
        let edges = &version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["edges"];
        assert!(edges["x-kubernetes-map-type"].is_null(), "each edge owns its own entry");
    }

    #[test]
    fn whatever_a_rule_may_walk_through_is_bounded() {
        let schema = schema();
        schemas(&schema["properties"]["spec"], "spec", &mut |path, schema| {
            if !(Field { path: path.to_owned(), schema: Value::Null }).is_ours() {
                return;
            }
            match schema["type"].as_str() {
                Some("string") => {
                    assert!(schema["maxLength"].is_u64() || schema["enum"].is_array(), "{path} has no maxLength");
                }
                Some("array") => assert!(schema["maxItems"].is_u64(), "{path} has no maxItems"),
                Some("integer") => {
                    assert!(schema["maximum"].is_number() && schema["minimum"].is_number(), "{path} has no bounds");
                }
                _ if schema["additionalProperties"].is_object() => {
                    assert!(schema["maxProperties"].is_u64(), "{path} has no maxProperties");
                }
                _ => {}
            }
        });
    }

    #[test]
    fn every_list_says_how_it_merges() {
        for field in fields().iter().filter(|field| field.is_ours() && field.schema["type"] == "array") {
            let items = &field.schema["items"];
            match field.schema["x-kubernetes-list-type"].as_str() {
                Some("atomic") => {}
                Some("set") => assert_eq!(items["type"], "string", "{}", field.path),
                Some("map") => {
                    for key in field.schema["x-kubernetes-list-map-keys"].as_array().unwrap() {
                        assert!(
                            items["required"].as_array().unwrap().contains(key),
                            "{}: {key} is optional",
                            field.path
                        );
                    }
                }
                other => panic!("{} is a list of type {other:?}", field.path),
            }
        }
    }

    #[test]
    fn what_is_installed_is_what_the_docs_name() {
        let crd = serde_json::to_value(&all()[0]).unwrap();
        assert_eq!(crd["spec"]["names"]["shortNames"], json!(["gp"]));
        assert_eq!(crd["spec"]["names"]["categories"], json!(["goproxy"]));
        let version = &crd["spec"]["versions"][0];
        let columns: Vec<_> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| column["name"].clone())
            .collect();
        assert_eq!(columns, ["Ready", "Version", "Replicas", "Status", "Age"]);
        assert_eq!(version["subresources"]["scale"]["specReplicasPath"], ".spec.replicas");
        assert_eq!(version["subresources"]["status"], json!({}));
    }

    #[test]
    fn what_is_absent_is_not_written_as_null() {
        let mut fleet = GoProxy::new("corp", serde_json::from_value(json!({})).unwrap());
        assert_eq!(serde_json::to_value(&fleet.spec).unwrap(), json!({ "replicas": 1 }));
        assert_eq!(fleet.spec, GoProxySpec::default());
        fleet.status = Some(GoProxyStatus::default());
        let full = json!({
            "engine": { "serviceAccount": {}, "resources": { "requests": {}, "limits": {} }, "pod": {} },
            "service": {}, "autoscaling": { "maxReplicas": 1 }, "storage": { "disk": {} }, "private": {}, "rollout": {},
            "edge": { "cache": { "volume": {}, "list": {} }, "resources": {}, "pod": {} },
            "upstream": { "proxies": [{ "name": "a", "url": "b" }], "checksumDatabase": {}, "caBundle": { "configMapKeyRef": { "name": "a", "key": "b" } } },
        });
        let blocks: GoProxySpec = serde_json::from_value(full).unwrap();
        for text in [serde_json::to_string(&fleet).unwrap(), serde_json::to_string(&blocks).unwrap()] {
            assert!(!text.contains("null"), "{text}");
        }
    }
}
