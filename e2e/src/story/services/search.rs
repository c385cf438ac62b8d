//! A mechanical search for logins where none may be: objects, events, logs, metrics, and arguments and environments of
//! processes.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};
use tokio::task::JoinHandle;

use super::super::{
    Stage,
    serving::{PATIENT, ask},
};
use crate::{operator, service::git::Credentials};

/// What is searched for, and what processes have shown so far.
pub(super) struct Search {
    needles: Arc<Vec<String>>,
    stop: Arc<AtomicBool>,
    processes: JoinHandle<Seen>,
}

/// What was found in processes.
#[derive(Default)]
struct Seen {
    /// Processes that show a login.
    guilty: BTreeSet<String>,
    /// Whether the helper that answers git was among those that were looked at.
    helper: bool,
    looked_at: usize,
}

impl Search {
    /// Looks at processes from now on.
    pub(super) fn start(credentials: &[&Credentials]) -> Self {
        let needles = Arc::new(credentials.iter().flat_map(|one| forms(one)).collect::<Vec<_>>());
        let stop = Arc::new(AtomicBool::new(false));
        let (wanted, stopped) = (needles.clone(), stop.clone());
        let processes = tokio::spawn(async move {
            let mut seen = Seen::default();
            // A pace, not a wait: a shell that answers git lives for some milliseconds.
            let mut pace = tokio::time::interval(Duration::from_millis(25));
            while !stopped.load(Ordering::Relaxed) {
                pace.tick().await;
                look_at_processes(&wanted, &mut seen);
            }
            seen
        });
        Self { needles, stop, processes }
    }

    /// Looks everywhere else, and says where nothing was found.
    pub(super) async fn finish(self, stage: &Stage, namespace: &str) -> Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.processes.await.context("the search died")?;
        ensure!(seen.guilty.is_empty(), "processes show a login: {:?}", seen.guilty);
        ensure!(seen.helper, "of {} processes none answered git: they are no proof", seen.looked_at);
        let elsewhere = outside_processes(stage, namespace, &self.needles).await?;
        Ok(format!("{elsewhere}, {} looks at processes", seen.looked_at))
    }
}

/// Looks for these words in objects, events, logs and metrics, and in the arguments of all processes; says where it looked.
pub(super) async fn outside_environments(stage: &Stage, namespace: &str, needles: &[String]) -> Result<String> {
    let mut looked_at = 0;
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // What is no process has no such file, and a process may have ended meanwhile.
        let Ok(bytes) = fs::read(process.path().join("cmdline")) else { continue };
        let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
        looked_at += 1;
        let name = text.split(' ').next().unwrap_or_default();
        ensure!(!needles.iter().any(|needle| text.contains(needle.as_str())), "the arguments of {name} show a login");
    }
    let elsewhere = outside_processes(stage, namespace, needles).await?;
    Ok(format!("{elsewhere}, arguments of {looked_at} processes"))
}

async fn outside_processes(stage: &Stage, namespace: &str, needles: &[String]) -> Result<String> {
    let objects = objects(stage).await?;
    expect_free(needles, "objects and events", &objects)?;
    ensure!(objects.contains("goproxy.rs/fleet"), "the objects are not those of the cluster");
    let mut lines = 0;
    for (name, text) in logs(stage, namespace).await? {
        expect_free(needles, &name, &text)?;
        lines += text.lines().count();
    }
    let mut metrics = 0;
    for (name, text) in pages(stage, namespace).await? {
        expect_free(needles, &name, &text)?;
        metrics += text.lines().filter(|line| !line.starts_with('#')).count();
    }
    let kilobytes = objects.len() / 1000;
    Ok(format!("{kilobytes} kB of objects, {lines} lines of logs, {metrics} metrics"))
}

fn expect_free(needles: &[String], place: &str, text: &str) -> Result<()> {
    ensure!(!text.is_empty(), "{place}: there is nothing to search");
    match needles.iter().find_map(|needle| text.find(needle.as_str())) {
        None => Ok(()),
        Some(at) => bail!("{place}: a login, at line {}", text[..at].lines().count()),
    }
}

