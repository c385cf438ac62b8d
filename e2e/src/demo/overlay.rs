//! What a fleet must be told on this machine to fetch real public modules: computed at run time, shown, never stored.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, Value, json};

use goproxy_operator::api::go_proxy::GoProxy;

use crate::origin::MachineUpstream;

/// Its own field manager, so that applying the example neither changes nor removes what is set here.
const MANAGER: &str = "goproxy-lab-overlay";

/// The ConfigMap with this machine's certificate authorities, and its key.
const BUNDLE: (&str, &str) = ("machine-authorities", "bundle.crt");

/// Public modules have their sums in this database, wherever it is reached.
const PUBLIC_DATABASE: &str = "sum.golang.org";

/// The part of a fleet that depends on this machine.
#[derive(Debug)]
pub(super) struct Overlay {
    spec: Value,
    authorities: Option<String>,
}

impl Overlay {
    /// What leads a fleet to where this machine's own go command fetches from.
    pub(super) fn of(upstream: &MachineUpstream) -> Result<Self> {
        for url in &upstream.urls {
            let host = url.split_once("://").map_or("", |(_, rest)| rest).split('/').next().unwrap_or_default();
            ensure!(
                !host.contains('@'),
                "GOPROXY of this machine holds a password, which a GoProxy cannot: set GOPROXY to an address without one"
            );
        }
        let mut part = Map::new();
        let proxies: Vec<Value> = (1..)
            .zip(&upstream.urls)
            .map(|(number, url)| json!({"name": format!("machine-{number}"), "url": url}))
            .collect();
        if !proxies.is_empty() {
            part.insert("proxies".to_owned(), proxies.into());
        }
        if let Some(url) = &upstream.checksum_database_url {
            part.insert("checksumDatabase".to_owned(), json!({"name": PUBLIC_DATABASE, "url": url}));
        }
        if upstream.ca_pem.is_some() {
            let (name, key) = BUNDLE;
            part.insert("caBundle".to_owned(), json!({"configMapKeyRef": {"name": name, "key": key}}));
        }
        Ok(Self { spec: json!({"upstream": part}), authorities: upstream.ca_pem.clone() })
    }

    /// As YAML for people; certificates are counted, not shown.
    pub(super) fn shown(&self) -> Result<String> {
        let mut text = serde_saphyr::to_string(&json!({"spec": self.spec})).context("cannot render the overlay")?;
        if let Some(pem) = &self.authorities {
            let count = pem.matches("-----BEGIN CERTIFICATE-----").count();
            let (name, key) = BUNDLE;
            let _ = writeln!(text, "# ConfigMap {name}, {key}: the {count} authorities that this machine trusts");
        }
        Ok(text)
    }

    /// Puts it into the cluster. The fleet need not exist yet: it then begins with this.
    pub(super) async fn apply(&self, client: &Client, namespace: &str, fleet: &str) -> Result<()> {
        let parameters = PatchParams::apply(MANAGER).force().validation_strict();
        if let Some(pem) = &self.authorities {
            let (name, key) = BUNDLE;
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {key: pem},
            });
            api.patch(name, &parameters, &Patch::Apply(object)).await.context("cannot store the authorities")?;
        }
        let api: Api<GoProxy> = Api::namespaced(client.clone(), namespace);
        let object = json!({
            "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "metadata": {"name": fleet}, "spec": self.spec,
        });
        api.patch(fleet, &parameters, &Patch::Apply(object)).await.context("the overlay is refused")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream() -> MachineUpstream {
        MachineUpstream {
            urls: vec!["https://mirror.example.com".to_owned()],
            checksum_database_url: Some("https://mirror.example.com/sumdb/sum.golang.org".to_owned()),
            ca_pem: Some("-----BEGIN CERTIFICATE-----\nsecretless\n".to_owned()),
        }
    }

    #[test]
    fn everything_the_machine_needs_is_said_and_no_certificate_is_shown() {
        let shown = Overlay::of(&upstream()).unwrap().shown().unwrap();
        for part in
            ["url: https://mirror.example.com", "name: sum.golang.org", "machine-authorities", "the 1 authorities"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("secretless"), "{shown}");
    }

    #[test]
    fn a_machine_without_a_proxy_adds_nothing() {
        let bare = MachineUpstream { urls: Vec::new(), checksum_database_url: None, ca_pem: None };
        assert_eq!(Overlay::of(&bare).unwrap().spec, json!({"upstream": {}}));
    }

    #[test]
    fn a_password_is_refused_without_being_repeated() {
        let with_password =
            MachineUpstream { urls: vec!["https://me:hidden@mirror.example.com".to_owned()], ..upstream() };
        let error = Overlay::of(&with_password).unwrap_err().to_string();
        assert!(error.contains("GOPROXY") && !error.contains("hidden"), "{error}");
    }
}
