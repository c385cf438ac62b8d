//! Layers of Debian packages, unpacked without running anything of them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tar::EntryType;

use super::layer::{Content, Node, Tree};
use super::recipe::{PRUNED, Suite};

/// Package manager state: nothing is ever installed into these images.
const STATE: &[&str] = &["dev", "etc/apt", "var/cache", "var/lib/apt", "var/lib/dpkg"];

/// Directories that are links into `usr` on a current Debian. The packages of this suite still ship files under the
/// old names.
const MERGED: &[&str] = &["bin", "lib", "lib64", "sbin"];

/// The files of the packages and of all that they depend on, using `work` for what lies in between.
pub(super) fn tree(suite: Suite, packages: &[&str], work: &Path) -> Result<Tree> {
    let tar = work.join("debian.tar");
    let options = work.join("apt.conf");
    fs::write(&options, machine_apt_options()?).with_context(|| format!("write {}", options.display()))?;
    let output = Command::new("mmdebstrap")
        .args(["--variant=extract", "--format=tar"])
        .arg(format!("--aptopt={}", options.display()))
        .arg(format!("--include={}", packages.join(",")))
        .arg(suite.name())
        .arg(&tar)
        .args(machine_sources(suite))
        .output()
        .context("run mmdebstrap (Debian package mmdebstrap)")?;
    if !output.status.success() {
        bail!("mmdebstrap {}: {}\n{}", packages.join(","), output.status, String::from_utf8_lossy(&output.stderr));
    }
    let mut tree = read(&tar)?;
    finish(&mut tree);
    fs::remove_file(&tar).with_context(|| format!("remove {}", tar.display()))?;
    Ok(tree)
}

/// Where this machine gets its own packages, if it runs the same release: a mirror near it, or the only one it reaches.
fn machine_sources(suite: Suite) -> Vec<PathBuf> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = format!("VERSION_CODENAME={}", suite.name());
    if !release.lines().any(|line| line.trim_end_matches('"').ends_with(&codename)) {
        return Vec::new();
    }
    let files = ["/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources"].map(PathBuf::from);
    files.into_iter().filter(|path| path.is_file()).collect()
}

/// How this machine's package manager reaches the network (a proxy, certificates).
fn machine_apt_options() -> Result<Vec<u8>> {
    let output = Command::new("apt-config")
        .args(["dump", "--no-empty", "--format", "%F \"%v\";%n", "Acquire::http", "Acquire::https"])
        .output()
        .context("run apt-config")?;
    Ok(output.stdout)
}

/// Reads what was unpacked, without the parts that no image needs.
fn read(tar: &Path) -> Result<Tree> {
    let mut archive = tar::Archive::new(File::open(tar).with_context(|| format!("open {}", tar.display()))?);
    let mut tree = Tree::default();
    for entry in archive.entries().with_context(|| format!("read {}", tar.display()))? {
        let mut entry = entry?;
        let path = normal(&entry.path()?.to_string_lossy());
        if path.is_empty() || MERGED.contains(&path.as_str()) || left_out(&path) {
            continue;
        }
        let link = entry.link_name()?.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
        let kind = entry.header().entry_type();
        let content = if kind == EntryType::Directory {
            Content::Directory
        } else if kind == EntryType::Symlink {
            Content::Symlink(link)
        } else if kind == EntryType::Link {
            Content::Hardlink(normal(&link))
        } else if kind == EntryType::Regular {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            Content::Bytes(bytes)
        } else {
            continue;
        };
        let owner = u32::try_from(entry.header().uid()?).unwrap_or(0);
        tree.add(&path, Node { mode: entry.header().mode()?, owner, content });
    }
    Ok(tree)
}

/// A path without its leading `./`, in the merged layout.
fn normal(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_end_matches('/');
    let top = path.split('/').next().unwrap_or_default();
    if path != top && MERGED.contains(&top) { format!("usr/{path}") } else { path.to_owned() }
}

fn left_out(path: &str) -> bool {
    let below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    PRUNED.iter().chain(STATE).any(|root| below(root))
}

/// What the packages' own scripts would have made.
fn finish(tree: &mut Tree) {
    for name in MERGED {
        tree.add(name, Node { mode: 0o777, owner: 0, content: Content::Symlink(format!("usr/{name}")) });
    }
    if tree.contains("usr/bin/dash") {
        tree.add("usr/bin/sh", Node { mode: 0o777, owner: 0, content: Content::Symlink("dash".into()) });
    }
    let authorities = tree.below("usr/share/ca-certificates/").filter_map(|(_, node)| match &node.content {
        Content::Bytes(bytes) => Some(bytes.as_slice()),
        Content::Directory | Content::Copy(_) | Content::Symlink(_) | Content::Hardlink(_) => None,
    });
    let bundle = authorities.collect::<Vec<_>>().concat();
    if !bundle.is_empty() {
        let content = Content::Bytes(bundle);
        tree.add("etc/ssl/certs/ca-certificates.crt", Node { mode: 0o644, owner: 0, content });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_in_the_merged_layout() {
        for (shipped, expected) in [
            ("./bin/dash", "usr/bin/dash"),
            ("./lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
            ("./usr/bin/git", "usr/bin/git"),
            ("./library/x", "library/x"),
            ("./lib/", "lib"),
            ("./", ""),
        ] {
            assert_eq!(normal(shipped), expected);
        }
    }

    #[test]
    fn only_whole_path_elements_are_left_out() {
        assert!(left_out("usr/share/doc"));
        assert!(left_out("usr/share/doc/git/copyright"));
        assert!(!left_out("usr/share/docbook"));
    }
}
