//! Volumes of fleets: how they grow, what is left behind, and what happens when one is full.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::go_proxy::GoProxy;
use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::StorageClass};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::super::{
    Stage, Telling, condition,
    download::Origin,
    holds,
    serving::{PATIENT, ask, service_address},
};
use super::Before;
use crate::{cluster::until, origin::generated::Module, service::volume};

const FLEET: &str = "corp";
/// Volumes of this class cannot grow until the story lets them.
const CLASS: &str = "story-growing";
/// All that fits on the volume that is to be full.
const SMALL: &str = "size=4m";

/// A larger size is asked for; a class that lets nothing grow is told of, and so is the volume's way once it may; a smaller
/// one is refused; and the volume that another storage leaves behind is named.
pub fn it_grows_and_is_named_when_left(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "story-growing";
        stage.cluster.namespace(namespace).await?;
        let classes: Api<StorageClass> = Api::all(stage.client.clone());
        let class = json!({
            "metadata": {"name": CLASS}, "provisioner": "rancher.io/local-path",
            "volumeBindingMode": "WaitForFirstConsumer",
        });
        classes.create(&PostParams::default(), &serde_json::from_value(class)?).await?;
        let sized = |size: &str| json!({"storage": {"disk": {"size": size, "storageClassName": CLASS}}});
        stage.apply_fleet(namespace, FLEET, sized("1Gi")).await?;
        stage.wait_settled(namespace, FLEET).await?;

        stage.apply_fleet(namespace, FLEET, sized("2Gi")).await?;
        let told = not_sized(stage, namespace, "VolumeCannotGrow").await?;
        stage.progress.note(format!("  a class that lets nothing grow: {told}"));
        let allow = json!({"allowVolumeExpansion": true});
        classes.patch(CLASS, &PatchParams::default(), &Patch::Merge(allow)).await?;
        let told = not_sized(stage, namespace, "Resizing").await?;
        stage.progress.note(format!("  on its way: {told}"));
        grow(stage, namespace).await?;
        let done = |fleet: &GoProxy| condition(fleet, "VolumeSized").is_none();
        stage.wait_fleet(namespace, FLEET, "the volume has grown", Duration::from_mins(1), done).await?;

        let refusal = match stage.apply_fleet(namespace, FLEET, sized("1Gi")).await {
            Ok(_) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        ensure!(refusal.contains("volumes cannot shrink"), "a smaller size is answered with {refusal:?}");

        stage.apply_fleet(namespace, FLEET, json!({"storage": {"memory": {}}})).await?;
        let left = |fleet: &GoProxy| unused_volume(fleet) == Some("corp-data");
        stage.wait_fleet(namespace, FLEET, "the volume left behind is named", Duration::from_mins(2), left).await?;
        stage.wait_settled(namespace, FLEET).await?;
        stage.apply_fleet(namespace, FLEET, sized("2Gi")).await?;
        let used = |fleet: &GoProxy| unused_volume(fleet).is_none() && holds(fleet, "Ready") == Some(true);
        stage.wait_fleet(namespace, FLEET, "the volume is used again", Duration::from_mins(2), used).await?;
        stage.abandon(namespace).await?;
        classes.delete(CLASS, &DeleteParams::default()).await?;
        Ok(())
    })
}

/// Waits until `VolumeSized` is False for this reason while the fleet serves; the message.
async fn not_sized(stage: &Stage, namespace: &str, reason: &str) -> Result<String> {
    let told = |fleet: &GoProxy| {
        condition(fleet, "VolumeSized").is_some_and(|one| one.status == "False" && one.reason == reason)
    };
    let what = format!("VolumeSized is False for {reason}");
    let fleet = stage.wait_fleet(namespace, FLEET, &what, Duration::from_mins(2), told).await?;
    ensure!(holds(&fleet, "Ready") == Some(true), "the fleet does not serve meanwhile");
    Ok(condition(&fleet, "VolumeSized").context("the condition just seen is gone")?.message.clone())
}

/// What the driver of a real volume does when it has made it larger: directories of a node have no driver that could.
async fn grow(stage: &Stage, namespace: &str) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stage.client.clone(), namespace);
    let capacity = json!({"status": {"capacity": {"storage": "2Gi"}}});
    claims.patch_status("corp-data", &PatchParams::default(), &Patch::Merge(capacity)).await?;
    Ok(())
}

fn unused_volume(fleet: &GoProxy) -> Option<&str> {
    fleet.status.as_ref()?.regions.first()?.unused_volume.as_deref()
}

