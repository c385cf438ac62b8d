//! One operator writes. Another takes over when it must, and a deposed one changes nothing.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use nix::sys::signal::Signal;
use serde_json::json;

use super::{
    Stage, Telling,
    convergence::{in_memory, stable},
};
use crate::{
    audit::AuditLog,
    cluster::until,
    operator::{HostOperator, NAMESPACE, RELEASE, binary},
    page::Page,
};

/// Lease times short enough for a test, in the proportions of the defaults.
const SHORT: [&str; 6] = ["--lease-duration", "6s", "--renew-deadline", "4s", "--retry-period", "1s"];
const SOON: Duration = Duration::from_secs(40);

async fn holder(stage: &Stage) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let lease = leases.get_opt(RELEASE).await?;
    Ok(lease.and_then(|lease| lease.spec).and_then(|spec| spec.holder_identity).unwrap_or_default())
}

async fn wait_holder(stage: &Stage, wanted: &str) -> Result<Duration> {
    let start = Instant::now();
    until(&format!("{wanted} leads"), SOON, || async { Ok((holder(stage).await? == wanted).then_some(())) }).await?;
    Ok(start.elapsed())
}

/// Whoever leads from the start lists once, and who takes over lists anew, because what it holds may be older than what the
/// last leader wrote.
async fn lists_begun(port: u16, wanted: f64) -> Result<()> {
    until(&format!("every list began {wanted} times"), SOON, || async {
        let page = Page::get(port, "/metrics").await?;
        let begun: Vec<_> = page.samples("watch_starts_total").collect();
        if let Some((resource, count)) = begun.iter().find(|(_, count)| *count > wanted) {
            bail!("{count} lists of {resource} began, not {wanted}");
        }
        Ok((!begun.is_empty() && begun.iter().all(|(_, count)| *count >= wanted)).then_some(()))
    })
    .await
}

/// Names of the operators that take the place of the stage's.
const ONE: &str = "operator-one";
const TWO: &str = "operator-two";

/// A leader that ends gives the lease back, so that the next one need not wait for it to expire.
pub fn a_leaving_leader_hands_over(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        stage.without_operator(&[ONE, TWO], hand_over(stage)).await?;
        wait_holder(stage, "operator").await.map(drop)
    })
}

async fn hand_over(stage: &Stage) -> Result<()> {
    ensure!(holder(stage).await?.is_empty(), "the lease was not given back");
    let binary = binary(&stage.progress)?;
    let first = HostOperator::start(&stage.cluster, ONE, &binary, 18_192, &SHORT).await?;
    wait_holder(stage, ONE).await?;
    first.wait_ready().await?;
    lists_begun(18_192, 1.0).await?;
    let second = HostOperator::start(&stage.cluster, TWO, &binary, 18_193, &SHORT).await?;
    second.wait_ready().await?;
    first.stop().await?;
    let took = wait_holder(stage, TWO).await?;
    ensure!(took < Duration::from_secs(6), "the next leader waited {took:?}, as if the lease had expired");
    stage.progress.note(format!("hand-over took {} ms", took.as_millis()));
    lists_begun(18_193, 2.0).await?;
    second.stop().await
}

/// A leader that is killed gives nothing back: another one leads once the lease has run out, no earlier, and does what came up
/// meanwhile.
pub fn a_killed_leader_is_replaced(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "killed";
        stage.cluster.namespace(namespace).await?;
        stage.without_operator(&[ONE, TWO], replacement(stage, namespace)).await?;
        wait_holder(stage, "operator").await?;
        stage.abandon(namespace).await
    })
}

async fn replacement(stage: &Stage, namespace: &str) -> Result<()> {
    let binary = binary(&stage.progress)?;
    HostOperator::start(&stage.cluster, ONE, &binary, 18_196, &SHORT).await?;
    wait_holder(stage, ONE).await?;
    stage.apply_fleet(namespace, "corp", in_memory()).await?;
    let before = stable(&stage.wait_settled(namespace, "corp").await?)?;
    let second = HostOperator::start(&stage.cluster, TWO, &binary, 18_197, &SHORT).await?;
    second.wait_ready().await?;
    let start = Instant::now();
    stage.cluster.kill(ONE).await?;
    change(stage, namespace).await?;
    wait_holder(stage, TWO).await?;
    let took = start.elapsed();
    // The lease was last renewed up to a second before, and the next leader asks once a second.
    ensure!(took > Duration::from_secs(4), "the lease was taken after {took:?}, before it had run out");
    let after = stable(&stage.wait_settled(namespace, "corp").await?)?;
    ensure!(before != after, "the next leader did not take up the change");
    stage.progress.note(format!(
        "killed: another one led after {:.1} s, and the change of that time was done after {:.1} s",
        took.as_secs_f64(),
        start.elapsed().as_secs_f64()
    ));
    second.stop().await
}

/// Asks for another revision.
async fn change(stage: &Stage, namespace: &str) -> Result<()> {
    let mut spec = in_memory();
    spec["engine"] = json!({"fetchWorkers": 7});
    stage.apply_fleet(namespace, "corp", spec).await.map(drop)
}

/// A leader that hung past its lease and goes on changes nothing: it ends.
pub fn a_deposed_leader_changes_nothing(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "deposed";
        stage.cluster.namespace(namespace).await?;
        stage.without_operator(&[ONE, TWO], deposition(stage, namespace)).await?;
        wait_holder(stage, "operator").await?;
        stage.abandon(namespace).await
    })
}

async fn deposition(stage: &Stage, namespace: &str) -> Result<()> {
    let binary = binary(&stage.progress)?;
    // Each has an account of its own, so that the audit log tells them apart.
    let first = HostOperator::start_as(&stage.cluster, ONE, ONE, &binary, 18_194, &SHORT).await?;
    wait_holder(stage, ONE).await?;
    stage.apply_fleet(namespace, "corp", in_memory()).await?;
    stage.wait_settled(namespace, "corp").await?;
    let second = HostOperator::start_as(&stage.cluster, TWO, TWO, &binary, 18_195, &SHORT).await?;
    second.wait_ready().await?;
    first.signal(Signal::SIGSTOP)?;
    change(stage, namespace).await?;
    wait_holder(stage, TWO).await?;
    stage.wait_settled(namespace, "corp").await?;
    let audit = AuditLog::at(stage.cluster.audit_log());
    let mark = audit.mark()?;
    first.signal(Signal::SIGCONT)?;
    first.wait_gone().await?;
    let late: Vec<_> = audit
        .since(mark)?
        .into_iter()
        .filter(|request| request.user == first.user() && request.is_write() && request.succeeded())
        .collect();
    ensure!(late.is_empty(), "the deposed leader wrote: {late:?}");
    stage.wait_settled(namespace, "corp").await?;
    second.stop().await
}
