//! Two fleets never store in one place.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};

use super::super::{
    Stage, Telling,
    serving::{PATIENT, ask, service_address},
};
use super::{
    Before,
    fleets::{FLEET, Parts},
};
use crate::{cluster::until, origin::generated::Module};

const NAMESPACE: &str = "story-one-fleet";
const ELSEWHERE: &str = "story-one-fleet-2";

/// A younger fleet that names the bucket of another one, even for another client, is told whose it is, in its own namespace only,
/// and gets no pod while the older one serves; once that is gone, it has the place. The same for a fleet's volume.
pub fn a_place_has_one_fleet(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let parts = Parts::start(stage, NAMESPACE, None).await?;
        let alone = json!({"inProcess": {}});
        parts.apply(stage, &alone).await?;
        let address = service_address(stage, NAMESPACE).await?;
        let known = Module::new(32, 0).zip();
        ensure!(ask(&address, &known, PATIENT).await?.0 == 200, "the first fetch failed");

        let mut same = parts.spec(&alone)?;
        same["replicas"] = json!(1);
        stage.cluster.namespace(ELSEWHERE).await?;
        let here = taken(stage, NAMESPACE, "late", same.clone()).await?;
        ensure!(here.contains("'modules' belongs to GoProxy 'corp'"), "{here}");
        stage.progress.note(format!("  in its namespace: {here}"));
        let mut by_minio = same;
        by_minio["storage"] = json!({"minio": {
            "endpoint": parts.bucket.endpoint().trim_start_matches("http://"), "bucket": parts.bucket.name,
            "tls": "Disabled", "credentialsSecretRef": {"name": "minio"},
        }});
        let elsewhere = taken(stage, ELSEWHERE, "late", by_minio).await?;
        ensure!(!elsewhere.contains("corp") && !elsewhere.contains(NAMESPACE), "{elsewhere}");
        stage.progress.note(format!("  elsewhere: {elsewhere}"));
        ensure!(ask(&address, &known, PATIENT).await?.0 == 200, "the older fleet does not serve");
        stage.abandon(ELSEWHERE).await?;

        remove(stage, FLEET).await?;
        stage.wait_settled(NAMESPACE, "late").await.context("the place is free")?;
        remove(stage, "late").await?;
        a_volume_has_one_fleet(stage).await?;
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

/// A fleet's own volume can be named by another one, which gets it when the first one is gone.
async fn a_volume_has_one_fleet(stage: &Stage) -> Result<()> {
    stage.apply_fleet(NAMESPACE, "first", json!({"storage": {"disk": {"size": "1Gi"}}})).await?;
    stage.wait_settled(NAMESPACE, "first").await?;
    let wants = json!({"storage": {"disk": {"existingClaim": "first-data"}}});
    let told = taken(stage, NAMESPACE, "second", wants).await?;
    ensure!(told.contains("spec.storage.disk.existingClaim: 'first-data' belongs to GoProxy 'first'"), "{told}");
    remove(stage, "first").await?;
    stage.wait_settled(NAMESPACE, "second").await.context("the volume is free")?;
    // Whoever comes back to the name comes second now.
    let back = taken(stage, NAMESPACE, "first", json!({"storage": {"disk": {"size": "1Gi"}}})).await?;
    ensure!(back.contains("'first-data' belongs to GoProxy 'second'"), "{back}");
    Ok(())
}

/// Applies a fleet whose place is another one's; what it is told.
async fn taken(stage: &Stage, namespace: &str, name: &str, spec: Value) -> Result<String> {
    stage.apply_fleet(namespace, name, spec).await?;
    let told = stage.wait_not_ready(namespace, name, "StorageTaken").await?;
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), namespace);
    let made = deployments.list(&ListParams::default().labels(&format!("goproxy.rs/fleet={name}"))).await?.items;
    ensure!(made.is_empty(), "the fleet that may not store has Deployments");
    Ok(told.message)
}

async fn remove(stage: &Stage, name: &str) -> Result<()> {
    let fleets = stage.fleets(NAMESPACE);
    fleets.delete(name, &DeleteParams::foreground()).await?;
    until(&format!("{name} is gone"), Duration::from_mins(2), || async {
        Ok(fleets.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}
