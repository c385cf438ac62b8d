//! Secrets, in the namespaces where they may be read: of each a digest, and nothing else. What was read of it is dropped before
//! the next one is read.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    mem::size_of,
    sync::Arc,
};

use k8s_openapi::{Resource as _, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::plan::secret::{Digests, SecretDigest};

/// Which ones are watched. Helm keeps its releases in Secrets, a megabyte each: none of them is a login.
pub(super) const WATCHED: &str = "type!=helm.sh/release.v1";

/// A Secret as it came from the API server: its place, its version and a digest. The uid is in the digest alone, because it is the
/// key to it.
#[derive(Clone, Debug)]
pub struct SeenSecret {
    metadata: ObjectMeta,
    namespace: Arc<str>,
    /// What stands for its content.
    pub digest: SecretDigest,
}

impl<'de> Deserialize<'de> for SeenSecret {
    /// Any tree will do: an error would quote what it did not expect, and be logged.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&Value::deserialize(deserializer)?))
    }
}

impl SeenSecret {
    fn new(object: &Value) -> Self {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let nothing = json!({});
        let data = object.get("data").filter(|data| !data.is_null()).unwrap_or(&nothing);
        let metadata = ObjectMeta {
            name: Some(text("/metadata/name").to_owned()),
            namespace: Some(text("/metadata/namespace").to_owned()),
            resource_version: Some(text("/metadata/resourceVersion").to_owned()),
            ..ObjectMeta::default()
        };
        let digest = SecretDigest::of(text("/metadata/uid"), data);
        Self { metadata, namespace: text("/metadata/namespace").into(), digest }
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// `metadata.namespace`.
    pub const fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }
}

impl kube::Resource for SeenSecret {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        Secret::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        Secret::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        super::Source::Secrets.plural().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What is kept, by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Secrets(BTreeMap<Arc<str>, BTreeMap<Box<str>, Kept>>);

#[derive(Debug)]
struct Kept {
    digest: SecretDigest,
    /// Round of the watch that last told of it.
    round: u32,
}

impl Secrets {
    /// Takes a digest. Returns the one before.
    pub(super) fn put(&mut self, seen: &SeenSecret, round: u32) -> Option<SecretDigest> {
        let inside = self.0.entry(seen.namespace.clone()).or_default();
        inside.insert(seen.name().into(), Kept { digest: seen.digest, round }).map(|kept| kept.digest)
    }

    /// Forgets one. The watch tells in order, so that it is never one that took the name since. True if there was one.
    pub(super) fn remove(&mut self, seen: &SeenSecret) -> bool {
        self.0.get_mut(&seen.namespace).is_some_and(|inside| inside.remove(seen.name()).is_some())
    }

    /// Forgets what an older round brought. Returns the names.
    pub(super) fn drop_older(&mut self, namespace: &str, round: u32) -> Vec<Box<str>> {
        let Some(inside) = self.0.get_mut(namespace) else { return Vec::new() };
        inside.extract_if(.., |_, kept| kept.round < round).map(|(name, _)| name).collect()
    }

    /// Those of these names that exist.
    pub(super) fn of(&self, namespace: &str, names: BTreeSet<&str>) -> Digests {
        let inside = self.0.get(namespace);
        let digest = |name: &str| Some((name.to_owned(), inside?.get(name)?.digest));
        names.into_iter().filter_map(digest).collect()
    }

    /// How much memory is held.
    pub(super) fn bytes(&self) -> usize {
        let one = |name: &str| name.len() + size_of::<(Box<str>, Kept)>();
        self.0.values().flat_map(BTreeMap::keys).map(|name| one(name)).sum()
    }
}
