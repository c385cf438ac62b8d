use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use proptest::prelude::*;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, KeyPair as _,
    },
};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8; 64] = b"a secret of sixty-four bytes, which is enough for every one of 3";

fn now() -> Timestamp {
    Timestamp::from_second(1_799_990_000).unwrap()
}

fn rules() -> Rules {
    Rules {
        issuer: "https://sso.corp.example".to_owned(),
        audience: "goproxy".to_owned(),
        audiences: Audiences::Sole,
        leeway: 60,
        groups_claim: "groups".to_owned(),
    }
}

fn claims() -> Value {
    json!({ "iss": "https://sso.corp.example", "aud": "goproxy", "sub": "alice", "exp": 1_800_000_000, "groups": ["engineering"] })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token of these texts, signed with the secret.
fn signed_text(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn signed(claims: &Value) -> String {
    signed_text(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string())
}

fn shared() -> KeySet {
    KeySet::one(Key::secret(Algorithm::Hs256, SECRET).unwrap())
}

fn check(token: &str) -> Result<Claims, TokenRefusal> {
    verify(token, &shared(), &rules(), now())
}

fn published() -> KeySet {
    KeySet::from_jwks(include_bytes!("testdata/jwks.json")).unwrap()
}

/// Made with another program and another library, with RSA keys that were thrown away.
fn foreign(name: &str) -> String {
    let tokens: Value = serde_json::from_str(include_str!("testdata/tokens.json")).unwrap();
    tokens[name].as_str().unwrap().to_owned()
}

#[test]
fn a_good_token_says_who() {
    let good = check(&signed(&with("scope", json!("read  admin")))).unwrap();
    assert_eq!(good.identity.subject, "alice");
    assert_eq!(good.identity.groups, ["engineering".to_owned()].into());
    assert_eq!(good.identity.scopes, ["read".to_owned(), "admin".to_owned()].into());
    assert_eq!(good.expires.as_second(), 1_800_000_000);
}

#[test]
fn every_algorithm_is_checked_by_its_own_key() {
    let keys = published();
    // Secrets, keys for encryption and other curves are left out; a small one is kept, and never fits.
    assert_eq!(keys.len(), 4);
    for name in ["rs256", "rs512", "ps256", "unnamed"] {
        assert!(verify(&foreign(name), &keys, &rules(), now()).is_ok(), "{name}");
    }
    assert_eq!(verify(&foreign("small"), &keys, &rules(), now()), Err(TokenRefusal::Signature));
    for (algorithm, hash) in [
        (Algorithm::Hs256, hmac::HMAC_SHA256),
        (Algorithm::Hs384, hmac::HMAC_SHA384),
        (Algorithm::Hs512, hmac::HMAC_SHA512),
    ] {
        let message =
            format!("{}.{}", encode(&json!({ "alg": algorithm.name() }).to_string()), encode(&claims().to_string()));
        let token = format!(
            "{message}.{}",
            URL_SAFE_NO_PAD.encode(hmac::sign(&hmac::Key::new(hash, SECRET), message.as_bytes()))
        );
        let set = |algorithm| KeySet::one(Key::secret(algorithm, SECRET).unwrap());
        assert!(verify(&token, &set(algorithm), &rules(), now()).is_ok(), "{algorithm}");
        let other = if algorithm == Algorithm::Hs256 { Algorithm::Hs512 } else { Algorithm::Hs256 };
        assert_eq!(verify(&token, &set(other), &rules(), now()), Err(TokenRefusal::UnknownKey), "{algorithm}");
    }
}

#[test]
fn elliptic_curves_are_checked() {
    let random = SystemRandom::new();
    let ecdsa = |name: &str, curve: &str, signing: &'static EcdsaSigningAlgorithm| {
        let document = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, document.as_ref(), &random).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
        let jwk = json!({ "kty": "EC", "crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) });
        let message = format!("{}.{}", encode(&json!({ "alg": name }).to_string()), encode(&claims().to_string()));
        let made = URL_SAFE_NO_PAD.encode(pair.sign(&random, message.as_bytes()).unwrap());
        (jwk, format!("{message}.{made}"))
    };
    let ed = {
        let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key()) });
        let message = format!("{}.{}", encode(r#"{"alg":"EdDSA"}"#), encode(&claims().to_string()));
        let made = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()));
        (jwk, format!("{message}.{made}"))
    };
    let all = [
        ecdsa("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
        ecdsa("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ed,
    ];
    for (index, (jwk, token)) in all.iter().enumerate() {
        let set = |jwk: &Value| KeySet::from_jwks(json!({ "keys": [jwk] }).to_string().as_bytes());
        assert!(verify(token, &set(jwk).unwrap(), &rules(), now()).is_ok(), "{jwk}");
        // The same public key, said to be for another algorithm.
        for other in ["HS256", "RS256", "none"] {
            let mut bent = jwk.clone();
            bent["alg"] = json!(other);
            assert_eq!(set(&bent), Err(InvalidKeySet::Empty), "{bent}");
        }
        let (next, _) = &all[(index + 1) % all.len()];
        assert_eq!(verify(token, &set(next).unwrap(), &rules(), now()), Err(TokenRefusal::UnknownKey));
    }
}

#[test]
fn the_public_key_is_no_secret() {
    // The public modulus, used as a secret by an attacker: no key of the set is one for that algorithm.
    let jwks: Value = serde_json::from_str(include_str!("testdata/jwks.json")).unwrap();
    for material in [
        jwks["keys"][0]["n"].as_str().unwrap().as_bytes().to_vec(),
        URL_SAFE_NO_PAD.decode(jwks["keys"][0]["n"].as_str().unwrap()).unwrap(),
    ] {
        for kid in ["rs", "published-secret", "encryption"] {
            let message = format!(
                "{}.{}",
                encode(&json!({ "alg": "HS256", "kid": kid }).to_string()),
                encode(&claims().to_string())
            );
            let token = format!(
                "{message}.{}",
                URL_SAFE_NO_PAD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &material), message.as_bytes()))
            );
            assert_eq!(verify(&token, &published(), &rules(), now()), Err(TokenRefusal::UnknownKey));
        }
    }
}

