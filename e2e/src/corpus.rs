//! The corpus: fleets that must be accepted or refused, by the API server and by the offline check alike.
//!
//! The files under `e2e/corpus` say what a row holds. A rule that exists on one side only, or that explains itself
//! differently there, fails one of the two tests that read them.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use goproxy_operator::plan::validate::{Refusal, parse, validate_update};
use http::{Method, Request};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::until;

/// One row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What it is about.
    pub name: String,
    /// Its number in the list of bad inputs that the project tests against, if it is from there.
    #[serde(default)]
    pub bad_input: Option<u32>,
    /// The verdict.
    pub expect: Verdict,
    /// On refusal: the field that is named.
    #[serde(default)]
    pub field: String,
    /// On refusal: what is said of it, a part of it that both sides share.
    #[serde(default)]
    pub message: String,
    /// The fleet's name.
    #[serde(default = "corp")]
    pub called: String,
    /// The spec before, for a change.
    #[serde(default)]
    pub old: Option<Value>,
    /// The spec; absent is different from null.
    #[serde(default, deserialize_with = "given")]
    pub spec: Option<Value>,
}

/// What must become of a row.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is a fleet.
    Accept,
    /// It is none.
    Refuse,
}

/// What a run found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows accepted, as they must be.
    pub accepted: usize,
    /// Rows refused with the right words.
    pub refused: usize,
    /// Distinct numbers of the list of bad inputs among them.
    pub bad_inputs: usize,
}

fn corp() -> String {
    "corp".to_owned()
}

fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Row {
    /// The object that a user would send, with this spec.
    pub fn object(&self, spec: Option<&Value>) -> Value {
        let mut object = json!({
            "apiVersion": "goproxy.rs/v1alpha1",
            "kind": "GoProxy",
            "metadata": { "name": self.called },
        });
        if let Some(spec) = spec {
            object["spec"] = spec.clone();
        }
        object
    }
}

