//! Where a lab keeps its state, and the lock that lets only one lab work at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// One lock for the machine, not one per state directory: interface names, networks and control groups are the machine's.
const LOCK: &str = "/run/goproxy-lab.lock";

/// The directory in which a lab keeps everything that it can keep in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// `$GOPROXY_LAB_STATE`, or `/var/lib/goproxy-lab`.
    pub fn from_env() -> Self {
        Self::at(std::env::var_os("GOPROXY_LAB_STATE").map_or_else(|| "/var/lib/goproxy-lab".into(), PathBuf::from))
    }

    /// A state directory at a path of the caller's choice.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self(std::path::absolute(&path).unwrap_or(path))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The journal of changes.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// What was asked for, and whether it is complete.
    pub fn lab_file(&self) -> PathBuf {
        self.0.join("lab.json")
    }

    /// One kubeconfig with a context per cluster, usable from the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// The directory of one cluster, or of another group of processes.
    pub fn group(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    verb: String,
    state: PathBuf,
}

/// Held while a lab is being started, stopped or tested. The kernel drops it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub fn take(state: &StateDir, verb: &str) -> Result<Self> {
        Self::take_at(Path::new(LOCK), state, verb)
    }

    fn take_at(path: &Path, state: &StateDir, verb: &str) -> Result<Self> {
        loop {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
            let file = file.as_mut().map_err(|error| anyhow::anyhow!("cannot open {}: {error}", path.display()))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => bail!("{}", refusal(file)),
                Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the lab"),
            }
            // `down` removes the file: a lock on a removed file excludes nobody.
            let same =
                std::fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino()));
            if same {
                let mut lock = Self { file: file.try_clone()? };
                lock.refuse_other_lab(state)?;
                lock.sign(state, verb)?;
                return Ok(lock);
            }
        }
    }

    fn refuse_other_lab(&mut self, state: &StateDir) -> Result<()> {
        if let Some(last) = read_holder(&mut self.file)
            && last.state != state.path()
            && StateDir::at(&last.state).journal().exists()
        {
            let other = last.state.display();
            bail!(
                "a lab with the state directory {other} exists; end it first: GOPROXY_LAB_STATE={other} cargo lab down"
            );
        }
        Ok(())
    }

    fn sign(&mut self, state: &StateDir, verb: &str) -> Result<()> {
        let holder = Holder { pid: std::process::id(), verb: verb.into(), state: state.path().into() };
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(serde_json::to_string(&holder)?.as_bytes()).context("cannot write the lock file")
    }

    /// Removes the lock file: the last act of `down`.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(LOCK).with_context(|| format!("cannot remove {LOCK}"))
    }
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn refusal(file: &mut File) -> String {
    match read_holder(file) {
        Some(Holder { pid, verb, state }) => format!(
            "another lab is at work: process {pid} runs `{verb}` (state directory {}); wait until it ends",
            state.display()
        ),
        None => "another lab is at work; wait until it ends".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lab_is_refused_with_the_process_that_holds_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let state = StateDir::at(directory.path());
        let held = Lock::take_at(&path, &state, "lab up").unwrap();
        let error = Lock::take_at(&path, &state, "lab down").unwrap_err().to_string();
        assert!(error.contains(&format!("process {} runs `lab up`", std::process::id())), "{error}");
        drop(held);
        Lock::take_at(&path, &state, "lab down").unwrap();
    }

    #[test]
    fn another_state_directory_is_refused_while_its_lab_exists() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = StateDir::at(directory.path().join("first"));
        let second = StateDir::at(directory.path().join("second"));
        std::fs::create_dir_all(first.path()).unwrap();
        std::fs::write(first.journal(), "").unwrap();
        drop(Lock::take_at(&path, &first, "lab up").unwrap());
        let error = Lock::take_at(&path, &second, "lab up").unwrap_err().to_string();
        assert!(error.contains("GOPROXY_LAB_STATE="), "{error}");
        std::fs::remove_file(first.journal()).unwrap();
        Lock::take_at(&path, &second, "lab up").unwrap();
    }
}
