//! What there is of a fleet, in a form that two runs can be compared by.

use std::collections::BTreeMap;

use anyhow::Result;
use goproxy_operator::cache::projection::project;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{
    super::{
        Stage,
        convergence::{KINDS, children},
    },
    rest::MARKER,
    scenario::FLEET,
};
use crate::scripted::digest::{difference, mask};

/// What is compared, those first that change last.
const PARTS: usize = KINDS.len() + 2;

/// Everything of a fleet, by kind and name.
#[derive(Clone, Debug, Default)]
pub struct Digest([BTreeMap<String, Value>; PARTS]);

impl Digest {
    /// What there is now.
    pub async fn take(stage: &Stage, namespace: &str) -> Result<Self> {
        let mut digest = Self::default();
        for (number, part) in digest.0.iter_mut().enumerate() {
            *part = read(stage, namespace, number).await?;
        }
        Ok(digest)
    }

    /// Whether it is so now. Asks no further once something differs.
    pub async fn is_there(&self, stage: &Stage, namespace: &str) -> Result<bool> {
        for (number, expected) in self.0.iter().enumerate() {
            if read(stage, namespace, number).await? != *expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether nothing is left but the volume.
    pub fn is_bare(&self) -> bool {
        self.0.iter().flat_map(BTreeMap::keys).all(|name| name.starts_with("PersistentVolumeClaim "))
    }

    /// What differs, one line per object. Empty when nothing does.
    pub fn difference(&self, found: &Self) -> String {
        self.0.iter().zip(&found.0).map(|(expected, found)| difference(expected, found)).collect()
    }
}

async fn read(stage: &Stage, namespace: &str, part: usize) -> Result<BTreeMap<String, Value>> {
    match part {
        0 => fleet(stage, namespace).await,
        1 => pods(stage, namespace).await,
        _ => owned(stage, namespace, KINDS[part - 2]).await,
    }
}

async fn fleet(stage: &Stage, namespace: &str) -> Result<BTreeMap<String, Value>> {
    let Some(fleet) = stage.fleets(namespace).get_opt(FLEET).await? else { return Ok(BTreeMap::new()) };
    let object = comparable(serde_json::to_value(fleet)?, namespace)?;
    Ok(BTreeMap::from([(format!("GoProxy {FLEET}"), object)]))
}

/// The pods that are not ending, by what they are made of: their names are chance.
async fn pods(stage: &Stage, namespace: &str) -> Result<BTreeMap<String, Value>> {
    let mut counts = BTreeMap::<String, usize>::new();
    for pod in children(stage, namespace, FLEET, ("", "v1", "Pod")).await? {
        if pod.metadata.deletion_timestamp.is_none() {
            let revision = pod.labels().get("goproxy.rs/revision").cloned().unwrap_or_default();
            let conditions = pod.data.pointer("/status/conditions").and_then(Value::as_array);
            let ready =
                conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
            *counts.entry(format!("Pods of {revision}, ready {ready}")).or_default() += 1;
        }
    }
    Ok(counts.into_iter().map(|(what, count)| (what, json!(count))).collect())
}

/// The children of a kind, as far as the operator's fields go.
async fn owned(stage: &Stage, namespace: &str, kind: (&str, &str, &str)) -> Result<BTreeMap<String, Value>> {
    let found = children(stage, namespace, FLEET, kind).await?;
    let mut parts = BTreeMap::new();
    for child in found.into_iter().filter(|child| !child.name_any().starts_with(MARKER)) {
        let ending = child.metadata.deletion_timestamp.is_some();
        let live = serde_json::to_value(&child)?;
        let object = serde_json::to_value(project(&live))?;
        parts.insert(format!("{} {}, ending {ending}", kind.2, child.name_any()), comparable(object, namespace)?);
    }
    Ok(parts)
}

/// Without what differs from run to run: times, versions, uids and the namespace.
fn comparable(mut object: Value, namespace: &str) -> Result<Value> {
    mask(&mut object);
    Ok(serde_json::from_str(&object.to_string().replace(namespace, "team"))?)
}
