//! Real clusters on this machine: bringing them up, working with them, and removing every trace.

mod addon;
mod bring_up;
mod cgroup;
mod config;
mod control_plane;
mod down;
mod handle;
mod journal;
mod kubeconfig;
mod making;
mod network;
mod node;
mod pki;
mod process;
mod resolver;
mod state;
mod status;
mod sysctl;
mod wait;

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

pub use self::down::down;
pub use self::handle::{Cluster, Lab};
pub use self::kubeconfig::Reach;
pub use self::network::MAX_CLUSTERS;
pub use self::process::{Machine, Place, Process};
pub use self::state::{Lock, StateDir};
pub use self::status::status;
pub use self::wait::until;

pub(crate) use self::pki::PrivateAuthority;

use self::cgroup::Cgroups;
use self::journal::{Change, Journal};
use self::making::BringUp;
use self::network::Addresses;
use self::pki::Pki;
use crate::image::{self, Image};
use crate::probe;
use crate::progress::Progress;
use crate::tools::{self, Family};

/// What a cluster consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Everything: pods really run.
    Node,
    /// etcd, API server, controller manager and scheduler; kwok plays the node and its pods.
    ControlPlane,
}

/// The Kubernetes minor version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Kubernetes {
    /// The newest that the lab runs.
    #[default]
    #[value(name = "1.36")]
    V1_36,
    /// The oldest that the operator supports; without a kubelet.
    #[value(name = "1.33")]
    V1_33,
}

/// The shape of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// What each cluster consists of.
    pub profile: Profile,
    /// How many clusters there are; their names are `a`, `b` and so on.
    pub clusters: u8,
    /// Version of the control planes.
    pub kubernetes: Kubernetes,
    /// Lifts the limits of controller manager, scheduler and kwok, for tests of scale.
    pub raised_limits: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self { profile: Profile::Node, clusters: 1, kubernetes: Kubernetes::V1_36, raised_limits: false }
    }
}

impl Spec {
    /// Names and numbers of the clusters.
    fn names(&self) -> Vec<(String, u8)> {
        (1..=self.clusters).map(|index| (char::from(b'a' + index - 1).to_string(), index)).collect()
    }

    fn check(&self) -> Result<()> {
        ensure!((1..=MAX_CLUSTERS).contains(&self.clusters), "--clusters must be between 1 and {MAX_CLUSTERS}");
        let runs_pods = self.profile == Profile::Node;
        ensure!(
            !(runs_pods && self.kubernetes == Kubernetes::V1_33),
            "Kubernetes 1.33 is for --profile control-plane only: its kubelet is not built"
        );
        Ok(())
    }

    fn families(&self) -> Vec<Family> {
        let mut families = vec![Family::Etcd, Family::Kubernetes];
        if self.kubernetes == Kubernetes::V1_33 {
            families.push(Family::Kubernetes133);
        }
        match self.profile {
            Profile::ControlPlane => families.push(Family::Kwok),
            Profile::Node => families.extend([
                Family::CoreDns,
                Family::KubeRouter,
                Family::MetricsServer,
                Family::LocalPathProvisioner,
            ]),
        }
        families
    }

    fn images(&self) -> &'static [Image] {
        match self.profile {
            Profile::ControlPlane => &[],
            Profile::Node => &node::OWN_IMAGES,
        }
    }
}

/// What the state directory says about its lab.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    spec: Spec,
    /// False until everything was ready once.
    complete: bool,
}

impl Record {
    fn read(state: &StateDir) -> Result<Option<Self>> {
        match std::fs::read(state.lab_file()) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", state.lab_file().display())),
        }
    }

    fn write(&self, state: &StateDir) -> Result<()> {
        std::fs::write(state.lab_file(), serde_json::to_vec(self)?).context("cannot write the lab's record")
    }
}

/// Makes a lab of this shape, or returns the one that is up already. What an interrupted start left is removed first.
/// The lab keeps the lock until it is dropped.
pub async fn up(spec: &Spec, state: &StateDir, progress: &Progress) -> Result<Lab> {
    spec.check()?;
    probe::ensure(progress)?;
    Cgroups::discover()?.check()?;
    let lock = Lock::take(state, "lab up")?;
    match Record::read(state)? {
        Some(record) if record.complete && holds_together(&record.spec, state) => {
            ensure!(
                record.spec == *spec,
                "a lab of another shape is up ({:?}); end it first: cargo lab down",
                record.spec
            );
            progress.note("this lab is up already");
            return Lab::attach_with(state, Some(lock));
        }
        _ if state.journal().exists() => {
            progress.note("a lab was found that is interrupted or no longer runs: removing what it left");
            down::tear_down(state, progress).await?;
        }
        _ => {}
    }
    tools::ensure(&spec.families(), progress)?;
    for image in spec.images() {
        image::archive(*image, progress)?;
    }
    let made = make(spec, state, progress).await;
    made.context("the lab is not up; what was started is left for a look, and removed by: cargo lab down")?;
    Lab::attach_with(state, Some(lock))
}

