//! Moving from an Athens that somebody deployed by hand: its settings are imported, its volume is taken over.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Service},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::{
    Stage, Telling,
    download::Origin,
    serving::{PATIENT, ask, service_address},
};
use crate::{
    cluster::until,
    image::{self, Image},
    origin::generated::{self, Module},
};

const NAMESPACE: &str = "story-adopt";
/// The Athens by hand: its Deployment, its Service and the label of its pods.
const BY_HAND: &str = "by-hand";
const CLAIM: &str = "by-hand-modules";

/// An Athens by hand stores a module. What `import` makes of its Deployment waits for its pod to end, then serves that module from
/// its claim with the origin unplugged; and the claim is left as it was when the fleet is gone.
pub fn a_volume_of_an_athens_by_hand_is_taken_over(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let origin = Origin::start(stage, NAMESPACE).await?;
        deploy_by_hand(stage, &origin).await?;
        let (known, unknown) = (Module::new(10, 0).zip(), Module::new(11, 0).zip());
        let before = first_answer(stage, &known).await?;
        origin.unplug(stage).await?;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(stage.client.clone(), NAMESPACE);
        let claim = claims.get(CLAIM).await?;

        let fleet = import(stage).await?;
        ensure!(fleet["spec"]["storage"]["disk"]["existingClaim"] == CLAIM, "the claim was not found: {fleet}");
        ensure!(fleet["metadata"]["namespace"] == NAMESPACE, "the namespace was not found: {fleet}");
        stage.cluster.kubectl_with_input(&["apply", "-f", "-"], &fleet.to_string()).await?;
        let waits = stage.wait_not_ready(NAMESPACE, "corp", "VolumeInUse").await?;
        ensure!(waits.message.contains(BY_HAND) && waits.message.contains(CLAIM), "{}", waits.message);

        scale_by_hand(stage, 0).await?;
        stage.wait_settled(NAMESPACE, "corp").await?;
        let address = service_address(stage, NAMESPACE).await?;
        let (status, body) = ask(&address, &known, PATIENT).await?;
        ensure!(status == 200 && body == before, "what Athens had stored is answered with {status}");
        let (status, _) = ask(&address, &unknown, PATIENT).await?;
        ensure!(status != 200, "a module that was never stored came with the origin unplugged");

        stage.fleets(NAMESPACE).delete("corp", &DeleteParams::foreground()).await?;
        until("the fleet is gone", Duration::from_mins(2), || async {
            Ok(stage.fleets(NAMESPACE).get_opt("corp").await?.is_none().then_some(()))
        })
        .await?;
        untouched(&claim, &claims.get(CLAIM).await.context("the claim went with the fleet")?)?;
        stage.abandon(NAMESPACE).await
    })
}

/// Fails if somebody changed the claim.
fn untouched(before: &PersistentVolumeClaim, after: &PersistentVolumeClaim) -> Result<()> {
    ensure!(before.uid() == after.uid(), "it is another claim");
    ensure!(before.labels() == after.labels() && before.spec == after.spec, "the claim was changed: {after:?}");
    ensure!(after.owner_references().is_empty(), "the claim got an owner: {after:?}");
    let ours = after.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some("goproxy-operator"));
    ensure!(!ours, "the operator wrote to the claim: {after:?}");
    Ok(())
}

/// Asks the Athens by hand until it has fetched the module; what it answers.
async fn first_answer(stage: &Stage, path: &str) -> Result<String> {
    let services: Api<Service> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let address = services.get(BY_HAND).await?.spec.and_then(|spec| spec.cluster_ip).context("no address")?;
    let address = format!("{address}:80");
    until("the Athens by hand has a module", Duration::from_mins(2), || async {
        // Before it listens there is nobody to ask.
        Ok(ask(&address, path, PATIENT).await.ok().filter(|(status, _)| *status == 200).map(|(_, body)| body))
    })
    .await
}

/// What `goproxy-operator import` prints for the Deployment, as a user would call it.
async fn import(stage: &Stage) -> Result<Value> {
    let deployment = stage.cluster.kubectl(&["-n", NAMESPACE, "get", "deployment", BY_HAND, "-o", "yaml"]).await?;
    let mut child = Command::new(image::operator_binary(&stage.progress)?)
        .args(["import", "--env", "-", "--name", "corp"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = child.stdin.take().context("no standard input")?;
    input.write_all(deployment.as_bytes()).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "import failed: {told}");
    ensure!(told.contains("SSL_CERT_FILE"), "the certificate was lost without a word: {told}");
    serde_saphyr::from_str(std::str::from_utf8(&output.stdout)?).context("what import printed is no YAML")
}

async fn scale_by_hand(stage: &Stage, replicas: i32) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let patch = json!({"spec": {"replicas": replicas}});
    deployments.patch(BY_HAND, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn deploy_by_hand(stage: &Stage, origin: &Origin) -> Result<()> {
    let claim = json!({
        "metadata": {"name": CLAIM},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stage.client.clone(), NAMESPACE);
    claims.create(&PostParams::default(), &serde_json::from_value(claim)?).await?;
    let labels = json!({"app": BY_HAND});
    let deployment = json!({
        "metadata": {"name": BY_HAND},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels}, "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": labels}, "spec": pod(origin)?},
        },
    });
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), NAMESPACE);
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
    let service = json!({
        "metadata": {"name": BY_HAND},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 3000, "protocol": "TCP"}]},
    });
    let services: Api<Service> = Api::namespaced(stage.client.clone(), NAMESPACE);
    services.create(&PostParams::default(), &serde_json::from_value(service)?).await?;
    Ok(())
}

fn pod(origin: &Origin) -> Result<Value> {
    let (host, key) = (origin.host(), generated::checksum_database()?);
    let name = key.split('+').next().unwrap_or_default();
    let go = format!("GOPROXY=https://{host};GOSUMDB={key} https://{host}/sumdb/{name};SSL_CERT_FILE=/ca/ca.crt");
    Ok(json!({
        "automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {"name": "modules", "persistentVolumeClaim": {"claimName": CLAIM}},
            {"name": "ca", "configMap": {"name": "authority"}},
            {"name": "tmp", "emptyDir": {}},
        ],
        "containers": [{
            "name": "athens", "image": image::reference(Image::Athens), "imagePullPolicy": "Never",
            "args": ["athens-proxy"],
            "env": [
                {"name": "HOME", "value": "/tmp"},
                {"name": "ATHENS_STORAGE_TYPE", "value": "disk"},
                {"name": "ATHENS_DISK_STORAGE_ROOT", "value": "/modules"},
                {"name": "ATHENS_GO_BINARY_ENV_VARS", "value": go},
            ],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 3000}, "periodSeconds": 1},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [
                {"name": "modules", "mountPath": "/modules"}, {"name": "ca", "mountPath": "/ca"},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }],
    }))
}
