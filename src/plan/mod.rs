//! The decision: from what was observed to everything that shall be. Pure and synchronous: no client, no runtime, no
//! clock; `now` is a field of [`Observed`], and the same input gives the same plan.

mod assemble;
pub mod edge;
#[cfg(test)]
pub mod fixture;
pub mod front;
pub mod health;
pub mod inside;
pub mod login;
#[cfg(test)]
mod model;
pub mod object;
mod observed;
mod overlap;
pub mod ownership;
pub mod report;
pub mod revision;
pub mod rollout;
pub mod secret;
pub mod sight;
pub mod steady;
pub mod unready;
pub mod validate;
pub mod volume;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use crate::engine::version::Version;
use assemble::deployment_of;
use front::Front;
use login::Login;
use object::{Kind, Object};
pub use observed::{
    Child, Children, DeploymentView, Detail, Lead, Observed, Obstacle, Pod, StatefulSetView, StoredRevision, Unready,
};
use report::{Report, Verdict, report};
use revision::Revision;
use rollout::{Decision, World};
use validate::{ValidFleet, validate};

/// Name of the only region of a fleet that names none.
pub const DEFAULT_REGION: &str = "default";

/// Decides everything: what shall exist, the one step taken, what to report and when to look again.
pub fn plan(observed: &Observed) -> Plan {
    let fleet = &observed.fleet;
    let stored = revision::stored(&observed.children);
    if fleet.metadata.deletion_timestamp.is_some() {
        return hands_off(observed, &stored, Verdict::Deleting);
    }
    if fleet.spec.suspend {
        return hands_off(observed, &stored, Verdict::Suspended);
    }
    let valid = match buildable(observed, &stored) {
        Ok(valid) => valid,
        Err(verdict) => return hands_off(observed, &stored, verdict),
    };
    let wanted = revision::wanted(&fleet.spec, &valid, &stored);
    let lead = lead(&observed.children, valid.name.service());
    let stable = stable(observed, lead, &stored, &wanted.name);
    let from = stable.and_then(|name| stored.get(name));
    let contract_change = from
        .filter(|from| revision::only_contract_differs(from, &wanted.stored))
        .map(|_| contract_change(observed, stable, &wanted.name, &stored));
    let must_wait_for_slot = !observed.contract_slot && contract_change == Some(ContractChange::Due);
    let decision = rollout::decide(&World {
        wanted: &wanted.name,
        stable,
        moved_at: lead.and_then(|lead| lead.moved_at),
        overlap: overlap::overlap(observed, stable, &stored, &wanted.stored),
        must_wait_for_slot,
        replicas: valid.replicas,
        scale_down_delay: valid.scale_down_delay,
        told: front::told(&observed.children, &valid.name, lead, stable),
        deployments: deployments(&observed.children),
        pods: &observed.pods,
        now: observed.now,
    });
    let front = front::step(observed, &valid, lead, stable, &decision);
    let rendered = (!must_wait_for_slot).then_some(&wanted);
    let kept = assemble::kept_revisions(observed, &valid, rendered, &decision, &stored);
    let objects = assemble::objects(observed, &valid, &kept, &decision, &front);
    let prune = assemble::prune(observed, &valid, &objects, &decision, &front);
    let (login, let_go) = (login::due(observed, &valid), assemble::let_go(observed, &valid));
    let transition = transition(observed, stable, &wanted, &decision, &front);
    let report = report(observed, &kept, Some((&decision, &front)), &wanted.name, Verdict::Planned(Box::new(valid)));
    let clocks = [decision.again_at, front.again_at, health::overdue_at(observed), unready::next_look(observed)];
    let again_at = clocks.into_iter().flatten().min();
    let target = Target { region: DEFAULT_REGION.to_owned(), cluster: None };
    let targets = vec![TargetPlan { target, login, objects, let_go, prune }];
    Plan { targets, transition, report, contract_change, again_at }
}

