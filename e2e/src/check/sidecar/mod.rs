//! The sidecar of engine pods beside the real things, on this machine and without a cluster: the program as it is started in a pod, Athens
//! that is killed while it writes, Redis over TLS, an object store, and an API that hands out tokens to whoever signs as GitHub asks.

mod github;
mod machine;

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::sidecar::report::Report;
use serde_json::{Value, json};

use self::{
    github::Api,
    machine::{Athens, Origin, Redis, Running, Store, free_port},
};
use super::{Check, source::cargo};
use crate::{
    cluster::until,
    page::Page,
    probe,
    progress::Progress,
    service,
    tools::{self, Family},
};

/// The host's other processes share two cores with these.
const PATIENCE: Duration = Duration::from_secs(60);

/// Programs that are built or installed beforehand.
const FAMILIES: &[Family] = &[Family::Athens, Family::VersityGw];

/// Name of the marker in a bucket.
const OBJECT: &str = "goproxy-operator/owner.json";

/// All that the sidecar does, once.
pub async fn sidecar(repo: &Path, progress: &Progress) -> Vec<Check> {
    let (program, scene) = match prepare(repo, progress) {
        Ok(ready) => ready,
        Err(error) => return vec![Check::from_result("sidecar: its surroundings", Err(error))],
    };
    let directory = scene.path();
    vec![
        Check::from_result(
            "sidecar: what Athens left cut off is gone",
            heals(&program, &directory.join("heals")).await,
        ),
        Check::from_result(
            "sidecar: a lock that ends is told",
            watches_a_lock(&program, &directory.join("lock")).await,
        ),
        Check::from_result(
            "sidecar: a token of a GitHub App is there",
            fetches(&program, &directory.join("app")).await,
        ),
        Check::from_result("sidecar: a bucket of two is told", marks(&program, &directory.join("bucket")).await),
    ]
}

fn prepare(repo: &Path, progress: &Progress) -> Result<(PathBuf, tempfile::TempDir)> {
    tools::ensure(FAMILIES, progress)?;
    probe::packages(service::redis::PROGRAMS, progress)?;
    Ok((program(repo)?, tempfile::tempdir().context("cannot make a directory")?))
}

/// The operator's program, not optimised, as the tests have it.
fn program(repo: &Path) -> Result<PathBuf> {
    let mut cargo: Command = cargo(repo);
    cargo.args(["build", "--quiet", "--locked", "--package", "goproxy-operator", "--bin", "goproxy-operator"]);
    let output = cargo.args(["--message-format", "json"]).output().context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the operator does not build: {said}");
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let built = messages.flatten().filter_map(|message| message["executable"].as_str().map(PathBuf::from)).last();
    built.context("cargo names no program")
}

/// A sidecar that runs.
struct Sidecar {
    running: Running,
    port: u16,
}

