//! Patterns of modules, as in GOPRIVATE.

use std::fmt;

use super::ModulePath;

/// A pattern of module paths: `git.example.com/team/*`. It matches a path and all below it; `*` stands for any
/// letters of one element, `?` for one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModulePattern(String);

impl ModulePattern {
    /// The pattern, if it is written in the letters of module paths and has no empty element. What Go could read beyond
    /// that (sets of letters, escapes) would be a second way to say the same.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~*?".contains(&byte);
        let fits =
            text.len() <= 256 && text.split('/').all(|element| !element.is_empty() && element.bytes().all(plain));
        fits.then(|| Self(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the module, or one above it, has the pattern's form.
    pub fn matches(&self, module: &ModulePath) -> bool {
        let mut elements = module.as_str().split('/');
        self.0.split('/').all(|pattern| {
            elements.next().is_some_and(|element| matches_element(pattern.as_bytes(), element.as_bytes()))
        })
    }
}

impl fmt::Display for ModulePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Goes back to the last star only, so the time is bounded by the product of both lengths.
fn matches_element(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == text[read] => {
                at += 1;
                read += 1;
            }
            Some(_) | None => {
                let Some((star_at, tried)) = star else { return false };
                star = Some((star_at, tried + 1));
                at = star_at + 1;
                read = tried + 1;
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}
