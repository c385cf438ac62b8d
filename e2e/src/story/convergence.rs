//! What exists follows from the spec, and from nothing else: births, repairs, deletion, and silence at rest.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::go_proxy::GoProxy;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, PropagationPolicy},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use super::{Stage, Telling, edge};
use crate::cluster::until;

/// Kinds of child, with group and version, as a user of kubectl names them.
pub const KINDS: [(&str, &str, &str); 13] = [
    ("apps", "v1", "ControllerRevision"),
    ("", "v1", "ServiceAccount"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "PersistentVolumeClaim"),
    ("apps", "v1", "Deployment"),
    ("", "v1", "Service"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ("apps", "v1", "StatefulSet"),
    ("rbac.authorization.k8s.io", "v1", "Role"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
    ("goproxy.rs", "v1alpha1", "EdgeState"),
];

pub(super) const REPAIR: Duration = Duration::from_secs(20);

/// A fleet that needs no volume.
pub fn in_memory() -> Value {
    json!({"storage": {"memory": {}}, "rollout": {"scaleDownDelay": "2s"}})
}

/// All children of one kind.
pub async fn children(
    stage: &Stage,
    namespace: &str,
    fleet: &str,
    kind: (&str, &str, &str),
) -> Result<Vec<DynamicObject>> {
    let api = api(stage, namespace, kind);
    let selector = ListParams::default().labels(&format!("goproxy.rs/fleet={fleet}"));
    Ok(api.list(&selector).await.with_context(|| format!("cannot list {}", kind.2))?.items)
}

/// The API of one kind in one namespace.
pub fn api(stage: &Stage, namespace: &str, (group, version, kind): (&str, &str, &str)) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let plural =
        if kind == "NetworkPolicy" { "networkpolicies".to_owned() } else { format!("{}s", kind.to_lowercase()) };
    Api::namespaced_with(stage.client.clone(), namespace, &ApiResource::from_gvk_with_plural(&gvk, &plural))
}

/// A fleet becomes ready, and everything of it carries its labels and belongs to it.
pub fn a_fleet_is_born(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "birth";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        let fleet = stage.wait_settled(namespace, "corp").await?;
        let mut kinds = BTreeSet::new();
        for kind in KINDS {
            for child in children(stage, namespace, "corp", kind).await? {
                let owner = child.owner_references().first().map(|owner| owner.uid.clone());
                ensure!(owner == fleet.uid(), "{} {} does not belong to the fleet", kind.2, child.name_any());
                ensure!(
                    child.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == "goproxy-operator"),
                    "{} {} does not say who manages it",
                    kind.2,
                    child.name_any()
                );
                kinds.insert(kind.2);
            }
        }
        let expected: BTreeSet<_> = KINDS.iter().map(|kind| kind.2).collect();
        let missing: Vec<_> = expected.difference(&kinds).copied().collect();
        ensure!(
            missing
                == [
                    "EdgeState",
                    "HorizontalPodAutoscaler",
                    "PersistentVolumeClaim",
                    "Role",
                    "RoleBinding",
                    "StatefulSet",
                ],
            "unexpected children: missing {missing:?}"
        );
        stage.abandon(namespace).await
    })
}

/// A fleet that has a child of every kind but a claim.
fn with_nearly_everything() -> Value {
    json!({
        "storage": {"s3": {"bucket": "drift", "region": "eu-central-1", "credentialsSecretRef": {"name": "s3"}}},
        "lock": {"managedRedis": {}},
        "edge": {},
        "autoscaling": {"maxReplicas": 2},
        "rollout": {"scaleDownDelay": "2s"},
    })
}

/// Every child comes back when it is deleted and is put right when it is edited. A claim is only edited: its volume would go.
pub fn drift_is_repaired(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "drift";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", with_nearly_everything()).await?;
        stage.apply_fleet(namespace, "disk", json!({"storage": {"disk": {"size": "1Gi"}}})).await?;
        edge::an_edge_serves(stage, namespace, "corp").await?;
        stage.wait_settled(namespace, "corp").await?;
        let mut broken = BTreeSet::new();
        for kind in KINDS {
            for child in children(stage, namespace, "corp", kind).await? {
                deleted_child_returns(stage, namespace, kind, &child).await?;
                edited_child_is_put_right(stage, namespace, kind, &child.name_any()).await?;
                broken.insert(kind.2);
            }
        }
        // Nothing binds it here, so this fleet never settles.
        let claim = KINDS[4];
        let made = until("the claim is made", REPAIR, || async {
            Ok(children(stage, namespace, "disk", claim).await?.into_iter().next())
        });
        edited_child_is_put_right(stage, namespace, claim, &made.await?.name_any()).await?;
        broken.insert(claim.2);
        let all: BTreeSet<_> = KINDS.iter().map(|kind| kind.2).collect();
        ensure!(broken == all, "only these kinds were there to be broken: {broken:?}");
        edge::an_edge_serves(stage, namespace, "corp").await?;
        stage.wait_settled(namespace, "corp").await?;
        stage.abandon(namespace).await
    })
}

