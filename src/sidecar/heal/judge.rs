//! Whether a stored version is broken, and whether somebody may still be writing it: decisions without a file system.
//!
//! What Athens does (`pkg/storage/fs`): it makes the version's directory, writes `go.mod`, then `source.zip`, then `VERSION.info`, each
//! in place, opened with truncation and closed without a sync, and it removes nothing when a write fails. A version is there when its
//! directory holds three files; but a request for one file is answered with that file alone, whatever the others are, as long as it
//! can be opened. From that follows:
//!
//! * Killed, or out of room, Athens leaves the file that it was at empty or cut off, and those after it missing. What is missing is
//!   fetched again when somebody asks for it, and then all three are written anew. What is cut off is served for as long as
//!   nobody asks for what is missing; a go command that has a full go.sum may never do.
//! * `VERSION.info` is written last, so it hides nothing: it is itself the file that may be cut off, and the two before are whole unless
//!   the machine went down with their pages unwritten. Then a file may have its length and no content.
//! * With all files whole, nothing is written again, but for a fetch that began before they were: two requests for two files of a
//!   version may each find theirs missing. The second one ends within the time of a fetch, which settling outlasts.
//! * A version whose directory is gone is fetched as if it had never been there. Nothing else remembers it.

use std::time::Duration;

/// Clocks of two machines are believed to be closer than this. Times of files on a volume of the network are its server's.
const CLOCKS_APART: Duration = Duration::from_secs(3600);

/// What lies in the directory of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Its `go.mod`.
    pub module: Option<Module>,
    /// Whether its `source.zip` is whole.
    pub archive: Option<bool>,
    /// Whether its `VERSION.info` is JSON to its end.
    pub info: Option<bool>,
}

/// What a `go.mod` looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// It has text, and nothing that a text has not.
    pub is_text: bool,
    /// Its last line ends.
    pub line_ends: bool,
}

/// What is to be thought of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Three whole files.
    Whole,
    /// Files are missing, and nothing says that one that is there is cut off.
    Unfinished,
    /// A file is served that is not whole.
    Broken(Damage),
}

/// What is broken of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Damage {
    /// Its `go.mod`.
    Module,
    /// Its `source.zip`.
    Archive,
    /// Its `VERSION.info`.
    Info,
    /// Everything: the directory alone is there, and lists a version that cannot be had.
    Everything,
}

impl Damage {
    /// In a word, for a log.
    pub fn file(self) -> &'static str {
        match self {
            Self::Module => "go.mod",
            Self::Archive => "source.zip",
            Self::Info => "info",
            Self::Everything => "all",
        }
    }
}

/// What is to be thought of a version with these contents.
pub fn verdict(contents: Contents) -> Verdict {
    match contents {
        Contents { module: None, archive: None, info: None } => Verdict::Broken(Damage::Everything),
        Contents { module: Some(Module { is_text: false, .. }), .. } => Verdict::Broken(Damage::Module),
        // Nothing came after it, so it may be the file that room ran out at. Whole ones end with a line's end nearly always, and one
        // that does not costs no more than its fetch: the version cannot be had without that anyway.
        Contents { module: Some(Module { line_ends: false, .. }), archive: None, info: None } => {
            Verdict::Broken(Damage::Module)
        }
        Contents { archive: Some(false), .. } => Verdict::Broken(Damage::Archive),
        Contents { info: Some(false), .. } => Verdict::Broken(Damage::Info),
        Contents { module: Some(_), archive: Some(true), info: Some(true) } => Verdict::Whole,
        Contents { .. } => Verdict::Unfinished,
    }
}

/// How long a version has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// As we watched it, by our own clock.
    pub watched: Duration,
    /// By the time that its newest file has, which may be another machine's clock. `None` if that is to come.
    pub by_its_times: Option<Duration>,
    /// Whether that is a time before this program started.
    pub before_us: bool,
}

/// Whether nobody writes a version any more. `alone` is a look before the only writer started.
pub fn is_settled(rest: Rest, settle: Duration, alone: bool) -> bool {
    rest.watched >= settle
        || rest.by_its_times.is_some_and(|time| time >= settle.saturating_add(CLOCKS_APART))
        || (alone && rest.before_us)
}

