//! The `goproxy-operator` command.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use goproxy_operator::{
    check,
    cli::{Cli, Command},
    controller, crds,
    edge::agent,
    import, render, sidecar, telemetry,
};

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    // Chosen before anything opens a connection: with two providers in the build the library would have to guess.
    rustls::crypto::ring::default_provider().install_default().ok().context("a TLS provider is already installed")?;
    match cli.command {
        Command::Run(run) => {
            telemetry::init(run.log_format, run.log_level);
            let ended = runtime()?.block_on(controller::run::run(run.options()));
            let failed = ended.inspect_err(|error| tracing::error!(%error, "stopped")).is_err();
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Command::Edge(edge) => {
            telemetry::init(edge.log_format, edge.log_level);
            let ended = runtime()?.block_on(agent::run(edge.options()));
            let failed = ended.inspect_err(|error| tracing::error!(error = format!("{error:#}"), "stopped")).is_err();
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Command::Crd { output } => crds::print(output.as_deref()).map(|()| ExitCode::SUCCESS),
        Command::Render { file, installation } => render::command(&file, installation.into()),
        Command::Import(given) => import::command(&given),
        Command::Sidecar(given) => {
            telemetry::init(given.log_format, given.log_level);
            let ended = runtime()?.block_on(sidecar::run(given.config, given.address));
            let failed = ended.inspect_err(|error| tracing::error!(%error, "stopped")).is_err();
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Command::Check { scope, namespace, leader_elect_namespace } => {
            let lease = leader_elect_namespace.unwrap_or_else(goproxy_operator::cli::own_namespace);
            runtime()?.block_on(check::command(&scope, &namespace, &lease))
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
