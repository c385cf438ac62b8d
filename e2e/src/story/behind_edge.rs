//! A real edge in front of real proxies: what clients get from it.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::{go_proxy::GoProxy, status::ClientsReach};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, LogParams},
};
use serde_json::json;

use super::{
    Stage, Telling,
    download::{FLEET, Origin, address, fleet},
    serving::{PATIENT, exchange},
};
use crate::{
    cluster::until,
    go_client::GoClient,
    origin::generated::{self, Module},
};

/// For an edge to be started, told and reached by clients, and for pods to end.
pub(super) const SOON: Duration = Duration::from_mins(2);

/// A project downloads through an edge with every sum verified; and again, from records and files that the edge has, when no proxy is
/// left.
pub fn an_edge_keeps_what_clients_download(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "story-edge";
        let origin = Origin::start(stage, namespace).await?;
        let mut spec = json!({ "edge": {}, "rollout": { "scaleDownDelay": "5s" } });
        let settings = fleet(stage, &origin, spec.clone()).await?;
        reached(stage, namespace, 1).await?;
        let url = address(stage, namespace).await?;
        let work = tempfile::tempdir().context("cannot make a directory for the client")?;
        let client = GoClient::new(work.path(), &settings, &url);
        let project = |name: &str| work.path().join(name);
        for name in ["first", "second"] {
            generated::write_consumer(&project(name), false)?;
        }
        let cold = client.download(&project("first"), "cold").await?;
        ensure!(cold.modules.len() == generated::MODULES, "{} modules came", cold.modules.len());
        let records: usize = cold.records.values().sum();
        ensure!(records >= generated::MODULES, "{records} records of the checksum database came: {:?}", cold.records);
        hits(&url).await?;

        let before = origin.requests(stage).await?.len();
        spec["replicas"] = json!(0);
        spec["upstream"] = origin.upstream("authority")?;
        stage.apply_fleet(namespace, FLEET, spec).await?;
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
        let proxies = ListParams::default().labels(&format!("goproxy.rs/fleet={FLEET}"));
        until("no proxy is left", SOON, || async { Ok(pods.list(&proxies).await?.items.is_empty().then_some(())) })
            .await?;
        let warm = client.download(&project("second"), "warm").await.context("with no proxy")?;
        ensure!(warm.modules.len() == cold.modules.len(), "{} modules came the second time", warm.modules.len());
        ensure!(origin.requests(stage).await?.len() == before, "the origin was asked");
        stage.progress.note(format!("  cold: {}; without a proxy: {}", cold.summary(), warm.summary()));
        stage.abandon(namespace).await
    })
}

/// Waits until clients reach the edge, and so many pods of it are ready.
pub(super) async fn reached(stage: &Stage, namespace: &str, pods: i32) -> Result<()> {
    let reached = |fleet: &GoProxy| {
        let edge = fleet.status.as_ref().and_then(|status| status.edge.as_ref());
        edge.is_some_and(|edge| edge.ready_replicas == pods && edge.clients == ClientsReach::Edges)
    };
    stage.wait_fleet(namespace, FLEET, "clients reach the edge", SOON, reached).await?;
    stage.wait_settled(namespace, FLEET).await?;
    // What the Service says, the node carries out a moment later.
    let address = host(&address(stage, namespace).await?);
    until("the node leads clients to the edge", SOON, || async {
        let (head, _) = exchange(&address, "/healthz", PATIENT).await?;
        Ok(head.contains("Server: nginx").then_some(()))
    })
    .await
}

/// What the containers of a namespace said last, for whoever wonders why a story failed.
pub(super) async fn words(stage: &Stage, namespace: &str) -> String {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
    let mut said = String::new();
    for pod in pods.list(&ListParams::default()).await.map(|found| found.items).unwrap_or_default() {
        let spec = pod.spec.clone().unwrap_or_default();
        for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
            let name = &container.name;
            let last = LogParams { container: Some(name.clone()), tail_lines: Some(20), ..LogParams::default() };
            if let Ok(text) = pods.logs(&pod.name_any(), &last).await {
                let _ = write!(said, "--- {name} of {}\n{text}", pod.name_any());
            }
        }
    }
    said
}

/// What was never asked for is fetched, and then it is there; what the go command has fetched is there.
async fn hits(url: &str) -> Result<()> {
    let (never, fetched) = (Module::new(1, 0).zip(), generated::consumed().next().context("no module")?.zip());
    for (path, expected) in [(&never, "MISS"), (&never, "HIT"), (&fetched, "HIT")] {
        let (head, _) = exchange(&host(url), path, PATIENT).await?;
        let cache = head.lines().find_map(|line| line.strip_prefix("X-Cache-Status: ")).unwrap_or_default();
        ensure!(head.contains(" 200 ") && cache == expected, "{path}: {expected} was expected: {head}");
    }
    Ok(())
}

/// Where the host reaches a Service, without the scheme.
pub(super) fn host(url: &str) -> String {
    format!("{}:80", url.trim_start_matches("http://"))
}
