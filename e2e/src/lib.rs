//! Real Kubernetes clusters on one machine, and the tests and benchmarks that run on them.

pub mod check;
pub mod corpus;
pub mod progress;
pub mod tools;
