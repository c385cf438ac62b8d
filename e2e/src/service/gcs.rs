//! What stands for Google Cloud Storage: fake-gcs-server on a directory, behind nginx, which speaks for the public names by
//! TLS, hands out a token and asks for it. Clients find it through an egress proxy that knows where it is.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::room::{Room, secret};
use crate::cluster::Cluster;
use crate::progress::Progress;
use crate::tools::{self, Family};

/// What speaks for it, what makes keys, and what its client needs.
pub const PROGRAMS: &[(&str, &str)] = &[("nginx", "nginx"), ("openssl", "openssl"), ("curl", "curl")];

const STORE: &str = "gcs-store";
const FRONT: &str = "gcs-front";
const STORE_PORT: u16 = 4443;
const FRONT_PORT: u16 = 443;
/// Where clients look for objects, and where for tokens.
const NAMES: [&str; 2] = ["storage.googleapis.com", "oauth2.googleapis.com"];
const PROJECT: &str = "goproxy-lab";

/// A store with one bucket. Objects outlive a crash.
#[derive(Debug)]
pub struct Gcs {
    /// Its two processes.
    pub server: Room,
    /// Name of the bucket.
    pub bucket: String,
    /// Key file of a service account that may use the store.
    pub key: String,
    /// Who vouches for the public names here, as PEM.
    pub ca_pem: String,
}

/// Starts the store and makes the bucket.
pub async fn start(cluster: &Cluster) -> Result<Gcs> {
    tools::ensure(&[Family::FakeGcsServer], &Progress::new())?;
    let mut server = Room::open(cluster, "gcs", PROGRAMS)?;
    let ca_pem = server.certify_as(&NAMES)?;
    let data = server.make("data")?.display().to_string();
    let port = STORE_PORT.to_string();
    let outside = format!("https://{}", NAMES[0]);
    let store = server.process(STORE, tools::bin(Family::FakeGcsServer, "fake-gcs-server"));
    let store = store.args(["-scheme", "http", "-host", "0.0.0.0", "-port", &port, "-log-level", "error"]);
    let store = store.args(["-backend", "filesystem", "-filesystem-root", &data]);
    let store = store.args(["-public-host", NAMES[0], "-external-url", &outside]);
    server.serve(&store, STORE_PORT).await?;

    let conf = include_str!("gcs.conf")
        .replace("@STATE@", &server.path_text(""))
        .replace("@PORT@", &FRONT_PORT.to_string())
        .replace("@STORE@", NAMES[0])
        .replace("@TOKENS@", NAMES[1])
        .replace("@TOKEN@", &secret()?)
        .replace("@BEHIND@", &server.endpoint(STORE_PORT));
    let conf = server.write("nginx.conf", &conf)?.display().to_string();
    let front = server.process(FRONT, "/usr/sbin/nginx");
    let front = front.args(["-e", "/dev/stderr", "-g", "daemon off; user root;", "-c", &conf]);
    server.serve(&front, FRONT_PORT).await?;

    let key = key_file(&server).await?;
    let gcs = Gcs { server, bucket: "modules".to_owned(), key, ca_pem };
    let bucket = json!({"name": gcs.bucket}).to_string();
    gcs.call(&format!("b?project={PROJECT}"), Some(&bucket)).await.context("make the bucket")?;
    Ok(gcs)
}

/// What Google gives to who asks for a key of a service account.
async fn key_file(server: &Room) -> Result<String> {
    let args = ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let private_key = server.client("openssl", &args, "").await.context("make a private key")?;
    let account = format!("proxy@{PROJECT}.iam.gserviceaccount.com");
    let key = json!({
        "type": "service_account", "project_id": PROJECT, "private_key_id": "1", "private_key": private_key,
        "client_email": account, "client_id": "1", "token_uri": format!("https://{}/token", NAMES[1]),
        "universe_domain": "googleapis.com",
    });
    Ok(key.to_string())
}

impl Gcs {
    /// The public names, with where they are: for an egress proxy.
    pub fn names(&self) -> [(&'static str, Ipv4Addr); 2] {
        NAMES.map(|name| (name, self.server.address()))
    }

    /// Names of the objects in the bucket.
    pub async fn objects(&self) -> Result<Vec<String>> {
        let answer = self.call(&format!("b/{}/o", self.bucket), None).await?;
        let items = answer["items"].as_array().into_iter().flatten();
        Ok(items.filter_map(|item| item["name"].as_str().map(str::to_owned)).collect())
    }

    /// Asks the store itself, past what speaks for it.
    async fn call(&self, path: &str, body: Option<&str>) -> Result<Value> {
        let url = format!("http://{}/storage/v1/{path}", self.server.endpoint(STORE_PORT));
        let mut args = vec!["--silent", "--show-error", "--fail-with-body"];
        if let Some(body) = body {
            args.extend(["--header", "Content-Type: application/json", "--data", body]);
        }
        args.push(&url);
        let answer = self.server.client("curl", &args, "").await?;
        serde_json::from_str(&answer).with_context(|| format!("the store answered {answer:?}"))
    }
}
