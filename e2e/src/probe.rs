//! What the lab needs of a machine: found out by trying, said in one line per lack, installed where a package is enough.
//!
//! Whether the lab's networks are free is asked when a cluster comes up, since a lab that runs already has them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

use crate::progress::Progress;
use crate::tools::{self, Family};

/// Files that have to be there, and the Debian package that brings each. A name without a slash is looked up in `PATH`.
const FILES: &[(&str, &str)] = &[
    ("apt-config", "apt"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("nginx", "nginx"),
    ("git", "git"),
    ("mmdebstrap", "mmdebstrap"),
    ("iptables", "iptables"),
    ("ipset", "ipset"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("setpriv", "util-linux"),
    ("ethtool", "ethtool"),
    ("socat", "socat"),
    ("gcc", "gcc"),
    ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev"),
];

/// What the kernel has to do, a script that does it in namespaces that vanish with it, and what it is needed for.
const KERNEL: &[(&str, &str, &str)] = &[
    ("network namespaces", "true", "each cluster has its own"),
    (
        "overlay file systems",
        "mount -t tmpfs none /mnt && mkdir /mnt/lower /mnt/upper /mnt/work /mnt/all && mount -t overlay none \
         -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/all",
        "containers are unpacked on them",
    ),
    ("veth links", "ip link add probe0 type veth peer name probe1", "they connect pods and clusters"),
    ("bridges", "ip link add probe0 type bridge", "they connect pods and clusters"),
    (
        "nftables with address translation",
        "nft 'add table ip probe; add chain ip probe out { type nat hook postrouting priority 100; }; \
         add rule ip probe out masquerade'",
        "Services and the way out of a cluster are made of it",
    ),
    ("address sets", "ipset create probe hash:ip", "network policies are enforced with them"),
];

/// Control group hierarchies without which a kubelet does not start.
const CONTROLLERS: &[&str] = &["cpu", "cpuacct", "cpuset", "memory"];

/// Free disk for everything from nothing: module and build caches of the go command, the tools, cargo's output.
const COLD_DISK_GIB: u64 = 30;

/// Free disk when the tools are built: images, their unpacked copies and the data of clusters.
const WARM_DISK_GIB: u64 = 6;

/// Two clusters take 1.5 GiB, and linking an API server or the operator about as much.
const MEMORY_GIB: u64 = 4;

/// Keeps packages from starting services while they are installed: the lab runs its own containerd and nginx.
const POLICY_FILE: &str = "/usr/sbin/policy-rc.d";
const POLICY: &str = "#!/bin/sh\n# Written by the lab while it installs packages.\nexit 101\n";

/// Installs what packages can bring, tries the rest, and names everything that is lacking.
pub fn ensure(progress: &Progress) -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the lab runs on Linux on x86-64 only: use a virtual machine"
    );
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the lab makes namespaces and mounts and has to be root: sudo --preserve-env=PATH,HOME cargo lab ..."
    );
    packages(FILES, progress)?;
    let lacks: Vec<_> = [control_groups()?, kernel()?, go(), cargo(), disk()?, memory()?].concat();
    if !lacks.is_empty() {
        bail!("this machine lacks something that the lab needs:\n  - {}", lacks.join("\n  - "));
    }
    Ok(())
}

/// Packages that bring those of the files that are not there, sorted.
fn missing_packages(files: &[(&str, &'static str)], exists: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> = files.iter().filter(|(file, _)| !exists(file)).map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Whether a file is there, in `PATH` if it is named without a slash.
fn exists(name: &str) -> bool {
    if name.contains('/') {
        return Path::new(name).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian keeps administrators' programs, which a user's PATH may leave out.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).any(|dir| dir.join(name).is_file())
}

/// Installs the packages of files that are not there; each file is named with its package.
pub fn packages(files: &[(&str, &'static str)], progress: &Progress) -> Result<()> {
    if fs::read_to_string(POLICY_FILE).is_ok_and(|text| text == POLICY) {
        // A lab was killed while it installed packages.
        fs::remove_file(POLICY_FILE).with_context(|| format!("remove {POLICY_FILE}"))?;
    }
    let packages = missing_packages(files, exists);
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    ensure!(exists("apt-get"), "not a Debian machine: install what Debian has in the packages {names}");
    let step = progress.long_step(format!("install {names}"));
    let _policy = Policy::put()?;
    apt(&["update", "--quiet"])?;
    apt(&[&["install", "--yes", "--quiet", "--no-install-recommends"], packages.as_slice()].concat())?;
    step.done();
    let left = missing_packages(files, exists);
    ensure!(left.is_empty(), "installed {names}, and what {} should bring is still not there", left.join(" "));
    Ok(())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("run apt-get")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "apt-get {}: {}", arguments.join(" "), text.trim());
    Ok(())
}

/// The policy file, for as long as this lives. One that the machine has already is left alone.
struct Policy {
    ours: bool,
}

impl Policy {
    fn put() -> Result<Self> {
        if Path::new(POLICY_FILE).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY_FILE, POLICY).with_context(|| format!("write {POLICY_FILE}"))?;
        fs::set_permissions(POLICY_FILE, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {POLICY_FILE} executable"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            // One that stays behind is removed by the next start.
            let _ = fs::remove_file(POLICY_FILE);
        }
    }
}

fn control_groups() -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    let missing = missing_controllers(&text);
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let lack =
        format!("control groups of version 1 for {}: boot with systemd.unified_cgroup_hierarchy=0", missing.join(", "));
    Ok(vec![lack])
}

/// Controllers without a hierarchy of version 1, from the text of `/proc/self/cgroup`.
fn missing_controllers(text: &str) -> Vec<&'static str> {
    let found: Vec<_> = text.lines().filter_map(|line| line.split(':').nth(1)).flat_map(|c| c.split(',')).collect();
    CONTROLLERS.iter().copied().filter(|controller| !found.contains(controller)).collect()
}

fn kernel() -> Result<Vec<String>> {
    let mut lacks = Vec::new();
    for (what, script, why) in KERNEL {
        let output = Command::new("unshare")
            .args(["--mount", "--net", "sh", "-c", script])
            .output()
            .context("run unshare (Debian package util-linux)")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let said = text.lines().next().unwrap_or("no message").trim();
            lacks.push(format!("a kernel with {what} ({said}): {why}; boot one that has them, as Debian's own does"));
        }
    }
    Ok(lacks)
}

