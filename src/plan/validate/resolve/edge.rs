//! What stands between clients and the proxies.

use super::{AmountDefaults, Defaults, amounts};
use crate::{
    api::{duration::GoDuration, go_proxy::Edge, quantity::Quantity},
    plan::validate::{Settings, ValidEdge},
};

const REPLICAS: i32 = 1;
const CACHE_SIZE: Quantity = Quantity::gibibytes(10);
const LIST_LEAST: GoDuration = GoDuration::seconds(5);
const LIST_MOST: GoDuration = GoDuration::seconds(300);
const AMOUNTS: AmountDefaults = AmountDefaults {
    cpu_request: Quantity::milli(250),
    memory_request: Quantity::mebibytes(256),
    memory_limit: Quantity::gibibytes(1),
};

pub(super) fn edge(given: Edge, settings: &Settings, defaults: &mut Defaults) -> ValidEdge {
    let cache = given.cache.unwrap_or_default();
    let list = cache.list.unwrap_or_default();
    let least = defaults.or("spec.edge.cache.list.minTTL", list.min_ttl, LIST_LEAST);
    // A default never makes an invalid pair of what was given.
    let most = defaults.or("spec.edge.cache.list.maxTTL", list.max_ttl, LIST_MOST.max(least));
    let amounts = amounts(given.resources.unwrap_or_default(), "spec.edge.resources", &AMOUNTS, defaults);
    ValidEdge {
        replicas: defaults.or("spec.edge.replicas", given.replicas, REPLICAS),
        // Refused before where there is none.
        image: settings.edge_image.clone().unwrap_or_default(),
        cache_size: defaults.or("spec.edge.cache.size", cache.size, CACHE_SIZE),
        cache_volume: cache.volume.map(|volume| volume.storage_class_name),
        list_least: least.get(),
        list_most: most.get(),
        cpu_request: amounts.cpu_request,
        cpu_limit: amounts.cpu_limit,
        memory_request: amounts.memory_request,
        memory_limit: amounts.memory_limit,
        pod: given.pod.unwrap_or_default(),
    }
}
