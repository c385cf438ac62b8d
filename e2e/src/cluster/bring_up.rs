//! Bringing one cluster up.

use anyhow::Result;
use kube::Client;

use super::kubeconfig::Reach;
use super::making::BringUp;
use super::network::{self, PRIVATE};
use super::pki::Identity;
use super::{Profile, addon, control_plane, node};

impl BringUp<'_> {
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
