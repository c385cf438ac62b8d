//! `goproxy-operator render`: what would be applied for a GoProxy, from the same plan that the operator follows, without
//! a cluster.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    api::{GROUP, go_proxy::GoProxy},
    observe::as_if_applied,
    plan::{
        Children, Observed,
        object::Object,
        plan,
        report::Verdict,
        validate::{Refusal, Settings},
    },
};

/// Uid of a fleet that exists in no cluster.
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";
/// Plans take one step at a time; a first start takes fewer than this.
const STEPS_MOST: usize = 8;

/// Why nothing is printed.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// It is no YAML.
    #[error("{file}: not readable as YAML: {message}")]
    Yaml {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// It holds nothing of ours.
    #[error("{file}: holds no object of kind GoProxy, apiVersion {GROUP}/v1alpha1")]
    Empty {
        /// The file.
        file: String,
    },
    /// It has fields that do not exist.
    #[error("{name}: unknown field {field}: remove it or correct its spelling; `kubectl explain goproxy` lists all")]
    UnknownField {
        /// The object.
        name: String,
        /// The field's path.
        field: String,
    },
    /// A value has the wrong form.
    #[error("{name}: {message}")]
    Form {
        /// The object.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Its values do not fit each other.
    #[error("{name}: {}", .refusals.iter().map(|one| one.message.as_str()).collect::<Vec<_>>().join("\n"))]
    Refused {
        /// The object.
        name: String,
        /// All that is wrong.
        refusals: Vec<Refusal>,
    },
    /// The plan does not come to rest.
    #[error("{name}: the plan does not come to rest; this is a bug, please report it with the file")]
    Restless {
        /// The object.
        name: String,
    },
}

/// Prints the objects for every GoProxy of a file. What is wrong goes to standard error, with exit code 1.
pub fn command(file: &Path, settings: Settings) -> anyhow::Result<ExitCode> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        text
    } else {
        fs::read_to_string(file).map_err(|error| anyhow::anyhow!("cannot read {}: {error}", file.display()))?
    };
    match render(&file.display().to_string(), &text, &Arc::new(settings), Timestamp::now()) {
        Ok(objects) => {
            let mut out = io::stdout().lock();
            for object in objects {
                write!(out, "---\n{}", serde_saphyr::to_string(&object.body)?)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            writeln!(io::stderr(), "error: {error}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Every object that the operator would apply for the GoProxy objects of a text.
pub fn render(file: &str, text: &str, settings: &Arc<Settings>, now: Timestamp) -> Result<Vec<Object>, RenderError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| RenderError::Yaml { file: file.to_owned(), message: error.to_string() })?;
    let ours = |document: &&Value| {
        let member = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
        member("kind") == "GoProxy" && member("apiVersion").split('/').next() == Some(GROUP)
    };
    let fleets: Vec<&Value> = documents.iter().filter(ours).collect();
    if fleets.is_empty() {
        return Err(RenderError::Empty { file: file.to_owned() });
    }
    let objects = fleets.into_iter().map(|document| of_fleet(parse(document)?, settings, now));
    Ok(objects.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// The fleet as the API server would store it.
fn parse(document: &Value) -> Result<GoProxy, RenderError> {
    let name =
        document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("GoProxy without a name").to_owned();
    let mut fleet: GoProxy = strict(document, &name)?;
    fleet.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    fleet.metadata.uid.get_or_insert_with(|| NO_UID.to_owned());
    fleet.metadata.generation.get_or_insert(1);
    fleet.status = None;
    Ok(fleet)
}

fn strict<T: DeserializeOwned>(document: &Value, name: &str) -> Result<T, RenderError> {
    let mut unknown = None;
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(document, &mut track);
    let parsed = serde_ignored::deserialize(tracked, |path| {
        // The library marks optional members by a question mark in between.
        let field = path.to_string().replace(".?", "");
        // These two say what the rest is; the type itself has no place for them.
        if !matches!(field.as_str(), "apiVersion" | "kind") {
            unknown.get_or_insert(field);
        }
    });
    let parsed = parsed
        .map_err(|error| RenderError::Form { name: name.to_owned(), message: format!("{}: {error}", track.path()) })?;
    match unknown {
        Some(field) => Err(RenderError::UnknownField { name: name.to_owned(), field }),
        None => Ok(parsed),
    }
}

/// Plans step by step, taking each step as done, until nothing is left to do.
fn of_fleet(fleet: GoProxy, settings: &Arc<Settings>, now: Timestamp) -> Result<Vec<Object>, RenderError> {
    let name = fleet.metadata.name.clone().unwrap_or_default();
    let fleet = Arc::new(fleet);
    let mut children = Children::new();
    for _ in 0..STEPS_MOST {
        let observed = Observed { children: children.clone(), ..Observed::alone(fleet.clone(), now, settings.clone()) };
        let planned = plan(&observed);
        if let Verdict::Refused(refusals) = planned.report.verdict {
            return Err(RenderError::Refused { name, refusals });
        }
        let objects: Vec<Object> = planned.targets.into_iter().flat_map(|target| target.objects).collect();
        let next = as_if_applied(&objects, NO_UID);
        if next == children {
            return Ok(objects);
        }
        children = next;
    }
    Err(RenderError::Restless { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str =
        "apiVersion: goproxy.rs/v1alpha1\nkind: GoProxy\nmetadata: {name: corp, namespace: build}\nspec: {}\n";

    fn printed(text: &str) -> Result<Vec<Object>, RenderError> {
        let settings = Settings {
            engine_image_repository: "r/athens".to_owned(),
            goproxy_image_repository: Some("r/goproxy".to_owned()),
            redis_image: "r/redis:7.2.11".to_owned(),
            edge_image: Some("registry.example.com/goproxy-edge:v1".to_owned()),
            sidecar_image: None,
            cluster_domain: "cluster.local".to_owned(),
        };
        render("test.yaml", text, &Arc::new(settings), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn prints_every_object_of_the_smallest_fleet() {
        let objects = printed(SMALLEST).unwrap();
        let kinds: Vec<_> = objects.iter().map(|object| object.kind.as_str()).collect();
        for kind in ["ControllerRevision", "ConfigMap", "PersistentVolumeClaim", "Deployment", "Service"] {
            assert!(kinds.contains(&kind), "{kind} is not among {kinds:?}");
        }
        assert!(objects.iter().all(|object| object.body["metadata"]["namespace"] == "build"));
    }

    /// Names made before there was a second engine. A fleet whose revision gets another name is restarted by an operator upgrade.
    #[test]
    fn fleets_that_exist_keep_their_revisions() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        for (file, revision) in [
            ("autoscaled", "autoscaled-daa00c5fe2"),
            ("corporate", "corp-af7d1e98cc"),
            ("minimal", "goproxy-097c242dfc"),
            ("mirror-only", "mirror-only-e5eb2b8f01"),
            ("shared-bucket", "shared-5be9a857ca"),
            ("trial", "trial-7670c62578"),
        ] {
            let text = fs::read_to_string(examples.join(format!("{file}.yaml"))).unwrap();
            let objects = printed(&text).unwrap();
            let stored = objects.iter().find(|object| object.kind.as_str() == "ControllerRevision").unwrap();
            assert_eq!(stored.name, revision, "{file}");
        }
    }

    #[test]
    fn prints_several_fleets_and_skips_what_is_no_fleet() {
        let text = format!("{SMALLEST}---\nkind: Namespace\n---\n{}", SMALLEST.replace("corp", "other"));
        let objects = printed(&text).unwrap();
        assert_eq!(objects.iter().filter(|object| object.kind.as_str() == "Service").count(), 2);
    }

    #[test]
    fn refuses_with_a_text_that_names_the_field() {
        for (spec, part) in [("{engine: {versoin: v0.18.1}}", "spec.engine.versoin"), ("{replicas: many}", "replicas")]
        {
            let error = printed(&SMALLEST.replace("spec: {}", &format!("spec: {spec}"))).unwrap_err().to_string();
            assert!(error.starts_with("corp: ") && error.contains(part), "{spec}: {error}");
        }
        // `y` without quotes is a boolean for kubectl as well: what it refuses is refused here.
        let unquoted = printed(&SMALLEST.replace("spec: {}", "spec: {engine: {pod: {labels: {team: y}}}}"));
        assert!(unquoted.unwrap_err().to_string().contains("boolean"));
        assert!(printed(&SMALLEST.replace("spec: {}", "spec: {engine: {pod: {labels: {team: \"y\"}}}}")).is_ok());
        assert!(printed("kind: Namespace").unwrap_err().to_string().contains("no object of kind GoProxy"));
        assert!(printed("a: b: c").unwrap_err().to_string().contains("not readable as YAML"));
    }
}
