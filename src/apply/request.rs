//! One request that writes: sent with an end, answered with what the API server said, told apart by what to do next.
//!
//! The client's own calls are not used here because they drop two things that matter: whether an object was created or
//! changed, and the `Retry-After` of a server that is too busy to answer in JSON.

use std::time::Duration;

use http_body_util::BodyExt;
use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    client::Body,
    core::{Request, Status},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    api::condition::Reason,
    cache::Source,
    leader::Leadership,
    plan::{Obstacle, object::FIELD_MANAGER, steady::steady},
};

/// The longest wait for an answer. An API server gives up by itself after 34 seconds for writes that hang on a webhook;
/// whatever takes longer is better asked again.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest `Retry-After` that is believed. Whatever stands between us and the API server may write any number there.
const RETRY_AFTER_MOST: Duration = Duration::from_mins(5);

/// How much of a body that is no status is looked at.
const BODY_MOST: usize = 2048;

/// An answer that did what was asked.
#[derive(Debug)]
pub struct Answer {
    /// Whether the object is new.
    pub created: bool,
    /// The object, as text.
    body: Vec<u8>,
}

impl Answer {
    /// Reads the object. Done by whoever knows how little of it is wanted.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Setback> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Setback::Failing { message: error.to_string(), not_before: None })
    }
}

/// Why a request did not do what was asked, by what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Setback {
    /// We do not lead any more: nothing at all.
    #[error("this replica does not lead any more")]
    Deposed,
    /// The object is not what was planned on: look again.
    #[error("conflict: {0}")]
    Conflict(String),
    /// It does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// The API server refuses it as it is: tell the user, and try now and then.
    #[error("refused: {}", .0.message)]
    Refused(Obstacle),
    /// It may pass by itself: try again, but not before what the server asks for.
    #[error("no success: {message}")]
    Failing {
        /// What happened.
        message: String,
        /// `Retry-After`.
        not_before: Option<Duration>,
    },
}

/// What the requests of an apply need.
#[derive(Clone)]
pub struct Writer {
    /// The client, without retries of its own.
    pub client: Client,
    /// The permit.
    pub leadership: Leadership,
}

impl Writer {
    /// Server-side apply of an object, or of its status.
    pub async fn apply(
        &self,
        source: Source,
        namespace: &str,
        name: &str,
        body: &Value,
        status: bool,
    ) -> Result<Answer, Setback> {
        let request = Request::new(path(source, namespace));
        let params = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
        let patch = Patch::Apply(body);
        let request = if status {
            request.patch_subresource("status", name, &params, &patch)
        } else {
            request.patch(name, &params, &patch)
        };
        self.write(request).await
    }

