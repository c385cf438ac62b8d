//! A changed login reaches the proxies: by itself where the operator may read Secrets, by an annotation elsewhere.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::go_proxy::GoProxy;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{Stage, Telling, convergence, holds};
use crate::{
    audit::{AuditLog, Mark, by_shape},
    operator::{self, HostOperator},
};

/// Where the operator may read Secrets.
const TOLD: &str = "secrets-told";
/// Where it may not.
const UNTOLD: &str = "secrets-untold";
const SOON: Duration = Duration::from_secs(20);
/// Found nowhere but in the Secrets.
const CONTENTS: [&str; 3] = ["first-aGVsbG8td29ybGQ", "second-bm90aGluZy1oZXJl", "third-c29tZS1vdGhlci1rZXk"];

/// Name of the operator that reads Secrets.
const READING: &str = "operator-secrets";

/// One operator reads the Secrets of one namespace, and the fleets of both follow a changed login as they should.
pub fn a_changed_login_reaches_the_proxies(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        for namespace in [TOLD, UNTOLD] {
            stage.cluster.namespace(namespace).await?;
            put(stage, namespace, "keys", CONTENTS[0]).await?;
            put(stage, namespace, "unnamed", CONTENTS[0]).await?;
        }
        operator::install_rights(&stage.cluster, &stage.repo, &[&format!("fleetNamespaces={{{TOLD}}}")]).await?;
        let binary = operator::binary(&stage.progress)?;
        let arguments = ["--fleet-namespaces", TOLD, "--log-level", "debug"];
        let last = stage
            .without_operator(&[READING], async {
                let reading = HostOperator::start(&stage.cluster, READING, &binary, 18_198, &arguments).await?;
                let last = with_one_that_reads(stage, &reading).await?;
                reading.stop().await?;
                Ok(last)
            })
            .await?;
        // An operator that is not told to read them leaves the fleets as they are.
        quiet(stage).await?;
        let now = settle_both(stage).await?;
        ensure!(now == last, "an operator that reads no Secrets started {now:?} instead of {last:?}");
        stage.abandon(TOLD).await?;
        stage.abandon(UNTOLD).await
    })
}

/// What happens while an operator reads Secrets. Returns the revisions at the end.
async fn with_one_that_reads(stage: &Stage, reading: &HostOperator) -> Result<[String; 2]> {
    let mark = AuditLog::at(stage.cluster.audit_log()).mark()?;
    reading.wait_ready().await?;
    let [told, untold] = settle_both(stage).await?;
    // Events come after the status that was waited for.
    quiet(stage).await?;
    let last = by_itself(stage, reading, &told).await?;
    by_annotation(stage, &untold).await?;
    nothing_is_written_at_rest(stage, reading).await?;
    no_content_is_anywhere(stage, reading).await?;
    secrets_are_read_there_alone(stage, reading, mark)?;
    Ok([last, untold])
}

async fn quiet(stage: &Stage) -> Result<()> {
    let audit = AuditLog::at(stage.cluster.audit_log());
    audit.quiet(Duration::from_secs(2), Duration::from_secs(60)).await
}

async fn settle_both(stage: &Stage) -> Result<[String; 2]> {
    let mut revisions = Vec::new();
    for namespace in [TOLD, UNTOLD] {
        stage.apply_fleet(namespace, "corp", on_bucket(namespace, 1)).await?;
        revisions.push(convergence::stable(&stage.wait_settled(namespace, "corp").await?)?);
    }
    revisions.try_into().map_err(|_| anyhow::anyhow!("two namespaces, two revisions"))
}

fn on_bucket(bucket: &str, replicas: i32) -> Value {
    json!({
        "replicas": replicas,
        "storage": {"s3": {"bucket": bucket, "credentialsSecretRef": {"name": "keys"}}},
        "rollout": {"scaleDownDelay": "0s"},
    })
}

async fn put(stage: &Stage, namespace: &str, name: &str, content: &str) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), namespace);
    let keys =
        json!({"AWS_ACCESS_KEY_ID": ByteString(b"lab".to_vec()), "AWS_SECRET_ACCESS_KEY": ByteString(content.into())});
    let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": keys});
    secrets.patch(name, &PatchParams::apply("a-user").force(), &Patch::Apply(body)).await?;
    Ok(())
}

/// Waits until the fleet has settled on another revision than this one.
async fn leaves(stage: &Stage, namespace: &str, revision: &str) -> Result<String> {
    let elsewhere = |fleet: &GoProxy| {
        let settled = holds(fleet, "Ready") == Some(true) && holds(fleet, "Reconciling") == Some(false);
        settled && convergence::stable(fleet).is_ok_and(|stable| stable != revision)
    };
    let fleet = stage.wait_fleet(namespace, "corp", "the fleet settles on another revision", SOON, elsewhere).await?;
    convergence::stable(&fleet)
}

