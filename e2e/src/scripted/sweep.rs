//! Every fault at every call of every scenario: whatever goes wrong once, the end is the same.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    dice::Dice,
    digest::{difference, digest, forget_history},
    fault::{Fault, Interposer, Made, Place},
    operator::Operator,
    rules::{OPERATOR, orphans},
    scenario::{self, SCENARIOS, Scenario},
    store::{Change, State, Store},
    world::{self, Pace},
};

/// A fleet is at rest when nothing was written for so long.
const REST: Duration = Duration::from_hours(1);
/// Whatever went wrong, it is over after so long.
const LONGEST: Duration = Duration::from_mins(15);
/// How long a crashed operator takes to come back.
const RESTART: Duration = Duration::from_secs(1);

/// Changes that one fault may cost: a status that tells of it, one that tells that it is over, and the same again for
/// what was done in the wrong order because of it.
const EXTRA_CHANGES: usize = 6;
/// Calls that one fault may cost. A minute of outage or a restart costs most: each watch starts anew, some twice.
const EXTRA_CALLS: usize = 120;

/// One run to be made.
#[derive(Clone, Debug)]
pub struct Case {
    /// The scenario, by its place.
    pub scenario: usize,
    /// The calls that go wrong, and how.
    pub faults: Vec<(usize, Fault)>,
    /// How fast the world is.
    pub pace: Pace,
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    /// What was there in the end.
    pub digest: BTreeMap<String, Value>,
    /// The calls that were made from the watched step on.
    pub made: Vec<Made>,
    /// Changes that the operator made from the watched step on.
    pub changes: usize,
    /// Simulated seconds from the watched step to the last change.
    pub seconds: usize,
}

/// What a sweep found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many runs there could be.
    pub possible: usize,
    /// How many were made.
    pub cases: usize,
    /// The most changes that any run made beyond a clean one, and which.
    pub most_extra_changes: (usize, String),
    /// The most calls that any run made beyond a clean one, and which.
    pub most_extra_calls: (usize, String),
    /// The longest that any run took to come to rest, in simulated seconds, and which.
    pub slowest: (usize, String),
    /// Clean runs: scenario, writes, other calls, seconds.
    pub clean: Vec<(&'static str, usize, usize, usize)>,
    /// What failed: the scenario, and how.
    pub failures: Vec<(&'static str, String)>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, writes, reads, seconds) in &self.clean {
            writeln!(f, "{name:<32} {writes:>3} writes {reads:>3} reads, at rest after {seconds} s")?;
        }
        writeln!(f, "{} of {} cases, {} failed", self.cases, self.possible, self.failures.len())?;
        writeln!(f, "most extra changes {}: {}", self.most_extra_changes.0, self.most_extra_changes.1)?;
        writeln!(f, "most extra calls {}: {}", self.most_extra_calls.0, self.most_extra_calls.1)?;
        writeln!(f, "slowest {} s: {}", self.slowest.0, self.slowest.1)?;
        self.failures.iter().try_for_each(|(_, failure)| writeln!(f, "FAILED {failure}"))
    }
}

/// Runs the sweep: all of it, or a sample drawn with a seed.
pub async fn sweep(sample: Option<(u64, usize)>) -> Result<Report> {
    // Each run has a runtime of its own with a clock of its own, so the work is done beside this one.
    tokio::task::spawn_blocking(move || sweep_blocking(sample)).await.context("the sweep panicked")?
}

/// The same, for callers without a runtime.
pub fn sweep_blocking(sample: Option<(u64, usize)>) -> Result<Report> {
    let mut report = Report::default();
    let mut clean = Vec::new();
    let mut cases = Vec::new();
    for (place, scenario) in SCENARIOS.iter().enumerate() {
        let run = run(scenario, &[], Pace::default()).with_context(|| format!("clean run of {:?}", scenario.name))?;
        let writes = run.made.iter().filter(|call| call.write).count();
        report.clean.push((scenario.name, writes, run.made.len() - writes, run.seconds));
        cases.extend(cases_of(place, &run.made));
        clean.push(run);
    }
    let mut dice = Dice::new(sample.map_or(1, |(seed, _)| seed));
    let pairs: Vec<Case> = (0..cases.len() / 2).map(|_| dice.pair(&cases)).collect();
    cases.extend(pairs);
    report.possible = cases.len();
    if let Some((_, count)) = sample {
        dice.shuffle(&mut cases, count);
        cases.truncate(count);
    }
    report.cases = cases.len();
    Ok(run_all(&cases, &clean, report))
}

