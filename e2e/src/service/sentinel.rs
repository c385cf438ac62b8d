//! Redis with a replica and a sentinel, which makes the replica the primary when the primary is lost.
//!
//! One sentinel decides alone: this shows what clients do on a failover, not what sentinels do when they disagree.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::redis::{PROGRAMS, configuration};
use super::room::{Room, secret};
use crate::cluster::{Cluster, until};

const SERVERS: [(&str, u16); 2] = [("redis-one", 6391), ("redis-two", 6392)];
const SENTINEL: &str = "redis-sentinel";
const PORT: u16 = 26_379;

/// Half a second without an answer, an election of one, and the change of roles.
const FAILOVER_DEADLINE: Duration = Duration::from_secs(30);

/// A running set.
#[derive(Debug)]
pub struct Sentinel {
    room: Room,
    /// The name under which the sentinel knows the primary.
    pub primary_name: String,
    /// Password of both servers.
    pub password: String,
    /// Password of the sentinel.
    pub sentinel_password: String,
}

/// Starts a primary, its replica and the sentinel, and waits until the sentinel knows both.
pub async fn start(cluster: &Cluster) -> Result<Sentinel> {
    let room = Room::open(cluster, "sentinel", PROGRAMS)?;
    let mut set =
        Sentinel { primary_name: "locks".to_owned(), password: secret()?, sentinel_password: secret()?, room };
    let address = set.room.address();
    for (name, port) in SERVERS {
        let follows = name != SERVERS[0].0;
        let follows = if follows { format!("replicaof {address} {}\n", SERVERS[0].1) } else { String::new() };
        let conf = format!(
            "{common}requirepass {0}\nmasterauth {0}\nrepl-diskless-sync-delay 0\nreplica-announce-ip {address}\n{follows}",
            set.password,
            common = configuration(&set.room, port, name)?,
        );
        let conf = set.room.write(&format!("{name}.conf"), &conf)?.display().to_string();
        let process = set.room.process(name, "/usr/bin/redis-server").args([conf]);
        set.room.serve(&process, port).await?;
    }
    // A sentinel asks the primary for its replicas when it starts, and then only every ten seconds.
    until("the replica is connected", FAILOVER_DEADLINE, || async {
        Ok(set.commands(SERVERS[0].1, "INFO replication").await?.contains("state=online").then_some(()))
    })
    .await?;
    let name = set.primary_name.clone();
    let conf = format!(
        "{common}requirepass {password}\nsentinel announce-ip {address}\nsentinel monitor {name} {address} {port} 1\n\
         sentinel auth-pass {name} {servers}\nsentinel down-after-milliseconds {name} 500\n\
         sentinel failover-timeout {name} 5000\n",
        common = configuration(&set.room, PORT, SENTINEL)?.lines().take(4).collect::<Vec<_>>().join("\n") + "\n",
        password = set.sentinel_password,
        port = SERVERS[0].1,
        servers = set.password,
    );
    let conf = set.room.write("sentinel.conf", &conf)?.display().to_string();
    let process = set.room.process(SENTINEL, "/usr/bin/redis-server").args([conf, "--sentinel".to_owned()]);
    set.room.serve(&process, PORT).await?;
    until("the sentinel knows the replica", FAILOVER_DEADLINE, || async {
        let answers = set.ask(&format!("SENTINEL REPLICAS {name}")).await?;
        Ok(answers.contains(&SERVERS[1].1.to_string()).then_some(()))
    })
    .await?;
    Ok(set)
}

fn server(port: u16) -> Result<(&'static str, u16)> {
    SERVERS.into_iter().find(|(_, known)| *known == port).with_context(|| format!("no server has the port {port}"))
}

impl Sentinel {
    /// Address of the sentinel.
    pub fn endpoint(&self) -> String {
        self.room.endpoint(PORT)
    }

    /// Port of the primary, as the sentinel says it now.
    pub async fn primary(&self) -> Result<u16> {
        let answers = self.ask(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {}", self.primary_name)).await?;
        let port = answers.lines().last().and_then(|line| line.parse().ok());
        port.with_context(|| format!("the sentinel answered {answers:?}"))
    }

    /// Kills the primary and waits until the other one has its place.
    pub async fn fail_over(&self) -> Result<()> {
        let old = self.primary().await?;
        let (name, _) = server(old)?;
        self.room.cluster().kill(name).await?;
        until("the replica takes over", FAILOVER_DEADLINE, || async {
            Ok((self.primary().await? != old).then_some(()))
        })
        .await
    }

    /// Starts the server that is not the primary again after a failover, and waits until it has the primary's data. It is
    /// told to follow: the sentinel would see to it as well, but takes ten seconds or, on a busy machine, several tens.
    pub async fn start_replica(&self) -> Result<()> {
        let primary = self.primary().await?;
        let (name, port) = server(if primary == SERVERS[0].1 { SERVERS[1].1 } else { SERVERS[0].1 })?;
        self.room.start_one_again(name, port).await?;
        let follow = format!("REPLICAOF {} {primary}", self.room.address());
        ensure!(self.commands(port, &follow).await? == "OK\n", "{name} refuses to follow");
        until("the old primary follows", FAILOVER_DEADLINE, || async {
            Ok(self.commands(port, "INFO replication").await?.contains("master_link_status:up").then_some(()))
        })
        .await
    }

    /// Runs commands, one per line, on the primary of now; returns the answers, one per line.
    pub async fn on_primary(&self, commands: &str) -> Result<String> {
        self.commands(self.primary().await?, commands).await
    }

    async fn commands(&self, port: u16, commands: &str) -> Result<String> {
        self.cli(port, &self.password, commands).await
    }

    async fn ask(&self, command: &str) -> Result<String> {
        self.cli(PORT, &self.sentinel_password, command).await
    }

    async fn cli(&self, port: u16, password: &str, commands: &str) -> Result<String> {
        let (host, port) = (self.room.address().to_string(), port.to_string());
        let input = format!("AUTH {password}\n{commands}\n");
        let answers = self.room.client("redis-cli", &["-h", &host, "-p", &port], &input).await?;
        let answers = answers.strip_prefix("OK\n");
        ensure!(answers.is_some(), "port {port} does not take its password");
        Ok(answers.unwrap_or_default().to_owned())
    }

    /// Kills the sentinel: clients that know the primary go on, others find nobody.
    pub async fn kill_sentinel(&self) -> Result<()> {
        self.room.cluster().kill(SENTINEL).await
    }

    /// Starts the sentinel again.
    pub async fn start_sentinel(&self) -> Result<()> {
        self.room.start_one_again(SENTINEL, PORT).await
    }

    /// Ends all three.
    pub async fn close(self) -> Result<()> {
        self.room.close().await
    }
}
