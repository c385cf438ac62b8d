//! The CustomResourceDefinition as it is committed under `crds/` and installed: generated from the types, then tidied
//! where the derive says more than the API server should store.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use super::go_proxy::GoProxy;

/// Everything that is installed as a CRD.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![tidy(&GoProxy::crd())]
}

/// The schema of a `GoProxy` as it is installed.
pub fn schema() -> Value {
    let crd = serde_json::to_value(tidy(&GoProxy::crd())).expect("a CRD is plain data");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// One CRD as the text of a file under `crds/`.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let text = serde_saphyr::to_string(crd)?;
    Ok(format!("# Generated from the types in src/api by `goproxy-operator crd`. Do not edit.\n{text}"))
}

/// Removes `nullable`: a stored null would count as set in every CEL rule and block defaults.
fn tidy(crd: &CustomResourceDefinition) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(crd).expect("a CRD is plain data");
    strip(&mut value, "nullable");
    serde_json::from_value(value).expect("only optional members were removed")
}

fn strip(value: &mut Value, key: &str) {
    match value {
        Value::Object(members) => {
            // A field of the API may have this name too: only the schema's own boolean goes.
            if members.get(key).is_some_and(Value::is_boolean) {
                members.remove(key);
            }
            members.values_mut().for_each(|member| strip(member, key));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, key)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
