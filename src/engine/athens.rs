//! Athens' configuration file, and what it gets from Secrets.

pub mod config;
pub mod secrets;
