//! Whether the servers of the engine's lock answer.
//!
//! Each is asked what it answers without a login, so that no password is needed here: a Redis that wants one first is as alive as one
//! that says PONG.

use std::{io, sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time,
};
use tokio_rustls::TlsConnector;

use super::{
    board::Board,
    config::{LockKind, LockServer},
    report::LockReport,
    trust::{self, TrustError, Way},
    words,
};

/// Pause between two questions.
const EVERY: Duration = Duration::from_secs(10);

/// A server that takes longer keeps the engine waiting too.
const PATIENCE: Duration = Duration::from_secs(3);

/// Failures in a row until a server counts as out of reach: one may be a packet lost or a server that restarts.
const ENOUGH: u32 = 2;

/// Longest first line of an answer that is read.
const LINE_MAX: usize = 512;

/// What is known of one server, from a series of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    reachable: Option<bool>,
    since: Timestamp,
    failures: u32,
    error: Option<String>,
}

impl Reach {
    /// Nothing yet.
    pub fn unknown(now: Timestamp) -> Self {
        Self { reachable: None, since: now, failures: 0, error: None }
    }

    /// What is known after one more answer. True if it changed whether the server is reachable.
    pub fn hear(&mut self, answer: Result<(), String>, now: Timestamp) -> bool {
        let level = match answer {
            Ok(()) => {
                (self.failures, self.error) = (0, None);
                Some(true)
            }
            Err(error) => {
                (self.failures, self.error) = (self.failures.saturating_add(1), Some(error));
                if self.failures >= ENOUGH { Some(false) } else { self.reachable }
            }
        };
        let changed = level != self.reachable;
        if changed {
            (self.reachable, self.since) = (level, now);
        }
        changed
    }

    fn report(&self, address: &str) -> LockReport {
        let Self { reachable, since, error, .. } = self;
        LockReport { address: address.to_owned(), reachable: *reachable, since: *since, error: error.clone() }
    }
}

/// Whether the first line of a Redis says that it is there and works. One that wants a login first does; one that still loads, or
/// whose master is away, keeps every fetch waiting.
pub fn redis_answers(line: &str) -> Result<(), String> {
    let fine = line == "+PONG" || ["-NOAUTH", "-NOPERM"].iter().any(|start| line.starts_with(start));
    if fine { Ok(()) } else { Err(format!("answered {:?}", words::told(line))) }
}

/// Watches all servers for as long as the program runs.
pub async fn watch(servers: Vec<LockServer>, board: Arc<Board>) {
    let begun = Timestamp::now();
    let unknown = |server: &LockServer| Reach::unknown(begun).report(&server.address);
    board.note(|report| report.locks = servers.iter().map(unknown).collect());
    let watches = servers.into_iter().enumerate().map(|(at, server)| watch_one(at, server, begun, Arc::clone(&board)));
    futures::future::join_all(watches).await;
}

async fn watch_one(at: usize, server: LockServer, begun: Timestamp, board: Arc<Board>) {
    let mut reach = Reach::unknown(begun);
    let mut line = None;
    let mut ticks = time::interval(EVERY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = ask_by(&mut line, &server).await;
        if answer.is_err() {
            // The authorities that it trusts may have been renewed.
            line = None;
        }
        if reach.hear(answer, Timestamp::now()) {
            let (address, error) = (&server.address, reach.error.as_deref().unwrap_or_default());
            if reach.reachable == Some(false) {
                tracing::warn!(address, error, "a server of the lock is out of reach");
            } else {
                tracing::info!(address, "a server of the lock answers");
            }
        }
        board.note(|report| report.locks[at] = reach.report(&server.address));
    }
}

/// Asks one server once, by a line that is made if there is none yet.
async fn ask_by(line: &mut Option<Line>, server: &LockServer) -> Result<(), String> {
    let line = match line {
        Some(line) => line,
        None => line.insert(Line::to(server).map_err(|error| words::cause(&error))?),
    };
    let answer = time::timeout(PATIENCE, line.ask(&server.address)).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {} seconds", PATIENCE.as_secs())))
}

/// What a server is asked with. Reading the authorities takes more than asking, so that it is kept.
enum Line {
    Redis(Option<TlsConnector>),
    Etcd(reqwest::Client, &'static str),
}

impl Line {
    fn to(server: &LockServer) -> Result<Self, TrustError> {
        let ca_file = server.ca_file.as_deref();
        Ok(match (server.kind, server.tls) {
            (LockKind::Redis | LockKind::Sentinel, false) => Self::Redis(None),
            (LockKind::Redis | LockKind::Sentinel, true) => Self::Redis(Some(Arc::new(trust::tls(ca_file)?).into())),
            (LockKind::Etcd, tls) => {
                let scheme = if tls { "https" } else { "http" };
                let way = Way { ca_file, proxy_from_environment: false, timeout: PATIENCE };
                Self::Etcd(trust::client(scheme, way)?, scheme)
            }
        })
    }

