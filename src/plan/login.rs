//! The login of a lock that the fleet brings along. Its name is all that a plan knows of it: whatever uses the login says it by
//! name, so that another login is another name, and with it another revision and another pod of Redis.
//!
//! The name is remembered by the StatefulSet, and by the records of revisions that use it. Where neither has one, or the
//! Secret is known to be gone, the snapshot's nonce makes a new one.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    Children, Detail, Observed, Obstacle, Pod, StatefulSetView, StoredRevision,
    object::{Kind, lock},
    validate::{FleetName, ValidFleet, ValidLock},
};
use crate::{api::condition::Reason, engine::coordination};

/// A Secret that has to be there before what uses it is made. Its content is made by whoever creates it.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    /// Its name.
    pub name: String,
    /// All of it but the content.
    pub body: Value,
}

/// Names the login everywhere in a fleet that brings its lock along.
pub fn name(fleet: &mut ValidFleet, observed: &Observed, stored: &BTreeMap<String, Arc<StoredRevision>>) {
    let Some(managed) = &mut fleet.managed_redis else { return };
    let lost = doubtful(observed, stored).filter(|_| observed.login_found == Some(false));
    let mut known = known(&observed.children, &fleet.name, stored).into_iter();
    let login = known.find(|login| Some(login) != lost.as_ref()).unwrap_or_else(|| fleet.name.login(&observed.nonce));
    managed.login.clone_from(&login);
    if let ValidLock::Redis(redis) = &mut fleet.lock {
        redis.secret = Some(login);
    }
}

/// The login whose existence is in doubt, because something that needs it does not run or is not there. `None` where nothing is wrong,
/// and where there was none yet.
pub fn doubtful(observed: &Observed, stored: &BTreeMap<String, Arc<StoredRevision>>) -> Option<String> {
    observed.fleet.spec.lock.as_ref()?.managed_redis.as_ref()?;
    let fleet = FleetName::of(&observed.fleet);
    let login = known(&observed.children, &fleet, stored).into_iter().next()?;
    let runs = view(&observed.children, &fleet).is_some_and(|view| view.ready > 0);
    let missed = |pod: &Pod| pod.waiting.as_ref().is_some_and(|(_, message)| message.contains(&format!("\"{login}\"")));
    (!runs || observed.pods.iter().any(missed)).then_some(login)
}

/// The logins that are remembered, the one in use first: that of the StatefulSet, then those of records, the newest first.
fn known(children: &Children, fleet: &FleetName, stored: &BTreeMap<String, Arc<StoredRevision>>) -> Vec<String> {
    let told = view(children, fleet).and_then(|view| view.login.clone());
    let mut recorded: Vec<_> = stored.values().filter_map(|one| Some((one.number, login_of(one)?))).collect();
    recorded.sort_unstable();
    told.into_iter().chain(recorded.into_iter().rev().map(|(_, login)| login.to_owned())).collect()
}

fn login_of(revision: &StoredRevision) -> Option<&str> {
    coordination::login_of(revision.agreement.as_deref()?)
}

/// The login to create, if what uses it is not there or uses another one.
pub fn due(observed: &Observed, fleet: &ValidFleet) -> Option<Login> {
    let managed = fleet.managed_redis.as_ref()?;
    let made = view(&observed.children, &fleet.name).and_then(|view| view.login.as_ref());
    (made != Some(&managed.login))
        .then(|| Login { name: managed.login.clone(), body: lock::login(fleet, &managed.login) })
}

/// What is known of the fleet's Redis, once it is made.
pub fn view<'a>(children: &'a Children, fleet: &FleetName) -> Option<&'a StatefulSetView> {
    match &children.get(&(Kind::StatefulSet, fleet.lock()))?.detail {
        Detail::StatefulSet(view) => Some(view),
        Detail::None
        | Detail::Revision(_)
        | Detail::EdgeRecord(_)
        | Detail::Deployment(_)
        | Detail::Service(_)
        | Detail::Text { .. }
        | Detail::Claim(_)
        | Detail::NetworkPolicy { .. }
        | Detail::EdgeState(_) => None,
    }
}

