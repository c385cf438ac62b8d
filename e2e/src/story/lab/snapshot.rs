//! A list of everything that a lab could leave on a machine, to be compared before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cluster::{StateDir, until};

/// Directories in which components like to make files, listed by name.
const DIRECTORIES: [&str; 12] = [
    "/run",
    "/run/netns",
    "/run/containerd",
    "/var/lib",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log",
    "/opt",
    "/etc",
    "/etc/cni",
    "/usr/libexec",
    "/root/.kube",
];

/// Kernel settings that the lab or a kubelet changes, and some that change along with them.
const SETTINGS: [&str; 14] = [
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "fs/inotify/max_user_instances",
    "fs/inotify/max_user_watches",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/default/forwarding",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
];

/// Everything that a lab could leave behind, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<&'static str, BTreeSet<String>>);

impl Snapshot {
    /// Looks at the machine now.
    pub fn take() -> Result<Self> {
        let mut kinds = BTreeMap::new();
        kinds.insert("process", processes());
        kinds.insert("mount", mounts()?);
        kinds.insert("link", names(Path::new("/sys/class/net")));
        kinds.insert("route", lines("ip", &["-4", "route", "show", "table", "all"])?);
        kinds.insert("packet filter table", lines("nft", &["list", "tables"])?);
        kinds.insert("control group", control_groups());
        kinds.insert("kernel setting", settings());
        kinds.insert("file", DIRECTORIES.iter().flat_map(|directory| names(Path::new(directory))).collect());
        Ok(Self(kinds))
    }

    /// What is here and was not there, and what was there and is gone.
    fn difference(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (kind, now) in &self.0 {
            let then = &before.0[kind];
            found.extend(now.difference(then).map(|item| format!("+ {kind} {item}")));
            found.extend(then.difference(now).map(|item| format!("- {kind} {item}")));
        }
        found
    }

    /// Fails unless the machine is as it was. The kernel dissolves namespaces in its own time: a few seconds are allowed.
    pub async fn expect_unchanged(&self) -> Result<()> {
        let waited = until("the machine to be as it was", Duration::from_secs(10), || async {
            Ok(Self::take()?.difference(self).is_empty().then_some(()))
        });
        if waited.await.is_err() {
            bail!("the lab changed the machine:\n{}", Self::take()?.difference(self).join("\n"));
        }
        Ok(())
    }
}

/// Processes that belong to a lab, by their control group or by naming its state directory.
fn processes() -> BTreeSet<String> {
    let state = StateDir::from_env().path().to_string_lossy().into_owned();
    let read = |pid: &str, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    names(Path::new("/proc"))
        .iter()
        .filter_map(|path| path.strip_prefix("/proc/"))
        .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| read(pid, "cgroup").contains("goproxy-lab") || read(pid, "cmdline").contains(&state))
        .map(|pid| format!("{pid} {}", read(pid, "comm").trim()))
        .collect()
}

/// Mounts without their numbers, which the kernel gives anew each time.
fn mounts() -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    Ok(text.lines().map(|line| line.splitn(4, ' ').last().unwrap_or(line).to_owned()).collect())
}

fn control_groups() -> BTreeSet<String> {
    let hierarchies = names(Path::new("/sys/fs/cgroup"));
    let directories = hierarchies.iter().flat_map(|hierarchy| names(Path::new(hierarchy)));
    directories.filter(|path| Path::new(path).is_dir()).collect()
}

fn settings() -> BTreeSet<String> {
    let read = |name: &str| std::fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
    SETTINGS.iter().map(|name| format!("{name} = {}", read(name).trim())).collect()
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().to_string_lossy().into_owned()).collect()
}

fn lines(program: &str, args: &[&str]) -> Result<BTreeSet<String>> {
    let output = Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_what_went_is_named_with_its_kind() {
        let of = |items: &[&str]| Snapshot(BTreeMap::from([("link", items.iter().map(ToString::to_string).collect())]));
        assert_eq!(of(&["lo", "glab-a"]).difference(&of(&["lo", "eth0"])), ["+ link glab-a", "- link eth0"]);
        assert!(of(&["lo"]).difference(&of(&["lo"])).is_empty());
    }
}
