//! A fresh cluster for a leg, with the accounts that are measured on it: none of them is an administrator, whom neither
//! rights nor fair queuing concern.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use goproxy_operator::api::go_proxy::GoProxy;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use super::fleet::{self, Place};
use super::{number, usage};
use crate::audit::AuditLog;
use crate::cluster::{self, Cluster, Kubernetes, Lab, Profile, Reach, Spec, StateDir};
use crate::operator::{self, HostOperator};
use crate::page::Page;
use crate::progress::Progress;
use crate::tools::{self, Family};

/// Fleets, or raw bodies of fleets, at a time: the operator's own default.
pub const CONCURRENCY: usize = 32;

/// Namespace of the measuring accounts.
const NAMESPACE: &str = "bench";

/// The control group that everything of a lab is in.
const LAB_GROUP: &str = "goproxy-lab";

/// Component name of the measured operator.
const OPERATOR: &str = "goproxy-operator";

/// What stays the same for all legs.
#[derive(Debug)]
pub struct Bench {
    /// Where the lab keeps its state.
    pub state: StateDir,
    /// What a person sees.
    pub progress: Progress,
    /// The operator's release binary.
    pub binary: PathBuf,
    /// The source tree.
    pub repo: PathBuf,
}

/// A cluster that is up and has the operator's rights installed, but no operator.
pub struct Rig<'a> {
    bench: &'a Bench,
    lab: Lab,
    /// The cluster.
    pub cluster: Cluster,
    /// The administrator, for what is not measured.
    pub admin: Client,
}

impl Bench {
    /// Refuses to measure on a lab that somebody else uses, and builds what is needed.
    pub fn new(state: StateDir, progress: Progress) -> Result<Self> {
        if state.journal().exists() {
            bail!("a lab is up, and a measurement needs fresh ones: end it with `cargo lab down`");
        }
        tools::ensure(&[Family::Etcd, Family::Kubernetes, Family::Kwok, Family::Helm], &progress)?;
        let binary = operator::own_copy(&operator::binary(&progress)?, "bench")?;
        let repo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        Ok(Self { state, progress, binary, repo })
    }

    /// Runs some work on a fresh cluster, which is removed afterwards whatever came of the work.
    pub async fn on_fresh_cluster<T>(&self, work: impl AsyncFnOnce(&Rig<'_>) -> Result<T>) -> Result<T> {
        let done = async {
            let rig = self.up().await?;
            let done = work(&rig).await;
            drop(rig);
            done
        };
        let interrupted = async {
            tokio::signal::ctrl_c().await.context("cannot listen to signals")?;
            bail!("interrupted")
        };
        let done = tokio::select! { done = done => done, interrupted = interrupted => interrupted };
        let down = cluster::down(&self.state, &Progress::silent()).await;
        done.and_then(|value| down.map(|()| value))
    }

    async fn up(&self) -> Result<Rig<'_>> {
        let step = self.progress.step("fresh control plane");
        let spec =
            Spec { profile: Profile::ControlPlane, clusters: 1, kubernetes: Kubernetes::V1_36, raised_limits: true };
        let lab = cluster::up(&spec, &self.state, &Progress::silent()).await?;
        let cluster = lab.clusters().first().context("the lab has no cluster")?.clone();
        let admin = cluster.client().await?;
        operator::install_rights(&cluster, &self.repo, &[]).await?;
        cluster.namespace(NAMESPACE).await?;
        let rig = Rig { bench: self, lab, cluster, admin };
        rig.audit().quiet(Duration::from_secs(1), Duration::from_mins(1)).await?;
        step.done();
        Ok(rig)
    }
}