/// Why the lock that the fleet brings along does not work. `None` when it does, or is not made yet.
pub fn trouble(observed: &Observed, fleet: &ValidFleet) -> Option<Obstacle> {
    fleet.managed_redis.as_ref()?;
    let view = view(&observed.children, &fleet.name)?;
    (view.ready == 0).then(|| Obstacle {
        reason: Reason::LockUnavailable,
        message: format!(
            "Redis {} has no ready pod: what is stored is served, and what is not fails meanwhile; `kubectl describe pod {}-0` \
             tells why",
            fleet.name.lock(),
            fleet.name.lock()
        ),
    })
}

/// Whether a revision in use needs the fleet's Redis, although the spec names another lock already.
pub fn still_needed(stored: &BTreeMap<String, Arc<StoredRevision>>, in_use: impl Fn(&str) -> bool) -> bool {
    stored.iter().any(|(name, revision)| login_of(revision).is_some() && in_use(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::{DeploymentView, Plan, fixture, plan, revision};

    const FIRST: &str = "corp-lock-0a1b2c3d";

    fn observed(lock: &Value, children: Children) -> Observed {
        let fleet = json!({
            "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy",
            "metadata": { "name": "corp", "namespace": "build", "uid": "u" },
            "spec": { "replicas": 2, "storage": { "s3": { "bucket": "modules" } }, "lock": lock },
        });
        Observed { children, ..fixture::observed(fleet) }
    }

    fn managed() -> Value {
        json!({ "managedRedis": {} })
    }

    /// Everything that a plan asks for is there and runs.
    fn done(plan: &Plan) -> Children {
        let mut children = crate::observe::as_if_applied(&plan.targets[0].objects, "u");
        for child in children.values_mut() {
            if let Detail::StatefulSet(view) = &mut child.detail {
                view.ready = 1;
            }
            if let Detail::Deployment(view) = &mut child.detail {
                let pods = view.replicas;
                *view = DeploymentView { observed: true, current: pods, ready: pods, available: pods, ..view.clone() };
            }
        }
        children
    }

    fn login(plan: &Plan) -> Option<&str> {
        plan.targets[0].login.as_ref().map(|login| login.name.as_str())
    }

    fn body<'a>(plan: &'a Plan, kind: Kind, name: &str) -> &'a Value {
        let mut objects = plan.targets[0].objects.iter();
        &objects.find(|object| object.kind == kind && object.name == name).unwrap().body
    }

    /// The Secret that the proxies of the revision that is asked for log in with.
    fn proxies_login(plan: &Plan) -> String {
        let deployments = plan.targets[0].objects.iter().filter(|one| one.kind == Kind::Deployment);
        let newest = deployments.max_by_key(|one| one.body["spec"]["replicas"].as_i64()).unwrap();
        let env = newest.body["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
        let password = env.iter().find(|one| one["name"] == "ATHENS_REDIS_PASSWORD").unwrap();
        password["valueFrom"]["secretKeyRef"]["name"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_login_is_made_once_and_kept() {
        let first = plan(&observed(&managed(), Children::new()));
        assert_eq!(login(&first), Some(FIRST));
        let secret = first.targets[0].login.as_ref().unwrap();
        assert_eq!(secret.body["immutable"], true);
        assert!(secret.body.get("data").is_none() && secret.body.get("stringData").is_none());
        assert_eq!(proxies_login(&first), FIRST);
        let set = body(&first, Kind::StatefulSet, "corp-lock");
        assert_eq!(set["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"], FIRST);

        let next = Observed { nonce: "ffffffff".to_owned(), ..observed(&managed(), done(&first)) };
        assert_eq!(doubtful(&next, &revision::stored(&next.children)), None, "nobody asks while all runs");
        let next = plan(&next);
        assert_eq!((login(&next), proxies_login(&next).as_str()), (None, FIRST));
        assert_eq!(next.report.stable, first.report.stable, "another snapshot is no other revision");
        assert_eq!(next.report.lock, None);
    }

    #[test]
    fn what_is_remembered_by_a_record_alone_is_used_again() {
        let first = plan(&observed(&managed(), Children::new()));
        let mut children = done(&first);
        children.retain(|(kind, _), _| *kind != Kind::StatefulSet);
        let broken = Observed { nonce: "ffffffff".to_owned(), ..observed(&managed(), children) };
        assert_eq!(doubtful(&broken, &revision::stored(&broken.children)).as_deref(), Some(FIRST));
        assert_eq!(login(&plan(&broken)), Some(FIRST));
        let lost = plan(&Observed { login_found: Some(false), ..broken });
        assert_eq!(login(&lost), Some("corp-lock-ffffffff"), "proxies would go on with the password that is lost");
    }

    #[test]
    fn a_login_that_somebody_deleted_is_made_anew_under_another_name() {
        let first = plan(&observed(&managed(), Children::new()));
        let mut children = done(&first);
        for child in children.values_mut() {
            if let Detail::StatefulSet(view) = &mut child.detail {
                view.ready = 0;
            }
        }
        let found = Observed {
            login_found: Some(true),
            nonce: "ffffffff".to_owned(),
            ..observed(&managed(), children.clone())
        };
        let down = plan(&found);
        assert_eq!(login(&down), None);
        assert_eq!(down.report.lock.as_ref().unwrap().reason, Reason::LockUnavailable);
        let lost = plan(&Observed { login_found: Some(false), ..found });
        assert_eq!(login(&lost), Some("corp-lock-ffffffff"));
        let old = first.report.stable.as_deref().unwrap();
        assert_eq!(body(&lost, Kind::Deployment, old)["spec"]["replicas"], 0, "the old ones end first");

        // The record came to be, and then the operator was killed: the same login again, not a third one.
        for ((kind, name), child) in done(&lost) {
            if kind == Kind::ControllerRevision {
                children.insert((kind, name), child);
            }
        }
        let again =
            Observed { login_found: Some(false), nonce: "eeeeeeee".to_owned(), ..observed(&managed(), children) };
        assert_eq!(login(&plan(&again)), Some("corp-lock-ffffffff"));
    }

    #[test]
    fn the_lock_stays_until_the_last_proxy_that_needs_it_is_gone() {
        let first = plan(&observed(&managed(), Children::new()));
        let etcd = json!({ "etcd": { "addresses": ["etcd.example.com:2379"] } });
        let ending = plan(&observed(&etcd, done(&first)));
        let pruned = |plan: &Plan| plan.targets[0].prune.iter().any(|one| one.name == "corp-lock");
        assert!(!pruned(&ending));
        let old = first.report.stable.as_deref().unwrap();
        assert_eq!(body(&ending, Kind::Deployment, old)["spec"]["replicas"], 0);
        let mut children = done(&first);
        children.extend(done(&ending));
        assert!(pruned(&plan(&observed(&etcd, children))));
    }

    #[test]
    fn proxies_alone_reach_the_lock_and_it_is_none_of_them() {
        let first = plan(&observed(&json!({ "managedRedis": { "persistence": {} } }), Children::new()));
        let policy = body(&first, Kind::NetworkPolicy, "corp-lock");
        let from = &policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"];
        assert_eq!(*from, json!({ "goproxy.rs/fleet": "corp" }));
        assert!(policy["spec"].get("egress").is_none(), "it asks nobody");
        let labels = &body(&first, Kind::StatefulSet, "corp-lock")["spec"]["template"]["metadata"]["labels"];
        assert!(labels.get("goproxy.rs/fleet").is_none());
        assert_eq!(policy["spec"]["podSelector"]["matchLabels"], *labels);
        assert_eq!(body(&first, Kind::Service, "corp-lock")["spec"]["selector"], *labels);
        let claim = body(&first, Kind::PersistentVolumeClaim, "corp-lock");
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "1Gi");
        assert_eq!(claim["metadata"]["ownerReferences"][0]["name"], "corp");
        for object in first.targets[0].objects.iter().filter(|one| one.name == "corp-lock") {
            fixture::assert_as_stored(object);
        }
    }

    #[test]
    fn the_volume_of_the_locks_is_never_asked_to_shrink() {
        let asked = |size: &str, children: Children| {
            let fleet = observed(&json!({ "managedRedis": { "persistence": { "size": size } } }), children);
            let plan = plan(&fleet);
            body(&plan, Kind::PersistentVolumeClaim, "corp-lock")["spec"]["resources"]["requests"]["storage"].clone()
        };
        let first = plan(&observed(&json!({ "managedRedis": { "persistence": { "size": "2Gi" } } }), Children::new()));
        assert_eq!(asked("1Gi", done(&first)), "2Gi");
        assert_eq!(asked("3Gi", done(&first)), "3Gi");
    }

    #[test]
    fn where_redis_runs_and_what_it_keeps_restarts_no_proxy() {
        let revision = |lock: &Value| plan(&observed(lock, Children::new())).report.stable;
        assert_eq!(revision(&managed()), revision(&json!({ "managedRedis": { "persistence": { "size": "5Gi" } } })));
    }
}
