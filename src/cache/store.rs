//! The store: fleets, and per fleet what is kept of its children and pods.
//!
//! Two sources write to it: watches and answers to our own writes. Answers come first and watches lag behind them, so
//! what is older than what is held is not taken. Resource versions are compared as numbers, which the API promises from
//! 1.35 on and which held before, since they are revisions of etcd; where one is no number, the newcomer wins.
//!
//! A new list is the truth about what a watch told before, however old its versions are: after etcd was restored from a
//! backup, everything is older than what was seen. But a list may come out of a cache that lags behind our own writes, so
//! an answer that no watch has told yet is not given up for an older version.

mod secret;
mod sights;
mod snapshot;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::{
    FleetKey, Source,
    claims::Places,
    decode::{Seen, SeenFleet},
    kept::{Child, Entry, Fleet, KeptPod},
    secrets::Secrets,
    size::Bytes,
};
use crate::plan::{
    Obstacle,
    object::{Fingerprint, Kind},
};

pub use sights::Asked;
pub use snapshot::Snapshot;

/// The store. Every method is short and in memory.
#[derive(Debug, Default)]
pub struct Store {
    inner: Mutex<Inner>,
}

/// Who tells of an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Teller {
    Watch,
    Answer,
}

#[derive(Debug, Default)]
struct Inner {
    fleets: BTreeMap<FleetKey, Entry>,
    /// How often each watch began anew; what an older round brought and the newest did not is gone.
    rounds: HashMap<(Source, Option<Arc<str>>), u32>,
    counts: BTreeMap<Source, usize>,
    places: Places,
    secrets: Secrets,
    /// Fleets to look at again because another one on their storage changed.
    woken: BTreeSet<FleetKey>,
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below leaves the maps whole, so a panic elsewhere does not spoil them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the fleet of this name is still the one of this uid.
    pub fn is_fleet(&self, key: &FleetKey, uid: &str) -> bool {
        self.lock().fleets.get(key).and_then(|entry| entry.fleet.as_ref()).is_some_and(|fleet| *fleet.uid == *uid)
    }

    /// One child.
    pub fn child(&self, key: &FleetKey, kind: Kind, name: &str) -> Option<Child> {
        self.lock().fleets.get(key)?.children.iter().find(|child| child.is(kind, name)).cloned()
    }

    /// The fleets to look at again because another one on the same storage changed since this was last asked.
    pub fn take_woken(&self) -> BTreeSet<FleetKey> {
        std::mem::take(&mut self.lock().woken)
    }

    /// Every fleet there is.
    pub fn fleets(&self) -> Vec<FleetKey> {
        self.lock().fleets.iter().filter(|(_, entry)| entry.fleet.is_some()).map(|(key, _)| key.clone()).collect()
    }

    /// How many objects of each source are held.
    pub fn counts(&self) -> BTreeMap<Source, usize> {
        self.lock().counts.clone()
    }

    /// How much memory what is held takes. Walks over all of it, and lets others in between fleets.
    pub fn bytes(&self) -> Bytes {
        let keys: Vec<FleetKey> = self.lock().fleets.keys().cloned().collect();
        let mut bytes = Bytes { index: self.lock().secrets.bytes(), ..Bytes::default() };
        for key in keys {
            if let Some(entry) = self.lock().fleets.get(&key) {
                bytes.add(&key, entry);
            }
        }
        bytes
    }

