//! A database that speaks MongoDB's protocol, FerretDB on files. It is asked in clear and without a login.

use anyhow::Result;

use super::room::Room;
use crate::cluster::Cluster;
use crate::progress::Progress;
use crate::tools::{self, Family};

const COMPONENT: &str = "mongo";
const PORT: u16 = 27017;

/// A running server. What it stored outlives a crash.
#[derive(Debug)]
pub struct Mongo {
    /// Its process.
    pub server: Room,
}

/// Starts the server.
pub async fn start(cluster: &Cluster) -> Result<Mongo> {
    tools::ensure(&[Family::FerretDb], &Progress::new())?;
    let mut server = Room::open(cluster, "mongo", &[])?;
    let data = server.make("data")?.display().to_string();
    let process = server.process(COMPONENT, tools::bin(Family::FerretDb, "ferretdb"));
    let process = process.args(["-listen", &format!("0.0.0.0:{PORT}"), "-data", &data]);
    server.serve(&process, PORT).await?;
    Ok(Mongo { server })
}

impl Mongo {
    /// What clients are given to connect.
    pub fn url(&self) -> String {
        format!("mongodb://{}", self.server.endpoint(PORT))
    }

    /// Whether there is a database of this name: each is a file.
    pub fn has(&self, database: &str) -> bool {
        self.server.path("data").join(format!("{database}.sqlite")).exists()
    }
}
