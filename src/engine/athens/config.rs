//! The engine's configuration: one whole TOML file per revision, and what a client sets to use the fleet.
//!
//! Every setting that Athens has at the top level is written out, also those that are off: an image carries a sample
//! file full of placeholders, and defaults move between releases. Back-ends that the fleet does not use have no table.

mod backend;
mod git;

use std::collections::BTreeMap;

use serde::Serialize;

pub use git::keys;

use super::CONFIG_FILE;
use crate::{
    api::go_proxy::LogLevel,
    engine::{
        contract::{CA_DIRECTORY, CA_FILE, PORT, SCRATCH_DIRECTORY, Timing},
        origins::{Database, chain},
        version::Version,
    },
    plan::validate::ValidFleet,
};

/// The file, in the order in which the settings' owners read it: fetching, storing, serving, and what is off.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config<'a> {
    go_env: &'static str,
    go_binary: &'static str,
    go_binary_env_vars: Vec<String>,
    go_get_workers: i32,
    go_get_dir: &'static str,
    protocol_workers: i32,
    #[serde(rename = "SumDBs")]
    sum_dbs: Vec<String>,
    no_sum_patterns: Vec<String>,
    download_mode: &'static str,
    #[serde(rename = "DownloadURL")]
    download_url: &'static str,
    network_mode: &'static str,
    timeout: u64,
    stash_timeout: u64,
    shutdown_timeout: u64,
    storage_type: &'static str,
    single_flight_type: &'static str,
    index_type: &'static str,
    port: String,
    unix_socket: &'static str,
    path_prefix: &'static str,
    #[serde(rename = "ForceSSL")]
    force_ssl: bool,
    #[serde(rename = "TLSCertFile")]
    tls_cert_file: &'static str,
    #[serde(rename = "TLSKeyFile")]
    tls_key_file: &'static str,
    basic_auth_user: &'static str,
    basic_auth_pass: &'static str,
    home_template_path: &'static str,
    robots_file: &'static str,
    log_level: &'static str,
    log_format: &'static str,
    cloud_runtime: &'static str,
    stats_exporter: &'static str,
    trace_exporter: &'static str,
    #[serde(rename = "TraceExporterURL")]
    trace_exporter_url: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_sampling_fraction: Option<f64>,
    enable_pprof: bool,
    pprof_port: &'static str,
    filter_file: &'static str,
    global_endpoint: &'static str,
    validator_hook: &'static str,
    #[serde(rename = "NETRCPath")]
    netrc_path: &'static str,
    github_token: &'static str,
    #[serde(rename = "HGRCPath")]
    hgrc_path: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<backend::Storage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    single_flight: Option<backend::Lock<'a>>,
}

impl Config<'_> {
    /// A proxy that fetches nothing special and has every optional feature off.
    fn plain() -> Self {
        Self {
            // In production the engine refuses a configuration file that others could write.
            go_env: "production",
            go_binary: "go",
            go_binary_env_vars: Vec::new(),
            go_get_workers: 1,
            go_get_dir: SCRATCH_DIRECTORY,
            protocol_workers: 1,
            sum_dbs: Vec::new(),
            no_sum_patterns: Vec::new(),
            download_mode: "sync",
            download_url: "",
            // Fallback would answer a question for the latest version with whatever happens to be stored while an origin
            // is down, and so downgrade builds without a word.
            network_mode: "strict",
            timeout: 300,
            stash_timeout: 600,
            shutdown_timeout: 60,
            storage_type: "memory",
            single_flight_type: "memory",
            index_type: "none",
            port: format!(":{PORT}"),
            unix_socket: "",
            path_prefix: "",
            force_ssl: false,
            tls_cert_file: "",
            tls_key_file: "",
            basic_auth_user: "",
            basic_auth_pass: "",
            home_template_path: "",
            robots_file: "robots.txt",
            log_level: "info",
            log_format: "json",
            cloud_runtime: "none",
            stats_exporter: "prometheus",
            trace_exporter: "",
            trace_exporter_url: "",
            trace_sampling_fraction: None,
            enable_pprof: false,
            pprof_port: ":3001",
            filter_file: "",
            global_endpoint: "",
            validator_hook: "",
            netrc_path: "",
            github_token: "",
            hgrc_path: "",
            storage: None,
            single_flight: None,
        }
    }
}

