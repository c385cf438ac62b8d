//! P3: what the operator writes while nothing changes, and again when it was restarted.

use std::time::Duration;

use anyhow::Result;

use super::fleet;
use super::rig::{Bench, Rig};
use super::table::{Goal, Row};
use super::{Report, number};
use crate::audit::{Mark, Request, by_shape};

/// Fleets at rest, as many as the promise names.
const FLEETS: usize = 100;

/// Nothing may be written.
const NONE: Goal = Goal::AtMost { bar: 0.0, aim: 0.0 };

/// Measures P3: this long at rest.
pub async fn measure(bench: &Bench, rest: Duration) -> Result<Report> {
    bench.on_fresh_cluster(async |rig| on(rig, rest).await).await
}

async fn on(rig: &Rig<'_>, rest: Duration) -> Result<Report> {
    let places = fleet::places("bench", FLEETS);
    rig.make_namespaces(&places).await?;
    let (operator, _) = rig.start_operator().await?;
    operator.wait_reconciled(0).await?;
    let idle = operator.memory()?;
    rig.make_fleets(&places).await?;
    operator.wait_healthy(FLEETS).await?;
    rig.rest().await?;

    let mut report = Report::default();
    let mark = rig.audit().mark()?;
    let (cpu, memory) = (operator.cpu()?, operator.memory()?);
    // This stretch of time is what is measured.
    tokio::time::sleep(rest).await;
    let sent = by_operator(rig, mark)?;
    let used = operator.cpu()?.saturating_sub(cpu).as_secs_f64() / rest.as_secs_f64();
    let of = format!("{FLEETS} fleets, {} s", rest.as_secs());
    report.rows.push(row("writes at rest", &sent).of(of));
    report.notes.push(format!(
        "P3: at rest the operator sent {} and used {:.3} % of a core",
        by_shape(&sent),
        used * 100.0
    ));

    operator.stop().await?;
    let mark = rig.audit().mark()?;
    let (operator, _) = rig.start_operator().await?;
    operator.wait_reconciled(FLEETS).await?;
    // Whatever it would find to do by then, it would do at once.
    rig.rest().await?;
    let sent = by_operator(rig, mark)?;
    report.rows.push(row("writes after a restart", &sent).of(format!("{FLEETS} fleets")));
    report.notes.push(format!("P3: after a restart it sent {}", by_shape(&sent)));
    operator.stop().await?;

    report.rows.push(Row::plain("size", "MiB resident, idle", idle.resident));
    report.rows.push(Row::plain("size", "MiB resident with 100 fleets", memory.resident));
    Ok(report)
}

/// What the operator sent since then, leases aside.
fn by_operator(rig: &Rig<'_>, mark: Mark) -> Result<Vec<Request>> {
    let mut requests = rig.audit().since(mark)?;
    requests.retain(|request| request.user == Rig::operator_user() && !request.is_lease());
    Ok(requests)
}

fn row(what: &str, sent: &[Request]) -> Row {
    let writes = sent.iter().filter(|request| request.is_write()).count();
    Row::plain("P3", what, number(writes)).goal(NONE)
}
