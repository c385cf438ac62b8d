//! What the sidecar is told to do: one JSON file, part of a revision's text. It names files that hold secrets, and holds none.
//!
//! Strict both ways: a member that is not known here is refused, because a sidecar that leaves out half of what it was told would
//! look as if all was well.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

/// All that a sidecar does. A part that is left out is not done.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The volume that the engine keeps modules on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// The servers that the engine's lock is at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<LockServer>,
    /// The logins of Git servers that are tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logins: Option<Logins>,
    /// The GitHub Apps that tokens are fetched for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub github_apps: Vec<GithubApp>,
    /// The object in a bucket that says whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<Marker>,
}

/// A volume with modules.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// Where it is mounted.
    pub path: PathBuf,
    /// How modules lie on it. `None` where nothing on it is to be looked at: then only its size is told.
    pub layout: Option<Layout>,
    /// Seconds without a change after which nobody is expected to write on at a file: longer than the longest fetch.
    pub settle_seconds: u32,
    /// Host and port of the engine if it is the only one that writes to the volume, and `None` where several do. When the sidecar
    /// starts and nothing answers there, nothing is being written, so what is broken goes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_writer: Option<String>,
}

/// How an engine lays modules out on a volume.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `MODULE/VERSION/{go.mod,source.zip,VERSION.info}`, written in place: what was cut off stays, and is served.
    Athens,
    /// The paths of the module proxy protocol, each file renamed into place when it is whole: nothing to heal.
    Goproxy,
}

/// A server of the engine's lock.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockServer {
    /// Host and port.
    pub address: String,
    /// What it speaks.
    pub kind: LockKind,
    /// Whether it is asked over TLS.
    pub tls: bool,
    /// Certificate authorities in PEM that are trusted for this server besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// What a server of a lock speaks.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Redis: one server, or a node of a cluster.
    Redis,
    /// A sentinel, which knows where the Redis is.
    Sentinel,
    /// A member of an etcd cluster.
    Etcd,
}

/// Logins that are tried by asking the engine.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Logins {
    /// Address of the engine, with its path prefix if it has one.
    pub engine: Url,
    /// Pause between two rounds.
    pub every_seconds: u32,
    /// A module of each login's host.
    pub probes: Vec<Probe>,
}

/// A module whose versions are asked for.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    /// The Git server.
    pub host: String,
    /// Path of a module there, as it stands in a go.mod.
    pub module: String,
}

/// An installation of a GitHub App.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GithubApp {
    /// The Git server.
    pub host: String,
    /// Address of its API.
    pub api: Url,
    /// Directory with the files `app-id`, `installation-id` and `private-key.pem`.
    pub directory: PathBuf,
    /// Where its newest token is kept for git.
    pub token_file: PathBuf,
    /// Certificate authorities in PEM that are trusted for the API besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether the API is asked by the way out that the environment names (`HTTPS_PROXY` and its like).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_from_environment: bool,
}

/// An object that says whose a bucket is.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Marker {
    /// The bucket: S3, or a store that speaks its protocol.
    pub s3: S3Bucket,
    /// Name of the object in it.
    pub object: String,
    /// Who wants it.
    pub owner: Owner,
}

/// A bucket of S3.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3Bucket {
    /// Address of the store. `None` is AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Url>,
    /// Region of the bucket.
    pub region: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Where the bucket's name stands in an address.
    pub addressing: Addressing,
    /// Directory with the files `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if there is one, `AWS_SESSION_TOKEN`.
    pub directory: PathBuf,
    /// Certificate authorities in PEM that are trusted for the store besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether the store is asked by the way out that the environment names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_from_environment: bool,
}

/// Where a bucket's name stands in an address.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// `https://store/bucket/object`.
    Path,
    /// `https://bucket.store/object`.
    VirtualHosted,
}

/// Who keeps modules in a bucket: one fleet of one cluster.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owner {
    /// DNS suffix of the cluster's Services, by which people may know it. Fleets are told apart by their uids.
    pub cluster: String,
    /// Namespace of the fleet.
    pub namespace: String,
    /// Name of the fleet.
    pub name: String,
    /// Uid of the fleet.
    pub uid: String,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what the sidecar knows.
    #[error("configuration: {member}: {source}")]
    Unknown {
        /// Where.
        member: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A value that cannot be used.
    #[error("configuration: {member} is {value:?}: {rule}")]
    Unusable {
        /// Where.
        member: String,
        /// What stands there.
        value: String,
        /// What must stand there.
        rule: &'static str,
    },
}

