//! Changes reach clients in one step, restart no more than they must, and an operator's own change restarts nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment, ReplicaSet},
    autoscaling::v1::Scale,
    core::v1::{Pod, Service},
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{
    Stage, Telling,
    convergence::{in_memory, stable},
    edge,
};
use crate::{audit::AuditLog, cluster::until, operator};

const SOON: Duration = Duration::from_secs(60);

/// A change of settings starts a second revision; clients move to it in one write of the Service; the old one ends.
pub fn clients_move_in_one_patch(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "move";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        let first = stable(&stage.wait_settled(namespace, "corp").await?)?;
        let audit = AuditLog::at(stage.cluster.audit_log());
        let mark = audit.mark()?;
        let mut spec = in_memory();
        spec["engine"] = json!({"logLevel": "Debug"});
        stage.apply_fleet(namespace, "corp", spec).await?;
        let second = stable(&stage.wait_settled(namespace, "corp").await?)?;
        ensure!(first != second, "the change made no new revision");
        let services: Api<Service> = Api::namespaced(stage.client.clone(), namespace);
        let selector = services.get("corp").await?.spec.and_then(|spec| spec.selector).unwrap_or_default();
        ensure!(selector.get("goproxy.rs/revision") == Some(&second), "the Service leads to {selector:?}");
        let user = stage.operator()?.user();
        let moves = audit.since(mark)?.into_iter().filter(|request| {
            request.user == user
                && request.resource == "services"
                && request.namespace == namespace
                && request.is_write()
        });
        ensure!(moves.count() == 1, "the Service was written more than once");
        let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), namespace);
        until("the old revision ends", SOON, || async {
            let old = deployments.get(&first).await?;
            Ok((old.spec.and_then(|spec| spec.replicas) == Some(0)).then_some(()))
        })
        .await?;

        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        let third = stable(&stage.wait_settled(namespace, "corp").await?)?;
        ensure!(third == first, "going back made another revision instead of the old one");
        stage.abandon(namespace).await
    })
}

/// Old revisions are kept as the limit says, and no more.
pub fn history_is_bounded(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "history";
        stage.cluster.namespace(namespace).await?;
        let spec = |workers: i32| {
            json!({"storage": {"memory": {}}, "engine": {"fetchWorkers": workers},
                   "rollout": {"scaleDownDelay": "0s", "revisionHistoryLimit": 1}})
        };
        for workers in 1..=4 {
            stage.apply_fleet(namespace, "corp", spec(workers)).await?;
            stage.wait_settled(namespace, "corp").await?;
        }
        let revisions: Api<ControllerRevision> = Api::namespaced(stage.client.clone(), namespace);
        let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), namespace);
        until("two revisions are left", SOON, || async {
            let all = ListParams::default();
            let (kept, running) = (revisions.list(&all).await?.items.len(), deployments.list(&all).await?.items.len());
            Ok((kept == 2 && running == 2).then_some(()))
        })
        .await?;
        stage.abandon(namespace).await
    })
}

/// The scale subresource works, and 0 stops a fleet without losing it.
pub fn scale_works(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "scale";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", json!({"storage": {"memory": {}}})).await?;
        stage.wait_settled(namespace, "corp").await?;
        operator::kubectl(&stage.cluster, &stage.repo, &["scale", "goproxy/corp", "--replicas=0", "-n", namespace])
            .await?;
        stage.wait_not_ready(namespace, "corp", "Stopped").await?;
        let fleets = stage.fleets(namespace);
        let scale: Scale = serde_json::from_value(serde_json::to_value(fleets.get_scale("corp").await?)?)?;
        // The API leaves a zero out.
        let shown = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
        ensure!(shown == 0, "the scale subresource shows {shown}");
        operator::kubectl(&stage.cluster, &stage.repo, &["scale", "goproxy/corp", "--replicas=1", "-n", namespace])
            .await?;
        let fleet = stage.wait_settled(namespace, "corp").await?;
        let selector = fleet.status.and_then(|status| status.selector).context("no selector for autoscalers")?;
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
        ensure!(
            pods.list(&ListParams::default().labels(&selector)).await?.items.len() == 1,
            "the selector finds other pods"
        );
        stage.abandon(namespace).await
    })
}

