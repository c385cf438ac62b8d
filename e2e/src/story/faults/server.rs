//! A real API server as something that an interposer stands in front of.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use kube::{Client, client::Body};
use serde_json::json;
use tokio::sync::watch;
use tower::BoxError;

use crate::scripted::{
    fault::{Reply, Server},
    http::Call,
    store::View,
};

/// How long watches see nothing: longer than anything takes that the operator does next.
const BLIND: Duration = Duration::from_secs(2);

/// What watches see.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    /// Held back.
    hidden: Option<View>,
    /// How often something was hidden that is never shown.
    forgotten: usize,
}

impl Sight {
    fn hides(self, kind: &str) -> bool {
        match self.hidden {
            None => false,
            Some(View::Everything) => true,
            Some(View::Only(hidden)) => hidden == kind,
        }
    }
}

/// A real API server, and a curtain before its watches.
#[derive(Clone, Debug)]
pub struct RealServer {
    client: Connected,
    start: Instant,
    sight: Arc<watch::Sender<Sight>>,
}

/// The client has no words for itself.
#[derive(Clone)]
struct Connected(Client);

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connected")
    }
}

impl RealServer {
    /// Behind a client.
    pub fn new(client: Client) -> Self {
        Self { client: Connected(client), start: Instant::now(), sight: Arc::new(watch::Sender::default()) }
    }

    /// Holds back what a watch brings while it is hidden.
    fn behind_the_curtain(&self, kind: &'static str, body: Body) -> Reply {
        let sight = self.sight.subscribe();
        let since = sight.borrow().forgotten;
        let frames = stream::unfold(Some((body, sight)), move |state| async move {
            let (mut body, mut sight) = state?;
            let frame = body.frame().await?.map_err(BoxError::from);
            let held = sight.borrow().hides(kind);
            if held {
                // The sender lives as long as the server does; without it nothing is hidden.
                let _ = sight.wait_for(|sight| !sight.hides(kind)).await;
                if sight.borrow().forgotten > since {
                    return Some((Ok(Frame::data(gone())), None));
                }
            }
            Some((frame, Some((body, sight))))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

/// What the API server says to a watch whose past it does not know any more.
fn gone() -> bytes::Bytes {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired",
        "message": "injected: too old resource version",
    });
    bytes::Bytes::from(format!("{}\n", json!({ "type": "ERROR", "object": status })))
}

impl Server for RealServer {
    const OUTAGE: Duration = Duration::from_secs(3);

    fn second(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    async fn answer(&self, call: &Call, request: Request<Body>) -> Result<Response<Reply>, BoxError> {
        let response = self.client.0.send(request).await?;
        Ok(response.map(|body| {
            if call.is_watch() {
                self.behind_the_curtain(call.resource.kind, body)
            } else {
                body.map_err(BoxError::from).boxed_unsync()
            }
        }))
    }

    fn blind(&self, view: View, forget: bool) {
        self.sight.send_modify(|sight| {
            sight.hidden = Some(view);
            sight.forgotten += usize::from(forget);
        });
        let curtain = self.sight.clone();
        tokio::spawn(async move {
            // The fault itself: nobody waits for its end.
            tokio::time::sleep(BLIND).await;
            curtain.send_modify(|sight| sight.hidden = None);
        });
    }
}
