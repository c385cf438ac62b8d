//! A proxy for the way out, tinyproxy: plain requests are passed on, encrypted ones tunnelled. It writes down each.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::room::{Room, secret};
use crate::cluster::Cluster;

/// The proxy, and what a client of it is.
pub const PROGRAMS: &[(&str, &str)] = &[("tinyproxy", "tinyproxy-bin"), ("curl", "curl")];

const COMPONENT: &str = "egress-proxy";
const PORT: u16 = 8888;
const LOG: &str = "requests.log";
/// Lays its first argument over the file that names are looked up in, where this process alone sees it, and becomes the proxy.
const WITH_HOSTS: &str = r#"mount --bind "$1" /etc/hosts && shift && exec /usr/bin/tinyproxy "$@""#;

/// A running proxy.
#[derive(Debug)]
pub struct Egress {
    /// Its process.
    pub server: Room,
    /// User and password, if it wants any.
    pub login: Option<(String, String)>,
}

/// One request that the proxy was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `CONNECT` for encrypted ones.
    pub method: String,
    /// Host and port of a tunnel; the whole URL of a plain request.
    pub target: String,
}

/// Starts the proxy.
pub async fn start(cluster: &Cluster) -> Result<Egress> {
    start_knowing(cluster, &[]).await
}

/// The same, and it finds some names at addresses of their own: names of the public network that a test has stand-ins for.
/// Nobody but the proxy finds them there.
pub async fn start_knowing(cluster: &Cluster, names: &[(&str, Ipv4Addr)]) -> Result<Egress> {
    start_as(cluster, names, None).await
}

/// The same, and it lets nobody through without a login. That holds characters which an address holds in another form.
pub async fn start_guarded(cluster: &Cluster, names: &[(&str, Ipv4Addr)]) -> Result<Egress> {
    let login = ("fleet-of.builds".to_owned(), format!("-_.{}", secret()?));
    start_as(cluster, names, Some(login)).await
}

async fn start_as(cluster: &Cluster, names: &[(&str, Ipv4Addr)], login: Option<(String, String)>) -> Result<Egress> {
    let mut server = Room::open(cluster, "egress", PROGRAMS)?;
    let log = server.write(LOG, "")?;
    let guard = login.as_ref().map(|(user, password)| format!("BasicAuth {user} {password}\n")).unwrap_or_default();
    let conf = format!(
        "Port {PORT}\nListen 0.0.0.0\nTimeout 60\nMaxClients 200\nLogLevel Info\nLogFile \"{}\"\n{guard}",
        log.display()
    );
    let conf = server.write("tinyproxy.conf", &conf)?.display().to_string();
    let known: String = names.iter().fold(String::new(), |text, (name, address)| text + &format!("{address} {name}\n"));
    let hosts = server.write("hosts", &known)?.display().to_string();
    let unshare = ["--mount", "--propagation=private", "/bin/sh", "-c", WITH_HOSTS, "sh", &hosts, "-d", "-c", &conf];
    let process = server.process(COMPONENT, "/usr/bin/unshare").args(unshare);
    server.serve(&process, PORT).await?;
    Ok(Egress { server, login })
}

impl Egress {
    /// What `HTTP_PROXY` and `HTTPS_PROXY` are set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.endpoint(PORT))
    }

    /// What was asked for so far, oldest first.
    pub fn requests(&self) -> Result<Vec<Request>> {
        Ok(self.server.read(LOG)?.lines().filter_map(parse).collect())
    }
}

/// `CONNECT   Nov 21 12:00:00.000 [1]: Request (file descriptor 6): GET http://host/path HTTP/1.1`
fn parse(line: &str) -> Option<Request> {
    let (_, request) = line.split_once(": Request (file descriptor ")?.1.split_once("): ")?;
    let mut words = request.split(' ');
    Some(Request { method: words.next()?.to_owned(), target: words.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_are_read_from_the_log() {
        let line = "CONNECT   Nov 21 12:00:00.000 [1]: Request (file descriptor 6): CONNECT host.invalid:443 HTTP/1.1";
        let expected = Request { method: "CONNECT".to_owned(), target: "host.invalid:443".to_owned() };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("INFO      Nov 21 12:00:00.000 [1]: Setting the various signals."), None);
        assert_eq!(parse("CONNECT   Nov 21 12:00:00.000 [1]: Connect (file descriptor 6): 10.0.0.1"), None);
    }
}
