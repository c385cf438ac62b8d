//! What stands between clients and the proxies, resolved.

use std::time::Duration;

use crate::api::{go_proxy::EnginePod, quantity::Quantity};

/// The edge.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidEdge {
    /// Pods wanted.
    pub replicas: i32,
    /// Image of both containers.
    pub image: String,
    /// Room for what each pod keeps.
    pub cache_size: Quantity,
    /// Whether each pod keeps it on a volume of its own, and of which class; the cluster's default without.
    pub cache_volume: Option<Option<String>>,
    /// What changes is taken for true at least so long.
    pub list_least: Duration,
    /// And at most so long.
    pub list_most: Duration,
    /// Request of nginx.
    pub cpu_request: Quantity,
    /// Its limit, if any.
    pub cpu_limit: Option<Quantity>,
    /// Its request.
    pub memory_request: Quantity,
    /// Its limit.
    pub memory_limit: Quantity,
    /// Scheduling and decoration of the pods, as given.
    pub pod: EnginePod,
}
