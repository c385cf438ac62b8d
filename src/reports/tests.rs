use std::net::SocketAddr;

use axum::{Router, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::{
    cache::{
        FleetKey,
        decode::{Seen, SeenFleet},
    },
    plan::sight::{Answer, Room},
};

/// Serves this answer where pods would; its port.
async fn serving(answer: Router) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, answer).await });
    port
}

fn telling(report: Value) -> Router {
    Router::new().route("/report", get(move || async move { report.to_string() }))
}

fn pod(running: bool) -> Value {
    let state =
        if running { json!({ "running": { "startedAt": "2026-01-02T03:04:05Z" } }) } else { json!({ "waiting": {} }) };
    json!({
        "metadata": {
            "name": "corp-1-a", "namespace": "build", "uid": "p", "resourceVersion": "1",
            "labels": { "goproxy.rs/fleet": "corp", "goproxy.rs/revision": "corp-1" },
        },
        "status": {
            "phase": "Running", "podIP": "127.0.0.1",
            "initContainerStatuses": [{ "name": "sidecar", "state": state }],
        },
    })
}

/// A fleet with one pod.
fn reports(pod: Value) -> Reports {
    let store = Store::default();
    let fleet = json!({
        "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "spec": {},
        "metadata": { "name": "corp", "namespace": "build", "uid": "u", "resourceVersion": "1" },
    });
    store.put_fleet(serde_json::from_value::<SeenFleet>(fleet).unwrap());
    store.put_pod(&serde_json::from_value::<Seen>(pod).unwrap());
    Reports { store: store.into(), queue: Arc::default(), metrics: Arc::default() }
}

fn key() -> FleetKey {
    FleetKey::new("build", "corp")
}

fn volume(free: u64) -> Value {
    json!({ "totalBytes": 1000, "freeBytes": free, "totalInodes": 0, "freeInodes": 0, "removed": 0, "error": null })
}

#[tokio::test]
async fn a_fleet_is_looked_at_again_when_a_level_changes_and_no_sooner() {
    let reports = reports(pod(true));
    for (free, news) in [(900, true), (800, false), (50, true), (60, false), (700, true)] {
        let port = serving(telling(json!({ "volume": volume(free) }))).await;
        reports.round(port).await;
        assert_eq!(reports.queue.depth(), usize::from(news), "{free}");
        if news {
            assert_eq!(reports.queue.next().await, Some(key()));
            reports.queue.done(&key(), crate::controller::queue::Next::Wait);
        }
    }
}

#[tokio::test]
async fn what_a_pod_told_is_kept_while_it_is_silent_and_forgotten_with_it() {
    let reports = reports(pod(true));
    let lock =
        json!({ "address": "redis:6379", "reachable": false, "since": "2026-01-02T03:04:05Z", "error": "refused" });
    let port = serving(telling(json!({ "volume": volume(1), "locks": [lock] }))).await;
    reports.round(port).await;
    let told = || reports.store.snapshot(&key()).unwrap().reports.get("corp-1-a").cloned();
    let first = told().unwrap();
    assert_eq!(first.room, Some(Room::Full));
    assert!(matches!(&first.locks[0].1, Answer::No { error, .. } if error == "refused"));
    for silent in [Router::new(), telling(json!("no report")), telling(json!({ "volume": "x".repeat(300 << 10) }))] {
        let port = serving(silent).await;
        reports.round(port).await;
        assert_eq!(told().as_ref(), Some(&first));
    }
    let page = reports.metrics.encode();
    assert!(page.contains(r#"goproxy_operator_reports_total{result="Answered"} 1"#), "{page}");
    assert!(page.contains(r#"goproxy_operator_reports_total{result="Silent"} 3"#), "{page}");
    reports.store.remove_pod("build", "p");
    assert_eq!(told(), None);
    assert!(reports.store.sidecars().is_empty());
}

#[tokio::test]
async fn a_pod_whose_sidecar_does_not_run_is_not_asked() {
    assert!(reports(pod(false)).store.sidecars().is_empty());
    let mut bare = pod(true);
    bare["status"].as_object_mut().unwrap().remove("initContainerStatuses");
    let reports = reports(bare);
    assert!(reports.store.sidecars().is_empty());
    assert!(!reports.store.snapshot(&key()).unwrap().pods[0].sidecar);
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let error = ask::report(address, PATIENCE).await.unwrap_err();
    assert!(matches!(error, ask::Unheard::Late(_)), "{error}");
}
