//! `cargo lab demo`: from nothing to a real `go mod download` through a fleet, in one command.

mod forward;
mod overlay;
pub mod own;
mod tour;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use self::tour::{Site, Tour};
use crate::cluster::{self, Spec, StateDir};
use crate::image::{self, Image};
use crate::operator;
use crate::probe;
use crate::progress::Progress;
use crate::tools::{self, Family};

/// Namespace of the demo's fleet in a lab.
pub const NAMESPACE: &str = "demo";

/// What the demo is asked for.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("own").args(["context"]).requires("registry"))]
pub struct Args {
    #[command(flatten)]
    target: own::TargetArgs,
    /// Where your cluster pulls images from and this machine may push them to, such as registry.example.com/team.
    #[arg(long, requires = "context", value_name = "HOST/PATH")]
    registry: Option<String>,
    /// The registry speaks http without encryption.
    #[arg(long, requires = "context")]
    plain_http: bool,
}

/// Runs the demo, on a lab that it leaves up or on a cluster of the user's own.
pub async fn run(args: &Args, state: &StateDir, progress: &Progress) -> Result<()> {
    match (args.target.target(), &args.registry) {
        (Some(target), Some(registry)) => {
            own::install(&own::Install::new(target, registry, args.plain_http), progress).await
        }
        _ => in_a_lab(state, progress).await,
    }
}

/// The root of the source tree.
pub(super) fn repo() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the lab is not part of a source tree")?;
    Ok(root.to_owned())
}

async fn in_a_lab(state: &StateDir, progress: &Progress) -> Result<()> {
    let repo = repo()?;
    probe::ensure(progress)?;
    tools::ensure(&[Family::Kubernetes, Family::Helm], progress)?;
    // Before the cluster: should one of them fail to build, nothing is left running.
    let images = [Image::Operator, Image::Athens].map(|image| Ok((image, image::archive(image, progress)?)));
    let images = images.into_iter().collect::<Result<Vec<_>>>().context("making the images")?;
    let lab = cluster::up(&Spec::default(), state, progress).await.context("starting a cluster")?;
    let cluster = lab.cluster("a")?;
    for (image, archive) in images {
        let size = std::fs::metadata(&archive)?.len() / 1_000_000;
        let step = progress.step(format!("image {} loaded", image::reference(image)));
        cluster.import(&archive).await?;
        step.done_with(format!("{size} MB"));
    }
    operator::deploy(cluster, &repo, &[], progress).await.with_context(|| {
        format!(
            "look at: KUBECONFIG={} kubectl --namespace {} get pods,events",
            lab.kubeconfig().display(),
            operator::NAMESPACE
        )
    })?;
    cluster.namespace(NAMESPACE).await?;
    // Inside the lab's own directory: should this process be killed, `cargo lab down` removes it.
    let work = tempfile::tempdir_in(cluster.directory()).context("cannot make a directory for the download")?;
    let site = Site {
        client: cluster.client().await?,
        kubeconfig: lab.kubeconfig(),
        context: format!("lab-{}", cluster.name()),
        namespace: NAMESPACE,
        routed: true,
        patience: Duration::from_mins(3),
        work: work.path(),
        repo: &repo,
        progress,
    };
    let tour = or_interrupted(site.tour(), "the lab is still up: cargo lab down ends it").await?;
    work.close().context("cannot remove the downloaded modules")?;
    let kubectl =
        format!("KUBECONFIG={} {}", lab.kubeconfig().display(), tools::bin(Family::Kubernetes, "kubectl").display());
    print(&closing(&tour, progress, &kubectl, NAMESPACE, "cargo lab down"))
}

/// Stops at a signal in an orderly way, so that what was written for the demo alone is removed.
async fn or_interrupted<T>(work: impl Future<Output = Result<T>>, then: &str) -> Result<T> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted; {then}"),
        _ = terminate.recv() => bail!("asked to end; {then}"),
    }
}

fn closing(tour: &Tour, progress: &Progress, kubectl: &str, namespace: &str, end: &str) -> String {
    let mut text =
        format!("\nA fleet served a real go mod download ({:.0} s in all):\n", progress.elapsed().as_secs_f64());
    for line in tour.lines() {
        let _ = writeln!(text, "  {line}");
    }
    let settings = &tour.settings;
    let _ = write!(
        text,
        "A client inside the cluster sets (kubectl get goproxy -o yaml, status.client):\n  GOPROXY={}\n  GOSUMDB={:?}\n\
         Next:\n  alias k='{kubectl} --namespace {namespace}'\n  k get goproxy,pods\n  \
         k explain goproxy.spec --recursive\n  k edit goproxy goproxy\n\
         The end:\n  {end}\n",
        settings.goproxy, settings.gosumdb
    );
    text
}

fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}
