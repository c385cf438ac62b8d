//! Revisions: what the engine's pods are made of, rendered once and stored as a `ControllerRevision`.
//!
//! Identity is a digest of what the *user* said that reaches the pods, plus the contract number. Defaults that this
//! operator resolves are not part of it: an operator with another default, or a builder that adds a label, finds the
//! stored revision again and restarts nothing. They are resolved when a revision is rendered, and stay with it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    Child, Children, Detail, StoredRevision,
    object::{Kind, canonicalise, short_hash},
    validate::ValidFleet,
};
use crate::{
    api::go_proxy::{AccessMode, EngineKind, GoProxySpec, Storage},
    engine::{
        Program,
        contract::{ENGINE_CONTRACT, files, pod_template},
        coordination, program,
        version::{self, Version},
    },
};

/// Digits of the digest in a revision's name: 40 bits, for at most some dozens of revisions of one fleet.
const NAME_DIGITS: usize = 10;

/// A revision under its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Name of its ControllerRevision, Deployment and ConfigMap.
    pub name: String,
    /// Its content.
    pub stored: Arc<StoredRevision>,
}

/// Digest of the inputs that reach the pods, without what Secrets hold.
pub fn inputs_digest(spec: &GoProxySpec, fleet: &ValidFleet) -> String {
    let mut engine = serde_json::to_value(&spec.engine).expect("a spec is plain data");
    if let Value::Object(members) = &mut engine {
        // The version in force counts, whether it was named or pinned: naming the pinned one changes nothing.
        members.remove("version");
        // Naming the default engine changes nothing either.
        if fleet.engine.version.kind() == EngineKind::default() {
            members.remove("kind");
        }
        // Annotations are on the ServiceAccount, not in the pod.
        if let Some(Value::Object(account)) = members.get_mut("serviceAccount") {
            account.remove("annotations");
        }
        members.retain(|_, member| member.as_object().is_none_or(|object| !object.is_empty()));
    }
    let mut inputs = json!({
        "version": fleet.engine.version.as_str(),
        "engine": engine,
        "upstream": spec.upstream,
        "private": spec.private,
        "storage": storage_inputs(spec.storage.as_ref()),
    });
    if let (Some(lock), Value::Object(members)) = (&spec.lock, &mut inputs) {
        // Of a lock that the fleet brings along, the proxies know the login alone.
        let lock = fleet.managed_redis.as_ref().map_or_else(|| json!(lock), |redis| json!({ "login": redis.login }));
        members.insert("lock".to_owned(), lock);
    }
    if let (Some(restart), Value::Object(members)) = (&fleet.restart, &mut inputs) {
        members.insert("restart".to_owned(), json!(restart));
    }
    canonicalise(&mut inputs);
    if let Value::Object(members) = &mut inputs {
        members.retain(|_, member| member.as_object().is_none_or(|object| !object.is_empty()));
    }
    short_hash(&inputs.to_string(), 32)
}

/// Of a volume of the fleet's own, only that it is one, and whether several proxies can write it, which pods and locks depend on:
/// its size and class are the claim's affair. Of another one, which it is and how it is used.
fn storage_inputs(storage: Option<&Storage>) -> Value {
    let Some(storage) = storage else { return json!("disk") };
    if storage.memory.is_some() {
        return json!("memory");
    }
    if let Some(disk) = storage.disk.as_ref().filter(|disk| disk.existing_claim.is_none()) {
        return json!(if disk.access_mode == Some(AccessMode::ReadWriteMany) { "shared disk" } else { "disk" });
    }
    let mut place = json!(storage);
    if let Value::Object(members) = &mut place {
        members.remove("whenDeleted");
    }
    place
}

/// The revisions that are stored, by name.
pub fn stored(children: &Children) -> BTreeMap<String, Arc<StoredRevision>> {
    children
        .iter()
        .filter_map(|((kind, name), child)| match (kind, child) {
            (Kind::ControllerRevision, Child { detail: Detail::Revision(stored), deleting: false, .. }) => {
                Some((name.clone(), stored.clone()))
            }
            _ => None,
        })
        .collect()
}

/// The version that a fleet without one in its spec keeps: that of its newest revision of this engine.
pub fn pinned_version(kind: EngineKind, stored: &BTreeMap<String, Arc<StoredRevision>>) -> Option<Version> {
    let of_engine = stored.values().filter(|revision| version::kind_of(&revision.version) == kind);
    of_engine.max_by_key(|revision| revision.number).and_then(|revision| Version::parse(&revision.version))
}

