//! What clients of an edge are promised, tried one after the other on one pod.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Nginx;
use super::client::{Slow, get, send};
use super::pod::{Pod, until};
use crate::check::Check;
use crate::origin::server::Server;

type Case = (&'static str, fn(&mut Pod<'_>) -> Result<()>);

const CASES: [Case; 16] = [
    ("is ready once nginx has what it needs, and not before", begins),
    ("asks once for what never changes", hit),
    ("takes one spelling of a path and refuses others", paths),
    ("passes a checksum database on, and keeps it", sums),
    ("fetches once what many ask for at once", collapse),
    ("asks once for what fails, too", failure),
    ("sees a new version in time", list),
    ("serves what it has while nothing behind it does", upstream_away),
    ("keeps what holds when it is told what it does not understand", doubt),
    ("asks stable again where a canary fails, and keeps nothing of the canary", canary),
    ("costs nobody a request where a pod is gone that was there", pod_gone),
    ("takes new settings within a second, without a reload or a failed request", push),
    ("reloads for what is in its file, and cuts no download off", reload),
    ("serves again after nginx was killed", nginx_killed),
    ("serves what is known while the agent is dead", agent_killed),
    ("counts what it answered", figures),
];

/// All of them. One that fails does not keep the others from being tried.
pub(super) fn all(nginx: &Nginx, agent: &Path, work: &Path) -> Result<Vec<Check>> {
    let mut pod = Pod::new(nginx, agent, work)?;
    let check = |(name, case): Case| {
        let result = case(&mut pod).with_context(|| pod.words());
        Check::from_result(format!("edge: {name}"), result)
    };
    Ok(CASES.into_iter().map(check).collect())
}

/// How often the path was asked of a revision.
fn asked(server: Option<&Server>, path: &str) -> Result<usize> {
    let requests = server.context("the server is stopped")?.requests()?;
    Ok(requests.iter().filter(|request| request.path == path).count())
}

fn expect(front: SocketAddr, target: &str, status: u16, cache: &str) -> Result<Vec<u8>> {
    let answer = get(front, target)?;
    ensure!(
        answer.status == status && answer.cache() == cache,
        "{target}: {} {:?}, expected {status} {cache:?}: {}",
        answer.status,
        answer.cache(),
        answer.text()
    );
    Ok(answer.body)
}

fn begins(pod: &mut Pod<'_>) -> Result<()> {
    pod.module("/a.example/one/@v/v1.0.0.mod", b"module a.example/one\n")?;
    pod.module("/a.example/!one/@v/v1.0.0.mod", b"module a.example/One\n")?;
    pod.module("/a.example/one/@v/list", b"v1.0.0\n")?;
    pod.start_agent()?;
    until("the agent answers", || Ok(pod.page("/livez")?.0 == 200))?;
    ensure!(pod.page("/startz")?.0 == 503, "nginx could begin before the agent was told anything");
    pod.tell(&json!({ "stable": "corp-1" }))?;
    pod.start_nginx()?;
    pod.ready()?;
    ensure!(get(pod.front, "/healthz")?.status == 200, "nginx does not say that it is well");
    Ok(())
}

fn hit(pod: &mut Pod<'_>) -> Result<()> {
    let path = "/a.example/one/@v/v1.0.0.mod";
    let first = expect(pod.front, path, 200, "MISS")?;
    ensure!(first == b"module a.example/one\n", "other bytes: {first:?}");
    for _ in 0..3 {
        ensure!(expect(pod.front, path, 200, "HIT")? == first, "other bytes from the cache");
    }
    ensure!(asked(pod.stable.as_ref(), path)? == 1, "the engine was asked more than once");
    let part = send(pod.front, "GET", path, "Range: bytes=7-15\r\n")?;
    ensure!(part.status == 206 && part.body == b"a.example", "a range: {part:?}");
    let head = send(pod.front, "HEAD", path, "")?;
    ensure!(head.status == 200 && head.body.is_empty() && head.header("content-length") == Some("21"), "{head:?}");
    expect(pod.front, "/a.example/none/@v/v1.0.0.mod", 404, "MISS")?;
    expect(pod.front, "/a.example/none/@v/v1.0.0.mod", 404, "HIT")?;
    Ok(())
}

