//! The agent's own pages: whether it lives, whether its pod may be asked, and figures.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tokio::{net::TcpListener, sync::watch};

use super::{
    log::{Line, Part},
    place::Place,
    serving::Serving,
};
use crate::edge::{decide::Answer, freshness::Serve};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    /// Names of enum variants, so that their number is bounded.
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    what: &'static str,
    revision: &'static str,
    cache: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    what: &'static str,
}

fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0])
}

/// What is counted.
#[derive(Debug)]
pub(super) struct Figures {
    requests: Family<Request, Counter>,
    bytes: Family<Kind, Counter>,
    seconds: Family<Kind, Histogram, fn() -> Histogram>,
    canary_failures: Counter,
    decisions: Family<By, Counter>,
    lists: Family<By, Counter>,
    pushes: Family<By, Counter>,
    generation: Gauge,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            bytes: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            canary_failures: Counter::default(),
            decisions: Family::default(),
            lists: Family::default(),
            pushes: Family::default(),
            generation: Gauge::default(),
        }
    }
}

impl Figures {
    /// A request was answered.
    pub(super) fn answered(&self, line: &Line, part: Part) {
        let what = line.what();
        let request = Request { what, revision: part.name(), cache: line.cache(), code: line.code() };
        self.requests.get_or_create(&request).inc();
        self.bytes.get_or_create(&Kind { what }).inc_by(line.bytes);
        self.seconds.get_or_create(&Kind { what }).observe(line.seconds);
        if line.fell_back() {
            self.canary_failures.inc();
        }
    }

    /// nginx asked.
    pub(super) fn decided(&self, answer: &Answer) {
        let result = match answer {
            Answer::Pass { room, .. } => room.name(),
            Answer::Refuse(refused) => refused.name(),
        };
        self.decisions.get_or_create(&By { result }).inc();
    }

    /// A list was asked for.
    pub(super) fn listed(&self, serve: Serve) {
        let result = match serve {
            Serve::Copy => "copy",
            Serve::CopyAndAsk => "copy-and-ask",
            Serve::Ask => "ask",
        };
        self.lists.get_or_create(&By { result }).inc();
    }

    /// nginx was pushed to.
    pub(super) fn pushed(&self, taken: bool) {
        self.pushes.get_or_create(&By { result: if taken { "taken" } else { "refused" } }).inc();
    }

    fn encode(&self) -> String {
        let mut registry = Registry::with_prefix("goproxy_edge");
        registry.register("requests", "Answers to clients", self.requests.clone());
        registry.register("bytes", "Bytes of bodies sent to clients", self.bytes.clone());
        registry.register("request_seconds", "Time that answers took", self.seconds.clone());
        let help = "Requests that a revision on trial failed and the stable one was asked again for";
        registry.register("canary_failures", help, self.canary_failures.clone());
        registry.register("decisions", "Questions of nginx, by what was decided", self.decisions.clone());
        registry.register(
            "lists",
            "Lists, branches and newest versions, by how they were answered",
            self.lists.clone(),
        );
        registry.register("pushes", "Settings sent to nginx", self.pushes.clone());
        registry.register("generation", "Number of the settings that are served by", self.generation.clone());
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = text::encode(&mut text, &registry);
        text
    }
}

/// What the pages tell of.
#[derive(Clone)]
pub(super) struct Pages {
    acknowledged: watch::Receiver<Option<String>>,
    serving: watch::Receiver<Serving>,
    place: Arc<Place>,
    figures: Arc<Figures>,
}

impl Pages {
    pub(super) fn new(
        acknowledged: watch::Receiver<Option<String>>,
        serving: watch::Receiver<Serving>,
        place: Arc<Place>,
        figures: Arc<Figures>,
    ) -> Self {
        Self { acknowledged, serving, place, figures }
    }
}

/// Serves until the process ends. Fails at once if the address cannot be had.
pub(super) async fn serve(address: SocketAddr, pages: Pages) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(%address, "serving /livez, /startz, /readyz and /metrics");
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/startz", get(started))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(pages);
    axum::serve(listener, router).await
}

/// Whether nginx can begin.
async fn started(State(pages): State<Pages>) -> (StatusCode, &'static str) {
    if pages.place.is_written() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "nginx has no file yet\n")
    }
}

/// Whether nginx has something to serve by. What is newer than that is on its way, or is waited for: clients are served meanwhile.
async fn ready(State(pages): State<Pages>) -> (StatusCode, String) {
    let trouble = pages.serving.borrow().trouble.clone();
    let pushed = pages.acknowledged.borrow().is_some();
    match (pushed, trouble) {
        (true, None) => (StatusCode::OK, "ok\n".to_owned()),
        (true, Some(trouble)) => (StatusCode::OK, format!("ok, by what was told before: {trouble}\n")),
        (false, trouble) => {
            let reason = trouble.unwrap_or_else(|| "nginx has nothing to serve by yet".to_owned());
            (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {reason}\n"))
        }
    }
}

async fn metrics(State(pages): State<Pages>) -> ([(&'static str, &'static str); 1], String) {
    // Settings count from when every worker of nginx has them.
    let has = pages.acknowledged.borrow().clone();
    if let Some(now) = pages.serving.borrow().now.as_ref().filter(|now| has.as_deref() == Some(now.push.id.as_str())) {
        pages.figures.generation.set(i64::try_from(now.held.number).unwrap_or(i64::MAX));
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([("content-type", kind)], pages.figures.encode())
}
