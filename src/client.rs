//! Clients of the API server, one per kind of use, because what is right for one is wrong for another.

use std::time::Duration;

use http::{Request, Uri};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tower::util::MapRequestLayer;

/// The clients.
#[derive(Clone)]
pub struct Clients {
    /// For watches: no limit on how long an answer may trickle.
    pub watch: Client,
    /// For requests: each has an end, and none is repeated by the client, so that whoever asked decides.
    pub request: Client,
    /// For the lease alone, so that nothing else can stand in its way.
    pub lease: Client,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither in a cluster nor with a usable kubeconfig.
    #[error("no cluster is configured: {0}; run in a pod with a service account, or set KUBECONFIG")]
    Configuration(#[from] kube::config::InferConfigError),
    /// The configuration cannot be used.
    #[error("the cluster's configuration cannot be used: {0}")]
    Setup(#[from] kube::Error),
}

/// Clients for the cluster that the environment names: the pod's own, or that of `KUBECONFIG`.
pub async fn clients() -> Result<Clients, ClientError> {
    let mut config = Config::infer().await?;
    config.default_retry = false;
    let mut limited = config.clone();
    limited.connect_timeout = Some(Duration::from_secs(5));
    // Beyond the time-out of each request, which is what counts; this one closes a dead connection.
    limited.read_timeout = Some(Duration::from_secs(35));
    limited.write_timeout = Some(Duration::from_secs(35));
    limited.reset_reader_on_write = true;
    config.read_timeout = None;
    Ok(Clients {
        watch: ClientBuilder::try_from(config)?.with_layer(&MapRequestLayer::new(newest)).build(),
        request: Client::try_from(limited.clone())?,
        lease: Client::try_from(limited)?,
    })
}

/// Streamed lists shall hold what is true now. The library asks for version 0, which lets an API server answer out of a
/// cache that is behind by any time; without a version it first makes sure that its cache is not.
pub fn newest(mut request: Request<Body>) -> Request<Body> {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    if !query.split('&').any(|one| one == "sendInitialEvents=true") {
        return request;
    }
    let others: Vec<&str> = query.split('&').filter(|one| *one != "resourceVersion=0").collect();
    // A part of what was a URI is one.
    if let Ok(uri) = format!("{path}?{}", others.join("&")).parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request
}

/// An error in words: the library's own text repeats the whole answer.
pub fn describe(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error { status.message.clone() } else { error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streamed_list_is_asked_for_as_it_is_now_and_nothing_else_is_touched() {
        let sent = |uri: &str| newest(Request::get(uri).body(Body::empty()).unwrap()).uri().to_string();
        assert_eq!(
            sent("/api/v1/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0"),
            "/api/v1/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        );
        for other in ["/api/v1/pods?watch=true&resourceVersion=0", "/api/v1/pods?limit=500", "/api/v1/pods"] {
            assert_eq!(sent(other), other);
        }
    }
}
