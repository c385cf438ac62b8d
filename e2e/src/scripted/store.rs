//! The state of the server: objects, and every change that was ever made to them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{resource::Resource, rules::Rules};

/// Where an object is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub resource: &'static Resource,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// By the kind's plural name.
    pub fn new(plural: &str, namespace: &str, name: &str) -> Self {
        Self { resource: Resource::named(plural), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.resource.kind, self.namespace, self.name)
    }
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// The resourceVersion that it made.
    pub version: u64,
    /// Seconds since the start, in simulated time.
    pub second: u64,
    /// Who made it.
    pub actor: String,
    /// What it was made to.
    pub key: Key,
    /// The object before. `None`: it did not exist.
    pub before: Option<Arc<Value>>,
    /// The object after. `None`: it is gone.
    pub after: Option<Arc<Value>>,
}

/// Kinds of object that a client looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All of them.
    Everything,
    /// One, by its name.
    Only(&'static str),
}

/// A change that is held back from watches, and how they learn of it in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blindness {
    /// The newest version that a watch may see.
    pub version: u64,
    /// The kinds that it is about.
    pub view: View,
    /// When the blindness ends.
    pub until: Instant,
    /// Whether watches are then told to list anew, so that what happened in between is never seen.
    pub forget: bool,
}

/// Everything that the server holds.
#[derive(Debug)]
pub struct State {
    version: u64,
    uids: u64,
    start: Instant,
    /// The objects.
    pub objects: BTreeMap<Key, Arc<Value>>,
    /// Every change, oldest first.
    pub changes: Vec<Change>,
    /// Watches that ask for anything older than this must list anew.
    pub compacted: u64,
    /// Objects as they were when they were saved.
    backup: Option<BTreeMap<Key, Arc<Value>>>,
    /// Set while watches do not see what happens.
    pub blind: Option<Blindness>,
    /// What must hold at every step.
    pub rules: Rules,
    announce: watch::Sender<u64>,
}

/// The state, shared.
#[derive(Clone, Debug)]
pub struct Store(Arc<Mutex<State>>);

impl Default for Store {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            // Far from 1: the version with which an object is created when absent must never match.
            version: 1000,
            uids: 0,
            start: Instant::now(),
            objects: BTreeMap::new(),
            changes: Vec::new(),
            compacted: 0,
            backup: None,
            blind: None,
            rules: Rules::default(),
            announce: watch::channel(0).0,
        })))
    }
}

impl Store {
    /// The state, for as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when something changed.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.lock().announce.subscribe()
    }
}