fn paths(pod: &mut Pod<'_>) -> Result<()> {
    expect(pod.front, "/a.example/%21one/@v/v1.0.0.mod", 200, "MISS")?;
    expect(pod.front, "/a.example/!one/@v/v1.0.0.mod", 200, "HIT")?;
    for target in [
        "/a.example//one/@v/v1.0.0.mod",
        "/a.example/./one/@v/v1.0.0.mod",
        "/a.example/x/../one/@v/v1.0.0.mod",
        "/a.example/%6fne/@v/v1.0.0.mod",
        "/a.example/one/%40v/v1.0.0.mod",
        "/a.example/one%2f@v/v1.0.0.mod",
        "/a.example/One/@v/v1.0.0.mod",
        "/a.example/one/@v/v1.0.0.mod?x=1",
        "/a.example/one/@v/v1.0.0.mod/",
        "/a.example/one/@v/v01.0.0.mod",
        "/a.example/one/@v/master.zip",
        "/a.example/one/@v/../../../../etc/passwd",
        "/a.example/\\one/@v/list",
        "/etc/passwd",
        "/",
    ] {
        let answer = get(pod.front, target)?;
        ensure!(answer.status == 400, "{target}: {} {}", answer.status, answer.text());
    }
    for method in ["POST", "PUT", "DELETE", "PROPFIND"] {
        let answer = send(pod.front, method, "/a.example/one/@v/list", "")?;
        ensure!(answer.status == 405, "{method}: {answer:?}");
    }
    Ok(())
}

/// Once it was passed on, clients get it while the database is away.
fn sums(pod: &mut Pod<'_>) -> Result<()> {
    let record = "/sumdb/sums.example:8443/db/lookup/a.example/!one@v1.0.0";
    for (path, content) in [("/sumdb/sums.example/supported", ""), (record, "1\na record\n")] {
        pod.module(path, content.as_bytes())?;
        let answer = expect(pod.front, path, 200, "MISS")?;
        ensure!(answer == content.as_bytes(), "{path}: other bytes: {answer:?}");
        expect(pod.front, path, 200, "HIT")?;
        ensure!(asked(pod.stable.as_ref(), path)? == 1, "the engine was asked more than once for {path}");
    }
    // An engine that knows no such database says so, and the go command asks that itself.
    expect(pod.front, "/sumdb/other.example/supported", 404, "MISS")?;
    ensure!(get(pod.front, "/sumdb/sums.example/secret")?.status == 400, "a database was asked for anything");
    Ok(())
}

fn collapse(pod: &mut Pod<'_>) -> Result<()> {
    const CLIENTS: usize = 20;
    let path = "/a.example/large/@v/v1.0.0.zip";
    let content: Vec<_> = (0..32 << 20).map(|index: u32| index.to_le_bytes()[(index % 4) as usize]).collect();
    pod.module(path, &content)?;
    let front = pod.front;
    let clients: Vec<_> = (0..CLIENTS).map(|_| thread::spawn(move || get(front, path))).collect();
    for client in clients {
        let answer = client.join().ok().context("a client fell")??;
        ensure!(answer.status == 200 && answer.body == content, "{} with {} bytes", answer.status, answer.body.len());
    }
    let times = asked(pod.stable.as_ref(), path)?;
    ensure!(times == 1, "the engine was asked {times} times");
    Ok(())
}

/// A file that the engine cannot open is none that is not there.
fn failure(pod: &mut Pod<'_>) -> Result<()> {
    const CLIENTS: usize = 20;
    let front = pod.front;
    for path in ["/a.example/broken/@v/v1.0.0.mod", "/a.example/broken/@v/list"] {
        pod.broken(path)?;
        let clients: Vec<_> = (0..CLIENTS).map(|_| thread::spawn(move || get(front, path))).collect();
        for client in clients {
            let answer = client.join().ok().context("a client fell")??;
            ensure!(answer.status == 500, "{path}: {answer:?}");
        }
        // What failed is forgotten after a second, which some of them may be late by.
        let times = asked(pod.stable.as_ref(), path)?;
        ensure!((1..4).contains(&times), "the engine was asked for {path} {times} times");
    }
    Ok(())
}

