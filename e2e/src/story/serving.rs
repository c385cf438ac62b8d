//! Real proxies serve real clients, while they change too.

use std::{
    io::Cursor,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Pod, Service},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use zip::ZipArchive;

use super::{
    Stage, Telling,
    convergence::{in_memory, stable},
    download::Origin,
};
use crate::{cluster::until, operator, origin::generated::Module};

/// `helm test` passes on a fresh installation.
pub fn the_chart_tests_itself(stage: &Stage) -> Telling<'_> {
    Box::pin(async { operator::helm_test(&stage.cluster, &stage.repo).await.map(drop) })
}

/// `spec: {}` becomes a proxy on a bound volume that answers; the volume outlives its pod.
pub fn the_smallest_fleet_serves(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "smallest";
        stage.cluster.namespace(namespace).await?;
        let start = Instant::now();
        stage.apply_fleet(namespace, "corp", json!({})).await?;
        stage.wait_settled(namespace, "corp").await?;
        stage.progress.note(format!("spec: {{}} to Ready took {} ms", start.elapsed().as_millis()));
        let address = service_address(stage, namespace).await?;
        ensure!(status_of(&address, "/healthz").await? == 200, "the proxy does not answer through its Service");
        let version = body_of(&address, "/version").await?;
        ensure!(version.contains("v0.18.1"), "the proxy is another version: {version}");
        stage.abandon(namespace).await
    })
}

/// Namespaces enforce `restricted`; nothing of a fleet violates it, and nothing is only warned about.
pub fn pods_are_restricted(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "restricted";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        stage.wait_settled(namespace, "corp").await?;
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
        let pod = pods.list(&ListParams::default()).await?.into_iter().next().context("no pod")?;
        let spec = pod.spec.context("a pod without spec")?;
        ensure!(spec.automount_service_account_token == Some(false), "the pod has a token");
        ensure!(spec.enable_service_links == Some(false), "the pod has service links");
        let container =
            spec.containers.first().and_then(|container| container.security_context.clone()).unwrap_or_default();
        ensure!(container.read_only_root_filesystem == Some(true), "the root file system can be written");
        stage.abandon(namespace).await
    })
}

/// The HorizontalPodAutoscaler finds the fleet's scale subresource, its pods and their CPU. It needs the metrics, which a lab does
/// not wait for when it comes up: this is the story that tells whether they work.
pub fn the_autoscaler_reads_its_metric(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "autoscaler";
        stage.cluster.namespace(namespace).await?;
        let mut spec = in_memory();
        spec["autoscaling"] = json!({"maxReplicas": 1});
        stage.apply_fleet(namespace, "corp", spec).await?;
        stage.wait_settled(namespace, "corp").await?;
        let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(stage.client.clone(), namespace);
        let scaling = || async {
            let found = autoscalers.list(&ListParams::default()).await?.into_iter().next().context("no autoscaler")?;
            let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
            anyhow::Ok(conditions.into_iter().find(|condition| condition.type_ == "ScalingActive"))
        };
        let reads = until("ScalingActive is True", Duration::from_secs(120), || async {
            Ok(scaling().await?.filter(|condition| condition.status == "True"))
        });
        if let Err(error) = reads.await {
            let said = scaling().await?.and_then(|condition| condition.message).unwrap_or_default();
            bail!("{error:#}; the autoscaler says: {said}");
        }
        stage.abandon(namespace).await
    })
}

/// A client that never tries again asks all the time while settings change twice: no request fails.
pub fn a_change_loses_no_request(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "overlap";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        stage.wait_settled(namespace, "corp").await?;
        let client = Asking::start(service_address(stage, namespace).await?, READY, PATIENT);
        for workers in [4, 5] {
            let mut spec = in_memory();
            spec["engine"] = json!({"fetchWorkers": workers});
            stage.apply_fleet(namespace, "corp", spec).await?;
            stage.wait_settled(namespace, "corp").await?;
        }
        let asked = client.stop().await?;
        stage.progress.note(format!("{} requests, {} failed", asked.sent, asked.failed));
        ensure!(asked.sent > 50, "only {} requests were sent", asked.sent);
        ensure!(asked.failed == 0, "{} of {} requests failed: {}", asked.failed, asked.sent, asked.last_error);
        stage.abandon(namespace).await
    })
}

