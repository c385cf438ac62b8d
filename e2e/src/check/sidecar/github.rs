//! An API that hands out tokens to whoever has the key of an App, and to nobody else.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use tokio::net::TcpListener;

// Made for tests; opens nothing.
const KEY: &str = include_str!("../../../../src/sidecar/testdata/app-key.pem");
const PUBLIC: &[u8] = include_bytes!("../../../../src/sidecar/testdata/app-key.pub.der");
const APP: &str = "12345";
const INSTALLATION: &str = "678";

type HandedOut = Arc<Mutex<Vec<String>>>;

/// The API.
pub struct Api {
    url: String,
    handed_out: HandedOut,
}

impl Api {
    /// Serves it for as long as this process runs, and puts what logs in there into a directory.
    pub async fn serve(login: &Path) -> Result<Self> {
        for (file, text) in [("app-id", APP), ("installation-id", INSTALLATION), ("private-key.pem", KEY)] {
            fs::write(login.join(file), text).with_context(|| format!("cannot write {file}"))?;
        }
        let handed_out = HandedOut::default();
        let path = format!("/app/installations/{INSTALLATION}/access_tokens");
        let pages = Router::new().route(&path, post(hand_out)).with_state(Arc::clone(&handed_out));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, pages).await });
        Ok(Self { url, handed_out })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether this is a token of it.
    pub fn has_handed_out(&self, token: &str) -> bool {
        self.handed_out.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|known| known == token)
    }
}

async fn hand_out(State(handed_out): State<HandedOut>, headers: HeaderMap) -> (StatusCode, String) {
    let proof = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if !proof.and_then(claims).is_some_and(|claims| are_good(&claims, Timestamp::now())) {
        let refusal = json!({ "message": "A JSON web token could not be decoded" });
        return (StatusCode::UNAUTHORIZED, refusal.to_string());
    }
    let mut handed_out = handed_out.lock().unwrap_or_else(PoisonError::into_inner);
    let token = format!("ghs_{}", handed_out.len());
    handed_out.push(token.clone());
    let expires = Timestamp::now() + SignedDuration::from_hours(1);
    (StatusCode::CREATED, json!({ "token": token, "expires_at": expires }).to_string())
}

/// What a text claims, if the key's other half says that it was signed with it.
fn claims(proof: &str) -> Option<Value> {
    let (signed, signature) = proof.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC).verify(signed.as_bytes(), &signature).ok()?;
    let (_, claims) = signed.split_once('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// As GitHub has it: issued by the App, in the past, and for ten minutes at most.
fn are_good(claims: &Value, now: Timestamp) -> bool {
    let (issued, ends) = (claims["iat"].as_i64().unwrap_or(i64::MAX), claims["exp"].as_i64().unwrap_or(0));
    let now = now.as_second();
    claims["iss"] == APP && issued <= now && now < ends && ends <= now + 600
}
