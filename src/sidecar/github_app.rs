//! Tokens of GitHub Apps, for git.
//!
//! A fleet that may read code by an App has no lasting login: its installation's token is good for an hour, and is fetched with a text
//! that the App's key signs. The key stays in this program; git gets a file with the newest token, which its credential helper reads
//! at every call.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::{rand::SystemRandom, signature};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time;
use url::Url;

use super::{
    board::Board,
    config::GithubApp,
    report::GithubAppReport,
    trust::{self, TrustError, Way},
    words,
};
use crate::backoff::{Backoff, chance};

/// Pauses after failures. Soon at first, because git fails meanwhile; GitHub counts calls that fail.
const AGAIN: Backoff = Backoff { first: Duration::from_secs(5), most: Duration::from_mins(5) };

/// How often it is looked whether somebody renewed the App's files. Kubelets bring a changed Secret within a minute or two.
const LOOK: Duration = Duration::from_secs(30);

const PATIENCE: Duration = Duration::from_secs(30);

/// An answer with a token has some kilobytes, with the list of an installation's rights.
const ANSWER_MAX: usize = 256 << 10;

/// What an App logs in with.
pub struct Files {
    id: String,
    installation: u64,
    key: Vec<u8>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A file cannot be read.
    #[error("cannot read {file}: {source}")]
    Unread {
        /// Its name.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else. What it holds is not told: somebody may have put the key there.
    #[error("{file} holds no {what}")]
    Unusable {
        /// Its name.
        file: &'static str,
        /// What must be there.
        what: &'static str,
    },
    /// Nobody can be asked.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The API was not reached.
    #[error("cannot ask the API: {0}")]
    Unreached(String),
    /// It said no.
    #[error("the API answered {status}: {told}")]
    Refused {
        /// Status.
        status: u16,
        /// In its words.
        told: String,
    },
    /// It answered with something else than a token.
    #[error("the API's answer holds no token that git could use")]
    NoToken,
    /// The token cannot be kept.
    #[error("cannot write the token's file: {0}")]
    Unwritten(io::Error),
}

/// A token and how long it is good.
pub struct Token {
    text: String,
    expires: Timestamp,
}

impl Files {
    /// Reads the three files.
    pub fn read(directory: &Path) -> Result<Self, TokenError> {
        let text = |file: &'static str| {
            let text =
                fs::read_to_string(directory.join(file)).map_err(|source| TokenError::Unread { file, source })?;
            Ok::<_, TokenError>(text.trim().to_owned())
        };
        let id = text("app-id")?;
        // A number, or the client id that newer Apps have; it is put into a text that is signed, so it need not be believed.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') {
            return Err(TokenError::Unusable { file: "app-id", what: "id of an App" });
        }
        let number = text("installation-id")?.parse();
        let installation =
            number.map_err(|_| TokenError::Unusable { file: "installation-id", what: "number of an installation" })?;
        Ok(Self { id, installation, key: text("private-key.pem")?.into_bytes() })
    }

    /// What tells one set of files from another.
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [self.id.as_bytes(), &self.installation.to_be_bytes(), &self.key] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    /// The text that proves that we have the key, good for nine minutes from now and a minute before, as clocks differ.
    pub fn proof(&self, now: Timestamp) -> Result<String, TokenError> {
        let unusable = TokenError::Unusable { file: "private-key.pem", what: "RSA key in PEM, as GitHub hands it out" };
        let Ok(key) = PrivateKeyDer::from_pem_slice(&self.key) else { return Err(unusable) };
        // The form that GitHub hands out, and the one that other programs make of it.
        let pair = if let PrivateKeyDer::Pkcs1(key) = &key {
            signature::RsaKeyPair::from_der(key.secret_pkcs1_der())
        } else {
            signature::RsaKeyPair::from_pkcs8(key.secret_der())
        };
        let Ok(pair) = pair else { return Err(unusable) };
        let seconds = now.as_second();
        let head = json!({ "alg": "RS256", "typ": "JWT" });
        let claims = json!({ "iat": seconds - 60, "exp": seconds + 540, "iss": self.id });
        let encoded = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encoded(&head), encoded(&claims));
        let mut proof = vec![0; pair.public().modulus_len()];
        let done = pair.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut proof);
        if done.is_err() {
            return Err(unusable);
        }
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(proof)))
    }
}

/// What is known of one App, and when it is asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    expires: Option<Timestamp>,
    /// When the newest token is renewed.
    renew: Option<Timestamp>,
    /// The files that it was fetched with.
    with: Option<[u8; 32]>,
    failures: u32,
    again: Option<Timestamp>,
    error: Option<String>,
    since: Timestamp,
}

