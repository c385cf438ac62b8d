//! What a user of kubectl sees: columns, explanations, refusals.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::go_proxy::GoProxy;
use kube::{ResourceExt as _, api::DynamicObject};
use serde_json::json;

use super::{
    Stage, Telling, condition,
    convergence::{KINDS, children, in_memory},
};
use crate::{
    cluster::until,
    operator::{documents, kubectl, kubectl_with_input},
};

/// `kubectl get gp` shows readiness, version, replicas, one line for people, and age.
pub fn columns_tell_the_state(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "columns";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        stage.wait_settled(namespace, "corp").await?;
        let shown = kubectl(&stage.cluster, &stage.repo, &["get", "gp", "-n", namespace]).await?;
        for word in ["NAME", "READY", "VERSION", "REPLICAS", "STATUS", "AGE", "corp", "True", "v0.18.1", "1/1 proxies"]
        {
            ensure!(shown.contains(word), "{word} is missing in:\n{shown}");
        }
        let wait = ["wait", "--for=condition=Ready", "goproxy/corp", "-n", namespace, "--timeout=10s"];
        kubectl(&stage.cluster, &stage.repo, &wait).await?;
        stage.abandon(namespace).await
    })
}

/// `kubectl explain` has a text for the kind and for fields deep inside.
pub fn explanations_are_served(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let all = kubectl(&stage.cluster, &stage.repo, &["explain", "goproxy.spec", "--recursive"]).await?;
        ensure!(all.contains("fetchTimeout") && all.contains("tryNextOn"), "fields are missing in:\n{all}");
        let one = kubectl(&stage.cluster, &stage.repo, &["explain", "goproxy.spec.engine.fetchTimeout"]).await?;
        ensure!(one.contains("Default: 10m"), "the text says no default:\n{one}");
        Ok(())
    })
}

/// `kubectl apply` of a wrong fleet names field, value and fix.
pub fn refusals_name_field_value_and_fix(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let wrong = [
            (json!({"replicas": 3}), ["spec.replicas", "3", "use at most 1"]),
            (json!({"engine": {"version": "v0.16.0"}}), ["spec.engine.version", "v0.16.0", "use v0.18.1"]),
            (
                json!({"engine": {"image": "athens:latest"}}),
                ["spec.engine.image", "athens:latest", "name a tag other than latest"],
            ),
            (json!({"engine": {"goEnv": {"GOFLAGS": "-toolexec=x"}}}), ["spec.engine.goEnv", "GOFLAGS", "allowed are"]),
            (json!({"storage": {"memory": {}, "disk": {}}}), ["spec.storage", "memory", "exactly one"]),
            (
                json!({"upstream": {"proxies": [{"name": "m", "url": "http://169.254.169.254"}]}}),
                ["spec.upstream.proxies", "169.254.169.254", "name a host"],
            ),
        ];
        for (spec, words) in wrong {
            let fleet = json!({"apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "metadata": {"name": "corp"}, "spec": spec});
            let arguments = ["apply", "--filename=-", "--namespace=default"];
            let refused = kubectl_with_input(&stage.cluster, &stage.repo, &arguments, &fleet.to_string()).await;
            let message = refused.err().with_context(|| format!("{spec} was accepted"))?.to_string();
            for word in words {
                ensure!(message.contains(word), "{word:?} is missing in: {message}");
            }
        }
        Ok(())
    })
}

/// Every example is accepted as it stands, and becomes what it can become where no volume is bound and pods are only played: each
/// in a namespace of its own, as a reader would try it.
pub fn examples_are_accepted(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let mut tried = Vec::new();
        for entry in std::fs::read_dir(stage.repo.join("examples"))? {
            let path = entry?.path();
            let fleets = documents(&std::fs::read_to_string(&path)?)?;
            let is_fleet = |object: &DynamicObject| object.types.as_ref().is_some_and(|types| types.kind == "GoProxy");
            let fleets: Vec<_> = fleets.into_iter().filter(is_fleet).collect();
            ensure!(!fleets.is_empty(), "{} holds no fleet", path.display());
            let stem = path.file_stem().and_then(|stem| stem.to_str()).context("an example's name is no text")?;
            let namespace = format!("example-{stem}");
            stage.cluster.namespace(&namespace).await?;
            let file = path.display().to_string();
            let arguments = ["apply", "--validate=strict", "--namespace", &namespace, "--filename", &file];
            kubectl(&stage.cluster, &stage.repo, &arguments).await?;
            tried.push((namespace, file, fleets));
        }
        ensure!(tried.len() >= 5, "only {} examples", tried.len());
        for (namespace, file, fleets) in tried {
            for fleet in fleets {
                becomes_what_it_can(stage, &namespace, &fleet).await.with_context(|| file.clone())?;
            }
            let arguments = ["delete", "--wait", "--timeout=30s", "--namespace", &namespace, "--filename", &file];
            kubectl(&stage.cluster, &stage.repo, &arguments).await?;
            stage.abandon(&namespace).await?;
        }
        Ok(())
    })
}

/// Waits for what an example leads to here, which follows from where it stores.
async fn becomes_what_it_can(stage: &Stage, namespace: &str, fleet: &DynamicObject) -> Result<()> {
    let name = fleet.name_any();
    let given = |path: &str| fleet.data.pointer(path).is_some();
    if given("/spec/storage/disk/existingClaim") {
        stage.wait_not_ready(namespace, &name, "VolumeMissing").await?;
    } else if given("/spec/storage/disk") || !given("/spec/storage") {
        stage.wait_not_ready(namespace, &name, "VolumePending").await?;
    } else if given("/spec/lock/managedRedis/persistence") {
        let waits = |fleet: &GoProxy| {
            condition(fleet, "LockReady").is_some_and(|lock| lock.status == "False" && lock.reason == "LockUnavailable")
        };
        stage.wait_fleet(namespace, &name, "Redis waits for its volume", Duration::from_mins(1), waits).await?;
    } else {
        stage.wait_settled(namespace, &name).await?;
    }
    let mut kinds = vec!["Deployment", "Service"];
    kinds.extend(given("/spec/autoscaling").then_some("HorizontalPodAutoscaler"));
    kinds.extend(given("/spec/lock/managedRedis").then_some("StatefulSet"));
    for kind in KINDS.into_iter().filter(|kind| kinds.contains(&kind.2)) {
        until(&format!("{name} has a {}", kind.2), Duration::from_secs(20), || async {
            Ok((!children(stage, namespace, &name, kind).await?.is_empty()).then_some(()))
        })
        .await?;
    }
    Ok(())
}
