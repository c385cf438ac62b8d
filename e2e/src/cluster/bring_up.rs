//! Bringing one cluster up.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::kubeconfig::{self, Credential, Entry, Reach};
use super::network::{self, Addresses, PRIVATE};
use super::pki::{Identity, Pki};
use super::process::Machine;
use super::{Profile, Spec, addon, control_plane, node};
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

    fn write_kubeconfig_for(&self, file: &str, identity: &Identity, reach: Reach) -> Result<()> {
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

    /// Makes the cluster; returns when its node is ready and those of its own services that others build on.
    pub(super) async fn run(&self) -> Result<()> {
        self.connect().await?;
        let administrator = Identity::master("lab-admin");
        self.write_kubeconfig_for("admin", &administrator, Reach::Host)?;
        self.write_kubeconfig_for("admin-inside", &administrator, Reach::Inside)?;
        self.write_kubeconfig_for("admin-from-other-clusters", &administrator, Reach::OtherClusters)?;
        match self.spec.profile {
            Profile::Node => self.run_node().await,
            Profile::ControlPlane => self.run_control_plane().await,
        }
    }

    async fn connect(&self) -> Result<()> {
        let step = self.progress.step(format!("{}: namespaces, wires and certificates", self.name));
        network::start_holder(self.machine, self.name, &PRIVATE).await?;
        network::connect(self.machine, self.name, self.addresses, self.mtu).await?;
        step.done();
        Ok(())
    }

    async fn run_control_plane(&self) -> Result<()> {
        let step = self.progress.step(format!("{}: control plane", self.name));
        let client = control_plane::start(self).await?;
        step.done();
        let step = self.progress.step(format!("{}: node played by kwok", self.name));
        addon::kwok::start(self, &client).await?;
        step.done();
        Ok(())
    }

    async fn run_node(&self) -> Result<()> {
        let control_plane = async {
            let step = self.progress.step(format!("{}: control plane", self.name));
            let client = control_plane::start(self).await?;
            step.done();
            let step = self.progress.step(format!("{}: cluster services applied", self.name));
            self.apply_services(&client).await?;
            step.done();
            Ok::<_, anyhow::Error>(client)
        };
        let runtime = async {
            let step = self.progress.step(format!("{}: container runtime and images", self.name));
            node::start_runtime(self).await?;
            step.done();
            Ok(())
        };
        let (client, ()) = tokio::try_join!(control_plane, runtime)?;
        let step = self.progress.step(format!("{}: node", self.name));
        node::start(self).await?;
        node::wait_ready(self, &client).await?;
        step.done();
        self.wait_for_services(&client).await
    }

    async fn apply_services(&self, client: &Client) -> Result<()> {
        addon::apply(client, &addon::coredns::objects(self.addresses)).await?;
        addon::apply(client, &addon::local_path::objects(&self.path_text("volumes"))?).await?;
        addon::apply(client, &addon::metrics::objects()?).await
    }

    async fn wait_for_services(&self, client: &Client) -> Result<()> {
        for service in addon::SERVICES {
            let name = service.name;
            if !service.awaited {
                self.progress
                    .note(format!("{}: {name} is on its way; cargo lab status tells when it serves", self.name));
                continue;
            }
            let step = self.progress.step(format!("{}: {name} available", self.name));
            addon::wait_available(client, &service).await?;
            step.done();
        }
        Ok(())
    }
}

/// A client for the current context of a kubeconfig.
pub(super) async fn client_of(path: &std::path::Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Client::try_from(config).context("cannot make a client")
}