#[test]
fn headers_that_ask_for_trust_are_refused() {
    for alg in ["none", "None", "NONE", "nOnE", "", "hs256", "RS1", "HS256 "] {
        let header = json!({ "alg": alg }).to_string();
        let payload = claims().to_string();
        let unsigned = format!("{}.{}.", encode(&header), encode(&payload));
        assert_eq!(check(&unsigned), Err(TokenRefusal::Algorithm), "{alg}");
        assert_eq!(check(&signed_text(&header, &payload)), Err(TokenRefusal::Algorithm), "{alg}");
    }
    for name in ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip"] {
        let header = json!({ "alg": "HS256", name: "https://evil.example/keys" }).to_string();
        assert_eq!(check(&signed_text(&header, &claims().to_string())), Err(TokenRefusal::Header(name)));
    }
    for (kind, good) in
        [("JWT", true), ("jwt", true), ("at+jwt", true), ("application/at+JWT", true), ("dpop+jwt", false), ("", false)]
    {
        let header = json!({ "alg": "HS256", "typ": kind }).to_string();
        assert_eq!(check(&signed_text(&header, &claims().to_string())).is_ok(), good, "{kind}");
    }
    for kid in ["../../etc/passwd", "' OR 1=1 --", "rs\0", ""] {
        let header = json!({ "alg": "RS256", "kid": kid }).to_string();
        let token = signed_text(&header, &claims().to_string());
        assert_eq!(verify(&token, &published(), &rules(), now()), Err(TokenRefusal::UnknownKey), "{kid}");
    }
    assert_eq!(check(&signed_text(r#"{"alg":"HS256","kid":7}"#, &claims().to_string())), Err(TokenRefusal::UnknownKey));
    assert_eq!(check(&signed_text(r#"{"alg":["HS256"]}"#, &claims().to_string())), Err(TokenRefusal::Algorithm));
}

#[test]
fn keys_that_are_there_twice_are_refused() {
    let payload = claims().to_string();
    for header in
        [r#"{"alg":"HS256","alg":"none"}"#, r#"{"alg":"none","alg":"HS256"}"#, r#"{"alg":"HS256","x":{"a":1,"a":1}}"#]
    {
        assert_eq!(check(&signed_text(header, &payload)), Err(TokenRefusal::Form), "{header}");
    }
    let good = r#"{"alg":"HS256"}"#;
    let twice = payload.replacen('{', r#"{"sub":"admin","#, 1);
    assert_eq!(check(&signed_text(good, &twice)), Err(TokenRefusal::Form));
    // The same key by another spelling.
    let escaped = payload.replacen('{', r#"{"\u0073ub":"admin","#, 1);
    assert_eq!(check(&signed_text(good, &escaped)), Err(TokenRefusal::Form));
}

#[test]
fn claims_are_taken_by_the_letter() {
    use TokenRefusal::{Audience, Early, Expired, Groups, Issuer, Lasting, Subject, Time};
    let base = now().as_second();
    for (claims, refusal) in [
        (without("exp"), Time("exp")),
        (with("exp", json!("1800000000")), Time("exp")),
        (with("exp", json!(null)), Time("exp")),
        (with("exp", json!(-1)), Time("exp")),
        (with("exp", json!(1e300)), Time("exp")),
        (with("exp", json!(253_402_300_799_i64)), Lasting),
        (with("exp", json!(u64::MAX)), Time("exp")),
        (with("exp", json!(base - 60)), Expired),
        (with("nbf", json!(base + 61)), Early),
        (with("iat", json!(base + 61)), Early),
        (with("nbf", json!("soon")), Time("nbf")),
        (without("iss"), Issuer),
        (with("iss", json!("https://sso.corp.example/")), Issuer),
        (with("iss", json!(["https://sso.corp.example"])), Issuer),
        (without("aud"), Audience),
        (with("aud", json!("other")), Audience),
        (with("aud", json!([])), Audience),
        (with("aud", json!(["goproxy", "other"])), Audience),
        (with("aud", json!(["goproxy", 7])), Audience),
        (with("aud", json!({ "goproxy": true })), Audience),
        (without("sub"), Subject),
        (with("sub", json!("")), Subject),
        (with("sub", json!("a\nb")), Subject),
        (with("sub", json!("x".repeat(257))), Subject),
        (with("groups", json!({ "engineering": true })), Groups),
        (with("groups", json!(["engineering", 7])), Groups),
        (with("groups", json!((0..513).map(|n| n.to_string()).collect::<Vec<_>>())), Groups),
        (with("scope", json!(7)), Groups),
    ] {
        assert_eq!(check(&signed(&claims)), Err(refusal), "{claims}");
    }
    for good in [
        with("exp", json!(base - 59)),
        with("exp", json!(1_800_000_000.5)),
        with("nbf", json!(base + 60)),
        with("aud", json!(["goproxy"])),
        with("groups", json!("engineering")),
        without("groups"),
        with("scp", json!(["read"])),
    ] {
        assert!(check(&signed(&good)).is_ok(), "{good}");
    }
    let shared_audience = Rules { audiences: Audiences::Shared, ..rules() };
    let both = signed(&with("aud", json!(["goproxy", "other"])));
    assert!(verify(&both, &shared(), &shared_audience, now()).is_ok());
}

#[test]
fn what_is_no_token_is_refused_without_a_look_at_its_claims() {
    let good = signed(&claims());
    let (message, _) = good.rsplit_once('.').unwrap();
    for token in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        message.to_owned(),
        format!("{good}."),
        format!("{good}.{message}"),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        good.replacen('.', "\0.", 1),
    ] {
        assert!(matches!(check(&token), Err(TokenRefusal::Form)), "{token:?}");
    }
    assert_eq!(check(&format!("{message}.")), Err(TokenRefusal::Signature));
    assert_eq!(check(&"a".repeat(64 * 1024)), Err(TokenRefusal::Long));
    let nested = format!(r#"{{"alg":"HS256","x":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    assert_eq!(check(&signed_text(&nested, &claims().to_string())), Err(TokenRefusal::Form));
}

#[test]
fn sets_that_are_none_are_refused() {
    let empty = Err(InvalidKeySet::Empty);
    for (text, refusal) in [
        ("", Err(InvalidKeySet::Form)),
        ("<!DOCTYPE html><html></html>", Err(InvalidKeySet::Form)),
        ("[]", Err(InvalidKeySet::Form)),
        ("{}", Err(InvalidKeySet::Form)),
        (r#"{"keys":{}}"#, Err(InvalidKeySet::Form)),
        (r#"{"keys":[],"keys":[]}"#, Err(InvalidKeySet::Form)),
        (r#"{"keys":[]}"#, empty.clone()),
        (r#"{"keys":[7,null,{"kty":"oct","k":"AAAA"}]}"#, empty.clone()),
        (r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA"}]}"#, empty.clone()),
        (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#, empty.clone()),
        (r#"{"keys":[{"kty":"RSA","n":"a/b","e":"AQAB"}]}"#, empty.clone()),
        (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","key_ops":["encrypt"]}]}"#, empty),
    ] {
        assert_eq!(KeySet::from_jwks(text.as_bytes()), refusal, "{text}");
    }
    assert_eq!(KeySet::from_jwks(&vec![b' '; 10 << 20]), Err(InvalidKeySet::Long));
}

#[test]
fn secrets_that_can_be_guessed_are_refused_and_none_is_shown() {
    assert_eq!(
        Key::secret(Algorithm::Hs256, b"secret"),
        Err(InvalidKey::Short { algorithm: Algorithm::Hs256, given: 6, least: 32 })
    );
    assert_eq!(Key::secret(Algorithm::Rs256, SECRET), Err(InvalidKey::NoSecret(Algorithm::Rs256)));
    let shown = format!("{:?}", shared());
    assert_eq!(shown, "KeySet([Key { id: None, algorithm: Hs256, .. }])");
}

#[test]
fn credentials_are_read_in_the_two_forms_that_clients_send() {
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let bearer = |token: &str| Ok(Some(Credential::Bearer(token.to_owned())));
    let pair = |user: &str, password: &str| {
        Ok(Some(Credential::Basic { user: user.to_owned(), password: password.to_owned() }))
    };
    assert_eq!(credential(&[]), Ok(None));
    assert_eq!(credential(&["Bearer a.b.c"]), bearer("a.b.c"));
    assert_eq!(credential(&["bearer a.b.c"]), bearer("a.b.c"));
    assert_eq!(credential(&[&basic("alice:a:b")]), pair("alice", "a:b"));
    assert_eq!(credential(&[&basic(":token")]), pair("", "token"));
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer  a",
        "Digest x",
        "Basic",
        "Basic !",
        "Basic YWxpY2U",
        &basic("alice"),
        &basic("a\n:b"),
        &basic("a:b\0"),
    ] {
        assert_eq!(credential(&[header]), Err(InvalidCredential::Form), "{header:?}");
    }
    assert_eq!(credential(&["Bearer a", "Bearer b"]), Err(InvalidCredential::Repeated));
    assert_eq!(credential(&[&format!("Bearer {}", "a".repeat(64 * 1024))]), Err(InvalidCredential::Long));
    let shown = format!("{:?}", credential(&[&basic("alice:hunter2")]));
    assert!(shown.contains("alice") && !shown.contains("hunter2"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_text_is_taken_for_a_token(token in "[A-Za-z0-9_.-]{0,80}|\\PC{0,40}|(?s).{0,40}") {
        prop_assert!(check(&token).is_err());
    }

    #[test]
    fn no_changed_byte_is_overlooked(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let good = signed(&claims());
        let mut changed = good.clone().into_bytes();
        let at = at.index(changed.len());
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        if let Ok(changed) = String::from_utf8(changed) {
            prop_assert!(check(&changed).is_err());
        }
    }

    #[test]
    fn no_header_or_payload_is_a_way_in(header in "[ -~]{0,60}", payload in "[ -~]{0,60}") {
        prop_assert!(check(&signed_text(&header, &payload)).is_err());
    }
}
