//! JSON Web Tokens, checked by the rules of RFC 8725. Pure: keys and the time of day are given.
//!
//! The signatures are checked by ring, which the rest of the program uses for TLS already. Around it is little: a token is three parts
//! of text, and most of what can go wrong is in being generous about them. The common crate for tokens reads the clock itself, and its
//! own cryptography would be a second one in the binary.
//!
//! A key is bound to one algorithm before any token is seen. The token's header only helps to find a key; what it says about keys of its own
//! is refused, not ignored, because nobody honest says it.

mod credential;
mod json;
mod key;
mod verify;

pub use credential::{Credential, InvalidCredential, credential};
pub use key::{Algorithm, InvalidKey, InvalidKeySet, Key, KeySet};
pub use verify::{Audiences, Claims, Rules, TOKEN_MAX, TokenRefusal, verify};

#[cfg(test)]
mod tests;
