//! What clients really sent, read from the API server's own audit log: who, what, with which answer, and when.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;

use crate::cluster::until;

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who sent it.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Plural of the resource; empty for paths that are none.
    pub resource: String,
    /// `status` and the like; empty for the object itself.
    pub subresource: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object; empty for a list and for a name that the server makes.
    pub name: String,
    /// HTTP status.
    pub code: u16,
    /// When the server had read it.
    pub received: Timestamp,
    /// When the answer was complete.
    pub completed: Timestamp,
}

impl Request {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
            // Questions in the form of a created object.
            && !self.resource.ends_with("reviews")
            && self.subresource != "token"
    }

    /// Whether it belongs to holding a lease, which costs the same however much there is to do.
    pub fn is_lease(&self) -> bool {
        self.resource == "leases"
    }

    /// Whether it was answered with success.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether it wrote an object other than a fleet, its status or an event.
    pub fn is_child_write(&self) -> bool {
        self.is_write()
            && self.succeeded()
            && !self.is_lease()
            && self.subresource.is_empty()
            && !matches!(self.resource.as_str(), "goproxies" | "events")
    }

    /// What and how, for a list of what was sent.
    pub fn shape(&self) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        format!("{} {}{slash}{}", self.verb, self.resource, self.subresource)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// The log of one API server.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    /// The log at this path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where the log ends now.
    pub fn mark(&self) -> Result<Mark> {
        let length = std::fs::metadata(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(Mark(length.len()))
    }

    /// The first request after a mark that somebody looks for, if there is one within a stretch of time.
    pub async fn first(
        &self,
        mark: Mark,
        within: Duration,
        wanted: impl Fn(&Request) -> bool + Send + Sync,
    ) -> Result<Option<Request>> {
        let found =
            until("a request", within, || async { Ok(self.since(mark)?.into_iter().find(|request| wanted(request))) });
        match found.await {
            Ok(request) => Ok(Some(request)),
            // That nothing came is an answer; that the log cannot be read is none.
            Err(_) => self.since(mark).map(|_| None),
        }
    }

    /// Everything that was answered since a mark.
    pub fn since(&self, mark: Mark) -> Result<Vec<Request>> {
        Ok(self.read(mark)?.0)
    }

    fn read(&self, mark: Mark) -> Result<(Vec<Request>, Mark)> {
        let mut file = File::open(&self.path).with_context(|| format!("cannot open {}", self.path.display()))?;
        file.seek(SeekFrom::Start(mark.0))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // The last line may be only half written.
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        Ok((parse(&bytes[..complete])?, Mark(mark.0 + complete as u64)))
    }

    /// Waits until nothing but leases and the reports of nodes was written for a while.
    pub async fn quiet(&self, lasting: Duration, deadline: Duration) -> Result<()> {
        let begin = Instant::now();
        let (mut mark, mut last) = (self.mark()?, Instant::now());
        while last.elapsed() < lasting {
            ensure!(begin.elapsed() < deadline, "the cluster still works after {} s", deadline.as_secs());
            // How often the log is read; what ends the wait is that nothing came for so long.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let (requests, end) = self.read(mark)?;
            mark = end;
            if requests.iter().any(|request| request.is_write() && !request.is_lease() && request.resource != "nodes") {
                last = Instant::now();
            }
        }
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Result<Vec<Request>> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut requests = Vec::new();
    for line in lines {
        let line: Line = serde_json::from_slice(line).context("a line of the audit log is no event")?;
        // A watch that has begun is a request too; when it ends it is told again.
        let begun = line.stage == "ResponseStarted";
        if (line.stage == "ResponseComplete" && line.verb != "watch") || begun {
            requests.push(Request {
                user: line.user.username,
                verb: line.verb,
                resource: line.object_ref.resource,
                subresource: line.object_ref.subresource,
                namespace: line.object_ref.namespace,
                name: line.object_ref.name,
                code: line.response_status.code,
                received: line.request_received_timestamp,
                completed: line.stage_timestamp,
            });
        }
    }
    Ok(requests)
}

/// Number of requests by shape, for people to see what was sent.
pub fn by_shape<'a>(requests: impl IntoIterator<Item = &'a Request>) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for request in requests {
        *counts.entry(request.shape()).or_default() += 1;
    }
    let parts: Vec<String> = counts.into_iter().map(|(shape, count)| format!("{count} {shape}")).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// Seconds from the first request that came in to the last answer.
pub fn seconds_over<'a>(requests: impl IntoIterator<Item = &'a Request> + Clone) -> f64 {
    let first = requests.clone().into_iter().map(|request| request.received).min();
    let last = requests.into_iter().map(|request| request.completed).max();
    match (first, last) {
        (Some(first), Some(last)) => seconds_between(first, last),
        _ => 0.0,
    }
}

/// Seconds from one instant to another.
pub fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = concat!(
        r#"{"kind":"Event","level":"Metadata","stage":"ResponseComplete","requestURI":"/apis/apps/v1/x","verb":"patch","user":{"username":"u"},"objectRef":{"resource":"deployments","namespace":"n","name":"a","apiGroup":"apps"},"responseStatus":{"metadata":{},"code":201},"requestReceivedTimestamp":"2026-11-21T10:00:00.000001Z","stageTimestamp":"2026-11-21T10:00:00.250001Z"}"#,
        "\n",
        r#"{"kind":"Event","level":"Metadata","stage":"ResponseStarted","requestURI":"/api/v1/pods","verb":"watch","user":{"username":"u"},"objectRef":{"resource":"pods"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-21T10:00:00.5Z","stageTimestamp":"2026-11-21T10:00:00.6Z"}"#,
        "\n",
        r#"{"kind":"Event","level":"Metadata","stage":"ResponseComplete","requestURI":"/livez","verb":"get","user":{"username":"u"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-21T10:00:00.5Z","stageTimestamp":"2026-11-21T10:00:01.0Z"}"#,
        "\n",
        r#"{"kind":"Event","level":"Metad"#,
    );

    fn log(text: &str) -> (tempfile::TempDir, AuditLog) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        std::fs::write(&path, text).unwrap();
        (directory, AuditLog::at(path))
    }

    #[test]
    fn a_half_written_line_is_read_later() {
        let (_directory, log) = log(LOG);
        let (requests, end) = log.read(Mark(0)).unwrap();
        assert_eq!(requests.len(), 3);
        assert_eq!(by_shape(&requests), "1 get , 1 patch deployments, 1 watch pods");
        assert!(end < log.mark().unwrap());
        assert_eq!(log.since(end).unwrap(), []);
    }

    #[test]
    fn writes_are_told_from_reads_and_timed_to_the_microsecond() {
        let (_directory, log) = log(LOG);
        let requests = log.since(Mark(0)).unwrap();
        let writes: Vec<_> = requests.iter().filter(|request| request.is_child_write()).collect();
        assert_eq!(writes.len(), 1);
        assert!((seconds_over(writes.iter().copied()) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn leases_events_and_statuses_are_no_child_writes() {
        let (_directory, log) = log(LOG);
        let template = log.since(Mark(0)).unwrap().remove(0);
        for (resource, subresource) in
            [("leases", ""), ("events", ""), ("goproxies", "status"), ("deployments", "status")]
        {
            let request = Request { resource: resource.into(), subresource: subresource.into(), ..template.clone() };
            assert!(request.is_write() && !request.is_child_write(), "{}", request.shape());
        }
    }
}
