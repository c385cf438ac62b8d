//! Requests over a unix socket.

use std::{path::Path, time::Duration};

use axum::body::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// The longest answer. The longest list of versions there is has about a hundredth of that.
const ANSWER_MAX: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("the exchange failed: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("the answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// Sends one request on a connection of its own, which costs some microseconds where both ends are on one machine.
pub(super) async fn send(
    socket: &Path,
    request: Request<Full<Bytes>>,
    patience: Duration,
) -> Result<Response<Bytes>, Unanswered> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driving = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(Unanswered::Body)?.to_bytes();
        driving.abort();
        Ok(Response::from_parts(head, body))
    };
    tokio::time::timeout(patience, exchange).await.unwrap_or(Err(Unanswered::Late(patience)))
}

/// A request without a body.
pub(super) fn get(path: &str) -> http::request::Builder {
    Request::get(path).header("host", "edge")
}
