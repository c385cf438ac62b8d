//! Releases of Athens that the operator supports, newest last.

use std::fmt;

/// A supported release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// v0.18.0: its child reaper races the go command, which can answer 404 for a module that exists.
    V0_18_0,
    /// v0.18.1.
    V0_18_1,
}

impl Version {
    /// Every supported release, oldest first.
    pub const ALL: [Self; 2] = [Self::V0_18_0, Self::V0_18_1];

    /// What a new fleet gets.
    pub const NEWEST: Self = Self::V0_18_1;

    /// The release's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_18_0 => "v0.18.0",
            Self::V0_18_1 => "v0.18.1",
        }
    }

    /// The release of this name, if it is supported.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