/// The oldest Go that builds every family: the go command holds each of them to the line in its `go.mod`.
fn needed_go() -> [u32; 3] {
    Family::ALL.iter().map(|family| family.go_line()).max().unwrap_or_default()
}

fn go() -> Vec<String> {
    let needed = needed_go();
    let [major, minor, patch] = needed;
    let found = tools::go_version();
    if tools::numbers(found) >= needed {
        return Vec::new();
    }
    vec![format!("Go {major}.{minor}.{patch} or newer (found {found}): install it and put it first in PATH")]
}

fn cargo() -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let works = Command::new(cargo).arg("--version").output().is_ok_and(|output| output.status.success());
    if works { Vec::new() } else { vec!["cargo, to build the operator: install Rust and put it in PATH".to_owned()] }
}

/// What the disk lacks, as found when the program began: what it has built since then took its part of that room.
fn disk() -> Result<Vec<String>> {
    static AT_FIRST: OnceLock<Vec<String>> = OnceLock::new();
    if let Some(lacks) = AT_FIRST.get() {
        return Ok(lacks.clone());
    }
    let lacks = room()?;
    Ok(AT_FIRST.get_or_init(|| lacks).clone())
}

fn room() -> Result<Vec<String>> {
    let cache = tools::cache_dir();
    let existing = cache.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
    let stat = nix::sys::statvfs::statvfs(existing)
        .with_context(|| format!("ask for the free space of {}", existing.display()))?;
    let free = (stat.blocks_available() * stat.fragment_size()) >> 30;
    let (needed, why) = if tools::all_cached() {
        (WARM_DISK_GIB, "images and the data of clusters")
    } else {
        (COLD_DISK_GIB, "a first build")
    };
    if free >= needed {
        return Ok(Vec::new());
    }
    let place = existing.display();
    Ok(vec![format!(
        "{needed} GiB of free disk for {why} (found {free} GiB in {place}): make room, or set GOPROXY_LAB_CACHE"
    )])
}

fn memory() -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let free = available_gib(&text);
    if free >= MEMORY_GIB {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "{MEMORY_GIB} GiB of available memory (found {free} GiB): end other programs or use a larger machine"
    )])
}

/// `MemAvailable` of `/proc/meminfo` in whole GiB.
fn available_gib(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_once_and_only_for_what_is_not_there() {
        assert!(missing_packages(FILES, |_| true).is_empty());
        assert_eq!(
            missing_packages(FILES, |file| file != "nginx" && !file.ends_with("libc.a")),
            ["libc6-dev", "nginx"]
        );
    }

    #[test]
    fn the_readme_asks_for_the_go_that_the_tools_need() {
        let [major, minor, patch] = needed_go();
        let asked = format!("Go ≥ {major}.{minor}.{patch} ");
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&asked), "the README does not say {asked:?}");
    }

    #[test]
    fn the_readme_asks_for_what_the_probe_looks_for() {
        let readme = include_str!("../../README.md");
        let manifest = include_str!("../../Cargo.toml");
        let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
        for asked in
            [format!("{MEMORY_GIB} GiB of free memory"), format!("Rust ≥ {rust},"), "x86-64, cgroup v1".to_owned()]
        {
            assert!(readme.contains(&asked), "the README does not say {asked:?}");
        }
    }

    #[test]
    fn controllers_are_found_alone_and_joined() {
        assert!(missing_controllers("3:cpu,cpuacct:/\n2:cpuset:/\n1:memory:/\n0::/\n").is_empty());
        assert_eq!(missing_controllers("0::/user.slice\n"), ["cpu", "cpuacct", "cpuset", "memory"]);
    }

    #[test]
    fn memory_is_read_in_gib() {
        assert_eq!(available_gib("MemTotal: 99 kB\nMemAvailable:    8388608 kB\n"), 8);
    }

    #[test]
    fn the_kernel_attempts_fail_when_a_command_does() {
        // Otherwise a machine that lacks something would pass.
        let output =
            Command::new("unshare").args(["--mount", "--net", "sh", "-c", "ip link show probe0"]).output().unwrap();
        assert!(!output.status.success());
    }
}
