//! What everybody but the operator does: users, the Deployment controller, kubelets, watches.

use std::collections::BTreeMap;

use goproxy_operator::plan::{Children, DeploymentView, Detail, Pod, object::Kind};
use jiff::ToSpan;
use proptest::prelude::*;
use serde_json::json;

use super::{Act, world::World};

impl World {
    pub fn happen(&mut self, act: &Act) -> Result<(), TestCaseError> {
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
                completed: view.completed || (replicas > 0 && ready == replicas),
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
    pub fn settle(&mut self) -> Result<(), TestCaseError> {
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
    pub fn check_rest(&self) -> Result<(), TestCaseError> {
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
