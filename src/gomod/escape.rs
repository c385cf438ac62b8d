//! How Go writes capital letters into paths: `Azure` is `!azure`, so that names which differ only in case stay apart on
//! file systems that do not tell case.

/// Escapes a text that holds no exclamation mark.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(letter.to_ascii_lowercase());
    }
    escaped
}

/// The text that was escaped; `None` for what [`escape`] never writes: capital letters, and an exclamation mark without
/// a small letter behind it.
pub fn unescape(escaped: &str) -> Option<String> {
    let mut text = String::with_capacity(escaped.len());
    let mut letters = escaped.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '!' => text.push(letters.next().filter(char::is_ascii_lowercase)?.to_ascii_uppercase()),
            'A'..='Z' => return None,
            _ if !letter.is_ascii() => return None,
            _ => text.push(letter),
        }
    }
    Some(text)
}
