//! What the store knows of Secrets, and which fleets it concerns. A watch alone tells of them, in order: what it says counts.

use std::{ops::Bound, sync::Arc};

use super::{Inner, Store};
use crate::{
    api::go_proxy::GoProxy,
    cache::{FleetKey, Source, kept::Entry, secrets::SeenSecret},
    plan::secret::{Digests, read_at_start},
};

impl Store {
    /// Takes the digest of a Secret. Returns the fleets to which another one means something.
    pub fn put_secret(&self, seen: &SeenSecret) -> Vec<FleetKey> {
        let mut inner = self.lock();
        let round = inner.round(Source::Secrets, seen.namespace());
        let before = inner.secrets.put(seen, round);
        if before.is_none() {
            *inner.counts.entry(Source::Secrets).or_default() += 1;
        }
        if before == Some(seen.digest) { Vec::new() } else { inner.naming(seen.namespace(), seen.name()) }
    }

    /// A Secret is gone. Returns the fleets that name it.
    pub fn remove_secret(&self, seen: &SeenSecret) -> Vec<FleetKey> {
        let mut inner = self.lock();
        if !inner.secrets.remove(seen) {
            return Vec::new();
        }
        *inner.counts.entry(Source::Secrets).or_default() -= 1;
        inner.naming(seen.namespace(), seen.name())
    }
}

impl Inner {
    /// Digests of the Secrets that a fleet's engine reads at its start alone. `None` where no Secrets are watched.
    pub(super) fn digests(&self, key: &FleetKey, fleet: &GoProxy) -> Option<Digests> {
        self.rounds.get(&(Source::Secrets, Some(key.namespace.clone())))?;
        Some(self.secrets.of(&key.namespace, read_at_start(&fleet.spec)))
    }

    /// The fleets of a namespace whose engine reads this Secret at its start alone.
    fn naming(&self, namespace: &str, secret: &str) -> Vec<FleetKey> {
        let first = FleetKey::new(namespace, "");
        let fleets = self.fleets.range((Bound::Included(first), Bound::Unbounded));
        let inside = fleets.take_while(|(key, _)| &*key.namespace == namespace);
        let read = |entry: &Entry| entry.fleet.as_ref().and_then(|fleet| fleet.read.as_ref().ok()).cloned();
        let names = |entry: &Entry| read(entry).is_some_and(|fleet| read_at_start(&fleet.spec).contains(secret));
        inside.filter(|(_, entry)| names(entry)).map(|(key, _)| key.clone()).collect()
    }

