//! What runs, for a person to read.

use std::fmt::Write as _;

use anyhow::Result;

use super::Profile;
use super::addon::{self, SERVICES};
use super::control_plane;
use super::handle::{Cluster, Lab};
use super::state::StateDir;

/// A table of clusters and their components.
pub async fn status(state: &StateDir) -> Result<String> {
    let lab = Lab::attach(state)?;
    let spec = lab.spec();
    let mut text = format!(
        "state directory {}, profile {:?}, Kubernetes {:?}\n",
        state.path().display(),
        spec.profile,
        spec.kubernetes
    );
    for cluster in lab.clusters() {
        describe(cluster, &mut text).await?;
        if spec.profile == Profile::Node {
            describe_services(cluster, &mut text).await?;
        }
    }
    Ok(text)
}

/// What runs in pods of the cluster for the cluster itself.
async fn describe_services(cluster: &Cluster, text: &mut String) -> Result<()> {
    let client = cluster.client().await?;
    for service in SERVICES {
        let shown = match addon::is_available(&client, &service).await {
            Ok(true) => "serves".to_owned(),
            Ok(false) => "does NOT serve yet".to_owned(),
            Err(error) => format!("cannot be asked for: {error:#}"),
        };
        writeln!(text, "  {:<24} {shown}, in pods of the cluster", service.name)?;
    }
    Ok(())
}

async fn describe(cluster: &Cluster, text: &mut String) -> Result<()> {
    let ready = control_plane::is_ready(&cluster.client().await?).await;
    let answer = if ready { "ready" } else { "NOT ready" };
    writeln!(text, "cluster {}: API server {answer} at {}", cluster.name(), cluster.addresses().cluster_end())?;
    for component in cluster.components() {
        let pids = cluster.pids(&component);
        let shown = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let shown = if pids.is_empty() { "NOT running".to_owned() } else { format!("process {shown}") };
        let used = cluster.cpu_time(&component).unwrap_or_default();
        writeln!(text, "  {component:<24} {shown:<18} {:>7.1} s processor time", used.as_secs_f64())?;
    }
    Ok(())
}
