//! The tiers that need no cluster.

use std::{path::Path, process::Stdio, time::Instant};

use anyhow::Context as _;

use super::{Results, timed};
use crate::{
    check::{self, Check, Outcome},
    progress::Progress,
    tools::{self, Family},
};

/// Format, lints, dependencies, chart.
pub(super) fn static_checks(repo: &Path, results: &mut Results, progress: &Progress) -> anyhow::Result<()> {
    timed(results, progress, || Ok(check::source::source(repo)))?;
    timed(results, progress, || check::dependencies::dependencies(repo, &tools::cache_dir()))?;
    tools::ensure(&[Family::Helm], progress)?;
    timed(results, progress, || {
        Ok(check::chart::chart(&tools::bin(Family::Helm, "helm"), repo, check::Golden::from_environment()))
    })
}

/// `cargo test` over the workspace; each test counts.
pub(super) fn unit_tests(repo: &Path, results: &mut Results, progress: &Progress) -> anyhow::Result<()> {
    let start = Instant::now();
    let output = check::source::cargo(repo)
        .args(["test", "--workspace", "--locked", "--quiet", "--", "--format", "pretty"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let checks = tests_of(&text);
    anyhow::ensure!(!checks.is_empty(), "cargo test ran no test:\n{text}");
    let failed = checks.iter().any(|check| matches!(check.outcome, Outcome::Failed(_)));
    let share = start.elapsed().as_secs_f64() / f64::from(u32::try_from(checks.len()).unwrap_or(u32::MAX));
    if failed {
        progress.note(text.as_ref());
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
    Ok(())
}

/// The tests that libtest names in its pretty format.
fn tests_of(output: &str) -> Vec<Check> {
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
            Some(Check { name: format!("unit: {name}"), outcome })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_their_verdict() {
        let output = "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest d ... ignored, needs a cluster\n\ntest result: FAILED. 1 passed\n";
        let verdicts: Vec<_> = tests_of(output).into_iter().map(|check| (check.name, check.outcome)).collect();
        assert_eq!(verdicts[0], ("unit: a::b".to_owned(), Outcome::Passed));
        assert!(matches!(verdicts[1].1, Outcome::Failed(_)));
        assert!(matches!(verdicts[2].1, Outcome::Skipped(_)));
        assert_eq!(verdicts.len(), 3);
    }
}
