//! The `lab` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    goproxy_lab::cli::run()
}