/// The fleet as it can be built, or why it cannot.
fn buildable(observed: &Observed, stored: &BTreeMap<String, Arc<StoredRevision>>) -> Result<ValidFleet, Verdict> {
    let mut valid =
        validate(&observed.fleet, &observed.settings, pinned_version(observed, stored)).map_err(Verdict::Refused)?;
    login::name(&mut valid, observed, stored);
    valid.secrets = secret::digest(&observed.fleet.spec, observed.secrets.as_ref());
    match ownership::refused(observed, &valid, stored) {
        Some(refusal) => Err(Verdict::StorageTaken(refusal)),
        None => Ok(valid),
    }
}

/// The version that a fleet without one in its spec keeps: that of its newest revision. Where the record of the one that serves
/// is lost, what was told of it: another record's would change the version of what runs.
fn pinned_version(observed: &Observed, stored: &BTreeMap<String, Arc<StoredRevision>>) -> Option<Version> {
    let fleet = &observed.fleet;
    let service = fleet.metadata.name.as_deref().unwrap_or_default();
    let lost = served_by(&observed.children, service).is_some_and(|served| !stored.contains_key(served));
    let told = fleet.status.as_ref().and_then(|status| Version::parse(status.version.as_deref()?));
    let kind = fleet.spec.engine_kind();
    told.filter(|told| lost && told.kind() == kind).or_else(|| revision::pinned_version(kind, stored))
}

/// A plan that touches nothing: it only reports what runs.
fn hands_off(observed: &Observed, stored: &BTreeMap<String, Arc<StoredRevision>>, verdict: Verdict) -> Plan {
    let name = observed.fleet.metadata.name.clone().unwrap_or_default();
    let serving = served_by(&observed.children, &name).unwrap_or_default().to_owned();
    let report = report(observed, stored, None, &serving, verdict);
    let again_at = unready::next_look(observed);
    Plan { targets: Vec::new(), transition: None, report, contract_change: None, again_at }
}

/// The revision that the client Service leads to.
fn served_by<'a>(children: &'a Children, service: &str) -> Option<&'a str> {
    lead(children, service)?.revision.as_deref()
}

/// Where the client Service leads. `None` where there is none.
fn lead<'a>(children: &'a Children, service: &str) -> Option<&'a Lead> {
    match children.get(&(Kind::Service, service.to_owned())) {
        Some(Child { detail: Detail::Service(lead), .. }) => Some(lead),
        _ => None,
    }
}

/// The revision that clients get. A Service that is lost, or leads nowhere, comes back to what can serve, not to what is only wanted. A
/// revision whose text is lost goes on to serve as long as its pods live: it can be kept and ended, only not made anew.
fn stable<'a>(
    observed: &'a Observed,
    lead: Option<&'a Lead>,
    stored: &BTreeMap<String, Arc<StoredRevision>>,
    wanted: &str,
) -> Option<&'a str> {
    let served = lead.and_then(|lead| lead.revision.as_deref());
    served
        .filter(|name| stored.contains_key(*name) || has_pods(&observed.children, name))
        .or_else(|| able_to_serve(observed, stored, wanted))
}

/// The revision with available pods: the wanted one if it is among them, else the newest. Fresh counts go before old ones.
fn able_to_serve<'a>(
    observed: &'a Observed,
    stored: &BTreeMap<String, Arc<StoredRevision>>,
    wanted: &str,
) -> Option<&'a str> {
    let able = deployments(&observed.children).into_iter().filter(|(_, view)| view.replicas > 0 && view.available > 0);
    // What was counted before the newest spec was seen may be gone already.
    let numbered =
        able.filter_map(|(name, view)| Some((view.observed, name == wanted, stored.get(name)?.number, name)));
    numbered.max().map(|(.., name)| name)
}

