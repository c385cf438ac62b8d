//! Athens: a server with a configuration file, a storage of many kinds, and the go command for every fetch.
//!
//! The image's own entry point stays: it is an init that reaps what `go`, `git` and `ssh` leave behind. Everything that
//! the configuration file can say is said there; the environment only holds what the file cannot.

pub mod config;
pub mod secrets;

use super::{Program, origins::Database};
use crate::{
    plan::validate::{ValidFleet, ValidStorage},
    sidecar::config::Layout,
};

/// Key of the configuration file in its ConfigMap.
const CONFIG_FILE: &str = "config.toml";
/// Where that ConfigMap is mounted: over the sample file of the image, so that nobody starts with its placeholders.
const CONFIG_DIRECTORY: &str = "/config";
/// Where the volume is mounted.
const DATA_DIRECTORY: &str = "/var/lib/athens";
/// Home of the engine: git and go keep small files there.
const HOME_DIRECTORY: &str = "/home/athens";

/// What Athens needs of its pod.
pub fn program(fleet: &ValidFleet) -> Program {
    Program {
        container: "athens",
        // Never a command: that would replace the init.
        command: None,
        args: vec!["athens-proxy".to_owned(), format!("-config_file={CONFIG_DIRECTORY}/{CONFIG_FILE}")],
        env: secrets::environment(fleet),
        live_path: "/healthz",
        // Reads the storage.
        ready_path: "/readyz",
        files: config::files(fleet),
        files_directory: CONFIG_DIRECTORY,
        data_directory: DATA_DIRECTORY,
        layout: Layout::Athens,
        home_directory: HOME_DIRECTORY,
        volumes: secrets::key_file(fleet).into_iter().chain(secrets::logins(fleet)).collect(),
    }
}

/// The field of the storage, which readiness reads, if that is a service.
pub const fn asked_for_readiness(storage: &ValidStorage) -> Option<&'static str> {
    match storage {
        ValidStorage::Memory | ValidStorage::Disk { .. } => None,
        ValidStorage::S3 { .. } => Some("spec.storage.s3"),
        ValidStorage::Gcs { .. } => Some("spec.storage.gcs"),
        ValidStorage::AzureBlob { .. } => Some("spec.storage.azureBlob"),
        ValidStorage::Mongo { .. } => Some("spec.storage.mongo"),
        ValidStorage::Minio { .. } => Some("spec.storage.minio"),
        ValidStorage::External { .. } => Some("spec.storage.external"),
    }
}

/// The checksum database as a client reaches it through `fleet`, an address.
pub fn checksum_database(database: &Database, fleet: &str) -> String {
    database.through_host(fleet)
}

/// What the engine says when it read its configuration and will not start with it.
const REFUSALS: [&str; 3] = ["Could not load config file:", "Could not parse log level", "Could not create App:"];

/// What it says in the same words although the place is to blame: a volume, an image without the go command, a file's owner,
/// or a server that does not answer.
const NOT_THE_CONFIGURATION: [&str; 11] = [
    "no such file or directory",
    "executable file not found",
    "permission denied",
    "could not check if root directory",
    "could not create new storage from os fs",
    "connection refused",
    "connection reset",
    "no route to host",
    "no such host",
    "i/o timeout",
    "context deadline exceeded",
];

/// Whether a container that ended with this code and these last words refused its configuration, rather than crashed.
pub fn is_config_refusal(exit_code: i32, message: &str) -> bool {
    // The refusal is the last thing it says. Lines before may quote requests, and so anybody's words.
    let last = message.trim_end().lines().last().unwrap_or_default();
    exit_code == 1
        && REFUSALS.iter().any(|refusal| last.contains(refusal))
        && !NOT_THE_CONFIGURATION.iter().any(|cause| last.contains(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Last words of real runs of v0.18.1.
    #[test]
    fn tells_a_refused_configuration_from_other_ends() {
        let json = |text: &str| format!(r#"{{"time":"2026-11-21T10:55:20Z","level":"ERROR","msg":"{text}"}}"#);
        for refused in [
            r#"2026/11/21 10:55:20 Could not load config file: storage type "bogus" is unknown"#.to_owned(),
            "2026/11/21 10:55:20 Could not load config file: toml: line 1: expected '.' or '=', but got '\\n' instead\n".to_owned(),
            r#"2026/11/21 10:55:20 Could not parse log level "x": not a valid log level: "x""#.to_owned(),
            "{\"level\":\"INFO\",\"msg\":\"starts\"}\n".to_owned()
                + &json("Could not create App: adding proxy routes: sumdb: http://a must have an https scheme"),
            json("Could not create App: adding proxy routes: incorrect env format: A"),
        ] {
            assert!(is_config_refusal(1, &refused), "{refused}");
            assert!(!is_config_refusal(137, &refused), "killed: {refused}");
        }
        for other in [
            "2026/11/21 10:55:20 Could not load config file: open /config/config.toml: no such file or directory"
                .to_owned(),
            json("Could not create App: adding proxy routes: exec: \\\"go\\\": executable file not found in $PATH"),
            json(
                "Could not create App: getting storage configuration: could not create new storage from os fs (root directory `/x` does not exist)",
            ),
            json("Could not listen on TCP port \\\":3000\\\": listen tcp :3000: bind: address already in use"),
            json("Could not create App: adding proxy routes: dial tcp 10.0.0.9:6379: connect: connection refused"),
            json("Could not create App: adding proxy routes: dial tcp: lookup redis.build.svc: no such host"),
            json("Could not shut down server: context deadline exceeded"),
            json("Could not create App: quoted by a request")
                + "\n"
                + &json("Could not shut down server: context deadline exceeded"),
            String::new(),
        ] {
            assert!(!is_config_refusal(1, &other), "{other}");
        }
    }
}