/// On a disk no two pods ever exist that could both write, through a change of settings and a deleted pod; the gap is measured.
pub fn two_writers_never_share_a_disk(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "writers";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", json!({"storage": {"disk": {"size": "1Gi"}}})).await?;
        let first = stable(&stage.wait_settled(namespace, "corp").await?)?;
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
        let watch = Writers::start(pods.clone());
        let client = Asking::start(service_address(stage, namespace).await?, READY, BRISK);
        let spec = json!({"storage": {"disk": {"size": "1Gi"}}, "engine": {"fetchWorkers": 4}});
        stage.apply_fleet(namespace, "corp", spec).await?;
        let second = stable(&stage.wait_settled(namespace, "corp").await?)?;
        ensure!(first != second, "the change made no new revision");
        let asked = client.stop().await?;
        stage
            .progress
            .note(format!("single writer: clients were without a proxy for {:.1} s", asked.longest_gap.as_secs_f64()));

        let pod = pods.list(&ListParams::default()).await?.into_iter().next().context("no pod")?;
        pods.delete(&pod.name_any(), &DeleteParams::default()).await?;
        until("another pod serves", Duration::from_secs(120), || async {
            let now = pods.list(&ListParams::default()).await?;
            Ok(now.into_iter().find(|other| other.uid() != pod.uid() && is_ready(other)))
        })
        .await?;
        let most = watch.stop().await?;
        ensure!(most == 1, "{most} pods could write at the same time");
        stage.abandon(namespace).await
    })
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// From v0.18.0 to v0.18.1 and back, with what was told in between. A client that never tries again asks all the time, and a
/// download that began before the way back is slower than that and comes whole.
pub fn athens_is_upgraded_and_taken_back(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "versions";
        // 16 kB, so that its pod is told to end while it is under way.
        let slow = Module::new(29, 0);
        let origin = Origin::start_with(stage, namespace, Some((slow, 800))).await?;
        let mut spec = in_memory();
        spec["upstream"] = origin.upstream("authority")?;
        becomes(stage, namespace, &mut spec, "v0.18.0").await?;
        let address = service_address(stage, namespace).await?;
        let client = Asking::start(address.clone(), READY, PATIENT);
        becomes(stage, namespace, &mut spec, "v0.18.1").await?;

        let connection = begin(&address, &slow.zip()).await?;
        let download =
            tokio::spawn(async move { Ok::<_, anyhow::Error>((whole_zip(connection).await?, Instant::now())) });
        becomes(stage, namespace, &mut spec, "v0.18.0").await?;
        let moved = Instant::now();
        let late = timeout(Duration::from_mins(2), download).await.context("the slow download has no end")?;
        let (files, ended) = late?.context("a download that began before the change")?;
        ensure!(ended > moved, "the download ended before the change was done, which proves nothing: make it slower");
        ensure!(files == 3, "{files} files came, not 3");
        let asked = client.stop().await?;
        stage.progress.note(format!(
            "{} requests, {} failed; a download ended whole {:.1} s after its proxy was replaced",
            asked.sent,
            asked.failed,
            (ended - moved).as_secs_f64()
        ));
        ensure!(asked.failed == 0, "{} of {} requests failed: {}", asked.failed, asked.sent, asked.last_error);
        stage.abandon(namespace).await
    })
}

/// Gives the fleet this version of its engine, and waits until it answers and is told of.
async fn becomes(stage: &Stage, namespace: &str, spec: &mut Value, version: &str) -> Result<()> {
    spec["engine"] = json!({"version": version});
    stage.apply_fleet(namespace, "corp", spec.clone()).await?;
    let fleet = stage.wait_settled(namespace, "corp").await?;
    let body = body_of(&service_address(stage, namespace).await?, "/version").await?;
    ensure!(body.contains(version), "{version} was asked for, {body} answers");
    let update = super::condition(&fleet, "EngineUpdateAvailable").context("no word of updates")?;
    let told = (update.status.as_str(), update.reason.as_str());
    let expected = if version == "v0.18.0" { ("True", "FaultyEngine") } else { ("False", "UpToDate") };
    ensure!(told == expected, "EngineUpdateAvailable is {told:?} on {version}");
    ensure!(version != "v0.18.0" || update.message.contains("404"), "the fault is not told: {}", update.message);
    Ok(())
}

/// Sends a request: from now on its connection leads to one pod, whatever becomes of the Service.
async fn begin(address: &str, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    // The old protocol has no chunks, which would have to be put together.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: corp\r\n\r\n").as_bytes()).await?;
    Ok(stream)
}

/// Reads the answer to its end; how many files are in it, all of which have the sums that the zip gives them.
async fn whole_zip(mut stream: TcpStream) -> Result<usize> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("the answer was cut off")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    ensure!(head.split_whitespace().nth(1) == Some("200"), "the answer is {head}");
    let mut zip = ZipArchive::new(Cursor::new(&answer[end + 4..])).context("what came is no whole zip")?;
    for place in 0..zip.len() {
        std::io::copy(&mut zip.by_index(place)?, &mut std::io::sink()).context("a file in the zip is damaged")?;
    }
    Ok(zip.len())
}

