//! The part of the demo that is the same on every cluster: a fleet becomes ready and serves a real download.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::process::Command;

use goproxy_operator::api::go_proxy::GoProxy;
use goproxy_operator::api::status::ClientSettings;

use super::forward::Forward;
use super::overlay::Overlay;
use crate::cluster::until;
use crate::go_client::{Download, GoClient};
use crate::origin;
use crate::progress::Progress;
use crate::tools::{self, Family};

/// The fleet of `examples/minimal.yaml`.
const FLEET: &str = "goproxy";
const EXAMPLE: &str = "examples/minimal.yaml";
/// The project whose modules are downloaded.
const PROJECT: &str = "e2e/demo";
/// A demo with fewer would prove little.
const MODULES: usize = 20;

/// Where the tour takes place.
pub(super) struct Site<'a> {
    pub(super) client: Client,
    pub(super) kubeconfig: PathBuf,
    pub(super) context: String,
    pub(super) namespace: &'static str,
    /// Whether this machine has a route to the cluster's Services.
    pub(super) routed: bool,
    /// How long the fleet may take to its first Ready.
    pub(super) patience: Duration,
    /// For everything that the tour writes; removed by whoever made it.
    pub(super) work: &'a Path,
    pub(super) repo: &'a Path,
    pub(super) progress: &'a Progress,
}

/// What was measured, for the end of the demo.
pub(super) struct Tour {
    pub(super) settings: ClientSettings,
    lines: Vec<String>,
}

impl Tour {
    /// The measured times, one line each.
    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl Site<'_> {
    /// Applies the example and downloads through the fleet that it becomes.
    pub(super) async fn tour(&self) -> Result<Tour> {
        let used_before = self.fleets().get_opt(FLEET).await.context("cannot ask for the fleet")?.is_some();
        self.apply().await.with_context(|| format!("applying {EXAMPLE}"))?;
        let fleet = self.wait_ready().await?;
        let table = self.kubectl(&["get", "goproxy", FLEET]).await?;
        self.progress.note(format!("$ kubectl get goproxy {FLEET}\n{}", table.trim_end()));
        let settings = fleet.status.and_then(|status| status.client);
        let settings = settings.context("the fleet is ready and its status tells no client settings")?;
        let forward = if self.routed { None } else { Some(Forward::start(self, &format!("service/{FLEET}")).await?) };
        let address = match &forward {
            Some(forward) => forward.address(),
            None => self.service_address().await?,
        };
        let lines = self.downloads(&settings, &address, used_before).await.with_context(|| self.advice())?;
        if let Some(forward) = forward {
            forward.stop().await?;
        }
        Ok(Tour { settings, lines })
    }

    async fn apply(&self) -> Result<()> {
        let upstream = origin::machine_upstream().context("asking what this machine fetches modules from")?;
        let overlay = Overlay::of(&upstream)?;
        self.progress.note(format!(
            "the fleet fetches from where this machine's go command does; this is set beside {EXAMPLE}:\n{}",
            overlay.shown()?.trim_end()
        ));
        overlay.apply(&self.client, self.namespace, FLEET).await?;
        self.progress.note(format!("$ kubectl apply --server-side --filename {EXAMPLE}"));
        let said = self.kubectl(&["apply", "--server-side", "--filename", EXAMPLE]).await?;
        self.progress.note(said.trim());
        Ok(())
    }

    /// Waits for Ready and shows the fleet's own summary whenever it changes.
    async fn wait_ready(&self) -> Result<GoProxy> {
        let step = self.progress.step("the fleet is ready");
        let (fleets, shown) = (self.fleets(), Mutex::new(String::new()));
        let waited = until("the fleet is ready", self.patience, || async {
            let fleet = fleets.get(FLEET).await?;
            let status = fleet.status.clone().unwrap_or_default();
            let summary = status.summary.unwrap_or_else(|| "not seen by the operator yet".to_owned());
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            if *shown != summary {
                self.progress.note(format!("  goproxy/{FLEET}: {summary}"));
                *shown = summary;
            }
            let current = status.observed_generation == fleet.metadata.generation;
            let ready =
                status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            Ok((current && ready).then_some(fleet))
        });
        let fleet = waited.await.with_context(|| self.advice())?;
        step.done();
        Ok(fleet)
    }

