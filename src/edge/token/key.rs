//! Keys, each bound to its one algorithm.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{hmac, signature};
use serde_json::{Map, Value};

use super::json;

/// The longest set that is read. A hundred keys with their certificates are a fifth of it.
const SET_MAX: usize = 512 * 1024;

/// The longest name of a key.
const ID_MAX: usize = 256;

/// How a token is signed. `none` is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    Rs512,
    /// RSA PSS with SHA-256.
    Ps256,
    /// RSA PSS with SHA-384.
    Ps384,
    /// RSA PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// A key and what it may be used for.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    /// A shared secret, or a public key as one string of bytes.
    Bytes(Vec<u8>),
    /// Modulus and exponent.
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// The keys of one issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<Key>);

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// A secret that can be guessed.
    #[error("the secret has {given} bytes and {algorithm} needs {least}: make a longer one at random")]
    Short {
        /// For which algorithm.
        algorithm: Algorithm,
        /// How long it is.
        given: usize,
        /// How long it must be.
        least: usize,
    },
    /// A secret for an algorithm without one.
    #[error("{0} has no shared secret: give the issuer's public keys")]
    NoSecret(Algorithm),
}

/// Why a set of keys cannot be used. Whoever had keys before keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// More than anybody publishes.
    #[error("the key set is longer than {SET_MAX} bytes")]
    Long,
    /// A page in HTML, or JSON of another kind.
    #[error("the key set is no JSON object with a list of keys in it")]
    Form,
    /// Nothing in it can check a signature.
    #[error("the key set has no public key for signatures in it")]
    Empty,
}

impl Algorithm {
    const ALL: [Self; 12] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The name in headers and key sets; exactly this one, in this case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether an RSA key is used with it.
    const fn is_rsa(self) -> bool {
        matches!(self, Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512)
    }

    /// How many bytes a shared secret must have: as many as the hash (RFC 7518, 3.2).
    const fn secret_min(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            Self::Rs256
            | Self::Rs384
            | Self::Rs512
            | Self::Ps256
            | Self::Ps384
            | Self::Ps512
            | Self::Es256
            | Self::Es384
            | Self::EdDsa => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Shows neither secrets nor public keys.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Key {
    /// A secret that issuer and edge share.
    pub fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, InvalidKey> {
        let least = algorithm.secret_min().ok_or(InvalidKey::NoSecret(algorithm))?;
        if secret.len() < least {
            return Err(InvalidKey::Short { algorithm, given: secret.len(), least });
        }
        Ok(Self { id: None, algorithm, material: Material::Bytes(secret.to_vec()) })
    }

    /// A public key of a set; `None` for what cannot check a token's signature here.
    fn from_jwk(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let verifies =
            |operations: &Value| operations.as_array().is_some_and(|names| names.iter().any(|name| name == "verify"));
        if jwk.get("use").is_some_and(|usage| usage != "sig") || !jwk.get("key_ops").is_none_or(verifies) {
            return None;
        }
        let id = match jwk.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().filter(|id| id.len() <= ID_MAX)?.to_owned()),
        };
        let (usual, material) = match (text("kty")?, text("crv")) {
            ("RSA", _) => (Algorithm::Rs256, Material::Rsa { n: bytes("n")?, e: bytes("e")? }),
            ("EC", Some("P-256")) => (Algorithm::Es256, point(&bytes("x")?, &bytes("y")?, 32)?),
            ("EC", Some("P-384")) => (Algorithm::Es384, point(&bytes("x")?, &bytes("y")?, 48)?),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, Material::Bytes(bytes("x").filter(|x| x.len() == 32)?)),
            // A secret in a set that is published is no secret, and other curves are nobody's here.
            _ => return None,
        };
        let algorithm = match jwk.get("alg") {
            None => usual,
            Some(name) => Algorithm::from_name(name.as_str()?)?,
        };
        let fits = algorithm == usual || (usual == Algorithm::Rs256 && algorithm.is_rsa());
        fits.then_some(Self { id, algorithm, material })
    }

    /// What it is used with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether it made this signature over this message.
    pub(super) fn verifies(&self, message: &[u8], given: &[u8]) -> bool {
        let rsa: &signature::RsaParameters = match self.algorithm {
            Algorithm::Hs256 => return self.verifies_hmac(hmac::HMAC_SHA256, message, given),
            Algorithm::Hs384 => return self.verifies_hmac(hmac::HMAC_SHA384, message, given),
            Algorithm::Hs512 => return self.verifies_hmac(hmac::HMAC_SHA512, message, given),
            Algorithm::Es256 => return self.verifies_with(&signature::ECDSA_P256_SHA256_FIXED, message, given),
            Algorithm::Es384 => return self.verifies_with(&signature::ECDSA_P384_SHA384_FIXED, message, given),
            Algorithm::EdDsa => return self.verifies_with(&signature::ED25519, message, given),
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        };
        match &self.material {
            Material::Rsa { n, e } => signature::RsaPublicKeyComponents { n, e }.verify(rsa, message, given).is_ok(),
            Material::Bytes(_) => false,
        }
    }

    fn verifies_hmac(&self, hash: hmac::Algorithm, message: &[u8], given: &[u8]) -> bool {
        match &self.material {
            // In constant time.
            Material::Bytes(secret) => hmac::verify(&hmac::Key::new(hash, secret), message, given).is_ok(),
            Material::Rsa { .. } => false,
        }
    }

    fn verifies_with(
        &self,
        algorithm: &'static dyn signature::VerificationAlgorithm,
        message: &[u8],
        given: &[u8],
    ) -> bool {
        match &self.material {
            Material::Bytes(public) => {
                signature::UnparsedPublicKey::new(algorithm, public).verify(message, given).is_ok()
            }
            Material::Rsa { .. } => false,
        }
    }
}

/// A point on a curve, uncompressed.
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Material> {
    (x.len() == length && y.len() == length).then(|| Material::Bytes([&[4], x, y].concat()))
}

impl KeySet {
    /// A set of one.
    pub fn one(key: Key) -> Self {
        Self(vec![key])
    }

    /// Reads a key set as issuers publish it. Keys that are for something else are left out: an issuer may publish any.
    pub fn from_jwks(bytes: &[u8]) -> Result<Self, InvalidKeySet> {
        if bytes.len() > SET_MAX {
            return Err(InvalidKeySet::Long);
        }
        let set = json::object(bytes).ok_or(InvalidKeySet::Form)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(InvalidKeySet::Form)?;
        let keys: Vec<_> = keys.iter().filter_map(Value::as_object).filter_map(Key::from_jwk).collect();
        if keys.is_empty() { Err(InvalidKeySet::Empty) } else { Ok(Self(keys)) }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that a token with this algorithm and this name of a key could be signed with. A key without a name fits
    /// any token, and a token without one any key.
    pub(super) fn candidates(&self, algorithm: Algorithm, id: Option<&str>) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| {
            let named = key.id.as_deref().zip(id).is_none_or(|(own, asked)| own == asked);
            key.algorithm == algorithm && named
        })
    }

    /// Whether a key has this name: one that nobody has may be new at the issuer.
    pub fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }
}
