//! File trees that become layers, and how they are written so that the same tree is the same bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::tools::hex;

/// What a path holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Directory,
    Bytes(Vec<u8>),
    Copy(PathBuf),
    Symlink(String),
    /// A second name of a file in the same tree.
    Hardlink(String),
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) content: Content,
}

/// Paths without a leading slash, sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(BTreeMap<String, Node>);

/// A layer on disk.
#[derive(Clone, Debug)]
pub(super) struct LayerFile {
    pub(super) path: PathBuf,
    pub(super) sha256: String,
    pub(super) size: u64,
}

impl Tree {
    /// Adds a path, and the directories above it that are not there yet.
    pub(super) fn add(&mut self, path: &str, node: Node) {
        for (index, _) in path.match_indices('/') {
            let directory = Node { mode: 0o755, owner: 0, content: Content::Directory };
            self.0.entry(path[..index].to_owned()).or_insert(directory);
        }
        self.0.insert(path.to_owned(), node);
    }

    /// Adds everything under a directory of this machine, as root's.
    pub(super) fn add_directory(&mut self, path: &str, source: &Path) -> Result<()> {
        self.add(path, Node { mode: 0o755, owner: 0, content: Content::Directory });
        let entries = fs::read_dir(source).with_context(|| format!("read {}", source.display()))?;
        for entry in entries {
            let entry = entry?;
            let below = format!("{path}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.add_directory(&below, &entry.path())?;
            } else {
                self.add(&below, Node { mode: 0o644, owner: 0, content: Content::Copy(entry.path()) });
            }
        }
        Ok(())
    }

    /// Whether there is such a path.
    pub(super) fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Paths that begin with this text, and what they hold.
    pub(super) fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Node)> {
        self.0.range(prefix.to_owned()..).take_while(move |(path, _)| path.starts_with(prefix))
    }

    /// Writes the tree as a tar file: sorted, without times, hard links last so that their targets come first.
    pub(super) fn write(&self, path: &Path) -> Result<LayerFile> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        let mut builder = tar::Builder::new(Hashing::new(BufWriter::new(file)));
        let (links, others): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|(_, node)| matches!(node.content, Content::Hardlink(_)));
        for (name, node) in others.into_iter().chain(links) {
            append(&mut builder, name, node).with_context(|| format!("write {name} to {}", path.display()))?;
        }
        let (sha256, size) = builder.into_inner()?.finish()?;
        Ok(LayerFile { path: path.to_owned(), sha256, size })
    }
}

fn append(builder: &mut tar::Builder<impl Write>, name: &str, node: &Node) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(node.mode);
    header.set_uid(u64::from(node.owner));
    header.set_gid(u64::from(node.owner));
    header.set_mtime(0);
    header.set_size(0);
    match &node.content {
        Content::Directory => {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, format!("{name}/"), io::empty())?;
        }
        Content::Bytes(bytes) => {
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes.as_slice())?;
        }
        Content::Copy(source) => {
            let file = File::open(source).with_context(|| format!("open {}", source.display()))?;
            header.set_size(file.metadata()?.len());
            builder.append_data(&mut header, name, file)?;
        }
        Content::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(&mut header, name, target)?;
        }
        Content::Hardlink(target) => {
            header.set_entry_type(EntryType::Link);
            builder.append_link(&mut header, name, target)?;
        }
    }
    Ok(())
}

/// Counts and hashes what passes through.
pub(super) struct Hashing<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), size: 0 }
    }

    /// The hash in hexadecimal digits, and the number of bytes.
    pub(super) fn finish(mut self) -> Result<(String, u64)> {
        self.inner.flush()?;
        Ok((hex(&self.hash.finalize()), self.size))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hash.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hash and size of a file.
pub(super) fn hash_file(path: &Path) -> Result<(String, u64)> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut hashing = Hashing::new(io::sink());
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).with_context(|| format!("read {}", path.display()))?;
        if count == 0 {
            return hashing.finish();
        }
        hashing.write_all(&buffer[..count])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Node {
        Node { mode: 0o644, owner: 1000, content: Content::Bytes(text.into()) }
    }

    fn written(tree: &Tree, name: &str) -> (LayerFile, Vec<(String, String, u64, u64)>) {
        let path = std::env::temp_dir().join(format!("goproxy-lab-layer-{}-{name}", std::process::id()));
        let layer = tree.write(&path).unwrap();
        let mut archive = tar::Archive::new(File::open(&path).unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let link = entry.link_name().unwrap().map(|link| link.display().to_string()).unwrap_or_default();
            let header = entry.header();
            (entry.path().unwrap().display().to_string(), link, header.mtime().unwrap(), header.uid().unwrap())
        });
        let entries = entries.collect();
        fs::remove_file(&path).unwrap();
        (layer, entries)
    }

    #[test]
    fn order_of_adding_does_not_change_the_bytes() {
        let (mut one, mut two) = (Tree::default(), Tree::default());
        one.add("a/b", bytes("1"));
        one.add("c", bytes("2"));
        two.add("c", bytes("2"));
        two.add("a/b", bytes("1"));
        assert_eq!(written(&one, "one").0.sha256, written(&two, "two").0.sha256);
    }

    #[test]
    fn hard_links_follow_their_targets_and_nothing_carries_a_time() {
        let mut tree = Tree::default();
        tree.add("a/link", Node { mode: 0o644, owner: 0, content: Content::Hardlink("z/file".into()) });
        tree.add("z/file", bytes("text"));
        let (_, entries) = written(&tree, "links");
        let expected = [("a/", "", 0, 0), ("z/", "", 0, 0), ("z/file", "", 0, 1000), ("a/link", "z/file", 0, 0)];
        let expected = expected.map(|(path, link, time, owner)| (path.to_owned(), link.to_owned(), time, owner));
        assert_eq!(entries, expected);
    }

    #[test]
    fn the_hash_is_that_of_the_file() {
        let mut tree = Tree::default();
        tree.add("file", bytes("text"));
        let path = std::env::temp_dir().join(format!("goproxy-lab-layer-{}-hash", std::process::id()));
        let layer = tree.write(&path).unwrap();
        assert_eq!((layer.sha256, layer.size), hash_file(&path).unwrap());
        fs::remove_file(&path).unwrap();
    }
}
