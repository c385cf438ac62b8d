//! The nodes of a control-plane cluster: kwok answers for them and for their pods.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::apply;
use crate::cluster::making::BringUp;
use crate::cluster::pki::Identity;
use crate::cluster::process::Process;
use crate::cluster::wait;
use crate::tools::{self, Family};

/// Behaviours that the program itself does not bring: nodes and pods become ready at once and are deleted at once.
const STAGES: [&str; 5] = [
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
];

pub(in crate::cluster) const NAME: &str = "kwok";

/// Starts kwok and waits for its node.
pub(in crate::cluster) async fn start(up: &BringUp<'_>, client: &Client) -> Result<()> {
    std::fs::write(up.path("kwok-stages.yaml"), stages()?)?;
    up.write_kubeconfig(NAME, &Identity::master(NAME))?;
    let process = Process::inside(up.name, NAME, tools::bin(Family::Kwok, "kwok"))
        .args(["--manage-all-nodes=true", "--node-lease-duration-seconds=40"])
        .args([
            format!("--kubeconfig={}", up.kubeconfig_text(NAME)),
            format!("--config={}", up.path_text("kwok-stages.yaml")),
        ]);
    // It changes four pods at a time, which has not been a limit yet; its client has none.
    up.machine.start(&process).await?;
    apply(client, &[node(up.node)]).await?;
    let nodes: Api<Node> = Api::all(client.clone());
    wait::until(&format!("the node {}", up.node), Duration::from_secs(30), || async {
        up.machine.expect_running(up.name, &[NAME])?;
        let node = nodes.get_opt(up.node).await.context("cannot read the node")?;
        let conditions = node.and_then(|node| node.status).and_then(|status| status.conditions).unwrap_or_default();
        Ok(conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True").then_some(()))
    })
    .await
}

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "type": "kwok",
            },
        },
    })
}

fn stages() -> Result<String> {
    let source = tools::module_dir(Family::Kwok, "sigs.k8s.io/kwok")?.join("kustomize/stage");
    let mut text = String::new();
    for file in STAGES {
        let path = source.join(file);
        text.push_str("---\n");
        text.push_str(&std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
        text.push('\n');
    }
    Ok(text)
}
