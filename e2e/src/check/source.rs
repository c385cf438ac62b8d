//! Formatting and lints of the Rust source.

use std::path::Path;
use std::process::Command;

use super::{Check, succeed};

/// Formatting and clippy with the lint set of the workspace, where every warning is an error.
pub fn source(repo: &Path) -> Vec<Check> {
    let mut format = cargo(repo);
    format.args(["fmt", "--all", "--check"]);
    let mut clippy = cargo(repo);
    clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "--deny", "warnings"]);
    vec![
        Check::from_result("source: formatted (mend it with: cargo fmt --all)", succeed(&mut format).map(drop)),
        Check::from_result("source: clippy", succeed(&mut clippy).map(drop)),
    ]
}

/// The cargo that built us, when it did, so that a pinned toolchain stays pinned.
pub(crate) fn cargo(directory: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(directory);
    command
}
