//! A real edge under load: clients that never try again ask all the time while whatever an edge consists of changes, ends or is away.

use std::{
    collections::BTreeSet,
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::{edge_state::EdgeState, go_proxy::GoProxy};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::DeleteParams};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::{
    Stage, Telling,
    behind_edge::{SOON, host, reached, words},
    convergence::stable,
    download::{FLEET, Origin, address, fleet},
    serving::{Asked, Asking, PATIENT, ask, exchange},
};
use crate::{
    cluster::until,
    go_client::GoClient,
    origin::generated::{self, Module},
};

const NAMESPACE: &str = "story-edge-load";
/// The pods of its edge.
const PODS: [&str; 2] = ["public-edge-0", "public-edge-1"];
/// What processes are called in such a pod.
const AGENT: &str = "goproxy-operator edge ";
const MASTER: &str = "nginx: master process ";
const WORKER: &str = "nginx: worker process";
/// For how long clients may be without an answer while one of two pods has no nginx.
const GAP: Duration = Duration::from_secs(5);

/// Clients lose nothing while an edge comes, is told something else, loses its pods and agents and the API server, and goes. An nginx
/// that is killed costs those who are with it, and the other one serves.
pub fn clients_of_an_edge_lose_nothing(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let origin = Origin::start(stage, NAMESPACE).await?;
        match Box::pin(lose_nothing(stage, &origin)).await {
            Ok(()) => stage.abandon(NAMESPACE).await,
            Err(error) => Err(error.context(words(stage, NAMESPACE).await)),
        }
    })
}

async fn lose_nothing(stage: &Stage, origin: &Origin) -> Result<()> {
    let mut spec = json!({
        "engine": { "kind": "Goproxy", "fetchTimeout": "30s" }, "rollout": { "scaleDownDelay": "5s" },
        "upstream": origin.upstream("authority")?,
    });
    let settings = fleet(stage, origin, spec.clone()).await?;
    let url = address(stage, NAMESPACE).await?;
    let load = Load::of(stage, &url).await?;
    spec["edge"] = json!({ "replicas": PODS.len() });
    load.lossless("an edge comes", load.becomes(&spec, true)).await?;

    // A database that the go command asks where it asks for modules, as it does by itself with the public one.
    ensure!(!settings.gosumdb.contains("http"), "clients are told where the database is: {}", settings.gosumdb);
    let work = tempfile::tempdir().context("cannot make a directory for the client")?;
    generated::write_consumer(&work.path().join("project"), false)?;
    let brought = GoClient::new(work.path(), &settings, &url).download(&work.path().join("project"), "cold").await?;
    let records: usize = brought.records.values().sum();
    ensure!(records >= generated::MODULES, "{records} records of the database came: {:?}", brought.records);

    load.lossless("it is told something else", Box::pin(load.told(&mut spec))).await?;
    load.lossless("its pods are replaced", load.replaced()).await?;
    load.lossless("an agent is killed", load.agent_killed()).await?;
    load.lossless("the API server is away, and an agent is killed", load.api_server_away()).await?;
    load.nginx_killed().await?;
    spec.as_object_mut().context("a spec is an object")?.remove("edge");
    load.lossless("the edge goes", load.becomes(&spec, false)).await
}

/// Clients, and what they ask for.
struct Load<'a> {
    stage: &'a Stage,
    pods: Api<Pod>,
    address: String,
    files: Vec<String>,
}

impl<'a> Load<'a> {
    async fn of(stage: &'a Stage, url: &str) -> Result<Self> {
        let files: Vec<_> = (0..4).map(|index| file(Module::new(index, 0))).collect();
        let load = Self { stage, pods: Api::namespaced(stage.client.clone(), NAMESPACE), address: host(url), files };
        for path in &load.files {
            load.asked_for(path).await?;
        }
        Ok(load)
    }

    async fn asked_for(&self, path: &str) -> Result<()> {
        let (status, body) = ask(&self.address, path, PATIENT).await?;
        ensure!(status == 200, "{path} is answered with {status}: {body}");
        Ok(())
    }

    /// Does this while clients ask, none of whom may get anything but what they ask for.
    async fn lossless(&self, what: &str, part: impl Future<Output = Result<()>> + Send) -> Result<()> {
        let asked = self.under_load(what, part).await?;
        let failed = asked.iter().find(|asked| asked.failed > 0);
        failed.map_or(Ok(()), |asked| anyhow::bail!("{what}: {} requests failed: {}", asked.failed, asked.last_error))
    }

