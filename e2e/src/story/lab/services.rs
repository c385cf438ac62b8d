//! A node does what clusters elsewhere do: policies hold, volumes bind, load is measured, names resolve, the way out works.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::on_a_lab;
use crate::cluster::{Cluster, Spec, until};
use crate::image::{self, Image};
use crate::origin::machine_upstream;
use crate::progress::Progress;

const NAMESPACE: &str = "services";
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) async fn node(progress: &Progress) -> Result<()> {
    on_a_lab(&Spec::default(), progress, async |lab| {
        let cluster = lab.cluster("a")?;
        cluster.namespace(NAMESPACE).await?;
        let client = cluster.client().await?;
        refuses_privilege(cluster).await?;
        apply(
            cluster,
            &[server(), service(), claim(), pod("writer", &writer()), pod("friend", &idle()), pod("stranger", &idle())],
        )
        .await?;
        let names = ["server", "writer", "friend", "stranger"].map(|name| format!("pod/{name}"));
        let wait = ["-n", NAMESPACE, "wait", "--for=condition=Ready", "--timeout=90s"];
        let args: Vec<&str> = wait.into_iter().chain(names.iter().map(String::as_str)).collect();
        let step = progress.step("pods ready");
        cluster.kubectl(&args).await?;
        step.done();
        volume_is_bound(cluster, progress).await?;
        policy_is_enforced(cluster, progress).await?;
        names_resolve(cluster, progress).await?;
        load_is_measured(cluster, &client, progress).await
    })
    .await
}

async fn apply(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    cluster.kubectl_with_input(&["-n", NAMESPACE, "apply", "-f", "-"], &list).await?;
    Ok(())
}

fn pod(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec,
    })
}

/// A container that Pod Security `restricted` accepts.
fn container(command: &[&str]) -> Value {
    json!({
        "name": "main", "image": image::reference(Image::Busybox), "imagePullPolicy": "Never", "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true, "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"}, "readOnlyRootFilesystem": true,
        },
    })
}

fn spec(container: &Value) -> Value {
    json!({"containers": [container], "terminationGracePeriodSeconds": 0})
}

fn idle() -> Value {
    spec(&container(&["sleep", "infinity"]))
}

fn server() -> Value {
    let mut main = container(&["busybox", "httpd", "-f", "-p", "8080", "-h", "/etc"]);
    main["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    pod("server", &spec(&main))
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn claim() -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    })
}

fn writer() -> Value {
    let mut main = container(&["sh", "-c", "echo kept >/data/file && exec sleep infinity"]);
    main["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let mut spec = spec(&main);
    spec["securityContext"] = json!({"fsGroup": 65532});
    spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    spec
}

async fn refuses_privilege(cluster: &Cluster) -> Result<()> {
    let privileged = json!({"name": "c", "image": "lab.invalid/none:1", "securityContext": {"privileged": true}});
    let error =
        apply(cluster, &[pod("privileged", &spec(&privileged))]).await.err().context("a privileged pod is let in")?;
    ensure!(format!("{error:#}").contains("violates PodSecurity"), "{error:#}");
    Ok(())
}

async fn volume_is_bound(cluster: &Cluster, progress: &Progress) -> Result<()> {
    let phase = cluster.kubectl(&["-n", NAMESPACE, "get", "pvc", "data", "-o", "jsonpath={.status.phase}"]).await?;
    ensure!(phase == "Bound", "the claim is {phase}");
    let kept = exec(cluster, "writer", &["cat", "/data/file"]).await?;
    ensure!(kept.trim() == "kept", "the volume holds {kept:?}");
    progress.note("the claim without a class is bound and written to by an ordinary user");
    Ok(())
}

async fn exec(cluster: &Cluster, pod: &str, command: &[&str]) -> Result<String> {
    let args: Vec<&str> = ["-n", NAMESPACE, "exec", pod, "--"].into_iter().chain(command.iter().copied()).collect();
    cluster.kubectl(&args).await
}

/// The tool's own time limit crashes in a static binary, so another one is put around it.
async fn fetch(cluster: &Cluster, pod: &str) -> Result<String> {
    exec(cluster, pod, &["timeout", "3", "wget", "-q", "-O", "-", "http://server/hosts"]).await
}

async fn policy_is_enforced(cluster: &Cluster, progress: &Progress) -> Result<()> {
    until("the server to answer", PATIENCE, || async { Ok(fetch(cluster, "stranger").await.ok()) }).await?;
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "friends"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}],
        },
    });
    let start = Instant::now();
    apply(cluster, &[policy]).await?;
    until("the stranger to be refused", PATIENCE, || async { Ok(fetch(cluster, "stranger").await.err()) }).await?;
    progress.note(format!("the policy is in force after {:.1} s", start.elapsed().as_secs_f64()));
    fetch(cluster, "friend").await.context("the policy refuses the friend as well")?;
    cluster.kubectl(&["-n", NAMESPACE, "delete", "networkpolicy", "friends"]).await?;
    until("the stranger to be let in again", PATIENCE, || async { Ok(fetch(cluster, "stranger").await.ok()) }).await?;
    Ok(())
}

/// Names of the cluster, and one that only the machine's own resolver knows.
async fn names_resolve(cluster: &Cluster, progress: &Progress) -> Result<()> {
    exec(cluster, "friend", &["nslookup", "kubernetes.default.svc.cluster.local"]).await?;
    let upstream = machine_upstream()?;
    let Some(proxy) = upstream.urls.first() else {
        progress.note("this machine's go uses no module proxy: none is asked for");
        return Ok(());
    };
    let uri = http::Uri::try_from(proxy.as_str())?;
    let host = uri.host().context("the module proxy has no host")?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 }).to_string();
    // The tool speaks too old a TLS to ask for a module; that a line is taken shows the way, and fleets fetch elsewhere.
    let script = r#"echo | timeout 10 nc "$0" "$1""#;
    let answer = exec(cluster, "friend", &["sh", "-c", script, host, &port]).await;
    answer.context("a pod does not reach the module proxy of this machine's go")?;
    progress.note("a pod resolves and reaches the module proxy that this machine's go uses");
    Ok(())
}

async fn load_is_measured(cluster: &Cluster, client: &Client, progress: &Progress) -> Result<()> {
    let labels = json!({"app": "busy"});
    let mut main = container(&["sh", "-c", "while :; do :; done"]);
    main["resources"] = json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "100m"}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "busy"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec(&main)},
        },
    });
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "busy"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"},
            "minReplicas": 1, "maxReplicas": 2,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
        },
    });
    let start = Instant::now();
    apply(cluster, &[deployment, autoscaler]).await?;
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), NAMESPACE);
    until("the autoscaler to scale on what was measured", PATIENCE, || async {
        let status = api.get("busy").await?.status.unwrap_or_default();
        Ok((status.desired_replicas == 2).then_some(()))
    })
    .await?;
    progress.note(format!("the autoscaler scaled after {:.1} s", start.elapsed().as_secs_f64()));
    cluster.kubectl(&["top", "node"]).await?;
    Ok(())
}
