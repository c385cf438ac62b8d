//! An edge in front of a fleet, told without its containers: the story answers in their place, with the rights of their account.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::{edge_state::EdgeState, go_proxy::GoProxy, status::ClientsReach};
use k8s_openapi::api::{
    core::v1::{Pod, Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    Stage, Telling,
    convergence::{KINDS, children, in_memory, stable},
};
use crate::{
    cluster::{Reach, until},
    story::holds,
};

const NAMESPACE: &str = "edge";
const SOON: Duration = Duration::from_secs(60);
const PODS: [&str; 2] = ["corp-edge-0", "corp-edge-1"];

fn with_edge() -> Value {
    let mut spec = in_memory();
    spec["edge"] = json!({ "replicas": PODS.len() });
    spec
}

/// What makes another revision of it.
fn another(mut spec: Value) -> Value {
    spec["engine"] = json!({ "logLevel": "Debug" });
    spec
}

/// What the agents of an edge do, as far as the operator sees it.
struct Agents {
    client: Client,
    states: Api<EdgeState>,
    fleet: String,
}

impl Agents {
    /// With the account that the operator made for them.
    async fn of(stage: &Stage, namespace: &str, fleet: &str) -> Result<Self> {
        let account = format!("{fleet}-edge");
        let kubeconfig = stage.cluster.service_account_kubeconfig(namespace, &account, Reach::Host).await?;
        let client = stage.cluster.client_as(&kubeconfig).await?;
        Ok(Self { states: Api::namespaced(client.clone(), namespace), client, fleet: fleet.to_owned() })
    }

    /// Each answers that it serves by the newest.
    async fn follow(&self, pods: &[&str]) -> Result<String> {
        let fleet = self.fleet.as_str();
        let settled = self.states.get(fleet).await?.spec.settled;
        for pod in pods {
            let report = json!({ "protocol": 1, "generation": settled.number });
            let body = json!({
                "apiVersion": "goproxy.rs/v1alpha1", "kind": "EdgeState", "metadata": { "name": fleet },
                "status": { "edges": { *pod: report } },
            });
            self.states.patch_status(fleet, &PatchParams::apply(pod), &Patch::Apply(body)).await?;
        }
        Ok(settled.settings.weights.stable)
    }

    /// Their rights are what they need, and nothing of anybody else.
    async fn may_do_little(&self) -> Result<()> {
        let refused = |what: &str, answer: Result<(), kube::Error>| match answer {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            other => Err(anyhow::anyhow!("{what}: {other:?}")),
        };
        let named = ListParams::default().fields("metadata.name=corp");
        ensure!(self.states.list(&named).await?.items.len() == 1, "the edge does not find what it is told");
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), NAMESPACE);
        let engines = ListParams::default().labels("kubernetes.io/service-name=corp-engine");
        let found = slices.list(&engines).await?.items;
        ensure!(found.iter().any(|slice| !slice.endpoints.is_empty()), "the edge finds no engine: {found:?}");
        let all = self.states.list(&ListParams::default()).await.map(drop);
        refused("every fleet's orders are read", all)?;
        let other = self.states.get("other").await.map(drop);
        refused("another fleet's orders are read", other)?;
        let edit = Patch::Merge(json!({ "spec": { "protocol": 1 } }));
        let orders = self.states.patch("corp", &PatchParams::default(), &edit).await.map(drop);
        refused("an edge gives itself orders", orders)?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        refused("pods are read", pods.list(&ListParams::default()).await.map(drop))?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        refused("Secrets are read", secrets.list(&ListParams::default()).await.map(drop))
    }
}

/// The one pod of a fleet's edge answers, and clients reach it.
pub async fn an_edge_serves(stage: &Stage, namespace: &str, fleet: &str) -> Result<()> {
    let asked = |fleet: &GoProxy| reach(fleet).is_some_and(|(ready, _)| ready > 0);
    stage.wait_fleet(namespace, fleet, "the edge's pod is ready", SOON, asked).await?;
    Agents::of(stage, namespace, fleet).await?.follow(&[&format!("{fleet}-edge-0")]).await?;
    let came = |fleet: &GoProxy| reach(fleet) == Some((1, ClientsReach::Edges));
    stage.wait_fleet(namespace, fleet, "clients reach the edge", SOON, came).await.map(drop)
}

async fn selector(stage: &Stage, label: &str) -> Result<Option<String>> {
    let services: Api<Service> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let spec = services.get("corp").await?.spec.context("a Service without a spec")?;
    Ok(spec.selector.and_then(|selector| selector.get(label).cloned()))
}

