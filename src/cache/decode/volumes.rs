//! What is kept of a volume's claim, and of a StatefulSet.

use serde_json::Value;

use super::{Seen, text};
use crate::plan::{
    StatefulSetView,
    object::lock::LOGIN_ANNOTATION,
    volume::{ClaimView, Growth},
};

impl Seen {
    pub(super) fn stateful_set(&self) -> StatefulSetView {
        let number = |path: &str| self.rest.pointer(path).and_then(Value::as_i64);
        let count = |path: &str| number(path).and_then(|count| i32::try_from(count).ok());
        StatefulSetView {
            login: self.annotation(LOGIN_ANNOTATION).map(str::to_owned),
            observed: number("/status/observedGeneration") >= number("/metadata/generation"),
            replicas: count("/spec/replicas").unwrap_or(1),
            ready: count("/status/readyReplicas").unwrap_or_default(),
        }
    }

    pub(super) fn claim(&self) -> ClaimView {
        let amount = |path: &str| text(&self.rest, path).and_then(|amount| amount.parse().ok());
        let failed =
            ["ControllerResizeError", "NodeResizeError"].iter().find_map(|type_| self.condition(type_, "True"));
        let growth = failed.map(Growth::Failed).or_else(|| {
            let steps = [("FileSystemResizePending", Growth::FileSystem), ("Resizing", Growth::Volume)];
            steps.into_iter().find_map(|(type_, growth)| self.condition(type_, "True").map(|_| growth))
        });
        ClaimView {
            phase: text(&self.rest, "/status/phase"),
            asked: amount("/spec/resources/requests/storage"),
            capacity: amount("/status/capacity/storage"),
            growth,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(conditions: &Value) -> ClaimView {
        let claim = json!({
            "metadata": { "name": "corp-data", "managedFields": [{ "manager": "goproxy-operator", "operation": "Apply", "fieldsV1": {} }] },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "50Gi" } } },
            "status": { "phase": "Bound", "capacity": { "storage": "20Gi" }, "conditions": conditions },
        });
        serde_json::from_str::<Seen>(&claim.to_string()).unwrap().claim()
    }

    #[test]
    fn a_claim_tells_its_sizes_and_how_it_grows() {
        let condition = |type_: &str| json!({ "type": type_, "status": "True", "message": "why" });
        let size = |text: &str| text.parse().ok();
        let quiet = claim(&json!([]));
        assert_eq!((quiet.asked, quiet.capacity, quiet.growth), (size("50Gi"), size("20Gi"), None));
        for (types, growth) in [
            (vec!["Resizing"], Growth::Volume),
            (vec!["Resizing", "FileSystemResizePending"], Growth::FileSystem),
            (vec!["Resizing", "ControllerResizeError"], Growth::Failed("why".to_owned())),
            (vec!["FileSystemResizePending", "NodeResizeError"], Growth::Failed("why".to_owned())),
        ] {
            let conditions = json!(types.iter().map(|type_| condition(type_)).collect::<Vec<_>>());
            assert_eq!(claim(&conditions).growth, Some(growth), "{types:?}");
        }
    }
}
