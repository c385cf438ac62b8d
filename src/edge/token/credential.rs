//! What a client sends to say who it is.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The longest header that is read: the longest token, as a password beside a name.
const HEADER_MAX: usize = 12 * 1024;

/// A client's credential. Not checked yet, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A token.
    Bearer(String),
    /// A name and a password, which may be a token: it is all that the go command can send, by netrc.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
}

/// Why a credential cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredential {
    /// Two headers: which of them counts is anybody's guess.
    #[error("Authorization is there more than once")]
    Repeated,
    /// Longer than any token.
    #[error("Authorization is longer than {HEADER_MAX} bytes")]
    Long,
    /// Neither Bearer nor Basic, or not in their form.
    #[error("Authorization is neither a bearer token nor a name and a password")]
    Form,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bearer(_) => f.write_str("Bearer"),
            Self::Basic { user, .. } => f.debug_struct("Basic").field("user", user).finish_non_exhaustive(),
        }
    }
}

/// Reads the Authorization headers of a request; `None` where there is none.
pub fn credential(headers: &[&str]) -> Result<Option<Credential>, InvalidCredential> {
    let header = match headers {
        [] => return Ok(None),
        [header] => *header,
        _ => return Err(InvalidCredential::Repeated),
    };
    if header.len() > HEADER_MAX {
        return Err(InvalidCredential::Long);
    }
    let (scheme, value) = header.split_once(' ').ok_or(InvalidCredential::Form)?;
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if scheme.eq_ignore_ascii_case("bearer") && plain(value) {
        return Ok(Some(Credential::Bearer(value.to_owned())));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = pair.filter(|(user, _)| user.len() <= 256).ok_or(InvalidCredential::Form)?;
        if !user.contains(char::is_control) && !password.contains(char::is_control) {
            return Ok(Some(Credential::Basic { user: user.to_owned(), password: password.to_owned() }));
        }
    }
    Err(InvalidCredential::Form)
}
