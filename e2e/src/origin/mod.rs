//! Where fleets fetch modules from: a generated origin for tests, and what this machine's own `go` uses for the demo.

pub mod generated;
pub mod machine;
pub mod server;

mod checksum;
mod database;

pub use machine::{MachineUpstream, machine_upstream};