impl Sidecar {
    fn start(program: &Path, directory: &Path, config: &Value) -> Result<Self> {
        let port = free_port()?;
        let file = directory.join(format!("sidecar-{port}.json"));
        std::fs::write(&file, config.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = tokio::process::Command::new(program);
        command.arg("sidecar").arg("--config").arg(&file).args(["--address", &format!("127.0.0.1:{port}")]);
        // As in its image: no certificate authority of the system.
        command.env_clear().env("SSL_CERT_FILE", "/nowhere");
        Ok(Self { running: Running::start(command, &directory.join(format!("sidecar-{port}.log")))?, port })
    }

    /// Waits until its report is so.
    async fn tells(&mut self, what: &str, holds: impl Fn(&Report) -> bool) -> Result<Report> {
        let last = RefCell::new(None);
        let running = RefCell::new(&mut self.running);
        let waited = until(what, PATIENCE, || async {
            ensure!(!running.borrow_mut().has_ended(), "the sidecar has ended");
            let told = Page::get(self.port, "/report").await.ok().and_then(|page| report(page.text()));
            last.replace(told.clone());
            Ok(told.filter(|report| holds(report)))
        });
        let waited = waited.await;
        let (last, log) = (last.into_inner(), running.into_inner().log());
        waited.with_context(|| format!("the last report was {last:?}, and the log:\n{log}"))
    }

    async fn figure(&self, name: &str) -> Result<f64> {
        let page = Page::get(self.port, "/metrics").await?;
        let line = page.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {name} in\n{}", page.text()))?.trim().parse()?)
    }
}

fn report(answer: &str) -> Option<Report> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

/// Athens is killed while it writes a zip, and serves half of it. The sidecar removes it before Athens starts again, and says when Athens
/// may; then the whole of it is served, and questions for versions tell which origin answers.
async fn heals(program: &Path, directory: &Path) -> Result<()> {
    let origin = Origin::create(directory)?;
    let athens = Athens::new(&origin, directory)?;
    let cut = athens.killed_while_writing(&origin).await?;
    let mut running = athens.start()?;
    let served = athens.zip(&mut running, &cut).await?;
    ensure!(served < origin.zip_size(), "Athens serves {served} of {} bytes: nothing is wrong", origin.zip_size());
    running.kill().await?;
    let config = json!({
        "volume": { "path": athens.store(), "layout": "Athens", "settleSeconds": 900, "onlyWriter": athens.address() },
        "logins": {
            "engine": format!("http://{}", athens.address()), "everySeconds": 1,
            "probes": [ { "host": "a", "module": Origin::MODULE }, { "host": "b", "module": "sidecar.test/missing" } ]
        }
    });
    let mut sidecar = Sidecar::start(program, directory, &config)?;
    let removed =
        |report: &Report| report.volume.as_ref().is_some_and(|volume| volume.removed == 1 && volume.total_bytes > 0);
    sidecar.tells("what was cut off is removed", removed).await?;
    ensure!(!athens.store().join(Origin::MODULE).join(&cut).exists(), "{cut} is still there");
    until("the engine may start", PATIENCE, || async {
        Ok(Page::get(sidecar.port, "/startz").await.ok().filter(Page::is_ok))
    })
    .await?;
    ensure!(sidecar.figure("goproxy_sidecar_volume_removed_versions_total").await? >= 1.0, "no version is counted");
    let mut running = athens.start()?;
    let served = athens.zip(&mut running, &cut).await?;
    ensure!(served == origin.zip_size(), "Athens serves {served} of {} bytes", origin.zip_size());
    let works = |report: &Report| report.logins.iter().map(|login| login.works).eq([Some(true), Some(false)]);
    let report = sidecar.tells("one origin answers and the other does not", works).await?;
    let told = report.logins[1].error.clone().unwrap_or_default();
    ensure!(told.contains("sidecar.test/missing"), "the engine's words are not told: {told:?}");
    running.kill().await
}

/// A Redis that wants a password, over TLS: alive for whoever trusts its authority, and out of reach once it is killed.
async fn watches_a_lock(program: &Path, directory: &Path) -> Result<()> {
    let mut redis = Redis::start(directory).await?;
    let lock = |tls: bool| json!({ "address": redis.address(tls), "kind": "Redis", "tls": tls });
    let mut trusting = lock(true);
    trusting["caFile"] = json!(redis.authority());
    let config = json!({ "locks": [ trusting, lock(false), lock(true) ] });
    let mut sidecar = Sidecar::start(program, directory, &config)?;
    let reachable = |report: &Report| report.locks.iter().map(|lock| lock.reachable).collect::<Vec<_>>();
    let expected = [Some(true), Some(true), Some(false)];
    let report = sidecar.tells("locks are reached by who trusts them", |report| reachable(report) == expected).await?;
    let why = report.locks[2].error.clone().unwrap_or_default();
    ensure!(why.contains("UnknownIssuer"), "nobody told it of this authority, and it says {why:?}");
    redis.kill().await?;
    let ended = [Some(false); 3];
    let report = sidecar.tells("locks are out of reach", |report| reachable(report) == ended).await?;
    let why = report.locks[0].error.clone().unwrap_or_default();
    ensure!(why.contains("refused"), "it was killed, and the report says {why:?}");
    Ok(())
}

/// An API that looks at the signature hands out a token; git would find it in its file.
async fn fetches(program: &Path, directory: &Path) -> Result<()> {
    let login = directory.join("login");
    std::fs::create_dir_all(&login)?;
    let api = Api::serve(&login).await?;
    let token = directory.join("token");
    let app = |directory: &Path, token: &Path| json!({ "host": "github.com", "api": api.url(), "directory": directory, "tokenFile": token });
    let config =
        json!({ "githubApps": [ app(&login, &token), app(&directory.join("missing"), &directory.join("none")) ] });
    let mut sidecar = Sidecar::start(program, directory, &config)?;
    let both = |report: &Report| {
        let [fine, missing] = report.github_apps.as_slice() else { return false };
        fine.expires.is_some() && fine.error.is_none() && missing.error.is_some()
    };
    let report = sidecar.tells("a token is there", both).await?;
    let missing = report.github_apps[1].error.clone().unwrap_or_default();
    ensure!(missing.contains("app-id"), "it does not name what is missing: {missing:?}");
    let found = std::fs::read_to_string(&token).context("no file with a token")?;
    ensure!(api.has_handed_out(&found), "git finds {found:?}, which the API did not hand out");
    ensure!(!sidecar.running.log().contains(&found), "the token is in the log");
    // A pod that is deleted waits for it.
    sidecar.running.end().await
}

/// Two fleets that name one bucket: the first has it, the second is told who that is.
async fn marks(program: &Path, directory: &Path) -> Result<()> {
    let store = Store::start(directory).await?;
    let marker = |cluster: &str| {
        let owner = json!({ "cluster": cluster, "namespace": "team", "name": "corp", "uid": "u-1" });
        json!({ "marker": { "s3": store.bucket(), "object": OBJECT, "owner": owner } })
    };
    let quiet = |report: &Report| report.marker.as_ref().is_some_and(|marker| marker.error.is_none());
    let mut first = Sidecar::start(program, directory, &marker("c-1"))?;
    until("the bucket has a marker", PATIENCE, || async { Ok(store.has(OBJECT).then_some(())) })
        .await
        .with_context(|| first.running.log())?;
    first
        .tells("the bucket is ours", |report| {
            quiet(report) && report.marker.as_ref().is_some_and(|it| it.foreign.is_none())
        })
        .await?;
    let mut second = Sidecar::start(program, directory, &marker("c-2"))?;
    let foreign = |report: &Report| report.marker.as_ref().and_then(|marker| marker.foreign.clone());
    let report = second.tells("the bucket is somebody else's", |report| foreign(report).is_some()).await?;
    let owner = foreign(&report).context("nobody is named")?;
    ensure!(owner.cluster == "c-1" && owner.name == "corp", "it names {owner:?}");
    let mut third = Sidecar::start(program, directory, &marker("c-1"))?;
    third.tells("another pod of ours is at ease", |report| quiet(report) && foreign(report).is_none()).await?;
    // Who has not renewed it for long has left, and the next one takes the place, on the condition that it is still as it was read.
    let left = json!({ "cluster": "c-9", "namespace": "team", "name": "corp", "uid": "u-9", "seenAt": "2026-01-01T00:00:00Z" });
    store.put(OBJECT, &left.to_string())?;
    let mut heir = Sidecar::start(program, directory, &marker("c-2"))?;
    until("the bucket has a new owner", PATIENCE, || async { Ok(store.get(OBJECT)?.contains("c-2").then_some(())) })
        .await
        .with_context(|| heir.running.log())?;
    heir.tells("the heir is at ease", |report| quiet(report) && foreign(report).is_none()).await?;
    Ok(())
}