async fn deleted_child_returns(
    stage: &Stage,
    namespace: &str,
    kind: (&str, &str, &str),
    child: &DynamicObject,
) -> Result<()> {
    let api = api(stage, namespace, kind);
    let (name, uid) = (child.name_any(), child.uid());
    let start = Instant::now();
    let how = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    api.delete(&name, &how).await?;
    until(&format!("{} {name} returns", kind.2), REPAIR, || async {
        Ok(api.get_opt(&name).await?.filter(|now| now.uid() != uid))
    })
    .await?;
    stage.progress.note(format!("deleted {} {name} returned after {} ms", kind.2, start.elapsed().as_millis()));
    Ok(())
}

async fn edited_child_is_put_right(stage: &Stage, namespace: &str, kind: (&str, &str, &str), name: &str) -> Result<()> {
    let api = api(stage, namespace, kind);
    let start = Instant::now();
    // A label that every child has: its value is ours, whatever the kind.
    let edit = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(edit)).await?;
    until(&format!("{} {name} is put right", kind.2), REPAIR, || async {
        let now = api.get(name).await?;
        Ok(now.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == "goproxy-operator").then_some(()))
    })
    .await?;
    stage.progress.note(format!("edited {} {name} was put right after {} ms", kind.2, start.elapsed().as_millis()));
    Ok(())
}

/// Edits of what matters most are undone: a selector, a number of pods, a rule.
pub fn edits_of_specs_are_undone(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "edits";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        let fleet = stage.wait_settled(namespace, "corp").await?;
        let services: Api<Service> = Api::namespaced(stage.client.clone(), namespace);
        let selector = |service: &Service| service.spec.as_ref().and_then(|spec| spec.selector.clone());
        let before = selector(&services.get("corp").await?);
        let edit = json!({"spec": {"selector": {"goproxy.rs/revision": "nobody"}}});
        services.patch("corp", &PatchParams::default(), &Patch::Merge(edit)).await?;
        until("the selector is put right", REPAIR, || async {
            Ok((selector(&services.get("corp").await?) == before).then_some(()))
        })
        .await?;

        let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), namespace);
        let revision = stable(&fleet)?;
        let edit = json!({"spec": {"replicas": 3}});
        deployments.patch(&revision, &PatchParams::default(), &Patch::Merge(edit)).await?;
        until("the number of pods is put right", REPAIR, || async {
            let replicas = deployments.get(&revision).await?.spec.and_then(|spec| spec.replicas);
            Ok((replicas == Some(1)).then_some(()))
        })
        .await?;
        stage.abandon(namespace).await
    })
}

/// Name of the revision that clients get.
pub fn stable(fleet: &GoProxy) -> Result<String> {
    use goproxy_operator::api::status::RevisionRole;
    let regions = &fleet.status.as_ref().context("no status")?.regions;
    let revisions = &regions.first().context("no region")?.revisions;
    let stable = revisions.iter().find(|revision| revision.role == RevisionRole::Stable);
    Ok(stable.context("no stable revision")?.name.clone())
}

/// Deleting a fleet removes all of it but the volume; a fleet of the same name finds the volume again; said twice, the volume goes too.
pub fn deletion_keeps_the_volume_unless_confirmed(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "deletion";
        stage.cluster.namespace(namespace).await?;
        let spec = json!({"storage": {"disk": {"size": "1Gi"}, "whenDeleted": "Delete"}});
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(stage.client.clone(), namespace);
        stage.apply_fleet(namespace, "corp", spec.clone()).await?;
        let claim = until("the claim is made", REPAIR, || async { Ok(claims.get_opt("corp-data").await?) }).await?;
        ensure!(claim.owner_references().is_empty(), "an unconfirmed deletion would take the volume along");
        delete_fleet(stage, namespace).await?;
        let kept = claims.get("corp-data").await.context("the volume went although nothing confirmed it")?;

        stage.apply_fleet(namespace, "corp", spec).await?;
        until("the new fleet has its Deployment", REPAIR, || async {
            Ok(children(stage, namespace, "corp", KINDS[5]).await?.into_iter().next())
        })
        .await?;
        ensure!(claims.get("corp-data").await?.uid() == kept.uid(), "the volume was not found again");
        let confirm = json!({"metadata": {"annotations": {"goproxy.rs/confirm-delete": "corp"}}});
        stage.fleets(namespace).patch("corp", &PatchParams::default(), &Patch::Merge(confirm)).await?;
        until("the confirmation reaches the claim", REPAIR, || async {
            Ok((!claims.get("corp-data").await?.owner_references().is_empty()).then_some(()))
        })
        .await?;
        delete_fleet(stage, namespace).await?;
        until("the claim is deleted", REPAIR, || async {
            // Nothing runs here that would lift the protection of a claim in use: its deletion is what counts.
            Ok(claims
                .get_opt("corp-data")
                .await?
                .is_none_or(|claim| claim.metadata.deletion_timestamp.is_some())
                .then_some(()))
        })
        .await?;
        stage.abandon(namespace).await
    })
}

