//! Killing the lab, starting two, and looking at what is left.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::{Child, Command};

use super::expect_none;
use super::snapshot::Snapshot;
use crate::cluster::{self, Spec, StateDir, until};
use crate::progress::Progress;

/// From a start with everything built, on a busy machine.
const UP_DEADLINE: Duration = Duration::from_mins(3);

/// Files of the state directory whose appearance marks a moment of the start, in their order.
const MOMENTS: [&str; 9] = [
    "journal",
    "wan/run/holder.json",
    "a/holder-ready",
    "a/run/etcd.json",
    "a/containerd.sock",
    "a/run/kube-scheduler.json",
    "a/run/kubelet.json",
    "a/run/kube-router.json",
    "a/volume-plugins",
];

fn lab(verb: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args(verb).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

async fn ended(child: Child, deadline: Duration) -> Result<(ExitStatus, String)> {
    let output = tokio::time::timeout(deadline, child.wait_with_output()).await.context("it did not end in time")??;
    Ok((output.status, String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Runs a verb in a process of its own and expects it to succeed.
async fn run(verb: &[&str]) -> Result<()> {
    let (status, said) = ended(lab(verb)?.spawn()?, UP_DEADLINE).await.with_context(|| format!("lab {verb:?}"))?;
    ensure!(status.success(), "lab {verb:?} failed ({status}):\n{said}");
    Ok(())
}

/// Nothing may be up, so that what is found is what the story left.
fn clean_start() -> Result<Snapshot> {
    expect_none()?;
    Snapshot::take()
}

pub(super) async fn three_rounds(progress: &Progress) -> Result<()> {
    let before = clean_start()?;
    let state = StateDir::from_env();
    for round in 1..=3 {
        let step = progress.step(format!("round {round}"));
        drop(cluster::up(&Spec::default(), &state, &Progress::silent()).await?);
        cluster::down(&state, &Progress::silent()).await?;
        before.expect_unchanged().await.with_context(|| format!("round {round}"))?;
        step.done();
    }
    Ok(())
}

/// Kills the start at each moment; then `down` alone, and for the last one `up` over the ruins, must put things right.
pub(super) async fn killed_while_starting(progress: &Progress) -> Result<()> {
    let before = clean_start()?;
    for moment in MOMENTS {
        let step = progress.step(format!("killed when {moment} appeared"));
        kill_at(moment).await?;
        run(&["down"]).await?;
        before.expect_unchanged().await.with_context(|| format!("killed when {moment} appeared"))?;
        step.done();
    }
    let step = progress.step("killed, then up again without down");
    kill_at("a/run/kubelet.json").await?;
    run(&["up"]).await?;
    run(&["down"]).await?;
    before.expect_unchanged().await.context("up over the ruins, then down")?;
    step.done();
    Ok(())
}

/// Starts a lab and kills it, and only it, as soon as the file is there.
async fn kill_at(moment: &str) -> Result<()> {
    let path: PathBuf = StateDir::from_env().path().join(moment);
    let mut child = lab(&["up"])?.stderr(Stdio::null()).spawn()?;
    until(&format!("{moment} to appear"), UP_DEADLINE, || {
        let status = child.try_wait();
        let path = path.clone();
        async move {
            ensure!(status?.is_none(), "the lab ended before {} appeared", path.display());
            Ok(path.exists().then_some(()))
        }
    })
    .await?;
    child.kill().await.context("cannot kill the lab")
}

pub(super) async fn killed_while_ending(progress: &Progress) -> Result<()> {
    let before = clean_start()?;
    let state = StateDir::from_env();
    for moment in ["a/run/etcd.json", "a/pki/ca.key", "lab.json"] {
        let step = progress.step(format!("down killed when {moment} was gone"));
        run(&["up"]).await?;
        let path = state.path().join(moment);
        let mut child = lab(&["down"])?.stderr(Stdio::null()).spawn()?;
        until(&format!("{moment} to go"), UP_DEADLINE, || {
            let gone = !path.exists();
            async move { Ok(gone.then_some(())) }
        })
        .await?;
        // It may have been quicker than the kill; then there is nothing left to finish, which is tested all the same.
        child.kill().await.context("cannot kill the lab")?;
        run(&["down"]).await?;
        run(&["down"]).await.context("a second down has nothing to do")?;
        before.expect_unchanged().await.with_context(|| format!("down killed when {moment} was gone"))?;
        step.done();
    }
    Ok(())
}

pub(super) async fn two_at_once(progress: &Progress) -> Result<()> {
    let before = clean_start()?;
    let state = StateDir::from_env();
    let first = lab(&["up"])?.spawn()?;
    let pid = first.id().context("the first lab has ended")?;
    until("the first lab to begin", UP_DEADLINE, || async { Ok(state.journal().exists().then_some(())) }).await?;
    for verb in ["up", "down"] {
        let (status, said) = ended(lab(&[verb])?.spawn()?, Duration::from_secs(20)).await?;
        ensure!(!status.success(), "a second `lab {verb}` was let in");
        ensure!(said.contains(&format!("process {pid} ")), "the refusal does not name process {pid}: {said}");
        progress.note(format!("second `lab {verb}`: {}", said.trim()));
    }
    let (status, said) = ended(first, UP_DEADLINE).await?;
    ensure!(status.success(), "the first lab was harmed ({status}):\n{said}");
    run(&["down"]).await?;
    before.expect_unchanged().await
}
