//! When a fleet cannot serve, its condition says why within a minute, in words that a person can act on.

use std::time::Instant;

use anyhow::ensure;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::{
    Stage, Telling, condition,
    convergence::{in_memory, stable},
    holds,
};
use crate::image::{self, Image};

/// One cause: the namespace, the spec, the reason and a word of the message.
struct Cause {
    namespace: &'static str,
    spec: Value,
    reason: &'static str,
    word: &'static str,
}

fn causes() -> Vec<Cause> {
    let with_engine = |engine: Value| json!({"storage": {"memory": {}}, "engine": engine});
    vec![
        Cause {
            namespace: "no-image",
            spec: with_engine(json!({"image": "lab.invalid/nothing:v1", "imagePullPolicy": "Never"})),
            reason: "ImageUnavailable",
            word: "lab.invalid/nothing:v1",
        },
        Cause {
            namespace: "no-node",
            spec: with_engine(json!({"pod": {"nodeSelector": {"disk": "golden"}}})),
            reason: "Unschedulable",
            word: "0/1 nodes",
        },
        Cause {
            namespace: "no-volume",
            spec: json!({"storage": {"disk": {"storageClassName": "golden"}}}),
            reason: "VolumePending",
            word: "PersistentVolumeClaim",
        },
        Cause { namespace: "no-quota", spec: in_memory(), reason: "QuotaExceeded", word: "exceeded quota" },
        Cause {
            namespace: "crash",
            // The image holds no engine: whatever the entry point is, it ends.
            spec: with_engine(json!({"image": image::reference(Image::CoreDns)})),
            reason: "CrashLoop",
            word: "athens-proxy",
        },
    ]
}

/// Each cause is brought about for real and read back from Ready.
pub fn what_keeps_a_fleet_down_is_named(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let causes = causes();
        for cause in &causes {
            stage.cluster.namespace(cause.namespace).await?;
            if cause.reason == "QuotaExceeded" {
                let quotas: Api<ResourceQuota> = Api::namespaced(stage.client.clone(), cause.namespace);
                let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
                quotas.create(&PostParams::default(), &serde_json::from_value(quota)?).await?;
            }
            stage.apply_fleet(cause.namespace, "corp", cause.spec.clone()).await?;
        }
        let start = Instant::now();
        for cause in &causes {
            let ready = stage.wait_not_ready(cause.namespace, "corp", cause.reason).await?;
            ensure!(
                ready.message.contains(cause.word),
                "{}: {:?} is missing in {}",
                cause.reason,
                cause.word,
                ready.message
            );
            stage.progress.note(format!(
                "{} after {} ms: {}",
                cause.reason,
                start.elapsed().as_millis(),
                ready.message
            ));
        }
        for cause in &causes {
            stage.abandon(cause.namespace).await?;
        }
        Ok(())
    })
}

/// A bad image under a fleet that serves stalls the change and takes nothing away.
pub fn a_bad_change_leaves_the_last_good_one_serving(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "bad-change";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        let first = stable(&stage.wait_settled(namespace, "corp").await?)?;
        let mut spec = in_memory();
        spec["engine"] = json!({"image": "lab.invalid/nothing:v1", "imagePullPolicy": "Never"});
        stage.apply_fleet(namespace, "corp", spec).await?;
        let stalled = |fleet: &goproxy_operator::api::go_proxy::GoProxy| {
            condition(fleet, "Stalled").is_some_and(|stalled| stalled.reason == "ImageUnavailable")
        };
        let deadline = std::time::Duration::from_secs(60);
        let fleet = stage.wait_fleet(namespace, "corp", "the change stalls", deadline, stalled).await?;
        ensure!(holds(&fleet, "Ready") == Some(true), "the last good revision stopped serving");
        ensure!(stable(&fleet)? == first, "clients were moved to a revision that cannot serve");
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        ensure!(stable(&stage.wait_settled(namespace, "corp").await?)? == first, "going back made another revision");
        stage.abandon(namespace).await
    })
}

/// A CA bundle that is not there is named; when it arrives, the fleet gets ready by itself.
pub fn a_missing_config_map_is_named(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "no-ca";
        stage.cluster.namespace(namespace).await?;
        let mut spec = in_memory();
        spec["upstream"] = json!({"caBundle": {"configMapKeyRef": {"name": "corp-ca", "key": "ca.crt"}}});
        stage.apply_fleet(namespace, "corp", spec).await?;
        let ready = stage.wait_not_ready(namespace, "corp", "ConfigMapMissing").await?;
        ensure!(ready.message.contains("corp-ca"), "the message does not name it: {}", ready.message);
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), namespace);
        let map = json!({"metadata": {"name": "corp-ca"}, "data": {"ca.crt": ""}});
        maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
        // The kubelet tries such a volume again after up to two minutes.
        let settled = |fleet: &goproxy_operator::api::go_proxy::GoProxy| holds(fleet, "Ready") == Some(true);
        let deadline = std::time::Duration::from_secs(180);
        stage.wait_fleet(namespace, "corp", "the fleet gets ready", deadline, settled).await?;
        stage.abandon(namespace).await
    })
}
