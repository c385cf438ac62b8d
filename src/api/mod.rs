//! The API group `goproxy.rs/v1alpha1`: what users write and what they read back.
//!
//! Types here say what is *possible*; [`crate::plan::validate`] says what is *sensible* and resolves every default.
//! Both the schema with its CEL rules and `validate` refuse the same inputs: a corpus test holds them together.

pub mod condition;
pub mod crd;
pub mod duration;
pub mod go_proxy;
pub mod quantity;
pub mod rule;
pub mod status;

/// The API group.
pub const GROUP: &str = "goproxy.rs";

/// The longest accepted `metadata.name`: leaves room for `-<region>` and a revision's hash within the 63 characters of a label.
pub const NAME_MAX: usize = 40;

/// Endings that a fleet's name may not have, because objects of another fleet carry them.
pub const RESERVED_NAME_ENDINGS: [&str; 4] = ["-engine", "-origin", "-edge", "-data"];