/// Every file that a fleet's pods read, by name.
pub fn files(fleet: &ValidFleet) -> BTreeMap<String, String> {
    let own = [(CONFIG_FILE, render(fleet))];
    own.into_iter().chain(git::files(fleet)).map(|(name, text)| (name.to_owned(), text)).collect()
}

/// The engine's own file.
fn render(fleet: &ValidFleet) -> String {
    let timing = Timing::of(fleet);
    let config = Config {
        go_binary_env_vars: go_environment(fleet).0,
        go_get_workers: fleet.engine.fetch_workers,
        protocol_workers: protocol_workers(fleet.engine.fetch_workers),
        // The engine drops the path of such an address and serves the host as `/sumdb/HOST/`.
        sum_dbs: Database::of(&fleet.upstream.checksums).map(|database| database.origin()).into_iter().collect(),
        no_sum_patterns: fleet.private_modules.clone(),
        timeout: timing.storage_timeout,
        stash_timeout: timing.stash_timeout,
        shutdown_timeout: timing.shutdown_timeout,
        storage_type: backend::storage_type(&fleet.storage),
        single_flight_type: backend::lock_type(&fleet.storage, &fleet.lock),
        storage: backend::Storage::of(&fleet.storage),
        single_flight: backend::Lock::of(fleet),
        log_level: match fleet.engine.log_level {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        },
        trace_sampling_fraction: knows_sampling(fleet.engine.version).then_some(1.0),
        ..Config::plain()
    };
    toml::to_string(&config).expect("texts, numbers and lists have a TOML form, and tables come last")
}

/// The one setting that differs between the supported releases.
fn knows_sampling(version: Version) -> bool {
    version != Version::V0_18_0
}

/// Requests served at the same time. A request for something that is being fetched holds its place for the whole
/// fetch, waiting for a fetch worker included: with few places, slow misses would block hits while readiness stays
/// green. Ten places for each worker keep hits flowing; the bound exists because each list request runs a go command.
fn protocol_workers(fetch_workers: i32) -> i32 {
    fetch_workers.saturating_mul(10).clamp(50, 400)
}

/// Environment of the go command: nothing of the container's own environment reaches it but the path, the home directory and proxies.
struct GoEnvironment(Vec<String>);

impl GoEnvironment {
    /// Adds a variable, unless it says nothing. The characters that end a setting in the engine's other notation cannot get
    /// through, whatever the caller checked before.
    fn set(&mut self, key: &str, value: &str) {
        let value: String = value.chars().filter(|c| *c != ';' && !c.is_control()).collect();
        if !value.is_empty() {
            self.0.push(format!("{key}={value}"));
        }
    }
}

