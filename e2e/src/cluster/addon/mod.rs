//! What runs on top of a cluster for it to be a usual one: names, metrics, storage; and the nodes of a cluster that has none.

pub(super) mod coredns;
pub(super) mod kwok;
pub(super) mod local_path;
pub(super) mod metrics;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

use super::wait;

/// Field manager of the objects of the lab.
pub(super) const MANAGER: &str = "goproxy-lab";

/// A service of the cluster itself, which runs in pods of it.
pub(super) struct Service {
    /// Namespace of its Deployment.
    pub(super) namespace: &'static str,
    /// Name of its Deployment.
    pub(super) name: &'static str,
    /// Whether a cluster counts as up only when it serves. Metrics are not waited for: they are ready after two readings that are
    /// ten seconds apart, and autoscaling alone asks for them.
    pub(super) awaited: bool,
}

/// The services of a cluster whose pods run.
pub(super) const SERVICES: [Service; 3] = [
    Service { namespace: coredns::NAMESPACE, name: coredns::NAME, awaited: true },
    Service { namespace: local_path::NAMESPACE, name: local_path::NAME, awaited: true },
    Service { namespace: metrics::NAMESPACE, name: metrics::NAME, awaited: false },
];

/// Bootstrap objects (namespaces, default roles) appear shortly after the API server is ready.
const APPLY_DEADLINE: Duration = Duration::from_secs(30);

/// Applies objects in order, each until the API server takes it.
pub(super) async fn apply(client: &Client, objects: &[Value]) -> Result<()> {
    for value in objects {
        let object: DynamicObject = serde_json::from_value(value.clone()).context("this is no object")?;
        let name = object.metadata.name.clone().context("an object without name")?;
        let (kind, api) = api_of(client, &object)?;
        let start = Instant::now();
        while let Err(error) = api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object)).await {
            if start.elapsed() > APPLY_DEADLINE {
                return Err(error).with_context(|| format!("cannot apply {kind} {name}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

fn api_of(client: &Client, object: &DynamicObject) -> Result<(String, Api<DynamicObject>)> {
    let types = object.types.as_ref().context("an object without type")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
    let api = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Ok((types.kind.clone(), api))
}

/// Waits until a service has a Pod that serves; an error says what its pods wait for.
pub(super) async fn wait_available(client: &Client, service: &Service) -> Result<()> {
    let what = format!("the Deployment {}/{}", service.namespace, service.name);
    let waited =
        wait::until(&what, Duration::from_mins(2), || async { Ok(is_available(client, service).await?.then_some(())) });
    match waited.await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(troubles(client, service.namespace).await)),
    }
}

/// Whether a service has a Pod that serves.
pub(super) async fn is_available(client: &Client, service: &Service) -> Result<bool> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), service.namespace);
    let status = api.get_opt(service.name).await?.and_then(|deployment| deployment.status);
    Ok(status.and_then(|status| status.available_replicas).is_some_and(|count| count > 0))
}

/// What the containers of a namespace that do not run are waiting for, and how they ended before.
async fn troubles(client: &Client, namespace: &str) -> String {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    let lines: Vec<String> = pods.iter().flat_map(pod_troubles).collect();
    if lines.is_empty() { format!("no pod in {namespace} names a reason") } else { lines.join("; ") }
}

fn pod_troubles(pod: &Pod) -> Vec<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let Some(status) = &pod.status else { return Vec::new() };
    let unscheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status != "True");
    let unscheduled = unscheduled.and_then(|c| c.message.as_ref()).map(|message| format!("pod {name}: {message}"));
    let containers = status.container_statuses.iter().flatten().filter(|container| !container.ready).map(|container| {
        let state = serde_json::to_string(&container.state).unwrap_or_default();
        let last = serde_json::to_string(&container.last_state).unwrap_or_default();
        format!("pod {name}, container {}: {state}, before: {last}", container.name)
    });
    unscheduled.into_iter().chain(containers).collect()
}

/// Reads the objects of a manifest with one or several documents.
fn read_manifest(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| format!("{} is not YAML", path.display()))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// The one object of a kind in a manifest, to be changed.
fn find_kind<'a>(objects: &'a mut [Value], kind: &str) -> Result<&'a mut Value> {
    objects.iter_mut().find(|object| object["kind"] == kind).with_context(|| format!("the manifest has no {kind}"))
}
