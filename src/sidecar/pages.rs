//! What the sidecar serves: its report for the operator, figures for Prometheus, and two pages for the kubelet.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::ConstCounter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::net::TcpListener;

use super::{
    board::Board,
    report::{Report, VolumeReport},
};

/// Binds the address. Whoever gave a wrong one is told at once.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// The pages.
pub fn router(board: Arc<Board>) -> Router {
    Router::new()
        // That this answers is all: what else fails is in the report, and restarting this program mends none of it.
        .route("/livez", get(|| async { "ok\n" }))
        // Asked by the kubelet until it says yes; the engine starts after that.
        .route("/startz", get(started))
        .route("/report", get(report))
        .route("/metrics", get(metrics))
        .with_state(board)
}

async fn started(State(board): State<Arc<Board>>) -> (StatusCode, &'static str) {
    if board.started() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the first look at the volume\n")
    }
}

async fn report(State(board): State<Arc<Board>>) -> ([(&'static str, &'static str); 1], String) {
    let text = serde_json::to_string(&board.report()).expect("a report has no map with keys that are no text");
    ([("content-type", "application/json")], text)
}

async fn metrics(State(board): State<Arc<Board>>) -> ([(&'static str, &'static str); 1], String) {
    const KIND: [(&str, &str); 1] = [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (KIND, figures(&board.report(), board.broken()))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AddressLabel {
    address: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabel {
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabel {
    host: String,
    module: String,
}

/// The report as figures. Labels are what the configuration names, so that their number is bounded. What is not known has no
/// figure.
pub fn figures(report: &Report, broken: u64) -> String {
    let mut registry = Registry::with_prefix("goproxy_sidecar");
    if let Some(volume) = &report.volume {
        volume_figures(&mut registry, volume, broken);
    }
    let locks = Family::<AddressLabel, Gauge>::default();
    for lock in &report.locks {
        if let Some(reachable) = lock.reachable {
            locks.get_or_create(&AddressLabel { address: lock.address.clone() }).set(reachable.into());
        }
    }
    let logins = Family::<LoginLabel, Gauge>::default();
    for login in &report.logins {
        if let Some(works) = login.works {
            let label = LoginLabel { host: login.host.clone(), module: login.module.clone() };
            logins.get_or_create(&label).set(works.into());
        }
    }
    let tokens = Family::<HostLabel, Gauge>::default();
    for app in &report.github_apps {
        let expires = app.expires.map_or(0, Timestamp::as_second);
        tokens.get_or_create(&HostLabel { host: app.host.clone() }).set(expires);
    }
    registry.register("lock_reachable", "1 while a server of the lock answers, 0 while it does not", locks);
    registry.register("login_works", "1 while a login of a Git server works, 0 while it does not", logins);
    let help = "When the newest token of a GitHub App ends, in seconds since 1970; 0 without a token";
    registry.register("github_app_token_expiry_timestamp_seconds", help, tokens);
    if let Some(marker) = &report.marker {
        let (foreign, trouble) = (marker.foreign.is_some(), marker.error.is_some());
        switch(&mut registry, "bucket_foreign", "1 while somebody else says that the bucket is theirs", foreign);
        switch(&mut registry, "bucket_trouble", "1 while the bucket's marker cannot be read or written", trouble);
    }
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = text::encode(&mut page, &registry);
    page
}

fn volume_figures(registry: &mut Registry, volume: &VolumeReport, broken: u64) {
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: u64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, gauge),
            None => registry.register(name, help, gauge),
        }
    };
    gauge("volume_size", "Size of the volume", Some(Unit::Bytes), volume.total_bytes);
    gauge("volume_free", "Room that the engine may still use on the volume", Some(Unit::Bytes), volume.free_bytes);
    gauge("volume_inodes", "Files that the volume can hold, 0 without a limit", None, volume.total_inodes);
    gauge("volume_inodes_free", "Files that the volume can still take", None, volume.free_inodes);
    gauge("volume_broken_versions", "Cut-off versions that may still be written at", None, broken);
    let help = "Cut-off versions removed from the volume since the sidecar started";
    registry.register("volume_removed_versions", help, ConstCounter::new(volume.removed));
    switch(registry, "volume_trouble", "1 while the volume cannot be looked at", volume.error.is_some());
}

fn switch(registry: &mut Registry, name: &str, help: &str, holds: bool) {
    let gauge = Gauge::<i64>::default();
    gauge.set(holds.into());
    registry.register(name, help, gauge);
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::sidecar::report::LockReport;

    async fn page(board: &Arc<Board>, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(Arc::clone(board)).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn pages_tell_what_is_on_the_board() {
        let board = Arc::new(Board::new(false));
        assert_eq!(page(&board, "/livez").await.0, 200);
        assert_eq!(page(&board, "/startz").await.0, 503);
        board.start();
        assert_eq!(page(&board, "/startz").await.0, 200);
        let empty = page(&board, "/report").await.1;
        assert_eq!(serde_json::from_str::<Report>(&empty).unwrap(), Report::default());
        board.note(|report| {
            report.volume =
                Some(VolumeReport { total_bytes: 100, free_bytes: 7, removed: 2, ..VolumeReport::default() });
            let since = Timestamp::UNIX_EPOCH;
            let lock =
                |address: &str, reachable| LockReport { address: address.to_owned(), reachable, since, error: None };
            report.locks = vec![lock("a:1", Some(false)), lock("b:2", None)];
        });
        let told: Report = serde_json::from_str(&page(&board, "/report").await.1).unwrap();
        assert_eq!(told, board.report());
        let figures = page(&board, "/metrics").await.1;
        for line in [
            "goproxy_sidecar_volume_free_bytes 7",
            "goproxy_sidecar_volume_removed_versions_total 2",
            "goproxy_sidecar_lock_reachable{address=\"a:1\"} 0",
        ] {
            assert!(figures.lines().any(|found| found == line), "{line} in\n{figures}");
        }
        assert!(!figures.contains("b:2"), "what is not known has no figure");
        assert!(figures.ends_with("# EOF\n"));
    }
}