fn list(pod: &mut Pod<'_>) -> Result<()> {
    let path = "/a.example/one/@v/list";
    ensure!(get(pod.front, path)?.text() == "v1.0.0\n", "another list");
    pod.module(path, b"v1.0.0\nv1.1.0\n")?;
    until("the new version is listed", || Ok(get(pod.front, path)?.text().contains("v1.1.0")))?;
    // Two at least, for one was cold; and far fewer than clients asked.
    let times = asked(pod.stable.as_ref(), path)?;
    ensure!((2..6).contains(&times), "the engine was asked {times} times");
    Ok(())
}

fn upstream_away(pod: &mut Pod<'_>) -> Result<()> {
    pod.stable.take().context("the server is stopped")?.stop()?;
    expect(pod.front, "/a.example/one/@v/v1.0.0.mod", 200, "HIT")?;
    let path = "/a.example/one/@v/list";
    until("the list is past its time", || Ok(get(pod.front, path)?.cache() == "STALE"))?;
    for _ in 0..5 {
        let answer = get(pod.front, path)?;
        ensure!(answer.status == 200 && answer.text().contains("v1.1.0"), "the old list is not served: {answer:?}");
    }
    let cold = get(pod.front, "/a.example/one/@v/v1.1.0.mod")?;
    ensure!(cold.status == 502, "what nobody has: {cold:?}");
    pod.stable = Some(pod.again("stable")?);
    Ok(())
}

fn doubt(pod: &mut Pod<'_>) -> Result<()> {
    pod.tell_spec(&json!({ "protocol": 9, "anything": true }))?;
    until("the doubt is told", || Ok(pod.page("/readyz")?.1.contains("protocol 9 is not read")))?;
    expect(pod.front, "/a.example/one/@v/v1.0.0.mod", 200, "HIT")?;
    ensure!(pod.page("/readyz")?.0 == 200, "an edge that serves is not ready");
    let number = pod.tell(&json!({ "stable": "corp-1" }))?;
    pod.serves(number)
}

fn canary(pod: &mut Pod<'_>) -> Result<()> {
    let number = pod.tell(&json!({ "stable": "corp-1", "canary": { "revision": "corp-2", "percent": 100 } }))?;
    pod.serves(number)?;
    let path = "/a.example/two/@v/v1.0.0.mod";
    pod.module(path, b"module a.example/two\n")?;
    // The canary has no file at all, so each of these is stable's, and the second of them from the cache.
    expect(pod.front, path, 200, "MISS")?;
    expect(pod.front, path, 200, "HIT")?;
    // A server logs a request once its answer is sent.
    until("the canary was asked each time", || Ok(asked(pod.canary.as_ref(), path)? == 2))?;
    ensure!(asked(pod.stable.as_ref(), path)? == 1, "stable was not asked once");
    pod.canary.take().context("the canary is stopped")?.stop()?;
    expect(pod.front, path, 200, "HIT")?;
    until("both statuses are in the log", || Ok(pod.requests()?.contains(r#""upstreamStatus":"404 : 200""#)))?;
    let number = pod.tell(&json!({ "stable": "corp-1" }))?;
    pod.serves(number)
}

/// An address that nobody listens on, beside one that somebody does.
fn pod_gone(pod: &mut Pod<'_>) -> Result<()> {
    pod.add_endpoint("corp-1-gone")?;
    let number = pod.tell(&json!({ "stable": "corp-1" }))?;
    pod.serves(number)?;
    for index in 0..20 {
        let path = format!("/a.example/gone/@v/v1.0.{index}.mod");
        pod.module(&path, b"module a.example/gone\n")?;
        expect(pod.front, &path, 200, "MISS")?;
    }
    pod.remove_endpoint()?;
    let number = pod.tell(&json!({ "stable": "corp-1" }))?;
    pod.serves(number)
}

/// Clients go on asking on new connections while the revision changes.
fn push(pod: &mut Pod<'_>) -> Result<()> {
    pod.canary = Some(pod.again("canary")?);
    let (front, workers) = (pod.front, pod.workers()?);
    let (done, failed, answered) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let took = thread::scope(|scope| -> Result<_> {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let good = get(front, "/a.example/one/@v/v1.0.0.mod").is_ok_and(|answer| answer.status == 200);
                answered.fetch_add(1, Ordering::Relaxed);
                failed.fetch_add(usize::from(!good), Ordering::Relaxed);
            }
        });
        let moved = (|| {
            let start = Instant::now();
            pod.tell(&json!({ "stable": "corp-2" }))?;
            let mut cold = 0;
            // The other revision has nothing: from when it answers, what was not asked for before is not found.
            until("the other revision answers", || {
                cold += 1;
                pod.module(&format!("/a.example/cold/@v/v1.0.{cold}.mod"), b"module a.example/cold\n")?;
                Ok(get(front, &format!("/a.example/cold/@v/v1.0.{cold}.mod"))?.status == 404)
            })?;
            Ok(start.elapsed())
        })();
        done.store(true, Ordering::Relaxed);
        moved
    })?;
    ensure!(took.as_millis() < 1000, "the change took {took:?}");
    let (failed, answered) = (failed.into_inner(), answered.into_inner());
    ensure!(failed == 0 && answered > 10, "{failed} of {answered} requests failed");
    ensure!(pod.workers()? == workers, "nginx was reloaded");
    let number = pod.tell(&json!({ "stable": "corp-1" }))?;
    pod.serves(number)
}

