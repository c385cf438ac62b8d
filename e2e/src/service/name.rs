//! Names under which pods find a service. A module path starts with a host name, so a Git server needs one.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::Cluster;

/// Where the names of services are. It holds no pods.
pub const NAMESPACE: &str = "parts";

const MANAGER: &str = "goproxy-lab";

/// What the cluster's name service resolves once the service is published.
pub(super) fn dns(service: &str) -> String {
    format!("{service}.{NAMESPACE}.svc.cluster.local")
}

/// Publishes a name for an address of the cluster itself: a Service without an address and without a selector.
pub(super) async fn publish(cluster: &Cluster, service: &str, port: u16) -> Result<()> {
    cluster.namespace(NAMESPACE).await?;
    let (services, slices) = apis(cluster).await?;
    let parameters = PatchParams::apply(MANAGER).force();
    let object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": service},
        "spec": {"clusterIP": "None", "ports": [{"name": "main", "port": port}]},
    });
    services.patch(service, &parameters, &Patch::Apply(object)).await.context("publish the Service")?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [cluster.addresses().cluster_end().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "main", "port": port}],
    });
    slices.patch(service, &parameters, &Patch::Apply(slice)).await.context("publish the address")?;
    Ok(())
}

/// Takes the name back.
pub(super) async fn withdraw(cluster: &Cluster, service: &str) -> Result<()> {
    let (services, slices) = apis(cluster).await?;
    services.delete(service, &DeleteParams::default()).await.context("withdraw the Service")?;
    // Nobody else would: it was not made from the Service.
    slices.delete(service, &DeleteParams::default()).await.context("withdraw the address")?;
    Ok(())
}

async fn apis(cluster: &Cluster) -> Result<(Api<Service>, Api<EndpointSlice>)> {
    let client = cluster.client().await?;
    Ok((Api::namespaced(client.clone(), NAMESPACE), Api::namespaced(client, NAMESPACE)))
}
