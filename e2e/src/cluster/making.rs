//! What the parts of a cluster are given while it is made.

use std::path::PathBuf;

use anyhow::Result;
use kube::Client;

use super::Spec;
use super::kubeconfig::{self, Credential, Entry, Reach, client_of};
use super::network::Addresses;
use super::pki::{Identity, Pki};
use super::process::Machine;
use crate::progress::Progress;

/// Everything that the parts of a cluster need while it is made.
pub(super) struct BringUp<'a> {
    pub(super) machine: &'a Machine,
    pub(super) progress: &'a Progress,
    pub(super) spec: &'a Spec,
    pub(super) name: &'a str,
    pub(super) node: &'a str,
    pub(super) addresses: Addresses,
    pub(super) directory: PathBuf,
    pub(super) pki: Pki,
    pub(super) mtu: u64,
}

impl BringUp<'_> {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn path_text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    pub(super) fn kubeconfig_text(&self, component: &str) -> String {
        self.path_text(&format!("kubeconfigs/{component}"))
    }

    /// Writes the kubeconfig of a component inside the cluster.
    pub(super) fn write_kubeconfig(&self, component: &str, identity: &Identity) -> Result<()> {
        self.write_kubeconfig_for(component, identity, Reach::Inside)
    }

    pub(super) fn write_kubeconfig_for(&self, file: &str, identity: &Identity, reach: Reach) -> Result<()> {
        let entry = Entry {
            name: &format!("lab-{}", self.name),
            from: reach,
            addresses: self.addresses,
            authority: &self.pki.authority_pem(),
            credential: Credential::Certificate(self.pki.client(identity)?),
        };
        kubeconfig::write(&self.path(&format!("kubeconfigs/{file}")), &[entry])
    }

    /// A client for the cluster's administrator, from the host.
    pub(super) async fn client(&self) -> Result<Client> {
        client_of(&self.path("kubeconfigs/admin")).await
    }
}