/// Where Secrets are read.
async fn by_itself(stage: &Stage, reading: &HostOperator, first: &str) -> Result<String> {
    // Whatever is said of this one is heard before what is said of the other.
    let mark = AuditLog::at(stage.cluster.audit_log()).mark()?;
    put(stage, TOLD, "unnamed", CONTENTS[1]).await?;
    put(stage, UNTOLD, "keys", CONTENTS[1]).await?;
    let began = Instant::now();
    put(stage, TOLD, "keys", CONTENTS[1]).await?;
    let second = leaves(stage, TOLD, first).await?;
    stage.progress.note(format!("a changed Secret was served by new pods after {} ms", began.elapsed().as_millis()));
    put(stage, TOLD, "keys", CONTENTS[0]).await?;
    let back = leaves(stage, TOLD, &second).await?;
    ensure!(back == first, "the old content made {back} instead of {first}");
    ensure!(written(stage, reading, mark, UNTOLD)? == "none", "a Secret that may not be read was acted upon");

    // Gone is not changed; that the fleet was looked at since, its replicas show.
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), TOLD);
    secrets.delete("keys", &DeleteParams::default()).await?;
    stage.apply_fleet(TOLD, "corp", on_bucket(TOLD, 2)).await?;
    let without = convergence::stable(&stage.wait_settled(TOLD, "corp").await?)?;
    ensure!(without == first, "a Secret that was deleted started {without}");
    put(stage, TOLD, "keys", CONTENTS[2]).await?;
    leaves(stage, TOLD, first).await
}

/// Where they are not. The value may be any text.
async fn by_annotation(stage: &Stage, first: &str) -> Result<()> {
    let long = format!("{} \"$(date)\" é\n", "x".repeat(5_000));
    let mut seen = vec![first.to_owned()];
    for value in ["1", "2", &long] {
        let body = json!({"metadata": {"annotations": {"goproxy.rs/restart": value}}});
        stage.fleets(UNTOLD).patch("corp", &PatchParams::default(), &Patch::Merge(body)).await?;
        let next = leaves(stage, UNTOLD, &seen[seen.len() - 1]).await?;
        ensure!(!seen.contains(&next), "{next} serves again");
        seen.push(next);
    }
    let body = json!({"metadata": {"annotations": {"goproxy.rs/restart": null}}});
    stage.fleets(UNTOLD).patch("corp", &PatchParams::default(), &Patch::Merge(body)).await?;
    let back = leaves(stage, UNTOLD, &seen[seen.len() - 1]).await?;
    ensure!(back == first, "without the annotation {back} serves instead of {first}");
    Ok(())
}

/// What the operator wrote in a namespace since a mark.
fn written(stage: &Stage, by: &HostOperator, mark: Mark, namespace: &str) -> Result<String> {
    let user = by.user();
    let requests = AuditLog::at(stage.cluster.audit_log()).since(mark)?;
    let ours = requests.iter().filter(|one| one.user == user && one.is_write() && one.namespace == namespace);
    Ok(by_shape(ours))
}

/// Secrets that nobody names come, change and go, and nothing is written.
async fn nothing_is_written_at_rest(stage: &Stage, reading: &HostOperator) -> Result<()> {
    let audit = AuditLog::at(stage.cluster.audit_log());
    quiet(stage).await?;
    let mark = audit.mark()?;
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), TOLD);
    for content in CONTENTS {
        put(stage, TOLD, "unnamed", content).await?;
    }
    secrets.delete("unnamed", &DeleteParams::default()).await?;
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    secrets.patch("keys", &PatchParams::default(), &Patch::Merge(labels)).await?;
    audit.quiet(Duration::from_secs(3), Duration::from_secs(60)).await?;
    for namespace in [TOLD, UNTOLD] {
        let written = written(stage, reading, mark, namespace)?;
        ensure!(written == "none", "written at rest in {namespace}: {written}");
    }
    Ok(())
}

/// With the rights that the chart gives for it, and no others.
fn secrets_are_read_there_alone(stage: &Stage, reading: &HostOperator, since: Mark) -> Result<()> {
    let user = reading.user();
    let asked = AuditLog::at(stage.cluster.audit_log()).since(since)?;
    // What it creates elsewhere, in earnest or as a trial, are logins of its own.
    let ours = asked.iter().filter(|one| one.user == user && one.resource == "secrets");
    let read: Vec<_> = ours.filter(|one| !one.is_write()).collect();
    ensure!(read.iter().any(|one| one.namespace == TOLD && one.succeeded()), "no Secrets were read in {TOLD}");
    let others: Vec<_> = read.iter().filter(|one| one.namespace != TOLD).collect();
    ensure!(others.is_empty(), "Secrets were read elsewhere: {others:?}");
    Ok(())
}

/// Neither in an object nor in the log: not as it is, and not in base64.
async fn no_content_is_anywhere(stage: &Stage, reading: &HostOperator) -> Result<()> {
    let mut texts = vec![("the log".to_owned(), std::fs::read_to_string(Path::new(&reading.log()))?)];
    texts.push(("the metrics".to_owned(), reading.page("/metrics").await?.text().to_owned()));
    for kind in ["goproxies", "events", "controllerrevisions", "configmaps", "deployments", "pods", "services"] {
        for namespace in [TOLD, UNTOLD] {
            let arguments = ["get", kind, "--namespace", namespace, "--output", "yaml", "--show-managed-fields"];
            let text = operator::kubectl(&stage.cluster, &stage.repo, &arguments).await?;
            texts.push((format!("{kind} of {namespace}"), text));
        }
    }
    ensure!(texts.iter().all(|(_, text)| !text.is_empty()), "something was not read at all");
    for content in CONTENTS {
        let encoded = serde_json::to_value(ByteString(content.into()))?;
        let encoded = encoded.as_str().context("bytes are a text in base64")?.trim_end_matches('=').to_owned();
        let shows = |text: &String| text.contains(content) || text.contains(&encoded);
        let found: Vec<_> = texts.iter().filter(|(_, text)| shows(text)).map(|(place, _)| place).collect();
        ensure!(found.is_empty(), "the content of a Secret is in {found:?}");
    }
    Ok(())
}