/// Where a change is that only another operator version asks for. One that began goes on: the next revision has pods, or
/// the old one was ended for it.
fn contract_change(
    observed: &Observed,
    stable: Option<&str>,
    wanted: &str,
    stored: &BTreeMap<String, Arc<StoredRevision>>,
) -> ContractChange {
    let children = &observed.children;
    let ended = observed.fleet.spec.replicas > 0 && !stable.is_some_and(|stable| has_pods(children, stable));
    if has_pods(children, wanted) || (ended && stored.contains_key(wanted)) {
        ContractChange::Begun
    } else {
        ContractChange::Due
    }
}

/// Whether pods are asked of a revision's Deployment.
fn has_pods(children: &Children, name: &str) -> bool {
    deployment_of(children, name).is_some_and(|view| view.replicas > 0)
}

fn deployments(children: &Children) -> BTreeMap<&str, &DeploymentView> {
    children
        .iter()
        .filter_map(|((_, name), child)| match &child.detail {
            Detail::Deployment(view) => Some((name.as_str(), view)),
            Detail::None
            | Detail::Revision(_)
            | Detail::EdgeRecord(_)
            | Detail::Service(_)
            | Detail::Text { .. }
            | Detail::Claim(_)
            | Detail::StatefulSet(_)
            | Detail::NetworkPolicy { .. }
            | Detail::EdgeState(_) => None,
        })
        .collect()
}

/// The step that this plan takes, for the event. At most one.
fn transition(
    observed: &Observed,
    stable: Option<&str>,
    wanted: &Revision,
    decision: &Decision,
    front: &front::Decision,
) -> Option<Transition> {
    if front.moves {
        return Some(Transition::Fronted { by: front.front });
    }
    if let Some(from) = stable.filter(|from| *from != decision.serve) {
        return Some(Transition::Moved { from: from.to_owned(), to: decision.serve.clone() });
    }
    let exists = |name: &str| deployment_of(&observed.children, name).is_some();
    if decision.scale.contains_key(&wanted.name) && !exists(&wanted.name) {
        return Some(Transition::Started { revision: wanted.name.clone() });
    }
    let revisions: Vec<_> = deployments(&observed.children)
        .into_iter()
        .filter(|(name, view)| view.replicas > 0 && decision.scale.get(*name).copied().unwrap_or(0) == 0)
        .map(|(name, _)| name.to_owned())
        .collect();
    (!revisions.is_empty()).then_some(Transition::ScaledDown { revisions })
}

/// Where objects go. One entry now: this cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The region's name; `default` when the fleet names none.
    pub region: String,
    /// The member cluster; `None` is the operator's own.
    pub cluster: Option<String>,
}

/// The objects of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetPlan {
    /// Where they go.
    pub target: Target,
    /// The login that has to be there before what uses it.
    pub login: Option<Login>,
    /// All that shall exist, in apply order.
    pub objects: Vec<Object>,
    /// Volumes that the fleet does not use any more and that would go with it: they stay, and lose their owner.
    pub let_go: Vec<Prune>,
    /// What shall no longer exist; removed after everything was applied.
    pub prune: Vec<Prune>,
}

/// One object to remove or to let go, exactly as it was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prune {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid: another object of the name is not meant.
    pub uid: String,
    /// Its resourceVersion: if it changed since, look again first.
    pub resource_version: String,
}

/// The one step that a plan takes in a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A revision is rendered and stored, and begins to start.
    Started {
        /// The new revision.
        revision: String,
    },
    /// Clients move to a revision.
    Moved {
        /// Where they were.
        from: String,
        /// Where they go.
        to: String,
    },
    /// Clients come to the edge, or leave it.
    Fronted {
        /// Whom they reach from now on.
        by: Front,
    },
    /// Old revisions go to 0 pods.
    ScaledDown {
        /// Which.
        revisions: Vec<String>,
    },
}

/// A change that nobody but another operator version asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContractChange {
    /// It did not begin.
    Due,
    /// It did.
    Begun,
}

