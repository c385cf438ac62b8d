//! What a user of kubectl sees: columns, explanations, refusals.

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Stage, Telling, convergence::in_memory};
use crate::operator::{documents, kubectl, kubectl_with_input};

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

/// Every example is accepted as it stands.
pub fn examples_are_accepted(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let mut count = 0;
        for entry in std::fs::read_dir(stage.repo.join("examples"))? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path)?;
            ensure!(!documents(&text)?.is_empty(), "{} holds no object", path.display());
            let arguments =
                ["apply", "--dry-run=server", "--validate=strict", "--filename", &path.display().to_string()];
            kubectl(&stage.cluster, &stage.repo, &arguments).await?;
            count += 1;
        }
        ensure!(count >= 5, "only {count} examples");
        Ok(())
    })
}
