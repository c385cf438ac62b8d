//! Text in a configuration file, and the one function that quotes it.

/// The longest text. nginx reads at most 4096 bytes of one argument, and nothing here needs a fourth of that.
const TEXT_MAX: usize = 1024;

/// Text that came from outside, checked to be what it says and nothing else once it is quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

/// Why a text has no place in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// A line break or another control character.
    #[error("the text has the control character {0:?} in it: remove it")]
    Control(char),
    /// nginx fills in variables inside quotes too, and knows no way to write the sign itself.
    #[error("the text has a $ in it, which begins a variable: remove it")]
    Variable,
    /// Longer than any name.
    #[error("the text is longer than {TEXT_MAX} bytes: shorten it")]
    Long,
}

impl Text {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, InvalidText> {
        if let Some(control) = text.chars().find(|letter| letter.is_control()) {
            return Err(InvalidText::Control(control));
        }
        if text.contains('$') {
            return Err(InvalidText::Variable);
        }
        if text.len() > TEXT_MAX { Err(InvalidText::Long) } else { Ok(Self(text.to_owned())) }
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An argument as nginx reads it back: bare where nothing in it means anything to nginx, and else in quotes.
pub(super) fn quote(argument: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:=@,+~$".contains(&byte);
    if !argument.is_empty() && argument.bytes().all(bare) {
        return argument.to_owned();
    }
    let mut quoted = String::with_capacity(argument.len() + 2);
    quoted.push('"');
    for letter in argument.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}
