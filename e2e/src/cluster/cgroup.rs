//! Control groups: how the lab finds every process that it started, also after it was killed itself.
//!
//! Each process joins a group of its own before it becomes the component (see [`super::process`]), children inherit it,
//! and the container runtime puts containers below the cluster's group as well. No process id is ever kept in a file, so
//! none can be stale.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Name of the lab's tree at the root of every hierarchy.
pub const ROOT: &str = "goproxy-lab";

/// Controllers that the kubelet insists on.
const REQUIRED: [&str; 4] = ["cpu", "cpuacct", "cpuset", "memory"];

/// Hierarchies that processes of the lab join: to be found (`name=systemd`, `pids`), and to have their CPU time counted.
/// `memory` is left alone, since the machine may account its own workloads there.
const TRACKING: [&str; 3] = ["name=systemd", "pids", "cpuacct"];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// Controllers of a version 1 hierarchy; none for the unified one.
    controllers: Vec<String>,
}

/// The control group hierarchies mounted on this machine.
#[derive(Clone, Debug)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// Reads the mounted hierarchies.
    pub fn discover() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
        Ok(Self { hierarchies: parse(&text) })
    }

    /// Checks that a kubelet can run here, and says what is missing.
    pub fn check(&self) -> Result<()> {
        let has = |name: &str| self.hierarchies.iter().any(|h| h.controllers.iter().any(|c| c == name));
        let missing: Vec<_> = REQUIRED.into_iter().filter(|name| !has(name)).collect();
        ensure!(
            missing.is_empty(),
            "control groups version 1 are needed and have no hierarchy for {}: on a machine with version 2 only, boot \
             with systemd.unified_cgroup_hierarchy=0",
            missing.join(", ")
        );
        ensure!(
            self.tracking().next().is_some(),
            "neither a `name=systemd` nor a `pids` control group hierarchy is mounted"
        );
        Ok(())
    }

    fn tracking(&self) -> impl Iterator<Item = &Hierarchy> {
        self.hierarchies.iter().filter(|h| h.controllers.iter().any(|c| TRACKING.contains(&c.as_str())))
    }

    /// Makes a group in every version 1 hierarchy, for the kubelet to put pods under.
    pub fn create_everywhere(&self, group: &str) -> Result<()> {
        self.hierarchies.iter().filter(|h| !h.controllers.is_empty()).try_for_each(|h| create(&h.mount, group))
    }

    /// Makes a group in the hierarchies that processes are tracked by, and returns the files to write a process id to.
    pub fn create_tracking(&self, group: &str) -> Result<Vec<PathBuf>> {
        self.tracking().map(|h| create(&h.mount, group).map(|()| h.mount.join(group).join("cgroup.procs"))).collect()
    }

    /// Processes in a group, not below it.
    pub fn processes(&self, group: &str) -> BTreeSet<i32> {
        self.tracking().flat_map(|h| read_processes(&h.mount.join(group))).collect()
    }

    /// Processes in a group and anywhere below it, in any hierarchy.
    pub fn all_processes(&self, group: &str) -> BTreeSet<i32> {
        let directories = self.hierarchies.iter().flat_map(|h| tree(&h.mount.join(group)));
        directories.flat_map(|directory| read_processes(&directory)).collect()
    }

    /// CPU time used so far by a group and everything below it.
    pub fn cpu_time(&self, group: &str) -> Result<std::time::Duration> {
        let hierarchy = self.hierarchies.iter().find(|h| h.controllers.iter().any(|c| c == "cpuacct"));
        let path = hierarchy.context("no cpuacct hierarchy")?.mount.join(group).join("cpuacct.usage");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(std::time::Duration::from_nanos(text.trim().parse()?))
    }

    /// Sends SIGKILL to everything in the tree. A frozen process dies only once it is thawed.
    pub fn kill_all(&self, group: &str) {
        for directory in self.hierarchies.iter().flat_map(|h| tree(&h.mount.join(group))) {
            let state = directory.join("freezer.state");
            if state.exists() {
                // The group may be gone by now, which is what we want.
                let _ = std::fs::write(state, "THAWED");
            }
        }
        for pid in self.all_processes(group) {
            // A process that ended in between is what we want.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Removes the empty groups of the tree, deepest first; returns those that could not be removed.
    pub fn remove(&self, group: &str) -> Vec<PathBuf> {
        let directories = self.hierarchies.iter().flat_map(|h| tree(&h.mount.join(group)));
        let mut left: Vec<_> = directories.filter(|directory| std::fs::remove_dir(directory).is_err()).collect();
        left.retain(|directory| directory.exists());
        left
    }
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    mountinfo.lines().filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mount opts - type source super,options`
fn parse_line(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mount = PathBuf::from(left.split(' ').nth(4)?);
    let mut right = right.split(' ');
    let kind = right.next()?;
    let options = right.nth(1)?;
    match kind {
        "cgroup2" => Some(Hierarchy { mount, controllers: Vec::new() }),
        "cgroup" => {
            let controllers = options.split(',').filter(|o| !matches!(*o, "rw" | "xattr")).map(str::to_owned).collect();
            Some(Hierarchy { mount, controllers })
        }
        _ => None,
    }
}

/// Makes the group with its parents. A new cpuset is empty and takes no process until it has processors and memory.
fn create(mount: &Path, group: &str) -> Result<()> {
    let mut path = mount.to_path_buf();
    for part in Path::new(group) {
        let parent = path.clone();
        path.push(part);
        if let Err(error) = std::fs::create_dir(&path)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(error).with_context(|| format!("cannot make the control group {}", path.display()));
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if path.join(file).exists() {
                let value = std::fs::read(parent.join(file))?;
                std::fs::write(path.join(file), value)
                    .with_context(|| format!("cannot set {file} of {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// A directory and all below it, children before parents.
fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else { return found };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        found.extend(tree(&entry.path()));
    }
    found.push(directory.to_path_buf());
    found
}

fn read_processes(directory: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    // Id 0 stands for a process outside our pid namespace; signalling it would hit ourselves.
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read_from_the_mount_table() {
        let text = "24 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                    30 29 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                    31 29 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                    32 29 0:29 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let found = parse(text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(found[1].controllers, ["name=systemd"]);
        assert_eq!(found[2], Hierarchy { mount: "/sys/fs/cgroup/unified".into(), controllers: vec![] });
    }

    #[test]
    fn a_machine_with_version_2_only_is_refused_with_the_fix() {
        let cgroups = Cgroups { hierarchies: parse("32 29 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n") };
        let error = cgroups.check().unwrap_err().to_string();
        assert!(error.contains("cpu, cpuacct, cpuset, memory") && error.contains("systemd.unified"), "{error}");
    }

    #[test]
    fn children_come_before_parents() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("a/b")).unwrap();
        std::fs::write(directory.path().join("a/tasks"), "").unwrap();
        let names: Vec<_> = tree(&directory.path().join("a"));
        assert_eq!(names, [directory.path().join("a/b"), directory.path().join("a")]);
    }
}
