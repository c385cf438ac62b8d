//! Which directories are looked at, and when.
//!
//! A volume holds tens of thousands of versions, and a volume of the network answers a thousand questions in a second. So a look costs
//! what changed, and not what is there:
//!
//! * Adding a version changes the time of its module's directory, so directories above versions are asked for their time at each look,
//!   and read only when it is another. They are a tenth of all.
//! * A version that is new in one was made after that one was last read, so it has a time that is not older than the one remembered. Both
//!   times are of the same file system, so no clock of ours matters. Older ones were judged before.
//! * A version is watched until it is whole and rested: only such a one is never written again. Those with missing files stay
//!   watched, because a fetch writes into them without changing the time of any directory.
//! * What comes with old times, copied by somebody, is found by a whole look: once a day, and after the volume was full.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::io::Errno;

use super::{
    judge::{self, Damage, Rest, Verdict},
    tree::{self, Entry, Kind, Stamp, Time, Tree},
};

/// A directory that belongs to the file system, and that only root may read.
const LOST_AND_FOUND: &str = "lost+found";

/// No module's path has more elements; something that goes deeper is no layout of an engine.
const DEEPEST: usize = 64;

/// Times of files have steps of at most this many seconds.
const YOUNG: i64 = 2;

/// When a step is made.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since this program started.
    pub running: Duration,
    /// Time of day, as files have it.
    pub time: i64,
}

/// What one step did.
#[derive(Debug, Default)]
pub struct Step {
    /// Versions that were removed, and for what.
    pub removed: Vec<Removed>,
    /// Whether there is more to do in this look.
    pub more: bool,
    /// What could not be looked at, and why: the first of it.
    pub error: Option<(PathBuf, io::Error)>,
}

/// A version that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its module, as it is called on the volume.
    pub module: String,
    /// Its name.
    pub version: String,
    /// What was broken of it.
    pub damage: Damage,
}

/// What is remembered of a volume.
#[derive(Debug)]
pub struct Sweep {
    root: PathBuf,
    settle: Duration,
    /// When this program started, as files have it.
    started: Time,
    /// Directories above versions, with the time that they had when they were last read.
    read: HashMap<PathBuf, Time>,
    /// Versions that may still change.
    watched: BTreeMap<PathBuf, Watched>,
    /// What is still to do in this look.
    queue: VecDeque<Task>,
    /// What could not be looked at, to be tried again, and whether it is a version.
    failed: BTreeMap<PathBuf, bool>,
    /// Whether this look is one before the only writer started.
    alone: bool,
    #[cfg(test)]
    opened: u64,
}

#[derive(Debug)]
enum Task {
    /// A directory above versions.
    Directory(PathBuf),
    /// A version.
    Version(PathBuf),
}

#[derive(Debug)]
struct Watched {
    stamps: Vec<(std::ffi::OsString, Stamp)>,
    since: Duration,
    verdict: Verdict,
}

impl Sweep {
    /// Nothing is known of the volume. `alone`: until the first look is over, nobody writes.
    pub fn new(root: PathBuf, settle: Duration, started: Time, alone: bool) -> Self {
        let (read, watched) = (HashMap::new(), BTreeMap::new());
        let (queue, failed) = (VecDeque::new(), BTreeMap::new());
        Self {
            root,
            settle,
            started,
            read,
            watched,
            queue,
            failed,
            alone,
            #[cfg(test)]
            opened: 0,
        }
    }

    /// Begins a look at all that may have changed; a whole one is at everything. What is left of the last one is done in it.
    pub fn begin(&mut self, whole: bool) {
        self.queue.clear();
        if whole {
            self.read.clear();
        }
        let mut directories: Vec<_> = self.read.keys().cloned().collect();
        directories.sort_unstable();
        if directories.is_empty() {
            directories.push(PathBuf::new());
        }
        self.queue.extend(directories.into_iter().map(Task::Directory));
        self.queue.extend(self.watched.keys().cloned().map(Task::Version));
        let again = |(below, is_version)| if is_version { Task::Version(below) } else { Task::Directory(below) };
        self.queue.extend(std::mem::take(&mut self.failed).into_iter().map(again));
    }

    /// From now on others write.
    pub fn not_alone(&mut self) {
        self.alone = false;
    }

    /// How many versions are broken, and may still be written at.
    pub fn broken(&self) -> u64 {
        let broken = |watched: &&Watched| matches!(watched.verdict, Verdict::Broken(_));
        u64::try_from(self.watched.values().filter(broken).count()).unwrap_or(u64::MAX)
    }