/// Reads every row. Names are unique within a file, so that a failure names one row.
pub fn read(repo: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for file in ["fleet", "engine", "service", "storage", "remote", "lock", "upstream", "edge", "egress", "private"] {
        let path = repo.join(format!("e2e/corpus/{file}.yaml"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let read: Vec<Row> =
            serde_saphyr::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
        for mut row in read {
            row.name = format!("{file}: {}", row.name);
            ensure!(!rows.iter().any(|other: &Row| other.name == row.name), "two rows are called `{}`", row.name);
            ensure!(
                (row.expect == Verdict::Refuse) != row.message.is_empty(),
                "`{}` needs a message if it is refused",
                row.name
            );
            row.called = expand(&row.called);
            row.spec.iter_mut().chain(&mut row.old).for_each(expand_all);
            rows.push(row);
        }
    }
    Ok(rows)
}

fn expand_all(value: &mut Value) {
    match value {
        Value::String(text) => *text = expand(text),
        Value::Array(items) => items.iter_mut().for_each(expand_all),
        Value::Object(members) => members.values_mut().for_each(expand_all),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Writes out `<a x 9>`.
fn expand(text: &str) -> String {
    let expanded = text.split_once('<').and_then(|(before, rest)| {
        let (inside, after) = rest.split_once('>')?;
        let (what, count) = inside.split_once(" x ")?;
        Some(format!("{before}{}{after}", what.repeat(count.parse().ok()?)))
    });
    expanded.unwrap_or_else(|| text.to_owned())
}

/// What is wrong with a row's verdict, given what was said of it.
fn judge(row: &Row, said: Option<&str>) -> Option<String> {
    match (row.expect, said) {
        (Verdict::Accept, None) => None,
        (Verdict::Accept, Some(said)) => Some(format!("{}: refused: {said}", row.name)),
        (Verdict::Refuse, None) => Some(format!("{}: accepted", row.name)),
        (Verdict::Refuse, Some(said)) if said.contains(&row.message) && said.contains(&row.field) => None,
        (Verdict::Refuse, Some(said)) => {
            Some(format!("{}: refused without `{}: {}`: {said}", row.name, row.field, row.message))
        }
    }
}

fn conclude(rows: &[Row], wrong: &[String]) -> Result<Tally> {
    if !wrong.is_empty() {
        bail!("{} of {} rows of the corpus are judged wrongly:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    }
    let numbers: BTreeSet<_> = rows.iter().filter_map(|row| row.bad_input).collect();
    let accepted = rows.iter().filter(|row| row.expect == Verdict::Accept).count();
    Ok(Tally { accepted, refused: rows.len() - accepted, bad_inputs: numbers.len() })
}

/// Puts every row to the offline check.
pub fn offline(rows: &[Row]) -> Result<Tally> {
    let wrong: Vec<_> = rows.iter().filter_map(|row| judge(row, refused_offline(row).as_deref())).collect();
    conclude(rows, &wrong)
}

fn refused_offline(row: &Row) -> Option<String> {
    let said = |refusals: Vec<Refusal>| {
        let messages: Vec<_> = refusals.into_iter().map(|refusal| refusal.message).collect();
        (!messages.is_empty()).then(|| messages.join("\n"))
    };
    let new = match parse(row.object(row.spec.as_ref())) {
        Ok(new) => new,
        Err(refusals) => return said(refusals),
    };
    match row.old.as_ref().map(|old| parse(row.object(Some(old)))) {
        None => None,
        Some(Ok(old)) => said(validate_update(&old.spec, &new.spec)),
        Some(Err(refusals)) => Some(format!("the spec before is refused: {refusals:?}")),
    }
}

/// Puts every row to an API server that has the CRD, as a dry run with strict validation, in a namespace that it makes
/// and removes.
pub async fn online(client: &Client, rows: &[Row]) -> Result<Tally> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let metadata = ObjectMeta { generate_name: Some("corpus-".to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let created = namespaces.create(&PostParams::default(), &namespace).await.context("cannot make a namespace")?;
    let namespace = created.metadata.name.context("the namespace has no name")?;
    let verdicts = judge_all(client, &namespace, rows).await;
    namespaces.delete(&namespace, &DeleteParams::default()).await.context("cannot remove the namespace")?;
    conclude(rows, &verdicts?)
}

async fn judge_all(client: &Client, namespace: &str, rows: &[Row]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for row in rows {
        let said = refused_online(client, namespace, row).await.with_context(|| row.name.clone())?;
        wrong.extend(judge(row, said.as_deref()));
    }
    Ok(wrong)
}

/// What the API server says against a row.
async fn refused_online(client: &Client, namespace: &str, row: &Row) -> Result<Option<String>> {
    let all = format!("/apis/goproxy.rs/v1alpha1/namespaces/{namespace}/goproxies");
    let new = row.object(row.spec.as_ref());
    let Some(old) = &row.old else {
        return refusal(send(client, Method::POST, &format!("{all}?dryRun=All&fieldValidation=Strict"), &new).await);
    };
    let one = format!("{all}/{}", row.called);
    send(client, Method::POST, &all, &row.object(Some(old))).await.context("the spec before is refused")?;
    let said = until("an answer to the update", Duration::from_secs(10), || update(client, &one, new.clone())).await;
    send(client, Method::DELETE, &one, &json!({})).await?;
    said
}

/// What the API server says against an update, or `None` when an operator wrote the status in between.
async fn update(client: &Client, path: &str, mut new: Value) -> Result<Option<Option<String>>> {
    let stored = send(client, Method::GET, path, &json!({})).await?;
    new["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
    match send(client, Method::PUT, &format!("{path}?dryRun=All&fieldValidation=Strict"), &new).await {
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(None),
        answer => refusal(answer).map(Some),
    }
}

/// Tells a refusal from a failure to ask.
fn refusal(answer: kube::Result<Value>) -> Result<Option<String>> {
    match answer {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Ok(Some(status.message)),
        Err(error) => Err(error.into()),
    }
}

async fn send(client: &Client, method: Method, path: &str, body: &Value) -> kube::Result<Value> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let body = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
    client.request(request.body(body).map_err(kube::Error::HttpError)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
    }

    #[test]
    fn the_offline_check_judges_every_row_as_the_corpus_says() {
        let tally = offline(&rows()).unwrap();
        assert!(tally.accepted >= 60 && tally.refused >= 200 && tally.bad_inputs >= 30, "{tally:?}");
    }

    /// Every CEL rule of the CRD: the path it is at and what it says, cut where values are filled in.
    fn rules(schema: &Value, path: &str, found: &mut Vec<(String, Vec<String>)>) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let text = rule["message"].as_str().or(rule["messageExpression"].as_str()).unwrap();
            let text = text.rsplit_once("\".format(").map_or(text, |(text, _)| text).trim_start_matches('"');
            let said = text.split("%s").map(str::to_owned).collect();
            found.push((format!("{path}{}", rule["fieldPath"].as_str().unwrap_or_default()), said));
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            rules(property, &format!("{path}.{name}"), found);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                rules(&schema[inner], path, found);
            }
        }
    }

    #[test]
    fn every_rule_of_the_crd_refuses_a_row() {
        let mut found = Vec::new();
        rules(&goproxy_operator::api::crd::schema(), "", &mut found);
        assert!(found.len() > 60, "{} rules", found.len());
        let rows = rows();
        let refused = |path: &str, said: &[String]| {
            rows.iter().any(|row| {
                let field: String = row.field.split(['[', ']']).step_by(2).collect();
                let same = |part: &&String| {
                    let part = part.trim_matches(['\'', ' ', ':']);
                    part.len() > 12 && (row.message.contains(&part[..12]) || part.contains(&row.message))
                };
                (path.is_empty() || path == format!(".{field}")) && said.iter().any(|part| same(&part))
            })
        };
        let idle: Vec<_> = found.iter().filter(|(path, said)| !refused(path, said)).collect();
        assert!(idle.is_empty(), "no row is refused by {idle:#?}");
    }

    /// The refusals that the README shows as kubectl prints them, with white space folded: the field, and what is said of it.
    fn refusals_of_the_readme() -> Vec<(String, String)> {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
        let text = readme.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown = text.split("The GoProxy \"corp\" is invalid: ").skip(1).map(|rest| {
            let entry = rest.split(" ```").next().unwrap_or(rest).trim_end();
            let (field, said) = entry.split_once(": Invalid value: ").expect("kubectl says so of every refusal");
            (field.to_owned(), said.to_owned())
        });
        shown.collect()
    }

    #[test]
    fn the_refusals_that_the_readme_shows_are_what_is_said() {
        let url = "http://169.254.169.254/latest";
        let asked = [
            ("spec.replicas", None, None, json!({ "replicas": 3 })),
            (
                "spec.upstream.proxies[0].url",
                Some(url),
                None,
                json!({ "upstream": { "proxies": [{ "name": "mirror", "url": url }] } }),
            ),
            (
                "spec.storage.disk.size",
                None,
                Some(json!({ "storage": { "disk": { "size": "50Gi" } } })),
                json!({ "storage": { "disk": { "size": "10Gi" } } }),
            ),
            ("spec.engine.goEnv", None, None, json!({ "engine": { "goEnv": { "GOFLAGS": "-toolexec=x" } } })),
            ("spec.engine.image", Some("athens:latest"), None, json!({ "engine": { "image": "athens:latest" } })),
        ];
        let said = asked.map(|(field, value, old, spec)| {
            let row = Row { old, spec: Some(spec), ..rows().remove(0) };
            let refused = refused_offline(&row).unwrap_or_else(|| panic!("{field} is accepted"));
            let reason = refused.strip_prefix(&format!("{field}: ")).unwrap_or_else(|| panic!("{refused}")).to_owned();
            // The API server shows the value itself where a rule stands at it.
            (field.to_owned(), value.map_or(reason.clone(), |value| format!("\"{value}\": {reason}")))
        });
        assert_eq!(refusals_of_the_readme(), said);
    }

    #[test]
    fn a_row_that_is_judged_wrongly_is_reported() {
        let mut row = rows().remove(0);
        row.spec = Some(json!({ "replicas": 7 }));
        assert!(offline(std::slice::from_ref(&row)).is_err());
        (row.expect, row.message) = (Verdict::Refuse, "words that nobody says".to_owned());
        assert!(offline(&[row]).is_err());
    }
}
