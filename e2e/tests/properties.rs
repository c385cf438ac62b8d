//! Properties of the plan that hold in any world: whatever the operator sees late, in whatever order a cluster acts, and
//! wherever a reconcile is cut off. The world here is smaller and rougher than the scripted API server's: it is made to
//! reach odd states by the thousand.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "all of this is test code, its functions too")]

use std::{collections::BTreeMap, sync::Arc};

use goproxy_operator::{
    api::go_proxy::GoProxy,
    observe::as_if_applied,
    plan::{
        Child, Children, DeploymentView, Detail, Observed, Plan, Pod,
        object::{FLEET_LABEL, Kind, Object, Precondition},
        plan,
        validate::Settings,
    },
};
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use serde_json::json;

const UID: &str = "0c1f5b0e-6a0e-4f6e-9d5e-3c8f2f1f0001";

/// Something that happens. The numbers pick among what there is.
#[derive(Clone, Debug)]
enum Act {
    /// The operator reconciles, and is cut off after so many writes.
    Reconcile(usize),
    /// It starts again, with a view that is true at that moment.
    Restart,
    /// A watch delivers one child, or all pods.
    Deliver(usize),
    DeliverPods,
    /// The Deployment controller sees what is asked of one Deployment and counts its pods.
    Count(usize),
    /// It creates or deletes pods.
    Fit(usize),
    /// A kubelet makes a pod ready, or ends one that is to end.
    Ready(usize),
    End(usize),
    /// A user sets the log level, which makes another revision, or the number of pods.
    Edit(usize),
    Scale(i32),
    /// Time passes, in seconds.
    Pass(i64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => prop_oneof![3 => Just(usize::MAX), 1 => 0_usize..6].prop_map(Act::Reconcile),
        1 => Just(Act::Restart),
        4 => any::<usize>().prop_map(Act::Deliver),
        3 => Just(Act::DeliverPods),
        4 => any::<usize>().prop_map(Act::Count),
        4 => any::<usize>().prop_map(Act::Fit),
        3 => any::<usize>().prop_map(Act::Ready),
        3 => any::<usize>().prop_map(Act::End),
        1 => (0_usize..3).prop_map(Act::Edit),
        1 => (0_i32..2).prop_map(Act::Scale),
        1 => (1_i64..40).prop_map(Act::Pass),
    ]
}

#[derive(Clone)]
struct World {
    fleet: GoProxy,
    children: Children,
    pods: Vec<Pod>,
    /// What the operator knows: each part of it may be old.
    known: Children,
    known_pods: Vec<Pod>,
    now: Timestamp,
    version: u64,
}

