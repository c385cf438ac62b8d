//! What a fleet's NetworkPolicy lets through, shown on a pod that only carries the label which the policy selects: unlike a proxy
//! it listens on another port as well, and can be asked to knock at the node's own services.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{Stage, Telling, convergence::in_memory};
use crate::{
    cluster::until,
    image::{self, Image},
};

const NAMESPACE: &str = "ports";
/// Where a pod may share the node's network, which `restricted` forbids.
const NODE_NAMESPACE: &str = "ports-of-the-node";
const STAND_IN: &str = "stand-in";
const STRANGER: &str = "stranger";
const NODE_SERVICE: &str = "node-service";
/// An address like those where nodes hand out credentials. The node gets it for the time of the story.
const NODE_ADDRESS: &str = "169.254.77.1";
const NODE_PORT: u16 = 8477;
/// For pods to start, and for rules to follow a label.
const SOON: Duration = Duration::from_mins(1);

/// With the fleet's label, only the proxy's port of a pod is reached by other pods, and it reaches no service of the node; without
/// the label both is possible, so it is the policy that keeps them apart. Behind an edge, that port is the edge's alone.
pub fn only_the_port_is_open(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let address = format!("{NODE_ADDRESS}/32");
        stage.cluster.run_inside("ip", &["address", "replace", &address, "dev", "lo"], "").await?;
        let told = with_node_service(stage).await;
        stage.cluster.run_inside("ip", &["address", "delete", &address, "dev", "lo"], "").await?;
        let namespaces: Api<Namespace> = Api::all(stage.client.clone());
        // A story that failed early has not made it.
        let _ = namespaces.delete(NODE_NAMESPACE, &DeleteParams::background()).await;
        told
    })
}

async fn with_node_service(stage: &Stage) -> Result<()> {
    stage.cluster.namespace(NAMESPACE).await?;
    stage.apply_fleet(NAMESPACE, "corp", in_memory()).await?;
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    let namespace = json!({"metadata": {"name": NODE_NAMESPACE}});
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
    let at_node = format!("{NODE_ADDRESS}:{NODE_PORT}");
    create(stage, NODE_NAMESPACE, pod(NODE_SERVICE, &json!({}), &[&at_node], true)).await?;
    create(stage, NAMESPACE, pod(STRANGER, &json!({}), &["3000", "3001"], false)).await?;
    stage.wait_settled(NAMESPACE, "corp").await?;
    create(stage, NAMESPACE, pod(STAND_IN, &json!({"goproxy.rs/fleet": "corp"}), &["3000", "3001"], false)).await?;

    let own = address_of(stage, STAND_IN).await?;
    address_of(stage, STRANGER).await?;
    let proxy = proxy_address(stage).await?;
    ensure!(reaches(stage, STRANGER, &format!("{proxy}:3000/healthz")).await?, "the proxy's own port is closed");
    until("a pod without the label reaches the service of the node", SOON, || async {
        Ok(reaches(stage, STRANGER, &at_node).await?.then_some(()))
    })
    .await?;
    let guarded = Doors { port: true, other_port: false, node: false };
    let open = Doors { port: true, other_port: true, node: true };
    expect(stage, &own, "with the fleet's label", &guarded).await?;
    label(stage, STAND_IN, "goproxy.rs/fleet", &Value::Null).await?;
    expect(stage, &own, "without the fleet's label", &open).await?;
    label(stage, STAND_IN, "goproxy.rs/fleet", &json!("corp")).await?;
    expect(stage, &own, "with the fleet's label again", &guarded).await?;
    only_an_edge_comes_in(stage, &proxy).await?;
    stage.abandon(NAMESPACE).await
}

/// What was reached.
#[derive(Debug, PartialEq, Eq)]
struct Doors {
    /// The port of proxies, by a stranger.
    port: bool,
    /// The port beside it, by a stranger.
    other_port: bool,
    /// The service of the node, by the pod that stands in for a proxy.
    node: bool,
}

