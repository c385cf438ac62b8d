//! Versions, and what else may stand in a version's place.

use std::fmt;

use super::{
    ELEMENT_MAX, ModulePath,
    escape::{escape, unescape},
    is_device,
};

/// A canonical semantic version: `v1.2.3`, `v1.2.3-rc.1`, a pseudo-version, any of them with `+incompatible`. What a
/// proxy answers for one and a path that fits it never changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(String);

/// The name of a branch or a tag, the start of a commit, a version cut short: what it stands for changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Query(String);

impl Version {
    /// The version, if the text is one in its canonical form.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, build) = text.split_once('+').map_or((text, None), |(number, build)| (number, Some(build)));
        let fits = is_canonical(number) && build.is_none_or(|build| build == "incompatible");
        (fits && escaped_len(text) <= ELEMENT_MAX && is_file_name(text)).then(|| Self(text.to_owned()))
    }

    /// The version that stands escaped in a URL.
    pub fn from_escaped(escaped: &str) -> Option<Self> {
        Self::parse(&unescape(escaped)?)
    }

    /// As people write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it stands in a URL.
    pub fn escaped(&self) -> String {
        escape(&self.0)
    }

    /// `v` and the major number.
    pub fn major(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    /// Whether the version was found with a module path that lacks its major version.
    pub fn is_incompatible(&self) -> bool {
        self.0.ends_with("+incompatible")
    }

    /// Whether the version was made from a commit: its time and the start of its name.
    pub fn is_pseudo(&self) -> bool {
        let number = self.0.trim_end_matches("+incompatible");
        let Some((start, commit)) = number.rsplit_once('-') else { return false };
        if commit.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return false;
        }
        let Some((base, time)) = start.len().checked_sub(14).and_then(|at| start.split_at_checked(at)) else {
            return false;
        };
        let Some((core, release)) = base.split_once('-') else { return false };
        let untagged = release.is_empty() && core.ends_with(".0.0");
        let tagged = release == "0." || release.ends_with(".0.");
        time.bytes().all(|byte| byte.is_ascii_digit()) && (untagged || tagged)
    }

    /// Whether a module of this path can have this version. Where it cannot, a proxy answers with another version
    /// (`v2.0.0` becomes `v2.0.0+incompatible`) or not at all, and either may change.
    pub fn fits(&self, module: &ModulePath) -> bool {
        let ending = module.major().trim_end_matches("-unstable");
        match ending.get(1..) {
            None => matches!(self.major(), "v0" | "v1") || self.is_incompatible(),
            // Versions of gopkg.in modules that an old release of Go wrote down.
            Some("v1") if self.0.starts_with("v0.0.0-") => true,
            Some(major) => major == self.major(),
        }
    }
}

impl Query {
    /// The query, if a branch, tag or commit could have this name and a proxy be asked for it.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~+-".contains(&byte);
        let fits = !text.is_empty()
            && escaped_len(text) <= ELEMENT_MAX
            && text.bytes().all(plain)
            && !text.starts_with('.')
            && is_file_name(text)
            && !text.contains("..");
        fits.then(|| Self(text.to_owned()))
    }

    /// The query that stands escaped in a URL.
    pub fn from_escaped(escaped: &str) -> Option<Self> {
        Self::parse(&unescape(escaped)?)
    }

    /// As people write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it stands in a URL.
    pub fn escaped(&self) -> String {
        escape(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn escaped_len(text: &str) -> usize {
    text.len() + text.bytes().filter(u8::is_ascii_uppercase).count()
}

/// What Go asks of a version beyond its characters.
fn is_file_name(text: &str) -> bool {
    !text.ends_with('.') && !is_device(text)
}

/// `vN.N.N` without leading zeros, and a pre-release of non-empty parts.
fn is_canonical(number: &str) -> bool {
    let Some(number) = number.strip_prefix('v') else { return false };
    let (core, release) = number.split_once('-').map_or((number, None), |(core, release)| (core, Some(release)));
    let is_number =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && !has_leading_zero(part);
    core.split('.').count() == 3 && core.split('.').all(is_number) && release.is_none_or(is_prerelease)
}

fn is_prerelease(text: &str) -> bool {
    text.split('.').all(|part| {
        let letters = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let number = part.bytes().all(|byte| byte.is_ascii_digit());
        !part.is_empty() && letters && !(number && has_leading_zero(part))
    })
}

fn has_leading_zero(number: &str) -> bool {
    number.len() > 1 && number.starts_with('0')
}
