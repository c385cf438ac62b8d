//! One question to one pod.

use std::{net::SocketAddr, time::Duration};

use axum::body::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::sidecar::report::Report;

/// The longest report: dozens of servers and hosts, each with an error of some hundred letters.
const REPORT_MAX: usize = 256 << 10;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Unheard {
    /// Nobody listens, or a policy is in the way.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection broke, or what came is no HTTP.
    #[error("the exchange failed: {0}")]
    Exchange(#[from] hyper::Error),
    /// It is no report.
    #[error("answered with {0}")]
    Status(StatusCode),
    /// It is too long, or was cut off.
    #[error("the report cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// It is not what a sidecar tells.
    #[error("this is no report: {0}")]
    Form(#[from] serde_json::Error),
    /// It took too long.
    #[error("no report within {0:?}")]
    Late(Duration),
}

/// Asks once, on a connection of its own: there is one question in a quarter of a minute.
pub(super) async fn report(address: SocketAddr, patience: Duration) -> Result<Report, Unheard> {
    tokio::time::timeout(patience, exchange(address)).await.unwrap_or(Err(Unheard::Late(patience)))
}

async fn exchange(address: SocketAddr) -> Result<Report, Unheard> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/report").header("host", address.to_string()).body(Empty::<Bytes>::new());
    let request = request.expect("an address is a header's value");
    let asked = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        if head.status != StatusCode::OK {
            return Err(Unheard::Status(head.status));
        }
        let body = Limited::new(body, REPORT_MAX).collect().await.map_err(Unheard::Body)?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    };
    tokio::pin!(asked);
    // Dropped together: nothing of a question outlives it.
    tokio::select! {
        answer = &mut asked => answer,
        ended = connection => match ended {
            Ok(()) => asked.await,
            Err(error) => Err(error.into()),
        },
    }
}
