//! When a fleet cannot serve, its condition says why within a minute, in words that a person can act on.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::{
    Stage, Telling, condition,
    convergence::{in_memory, stable},
    holds,
};
use crate::{
    cluster::until,
    image::{self, Image},
    operator,
};

/// How soon Ready has to name a cause.
const WITHIN: Duration = Duration::from_secs(60);

/// One cause: the namespace, the spec, what else has to be there, the reason and a word of the message.
struct Cause {
    namespace: &'static str,
    spec: Value,
    around: Around,
    reason: &'static str,
    word: &'static str,
}

/// What has to be in the cluster for a cause to come about.
enum Around {
    Nothing,
    /// A quota that lets no pod in.
    Quota,
    /// A policy of the cluster that gives one more variable to every container, as CEL.
    Variable(&'static str),
}

impl Cause {
    fn of(namespace: &'static str, spec: Value, reason: &'static str, word: &'static str) -> Self {
        Self { namespace, spec, around: Around::Nothing, reason, word }
    }

    fn amid(self, around: Around) -> Self {
        Self { around, ..self }
    }
}

/// A setting of the engine that means minutes to whoever wrote it. The engine counts in seconds, without a unit.
const BAD_SETTING: &str = r#"Object.spec.containers.env{name: "ATHENS_TIMEOUT", value: "5m"}"#;

/// Credentials that every pod of a namespace gets, from a Secret that nobody made.
const FROM_A_SECRET: &str = r#"Object.spec.containers.env{name: "EGRESS", valueFrom: Object.spec.containers.env.valueFrom{
    secretKeyRef: Object.spec.containers.env.valueFrom.secretKeyRef{name: "egress", key: "proxy"}}}"#;

fn causes() -> Vec<Cause> {
    let with_engine = |engine: Value| json!({"storage": {"memory": {}}, "engine": engine});
    let missing = json!({"image": "lab.invalid/nothing:v1", "imagePullPolicy": "Never"});
    let private = json!({"image": "lab.invalid/private:v1", "pod": {"imagePullSecrets": [{"name": "registry"}]}});
    let elsewhere = json!({"pod": {"nodeSelector": {"disk": "golden"}}});
    // The image holds no engine: whatever the entry point is, it ends.
    let no_engine = json!({"image": image::reference(Image::CoreDns)});
    let lost_claim = json!({"storage": {"disk": {"existingClaim": "lost"}}});
    let golden_disk = json!({"storage": {"disk": {"storageClassName": "golden"}}});
    vec![
        Cause::of("no-image", with_engine(missing), "ImageUnavailable", "lab.invalid/nothing:v1"),
        Cause::of("no-pull-secret", with_engine(private), "ImageUnavailable", "imagePullSecrets names registry"),
        Cause::of("no-node", with_engine(elsewhere), "Unschedulable", "node affinity/selector"),
        Cause::of("no-volume", golden_disk, "VolumePending", "PersistentVolumeClaim"),
        Cause::of("no-claim", lost_claim, "VolumeMissing", "existingClaim names PersistentVolumeClaim lost"),
        Cause::of("crash", with_engine(no_engine), "CrashLoop", "athens-proxy"),
        Cause::of("no-quota", in_memory(), "QuotaExceeded", "exceeded quota").amid(Around::Quota),
        Cause::of("refused", in_memory(), "ConfigRefused", "ATHENS_TIMEOUT").amid(Around::Variable(BAD_SETTING)),
        Cause::of("no-secret", in_memory(), "SecretMissing", "secret \"egress\" not found")
            .amid(Around::Variable(FROM_A_SECRET)),
    ]
}

/// Each cause is brought about for real and read back from Ready, within a minute of the fleet's creation.
///
/// Two of them need more than a fleet, because no field leads there. The engine reads its settings from what `validate`
/// has checked, so its own image refuses none of them (the one that it would, a checksum database without encryption, is
/// refused at apply time); and the only Secrets that a spec can name are those for pulling the image, without which the kubelet
/// goes on: if the pull then fails, it is the image that is unavailable, and the message names the Secrets. What others put
/// into pods is not checked by anyone before it is too late: a policy of the cluster that sets a variable of the engine's, or
/// one from a Secret that is not there. So the real engine refuses to start here, and the real kubelet refuses to start it.
pub fn what_keeps_a_fleet_down_is_named(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let causes = causes();
        for cause in &causes {
            stage.cluster.namespace(cause.namespace).await?;
            surround(stage, cause).await?;
        }
        let mut applied = Vec::new();
        for cause in &causes {
            applied.push(Instant::now());
            stage.apply_fleet(cause.namespace, "corp", cause.spec.clone()).await?;
        }
        for (cause, start) in causes.iter().zip(applied) {
            let ready = stage.wait_not_ready(cause.namespace, "corp", cause.reason).await?;
            let took = start.elapsed();
            ensure!(took < WITHIN, "{} took {} s to be named", cause.reason, took.as_secs());
            ensure!(
                ready.message.contains(cause.word),
                "{}: {:?} is missing in {}",
                cause.reason,
                cause.word,
                ready.message
            );
            stage.progress.note(format!("{} after {} ms: {}", cause.reason, took.as_millis(), ready.message));
        }
        for cause in &causes {
            if let Around::Variable(_) = cause.around {
                forget_policy(stage, cause.namespace).await?;
            }
            stage.abandon(cause.namespace).await?;
        }
        Ok(())
    })
}

