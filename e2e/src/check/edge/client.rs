//! A client that sends what it is told to, byte for byte: others mend paths before they send them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Where nginx had it from.
    pub(super) fn cache(&self) -> &str {
        self.header("x-cache-status").unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks for a target.
pub(super) fn get(address: SocketAddr, target: &str) -> Result<Answer> {
    send(address, "GET", target, "")
}

/// Sends one request on a connection of its own. `headers` are whole lines.
pub(super) fn send(address: SocketAddr, method: &str, target: &str, headers: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n{headers}\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(|| format!("read the answer for {target}"))?;
    parse(&bytes).with_context(|| format!("{target}: no answer of HTTP: {}", String::from_utf8_lossy(&bytes)))
}

/// A download that is begun and not read on.
pub(super) struct Slow(TcpStream);

impl Slow {
    /// Reads the first bytes.
    pub(super) fn begin(address: SocketAddr, target: &str) -> Result<Self> {
        let mut stream =
            TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {target} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n")?;
        stream.read_exact(&mut [0; 1024]).context("read the first bytes")?;
        Ok(Self(stream))
    }

    /// Reads all, and says how many bytes that were, the head with them.
    pub(super) fn finish(&mut self) -> Result<usize> {
        let mut bytes = Vec::new();
        Ok(1024 + self.0.read_to_end(&mut bytes).context("read the rest")?)
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head, body: bytes[end + 4..].to_vec() })
}