/// A volume is filled to the last byte: the kubelet's figures, which the chart's alerts look at, tell of it; what is stored is
/// served; what is not fails; and when there is room again, it works.
pub fn full_it_serves_what_it_has(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let namespace = "story-full";
        let origin = Origin::start(stage, namespace).await?;
        let volumes = volume::start(&stage.cluster, 1, "1Gi").await?;
        let directory = volumes.directory(&volumes.names()[0]);
        let path = directory.to_str().context("the directory's name is no text")?;
        stage.cluster.run_inside("mount", &["-t", "tmpfs", "-o", SMALL, "tmpfs", path], "").await?;
        let spec = json!({
            "storage": {"disk": {
                "size": "1Gi", "storageClassName": volume::CLASS, "accessMode": "ReadWriteMany",
            }},
            "upstream": origin.upstream("authority")?,
        });
        stage.apply_fleet(namespace, FLEET, spec).await?;
        stage.wait_settled(namespace, FLEET).await?;
        let address = service_address(stage, namespace).await?;
        let (known, unknown) = (Module::new(40, 0).zip(), Module::new(41, 0).zip());
        let (status, stored) = ask(&address, &known, PATIENT).await?;
        ensure!(status == 200, "the first fetch is answered with {status}");

        fill(stage, &directory).await?;
        let free = until("the kubelet tells of a full volume", Duration::from_mins(3), || async {
            Ok(free_share(stage, namespace).await?.filter(|free| *free < 0.03))
        });
        stage.progress.note(format!("  the kubelet's figures for a full volume: {:.3} of it is free", free.await?));
        ensure!(ask(&address, &known, PATIENT).await? == (200, stored.clone()), "what is stored is not served");
        for attempt in 1..=3 {
            let (status, _) = ask(&address, &unknown, PATIENT).await?;
            ensure!(status >= 500, "attempt {attempt} for what does not fit is answered with {status}");
        }
        with_room_again(stage, path, &address, &unknown).await?;

        stage.fleets(namespace).delete(FLEET, &DeleteParams::foreground()).await?;
        until("the fleet is gone", Duration::from_mins(2), || async {
            Ok(stage.fleets(namespace).get_opt(FLEET).await?.is_none().then_some(()))
        })
        .await?;
        stage.cluster.kubectl(&["-n", namespace, "delete", "pvc", "corp-data", "--wait"]).await?;
        stage.cluster.run_inside("umount", &[path], "").await?;
        volumes.close().await?;
        stage.abandon(namespace).await?;
        before.expect_only(&stage.cluster)
    })
}

/// What did not fit is fetched and stored whole once there is room.
async fn with_room_again(stage: &Stage, path: &str, address: &str, zip: &str) -> Result<()> {
    let go_mod = zip.replace(".zip", ".mod");
    // A file that was begun stays, and Athens answers with what there is of it; the go command's checksums refuse that.
    let (status, body) = ask(address, &go_mod, PATIENT).await?;
    stage.progress.note(format!("  its go.mod on a full volume: {status} {}", body.len()));
    stage.cluster.run_inside("rm", &[&format!("{path}/filler")], "").await?;
    let (status, _) = ask(address, zip, PATIENT).await?;
    ensure!(status == 200, "with room again, a miss is answered with {status}");
    let (status, body) = ask(address, &go_mod, PATIENT).await?;
    ensure!(status == 200 && body.starts_with("module "), "with room again, go.mod is answered with {status}: {body}");
    Ok(())
}

/// Leaves no byte free.
async fn fill(stage: &Stage, directory: &Path) -> Result<()> {
    let script = format!("dd if=/dev/zero of={}/filler bs=4k 2>&1 || true", directory.display());
    let said = stage.cluster.run_inside("sh", &["-c", &script], "").await?;
    ensure!(said.contains("No space left"), "the volume is not full: {said}");
    Ok(())
}

/// How much of the fleet's volume is free, by the series that the chart's alerts use.
async fn free_share(stage: &Stage, namespace: &str) -> Result<Option<f64>> {
    let metrics = stage
        .cluster
        .kubectl(&["get", "--raw", &format!("/api/v1/nodes/{}/proxy/metrics", stage.cluster.node())])
        .await?;
    let value = |series: &str| {
        let labels = format!("{series}{{namespace=\"{namespace}\",persistentvolumeclaim=\"corp-data\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&labels)?.trim().parse::<f64>().ok())
    };
    let (free, all) = (value("kubelet_volume_stats_available_bytes"), value("kubelet_volume_stats_capacity_bytes"));
    Ok(free.zip(all).map(|(free, all)| free / all))
}