const ABSOLUTE: &str = "give a path that begins with / and has no .. in it";
const HOST_PORT: &str = "write it like host:6379";
const HTTP: &str = "give an address that begins with http:// or https:// and has no login in it";
const POSITIVE: &str = "give at least 1 second";
const MODULE: &str = "give a module's path, like git.example.com/team/lib";
const OBJECT: &str = "give a name like directory/object";

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Unread { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Reads and checks a text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let config: Self = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| ConfigError::Unknown { member: error.path().to_string(), source: error.into_inner() })?;
        deserializer.end().map_err(|source| ConfigError::Unknown { member: ".".to_owned(), source })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let Self { volume, locks, logins, github_apps, marker } = self;
        volume.as_ref().map_or(Ok(()), Volume::check)?;
        for (at, lock) in locks.iter().enumerate() {
            host_port(format!("locks[{at}].address"), &lock.address)?;
            absolute_if_any(format!("locks[{at}].caFile"), lock.ca_file.as_deref())?;
        }
        logins.as_ref().map_or(Ok(()), Logins::check)?;
        for (at, app) in github_apps.iter().enumerate() {
            http(format!("githubApps[{at}].api"), &app.api)?;
            absolute(format!("githubApps[{at}].directory"), &app.directory)?;
            absolute(format!("githubApps[{at}].tokenFile"), &app.token_file)?;
            absolute_if_any(format!("githubApps[{at}].caFile"), app.ca_file.as_deref())?;
        }
        marker.as_ref().map_or(Ok(()), Marker::check)
    }
}

impl Volume {
    fn check(&self) -> Result<(), ConfigError> {
        absolute("volume.path", &self.path)?;
        positive("volume.settleSeconds", self.settle_seconds)?;
        self.only_writer.as_ref().map_or(Ok(()), |address| host_port("volume.onlyWriter", address))
    }
}

impl Logins {
    fn check(&self) -> Result<(), ConfigError> {
        http("logins.engine", &self.engine)?;
        positive("logins.everySeconds", self.every_seconds)?;
        for (at, probe) in self.probes.iter().enumerate() {
            let element = |part: &str| {
                let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                !part.is_empty() && !part.starts_with('.') && part.bytes().all(known)
            };
            hold(format!("logins.probes[{at}].module"), &probe.module, MODULE, probe.module.split('/').all(element))?;
        }
        Ok(())
    }
}

impl Marker {
    fn check(&self) -> Result<(), ConfigError> {
        let element = |part: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(known)
        };
        hold("marker.object", &self.object, OBJECT, self.object.split('/').all(element))?;
        let S3Bucket { endpoint, directory, ca_file, .. } = &self.s3;
        endpoint.as_ref().map_or(Ok(()), |endpoint| http("marker.s3.endpoint", endpoint))?;
        absolute("marker.s3.directory", directory)?;
        absolute_if_any("marker.s3.caFile", ca_file.as_deref())
    }
}

fn hold(member: impl Into<String>, value: &str, rule: &'static str, holds: bool) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Unusable { member: member.into(), value: value.to_owned(), rule }) }
}

fn absolute(member: impl Into<String>, path: &Path) -> Result<(), ConfigError> {
    let up = path.components().any(|part| matches!(part, std::path::Component::ParentDir));
    hold(member, &path.to_string_lossy(), ABSOLUTE, path.is_absolute() && !up)
}

fn absolute_if_any(member: impl Into<String>, path: Option<&Path>) -> Result<(), ConfigError> {
    path.map_or(Ok(()), |path| absolute(member, path))
}

fn host_port(member: impl Into<String>, address: &str) -> Result<(), ConfigError> {
    let parts = address.rsplit_once(':');
    let holds = parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    hold(member, address, HOST_PORT, holds)
}

fn http(member: impl Into<String>, address: &Url) -> Result<(), ConfigError> {
    let bare = address.username().is_empty() && address.password().is_none();
    // What is shown of a refused one must not be its login.
    let shown = format!("{}://{}", address.scheme(), address.host_str().unwrap_or_default());
    hold(member, &shown, HTTP, matches!(address.scheme(), "http" | "https") && address.has_host() && bare)
}

