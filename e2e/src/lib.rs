//! Real Kubernetes clusters on one machine, and the tests and benchmarks that run on them.

pub mod audit;
pub mod bench;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod corpus;
pub mod creation;
pub mod demo;
pub mod go_client;
pub mod image;
pub mod operator;
pub mod origin;
pub mod page;
pub mod probe;
pub mod progress;
pub mod scripted;
pub mod service;
pub mod story;
pub mod suite;
pub mod tools;
