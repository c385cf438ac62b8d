//! An object store that speaks S3, versitygw on a directory, with one bucket.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::room::{Room, secret};
use crate::cluster::Cluster;
use crate::progress::Progress;
use crate::tools::{self, Family, hex};

/// What its client needs.
pub const PROGRAMS: &[(&str, &str)] = &[("curl", "curl")];

const PLAIN: &str = "s3-http";
const ENCRYPTED: &str = "s3-https";
const PLAIN_PORT: u16 = 7070;
const ENCRYPTED_PORT: u16 = 7071;

/// A store with one bucket, over http and over https. Objects outlive a crash.
#[derive(Debug)]
pub struct Bucket {
    /// Its processes, one for each of the two.
    pub server: Room,
    /// Name of the bucket; it is addressed in the path.
    pub name: String,
    /// Region that signatures have to name.
    pub region: String,
    /// The one key that may do anything.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Who vouches for the encrypted address, as PEM.
    pub ca_pem: String,
}

/// Starts the store and makes the bucket.
pub async fn start(cluster: &Cluster) -> Result<Bucket> {
    tools::ensure(&[Family::VersityGw], &Progress::new())?;
    let server = Room::open(cluster, "s3", PROGRAMS)?;
    let mut bucket = Bucket {
        ca_pem: server.certify()?,
        name: "modules".to_owned(),
        region: "us-east-1".to_owned(),
        access_key: format!("AK{}", secret()?[..18].to_uppercase()),
        secret_key: secret()?,
        server,
    };
    bucket.server.make("data")?;
    bucket.serve(PLAIN, PLAIN_PORT, false).await?;
    bucket.serve(ENCRYPTED, ENCRYPTED_PORT, true).await?;
    bucket.signed("PUT", "", None).await.context("make the bucket")?;
    Ok(bucket)
}

impl Bucket {
    /// The endpoint without encryption.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.endpoint(PLAIN_PORT))
    }

    /// The endpoint with encryption: the same bucket.
    pub fn encrypted_endpoint(&self) -> String {
        format!("https://{}", self.server.endpoint(ENCRYPTED_PORT))
    }

    /// Stores an object.
    pub async fn put(&self, key: &str, text: &str) -> Result<()> {
        self.signed("PUT", key, Some(text)).await.map(drop)
    }

    /// Reads an object.
    pub async fn get(&self, key: &str) -> Result<String> {
        self.signed("GET", key, None).await
    }

    /// Deletes an object.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.signed("DELETE", key, None).await.map(drop)
    }

    /// The file in which the store keeps an object, for tests that damage it behind the store's back.
    pub fn file(&self, key: &str) -> PathBuf {
        self.server.path("data").join(&self.name).join(key)
    }

    /// The store's own log: one line per request, in the format of S3 server access logs.
    pub fn requests(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for component in [PLAIN, ENCRYPTED] {
            lines.extend(self.server.read(&format!("{component}.log"))?.lines().map(str::to_owned));
        }
        Ok(lines)
    }

    async fn serve(&mut self, component: &str, port: u16, encrypted: bool) -> Result<()> {
        let log = self.server.write(&format!("{component}.log"), "")?.display().to_string();
        let address = format!("0.0.0.0:{port}");
        let mut args = vec!["--quiet", "--port", &address, "--region", &self.region, "--access-log", &log];
        let (certificate, key) = (self.server.path_text("server.crt"), self.server.path_text("server.key"));
        if encrypted {
            args.extend(["--cert", &certificate, "--key", &key]);
        }
        let data = self.server.path_text("data");
        let process = self.server.process(component, tools::bin(Family::VersityGw, "versitygw"));
        let process = process.args(args).args(["posix", &data]);
        let process =
            process.env("ROOT_ACCESS_KEY_ID", &self.access_key).env("ROOT_SECRET_ACCESS_KEY", &self.secret_key);
        self.server.serve(&process, port).await
    }

    /// Sends a signed request to the encrypted endpoint and returns the body of a good answer.
    async fn signed(&self, method: &str, key: &str, body: Option<&str>) -> Result<String> {
        let url = format!("{}/{}/{}", self.encrypted_endpoint(), self.name, encoded(key));
        let ca = self.server.path_text("ca.crt");
        let signature = format!("aws:amz:{}:s3", self.region);
        // Debian's curl leaves this header out, and puts the path into the signature as it stands.
        let sum = format!("x-amz-content-sha256: {}", hex(&Sha256::digest(body.unwrap_or_default())));
        let mut args =
            vec!["--silent", "--show-error", "--fail", "--config", "-", "--cacert", &ca, "--request", method];
        args.extend(["--aws-sigv4", &signature, "--header", &sum]);
        let data = body.map(|text| self.server.write("upload", text)).transpose()?;
        let data = data.map(|path| format!("@{}", path.display()));
        if let Some(data) = &data {
            args.extend(["--header", "Content-Type: application/octet-stream", "--data-binary", data]);
        }
        args.push(url.trim_end_matches('/'));
        let credentials = format!("user = \"{}:{}\"\n", self.access_key, self.secret_key);
        self.server.client("curl", &args, &credentials).await
    }
}

/// A key as paths have it: all but letters, digits and a few marks as their numbers.
fn encoded(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    key.bytes().fold(String::new(), |mut text, byte| {
        let _ = if plain(byte) { write!(text, "{}", char::from(byte)) } else { write!(text, "%{byte:02X}") };
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_modules_are_encoded_as_signatures_want_them() {
        assert_eq!(encoded("git.invalid/!lib/@v/v1.0.0.mod"), "git.invalid/%21lib/%40v/v1.0.0.mod");
    }
}
