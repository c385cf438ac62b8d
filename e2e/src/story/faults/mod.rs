//! A sample, on a real API server, of what the sweep does on the scripted one: a call goes wrong, and the end is the same.
//!
//! `FAULTS_SEED` repeats a sample, `FAULTS_SAMPLE` sets another number of cases.

mod case;
mod digest;
mod rest;
mod scenario;
mod server;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use self::{
    case::{Case, Ended},
    scenario::SCENARIOS,
};
use super::{Stage, Telling};
use crate::{
    cluster::Reach,
    operator::{NAMESPACE, RELEASE},
    scripted::{
        dice::{self, Dice},
        fault::{Fault, Made},
    },
};

/// Every fault at least once and every scenario at least twice: less than a minute on two busy cores.
const SAMPLE: usize = 24;
/// Cases at the same time: most of a case is waiting.
const AT_ONCE: usize = 6;

/// All faults but one: no watch of a real API server begins in the past.
fn faults() -> Vec<Fault> {
    Fault::ALL.into_iter().filter(|fault| *fault != Fault::CrashIntoThePast).collect()
}

/// Whatever goes wrong once with a call, the end is that of a run in which nothing does, and then nothing is written.
pub fn whatever_goes_wrong_the_end_is_the_same(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        // The operators of the cases run in this process, each for its namespace.
        stage.without_operator(&[], sample(stage)).await
    })
}

async fn sample(stage: &Stage) -> Result<()> {
    let (seed, count) = (dice::seed(), dice::sample(SAMPLE));
    stage.progress.note(format!("FAULTS_SEED={seed} FAULTS_SAMPLE={count}"));
    let rig = Rig::new(stage).await?;
    let clean: Vec<Ended> =
        stream::iter(0..SCENARIOS.len()).map(|place| rig.clean(place)).buffered(AT_ONCE).try_collect().await?;
    let cases = draw(&mut Dice::new(seed), &clean, count);
    let outcomes: Vec<Judged> = stream::iter(cases.into_iter().enumerate())
        .map(|(number, (place, case))| rig.judge(number, case, &clean[place]))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    report(stage, &outcomes, seed, count)
}

/// What became of a case.
struct Judged {
    case: Case,
    seconds: f64,
    outcome: Result<()>,
}

fn report(stage: &Stage, outcomes: &[Judged], seed: u64, count: usize) -> Result<()> {
    let mut failures = Vec::new();
    for Judged { case, seconds, outcome } in outcomes {
        let verdict = if outcome.is_ok() { "same end" } else { "FAILED" };
        stage.progress.note(format!("  {seconds:>5.1} s  {verdict}: {case}"));
        if let Err(error) = outcome {
            failures.push(format!("{case}: {error:#}"));
        }
    }
    if !failures.is_empty() {
        bail!("repeat with FAULTS_SEED={seed} FAULTS_SAMPLE={count}:\n{}", failures.join("\n"));
    }
    Ok(())
}

/// What the cases run on.
struct Rig<'a> {
    stage: &'a Stage,
    kubeconfig: std::path::PathBuf,
}

impl<'a> Rig<'a> {
    async fn new(stage: &'a Stage) -> Result<Self> {
        let kubeconfig = stage.cluster.service_account_kubeconfig(NAMESPACE, RELEASE, Reach::Host).await?;
        Ok(Self { stage, kubeconfig })
    }

    async fn run(&self, namespace: &str, case: &Case, clean: Option<&Ended>) -> Result<Ended> {
        // A connection of its own for each.
        let client = self.stage.cluster.client_as(&self.kubeconfig).await?;
        case::run(self.stage, client, namespace, case, clean).await
    }

    async fn clean(&self, place: usize) -> Result<Ended> {
        let case = Case { scenario: &SCENARIOS[place], fault: None };
        let ended = self.run(&format!("faults-clean-{place}"), &case, None).await;
        ended.with_context(|| case.to_string())
    }

    async fn judge(&self, number: usize, case: Case, clean: &Ended) -> Judged {
        let start = Instant::now();
        let (case, outcome) = match self.run(&format!("faults-case-{number}"), &case, Some(clean)).await {
            Ok(ended) if ended.struck => (case, Ok(())),
            Ok(_) => self.judge_surely(number, case, clean).await,
            Err(error) => (case, Err(error)),
        };
        Judged { case, seconds: start.elapsed().as_secs_f64(), outcome }
    }

    /// Statuses are not as many each time. A call that did not come is replaced by one that always does.
    async fn judge_surely(&self, number: usize, mut case: Case, clean: &Ended) -> (Case, Result<()>) {
        let first = clean.made.iter().find(|made| made.write);
        if let (Some((title, nth, _)), Some(first)) = (&mut case.fault, first) {
            (*title, *nth) = (first.title.clone(), 0);
        }
        let outcome = match self.run(&format!("faults-again-{number}"), &case, Some(clean)).await {
            Ok(ended) if ended.struck => Ok(()),
            Ok(_) => Err(anyhow::anyhow!("the call that was to go wrong did not come")),
            Err(error) => Err(error),
        };
        (case, outcome)
    }
}

/// Draws cases: faults and scenarios take turns, each at its own pace, and chance names the call.
fn draw(dice: &mut Dice, clean: &[Ended], count: usize) -> Vec<(usize, Case)> {
    let (mut faults, mut places) = (faults(), (0..clean.len()).collect::<Vec<_>>());
    let (all, every) = (faults.len(), places.len());
    dice.shuffle(&mut faults, all);
    dice.shuffle(&mut places, every);
    (0..count)
        .map(|number| {
            let (place, fault) = (places[number % every], faults[number % all]);
            let calls = apt(&clean[place].made, fault);
            let (title, nth) = calls.get(dice.throw(calls.len())).cloned().unwrap_or_default();
            (place, Case { scenario: &SCENARIOS[place], fault: Some((title, nth, fault)) })
        })
        .collect()
}

/// The calls that a fault says something about, by title and by how many of the same came before.
fn apt(made: &[Made], fault: Fault) -> Vec<(String, usize)> {
    let concerned = |made: &Made| made.write || (fault.concerns_reads() && !made.title.starts_with("watch "));
    let before = |at: usize| made[..at].iter().filter(|earlier| earlier.title == made[at].title).count();
    let all = made.iter().enumerate().filter(|(_, made)| concerned(made));
    all.map(|(at, made)| (made.title.clone(), before(at))).collect()
}
