//! Whether the logins of Git servers work: the engine is asked for the versions of a module behind each, and asks its Git server.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time;
use url::Url;

use super::{
    board::Board,
    config::{Logins, Probe},
    report::LoginReport,
    trust::{self, Way},
    words,
};

/// The engine gives up a question for versions after five minutes at the latest; its answer is worth more than our impatience.
const PATIENCE: Duration = Duration::from_secs(310);

/// Pause until the engine is asked again where it did not answer: it starts, or ends.
const SOON: Duration = Duration::from_secs(15);

/// So much of an answer is read for its first line.
const BODY_MAX: usize = 4096;

/// What the engine's answer says of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It got the versions.
    Works,
    /// It did not, and says why.
    Fails(String),
    /// Nothing: the engine itself is not there, or too busy.
    Silent,
}

/// What an answer says. An engine that is behind a gateway, overloaded or on its way out says nothing of the login.
pub fn read(status: u16, body: &str) -> Answer {
    match status {
        200 => Answer::Works,
        408 | 429 | 502 | 503 => Answer::Silent,
        _ => {
            let words = words::told(cause(body));
            Answer::Fails(if words.is_empty() { format!("the engine answered {status}") } else { words })
        }
    }
}

/// The line that says why. The engine first tells which command it ran and with what code that ended, and what git said of it follows.
fn cause(body: &str) -> &str {
    let mut lines = body.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    if first.ends_with(':') { lines.next().unwrap_or(first) } else { first }
}

/// What is known of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    works: Option<bool>,
    since: Timestamp,
    error: Option<String>,
}

impl State {
    /// Nothing yet.
    pub fn unknown(now: Timestamp) -> Self {
        Self { works: None, since: now, error: None }
    }

    /// What is known after one more answer. True if it changed whether the login works.
    pub fn hear(&mut self, answer: Answer, now: Timestamp) -> bool {
        let (works, error) = match answer {
            Answer::Works => (Some(true), None),
            Answer::Fails(error) => (Some(false), Some(error)),
            Answer::Silent => return false,
        };
        let changed = works != self.works;
        if changed {
            (self.works, self.since) = (works, now);
        }
        self.error = error;
        changed
    }

    fn report(&self, probe: &Probe) -> LoginReport {
        let Probe { host, module } = probe.clone();
        LoginReport { host, module, works: self.works, since: self.since, error: self.error.clone() }
    }
}

/// Where the versions of a module are asked for. Capitals are written as the protocol has them.
pub fn list_of(engine: &Url, module: &str) -> Url {
    let mut escaped = String::with_capacity(module.len());
    for char in module.chars() {
        if char.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(char.to_ascii_lowercase());
    }
    let mut url = engine.clone();
    let prefix = engine.path().trim_end_matches('/');
    url.set_path(&format!("{prefix}/{escaped}/@v/list"));
    url
}

/// Tries all logins for as long as the program runs, one after the other: each makes the engine start a process.
pub async fn watch(logins: Logins, board: Arc<Board>) {
    let Logins { engine, every_seconds, probes } = logins;
    let begun = Timestamp::now();
    let mut states = vec![State::unknown(begun); probes.len()];
    board.note(|report| report.logins = probes.iter().zip(&states).map(|(probe, state)| state.report(probe)).collect());
    let every = Duration::from_secs(every_seconds.into());
    loop {
        let mut silent = false;
        for (at, (probe, state)) in probes.iter().zip(&mut states).enumerate() {
            let answer = ask(&list_of(&engine, &probe.module)).await;
            silent |= answer == Answer::Silent;
            if state.hear(answer, Timestamp::now()) {
                let (host, error) = (&probe.host, state.error.as_deref().unwrap_or_default());
                if state.works == Some(false) {
                    tracing::warn!(host, error, "a login does not work");
                } else {
                    tracing::info!(host, "a login works");
                }
            }
            board.note(|report| report.logins[at] = state.report(probe));
        }
        time::sleep(if silent { every.min(SOON) } else { every }).await;
    }
}

