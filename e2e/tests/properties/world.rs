//! A fleet in a world of its own, and what the operator does about it.

use std::sync::Arc;

use goproxy_operator::{
    api::go_proxy::GoProxy,
    observe::as_if_applied,
    plan::{
        Child, Children, DeploymentView, Detail, Lead, Observed, Plan, Pod,
        object::{Kind, Object, Precondition},
        plan,
        validate::Settings,
    },
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

const UID: &str = "0c1f5b0e-6a0e-4f6e-9d5e-3c8f2f1f0001";

#[derive(Clone)]
pub struct World {
    pub fleet: GoProxy,
    pub children: Children,
    pub pods: Vec<Pod>,
    /// What the operator knows: each part of it may be old.
    pub known: Children,
    pub known_pods: Vec<Pod>,
    pub now: Timestamp,
    pub version: u64,
}

fn settings() -> Settings {
    Settings {
        engine_image_repository: "registry.example/athens".to_owned(),
        goproxy_image_repository: Some("registry.example/goproxy".to_owned()),
        redis_image: "registry.example/redis:7.2.11".to_owned(),
        edge_image: Some("registry.example.com/goproxy-edge:v1".to_owned()),
        sidecar_image: Some("registry.example.com/goproxy-operator:v1".to_owned()),
        cluster_domain: "cluster.local".to_owned(),
    }
}

fn fleet(storage: &str) -> GoProxy {
    let mut storages = serde_json::Map::new();
    storages.insert(storage.to_owned(), json!({}));
    serde_json::from_value(json!({
        "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy",
        "metadata": { "name": "mods", "namespace": "team", "uid": UID, "generation": 1 },
        "spec": { "storage": storages, "replicas": 1 },
    }))
    .unwrap()
}

impl World {
    pub fn new(storage: &str) -> Self {
        Self {
            fleet: fleet(storage),
            children: Children::new(),
            pods: Vec::new(),
            known: Children::new(),
            known_pods: Vec::new(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            version: 1,
        }
    }

    pub fn plan(&self) -> Plan {
        let alone = Observed::alone(Arc::new(self.fleet.clone()), self.now, Arc::new(settings()));
        plan(&Observed { children: self.known.clone(), pods: self.known_pods.clone(), ..alone })
    }

    pub fn deployments(&self) -> Vec<String> {
        self.children.keys().filter(|(kind, _)| *kind == Kind::Deployment).map(|(_, name)| name.clone()).collect()
    }

    pub fn view(&mut self, name: &str) -> Option<&mut DeploymentView> {
        match &mut self.children.get_mut(&(Kind::Deployment, name.to_owned()))?.detail {
            Detail::Deployment(view) => Some(view),
            _ => None,
        }
    }

    pub fn served(&self) -> Option<String> {
        match &self.children.get(&(Kind::Service, "mods".to_owned()))?.detail {
            Detail::Service(lead) => lead.revision.clone(),
            _ => None,
        }
    }

    pub fn touch(&mut self, name: &str) {
        self.version += 1;
        let version = self.version.to_string();
        if let Some(child) = self.children.get_mut(&(Kind::Deployment, name.to_owned())) {
            child.resource_version = version;
        }
    }

    /// Plans on what is known and writes what differs from it, as far as it gets.
    pub fn reconcile(&mut self, most: usize) -> Result<usize, TestCaseError> {
        let plan = self.plan();
        prop_assert_eq!(&plan, &self.plan(), "the same snapshot gives the same plan");
        let mut written = 0;
        for target in &plan.targets {
            // The order of the driver: what stops something comes last among Deployments.
            let mut objects: Vec<&Object> = target.objects.iter().collect();
            objects.sort_by_key(|object| (object.kind, matches!(object.precondition, Precondition::Unchanged { .. })));
            for object in objects {
                let key = (object.kind, object.name.clone());
                if self.known.get(&key).is_some_and(|held| held.live == object.fingerprint) {
                    continue;
                }
                if written == most {
                    return Ok(written);
                }
                written += 1;
                if !self.write(object)? {
                    return Ok(written);
                }
            }
            for prune in &target.prune {
                let key = (prune.kind, prune.name.clone());
                prop_assert!(prune.kind != Kind::PersistentVolumeClaim, "a volume is never pruned");
                if written == most {
                    return Ok(written);
                }
                written += 1;
                if self.children.get(&key).is_some_and(|held| held.resource_version == prune.resource_version) {
                    self.children.remove(&key);
                    self.known.remove(&key);
                }
            }
        }
        Ok(written)
    }

    /// Writes one object if its precondition holds in truth. False: the rest has to wait.
    fn write(&mut self, object: &Object) -> Result<bool, TestCaseError> {
        let key = (object.kind, object.name.clone());
        match &object.precondition {
            Precondition::None => {}
            Precondition::Unchanged { resource_version } => {
                if self.children.get(&key).is_none_or(|held| held.resource_version != *resource_version) {
                    return Ok(false);
                }
            }
            Precondition::Replaces { resource_version, .. } => {
                if self.children.get(&key).is_some_and(|held| held.resource_version == *resource_version) {
                    self.children.remove(&key);
                    self.known.remove(&key);
                }
                return Ok(false);
            }
            Precondition::NoPodsOutside { revision, beside, resource_version, claim: _ } => {
                let held = self.children.get(&key).map(|held| &held.resource_version);
                let outside = |pod: &Pod| pod.revision != *revision && !beside.contains(&pod.revision);
                if resource_version.as_ref() != held || self.pods.iter().any(outside) {
                    return Ok(false);
                }
            }
        }
        let served = self.served();
        let (_, mut child) = as_if_applied(std::slice::from_ref(object), UID).pop_first().unwrap();
        self.version += 1;
        child.resource_version = self.version.to_string();
        child.uid = format!("{:?}/{}", object.kind, object.name);
        if let (Detail::Deployment(next), Some(Child { detail: Detail::Deployment(held), .. })) =
            (&mut child.detail, self.children.get(&key))
        {
            let observed = held.observed && held.replicas == next.replicas;
            *next = DeploymentView { replicas: next.replicas, observed, ..held.clone() };
        }
        self.check(object, &child, served.as_deref())?;
        self.children.insert(key.clone(), child.clone());
        self.known.insert(key, child);
        Ok(true)
    }

    fn check(&mut self, object: &Object, next: &Child, served: Option<&str>) -> Result<(), TestCaseError> {
        let replicas = self.fleet.spec.replicas;
        match &next.detail {
            Detail::Service(Lead { revision: Some(to), .. }) if served.is_some_and(|from| from != to) => {
                let view = self.view(to).cloned().unwrap_or_default();
                prop_assert!(view.observed && view.available >= view.replicas, "clients led to {to}: {view:?}");
            }
            Detail::Deployment(view) => {
                let stops = view.replicas == 0 && served == Some(object.name.as_str());
                let ran = self.view(&object.name).is_some_and(|held| held.replicas > 0);
                let memory = self.fleet.spec.storage.as_ref().is_some_and(|storage| storage.memory.is_some());
                prop_assert!(!(stops && ran && memory && replicas > 0), "{} serves and is stopped", object.name);
            }
            _ => {}
        }
        Ok(())
    }
}