    /// Takes the owners from exactly the object that was observed, of this uid and version. An apply cannot do that
    /// to an object whose other fields nobody knows any more.
    pub async fn disown(
        &self,
        source: Source,
        namespace: &str,
        name: &str,
        (uid, resource_version): (&str, &str),
    ) -> Result<Answer, Setback> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let metadata = json!({ "uid": uid, "resourceVersion": resource_version, "ownerReferences": null });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        self.write(Request::new(path(source, namespace)).patch(name, &params, &patch)).await
    }

    /// Deletes exactly the object that was observed; what it owns follows in the background.
    pub async fn delete(
        &self,
        source: Source,
        namespace: &str,
        name: &str,
        uid: &str,
        resource_version: &str,
    ) -> Result<Answer, Setback> {
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: Some(resource_version.to_owned()),
        });
        self.write(Request::new(path(source, namespace)).delete(name, &params)).await
    }

    /// Creates a Secret, or tries whether it could: a conflict says that one of the name exists. Never by apply: whoever may patch a
    /// Secret gets to read it.
    pub async fn create_secret(&self, namespace: &str, body: &Value, trial: bool) -> Result<(), Setback> {
        let params = PostParams { dry_run: trial, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let data = serde_json::to_vec(body).expect("API objects are plain data with string keys");
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        // The answer holds the content: it is dropped unread.
        self.write(Request::new(path).create(&params, data)).await.map(drop)
    }

    /// Reads an object. Not a write, but asked in the course of one.
    pub async fn get(&self, source: Source, namespace: &str, name: &str) -> Result<Answer, Setback> {
        self.send(Request::new(path(source, namespace)).get(name, &kube::api::GetParams::default())).await
    }

    /// Reads the objects of a kind that carry a label, as they are now and not as some cache has them.
    pub async fn list(&self, source: Source, namespace: &str, labels: &str) -> Result<Answer, Setback> {
        let params = kube::api::ListParams::default().labels(labels);
        self.send(Request::new(path(source, namespace)).list(&params)).await
    }

    async fn write(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Answer, Setback> {
        // The last moment: a process that was stopped for a while finds out here that others lead.
        if !self.leadership.still_ours() {
            return Err(Setback::Deposed);
        }
        // What is still on its way when the permit ends is called back: a slow connection must not deliver it to a
        // server that hears another leader by then. The lease lasts longer than the permit, for what left already.
        tokio::select! {
            biased;
            () = self.leadership.ended() => Err(Setback::Deposed),
            answer = self.send(request) => answer,
        }
    }

    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Answer, Setback> {
        let failing = |message: String| Setback::Failing { message, not_before: None };
        let request = request.map_err(|error| failing(error.to_string()))?.map(Body::from);
        let exchange = async {
            let (head, body) =
                self.client.send(request).await.map_err(|error| failing(error.to_string()))?.into_parts();
            let body = body.collect().await.map_err(|error| failing(error.to_string()))?.to_bytes();
            Ok((head, body))
        };
        let (head, body) = tokio::time::timeout(LONGEST, exchange)
            .await
            .map_err(|_| failing(format!("no answer within {LONGEST:?}")))??;
        if head.status.is_success() {
            return Ok(Answer { created: head.status == http::StatusCode::CREATED, body: body.into() });
        }
        Err(setback(head.status.as_u16(), retry_after(&head.headers), &body))
    }
}

fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MOST))
}

fn path(source: Source, namespace: &str) -> String {
    let resource = source.resource();
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    format!("{root}/{}/namespaces/{namespace}/{}", resource.api_version, resource.plural)
}

/// What an answer that is no success asks us to do.
fn setback(code: u16, not_before: Option<Duration>, body: &[u8]) -> Setback {
    let status: Status = serde_json::from_slice(body).unwrap_or_default();
    // What is no status may be anything, such as a page of HTML that something on the way made.
    let message = if status.message.is_empty() {
        let start = String::from_utf8_lossy(&body[..body.len().min(BODY_MOST)]);
        steady(&format!("{code} {start}"))
    } else {
        steady(&status.message)
    };
    let refused = |reason| Setback::Refused(Obstacle { reason, message: message.clone() });
    match code {
        404 => Setback::NotFound(message),
        409 => Setback::Conflict(message),
        // The uid that we sent is another object's: it was replaced under its name.
        422 if names_uid(&status) => Setback::Conflict(message),
        403 if message.contains("exceeded quota") => refused(Reason::QuotaExceeded),
        403 if message.contains(" cannot ") && message.contains(" resource ") => refused(Reason::Forbidden),
        400 | 403 | 405 | 413 | 422 => refused(Reason::ObjectRefused),
        // A webhook that does not answer stays so until somebody looks: that must be told.
        500 if message.contains("webhook") => refused(Reason::ObjectRefused),
        _ => Setback::Failing { message, not_before },
    }
}

