//! Which fleets store where, kept up to date with what is told of them, so that a plan of one fleet looks at those alone that
//! name or use its place. Fleets that keep modules in memory are not in it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Deserialize;

use super::{
    FleetKey, Source,
    decode::Detail,
    kept::{Child, Entry},
};
use crate::{
    api::go_proxy::GoProxy,
    engine::coordination,
    plan::{
        object::Kind,
        ownership::{Age, Claim, wanted},
    },
};

/// Places and fleets, both ways.
#[derive(Debug, Default)]
pub(super) struct Places {
    fleets: HashMap<Arc<str>, Vec<FleetKey>>,
    of: HashMap<FleetKey, Vec<Arc<str>>>,
}

impl Places {
    /// A fleet has these places now. Returns the others that have one of them, or one that it left.
    fn set(&mut self, key: &FleetKey, next: BTreeSet<Arc<str>>) -> Vec<FleetKey> {
        let mut others = self.neighbours(key);
        if self.of.get(key).is_some_and(|places| places.iter().eq(&next)) {
            return others;
        }
        for left in self.of.remove(key).unwrap_or_default() {
            if let Some(fleets) = self.fleets.get_mut(&left) {
                fleets.retain(|fleet| fleet != key);
                if fleets.is_empty() {
                    self.fleets.remove(&left);
                }
            }
        }
        if next.is_empty() {
            return others;
        }
        for place in &next {
            // Nearly always this fleet is alone there.
            self.fleets.entry(place.clone()).or_insert_with(|| Vec::with_capacity(1)).push(key.clone());
        }
        self.of.insert(key.clone(), next.into_iter().collect());
        others.extend(self.neighbours(key));
        others
    }

    /// After a change of what is known of a fleet: notes where it stores. Returns the others that do so there.
    pub(super) fn stirred(
        &mut self,
        fleets: &BTreeMap<FleetKey, Entry>,
        key: &FleetKey,
        source: Source,
    ) -> Vec<FleetKey> {
        match source {
            Source::Fleets | Source::Children(Kind::ControllerRevision) => {
                self.set(key, fleets.get(key).map(places).unwrap_or_default())
            }
            Source::Children(_) | Source::Pods => self.neighbours(key),
            Source::Secrets => Vec::new(),
        }
    }

    /// What others say or do about the place that this fleet names.
    pub(super) fn claims(&self, fleets: &BTreeMap<FleetKey, Entry>, key: &FleetKey, fleet: &GoProxy) -> Vec<Claim> {
        let Some(place) = wanted(fleet) else { return Vec::new() };
        self.others(&place, key).filter_map(|other| claim(other, fleets.get(other)?, &place)).collect()
    }

    /// The other fleets that have a place of this one.
    fn neighbours(&self, key: &FleetKey) -> Vec<FleetKey> {
        let places = self.of.get(key).into_iter().flatten();
        places.flat_map(|place| self.others(place, key)).cloned().collect()
    }

    /// The other fleets that have this place.
    fn others<'a>(&'a self, place: &str, key: &'a FleetKey) -> impl Iterator<Item = &'a FleetKey> {
        self.fleets.get(place).into_iter().flatten().filter(move |other| *other != key)
    }
}

/// The places that a fleet's spec names or that a revision of it was made for.
fn places(entry: &Entry) -> BTreeSet<Arc<str>> {
    let named = entry.fleet.as_ref().and_then(|fleet| wanted(fleet.read.as_ref().ok()?));
    named.into_iter().chain(entry.children.iter().filter_map(place_of)).map(Into::into).collect()
}

/// What a fleet says or does about a place. `None`: it names it no more, and has no pods there.
fn claim(key: &FleetKey, entry: &Entry, place: &str) -> Option<Claim> {
    let there = entry.children.iter().filter(|child| place_of(child).as_deref() == Some(place));
    let in_use = there.into_iter().any(|revision| in_use(key, entry, &revision.name));
    let fleet = entry.fleet.as_ref().and_then(|fleet| fleet.read.as_ref().ok());
    let named = fleet.and_then(|fleet| wanted(fleet)).as_deref() == Some(place);
    (in_use || named).then(|| Claim {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        age: fleet.map(|fleet| Age::of(fleet)),
        in_use,
    })
}

/// Whether a revision is what clients are led to, or has pods or asks for them. Between two revisions there may be no pod.
fn in_use(key: &FleetKey, entry: &Entry, revision: &str) -> bool {
    let told = entry.children.iter().any(|child| match &child.detail {
        Detail::Service(lead) => child.is(Kind::Service, &key.name) && lead.revision.as_deref() == Some(revision),
        Detail::Deployment(view) => child.is(Kind::Deployment, revision) && (view.replicas > 0 || view.current > 0),
        Detail::None
        | Detail::Revision { .. }
        | Detail::Text { .. }
        | Detail::Claim(_)
        | Detail::StatefulSet(_)
        | Detail::NetworkPolicy { .. }
        | Detail::EdgeState(_) => false,
    });
    told || entry.pods.iter().filter_map(|kept| kept.pod.as_ref()).any(|pod| pod.revision == revision)
}

/// The little of a revision's text that is asked for here.
#[derive(Deserialize)]
struct Agreed {
    agreement: Option<String>,
}