fn positive(member: impl Into<String>, seconds: u32) -> Result<(), ConfigError> {
    hold(member, &seconds.to_string(), POSITIVE, seconds > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn whole() -> Value {
        json!({
            "volume": {
                "path": "/var/lib/goproxy", "layout": "Athens", "settleSeconds": 900, "onlyWriter": "127.0.0.1:3000"
            },
            "locks": [
                { "address": "redis.example.com:6379", "kind": "Redis", "tls": true, "caFile": "/etc/goproxy/ca/ca.crt" },
                { "address": "sentinel.example.com:26379", "kind": "Sentinel", "tls": false },
                { "address": "[2001:db8::1]:2379", "kind": "Etcd", "tls": false },
            ],
            "logins": {
                "engine": "http://127.0.0.1:3000/", "everySeconds": 300,
                "probes": [ { "host": "git.example.com", "module": "git.example.com/team/lib" } ]
            },
            "githubApps": [ {
                "host": "github.com", "api": "https://api.github.com/",
                "directory": "/etc/goproxy/logins/0", "tokenFile": "/run/goproxy/tokens/0",
                "caFile": "/etc/goproxy/ca/ca.crt", "proxyFromEnvironment": true
            } ],
            "marker": {
                "s3": {
                    "endpoint": "https://store.example.com/", "region": "us-east-1", "bucket": "modules", "addressing": "Path",
                    "directory": "/etc/goproxy/bucket", "caFile": "/etc/goproxy/ca/ca.crt",
                    "proxyFromEnvironment": true
                },
                "object": "goproxy-operator/owner.json",
                "owner": { "cluster": "c-1", "namespace": "team", "name": "corp", "uid": "u-1" }
            }
        })
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let read = Config::parse(&whole().to_string()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), whole());
        assert_eq!(Config::parse("{}").unwrap(), Config::default());
        assert_eq!(serde_json::to_value(Config::default()).unwrap(), json!({}));
        let size_alone = json!({ "volume": { "path": "/data", "layout": null, "settleSeconds": 900 } });
        let read = Config::parse(&size_alone.to_string()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), size_alone);
    }

    #[test]
    fn a_member_that_is_not_known_is_refused_wherever_it_stands() {
        for at in [
            "",
            "/volume",
            "/locks/0",
            "/logins",
            "/logins/probes/0",
            "/githubApps/0",
            "/marker/s3",
            "/marker/owner",
            "/marker",
        ] {
            let mut config = whole();
            let object = config.pointer_mut(at).unwrap().as_object_mut().unwrap();
            object.insert("surprise".to_owned(), json!(1));
            let error = Config::parse(&config.to_string()).unwrap_err().to_string();
            assert!(error.contains("surprise"), "{at}: {error}");
        }
        assert!(Config::parse("{} {}").is_err());
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named() {
        let bad = [
            ("/volume/path", json!("data"), "volume.path"),
            ("/volume/path", json!("/data/../etc"), "volume.path"),
            ("/volume/settleSeconds", json!(0), "volume.settleSeconds"),
            ("/volume/onlyWriter", json!("3000"), "volume.onlyWriter"),
            ("/volume/layout", json!("athens"), "volume.layout"),
            ("/locks/1/address", json!("sentinel.example.com"), "locks[1].address"),
            ("/locks/0/caFile", json!("ca.crt"), "locks[0].caFile"),
            ("/logins/engine", json!("ftp://127.0.0.1/"), "logins.engine"),
            ("/logins/everySeconds", json!(0), "logins.everySeconds"),
            ("/logins/probes/0/module", json!("git.example.com/../x"), "logins.probes[0].module"),
            ("/logins/probes/0/module", json!("git.example.com/x?y"), "logins.probes[0].module"),
            ("/githubApps/0/api", json!("https://user:hidden@api.github.com/"), "githubApps[0].api"),
            ("/githubApps/0/tokenFile", json!("0"), "githubApps[0].tokenFile"),
            ("/marker/object", json!("/x"), "marker.object"),
            ("/marker/s3/directory", json!(""), "marker.s3.directory"),
        ];
        for (at, value, member) in bad {
            let mut config = whole();
            *config.pointer_mut(at).unwrap() = value;
            let error = Config::parse(&config.to_string()).unwrap_err().to_string();
            assert!(error.contains(member) && !error.contains("hidden"), "{at}: {error}");
        }
    }
}
