//! What only a proxy's pod knows reaches the fleet's status: how much room its volume has, and which login stopped working.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::{api::go_proxy::GoProxy, engine::contract::sidecar, sidecar::report::Report};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use serde_json::json;

use super::super::{
    Stage, Telling, condition,
    download::Origin,
    holds,
    serving::{PATIENT, ask, service_address},
};
use super::{
    Before,
    private::{Parts, RENEWAL},
};
use crate::{cluster::until, origin::generated::Module, service::volume};

pub(super) const FLEET: &str = "corp";
/// The operator asks every quarter minute, and the pod looks every ten seconds.
const HEARD: Duration = Duration::from_secs(60);
/// Two rounds of questions for a login's module.
const TRIED: Duration = Duration::from_mins(5);

/// A file system of its own fills up: it is told of while there is still room, and again when there is none; what is stored is served, what is not
/// fails; once there is room, what was cut off is removed and fetched anew, and all is well by itself.
pub fn a_volume_is_told_of_before_it_is_full(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let namespace = "story-filling";
        let origin = Origin::start(stage, namespace).await?;
        let volumes = volume::start(&stage.cluster, 1, "1Gi").await?;
        let disk = volumes.own_file_system(&volumes.names()[0], "64M").await?;
        let spec = json!({
            "engine": {"fetchTimeout": "10s"},
            "storage": {"disk": {"size": "1Gi", "storageClassName": volume::CLASS, "accessMode": "ReadWriteMany"}},
            "upstream": origin.upstream("authority")?,
        });
        stage.apply_fleet(namespace, FLEET, spec).await?;
        stage.wait_settled(namespace, FLEET).await?;
        told(stage, namespace, "VolumeHasRoom", "True", "Available", HEARD).await?;
        let address = service_address(stage, namespace).await?;
        let (known, unknown) = (Module::new(50, 0).zip(), Module::new(51, 0).zip());
        let stored = ask(&address, &known, PATIENT).await?;
        ensure!(stored.0 == 200, "the first fetch is answered with {}", stored.0);

        let began = Instant::now();
        disk.leave("4M").await?;
        let message = told(stage, namespace, "VolumeHasRoom", "False", "NearlyFull", HEARD).await?;
        stage.progress.note(format!("  after {:.0} s: {message}", began.elapsed().as_secs_f64()));
        ensure!(message.contains("spec.storage.disk.size"), "{message}");
        let (status, _) = ask(&address, &Module::new(52, 0).zip(), PATIENT).await?;
        ensure!(status == 200, "a nearly full volume answers a miss with {status}");

        disk.leave("0").await?;
        let message = told(stage, namespace, "VolumeHasRoom", "False", "Full", HEARD).await?;
        stage.progress.note(format!("  {message}"));
        ensure!(ask(&address, &known, PATIENT).await? == stored, "what is stored is not served");
        let (status, _) = ask(&address, &unknown, PATIENT).await?;
        ensure!(status >= 500, "a miss on a full volume is answered with {status}");
        what_was_cut_off_is_healed(stage, namespace, &disk, &address, &unknown).await?;
        told(stage, namespace, "VolumeHasRoom", "True", "Available", HEARD).await?;
        let fleet = stage.fleets(namespace).get(FLEET).await?;
        ensure!(holds(&fleet, "Ready") == Some(true), "the fleet did not serve to the end");

        stage.fleets(namespace).delete(FLEET, &DeleteParams::foreground()).await?;
        until("the fleet is gone", Duration::from_mins(2), || async {
            Ok(stage.fleets(namespace).get_opt(FLEET).await?.is_none().then_some(()))
        })
        .await?;
        stage.cluster.kubectl(&["-n", namespace, "delete", "pvc", "corp-data", "--wait"]).await?;
        disk.close().await?;
        volumes.close().await?;
        stage.abandon(namespace).await?;
        before.expect_only(&stage.cluster)
    })
}

