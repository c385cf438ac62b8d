//! goproxy (github.com/goproxy/goproxy): asks other module proxies by itself, without the go command, and puts what it gets into
//! files that have the layout of a module proxy. What it knows of versions it serves on while its origins are away.
//!
//! It is told everything by arguments, and where modules come from by the go command's own variables. What it cannot do is in
//! `super::capability`. Besides: it has no metrics, two requests for a missing module fetch it twice, a client that goes away
//! takes its fetch with it, and an origin that answers with errors or too late reads like a module that does not exist (404).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::EnvVar;

use super::{
    Program,
    contract::{PORT, SCRATCH_DIRECTORY, Timing},
    origins::{Database, chain},
};
use crate::{plan::validate::ValidFleet, sidecar::config::Layout};

/// Where the volume is mounted.
const DATA_DIRECTORY: &str = "/var/lib/goproxy";
/// Where modules are kept on it. It is made when the first one comes. A directory of its own: what Athens left on the same
/// volume stays whole, and neither takes the other's files for modules.
const MODULE_DIRECTORY: &str = "/var/lib/goproxy/goproxy";
/// Home directory. Nothing is expected in it.
const HOME_DIRECTORY: &str = "/home/goproxy";
/// A checksum database that exists nowhere. There is no page for probes, but whether a database is proxied is answered at
/// once, without looking at anything else; and names that end so are promised to lead nowhere.
const PROBED_DATABASE: &str = "probe.invalid";
const PROBE_PATH: &str = "/sumdb/probe.invalid/supported";

/// What goproxy needs of its pod.
pub fn program(fleet: &ValidFleet) -> Program {
    Program {
        container: "goproxy",
        // It starts no other program that would have to be reaped, so that an image with an init serves, and one without.
        command: Some(vec!["goproxy".to_owned()]),
        args: arguments(fleet),
        env: environment(fleet),
        live_path: PROBE_PATH,
        ready_path: PROBE_PATH,
        files: BTreeMap::new(),
        files_directory: "",
        data_directory: DATA_DIRECTORY,
        layout: Layout::Goproxy,
        home_directory: HOME_DIRECTORY,
        volumes: Vec::new(),
    }
}

fn arguments(fleet: &ValidFleet) -> Vec<String> {
    let timing = Timing::of(fleet);
    let mut arguments = vec![
        "server".to_owned(),
        format!("--address=:{PORT}"),
        "--cacher=dir".to_owned(),
        format!("--cacher-dir={MODULE_DIRECTORY}"),
        format!("--temp-dir={SCRATCH_DIRECTORY}"),
        format!("--fetch-timeout={}s", timing.stash_timeout),
        format!("--shutdown-timeout={}s", timing.shutdown_timeout),
        "--log-format=json".to_owned(),
        format!("--proxied-sumdbs={PROBED_DATABASE}"),
    ];
    let database = Database::of(&fleet.upstream.checksums);
    // Name and address in one argument: they are read as a list with commas, which neither can hold.
    arguments.extend(database.map(|database| format!("--proxied-sumdbs={} {}", database.name(), database.address())));
    arguments
}

fn environment(fleet: &ValidFleet) -> Vec<EnvVar> {
    let checksums = Database::of(&fleet.upstream.checksums).map_or("off".to_owned(), |database| database.direct());
    [("GOPROXY", chain(&fleet.upstream)), ("GOSUMDB", checksums)]
        .into_iter()
        .map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() })
        .collect()
}

/// The checksum database as a client reaches it: it is served under its own name, where the go command looks first.
pub fn checksum_database(database: &Database) -> String {
    database.by_name()
}

/// What it says when it was started with arguments that it does not take.
const REFUSALS: [&str; 3] = ["Error: unknown flag: ", "Error: invalid argument ", "Error: invalid --"];

