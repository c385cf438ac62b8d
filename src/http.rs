//! The process's own HTTP server: liveness, readiness with what is waited for, metrics.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

use crate::{cache::store::Store, controller::queue::Queue, health::Health, metrics::Metrics};

/// What the pages tell of.
#[derive(Clone)]
pub struct Pages {
    /// Readiness.
    pub health: Arc<Health>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Numbers of objects.
    pub store: Arc<Store>,
    /// Number of fleets that wait.
    pub queue: Arc<Queue>,
}

/// Serves until the process ends. Fails at once if the address cannot be had.
pub async fn serve(address: SocketAddr, pages: Pages) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(%address, "serving /livez, /readyz and /metrics");
    axum::serve(listener, router(pages)).await
}

/// The pages.
pub fn router(pages: Pages) -> Router {
    Router::new()
        // That this answers is all there is to say: whatever else fails is waited out or ends the process.
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(pages)
}

async fn ready(State(pages): State<Pages>) -> (StatusCode, String) {
    let pending = pages.health.pending();
    if pending.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for:\n{}\n", pending.join("\n")))
}

async fn metrics(State(pages): State<Pages>) -> ([(&'static str, &'static str); 1], String) {
    pages.store.counts().into_iter().for_each(|(source, count)| pages.metrics.set_objects(source, count));
    pages.metrics.set_queue_depth(pages.queue.depth());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([("content-type", kind)], pages.metrics.encode())
}
