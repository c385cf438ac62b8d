//! `goproxy-operator sidecar`: the program beside an engine, in its pod.
//!
//! Some things cannot be known from outside of a pod: how full a volume is, whether a lock server answers, which login of a Git
//! server stopped working, whether a file was cut off in the middle of being written, and who else uses a bucket. So pods whose fleet
//! has one of these run this program beside the engine. It has no token of the API server and writes nothing there: the operator asks
//! it for its [`report::Report`] and decides what that means.
//!
//! It never ends by itself and never takes the pod's readiness away: an engine that serves is worth more than a report on it.

pub mod config;
pub mod report;