/// Whether the namespaces of a complete lab are still there: after a reboot only its files are.
fn holds_together(spec: &Spec, state: &StateDir) -> bool {
    let Ok(cgroups) = Cgroups::discover() else { return false };
    let mut groups = spec.names().into_iter().map(|(name, _)| name).chain([network::WAN.to_owned()]);
    state.journal().exists()
        && groups.all(|group| !cgroups.processes(&process::component_cgroup(&group, process::HOLDER)).is_empty())
}

fn check_root() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "the lab makes namespaces and control groups: run it as root");
    Ok(())
}

async fn make(spec: &Spec, state: &StateDir, progress: &Progress) -> Result<()> {
    let machine = prepare(spec, state).await?;
    let mtu = network::uplink_mtu(&machine).await?;
    let step = progress.step("packet filter and link between clusters");
    network::make_masquerade(&machine).await?;
    network::make_wan(&machine).await?;
    step.done();
    let machine = &machine;
    let mut clusters = Vec::new();
    for (name, index) in spec.names() {
        clusters.push(async move {
            let (node, addresses) = (node_name(&name), Addresses::of(index)?);
            let directory = machine.state.group(&name);
            let pki = Pki::create(&directory.join("pki"), &node, addresses)?;
            BringUp { machine, progress, spec, name: &name, node: &node, addresses, directory, pki, mtu }.run().await
        });
    }
    futures::future::try_join_all(clusters).await?;
    Record { spec: spec.clone(), complete: true }.write(state)
}

fn node_name(cluster: &str) -> String {
    format!("node-{cluster}")
}

/// Makes the state directory and changes what the whole machine shares; everything is in the journal first.
async fn prepare(spec: &Spec, state: &StateDir) -> Result<Machine> {
    make_state_directory(state)?;
    let machine =
        Machine { state: state.clone(), cgroups: Cgroups::discover()?, journal: Journal::open(&state.journal())? };
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    machine.journal.record(&Change::Boot { id: boot.trim().to_owned() })?;
    machine.journal.record(&Change::Cgroup { name: cgroup::ROOT.into() })?;
    Record { spec: spec.clone(), complete: false }.write(state)?;
    let networks: Vec<Addresses> =
        spec.names().into_iter().map(|(_, index)| Addresses::of(index)).collect::<Result<_>>()?;
    network::check_free(&machine, &networks).await?;
    sysctl::apply(&machine.journal)?;
    Ok(machine)
}

/// A directory that somebody uses for something else is refused: `down` would have to know what is whose.
fn make_state_directory(state: &StateDir) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = state.path();
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    if std::fs::read_dir(path)?.next().is_some() {
        bail!("{} is not empty and holds no lab: choose another directory with GOPROXY_LAB_STATE", path.display());
    }
    // Keys of the clusters lie below.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).context("cannot protect the state directory")
}

/// Opens the lab of a state directory, to work with it without changing its shape.
fn open(state: &StateDir) -> Result<(Spec, Arc<Machine>)> {
    let record = Record::read(state)?.context("no lab is up; start one: cargo lab up")?;
    ensure!(record.complete, "the lab was interrupted while it was started; end it first: cargo lab down");
    let machine =
        Machine { state: state.clone(), cgroups: Cgroups::discover()?, journal: Journal::open(&state.journal())? };
    Ok((record.spec, Arc::new(machine)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_named_by_letters() {
        let spec = Spec { clusters: 3, ..Spec::default() };
        assert_eq!(spec.names(), [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 3)]);
    }

    #[test]
    fn impossible_shapes_are_refused() {
        assert!(Spec { clusters: 0, ..Spec::default() }.check().is_err());
        assert!(Spec { clusters: 9, ..Spec::default() }.check().is_err());
        let old = Spec { kubernetes: Kubernetes::V1_33, ..Spec::default() };
        assert!(old.check().unwrap_err().to_string().contains("control-plane"));
        assert!(Spec { profile: Profile::ControlPlane, ..old }.check().is_ok());
    }

    #[test]
    fn a_directory_with_other_content_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("thesis.txt"), "").unwrap();
        let error = make_state_directory(&StateDir::at(directory.path())).unwrap_err();
        assert!(error.to_string().contains("GOPROXY_LAB_STATE"), "{error}");
    }
}
