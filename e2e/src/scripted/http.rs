//! From an HTTP request to an answer.

use std::{collections::BTreeMap, convert::Infallible};

use futures::{Stream, StreamExt as _};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Collected, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};

use super::{
    resource::Resource,
    store::{Key, Store},
    watch::{self, Interest},
    write::{self, Refused, Writer},
};

/// Body of an answer.
pub type Answer = UnsyncBoxBody<bytes::Bytes, Infallible>;

/// A request, taken apart.
#[derive(Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// The kind that it is about.
    pub resource: &'static Resource,
    /// The namespace; `None` is all.
    pub namespace: Option<String>,
    /// The name; empty for a collection.
    pub name: String,
    /// The subresource; empty for the object itself.
    pub subresource: String,
    /// Parameters.
    pub query: BTreeMap<String, String>,
    /// `Content-Type`.
    pub content_type: String,
    /// The body; null when there is none.
    pub body: Value,
}

impl Call {
    /// Reads a request.
    pub async fn read(request: Request<Body>) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let unknown = || Refused::new(404, "NotFound", format!("the server could not find {path}"));
        let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match steps.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(unknown()),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let [plural, rest @ ..] = rest else { return Err(unknown()) };
        let resource = Resource::find(group, version, plural).ok_or_else(unknown)?;
        let bytes = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        let part = |at: usize| rest.get(at).copied().unwrap_or_default().to_owned();
        Ok(Self {
            method: parts.method,
            resource,
            namespace,
            name: part(0),
            subresource: part(1),
            query: url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
            content_type: parts
                .headers
                .get(http::header::CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        })
    }

    /// Whether it is a watch.
    pub fn is_watch(&self) -> bool {
        self.method == Method::GET && self.query.get("watch").is_some_and(|watch| watch == "true" || watch == "1")
    }

    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// A word for what it does, and to what.
    pub fn title(&self) -> String {
        let verb = if self.is_watch() {
            "watch"
        } else {
            match (&self.method, self.name.is_empty()) {
                (&Method::GET, true) => "list",
                (&Method::GET, false) => "get",
                (&Method::POST, _) => "create",
                (&Method::PUT, _) => "replace",
                (&Method::PATCH, _) => "patch",
                _ => "delete",
            }
        };
        let name = if self.name.is_empty() { "" } else { " " };
        let status = if self.subresource.is_empty() { "" } else { "/" };
        format!("{verb} {}{name}{}{status}{}", self.resource.plural, self.name, self.subresource)
    }

    fn key(&self) -> Key {
        let named = self.body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let name = if self.name.is_empty() { named.to_owned() } else { self.name.clone() };
        Key { resource: self.resource, namespace: self.namespace.clone().unwrap_or_default(), name }
    }

    fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

/// Answers a call.
pub fn answer(store: &Store, call: &Call) -> Response<Answer> {
    if call.is_watch() {
        return watch_answer(store, call);
    }
    match read_or_write(store, call) {
        Ok((code, value)) => json_answer(code, &value),
        Err(refused) => refusal(&refused),
    }
}

fn read_or_write(store: &Store, call: &Call) -> Result<(u16, Value), Refused> {
    let mut state = store.lock();
    let manager = match call.parameter("fieldManager") {
        "" => "unknown",
        named => named,
    };
    let writer = Writer {
        manager: manager.to_owned(),
        force: call.parameter("force") == "true",
        status: call.subresource == "status",
    };
    let key = call.key();
    let outcome = match call.method.as_str() {
        "GET" if call.name.is_empty() => {
            drop(state);
            return list(store, call).map(|list| (200, list));
        }
        "GET" => state.get(&key).cloned().map(|object| (200, object)).ok_or_else(|| Refused::not_found(&key)),
        "POST" => {
            let mut body = call.body.clone();
            let key = generate_name(&mut body, key, state.version());
            write::create(&mut state, &key, &writer, body)
        }
        "PUT" => write::replace(&mut state, &key, &writer, call.body.clone()),
        "PATCH" if call.content_type == "application/apply-patch+yaml" => {
            write::apply(&mut state, &key, &writer, &call.body)
        }
        "PATCH" if call.content_type == "application/merge-patch+json" => {
            write::merge_patch(&mut state, &key, &writer, &call.body)
        }
        "DELETE" if !call.name.is_empty() => {
            write::delete(&mut state, &key, "goproxy-operator", &call.body["preconditions"])
        }
        _ => Err(Refused::new(405, "MethodNotAllowed", format!("{} is not served here", call.title()))),
    };
    outcome.map(|(code, object)| (code, (*object).clone()))
}

fn generate_name(body: &mut Value, key: Key, version: u64) -> Key {
    let prefix = body["metadata"]["generateName"].as_str().unwrap_or_default();
    if !key.name.is_empty() || prefix.is_empty() {
        return key;
    }
    let name = format!("{prefix}{version}");
    body["metadata"]["name"] = json!(name);
    Key { name, ..key }
}

/// A list: the newest state, page by page; a page goes on by name.
fn list(store: &Store, call: &Call) -> Result<Value, Refused> {
    let state = store.lock();
    let interest = Interest::of(call)?;
    // "Any version" may be as old as what watches see; everything else is the newest.
    let any = call.parameter("resourceVersion") == "0" && call.parameter("resourceVersionMatch") != "NotOlderThan";
    let version = if any { state.visible(call.resource.kind) } else { state.version() };
    let after = call.parameter("continue").to_owned();
    let limit = call.parameter("limit").parse().unwrap_or(usize::MAX);
    let all = watch::snapshot(&state, &interest, version);
    let mut rest = all.into_iter().filter(|(place, _)| *place > after).peekable();
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let next = match (page.last(), rest.peek()) {
        (Some((place, _)), Some(_)) => place.clone(),
        _ => String::new(),
    };
    let items: Vec<Value> = page.into_iter().map(|(_, object)| (*object).clone()).collect();
    Ok(json!({
        "apiVersion": call.resource.api_version(),
        "kind": format!("{}List", call.resource.kind),
        "metadata": { "resourceVersion": version.to_string(), "continue": next },
        "items": items,
    }))
}

fn watch_answer(store: &Store, call: &Call) -> Response<Answer> {
    let interest = match Interest::of(call) {
        Ok(interest) => interest,
        Err(refused) => return refusal(&refused),
    };
    let initial = call.parameter("sendInitialEvents") == "true";
    let timeout = call.parameter("timeoutSeconds").parse().unwrap_or(300);
    let since = match call.parameter("resourceVersion") {
        "" => None,
        number => number.parse().ok(),
    };
    stream_answer(watch::events(store.clone(), interest, since, initial, timeout))
}

fn stream_answer(events: impl Stream<Item = Value> + Send + 'static) -> Response<Answer> {
    // As the API server writes it, the type first: whoever reads knows then how to read the object.
    let line = |event: Value| format!("{{\"type\":{},\"object\":{}}}\n", event["type"], event["object"]);
    let frames = events.map(move |event| Ok(Frame::data(bytes::Bytes::from(line(event)))));
    response(200, StreamBody::new(frames).boxed_unsync())
}

/// An answer with a body of JSON.
pub fn json_answer(code: u16, value: &Value) -> Response<Answer> {
    response(code, Full::new(bytes::Bytes::from(value.to_string())).boxed_unsync())
}

/// A refusal as the API server sends it.
pub fn refusal(refused: &Refused) -> Response<Answer> {
    let mut status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": refused.code, "reason": refused.reason, "message": refused.message,
    });
    if refused.code != 429 {
        return json_answer(refused.code, &status);
    }
    status["details"] = json!({ "retryAfterSeconds": 1 });
    let mut answer = json_answer(refused.code, &status);
    answer.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    answer
}

fn response(code: u16, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}
