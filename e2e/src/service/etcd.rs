//! etcd as a lock service. It is not the one of the cluster's API server.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::room::Room;
use crate::cluster::Cluster;
use crate::progress::Progress;
use crate::tools::{self, Family};

/// What its client needs.
pub const PROGRAMS: &[(&str, &str)] = &[("curl", "curl")];

const COMPONENT: &str = "lock-etcd";
const PORT: u16 = 2479;
const PEER: &str = "http://127.0.0.1:2480";

/// A running server, without encryption and without a password. Locks outlive a crash.
#[derive(Debug)]
pub struct Etcd {
    /// Its process.
    pub server: Room,
}

/// Starts the server.
pub async fn start(cluster: &Cluster) -> Result<Etcd> {
    tools::ensure(&[Family::Etcd], &Progress::new())?;
    let mut server = Room::open(cluster, "etcd", PROGRAMS)?;
    let process = server.process(COMPONENT, tools::bin(Family::Etcd, "etcd")).args([
        "--name=locks".to_owned(),
        format!("--data-dir={}", server.path_text("data")),
        format!("--listen-client-urls=http://0.0.0.0:{PORT}"),
        format!("--advertise-client-urls=http://{}", server.endpoint(PORT)),
        format!("--listen-peer-urls={PEER}"),
        format!("--initial-advertise-peer-urls={PEER}"),
        format!("--initial-cluster=locks={PEER}"),
        // The data is worth nothing after a crash of the machine.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]);
    server.serve(&process, PORT).await?;
    Ok(Etcd { server })
}

impl Etcd {
    /// Address of the server.
    pub fn endpoint(&self) -> String {
        self.server.endpoint(PORT)
    }

    /// Takes the lock of this name with a lease, and returns the key that stands for holding it.
    pub async fn lock(&self, name: &str) -> Result<String> {
        let lease = self.call("lease/grant", &json!({"TTL": 60})).await?;
        let request = json!({"name": STANDARD.encode(name), "lease": lease["ID"]});
        let answer = self.call("lock/lock", &request).await?;
        Ok(answer["key"].as_str().context("etcd answered without a key")?.to_owned())
    }

    /// Gives a lock back.
    pub async fn unlock(&self, key: &str) -> Result<()> {
        self.call("lock/unlock", &json!({"key": key})).await.map(drop)
    }

    /// How many hold the lock of this name or wait for it.
    pub async fn contenders(&self, name: &str) -> Result<u64> {
        let end = format!("{name}0");
        let range = json!({
            "key": STANDARD.encode(format!("{name}/")), "range_end": STANDARD.encode(end), "count_only": true,
        });
        let answer = self.call("kv/range", &range).await?;
        Ok(answer["count"].as_str().and_then(|count| count.parse().ok()).unwrap_or(0))
    }

    async fn call(&self, path: &str, request: &Value) -> Result<Value> {
        let url = format!("http://{}/v3/{path}", self.endpoint());
        let (limit, data) = (["--max-time", "10"], request.to_string());
        let args = [&["--silent", "--show-error", "--fail-with-body"], &limit[..], &["--data", &data, &url]].concat();
        let answer = self.server.client("curl", &args, "").await?;
        serde_json::from_str(&answer).with_context(|| format!("etcd answered {answer:?}"))
    }
}