    async fn under_load(&self, what: &str, part: impl Future<Output = Result<()>> + Send) -> Result<Vec<Asked>> {
        let start = Instant::now();
        let clients: Vec<_> =
            self.files.iter().map(|path| Asking::start(self.address.clone(), path, PATIENT)).collect();
        let done = part.await;
        let mut all = Vec::new();
        for client in clients {
            all.push(client.stop().await?);
        }
        done.with_context(|| what.to_owned())?;
        let (sent, failed): (usize, usize) = (all.iter().map(|a| a.sent).sum(), all.iter().map(|a| a.failed).sum());
        let took = start.elapsed().as_secs_f64();
        self.stage.progress.note(format!("  {what}, {took:.1} s: {sent} requests, {failed} failed"));
        ensure!(sent > 50, "{what}: only {sent} requests were sent");
        Ok(all)
    }

    /// Has the fleet be so, and waits until clients reach its edge, or until it has none any more.
    async fn becomes(&self, spec: &Value, edge: bool) -> Result<()> {
        self.stage.apply_fleet(NAMESPACE, FLEET, spec.clone()).await?;
        if edge {
            return reached(self.stage, NAMESPACE, 2).await;
        }
        let gone = |fleet: &GoProxy| fleet.status.as_ref().is_some_and(|status| status.edge.is_none());
        self.stage.wait_fleet(NAMESPACE, FLEET, "the edge goes", SOON, gone).await.map(drop)
    }

    /// Another revision serves, lists are trusted for another time, and every nginx is as it was.
    async fn told(&self, spec: &mut Value) -> Result<()> {
        let before = (self.processes(PODS[0], "nginx").await?, self.processes(PODS[1], "nginx").await?);
        spec["engine"]["pod"] = json!({ "annotations": { "a.example/change": "1" } });
        spec["edge"]["cache"] = json!({ "list": { "minTTL": "1s", "maxTTL": "2s" } });
        let old = stable(&self.stage.fleets(NAMESPACE).get(FLEET).await?)?;
        self.stage.apply_fleet(NAMESPACE, FLEET, spec.clone()).await?;
        let moved = |fleet: &GoProxy| stable(fleet).is_ok_and(|now| now != old);
        let fleet = self.stage.wait_fleet(NAMESPACE, FLEET, "another revision serves", SOON, moved).await?;
        self.followed(&stable(&fleet)?).await?;
        let never = file(Module::new(9, 0));
        let (head, _) = exchange(&self.address, &never, PATIENT).await?;
        ensure!(head.contains(" 200 ") && head.contains("X-Cache-Status: MISS"), "{never}: {head}");
        let after = (self.processes(PODS[0], "nginx").await?, self.processes(PODS[1], "nginx").await?);
        ensure!(before == after, "nginx was restarted or read its file again: {before:?}, {after:?}");
        Ok(())
    }

    /// Waits until every pod of the edge serves by the newest that it was told, which names this revision.
    async fn followed(&self, revision: &str) -> Result<()> {
        let states: Api<EdgeState> = Api::namespaced(self.stage.client.clone(), NAMESPACE);
        until("every pod of the edge follows", SOON, || async {
            let state = states.get(FLEET).await?;
            let (told, edges) = (state.spec.settled, state.status.unwrap_or_default().edges);
            let follow = PODS.iter().all(|pod| edges.get(*pod).is_some_and(|edge| edge.generation == told.number));
            Ok((follow && told.settings.weights.stable == revision && told.settings.lists.max_seconds == 2)
                .then_some(()))
        })
        .await?;
        self.stage.wait_settled(NAMESPACE, FLEET).await.map(drop)
    }

    /// One pod after the other is deleted, each as soon as the one before is back.
    async fn replaced(&self) -> Result<()> {
        for name in PODS {
            let old = self.pods.get(name).await?.uid();
            self.pods.delete(name, &DeleteParams::default()).await?;
            until("another pod of the edge is there", SOON, || async {
                Ok(self.pods.get_opt(name).await?.filter(|pod| pod.uid() != old))
            })
            .await?;
            reached(self.stage, NAMESPACE, 2).await?;
        }
        Ok(())
    }