/// Whether a container that ended with this code and these last words refused its arguments, rather than crashed.
pub fn is_config_refusal(exit_code: i32, message: &str) -> bool {
    let last = message.trim_end().lines().last().unwrap_or_default();
    exit_code == 1 && REFUSALS.iter().any(|refusal| last.starts_with(refusal))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::plan::{
        fixture::{mirror, stored},
        validate::Checksums,
    };

    fn template(fleet: &ValidFleet) -> Value {
        stored(fleet, "corp-0123456789").template
    }

    fn texts(value: &Value) -> Vec<&str> {
        value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
    }

    #[test]
    fn pod_of_a_mirror() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&template(&mirror())).unwrap());
    }

    #[test]
    fn it_has_no_files_and_nothing_of_athens() {
        assert!(stored(&mirror(), "corp-0123456789").config.is_empty());
        let text = template(&mirror()).to_string().to_lowercase();
        // Its image is named by the installation.
        assert!(!text.contains("athens"), "{text}");
    }

    #[test]
    fn every_way_to_a_checksum_database_is_passed_on_under_its_name() {
        let key = "sum.example.com+0a1b2c3d+AdXHNi1jzJPl4Gn5KZV3Ow==";
        for (name, url, own_key, direct, passed, client) in [
            ("sum.golang.org", None, None, "sum.golang.org", "sum.golang.org https://sum.golang.org", "sum.golang.org"),
            (
                "sum.golang.org",
                Some("https://mirror.example.com:8443/sumdb"),
                None,
                "sum.golang.org https://mirror.example.com:8443/sumdb",
                "sum.golang.org https://mirror.example.com:8443/sumdb",
                "sum.golang.org",
            ),
            (
                "sum.golang.google.cn",
                None,
                None,
                "sum.golang.org https://sum.golang.google.cn",
                "sum.golang.org https://sum.golang.google.cn",
                "sum.golang.org",
            ),
            (
                "sum.example.com",
                Some("https://sums.example.com/db"),
                Some(key),
                &format!("{key} https://sums.example.com/db"),
                "sum.example.com https://sums.example.com/db",
                key,
            ),
        ] {
            let mut fleet = mirror();
            fleet.upstream.checksums = Checksums::Database {
                name: name.to_owned(),
                url: url.map(str::to_owned),
                key: own_key.map(str::to_owned),
            };
            let container = &template(&fleet)["spec"]["containers"][0];
            assert!(texts(&container["args"]).contains(&format!("--proxied-sumdbs={passed}").as_str()), "{container}");
            assert!(
                environment(&fleet).iter().any(|one| one.name == "GOSUMDB" && one.value.as_deref() == Some(direct))
            );
            assert_eq!(crate::engine::client_settings(&fleet).gosumdb, client);
        }
        let mut fleet = mirror();
        fleet.upstream.checksums = Checksums::Disabled;
        assert_eq!(crate::engine::client_settings(&fleet).gosumdb, "off");
        assert_eq!(arguments(&fleet).iter().filter(|one| one.starts_with("--proxied-sumdbs")).count(), 1);
    }

    #[test]
    fn it_never_goes_to_version_control() {
        let variables = environment(&mirror());
        let chain = variables.iter().find(|one| one.name == "GOPROXY").and_then(|one| one.value.as_deref());
        assert_eq!(chain, Some("https://mirror.example.com"));
    }

    #[test]
    fn tells_refused_arguments_from_other_ends() {
        for refused in [
            "Error: unknown flag: --max-direct-fetches",
            "Error: invalid argument \"x\" for \"--fetch-timeout\" flag: time: invalid duration \"x\"\n",
            "Error: invalid --cacher: \"x\"",
        ] {
            assert!(is_config_refusal(1, refused), "{refused}");
            assert!(!is_config_refusal(137, refused), "killed: {refused}");
        }
        for other in ["Error: listen tcp :3000: bind: address already in use", "Error: context deadline exceeded", ""] {
            assert!(!is_config_refusal(1, other), "{other}");
        }
    }
}
