//! The process: what runs, in which order it starts and how it ends.
//!
//! Pages start at once, and watches as soon as the lease was asked for: a process that leads lists once, and a standby is
//! warm. Work starts when this process leads and everything was listed since. It ends in order: no new work, the work under way finishes, then the lease
//! is given back. Anything else that ends ends the process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use super::{Context, queue::Queue, work};
use crate::{
    apply::{Applier, request::Writer},
    cache::{pump::Sinks, store::Store, watch::Watch},
    client::{ClientError, Clients, clients},
    clock::Clock,
    events::Events,
    health::Health,
    http::{self, Pages},
    leader::{Candidate, Election, Leadership, Lost, decide::TimingError},
    metrics::Metrics,
    plan::validate::Settings,
    reports::Reports,
};

/// How long work under way may take to finish after a signal. Kubernetes kills after 30 seconds by default, and the
/// lease has to be given back within that.
const DRAIN_MOST: Duration = Duration::from_secs(20);

/// What the process was started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespaces to watch; none means all.
    pub namespaces: Vec<String>,
    /// Namespaces in which Secrets are watched too; none means nowhere.
    pub fleet_namespaces: Vec<String>,
    /// Where the pages are served.
    pub address: SocketAddr,
    /// The lease to hold while working; `None` where there is but one replica.
    pub candidate: Option<Candidate>,
    /// Name of this process in events.
    pub identity: String,
    /// Fleets worked on at the same time.
    pub concurrency: usize,
    /// Settings of the installation.
    pub settings: Settings,
}

/// Why the process ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The lease's times are not safe.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// The address cannot be served.
    #[error("cannot serve {address}: {source}; choose another with --metrics-address")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The lease is lost.
    #[error("stopping at once, another replica takes over: {0}")]
    Lost(#[from] Lost),
    /// Signals cannot be heard.
    #[error("cannot listen to signals: {0}")]
    Signal(std::io::Error),
    /// Something that runs for ever ended.
    #[error("{0} ended")]
    Ended(&'static str),
}

/// Runs until SIGTERM or SIGINT, or until going on would be wrong.
pub async fn run(options: Options) -> Result<(), RunError> {
    if let Some(candidate) = &options.candidate {
        candidate.timing.check()?;
    }
    let clients = clients().await?;
    let clock: Clock = Arc::new(Timestamp::now);
    let process = Process::new(&options);
    // Dropping the set ends them: none holds anything that must be put in order.
    let mut background = JoinSet::new();
    process.start(&mut background, &options, &clients);
    let mut election =
        options.candidate.map(|candidate| Election::new(clients.lease.clone(), candidate, clock.clone()));
    let leadership = election.as_ref().map_or_else(Leadership::always, Election::leadership);
    let (events, telling) =
        Events::new(clients.request.clone(), leadership.clone(), &options.identity, process.metrics.clone());
    background.spawn(async move {
        telling.await;
        RunError::Ended("the sending of events")
    });
    let writer = Writer { client: clients.request, leadership };
    let applier = Applier { writer, store: process.store.clone(), metrics: process.metrics.clone() };
    let context = Context::new(applier, process.queue.clone(), events, Arc::new(options.settings), clock);
    let mut workers = JoinSet::new();
    let ended = tokio::select! {
        biased;
        signal = stop_signal() => signal,
        Some(error) = background.join_next() => Err(error.unwrap_or(RunError::Ended("a background task"))),
        error = process.lead(election.as_mut(), Arc::new(context), options.concurrency, &mut workers) => Err(error),
    };
    if ended.is_ok() {
        process.drain(election, workers).await;
    }
    process.metrics.set_leader(false);
    ended
}

struct Process {
    store: Arc<Store>,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    watches: Vec<Watch>,
}

impl Process {
    fn new(options: &Options) -> Self {
        let mut watches = Watch::all(&options.namespaces);
        watches.extend(Watch::secrets(&options.fleet_namespaces));
        Self {
            store: Arc::default(),
            queue: Arc::default(),
            metrics: Arc::default(),
            health: Arc::new(Health::new(&watches)),
            watches,
        }
    }

    /// Starts what every replica runs, leader or not.
    fn start(&self, background: &mut JoinSet<RunError>, options: &Options, clients: &Clients) {
        let Self { store, queue, metrics, health, watches } = self;
        let (address, pages) = (
            options.address,
            Pages { health: health.clone(), metrics: metrics.clone(), store: store.clone(), queue: queue.clone() },
        );
        background.spawn(async move {
            match http::serve(address, pages).await {
                Ok(()) => RunError::Ended("the HTTP server"),
                Err(source) => RunError::Address { address, source },
            }
        });
        let sinks =
            Sinks { store: store.clone(), queue: queue.clone(), health: health.clone(), metrics: metrics.clone() };
        for watch in watches.clone() {
            let (client, sinks) = (clients.watch.clone(), sinks.clone());
            background.spawn(async move {
                watch.run(client, sinks).await;
                RunError::Ended("a watch")
            });
        }
    }

    /// Waits for leadership and for everything to be listed since then, lets the workers run, and holds the lease meanwhile.
    async fn lead(
        &self,
        election: Option<&mut Election>,
        context: Arc<Context>,
        concurrency: usize,
        workers: &mut JoinSet<()>,
    ) -> RunError {
        let start = async {
            self.health.all_listed().await;
            tracing::info!(fleets = self.store.fleets().len(), "everything is listed, starting to work");
            // Whatever was queued while standing by is in this as well.
            self.queue.push_all(self.store.fleets());
            for _ in 0..concurrency {
                workers.spawn(work(context.clone()));
            }
            let Self { store, queue, metrics, .. } = self;
            let reports = Reports { store: store.clone(), queue: queue.clone(), metrics: metrics.clone() };
            tokio::select! {
                _ = workers.join_next() => RunError::Ended("a worker"),
                () = reports.gather() => RunError::Ended("the gathering of reports"),
            }
        };
        let Some(election) = election else {
            self.health.list_anew();
            self.metrics.set_leader(true);
            return start.await;
        };
        if !election.wins_at_once().await {
            self.health.list_anew();
            election.win().await;
        }
        tracing::info!("leading");
        // The last writes of the leader before may not have been told here yet.
        self.health.list_anew();
        self.metrics.set_leader(true);
        tokio::select! {
            lost = election.hold() => lost.into(),
            ended = start => ended,
        }
    }

    /// Lets the work under way finish, renewing meanwhile, and gives the lease back.
    async fn drain(&self, election: Option<Election>, mut workers: JoinSet<()>) {
        tracing::info!("stopping: finishing the work under way");
        self.queue.close();
        let finished = async { while workers.join_next().await.is_some() {} };
        let Some(mut election) = election else {
            let _ = tokio::time::timeout(DRAIN_MOST, finished).await;
            return;
        };
        if !election.leadership().still_ours() {
            return;
        }
        tokio::select! {
            _ = tokio::time::timeout(DRAIN_MOST, finished) => {}
            lost = election.hold() => tracing::warn!(%lost, "lost while stopping"),
        }
        // Whatever is left is cut off before others may begin.
        workers.shutdown().await;
        election.release().await;
    }
}

async fn stop_signal() -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signal)?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    Ok(())
}
