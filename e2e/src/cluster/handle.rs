//! Working with clusters that are up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use nix::sys::signal::Signal;
use serde_json::json;

use super::kubeconfig::{self, Credential, Entry, Reach, client_of};
use super::network::{self, Addresses};
use super::process::{Machine, Place, Process, component_cgroup};
use super::state::{Lock, StateDir};
use super::{Profile, Spec, addon, control_plane, node, node_name, open, until};
use crate::tools::{self, Family};

/// How long a component may take to end by itself before it is killed; an API server with open watches would take a minute.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    machine: Arc<Machine>,
    spec: Spec,
    clusters: Vec<Cluster>,
    /// Only held: nobody else changes the lab as long as whoever made it works with it.
    _lock: Option<Lock>,
}

impl Lab {
    /// Opens the lab that is up, without keeping others from changing it.
    pub fn attach(state: &StateDir) -> Result<Self> {
        Self::attach_with(state, None)
    }

    pub(super) fn attach_with(state: &StateDir, lock: Option<Lock>) -> Result<Self> {
        let (spec, machine) = open(state)?;
        let clusters = spec.names().into_iter().map(|(name, index)| {
            let addresses = Addresses::of(index)?;
            Ok(Cluster {
                node: node_name(&name),
                machine: Arc::clone(&machine),
                name,
                addresses,
                profile: spec.profile,
            })
        });
        let lab = Self { clusters: clusters.collect::<Result<_>>()?, machine, spec, _lock: lock };
        lab.write_kubeconfig()?;
        Ok(lab)
    }

    /// The shape of the lab.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// All clusters.
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// One cluster by name.
    pub fn cluster(&self, name: &str) -> Result<&Cluster> {
        let names = || self.clusters.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
        self.clusters
            .iter()
            .find(|c| c.name == name)
            .with_context(|| format!("there is no cluster {name}; there is {}", names()))
    }

    /// The machine, for processes that a test adds: they end with the lab.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// One kubeconfig with a context `lab-NAME` for every cluster, for use on the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.machine.state.kubeconfig()
    }

    fn write_kubeconfig(&self) -> Result<()> {
        let merged = self.clusters.iter().map(|cluster| kube::config::Kubeconfig::read_from(cluster.kubeconfig()));
        let merged = merged.collect::<Result<Vec<_>, _>>().context("cannot read the clusters' kubeconfigs")?;
        let merged =
            merged.into_iter().reduce(|all, next| all.merge(next).unwrap_or_default()).context("no cluster")?;
        let text = serde_saphyr::to_string(&merged).context("cannot render the kubeconfig")?;
        kubeconfig::write_protected(&self.kubeconfig(), &text)
    }
}

/// One cluster that is up.
#[derive(Clone, Debug)]
pub struct Cluster {
    machine: Arc<Machine>,
    name: String,
    node: String,
    addresses: Addresses,
    profile: Profile,
}

impl Cluster {
    /// Name of the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of its node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its addresses.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Directory with everything of this cluster.
    pub fn directory(&self) -> PathBuf {
        self.machine.state.group(&self.name)
    }

