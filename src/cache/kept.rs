//! What is kept of each object, and how it is compared.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    FleetKey, Source,
    decode::{Detail, Seen},
};
use crate::{
    api::go_proxy::GoProxy,
    plan::{
        Obstacle, Pod,
        object::{Fingerprint, Kind},
        sight::Sight,
    },
};

/// All that is known of one fleet. An entry exists as long as anything carries the fleet's name.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub fleet: Option<Fleet>,
    pub children: Vec<Child>,
    pub pods: Vec<KeptPod>,
    pub obstacles: Vec<Obstacle>,
    /// How often each child was made anew lately. Empty where nobody deletes any.
    pub remade: BTreeMap<(Kind, Box<str>), Changes>,
}

/// A fleet, or why it cannot be read.
#[derive(Debug)]
pub(super) struct Fleet {
    pub read: Result<Arc<GoProxy>, Arc<str>>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub round: u32,
    /// Whether a watch told of this version, and not only the answer to our own write.
    pub told: bool,
}

/// What is kept of a child.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Box<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub resource_version: Box<str>,
    /// Uid of its controller, and whether that is a fleet of the name in the label.
    pub owner: Option<(Arc<str>, bool)>,
    /// Digest of the fields that we own.
    pub live: Fingerprint,
    /// A desired digest that the server was seen to turn into `live`: writing it again would change nothing.
    pub same_as_live: Option<Fingerprint>,
    /// True once it is being deleted.
    pub deleting: bool,
    /// What its kind tells.
    pub detail: Detail,
    /// How often we changed it lately.
    pub(super) changes: Changes,
    /// Round of the watch that last told of it.
    pub(super) round: u32,
    /// Whether a watch told of this version, and not only the answer to our own write.
    pub(super) told: bool,
}

/// A pod.
#[derive(Debug)]
pub(super) struct KeptPod {
    pub uid: Box<str>,
    /// `None` once it has ended for good.
    pub pod: Option<Pod>,
    /// Where its sidecar answers, while that runs.
    pub sidecar: Option<IpAddr>,
    /// What that told last.
    pub sight: Option<Arc<Sight>>,
    pub round: u32,
}

impl Fleet {
    pub(super) fn is_newer_than(&self, held: &Self) -> bool {
        is_newer(&self.resource_version, &held.resource_version)
    }

    /// Compared by content as well: after a restore, a version may come again with another one.
    pub(super) fn says_the_same_as(&self, held: &Self) -> bool {
        self.resource_version == held.resource_version && self.uid == held.uid && self.read == held.read
    }
}

impl Entry {
    pub(super) const fn is_empty(&self) -> bool {
        self.fleet.is_none() && self.children.is_empty() && self.pods.is_empty()
    }

    pub(super) fn remove_child(&mut self, kind: Kind, uid: &str) -> bool {
        let place = self.children.iter().position(|child| child.kind == kind && &*child.uid == uid);
        place.map(|place| self.children.swap_remove(place)).is_some()
    }

    pub(super) fn remove_pod(&mut self, uid: &str) -> bool {
        let place = self.pods.iter().position(|pod| &*pod.uid == uid);
        place.map(|place| self.pods.swap_remove(place)).is_some()
    }

    pub(super) fn drop_older(&mut self, source: Source, round: u32) -> usize {
        match source {
            Source::Fleets => {
                let gone = self.fleet.take_if(|fleet| fleet.round < round).is_some();
                if gone {
                    self.obstacles.clear();
                }
                usize::from(gone)
            }
            Source::Children(kind) => self.children.extract_if(.., |c| c.kind == kind && c.round < round).count(),
            Source::Pods => self.pods.extract_if(.., |pod| pod.round < round).count(),
            // Of no fleet: see the store.
            Source::Secrets => 0,
        }
    }

    /// All children of a fleet have the same owner: its uid is kept once.
    pub(super) fn owner(&self, seen: &Seen, key: &FleetKey) -> Option<(Arc<str>, bool)> {
        let owner = seen.owner()?;
        let known = self.children.iter().filter_map(|child| child.owner.as_ref()).find(|(uid, _)| **uid == *owner.uid);
        let uid = known.map_or_else(|| owner.uid.into(), |(uid, _)| uid.clone());
        Some((uid, owner.fleet == Some(&*key.name)))
    }
}

impl Child {
    pub(super) fn new(kind: Kind, seen: &Seen, owner: Option<(Arc<str>, bool)>, round: u32) -> Self {
        Self {
            kind,
            name: seen.name().into(),
            uid: seen.uid().into(),
            resource_version: seen.resource_version().into(),
            owner,
            live: seen.live,
            same_as_live: None,
            deleting: seen.deleting(),
            detail: seen.detail(kind),
            changes: Changes::default(),
            round,
            told: false,
        }
    }

    /// Whether it takes the place of what is held. See the text of the store.
    pub(super) fn replaces(&self, held: &Self) -> bool {
        let listed = self.told && held.told && held.round < self.round;
        listed || is_newer(&self.resource_version, &held.resource_version)
    }

    /// Keeps what was learned of the held version, as long as it still says the same.
    pub(super) fn knowing(mut self, held: &Self) -> Self {
        self.changes = held.changes;
        if self.live == held.live && self.uid == held.uid {
            self.same_as_live = held.same_as_live;
        }
        self
    }

    pub(super) fn is(&self, kind: Kind, name: &str) -> bool {
        self.kind == kind && &*self.name == name
    }

    /// Whether a plan could not tell them apart: only the version differs.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.uid == other.uid
            && self.owner == other.owner
            && self.live == other.live
            && self.deleting == other.deleting
            && self.detail == other.detail
    }
}

/// How often a child was changed by us, or made anew, in a row. A plan needs a few changes per minute at most; more means that
/// somebody else changes it back each time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    count: u8,
    since: Option<Instant>,
}

impl Changes {
    /// Changes within a period that are believed to be our own idea.
    pub(super) const MOST: u8 = 10;
    /// How long a fight rests before the next round.
    const PERIOD: Duration = Duration::from_secs(60);

    /// Whether there were so many that it is too many.
    pub(super) fn spent(&self, now: Instant) -> bool {
        self.count >= Self::MOST && self.is_recent(now)
    }

    /// Whether they still count.
    pub(super) fn is_recent(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) < Self::PERIOD)
    }

    /// Counts one more. False when it is too many.
    pub(super) fn allow(&mut self, now: Instant) -> bool {
        if !self.is_recent(now) {
            *self = Self { count: 0, since: Some(now) };
        }
        self.count = self.count.saturating_add(1);
        self.count <= Self::MOST
    }
}

/// Whether a version is newer than the one held. See the text of the store.
pub(super) fn is_newer(incoming: &str, held: &str) -> bool {
    match (incoming.parse::<u128>(), held.parse::<u128>()) {
        (Ok(incoming), Ok(held)) => incoming > held,
        _ => incoming != held,
    }
}