fn go_environment(fleet: &ValidFleet) -> GoEnvironment {
    let mut environment = GoEnvironment(Vec::new());
    environment.set("GOPROXY", &chain(&fleet.upstream));
    environment.set("GOSUMDB", &Database::of(&fleet.upstream.checksums).map_or("off".to_owned(), |db| db.direct()));
    let private = fleet.private_modules.join(",");
    // All three, so that they cannot differ: the engine fills in the last from its own list otherwise.
    for key in ["GOPRIVATE", "GONOPROXY", "GONOSUMDB"] {
        environment.set(key, &private);
    }
    // Fetched sources are removed after each fetch; without this they are read-only and removal has to change modes first.
    environment.set("GOFLAGS", "-modcacherw");
    if fleet.upstream.ca_bundle.is_some() {
        let file = format!("{CA_DIRECTORY}/{CA_FILE}");
        // File and directory, for go and for git: either alone would leave the image's own set trusted as well.
        environment.set("SSL_CERT_FILE", &file);
        environment.set("SSL_CERT_DIR", CA_DIRECTORY);
        environment.set("GIT_SSL_CAINFO", &file);
        environment.set("GIT_SSL_CAPATH", CA_DIRECTORY);
        if fleet.upstream.egress.is_some() {
            environment.set("GIT_PROXY_SSL_CAINFO", &file);
        }
    }
    for (key, value) in git::environment(fleet) {
        environment.set(key, &value);
    }
    if !fleet.engine.go_env.contains_key("GOTOOLCHAIN") {
        // A module must not be able to make a proxy download and run a toolchain.
        environment.set("GOTOOLCHAIN", "local");
    }
    for (key, value) in &fleet.engine.go_env {
        environment.set(key, value);
    }
    environment
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use toml::{Table, Value};

    use super::*;
    use crate::plan::{
        fixture::{richest, smallest},
        validate::{Checksums, ValidStorage, ValidUpstream},
    };
    use crate::{api::go_proxy::EngineKind, engine::client_settings};

    /// Settings at the top level of the file, as the released sources of v0.18.0 declare them.
    const SETTINGS: &str = "BasicAuthPass BasicAuthUser CloudRuntime DownloadMode DownloadURL EnablePprof FilterFile \
        ForceSSL GithubToken GlobalEndpoint GoBinary GoBinaryEnvVars GoEnv GoGetDir GoGetWorkers HGRCPath \
        HomeTemplatePath IndexType LogFormat LogLevel NETRCPath NetworkMode NoSumPatterns PathPrefix Port PprofPort \
        ProtocolWorkers RobotsFile ShutdownTimeout SingleFlightType StashTimeout StatsExporter StorageType SumDBs \
        TLSCertFile TLSKeyFile Timeout TraceExporter TraceExporterURL UnixSocket ValidatorHook";
    /// What v0.18.1 adds to them.
    const SINCE_0_18_1: &str = "TraceSamplingFraction";

    fn parsed(fleet: &ValidFleet) -> Table {
        render(fleet).parse().unwrap()
    }

    fn go_env(fleet: &ValidFleet) -> Vec<String> {
        parsed(fleet)["GoBinaryEnvVars"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    }

    fn texts(value: &Value) -> Vec<&str> {
        value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
    }

    #[test]
    fn file_of_the_smallest_fleet() {
        insta::assert_snapshot!(render(&smallest()));
    }

    #[test]
    fn file_of_the_richest_fleet() {
        insta::assert_snapshot!(render(&richest()));
    }

    #[test]
    fn says_every_setting_that_the_release_has_and_no_other() {
        for version in Version::ALL.into_iter().filter(|version| version.kind() == EngineKind::Athens) {
            for mut fleet in [smallest(), richest()] {
                fleet.engine.version = version;
                let mut known: BTreeSet<&str> = SETTINGS.split_whitespace().collect();
                if version == Version::V0_18_1 {
                    known.insert(SINCE_0_18_1);
                }
                let mut file = parsed(&fleet);
                let storage = file.remove("Storage").unwrap();
                assert_eq!(file.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "{version}");
                assert_eq!(storage.to_string(), r#"{ Disk = { RootPath = "/var/lib/athens" } }"#, "{version}");
            }
        }
    }

    #[test]
    fn memory_has_no_storage_table() {
        let fleet = ValidFleet { storage: ValidStorage::Memory, ..smallest() };
        let file = parsed(&fleet);
        assert_eq!(file["StorageType"].as_str(), Some("memory"));
        assert!(!file.contains_key("Storage"));
    }

    #[test]
    fn leaves_the_default_chain_to_the_go_command() {
        let environment = go_env(&smallest());
        assert!(!environment.iter().any(|variable| variable.starts_with("GOPROXY=")), "{environment:?}");
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a flat table")]
    fn spells_every_way_to_a_checksum_database() {
        let fleet = "http://corp.build.svc";
        let key = "sum.example.com+0a1b2c3d+AdXHNi1jzJPl4Gn5KZV3Ow==";
        // name, url, key; then GOSUMDB of the fleet, what it passes on to, and GOSUMDB of a client.
        for (name, url, own_key, direct, origin, client) in [
            (
                "sum.golang.org",
                None,
                None,
                "sum.golang.org".to_owned(),
                "https://sum.golang.org",
                "sum.golang.org".to_owned(),
            ),
            (
                "sum.golang.org",
                Some("https://mirror.example.com/sumdb/sum.golang.org"),
                None,
                "sum.golang.org https://mirror.example.com/sumdb/sum.golang.org".to_owned(),
                "https://mirror.example.com",
                format!("sum.golang.org {fleet}/sumdb/mirror.example.com/sumdb/sum.golang.org"),
            ),
            // The go command refuses this name when an address follows it.
            (
                "sum.golang.google.cn",
                None,
                None,
                "sum.golang.org https://sum.golang.google.cn".to_owned(),
                "https://sum.golang.google.cn",
                format!("sum.golang.org {fleet}/sumdb/sum.golang.google.cn"),
            ),
            (
                "sum.golang.google.cn",
                Some("https://mirror.example.com:8443"),
                None,
                "sum.golang.org https://mirror.example.com:8443".to_owned(),
                "https://mirror.example.com:8443",
                format!("sum.golang.org {fleet}/sumdb/mirror.example.com:8443"),
            ),
            (
                "sum.example.com",
                Some("https://sums.example.com/db"),
                Some(key),
                format!("{key} https://sums.example.com/db"),
                "https://sums.example.com",
                format!("{key} {fleet}/sumdb/sums.example.com/db"),
            ),
        ] {
            let checksums = Checksums::Database {
                name: name.to_owned(),
                url: url.map(str::to_owned),
                key: own_key.map(str::to_owned),
            };
            let upstream = ValidUpstream { checksums, ..smallest().upstream };
            let fleet = ValidFleet { upstream, ..smallest() };
            assert!(go_env(&fleet).contains(&format!("GOSUMDB={direct}")), "{name} {url:?}: {:?}", go_env(&fleet));
            assert_eq!(texts(&parsed(&fleet)["SumDBs"]), [origin]);
            assert_eq!(client_settings(&fleet).gosumdb, client);
        }
    }

    #[test]
    fn turns_verification_off_everywhere_at_once() {
        let upstream = ValidUpstream { checksums: Checksums::Disabled, ..smallest().upstream };
        let fleet = ValidFleet { upstream, ..smallest() };
        assert!(go_env(&fleet).contains(&"GOSUMDB=off".to_owned()));
        assert!(texts(&parsed(&fleet)["SumDBs"]).is_empty());
        assert_eq!(client_settings(&fleet).gosumdb, "off");
    }

    #[test]
    fn keeps_private_modules_from_every_public_server() {
        let fleet = richest();
        let environment = go_env(&fleet);
        for key in ["GOPRIVATE", "GONOPROXY", "GONOSUMDB"] {
            let expected = format!("{key}=git.example.com/*,*.internal.example.com");
            assert!(environment.contains(&expected), "{environment:?}");
        }
        assert_eq!(texts(&parsed(&fleet)["NoSumPatterns"]), ["git.example.com/*", "*.internal.example.com"]);
        assert_eq!(client_settings(&fleet).gonosumdb, "git.example.com/*,*.internal.example.com");
    }

    #[test]
    fn lets_no_module_choose_a_toolchain_unless_told_to() {
        let mut fleet = smallest();
        fleet.engine.go_env.clear();
        assert!(go_env(&fleet).contains(&"GOTOOLCHAIN=local".to_owned()));
        fleet.engine.go_env.insert("GOTOOLCHAIN".to_owned(), "auto".to_owned());
        let chosen: Vec<_> = go_env(&fleet).into_iter().filter(|v| v.starts_with("GOTOOLCHAIN=")).collect();
        assert_eq!(chosen, ["GOTOOLCHAIN=auto"]);
    }

    #[test]
    fn no_value_can_smuggle_in_another_variable() {
        let mut fleet = smallest();
        fleet.engine.go_env.insert("GODEBUG".to_owned(), "a=1;GOFLAGS=-insecure\nGOSUMDB=off\0".to_owned());
        let environment = go_env(&fleet);
        assert!(environment.contains(&"GODEBUG=a=1GOFLAGS=-insecureGOSUMDB=off".to_owned()), "{environment:?}");
        assert_eq!(environment.iter().filter(|variable| variable.starts_with("GOSUMDB=")).count(), 1);
    }

    #[test]
    fn trusts_the_given_authorities_alone() {
        let environment = go_env(&richest());
        for expected in [
            "SSL_CERT_FILE=/etc/goproxy/ca/bundle.crt",
            "SSL_CERT_DIR=/etc/goproxy/ca",
            "GIT_SSL_CAINFO=/etc/goproxy/ca/bundle.crt",
            "GIT_SSL_CAPATH=/etc/goproxy/ca",
        ] {
            assert!(environment.contains(&expected.to_owned()), "{environment:?}");
        }
        assert!(!go_env(&smallest()).iter().any(|variable| variable.contains("SSL")));
    }

    #[test]
    fn hits_have_places_beside_slow_misses() {
        for workers in [1, 10, 40, 100] {
            assert!(protocol_workers(workers) >= 3 * workers + 10, "{workers}");
        }
    }
}
