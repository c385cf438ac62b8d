//! P7: from the commit of a fleet to the commit of its first child.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use goproxy_operator::api::go_proxy::GoProxy;
use jiff::Timestamp;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::fleet::{self, Place};
use super::legs::{Side, interleaved, quantile};
use super::rig::{Bench, Rig, create_fleet};
use super::table::{Goal, Row};
use super::{Report, raw};
use crate::audit::{Request, seconds_between};
use crate::cluster::until;

/// Fleets per leg.
const FLEETS: usize = 200;

/// Slow enough that the controllers are done with one fleet before the next comes: all of them together use about 200 ms of CPU for
/// one. On two cores that are asked for more than half of what they have, this would measure how long requests wait for a core.
const PAUSE: Duration = Duration::from_millis(300);

/// Measures P7.
pub async fn measure(bench: &Bench) -> Result<Report> {
    let (mut ours, mut raws) = (Vec::new(), Vec::new());
    let legs = interleaved(&bench.progress, "P7 ms, p99", async |side| {
        let times = bench.on_fresh_cluster(async |rig| leg(rig, side).await).await?;
        let p99 = quantile(&times, 0.99);
        match side {
            Side::Raw => raws = times,
            Side::Ours => ours = times,
        }
        Ok(p99)
    });
    let legs = legs.await?;
    let goal = Goal::RatioAtMost { bar: 3.0, aim: 1.5 };
    let row = Row::plain("P7", "ms from a fleet's commit to its first child's, p99", legs.ours);
    let mut report = Report::default();
    report.rows.push(row.beside(legs.raw()).goal(goal).of(FLEETS).spread(legs.spread()));
    let row = Row::plain("P7", "ms from a fleet's commit to its first child's, median", quantile(&ours, 0.5));
    report.rows.push(row.beside(quantile(&raws, 0.5)).of(FLEETS));
    Ok(report)
}

/// Milliseconds from commit to commit, of each fleet.
async fn leg(rig: &Rig<'_>, side: Side) -> Result<Vec<f64>> {
    let places = fleet::places("bench", FLEETS);
    rig.make_namespaces(&places).await?;
    let (user, _) = rig.user_client().await?;
    let mark = rig.audit().mark()?;
    let step = rig.progress().step(format!("{side:?}: {FLEETS} fleets, one after the other"));
    let writer = match side {
        Side::Raw => {
            let (client, name) = rig.raw_client().await?;
            let mut reacting = JoinSet::new();
            let (watching, begun) = oneshot::channel();
            reacting.spawn(react(client, watching));
            begun.await.context("the raw client cannot watch")?;
            make(&user, &places).await?;
            rig.rest().await?;
            if let Some(ended) = reacting.try_join_next() {
                ended.context("the raw client ended")??;
            }
            name
        }
        Side::Ours => {
            let (operator, _) = rig.start_operator().await?;
            operator.wait_reconciled(0).await?;
            make(&user, &places).await?;
            rig.rest().await?;
            operator.stop().await?;
            Rig::operator_user()
        }
    };
    step.done();
    let times = reactions(&rig.audit().since(mark)?, &writer);
    ensure!(times.len() == FLEETS, "only {} of {FLEETS} fleets got a child", times.len());
    Ok(times)
}

async fn make(user: &Client, places: &[Place]) -> Result<()> {
    let mut ticks = tokio::time::interval(PAUSE);
    for place in places {
        ticks.tick().await;
        create_fleet(user, place).await?;
    }
    Ok(())
}

/// The raw client of this metric: watches fleets and sends, for each that is added, what the operator would send.
async fn react(client: Client, watching: oneshot::Sender<()>) -> Result<()> {
    let fleets: Api<GoProxy> = Api::all(client.clone());
    let events = until("a watch of fleets", Duration::from_secs(30), async || {
        match fleets.watch(&WatchParams::default(), "0").await {
            Ok(events) => Ok(Some(events)),
            // The API server has not yet read all there is of a definition that is new.
            Err(kube::Error::Api(status)) if status.code == 429 => Ok(None),
            Err(error) => Err(error.into()),
        }
    });
    let mut events = std::pin::pin!(events.await?);
    // Nobody waits for it any more only when the measurement has ended.
    let _ = watching.send(());
    let mut sending = JoinSet::new();
    while let Some(event) = events.try_next().await? {
        let WatchEvent::Added(fleet) = event else { continue };
        let (client, requests) = (client.clone(), fleet::requests(&fleet)?);
        sending.spawn(async move { raw::send(&client, &requests).await });
    }
    sending.join_all().await.into_iter().collect()
}

fn reactions(requests: &[Request], writer: &str) -> Vec<f64> {
    let made = |request: &&Request| request.resource == "goproxies" && request.verb == "create" && request.succeeded();
    // A child's name begins with its fleet's, and fleets are numbered across namespaces, so the record's name up to
    // its last dash is the fleet's.
    let mut first: BTreeMap<(&str, &str), Timestamp> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.user == writer && request.is_child_write()) {
        if request.resource == "controllerrevisions"
            && let Some((fleet, _)) = request.name.rsplit_once('-')
        {
            let earliest = first.entry((&request.namespace, fleet)).or_insert(request.completed);
            *earliest = request.completed.min(*earliest);
        }
    }
    let reaction = |made: &Request| {
        let child = first.get(&(made.namespace.as_str(), made.name.as_str()))?;
        Some(seconds_between(made.completed, *child) * 1000.0)
    };
    requests.iter().filter(made).filter_map(reaction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(user: &str, verb: &str, resource: &str, name: &str, at: &str) -> Request {
        let at = format!("2026-11-21T10:00:{at}Z").parse().unwrap();
        Request {
            user: user.into(),
            verb: verb.into(),
            resource: resource.into(),
            subresource: String::new(),
            namespace: "n".into(),
            name: name.into(),
            code: 201,
            received: at,
            completed: at,
        }
    }

    #[test]
    fn a_reaction_lasts_from_the_fleet_to_its_own_first_child() {
        let log = [
            request("user", "create", "goproxies", "fleet-1", "00.100"),
            request("user", "create", "goproxies", "fleet-11", "00.200"),
            request("op", "patch", "controllerrevisions", "fleet-11-abc", "00.210"),
            request("other", "patch", "controllerrevisions", "fleet-1-abc", "00.101"),
            request("op", "patch", "controllerrevisions", "fleet-1-abc", "00.130"),
            request("op", "patch", "deployments", "fleet-1-abc", "00.140"),
        ];
        let times: Vec<_> = reactions(&log, "op").into_iter().map(f64::round).collect();
        assert_eq!(times, [30.0, 10.0]);
    }
}
