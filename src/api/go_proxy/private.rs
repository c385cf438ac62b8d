//! The private part of a `GoProxy`: which modules are one's own.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::rule;

/// Your own modules.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Private {
    /// Patterns of module paths, as in GOPRIVATE (`git.example.com/*`): a pattern matches a path and all below it. Default: none.
    /// What matches is fetched from version control directly, is never asked for at a proxy and never looked up in the checksum database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "patterns_schema")]
    pub modules: Vec<String>,
}

fn patterns_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 100,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "x-kubernetes-validations": [rule::MODULE_PATTERN.rule(), rule::MODULE_WILDCARD.rule()],
        },
    })
}
