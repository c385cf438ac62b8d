//! Directives and how they are written.

use std::{fmt::Write as _, time::Duration};

use super::text::{Text, quote};

/// One directive: a name, arguments, and a block where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    name: &'static str,
    arguments: Vec<Argument>,
    block: Option<Vec<Directive>>,
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A word of nginx's or of this program's, in which variables mean what they mean.
    Word(&'static str),
    /// Text from outside.
    Text(Text),
    /// A number.
    Number(u64),
    /// A size in bytes, written in the largest unit that is exact.
    Bytes(u64),
    /// A length of time, written in milliseconds.
    Time(Duration),
    /// Several written as one: `max_size=50g`.
    Joined(Vec<Argument>),
}

impl Directive {
    /// A directive that ends in a semicolon.
    pub fn line(name: &'static str, arguments: impl IntoIterator<Item = Argument>) -> Self {
        Self { name, arguments: arguments.into_iter().collect(), block: None }
    }

    /// A directive of fixed words.
    pub fn words(name: &'static str, words: &[&'static str]) -> Self {
        Self::line(name, words.iter().copied().map(Argument::Word))
    }

    /// A directive with a block.
    pub fn block(name: &'static str, words: &[&'static str], inner: Vec<Directive>) -> Self {
        let arguments = words.iter().copied().map(Argument::Word).collect();
        Self { name, arguments, block: Some(inner) }
    }
}

impl Argument {
    /// A word with a value behind it: `max_size=` and a size.
    pub fn set(word: &'static str, value: Argument) -> Self {
        Self::Joined(vec![Self::Word(word), value])
    }

    /// What nginx shall read.
    fn value(&self) -> String {
        match self {
            Self::Word(word) => (*word).to_owned(),
            Self::Text(text) => text.as_str().to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Bytes(bytes) => size(*bytes),
            Self::Time(time) => format!("{}ms", time.as_millis()),
            Self::Joined(parts) => parts.iter().map(Self::value).collect(),
        }
    }
}

/// Sizes of caches may be given in gigabytes, other sizes end at megabytes.
fn size(bytes: u64) -> String {
    const MEBI: u64 = 1 << 20;
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(MEBI) => format!("{}m", bytes / MEBI),
        _ if bytes.is_multiple_of(1024) => format!("{}k", bytes / 1024),
        _ => bytes.to_string(),
    }
}

/// The text of a file.
pub(super) fn render(directives: &[Directive]) -> String {
    let mut text = String::new();
    write(&mut text, directives, 0);
    text
}

fn write(text: &mut String, directives: &[Directive], depth: usize) {
    for Directive { name, arguments, block } in directives {
        let _ = write!(text, "{:1$}{name}", "", depth * 4);
        for argument in arguments {
            text.push(' ');
            text.push_str(&quote(&argument.value()));
        }
        match block {
            None => text.push_str(";\n"),
            Some(inner) => {
                text.push_str(" {\n");
                write(text, inner, depth + 1);
                let _ = writeln!(text, "{:1$}}}", "", depth * 4);
            }
        }
    }
}
