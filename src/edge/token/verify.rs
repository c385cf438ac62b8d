//! The check of one token.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    json,
    key::{Algorithm, KeySet},
};
use crate::edge::role::Identity;

/// The longest token. nginx takes 16 KiB of headers, and tokens of a busy group's member have two.
pub const TOKEN_MAX: usize = 8 * 1024;

/// How long a token may still be valid. A machine's token lives for a year; one that is good for a lifetime is a
/// password that nobody changes.
const LIFETIME_MAX: i64 = 400 * 24 * 60 * 60;

/// How many keys are tried: each costs a signature's check, and the token is not trusted yet.
const TRIES: usize = 4;

/// How many groups or scopes are read.
const LIST_MAX: usize = 512;

/// What a token must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who issues, exactly.
    pub issuer: String,
    /// For whom.
    pub audience: String,
    /// Whether it may be for others too.
    pub audiences: Audiences,
    /// By how many seconds clocks may differ.
    pub leeway: u32,
    /// The claim that lists groups.
    pub groups_claim: String,
}

/// Whether a token may be for others too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audiences {
    /// It may not: whoever else may receive it could use it here.
    #[default]
    Sole,
    /// It may.
    Shared,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who.
    pub identity: Identity,
    /// Until when, without leeway.
    pub expires: Timestamp,
}

/// Why a token is refused. Told to the log, not to the client, which learns only that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Longer than [`TOKEN_MAX`].
    #[error("the token is longer than {TOKEN_MAX} bytes")]
    Long,
    /// Not three parts, not base64url, or not JSON objects with every key once.
    #[error("the token is not three parts of base64url with JSON in the first two, every key once")]
    Form,
    /// An algorithm that nobody here uses, `none` among them.
    #[error("the token's algorithm is none of those that are accepted")]
    Algorithm,
    /// A header that would make this edge fetch or believe a key, or that it would have to understand.
    #[error("the token's header has {0} in it, which is never accepted")]
    Header(&'static str),
    /// A type other than JWT.
    #[error("the token's type is not JWT")]
    Type,
    /// No key of this name for this algorithm.
    #[error("no key of the issuer has the token's name of a key and its algorithm")]
    UnknownKey,
    /// Signed by nobody that is known.
    #[error("the token's signature is not by a key of the issuer")]
    Signature,
    /// Somebody else's.
    #[error("the token was issued by somebody else")]
    Issuer,
    /// For somebody else.
    #[error("the token is for somebody else, or for others too")]
    Audience,
    /// Without a subject.
    #[error("the token's subject is missing, or longer than 256 bytes, or has control characters in it")]
    Subject,
    /// A time that is missing or no number.
    #[error("the token's {0} is missing or no time in seconds")]
    Time(&'static str),
    /// Over.
    #[error("the token has expired")]
    Expired,
    /// Not yet.
    #[error("the token is not valid yet")]
    Early,
    /// Good for too long.
    #[error("the token is valid for more than 400 days from now")]
    Lasting,
    /// Groups or scopes that are no list of texts.
    #[error("the token's groups or scopes are no list of at most {LIST_MAX} texts")]
    Groups,
}

/// Checks a token.
pub fn verify(token: &str, keys: &KeySet, rules: &Rules, now: Timestamp) -> Result<Claims, TokenRefusal> {
    if token.len() > TOKEN_MAX {
        return Err(TokenRefusal::Long);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Form)?;
    let (header, payload) = message.split_once('.').ok_or(TokenRefusal::Form)?;
    if payload.contains('.') {
        return Err(TokenRefusal::Form);
    }
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Form);
    let header = json::object(&decode(header)?).ok_or(TokenRefusal::Form)?;
    let (algorithm, key) = read_header(&header)?;
    let mut candidates = keys.candidates(algorithm, key).take(TRIES).peekable();
    if candidates.peek().is_none() {
        return Err(TokenRefusal::UnknownKey);
    }
    let signature = decode(signature)?;
    if !candidates.any(|key| key.verifies(message.as_bytes(), &signature)) {
        return Err(TokenRefusal::Signature);
    }
    // Nothing of the payload is read before it is known who wrote it.
    let claims = json::object(&decode(payload)?).ok_or(TokenRefusal::Form)?;
    check_parties(&claims, rules)?;
    let expires = check_times(&claims, rules, now)?;
    Ok(Claims { identity: identity(&claims, rules)?, expires })
}