/// How long an answer may take before it counts as none.
pub(super) const PATIENT: Duration = Duration::from_secs(10);

/// The same for a client that measures a gap. A connection to a pod that has just ended is not refused, it is silent: whoever
/// holds on to it does not notice that another pod serves, so this is what a measured gap may be too long by.
const BRISK: Duration = Duration::from_millis(500);

/// What a proxy answers as long as it serves.
const READY: &str = "/readyz";

/// Host and port of the fleet's Service, as the host reaches it.
pub(super) async fn service_address(stage: &Stage, namespace: &str) -> Result<String> {
    let services: Api<Service> = Api::namespaced(stage.client.clone(), namespace);
    let address = services.get("corp").await?.spec.and_then(|spec| spec.cluster_ip).context("no address")?;
    Ok(format!("{address}:80"))
}

/// One request on a connection of its own: status and body.
pub(super) async fn ask(address: &str, path: &str, limit: Duration) -> Result<(u16, String)> {
    let (head, body) = exchange(address, path, limit).await?;
    let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
    Ok((status, body))
}

/// The same, with the whole head of the answer.
pub(super) async fn exchange(address: &str, path: &str, limit: Duration) -> Result<(String, String)> {
    let work = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: corp\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer was cut off")?;
        Ok((head.to_owned(), body.to_owned()))
    };
    timeout(limit, work).await.with_context(|| format!("no answer within {limit:?}"))?
}

async fn status_of(address: &str, path: &str) -> Result<u16> {
    Ok(ask(address, path, PATIENT).await?.0)
}

async fn body_of(address: &str, path: &str) -> Result<String> {
    Ok(ask(address, path, PATIENT).await?.1)
}

/// What a client saw that asked one request after the other and never tried one again.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) sent: usize,
    pub(super) failed: usize,
    pub(super) last_error: String,
    pub(super) longest_gap: Duration,
}

/// A client that asks until it is stopped.
pub(super) struct Asking {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Asked>,
}

impl Asking {
    /// A request that is not answered within the limit has failed, and the next one is sent.
    pub(super) fn start(address: String, path: &str, limit: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, path) = (Arc::clone(&stop), path.to_owned());
        let task = tokio::spawn(async move {
            let mut asked = Asked::default();
            let mut last_answer = Instant::now();
            // A pace, not a wait: about 50 requests a second.
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            let mut served = true;
            // A gap has an end: whoever stops in the middle of one would not have measured it.
            while !stopped.load(Ordering::Relaxed) || !served {
                pace.tick().await;
                asked.sent += 1;
                let answer = ask(&address, &path, limit).await;
                served = matches!(answer, Ok((200, _)));
                match answer {
                    Ok((200, _)) => {
                        asked.longest_gap = asked.longest_gap.max(last_answer.elapsed());
                        last_answer = Instant::now();
                    }
                    Ok((status, body)) => {
                        asked.failed += 1;
                        asked.last_error = format!("{status} {body}");
                    }
                    Err(error) => {
                        asked.failed += 1;
                        asked.last_error = format!("{error:#}");
                    }
                }
            }
            asked
        });
        Self { stop, task }
    }

    pub(super) async fn stop(self) -> Result<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        timeout(Duration::from_mins(1), self.task)
            .await
            .context("the client is not served again")?
            .context("the client died")
    }
}

/// Counts, from outside, the pods that could write: those with a container that has not ended.
struct Writers {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<usize>>,
}

impl Writers {
    fn start(pods: Api<Pod>) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let mut alive = std::collections::BTreeMap::new();
            let mut most = 0;
            let events = watcher(pods, watcher::Config::default()).default_backoff().take_until(stopped).boxed();
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.try_next().await? {
                match event {
                    watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
                        alive.insert(pod.name_any(), may_write(&pod));
                    }
                    watcher::Event::Delete(pod) => {
                        alive.remove(&pod.name_any());
                    }
                    watcher::Event::Init | watcher::Event::InitDone => {}
                }
                most = most.max(alive.values().filter(|writes| **writes).count());
            }
            Ok(most)
        });
        Self { stop, task }
    }

    async fn stop(self) -> Result<usize> {
        // The task may have ended by an error, which the next line tells.
        let _ = self.stop.send(());
        self.task.await.context("the watch died")?
    }
}

/// A container that started and has not ended holds its files open.
fn may_write(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().any(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
}
