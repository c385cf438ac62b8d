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

/// CPU, and the writes that it was used for.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    cpu: Duration,
    /// Writes of objects that are neither fleets nor events, without their statuses.
    objects: usize,
    /// Writes of any kind that succeeded, without leases.
    writes: usize,
}

impl Cost {
    fn of<'a>(cpu: Duration, sent: impl IntoIterator<Item = &'a Request>) -> Self {
        let mut cost = Self { cpu, ..Self::default() };
        for request in sent.into_iter().filter(|one| one.is_write() && one.succeeded() && !one.is_lease()) {
            cost.writes += 1;
            cost.objects += usize::from(request.is_child_write());
        }
        cost
    }

    fn per_object(&self) -> f64 {
        millis(self.cpu) / number(self.objects)
    }

    fn per_write(&self) -> f64 {
        millis(self.cpu) / number(self.writes)
    }
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
    let cost = Cost::of(ours.cpu, &ours.all);
    let goal = Goal::RatioAtMost { bar: 1.0, aim: 0.5 };
    let row = Row::plain("P2", "CPU ms per child write; raw: kube-controller-manager", cost.per_object());
    report.rows.push(row.beside(controllers.per_object()).goal(goal).of(cost.objects));
    let row = Row::plain("P2", "CPU ms per write, statuses and events among them; raw: the same", cost.per_write());
    report.rows.push(row.beside(controllers.per_write()).goal(goal).of(cost.writes));
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

/// What the controller manager writes, and the CPU it takes, to make as many Deployments work.
async fn controllers_leg(rig: &Rig<'_>, count: usize) -> Result<Cost> {
    let mut requests: Vec<Requests> = prepare(rig, count).await?.iter().map(fleet::requests).collect::<Result<_>>()?;
    for fleet in &mut requests {
        fleet.status = None;
        // Its pods name the account, and without it they could not be made.
        let needed = |path: &str| path.contains("/deployments/") || path.contains("/serviceaccounts/");
        fleet.steps.iter_mut().for_each(|step| step.retain(|request| needed(request.uri().path())));
    }
    let (client, _) = rig.raw_client().await?;
    let step = rig.progress().step("kube-controller-manager's leg");
    let manager = "kube-controller-manager";
    let (mark, before) = (rig.audit().mark()?, rig.cluster.cpu_time(manager)?);
    raw::send_all(&client, requests, CONCURRENCY).await?;
    rig.rest().await?;
    let cpu = rig.cluster.cpu_time(manager)?.saturating_sub(before);
    let all = rig.audit().since(mark)?;
    // Each controller uses an account of its own.
    let cost = Cost::of(cpu, all.iter().filter(|request| is_controller(&request.user)));
    step.done_with(format!("{} writes, {} of them objects", cost.writes, cost.objects));
    Ok(cost)
}

fn is_controller(user: &str) -> bool {
    let own_account = user.starts_with("system:serviceaccount:kube-system:") && user.ends_with("-controller");
    own_account || user == "system:kube-controller-manager"
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