/// The digest with what Secrets hold, where that is known. Where it is not, that of the newest revision for which nothing else
/// was said: a Secret that is deleted, to be made anew most often, or that may not be read any more starts no pods.
fn with_secrets(apart: &str, fleet: &ValidFleet, stored: &BTreeMap<String, Arc<StoredRevision>>) -> String {
    if let Some(secrets) = &fleet.secrets {
        return short_hash(&format!("{apart} {secrets}"), 32);
    }
    let same = |one: &&Arc<StoredRevision>| one.apart_from_secrets.as_deref().unwrap_or(&one.inputs) == apart;
    let newest = stored.values().filter(same).max_by_key(|revision| revision.number);
    newest.map_or_else(|| apart.to_owned(), |revision| revision.inputs.clone())
}

/// The revision that the spec asks for: the stored one if these inputs were rendered before, else a new one. Either way
/// it becomes the newest: going back to a revision makes its version the one that a fleet without a version keeps.
pub fn wanted(spec: &GoProxySpec, fleet: &ValidFleet, stored: &BTreeMap<String, Arc<StoredRevision>>) -> Revision {
    let apart = inputs_digest(spec, fleet);
    let inputs = with_secrets(&apart, fleet, stored);
    let name = fleet.name.revision(&short_hash(&format!("{inputs}/{ENGINE_CONTRACT}"), NAME_DIGITS));
    let newest = stored.iter().filter(|(other, _)| **other != name).map(|(_, revision)| revision.number).max();
    let next = newest.unwrap_or(0).saturating_add(1);
    let known = stored.get(&name).map(|known| {
        if known.number >= next {
            known.clone()
        } else {
            Arc::new(StoredRevision { number: next, ..(**known).clone() })
        }
    });
    let stored = known.unwrap_or_else(|| {
        let program = program(fleet);
        Arc::new(StoredRevision {
            apart_from_secrets: (inputs != apart).then_some(apart),
            inputs,
            contract: ENGINE_CONTRACT,
            version: fleet.engine.version.to_string(),
            may_overlap: coordination::may_overlap(fleet),
            agreement: coordination::agreement(fleet),
            template: render_template(fleet, &program, &name),
            config: files(fleet, &program),
            number: next,
        })
    });
    Revision { name, stored }
}

fn render_template(fleet: &ValidFleet, program: &Program, name: &str) -> Value {
    let mut template = serde_json::to_value(pod_template(fleet, program, name)).expect("a pod template is plain data");
    canonicalise(&mut template);
    template
}

