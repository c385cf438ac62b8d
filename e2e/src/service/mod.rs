//! The services that a platform has besides Kubernetes, for fleets that use them: an object store, locks, a Git server, a
//! way out.
//!
//! Each is the real program as a process inside a cluster's network namespace, so that pods reach it by the cluster's
//! address as they would reach a server of their data centre. `start` gives a handle with addresses, credentials and
//! what a test does to the service; nothing else has to be known. A service is a component of its cluster: it is found
//! by its control group, and `down` ends it whether or not its handle was closed. Passwords are made anew at every start
//! and are in no argument of a process, so that a test may search the machine for them.

pub mod bucket;
pub mod egress;
pub mod etcd;
pub mod external;
pub mod gcs;
pub mod git;
pub mod mongo;
pub mod redis;
pub mod redis_cluster;
pub mod sentinel;
pub mod volume;

mod name;
mod room;

use anyhow::Result;

use crate::probe;
use crate::progress::Progress;
use crate::tools::{self, Family};

pub use self::name::NAMESPACE;
pub use self::room::Room;

/// Installs and builds what services need: `all` of them, or those that every run starts. Each start does this for its own service; a
/// test that compares the machine before and after does it beforehand.
pub fn prepare(all: bool, progress: &Progress) -> Result<()> {
    let mut programs = [bucket::PROGRAMS, egress::PROGRAMS, etcd::PROGRAMS, git::PROGRAMS, redis::PROGRAMS].concat();
    let mut families = vec![Family::VersityGw, Family::Etcd];
    if all {
        programs.extend(gcs::PROGRAMS);
        families.extend([Family::FakeGcsServer, Family::FerretDb]);
    }
    probe::packages(&programs, progress)?;
    tools::ensure(&families, progress)
}
