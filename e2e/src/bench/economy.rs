//! P4: how many requests one change costs, beside the fewest that could do it.

use std::time::Duration;

use anyhow::Result;
use goproxy_operator::api::go_proxy::GoProxy;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::fleet::{self, Place};
use super::rig::{Bench, Rig, create_fleet};
use super::table::{Goal, Row};
use super::{Report, number};
use crate::audit::{Request, by_shape};

/// Measures P4.
pub async fn measure(bench: &Bench) -> Result<Report> {
    bench.on_fresh_cluster(async |rig| on(rig).await).await
}

/// One kind of change, and the fewest requests that could carry it out.
struct Change {
    what: &'static str,
    fewest: usize,
}

async fn on(rig: &Rig<'_>) -> Result<Report> {
    let places = fleet::places("bench", 1);
    let [place] = &places[..] else { return Ok(Report::default()) };
    rig.make_namespaces(&places).await?;
    let (operator, _) = rig.start_operator().await?;
    operator.wait_reconciled(0).await?;
    let (user, _) = rig.user_client().await?;
    let mut report = Report::default();

    // Children and one status.
    let fewest = fleet::requests(&example(place)?)?.children() + 1;
    let change = Change { what: "requests to create a fleet, until Ready", fewest };
    count(rig, &mut report, &change, async || create_fleet(&user, place).await.map(drop)).await?;

    // The Service and the status, which tells the generation that it is about.
    let change = Change { what: "requests for an edit of the Service", fewest: 2 };
    let spec = json!({"spec": {"service": {"annotations": {"example.com/note": "1"}}}});
    count(rig, &mut report, &change, async || edit(&user, place, &spec).await).await?;

    // Record, configuration and Deployment of the new revision, the Service that moves to it, the old Deployment that
    // ends, and a status.
    let change = Change { what: "requests for an edit of the engine (a new revision)", fewest: 6 };
    let spec = json!({"spec": {"engine": {"logLevel": "Debug"}, "rollout": {"scaleDownDelay": "0s"}}});
    count(rig, &mut report, &change, async || edit(&user, place, &spec).await).await?;

    let change = Change { what: "requests for a label that means nothing", fewest: 0 };
    let label = json!({"metadata": {"labels": {"example.com/note": "1"}}});
    count(rig, &mut report, &change, async || edit(&user, place, &label).await).await?;

    let change = Change { what: "requests to delete a fleet", fewest: 0 };
    let fleets: Api<GoProxy> = Api::namespaced(user.clone(), &place.namespace);
    count(rig, &mut report, &change, async || {
        fleets.delete(&place.name, &DeleteParams::default()).await?;
        Ok(())
    })
    .await?;
    operator.stop().await?;
    Ok(report)
}

/// Counts what the operator sends until the cluster is at rest again.
async fn count(
    rig: &Rig<'_>,
    report: &mut Report,
    change: &Change,
    act: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    rig.rest().await?;
    let mark = rig.audit().mark()?;
    act().await?;
    // Longer than the pause that a Deployment counts as available after.
    rig.audit().quiet(Duration::from_secs(8), Duration::from_mins(2)).await?;
    let mut sent = rig.audit().since(mark)?;
    sent.retain(|request| request.user == Rig::operator_user() && !request.is_lease());
    let (told, events): (Vec<Request>, Vec<Request>) =
        sent.into_iter().partition(|request| request.resource != "events");
    let reads = told.iter().filter(|request| !request.is_write()).count();
    let goal = Goal::AtMost { bar: number(change.fewest + 2), aim: number(change.fewest + 1) };
    let row = Row::plain("P4", change.what, number(told.len())).beside(number(change.fewest)).goal(goal);
    report.rows.push(row.of(format!("{reads} reads, {} events", events.len())));
    report.notes.push(format!("P4: {}: {}", change.what, by_shape(&told)));
    Ok(())
}

async fn edit(client: &Client, place: &Place, patch: &Value) -> Result<()> {
    let fleets: Api<GoProxy> = Api::namespaced(client.clone(), &place.namespace);
    fleets.patch(&place.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

fn example(place: &Place) -> Result<GoProxy> {
    let mut manifest = fleet::manifest(place);
    manifest["metadata"]["uid"] = "0".into();
    Ok(serde_json::from_value(manifest)?)
}