async fn ask(url: &Url) -> Answer {
    let way = Way { ca_file: None, proxy_from_environment: false, timeout: PATIENCE };
    // The engine is in the same pod. Over TLS, where it has it, its certificate names another host; then it cannot be asked.
    let Ok(client) = trust::client(url.scheme(), way) else { return Answer::Silent };
    let Ok(response) = client.get(url.clone()).send().await else { return Answer::Silent };
    let status = response.status().as_u16();
    let Ok(body) = trust::body(response, BODY_MAX).await else { return Answer::Silent };
    read(status, &String::from_utf8_lossy(&body))
}

#[cfg(test)]
mod tests {
    use axum::{Router, extract::Path, http::StatusCode, routing::get};
    use tokio::net::TcpListener;

    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_answer_is_about_the_login_or_about_nothing() {
        let says = "git.example.com/lib: fatal: Authentication failed for 'https://u:hidden@git.example.com/'\nmore";
        let told = "git.example.com/lib: fatal: Authentication failed for 'https://…@git.example.com/'";
        assert_eq!(read(200, ""), Answer::Works);
        assert_eq!(read(404, says), Answer::Fails(told.to_owned()));
        assert_eq!(read(500, ""), Answer::Fails("the engine answered 500".to_owned()));
        // As Athens answered when a token was taken back.
        let git = "not found: module git.example.com/lib: git ls-remote -q https://git.example.com/lib in /tmp/athens467099784/pkg: exit status 128:\n\t\n\tfatal: Authentication failed for 'https://git.example.com/lib/'\n";
        let why = "fatal: Authentication failed for 'https://git.example.com/lib/'";
        assert_eq!(read(404, git), Answer::Fails(why.to_owned()));
        assert_eq!(read(404, "exit status 128:\n"), Answer::Fails("exit status 128:".to_owned()));
        assert_eq!(read(503, "busy"), Answer::Silent);
    }

    #[test]
    fn silence_keeps_what_is_known() {
        let mut state = State::unknown(second(0));
        assert!(!state.hear(Answer::Silent, second(1)));
        assert_eq!((state.works, state.since), (None, second(0)));
        assert!(state.hear(Answer::Works, second(2)));
        assert!(!state.hear(Answer::Works, second(3)) && !state.hear(Answer::Silent, second(4)));
        assert_eq!((state.works, state.since), (Some(true), second(2)));
        assert!(state.hear(Answer::Fails("no".to_owned()), second(5)));
        assert!(!state.hear(Answer::Fails("still no".to_owned()), second(6)));
        assert_eq!((state.works, state.since, state.error.as_deref()), (Some(false), second(5), Some("still no")));
        assert!(state.hear(Answer::Works, second(7)) && state.error.is_none());
    }

    #[test]
    fn a_module_is_asked_for_as_the_protocol_has_it() {
        let of = |engine: &str, module: &str| list_of(&engine.parse().unwrap(), module).to_string();
        assert_eq!(
            of("http://127.0.0.1:3000", "git.example.com/Team/lib"),
            "http://127.0.0.1:3000/git.example.com/!team/lib/@v/list"
        );
        assert_eq!(of("http://127.0.0.1:3000/go/", "a.b/c"), "http://127.0.0.1:3000/go/a.b/c/@v/list");
    }

    #[tokio::test]
    async fn a_login_that_ends_is_told_and_one_that_works_is_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let engine: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let answer = async |Path(path): Path<String>| match path.as_str() {
            "git.example.com/good/@v/list" => (StatusCode::OK, "v1.0.0\n"),
            _ => (StatusCode::NOT_FOUND, "not found: no login\n"),
        };
        let pages = Router::new().route("/{*path}", get(answer));
        tokio::spawn(async move { axum::serve(listener, pages).await });
        assert_eq!(ask(&list_of(&engine, "git.example.com/good")).await, Answer::Works);
        let answer = ask(&list_of(&engine, "git.example.com/bad")).await;
        assert_eq!(answer, Answer::Fails("not found: no login".to_owned()));
        assert_eq!(ask(&"http://127.0.0.1:1/".parse().unwrap()).await, Answer::Silent);
    }
}