impl Rig<'_> {
    /// What a person sees.
    pub fn progress(&self) -> &Progress {
        &self.bench.progress
    }

    /// What was really sent.
    pub fn audit(&self) -> AuditLog {
        AuditLog::at(self.cluster.audit_log())
    }

    /// A client that may do what the operator may do, and its name in the audit log.
    pub async fn raw_client(&self) -> Result<(Client, String)> {
        let (config, user) = self.account("raw", &format!("{}-fleets", operator::RELEASE)).await?;
        Ok((Client::try_from(config)?, user))
    }

    /// A client that makes and changes fleets, as a user with all rights.
    pub async fn user_client(&self) -> Result<(Client, String)> {
        let (config, user) = self.account("user", "cluster-admin").await?;
        Ok((Client::try_from(config)?, user))
    }

    /// How to reach the API server with the operator's rights, for clients that shall have no connection yet.
    pub async fn raw_config(&self) -> Result<Config> {
        Ok(self.account("raw", &format!("{}-fleets", operator::RELEASE)).await?.0)
    }

    async fn account(&self, name: &str, role: &str) -> Result<(Config, String)> {
        let path = self.cluster.service_account_kubeconfig(NAMESPACE, name, Reach::Host).await?;
        let bindings: Api<ClusterRoleBinding> = Api::all(self.admin.clone());
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{NAMESPACE}-{name}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
        });
        let parameters = PatchParams::apply("goproxy-lab").force();
        bindings.patch(&format!("{NAMESPACE}-{name}"), &parameters, &Patch::Apply(binding)).await?;
        let kubeconfig = Kubeconfig::read_from(path)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // As the operator's: no answer is asked for twice behind our back, and a watch may be silent.
        config.default_retry = false;
        config.read_timeout = None;
        Ok((config, format!("system:serviceaccount:{NAMESPACE}:{name}")))
    }

    /// Name of the operator in the audit log.
    pub fn operator_user() -> String {
        format!("system:serviceaccount:{}:{}", operator::NAMESPACE, operator::RELEASE)
    }

    /// Makes the namespaces of fleets and waits until the controllers have put into them what they always put there.
    pub async fn make_namespaces(&self, places: &[Place]) -> Result<()> {
        let mut names: Vec<&str> = places.iter().map(|place| place.namespace.as_str()).collect();
        names.dedup();
        let namespaces: Api<Namespace> = Api::all(self.admin.clone());
        for name in names {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
            });
            namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
        }
        self.rest().await
    }

    /// Makes fleets, many at a time, and returns them as the server holds them.
    pub async fn make_fleets(&self, places: &[Place]) -> Result<Vec<GoProxy>> {
        let (client, _) = self.user_client().await?;
        let made = stream::iter(places).map(|place| create_fleet(&client, place)).buffer_unordered(CONCURRENCY);
        made.try_collect().await
    }

    /// Waits until the controllers have nothing left to do.
    pub async fn rest(&self) -> Result<()> {
        self.audit().quiet(Duration::from_millis(1500), Duration::from_mins(5)).await
    }

    /// Starts the operator, and returns it with the instant before.
    pub async fn start_operator(&self) -> Result<(Operator, Instant)> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let concurrency = CONCURRENCY.to_string();
        let begin = Instant::now();
        let arguments = ["--concurrency", &concurrency];
        let host = HostOperator::start(&self.cluster, OPERATOR, &self.bench.binary, port, &arguments).await?;
        Ok((Operator { host, cluster: self.cluster.clone() }, begin))
    }

    /// How many fleets say that they are ready.
    pub async fn ready_fleets(&self) -> Result<usize> {
        let fleets: Api<GoProxy> = Api::all(self.admin.clone());
        let ready = |fleet: &GoProxy| {
            let conditions = fleet.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        Ok(fleets.list(&ListParams::default()).await?.iter().filter(|fleet| ready(fleet)).count())
    }

    /// Begins to watch for work that is not ours.
    pub fn clock(&self) -> Result<Clock> {
        Ok(Clock { at: Instant::now(), foreign: self.foreign_time()? })
    }

    fn foreign_time(&self) -> Result<Duration> {
        let lab = self.lab.machine().cgroups.cpu_time(LAB_GROUP)?;
        Ok(usage::machine_time()?.saturating_sub(lab).saturating_sub(usage::own_time()?))
    }

    /// How many cores others used since then.
    pub fn foreign_cores(&self, since: &Clock) -> Result<f64> {
        let foreign = self.foreign_time()?.saturating_sub(since.foreign);
        Ok(foreign.as_secs_f64() / since.at.elapsed().as_secs_f64())
    }
}

/// An instant with what others had used until then.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    at: Instant,
    foreign: Duration,
}

/// Makes one fleet.
pub async fn create_fleet(client: &Client, place: &Place) -> Result<GoProxy> {
    let fleets: Api<GoProxy> = Api::namespaced(client.clone(), &place.namespace);
    let fleet = serde_json::from_value(fleet::manifest(place))?;
    fleets.create(&PostParams::default(), &fleet).await.with_context(|| format!("cannot make {}", place.name))
}

/// How often somebody looks, and for how long.
#[derive(Clone, Copy, Debug)]
struct Looks {
    every: Duration,
    deadline: Duration,
}

/// The operator under measurement.
#[derive(Debug)]
pub struct Operator {
    host: HostOperator,
    cluster: Cluster,
}

impl Operator {
    /// Its metrics now.
    pub async fn page(&self) -> Result<Page> {
        self.host.page("/metrics").await
    }

    /// What the memory of the objects that it holds is made of.
    pub async fn held_bytes(&self) -> Result<Page> {
        self.host.page("/metrics/memory").await
    }

    /// Waits until its metrics say so. Looking costs the operator CPU that is then counted as its own, so it is not done
    /// more often than needed.
    async fn wait(&self, what: &str, looks: Looks, holds: impl Fn(&Page) -> bool) -> Result<()> {
        let Looks { every, deadline } = looks;
        let begin = Instant::now();
        loop {
            // It may not listen yet.
            let page = self.page().await;
            if page.as_ref().is_ok_and(&holds) {
                return Ok(());
            }
            if begin.elapsed() > deadline {
                let said = page.map(|page| page.text().to_owned())?;
                bail!(
                    "{what}: not within {} s; its log: {}; its metrics:\n{said}",
                    deadline.as_secs(),
                    self.host.log()
                );
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Waits until this many fleets are healthy.
    pub async fn wait_healthy(&self, count: usize) -> Result<()> {
        let holds = |page: &Page| page.sum("fleets", &["state=\"Healthy\""]) >= number(count);
        let looks = Looks { every: Duration::from_millis(500), deadline: Duration::from_mins(6) };
        self.wait(&format!("{count} fleets healthy"), looks, holds).await
    }

    /// Waits until each of this many fleets was looked at once, and nothing is left to do. To the hundredth of a second.
    pub async fn wait_reconciled(&self, count: usize) -> Result<()> {
        let holds = |page: &Page| page.has_looked_at(count);
        let looks = Looks { every: Duration::from_millis(10), deadline: Duration::from_mins(3) };
        self.wait(&format!("{count} fleets reconciled"), looks, holds).await
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Result<Duration> {
        self.cluster.cpu_time(OPERATOR)
    }

    /// Its memory now.
    pub fn memory(&self) -> Result<usage::Memory> {
        usage::memory(self.host.pid()?)
    }

    /// Ends it as Kubernetes would.
    pub async fn stop(self) -> Result<()> {
        self.host.stop().await
    }
}
