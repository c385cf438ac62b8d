//! Secrets that the engine reads at its start alone. A plan knows which ones they are, and of each a digest at most: another
//! digest is another revision, and with it an ordinary rollout.
//!
//! Logins for Git servers are none of them, because git reads them at every call; nor is the login of the lock that a fleet
//! brings along, which never changes under its name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
};

use ring::hmac;
use serde_json::Value;

use super::object::short_hash;
use crate::api::go_proxy::{
    AzureBlobStorage, EgressProxy, GcsStorage, GoProxySpec, LocalReference, Lock, MinioStorage, MongoStorage,
    RedisLock, S3Storage, Storage,
};

/// What stands for the content of a Secret.
///
/// The content is signed with the Secret's uid as the key. What is made of the digest, the name of a revision, is read by
/// many who may not read Secrets; of a plain digest they could try out passwords until one fits. The uid is random, and the
/// API server shows it with the Secret alone: who knows it may read the content anyway. So a Secret that was deleted and
/// made anew is another one, whatever it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// Of the `data` of the Secret with this uid.
    pub fn of(uid: &str, data: &Value) -> Self {
        let text = serde_json::to_vec(data).expect("a tree of JSON is plain data");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, uid.as_bytes()), &text);
        let mut digest = [0; 32];
        digest.copy_from_slice(tag.as_ref());
        Self(digest)
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(..)")
    }
}

/// Digests by the name of the Secret.
pub type Digests = BTreeMap<String, SecretDigest>;

/// The Secrets that the engine of this spec reads at its start alone.
pub fn read_at_start(spec: &GoProxySpec) -> BTreeSet<&str> {
    let storage = spec.storage.iter().flat_map(of_storage);
    let lock = spec.lock.iter().filter_map(of_lock);
    let way_out = spec.upstream.iter().filter_map(|upstream| of_way_out(upstream.egress_proxy.as_ref()?));
    storage.chain(lock).chain(way_out).map(|reference| reference.name.as_str()).collect()
}

/// Taken apart whole, so that a new place does not compile before somebody has thought of its login.
fn of_storage(storage: &Storage) -> impl Iterator<Item = &LocalReference> {
    let Storage { disk: _, memory: _, s3, gcs, azure_blob, mongo, minio, external: _, when_deleted: _ } = storage;
    let optional = [
        s3.as_ref().and_then(|S3Storage { credentials_secret_ref, .. }| credentials_secret_ref.as_ref()),
        gcs.as_ref().and_then(|GcsStorage { credentials_secret_ref, .. }| credentials_secret_ref.as_ref()),
        azure_blob.as_ref().and_then(|AzureBlobStorage { credentials_secret_ref, .. }| credentials_secret_ref.as_ref()),
        mongo.as_ref().map(|MongoStorage { credentials_secret_ref, .. }| credentials_secret_ref),
        minio.as_ref().map(|MinioStorage { credentials_secret_ref, .. }| credentials_secret_ref),
    ];
    optional.into_iter().flatten()
}

fn of_lock(lock: &Lock) -> Option<&LocalReference> {
    let Lock { in_process: _, native: _, redis, managed_redis: _, etcd: _ } = lock;
    let RedisLock { credentials_secret_ref, .. } = redis.as_ref()?;
    credentials_secret_ref.as_ref()
}

const fn of_way_out(proxy: &EgressProxy) -> Option<&LocalReference> {
    let EgressProxy { https: _, http: _, past: _, login } = proxy;
    login.as_ref()
}

