//! The process's own HTTP server: liveness, readiness with what is waited for, metrics, and what memory is used for.

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
        .route("/metrics/memory", get(memory))
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

/// What the memory of held objects is made of. A page of its own, because it walks over all of them: for whoever wonders,
/// not for a scraper.
async fn memory(State(pages): State<Pages>) -> String {
    let line = |(part, bytes)| format!("goproxy_operator_cache_bytes{{part=\"{part}\"}} {bytes}\n");
    pages.store.bytes().parts().map(line).concat()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    use super::*;
    use crate::cache::watch::Watch;

    async fn get(address: SocketAddr, path: &'static str) -> String {
        let ask = move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        tokio::task::spawn_blocking(ask).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn lives_at_once_and_is_ready_when_everything_is_listed() {
        let watches = Watch::all(&["build".to_owned()]);
        let health = Arc::new(Health::new(&watches));
        let pages =
            Pages { health: health.clone(), metrics: Arc::default(), store: Arc::default(), queue: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router(pages)).await });
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let waiting = get(address, "/readyz").await;
        assert!(waiting.starts_with("HTTP/1.1 503"), "{waiting}");
        assert!(waiting.contains("watch of goproxies in namespace build: not listed yet"), "{waiting}");
        for watch in &watches {
            health.listed(watch, 0);
        }
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let metrics = get(address, "/metrics").await;
        assert!(metrics.contains("goproxy_operator_queue_depth 0") && metrics.ends_with("# EOF\n"), "{metrics}");
        let memory = get(address, "/metrics/memory").await;
        assert!(memory.contains("\ngoproxy_operator_cache_bytes{part=\"pods\"} 0\n"), "{memory}");
    }
}
