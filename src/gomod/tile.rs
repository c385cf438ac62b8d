//! Where a checksum database keeps its parts.

use std::fmt;

/// The numbers of a tile that stand for records instead of hashes.
const RECORDS: &str = "data";

/// Numbers are written three digits at a time, so that no directory grows large.
const DIGITS: u64 = 1000;

/// A part of the database. Its content never changes: a database that grows adds tiles, and wider ones beside narrow ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// How many levels of the tree it spans, 1 to 30.
    pub height: u32,
    /// How far up in the tree; `None` for the records themselves.
    pub level: Option<u32>,
    /// Which one of its level.
    pub number: u64,
    /// How many hashes or records it has, at most two to the height.
    pub width: u64,
}

impl Tile {
    /// The tile at a path, `tile/8/1/x123/456` or `tile/8/data/000.p/17`, if the path is the one spelling of it.
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts = path.split('/');
        if parts.next() != Some("tile") {
            return None;
        }
        let height: u32 = parts.next()?.parse().ok().filter(|height| (1..=30).contains(height))?;
        let level = match parts.next()? {
            RECORDS => None,
            level => Some(level.parse().ok()?),
        };
        let mut rest: Vec<&str> = parts.collect();
        let full = 1 << height;
        let mut width = full;
        if let [.., last, count] = rest.as_mut_slice()
            && let Some(number) = last.strip_suffix(".p")
        {
            width = count.parse().ok().filter(|width| (1..full).contains(width))?;
            *last = number;
            rest.pop();
        }
        let number = rest.iter().try_fold(0_u64, |sum, part| {
            let part: u64 = part.trim_start_matches('x').parse().ok().filter(|part| *part < DIGITS)?;
            sum.checked_mul(DIGITS)?.checked_add(part)
        })?;
        let tile = Self { height, level, number, width };
        (tile.to_string() == path).then_some(tile)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = format!("{:03}", self.number % DIGITS);
        let mut rest = self.number / DIGITS;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % DIGITS);
            rest /= DIGITS;
        }
        let level = self.level.map_or_else(|| RECORDS.to_owned(), |level| level.to_string());
        write!(f, "tile/{}/{level}/{number}", self.height)?;
        if self.width == 1 << self.height { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}
