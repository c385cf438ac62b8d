//! Clusters without kubelets: their links, and their pods.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use nix::sys::signal::Signal;
use serde_json::json;

use super::on_a_lab;
use crate::cluster::{Cluster, Lab, Place, Profile, Reach, Spec, until};
use crate::progress::Progress;
use crate::tools::{self, Family};

fn control_planes(clusters: u8) -> Spec {
    Spec { profile: Profile::ControlPlane, clusters, ..Spec::default() }
}

pub(super) async fn cut_and_heal(progress: &Progress) -> Result<()> {
    on_a_lab(&control_planes(2), progress, async |lab| {
        let (a, b) = (lab.cluster("a")?, lab.cluster("b")?);
        reach(lab, a, b).await.context("before the cut")?;
        b.cut().await?;
        let start = Instant::now();
        let error = reach(lab, a, b).await.err().context("the cut link still carries")?;
        progress.note(format!("cut: refused after {:.1} s: {error:#}", start.elapsed().as_secs_f64()));
        b.client().await?.apiserver_version().await.context("the host must still reach a cluster that is cut off")?;
        b.heal().await?;
        let start = Instant::now();
        until("the healed link to carry", Duration::from_secs(30), || async { Ok(reach(lab, a, b).await.ok()) })
            .await?;
        progress.note(format!("healed: reached after {:.1} s", start.elapsed().as_secs_f64()));
        reach(lab, b, a).await.context("in the other direction")
    })
    .await
}

/// Asks the API server of one cluster from within another.
async fn reach(lab: &Lab, from: &Cluster, to: &Cluster) -> Result<()> {
    let kubeconfig = to.kubeconfig_from_other_clusters().to_string_lossy().into_owned();
    let args = ["--kubeconfig", &kubeconfig, "--request-timeout=5s", "get", "--raw", "/readyz"];
    lab.machine().run(&Place::Inside(from.name().into()), tools::bin(Family::Kubernetes, "kubectl"), &args).await?;
    Ok(())
}

pub(super) async fn hundred_pods(progress: &Progress) -> Result<()> {
    on_a_lab(&control_planes(1), progress, async |lab| {
        let cluster = lab.cluster("a")?;
        cluster.namespace("crowd").await?;
        let api: Api<Deployment> = Api::namespaced(cluster.client().await?, "crowd");
        let start = Instant::now();
        api.create(&PostParams::default(), &serde_json::from_value(crowd(100))?).await?;
        until("100 pods to be ready", Duration::from_mins(2), || async {
            let ready = api.get("crowd").await?.status.and_then(|status| status.ready_replicas);
            Ok((ready == Some(100)).then_some(()))
        })
        .await?;
        progress.note(format!("100 pods ready after {:.1} s", start.elapsed().as_secs_f64()));
        account_needs_rights(cluster).await?;
        components_come_back(cluster, progress).await?;
        let written = audited_writes(cluster, "lab-admin")?;
        ensure!(written > 0, "the audit log does not show what the administrator wrote");
        api.delete("crowd", &DeleteParams::foreground()).await?;
        until("the pods to be gone", Duration::from_mins(2), || async {
            Ok(api.get_opt("crowd").await?.is_none().then_some(()))
        })
        .await
    })
    .await
}

fn crowd(replicas: i32) -> serde_json::Value {
    let labels = json!({"app": "crowd"});
    let locked = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "crowd"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "lab.invalid/none:1", "securityContext": locked}]},
            },
        },
    })
}

/// An account of a test is nobody until it is given rights, unlike the administrator.
async fn account_needs_rights(cluster: &Cluster) -> Result<()> {
    let path = cluster.service_account_kubeconfig("crowd", "visitor", Reach::Host).await?;
    let error = cluster.client_as(&path).await?.list_core_api_resources("v1").await.err();
    ensure!(error.is_none(), "an account may discover resources, but: {error:?}");
    let api: Api<Deployment> = Api::namespaced(cluster.client_as(&path).await?, "crowd");
    let error =
        api.list(&kube::api::ListParams::default()).await.err().context("an account without rights may list")?;
    ensure!(error.to_string().contains("system:serviceaccount:crowd:visitor"), "{error}");
    Ok(())
}

/// Killed, stopped and hanging components are what tests of faults are made of.
async fn components_come_back(cluster: &Cluster, progress: &Progress) -> Result<()> {
    let start = Instant::now();
    cluster.kill("etcd").await?;
    ensure!(cluster.pids("etcd").is_empty(), "etcd runs although it was killed");
    cluster.start("etcd").await?;
    cluster.wait_ready(Duration::from_mins(2)).await?;
    progress.note(format!("ready again {:.1} s after etcd was killed and started", start.elapsed().as_secs_f64()));
    let (start, before) = (Instant::now(), cluster.pids("kube-apiserver"));
    cluster.restart("kube-apiserver").await?;
    cluster.wait_ready(Duration::from_mins(2)).await?;
    ensure!(cluster.pids("kube-apiserver") != before, "the API server was not restarted");
    progress
        .note(format!("ready again {:.1} s after the API server was told to restart", start.elapsed().as_secs_f64()));
    cluster.signal("kube-controller-manager", Signal::SIGSTOP)?;
    cluster.signal("kube-controller-manager", Signal::SIGCONT)?;
    ensure!(cluster.start("kube-scheduler").await.is_err(), "a component that runs was started a second time");
    Ok(())
}

fn audited_writes(cluster: &Cluster, user: &str) -> Result<usize> {
    let text = std::fs::read_to_string(cluster.audit_log()).context("cannot read the audit log")?;
    let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let writes = ["create", "update", "patch", "delete"];
    Ok(events
        .filter(|event| event["user"]["username"] == user)
        .filter(|event| event["verb"].as_str().is_some_and(|verb| writes.contains(&verb)))
        .count())
}
