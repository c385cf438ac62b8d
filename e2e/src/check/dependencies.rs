//! Licences, bans, sources and advisories of the dependencies, as `.deny.toml` has them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::source::cargo;
use super::{Check, Outcome, finish, succeed};

/// Pinned, because a newer one may know a new lint and fail an unchanged tree.
const CARGO_DENY: &str = "0.20.2";

/// Checks the dependencies. The tool is built into `cache` when it is not there yet: about two and a half minutes of one core.
pub fn dependencies(repo: &Path, cache: &Path) -> anyhow::Result<Vec<Check>> {
    let tool = cargo_deny(cache)?;
    let mut checks: Vec<Check> = ["bans", "licenses", "sources"]
        .into_iter()
        .map(|what| {
            let result = succeed(deny(&tool, repo).args(["check", "--deny", "warnings", what])).map(drop);
            Check::from_result(format!("dependencies: {what}"), result)
        })
        .collect();
    checks.push(advisories(&tool, repo)?);
    Ok(checks)
}

/// Fetching is a step of its own: a database out of reach says nothing about the dependencies, a finding does.
fn advisories(tool: &Path, repo: &Path) -> anyhow::Result<Check> {
    let name = "dependencies: advisories";
    let fetched = finish(deny(tool, repo).args(["fetch", "db"]))?;
    if !fetched.success {
        // Only what says that the database was out of reach is a reason to skip; a broken policy file, say, is a failure.
        let unreachable = fetched.stderr.contains("failed to fetch advisory database");
        let reason = last_line(&fetched.stderr).unwrap_or("cargo-deny did not say why").to_owned();
        let outcome = if unreachable { Outcome::Skipped(reason) } else { Outcome::Failed(reason) };
        return Ok(Check { name: name.into(), outcome });
    }
    let result = succeed(deny(tool, repo).args(["check", "--deny", "warnings", "advisories"]));
    Ok(Check::from_result(name, result.map(drop)))
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

fn deny(tool: &Path, repo: &Path) -> Command {
    let mut command = Command::new(tool);
    command.current_dir(repo).args(["--workspace", "--locked", "--color", "never", "--config", ".deny.toml"]);
    command
}

/// The tool's program, built once per version. Building is loud: it takes minutes and must not look like a hang.
fn cargo_deny(cache: &Path) -> anyhow::Result<PathBuf> {
    let root = cache.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if program.exists() {
        return Ok(program);
    }
    std::fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    let build = root.join("build");
    // Started outside the repository, so that its cargo configuration does not apply to a foreign program.
    let status = cargo(&root)
        .args(["install", "--locked", &format!("cargo-deny@{CARGO_DENY}")])
        .args(["--root".as_ref(), root.as_os_str(), "--target-dir".as_ref(), build.as_os_str()])
        .status()
        .context("cannot start cargo to build cargo-deny")?;
    anyhow::ensure!(status.success(), "cargo-deny {CARGO_DENY} does not build: its output above says why");
    std::fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::last_line;

    #[test]
    fn the_reason_is_the_last_line_that_says_something() {
        assert_eq!(last_line("error: x\nfatal: could not resolve host\n\n"), Some("fatal: could not resolve host"));
        assert_eq!(last_line("\n \n"), None);
    }
}