impl State {
    /// Nothing yet.
    pub fn unknown(now: Timestamp) -> Self {
        Self { expires: None, renew: None, with: None, failures: 0, again: None, error: None, since: now }
    }

    /// Whether a token is to be fetched: none was yet, two thirds of its life are over, or it is for other files; after a failure, not
    /// before the pause is over, unless the files are new.
    pub fn is_due(&self, now: Timestamp, files: Option<[u8; 32]>) -> bool {
        if self.with != files {
            return true;
        }
        match (self.again, self.renew) {
            (Some(again), _) => now >= again,
            (None, Some(renew)) => now >= renew,
            (None, None) => true,
        }
    }

    /// A token was fetched and kept.
    pub fn got(&mut self, expires: Timestamp, files: [u8; 32], now: Timestamp) {
        let life = expires.duration_since(now);
        let two_thirds = life.checked_mul(2).map_or(SignedDuration::ZERO, |twice| twice / 3);
        // One that ends at once would be fetched without a pause.
        let soonest = now.saturating_add(SignedDuration::from_secs(60)).unwrap_or(now);
        let renew = now.saturating_add(two_thirds).unwrap_or(now).max(soonest);
        if self.error.is_some() || self.expires.is_none() {
            self.since = now;
        }
        *self = Self {
            expires: Some(expires),
            renew: Some(renew),
            with: Some(files),
            failures: 0,
            again: None,
            error: None,
            since: self.since,
        };
    }

    /// No token was got. `chance` spreads what failed together.
    pub fn failed(&mut self, error: String, files: Option<[u8; 32]>, now: Timestamp, chance: f64) {
        if self.error.is_none() {
            self.since = now;
        }
        self.failures = self.failures.saturating_add(1);
        let pause = SignedDuration::try_from(AGAIN.pause(self.failures, chance)).unwrap_or(SignedDuration::ZERO);
        self.again = Some(now.saturating_add(pause).unwrap_or(now));
        (self.with, self.error) = (files, Some(error));
    }

    fn report(&self, host: &str) -> GithubAppReport {
        GithubAppReport { host: host.to_owned(), expires: self.expires, error: self.error.clone(), since: self.since }
    }
}

/// Keeps the tokens of all Apps new for as long as the program runs.
pub async fn watch(apps: Vec<GithubApp>, board: Arc<Board>) {
    let begun = Timestamp::now();
    board.note(|report| {
        report.github_apps = apps.iter().map(|app| State::unknown(begun).report(&app.host)).collect();
    });
    let watches = apps.into_iter().enumerate().map(|(at, app)| watch_one(at, app, begun, Arc::clone(&board)));
    futures::future::join_all(watches).await;
}

async fn watch_one(at: usize, app: GithubApp, begun: Timestamp, board: Arc<Board>) {
    let mut state = State::unknown(begun);
    loop {
        let files = Files::read(&app.directory);
        let digest = files.as_ref().ok().map(Files::digest);
        if state.is_due(Timestamp::now(), digest) {
            let fetched = match files {
                Ok(files) => fetch(&app, &files).await,
                Err(error) => Err(error),
            };
            note(&mut state, fetched, digest, &app.host);
            board.note(|report| report.github_apps[at] = state.report(&app.host));
        }
        time::sleep(if state.error.is_some() { AGAIN.first } else { LOOK }).await;
    }
}

fn note(state: &mut State, fetched: Result<Timestamp, TokenError>, files: Option<[u8; 32]>, host: &str) {
    let now = Timestamp::now();
    match (fetched, files) {
        (Ok(expires), Some(files)) => {
            if state.error.is_some() || state.expires.is_none() {
                tracing::info!(host, %expires, "a token of the GitHub App is there");
            }
            state.got(expires, files, now);
        }
        (Ok(_), None) => {}
        (Err(error), files) => {
            let error = words::told(&error.to_string());
            if state.error.as_ref() != Some(&error) {
                tracing::warn!(host, error, "no token of the GitHub App");
            }
            state.failed(error, files, now, chance());
        }
    }
}

/// Fetches a token and keeps it for git. Returns when it ends.
pub async fn fetch(app: &GithubApp, files: &Files) -> Result<Timestamp, TokenError> {
    let way =
        Way { ca_file: app.ca_file.as_deref(), proxy_from_environment: app.proxy_from_environment, timeout: PATIENCE };
    let client = trust::client(app.api.scheme(), way)?;
    let url = tokens_of(&app.api, files.installation);
    let request = client
        .post(url)
        .bearer_auth(files.proof(Timestamp::now())?)
        .header("accept", "application/vnd.github+json")
        .header("x-github-api-version", "2022-11-28");
    let unreached = |error: reqwest::Error| TokenError::Unreached(words::of_request(error));
    let response = request.send().await.map_err(unreached)?;
    let status = response.status().as_u16();
    let body = trust::body(response, ANSWER_MAX).await.map_err(unreached)?;
    let token = read(status, &body)?;
    keep(&app.token_file, &token.text).map_err(TokenError::Unwritten)?;
    Ok(token.expires)
}