    async fn agent_killed(&self) -> Result<()> {
        let nginx = self.processes(PODS[0], "nginx").await?;
        self.killed(PODS[0], AGENT).await?;
        self.restarted(PODS[0], "agent").await?;
        reached(self.stage, NAMESPACE, 2).await?;
        ensure!(self.processes(PODS[0], "nginx").await? == nginx, "nginx ended with its agent");
        Ok(())
    }

    /// An agent that begins while nobody can tell it anything goes on by what was told before: lists come from the agent.
    async fn api_server_away(&self) -> Result<()> {
        let uid = self.uid(PODS[0]).await?;
        self.stage.cluster.kill("kube-apiserver").await?;
        let part = async {
            let agent = processes(&uid, AGENT)?;
            ensure!(agent.len() == 1, "{} agents run in one pod", agent.len());
            end(&agent)?;
            until("the kubelet starts another agent", SOON, || async {
                Ok(processes(&uid, AGENT)?.difference(&agent).next().map(drop))
            })
            .await?;
            let list = format!("/{}/@v/list", Module::new(3, 0).escaped().0);
            until("both pods answer for lists", SOON, || async {
                for _ in 0..20 {
                    if self.asked_for(&list).await.is_err() {
                        return Ok(None);
                    }
                }
                Ok(Some(()))
            })
            .await
        };
        let told = part.await;
        self.stage.cluster.start("kube-apiserver").await?;
        self.stage.cluster.wait_ready(SOON).await?;
        told?;
        reached(self.stage, NAMESPACE, 2).await
    }

    /// Whoever is with it loses their request, and nobody waits long for another.
    async fn nginx_killed(&self) -> Result<()> {
        let part = async {
            self.killed(PODS[0], MASTER).await?;
            self.restarted(PODS[0], "nginx").await?;
            reached(self.stage, NAMESPACE, 2).await
        };
        let asked = self.under_load("an nginx is killed", part).await?;
        let gap = asked.iter().map(|asked| asked.longest_gap).max().unwrap_or_default();
        self.stage.progress.note(format!("  nobody was without an answer for more than {:.1} s", gap.as_secs_f64()));
        ensure!(gap < GAP, "a client was without an answer for {gap:?}");
        ensure!(!self.processes(PODS[0], WORKER).await?.is_empty(), "the nginx that was started does not serve");
        Ok(())
    }

    async fn uid(&self, pod: &str) -> Result<String> {
        self.pods.get(pod).await?.uid().context("a pod without a uid")
    }

    async fn processes(&self, pod: &str, title: &str) -> Result<BTreeSet<i32>> {
        processes(&self.uid(pod).await?, title)
    }

    async fn killed(&self, pod: &str, title: &str) -> Result<()> {
        let found = self.processes(pod, title).await?;
        ensure!(found.len() == 1, "{} of {title:?} run in {pod}", found.len());
        end(&found)
    }

    /// Waits until the kubelet has told that a container was started again, and is ready.
    async fn restarted(&self, pod: &str, container: &str) -> Result<()> {
        let what = format!("{container} of {pod} runs again");
        let start = Instant::now();
        until(&what, SOON, || async {
            let status = self.pods.get(pod).await?.status.unwrap_or_default();
            let mut all = status.container_statuses.into_iter().chain(status.init_container_statuses).flatten();
            Ok(all.any(|one| one.name == container && one.restart_count > 0 && one.ready).then_some(()))
        })
        .await?;
        self.stage.progress.note(format!("  {what} after {:.1} s", start.elapsed().as_secs_f64()));
        Ok(())
    }
}

/// A file that never changes, of few bytes.
fn file(module: Module) -> String {
    module.zip().replace(".zip", ".mod")
}

/// Ids of the processes of a pod whose title begins so.
fn processes(uid: &str, title: &str) -> Result<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(id) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        // One that ends meanwhile has no files any more.
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        if read("cgroup").contains(uid) && read("cmdline").replace('\0', " ").starts_with(title) {
            found.insert(id);
        }
    }
    Ok(found)
}

fn end(processes: &BTreeSet<i32>) -> Result<()> {
    processes.iter().try_for_each(|id| kill(Pid::from_raw(*id), Signal::SIGKILL)).context("kill a process")
}
