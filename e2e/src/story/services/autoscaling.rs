//! The cluster's own autoscaler gives a fleet another proxy when those that it has are busy.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::{Api, api::ListParams};
use serde_json::json;

use super::super::{
    Stage, Telling,
    serving::{PATIENT, ask, service_address},
};
use super::{
    Before,
    fleets::{FLEET, Parts},
    load::Load,
};
use crate::{audit::AuditLog, cluster::until, origin::generated::Module};

const NAMESPACE: &str = "story-autoscaling";
/// Clients that ask without a pause. One proxy's share of a processor is small here, so these keep it busy.
const CLIENTS: usize = 2;
/// A pod's first figures come after half a minute, and the autoscaler looks at them every 15 seconds.
const NOTICED: Duration = Duration::from_mins(4);

/// Load on one proxy makes the autoscaler write 2 to the fleet's scale subresource; then two proxies serve, and no request of that
/// time failed.
pub fn load_brings_a_second_proxy(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let parts = Parts::start(stage, NAMESPACE, None).await?;
        let mut spec = parts.spec(&json!({"managedRedis": {}}))?;
        spec.as_object_mut().context("a spec is an object")?.remove("replicas");
        spec["autoscaling"] = json!({"minReplicas": 1, "maxReplicas": 2});
        stage.apply_fleet(NAMESPACE, FLEET, spec).await?;
        let fleet = stage.wait_settled(NAMESPACE, FLEET).await?;
        ensure!(fleet.spec.replicas == 1, "the fleet begins with {} proxies", fleet.spec.replicas);
        let address = service_address(stage, NAMESPACE).await?;
        let info = Module::new(33, 0).zip().replace(".zip", ".info");
        ensure!(ask(&address, &info, PATIENT).await?.0 == 200, "the first fetch failed");

        let audit = AuditLog::at(stage.cluster.audit_log());
        let mark = audit.mark()?;
        let start = Instant::now();
        let load = Load::start(&address, &vec![info.clone(); CLIENTS]);
        let two = wait_for_two(stage, &parts).await;
        // Whatever came: nobody else ends it.
        let asked = load.stop().await?;
        two?;
        let seconds = start.elapsed().as_secs_f64();
        let scaled = audit.since(mark)?.into_iter().find(|request| {
            request.resource == "goproxies"
                && request.subresource == "scale"
                && request.namespace == NAMESPACE
                && request.is_write()
                && request.succeeded()
        });
        let by = scaled.context("nobody wrote to the scale subresource")?.user;
        stage
            .progress
            .note(format!("  {by} scaled the fleet, and two proxies were ready {seconds:.0} s after the load"));
        ensure!(asked.failed.is_empty(), "of {} requests these failed: {:?}", asked.sent, asked.failed);
        each_serves(stage, &info).await?;
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

async fn wait_for_two(stage: &Stage, parts: &Parts) -> Result<()> {
    let fleets = stage.fleets(NAMESPACE);
    let asked_for = until("the autoscaler asks for two proxies", NOTICED, || async {
        Ok((fleets.get(FLEET).await?.spec.replicas == 2).then_some(()))
    });
    if let Err(error) = asked_for.await {
        let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(stage.client.clone(), NAMESPACE);
        let found = autoscalers.list(&ListParams::default()).await?.into_iter().next();
        bail!("{error:#}; the autoscaler says: {}", serde_json::to_string(&found.and_then(|one| one.status))?);
    }
    parts.wait_for_both(stage).await
}

/// Asks each proxy at its own address.
async fn each_serves(stage: &Stage, path: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let found = pods.list(&ListParams::default().labels(&format!("goproxy.rs/fleet={FLEET}"))).await?.items;
    ensure!(found.len() == 2, "there are {} proxies", found.len());
    for pod in found {
        let address = pod.status.and_then(|status| status.pod_ip).context("a proxy has no address")?;
        let (status, _) = ask(&format!("{address}:3000"), path, PATIENT).await?;
        ensure!(status == 200, "the proxy at {address} answers with {status}");
    }
    Ok(())
}
