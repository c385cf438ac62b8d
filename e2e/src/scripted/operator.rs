//! The operator under test: everything of it but the process around it, which is proved on real clusters.

use std::{sync::Arc, time::Duration};

use goproxy_operator::{
    apply::{Applier, request::Writer},
    cache::{pump::Sinks, store::Store as Cache, watch::Watch},
    clock::Clock,
    controller::{Context, queue::Queue, work},
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
    /// What it knows.
    pub cache: Arc<Cache>,
    /// What it is to look at.
    pub queue: Arc<Queue>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// What it waits for.
    pub health: Arc<Health>,
    _tasks: JoinSet<()>,
}

impl Operator {
    /// Starts one with empty caches on the scripted API server. Must be called within the simulation's runtime.
    pub fn start(interposer: &Interposer, start: Instant) -> Self {
        let client = Client::new(interposer.connect(), "default");
        // A process does not start in no time.
        Self::after(Duration::from_millis(300), client, clock(start), &[])
    }

    /// Starts one with empty caches on any API server, for these namespaces; none named means all.
    pub fn on(client: Client, clock: Clock, namespaces: &[String]) -> Self {
        Self::after(Duration::ZERO, client, clock, namespaces)
    }

    fn after(pause: Duration, client: Client, clock: Clock, namespaces: &[String]) -> Self {
        let watches = Watch::all(namespaces);
        let (cache, queue, metrics) = (Arc::<Cache>::default(), Arc::<Queue>::default(), Arc::<Metrics>::default());
        let health = Arc::new(Health::new(&watches));
        let sinks =
            Sinks { store: cache.clone(), queue: queue.clone(), health: health.clone(), metrics: metrics.clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            run(client, clock, watches, sinks).await;
        });
        Self { cache, queue, metrics, health, _tasks: tasks }
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
        goproxy_image_repository: Some("registry.example/goproxy".to_owned()),
        redis_image: "r/redis:7.2.11".to_owned(),
        edge_image: Some("registry.example.com/goproxy-edge:v1".to_owned()),
        sidecar_image: Some("registry.example.com/goproxy-operator:v1".to_owned()),
        cluster_domain: "cluster.local".to_owned(),
    }
}

async fn run(client: Client, clock: Clock, watches: Vec<Watch>, sinks: Sinks) {
    let Sinks { store, queue, health, metrics } = sinks.clone();
    let (events, telling) = Events::new(client.clone(), Leadership::always(), "operator-0", metrics.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(telling);
    for watch in watches {
        tasks.spawn(watch.run(client.clone(), sinks.clone()));
    }
    health.list_anew();
    health.all_listed().await;
    let writer = Writer { client, leadership: Leadership::always() };
    let applier = Applier { writer, store, metrics };
    let context = Arc::new(Context::new(applier, queue, events, Arc::new(settings()), clock));
    for _ in 0..WORKERS {
        tasks.spawn(work(context.clone()));
    }
    while tasks.join_next().await.is_some() {}
}
