//! Whether an API server creates objects the way the operator asks it to: without taking over what is there.
//!
//! The operator creates by a server-side apply that carries a resourceVersion no object can have any more. The server
//! creates an absent object and refuses with a conflict when one of the name exists, whoever made it.

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::plan::object::Kind;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// The resourceVersion that means "only if it is not there".
const ABSENT: &str = "1";

/// Creates an object of each kind of child, then tries to create it again, then to create it where somebody else's is.
pub async fn takes_nothing_over(client: &Client) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let metadata = ObjectMeta { generate_name: Some("creation-".to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let created = namespaces.create(&PostParams::default(), &namespace).await.context("cannot make a namespace")?;
    let namespace = created.metadata.name.context("the namespace has no name")?;
    let mut answer = Ok(());
    for kind in Kind::ALL {
        answer = answer.and(try_kind(client, &namespace, kind).await.context(kind.as_str()));
    }
    namespaces.delete(&namespace, &DeleteParams::default()).await.context("cannot remove the namespace")?;
    answer
}

async fn try_kind(client: &Client, namespace: &str, kind: Kind) -> Result<()> {
    let (group, version, plural) = kind.resource();
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind.as_str()), plural);
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let ours = PatchParams::apply("goproxy-operator").force();
    let mut body = content(kind);
    body["apiVersion"] = json!(resource.api_version);
    body["kind"] = json!(kind.as_str());
    body["metadata"] = json!({ "name": "ours", "resourceVersion": ABSENT, "labels": { "app": "creation" } });
    let first = objects.patch("ours", &ours, &Patch::Apply(&body)).await.context("an absent object is not created")?;
    let again = objects.patch("ours", &ours, &Patch::Apply(&body)).await;
    ensure!(is_conflict(&again), "an existing object of ours is not in the way: {again:?}");

    body["metadata"] = json!({ "name": "theirs", "labels": { "app": "creation" } });
    let theirs = PatchParams::apply("somebody-else");
    let foreign =
        objects.patch("theirs", &theirs, &Patch::Apply(&body)).await.context("cannot make a foreign object")?;
    body["metadata"]["resourceVersion"] = json!(ABSENT);
    let taken = objects.patch("theirs", &ours, &Patch::Apply(&body)).await;
    ensure!(is_conflict(&taken), "a foreign object is not in the way: {taken:?}");

    for (name, before) in [("ours", first), ("theirs", foreign)] {
        let after = objects.get(name).await?;
        ensure!(after.metadata.uid == before.metadata.uid, "{name} is another object now");
        let managers = after
            .metadata
            .managed_fields
            .iter()
            .flatten()
            .filter(|entry| entry.subresource.is_none() && entry.operation.as_deref() == Some("Apply"));
        ensure!(managers.count() == 1, "{name} has not exactly one owner of its fields");
    }
    Ok(())
}

fn is_conflict(answer: &kube::Result<DynamicObject>) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == 409)
}

/// The least that each kind needs.
fn content(kind: Kind) -> Value {
    let labels = json!({ "app": "creation" });
    match kind {
        Kind::ControllerRevision => json!({ "revision": 1, "data": { "a": "b" } }),
        Kind::ServiceAccount => json!({}),
        Kind::Role => json!({ "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }] }),
        Kind::RoleBinding => {
            json!({ "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "nobody" } })
        }
        Kind::NetworkPolicy => json!({ "spec": { "podSelector": { "matchLabels": labels } } }),
        Kind::ConfigMap => json!({ "data": { "a": "b" }, "immutable": true }),
        Kind::PersistentVolumeClaim => json!({
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        }),
        Kind::StatefulSet => json!({ "spec": {
            "replicas": 0,
            "serviceName": "a",
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "a", "image": "a:1" }] } },
        } }),
        Kind::Deployment => json!({ "spec": {
            "replicas": 0,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "a", "image": "a:1" }] } },
        } }),
        Kind::Service => json!({ "spec": { "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] } }),
        Kind::PodDisruptionBudget => json!({ "spec": { "maxUnavailable": 1, "selector": { "matchLabels": labels } } }),
        Kind::EdgeState => json!({ "spec": {
            "protocol": 1, "settled": { "number": 1, "settings": { "weights": { "stable": "a" } } },
        } }),
        Kind::HorizontalPodAutoscaler => json!({ "spec": {
            "maxReplicas": 1,
            "scaleTargetRef": { "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "name": "absent" },
        } }),
    }
}
