//! The demo on a cluster that is not the lab's own to the demo: one of two, reached by its kubeconfig and a registry only.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Stage, Story, Telling};
use crate::cluster::{Process, StateDir, until};
use crate::demo::own::{self, Install, Target};
use crate::operator;

/// Told one after the other on cluster b; cluster a must not notice.
pub const ALL: &[Story] = &[Story {
    name: "the demo works on a cluster of one's own, and down removes exactly what it installed",
    tell: installs_and_removes_itself,
}];

/// What the story runs on this machine.
pub const PROGRAMS: &[(&str, &str)] = &[("skopeo", "skopeo"), ("docker-registry", "docker-registry")];
const CRD: &str = "goproxies.goproxy.rs";
const BYSTANDER: &str = "bystander";

/// Installs, downloads, and removes; in between somebody else makes a fleet, which must survive.
pub fn installs_and_removes_itself(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        stage.cluster.namespace(BYSTANDER).await?;
        let registry = start_registry(stage).await?;
        let kubeconfig = StateDir::from_env().kubeconfig();
        let target = Target::new("lab-b", &kubeconfig);
        let before = everything(&stage.client).await?;
        let beside = everything(&client_of_the_other(stage).await?).await?;

        own::install(&Install::new(target.clone(), &registry, true), &stage.progress).await?;
        let installed = everything(&stage.client).await?;
        ensure!(
            installed.contains(&format!("Namespace {}", own::FLEET_NAMESPACE)),
            "nothing was installed: {installed:?}"
        );

        stage.apply_fleet(BYSTANDER, "theirs", json!({})).await?;
        own::remove(&target, &stage.progress).await?;
        stage.fleets(BYSTANDER).get("theirs").await.context("the fleet of somebody else is gone")?;
        stage.fleets(BYSTANDER).delete("theirs", &DeleteParams::default()).await?;
        own::remove(&target, &stage.progress).await?;
        let gone = "everything that the demo made is gone";
        until(gone, Duration::from_mins(1), || async {
            Ok((everything(&stage.client).await? == before).then_some(()))
        })
        .await
        .with_context(|| format!("before: {before:?}"))?;
        ensure!(
            everything(&client_of_the_other(stage).await?).await? == beside,
            "the other cluster of the kubeconfig changed"
        );
        refuses_a_cluster_in_use(stage, &target, &registry).await
    })
}

/// Where the operator is installed already, nothing is changed.
async fn refuses_a_cluster_in_use(stage: &Stage, target: &Target, registry: &str) -> Result<()> {
    operator::kubectl(&stage.cluster, &stage.repo, &["create", "--filename", "crds"]).await?;
    let before = everything(&stage.client).await?;
    let refused = own::install(&Install::new(target.clone(), registry, true), &stage.progress).await;
    let error = refused.err().context("a second operator was installed on a cluster that had one")?.to_string();
    ensure!(error.contains(CRD) && error.contains("lab-b"), "the refusal does not say what is in the way: {error}");
    ensure!(everything(&stage.client).await? == before, "the refused installation changed something");
    operator::kubectl(&stage.cluster, &stage.repo, &["delete", "--filename", "crds"]).await.map(drop)
}

/// A registry without encryption, as a process of this machine; returns the address for images.
async fn start_registry(stage: &Stage) -> Result<String> {
    let cluster = &stage.cluster;
    let address = format!("{}:5000", cluster.addresses().host_end());
    let configuration = json!({
        "version": 0.1, "log": {"level": "warn"}, "http": {"addr": address},
        "storage": {"filesystem": {"rootdirectory": cluster.directory().join("registry")}},
    });
    let file = cluster.directory().join("registry.yaml");
    std::fs::write(&file, serde_saphyr::to_string(&configuration)?)
        .context("cannot write the registry's configuration")?;
    // What an administrator of nodes would write: this one registry speaks http.
    let hosts = cluster.directory().join("registries").join(&address);
    std::fs::create_dir_all(&hosts)?;
    let url = format!("http://{address}");
    // containerd 1.6 reads no file without a host table, even one that repeats the server.
    let settings = format!("server = \"{url}\"\n[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
    std::fs::write(hosts.join("hosts.toml"), settings)?;
    let process = Process::on_host(cluster.name(), "registry", "/usr/bin/docker-registry");
    cluster.run(&process.args(["serve".to_owned(), file.display().to_string()])).await?;
    until("the registry answers", Duration::from_secs(20), || async {
        Ok(tokio::net::TcpStream::connect(&address).await.is_ok().then_some(()))
    })
    .await?;
    Ok(format!("{address}/demo"))
}

async fn client_of_the_other(stage: &Stage) -> Result<Client> {
    let options = kube::config::KubeConfigOptions { context: Some("lab-a".to_owned()), ..Default::default() };
    let kubeconfig = kube::config::Kubeconfig::read_from(StateDir::from_env().kubeconfig())?;
    ensure!(stage.cluster.name() == "b", "this story is for the second cluster");
    Ok(Client::try_from(kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?)?)
}

/// Names of everything without a namespace that the demo could leave behind; what is in namespaces goes with them.
async fn everything(client: &Client) -> Result<BTreeSet<String>> {
    let mut all = names::<Namespace>(client).await?;
    all.extend(names::<CustomResourceDefinition>(client).await?);
    all.extend(names::<ClusterRole>(client).await?);
    all.extend(names::<ClusterRoleBinding>(client).await?);
    all.extend(names::<PersistentVolume>(client).await?);
    Ok(all)
}

async fn names<K>(client: &Client) -> Result<BTreeSet<String>>
where
    K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let items = api.list(&ListParams::default()).await?.items;
    Ok(items.iter().map(|item| format!("{} {}", K::kind(&()), item.name_any())).collect())
}
