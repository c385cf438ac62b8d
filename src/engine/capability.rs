//! What an engine cannot do, by the field that asks for it: the CRD refuses such a fleet when it is applied, and `validate`
//! refuses it again, both from this table. Athens can do all that there is a field for.

use serde_json::Value;

use crate::api::go_proxy::EngineKind;

/// A wish that a spec can hold. Paths are below `spec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The field is there.
    Given(&'static str),
    /// The list or map is there and not empty.
    Filled(&'static str),
    /// The field is there and says this.
    Says(&'static str, &'static str),
}

impl Wish {
    /// The field.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Given(field) | Self::Filled(field) | Self::Says(field, _) => field,
        }
    }

    /// Whether a spec holds it.
    pub fn is_in(self, spec: &Value) -> bool {
        let found = self.field().split('.').try_fold(spec, |value, member| value.get(member));
        match (self, found) {
            (_, None | Some(Value::Null)) => false,
            (Self::Given(_), Some(_)) => true,
            (Self::Filled(_), Some(value)) => {
                value.as_array().is_some_and(|list| !list.is_empty())
                    || value.as_object().is_some_and(|map| !map.is_empty())
            }
            (Self::Says(_, word), Some(value)) => value.as_str() == Some(word),
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Lack {
    /// The engine.
    pub kind: EngineKind,
    /// The wish that it cannot fulfil, or the one that it cannot be without.
    pub wish: Wish,
    /// Whether it cannot be without it.
    pub needed: bool,
    /// Why, and what to do.
    pub reason: &'static str,
}

impl Lack {
    /// Whether a spec of this engine is refused for it.
    pub fn refuses(&self, spec: &Value) -> bool {
        self.wish.is_in(spec) != self.needed
    }
}

const KEYS_IN_ARGUMENTS: &str = "goproxy takes the keys of a bucket from its command line only, where everybody on the node can read them: use disk, or the engine Athens";
const NO_BACK_END: &str = "goproxy has no such back-end: use disk, or the engine Athens";

const fn goproxy_lacks(wish: Wish, reason: &'static str) -> Lack {
    Lack { kind: EngineKind::Goproxy, wish, needed: false, reason }
}

/// What each engine lacks.
pub const TABLE: [Lack; 14] = [
    goproxy_lacks(
        Wish::Given("engine.fetchWorkers"),
        "goproxy has no workers, it fetches within each request: remove it, or use the engine Athens",
    ),
    goproxy_lacks(
        Wish::Given("engine.logLevel"),
        "goproxy logs failures alone and knows no levels: remove it, or use the engine Athens",
    ),
    goproxy_lacks(
        Wish::Filled("engine.goEnv"),
        "goproxy runs no go command here that could be told this: remove it, or use the engine Athens",
    ),
    goproxy_lacks(
        Wish::Given("storage.memory"),
        "goproxy keeps modules in files alone: use disk, or the engine Athens",
    ),
    goproxy_lacks(Wish::Given("storage.s3"), KEYS_IN_ARGUMENTS),
    goproxy_lacks(Wish::Given("storage.minio"), KEYS_IN_ARGUMENTS),
    goproxy_lacks(Wish::Given("storage.gcs"), NO_BACK_END),
    goproxy_lacks(Wish::Given("storage.azureBlob"), NO_BACK_END),
    goproxy_lacks(Wish::Given("storage.mongo"), NO_BACK_END),
    goproxy_lacks(Wish::Given("storage.external"), NO_BACK_END),
    goproxy_lacks(
        Wish::Given("lock"),
        "goproxy has no lock between proxies, and needs none on a disk that they share, because it puts each file in place as a whole: remove lock",
    ),
    goproxy_lacks(
        Wish::Says("upstream.direct", "Enabled"),
        "goproxy keeps all that it fetched from version control in a cache that nothing empties: use Disabled, which is its default, or the engine Athens",
    ),
    goproxy_lacks(
        Wish::Given("private"),
        "goproxy fetches nothing from version control here, and would pass questions for checksums of private modules on: remove private, or use the engine Athens",
    ),
    Lack {
        kind: EngineKind::Goproxy,
        wish: Wish::Filled("upstream.proxies"),
        needed: true,
        reason: "goproxy asks module proxies alone: name at least one, or use the engine Athens",
    },
];

/// Why a spec asks too much of its engine, with the fields.
pub fn lacks(kind: EngineKind, spec: &Value) -> impl Iterator<Item = &'static Lack> {
    TABLE.iter().filter(move |lack| lack.kind == kind && lack.refuses(spec))
}

/// Whether a field, or all that is below it, means nothing to an engine. `field` begins with `spec.`.
pub fn means_nothing(kind: EngineKind, field: &str) -> bool {
    TABLE.iter().any(|lack| {
        let below = field.strip_prefix("spec.").and_then(|field| field.strip_prefix(lack.wish.field()));
        lack.kind == kind
            && !lack.needed
            && !matches!(lack.wish, Wish::Says(..))
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::crd;

    #[test]
    fn every_row_speaks_of_a_field_that_exists() {
        let schema = crd::schema();
        for lack in &TABLE {
            let path = lack.wish.field().replace('.', "/properties/");
            let field = schema.pointer(&format!("/properties/spec/properties/{path}"));
            assert!(field.is_some(), "{} is no field", lack.wish.field());
            // The text stands in single quotes in CEL, and on one line of a terminal.
            assert!(!lack.reason.contains(['"', '\\', '\n', '\'']), "{}", lack.reason);
        }
    }

    #[test]
    fn every_kind_of_storage_is_had_or_refused_by_goproxy() {
        let schema = crd::schema();
        let places = schema.pointer("/properties/spec/properties/storage/properties").unwrap().as_object().unwrap();
        let lacking: Vec<_> = places
            .keys()
            .filter(|place| !TABLE.iter().any(|lack| lack.wish.field() == format!("storage.{place}")))
            .collect();
        assert_eq!(lacking, ["disk", "whenDeleted"], "what is not refused must work");
    }

    #[test]
    fn a_wish_is_found_where_it_is_said() {
        let spec = json!({ "engine": { "goEnv": {}, "logLevel": "Debug" }, "upstream": { "direct": "Disabled", "proxies": [1] } });
        for (wish, held) in [
            (Wish::Given("engine.logLevel"), true),
            (Wish::Given("engine.fetchWorkers"), false),
            (Wish::Given("engine.goEnv"), true),
            (Wish::Filled("engine.goEnv"), false),
            (Wish::Filled("upstream.proxies"), true),
            (Wish::Says("upstream.direct", "Enabled"), false),
            (Wish::Says("upstream.direct", "Disabled"), true),
            (Wish::Given("lock"), false),
        ] {
            assert_eq!(wish.is_in(&spec), held, "{wish:?}");
        }
    }

    #[test]
    fn what_means_nothing_is_known_by_its_path() {
        for (field, nothing) in [
            ("spec.engine.goEnv.GOTOOLCHAIN", true),
            ("spec.engine.fetchWorkers", true),
            ("spec.engine.fetchTimeout", false),
            ("spec.lock", true),
            ("spec.locker", false),
            ("spec.upstream.direct", false),
            ("spec.upstream.proxies", false),
        ] {
            assert_eq!(means_nothing(EngineKind::Goproxy, field), nothing, "{field}");
            assert!(!means_nothing(EngineKind::Athens, field), "{field}");
        }
    }
}