    async fn ask(&self, address: &str) -> Result<(), String> {
        match self {
            Self::Redis(tls) => ask_redis(tls.as_ref(), address).await,
            Self::Etcd(client, scheme) => ask_etcd(client, &format!("{scheme}://{address}/health")).await,
        }
    }
}

async fn ask_redis(tls: Option<&TlsConnector>, address: &str) -> Result<(), String> {
    let failed = |error: io::Error| words::cause(&error);
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    let line = match tls {
        Some(tls) => {
            let name = ServerName::try_from(host(address).to_owned()).map_err(|error| words::cause(&error))?;
            ping(tls.connect(name, stream).await.map_err(failed)?).await
        }
        None => ping(stream).await,
    };
    redis_answers(&line.map_err(failed)?)
}

/// The first line that a Redis says to a PING.
async fn ping(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<String> {
    stream.write_all(b"PING\r\n").await?;
    stream.flush().await?;
    let mut line = Vec::new();
    while line.len() < LINE_MAX {
        match stream.read_u8().await? {
            b'\n' => return Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            byte => line.push(byte),
        }
    }
    Err(io::Error::other("the answer is none of a Redis"))
}

/// A member tells its health to everybody, whether or not it wants logins.
async fn ask_etcd(client: &reqwest::Client, url: &str) -> Result<(), String> {
    let response = client.get(url).send().await.map_err(words::of_request)?;
    let status = response.status();
    let body = trust::body(response, LINE_MAX).await.map_err(words::of_request)?;
    let health: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let healthy = health.as_ref().and_then(|answer| answer.get("health")).is_some_and(|health| health == "true");
    if status.is_success() && healthy {
        return Ok(());
    }
    Err(format!("answered {}: {:?}", status.as_u16(), words::told(&String::from_utf8_lossy(&body))))
}

/// The host of an address, without the brackets of an IPv6 one.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn in_clear(address: String, kind: LockKind) -> LockServer {
        LockServer { address, kind, tls: false, ca_file: None }
    }

    async fn ask(server: &LockServer) -> Result<(), String> {
        ask_by(&mut None, server).await
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_server_is_out_of_reach_after_two_failures_in_a_row() {
        // Answers, one per second, + for a good one, and since when it is reachable or not after them.
        let series = [
            ("", None),
            ("+", Some((true, 1))),
            ("-", None),
            ("--", Some((false, 2))),
            ("+-+-+", Some((true, 1))),
            ("+---", Some((false, 3))),
            ("--+", Some((true, 3))),
            ("+--+-", Some((true, 4))),
        ];
        for (answers, expected) in series {
            let mut reach = Reach::unknown(second(0));
            for (at, answer) in (1..).zip(answers.chars()) {
                let before = reach.reachable;
                let changed = reach.hear(if answer == '+' { Ok(()) } else { Err("no".to_owned()) }, second(at));
                assert_eq!(changed, before != reach.reachable);
            }
            assert_eq!(reach.reachable.map(|level| (level, reach.since.as_second())), expected, "{answers:?}");
            assert_eq!(reach.error.is_some(), answers.ends_with('-'), "{answers:?}");
        }
    }

    #[test]
    fn a_redis_that_wants_a_login_is_alive() {
        for fine in ["+PONG", "-NOAUTH Authentication required.", "-NOPERM this user has no permissions"] {
            assert_eq!(redis_answers(fine), Ok(()), "{fine}");
        }
        for other in [
            "-LOADING Redis is loading the dataset in memory",
            "-DENIED protected mode",
            "HTTP/1.1 400 Bad Request",
            "",
        ] {
            assert!(redis_answers(other).is_err(), "{other}");
        }
    }

    /// A server that says one thing to whoever connects, once it was asked something.
    async fn says(text: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 4];
                let _ = stream.read_exact(&mut asked).await;
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        address
    }

    #[tokio::test]
    async fn what_speaks_something_else_is_no_lock() {
        let redis = says("-NOAUTH Authentication required.\r\n").await;
        assert_eq!(ask(&in_clear(redis.clone(), LockKind::Redis)).await, Ok(()));
        let error = ask(&LockServer { tls: true, ..in_clear(redis, LockKind::Redis) }).await.unwrap_err();
        assert!(!error.is_empty());
        let web = says("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let error = ask(&in_clear(web.clone(), LockKind::Sentinel)).await.unwrap_err();
        assert!(error.contains("400 Bad Request"), "{error}");
        assert!(ask(&in_clear(web, LockKind::Etcd)).await.unwrap_err().starts_with("answered 400"));
        let well = says("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"health\":\"true\"}").await;
        assert_eq!(ask(&in_clear(well, LockKind::Etcd)).await, Ok(()));
        let ill = says("HTTP/1.1 503 Unavailable\r\ncontent-length: 18\r\n\r\n{\"health\":\"false\"}").await;
        assert!(ask(&in_clear(ill, LockKind::Etcd)).await.unwrap_err().contains("503"));
    }

    #[tokio::test]
    async fn what_does_not_listen_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = ask(&in_clear(address.clone(), LockKind::Redis)).await.unwrap_err();
        assert!(error.contains("refused"), "{error}");
        assert!(ask(&in_clear(address, LockKind::Etcd)).await.is_err());
    }

    #[test]
    fn the_host_of_an_address_is_what_a_certificate_names() {
        assert_eq!(host("redis.example.com:6379"), "redis.example.com");
        assert_eq!(host("[2001:db8::1]:6379"), "2001:db8::1");
    }
}