/// A suspended fleet is not touched, and catches up when it is resumed.
pub fn a_suspended_fleet_is_left_alone(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "suspend";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        stage.wait_settled(namespace, "corp").await?;
        let mut spec = in_memory();
        spec["suspend"] = json!(true);
        spec["service"] = json!({"type": "NodePort"});
        stage.apply_fleet(namespace, "corp", spec.clone()).await?;
        let seen = |fleet: &goproxy_operator::api::go_proxy::GoProxy| {
            super::condition(fleet, "Reconciling").is_some_and(|condition| condition.reason == "Suspended")
        };
        stage.wait_fleet(namespace, "corp", "the fleet is suspended", SOON, seen).await?;
        let services: Api<Service> = Api::namespaced(stage.client.clone(), namespace);
        let type_of = |service: Service| service.spec.and_then(|spec| spec.type_).unwrap_or_default();
        ensure!(type_of(services.get("corp").await?) == "ClusterIP", "a suspended fleet was touched");
        spec["suspend"] = json!(false);
        stage.apply_fleet(namespace, "corp", spec).await?;
        until("the fleet catches up", SOON, || async {
            Ok((type_of(services.get("corp").await?) == "NodePort").then_some(()))
        })
        .await?;
        stage.abandon(namespace).await
    })
}

/// Name of the operator whose builders add a label.
const DRILL: &str = "operator-drill";

/// An operator whose builders add a label, and the way back, restart no pod.
pub fn another_operator_restarts_nothing(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let drill = stage.drill.as_ref().context("the operator with another label was not built")?;
        let namespace = "upgrade";
        stage.cluster.namespace(namespace).await?;
        let fleets = ["corp-0", "corp-1", "corp-2"];
        for name in fleets {
            stage.apply_fleet(namespace, name, in_memory()).await?;
        }
        let mut spec = in_memory();
        spec["edge"] = json!({});
        stage.apply_fleet(namespace, fleets[0], spec).await?;
        edge::an_edge_serves(stage, namespace, fleets[0]).await?;
        for name in fleets {
            stage.wait_settled(namespace, name).await?;
        }
        let before = pods_and_templates(stage, namespace).await?;
        let start = Instant::now();
        stage
            .without_operator(&[DRILL], async {
                let other = operator::HostOperator::start(&stage.cluster, DRILL, drill, 18_191, &[]).await?;
                wait_labelled(stage, namespace, &fleets, true).await?;
                for name in fleets {
                    stage.wait_settled(namespace, name).await?;
                }
                other.stop().await
            })
            .await?;
        wait_labelled(stage, namespace, &fleets, false).await?;
        stage.progress.note(format!("there and back took {} ms", start.elapsed().as_millis()));
        let after = pods_and_templates(stage, namespace).await?;
        ensure!(before == after, "an operator's own change restarted pods:\nbefore {before:?}\nafter {after:?}");
        stage.abandon(namespace).await
    })
}

/// Waits until the Service of every fleet has the other operator's label, or none of them has it any more.
async fn wait_labelled(stage: &Stage, namespace: &str, fleets: &[&str], wanted: bool) -> Result<()> {
    let services: Api<Service> = Api::namespaced(stage.client.clone(), namespace);
    let what = if wanted { "the other operator labels every fleet" } else { "the first operator takes the label off" };
    until(what, SOON, || async {
        for name in fleets {
            if services.get(name).await?.labels().contains_key("goproxy.rs/drill") != wanted {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

/// Uids of all pods and ReplicaSets: a restart or another template would change them.
async fn pods_and_templates(stage: &Stage, namespace: &str) -> Result<BTreeMap<String, Option<String>>> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
    let sets: Api<ReplicaSet> = Api::namespaced(stage.client.clone(), namespace);
    let mut uids = BTreeMap::new();
    uids.extend(pods.list(&ListParams::default()).await?.into_iter().map(|pod| (pod.name_any(), pod.uid())));
    uids.extend(sets.list(&ListParams::default()).await?.into_iter().map(|set| (set.name_any(), set.uid())));
    Ok(uids)
}

/// A status that somebody wipes in the middle of a change is told again, and the change goes on.
pub fn a_wiped_status_loses_nothing(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "wiped";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        let first = stable(&stage.wait_settled(namespace, "corp").await?)?;
        let mut spec = in_memory();
        spec["engine"] = json!({"fetchWorkers": 3});
        stage.apply_fleet(namespace, "corp", spec).await?;
        let empty = json!({"status": null});
        stage.fleets(namespace).patch_status("corp", &PatchParams::default(), &Patch::Merge(empty)).await?;
        let second = stable(&stage.wait_settled(namespace, "corp").await?)?;
        ensure!(first != second, "the change was lost with the status");
        stage.abandon(namespace).await
    })
}