async fn lets_in_the_edge_alone(stage: &Stage) -> Result<bool> {
    let policies: Api<NetworkPolicy> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let spec = policies.get("corp-engine").await?.spec.context("a NetworkPolicy without a spec")?;
    Ok(spec.ingress.into_iter().flatten().any(|rule| rule.from.is_some_and(|from| !from.is_empty())))
}

fn reach(fleet: &GoProxy) -> Option<(i32, ClientsReach)> {
    let edge = fleet.status.as_ref()?.edge.as_ref()?;
    Some((edge.ready_replicas, edge.clients))
}

/// Clients come to an edge once it serves, stay through a change of the engine, and leave it before it goes.
pub fn an_edge_comes_stays_and_goes(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        stage.cluster.namespace(NAMESPACE).await?;
        stage.apply_fleet(NAMESPACE, "corp", in_memory()).await?;
        let first = stable(&stage.wait_settled(NAMESPACE, "corp").await?)?;
        stage.apply_fleet(NAMESPACE, "corp", with_edge()).await?;
        let ready = |fleet: &GoProxy| reach(fleet) == Some((2, ClientsReach::Engines));
        let fleet = stage.wait_fleet(NAMESPACE, "corp", "the edge's pods are ready", SOON, ready).await?;
        ensure!(holds(&fleet, "Ready") == Some(true), "clients were left alone");
        ensure!(
            selector(stage, "goproxy.rs/revision").await?.is_some(),
            "clients were led to an edge that answered nothing"
        );
        let agents = Agents::of(stage, NAMESPACE, "corp").await?;
        agents.may_do_little().await?;
        come(stage, &agents, &first).await?;
        change(stage, &agents, &first).await?;
        go(stage).await?;
        stage.abandon(NAMESPACE).await
    })
}

async fn come(stage: &Stage, agents: &Agents, first: &str) -> Result<()> {
    let told = agents.follow(&PODS[..1]).await?;
    ensure!(told == first, "the edge is told of {told}, and clients get {first}");
    let came = |fleet: &GoProxy| reach(fleet) == Some((2, ClientsReach::Edges));
    let fleet = stage.wait_fleet(NAMESPACE, "corp", "clients reach the edge", SOON, came).await?;
    ensure!(selector(stage, "goproxy.rs/edge").await?.as_deref() == Some("corp"), "the Service leads elsewhere");
    ensure!(stable(&fleet)? == first, "an edge made a new revision");
    agents.follow(&PODS).await?;
    until("the proxies close", SOON, || async { Ok(lets_in_the_edge_alone(stage).await?.then_some(())) }).await
}

async fn change(stage: &Stage, agents: &Agents, first: &str) -> Result<()> {
    stage.apply_fleet(NAMESPACE, "corp", another(with_edge())).await?;
    let moved = |fleet: &GoProxy| stable(fleet).is_ok_and(|now| now != first);
    let fleet = stage.wait_fleet(NAMESPACE, "corp", "clients move", SOON, moved).await?;
    let second = stable(&fleet)?;
    until("the edge is told", SOON, || async { Ok((agents.follow(&PODS[..1]).await? == second).then_some(())) })
        .await?;
    let waits = |fleet: &GoProxy| {
        let regions = fleet.status.iter().flat_map(|status| &status.regions);
        let mut rollouts = regions.filter_map(|region| region.rollout.as_ref());
        rollouts.any(|rollout| format!("{:?}", rollout.waiting_for.reason) == "EdgesFollow")
    };
    stage.wait_fleet(NAMESPACE, "corp", "the old revision waits for the other edge", SOON, waits).await?;
    agents.follow(&PODS).await?;
    stage.wait_settled(NAMESPACE, "corp").await.map(drop)
}

async fn go(stage: &Stage) -> Result<()> {
    stage.apply_fleet(NAMESPACE, "corp", another(in_memory())).await?;
    let gone = |fleet: &GoProxy| fleet.status.as_ref().is_some_and(|status| status.edge.is_none());
    let fleet = stage.wait_fleet(NAMESPACE, "corp", "the edge goes", SOON, gone).await?;
    ensure!(selector(stage, "goproxy.rs/revision").await? == Some(stable(&fleet)?), "clients are led nowhere");
    ensure!(!lets_in_the_edge_alone(stage).await?, "the proxies let nobody in");
    until("nothing of the edge is left", SOON, || async {
        let mut left = 0;
        for kind in KINDS {
            let named = |name: Option<String>| name.is_some_and(|name| name.contains("edge"));
            let found = children(stage, NAMESPACE, "corp", kind).await?;
            left +=
                found.into_iter().filter(|child| kind.2 == "EdgeState" || named(child.metadata.name.clone())).count();
        }
        Ok((left == 0).then_some(()))
    })
    .await
}
