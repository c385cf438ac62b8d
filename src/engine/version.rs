//! Releases of the engines: which are supported, what is wrong with some of them, why others are refused, and what only a
//! later one brings. The CRD's rules are made from these tables, so that both sides say the same.

use std::fmt;

use crate::api::{go_proxy::EngineKind, rule::Form};

/// A supported release of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Athens v0.18.0.
    V0_18_0,
    /// Athens v0.18.1.
    V0_18_1,
    /// goproxy v0.20.0.
    Goproxy0_20_0,
}

/// A row of the table of supported releases.
struct Release {
    kind: EngineKind,
    name: &'static str,
    /// What is wrong with it, if a later release puts it right.
    fault: Option<&'static str>,
}

/// What v0.16.0 to v0.18.0 have in common.
const REAPER: &str = "can answer 404 for modules that exist (its child reaper races the go command)";

/// Every supported release, in the order of [`Version`].
static RELEASES: [Release; 3] = [
    Release { kind: EngineKind::Athens, name: "v0.18.0", fault: Some(REAPER) },
    Release { kind: EngineKind::Athens, name: "v0.18.1", fault: None },
    Release { kind: EngineKind::Goproxy, name: "v0.20.0", fault: None },
];

impl Version {
    /// Every supported release: of one engine, oldest first.
    pub const ALL: [Self; 3] = [Self::V0_18_0, Self::V0_18_1, Self::Goproxy0_20_0];

    /// What a new fleet of this engine gets.
    pub const fn newest(kind: EngineKind) -> Self {
        match kind {
            EngineKind::Athens => Self::V0_18_1,
            EngineKind::Goproxy => Self::Goproxy0_20_0,
        }
    }

    /// Whose release it is.
    pub const fn kind(self) -> EngineKind {
        self.row().kind
    }

    /// The release's name, as its makers call it.
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The tag of its image, as its makers give it.
    pub fn image_tag(self) -> &'static str {
        match self.kind() {
            EngineKind::Athens => self.as_str(),
            EngineKind::Goproxy => self.as_str().trim_start_matches('v'),
        }
    }

    /// What is wrong with it, if a later release puts it right.
    pub const fn fault(self) -> Option<&'static str> {
        self.row().fault
    }

    /// The release of this engine and name, if it is supported.
    pub fn of(kind: EngineKind, name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.kind() == kind && version.as_str() == name)
    }

    /// The release that was written down like this, if it is supported.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = split(text);
        Self::of(kind, name)
    }

    const fn row(self) -> &'static Release {
        &RELEASES[self as usize]
    }
}

/// As it is written down: Athens' releases by their name alone, others after the name of their engine.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            EngineKind::Athens => f.write_str(self.as_str()),
            EngineKind::Goproxy => write!(f, "{GOPROXY_PREFIX}{}", self.as_str()),
        }
    }
}

const GOPROXY_PREFIX: &str = "goproxy ";

/// Engine and release, supported or not, of what was written down.
fn split(text: &str) -> (EngineKind, &str) {
    match text.strip_prefix(GOPROXY_PREFIX) {
        Some(name) => (EngineKind::Goproxy, name),
        None => (EngineKind::Athens, text),
    }
}

/// Whose release was written down like this, supported or not.
pub fn kind_of(text: &str) -> EngineKind {
    split(text).0
}

/// Releases that are refused.
pub struct Refused {
    /// Of this engine.
    pub kind: EngineKind,
    /// Which a release must not be, or what it must be; and why.
    pub form: Form,
}

/// Every reason to refuse a release. At most one of them holds against a name.
pub static REFUSED: [Refused; 5] = [
    Refused {
        kind: EngineKind::Athens,
        form: Form::free_of(
            r"^v0\.([0-9]|1[0-5])\.(0|[1-9][0-9]*)$",
            "'%s' makes zips of some modules that nobody else's checksums fit, and they stay in storage: use v0.18.1",
        ),
    },
    Refused {
        kind: EngineKind::Athens,
        form: Form::free_of(
            r"^v0\.1[67]\.(0|[1-9][0-9]*)$",
            "'%s' can answer 404 for modules that exist (its child reaper races the go command): use v0.18.1, the first release without that fault",
        ),
    },
    Refused {
        kind: EngineKind::Athens,
        form: Form::free_of(
            r"^v(0\.18\.([2-9]|[1-9][0-9]+)|(0\.(19|[2-9][0-9]|[1-9][0-9]{2,})|[1-9][0-9]*\.(0|[1-9][0-9]*))\.(0|[1-9][0-9]*))$",
            "'%s' is newer than any Athens that this operator was tested with: use v0.18.1, or a newer operator",
        ),
    },
    Refused {
        kind: EngineKind::Athens,
        form: Form::matching(
            r"^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$",
            "'%s' is no release of Athens: use v0.18.1 or v0.18.0",
        ),
    },
    Refused {
        kind: EngineKind::Goproxy,
        form: Form::matching(
            r"^v0\.20\.0$",
            "'%s' is no release of goproxy that this operator was tested with: use v0.20.0",
        ),
    },
];

/// A wish that only a later release of Athens than the supported ones can fulfil.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// The field with the wish, below `spec`.
    pub field: &'static str,
    /// Another field that must be there for it to be this wish.
    pub beside: &'static str,
    /// The first release that has it.
    pub since: &'static str,
    /// What is said against it.
    pub reason: &'static str,
}

