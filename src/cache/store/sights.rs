//! What pods tell of themselves. It is kept with the pod, and so forgotten with it.

use std::{net::IpAddr, sync::Arc};

use super::Store;
use crate::{cache::FleetKey, plan::sight::Sight, sidecar::report::Report};

/// A pod that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its fleet.
    pub fleet: FleetKey,
    /// Its uid.
    pub uid: Box<str>,
    /// Where its sidecar answers.
    pub address: IpAddr,
}

impl Store {
    /// Every pod whose sidecar runs.
    pub fn sidecars(&self) -> Vec<Asked> {
        let inner = self.lock();
        let of_fleet = |(key, entry): (&FleetKey, &super::Entry)| {
            let asked = entry
                .pods
                .iter()
                .filter_map(|kept| Some(Asked { fleet: key.clone(), uid: kept.uid.clone(), address: kept.sidecar? }));
            asked.collect::<Vec<_>>()
        };
        inner.fleets.iter().flat_map(of_fleet).collect()
    }

    /// Takes what a pod told. True if a plan could see a difference.
    pub fn put_report(&self, asked: &Asked, report: &Report) -> bool {
        let mut inner = self.lock();
        let entry = inner.fleets.get_mut(&asked.fleet);
        let Some(kept) = entry.and_then(|entry| entry.pods.iter_mut().find(|kept| kept.uid == asked.uid)) else {
            return false;
        };
        let next = Sight::after(kept.sight.as_deref(), report);
        if kept.sight.as_deref() == Some(&next) {
            return false;
        }
        kept.sight = Some(Arc::new(next));
        true
    }
}
