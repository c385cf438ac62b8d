//! A signed checksum database as plain files.
//!
//! The protocol of the public one is all `GET`: a signed tree head, records, and tiles of the hashes that prove a record
//! to be in the tree. For a fixed set of modules every answer is known beforehand, so a file server is enough. The hashes
//! are those of RFC 6962. The go command checks them, which is how this is tested.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest, Sha256};

/// The database's name, in its key and in the path under which a module proxy passes it on.
pub(super) const NAME: &str = "sumdb.origin.invalid";

/// It signs made-up modules only, and has to be the same on every machine.
const SEED: [u8; 32] = *b"made-up modules need no secrets!";

/// Names the signature algorithm inside keys.
const ED25519: u8 = 1;

/// A tile holds the hashes of this many subtrees, 2 to the power of its height.
const TILE_WIDTH: usize = 256;
const TILE_HEIGHT: usize = 8;

type Hash = [u8; 32];

/// One version of a module: what `go.sum` says about it.
pub(super) struct Record {
    /// `path@version`, escaped as in a proxy's paths.
    pub(super) lookup: String,
    /// Two lines.
    pub(super) text: String,
}

/// What `GOSUMDB` is set to so that the go command believes this database.
pub(super) fn verifier_key() -> Result<String> {
    let key = public_key(&key_pair()?);
    Ok(format!("{NAME}+{:08x}+{}", u32::from_be_bytes(key_hash(&key)), STANDARD.encode(key)))
}

/// The hash that stands for all records, in base64.
#[cfg(test)]
pub(super) fn root(records: &[Record]) -> String {
    STANDARD.encode(tree_hash(&leaves(records)))
}

fn leaves(records: &[Record]) -> Vec<Hash> {
    records.iter().map(|record| leaf(record.text.as_bytes())).collect()
}

/// Writes the database below a directory.
pub(super) fn write(dir: &Path, records: &[Record]) -> Result<()> {
    let leaves = leaves(records);
    let head = signed_head(&leaves)?;
    let put = |path: &str, content: &[u8]| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap_or(dir)).with_context(|| format!("create {}", path.display()))?;
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    };
    put("supported", b"")?;
    put("latest", head.as_bytes())?;
    for (index, record) in records.iter().enumerate() {
        put(&format!("lookup/{}", record.lookup), format!("{index}\n{}\n{head}", record.text).as_bytes())?;
    }
    let mut level = 0;
    let mut hashes = leaves;
    while !hashes.is_empty() {
        for (index, tile) in hashes.chunks(TILE_WIDTH).enumerate() {
            ensure!(index < 1000, "the generated origin has more than {} versions", 1000 * TILE_WIDTH);
            let partial = if tile.len() < TILE_WIDTH { format!(".p/{}", tile.len()) } else { String::new() };
            put(&format!("tile/{TILE_HEIGHT}/{level}/{index:03}{partial}"), tile.concat().as_slice())?;
        }
        hashes = hashes.chunks_exact(TILE_WIDTH).map(tree_hash).collect();
        level += 1;
    }
    Ok(())
}

fn leaf(text: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(text).finalize().into()
}

/// The hash of a tree over these leaves or subtrees of equal size.
fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        _ => {
            // The left part is the largest power of two that leaves something for the right one.
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Sha256::new()
                .chain_update([1])
                .chain_update(tree_hash(left))
                .chain_update(tree_hash(right))
                .finalize()
                .into()
        }
    }
}

/// The tree's size and hash as a signed note.
fn signed_head(leaves: &[Hash]) -> Result<String> {
    let pair = key_pair()?;
    let text = format!("go.sum database tree\n{}\n{}\n", leaves.len(), STANDARD.encode(tree_hash(leaves)));
    let mut signature = key_hash(&public_key(&pair)).to_vec();
    signature.extend_from_slice(pair.sign(text.as_bytes()).as_ref());
    Ok(format!("{text}\n\u{2014} {NAME} {}\n", STANDARD.encode(signature)))
}

fn key_pair() -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(&SEED).map_err(|error| anyhow!("checksum database key: {error}"))
}

/// The key as it is named and hashed: its algorithm, then its bytes.
fn public_key(pair: &Ed25519KeyPair) -> Vec<u8> {
    [&[ED25519], pair.public_key().as_ref()].concat()
}

fn key_hash(key: &[u8]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(NAME).chain_update("\n").chain_update(key).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_split_at_the_largest_power_of_two() {
        let leaves: Vec<_> = (0..5).map(|number: u8| leaf(&[number])).collect();
        let node =
            |left: Hash, right: Hash| -> Hash { Sha256::digest([[1].as_slice(), &left, &right].concat()).into() };
        let four = node(node(leaves[0], leaves[1]), node(leaves[2], leaves[3]));
        assert_eq!(tree_hash(&leaves), node(four, leaves[4]));
        assert_eq!(tree_hash(&leaves[..4]), four);
    }

    #[test]
    fn the_key_is_the_same_everywhere() {
        let key = verifier_key().unwrap();
        assert!(key.starts_with("sumdb.origin.invalid+"), "{key}");
        assert_eq!(key, verifier_key().unwrap());
    }
}