fn settings() -> Settings {
    Settings {
        engine_image_repository: "registry.example/athens".to_owned(),
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
    fn new(storage: &str) -> Self {
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

    fn plan(&self) -> Plan {
        plan(&Observed {
            fleet: Arc::new(self.fleet.clone()),
            now: self.now,
            children: self.known.clone(),
            pods: self.known_pods.clone(),
            ca_bundle_found: None,
            obstacles: Vec::new(),
            contract_slot: true,
            settings: Arc::new(settings()),
        })
    }

    fn deployments(&self) -> Vec<String> {
        self.children.keys().filter(|(kind, _)| *kind == Kind::Deployment).map(|(_, name)| name.clone()).collect()
    }

    fn view(&mut self, name: &str) -> Option<&mut DeploymentView> {
        match &mut self.children.get_mut(&(Kind::Deployment, name.to_owned()))?.detail {
            Detail::Deployment(view) => Some(view),
            _ => None,
        }
    }

    fn served(&self) -> Option<String> {
        match &self.children.get(&(Kind::Service, "mods".to_owned()))?.detail {
            Detail::Service { revision, .. } => revision.clone(),
            _ => None,
        }
    }

    fn touch(&mut self, name: &str) {
        self.version += 1;
        let version = self.version.to_string();
        if let Some(child) = self.children.get_mut(&(Kind::Deployment, name.to_owned())) {
            child.resource_version = version;
        }
    }

    /// Plans on what is known and writes what differs from it, as far as it gets.
    fn reconcile(&mut self, most: usize) -> Result<usize, TestCaseError> {
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
            Precondition::NoPodsOutside { revision } => {
                if self.pods.iter().any(|pod| pod.revision != *revision) {
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
            Detail::Service { revision: Some(to), .. } if served.is_some_and(|from| from != to) => {
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

    fn happen(&mut self, act: &Act) -> Result<(), TestCaseError> {
        let names = self.deployments();
        let pick = |number: usize| names.get(number.checked_rem(names.len())?).cloned();
        match act {
            Act::Reconcile(most) => {
                self.reconcile(*most)?;
            }
            Act::Restart => (self.known, self.known_pods) = (self.children.clone(), self.pods.clone()),
            Act::Deliver(number) => {
                let place = number.checked_rem(self.children.len()).unwrap_or(0);
                if let Some((key, child)) = self.children.iter().nth(place) {
                    self.known.insert(key.clone(), child.clone());
                }
            }
            Act::DeliverPods => self.known_pods = self.pods.clone(),
            Act::Count(number) => pick(*number).into_iter().for_each(|name| self.count(&name)),
            Act::Fit(number) => {
                if let Some(name) = pick(*number) {
                    self.fit(&name)?;
                }
            }
            Act::Ready(number) => {
                let place = number.checked_rem(self.pods.len()).unwrap_or(0);
                self.pods.iter_mut().skip(place).take(1).filter(|pod| !pod.deleting).for_each(|pod| pod.ready = true);
            }
            Act::End(number) => {
                let ending: Vec<usize> = (0..self.pods.len()).filter(|at| self.pods[*at].deleting).collect();
                if let Some(place) = number.checked_rem(ending.len()) {
                    self.pods.remove(ending[place]);
                }
            }
            Act::Edit(level) => {
                let level = ["Info", "Debug", "Error"][*level];
                self.fleet.spec.engine = Some(serde_json::from_value(json!({ "logLevel": level })).unwrap());
            }
            Act::Scale(replicas) => self.fleet.spec.replicas = *replicas,
            Act::Pass(seconds) => self.now = self.now.checked_add(seconds.seconds()).unwrap(),
        }
        Ok(())
    }

    fn count(&mut self, name: &str) {
        let live = self.pods.iter().filter(|pod| pod.revision == name && !pod.deleting);
        let (all, ready) = live.fold((0, 0), |(all, ready), pod| (all + 1, ready + i32::from(pod.ready)));
        if let Some(view) = self.view(name) {
            let replicas = view.replicas;
            *view = DeploymentView {
                replicas,
                observed: true,
                current: all,
                ready,
                available: ready,
                replica_failure: None,
            };
            self.touch(name);
        }
    }

    /// Acts on what the controller has seen. With one writer, pods of two revisions never exist at once.
    fn fit(&mut self, name: &str) -> Result<(), TestCaseError> {
        let Some(view) = self.view(name).filter(|view| view.observed) else { return Ok(()) };
        let replicas = usize::try_from(view.replicas).unwrap_or_default();
        let mut live = self.pods.iter().filter(|pod| pod.revision == name && !pod.deleting).count();
        while live < replicas {
            let disk = self.fleet.spec.storage.as_ref().is_some_and(|storage| storage.disk.is_some());
            let other = self.pods.iter().find(|pod| pod.revision != name);
            prop_assert!(!(disk && other.is_some()), "{name} starts beside {other:?}");
            self.version += 1;
            let pod = Pod { name: format!("{name}-{}", self.version), revision: name.to_owned(), ..Pod::default() };
            self.pods.push(pod);
            live += 1;
        }
        let surplus = live.saturating_sub(replicas);
        let own = self.pods.iter_mut().filter(|pod| pod.revision == name && !pod.deleting);
        own.take(surplus).for_each(|pod| (pod.deleting, pod.ready) = (true, false));
        Ok(())
    }

    /// Everything is seen, done and waited for, until nothing changes any more.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..40 {
            self.happen(&Act::Restart)?;
            let before = (self.children.clone(), self.pods.clone());
            let waits = self.plan().again_at.is_some();
            let written = self.reconcile(usize::MAX)?;
            for name in self.deployments() {
                self.count(&name);
                self.fit(&name)?;
            }
            self.pods.retain(|pod| !pod.deleting);
            self.pods.iter_mut().for_each(|pod| pod.ready = true);
            self.deployments().iter().for_each(|name| self.count(name));
            self.now = self.now.checked_add(40.seconds()).unwrap();
            let same = before.1 == self.pods && contents(&before.0) == contents(&self.children);
            if written == 0 && same && !waits {
                return Ok(());
            }
        }
        Err(TestCaseError::fail("never comes to rest"))
    }

    /// One revision has pods, the one that is asked for; clients get it; and another plan changes nothing.
    fn check_rest(&self) -> Result<(), TestCaseError> {
        let plan = self.plan();
        prop_assert_eq!(plan.transition, None);
        prop_assert_eq!(plan.again_at, None);
        let serving = self.served().unwrap_or_default();
        let level = self.fleet.spec.engine.as_ref().and_then(|engine| engine.log_level).unwrap_or_default();
        let config = self.children.get(&(Kind::ControllerRevision, serving.clone())).map(|child| &child.detail);
        let Some(Detail::Revision(stored)) = config else {
            return Err(TestCaseError::fail(format!("clients get {serving:?}, which is not stored")));
        };
        let text = stored.config.values().cloned().collect::<String>().to_lowercase();
        let wanted = format!("loglevel = \"{level:?}\"").to_lowercase();
        prop_assert!(text.contains(&wanted), "clients get {} and not the revision with {}", serving, wanted);
        prop_assert!(self.pods.iter().all(|pod| pod.revision == serving), "{:?}", self.pods);
        prop_assert_eq!(i32::try_from(self.pods.len()).unwrap(), self.fleet.spec.replicas);
        Ok(())
    }
}

/// Children without what only counts versions.
fn contents(children: &Children) -> BTreeMap<(Kind, String), Detail> {
    children.iter().map(|(key, child)| (key.clone(), child.detail.clone())).collect()
}

fn story(storage: &str, acts: &[Act]) -> Result<(), TestCaseError> {
    let mut world = World::new(storage);
    for act in acts {
        world.happen(act)?;
    }
    world.settle()?;
    world.check_rest()
}

/// As many as take some seconds. `PROPTEST_CASES` sets another number; what fails is printed in its smallest form.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn one_writer_is_one_writer_and_comes_to_rest(acts in prop::collection::vec(act(), 0..120)) {
        story("disk", &acts)?;
    }

    #[test]
    fn what_serves_goes_on_until_the_next_serves(acts in prop::collection::vec(act(), 0..120)) {
        story("memory", &acts)?;
    }

    /// A revision may be lost, a child may be anything: a plan still comes, the same each time, and leaves volumes alone.
    #[test]
    fn any_children_give_a_plan(acts in prop::collection::vec(act(), 0..60), lost in prop::collection::vec(any::<usize>(), 0..4)) {
        let mut world = World::new("disk");
        for act in &acts {
            world.happen(act)?;
        }
        for number in lost {
            if let Some(place) = number.checked_rem(world.known.len()) {
                let key = world.known.keys().nth(place).cloned().unwrap();
                world.known.remove(&key);
            }
        }
        let plan = world.plan();
        prop_assert_eq!(&plan, &world.plan());
        let pruned: Vec<_> = plan.targets.iter().flat_map(|target| &target.prune).collect();
        prop_assert!(pruned.iter().all(|prune| prune.kind != Kind::PersistentVolumeClaim));
        let labelled = |object: &Object| object.body["metadata"]["labels"][FLEET_LABEL] == "mods";
        prop_assert!(plan.targets.iter().flat_map(|target| &target.objects).all(labelled));
    }
}
