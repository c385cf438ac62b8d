//! Texts of others, as they may be shown: in one line, short, and without logins.
//!
//! What git, an engine or a server says may hold whatever somebody typed into an address. The report is read by the operator, and what
//! it tells becomes part of a status that many may read.

use std::{error::Error, sync::LazyLock};

use regex::Regex;

use crate::plan::steady::steady;

/// A cause and what it is about fit.
const LONGEST: usize = 300;

/// Everything between the slashes of an address and the last `@` before its path: a name alone may be a token.
static LOGIN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"//[^/\s"'<>]*@"#).expect("a constant that a test compiles"));

/// A text as it may be shown.
pub fn told(text: &str) -> String {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let visible: String = first.chars().filter(|char| !char.is_control()).collect();
    let text = steady(&LOGIN.replace_all(&visible, "//…@"));
    match text.char_indices().nth(LONGEST - 1) {
        Some((end, last)) if end + last.len_utf8() < text.len() => format!("{}…", &text[..end]),
        _ => text,
    }
}

/// The innermost cause of an error, which is the one that names what happened, as it may be shown.
pub fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    told(&innermost.to_string())
}

/// The same for a request, without the address that was asked: it may hold a login, and whoever reads knows it by its name.
pub fn of_request(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    cause(&error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_login_is_told() {
        let texts = [
            (
                "fatal: cannot read 'https://user:hidden@git.example.com/x'",
                "fatal: cannot read 'https://…@git.example.com/x'",
            ),
            ("https://hidden@git.example.com/x: no", "https://…@git.example.com/x: no"),
            ("redis://:hid@den@host:6379", "redis://…@host:6379"),
            (
                "\n  first: lib@v1.0.0 of https://git.example.com/lib/@v/list\nhidden",
                "first: lib@v1.0.0 of https://git.example.com/lib/@v/list",
            ),
            ("a\u{1b}[31mb", "a[31mb"),
            ("", ""),
        ];
        for (text, expected) in texts {
            assert_eq!(told(text), expected);
        }
    }

    #[test]
    fn a_page_is_cut() {
        for text in ["ä".repeat(299), "ä".repeat(300)] {
            assert_eq!(told(&text), text);
        }
        let cut = told(&"ä".repeat(301));
        assert_eq!(cut.chars().count(), 300);
        assert!(cut.ends_with('…'));
    }
}
