//! The operator under test: everything of it but the process around it, which is proved on real clusters.

use std::{sync::Arc, time::Duration};

use goproxy_operator::{
    apply::{Applier, request::Writer},
    cache::{
        pump::{Sinks, Watch},
        store::Store as Cache,
    },
    controller::{Clock, Context, queue::Queue, work},
    events::Events,
    health::Health,
    leader::Leadership,
    metrics::Metrics,
    plan::validate::Settings,
};
use jiff::SignedDuration;
use kube::Client;
use tokio::{task::JoinSet, time::Instant};

use super::{fault::Interposer, store::epoch};

/// As many as a small installation runs.
const WORKERS: usize = 2;

/// A running operator. Dropping it is what a crash is: nothing is finished, nothing is remembered.
pub struct Operator {
    _tasks: JoinSet<()>,
}

impl Operator {
    /// Starts one with empty caches. Must be called within the simulation's runtime.
    pub fn start(interposer: &Interposer, start: Instant) -> Self {
        let client = Client::new(interposer.connect(), "default");
        let mut tasks = JoinSet::new();
        tasks.spawn(run(client, clock(start)));
        Self { _tasks: tasks }
    }
}

/// The simulated time of day.
fn clock(start: Instant) -> Clock {
    Arc::new(move || {
        let passed = SignedDuration::try_from(start.elapsed()).unwrap_or_default();
        epoch().checked_add(passed).unwrap_or_else(|_| epoch())
    })
}

/// The settings of the simulated installation.
pub fn settings() -> Settings {
    Settings {
        engine_image_repository: "registry.example/athens".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
    }
}

async fn run(client: Client, clock: Clock) {
    // A process does not start in no time.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let watches = Watch::all(&[]);
    let (cache, queue, metrics) = (Arc::<Cache>::default(), Arc::<Queue>::default(), Arc::<Metrics>::default());
    let health = Arc::new(Health::new(&watches));
    let sinks = Sinks { store: cache.clone(), queue: queue.clone(), health: health.clone(), metrics: metrics.clone() };
    let (events, telling) = Events::new(client.clone(), Leadership::always(), "operator-0", metrics.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(telling);
    for watch in watches {
        tasks.spawn(watch.run(client.clone(), sinks.clone()));
    }
    health.all_listed().await;
    let writer = Writer { client, leadership: Leadership::always() };
    let applier = Applier { writer, store: cache, metrics };
    let context = Arc::new(Context::new(applier, queue, events, Arc::new(settings()), clock));
    for _ in 0..WORKERS {
        tasks.spawn(work(context.clone()));
    }
    while tasks.join_next().await.is_some() {}
}
