//! The control plane of one cluster: etcd, API server, controller manager, scheduler.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use kube::Client;

use super::making::BringUp;
use super::pki::Identity;
use super::process::Process;
use super::wait;
use super::{Kubernetes, config};
use crate::tools::{self, Family};

/// From the start of both processes; 5 s are usual on two cores.
const READY_DEADLINE: Duration = Duration::from_mins(2);

/// Starts etcd and the API server, and waits until the API server is ready.
pub(super) async fn start(up: &BringUp<'_>) -> Result<Client> {
    config::write_yaml(&up.path("audit-policy.yaml"), &config::audit_policy())?;
    up.machine.start(&etcd(up)).await?;
    up.machine.start(&api_server(up)).await?;
    let client = up.client().await?;
    wait::until(&format!("the API server of {}", up.name), READY_DEADLINE, || async {
        up.machine.expect_running(up.name, &["etcd", "kube-apiserver"])?;
        Ok(is_ready(&client).await.then_some(()))
    })
    .await?;
    for (component, user) in
        [("kube-controller-manager", "system:kube-controller-manager"), ("kube-scheduler", "system:kube-scheduler")]
    {
        up.write_kubeconfig(component, &Identity::user(user))?;
    }
    up.machine.start(&controller_manager(up)).await?;
    up.machine.start(&scheduler(up)).await?;
    Ok(client)
}

/// Whether the API server says that it is ready.
pub(super) async fn is_ready(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
    client.request_text(request).await.is_ok()
}

fn kubernetes(up: &BringUp<'_>, name: &str) -> PathBuf {
    let family = match up.spec.kubernetes {
        Kubernetes::V1_36 => Family::Kubernetes,
        Kubernetes::V1_33 => Family::Kubernetes133,
    };
    tools::bin(family, name)
}

fn etcd(up: &BringUp<'_>) -> Process {
    Process::inside(up.name, "etcd", tools::bin(Family::Etcd, "etcd"))
        .args([
            "--name=lab",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=lab=http://127.0.0.1:2380",
            // The data is worth nothing after a crash of the machine.
            "--unsafe-no-fsync",
            "--quota-backend-bytes=8589934592",
            "--log-level=warn",
        ])
        .args([format!("--data-dir={}", up.path_text("etcd"))])
}

fn api_server(up: &BringUp<'_>) -> Process {
    let pki = |file: &str| up.pki.path(file);
    Process::inside(up.name, "kube-apiserver", kubernetes(up, "kube-apiserver"))
        .args([
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            "--secure-port=6443",
            "--kubelet-preferred-address-types=InternalIP,Hostname",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--enable-aggregator-routing=true",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--audit-log-maxsize=100000",
        ])
        .args([
            format!("--advertise-address={}", up.addresses.wan()),
            format!("--tls-cert-file={}", pki("kube-apiserver.crt")),
            format!("--tls-private-key-file={}", pki("kube-apiserver.key")),
            format!("--client-ca-file={}", pki("ca.crt")),
            format!("--kubelet-client-certificate={}", pki("kubelet-client.crt")),
            format!("--kubelet-client-key={}", pki("kubelet-client.key")),
            format!("--kubelet-certificate-authority={}", pki("ca.crt")),
            format!("--service-account-key-file={}", pki("service-account.pub")),
            format!("--service-account-signing-key-file={}", pki("service-account.key")),
            format!("--service-cluster-ip-range={}", up.addresses.services()),
            format!("--requestheader-client-ca-file={}", pki("front-proxy-ca.crt")),
            format!("--proxy-client-cert-file={}", pki("front-proxy-client.crt")),
            format!("--proxy-client-key-file={}", pki("front-proxy-client.key")),
            format!("--audit-policy-file={}", up.path_text("audit-policy.yaml")),
            format!("--audit-log-path={}", up.path_text("audit.log")),
        ])
}

fn controller_manager(up: &BringUp<'_>) -> Process {
    let kubeconfig = up.kubeconfig_text("kube-controller-manager");
    let process = Process::inside(up.name, "kube-controller-manager", kubernetes(up, "kube-controller-manager"))
        .args([
            "--use-service-account-credentials=true",
            "--allocate-node-cidrs=false",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--node-monitor-grace-period=20s",
            // Pods wait for this period before they may run on a new node.
            "--node-monitor-period=1s",
            // Tests of autoscaling wait for several of these periods.
            "--horizontal-pod-autoscaler-sync-period=5s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
        ])
        .args([
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            format!("--service-account-private-key-file={}", up.pki.path("service-account.key")),
            format!("--root-ca-file={}", up.pki.path("ca.crt")),
            format!("--cluster-signing-cert-file={}", up.pki.path("ca.crt")),
            format!("--cluster-signing-key-file={}", up.pki.path("ca.key")),
            format!("--service-cluster-ip-range={}", up.addresses.services()),
            format!("--cluster-cidr={}", up.addresses.pods()),
            format!("--flex-volume-plugin-dir={}", up.path_text("volume-plugins")),
        ]);
    process.args(if up.spec.raised_limits { &RAISED_LIMITS[..] } else { &USUAL_LIMITS[..] }.iter().copied())
}

/// The program's own limit would make it take 5 s to get its controllers' accounts before it does anything.
const USUAL_LIMITS: [&str; 2] = ["--kube-api-qps=100", "--kube-api-burst=200"];

/// So that a test of scale measures the operator and the API server, not the limits of somebody else's client.
const RAISED_LIMITS: [&str; 9] = [
    "--kube-api-qps=1000",
    "--kube-api-burst=2000",
    "--concurrent-deployment-syncs=30",
    "--concurrent-replicaset-syncs=30",
    "--concurrent-service-endpoint-syncs=20",
    "--concurrent-endpoint-syncs=20",
    "--concurrent-gc-syncs=40",
    "--concurrent-namespace-syncs=30",
    "--concurrent-serviceaccount-token-syncs=20",
];

fn scheduler(up: &BringUp<'_>) -> Process {
    let kubeconfig = up.kubeconfig_text("kube-scheduler");
    let process = Process::inside(up.name, "kube-scheduler", kubernetes(up, "kube-scheduler"))
        .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
        .args([
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
        ]);
    if up.spec.raised_limits { process.args(["--kube-api-qps=1000", "--kube-api-burst=2000"]) } else { process }
}
