//! The tiers on real clusters: brings one up, sets the stage, tells the stories, takes everything down again.

use std::{path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};

use super::{Options, Results};
use crate::{
    check::{Check, Outcome},
    cluster::{self, Kubernetes, Lab, Profile, Spec, StateDir},
    operator,
    progress::Progress,
    story::{self, Stage, Story},
};

/// A real API server and controller manager; pods are pretended by kwok. The operator runs on the host.
pub(super) async fn control_plane(
    repo: &Path,
    options: &Options,
    results: &mut Results,
    progress: &Progress,
) -> Result<()> {
    let spec =
        Spec { profile: Profile::ControlPlane, clusters: 1, kubernetes: options.kubernetes, raised_limits: false };
    on_a_lab(&spec, progress, async |lab| {
        let mut stage = stage(lab, repo).await?;
        operator::install_rights(&stage.cluster, repo, &[]).await?;
        let binary = operator::binary(progress)?;
        let host = operator::HostOperator::start(&stage.cluster, "operator", &binary, 18_190, &[]).await?;
        host.wait_ready().await?;
        stage.host_operator = Some(host);
        tell(story::control_plane::ALL, &stage, options, results, progress).await;
        Ok(())
    })
    .await
}

/// Everything for real. The operator is deployed from its chart.
pub(super) async fn node(repo: &Path, options: &Options, results: &mut Results, progress: &Progress) -> Result<()> {
    let spec = Spec { profile: Profile::Node, clusters: 1, kubernetes: Kubernetes::default(), raised_limits: false };
    on_a_lab(&spec, progress, async |lab| {
        let stage = stage(lab, repo).await?;
        story::node::prepare(&stage, progress).await?;
        tell(story::node::ALL, &stage, options, results, progress).await;
        Ok(())
    })
    .await
}

/// Two clusters, of which the stories use the second as a stranger's.
pub(super) async fn own_cluster(
    repo: &Path,
    options: &Options,
    results: &mut Results,
    progress: &Progress,
) -> Result<()> {
    let spec = Spec { profile: Profile::Node, clusters: 2, kubernetes: Kubernetes::default(), raised_limits: false };
    on_a_lab(&spec, progress, async |lab| {
        let stage = stage_on(lab, "b", repo).await?;
        tell(story::own_cluster::ALL, &stage, options, results, progress).await;
        Ok(())
    })
    .await
}

/// Brings a lab up, works on it, and takes it down whatever came of the work.
async fn on_a_lab(spec: &Spec, progress: &Progress, work: impl AsyncFnOnce(&Lab) -> Result<()>) -> Result<()> {
    let state = StateDir::from_env();
    // Whoever made it may still work with it: it is not ours to end.
    ensure!(Lab::attach(&state).is_err(), "a lab is up already: end it first with `cargo lab down`");
    let worked = match cluster::up(spec, &state, progress).await {
        Ok(lab) => work(&lab).await,
        Err(error) => Err(error),
    };
    let ended = cluster::down(&state, progress).await.context("the lab could not be taken down");
    worked.and(ended)
}

async fn stage(lab: &Lab, repo: &Path) -> Result<Stage> {
    stage_on(lab, "a", repo).await
}

async fn stage_on(lab: &Lab, cluster: &str, repo: &Path) -> Result<Stage> {
    let cluster = lab.cluster(cluster)?.clone();
    Ok(Stage {
        client: cluster.client().await?,
        cluster,
        repo: repo.to_owned(),
        progress: Progress::new(),
        host_operator: None,
    })
}

/// Tells the stories one after the other: they share two cores, and one at a time gives readable times.
async fn tell(stories: &[Story], stage: &Stage, options: &Options, results: &mut Results, progress: &Progress) {
    let chosen = |story: &&Story| options.only.as_ref().is_none_or(|part| story.name.contains(part.as_str()));
    for story in stories.iter().filter(chosen) {
        let start = Instant::now();
        let outcome = match (story.tell)(stage).await {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        results.add(progress, Check { name: story.name.to_owned(), outcome }, start.elapsed().as_secs_f64());
    }
}
