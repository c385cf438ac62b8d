//! A file server for a generated origin, as a process of this machine, and its record of what was asked.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// How long nginx may take to accept connections; it takes milliseconds.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// The configuration of nginx for a directory of modules. The image and the host process share it.
///
/// Everything that nginx writes goes below `state`, so that it runs as any user on a read-only root.
pub(crate) fn nginx_conf(listen: &str, root: &str, state: &str, log: &str) -> String {
    include_str!("../../image/origin.nginx.conf")
        .replace("@LISTEN@", listen)
        .replace("@ROOT@", root)
        .replace("@STATE@", state)
        .replace("@LOG@", log)
}

/// One answered request.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Request {
    /// Seconds since 1970.
    pub time: f64,
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path as it was asked, with its query.
    pub path: String,
    /// The answer's status code.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Address of the client.
    pub client: String,
    /// What the client calls itself.
    pub agent: String,
}

impl Request {
    /// Reads one line of the access log, of this server or of the image's standard output.
    pub fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("read the access log line {line:?}"))
    }
}

/// A running server. Dropping it stops it; it also ends with the process that started it.
#[derive(Debug)]
pub struct Server {
    nginx: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Serves a directory on an address, keeping its log and its state in `work`.
    pub fn start(root: &Path, work: &Path, address: SocketAddr) -> Result<Self> {
        fs::create_dir_all(work).with_context(|| format!("create {}", work.display()))?;
        let (conf, log) = (work.join("nginx.conf"), work.join("access.log"));
        let (root, state) = (path_text(root)?, path_text(work)?);
        let text = nginx_conf(&address.to_string(), root, state, path_text(&log)?);
        fs::write(&conf, text).with_context(|| format!("write {}", conf.display()))?;
        let errors = work.join("error.log");
        let error_log = fs::File::create(&errors).with_context(|| format!("create {}", errors.display()))?;
        let nginx = Command::new("setpriv")
            // Whoever kills the lab must not leave its server behind.
            .args(["--pdeathsig", "TERM", "nginx", "-e", "/dev/stderr", "-g", "daemon off; user root;", "-c"])
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(error_log)
            .spawn()
            .context("run nginx (Debian package nginx)")?;
        let mut server = Self { nginx, address, log };
        server.wait(&errors)?;
        Ok(server)
    }

    fn wait(&mut self, errors: &Path) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect_timeout(&self.address, START_DEADLINE).is_err() {
            let ended = self.nginx.try_wait().context("wait for nginx")?;
            if ended.is_some() || Instant::now() > deadline {
                let text = fs::read_to_string(errors).unwrap_or_default();
                bail!("nginx does not serve {}: {}", self.address, text.trim());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Value for `GOPROXY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far, oldest first.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let text = fs::read_to_string(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        text.lines().map(Request::parse).collect()
    }

    /// Stops the server: from now on connections are refused.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.nginx.try_wait().context("wait for nginx")?.is_none() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(self.nginx.id()).context("nginx has no process id")?);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).context("stop nginx")?;
            self.nginx.wait().context("wait for nginx")?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process dies with the lab in any case.
        let _ = self.end();
    }
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not valid UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::generated;
    use super::*;
    use std::net::TcpListener;

    fn free_address() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[test]
    fn a_download_through_the_server_is_verified_and_recorded() {
        let dir = std::env::temp_dir().join(format!("goproxy-lab-server-{}", std::process::id()));
        let (world, project) = (dir.join("world"), dir.join("consumer"));
        generated::write(&world).unwrap();
        generated::write_consumer(&project, false).unwrap();
        let server = Server::start(&world, &dir.join("state"), free_address()).unwrap();
        let output = Command::new("go")
            .args(["mod", "download", "-json"])
            .current_dir(&project)
            .env("GOPROXY", server.url())
            .env("GOSUMDB", generated::checksum_database().unwrap())
            .env("GOMODCACHE", project.join("cache"))
            .env("GOFLAGS", "-mod=mod -modcacherw")
            .env("GOTOOLCHAIN", "local")
            .env_remove("GONOSUMDB")
            .env_remove("GONOPROXY")
            .env_remove("GOPRIVATE")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let requests = server.requests().unwrap();
        let count = |part: &str| requests.iter().filter(|r| r.status == 200 && r.path.contains(part)).count();
        assert_eq!(count(".zip"), generated::MODULES);
        assert_eq!(count("/lookup/"), generated::MODULES);
        let address = server.address;
        server.stop().unwrap();
        assert!(TcpStream::connect(address).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