    /// Remembers what could not be written. True if that is news.
    pub fn set_obstacles(&self, key: &FleetKey, obstacles: Vec<Obstacle>) -> bool {
        match self.lock().fleets.get_mut(key) {
            Some(entry) if entry.obstacles != obstacles => {
                entry.obstacles = obstacles;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Remembers that the server turns `desired` into what is live. True if that is news.
    pub fn set_same_as_live(&self, key: &FleetKey, kind: Kind, name: &str, desired: Fingerprint) -> bool {
        let mut inner = self.lock();
        let child =
            inner.fleets.get_mut(key).and_then(|entry| entry.children.iter_mut().find(|child| child.is(kind, name)));
        match child {
            Some(child) if child.same_as_live != Some(desired) => {
                child.same_as_live = Some(desired);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Counts a change that is about to be made to a child. False when there were so many that somebody else must be
    /// changing it back.
    pub fn allow_change(&self, key: &FleetKey, kind: Kind, name: &str, now: Instant) -> bool {
        let mut inner = self.lock();
        let entry = inner.fleets.get_mut(key);
        let child = entry.and_then(|entry| entry.children.iter_mut().find(|child| child.is(kind, name)));
        child.is_none_or(|child| child.changes.allow(now))
    }

    /// Whether a child that is gone may be made anew. False when that happened so often that somebody must be deleting it
    /// each time.
    pub fn may_remake(&self, key: &FleetKey, kind: Kind, name: &str, now: Instant) -> bool {
        let inner = self.lock();
        let remade = inner.fleets.get(key).and_then(|entry| entry.remade.get(&(kind, name.into())));
        !remade.is_some_and(|remade| remade.spent(now))
    }

    /// Counts a child that was made anew because it was gone.
    pub fn count_remade(&self, key: &FleetKey, kind: Kind, name: &str, now: Instant) {
        if let Some(entry) = self.lock().fleets.get_mut(key) {
            entry.remade.retain(|_, remade| remade.is_recent(now));
            entry.remade.entry((kind, name.into())).or_default().allow(now);
        }
    }

    /// A watch, of one namespace or of all, begins anew: what it brings from here on is the whole.
    pub fn begin(&self, source: Source, namespace: Option<&Arc<str>>) {
        *self.lock().rounds.entry((source, namespace.cloned())).or_default() += 1;
    }

    /// A watch has brought all there is: what was not brought is gone. Returns the fleets that changed.
    pub fn settle(&self, source: Source, namespace: Option<&Arc<str>>) -> Vec<FleetKey> {
        let mut inner = self.lock();
        if let (Source::Secrets, Some(namespace)) = (source, namespace) {
            return inner.settle_secrets(namespace);
        }
        let Inner { fleets, counts, rounds, .. } = &mut *inner;
        let round = rounds.get(&(source, namespace.cloned())).copied().unwrap_or_default();
        let mut changed = Vec::new();
        for (key, entry) in fleets.iter_mut().filter(|(key, _)| namespace.is_none_or(|one| *one == key.namespace)) {
            let gone = entry.drop_older(source, round);
            if gone > 0 {
                *counts.entry(source).or_default() -= gone;
                changed.push(key.clone());
            }
        }
        let changed = inner.stirred(source, changed);
        inner.fleets.retain(|_, entry| !entry.is_empty());
        changed
    }

    /// Takes a fleet as a watch tells it. Returns it if there is something new in it.
    pub fn put_fleet(&self, seen: SeenFleet) -> Option<FleetKey> {
        self.take_fleet(seen, Teller::Watch)
    }

    /// Takes a fleet as the answer to our own write tells it.
    pub fn answer_fleet(&self, seen: SeenFleet) -> Option<FleetKey> {
        self.take_fleet(seen, Teller::Answer)
    }

    fn take_fleet(&self, seen: SeenFleet, teller: Teller) -> Option<FleetKey> {
        let metadata = seen.metadata();
        let key = FleetKey::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?);
        let fleet = Fleet {
            uid: metadata.uid.as_deref()?.into(),
            resource_version: metadata.resource_version.as_deref()?.into(),
            read: seen.fleet,
            round: 0,
            told: teller == Teller::Watch,
        };
        let mut inner = self.lock();
        let round = inner.round(Source::Fleets, &key.namespace);
        let entry = inner.fleets.entry(key.clone()).or_default();
        if let Some(held) = &mut entry.fleet {
            let listed = teller == Teller::Watch && held.told && held.round < round;
            let old = if listed { fleet.says_the_same_as(held) } else { !fleet.is_newer_than(held) };
            if old {
                held.told |= teller == Teller::Watch && fleet.resource_version == held.resource_version;
                held.round = held.round.max(round);
                return None;
            }
        }
        let next = Fleet { round, ..fleet };
        if entry.fleet.as_ref().is_some_and(|held| held.uid != next.uid) {
            entry.obstacles.clear();
        }
        if entry.fleet.replace(next).is_none() {
            *inner.counts.entry(Source::Fleets).or_default() += 1;
        }
        inner.stirred(Source::Fleets, vec![key.clone()]);
        Some(key)
    }

    /// A fleet is gone.
    pub fn remove_fleet(&self, seen: &SeenFleet) -> Option<FleetKey> {
        let metadata = seen.metadata();
        let key = FleetKey::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?);
        let mut inner = self.lock();
        let entry = inner.fleets.get_mut(&key)?;
        entry.fleet.take_if(|held| Some(&*held.uid) == metadata.uid.as_deref())?;
        entry.obstacles.clear();
        inner.removed(Source::Fleets, &key);
        Some(key)
    }

    /// Takes a child as a watch tells it. Returns its fleet if the plan could see a difference, and the fleet that it left
    /// if its label was changed.
    pub fn put_child(&self, kind: Kind, seen: &Seen) -> Vec<FleetKey> {
        self.take_child(kind, seen, Teller::Watch)
    }

    /// Takes a child as the answer to our own request tells it.
    pub fn answer_child(&self, kind: Kind, seen: &Seen) -> Vec<FleetKey> {
        self.take_child(kind, seen, Teller::Answer)
    }

    fn take_child(&self, kind: Kind, seen: &Seen, teller: Teller) -> Vec<FleetKey> {
        let Some(fleet) = seen.fleet() else { return Vec::new() };
        let key = FleetKey::new(seen.namespace(), fleet);
        let source = Source::Children(kind);
        let mut inner = self.lock();
        let round = inner.round(source, &key.namespace);
        let uid = seen.uid();
        let known = |entry: &Entry| entry.children.iter().any(|child| child.is(kind, seen.name()));
        let left = inner.take_from_others(source, &key, known, |entry| entry.remove_child(kind, uid));
        let entry = inner.fleets.entry(key.clone()).or_default();
        let owner = entry.owner(seen, &key);
        let mut next = Child::new(kind, seen, owner, round);
        next.told = teller == Teller::Watch;
        let news = match entry.children.iter_mut().find(|child| child.is(kind, seen.name())) {
            Some(held) if !next.replaces(held) => {
                held.told |= next.told && next.resource_version == held.resource_version;
                held.round = held.round.max(round);
                false
            }
            Some(held) => {
                let next = next.knowing(held);
                let news = !next.looks_like(held);
                *held = next;
                news
            }
            None => {
                entry.children.push(next);
                *inner.counts.entry(source).or_default() += 1;
                true
            }
        };
        inner.stirred(source, left.into_iter().chain(news.then_some(key)).collect())
    }

    /// A child is gone: this very one, not another that took its name since.
    pub fn remove_child(&self, kind: Kind, namespace: &str, uid: &str) -> Option<FleetKey> {
        let mut inner = self.lock();
        let key = inner.find(namespace, |entry| entry.remove_child(kind, uid))?;
        inner.removed(Source::Children(kind), &key);
        Some(key)
    }

    /// Takes a pod. Returns its fleet if the plan could see a difference, and the fleet that it left if its label was
    /// changed.
    pub fn put_pod(&self, seen: &Seen) -> Vec<FleetKey> {
        let Some(fleet) = seen.fleet() else { return Vec::new() };
        let key = FleetKey::new(seen.namespace(), fleet);
        let mut inner = self.lock();
        let round = inner.round(Source::Pods, &key.namespace);
        let uid = seen.uid();
        let known = |entry: &Entry| entry.pods.iter().any(|kept| &*kept.uid == uid);
        let left = inner.take_from_others(Source::Pods, &key, known, |entry| entry.remove_pod(uid));
        let entry = inner.fleets.entry(key.clone()).or_default();
        let (pod, sidecar) = (seen.pod(), seen.sidecar_address());
        let news = if let Some(held) = entry.pods.iter_mut().find(|kept| &*kept.uid == uid) {
            let news = held.pod != pod;
            (held.pod, held.sidecar, held.round) = (pod, sidecar, round);
            news
        } else {
            entry.pods.push(KeptPod { uid: uid.into(), pod, sidecar, sight: None, round });
            *inner.counts.entry(Source::Pods).or_default() += 1;
            true
        };
        inner.stirred(Source::Pods, left.into_iter().chain(news.then_some(key)).collect())
    }

    /// A pod is gone.
    pub fn remove_pod(&self, namespace: &str, uid: &str) -> Option<FleetKey> {
        let mut inner = self.lock();
        let key = inner.find(namespace, |entry| entry.remove_pod(uid))?;
        inner.removed(Source::Pods, &key);
        Some(key)
    }
}

impl Inner {
    /// The round that the watch of this namespace, or else of all, is in.
    fn round(&self, source: Source, namespace: &Arc<str>) -> u32 {
        let own = self.rounds.get(&(source, Some(namespace.clone())));
        own.or_else(|| self.rounds.get(&(source, None))).copied().unwrap_or_default()
    }

    /// The first fleet of a namespace for which `act` says yes.
    fn find(&mut self, namespace: &str, mut act: impl FnMut(&mut Entry) -> bool) -> Option<FleetKey> {
        let first = FleetKey::new(namespace, "");
        let fleets = self.fleets.range_mut((Bound::Included(first), Bound::Unbounded));
        let mut inside = fleets.take_while(|(key, _)| &*key.namespace == namespace);
        inside.find_map(|(key, entry)| act(entry).then(|| key.clone()))
    }

    fn removed(&mut self, source: Source, key: &FleetKey) {
        *self.counts.entry(source).or_default() -= 1;
        self.stirred(source, vec![key.clone()]);
        if self.fleets.get(key).is_some_and(Entry::is_empty) {
            self.fleets.remove(key);
        }
    }

    /// After a change of what is known of these fleets: wakes the others on their storage. Returns those that changed.
    fn stirred(&mut self, source: Source, changed: Vec<FleetKey>) -> Vec<FleetKey> {
        for key in &changed {
            self.woken.extend(self.places.stirred(&self.fleets, key, source));
        }
        changed
    }

    /// What had its label changed is held under its old fleet: it is taken from there. Returns that fleet.
    fn take_from_others(
        &mut self,
        source: Source,
        key: &FleetKey,
        known: impl Fn(&Entry) -> bool,
        take: impl FnMut(&mut Entry) -> bool,
    ) -> Option<FleetKey> {
        if self.fleets.get(key).is_some_and(known) {
            return None;
        }
        let left = self.find(&key.namespace, take)?;
        self.removed(source, &left);
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KIND: Kind = Kind::ConfigMap;

    fn fleet(uid: &str, version: &str) -> SeenFleet {
        let metadata = json!({ "name": "a", "namespace": "ns", "uid": uid, "resourceVersion": version });
        let fleet = json!({ "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "metadata": metadata, "spec": {} });
        serde_json::from_value(fleet).unwrap()
    }

    fn child(fleet: &str, uid: &str, version: &str, data: &Value) -> Seen {
        Seen::new(json!({
            "metadata": {
                "name": "c", "namespace": "ns", "uid": uid, "resourceVersion": version,
                "labels": { "goproxy.rs/fleet": fleet },
                "ownerReferences": [{ "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "name": "a", "uid": "f", "controller": true }],
                "managedFields": [{ "manager": "goproxy-operator", "operation": "Apply", "fieldsV1": { "f:data": {} } }],
            },
            "data": data,
        }))
    }

    fn key(name: &str) -> FleetKey {
        FleetKey::new("ns", name)
    }

    fn version(store: &Store) -> Option<String> {
        Some(store.child(&key("a"), KIND, "c")?.resource_version.into())
    }

    #[test]
    fn an_answer_to_our_write_outlives_older_events() {
        let store = Store::default();
        assert_eq!(store.put_child(KIND, &child("a", "u", "9", &json!({ "x": "1" }))), [key("a")]);
        assert_eq!(store.put_child(KIND, &child("a", "u", "12", &json!({ "x": "2" }))), [key("a")]);
        // The watch comes along: what we have is newer, then the same. 9 is before 12, though not as text.
        assert_eq!(store.put_child(KIND, &child("a", "u", "9", &json!({ "x": "1" }))), []);
        assert_eq!(store.put_child(KIND, &child("a", "u", "12", &json!({ "x": "2" }))), []);
        assert_eq!(version(&store).as_deref(), Some("12"));
    }

    #[test]
    fn a_change_that_no_plan_could_see_wakes_nobody_but_is_kept() {
        let store = Store::default();
        store.put_child(KIND, &child("a", "u", "1", &json!({ "x": "1" })));
        assert_eq!(store.put_child(KIND, &child("a", "u", "2", &json!({ "x": "1" }))), []);
        assert_eq!(version(&store).as_deref(), Some("2"), "a later write is fenced by the newest version");
    }

    #[test]
    fn the_end_of_a_predecessor_does_not_remove_its_successor() {
        let store = Store::default();
        store.put_child(KIND, &child("a", "new", "9", &json!({})));
        assert_eq!(store.remove_child(KIND, "ns", "old"), None);
        assert_eq!(store.remove_child(KIND, "ns", "new"), Some(key("a")));
        assert_eq!(version(&store), None);
        assert_eq!(store.counts()[&Source::Children(KIND)], 0);
        assert!(store.lock().fleets.is_empty(), "nothing is remembered of what is gone");
    }

    #[test]
    fn what_is_relabelled_is_held_once_and_wakes_the_fleet_that_it_left() {
        let store = Store::default();
        store.put_child(KIND, &child("a", "u", "1", &json!({})));
        assert_eq!(store.put_child(KIND, &child("b", "u", "2", &json!({}))), [key("a"), key("b")]);
        assert_eq!(version(&store), None);
        assert_eq!(store.counts()[&Source::Children(KIND)], 1);

        store.put_pod(&child("a", "p", "1", &json!({})));
        assert_eq!(store.put_pod(&child("b", "p", "2", &json!({}))), [key("a"), key("b")]);
        assert_eq!(store.counts()[&Source::Pods], 1);
        assert!(!store.lock().fleets.contains_key(&key("a")), "nothing is left of it there");
    }

    #[test]
    fn a_new_list_is_believed_however_old_its_versions_are() {
        let store = Store::default();
        let source = Source::Children(KIND);
        store.begin(source, None);
        store.begin(Source::Fleets, None);
        store.put_fleet(fleet("f", "90"));
        store.put_child(KIND, &child("a", "u", "90", &json!({ "x": "new" })));
        // Restored from a backup.
        store.begin(source, None);
        store.begin(Source::Fleets, None);
        assert_eq!(store.put_fleet(fleet("f", "40")), Some(key("a")));
        assert_eq!(store.put_fleet(fleet("f", "40")), None);
        assert_eq!(store.put_child(KIND, &child("a", "u", "40", &json!({ "x": "old" }))), [key("a")]);
        assert_eq!(version(&store).as_deref(), Some("40"));
        // Our own write, which a lagging list does not have yet, whether it was made before the list began or since.
        for begun_first in [false, true] {
            let (ours, theirs) = if begun_first { ("80", "70") } else { ("60", "40") };
            if begun_first {
                store.begin(source, None);
            }
            store.answer_child(KIND, &child("a", "u", ours, &json!({ "x": ours })));
            if !begun_first {
                store.begin(source, None);
            }
            assert_eq!(store.put_child(KIND, &child("a", "u", theirs, &json!({ "x": theirs }))), []);
            assert_eq!(version(&store).as_deref(), Some(ours));
            assert!(store.settle(source, None).is_empty());
        }
        // Told by the watch, it counts no more than anything else.
        store.put_child(KIND, &child("a", "u", "80", &json!({ "x": "80" })));
        store.begin(source, None);
        assert_eq!(store.put_child(KIND, &child("a", "u", "50", &json!({ "x": "old" }))), [key("a")]);
        // A list that brings the same wakes nobody.
        store.begin(Source::Fleets, None);
        assert_eq!(store.put_fleet(fleet("f", "40")), None);
    }

    #[test]
    fn what_a_fleet_could_not_write_goes_with_it() {
        let store = Store::default();
        let taken = Obstacle { reason: crate::api::condition::Reason::NameTaken, message: "taken".to_owned() };
        store.begin(Source::Fleets, None);
        store.put_fleet(fleet("f", "1"));
        store.put_child(KIND, &child("a", "u", "1", &json!({})));
        store.set_obstacles(&key("a"), vec![taken.clone()]);
        store.begin(Source::Fleets, None);
        assert_eq!(store.settle(Source::Fleets, None), [key("a")]);
        store.put_fleet(fleet("g", "5"));
        assert_eq!(store.snapshot(&key("a")).unwrap().obstacles, []);
        store.set_obstacles(&key("a"), vec![taken]);
        store.put_fleet(fleet("h", "6"));
        assert_eq!(store.snapshot(&key("a")).unwrap().obstacles, [], "another fleet of the name");
    }

    #[test]
    fn what_a_new_list_does_not_bring_is_gone_unless_we_just_wrote_it() {
        let store = Store::default();
        let source = Source::Children(KIND);
        store.begin(source, None);
        store.put_child(KIND, &child("a", "u", "1", &json!({})));
        assert!(store.settle(source, None).is_empty());
        store.begin(source, None);
        assert_eq!(store.settle(source, None), [key("a")]);
        store.begin(source, None);
        store.put_child(KIND, &child("a", "v", "5", &json!({})));
        assert!(store.settle(source, None).is_empty());
        // Heard of again in the same version: that keeps it as well.
        store.begin(source, None);
        store.put_child(KIND, &child("a", "v", "5", &json!({})));
        assert!(store.settle(source, None).is_empty());
    }

    #[test]
    fn a_list_of_one_namespace_says_nothing_about_others() {
        let store = Store::default();
        let source = Source::Children(KIND);
        let (here, there): (Arc<str>, Arc<str>) = ("ns".into(), "other".into());
        store.begin(source, Some(&here));
        store.put_child(KIND, &child("a", "u", "1", &json!({})));
        store.begin(source, Some(&there));
        store.begin(source, Some(&there));
        assert!(store.settle(source, Some(&there)).is_empty());
        store.begin(source, Some(&here));
        assert_eq!(store.settle(source, Some(&here)), [key("a")]);
    }

    #[test]
    fn what_the_server_made_of_a_wish_is_remembered_until_it_changes() {
        let store = Store::default();
        let wish = Fingerprint::of(&json!({ "data": { "x": "01" } }));
        store.put_child(KIND, &child("a", "u", "1", &json!({ "x": "1" })));
        assert!(store.set_same_as_live(&key("a"), KIND, "c", wish));
        assert!(!store.set_same_as_live(&key("a"), KIND, "c", wish), "told once");
        store.put_child(KIND, &child("a", "u", "2", &json!({ "x": "1" })));
        assert_eq!(store.child(&key("a"), KIND, "c").unwrap().same_as_live, Some(wish));
        store.put_child(KIND, &child("a", "u", "3", &json!({ "x": "drift" })));
        assert_eq!(store.child(&key("a"), KIND, "c").unwrap().same_as_live, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fight_over_a_child_rests_for_a_while_however_often_it_is_changed_back() {
        let store = Store::default();
        store.put_child(KIND, &child("a", "u", "1", &json!({})));
        let allowed = |store: &Store| store.allow_change(&key("a"), KIND, "c", Instant::now());
        for round in 0..10 {
            assert!(allowed(&store), "{round}");
            store.put_child(KIND, &child("a", "u", &(round + 2).to_string(), &json!({ "x": round.to_string() })));
        }
        assert!(!allowed(&store));
        tokio::time::advance(std::time::Duration::from_secs(61)).await;
        assert!(allowed(&store));
    }

    #[test]
    fn a_fleet_of_the_same_name_is_another_fleet() {
        let store = Store::default();
        assert_eq!(store.put_fleet(fleet("one", "1")), Some(key("a")));
        assert_eq!(store.put_fleet(fleet("one", "1")), None);
        assert!(store.is_fleet(&key("a"), "one"));
        assert_eq!(store.remove_fleet(&fleet("two", "9")), None);
        assert_eq!(store.remove_fleet(&fleet("one", "2")), Some(key("a")));
        assert!(!store.is_fleet(&key("a"), "one"));
        assert!(store.fleets().is_empty() && store.snapshot(&key("a")).is_none());
    }
}