fn run_all(cases: &[Case], clean: &[Run], report: Report) -> Report {
    let (next, report) = (AtomicUsize::new(0), Mutex::new(report));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let judged = judge(case, &clean[case.scenario]);
                    report.lock().unwrap_or_else(PoisonError::into_inner).add(case, &clean[case.scenario], judged);
                }
            });
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One fault at one call, for every call and every fault that says something about it.
fn cases_of(scenario: usize, made: &[Made]) -> impl Iterator<Item = Case> + '_ {
    made.iter().enumerate().flat_map(move |(at, call)| {
        let apt = Fault::ALL.into_iter().filter(|fault| call.write || fault.concerns_reads());
        apt.map(move |fault| Case { scenario, faults: vec![(at, fault)], pace: Pace::default() })
    })
}

impl Dice {
    /// A case with a second fault soon after the first, in a world that is quicker or slower than usual.
    fn pair(&mut self, cases: &[Case]) -> Case {
        let mut case = cases[self.throw(cases.len())].clone();
        let later = case.faults[0].0 + 1 + self.throw(8);
        case.faults.push((later, Fault::ALL[self.throw(Fault::ALL.len())]));
        let millis = |dice: &mut Self| Duration::from_millis([1, 40, 300, 2_000, 15_000][dice.throw(5)]);
        case.pace = Pace {
            controller: millis(self),
            pods: millis(self),
            start: millis(self),
            stop: millis(self),
            collect: millis(self),
            answer: Duration::from_millis([0, 5, 50][self.throw(3)]),
        };
        case
    }
}

impl Report {
    fn add(&mut self, case: &Case, clean: &Run, judged: Result<Run>) {
        let title = case.title(clean);
        match judged {
            Err(error) => self.failures.push((SCENARIOS[case.scenario].name, format!("{title}: {error:#}"))),
            Ok(run) => {
                let most = |most: &mut (usize, String), figure: usize| {
                    if figure > most.0 {
                        *most = (figure, title.clone());
                    }
                };
                most(&mut self.most_extra_changes, run.changes.saturating_sub(clean.changes));
                most(&mut self.most_extra_calls, run.made.len().saturating_sub(clean.made.len()));
                most(&mut self.slowest, run.seconds);
            }
        }
    }
}

impl Case {
    /// What happens in it, for people.
    pub fn title(&self, clean: &Run) -> String {
        let mut text = SCENARIOS[self.scenario].name.to_owned();
        for (at, fault) in &self.faults {
            let call = clean.made.get(*at).map_or("a later call", |made| made.title.as_str());
            // Writing to a string cannot fail.
            let _ = write!(text, ", {fault:?} at call {at} ({call})");
        }
        if self.faults.len() > 1 {
            let _ = write!(text, ", {:?}", self.pace);
        }
        text
    }
}

/// Runs one fault in a scenario and compares with the clean run. The call is named by how its title begins, and by how
/// that of a call before it begins.
pub fn judge_one(scenario: &str, (before, call): (&str, &str), fault: Fault) -> Result<Run> {
    let place = SCENARIOS.iter().position(|known| known.name == scenario);
    let place = place.with_context(|| format!("there is no scenario {scenario:?}"))?;
    let clean = run(&SCENARIOS[place], &[], Pace::default())?;
    let from = clean.made.iter().position(|made| made.title.starts_with(before));
    let from = from.with_context(|| format!("{scenario} has no call {before}"))?;
    let at = clean.made[from..].iter().position(|made| made.title.starts_with(call));
    let at = from + at.with_context(|| format!("{scenario} has no call {call} after {before}"))?;
    judge(&Case { scenario: place, faults: vec![(at, fault)], pace: Pace::default() }, &clean)
}

/// Runs a case and compares it with the clean run.
pub fn judge(case: &Case, clean: &Run) -> Result<Run> {
    let scenario = &SCENARIOS[case.scenario];
    let run = run(scenario, &case.faults, case.pace)?;
    let (mut expected, mut found) = (clean.digest.clone(), run.digest.clone());
    if scenario.has_stages() {
        forget_history(&mut expected);
        forget_history(&mut found);
    }
    let differs = difference(&expected, &found);
    ensure!(differs.is_empty(), "the end differs from that of a clean run:\n{differs}");
    let extra = run.changes.saturating_sub(clean.changes);
    ensure!(extra <= EXTRA_CHANGES * case.faults.len(), "{extra} changes more than a clean run: {}", titles(&run));
    let extra = run.made.len().saturating_sub(clean.made.len());
    ensure!(extra <= EXTRA_CALLS * case.faults.len(), "{extra} calls more than a clean run: {}", titles(&run));
    Ok(run)
}

fn titles(run: &Run) -> String {
    let mut text = String::new();
    for made in run.made.iter().filter(|made| made.write) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n    {}", made.title);
    }
    text
}

/// Runs a scenario in simulated time, with or without faults.
pub fn run(scenario: &Scenario, faults: &[(usize, Fault)], pace: Pace) -> Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let outcome = runtime.block_on(simulate(scenario, faults, pace));
    runtime.shutdown_background();
    outcome
}

