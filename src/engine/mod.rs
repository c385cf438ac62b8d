//! The programs that serve modules, and all that is peculiar to each. Nothing outside this module knows a setting of one by
//! name.
//!
//! Engines differ in data, not in behaviour: what each needs of its pod is a [`Program`] that its own module fills. One match
//! picks the module; a trait would only hide that there are two.

pub mod athens;
pub mod capability;
pub mod contract;
pub mod coordination;
pub mod goproxy;
pub mod origins;
pub mod version;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, Volume, VolumeMount};

pub use athens::secrets::{CLOUD_FILE, misses_key_file};

use crate::{
    api::{go_proxy::EngineKind, status::ClientSettings},
    plan::validate::{Checksums, ValidFleet},
    sidecar::config::Layout,
};
use origins::Database;

/// What an engine needs of its pod, beyond what every engine gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Name of its container.
    pub container: &'static str,
    /// What runs instead of the image's entry point. `None` keeps that.
    pub command: Option<Vec<String>>,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment. Never an empty value: engines take it for a setting.
    pub env: Vec<EnvVar>,
    /// Answers 200 while the process handles requests at all.
    pub live_path: &'static str,
    /// Answers 200 while it can serve.
    pub ready_path: &'static str,
    /// Its files, by name. One per revision and never changed.
    pub files: BTreeMap<String, String>,
    /// Where they are mounted, if there are any.
    pub files_directory: &'static str,
    /// Where the volume is mounted.
    pub data_directory: &'static str,
    /// How modules lie on the volume.
    pub layout: Layout,
    /// Home directory.
    pub home_directory: &'static str,
    /// Volumes of its own, each with its place.
    pub volumes: Vec<(Volume, VolumeMount)>,
}

/// What a fleet's engine needs of its pod.
pub fn program(fleet: &ValidFleet) -> Program {
    match fleet.engine.version.kind() {
        EngineKind::Athens => athens::program(fleet),
        EngineKind::Goproxy => goproxy::program(fleet),
    }
}

/// The field of the service that the engine asks before it says that it is ready, where it asks one.
pub const fn asked_for_readiness(fleet: &ValidFleet) -> Option<&'static str> {
    match fleet.engine.version.kind() {
        EngineKind::Athens => athens::asked_for_readiness(&fleet.storage),
        EngineKind::Goproxy => None,
    }
}

/// What a client inside the cluster sets. The short form of the name works in every cluster, whatever its DNS suffix.
pub fn client_settings(fleet: &ValidFleet) -> ClientSettings {
    let address = format!("http://{}.{}.svc", fleet.name.service(), fleet.namespace);
    let through = |database| match fleet.engine.version.kind() {
        EngineKind::Athens => athens::checksum_database(&database, &address),
        EngineKind::Goproxy => goproxy::checksum_database(&database),
    };
    ClientSettings {
        gosumdb: Database::of(&fleet.upstream.checksums).map_or("off".to_owned(), through),
        // Not GOPRIVATE: that would make the client fetch private modules past the fleet.
        gonosumdb: fleet.private_modules.join(","),
        checksums: checksums(fleet),
        goproxy: address,
    }
}

/// What depends on the checksum database, for people.
fn checksums(fleet: &ValidFleet) -> String {
    let told = match &fleet.upstream.checksums {
        Checksums::Database { name, url, .. } => {
            let place = url.as_ref().map_or_else(String::new, |url| format!(" at {url}"));
            let left = match fleet.engine.version.kind() {
                // It passes every question on and keeps no answer.
                EngineKind::Athens => "a client verifies only what its go.sum names",
                // It answers with what it passed on before, and keeps that with the modules.
                EngineKind::Goproxy => "a client verifies only what its go.sum names or what was asked here before",
            };
            format!(
                "{name} is asked{place}, by clients through this fleet; while it cannot be reached, stored modules are served, no \
                 new public module is fetched, and {left}"
            )
        }
        Checksums::Disabled => {
            "no checksum is looked up: the first answer of an origin is believed, whether or not anything can be reached"
                .to_owned()
        }
    };
    let private = if fleet.private_modules.is_empty() { "" } else { "; private modules are never looked up" };
    told + private
}

/// Whether a container that ended with this code and these last words refused its configuration, rather than crashed. No engine
/// says what another one does, so which one it was need not be known.
pub fn is_config_refusal(exit_code: i32, message: &str) -> bool {
    athens::is_config_refusal(exit_code, message) || goproxy::is_config_refusal(exit_code, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        fixture::{mirror, richest, smallest},
        validate::ValidUpstream,
    };

    #[test]
    fn tells_clients_a_name_that_resolves_in_every_cluster() {
        let client = client_settings(&smallest());
        assert_eq!(client.goproxy, "http://corp.build.svc");
        assert_eq!(client.gonosumdb, "");
    }

    #[test]
    fn tells_what_an_outage_of_the_checksum_database_costs() {
        let told = |fleet: &ValidFleet| client_settings(fleet).checksums;
        let plain = told(&smallest());
        assert!(plain.starts_with("sum.golang.org is asked, by clients through this fleet; while"), "{plain}");
        assert!(!plain.contains("private"), "{plain}");
        let rich = told(&richest());
        assert!(rich.starts_with("sum.example.com is asked at https://sums.example.com:8443/db, by"), "{rich}");
        assert!(rich.ends_with("; private modules are never looked up"), "{rich}");
        let upstream = ValidUpstream { checksums: Checksums::Disabled, ..smallest().upstream };
        let off = told(&ValidFleet { upstream, ..smallest() });
        assert!(off.starts_with("no checksum is looked up"), "{off}");
        let kept = told(&mirror());
        assert!(kept.ends_with("or what was asked here before"), "{kept}");
    }
}
