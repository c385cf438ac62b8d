//! Redis as a lock service: with a password, with a user of its own, and with TLS, all at once.

use anyhow::{Result, ensure};

use super::room::{Room, secret};
use crate::cluster::Cluster;

/// The server and its client.
pub const PROGRAMS: &[(&str, &str)] = &[("redis-server", "redis-server"), ("redis-cli", "redis-tools")];

const COMPONENT: &str = "redis";
const PORT: u16 = 6379;
const TLS_PORT: u16 = 6380;

/// A running server. What it holds is lost when it is killed.
#[derive(Debug)]
pub struct Redis {
    /// Its process.
    pub server: Room,
    /// Password of the user `default`.
    pub password: String,
    /// A user besides `default`, with all rights.
    pub user: String,
    /// The password of that user.
    pub user_password: String,
    /// Who vouches for the encrypted address, as PEM.
    pub ca_pem: String,
}

/// Starts the server.
pub async fn start(cluster: &Cluster) -> Result<Redis> {
    let server = Room::open(cluster, "redis", PROGRAMS)?;
    let mut redis = Redis {
        ca_pem: server.certify()?,
        password: secret()?,
        user: "fleet".to_owned(),
        user_password: secret()?,
        server,
    };
    let server = &redis.server;
    let conf = format!(
        "{common}requirepass {password}\nuser {user} on >{user_password} ~* &* +@all\ntls-port {TLS_PORT}\n\
         tls-cert-file {cert}\ntls-key-file {key}\ntls-auth-clients no\n",
        common = configuration(server, PORT, "data")?,
        password = redis.password,
        user = redis.user,
        user_password = redis.user_password,
        cert = server.path_text("server.crt"),
        key = server.path_text("server.key"),
    );
    let conf = server.write("redis.conf", &conf)?.display().to_string();
    let process = server.process(COMPONENT, "/usr/bin/redis-server").args([conf]);
    redis.server.serve(&process, PORT).await?;
    Ok(redis)
}

/// What every server of the lab has in common: it keeps nothing when it ends, as a lock service may.
pub(super) fn configuration(room: &Room, port: u16, directory: &str) -> Result<String> {
    let directory = room.make(directory)?;
    Ok(format!(
        "bind 0.0.0.0\nport {port}\ndaemonize no\ndir {}\nsave \"\"\nappendonly no\nenable-debug-command no\n",
        directory.display()
    ))
}

impl Redis {
    /// Address without encryption.
    pub fn endpoint(&self) -> String {
        self.server.endpoint(PORT)
    }

    /// Address with encryption.
    pub fn encrypted_endpoint(&self) -> String {
        self.server.endpoint(TLS_PORT)
    }

    /// Runs commands, one per line, as a client that gives a user and a password; returns the answers, one per line.
    /// A command that is refused is an answer too, as it is for any client of a server.
    pub async fn commands(&self, login: Option<(&str, &str)>, encrypted: bool, commands: &str) -> Result<String> {
        let (host, ca) = (self.server.address().to_string(), self.server.path_text("ca.crt"));
        let mut args = vec!["-h", &host];
        args.extend(if encrypted { vec!["-p", "6380", "--tls", "--cacert", &ca] } else { vec!["-p", "6379"] });
        // Read from standard input, a password is in no argument.
        let login = login.map(|(user, password)| format!("AUTH {user} {password}\n")).unwrap_or_default();
        self.server.client("redis-cli", &args, &format!("{login}{commands}\n")).await
    }

    /// Sets a key and reads it back.
    pub async fn round_trip(&self, login: (&str, &str), encrypted: bool, key: &str) -> Result<()> {
        let answers = self.commands(Some(login), encrypted, &format!("SET {key} held NX PX 60000\nGET {key}")).await?;
        ensure!(answers.lines().eq(["OK", "OK", "held"]), "redis answered {answers:?}");
        Ok(())
    }
}
