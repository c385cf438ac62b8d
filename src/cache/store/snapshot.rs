//! What a plan is made from, copied out of the store.

use std::{collections::BTreeMap, sync::Arc};

use super::Store;
use crate::{
    api::go_proxy::GoProxy,
    cache::{FleetKey, kept::Child},
    plan::{Obstacle, Pod, ownership::Claim, secret::Digests, sight::Sight},
};

/// What is known of a fleet at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Uid of the fleet.
    pub uid: Box<str>,
    /// The fleet, or why it cannot be read.
    pub fleet: Result<Arc<GoProxy>, Arc<str>>,
    /// Its children, whoever owns them.
    pub children: Vec<Child>,
    /// Its pods that have not ended for good.
    pub pods: Vec<Pod>,
    /// What they tell of themselves, by their names.
    pub reports: BTreeMap<String, Arc<Sight>>,
    /// What other fleets say or do about the place where it wants to store.
    pub claims: Vec<Claim>,
    /// Digests of the Secrets that its engine reads at its start alone. `None`: they may not be read.
    pub secrets: Option<Digests>,
    /// What could not be written last time.
    pub obstacles: Vec<Obstacle>,
}

impl Store {
    /// What is known of a fleet. `None` when it does not exist.
    pub fn snapshot(&self, key: &FleetKey) -> Option<Snapshot> {
        let inner = self.lock();
        let entry = inner.fleets.get(key)?;
        let fleet = entry.fleet.as_ref()?;
        Some(Snapshot {
            uid: fleet.uid.clone(),
            fleet: fleet.read.clone(),
            children: entry.children.clone(),
            pods: entry.pods.iter().filter_map(|kept| kept.pod.clone()).collect(),
            reports: entry
                .pods
                .iter()
                .filter_map(|kept| Some((kept.pod.as_ref()?.name.clone(), kept.sight.clone()?)))
                .collect(),
            claims: fleet
                .read
                .as_ref()
                .map_or_else(|_| Vec::new(), |read| inner.places.claims(&inner.fleets, key, read)),
            secrets: fleet.read.as_ref().ok().and_then(|read| inner.digests(key, read)),
            obstacles: entry.obstacles.clone(),
        })
    }
}