async fn delete_fleet(stage: &Stage, namespace: &str) -> Result<()> {
    stage.fleets(namespace).delete("corp", &DeleteParams::default()).await?;
    until("the children are gone", Duration::from_secs(60), || async {
        let mut left = Vec::new();
        for kind in KINDS.into_iter().filter(|kind| kind.2 != "PersistentVolumeClaim") {
            left.extend(children(stage, namespace, "corp", kind).await?.into_iter().map(|child| child.name_any()));
        }
        Ok(left.is_empty().then_some(()))
    })
    .await
}

/// The rule of the API server that creation relies on, for every kind of child.
pub fn creation_takes_nothing_over(stage: &Stage) -> Telling<'_> {
    Box::pin(async { crate::creation::takes_nothing_over(&stage.client).await })
}

/// What somebody else made under a name that a fleet needs is reported and left alone; when it goes, the fleet gets ready.
pub fn foreign_objects_are_left_alone(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "foreign";
        stage.cluster.namespace(namespace).await?;
        let meta = |name: &str| json!({"name": name, "namespace": namespace});
        let services: Api<Service> = Api::namespaced(stage.client.clone(), namespace);
        let accounts: Api<ServiceAccount> = Api::namespaced(stage.client.clone(), namespace);
        let policies: Api<NetworkPolicy> = Api::namespaced(stage.client.clone(), namespace);
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(stage.client.clone(), namespace);
        let post = PostParams::default();
        let foreign = services
            .create(
                &post,
                &serde_json::from_value(json!({"metadata": meta("corp"), "spec": {"ports": [{"port": 80}]}}))?,
            )
            .await?;
        accounts.create(&post, &serde_json::from_value(json!({"metadata": meta("sales-engine")}))?).await?;
        policies
            .create(
                &post,
                &serde_json::from_value(json!({"metadata": meta("legal-engine"), "spec": {"podSelector": {}}}))?,
            )
            .await?;
        budgets
            .create(&post, &serde_json::from_value(json!({"metadata": meta("press"), "spec": {"minAvailable": 1}}))?)
            .await?;

        for (fleet, kind) in [
            ("corp", "Service corp"),
            ("sales", "ServiceAccount sales-engine"),
            ("legal", "NetworkPolicy legal-engine"),
            ("press", "PodDisruptionBudget press"),
        ] {
            stage.apply_fleet(namespace, fleet, in_memory()).await?;
            let ready = stage.wait_not_ready(namespace, fleet, "NameTaken").await?;
            ensure!(ready.message.contains(kind), "the message does not name {kind}: {}", ready.message);
        }
        let now = services.get("corp").await?;
        ensure!(now.metadata.resource_version == foreign.metadata.resource_version, "the foreign Service was touched");
        ensure!(accounts.get("sales-engine").await?.labels().is_empty(), "the foreign ServiceAccount was touched");
        services.delete("corp", &DeleteParams::default()).await?;
        stage.wait_settled(namespace, "corp").await?;
        stage.abandon(namespace).await
    })
}

/// A ConfigMap of a revision that was deleted comes back with the same text, from the stored revision.
pub fn configuration_returns_from_the_stored_revision(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "stored";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        let revision = stable(&stage.wait_settled(namespace, "corp").await?)?;
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), namespace);
        let before = maps.get(&revision).await?;
        ensure!(before.immutable == Some(true), "the configuration can be edited");
        maps.delete(&revision, &DeleteParams::default()).await?;
        let after = until("the configuration returns", REPAIR, || async {
            Ok(maps.get_opt(&revision).await?.filter(|now| now.uid() != before.uid()))
        })
        .await?;
        ensure!(after.data == before.data, "the configuration came back changed");
        stage.abandon(namespace).await
    })
}