impl State {
    /// The newest resourceVersion.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The simulated instant, in whole seconds as the API stores it.
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.start.elapsed()).unwrap_or_default();
        let instant = epoch().checked_add(passed).unwrap_or_else(|_| epoch());
        Timestamp::from_second(instant.as_second()).unwrap_or(instant)
    }

    /// Simulated seconds since the start.
    pub fn second(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    /// An object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Objects of a kind, in a namespace or in all.
    pub fn list<'a>(
        &'a self,
        resource: &'static Resource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        self.objects
            .iter()
            .filter(move |(key, _)| key.resource == resource && namespace.is_none_or(|one| one == key.namespace))
    }

    /// Stores an object, whatever it says about its own identity. Nothing is stored when nothing changed.
    pub fn put(&mut self, actor: &str, key: &Key, mut object: Value) -> Arc<Value> {
        let before = self.objects.get(key).cloned();
        self.keep_identity(key, before.as_deref(), &mut object);
        if let Some(before) = before.as_ref().filter(|before| ***before == object) {
            return before.clone();
        }
        // The last finalizer is gone from an object that is being deleted.
        let ends = object.pointer("/metadata/deletionTimestamp").is_some()
            && object.pointer("/metadata/finalizers").and_then(Value::as_array).is_none_or(Vec::is_empty)
            && key.resource.kind != "Pod";
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let after = Arc::new(object);
        if ends {
            self.objects.remove(key);
            self.record(actor, key.clone(), Some(after.clone()), None);
        } else {
            self.objects.insert(key.clone(), after.clone());
            self.record(actor, key.clone(), before, Some(after.clone()));
        }
        after
    }

    fn keep_identity(&mut self, key: &Key, before: Option<&Value>, object: &mut Value) {
        object["apiVersion"] = json!(key.resource.api_version());
        object["kind"] = json!(key.resource.kind);
        let old = |path: &str| before.and_then(|before| before.pointer(path)).cloned();
        let generation = match (before, old("/metadata/generation").and_then(|number| number.as_i64())) {
            (Some(before), Some(number)) if before.get("spec") == object.get("spec") => number,
            (_, number) => number.unwrap_or(0) + 1,
        };
        let uid = old("/metadata/uid").unwrap_or_else(|| {
            self.uids += 1;
            json!(format!("00000000-0000-4000-8000-{:012}", self.uids))
        });
        let created = old("/metadata/creationTimestamp").unwrap_or_else(|| json!(self.now().to_string()));
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(key.name);
        metadata["namespace"] = json!(key.namespace);
        metadata["uid"] = uid;
        metadata["creationTimestamp"] = created;
        metadata["generation"] = json!(generation);
        if let Some(version) = old("/metadata/resourceVersion") {
            metadata["resourceVersion"] = version;
        }
        if let Some(deleted) = old("/metadata/deletionTimestamp") {
            metadata["deletionTimestamp"] = deleted;
        }
    }

    /// Deletes an object, or marks it when a finalizer or a kubelet still has to do with it.
    pub fn delete(&mut self, actor: &str, key: &Key) {
        let Some(object) = self.objects.get(key).cloned() else { return };
        if object.pointer("/metadata/deletionTimestamp").is_some() {
            return;
        }
        let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
        if finalizers.is_some_and(|list| !list.is_empty()) || key.resource.kind == "Pod" {
            let mut marked = (*object).clone();
            marked["metadata"]["deletionTimestamp"] = json!(self.now().to_string());
            self.version += 1;
            marked["metadata"]["resourceVersion"] = json!(self.version.to_string());
            let marked = Arc::new(marked);
            self.objects.insert(key.clone(), marked.clone());
            self.record(actor, key.clone(), Some(object), Some(marked));
        } else {
            self.remove(actor, key);
        }
    }

    /// Removes an object for good.
    pub fn remove(&mut self, actor: &str, key: &Key) {
        let Some(object) = self.objects.remove(key) else { return };
        self.version += 1;
        let mut last = (*object).clone();
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.record(actor, key.clone(), Some(Arc::new(last)), None);
    }

    fn record(&mut self, actor: &str, key: Key, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        let change =
            Change { version: self.version, second: self.second(), actor: actor.to_owned(), key, before, after };
        let mut rules = std::mem::take(&mut self.rules);
        rules.check(self, &change);
        self.rules = rules;
        self.changes.push(change);
        self.announce.send_replace(self.version);
    }

    /// Forgets history: watches list anew.
    pub fn compact(&mut self) {
        self.compacted = self.version;
        self.announce.send_replace(self.version);
    }

    /// Saves what there is.
    pub fn back_up(&mut self) {
        self.backup = Some(self.objects.clone());
    }

    /// Goes back to what was saved, as a server on a store that was restored from a snapshot: objects have the versions
    /// that they had then, new ones are far above all that were ever given, and watches list anew.
    pub fn restore(&mut self) {
        if let Some(objects) = self.backup.clone() {
            self.objects = objects;
            self.rules.restored = true;
            self.version += 1_000_000;
            self.compact();
        }
    }

    /// Changes that watches of a kind may see: all of them, or those before a blindness began.
    pub fn visible(&self, kind: &str) -> u64 {
        let blind = self.blind.filter(|blind| match blind.view {
            View::Everything => true,
            View::Only(blinded) => blinded == kind,
        });
        blind.map_or(self.version, |blind| blind.version)
    }

    /// Ends a blindness.
    pub fn see_again(&mut self) {
        if self.blind.take().is_some_and(|blind| blind.forget) {
            self.compact();
        }
        self.announce.send_replace(self.version);
    }

    /// The last changes as text, for a failed case.
    pub fn tail(&self, count: usize) -> String {
        let mut text = String::new();
        for change in &self.changes[self.changes.len().saturating_sub(count)..] {
            let what = match (&change.before, &change.after) {
                (None, Some(_)) => "created",
                (Some(_), None) => "removed",
                _ => "changed",
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {:>5} s  {:<20} {what} {}", change.second, change.actor, change.key);
        }
        text
    }
}

/// The instant at which every simulation starts.
pub fn epoch() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap_or_default()
}