struct Simulation {
    store: Store,
    interposer: Interposer,
    start: Instant,
    operator: Option<Operator>,
    _world: tokio::task::JoinSet<()>,
}

async fn simulate(scenario: &Scenario, faults: &[(usize, Fault)], pace: Pace) -> Result<Run> {
    let store = Store::default();
    scenario::foreign(&mut store.lock());
    let mut simulation = Simulation::new(store.clone(), pace);
    simulation.quiet(Duration::from_mins(1)).await?;
    for step in scenario.before {
        step(&mut store.lock());
        simulation.quiet(Duration::from_mins(5)).await?;
    }
    let changes_before = changes(&store.lock());
    store.lock().rules.volume_may_go = scenario.volume_may_go;
    simulation.interposer.begin(faults.iter().map(|(at, fault)| (Place::Number(*at), *fault)).collect());
    let began = store.lock().second();
    if scenario.while_down {
        simulation.stop().await;
    }
    for (wait, step) in scenario.steps {
        simulation.wait_until(Instant::now() + Duration::from_secs(*wait)).await;
        step(&mut store.lock());
    }
    if scenario.while_down {
        simulation.operator = Some(Operator::start(&simulation.interposer, simulation.start));
    }
    let last = simulation.quiet(REST).await?;
    let seconds = last.saturating_sub(began);
    let mut made = simulation.interposer.made();
    // What comes later are watches that are renewed now and then.
    made.retain(|call| call.second <= last + 1);
    ensure!(seconds <= LONGEST.as_secs(), "came to rest after {seconds} s only\n{}", store.lock().tail(40));
    simulation.restart_writes_nothing().await?;
    let state = store.lock();
    check_end(&state)?;
    Ok(Run {
        digest: digest(&state),
        made,
        changes: changes(&state) - changes_before,
        seconds: usize::try_from(seconds)?,
    })
}

/// Changes that the operator made. Events are told, not relied on.
fn changes(state: &State) -> usize {
    let ours = |change: &&Change| change.actor == OPERATOR && change.key.resource.kind != "Event";
    state.changes.iter().filter(ours).count()
}

fn check_end(state: &State) -> Result<()> {
    ensure!(state.rules.broken.is_empty(), "{}\n{}", state.rules.broken.join("\n"), state.tail(60));
    let foreign: Vec<String> = state.rules.foreign.iter().map(ToString::to_string).collect();
    let orphans: Vec<_> = orphans(state).into_iter().filter(|name| !foreign.contains(name)).collect();
    ensure!(orphans.is_empty(), "left behind: {}\n{}", orphans.join(", "), state.tail(40));
    Ok(())
}

impl Simulation {
    fn new(store: Store, pace: Pace) -> Self {
        let (interposer, start) = (Interposer::new(store.clone(), pace.answer), Instant::now());
        let mut world = tokio::task::JoinSet::new();
        world.spawn(world::run(store.clone(), pace));
        let operator = Some(Operator::start(&interposer, start));
        Self { store, interposer, start, operator, _world: world }
    }

    /// Kills the operator, and lets its watches notice.
    async fn stop(&mut self) {
        self.operator = None;
        self.wait_until(Instant::now() + RESTART).await;
    }

    /// Lets time pass, and brings a crashed operator back.
    async fn wait_until(&mut self, until: Instant) {
        loop {
            tokio::select! {
                biased;
                () = self.interposer.crashed() => {
                    tokio::time::sleep(RESTART).await;
                    self.operator = Some(Operator::start(&self.interposer, self.start));
                }
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Waits until nothing was written for a while. Returns the second of the last change.
    async fn quiet(&mut self, rest: Duration) -> Result<u64> {
        let since = Instant::now();
        loop {
            let last = self.last_change();
            let rested = Duration::from_secs(last) + rest + Duration::from_secs(1);
            self.wait_until((self.start + rested).max(since + rest)).await;
            if self.last_change() == last {
                return Ok(last);
            }
            if since.elapsed() > LONGEST + rest * 2 {
                bail!("never comes to rest:\n{}", self.store.lock().tail(40));
            }
        }
    }

    /// The second of the last change that is not an event or a lease.
    fn last_change(&self) -> u64 {
        let state = self.store.lock();
        let counts = |kind: &str| !matches!(kind, "Event" | "Lease");
        state.changes.iter().rev().find(|change| counts(change.key.resource.kind)).map_or(0, |change| change.second)
    }

    /// An operator that starts on a fleet at rest finds nothing to do.
    async fn restart_writes_nothing(&mut self) -> Result<()> {
        let before = self.store.lock().version();
        self.operator = Some(Operator::start(&self.interposer, self.start));
        self.wait_until(Instant::now() + Duration::from_mins(2)).await;
        let state = self.store.lock();
        ensure!(state.version() == before, "a restart at rest wrote something:\n{}", state.tail(5));
        Ok(())
    }
}