/// The algorithm, and the name of a key.
fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<&str>), TokenRefusal> {
    // Fingerprints of certificates (x5t) only name a key, and some issuers add them: they are not read.
    const REFUSED: [&str; 7] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip"];
    let name = header.get("alg").and_then(Value::as_str).ok_or(TokenRefusal::Algorithm)?;
    let algorithm = Algorithm::from_name(name).ok_or(TokenRefusal::Algorithm)?;
    if let Some(name) = REFUSED.iter().find(|name| header.contains_key(**name)) {
        return Err(TokenRefusal::Header(name));
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(kind)) if is_jwt(kind) => {}
        Some(_) => return Err(TokenRefusal::Type),
    }
    match header.get("kid") {
        None => Ok((algorithm, None)),
        Some(Value::String(id)) => Ok((algorithm, Some(id))),
        Some(_) => Err(TokenRefusal::UnknownKey),
    }
}

fn is_jwt(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt")
}

fn check_parties(claims: &Map<String, Value>, rules: &Rules) -> Result<(), TokenRefusal> {
    if claims.get("iss").and_then(Value::as_str) != Some(&rules.issuer) {
        return Err(TokenRefusal::Issuer);
    }
    let fits = match claims.get("aud") {
        Some(Value::String(audience)) => *audience == rules.audience,
        Some(Value::Array(audiences)) => {
            let is_ours = |audience: &Value| audience.as_str() == Some(&rules.audience);
            let shared = rules.audiences == Audiences::Shared;
            audiences.iter().any(is_ours) && (shared || audiences.iter().all(is_ours))
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(TokenRefusal::Audience) }
}

fn check_times(claims: &Map<String, Value>, rules: &Rules, now: Timestamp) -> Result<Timestamp, TokenRefusal> {
    let (now, leeway) = (now.as_second(), i64::from(rules.leeway));
    let expires = seconds(claims, "exp")?.ok_or(TokenRefusal::Time("exp"))?;
    if expires <= now - leeway {
        return Err(TokenRefusal::Expired);
    }
    if expires > now + LIFETIME_MAX {
        return Err(TokenRefusal::Lasting);
    }
    for name in ["nbf", "iat"] {
        if seconds(claims, name)?.is_some_and(|from| from > now + leeway) {
            return Err(TokenRefusal::Early);
        }
    }
    Timestamp::from_second(expires).map_err(|_| TokenRefusal::Time("exp"))
}

/// A time in whole seconds. Some issuers write fractions, which are dropped: a token ends a moment early.
fn seconds(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, TokenRefusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64().or_else(|| {
        let text = value.as_f64()?.floor().to_string();
        text.parse().ok()
    });
    whole.filter(|seconds| *seconds >= 0).map(Some).ok_or(TokenRefusal::Time(name))
}

fn identity(claims: &Map<String, Value>, rules: &Rules) -> Result<Identity, TokenRefusal> {
    let subject = claims.get("sub").and_then(Value::as_str).ok_or(TokenRefusal::Subject)?;
    if subject.is_empty() || subject.len() > 256 || subject.contains(char::is_control) {
        return Err(TokenRefusal::Subject);
    }
    let scopes = match (claims.get("scope"), claims.get("scp")) {
        (Some(Value::String(scopes)), None) => texts(scopes.split(' ').filter(|scope| !scope.is_empty()))?,
        (None, Some(scopes)) => list(scopes)?,
        (None, None) => BTreeSet::new(),
        _ => return Err(TokenRefusal::Groups),
    };
    let groups = claims.get(&rules.groups_claim).map_or_else(|| Ok(BTreeSet::new()), list)?;
    Ok(Identity { subject: subject.to_owned(), groups, scopes })
}

/// A list of texts, or one text.
fn list(value: &Value) -> Result<BTreeSet<String>, TokenRefusal> {
    match value {
        Value::String(one) => texts([one.as_str()]),
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
            texts(items.ok_or(TokenRefusal::Groups)?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(TokenRefusal::Groups),
    }
}

fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<String>, TokenRefusal> {
    let set: BTreeSet<_> = items.into_iter().map(str::to_owned).collect();
    if set.len() > LIST_MAX { Err(TokenRefusal::Groups) } else { Ok(set) }
}