/// Whether a directory's name is a version, whole and not a part of one: elements of a module's path like `v2` are none.
pub fn is_version(name: &str) -> bool {
    let Some(rest) = name.strip_prefix('v') else { return false };
    let (rest, build) = rest.split_once('+').map_or((rest, None), |(rest, build)| (rest, Some(build)));
    let (numbers, before) = rest.split_once('-').map_or((rest, None), |(numbers, before)| (numbers, Some(before)));
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let words = |text: Option<&str>| {
        let word =
            |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        text.is_none_or(|text| text.split('.').all(word))
    };
    numbers.split('.').count() == 3 && numbers.split('.').all(number) && words(before) && words(build)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Option<Module> = Some(Module { is_text: true, line_ends: true });
    const CUT: Option<Module> = Some(Module { is_text: true, line_ends: false });
    const EMPTY: Option<Module> = Some(Module { is_text: false, line_ends: false });

    #[test]
    fn every_state_in_which_a_writer_can_end_has_its_verdict() {
        use Damage::{Archive, Everything, Info, Module};
        let table = [
            ((None, None, None), Verdict::Broken(Everything)),
            ((EMPTY, None, None), Verdict::Broken(Module)),
            ((CUT, None, None), Verdict::Broken(Module)),
            ((GOOD, None, None), Verdict::Unfinished),
            ((GOOD, Some(false), None), Verdict::Broken(Archive)),
            ((GOOD, Some(true), None), Verdict::Unfinished),
            ((GOOD, Some(true), Some(false)), Verdict::Broken(Info)),
            ((GOOD, Some(true), Some(true)), Verdict::Whole),
            // Not every author ends the last line, and what was written after it says that it is whole.
            ((CUT, Some(true), Some(true)), Verdict::Whole),
            // A machine that went down: later files may be there, and earlier ones without content.
            ((EMPTY, Some(true), Some(true)), Verdict::Broken(Module)),
            ((GOOD, Some(false), Some(true)), Verdict::Broken(Archive)),
            // What somebody put there by hand: a version that is only needed for its requirements.
            ((GOOD, None, Some(true)), Verdict::Unfinished),
            ((None, Some(true), None), Verdict::Unfinished),
        ];
        for ((module, archive, info), expected) in table {
            let contents = Contents { module, archive, info };
            assert_eq!(verdict(contents), expected, "{contents:?}");
        }
    }

    #[test]
    fn a_version_is_left_alone_for_as_long_as_somebody_may_write_it() {
        let settle = Duration::from_secs(900);
        let rest = |watched, by_its_times: Option<u64>, before_us| Rest {
            watched: Duration::from_secs(watched),
            by_its_times: by_its_times.map(Duration::from_secs),
            before_us,
        };
        assert!(!is_settled(rest(0, Some(0), false), settle, true), "written since we started");
        assert!(is_settled(rest(0, Some(5), true), settle, true), "left by the engine before");
        assert!(!is_settled(rest(0, Some(5), true), settle, false), "others may write it");
        assert!(!is_settled(rest(0, Some(1000), true), settle, false), "another machine's clock");
        assert!(is_settled(rest(0, Some(4500), true), settle, false), "hours ago by any clock");
        assert!(!is_settled(rest(899, None, false), settle, false));
        assert!(is_settled(rest(900, None, false), settle, false), "we saw it rest");
    }

    #[test]
    fn versions_are_told_from_elements_of_paths() {
        for version in
            ["v1.2.3", "v0.0.0-20200101000000-0123456789ab", "v1.0.0-rc.1", "v2.0.0+incompatible", "v10.20.30-a-b.c"]
        {
            assert!(is_version(version), "{version}");
        }
        for other in [
            "",
            "v",
            "v2",
            "v1.2",
            "1.2.3",
            "v1.2.x",
            "v1.2.3.4",
            "v1.2.3-",
            "v1..3",
            "yaml.v2",
            "lost+found",
            "v1.2.3+",
        ] {
            assert!(!is_version(other), "{other}");
        }
    }
}