/// The decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Objects per target; empty when nothing may be touched.
    pub targets: Vec<TargetPlan>,
    /// The step taken.
    pub transition: Option<Transition>,
    /// What was found, for the status.
    pub report: Report,
    /// Where the fleet is in a change that only another operator version asks for.
    pub contract_change: Option<ContractChange>,
    /// When to look again even if nothing is heard.
    pub again_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{object::Fingerprint, *};
    use crate::api::{condition::Reason, status::RegionState};

    const OWNER: &str = "0c1f5b0e-6a0e-4f6e-9d5e-3c8f2f1f0001";

    fn observed(workers: i32, children: Children) -> Observed {
        let fleet = json!({
            "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy",
            "metadata": {"name": "corp", "namespace": "build", "uid": OWNER},
            "spec": {"replicas": 1, "storage": {"memory": {}}, "engine": {"fetchWorkers": workers}},
        });
        Observed { children, ..fixture::observed(fleet) }
    }

    /// A fleet of this spec.
    fn asking(spec: &Value, children: Children) -> Observed {
        let mut fleet = (*observed(1, Children::new()).fleet).clone();
        fleet.spec = serde_json::from_value(spec.clone()).unwrap();
        Observed { fleet: Arc::new(fleet), ..observed(1, children) }
    }

    fn child(detail: Detail) -> Child {
        Child {
            uid: "child".to_owned(),
            resource_version: "7".to_owned(),
            owner_uid: Some(OWNER.to_owned()),
            live: Fingerprint::of(&json!({})),
            deleting: false,
            detail,
        }
    }

    fn replicas(plan: &Plan, revision: &str) -> Option<i64> {
        let objects = &plan.targets.first()?.objects;
        let found = objects.iter().find(|object| object.kind == Kind::Deployment && object.name == revision)?;
        found.body["spec"]["replicas"].as_i64()
    }

    #[test]
    fn a_claim_of_somebody_else_is_mounted_and_nothing_else() {
        let alone = json!({ "replicas": 1, "storage": { "disk": { "existingClaim": "athens" } } });
        let together = json!({
            "replicas": 2,
            "storage": { "disk": { "existingClaim": "athens", "accessMode": "ReadWriteMany" } },
            "lock": { "redis": { "address": "redis.example.com:6379" } },
        });
        for spec in [alone, together] {
            let planned = plan(&asking(&spec, Children::new()));
            let TargetPlan { objects, prune, .. } = &planned.targets[0];
            assert!(objects.iter().all(|one| one.kind != Kind::PersistentVolumeClaim) && prune.is_empty());
            let deployment = objects.iter().find(|one| one.kind == Kind::Deployment).unwrap();
            let text = deployment.body.to_string();
            assert!(text.contains(r#""claimName":"athens""#) && !text.contains("corp-data"), "{text}");
            let object::Precondition::NoPodsOutside { claim, .. } = &deployment.precondition else {
                panic!("pods would start beside anybody's: {:?}", deployment.precondition)
            };
            assert_eq!(claim.as_deref(), Some("athens"));
        }
        let own = plan(&asking(&json!({ "replicas": 1 }), Children::new()));
        let deployment = own.targets[0].objects.iter().find(|one| one.kind == Kind::Deployment).unwrap();
        assert!(matches!(&deployment.precondition, object::Precondition::NoPodsOutside { claim: None, .. }));
    }

    #[test]
    fn a_service_that_is_lost_in_a_change_comes_back_to_what_can_serve() {
        let first = plan(&observed(3, Children::new())).report.stable.unwrap();
        let stored = |workers| {
            let observed = observed(workers, Children::new());
            let valid = validate(&observed.fleet, &observed.settings, None).unwrap();
            revision::wanted(&observed.fleet.spec, &valid, &BTreeMap::new()).stored
        };
        let children = Children::from([
            ((Kind::ControllerRevision, first.clone()), child(Detail::Revision(stored(3)))),
            ((Kind::Deployment, first.clone()), child(Detail::Deployment(fixture::deployment(1, 1)))),
        ]);
        let next = plan(&observed(4, children));
        assert_eq!(next.report.stable.as_deref(), Some(first.as_str()), "clients went to a revision without pods");
        assert_eq!(replicas(&next, &first), Some(1), "the only revision that serves was stopped");
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Two minutes after midnight: a fleet with one pod, which was made half a minute ago.
    fn with_pod(completed: bool, pod: Pod) -> Observed {
        let first = plan(&observed(3, Children::new()));
        let revision = first.report.stable.clone().unwrap();
        let mut children = crate::observe::as_if_applied(&first.targets[0].objects, OWNER);
        for child in children.values_mut() {
            if let Detail::Deployment(view) = &mut child.detail {
                let ready = i32::from(pod.ready);
                let counts = DeploymentView { current: 1, ready, available: ready, ..view.clone() };
                *view = DeploymentView { observed: true, completed, ..counts };
            }
        }
        let pod = Pod { revision, created: Some(second(90)), ..pod };
        Observed { now: second(120), pods: vec![pod], ..observed(3, children) }
    }

    #[test]
    fn a_revision_that_served_and_lost_its_pods_is_not_starting() {
        let found = |completed, unready: Option<i64>| {
            let pod = Pod {
                ready: unready.is_none(),
                running: Some(second(100)),
                unready: unready.map(|since| Unready { since: second(since), asked: true }),
                ..Pod::default()
            };
            let planned = plan(&with_pod(completed, pod));
            let trouble = planned.report.trouble.map(|found| (found.obstacle.reason, found.starting, found.stalled));
            (planned.report.state, trouble, planned.again_at)
        };
        let lost = Some((Reason::NotReady, false, false));
        assert_eq!(found(true, Some(110)), (RegionState::Unavailable, lost, Some(second(690))));
        assert_eq!(found(true, None), (RegionState::Healthy, None, None));
        assert_eq!(found(false, Some(95)), (RegionState::Progressing, None, Some(second(130))));
    }

    #[test]
    fn a_cause_that_is_named_stalls_and_pods_are_on_their_way_until_one_was_ready() {
        let waiting = Pod { waiting: Some(("ErrImagePull".to_owned(), "no image".to_owned())), ..Pod::default() };
        for served in [false, true] {
            let found = plan(&with_pod(served, waiting.clone())).report.trouble.unwrap();
            assert_eq!(
                (found.obstacle.reason, found.starting, found.stalled),
                (Reason::ImageUnavailable, !served, true)
            );
        }
        let left_over = Obstacle { reason: Reason::Progressing, message: "it is waited for".to_owned() };
        let found = plan(&Observed { obstacles: vec![left_over], ..with_pod(true, waiting) }).report.trouble.unwrap();
        assert!(found.starting && !found.stalled, "it goes on by itself");
    }

    /// Revision `first` serves and its record was deleted; the next one is stored and has as many available pods.
    fn without_record(first: &str, available: i32, moved_at: Option<Timestamp>, served: &str) -> Children {
        let second = plan(&observed(4, Children::new())).report.stable.unwrap();
        let service = Detail::Service(fixture::leads(served, moved_at));
        Children::from([
            ((Kind::ConfigMap, first.to_owned()), child(Detail::None)),
            ((Kind::Deployment, first.to_owned()), child(Detail::Deployment(fixture::deployment(1, 1)))),
            ((Kind::Deployment, second), child(Detail::Deployment(fixture::deployment(1, available)))),
            ((Kind::Service, "corp".to_owned()), child(service)),
        ])
    }

    fn touched(plan: &Plan, name: &str) -> Vec<(&'static str, Kind)> {
        let target = &plan.targets[0];
        let written = target.objects.iter().filter(|one| one.name == name).map(|one| ("write", one.kind));
        written.chain(target.prune.iter().filter(|one| one.name == name).map(|one| ("prune", one.kind))).collect()
    }

    #[test]
    fn only_a_text_that_differs_is_replaced() {
        let planned = plan(&observed(3, Children::new()));
        let text =
            |plan: &Plan| plan.targets[0].objects.iter().find(|object| object.kind == Kind::ConfigMap).unwrap().clone();
        let ours = text(&planned);
        let digest = |files: &Value| Detail::Text { digest: Fingerprint::of_content(files) };
        let held = |detail, live| {
            let one = Child { uid: "c".to_owned(), resource_version: "7".to_owned(), live, ..child(detail) };
            text(&plan(&observed(3, Children::from([((Kind::ConfigMap, ours.name.clone()), one)])))).precondition
        };
        let other = Fingerprint::of(&json!({}));
        let replaces = object::Precondition::Replaces { uid: "c".to_owned(), resource_version: "7".to_owned() };
        assert_eq!(held(digest(&json!({ "config.toml": "# in other words" })), other), replaces);
        assert_eq!(held(digest(&ours.body["data"]), other), object::Precondition::None, "only its labels differ");
        assert_eq!(held(digest(&ours.body["data"]), ours.fingerprint), object::Precondition::None);
    }

    #[test]
    fn a_change_for_another_operator_version_waits_for_its_turn_unless_it_began() {
        let observed = |children, contract_slot| Observed { contract_slot, ..observed(3, children) };
        let now = plan(&observed(Children::new(), false));
        let name = now.report.stable.unwrap();
        assert_eq!(now.contract_change, None, "a first revision waits for nobody");
        let valid = validate(&observed(Children::new(), false).fleet, &observed(Children::new(), false).settings, None);
        let rendered =
            revision::wanted(&observed(Children::new(), false).fleet.spec, &valid.unwrap(), &BTreeMap::new());
        let older = Arc::new(StoredRevision { contract: rendered.stored.contract - 1, ..(*rendered.stored).clone() });
        let service = Detail::Service(fixture::leads("corp-older", None));
        let mut children = Children::from([
            ((Kind::ControllerRevision, "corp-older".to_owned()), child(Detail::Revision(older))),
            ((Kind::Deployment, "corp-older".to_owned()), child(Detail::Deployment(fixture::deployment(1, 1)))),
            ((Kind::Service, "corp".to_owned()), child(service)),
        ]);
        let waits = plan(&observed(children.clone(), false));
        assert_eq!((waits.contract_change, replicas(&waits, &name)), (Some(ContractChange::Due), None));
        let starts = plan(&observed(children.clone(), true));
        assert_eq!((starts.contract_change, replicas(&starts, &name)), (Some(ContractChange::Due), Some(1)));

        children.insert(
            (Kind::Deployment, name.clone()),
            child(Detail::Deployment(DeploymentView { available: 0, ..fixture::deployment(1, 1) })),
        );
        children.insert((Kind::ControllerRevision, name.clone()), child(Detail::Revision(rendered.stored)));
        let goes_on = plan(&observed(children, false));
        assert_eq!((goes_on.contract_change, replicas(&goes_on, &name)), (Some(ContractChange::Begun), Some(1)));
    }

    #[test]
    fn a_revision_whose_record_is_lost_serves_on_until_the_next_one_can() {
        let first = plan(&observed(3, Children::new())).report.stable.unwrap();
        let early = plan(&observed(4, without_record(&first, 0, None, &first)));
        assert_eq!(early.report.stable.as_deref(), Some(first.as_str()), "clients were moved early");
        assert_eq!(touched(&early, &first), [], "what serves was touched");
        assert_eq!(early.report.revisions.iter().filter(|one| one.name == first).count(), 1);

        let moving = plan(&observed(4, without_record(&first, 1, None, &first)));
        let second = moving.report.stable.clone().unwrap();
        assert_eq!(moving.transition, Some(Transition::Moved { from: first.clone(), to: second.clone() }));
        assert_eq!(touched(&moving, &first), [], "clients have not left yet");

        let drained = observed(4, Children::new()).now.checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
        let ended = plan(&observed(4, without_record(&first, 1, Some(drained), &second)));
        assert_eq!(touched(&ended, &first), [("prune", Kind::Deployment), ("prune", Kind::ConfigMap)]);
    }

    #[test]
    fn a_volume_that_is_not_used_any_more_does_not_go_with_the_fleet() {
        let claimed = |owner_uid: Option<&str>| {
            let claim = Child { owner_uid: owner_uid.map(str::to_owned), ..child(Detail::Claim(Box::default())) };
            Children::from([((Kind::PersistentVolumeClaim, "corp-data".to_owned()), claim)])
        };
        let ours = claimed(Some(OWNER));
        let let_go =
            |spec: Value, children: &Children| plan(&asking(&spec, children.clone())).targets[0].let_go.clone();
        for elsewhere in [json!({ "memory": {} }), json!({ "s3": { "bucket": "modules" } })] {
            let spec = json!({ "storage": elsewhere });
            let volume = let_go(spec.clone(), &ours);
            assert_eq!(
                volume.iter().map(|one| (one.name.as_str(), one.resource_version.as_str())).collect::<Vec<_>>(),
                [("corp-data", "7")]
            );
            assert_eq!(let_go(spec.clone(), &claimed(None)), [], "it has no owner");
            assert_eq!(let_go(spec, &claimed(Some("another"))), [], "it is another's");
        }
        assert_eq!(let_go(json!({ "storage": { "whenDeleted": "Delete", "disk": {} } }), &ours), [], "it is used");
    }

    /// Two proxies on one bucket, with this lock between them.
    fn locked(lock: &Value) -> Value {
        json!({ "replicas": 2, "storage": { "s3": { "bucket": "modules" } }, "lock": lock })
    }

    fn redis() -> Value {
        locked(&json!({ "redis": { "address": "redis.example.com:6379" } }))
    }

    fn etcd() -> Value {
        locked(&json!({ "etcd": { "addresses": ["etcd.example.com:2379"] } }))
    }

    /// The revision that a spec asks for, with pods.
    fn running(spec: &Value, pods: i32) -> (String, Children) {
        let observed = asking(spec, Children::new());
        let valid = validate(&observed.fleet, &observed.settings, None).unwrap();
        let revision = revision::wanted(&observed.fleet.spec, &valid, &BTreeMap::new());
        let children = Children::from([
            ((Kind::ControllerRevision, revision.name.clone()), child(Detail::Revision(revision.stored))),
            ((Kind::Deployment, revision.name.clone()), child(Detail::Deployment(fixture::deployment(pods, pods)))),
        ]);
        (revision.name, children)
    }

    fn leading_to(revision: &str) -> ((Kind, String), Child) {
        let service = Detail::Service(fixture::leads(revision, None));
        ((Kind::Service, "corp".to_owned()), child(service))
    }

    #[test]
    fn revisions_that_store_or_lock_another_way_never_have_pods_at_the_same_time() {
        let (first, old) = running(&redis(), 2);
        let other_bucket =
            json!({ "replicas": 2, "storage": { "s3": { "bucket": "other" } }, "lock": redis()["lock"] });
        for spec in [etcd(), other_bucket, json!({ "replicas": 1, "storage": { "memory": {} } })] {
            let (second, _) = running(&spec, 0);
            let children: Children = old.clone().into_iter().chain([leading_to(&first)]).collect();
            let change = plan(&asking(&spec, children.clone()));
            assert_eq!((replicas(&change, &first), replicas(&change, &second)), (Some(0), Some(0)), "{spec}");
            assert_eq!(change.report.overlap, rollout::Overlap::OtherLock, "{spec}");
            assert_eq!(change.report.rollout.unwrap().phase, crate::api::status::RolloutPhase::Stopping);

            let stopped = running(&redis(), 0).1.into_iter().chain([leading_to(&first)]);
            let mut gone = asking(&spec, stopped.collect());
            gone.pods.push(Pod { name: "last".to_owned(), revision: first.clone(), deleting: true, ..Pod::default() });
            assert_eq!(replicas(&plan(&gone), &second), Some(0), "a pod of the old one still ends");
            assert_eq!(plan(&gone).report.trouble, None, "and may still do so");
            gone.pods[0].gone_by = gone.now.checked_sub(jiff::SignedDuration::from_mins(1)).ok();
            let overdue = plan(&gone);
            assert_eq!(replicas(&overdue, &second), Some(0), "it may still run on a lost node");
            assert_eq!(overdue.report.trouble.map(|found| found.obstacle.reason), Some(Reason::Unschedulable));
            gone.pods.clear();
            assert_eq!(replicas(&plan(&gone), &second), Some(i64::from(gone.fleet.spec.replicas)));
        }
    }

    #[test]
    fn revisions_with_the_same_storage_and_lock_run_side_by_side() {
        let (first, old) = running(&redis(), 2);
        let mut more = redis();
        more["engine"] = json!({ "fetchWorkers": 3 });
        let (second, _) = running(&more, 0);
        let change = plan(&asking(&more, old.into_iter().chain([leading_to(&first)]).collect()));
        assert_eq!((replicas(&change, &first), replicas(&change, &second)), (Some(2), Some(2)));
        let start = change.targets[0].objects.iter().find(|one| one.kind == Kind::Deployment && one.name == second);
        let only = object::Precondition::NoPodsOutside {
            revision: second,
            beside: vec![first],
            resource_version: None,
            claim: None,
        };
        assert_eq!(start.unwrap().precondition, only, "what the cache does not know yet may lock in another way");
    }

    #[test]
    fn a_change_of_lock_that_is_taken_back_midway_ends_the_newcomer_first() {
        let ((first, stopped), (second, started)) = (running(&redis(), 0), running(&etcd(), 2));
        let children = stopped.clone().into_iter().chain(started).chain([leading_to(&first)]).collect();
        let back = plan(&asking(&redis(), children));
        assert_eq!((replicas(&back, &first), replicas(&back, &second)), (Some(0), Some(0)));
        let ended = running(&etcd(), 0).1;
        let children = stopped.into_iter().chain(ended).chain([leading_to(&first)]).collect();
        let again = plan(&asking(&redis(), children));
        assert_eq!((replicas(&again, &first), replicas(&again, &second)), (Some(2), Some(0)));
        let start = again.targets[0].objects.iter().find(|one| one.kind == Kind::Deployment && one.name == first);
        assert!(matches!(start.unwrap().precondition, object::Precondition::NoPodsOutside { .. }), "unfenced");
    }

    #[test]
    fn on_shared_storage_a_revision_whose_record_is_lost_counts_as_a_writer() {
        let (first, mut old) = running(&redis(), 2);
        old.remove(&(Kind::ControllerRevision, first.clone()));
        let mut more = redis();
        more["engine"] = json!({ "fetchWorkers": 3 });
        let (second, _) = running(&more, 0);
        let change = plan(&asking(&more, old.into_iter().chain([leading_to(&first)]).collect()));
        assert_eq!(replicas(&change, &second), Some(0), "nobody knows what it locks with");
        assert_eq!(change.report.overlap, rollout::Overlap::OneWriter);
    }

    #[test]
    fn a_revision_whose_record_is_lost_counts_as_a_writer_where_there_is_a_volume() {
        let first = plan(&observed(3, Children::new())).report.stable.unwrap();
        let mut children = without_record(&first, 0, None, &first);
        let second = plan(&observed(4, Children::new())).report.stable.unwrap();
        children.remove(&(Kind::Deployment, second.clone()));
        children.insert((Kind::PersistentVolumeClaim, "corp-data".to_owned()), child(Detail::Claim(Box::default())));
        let alone = plan(&observed(4, children.clone()));
        assert_eq!(replicas(&alone, &second), Some(0), "a second writer was started");
        assert_eq!(touched(&alone, &first), [("prune", Kind::Deployment), ("prune", Kind::ConfigMap)]);
    }
}
