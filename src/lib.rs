//! goproxy-operator
pub mod api;
pub mod engine;
pub mod plan;