/// A login as it is, and as protocols write it.
fn forms(one: &Credentials) -> Vec<String> {
    let key = one.ssh_key.lines().filter(|line| line.len() > 40 && !line.starts_with("-----"));
    let basic = |user: &str, password: &str| STANDARD.encode(format!("{user}:{password}"));
    let mut forms = vec![
        one.password.clone(),
        one.token.clone(),
        STANDARD.encode(&one.password),
        STANDARD.encode(&one.token),
        basic(&one.user, &one.password),
        basic("x-access-token", &one.token),
    ];
    forms.extend(key.map(str::to_owned));
    forms
}

fn look_at_processes(needles: &[String], seen: &mut Seen) {
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        for file in ["cmdline", "environ"] {
            // A process may have ended meanwhile.
            let Ok(bytes) = fs::read(process.path().join(file)) else { continue };
            let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
            seen.helper |= text.contains("/config/git-credential") && file == "cmdline";
            seen.looked_at += 1;
            if needles.iter().any(|needle| text.contains(needle.as_str())) {
                let name = text.split(' ').next().unwrap_or_default();
                seen.guilty.insert(format!("{file} of {} {name}", process.file_name().to_string_lossy()));
            }
        }
    }
}

/// Every object of the cluster but Secrets, events included.
async fn objects(stage: &Stage) -> Result<String> {
    let kinds = stage.cluster.kubectl(&["api-resources", "--verbs=list", "--output=name"]).await?;
    let kinds: Vec<_> = kinds.split_whitespace().filter(|kind| *kind != "secrets").collect();
    ensure!(kinds.iter().any(|kind| kind.starts_with("events")), "no events among {kinds:?}");
    let kinds = kinds.join(",");
    stage.cluster.kubectl(&["get", &kinds, "--all-namespaces", "--output=yaml", "--show-managed-fields"]).await
}

/// Of the fleet's pods, the operator's, and every part of the cluster.
async fn logs(stage: &Stage, namespace: &str) -> Result<Vec<(String, String)>> {
    let mut logs = Vec::new();
    for namespace in [namespace, operator::NAMESPACE] {
        for pod in pods(stage, namespace).await? {
            let name = pod.name_any();
            let text =
                stage.cluster.kubectl(&["-n", namespace, "logs", &name, "--all-containers", "--tail=-1"]).await?;
            logs.push((format!("the log of {namespace}/{name}"), text));
        }
    }
    let parts = stage.cluster.components().into_iter().map(|part| (part.clone(), stage.cluster.log(&part)));
    for (name, path) in parts.chain([("the audit".to_owned(), stage.cluster.audit_log())]) {
        let text = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        if !text.is_empty() {
            logs.push((format!("the log of {name}"), text));
        }
    }
    Ok(logs)
}

/// The metrics of the fleet's pods and of the operator's.
async fn pages(stage: &Stage, namespace: &str) -> Result<Vec<(String, String)>> {
    let mut pages = Vec::new();
    for (namespace, label, port) in
        [(namespace, "goproxy.rs/fleet", 3000), (operator::NAMESPACE, "app.kubernetes.io/name", 8080)]
    {
        for pod in pods(stage, namespace).await?.into_iter().filter(|pod| pod.labels().contains_key(label)) {
            let address =
                pod.status.as_ref().and_then(|status| status.pod_ip.clone()).context("a pod has no address")?;
            let (status, text) = ask(&format!("{address}:{port}"), "/metrics", PATIENT).await?;
            ensure!(status == 200, "the metrics of {} answer {status}", pod.name_any());
            pages.push((format!("the metrics of {}", pod.name_any()), text));
        }
    }
    ensure!(pages.len() >= 2, "there are metrics of {} pods only", pages.len());
    Ok(pages)
}

async fn pods(stage: &Stage, namespace: &str) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
    Ok(pods.list(&ListParams::default()).await?.items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_where_it_is() {
        let needles = ["lab_0123".to_owned(), STANDARD.encode("x-access-token:lab_0123")];
        for guilty in ["token=lab_0123", "Authorization: Basic eC1hY2Nlc3MtdG9rZW46bGFiXzAxMjM="] {
            let text = format!("one\ntwo {guilty}\n");
            let error = expect_free(&needles, "the log", &text).unwrap_err().to_string();
            assert_eq!(error, "the log: a login, at line 2");
        }
        assert!(expect_free(&needles, "the log", "nothing").is_ok());
        assert!(expect_free(&needles, "the log", "").is_err(), "what is empty proves nothing");
    }
}
