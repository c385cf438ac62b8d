//! A Kubernetes API server in memory, as much of it as the operator uses, with a small world behind it and faults on
//! demand. Everything runs in simulated time, so that an hour at rest takes a moment.
//!
//! What it answers is modelled after the real server's behaviour, and only that far: whatever a test here relies on is
//! also proved, by sample, on a real one.

pub mod dice;
pub mod digest;
pub mod fault;
pub mod fields;
pub mod http;
pub mod operator;
pub mod resource;
pub mod rules;
pub mod scenario;
pub mod store;
pub mod sweep;
pub mod watch;
pub mod world;
pub mod write;