/// Where an installation's tokens are asked for.
fn tokens_of(api: &Url, installation: u64) -> Url {
    let mut url = api.clone();
    let prefix = api.path().trim_end_matches('/');
    url.set_path(&format!("{prefix}/app/installations/{installation}/access_tokens"));
    url
}

/// The token of an answer.
pub fn read(status: u16, body: &[u8]) -> Result<Token, TokenError> {
    #[derive(Deserialize)]
    struct Answer {
        token: String,
        expires_at: Timestamp,
    }
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    if status != 201 {
        let told = serde_json::from_slice::<Refusal>(body).map_or_else(|_| String::new(), |refusal| refusal.message);
        return Err(TokenError::Refused { status, told: words::told(&told) });
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| TokenError::NoToken)?;
    // It becomes a line of git's credential protocol.
    if answer.token.is_empty() || !answer.token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::NoToken);
    }
    Ok(Token { text: answer.token, expires: answer.expires_at })
}

/// Puts a text in place of a file, so that whoever reads it gets the old one or the new one whole. Only its owner may read it.
fn keep(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    // What was left of an earlier attempt may have other rights.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, sync::Mutex};

    use axum::{
        Router,
        extract::{Path as Parameter, State as Shared},
        http::{HeaderMap, StatusCode},
        routing::post,
    };
    use serde_json::Value;
    use tokio::net::TcpListener;

    use super::*;

    // Made for tests; opens nothing.
    const KEY: &str = include_str!("testdata/app-key.pem");
    const SAME_KEY: &str = include_str!("testdata/app-key.pkcs8.pem");
    const PUBLIC: &[u8] = include_bytes!("testdata/app-key.pub.der");

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn files(key: &str) -> Files {
        Files { id: "12345".to_owned(), installation: 678, key: key.as_bytes().to_vec() }
    }

    /// What a proof claims, if the key's other half says that it was signed with it.
    fn verified(proof: &str) -> Option<Value> {
        let (signed, end) = proof.rsplit_once('.')?;
        let key = signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, PUBLIC);
        key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(end).ok()?).ok()?;
        let (head, claims) = signed.split_once('.')?;
        let part = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        (part(head)? == json!({ "alg": "RS256", "typ": "JWT" })).then(|| part(claims))?
    }

    #[test]
    fn a_proof_is_signed_by_the_key_in_either_of_its_forms() {
        for key in [KEY, SAME_KEY] {
            let proof = files(key).proof(second(1000)).unwrap();
            assert_eq!(verified(&proof), Some(json!({ "iat": 940, "exp": 1540, "iss": "12345" })));
            let other = proof.replacen('.', "a.", 1);
            assert_eq!(verified(&other), None);
        }
        for bad in ["", "hidden", "-----BEGIN RSA PRIVATE KEY-----\naGlkZGVu\n-----END RSA PRIVATE KEY-----\n"] {
            let error = files(bad).proof(second(0)).unwrap_err().to_string();
            assert!(error.starts_with("private-key.pem holds no RSA key") && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_token_is_renewed_when_two_thirds_of_its_life_are_over() {
        let (one, other) = (Some([1; 32]), Some([2; 32]));
        let mut state = State::unknown(second(0));
        assert!(state.is_due(second(0), one));
        state.got(second(3610), [1; 32], second(10));
        assert_eq!((state.expires, state.since), (Some(second(3610)), second(10)));
        assert!(!state.is_due(second(2409), one) && state.is_due(second(2410), one));
        assert!(state.is_due(second(11), other), "somebody put another key there");
        // A failure keeps the token that there is, and waits longer each time.
        state.failed("no".to_owned(), one, second(2410), 1.0);
        assert_eq!(
            (state.expires, state.since, state.error.as_deref()),
            (Some(second(3610)), second(2410), Some("no"))
        );
        assert!(!state.is_due(second(2414), one) && state.is_due(second(2415), one));
        state.failed("no".to_owned(), one, second(2415), 1.0);
        assert!(!state.is_due(second(2424), one) && state.is_due(second(2425), one));
        assert!(state.is_due(second(2416), other), "files that are new are tried at once");
        assert_eq!(state.since, second(2410));
        state.got(second(6030), [1; 32], second(2430));
        assert_eq!((state.since, state.error.as_deref()), (second(2430), None));
        state.got(second(9000), [1; 32], second(4830));
        assert_eq!(state.since, second(2430), "it went on succeeding");
        // One that has ended already, by a clock that goes wrong.
        state.got(second(4000), [1; 32], second(4830));
        assert!(!state.is_due(second(4889), one) && state.is_due(second(4890), one));
    }

    #[test]
    fn an_answer_is_a_token_or_a_reason_without_one() {
        let token =
            read(201, br#"{"token":"ghs_x","expires_at":"2026-01-01T01:00:00Z","permissions":{}}"#).ok().unwrap();
        assert_eq!((token.text.as_str(), token.expires), ("ghs_x", "2026-01-01T01:00:00Z".parse().unwrap()));
        let reason = |status, body: &str| read(status, body.as_bytes()).err().unwrap().to_string();
        assert_eq!(reason(401, r#"{"message":"Bad credentials"}"#), "the API answered 401: Bad credentials");
        assert_eq!(reason(502, "<html>"), "the API answered 502: ");
        for bad in [
            "",
            "{}",
            r#"{"token":"a\nb","expires_at":"2026-01-01T01:00:00Z"}"#,
            r#"{"token":"","expires_at":"2026-01-01T01:00:00Z"}"#,
        ] {
            assert!(reason(201, bad).contains("no token"), "{bad}");
        }
    }

    #[test]
    fn what_a_file_holds_is_not_told() {
        let directory = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
        let error = || Files::read(directory.path()).err().unwrap().to_string();
        assert!(error().starts_with("cannot read app-id"));
        put("app-id", "Iv1.0123456789abcdef\n");
        put("installation-id", "hidden");
        assert_eq!(error(), "installation-id holds no number of an installation");
        put("installation-id", "678\n");
        put("private-key.pem", KEY);
        assert_eq!(Files::read(directory.path()).ok().unwrap().installation, 678);
        put("app-id", "hid den");
        assert_eq!(error(), "app-id holds no id of an App");
    }

    #[test]
    fn a_token_replaces_the_one_before_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0");
        for text in ["one", "other"] {
            fs::write(directory.path().join("0.new"), "left").unwrap();
            keep(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    /// An API that hands out a token to whoever proves to have the key, and counts.
    async fn api(handed_out: Arc<Mutex<u32>>) -> Url {
        let hand_out = async |Shared(handed_out): Shared<Arc<Mutex<u32>>>,
                              Parameter(installation): Parameter<String>,
                              headers: HeaderMap| {
            let proof = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
            let claims = proof.and_then(verified);
            let now = Timestamp::now().as_second();
            let fine = claims
                .is_some_and(|claims| claims["iss"] == "12345" && claims["exp"].as_i64().is_some_and(|end| end > now));
            if !fine || installation != "678" {
                return (StatusCode::UNAUTHORIZED, r#"{"message":"A JSON web token could not be decoded"}"#.to_owned());
            }
            let mut count = handed_out.lock().unwrap();
            *count += 1;
            let expires = Timestamp::from_second(now + 3600).unwrap();
            (StatusCode::CREATED, json!({ "token": format!("ghs_{count}"), "expires_at": expires }).to_string())
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Router::new()
            .route("/api/v3/app/installations/{installation}/access_tokens", post(hand_out))
            .with_state(handed_out);
        tokio::spawn(async move { axum::serve(listener, pages).await });
        format!("http://{address}/api/v3/").parse().unwrap()
    }

    #[tokio::test]
    async fn a_real_api_hands_out_a_token_to_the_key_and_to_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let handed_out = Arc::default();
        let app = GithubApp {
            host: "github.com".to_owned(),
            api: api(Arc::clone(&handed_out)).await,
            directory: directory.path().to_owned(),
            token_file: directory.path().join("token"),
            ca_file: None,
            proxy_from_environment: false,
        };
        let expires = fetch(&app, &files(KEY)).await.unwrap();
        assert!(expires > Timestamp::now());
        assert_eq!(fs::read_to_string(&app.token_file).unwrap(), "ghs_1");
        let stranger = Files { installation: 1, ..files(KEY) };
        let error = fetch(&app, &stranger).await.unwrap_err().to_string();
        assert_eq!(error, "the API answered 401: A JSON web token could not be decoded");
        assert_eq!(fs::read_to_string(&app.token_file).unwrap(), "ghs_1", "the one that there is stays");
        let nowhere = GithubApp { api: "http://127.0.0.1:1/".parse().unwrap(), ..app };
        assert!(fetch(&nowhere, &files(KEY)).await.unwrap_err().to_string().starts_with("cannot ask the API"));
        assert_eq!(*handed_out.lock().unwrap(), 1);
    }
}
