//! A Git server with private Go modules, over https and over ssh, as a company has one.
//!
//! The modules are `HOST/acme/lib` (v1.0.0, v1.1.0, v2.0.0) and `HOST/acme/app` (v0.1.0 needs the first major version of
//! the library, v0.2.0 the second), and `HOST/closed/tool` (v1.0.0). Nothing is public: each way in wants credentials, and the
//! certificate is of an authority that nobody knows. Where a repository is, `?go-get=1` tells everybody; of the group `closed`
//! it tells those with credentials.

mod https;
mod repository;
mod ssh;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::name;
use super::room::{Room, secret};
use crate::cluster::Cluster;
use crate::origin::server::Request;

/// The servers, and what makes keys.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("git", "git"),
    ("nginx", "nginx"),
    ("fcgiwrap", "fcgiwrap"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("curl", "curl"),
];

/// Import paths have no port, so this has to be the one that https means.
const PORT_HTTPS: u16 = 443;
/// Where ssh is.
pub const PORT_SSH: u16 = 2222;
const NAME: &str = "git";
const NGINX: &str = "git-https";
const CGI: &str = "git-cgi";
const SSHD: &str = "git-ssh";
const REPOSITORIES: &str = "repositories";
const HTTPS_LOG: &str = "https.log";
const SSH_LOG: &str = "ssh.log";

/// What lets somebody in, until it is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name for https.
    pub user: String,
    /// Password for basic authentication.
    pub password: String,
    /// For bearer authentication, and as a password of `x-access-token`, `oauth2` or the user.
    pub token: String,
    /// Private key for ssh, in the format of OpenSSH; the user is always `git`.
    pub ssh_key: String,
    ssh_public: String,
}

/// A running server.
#[derive(Debug)]
pub struct Git {
    room: Room,
    valid: Vec<Credentials>,
    issued: usize,
    /// The host name: the first element of the modules' paths. Pods resolve it.
    pub host: String,
    /// Who vouches for the https address, as PEM.
    pub ca_pem: String,
    /// The line of `known_hosts` for the ssh address.
    pub known_hosts: String,
}

/// Makes the repositories, starts both servers and publishes the name. There are no credentials yet.
pub async fn start(cluster: &Cluster) -> Result<Git> {
    let mut room = Room::open(cluster, NAME, PROGRAMS)?;
    let (host, ca_pem) = (name::dns(NAME), room.certify()?);
    let repositories = room.make(REPOSITORIES)?;
    for repository in repository::all(&host) {
        repository.write(&repositories).await?;
    }
    https::known(&room, &[])?;
    ssh::authorized(&room, &[])?;
    https::start(&mut room, &host).await?;
    let public = ssh::start(&mut room).await?;
    let known_hosts = ssh::known_host(&[host.clone(), room.address().to_string()], &public);
    name::publish(cluster, NAME, PORT_HTTPS).await?;
    Ok(Git { room, valid: Vec::new(), issued: 0, host, ca_pem, known_hosts })
}

impl Git {
    /// Path of a module of the server.
    pub fn module(&self, path: &str) -> String {
        format!("{}/{path}", self.host)
    }

    /// Address of a repository over https.
    pub fn https(&self, repository: &str) -> String {
        format!("https://{}/{repository}.git", self.host)
    }

    /// Address of a repository over ssh.
    pub fn ssh(&self, repository: &str) -> String {
        format!("ssh://git@{}:{PORT_SSH}/{repository}.git", self.host)
    }

    /// The same with an address instead of the name, for clients outside of pods.
    pub fn ssh_by_address(&self, repository: &str) -> String {
        format!("ssh://git@{}:{PORT_SSH}/{repository}.git", self.room.address())
    }

    /// What lets curl and git resolve the name outside of pods: `HOST:PORT:ADDRESS`.
    pub fn resolved(&self) -> String {
        format!("{}:{PORT_HTTPS}:{}", self.host, self.room.address())
    }

    /// Gives out credentials beside those that are valid already, as a rotation begins. They work when this returns.
    pub async fn issue(&mut self) -> Result<Credentials> {
        self.issued += 1;
        let user = format!("deploy-{}", self.issued);
        let ssh_public = ssh::key(&self.room, &user).await?;
        let issued = Credentials {
            password: secret()?,
            token: format!("lab_{}", secret()?),
            ssh_key: ssh::private(&self.room, &user)?,
            ssh_public,
            user,
        };
        self.valid.push(issued.clone());
        self.admit(&issued, "200").await?;
        Ok(issued)
    }

    /// Takes credentials back, as a rotation ends. They are refused when this returns.
    pub async fn revoke(&mut self, credentials: &Credentials) -> Result<()> {
        let before = self.valid.len();
        self.valid.retain(|valid| valid != credentials);
        ensure!(self.valid.len() < before, "{} is not valid", credentials.user);
        self.admit(credentials, "401").await
    }

    async fn admit(&self, changed: &Credentials, expected: &str) -> Result<()> {
        https::known(&self.room, &self.valid)?;
        ssh::authorized(&self.room, &self.valid)?;
        https::reload(&self.room, changed, expected).await
    }

    /// Every request over https and every fetch over ssh so far, each kind oldest first. A fetch has the method `SSH`.
    /// Giving out credentials and taking them back asks for `acme/lib` itself.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        for log in [HTTPS_LOG, SSH_LOG] {
            for line in self.room.read(log)?.lines() {
                requests.push(Request::parse(line)?);
            }
        }
        Ok(requests)
    }

    /// What sshd says, also about logins that it refused.
    pub fn ssh_log(&self) -> Result<String> {
        let path = self.room.cluster().log(SSHD);
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// Releases other content under a tag; a tag that exists is moved.
    pub async fn publish(&self, repository: &str, tag: &'static str, files: Vec<(&'static str, String)>) -> Result<()> {
        repository::publish(&self.room.path(REPOSITORIES), repository, tag, files).await
    }

    /// A file of this content that only the owner may read, beside the server's own; for clients that want files.
    pub fn client_file(&self, file: &str, text: &str) -> Result<PathBuf> {
        self.room.write(&format!("client-{file}"), text)
    }

    /// Kills both servers.
    pub async fn kill(&self) -> Result<()> {
        self.room.kill().await?;
        self.room.cluster().kill(CGI).await
    }

    /// Starts both servers again; credentials that were valid still are.
    pub async fn start_again(&self) -> Result<()> {
        https::start_again(&self.room).await?;
        self.room.start_again().await
    }

    /// Makes both servers hang.
    pub fn pause(&self) -> Result<()> {
        self.room.pause()
    }

    /// Ends the hang.
    pub fn resume(&self) -> Result<()> {
        self.room.resume()
    }

    /// Ends both servers, takes the name back and deletes the repositories.
    pub async fn close(self) -> Result<()> {
        name::withdraw(self.room.cluster(), NAME).await?;
        self.room.cluster().remove(CGI).await?;
        self.room.close().await
    }
}
