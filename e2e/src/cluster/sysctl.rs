//! Kernel settings of the whole machine: the lab's own, and those that a kubelet changes on its own account.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::journal::{Change, Journal};

/// Changed by the lab: packets must pass from a cluster to the outside, and several runtimes watch many files.
const OURS: [(&str, &str); 2] = [("net.ipv4.ip_forward", "1"), ("fs.inotify.max_user_instances", "1024")];

/// Changed by every kubelet when it starts, unless they already have the value that it wants.
const KUBELETS: [&str; 6] = [
    "kernel.panic",
    "kernel.panic_on_oops",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
];

/// Notes the values that settings have, then sets the lab's own.
pub fn apply(journal: &Journal) -> Result<()> {
    for key in KUBELETS {
        // A kernel without this setting has nothing to be restored.
        if let Ok(old) = read(key) {
            journal.record(&Change::Sysctl { key: key.into(), old })?;
        }
    }
    for (key, value) in OURS {
        let old = read(key)?;
        let enough = old.parse::<u64>().ok() >= value.parse().ok();
        if !enough {
            journal.record(&Change::Sysctl { key: key.into(), old })?;
            write(key, value)?;
        }
    }
    Ok(())
}

/// Puts a setting back, if it is not what it was.
pub fn restore(key: &str, old: &str) -> Result<()> {
    if read(key)? == old { Ok(()) } else { write(key, old) }
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key.replace('.', "/"))
}

fn read(key: &str) -> Result<String> {
    let text = std::fs::read_to_string(path(key)).with_context(|| format!("cannot read the kernel setting {key}"))?;
    Ok(text.trim().to_owned())
}

fn write(key: &str, value: &str) -> Result<()> {
    std::fs::write(path(key), value).with_context(|| format!("cannot set the kernel setting {key} to {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_file() {
        assert_eq!(path("net.ipv4.ip_forward"), PathBuf::from("/proc/sys/net/ipv4/ip_forward"));
        assert!(read("kernel.panic").is_ok());
    }
}