/// A version that is cut off is there, and after some room is made nobody has to ask for its zip to have it whole.
async fn what_was_cut_off_is_healed(
    stage: &Stage,
    namespace: &str,
    disk: &volume::FileSystem,
    address: &str,
    zip: &str,
) -> Result<()> {
    let go_mod = zip.replace(".zip", ".mod");
    let cut = ask(address, &go_mod, PATIENT).await?;
    stage.progress.note(format!("  its go.mod on the full volume: {} with {} bytes", cut.0, cut.1.len()));
    disk.empty().await?;
    until("a version that was cut off is removed", Duration::from_mins(3), || async {
        Ok((report(stage, namespace).await?.volume.is_some_and(|volume| volume.removed > 0)).then_some(()))
    })
    .await?;
    let (status, body) = ask(address, &go_mod, PATIENT).await?;
    ensure!(status == 200 && body.starts_with("module "), "with room again, go.mod is answered with {status}: {body}");
    let (status, _) = ask(address, zip, PATIENT).await?;
    ensure!(status == 200, "with room again, a zip is answered with {status}");
    Ok(())
}

/// What the sidecar of the fleet's pod tells.
async fn report(stage: &Stage, namespace: &str) -> Result<Report> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
    let found = pods.list(&ListParams::default().labels(&format!("goproxy.rs/fleet={FLEET}"))).await?.items;
    let name = found.first().context("the fleet has no pod")?.name_any();
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{}/proxy/report", sidecar::PORT);
    let text = stage.cluster.kubectl(&["get", "--raw", &path]).await?;
    serde_json::from_str(&text).with_context(|| format!("the sidecar tells no report: {text}"))
}

/// A Git server takes a login back: the condition names the host and says why, what is stored is built on, and with another login in the
/// Secret all is well again. No pod is restarted, and no login is told.
pub fn a_login_that_ends_is_told_of(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let namespace = "story-probe";
        let mut parts = Parts::start(stage, namespace).await?;
        let mut login = parts.login("token", "git");
        login["probe"] = json!(parts.git.module("acme/lib"));
        parts.apply(stage, &login).await?;
        parts.ask_public(stage).await?;
        told(stage, namespace, "LoginsWork", "True", "Available", TRIED).await?;
        let pods = parts.pods(stage).await?;
        ensure!(parts.ask(stage, "acme/lib", "v1.0.0.zip").await?.0 == 200, "the first fetch failed");

        let old = parts.who.clone();
        parts.git.revoke(&old).await?;
        let began = Instant::now();
        let message = told(stage, namespace, "LoginsWork", "False", "LoginRefused", TRIED).await?;
        stage.progress.note(format!("  after {:.0} s: {message}", began.elapsed().as_secs_f64()));
        ensure!(message.contains(&parts.git.host), "the host is not named: {message}");
        ensure!(message.contains("Authentication failed"), "it does not say why: {message}");
        ensure!(!message.contains(&old.token), "the token is told");
        let fleet = stage.fleets(namespace).get(FLEET).await?;
        ensure!(holds(&fleet, "Ready") == Some(true), "a lost login takes the fleet with it");
        ensure!(parts.ask(stage, "acme/lib", "v1.0.0.zip").await?.0 == 200, "what is stored is not served");

        let new = parts.git.issue().await?;
        parts.replace_login(stage, &new).await?;
        told(stage, namespace, "LoginsWork", "True", "Available", RENEWAL + TRIED).await?;
        ensure!(parts.ask(stage, "acme/lib", "v1.1.0.zip").await?.0 == 200, "nothing new comes with the new login");
        ensure!(parts.pods(stage).await? == pods, "a pod was restarted");
        parts.expect_only_public_requests(stage).await?;
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

/// Waits until a condition has this status and reason; its message.
pub(super) async fn told(
    stage: &Stage,
    namespace: &str,
    type_: &str,
    status: &str,
    reason: &str,
    within: Duration,
) -> Result<String> {
    let is = |fleet: &GoProxy| condition(fleet, type_).is_some_and(|one| one.status == status && one.reason == reason);
    let fleet = stage.wait_fleet(namespace, FLEET, &format!("{type_} is {status} for {reason}"), within, is).await?;
    Ok(condition(&fleet, type_).context("the condition just seen is gone")?.message.clone())
}
