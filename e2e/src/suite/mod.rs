//! `cargo lab test`: every tier of tests, from cheap to dear, with one count at the end.

mod rust;
pub mod story;

use std::{path::Path, time::Instant};

use anyhow::Context as _;

use crate::{
    check::{Check, Outcome},
    cluster::Kubernetes,
    probe,
    progress::Progress,
    scripted::{scenario::SCENARIOS, sweep},
};

/// A tier: everything in it needs about the same machinery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Tier {
    /// Format, lints, dependencies, the chart.
    Static,
    /// `cargo test`: pure code, models, the scripted API server.
    Unit,
    /// A real API server and controller manager, pods only pretended.
    ControlPlane,
    /// Everything for real: kubelet, containers, Athens, a go client.
    Node,
    /// What fleets use besides Kubernetes: object store, locks, Git server, way out. The stories that wait long for clocks of
    /// others only when named.
    Services,
    /// The demo on a second cluster as if it were a user's own, with a registry. Only when named.
    OwnCluster,
    /// The lab itself: killed at any moment, doubled, cut. Takes the whole machine for some minutes, so only when named.
    Lab,
    /// Every fault at every call, on the scripted API server, and the wide model of the rollout; samples of both are part
    /// of `unit`. Takes some twenty minutes, so only when named.
    Faults,
}

impl Tier {
    /// The tiers of a run that names none, cheap ones first.
    pub const ALL: [Self; 5] = [Self::Static, Self::Unit, Self::ControlPlane, Self::Node, Self::Services];
}

/// What a run is asked for.
#[derive(Debug)]
pub struct Options {
    /// Which tiers, in order.
    pub tiers: Vec<Tier>,
    /// Whether somebody named them, and so wants all of their stories.
    pub named: bool,
    /// Only stories, and groups of static checks, whose name contains this.
    pub only: Option<String>,
    /// Goes on with the next tier after a failure.
    pub keep_going: bool,
    /// Kubernetes version of the control-plane tier.
    pub kubernetes: Kubernetes,
}

/// All checks of a run, with the time each took.
#[derive(Debug, Default)]
pub struct Results(Vec<(Check, f64)>);

impl Results {
    /// Adds a check and shows it.
    pub fn add(&mut self, progress: &Progress, check: Check, seconds: f64) {
        match &check.outcome {
            Outcome::Passed => progress.note(format!("ok      {} ({seconds:.1} s)", check.name)),
            Outcome::Failed(why) => progress.note(format!("FAILED  {} ({seconds:.1} s)\n{why}", check.name)),
            Outcome::Skipped(why) => progress.note(format!("SKIPPED {}: {why}", check.name)),
        }
        self.0.push((check, seconds));
    }

    fn count(&self, wanted: fn(&Outcome) -> bool) -> usize {
        self.0.iter().filter(|(check, _)| wanted(&check.outcome)).count()
    }

    fn failed(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Failed(_)))
    }
}

/// Runs the tiers; true when nothing failed. The last line printed is the count.
pub async fn run(repo: &Path, options: &Options, progress: &Progress) -> anyhow::Result<bool> {
    probe::ensure(progress)?;
    let mut results = Results::default();
    let mut broken = None;
    for tier in &options.tiers {
        let step = progress.long_step(format!("tier {tier:?}"));
        let ran = run_tier(*tier, repo, options, &mut results, progress).await;
        if let Err(error) = ran {
            broken = Some(error.context(format!("tier {tier:?} could not run")));
            break;
        }
        step.done();
        if results.failed() > 0 && !options.keep_going {
            progress.note("stopping at the first tier that failed; --keep-going runs the rest");
            break;
        }
    }
    summarise(&results, progress);
    if let Some(error) = broken {
        progress.note(format!("{error:#}"));
        results.0.push((Check { name: "the run itself".to_owned(), outcome: Outcome::Failed(String::new()) }, 0.0));
    }
    let (passed, failed) = (results.count(|outcome| *outcome == Outcome::Passed), results.failed());
    let skipped = results.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    print_line(&format!("{passed} passed, {failed} failed{skipped}"))?;
    Ok(failed == 0 && passed > 0)
}

async fn run_tier(
    tier: Tier,
    repo: &Path,
    options: &Options,
    results: &mut Results,
    progress: &Progress,
) -> anyhow::Result<()> {
    match tier {
        Tier::Static => {
            rust::static_checks(repo, options.only.as_deref(), results, progress)?;
            if options.only.as_deref().is_none_or(|only| "sidecar".contains(only)) {
                rust::sidecar(repo, results, progress).await;
            }
            Ok(())
        }
        Tier::Unit => rust::unit_tests(repo, results, progress),
        Tier::ControlPlane => story::control_plane(repo, options, results, progress).await,
        Tier::Node => story::node(repo, options, results, progress).await,
        Tier::OwnCluster => story::own_cluster(repo, options, results, progress).await,
        Tier::Services => story::services(repo, options, results, progress).await,
        Tier::Lab => {
            story::lab_itself(options, results, progress).await;
            Ok(())
        }
        Tier::Faults => {
            faults(results, progress).await?;
            rust::wide_model(repo, results, progress)
        }
    }
}

/// Each scenario counts; what the sweep found is shown whole.
async fn faults(results: &mut Results, progress: &Progress) -> anyhow::Result<()> {
    let start = Instant::now();
    let report = sweep::sweep(None).await?;
    progress.note(report.to_string());
    let seconds = start.elapsed().as_secs_f64();
    for scenario in &SCENARIOS {
        let failed: Vec<_> =
            report.failures.iter().filter(|(name, _)| *name == scenario.name).map(|(_, text)| text.as_str()).collect();
        let outcome = if failed.is_empty() { Outcome::Passed } else { Outcome::Failed(failed.join("\n")) };
        let check = Check { name: format!("faults: {}", scenario.name), outcome };
        #[expect(clippy::cast_precision_loss, reason = "a count of scenarios")]
        results.add(progress, check, seconds / SCENARIOS.len() as f64);
    }
    Ok(())
}

/// What was slow, what was left out and what failed, once more at the end where people look.
fn summarise(results: &Results, progress: &Progress) {
    let mut slowest: Vec<_> = results.0.iter().collect();
    slowest.sort_by(|left, right| right.1.total_cmp(&left.1));
    progress.note("slowest:");
    for (check, seconds) in slowest.iter().take(8) {
        progress.note(format!("  {seconds:>6.1} s  {}", check.name));
    }
    for (check, _) in &results.0 {
        match &check.outcome {
            Outcome::Passed => {}
            Outcome::Failed(_) => progress.note(format!("FAILED  {}", check.name)),
            Outcome::Skipped(why) => progress.note(format!("SKIPPED {}: {why}", check.name)),
        }
    }
}

fn print_line(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "{text}").context("cannot write the count")
}

/// Runs something that yields several checks, and gives each its share of the time.
fn timed(
    results: &mut Results,
    progress: &Progress,
    work: impl FnOnce() -> anyhow::Result<Vec<Check>>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let checks = work()?;
    #[expect(clippy::cast_precision_loss, reason = "a count of checks")]
    let share = start.elapsed().as_secs_f64() / checks.len().max(1) as f64;
    for check in checks {
        results.add(progress, check, share);
    }
    Ok(())
}