/// Whether going from one revision to the other is only asked for by another operator version, newer or older, and not
/// by the user.
pub fn only_contract_differs(from: &StoredRevision, to: &StoredRevision) -> bool {
    from.inputs == to.inputs && from.contract != to.contract
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{mirror, smallest};

    fn spec(engine: &Value) -> GoProxySpec {
        serde_json::from_value(json!({ "engine": engine })).unwrap()
    }

    #[test]
    fn naming_the_engine_that_a_fleet_has_changes_nothing_and_another_one_does() {
        let name = |engine: &Value, fleet: &ValidFleet| wanted(&spec(engine), fleet, &BTreeMap::new()).name;
        let plain = name(&json!({}), &smallest());
        assert_eq!(plain, "corp-097c242dfc", "a new name would restart every smallest fleet");
        assert_eq!(name(&json!({ "kind": "Athens" }), &smallest()), plain);
        assert_eq!(name(&json!({ "kind": "Athens", "version": "v0.18.1" }), &smallest()), plain);
        assert_ne!(name(&json!({ "kind": "Goproxy" }), &mirror()), plain);
    }

    #[test]
    fn a_sidecar_comes_with_the_next_revision_and_restarts_no_pod() {
        let with =
            ValidFleet { sidecar_image: Some("registry.example.com/goproxy-operator:v1".to_owned()), ..smallest() };
        let other =
            ValidFleet { sidecar_image: Some("registry.example.com/goproxy-operator:v2".to_owned()), ..smallest() };
        let spec = spec(&json!({}));
        let known = |revision: &Revision| BTreeMap::from([(revision.name.clone(), revision.stored.clone())]);
        let without = wanted(&spec, &smallest(), &BTreeMap::new());
        assert!(without.stored.template["spec"]["initContainers"].is_null());
        assert_eq!(
            wanted(&spec, &with, &known(&without)),
            without,
            "an upgrade of the operator would restart every proxy"
        );
        let first = wanted(&spec, &with, &BTreeMap::new());
        assert_eq!(first.name, without.name);
        assert_eq!(first.stored.template["spec"]["initContainers"][0]["name"], "sidecar");
        assert_eq!(wanted(&spec, &other, &known(&first)), first);
        assert_eq!(wanted(&spec, &smallest(), &known(&first)), first, "nor does turning sidecars off");
    }

    #[test]
    fn annotations_and_labels_of_a_fleet_decide_nothing() {
        let object = |metadata: Value| {
            let mut fleet = json!({
                "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "spec": {},
                "metadata": { "name": "corp", "namespace": "build", "uid": "u" },
            });
            fleet["metadata"]["annotations"] = metadata["annotations"].clone();
            fleet["metadata"]["labels"] = metadata["labels"].clone();
            crate::plan::plan(&crate::plan::fixture::observed(fleet))
        };
        let plain = object(json!({}));
        assert!(!plain.targets[0].objects.is_empty());
        let dressed = object(json!({
            "annotations": {
                "goproxy.rs/replicas": "7",
                "goproxy.rs/image": "registry.example.com/other:v1",
                "goproxy.rs/moved-at": "2026-01-01T00:00:00Z",
                "goproxy.rs/login": "corp-lock-1",
                // Says nothing without `whenDeleted: Delete`.
                "goproxy.rs/confirm-delete": "corp",
                "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z",
                "nginx.ingress.kubernetes.io/configuration-snippet": "return 200;",
            },
            "labels": { "goproxy.rs/fleet": "other", "goproxy.rs/revision": "other-1", "app.kubernetes.io/name": "x" },
        }));
        assert_eq!(plain, dressed);
    }

    #[test]
    fn each_engine_keeps_its_own_version() {
        let mut old = smallest();
        old.engine.version = Version::V0_18_0;
        let first = wanted(&spec(&json!({})), &old, &BTreeMap::new());
        let mut stored = BTreeMap::from([(first.name.clone(), first.stored)]);
        let other = wanted(&spec(&json!({ "kind": "Goproxy" })), &mirror(), &stored);
        assert_eq!(other.stored.version, "goproxy v0.20.0");
        stored.insert(other.name, other.stored);
        assert_eq!(pinned_version(EngineKind::Athens, &stored), Some(Version::V0_18_0), "going back is exact");
        assert_eq!(pinned_version(EngineKind::Goproxy, &stored), Some(Version::Goproxy0_20_0));
        stored.retain(|_, revision| revision.version != "v0.18.0");
        assert_eq!(pinned_version(EngineKind::Athens, &stored), None);
    }

    #[test]
    fn a_disk_that_several_write_is_another_revision_and_size_and_class_are_not() {
        let name = |storage: Value| {
            let spec: GoProxySpec = serde_json::from_value(json!({ "storage": storage })).unwrap();
            inputs_digest(&spec, &smallest())
        };
        let plain = inputs_digest(&GoProxySpec::default(), &smallest());
        for same in [
            json!({ "disk": {} }),
            json!({ "disk": { "size": "50Gi", "storageClassName": "fast" }, "whenDeleted": "Delete" }),
            json!({ "disk": { "accessMode": "ReadWriteOnce" } }),
            json!({ "disk": { "accessMode": "ReadWriteOncePod" } }),
        ] {
            assert_eq!(name(same.clone()), plain, "{same}");
        }
        let shared = name(json!({ "disk": { "accessMode": "ReadWriteMany" } }));
        assert_ne!(shared, plain, "the text of one writer was taken for several");
        assert_eq!(shared, name(json!({ "disk": { "accessMode": "ReadWriteMany", "size": "50Gi" } })));
        assert_ne!(name(json!({ "memory": {} })), plain);
    }

    #[test]
    fn a_volume_of_the_fleet_s_own_is_no_input_and_another_one_is() {
        let digest = |spec: Value| inputs_digest(&serde_json::from_value(spec).unwrap(), &smallest());
        let disk = |disk: Value| digest(json!({ "storage": { "disk": disk } }));
        let own = digest(json!({}));
        assert_eq!(own, disk(json!({ "size": "50Gi", "storageClassName": "fast" })));
        let taken = disk(json!({ "existingClaim": "athens" }));
        let others = [
            own,
            disk(json!({ "existingClaim": "other" })),
            disk(json!({ "existingClaim": "athens", "accessMode": "ReadWriteMany" })),
        ];
        assert!(!others.contains(&taken));
    }

    #[test]
    fn a_revision_that_is_asked_for_again_becomes_the_newest_and_its_version_the_pinned_one() {
        let spec: GoProxySpec = serde_json::from_value(json!({})).unwrap();
        let older = Version::parse("v0.18.0").unwrap();
        let mut back = smallest();
        back.engine.version = older;
        let first = wanted(&spec, &back, &BTreeMap::new());
        let mut stored = BTreeMap::from([(first.name.clone(), first.stored.clone())]);
        let second = wanted(&spec, &smallest(), &stored);
        assert_eq!((first.stored.number, second.stored.number), (1, 2));
        stored.insert(second.name.clone(), second.stored);

        let again = wanted(&spec, &back, &stored);
        assert_eq!((&again.name, again.stored.number), (&first.name, 3));
        assert_eq!(again.stored.template, first.stored.template, "nothing else of it changes");
        stored.insert(again.name.clone(), again.stored.clone());
        assert_eq!(
            pinned_version(EngineKind::Athens, &stored),
            Some(older),
            "leaving the version out keeps what is asked for now"
        );
        assert_eq!(wanted(&spec, &back, &stored), again, "asking once more changes nothing");
    }
}
