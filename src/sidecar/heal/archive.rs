//! Whether a zip is whole, as far as its end tells.
//!
//! A zip ends with a record that says where the list of its files begins and how long it is; the list ends where the record begins. A
//! file that was cut off anywhere, or whose end never reached the disk, has no such record, and one of another zip inside of it does not
//! fit the size. What is damaged in the middle is not found: that would mean to read every byte of a volume, and a go command that
//! knows the module's checksum refuses it anyway.

/// Length of the record without its comment.
const END: usize = 22;

/// As much as has to be read of a zip that Go made: its writer puts no comment behind the record, and the record of a large zip and
/// what points at it are before.
pub const SHORT_TAIL: u64 = 128;

/// As much as has to be read of any zip: a comment has at most 65,535 bytes.
pub const LONG_TAIL: u64 = 65_535 + SHORT_TAIL;

const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const LARGE_SIGNATURE: [u8; 4] = *b"PK\x06\x06";
const POINTER_SIGNATURE: [u8; 4] = *b"PK\x06\x07";

/// Whether a file of this size that ends with these bytes is a zip to its end.
pub fn is_whole(size: u64, tail: &[u8]) -> bool {
    let Ok(length) = u64::try_from(tail.len()) else { return false };
    let Some(begin) = size.checked_sub(length) else { return false };
    let Some(last) = tail.len().checked_sub(END) else { return false };
    (0..=last).rev().any(|at| ends_here(tail, at, begin))
}

/// Whether the record is at this place of the tail, which itself begins there in the file.
fn ends_here(tail: &[u8], at: usize, begin: u64) -> bool {
    let record = &tail[at..];
    if record[..4] != END_SIGNATURE || at + END + usize::from(two(record, 20)) != tail.len() {
        return false;
    }
    let (entries, length, start) = (two(record, 10), four(record, 12), four(record, 16));
    // More files, or more bytes, than fit this record: another one, just before, has the numbers.
    if entries == u16::MAX || length == u32::MAX || start == u32::MAX {
        return large_ends_here(tail, at, begin);
    }
    u64::from(start) + u64::from(length) == begin + place(at)
}

fn large_ends_here(tail: &[u8], at: usize, begin: u64) -> bool {
    const POINTER: usize = 20;
    const LARGE: usize = 56;
    let Some(pointer) = at.checked_sub(POINTER) else { return false };
    let Some(large) = pointer.checked_sub(LARGE) else { return false };
    let (record, pointer) = (&tail[large..], &tail[pointer..]);
    pointer[..4] == POINTER_SIGNATURE
        && record[..4] == LARGE_SIGNATURE
        && eight(pointer, 8) == begin + place(large)
        && eight(record, 48).checked_add(eight(record, 40)) == Some(begin + place(large))
}

fn place(at: usize) -> u64 {
    // The tail is short.
    u64::try_from(at).unwrap_or(u64::MAX)
}

fn two(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from(two(bytes, at)) | u32::from(two(bytes, at + 2)) << 16
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from(four(bytes, at)) | u64::from(four(bytes, at + 4)) << 32
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The smallest zips that there are: `files` empty files, stored, and the list of them.
    pub fn zip(files: usize, comment: &str) -> Vec<u8> {
        let name = |file: usize| format!("m@v1/{file:06}");
        let mut bytes = Vec::new();
        let mut list = Vec::new();
        for file in 0..files {
            let start = u32::try_from(bytes.len()).unwrap().to_le_bytes();
            bytes.extend_from_slice(b"PK\x03\x04");
            bytes.extend_from_slice(&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0]);
            bytes.extend_from_slice(name(file).as_bytes());
            list.extend_from_slice(b"PK\x01\x02");
            list.extend_from_slice(&[20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11, 0]);
            list.extend_from_slice(&[0; 12]);
            list.extend_from_slice(&start);
            list.extend_from_slice(name(file).as_bytes());
        }
        let (start, length) = (bytes.len(), list.len());
        bytes.extend_from_slice(&list);
        let short = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes();
        if files >= usize::from(u16::MAX) {
            let (at, files) = (bytes.len(), u64::try_from(files).unwrap().to_le_bytes());
            bytes.extend_from_slice(b"PK\x06\x06");
            bytes.extend_from_slice(&44_u64.to_le_bytes());
            bytes.extend_from_slice(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend_from_slice(&files);
            bytes.extend_from_slice(&files);
            bytes.extend_from_slice(&u64::try_from(length).unwrap().to_le_bytes());
            bytes.extend_from_slice(&u64::try_from(start).unwrap().to_le_bytes());
            bytes.extend_from_slice(b"PK\x06\x07\0\0\0\0");
            bytes.extend_from_slice(&u64::try_from(at).unwrap().to_le_bytes());
            bytes.extend_from_slice(&[1, 0, 0, 0]);
        }
        bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        bytes.extend_from_slice(&short(files));
        bytes.extend_from_slice(&short(files));
        bytes.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(start).unwrap().to_le_bytes());
        bytes.extend_from_slice(&short(comment.len()));
        bytes.extend_from_slice(comment.as_bytes());
        bytes
    }

    /// By its end alone, as a volume is read.
    fn by_its_end(bytes: &[u8]) -> bool {
        let size = u64::try_from(bytes.len()).unwrap();
        let tail = |most: u64| &bytes[usize::try_from(size.saturating_sub(most)).unwrap()..];
        is_whole(size, tail(SHORT_TAIL)) || is_whole(size, tail(LONG_TAIL))
    }

    #[test]
    fn a_zip_is_whole_and_no_shorter_beginning_of_it_is() {
        for bytes in [zip(0, ""), zip(1, ""), zip(40, ""), zip(3, "made by hand")] {
            assert!(by_its_end(&bytes));
            for end in 0..bytes.len() {
                assert!(!by_its_end(&bytes[..end]), "{end} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn a_zip_of_very_many_files_is_whole_until_it_is_cut() {
        let bytes = zip(70_000, "");
        assert!(by_its_end(&bytes));
        for cut in [1, 21, 22, 23, 60, 100, 5000, 3_000_000] {
            assert!(!by_its_end(&bytes[..bytes.len() - cut]), "{cut}");
        }
    }

    #[test]
    fn what_is_no_zip_is_not_whole() {
        let mut zeroed = zip(5, "");
        let middle = zeroed.len() / 2;
        zeroed[middle..].fill(0);
        let mut grown = zip(5, "");
        grown.insert(0, 0);
        // A zip within a zip that ends where the outer one was cut.
        let nested = [b"PK\x03\x04 stored: ".as_slice(), &zip(2, "")].concat();
        for bytes in [vec![], vec![0; 100], zeroed, grown, nested, b"PK\x05\x06".to_vec()] {
            assert!(!by_its_end(&bytes));
        }
    }

    #[test]
    fn a_long_comment_is_read_past() {
        assert!(by_its_end(&zip(2, &"x".repeat(60_000))));
    }
}