/// A client that reads slowly meets the old workers until it has all.
fn reload(pod: &mut Pod<'_>) -> Result<()> {
    let (front, before, length) = (pod.front, pod.workers()?, 32 << 20);
    let mut slow = Slow::begin(front, "/a.example/large/@v/v1.0.0.zip")?;
    let number = pod.tell_fetch(90)?;
    pod.serves(number)?;
    until("nginx has new workers", || Ok(pod.workers()?.iter().all(|worker| !before.contains(worker))))?;
    expect(front, "/a.example/one/@v/v1.0.0.mod", 200, "HIT")?;
    let read = slow.finish()?;
    ensure!(read > length, "a download ended after {read} bytes");
    Ok(())
}

fn nginx_killed(pod: &mut Pod<'_>) -> Result<()> {
    pod.kill_nginx()?;
    until("the agent notices", || Ok(pod.page("/readyz")?.0 == 503))?;
    pod.start_nginx()?;
    pod.ready()?;
    expect(pod.front, "/a.example/one/@v/v1.0.0.mod", 200, "HIT")?;
    expect(pod.front, "/a.example/three/@v/v1.0.0.mod", 404, "MISS")?;
    Ok(())
}

fn agent_killed(pod: &mut Pod<'_>) -> Result<()> {
    pod.module("/a.example/four/@v/v1.0.0.mod", b"module a.example/four\n")?;
    pod.kill_agent()?;
    for _ in 0..20 {
        expect(pod.front, "/a.example/one/@v/v1.0.0.mod", 200, "HIT")?;
    }
    // Nobody has to say who they are here, so a plain path needs nobody to decide.
    expect(pod.front, "/a.example/four/@v/v1.0.0.mod", 200, "MISS")?;
    ensure!(get(pod.front, "/a.example/%21five/@v/v1.0.0.mod")?.status == 503, "a path was decided by nobody");
    ensure!(get(pod.front, "/a.example/four/@v/list")?.status >= 500, "a list came from nowhere");
    // Another agent that is told nothing goes on by what this one was told.
    pod.tell_nothing()?;
    pod.start_agent()?;
    pod.ready()?;
    expect(pod.front, "/a.example/%21five/@v/v1.0.0.mod", 404, "MISS")?;
    pod.stable.take().context("the server is stopped")?.stop()?;
    let list = expect(pod.front, "/a.example/one/@v/list", 200, "STALE")?;
    ensure!(list.ends_with(b"v1.1.0\n"), "a copy that another agent had made is lost: {list:?}");
    pod.stable = Some(pod.again("stable")?);
    Ok(())
}

fn figures(pod: &mut Pod<'_>) -> Result<()> {
    expect(pod.front, "/a.example/one/@v/v1.0.0.mod", 200, "HIT")?;
    let line = r#"goproxy_edge_requests_total{what="mod",revision="stable",cache="HIT",code="2xx"}"#;
    until("the request is counted", || Ok(pod.page("/metrics")?.1.contains(line)))
}
