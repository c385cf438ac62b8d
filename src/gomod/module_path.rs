//! Module paths, as Go checks them before it asks a proxy.

use std::fmt;

use super::{
    ELEMENT_MAX,
    escape::{escape, unescape},
    is_device,
};

/// A module path that the go command would ask for, unescaped: `github.com/Azure/azure-sdk-for-go`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModulePath(String);

/// Why a text is no module path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModulePath {
    /// There is no text, or nothing between two slashes.
    #[error("an element of the module path is empty: use single slashes, and none at either end")]
    EmptyElement,
    /// `.`, `..`, or a dot at either end of an element.
    #[error("an element of the module path begins or ends with a dot")]
    Dot,
    /// A character that Go allows in no module path.
    #[error("a module path has only letters, digits and - . _ ~ in it")]
    Character,
    /// Capital letters as they are, or an exclamation mark that stands for none.
    #[error("capital letters in a path are written as ! and the small letter, and ! stands before nothing else")]
    Escape,
    /// The first element is no host name.
    #[error("the first element of a module path is a host name: small letters, digits, dashes, and at least one dot")]
    Host,
    /// A name that Windows keeps for itself.
    #[error("an element of the module path is a device or a short name on Windows, which Go refuses everywhere")]
    Windows,
    /// `/v0`, `/v1`, `/v02`, `/v1.2`, or no `.vN` on gopkg.in.
    #[error("the major version at the end of the module path is not one that Go writes")]
    Major,
    /// An element that no file system takes.
    #[error("an element of the module path is longer than {ELEMENT_MAX} bytes")]
    Long,
}

impl ModulePath {
    /// Checks an unescaped path.
    pub fn parse(path: &str) -> Result<Self, InvalidModulePath> {
        for element in path.split('/') {
            check_element(element)?;
        }
        let host = path.split('/').next().unwrap_or_default();
        let host_byte = |byte: u8| matches!(byte, b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z');
        if !host.contains('.') || host.starts_with('-') || !host.bytes().all(host_byte) {
            return Err(InvalidModulePath::Host);
        }
        if split_major(path).is_none() {
            return Err(InvalidModulePath::Major);
        }
        Ok(Self(path.to_owned()))
    }

    /// Checks an escaped path, as it stands in a URL.
    pub fn from_escaped(escaped: &str) -> Result<Self, InvalidModulePath> {
        Self::parse(&unescape(escaped).ok_or(InvalidModulePath::Escape)?)
    }

    /// As it stands in a URL.
    pub fn escaped(&self) -> String {
        escape(&self.0)
    }

    /// As people write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ending that names a major version, with its separator: `/v2`, `.v3`; empty without one.
    pub fn major(&self) -> &str {
        split_major(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_element(element: &str) -> Result<(), InvalidModulePath> {
    if element.is_empty() {
        return Err(InvalidModulePath::EmptyElement);
    }
    if element.starts_with('.') || element.ends_with('.') {
        return Err(InvalidModulePath::Dot);
    }
    if !element.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
        return Err(InvalidModulePath::Character);
    }
    if is_device(element) || is_short_name(element) {
        return Err(InvalidModulePath::Windows);
    }
    let capitals = element.bytes().filter(u8::is_ascii_uppercase).count();
    if element.len() + capitals > ELEMENT_MAX { Err(InvalidModulePath::Long) } else { Ok(()) }
}

/// Whether Windows could mean another file by this name: a tilde and digits before the first dot.
fn is_short_name(element: &str) -> bool {
    let stem = element.split('.').next().unwrap_or_default();
    stem.rsplit_once('~')
        .is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The major version at the end of a path; `None` if it is one that Go does not accept.
fn split_major(path: &str) -> Option<&str> {
    if path.starts_with("gopkg.in/") {
        return split_gopkg_in(path);
    }
    let start = path.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let number = &path[start.len()..];
    if number.is_empty() || !start.ends_with("/v") {
        return Some("");
    }
    let accepted = !number.contains('.') && !number.starts_with('0') && number != "1";
    accepted.then(|| &path[start.len() - 2..])
}

/// On gopkg.in every path ends in `.vN`, and `N` may be 0 or 1.
fn split_gopkg_in(path: &str) -> Option<&str> {
    let stable = path.strip_suffix("-unstable").unwrap_or(path);
    let start = stable.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number = &stable[start.len()..];
    let unstable = stable.len() != path.len();
    let numbered = if number.starts_with('0') { number == "0" && !unstable } else { unstable || !number.is_empty() };
    let before = start.strip_suffix(".v").filter(|_| numbered)?;
    Some(&path[before.len()..])
}
