//! Kubeconfig files: for components inside a cluster, for the host, and for other clusters.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::network::Addresses;
use super::pki::Pair;

/// From where a kubeconfig is used, which decides the address of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Processes in the cluster's own network namespace.
    Inside,
    /// The host.
    Host,
    /// Other clusters, over the link that can be cut.
    OtherClusters,
}

impl Reach {
    fn server(self, addresses: Addresses) -> String {
        match self {
            Self::Inside => "https://127.0.0.1:6443".to_owned(),
            Self::Host => format!("https://{}:6443", addresses.cluster_end()),
            Self::OtherClusters => format!("https://{}:6443", addresses.wan()),
        }
    }
}

/// How a user proves who it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A client certificate.
    Certificate(Pair),
    /// A bearer token.
    Token(String),
}

/// One entry: a cluster and a user under a common name.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Name of the context, its cluster and its user.
    pub name: &'a str,
    /// Which address the API server is reached under.
    pub from: Reach,
    /// The cluster's addresses.
    pub addresses: Addresses,
    /// Certificate of the authority, as PEM.
    pub authority: &'a str,
    /// The user's proof.
    pub credential: Credential,
}

/// Writes a kubeconfig whose current context is the first entry.
pub fn write(path: &Path, entries: &[Entry<'_>]) -> Result<()> {
    let text = serde_saphyr::to_string(&render(entries)).context("cannot render a kubeconfig")?;
    write_protected(path, &text)
}

/// Writes a file that only its owner may read.
pub fn write_protected(path: &Path, text: &str) -> Result<()> {
    let write = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn render(entries: &[Entry<'_>]) -> Value {
    let clusters: Vec<Value> = entries
        .iter()
        .map(|entry| {
            json!({"name": entry.name, "cluster": {
                "server": entry.from.server(entry.addresses),
                "certificate-authority-data": BASE64_STANDARD.encode(entry.authority),
            }})
        })
        .collect();
    let users: Vec<Value> =
        entries.iter().map(|entry| json!({"name": entry.name, "user": user(&entry.credential)})).collect();
    let contexts: Vec<Value> =
        entries.iter().map(|e| json!({"name": e.name, "context": {"cluster": e.name, "user": e.name}})).collect();
    json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": clusters, "users": users, "contexts": contexts,
        "current-context": entries.first().map(|entry| entry.name),
    })
}

fn user(credential: &Credential) -> Value {
    match credential {
        Credential::Certificate(pair) => json!({
            "client-certificate-data": BASE64_STANDARD.encode(&pair.certificate),
            "client-key-data": BASE64_STANDARD.encode(&pair.key),
        }),
        Credential::Token(token) => json!({"token": token}),
    }
}

/// A client for the current context of a kubeconfig.
pub(super) async fn client_of(path: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Client::try_from(config).context("cannot make a client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_is_the_current_context_and_the_client_library_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/kubeconfig");
        let entry = |name, index| Entry {
            name,
            from: Reach::Host,
            addresses: Addresses::of(index).unwrap(),
            authority: "ca",
            credential: Credential::Token("t".into()),
        };
        write(&path, &[entry("lab-a", 1), entry("lab-b", 2)]).unwrap();
        let read = kube::config::Kubeconfig::read_from(&path).unwrap();
        assert_eq!(read.current_context.as_deref(), Some("lab-a"));
        let servers: Vec<_> =
            read.clusters.iter().map(|c| c.cluster.as_ref().unwrap().server.clone().unwrap()).collect();
        assert_eq!(servers, ["https://10.201.1.2:6443", "https://10.201.2.2:6443"]);
    }
}
