//! What the lab is about to change on the machine, written down before it is done.
//!
//! `down` undoes these lines from the last to the first. A line that was written but not carried out is harmless,
//! because every undo checks first; a change that was carried out but not written cannot happen. One JSON object per
//! line: a kill in the middle of a write leaves at most a torn last line, whose change has not begun.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// One change of the machine outside the state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// The machine runs under this boot id; after a reboot only files are left to remove.
    Boot {
        /// Content of `/proc/sys/kernel/random/boot_id`.
        id: String,
    },
    /// A kernel setting, with the value that it had.
    Sysctl {
        /// Dotted name.
        key: String,
        /// The value to go back to.
        old: String,
    },
    /// A table of the host's packet filter.
    NftTable {
        /// Address family of the table.
        family: String,
        /// Name of the table.
        name: String,
    },
    /// A network interface in the host's network namespace; the routes through it go with it.
    Link {
        /// Name of the interface.
        name: String,
    },
    /// A directory that did not exist.
    Directory {
        /// Absolute path.
        path: PathBuf,
    },
    /// A tree of control groups with this name at the root of every hierarchy.
    Cgroup {
        /// Name below the root.
        name: String,
    },
}

/// The open journal of a lab.
#[derive(Debug)]
pub struct Journal {
    file: Mutex<File>,
}

impl Journal {
    /// Opens the journal for appending and creates it when it is missing.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open the journal {}", path.display()))?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Writes a change down; only when this returned may the change be made.
    pub fn record(&self, change: &Change) -> Result<()> {
        let mut line = serde_json::to_string(change)?;
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).context("cannot write the journal")?;
        file.sync_data().context("cannot write the journal to disk")
    }

    /// Makes a directory and notes the topmost part of the path that did not exist.
    pub fn make_directory(&self, path: &Path) -> Result<()> {
        if let Some(missing) = topmost_missing(path) {
            self.record(&Change::Directory { path: missing })?;
        }
        std::fs::create_dir_all(path).with_context(|| format!("cannot make the directory {}", path.display()))
    }

    /// All changes written so far, oldest first; none when there is no journal.
    pub fn read(path: &Path) -> Result<Vec<Change>> {
        match std::fs::read_to_string(path) {
            Ok(text) => parse(&text).with_context(|| format!("the journal {} cannot be read", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read the journal {}", path.display())),
        }
    }
}

fn topmost_missing(path: &Path) -> Option<PathBuf> {
    path.ancestors().take_while(|ancestor| !ancestor.exists()).last().map(Path::to_path_buf)
}

fn parse(text: &str) -> Result<Vec<Change>> {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete
        .lines()
        .enumerate()
        .map(|(index, line)| serde_json::from_str(line).with_context(|| format!("line {}: {line}", index + 1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysctl() -> Change {
        Change::Sysctl { key: "kernel.panic".into(), old: "1".into() }
    }

    #[test]
    fn every_kind_of_change_survives_the_journal() {
        let changes = vec![
            Change::Boot { id: "b".into() },
            sysctl(),
            Change::NftTable { family: "ip".into(), name: "t".into() },
            Change::Link { name: "l".into() },
            Change::Directory { path: "/run/netns".into() },
            Change::Cgroup { name: "c".into() },
        ];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let journal = Journal::open(&path).unwrap();
        for change in &changes {
            journal.record(change).unwrap();
        }
        assert_eq!(Journal::read(&path).unwrap(), changes);
    }

    #[test]
    fn a_torn_last_line_is_a_change_that_has_not_begun() {
        let line = serde_json::to_string(&sysctl()).unwrap();
        assert_eq!(parse(&format!("{line}\n{}", &line[..10])).unwrap(), vec![sysctl()]);
        assert_eq!(parse("{\"chan").unwrap(), vec![]);
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error_that_names_it() {
        let line = serde_json::to_string(&sysctl()).unwrap();
        let error = parse(&format!("{line}\nnonsense\n{line}\n")).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn only_the_topmost_missing_directory_is_noted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let journal = Journal::open(&path).unwrap();
        journal.make_directory(&directory.path().join("a/b/c")).unwrap();
        journal.make_directory(&directory.path().join("a/b")).unwrap();
        assert_eq!(Journal::read(&path).unwrap(), vec![Change::Directory { path: directory.path().join("a") }]);
    }
}
