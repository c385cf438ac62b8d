//! Lists and watches: what a client may see, and when.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::Stream;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    http::Call,
    resource::Resource,
    store::{Change, Key, State, Store},
    write::Refused,
};

/// The objects that a list or a watch is about.
#[derive(Clone, Debug)]
pub struct Interest {
    resource: &'static Resource,
    namespace: Option<String>,
    name: Option<String>,
    labels: Vec<Requirement>,
    bookmarks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Equals(String, String),
    Differs(String, String),
}

impl Interest {
    /// Of a call.
    pub fn of(call: &Call) -> Result<Self, Refused> {
        let parameter = |name: &str| call.query.get(name).map_or("", String::as_str);
        let labels = parameter("labelSelector").split(',').filter(|part| !part.is_empty()).map(requirement);
        let name = match parameter("fieldSelector") {
            "" => None,
            selector => Some(selector.strip_prefix("metadata.name=").map(str::to_owned).ok_or_else(|| {
                Refused::new(400, "BadRequest", format!("field selector {selector} is not served here"))
            })?),
        };
        Ok(Self {
            resource: call.resource,
            namespace: call.namespace.clone(),
            name,
            labels: labels.collect::<Result<_, _>>()?,
            bookmarks: parameter("allowWatchBookmarks") == "true",
        })
    }

    fn names(&self, key: &Key) -> bool {
        key.resource == self.resource
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
    }

    fn selects(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"].get(key).and_then(Value::as_str);
        self.labels.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Equals(key, value) => label(key) == Some(value),
            Requirement::Differs(key, value) => label(key) != Some(value),
        })
    }
}

fn requirement(text: &str) -> Result<Requirement, Refused> {
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Requirement::Differs(key.to_owned(), value.to_owned()));
    }
    if let Some((key, value)) = text.split_once('=') {
        return Ok(Requirement::Equals(key.to_owned(), value.trim_start_matches('=').to_owned()));
    }
    if text.contains([' ', '(', '!']) {
        return Err(Refused::new(400, "BadRequest", format!("label selector {text} is not served here")));
    }
    Ok(Requirement::Exists(text.to_owned()))
}

/// The selected objects as they were at a version, by a place that sorts as a list does.
pub fn snapshot(state: &State, interest: &Interest, version: u64) -> BTreeMap<String, Arc<Value>> {
    let mut objects: BTreeMap<Key, Arc<Value>> =
        state.list(interest.resource, None).map(|(key, object)| (key.clone(), object.clone())).collect();
    for change in state.changes.iter().rev().take_while(|change| change.version > version) {
        match &change.before {
            Some(before) => objects.insert(change.key.clone(), before.clone()),
            None => objects.remove(&change.key),
        };
    }
    objects
        .into_iter()
        .filter(|(key, object)| interest.names(key) && interest.selects(object))
        .map(|(key, object)| (format!("{}/{}", key.namespace, key.name), object))
        .collect()
}

/// Where a watch is.
struct Cursor {
    store: Store,
    interest: Interest,
    version: u64,
    queue: std::collections::VecDeque<Value>,
    end: Instant,
    ended: bool,
}

/// The events of a watch: first what there is, if asked for, then what happens.
pub fn events(
    store: Store,
    interest: Interest,
    since: Option<u64>,
    initial: bool,
    timeout: u64,
) -> impl Stream<Item = Value> + Send + 'static {
    let mut queue = std::collections::VecDeque::new();
    let state = store.lock();
    // Without a version, or with 0 and no initial events asked for, a watch begins with what there is.
    let begin = initial || since.is_none_or(|version| version == 0);
    let version = match since {
        Some(version) if version > 0 && !begin => version,
        Some(0) => state.visible(interest.resource.kind),
        _ => state.version(),
    };
    if begin {
        queue.extend(snapshot(&state, &interest, version).into_values().map(|object| event("ADDED", &object)));
        if initial {
            queue.push_back(bookmark(&interest, version, true));
        }
    }
    drop(state);
    let end = Instant::now() + Duration::from_secs(timeout);
    let cursor = Cursor { store, interest, version, queue, end, ended: false };
    futures::stream::unfold(cursor, next)
}

async fn next(mut cursor: Cursor) -> Option<(Value, Cursor)> {
    let mut news = cursor.store.listen();
    loop {
        if let Some(event) = cursor.queue.pop_front() {
            return Some((event, cursor));
        }
        if cursor.ended {
            return None;
        }
        news.mark_unchanged();
        cursor.read();
        if !cursor.queue.is_empty() {
            continue;
        }
        tokio::select! {
            biased;
            changed = news.changed() => if changed.is_err() { return None },
            // A watch lasts as long as its client asked for, as on a real server.
            () = tokio::time::sleep_until(cursor.end) => {
                cursor.ended = true;
                if cursor.interest.bookmarks {
                    cursor.queue.push_back(bookmark(&cursor.interest, cursor.version, false));
                }
            }
        }
    }
}

impl Cursor {
    fn read(&mut self) {
        let store = self.store.clone();
        let state = store.lock();
        if self.version < state.compacted {
            self.queue.push_back(json!({ "type": "ERROR", "object": {
                "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": 410,
                "reason": "Expired", "message": format!("too old resource version: {}", self.version),
            } }));
            self.ended = true;
            return;
        }
        let visible = state.visible(self.interest.resource.kind);
        let from = state.changes.partition_point(|change| change.version <= self.version);
        for change in state.changes[from..].iter().take_while(|change| change.version <= visible) {
            self.queue.extend(self.event_of(change));
        }
        self.version = self.version.max(visible);
    }

    fn event_of(&self, change: &Change) -> Option<Value> {
        if !self.interest.names(&change.key) {
            return None;
        }
        let seen = |object: &Option<Arc<Value>>| object.as_ref().is_some_and(|object| self.interest.selects(object));
        match (seen(&change.before), seen(&change.after)) {
            (false, true) => change.after.as_ref().map(|object| event("ADDED", object)),
            (true, true) => change.after.as_ref().map(|object| event("MODIFIED", object)),
            (true, false) => change.before.as_ref().map(|object| {
                let mut last = (**object).clone();
                last["metadata"]["resourceVersion"] = json!(change.version.to_string());
                event("DELETED", &last)
            }),
            (false, false) => None,
        }
    }
}

fn event(type_: &str, object: &Value) -> Value {
    json!({ "type": type_, "object": object })
}

fn bookmark(interest: &Interest, version: u64, initial_end: bool) -> Value {
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if initial_end {
        metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    let (api_version, kind) = (interest.resource.api_version(), interest.resource.kind);
    json!({ "type": "BOOKMARK", "object": { "apiVersion": api_version, "kind": kind, "metadata": metadata } })
}
