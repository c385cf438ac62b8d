//! A node on which pods really run: containerd, kubelet, service proxy and policy engine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use super::config::{self, Inputs};
use super::making::BringUp;
use super::pki::Identity;
use super::process::{Machine, Place, Process};
use super::{resolver, wait};
use crate::image::{self, Image};
use crate::tools::{self, Family};

/// Images that the cluster itself needs.
pub(super) const OWN_IMAGES: [Image; 5] =
    [Image::Pause, Image::CoreDns, Image::MetricsServer, Image::LocalPathProvisioner, Image::Busybox];

/// Starts the container runtime and loads the images that the cluster itself needs; needs no API server yet.
pub(super) async fn start_runtime(up: &BringUp<'_>) -> Result<()> {
    let pause = image::reference(Image::Pause);
    let inputs = inputs(up, &pause);
    std::fs::create_dir_all(up.path("cni"))?;
    std::fs::write(up.path("containerd.toml"), config::containerd(&inputs)?)?;
    std::fs::write(up.path("cni/10-lab.conflist"), serde_json::to_vec_pretty(&config::cni(&inputs))?)?;
    up.machine.cgroups.create_everywhere(&config::pod_cgroup(up.name))?;
    let process = Process::inside(up.name, "containerd", "/usr/bin/containerd")
        .args([format!("--config={}", up.path_text("containerd.toml")), "--log-level=warn".to_owned()]);
    up.machine.start(&process).await?;
    let socket = up.path("containerd.sock");
    wait::until(&format!("containerd of {}", up.name), Duration::from_secs(20), || async {
        up.machine.expect_running(up.name, &["containerd"])?;
        Ok(socket.exists().then_some(()))
    })
    .await?;
    for image in OWN_IMAGES {
        let archive = image::archive(image, up.progress)?;
        import(up.machine, up.name, &archive).await?;
    }
    Ok(())
}

/// Loads a docker-archive into a cluster's container runtime.
pub(super) async fn import(machine: &Machine, cluster: &str, archive: &Path) -> Result<()> {
    let socket = machine.state.group(cluster).join("containerd.sock");
    let (socket, archive) = (socket.to_string_lossy(), archive.to_string_lossy());
    let args = ["-a", &socket, "-n", "k8s.io", "images", "import", &archive];
    machine.run(&Place::Inside(cluster.into()), "/usr/bin/ctr", &args).await?;
    Ok(())
}

/// Starts the kubelet and the service proxy.
pub(super) async fn start(up: &BringUp<'_>) -> Result<()> {
    let pause = image::reference(Image::Pause);
    let inputs = inputs(up, &pause);
    config::write_yaml(&up.path("kubelet.yaml"), &config::kubelet(&inputs))?;
    config::write_yaml(&up.path("kube-proxy.yaml"), &config::kube_proxy(&inputs))?;
    std::fs::write(up.path("resolv.conf"), resolver::resolv_conf(up).await?)?;
    up.write_kubeconfig("kubelet", &Identity::node(up.node))?;
    up.write_kubeconfig("kube-proxy", &Identity::user("system:kube-proxy"))?;
    up.write_kubeconfig("kube-router", &Identity::master("kube-router"))?;
    up.machine.start(&kubelet(up)).await?;
    let proxy = Process::inside(up.name, "kube-proxy", tools::bin(Family::Kubernetes, "kube-proxy"));
    up.machine.start(&proxy.args([format!("--config={}", up.path_text("kube-proxy.yaml"))])).await
}

/// Waits for the node, adds the policy engine, and waits until the node says that it is ready.
pub(super) async fn wait_ready(up: &BringUp<'_>, client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    wait::until(&format!("the registration of the node {}", up.node), Duration::from_mins(1), || async {
        up.machine.expect_running(up.name, &["containerd", "kubelet", "kube-proxy"])?;
        Ok(nodes.get_opt(up.node).await.context("cannot read the node")?.map(|_| ()))
    })
    .await?;
    // It gives up at once when its node is not there.
    up.machine.start(&kube_router(up)).await?;
    wait::until(&format!("the node {}", up.node), Duration::from_mins(1), || async {
        up.machine.expect_running(up.name, &["containerd", "kubelet", "kube-proxy", "kube-router"])?;
        let node = nodes.get_opt(up.node).await.context("cannot read the node")?;
        let conditions = node.and_then(|node| node.status).and_then(|status| status.conditions).unwrap_or_default();
        Ok(conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True").then_some(()))
    })
    .await
}

fn kubelet(up: &BringUp<'_>) -> Process {
    Process::inside(up.name, "kubelet", tools::bin(Family::Kubernetes, "kubelet")).args([
        format!("--config={}", up.path_text("kubelet.yaml")),
        format!("--kubeconfig={}", up.kubeconfig_text("kubelet")),
        format!("--hostname-override={}", up.node),
        format!("--node-ip={}", up.addresses.wan()),
    ])
}

/// Only the firewall of it: routes are the bridge's, services are the proxy's.
fn kube_router(up: &BringUp<'_>) -> Process {
    Process::inside(up.name, "kube-router", tools::bin(Family::KubeRouter, "kube-router"))
        .args([
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            "--run-loadbalancer=false",
            "--enable-cni=false",
            "--health-port=20244",
            "--iptables-sync-period=10s",
        ])
        .args([
            format!("--kubeconfig={}", up.kubeconfig_text("kube-router")),
            format!("--hostname-override={}", up.node),
            format!("--service-cluster-ip-range={}", up.addresses.services()),
        ])
}

fn inputs<'a>(up: &'a BringUp<'_>, pause_image: &'a str) -> Inputs<'a> {
    Inputs {
        cluster: up.name,
        node: up.node,
        directory: &up.directory,
        addresses: up.addresses,
        pki: &up.pki,
        pause_image,
        mtu: up.mtu,
    }
}