/// Wishes that are too early. A row leaves this table when a release that has it is supported.
pub const GATES: [Gate; 1] = [Gate {
    field: "lock.native",
    beside: "storage.s3",
    since: "v0.19.0",
    reason: "s3 has a lock of its own only from Athens v0.19.0 on, which this operator was not tested with: use redis or etcd, or leave lock out",
}];

/// Why a release is refused.
pub fn refuse(kind: EngineKind, name: &str) -> Vec<String> {
    let rows = REFUSED.iter().filter(|row| row.kind == kind);
    rows.filter_map(|row| row.form.refuse(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use EngineKind::{Athens, Goproxy};

    #[test]
    fn every_row_stands_at_its_version() {
        let named = Version::ALL.map(|version| (version.kind(), version.as_str(), version));
        assert_eq!(
            named,
            [
                (Athens, "v0.18.0", Version::V0_18_0),
                (Athens, "v0.18.1", Version::V0_18_1),
                (Goproxy, "v0.20.0", Version::Goproxy0_20_0),
            ]
        );
        assert_eq!(RELEASES.len(), Version::ALL.len());
        assert_eq!(Version::ALL.map(Version::image_tag), ["v0.18.0", "v0.18.1", "0.20.0"]);
        for version in Version::ALL {
            assert_eq!(Version::of(version.kind(), version.as_str()), Some(version));
            assert_eq!(Version::parse(&version.to_string()), Some(version));
            assert_eq!(kind_of(&version.to_string()), version.kind());
        }
        for kind in [Athens, Goproxy] {
            let newest = Version::ALL.into_iter().filter(|version| version.kind() == kind).max();
            assert_eq!(newest, Some(Version::newest(kind)));
            assert_eq!(Version::newest(kind).fault(), None, "a new fleet gets a release without known faults");
        }
    }

    #[test]
    fn an_engine_is_known_by_what_was_written_down() {
        assert_eq!(Version::V0_18_1.to_string(), "v0.18.1");
        assert_eq!(Version::Goproxy0_20_0.to_string(), "goproxy v0.20.0");
        assert_eq!(Version::parse("v0.20.0"), None, "Athens may have a release of this name one day");
        assert_eq!(kind_of("goproxy v9.9.9"), Goproxy);
        assert_eq!(kind_of("v9.9.9"), Athens);
    }

    #[test]
    fn what_is_not_supported_is_refused_for_one_reason() {
        for version in Version::ALL {
            assert!(refuse(version.kind(), version.as_str()).is_empty(), "{version}");
        }
        for (kind, name, reason) in [
            (Athens, "v0.11.0", "nobody else's checksums fit"),
            (Athens, "v0.15.4", "nobody else's checksums fit"),
            (Athens, "v0.16.0", "can answer 404 for modules that exist"),
            (Athens, "v0.17.1", "use v0.18.1, the first release without that fault"),
            (Athens, "v0.18.2", "is newer than any Athens"),
            (Athens, "v0.18.10", "is newer than any Athens"),
            (Athens, "v0.19.1", "is newer than any Athens"),
            (Athens, "v0.20.0", "is newer than any Athens"),
            (Athens, "v0.100.0", "is newer than any Athens"),
            (Athens, "v1.0.0", "is newer than any Athens"),
            (Athens, "0.18.1", "is no release of Athens"),
            (Athens, "v0.18", "is no release of Athens"),
            (Athens, "v0.18.01", "is no release of Athens"),
            (Athens, "v0.18.1-rc.1", "is no release of Athens"),
            (Athens, "", "is no release of Athens"),
            (Athens, "v0.18.1\n", "is no release of Athens"),
            (Goproxy, "v0.18.1", "is no release of goproxy"),
            (Goproxy, "v0.20.1", "use v0.20.0"),
        ] {
            let said = refuse(kind, name);
            assert!(said.len() == 1 && said[0].contains(reason), "{name:?}: {said:?}");
        }
    }

    /// Whatever three numbers somebody writes: it is supported, or there is one reason why not.
    #[test]
    fn no_release_slips_through() {
        for major in 0..3 {
            for minor in (0..40).chain([99, 100, 180]) {
                for patch in [0, 1, 2, 9, 10, 11, 19, 100] {
                    let name = format!("v{major}.{minor}.{patch}");
                    for kind in [Athens, Goproxy] {
                        let supported = Version::of(kind, &name).is_some();
                        assert_eq!(refuse(kind, &name).len(), usize::from(!supported), "{kind:?} {name}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_gate_names_a_release_that_is_refused_as_too_new() {
        for gate in GATES {
            assert!(gate.reason.contains(gate.since), "{}", gate.reason);
            let said = refuse(Athens, gate.since);
            assert!(said.len() == 1 && said[0].contains("newer than any Athens"), "{}: {said:?}", gate.field);
        }
    }

    #[test]
    fn a_fault_is_told_of_a_supported_release_as_of_its_refused_siblings() {
        let siblings = &REFUSED[1].form.refuse("v0.17.1").unwrap();
        assert!(siblings.contains(Version::V0_18_0.fault().unwrap()), "{siblings}");
    }
}