    /// The administrator's kubeconfig for use on the host. The administrator is in `system:masters`: neither rights nor
    /// fair queuing apply.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory().join("kubeconfigs/admin")
    }

    /// The same for use in other clusters, over the link that [`Cluster::cut`] cuts.
    pub fn kubeconfig_from_other_clusters(&self) -> PathBuf {
        self.directory().join("kubeconfigs/admin-from-other-clusters")
    }

    /// A client for the administrator.
    pub async fn client(&self) -> Result<Client> {
        client_of(&self.kubeconfig()).await
    }

    /// A client for whom another kubeconfig stands, see [`Cluster::service_account_kubeconfig`].
    pub async fn client_as(&self, kubeconfig: &Path) -> Result<Client> {
        client_of(kubeconfig).await
    }

    /// Runs kubectl as the administrator and returns what it printed.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_with_input(args, "").await
    }

    /// The same with text for its standard input.
    pub async fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        let kubeconfig = self.kubeconfig().to_string_lossy().into_owned();
        let args: Vec<&str> = ["--kubeconfig", &kubeconfig].into_iter().chain(args.iter().copied()).collect();
        let kubectl = tools::bin(Family::Kubernetes, "kubectl");
        self.machine.run_with_input(&Place::Host, kubectl, &args, input).await
    }

    /// The API server's audit log: one JSON object per answered request.
    pub fn audit_log(&self) -> PathBuf {
        self.directory().join("audit.log")
    }

    /// Log of a component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.machine.log(&self.name, component)
    }

    /// The last lines of that.
    pub fn log_tail(&self, component: &str) -> String {
        self.machine.log_tail(&self.name, component)
    }

    /// Names of the components that this cluster consists of.
    pub fn components(&self) -> Vec<String> {
        self.machine.recorded(&self.name)
    }

    /// Process ids of a component, none while it is stopped.
    pub fn pids(&self, component: &str) -> Vec<i32> {
        self.machine.processes(&self.name, component).into_iter().collect()
    }

    /// Processor time that a component has used since the cluster was made.
    pub fn cpu_time(&self, component: &str) -> Result<Duration> {
        self.machine.cgroups.cpu_time(&component_cgroup(&self.name, component))
    }

    /// Sends a signal to a component: SIGSTOP and SIGCONT make it hang and go on.
    pub fn signal(&self, component: &str, signal: Signal) -> Result<()> {
        self.machine.signal(&self.name, component, signal)
    }

    /// Kills a component and waits until it is gone.
    pub async fn kill(&self, component: &str) -> Result<()> {
        self.signal(component, Signal::SIGKILL)?;
        self.machine.wait_gone(&self.name, component, Duration::from_secs(10)).await
    }

    /// Ends a component as an administrator would, and waits until it is gone.
    pub async fn stop(&self, component: &str) -> Result<()> {
        self.signal(component, Signal::SIGTERM)?;
        match self.machine.wait_gone(&self.name, component, STOP_DEADLINE).await {
            Ok(()) => Ok(()),
            Err(_) => self.kill(component).await,
        }
    }

    /// Starts a component that was stopped or killed.
    pub async fn start(&self, component: &str) -> Result<()> {
        ensure!(self.pids(component).is_empty(), "{component} of {} runs already", self.name);
        self.machine.start_again(&self.name, component).await
    }

    /// Stops and starts a component.
    pub async fn restart(&self, component: &str) -> Result<()> {
        self.stop(component).await?;
        self.start(component).await
    }

    /// Waits until the API server is ready, after it or its store was started again.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<()> {
        let client = self.client().await?;
        let what = format!("the API server of {}", self.name);
        until(&what, deadline, || async { Ok(control_plane::is_ready(&client).await.then_some(())) }).await
    }

    /// Starts a process of the caller's own. It is found, and ended by `down`, like a component; see [`Process::inside`]
    /// and [`Process::on_host`].
    pub async fn run(&self, process: &Process) -> Result<()> {
        ensure!(process.group == self.name, "the process belongs to {}, not to {}", process.group, self.name);
        self.machine.start(process).await
    }

    /// Ends such a process for good, at once and also while it is stopped by a signal.
    pub async fn remove(&self, component: &str) -> Result<()> {
        if !self.pids(component).is_empty() {
            self.kill(component).await?;
        }
        self.machine.forget(&self.name, component)
    }

    /// Runs a short command inside the cluster's namespaces, as a client on its node would, and returns what it printed.
    pub async fn run_inside(&self, program: &str, args: &[&str], input: &str) -> Result<String> {
        self.machine.run_with_input(&Place::Inside(self.name.clone()), program, args, input).await
    }

    /// Cuts the link to the other clusters. The host still reaches the cluster, and pods still reach the outside.
    pub async fn cut(&self) -> Result<()> {
        network::set_link(&self.machine, &self.name, false).await
    }

    /// Restores the link to the other clusters.
    pub async fn heal(&self) -> Result<()> {
        network::set_link(&self.machine, &self.name, true).await
    }

    /// Loads a docker-archive into the container runtime.
    pub async fn import(&self, archive: &Path) -> Result<()> {
        ensure!(
            self.profile == Profile::Node,
            "cluster {} has no container runtime: start it with --profile node",
            self.name
        );
        node::import(&self.machine, &self.name, &std::path::absolute(archive)?).await
    }

    /// Makes a namespace in which Pod Security `restricted` is enforced, as tests want it.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client().await?);
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        api.patch(name, &PatchParams::apply(addon::MANAGER).force(), &Patch::Apply(namespace)).await?;
        Ok(())
    }

    /// Writes a kubeconfig for a `ServiceAccount`, which is made when it is missing. Unlike the administrator it needs
    /// rights and is queued fairly. The token is valid for a day.
    pub async fn service_account_kubeconfig(&self, namespace: &str, account: &str, reach: Reach) -> Result<PathBuf> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
        api.patch(account, &PatchParams::apply(addon::MANAGER), &Patch::Apply(object)).await?;
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let answer = api.create_token_request(account, &PostParams::default(), &request).await?;
        let token = answer.status.context("the API server answered without a token")?.token;
        let path = self.directory().join(format!("kubeconfigs/{namespace}-{account}-{reach:?}").to_lowercase());
        let entry = Entry {
            name: &format!("lab-{}", self.name),
            from: reach,
            addresses: self.addresses,
            authority: &std::fs::read_to_string(self.directory().join("pki/ca.crt"))?,
            credential: Credential::Token(token),
        };
        kubeconfig::write(&path, &[entry])?;
        Ok(path)
    }
}