/// Puts into the cluster what the cause needs.
async fn surround(stage: &Stage, cause: &Cause) -> Result<()> {
    let namespace = cause.namespace;
    match cause.around {
        Around::Nothing => Ok(()),
        Around::Quota => {
            let quotas: Api<ResourceQuota> = Api::namespaced(stage.client.clone(), namespace);
            let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
            quotas.create(&PostParams::default(), &serde_json::from_value(quota)?).await?;
            Ok(())
        }
        Around::Variable(variable) => add_to_every_container(stage, namespace, variable).await,
    }
}

/// Makes a policy that adds a variable to the containers of a namespace, and waits until the API server follows it.
async fn add_to_every_container(stage: &Stage, namespace: &str, variable: &str) -> Result<()> {
    let expression = format!("[JSONPatch{{op: \"add\", path: \"/spec/containers/0/env/-\", value: {variable}}}]");
    let name = policy_name(namespace);
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [rule]}, "failurePolicy": "Fail", "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "matchResources": {"namespaceSelector": here}},
        },
    ]});
    operator::kubectl_with_input(&stage.cluster, &stage.repo, &["apply", "-f", "-"], &list.to_string()).await?;
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
    let attempt = serde_json::from_value(unprivileged_pod())?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    until(&format!("the policy {name} is followed"), WITHIN, || async {
        let pod = pods.create(&dry_run, &attempt).await?;
        let variables = pod.spec.and_then(|spec| spec.containers.into_iter().next()?.env).unwrap_or_default();
        Ok((variables.len() > 1).then_some(()))
    })
    .await
}

async fn forget_policy(stage: &Stage, namespace: &str) -> Result<()> {
    let name = policy_name(namespace);
    let kinds = "mutatingadmissionpolicybinding,mutatingadmissionpolicy";
    operator::kubectl(&stage.cluster, &stage.repo, &["delete", kinds, &name]).await.map(drop)
}

fn policy_name(namespace: &str) -> String {
    format!("lab-{namespace}")
}

/// What Pod Security `restricted` lets in.
fn unprivileged_pod() -> Value {
    json!({
        "metadata": {"name": "attempt"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": image::reference(Image::Busybox), "env": [{"name": "HOME", "value": "/"}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
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

/// On a disk the last good one has to end first, so a bad image leaves nobody serving: both conditions say how to get back, and
/// the way back leads to the very same revision.
pub fn a_bad_change_on_a_disk_is_undone_by_the_old_spec(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "bad-disk-change";
        stage.cluster.namespace(namespace).await?;
        let good = json!({"storage": {"disk": {"size": "1Gi"}}});
        stage.apply_fleet(namespace, "corp", good.clone()).await?;
        let first = stable(&stage.wait_settled(namespace, "corp").await?)?;
        let mut bad = good.clone();
        bad["engine"] = json!({"image": "lab.invalid/nothing:v1", "imagePullPolicy": "Never"});
        stage.apply_fleet(namespace, "corp", bad).await?;
        let ready = stage.wait_not_ready(namespace, "corp", "ImageUnavailable").await?;
        let fleet = stage.fleets(namespace).get("corp").await?;
        let stalled = condition(&fleet, "Stalled").context("no condition Stalled")?;
        ensure!(stalled.status == "True", "Stalled is {}", stalled.status);
        for message in [&ready.message, &stalled.message] {
            for word in [first.as_str(), "undo the change", "lab.invalid/nothing:v1"] {
                ensure!(message.contains(word), "{word:?} is missing in {message}");
            }
        }
        let start = Instant::now();
        stage.apply_fleet(namespace, "corp", good).await?;
        ensure!(stable(&stage.wait_settled(namespace, "corp").await?)? == first, "going back made another revision");
        stage.progress.note(format!("the old revision serves again after {} ms", start.elapsed().as_millis()));
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
