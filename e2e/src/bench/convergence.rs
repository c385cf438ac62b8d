//! P1, how fast children of many new fleets are written, and P2, what a write costs the writer.

use std::time::Duration;

use anyhow::{Result, ensure};
use goproxy_operator::api::go_proxy::GoProxy;
use kube::Client;

use super::fleet::{self, Requests};
use super::legs::{Side, interleaved, quantile};
use super::rig::{Bench, CONCURRENCY, Rig};
use super::table::{Goal, Row};
use super::{Report, number, raw};
use crate::audit::{Mark, Request, seconds_over};

/// What the operator's legs tell beside the rate. The last one counts.
#[derive(Clone, Debug, Default)]
struct Ours {
    writes: usize,
    all: Vec<Request>,
    seconds_to_ready: f64,
    cpu: Duration,
    peak: f64,
}

/// Measures P1 and P2 with this many fleets.
pub async fn measure(bench: &Bench, count: usize) -> Result<Report> {
    let (mut ours, mut foreign) = (Ours::default(), Vec::new());
    let legs = interleaved(&bench.progress, "P1 child writes/s", async |side| match side {
        Side::Raw => bench.on_fresh_cluster(async |rig| raw_leg(rig, count, &mut foreign).await).await,
        Side::Ours => bench.on_fresh_cluster(async |rig| our_leg(rig, count, &mut ours, &mut foreign).await).await,
    });
    let legs = legs.await?;
    let controllers = bench.on_fresh_cluster(async |rig| controllers_leg(rig, count).await).await?;

    let mut report = Report::default();
    let rate = Row::plain("P1", "child writes/s, first to last", legs.ours).beside(legs.raw());
    let goal = Goal::RatioAtLeast { bar: 0.60, aim: 0.80 };
    report.rows.push(rate.goal(goal).of(format!("{count} fleets, {} writes", ours.writes)).spread(legs.spread()));
    report.rows.push(Row::plain("P1", "s from first child write to all Ready", ours.seconds_to_ready).of(count));
    let cost = millis(ours.cpu) / number(ours.writes);
    let row = Row::plain("P2", "CPU ms per child write; raw: kube-controller-manager", cost).beside(controllers);
    report.rows.push(row.goal(Goal::RatioAtMost { bar: 1.0, aim: 0.5 }).of(ours.writes));
    report.notes.push(format!("P1: the operator sent {}", crate::audit::by_shape(&ours.all)));
    report.notes.push(format!(
        "P1: raw sends {} children and one status for each fleet, {CONCURRENCY} fleets at a time; foreign CPU {:.2} cores at most",
        ours.writes / count.max(1),
        quantile(&foreign, 1.0),
    ));
    report.notes.push(format!(
        "P2: {:.2} s of CPU until all were Ready, start included; {:.1} MiB resident at most",
        ours.cpu.as_secs_f64(),
        ours.peak
    ));
    Ok(report)
}

/// The fleets of a leg, made while no operator runs.
async fn prepare(rig: &Rig<'_>, count: usize) -> Result<Vec<GoProxy>> {
    let places = fleet::places("bench", count);
    rig.make_namespaces(&places).await?;
    let fleets = rig.make_fleets(&places).await?;
    rig.rest().await?;
    Ok(fleets)
}

async fn raw_leg(rig: &Rig<'_>, count: usize, foreign: &mut Vec<f64>) -> Result<f64> {
    let fleets = prepare(rig, count).await?;
    let requests: Vec<Requests> = fleets.iter().map(fleet::requests).collect::<Result<_>>()?;
    let expected: usize = requests.iter().map(Requests::children).sum();
    let (client, user) = rig.raw_client().await?;
    let step = rig.progress().step("raw leg");
    let writes = sent(rig, &client, &user, requests, foreign).await?;
    ensure!(writes.len() == expected, "the raw client made {} of {expected} children", writes.len());
    step.done();
    Ok(number(writes.len()) / seconds_over(&writes))
}

/// Sends requests and returns the child writes that came of them, once the controllers are done with them.
async fn sent(
    rig: &Rig<'_>,
    client: &Client,
    user: &str,
    requests: Vec<Requests>,
    foreign: &mut Vec<f64>,
) -> Result<Vec<Request>> {
    let (mark, clock) = (rig.audit().mark()?, rig.clock()?);
    raw::send_all(client, requests, CONCURRENCY).await?;
    foreign.push(rig.foreign_cores(&clock)?);
    child_writes(rig, mark, user)
}

fn child_writes(rig: &Rig<'_>, mark: Mark, user: &str) -> Result<Vec<Request>> {
    let mut requests = rig.audit().since(mark)?;
    requests.retain(|request| request.user == user && request.is_child_write());
    Ok(requests)
}

async fn our_leg(rig: &Rig<'_>, count: usize, ours: &mut Ours, foreign: &mut Vec<f64>) -> Result<f64> {
    prepare(rig, count).await?;
    let step = rig.progress().step("the operator's leg");
    let (mark, clock) = (rig.audit().mark()?, rig.clock()?);
    let (operator, _) = rig.start_operator().await?;
    operator.wait_healthy(count).await?;
    foreign.push(rig.foreign_cores(&clock)?);
    rig.rest().await?;
    let ready = rig.ready_fleets().await?;
    ensure!(ready == count, "{ready} of {count} fleets are ready");
    let mut all = rig.audit().since(mark)?;
    all.retain(|request| request.user == Rig::operator_user() && !request.is_lease());
    let writes: Vec<Request> = all.iter().filter(|request| request.is_child_write()).cloned().collect();
    let until_ready = all.iter().filter(|request| request.is_child_write() || request.subresource == "status");
    *ours = Ours {
        writes: writes.len(),
        seconds_to_ready: seconds_over(until_ready),
        cpu: operator.cpu()?,
        peak: operator.memory()?.peak,
        all,
    };
    operator.stop().await?;
    step.done();
    Ok(number(writes.len()) / seconds_over(&writes))
}

/// What a write costs the controller manager that makes the same number of Deployments work: milliseconds of CPU.
async fn controllers_leg(rig: &Rig<'_>, count: usize) -> Result<f64> {
    let mut requests: Vec<Requests> = prepare(rig, count).await?.iter().map(fleet::requests).collect::<Result<_>>()?;
    for fleet in &mut requests {
        fleet.status = None;
        fleet.steps.iter_mut().for_each(|step| step.retain(|request| request.uri().path().contains("/deployments/")));
    }
    let (client, _) = rig.raw_client().await?;
    let step = rig.progress().step("kube-controller-manager's leg");
    let manager = "kube-controller-manager";
    let (mark, before) = (rig.audit().mark()?, rig.cluster.cpu_time(manager)?);
    raw::send_all(&client, requests, CONCURRENCY).await?;
    rig.rest().await?;
    let used = rig.cluster.cpu_time(manager)?.saturating_sub(before);
    let theirs = |request: &&Request| {
        // Each controller uses an account of its own.
        let controller =
            request.user.starts_with("system:serviceaccount:kube-system:") && request.user.ends_with("-controller");
        (controller || request.user == "system:kube-controller-manager")
            && request.is_write()
            && request.succeeded()
            && !request.is_lease()
    };
    let all = rig.audit().since(mark)?;
    let writes = all.iter().filter(theirs).count();
    step.done_with(format!("{writes} writes, {:.2} s of CPU", used.as_secs_f64()));
    Ok(millis(used) / number(writes))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
