//! Redis as a cluster: three servers, each with a third of the keys, none with a replica. One that is lost takes its third along.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::redis::{PROGRAMS, configuration};
use super::room::{Room, secret};
use crate::cluster::{Cluster, until};

/// Each also listens ten thousand ports higher, for the others.
const SERVERS: [(&str, u16); 3] = [("redis-first", 6401), ("redis-second", 6402), ("redis-third", 6403)];
/// Keys are in so many slots.
const SLOTS: usize = 16_384;

/// They find each other within two or three seconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running cluster. What it holds is lost when it is killed, but not who has which keys.
#[derive(Debug)]
pub struct RedisCluster {
    room: Room,
    /// A user besides `default`, with all rights.
    pub user: String,
    /// The password of that user.
    pub password: String,
}

/// Starts the servers, gives each its third, and waits until all know it.
pub async fn start(cluster: &Cluster) -> Result<RedisCluster> {
    let room = Room::open(cluster, "redis-cluster", PROGRAMS)?;
    let mut set = RedisCluster { user: "fleet".to_owned(), password: secret()?, room };
    let (address, others) = (set.room.address(), secret()?);
    for (name, port) in SERVERS {
        let conf = format!(
            "{common}requirepass {others}\nmasterauth {others}\nuser {user} on >{password} ~* &* +@all\ncluster-enabled yes\n\
             cluster-announce-ip {address}\ncluster-node-timeout 2000\n",
            user = set.user,
            password = set.password,
            common = configuration(&set.room, port, name)?,
        );
        let conf = set.room.write(&format!("{name}.conf"), &conf)?.display().to_string();
        let process = set.room.process(name, "/usr/bin/redis-server").args([conf]);
        set.room.serve(&process, port).await?;
    }
    for (index, (_, port)) in SERVERS.into_iter().enumerate() {
        let (first, end) = (SLOTS * index / SERVERS.len(), SLOTS * (index + 1) / SERVERS.len());
        set.expect_ok(port, &format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1)).await?;
        // Two of one number would take each other for an old self.
        set.expect_ok(port, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1)).await?;
    }
    for (_, port) in SERVERS.into_iter().skip(1) {
        set.expect_ok(SERVERS[0].1, &format!("CLUSTER MEET {address} {port}")).await?;
    }
    set.is_whole().await?;
    Ok(set)
}

impl RedisCluster {
    /// Addresses of all members.
    pub fn endpoints(&self) -> [String; 3] {
        SERVERS.map(|(_, port)| self.room.endpoint(port))
    }

    /// Waits until every member knows who has which keys.
    async fn is_whole(&self) -> Result<()> {
        until("the members of the cluster know each other", DEADLINE, || async {
            for (_, port) in SERVERS {
                let told = self.cli(port, "CLUSTER INFO").await?;
                if !["cluster_state:ok", "cluster_known_nodes:3", "cluster_size:3"].iter().all(|one| told.contains(one))
                {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await
    }

    /// How many commands for keys each member has carried out.
    pub async fn locked(&self) -> Result<[usize; 3]> {
        let mut counts = [0; 3];
        for (count, (_, port)) in counts.iter_mut().zip(SERVERS) {
            let told = self.cli(port, "INFO commandstats").await?;
            let line = told.lines().find_map(|line| line.strip_prefix("cmdstat_set:calls="));
            let number = line.and_then(|rest| rest.split(',').next()).unwrap_or("0");
            *count = number.parse().with_context(|| format!("redis counts {number:?}"))?;
        }
        Ok(counts)
    }

    /// Kills one member: its keys, and so the cluster, are out of reach.
    pub async fn kill_one(&self) -> Result<()> {
        self.room.cluster().kill(SERVERS[1].0).await
    }

    /// Starts that member again, and waits until the cluster is whole.
    pub async fn start_it_again(&self) -> Result<()> {
        self.room.start_one_again(SERVERS[1].0, SERVERS[1].1).await?;
        self.is_whole().await
    }

    async fn expect_ok(&self, port: u16, command: &str) -> Result<()> {
        let answer = self.cli(port, command).await?;
        ensure!(answer.trim() == "OK", "{command} is answered with {answer:?}");
        Ok(())
    }

    async fn cli(&self, port: u16, command: &str) -> Result<String> {
        let (host, port) = (self.room.address().to_string(), port.to_string());
        let input = format!("AUTH {} {}\n{command}\n", self.user, self.password);
        let answers = self.room.client("redis-cli", &["-h", &host, "-p", &port], &input).await?;
        let answers =
            answers.strip_prefix("OK\n").with_context(|| format!("port {port} does not take its password"))?;
        Ok(answers.to_owned())
    }

    /// Ends all three.
    pub async fn close(self) -> Result<()> {
        self.room.close().await
    }
}