/// One text for all of them. `None` where there are none, and where one is not known: it may not be read, or does not exist.
pub fn digest(spec: &GoProxySpec, known: Option<&Digests>) -> Option<String> {
    let (named, known) = (read_at_start(spec), known?);
    let mut text = String::new();
    for name in &named {
        let SecretDigest(bytes) = known.get(*name)?;
        // No name holds a space, and writing to a string cannot fail.
        let _ = write!(text, "{name} ");
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
    }
    (!named.is_empty()).then(|| short_hash(&text, 32))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::{
        Children, DeploymentView, Detail, Observed, Plan, fixture, object::Kind, object::RESTART_ANNOTATION, plan,
    };

    fn digest_of(content: &str) -> SecretDigest {
        SecretDigest::of("8d5f0c7e-3f53-4f0e-9a1b-6f1d2c3b4a59", &json!({ "password": content }))
    }

    #[test]
    fn another_content_or_another_secret_is_another_digest() {
        let one = digest_of("b25l");
        assert_eq!(one, digest_of("b25l"));
        assert_ne!(one, digest_of("dHdv"));
        assert_ne!(one, SecretDigest::of("another", &json!({ "password": "b25l" })));
        assert_ne!(one, SecretDigest::of("8d5f0c7e-3f53-4f0e-9a1b-6f1d2c3b4a59", &json!({ "passwordb25l": "" })));
        // Known from elsewhere, so that another operator finds the same: HMAC-SHA256 of {"password":"b25l"}.
        assert_eq!(one.0[..4], [0x11, 0x9c, 0xde, 0x69]);
        assert_eq!(format!("{one:?}"), "SecretDigest(..)");
    }

    /// Specs with every login there is.
    fn specs() -> Vec<Value> {
        let login = json!({ "name": "storage-login" });
        let places = [
            json!({ "memory": {} }),
            json!({ "disk": {} }),
            json!({ "s3": { "bucket": "modules", "credentialsSecretRef": login } }),
            json!({ "s3": { "bucket": "modules" } }),
            json!({ "gcs": { "bucket": "modules", "credentialsSecretRef": login } }),
            json!({ "azureBlob": { "accountName": "corp", "container": "modules", "credentialsSecretRef": login } }),
            json!({ "mongo": { "credentialsSecretRef": login } }),
            json!({ "minio": { "endpoint": "minio:9000", "bucket": "modules", "credentialsSecretRef": login } }),
            json!({ "external": { "url": "https://modules.example.com" } }),
        ];
        let git = json!({ "host": "git.example.com", "basic": { "secretRef": { "name": "git-login" } } });
        let private = json!({ "modules": ["git.example.com/*"], "credentials": [git] });
        let redis = json!({ "address": "redis.example.com:6379", "credentialsSecretRef": { "name": "redis-login" } });
        let locks = [json!({ "redis": redis }), json!({ "managedRedis": {} })];
        let egress =
            json!({ "httpsProxy": "http://egress.example.com", "credentialsSecretRef": { "name": "way-out" } });
        let spec = |place: &Value| {
            let upstream = json!({ "egressProxy": egress });
            json!({ "replicas": 1, "storage": place, "private": private, "upstream": upstream })
        };
        let unlocked = places.iter().map(spec);
        // What belongs to one proxy takes no lock.
        let shared = places.iter().skip(2).flat_map(|place| locks.iter().map(move |lock| (place, lock)));
        let locked = shared.map(|(place, lock)| {
            let mut spec = spec(place);
            spec["lock"] = lock.clone();
            spec
        });
        unlocked.chain(locked).collect()
    }

    /// The Secrets that a container's variables or a volume of its own come from: read at the start. Projected ones are the logins
    /// of Git servers.
    fn read_by_pods(planned: &Plan) -> BTreeSet<String> {
        let deployment = planned.targets[0].objects.iter().find(|one| one.kind == Kind::Deployment).unwrap();
        let pod = &deployment.body["spec"]["template"]["spec"];
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let containers = list(&pod["containers"]).into_iter().chain(list(&pod["initContainers"]));
        let variables =
            containers.flat_map(|one| list(&one["env"])).map(|one| one["valueFrom"]["secretKeyRef"]["name"].clone());
        let volumes = list(&pod["volumes"]).into_iter().map(|one| one["secret"]["secretName"].clone());
        let names = variables.chain(volumes).filter_map(|name| Some(name.as_str()?.to_owned()));
        names.filter(|name| !name.starts_with("corp-lock-")).collect()
    }

    #[test]
    fn what_is_read_at_the_start_is_what_pods_get_from_secrets() {
        let mut named = BTreeSet::new();
        for spec in specs() {
            let observed = observed(&spec, Children::new());
            let planned = plan(&observed);
            assert!(!planned.targets.is_empty(), "{spec}: {:?}", planned.report.verdict);
            let expected = read_at_start(&observed.fleet.spec);
            assert_eq!(read_by_pods(&planned), expected.iter().map(|name| (*name).to_owned()).collect(), "{spec}");
            named.extend(expected.into_iter().map(str::to_owned));
        }
        assert_eq!(named, ["redis-login", "storage-login", "way-out"].map(str::to_owned).into());
    }

    fn observed(spec: &Value, children: Children) -> Observed {
        let fleet = json!({
            "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy",
            "metadata": { "name": "corp", "namespace": "build", "uid": "u" },
            "spec": spec,
        });
        Observed { children, ..fixture::observed(fleet) }
    }

    /// A fleet with two logins, as one after the other is told of it.
    struct World {
        children: Children,
        restart: Option<String>,
    }

    impl World {
        fn new() -> Self {
            Self { children: Children::new(), restart: None }
        }

        /// The revision that is asked for when this is known, all of it applied and running.
        fn settles_on(&mut self, secrets: Option<&[(&str, &str)]>) -> String {
            let login = |name: &str| json!({ "name": name });
            let spec = json!({
                "replicas": 1,
                "storage": { "s3": { "bucket": "modules", "credentialsSecretRef": login("keys") } },
                "lock": { "redis": { "address": "redis.example.com:6379", "credentialsSecretRef": login("redis") } },
            });
            let digests = |known: &[(&str, &str)]| {
                known.iter().map(|(name, content)| ((*name).to_owned(), digest_of(content))).collect::<Digests>()
            };
            for _ in 0..8 {
                let mut observed = observed(&spec, self.children.clone());
                observed.secrets = secrets.map(digests);
                if let Some(restart) = &self.restart {
                    let fleet = std::sync::Arc::make_mut(&mut observed.fleet);
                    fleet.metadata.annotations = Some([(RESTART_ANNOTATION.to_owned(), restart.clone())].into());
                }
                let planned = plan(&observed);
                let next = running(&planned);
                if next == self.children {
                    return planned.report.stable.unwrap();
                }
                self.children = next;
            }
            panic!("the plan does not come to rest");
        }
    }

    /// Everything that a plan asks for is there and runs.
    fn running(planned: &Plan) -> Children {
        let mut children = crate::observe::as_if_applied(&planned.targets[0].objects, "u");
        for child in children.values_mut() {
            if let Detail::Deployment(view) = &mut child.detail {
                let pods = view.replicas;
                *view = DeploymentView { observed: true, current: pods, ready: pods, available: pods, ..view.clone() };
            }
        }
        children
    }

    #[test]
    fn a_changed_secret_is_a_new_revision_and_going_back_is_exact() {
        let mut world = World::new();
        let first = world.settles_on(Some(&[("keys", "MQ=="), ("redis", "MQ==")]));
        let rotated = world.settles_on(Some(&[("keys", "Mg=="), ("redis", "MQ==")]));
        assert_ne!(first, rotated);
        let both = world.settles_on(Some(&[("keys", "Mg=="), ("redis", "Mg==")]));
        assert!(![&first, &rotated].contains(&&both));
        assert_eq!(world.settles_on(Some(&[("keys", "Mg=="), ("redis", "MQ==")])), rotated);
        assert_eq!(world.settles_on(Some(&[("keys", "MQ=="), ("redis", "MQ==")])), first);
    }

    #[test]
    fn a_secret_that_is_gone_or_may_not_be_read_any_more_starts_nothing() {
        let mut world = World::new();
        let told: &[_] = &[("keys", "MQ=="), ("redis", "MQ==")];
        let untold = world.settles_on(None);
        let first = world.settles_on(Some(told));
        assert_ne!(untold, first, "what the pods have read is not known: they start once");
        assert_eq!(world.settles_on(Some(&told[..1])), first);
        assert_eq!(world.settles_on(Some(&[])), first);
        assert_eq!(world.settles_on(None), first);
        assert_ne!(world.settles_on(Some(&[("keys", "MQ=="), ("redis", "Mg==")])), first, "it is there again");
    }

    #[test]
    fn whatever_the_annotation_says_something_else_is_a_new_revision() {
        let mut world = World::new();
        let plain = world.settles_on(None);
        let long = "é\n\"$(date)\u{0}".repeat(5_000);
        let values = ["", "1", "2", " 1", "{}", "null", &long];
        let mut seen = BTreeSet::from([plain.clone()]);
        for value in values {
            world.restart = Some(value.to_owned());
            let name = world.settles_on(None);
            assert_eq!(name.len(), plain.len());
            assert!(seen.insert(name), "{value:.40}");
        }
        world.restart = None;
        assert_eq!(world.settles_on(None), plain, "going back is exact");
    }

    #[test]
    fn a_secret_that_the_engine_does_not_read_at_its_start_changes_nothing() {
        for spec in [json!({ "replicas": 1 }), specs().remove(0)] {
            let with = |secrets: Option<Digests>| {
                plan(&Observed { secrets, ..observed(&spec, Children::new()) }).report.stable.unwrap()
            };
            let plain = with(None);
            assert_eq!(with(Some(Digests::new())), plain);
            assert_eq!(with(Some([("git-login".to_owned(), digest_of("MQ=="))].into())), plain);
        }
    }
}
