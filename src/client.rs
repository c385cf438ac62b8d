//! Clients of the API server, one per kind of use, because what is right for one is wrong for another.

use std::time::Duration;

use kube::{Client, Config};

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
        watch: Client::try_from(config)?,
        request: Client::try_from(limited.clone())?,
        lease: Client::try_from(limited)?,
    })
}

/// An error in words: the library's own text repeats the whole answer.
pub fn describe(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error { status.message.clone() } else { error.to_string() }
}
