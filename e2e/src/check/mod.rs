//! Checks that need no cluster: the chart, the dependencies, the source text, and what runs in an edge's pod.
//!
//! Each function returns every check it made, so that one run shows all that is wrong.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

pub mod agreement;
pub mod chart;
pub mod dependencies;
pub mod edge;
pub mod sidecar;
pub mod source;
mod values;

/// One check and what came of it.
#[derive(Debug)]
pub struct Check {
    /// What was checked, unique in a run.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it must be.
    Passed,
    /// Wrong: what, and how to mend it.
    Failed(String),
    /// Not checked, and why. Shown to the user, never silent.
    Skipped(String),
}

/// Whether generated files are compared with what they should be, or written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Golden {
    /// Differences are failures.
    Compare,
    /// Differences are written; the reviewer sees them in the change.
    Update,
}

impl Golden {
    /// Compare, unless the environment says `GOPROXY_LAB_GOLDEN=update`.
    pub fn from_environment() -> Self {
        match std::env::var("GOPROXY_LAB_GOLDEN").as_deref() {
            Ok("update") => Self::Update,
            Ok(_) | Err(_) => Self::Compare,
        }
    }
}

impl Check {
    /// A check that failed if there is an error.
    fn from_result(name: impl Into<String>, result: anyhow::Result<()>) -> Self {
        let outcome = match result {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        Self { name: name.into(), outcome }
    }
}

/// What a finished command left behind.
struct Finished {
    success: bool,
    stdout: String,
    stderr: String,
}

/// Runs a command to its end and keeps what it printed.
fn finish(command: &mut Command) -> anyhow::Result<Finished> {
    let output = command.output().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(Finished {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a command that must succeed; what it printed is the error otherwise.
fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let finished = finish(command)?;
    if finished.success {
        return Ok(finished.stdout);
    }
    let program = command.get_program().display();
    anyhow::bail!("{program} refused:\n{}{}", finished.stdout, finished.stderr)
}

/// Compares a committed file with what it should be, or writes it.
fn golden(path: &Path, expected: &str, golden: Golden) -> anyhow::Result<()> {
    match golden {
        Golden::Update => std::fs::write(path, expected).with_context(|| format!("cannot write {}", path.display())),
        Golden::Compare => {
            let committed = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let how =
                "when the change is meant, write it anew with GOPROXY_LAB_GOLDEN=update and review the difference";
            anyhow::ensure!(committed == expected, "{}: {}; {how}", path.display(), difference(&committed, expected));
            Ok(())
        }
    }
}

/// The first line that differs, on both sides.
fn difference(committed: &str, found: &str) -> String {
    let (mut left, mut right) = (committed.lines(), found.lines());
    for number in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (one, other) if one == other => {}
            (one, other) => {
                let show = |line: Option<&str>| line.map_or("(the end)".to_owned(), |line| format!("{line:?}"));
                return format!("line {number}: committed {}, now {}", show(one), show(other));
            }
        }
    }
    "they differ in line ends only".to_owned()
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn a_difference_names_its_line() {
        assert_eq!(difference("a\nb\n", "a\nc\n"), "line 2: committed \"b\", now \"c\"");
        assert_eq!(difference("a\n", "a\nb\n"), "line 2: committed (the end), now \"b\"");
    }
}
