//! At rest nothing is written, whoever asks.

use std::time::Duration;

use anyhow::ensure;
use goproxy_operator::api::go_proxy::GoProxy;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    Stage, Telling,
    convergence::{REPAIR, in_memory},
    edge,
};
use crate::{audit::AuditLog, cluster::until};

/// One with an edge, in words that the API server stores in others.
fn with_edge() -> Value {
    let resources = json!({ "limits": { "cpu": "1000m", "memory": "1.5Gi" } });
    let mut spec = in_memory();
    spec["edge"] = json!({ "resources": resources, "pod": { "tolerations": [{ "operator": "Exists" }] } });
    spec
}

/// At rest the operator writes nothing; neither does a restart, which still repairs what was edited meanwhile.
pub fn nothing_is_written_at_rest(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "rest";
        stage.cluster.namespace(namespace).await?;
        for index in 0..10 {
            let spec = if index % 2 == 0 { with_edge() } else { in_memory() };
            stage.apply_fleet(namespace, &format!("corp-{index}"), spec).await?;
        }
        for index in (0..10).step_by(2) {
            edge::an_edge_serves(stage, namespace, &format!("corp-{index}")).await?;
        }
        for index in 0..10 {
            stage.wait_settled(namespace, &format!("corp-{index}")).await?;
        }
        let audit = AuditLog::at(stage.cluster.audit_log());
        let operator = stage.operator()?;
        audit.quiet(Duration::from_secs(3), Duration::from_secs(60)).await?;
        let mark = audit.mark()?;
        // The window is what is measured here: long enough for every periodic thing of the operator to come round.
        let window = Duration::from_secs(20);
        let written = audit.first(mark, window, |request| is_write_by(request, &operator.user())).await?;
        ensure!(written.is_none(), "the operator wrote at rest: {written:?}");

        operator.stop().await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(stage.client.clone(), namespace);
        let edit = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}});
        accounts.patch("corp-3-engine", &PatchParams::default(), &Patch::Merge(edit)).await?;
        let mark = audit.mark()?;
        operator.start_again().await?;
        // What there is to do after a start is found by the first look at each fleet. Those of earlier stories may still go.
        let fleets: Api<GoProxy> = Api::all(stage.client.clone());
        until("the operator looks at every fleet", REPAIR, || async {
            let all = fleets.list(&ListParams::default()).await?.items.len();
            Ok(operator.page("/metrics").await?.has_looked_at(all).then_some(()))
        })
        .await?;
        until("the edit made meanwhile is repaired", REPAIR, || async {
            let now = accounts.get("corp-3-engine").await?;
            Ok(now
                .labels()
                .get("app.kubernetes.io/managed-by")
                .is_some_and(|by| by == "goproxy-operator")
                .then_some(()))
        })
        .await?;
        audit.quiet(Duration::from_secs(3), Duration::from_secs(60)).await?;
        let writes: Vec<_> =
            audit.since(mark)?.into_iter().filter(|request| is_write_by(request, &operator.user())).collect();
        ensure!(writes.len() == 1, "a restart wrote more than the one repair: {writes:?}");
        stage.abandon(namespace).await
    })
}

fn is_write_by(request: &crate::audit::Request, user: &str) -> bool {
    // Fleets of stories told before may still be on their way out: they are not at rest.
    request.is_write() && request.namespace == "rest" && request.user == user
}