    /// Downloads twice, each time with empty caches, and uses what came.
    async fn downloads(&self, settings: &ClientSettings, address: &str, used_before: bool) -> Result<Vec<String>> {
        let project = self.repo.join(PROJECT);
        let go_sum = std::fs::read_to_string(project.join("go.sum")).context("cannot read the demo's go.sum")?;
        let client = GoClient::new(self.work, settings, address);
        let mut lines = Vec::new();
        let names =
            [("cold", if used_before { "first (the fleet has served before)" } else { "cold" }), ("warm", "warm")];
        for (cache, name) in names {
            let step = self.progress.step(format!("go mod download through the fleet, {name}"));
            // Without go.sum the go command cannot but ask the checksum database for every module.
            let copy = self.work.join(format!("{cache}-project"));
            copy_project(&project, &copy)?;
            let download = client.download(&copy, cache).await?;
            let verified = verify(&download, &go_sum)?;
            step.done_with(format!("{}; {verified}", download.summary()));
            lines.push(format!("{name}: {}; {verified}", download.summary()));
        }
        let step = self.progress.step("the project compiles and runs");
        let copy = self.work.join("warm-project");
        std::fs::write(copy.join("go.sum"), &go_sum).context("cannot write go.sum")?;
        let printed = client.build_and_run(&copy, "warm").await?;
        step.done_with(&printed);
        lines.push(format!("go mod verify, go build, run: \"{printed}\""));
        Ok(lines)
    }

    async fn service_address(&self) -> Result<String> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), self.namespace);
        let spec = services.get(FLEET).await.context("the fleet is ready and has no Service")?.spec;
        let ip = spec.and_then(|spec| spec.cluster_ip).context("the fleet's Service has no address")?;
        Ok(format!("http://{ip}"))
    }

    fn fleets(&self) -> Api<GoProxy> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    /// A kubectl command on this cluster alone, whatever the person's own configuration says.
    pub(super) fn kubectl_command(&self) -> Command {
        let mut command = Command::new(tools::bin(Family::Kubernetes, "kubectl"));
        command.current_dir(self.repo).env("KUBECONFIG", &self.kubeconfig);
        // Its cache would otherwise be left in the home directory.
        command.env("KUBECACHEDIR", self.work.join("kubectl-cache"));
        command.args(["--context", &self.context, "--namespace", self.namespace]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_command().args(arguments).output().await.context("cannot start kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Where a person finds out more when a step fails.
    fn advice(&self) -> String {
        let Self { namespace, context, .. } = self;
        let kubectl =
            format!("KUBECONFIG={} kubectl --context {context} --namespace {namespace}", self.kubeconfig.display());
        format!(
            "look at: {kubectl} describe goproxy {FLEET}; {kubectl} get events; {kubectl} logs --selector goproxy.rs/fleet={FLEET}"
        )
    }
}

/// Copies go.mod and the source, not go.sum.
fn copy_project(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for name in ["go.mod", "main.go"] {
        std::fs::copy(from.join(name), to.join(name)).with_context(|| format!("cannot copy {name} of the demo"))?;
    }
    Ok(())
}

/// Whether a download was all that it should be; says so in a few words.
fn verify(download: &Download, go_sum: &str) -> Result<String> {
    let count = download.modules.len();
    ensure!(count >= MODULES, "only {count} modules were downloaded, and the demo has at least {MODULES}");
    let different = download.differing_from(go_sum);
    ensure!(different.is_empty(), "sums that are not those of {PROJECT}/go.sum: {}", different.join(", "));
    let records: usize = download.records.values().sum();
    let databases = download.records.keys().cloned().collect::<Vec<_>>().join(", ");
    ensure!(
        records >= count,
        "{count} modules were downloaded and only {records} records of the checksum database were seen"
    );
    Ok(format!("{records} records of {databases} verified, every sum as in go.sum"))
}
