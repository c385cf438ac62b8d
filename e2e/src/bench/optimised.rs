//! A raw client that was compiled without optimisation would make the operator look good. So the measuring program is
//! built as the operator is, and takes the place of this process.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Error, Result, ensure};

use crate::image;
use crate::progress::Progress;

/// Becomes the optimised program with the same arguments. Returns only when it cannot.
pub fn run_instead(progress: &Progress) -> Error {
    match build(progress) {
        Ok(program) => Error::new(Command::new(&program).args(std::env::args_os().skip(1)).exec())
            .context(format!("cannot start {}", program.display())),
        Err(error) => error,
    }
}

fn build(progress: &Progress) -> Result<std::path::PathBuf> {
    let step = progress.long_step("build the measuring program");
    let program = image::release_binary("goproxy-lab", "lab").context("cannot build the measuring program")?;
    ensure!(program.exists(), "cargo built {} and it is not there", program.display());
    step.done();
    Ok(program)
}