    /// How many directories and versions were opened since the start.
    #[cfg(test)]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Looks at so many directories.
    pub fn step(&mut self, budget: usize, now: Now) -> Step {
        let mut step = Step::default();
        let tree = match Tree::open(&self.root) {
            Ok(tree) => tree,
            Err(error) => {
                self.queue.clear();
                return Step { error: Some((PathBuf::new(), error)), ..step };
            }
        };
        for _ in 0..budget {
            let Some(task) = self.queue.pop_front() else { break };
            #[cfg(test)]
            {
                self.opened += 1;
            }
            let (below, is_version, done) = match task {
                Task::Directory(below) => (below.clone(), false, self.directory(&tree, &below, now)),
                Task::Version(below) => (below.clone(), true, self.version(&tree, &below, now, &mut step.removed)),
            };
            if let Err(error) = done
                && !self.is_gone(&below, &error)
            {
                self.failed.insert(below.clone(), is_version);
                step.error.get_or_insert((below, error));
            }
        }
        step.more = !self.queue.is_empty();
        if !step.more {
            self.alone = false;
        }
        step
    }

    /// Forgets what is not there any more, or is a link now.
    fn is_gone(&mut self, below: &Path, error: &io::Error) -> bool {
        // Not a directory, or a link: something else has taken its place.
        let gone = matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
            && below != Path::new("");
        if gone {
            self.read.remove(below);
            self.watched.remove(below);
        }
        gone
    }

    fn directory(&mut self, tree: &Tree, below: &Path, now: Now) -> io::Result<()> {
        let directory = tree.directory(below)?;
        // Asked before it is read: what is added in between is then found by the next look.
        let changed = tree::changed(&directory)?;
        let before = self.read.get(below).copied();
        if before == Some(changed) {
            return Ok(());
        }
        for entry in tree::entries(&directory)? {
            self.descend(below, &entry, before);
        }
        // Times have steps: what is added within the one that we saw changes nothing that could be seen. So a time that is this young is
        // remembered as an older one, and the directory is read once more.
        let young = now.time.saturating_sub(changed.0) <= YOUNG;
        let remembered = if young { (changed.0 - 1, changed.1) } else { changed };
        self.read.insert(below.to_owned(), remembered);
        Ok(())
    }

    fn descend(&mut self, below: &Path, entry: &Entry, before: Option<Time>) {
        let at_root = below == Path::new("");
        if entry.kind != Kind::Directory || (at_root && entry.name == LOST_AND_FOUND) {
            return;
        }
        let path = below.join(&entry.name);
        let is_version = !at_root && entry.name.to_str().is_some_and(judge::is_version);
        let is_new = before.is_none_or(|before| entry.stamp.written >= before);
        if is_version {
            if is_new && !self.watched.contains_key(&path) && !self.read.contains_key(&path) {
                self.queue.push_back(Task::Version(path));
            }
        } else if !self.read.contains_key(&path) && path.iter().count() <= DEEPEST {
            self.queue.push_back(Task::Directory(path));
        }
    }

    fn version(&mut self, tree: &Tree, below: &Path, now: Now, removed: &mut Vec<Removed>) -> io::Result<()> {
        let Some(version) = below.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
        let directory = tree.directory(below)?;
        let entries = tree::entries(&directory)?;
        if entries.iter().any(|entry| entry.kind == Kind::Directory) {
            // An element of a module's path that looks like a version.
            self.watched.remove(below);
            self.queue.push_back(Task::Directory(below.to_owned()));
            return Ok(());
        }
        if entries.iter().any(|entry| entry.kind == Kind::Other) {
            // Somebody put a link there. No engine does, so we do not know what it means.
            self.watched.remove(below);
            return Ok(());
        }
        let newest = entries.iter().map(|entry| entry.stamp.written).max();
        let newest = newest.map_or_else(|| tree::changed(&directory), Ok)?;
        let stamps: Vec<_> = entries.into_iter().map(|entry| (entry.name, entry.stamp)).collect();
        let known = self.watched.remove(below).filter(|watched| watched.stamps == stamps);
        let watched = match known {
            Some(watched) => watched,
            None => {
                Watched { stamps, since: now.running, verdict: judge::verdict(tree::contents(&directory, version)?) }
            }
        };
        let rest = Rest {
            watched: now.running.saturating_sub(watched.since),
            by_its_times: u64::try_from(now.time - newest.0).ok().map(Duration::from_secs),
            before_us: newest < self.started,
        };
        let settled = judge::is_settled(rest, self.settle, self.alone);
        match watched.verdict {
            Verdict::Whole if settled => {}
            Verdict::Broken(damage) if settled => {
                tree::remove(tree, below, version)?;
                let module = below.parent().map(|module| module.to_string_lossy().into_owned()).unwrap_or_default();
                removed.push(Removed { module, version: version.to_owned(), damage });
            }
            Verdict::Whole | Verdict::Unfinished | Verdict::Broken(_) => {
                self.watched.insert(below.to_owned(), watched);
            }
        }
        Ok(())
    }
}
