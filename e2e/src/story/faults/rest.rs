//! That at rest nothing is written: proved by something that the operator is shown, and by its having looked.

use std::time::Duration;

use anyhow::{Context as _, Result};
use goproxy_operator::{cache::FleetKey, plan::object::Kind};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, api::PostParams};
use serde_json::json;

use super::scenario::FLEET;
use crate::{cluster::until, scripted::operator::Operator};

/// How the names of markers begin.
pub const MARKER: &str = "marker";

const SOON: Duration = Duration::from_secs(30);

/// Makes something that is not the fleet's and carries its label. What the operator learns of it, it learns after
/// everything that happened before.
pub async fn mark(client: &Client, namespace: &str, number: usize) -> Result<String> {
    let name = format!("{MARKER}-{number}");
    let marker: ConfigMap =
        serde_json::from_value(json!({ "metadata": { "name": name, "labels": { "goproxy.rs/fleet": FLEET } } }))?;
    Api::<ConfigMap>::namespaced(client.clone(), namespace).create(&PostParams::default(), &marker).await?;
    Ok(name)
}

/// Waits until the operator knows of a marker and has looked at the fleet since.
pub async fn seen(operator: &Operator, namespace: &str, marker: &str) -> Result<()> {
    let key = FleetKey::new(namespace, FLEET);
    operator.health.all_listed().await;
    until(&format!("the operator sees {marker}"), SOON, || async {
        Ok(operator.cache.child(&key, Kind::ConfigMap, marker).map(drop))
    })
    .await?;
    // One look may have begun before the marker was seen; the next one began after.
    for _ in 0..2 {
        let before = looks(operator)?;
        operator.queue.push_all([key.clone()]);
        until("the operator looks", SOON, || async { Ok((looks(operator)? > before).then_some(())) }).await?;
    }
    Ok(())
}

/// How many looks at fleets have ended.
fn looks(operator: &Operator) -> Result<u64> {
    let page = operator.metrics.encode();
    let line = page.lines().find_map(|line| line.strip_prefix("goproxy_operator_reconcile_duration_seconds_count "));
    line.context("the operator does not count its looks")?.parse().context("the count of looks is no number")
}
