//! The verbs of `cargo lab`. Each has its arguments and its work in one place, so that another verb is another variant.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::bench;
use crate::cluster::{self, Kubernetes, Lab, Profile, Spec, StateDir};
use crate::demo;
use crate::image::{self, Image};
use crate::progress::Progress;
use crate::service::external;
use crate::suite::{self, Tier};

/// Real Kubernetes clusters on this machine, and everything that runs on them.
#[derive(Debug, Parser)]
#[command(name = "cargo lab", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start clusters; what is not built yet is built first.
    Up(Up),
    /// Show a fleet that serves a real `go mod download`, on a cluster that is started for it or on one of your own.
    Demo(demo::Args),
    /// End the clusters and remove every trace of them; with --context, remove the demo from a cluster of your own.
    Down(Down),
    /// Say what runs.
    Status,
    /// Print the path of a kubeconfig that works on this machine.
    Kubeconfig(Choice),
    /// Load an image into the clusters: a docker-archive, or one of the lab's images by name.
    Load(Load),
    /// Print the log of a component, or the names of the components.
    Logs(Logs),
    /// Run the tests, cheap tiers first; the last line is the count.
    Test(Test),
    /// Measure the operator beside a client that only sends; makes and removes clusters of its own.
    Bench(bench::Options),
    /// Be the storage service of a story.
    #[command(hide = true)]
    ExternalStorage(external::Serve),
}

#[derive(Debug, Args)]
struct Up {
    /// What a cluster consists of.
    #[arg(long, value_enum, default_value = "node")]
    profile: Profile,
    /// Number of clusters; they are called a, b and so on, and joined by a link that can be cut.
    #[arg(long, default_value_t = 1)]
    clusters: u8,
    /// Kubernetes version of the control planes.
    #[arg(long, value_enum, default_value = "1.36")]
    kubernetes: Kubernetes,
    /// Lift the client limits of controller manager, scheduler and kwok, for tests of scale.
    #[arg(long)]
    raised_limits: bool,
}

#[derive(Debug, Args)]
struct Down {
    #[command(flatten)]
    own: demo::own::TargetArgs,
}

#[derive(Debug, Args)]
struct Choice {
    /// One cluster instead of all.
    #[arg(long)]
    cluster: Option<String>,
}

#[derive(Debug, Args)]
struct Load {
    /// Path of a docker-archive, or the name of an image of the lab.
    image: String,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Debug, Args)]
struct Logs {
    /// Name of the component; without one, the names are printed.
    component: Option<String>,
    /// Name of the cluster.
    #[arg(long, default_value = "a")]
    cluster: String,
}

