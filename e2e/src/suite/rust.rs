//! The tiers that need no cluster.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context as _;

use super::{Results, timed};
use crate::{
    check::{self, Check, Outcome},
    progress::Progress,
    tools::{self, Family},
};

/// Format, lints, dependencies, what runs in an edge's pod, chart. With `only`, those of them whose name contains it.
pub(super) fn static_checks(
    repo: &Path,
    only: Option<&str>,
    results: &mut Results,
    progress: &Progress,
) -> anyhow::Result<()> {
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    if wanted("source") {
        timed(results, progress, || Ok(check::source::source(repo)))?;
    }
    if wanted("dependencies") {
        timed(results, progress, || check::dependencies::dependencies(repo, &tools::cache_dir()))?;
    }
    if wanted("edge") {
        timed(results, progress, || check::edge::edge(progress))?;
    }
    if wanted("chart") {
        tools::ensure(&[Family::Helm], progress)?;
        timed(results, progress, || {
            Ok(check::chart::chart(&tools::bin(Family::Helm, "helm"), repo, check::Golden::from_environment()))
        })?;
    }
    Ok(())
}

/// The sidecar beside real programs of this machine.
pub(super) async fn sidecar(repo: &Path, results: &mut Results, progress: &Progress) {
    let start = Instant::now();
    let checks = check::sidecar::sidecar(repo, progress).await;
    let share = start.elapsed().as_secs_f64() / f64::from(u32::try_from(checks.len()).unwrap_or(u32::MAX));
    for check in checks {
        results.add(progress, check, share);
    }
}

/// `cargo test` over the workspace.
pub(super) fn unit_tests(repo: &Path, results: &mut Results, progress: &Progress) -> anyhow::Result<()> {
    let mut tests = check::source::cargo(repo);
    tests.args(["test", "--workspace", "--locked", "--quiet", "--", "--format", "pretty"]);
    run_tests(tests, "unit", results, progress).map(drop)
}

/// The model of the rollout, with more that goes wrong in one story than in `cargo test`: minutes instead of seconds.
pub(super) fn wide_model(repo: &Path, results: &mut Results, progress: &Progress) -> anyhow::Result<()> {
    let step = progress.long_step("the wide model of the rollout");
    let mut tests = check::source::cargo(repo);
    tests.env("GOPROXY_MODEL", "wide").args(["test", "--package", "goproxy-operator", "--lib", "--locked", "--quiet"]);
    tests.args(["--", "plan::model::", "--format", "pretty", "--show-output"]);
    let text = run_tests(tests, "wide model", results, progress)?;
    // How large the worlds were that were searched.
    text.lines().filter(|line| line.contains(" states, ")).for_each(|line| progress.note(line));
    step.done();
    Ok(())
}

/// Runs `cargo test`; each test counts. Returns what was printed.
fn run_tests(mut tests: Command, kind: &str, results: &mut Results, progress: &Progress) -> anyhow::Result<String> {
    let start = Instant::now();
    let output = tests.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot start cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let checks = tests_of(kind, &text);
    anyhow::ensure!(!checks.is_empty(), "cargo test ran no test:\n{text}");
    let failed = checks.iter().any(|check| matches!(check.outcome, Outcome::Failed(_)));
    let share = start.elapsed().as_secs_f64() / f64::from(u32::try_from(checks.len()).unwrap_or(u32::MAX));
    if failed {
        progress.note(&text);
    }
    let passed = checks.len();
    for check in checks {
        if check.outcome == Outcome::Passed {
            results.0.push((check, share));
        } else {
            results.add(progress, check, share);
        }
    }
    progress.note(format!("{passed} tests of cargo test in {:.0} s", start.elapsed().as_secs_f64()));
    // A crate that does not compile, or a test binary that dies, names no failed test.
    anyhow::ensure!(output.status.success() || failed, "cargo test failed without a failed test:\n{text}");
    Ok(text)
}

/// The tests that libtest names in its pretty format.
fn tests_of(kind: &str, output: &str) -> Vec<Check> {
    output
        .lines()
        .filter_map(|line| {
            let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
            let outcome = match verdict {
                "ok" => Outcome::Passed,
                "FAILED" => Outcome::Failed("its output is above".to_owned()),
                _ if verdict.starts_with("ignored") => Outcome::Skipped(verdict.to_owned()),
                _ => return None,
            };
            Some(Check { name: format!("{kind}: {name}"), outcome })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_their_verdict() {
        let output = "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest d ... ignored, needs a cluster\n\ntest result: FAILED. 1 passed\n";
        let verdicts: Vec<_> = tests_of("unit", output).into_iter().map(|check| (check.name, check.outcome)).collect();
        assert_eq!(verdicts[0], ("unit: a::b".to_owned(), Outcome::Passed));
        assert!(matches!(verdicts[1].1, Outcome::Failed(_)));
        assert!(matches!(verdicts[2].1, Outcome::Skipped(_)));
        assert_eq!(verdicts.len(), 3);
    }
}
