//! The content of an edge's pod, without a cluster: the nginx of its image accepts every file that the agent may write, and agent and
//! nginx together do what clients are promised, with either of them killed in between.

mod case;
mod client;
mod pod;
mod structure;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Check;
use crate::{image, progress::Progress};

/// nginx as the image has it, on a machine that need not have the same release of anything.
#[derive(Clone, Debug)]
struct Nginx {
    /// The image's packages, unpacked.
    root: PathBuf,
    /// Runs it.
    program: PathBuf,
}

impl Nginx {
    /// Writes the program that runs it by its own loader and with its own libraries.
    fn of(root: PathBuf, work: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let at = root.display();
        let script = format!(
            "#!/bin/sh\nLUA_PATH='{at}/usr/share/lua/5.1/?.lua;;'\nexport LUA_PATH\nexec '{at}/usr/lib64/ld-linux-x86-64.so.2' \
             --library-path '{at}/usr/lib/x86_64-linux-gnu' '{at}/usr/sbin/nginx' \"$@\"\n"
        );
        let program = work.join("nginx");
        std::fs::write(&program, script).with_context(|| format!("write {}", program.display()))?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { root, program })
    }

    fn modules(&self) -> PathBuf {
        self.root.join("usr/lib/nginx/modules")
    }
}

/// All checks.
pub fn edge(progress: &Progress) -> Result<Vec<Check>> {
    let root = image::edge_root(progress)?;
    let agent = image::debug_binary("goproxy-operator", "goproxy-operator")?;
    let work = tempfile::tempdir().context("create a directory")?;
    let nginx = Nginx::of(root, work.path())?;
    let mut checks = vec![Check::from_result(
        "edge: nginx accepts every structure",
        structure::every_structure(&nginx, work.path()),
    )];
    checks.extend(case::all(&nginx, &agent, work.path())?);
    Ok(checks)
}