    /// What the newest list of Secrets did not bring is gone. Returns the fleets that name any of it.
    pub(super) fn settle_secrets(&mut self, namespace: &Arc<str>) -> Vec<FleetKey> {
        let gone = self.secrets.drop_older(namespace, self.round(Source::Secrets, namespace));
        *self.counts.entry(Source::Secrets).or_default() -= gone.len();
        gone.iter().flat_map(|name| self.naming(namespace, name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::cache::decode::SeenFleet;

    fn secret(name: &str, uid: &str, data: &Value) -> SeenSecret {
        let metadata = json!({ "name": name, "namespace": "ns", "uid": uid, "resourceVersion": "1" });
        serde_json::from_value(json!({ "metadata": metadata, "data": data })).unwrap()
    }

    fn fleet(name: &str, spec: &Value) -> SeenFleet {
        let metadata = json!({ "name": name, "namespace": "ns", "uid": name, "resourceVersion": "1" });
        let object =
            json!({ "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "metadata": metadata, "spec": spec });
        serde_json::from_value(object).unwrap()
    }

    fn on_bucket(secret: &str) -> Value {
        json!({ "storage": { "s3": { "bucket": "modules", "credentialsSecretRef": { "name": secret } } } })
    }

    fn key(name: &str) -> FleetKey {
        FleetKey::new("ns", name)
    }

    /// A store with a fleet that names the Secret `keys`, and one that does not.
    fn store() -> (Store, Arc<str>) {
        let (store, namespace): (_, Arc<str>) = (Store::default(), "ns".into());
        store.put_fleet(fleet("corp", &on_bucket("keys")));
        store.put_fleet(fleet("other", &json!({})));
        store.begin(Source::Secrets, Some(&namespace));
        (store, namespace)
    }

    fn known(store: &Store, fleet: &str) -> Option<usize> {
        store.snapshot(&key(fleet)).unwrap().secrets.map(|digests| digests.len())
    }

    #[test]
    fn a_secret_concerns_the_fleets_that_name_it_and_only_if_it_says_something_else() {
        let (store, namespace) = store();
        assert_eq!(store.settle(Source::Secrets, Some(&namespace)), []);
        assert_eq!(known(&store, "corp"), Some(0));
        assert_eq!(store.put_secret(&secret("keys", "u", &json!({ "a": "MQ==" }))), [key("corp")]);
        assert_eq!(store.put_secret(&secret("keys", "u", &json!({ "a": "MQ==" }))), [], "a label was added, say");
        assert_eq!(store.put_secret(&secret("keys", "u", &json!({ "a": "Mg==" }))), [key("corp")]);
        assert_eq!(store.put_secret(&secret("unnamed", "v", &json!({ "a": "Mg==" }))), []);
        assert_eq!((known(&store, "corp"), known(&store, "other")), (Some(1), Some(0)));
        assert_eq!(store.counts()[&Source::Secrets], 2);
        assert_eq!(store.remove_secret(&secret("keys", "u", &json!({}))), [key("corp")]);
        assert_eq!(store.remove_secret(&secret("keys", "u", &json!({}))), []);
        assert_eq!((known(&store, "corp"), store.counts()[&Source::Secrets]), (Some(0), 1));
    }

    #[test]
    fn what_a_new_list_does_not_bring_is_gone() {
        let (store, namespace) = store();
        store.put_secret(&secret("keys", "u", &json!({})));
        store.put_secret(&secret("unnamed", "v", &json!({})));
        store.begin(Source::Secrets, Some(&namespace));
        assert_eq!(known(&store, "corp"), Some(1), "it stays until the list is whole");
        store.put_secret(&secret("unnamed", "v", &json!({})));
        assert_eq!(store.settle(Source::Secrets, Some(&namespace)), [key("corp")]);
        assert_eq!((known(&store, "corp"), store.counts()[&Source::Secrets]), (Some(0), 1));
        assert_eq!(store.fleets().len(), 2, "a list of Secrets says nothing of fleets");
    }

    #[test]
    fn where_no_secrets_are_watched_nothing_is_known() {
        let store = Store::default();
        store.put_fleet(fleet("corp", &on_bucket("keys")));
        assert_eq!(known(&store, "corp"), None);
        store.begin(Source::Secrets, Some(&"elsewhere".into()));
        assert_eq!(known(&store, "corp"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a Secret holds and wherever in it, in the form that the API promises or in any other: it is read, and what is
        /// kept does not show it.
        #[test]
        fn no_content_of_a_secret_is_kept(
            content in "[A-Za-z0-9+/]{12,40}={0,2}",
            uid in "[0-9a-f]{8}-[0-9a-f]{27}",
            place in prop::sample::select(vec!["data", "stringData", "type", "immutable", "kind", "metadata"]),
            deep in any::<bool>(),
        ) {
            let mut object = json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": { "name": "keys", "namespace": "ns", "uid": uid, "resourceVersion": "7" },
            });
            let held = if deep { json!({ "key": content, content.clone(): [1] }) } else { json!(content) };
            match (place, deep) {
                ("metadata", _) => object["metadata"]["annotations"] = json!({ "last-applied": content }),
                _ => object[place] = held,
            }
            let text = serde_json::to_string(&json!({ "type": "MODIFIED", "object": object })).unwrap();
            let event: kube::core::WatchEvent<SeenSecret> = serde_json::from_str(&text).unwrap();
            let kube::core::WatchEvent::Modified(seen) = event else { panic!("{event:?}") };
            let (store, _) = store();
            store.put_secret(&seen);
            let kept = format!("{seen:?} {store:?} {:?}", store.snapshot(&key("corp")));
            prop_assert!(!kept.contains(&content), "{kept}");
            prop_assert!(!kept.contains(&uid), "the key of the digest is kept: {kept}");
        }
    }
}
