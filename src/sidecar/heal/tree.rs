//! Directories and files of a volume, read and removed without ever leaving it: every step down is taken from an open directory, by one
//! name, and refuses a link.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::FileExt as _},
    },
    path::Path,
};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat};

use super::{
    archive,
    judge::{Contents, Module},
};

const GO_MOD: &str = "go.mod";
const SOURCE_ZIP: &str = "source.zip";

/// As much as is read of a `go.mod` or an `.info`. Longer ones are rare and looked at no further.
const TEXT_MAX: u64 = 64 << 10;

/// A point in time of the file system: seconds and the rest of one.
pub type Time = (i64, u64);

/// The volume.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A plain file.
    File,
    /// A link, or something that nobody expects here.
    Other,
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub kind: Kind,
    /// What would be another if it had changed.
    pub stamp: Stamp,
}

/// What tells a file from what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its number in the file system.
    pub inode: u64,
    /// Its length.
    pub size: i64,
    /// When it was last written.
    pub written: Time,
}

impl From<&Stat> for Stamp {
    fn from(stat: &Stat) -> Self {
        Self { inode: stat.st_ino, size: stat.st_size, written: (stat.st_mtime, stat.st_mtime_nsec) }
    }
}

const DOWN: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);
// A pipe would keep us waiting.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

impl Tree {
    /// Opens the volume. Its own path may have links in it: who mounted it chose it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(Self { root: openat(rustix::fs::CWD, path, flags, Mode::empty())? })
    }

    /// Opens a directory of it.
    pub fn directory(&self, below: &Path) -> io::Result<OwnedFd> {
        let mut here = openat(&self.root, ".", DOWN, Mode::empty())?;
        for name in below {
            here = openat(&here, name, DOWN, Mode::empty())?;
        }
        Ok(here)
    }
}

/// When something was last added to a directory, or taken from it.
pub fn changed(directory: &OwnedFd) -> io::Result<Time> {
    Ok(Stamp::from(&fstat(directory)?).written)
}

/// What a directory holds. Entries that vanish meanwhile are left out.
pub fn entries(directory: &OwnedFd) -> io::Result<Vec<Entry>> {
    let mut all = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => continue,
            stat => stat?,
        };
        let kind = if FileType::from_raw_mode(stat.st_mode).is_dir() {
            Kind::Directory
        } else if FileType::from_raw_mode(stat.st_mode).is_file() {
            Kind::File
        } else {
            Kind::Other
        };
        all.push(Entry { name: name.to_owned(), kind, stamp: Stamp::from(&stat) });
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// Reads what is needed of a version's files to know whether they are whole.
pub fn contents(directory: &OwnedFd, version: &str) -> io::Result<Contents> {
    let module = open(directory, GO_MOD)?.map(|file| module(&file)).transpose()?;
    let archive = open(directory, SOURCE_ZIP)?.map(|file| archive_is_whole(&file)).transpose()?;
    let info = open(directory, &format!("{version}.info"))?.map(|file| info_is_whole(&file)).transpose()?;
    Ok(Contents { module, archive, info })
}

/// Removes a version's files, and its directory if nothing else is in it: what we do not know is not ours to remove. The zip goes
/// first: what is left if we are killed in between is a version with files missing, which is fetched anew.
pub fn remove(tree: &Tree, below: &Path, version: &str) -> io::Result<()> {
    let directory = tree.directory(below)?;
    for name in [SOURCE_ZIP, GO_MOD, &format!("{version}.info")] {
        match unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let parent = tree.directory(below.parent().unwrap_or(Path::new("")))?;
    let name = below.file_name().unwrap_or_default();
    match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
        // Something else is in it, or an engine has begun to write it again.
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A plain file, or nothing.
fn open(directory: &OwnedFd, name: &str) -> io::Result<Option<File>> {
    match openat(directory.as_fd(), name, READ, Mode::empty()) {
        Ok(file) => {
            let file = File::from(file);
            Ok(file.metadata()?.is_file().then_some(file))
        }
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn module(file: &File) -> io::Result<Module> {
    let size = file.metadata()?.len();
    let text = read(file, 0, size.min(TEXT_MAX))?;
    let end = if size > TEXT_MAX { read(file, size - 1, 1)? } else { text.clone() };
    Ok(Module { is_text: !text.is_empty() && !text.contains(&0), line_ends: end.ends_with(b"\n") })
}

fn archive_is_whole(file: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    for most in [archive::SHORT_TAIL, archive::LONG_TAIL] {
        let length = size.min(most);
        if archive::is_whole(size, &read(file, size - length, length)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn info_is_whole(file: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    if size > TEXT_MAX {
        return Ok(true);
    }
    Ok(serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&read(file, 0, size)?).is_ok())
}

/// A part of a file. It may be shorter than asked for if the file becomes shorter meanwhile.
fn read(file: &File, from: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        let offset = from + u64::try_from(filled).unwrap_or(u64::MAX);
        match file.read_at(&mut bytes[filled..], offset) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