fn place_of(child: &Child) -> Option<String> {
    let Detail::Revision { data, .. } = &child.detail else { return None };
    let agreed: Agreed = serde_json::from_str(data).ok()?;
    coordination::place_of(&agreed.agreement?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cache::{
        Source,
        decode::{Seen, SeenFleet},
        store::Store,
    };

    fn fleet(name: &str, bucket: &str, version: &str) -> SeenFleet {
        on(name, &json!({ "s3": { "bucket": bucket } }), version)
    }

    fn on(name: &str, storage: &Value, version: &str) -> SeenFleet {
        serde_json::from_value(json!({
            "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy",
            "metadata": {
                "name": name, "namespace": "ns", "uid": name, "resourceVersion": version,
                "creationTimestamp": "2026-05-01T00:00:00Z",
            },
            "spec": { "storage": storage },
        }))
        .unwrap()
    }

    fn child(fleet: &str, name: &str, version: &str, rest: &Value) -> Seen {
        let mut object = rest.clone();
        object["metadata"] = json!({
            "name": name, "namespace": "ns", "uid": format!("{fleet}/{name}"), "resourceVersion": version,
            "labels": { "goproxy.rs/fleet": fleet, "goproxy.rs/revision": name },
        });
        Seen::new(object)
    }

    fn key(name: &str) -> FleetKey {
        FleetKey::new("ns", name)
    }

    fn claims(store: &Store, name: &str) -> Vec<(String, bool, bool)> {
        let claims = store.snapshot(&key(name)).unwrap().claims;
        claims.into_iter().map(|one| (one.name.to_string(), one.age.is_some(), one.in_use)).collect()
    }

    #[test]
    fn fleets_hear_of_each_other_at_one_place_only() {
        let store = Store::default();
        store.put_fleet(fleet("a", "modules", "1"));
        store.put_fleet(fleet("b", "others", "2"));
        assert!(store.take_woken().is_empty());
        assert_eq!(claims(&store, "a"), []);
        store.put_fleet(fleet("b", "modules", "3"));
        assert_eq!(store.take_woken(), [key("a")].into());
        assert_eq!(claims(&store, "a"), [("b".to_owned(), true, false)]);
        store.put_fleet(fleet("b", "others", "4"));
        assert_eq!(store.take_woken(), [key("a")].into(), "the place is free");
        assert_eq!(claims(&store, "a"), []);
        store.put_fleet(fleet("b", "modules", "5"));
        store.take_woken();
        store.remove_fleet(&fleet("b", "modules", "6"));
        assert_eq!(store.take_woken(), [key("a")].into());
        assert_eq!(claims(&store, "a"), []);
        store.begin(Source::Fleets, None);
        store.settle(Source::Fleets, None);
        assert!(store.fleets().is_empty() && store.take_woken().is_empty(), "nobody is left to hear of it");
    }

    #[test]
    fn a_fleet_on_its_own_volume_hears_of_who_names_it() {
        let store = Store::default();
        store.put_fleet(on("a", &json!({ "disk": {} }), "1"));
        store.put_fleet(on("b", &json!({ "disk": {} }), "2"));
        assert_eq!(claims(&store, "a"), []);
        store.put_fleet(on("b", &json!({ "disk": { "existingClaim": "a-data" } }), "3"));
        assert_eq!(store.take_woken(), [key("a")].into());
        assert_eq!(claims(&store, "a"), [("b".to_owned(), true, false)]);
        assert_eq!(claims(&store, "b"), [("a".to_owned(), true, false)]);
    }

    #[test]
    fn a_place_is_in_use_until_the_last_pod_of_it_is_gone() {
        let store = Store::default();
        store.put_fleet(fleet("a", "modules", "1"));
        store.put_fleet(fleet("b", "modules", "2"));
        let data = json!({ "data": { "agreement": "bucket aws modules locked by inProcess" }, "revision": 1 });
        store.put_child(Kind::ControllerRevision, &child("b", "b-1", "3", &data));
        assert_eq!(claims(&store, "a"), [("b".to_owned(), true, false)], "a record is no pod");
        store.put_child(Kind::Deployment, &child("b", "b-1", "4", &json!({ "spec": { "replicas": 1 } })));
        store.put_pod(&child("b", "b-1", "5", &json!({})));
        assert_eq!(claims(&store, "a"), [("b".to_owned(), true, true)]);
        store.take_woken();
        // It leaves: for as long as it has pods there, it is there.
        store.put_fleet(fleet("b", "others", "6"));
        store.put_child(Kind::Deployment, &child("b", "b-1", "7", &json!({ "spec": { "replicas": 0 } })));
        assert_eq!(claims(&store, "a"), [("b".to_owned(), true, true)]);
        store.take_woken();
        store.remove_pod("ns", "b/b-1");
        assert_eq!(store.take_woken(), [key("a")].into());
        assert_eq!(claims(&store, "a"), []);
        // Clients are led there: it is between two revisions.
        let selector = json!({ "spec": { "selector": { "goproxy.rs/revision": "b-1" } } });
        store.put_child(Kind::Service, &child("b", "b", "8", &selector));
        assert_eq!(claims(&store, "a"), [("b".to_owned(), true, true)]);
        store.remove_fleet(&fleet("b", "others", "9"));
        assert_eq!(claims(&store, "a"), [("b".to_owned(), false, true)], "it is gone, what it had is not yet");
    }
}
