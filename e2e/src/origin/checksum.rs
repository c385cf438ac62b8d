//! The checksums of `go.sum`: the hash, in base64, of a sorted listing of files and their hashes.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::tools::hex;

/// The `h1:` sum of files, given as names and contents.
pub(super) fn h1<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_unstable_by_key(|(name, _)| *name);
    let mut listing = String::new();
    for (name, content) in files {
        let _ = writeln!(listing, "{}  {name}", hex(&Sha256::digest(content)));
    }
    format!("h1:{}", STANDARD.encode(Sha256::digest(listing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_files_does_not_matter() {
        let (a, b) = (("a", b"1".as_slice()), ("b", b"2".as_slice()));
        assert_eq!(h1([a, b]), h1([b, a]));
        assert_ne!(h1([a, b]), h1([a, ("b", b"3".as_slice())]));
    }
}
