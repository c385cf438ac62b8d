//! The API group `goproxy.rs/v1alpha1`: what users write and what they read back.
//!
//! Types here say what is *possible*; [`crate::plan::validate`] says what is *sensible* and resolves every default.
//! Both the schema with its CEL rules and `validate` refuse the same inputs: a corpus test holds them together.

pub mod condition;
pub mod crd;
pub mod duration;
pub mod edge_state;
pub mod go_proxy;
pub mod quantity;
pub mod rule;
pub mod status;

/// The API group.
pub const GROUP: &str = "goproxy.rs";
