//! The tiers on real clusters: brings one up, sets the stage, tells the stories, takes everything down again.

use std::{path::Path, time::Instant};

use anyhow::{Context as _, Result};

use super::{Options, Results};
use crate::{
    check::{Check, Outcome},
    cluster::{Kubernetes, Lab, Profile, Spec},
    image::{self, Image},
    operator, probe,
    progress::Progress,
    service,
    story::{
        self, Stage, Story,
        lab::{self, LabStory, Snapshot},
        services::Scene,
    },
    tools::{self, Family},
};

/// A real API server and controller manager; pods are pretended by kwok. The operator runs on the host.
pub(super) async fn control_plane(
    repo: &Path,
    options: &Options,
    results: &mut Results,
    progress: &Progress,
) -> Result<()> {
    build(&[], progress)?;
    let binary = operator::binary(progress)?;
    let drill = is_chosen(&story::control_plane::WITH_DRILL, options);
    let drill = drill.then(|| operator::drill_binary(repo, progress)).transpose()?;
    let spec =
        Spec { profile: Profile::ControlPlane, clusters: 1, kubernetes: options.kubernetes, raised_limits: false };
    on_a_lab(&spec, results, progress, async |lab, results| {
        let mut stage = stage(lab, repo).await?;
        stage.drill = drill;
        operator::install_rights(&stage.cluster, repo, &[]).await?;
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
    build(&[&story::node::IMAGES[..], &[Image::Operator]].concat(), progress)?;
    let spec = Spec { profile: Profile::Node, clusters: 1, kubernetes: Kubernetes::default(), raised_limits: false };
    on_a_lab(&spec, results, progress, async |lab, results| {
        let stage = stage(lab, repo).await?;
        story::node::prepare(&stage, progress).await?;
        tell(story::node::ALL, &stage, options, results, progress).await;
        Ok(())
    })
    .await
}

/// A node, for clients in pods; the services are beside it.
pub(super) async fn services(repo: &Path, options: &Options, results: &mut Results, progress: &Progress) -> Result<()> {
    let more = options.named.then_some(Image::Goproxy);
    build(&[Image::Athens].into_iter().chain(more).collect::<Vec<_>>(), progress)?;
    // What is installed stays, and is no trace of the lab.
    service::prepare(options.named, progress)?;
    on_a_lab(&Spec::default(), results, progress, async |lab, results| {
        let stage = stage(lab, repo).await?;
        story::services::prepare(&stage, progress).await?;
        tell_in_order(story::services::SHORT, &stage, options, results, progress).await?;
        if options.named {
            tell_in_order(story::services::LONG, &stage, options, results, progress).await?;
        } else {
            let left: Vec<_> = story::services::LONG.iter().map(|story| story.name).collect();
            progress.note(format!("told by --tier services alone: {}", left.join("; ")));
        }
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
    build(&[Image::Operator, Image::Athens], progress)?;
    // As for the services.
    probe::packages(story::own_cluster::PROGRAMS, progress)?;
    let spec = Spec { profile: Profile::Node, clusters: 2, kubernetes: Kubernetes::default(), raised_limits: false };
    on_a_lab(&spec, results, progress, async |lab, results| {
        let stage = stage_on(lab, "b", repo).await?;
        tell(story::own_cluster::ALL, &stage, options, results, progress).await;
        Ok(())
    })
    .await
}

/// The same as [`tell`]; after a story that failed, the stage is as it was before it.
async fn tell_in_order(
    stories: &[Story],
    stage: &Stage,
    options: &Options,
    results: &mut Results,
    progress: &Progress,
) -> Result<()> {
    for story in stories {
        let scene = Scene::of(stage).await?;
        let failed = results.failed();
        tell(std::slice::from_ref(story), stage, options, results, progress).await;
        if results.failed() > failed {
            scene.restore(stage).await.with_context(|| format!("put the stage right after {:?}", story.name))?;
        }
    }
    Ok(())
}

/// Builds what the stories of a tier need, before their cluster is up: none waits for a compiler, and what does not build
/// leaves nothing running.
fn build(images: &[Image], progress: &Progress) -> Result<()> {
    lab::expect_none()?;
    tools::ensure(&[Family::Helm], progress)?;
    images.iter().try_for_each(|image| image::archive(*image, progress).map(drop))
}

/// The same as any lab, and nothing of it may be left on the machine when it is gone.
async fn on_a_lab(
    spec: &Spec,
    results: &mut Results,
    progress: &Progress,
    work: impl AsyncFnOnce(&Lab, &mut Results) -> Result<()>,
) -> Result<()> {
    let before = Snapshot::take()?;
    lab::on_a_lab(spec, progress, async |lab| work(lab, results).await).await?;
    let start = Instant::now();
    let outcome = outcome(before.expect_unchanged().await);
    let name = format!("nothing is left of the {:?} lab", spec.profile);
    results.add(progress, Check { name, outcome }, start.elapsed().as_secs_f64());
    Ok(())
}

/// The lab itself: killed, doubled, cut. Only when named: it takes the whole machine for some minutes.
pub(super) async fn lab_itself(options: &Options, results: &mut Results, progress: &Progress) {
    let chosen = |story: &&LabStory| options.only.as_ref().is_none_or(|part| story.name.contains(part.as_str()));
    for story in lab::ALL.iter().filter(chosen) {
        let start = Instant::now();
        let outcome = outcome((story.tell)(progress).await);
        results.add(progress, Check { name: story.name.to_owned(), outcome }, start.elapsed().as_secs_f64());
    }
}

fn outcome(told: Result<()>) -> Outcome {
    told.map_or_else(|error| Outcome::Failed(format!("{error:#}")), |()| Outcome::Passed)
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
        drill: None,
    })
}

fn is_chosen(story: &Story, options: &Options) -> bool {
    options.only.as_ref().is_none_or(|part| story.name.contains(part.as_str()))
}

/// Tells the stories one after the other: they share two cores, and one at a time gives readable times.
async fn tell(stories: &[Story], stage: &Stage, options: &Options, results: &mut Results, progress: &Progress) {
    for story in stories.iter().filter(|story| is_chosen(story, options)) {
        let start = Instant::now();
        let outcome = outcome((story.tell)(stage).await);
        results.add(progress, Check { name: story.name.to_owned(), outcome }, start.elapsed().as_secs_f64());
    }
}