#[derive(Debug, Args)]
struct Test {
    /// Only these tiers. Default: static, unit, control-plane, node, services.
    #[arg(long, value_enum, value_delimiter = ',')]
    tier: Vec<Tier>,
    /// Only stories on clusters whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Go on with the next tier after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Kubernetes version of the control-plane tier.
    #[arg(long, value_enum, default_value = "1.36")]
    kubernetes: Kubernetes,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&anyhow::Error::new(error).context("cannot start")),
    };
    match runtime.block_on(execute(cli.verb)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

fn failure(error: &anyhow::Error) -> ExitCode {
    // With standard error closed there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "lab: {error:#}");
    ExitCode::FAILURE
}

async fn execute(verb: Verb) -> Result<()> {
    let (state, progress) = (StateDir::from_env(), Progress::new());
    match verb {
        Verb::Up(args) => up(&args, &state, &progress).await,
        Verb::Demo(args) => demo::run(&args, &state, &progress).await,
        Verb::Down(args) => down(&args, &state, &progress).await,
        Verb::Status => print(&cluster::status(&state).await?),
        Verb::Kubeconfig(choice) => kubeconfig(&choice, &state),
        Verb::Load(args) => load(&args, &state, &progress).await,
        Verb::Logs(args) => logs(&args, &state),
        Verb::Test(args) => test(args, &progress).await,
        Verb::Bench(options) => print(&bench::run(&options, &state, progress).await?),
        Verb::ExternalStorage(told) => external::serve(told).await,
    }
}

async fn test(args: Test, progress: &Progress) -> Result<()> {
    let Test { tier, only, keep_going, kubernetes } = args;
    let named = !tier.is_empty();
    let tiers = if named { tier } else { Tier::ALL.to_vec() };
    let options = suite::Options { tiers, named, only, keep_going, kubernetes };
    ensure!(suite::run(&repository(), &options, progress).await?, "not everything passed");
    Ok(())
}

/// The source tree that this program was built from.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

async fn up(args: &Up, state: &StateDir, progress: &Progress) -> Result<()> {
    let spec = Spec {
        profile: args.profile,
        clusters: args.clusters,
        kubernetes: args.kubernetes,
        raised_limits: args.raised_limits,
    };
    let lab = cluster::up(&spec, state, progress).await?;
    progress.note(format!("ready: export KUBECONFIG={}", lab.kubeconfig().display()));
    Ok(())
}

async fn down(args: &Down, state: &StateDir, progress: &Progress) -> Result<()> {
    if let Some(target) = args.own.target() {
        return demo::own::remove(&target, progress).await;
    }
    cluster::down(state, progress).await?;
    progress.note("nothing is left of the lab");
    Ok(())
}

fn kubeconfig(choice: &Choice, state: &StateDir) -> Result<()> {
    let lab = Lab::attach(state)?;
    let path = match &choice.cluster {
        Some(name) => lab.cluster(name)?.kubeconfig(),
        None => lab.kubeconfig(),
    };
    print(&format!("{}\n", path.display()))
}

async fn load(args: &Load, state: &StateDir, progress: &Progress) -> Result<()> {
    let lab = Lab::attach(state)?;
    let archive = archive(&args.image, progress)?;
    for cluster in lab.clusters() {
        if args.choice.cluster.as_deref().is_none_or(|name| name == cluster.name()) {
            let step = progress.step(format!("{}: {} loaded", cluster.name(), args.image));
            cluster.import(&archive).await?;
            step.done();
        }
    }
    Ok(())
}

fn archive(name: &str, progress: &Progress) -> Result<PathBuf> {
    if Path::new(name).exists() {
        return Ok(name.into());
    }
    let wanted = name.replace(['-', '.'], "").to_lowercase();
    let found = Image::ALL.into_iter().find(|image| format!("{image:?}").to_lowercase() == wanted);
    let names = || Image::ALL.map(|image| format!("{image:?}").to_lowercase()).join(", ");
    let image = found.with_context(|| format!("{name} is neither a file nor an image of the lab: {}", names()))?;
    image::archive(image, progress)
}

fn logs(args: &Logs, state: &StateDir) -> Result<()> {
    let lab = Lab::attach(state)?;
    let cluster = lab.cluster(&args.cluster)?;
    let names = cluster.components();
    let Some(component) = &args.component else { return print(&(names.join("\n") + "\n")) };
    ensure!(
        names.contains(component),
        "cluster {} has no component {component}; it has {}",
        cluster.name(),
        names.join(", ")
    );
    let path = cluster.log(component);
    print(&std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?)
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_verb_and_every_flag_has_a_text() {
        let mut command = Cli::command();
        // In a debug build, this also finds what contradicts itself.
        command.build();
        for verb in command.get_subcommands() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for flag in verb.get_arguments() {
                assert!(flag.get_help().is_some(), "{} of {}", flag.get_id(), verb.get_name());
            }
        }
    }

    #[test]
    fn a_cluster_of_the_user_s_own_needs_every_name() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        for line in [
            "lab demo",
            "lab down",
            "lab demo --context c --kubeconfig f --registry r.example/p",
            "lab demo --context c --kubeconfig f --registry r.example/p --plain-http",
            "lab down --context c --kubeconfig f",
        ] {
            assert!(parses(line), "{line}");
        }
        for line in [
            "lab demo --context c",
            "lab demo --kubeconfig f",
            "lab demo --registry r.example/p",
            "lab demo --plain-http",
            "lab demo --context c --registry r.example/p",
            "lab demo --context c --kubeconfig f",
            "lab down --context c",
            "lab down --kubeconfig f",
        ] {
            assert!(!parses(line), "{line}");
        }
    }

    #[test]
    fn an_unknown_image_is_answered_with_the_known_ones() {
        let error = archive("nonesuch", &Progress::silent()).unwrap_err().to_string();
        assert!(error.contains("athens0180") && error.contains("busybox"), "{error}");
    }
}