fn names_uid(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.field == "metadata.uid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_answers_apart_by_what_to_do() {
        let status = |message: &str| serde_json::json!({ "kind": "Status", "message": message }).to_string();
        let refused = |code, message: &str| {
            let answer = setback(code, None, status(message).as_bytes());
            let Setback::Refused(obstacle) = answer else { panic!("{answer:?}") };
            obstacle.reason
        };
        assert_eq!(
            refused(403, "services \"a\" is forbidden: exceeded quota: q, requested: count=1"),
            Reason::QuotaExceeded
        );
        let rbac = "deployments.apps \"a\" is forbidden: User \"u\" cannot patch resource \"deployments\" in API group \"apps\"";
        assert_eq!(refused(403, rbac), Reason::Forbidden);
        assert_eq!(refused(403, "violates PodSecurity"), Reason::ObjectRefused);
        assert_eq!(refused(422, "invalid"), Reason::ObjectRefused);
        let busy = setback(429, Some(Duration::from_secs(1)), b"Too many requests, please try again later.\n");
        let message = "429 Too many requests, please try again later.".to_owned();
        assert_eq!(busy, Setback::Failing { message, not_before: Some(Duration::from_secs(1)) });
        let page = format!("<html>\n<body>{}</body>\n</html>", "Bad gateway ".repeat(10_000));
        let Setback::Failing { message, .. } = setback(502, None, page.as_bytes()) else { panic!() };
        assert!(message.starts_with("502 <html> <body>Bad gateway"), "{message}");
        assert!(message.len() < 1000 && !message.contains('\n'), "{message}");
        let quota = |used: &str| {
            let text = format!(
                "services \"a\" is forbidden: exceeded quota: q, requested: services=1, used: services={used}, limited: services=9"
            );
            setback(403, None, status(&text).as_bytes())
        };
        assert_eq!(quota("9"), quota("10"), "what others use is no news");
        assert!(matches!(setback(409, None, b"{}"), Setback::Conflict(_)));
        assert!(matches!(setback(500, None, b"{}"), Setback::Failing { .. }));
    }

    /// Sends a write that is never answered. Returns how long it was waited for, and why no longer.
    async fn unanswered(leadership: &Leadership) -> (Duration, Setback) {
        let silent = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let (service, mut requests) = silent;
        requests.allow(1);
        let writer = Writer { client: Client::new(service, "default"), leadership: leadership.clone() };
        let began = tokio::time::Instant::now();
        let body = serde_json::json!({});
        let source = Source::Children(crate::plan::object::Kind::Service);
        let setback = writer.apply(source, "ns", "a", &body, false).await.unwrap_err();
        drop(requests);
        (began.elapsed(), setback)
    }

    #[tokio::test(start_paused = true)]
    async fn no_write_outlives_the_permit() {
        let seconds = |count| tokio::time::Instant::now() + Duration::from_secs(count);
        let leadership = Leadership::lasting(seconds(8));
        assert_eq!(unanswered(&leadership).await, (Duration::from_secs(8), Setback::Deposed));
        let renewed = Leadership::lasting(seconds(8));
        let renewal = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            renewed.renew(seconds(60));
        };
        let ((waited, setback), ()) = tokio::join!(unanswered(&renewed), renewal);
        assert!(waited == LONGEST && matches!(setback, Setback::Failing { .. }), "{waited:?} {setback:?}");
    }

    #[test]
    fn believes_no_endless_retry_after() {
        let told = |value: &str| {
            let headers = [(http::header::RETRY_AFTER, value.parse().unwrap())].into_iter().collect();
            retry_after(&headers)
        };
        assert_eq!(told("2"), Some(Duration::from_secs(2)));
        assert_eq!(told("18446744073709551615"), Some(RETRY_AFTER_MOST), "added to an instant, this would overflow");
        assert_eq!(told("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert_eq!(retry_after(&http::HeaderMap::new()), None);
    }

    #[test]
    fn takes_a_replaced_object_for_a_conflict() {
        let body = serde_json::json!({
            "kind": "Status",
            "message": "invalid",
            "details": { "causes": [{ "reason": "FieldValueInvalid", "message": "immutable", "field": "metadata.uid" }] },
        });
        assert!(matches!(setback(422, None, body.to_string().as_bytes()), Setback::Conflict(_)));
    }

    #[test]
    fn knows_where_each_kind_lives() {
        use crate::plan::object::Kind;
        assert_eq!(path(Source::Children(Kind::Service), "ns"), "/api/v1/namespaces/ns/services");
        assert_eq!(path(Source::Children(Kind::Deployment), "ns"), "/apis/apps/v1/namespaces/ns/deployments");
        assert_eq!(path(Source::Fleets, "ns"), "/apis/goproxy.rs/v1alpha1/namespaces/ns/goproxies");
    }
}
