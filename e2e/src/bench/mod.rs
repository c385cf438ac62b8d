//! `cargo lab bench`: the operator beside a raw client that sends the same bodies in the same run.
//!
//! Nothing here is a test. A figure that misses its bar is printed as such; only what cannot be measured is an error.

mod cold_start;
mod convergence;
mod economy;
mod engines;
mod fleet;
mod footprint;
mod legs;
mod optimised;
mod quiet;
mod raw;
mod reaction;
mod rig;
mod table;
mod usage;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use self::rig::Bench;
use self::table::{Row, Verdict};
use crate::cluster::StateDir;
use crate::progress::Progress;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Everything about the operator.
    All,
    /// Child writes per second.
    P1,
    /// CPU per child write; measured with P1.
    P2,
    /// Writes at rest.
    P3,
    /// Requests per change.
    P4,
    /// Memory per 1,000 fleets.
    P5,
    /// Start to all reconciled.
    P6,
    /// Commit to first child.
    P7,
    /// Binary and image.
    Size,
    /// A download through each engine; only when named, as it measures them and not the operator.
    Engines,
}

/// Arguments of `cargo lab bench`.
#[derive(Debug, Args)]
pub struct Options {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    pub metric: Metric,
    /// Number of fleets for P1, P2, P5 and P6.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    pub fleets: u32,
    /// Seconds at rest for P3.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=86_400))]
    pub rest: u32,
}

/// Rows of the table, and sentences below it.
#[derive(Clone, Debug, Default)]
struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// Measures, and returns the table to print.
pub async fn run(options: &Options, state: &StateDir, progress: Progress) -> Result<String> {
    if options.metric == Metric::Engines {
        let report = engines::measure(&progress).await?;
        return Ok(format!(
            "{}\n\n{}\n  {}\n",
            usage::machine_line(),
            table::render(&report.rows),
            report.notes.join("\n  ")
        ));
    }
    if cfg!(debug_assertions) {
        return Err(optimised::run_instead(&progress));
    }
    let bench = Bench::new(state.clone(), progress)?;
    let count = usize::try_from(options.fleets)?;
    let wanted = |metric| options.metric == metric || options.metric == Metric::All;
    let mut report = Report::default();
    let mut add = |part: Report| {
        report.rows.extend(part.rows);
        report.notes.extend(part.notes);
    };
    if wanted(Metric::P1) || wanted(Metric::P2) {
        add(convergence::measure(&bench, count).await?);
    }
    if wanted(Metric::P3) {
        add(quiet::measure(&bench, Duration::from_secs(options.rest.into())).await?);
    }
    if wanted(Metric::P4) {
        add(economy::measure(&bench).await?);
    }
    if wanted(Metric::P5) || wanted(Metric::P6) {
        add(cold_start::measure(&bench, count, wanted(Metric::P5), wanted(Metric::P6)).await?);
    }
    if wanted(Metric::P7) {
        add(reaction::measure(&bench).await?);
    }
    if wanted(Metric::Size) {
        add(footprint::measure(&bench)?);
    }
    Ok(text(&report))
}

fn text(report: &Report) -> String {
    let missed = report.rows.iter().filter(|row| row.verdict() == Verdict::Missed).count();
    let end = if missed == 0 { "every bar is met".to_owned() } else { format!("{missed} bars MISSED") };
    let (table, notes, machine) = (table::render(&report.rows), report.notes.join("\n  "), usage::machine_line());
    format!("{machine}\n\n{table}\n  {notes}\n\n{end}\n")
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "what is counted here is far below 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}
