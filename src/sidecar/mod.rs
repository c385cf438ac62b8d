//! `goproxy-operator sidecar`: the program beside an engine, in its pod.
//!
//! Some things cannot be known from outside of a pod: how full a volume is, whether a lock server answers, which login of a Git
//! server stopped working, whether a file was cut off in the middle of being written, and who else uses a bucket. So pods whose fleet
//! has one of these run this program beside the engine. It has no token of the API server and writes nothing there: the operator asks
//! it for its [`report::Report`] and decides what that means.
//!
//! It never ends by itself and never takes the pod's readiness away: an engine that serves is worth more than a report on it. Only
//! what nobody could mend from inside ends it, at its start: a configuration that cannot be used, and an address that cannot be had.
//!
//! Each part is a loop of its own that writes to the [`board`]; none waits for another. Decisions are functions of what was seen, and
//! tests ask them without a network.

pub mod board;
pub mod config;
pub mod github_app;
pub mod heal;
pub mod locks;
pub mod logins;
pub mod marker;
pub mod pages;
pub mod report;
pub mod s3;
pub mod trust;
pub mod volume;
pub mod words;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::JoinSet,
};

use self::{
    board::Board,
    config::{Config, ConfigError, Layout},
};

/// Why the sidecar does not start.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be had.
    #[error("cannot serve {address}: {source}; choose another with --address")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The signal that ends the program cannot be waited for.
    #[error("cannot wait for the signal to stop: {0}")]
    Signal(std::io::Error),
}

/// Runs until the program is told to stop.
pub async fn run(config: PathBuf, address: SocketAddr) -> Result<(), SidecarError> {
    let config = Config::read(&config)?;
    let mut stop = signal(SignalKind::terminate()).map_err(SidecarError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(SidecarError::Signal)?;
    let listener = pages::bind(address).await.map_err(|source| SidecarError::Address { address, source })?;
    let heals = config.volume.as_ref().is_some_and(|volume| volume.layout == Some(Layout::Athens));
    let board = Arc::new(Board::new(!heals));
    let mut parts = start(config, &board);
    tracing::info!(%address, "serving /report, /metrics, /startz and /livez");
    parts.spawn(async move {
        // Ends with the program alone: what goes wrong with a connection is that connection's.
        let _ = axum::serve(listener, pages::router(board)).await;
    });
    // A part that ended has a bug. The others are worth having, so the program goes on, and its log says so.
    let ended = async {
        while let Some(ended) = parts.join_next().await {
            tracing::error!(error = ended.err().map(|error| error.to_string()), "a part of the sidecar ended");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = stop.recv() => {}
        _ = interrupt.recv() => {}
        () = ended => {}
    }
    tracing::info!("told to stop");
    Ok(())
}

/// Starts every part that the configuration has.
fn start(config: Config, board: &Arc<Board>) -> JoinSet<()> {
    let Config { volume, locks, logins, github_apps, marker } = config;
    let mut parts = JoinSet::new();
    if let Some(volume) = volume {
        let changed = Arc::new(Notify::new());
        parts.spawn(volume::watch(volume.path.clone(), Arc::clone(board), Arc::clone(&changed)));
        // goproxy renames what it wrote into place: nothing of it is ever cut off.
        if volume.layout == Some(Layout::Athens) {
            parts.spawn(heal::watch(volume, Arc::clone(board), changed));
        }
    }
    if !locks.is_empty() {
        parts.spawn(locks::watch(locks, Arc::clone(board)));
    }
    if let Some(logins) = logins {
        parts.spawn(logins::watch(logins, Arc::clone(board)));
    }
    if !github_apps.is_empty() {
        parts.spawn(github_app::watch(github_apps, Arc::clone(board)));
    }
    if let Some(marker) = marker {
        parts.spawn(marker::watch(marker, Arc::clone(board)));
    }
    parts
}
