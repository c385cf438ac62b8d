//! The agent beside nginx: what runs in an edge's pod besides nginx itself.
//!
//! It decides nothing: the rooms around it do. It watches one object and the pods of its fleet, writes nginx's file, pushes the rest
//! into nginx's memory, answers nginx's questions, keeps lists fresh and tells the operator what it serves by.
//!
//! ```text
//!  EdgeState ──▶ source ──▶ serving ──▶ control ──▶ nginx's memory
//!  endpoints ──▶              │  └────▶ place  ──▶ nginx's file, reload
//!                             ├──▶ ask    ◀── nginx: may this be?
//!                             ├──▶ lists  ◀── nginx: what is the list?
//!                             └──▶ report ──▶ the status of EdgeState
//! ```
//!
//! Whatever is away, the others go on: without an API server by what was told last, which is on disk too; without an agent by what
//! nginx remembers; an nginx that began anew is noticed by its empty memory.

mod ask;
mod cluster;
mod control;
mod file;
mod lists;
mod log;
mod pages;
mod place;
mod report;
mod serving;
mod unix_http;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use self::{
    pages::Figures,
    place::{Place, Programs},
    serving::{Frame, Serving, Told},
};
use crate::plan::{object::edge::AGENT_PORT, validate::FleetName};

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The fleet.
    pub fleet: FleetName,
    /// Its namespace.
    pub namespace: String,
    /// The name of this edge among those of the fleet.
    pub pod: String,
    /// A file to read instead of a cluster.
    pub state: Option<PathBuf>,
    /// Where sockets, nginx's file and what was told last are.
    pub directory: PathBuf,
    /// Where nginx keeps files of modules.
    pub cache: PathBuf,
    /// How much it keeps, in bytes.
    pub cache_bytes: u64,
    /// Processes of nginx that serve.
    pub workers: u16,
    /// nginx itself.
    pub nginx: PathBuf,
    /// Its modules.
    pub modules: PathBuf,
    /// Port of clients.
    pub port: u16,
    /// Where /livez, /startz, /readyz and /metrics are. Absent: [`AGENT_PORT`] of every address.
    pub pages: Option<SocketAddr>,
}

/// What happens from outside.
#[derive(Debug)]
enum Input {
    /// The object was read.
    State(Box<Told>),
    /// The pods of the fleet that take requests.
    Endpoints(std::collections::BTreeSet<super::peers::Endpoint>),
}

/// Runs until it is told to stop.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let programs = Programs { nginx: options.nginx.clone(), modules: options.modules.clone() };
    let place =
        Arc::new(Place::prepare(&options.directory, &options.cache, programs).context("prepare the directory")?);
    let figures = Arc::new(Figures::default());
    let (inputs, input) = mpsc::channel(16);
    let (serve, serving) = watch::channel(Serving::default());
    let (acknowledge, acknowledged) = watch::channel(None);
    // What was told last serves until somebody tells more, which may take as long as the API server is away.
    if let Some(saved) = place.saved() {
        for input in saved {
            inputs.send(input).await.ok();
        }
    }
    let decisions = ask::serve(&place.socket("ask.sock"), serving.clone(), Arc::clone(&figures))?;
    let lists =
        lists::serve(&place.socket("agent.sock"), place.socket("copy.sock"), serving.clone(), Arc::clone(&figures))?;
    let frame = Frame {
        port: options.port,
        cache_bytes: options.cache_bytes,
        workers: options.workers.into(),
        ipv6: has_ipv6(),
    };
    let adopting = serving::run(options.pod.clone(), frame, Arc::clone(&place), input, serve);
    let sockets = ["control.sock", "copy.sock"].map(|name| place.socket(name));
    let pushing = control::run(sockets, serving.clone(), acknowledge, Arc::clone(&figures));
    let counting = log::run(Arc::clone(&place), serving.clone(), Arc::clone(&figures));
    let every = if frame.ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv4Addr::UNSPECIFIED) };
    let address = options.pages.unwrap_or(SocketAddr::new(every, AGENT_PORT));
    let pages = pages::serve(address, pages::Pages::new(acknowledged.clone(), serving.clone(), place, figures));
    let outside = outside(options, inputs, serving, acknowledged);
    tokio::select! {
        ended = pages => ended.context("serve the pages"),
        () = decisions => anyhow::bail!("the socket of decisions was closed"),
        ended = lists => ended.context("serve lists"),
        () = adopting => anyhow::bail!("nobody tells any more"),
        () = pushing => anyhow::bail!("nobody is pushed to any more"),
        () = counting => anyhow::bail!("nobody reads the log any more"),
        ended = outside => ended,
        () = told_to_stop() => Ok(()),
    }
}

/// Where orders come from and answers go.
async fn outside(
    options: Options,
    inputs: mpsc::Sender<Input>,
    serving: watch::Receiver<Serving>,
    acknowledged: watch::Receiver<Option<String>>,
) -> anyhow::Result<()> {
    let Some(state) = &options.state else {
        let client = crate::client::clients().await?;
        let target = cluster::Target { namespace: options.namespace, fleet: options.fleet, pod: options.pod };
        let reporting = report::run(client.request, target.clone(), serving, acknowledged);
        tokio::select! {
            () = cluster::watch(client.watch, target, inputs) => {}
            () = reporting => {}
        }
        anyhow::bail!("the watch of the cluster ended");
    };
    file::watch(state, inputs).await;
    anyhow::bail!("nobody reads the file any more")
}

/// Whether a socket can have an address of IPv6 here.
fn has_ipv6() -> bool {
    std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    // The image asks with SIGQUIT, which is how nginx is asked to end with its last download.
    let (Ok(mut terminate), Ok(mut quit)) = (signal(SignalKind::terminate()), signal(SignalKind::quit())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = quit.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