impl Doors {
    async fn try_all(stage: &Stage, own: &str) -> Result<Self> {
        Ok(Self {
            port: reaches(stage, STRANGER, &format!("{own}:3000")).await?,
            other_port: reaches(stage, STRANGER, &format!("{own}:3001")).await?,
            node: reaches(stage, STAND_IN, &format!("{NODE_ADDRESS}:{NODE_PORT}")).await?,
        })
    }
}

async fn expect(stage: &Stage, own: &str, when: &str, wanted: &Doors) -> Result<()> {
    let what = format!("{when}, what is reached is {wanted:?}");
    let outcome = until(&what, SOON, || async { Ok((Doors::try_all(stage, own).await? == *wanted).then_some(())) });
    if let Err(error) = outcome.await {
        bail!("{error:#}; it is {:?}", Doors::try_all(stage, own).await?);
    }
    Ok(())
}

/// Whether a pod gets an answer from there.
async fn reaches(stage: &Stage, from: &str, at: &str) -> Result<bool> {
    let script = format!("timeout 3 wget -q -O /dev/null http://{at} 2>/dev/null && echo open || echo closed");
    let said = stage.cluster.kubectl(&["-n", NAMESPACE, "exec", from, "--", "sh", "-c", &script]).await?;
    match said.trim() {
        "open" => Ok(true),
        "closed" => Ok(false),
        other => bail!("{from} says {other:?} of {at}"),
    }
}

/// Gives a pod this label, or takes it away.
async fn label(stage: &Stage, pod: &str, key: &str, value: &Value) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let edit = json!({"metadata": {"labels": {key: value}}});
    pods.patch(pod, &PatchParams::default(), &Patch::Merge(edit)).await?;
    Ok(())
}

/// Once clients come through an edge, the proxy's port is open to pods of the edge and to nobody else.
async fn only_an_edge_comes_in(stage: &Stage, proxy: &str) -> Result<()> {
    let mut spec = in_memory();
    spec["edge"] = json!({});
    stage.apply_fleet(NAMESPACE, "corp", spec).await?;
    let door = format!("{proxy}:3000/healthz");
    for (edge, open) in [(Value::Null, false), (json!("corp"), true), (Value::Null, false)] {
        label(stage, STRANGER, "goproxy.rs/edge", &edge).await?;
        let what = format!("a pod with the label of an edge {edge} comes in: {open}");
        until(&what, Duration::from_mins(2), || async {
            Ok((reaches(stage, STRANGER, &door).await? == open).then_some(()))
        })
        .await?;
    }
    Ok(())
}

async fn create(stage: &Stage, namespace: &str, pod: Value) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    Ok(())
}

/// Waits until a pod runs.
async fn address_of(stage: &Stage, name: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    until(&format!("the pod {name} runs"), SOON, || async {
        let status = pods.get(name).await?.status.unwrap_or_default();
        Ok(status.pod_ip.filter(|_| status.phase.as_deref() == Some("Running")))
    })
    .await
}

/// The real proxy is the one that belongs to a revision.
async fn proxy_address(stage: &Stage) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let proxies = ListParams::default().labels("goproxy.rs/fleet=corp,goproxy.rs/revision");
    let proxy = pods.list(&proxies).await?.into_iter().next().context("the fleet has no pod")?;
    proxy.status.and_then(|status| status.pod_ip).context("the proxy has no address")
}

/// A pod that answers on these ports, in the node's network or in its own.
fn pod(name: &str, labels: &Value, ports: &[&str], on_the_node: bool) -> Value {
    let servers: Vec<String> = ports.iter().map(|port| format!("busybox httpd -p {port} -h /tmp")).collect();
    let listen = servers.join("; ");
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "automountServiceAccountToken": false, "hostNetwork": on_the_node, "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": image::reference(Image::Busybox), "imagePullPolicy": "Never",
                // Servers in the background end with the first process, which only stays.
                "command": ["sh", "-c", format!("echo open >/tmp/index.html; {listen}; exec tail -f /dev/null")],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}
