//! Real Kubernetes clusters on one machine, and the tests and benchmarks that run on them.

pub mod check;
pub mod cli;
pub mod cluster;
pub mod corpus;
pub mod image;
pub mod origin;
pub mod probe;
pub mod progress;
pub mod tools;
