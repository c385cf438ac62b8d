//! The one rule of `NotReady`: whether a revision of which no pod is ready still starts or is to be told of, in which words, and
//! what is to be expected of it.
//!
//! Named causes come first ([`super::health`]). Here nobody names one: an engine starts with a bucket that does not answer, and neither
//! its log nor the kubelet tells why it is not ready.
//!
//! * **When.** A pod that was ready before is told of at once, because it was asked more than once. One whose engine runs gets half
//!   a minute, so that a wrong login is not "starting" for ten. One whose engine does not run yet gets what its
//!   Deployment gets.
//! * **In which words.** With the storage's field, where the engine reads its storage to say that it is ready. It does not ask its lock for
//!   that: without one it ends at its start, and then its last words tell, or it serves what is stored.
//! * **What is to be expected.** A revision that served gets on by itself once what it lost is back: nothing is under way, and
//!   nobody has to change the fleet. A first or next one starts until its Deployment's deadline is over, and is stalled from then on, as
//!   kstatus reads a Deployment. The deadline is counted here, from the oldest pod: the Deployment's own condition
//!   knows none once it was complete, and one that was made without pods is complete before it has any.

use jiff::{SignedDuration, Timestamp};

use super::{
    Detail, Observed, Obstacle, Pod,
    assemble::deployment_of,
    object::{REVISION_LABEL, deployment::PROGRESS_DEADLINE_SECONDS},
    report::Trouble,
    validate::ValidFleet,
};
use crate::{api::condition::Reason, engine::asked_for_readiness};

/// How long an engine that just started may take until it is ready: some rounds of the slowest question to its storage.
const WARMING_UP: SignedDuration = SignedDuration::from_secs(30);
/// How long the start of a pod may take.
const STARTING: SignedDuration = SignedDuration::from_secs(PROGRESS_DEADLINE_SECONDS as i64);

/// Why a revision serves nobody although nothing tells a cause. `None` while one of its pods is ready, and while they start.
/// `fleet`: what the revision was made from, if that is known. `served`: whether clients got it already.
pub fn trouble(observed: &Observed, fleet: Option<&ValidFleet>, revision: &str, served: bool) -> Option<Trouble> {
    let is_over = |at: Option<Timestamp>| at.is_some_and(|at| at <= observed.now);
    let due: Vec<_> = unready(observed, revision).filter(|pod| is_over(due(pod))).collect();
    if due.is_empty() {
        return None;
    }
    let overdue = !served && unready(observed, revision).any(|pod| is_over(deadline(pod)));
    let obstacle = Obstacle { reason: Reason::NotReady, message: words(fleet, revision, &due) };
    Some(Trouble { obstacle, starting: !served && !overdue, stalled: overdue })
}

/// The next instant at which this rule says something else although nothing is heard.
pub fn next_look(observed: &Observed) -> Option<Timestamp> {
    let revisions = observed.children.iter().filter(|(_, child)| matches!(child.detail, Detail::Deployment(_)));
    let pods = revisions.flat_map(|((_, name), _)| unready(observed, name));
    pods.flat_map(|pod| [due(pod), deadline(pod)]).flatten().filter(|at| *at > observed.now).min()
}

/// The pods of a revision that shall serve and of which none is ready: while one is, another one may only be busy.
fn unready<'a>(observed: &'a Observed, revision: &str) -> impl Iterator<Item = &'a Pod> {
    let live = move |pod: &&Pod| pod.revision == revision && !pod.deleting;
    let wanted = deployment_of(&observed.children, revision).is_some_and(|view| view.replicas > 0);
    let serves = observed.pods.iter().filter(live).any(|pod| pod.ready);
    observed.pods.iter().filter(live).filter(move |_| wanted && !serves)
}

/// From when on a pod that is not ready is to be told of.
fn due(pod: &Pod) -> Option<Timestamp> {
    match (pod.running, pod.unready) {
        (Some(running), Some(unready)) if unready.since > running => Some(unready.since),
        (Some(running), Some(_)) => running.checked_add(WARMING_UP).ok(),
        // It just began to run, and nobody said anything of it.
        (Some(_), None) => None,
        // What started once and does so again gets the time again.
        (None, Some(unready)) => unready.since.checked_add(STARTING).ok(),
        (None, None) => deadline(pod),
    }
}

/// When its first start should be over.
fn deadline(pod: &Pod) -> Option<Timestamp> {
    pod.created?.checked_add(STARTING).ok()
}

/// Whoever asked the pods keeps the answer, so this tells where to look. The same words for as long as it lasts.
fn words(fleet: Option<&ValidFleet>, revision: &str, due: &[&Pod]) -> String {
    let says = |asked| move |pod: &&Pod| pod.running.is_some() && pod.unready.is_some_and(|told| told.asked == asked);
    let look = format!("`kubectl describe pod --selector {REVISION_LABEL}={revision}`");
    if due.iter().any(says(true)) {
        let cause = fleet.and_then(asked_for_readiness).map_or_else(
            || format!("{look} tells how they answer"),
            |field| {
                format!(
                    "what {field} names does not answer them as it should: check that it exists, that pods reach it, and that \
                     its login is the right one"
                )
            },
        );
        format!("pods of {revision} run and none is ready: {cause}")
    } else if due.iter().any(says(false)) {
        format!("no pod of {revision} is ready, and its node does not say so: the node is lost, or {look} tells more")
    } else {
        format!("no pod of {revision} gets through its start: {look} tells how far they are")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::{
        Child, Children, DeploymentView, Unready,
        fixture::{self, bucket, smallest},
        object::{Fingerprint, Kind},
    };

    const STARTS: Option<(bool, bool)> = Some((true, false));
    const RECOVERS: Option<(bool, bool)> = Some((false, false));
    const STALLED: Option<(bool, bool)> = Some((false, true));

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Revision `corp-1` with these pods.
    fn at(now: i64, pods: &[Pod]) -> Observed {
        let fleet = json!({ "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "metadata": { "name": "corp" }, "spec": {} });
        let view = DeploymentView { replicas: 2, ..DeploymentView::default() };
        let deployment = Child {
            uid: "child".to_owned(),
            resource_version: "1".to_owned(),
            owner_uid: None,
            live: Fingerprint::of(&json!({})),
            deleting: false,
            detail: Detail::Deployment(view),
        };
        let children = Children::from([((Kind::Deployment, "corp-1".to_owned()), deployment)]);
        Observed { now: second(now), pods: pods.to_vec(), children, ..fixture::observed(fleet) }
    }

    fn pod(name: &str) -> Pod {
        Pod { name: name.to_owned(), revision: "corp-1".to_owned(), created: Some(second(80)), ..Pod::default() }
    }

    /// Its engine runs, and was never ready.
    fn starting(name: &str) -> Pod {
        Pod { running: Some(second(100)), unready: told(90, true), ..pod(name) }
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is the value of a field")]
    fn told(since: i64, asked: bool) -> Option<Unready> {
        Some(Unready { since: second(since), asked })
    }

    /// Whether pods are starting nevertheless, and whether it is stalled.
    fn expected(now: i64, pods: &[Pod], served: bool) -> Option<(bool, bool)> {
        trouble(&at(now, pods), Some(&smallest()), "corp-1", served).map(|found| (found.starting, found.stalled))
    }

    fn message(pod: &Pod, fleet: Option<&ValidFleet>) -> String {
        let found = trouble(&at(9999, std::slice::from_ref(pod)), fleet, "corp-1", true).unwrap().obstacle;
        assert_eq!(found.reason, Reason::NotReady);
        found.message
    }

    #[test]
    fn a_first_start_has_half_a_minute_for_words_and_its_deployments_deadline_until_it_is_stalled() {
        let pods = [starting("corp-1-a")];
        assert_eq!(expected(129, &pods, false), None, "it warms up");
        assert_eq!(next_look(&at(129, &pods)), Some(second(130)), "nothing else would tell");
        assert_eq!(expected(130, &pods, false), STARTS);
        assert_eq!(next_look(&at(130, &pods)), Some(second(680)));
        assert_eq!(expected(679, &pods, false), STARTS);
        assert_eq!(expected(680, &pods, false), STALLED);
        assert_eq!(next_look(&at(680, &pods)), None, "looked at again for nothing");
    }

    #[test]
    fn what_served_is_told_of_at_once_and_never_stalled() {
        let ceased = Pod { unready: told(200, true), ..starting("corp-1-a") };
        assert_eq!(expected(200, std::slice::from_ref(&ceased), true), RECOVERS, "it was asked twice");
        assert_eq!(expected(9999, std::slice::from_ref(&ceased), true), RECOVERS);
        let restarted = [Pod { running: Some(second(5000)), ..ceased }];
        assert_eq!(expected(5029, &restarted, true), None, "its engine is another one");
        assert_eq!(expected(5030, &restarted, true), RECOVERS);
    }

    #[test]
    fn pods_that_replace_those_that_served_are_starting() {
        let gone = Pod { deleting: true, unready: told(200, true), ..starting("corp-1-a") };
        let next = Pod { created: Some(second(200)), ..pod("corp-1-b") };
        let pods = [gone, next];
        assert_eq!(expected(799, &pods, true), None);
        assert_eq!(next_look(&at(799, &pods)), Some(second(800)));
        assert_eq!(expected(800, &pods, true), RECOVERS, "that takes too long for a start");
    }

    #[test]
    fn a_container_that_starts_again_has_the_time_of_a_start_again() {
        let pods = [Pod { running: None, unready: told(3000, true), ..starting("corp-1-a") }];
        assert_eq!(expected(3599, &pods, true), None);
        assert_eq!(expected(3600, &pods, true), RECOVERS);
    }

    #[test]
    fn one_that_is_ready_speaks_for_its_revision_and_for_no_other() {
        let serving = Pod { ready: true, unready: None, ..pod("corp-1-b") };
        let partly = [starting("corp-1-a"), serving.clone()];
        assert_eq!(expected(9999, &partly, true), None, "another one serves");
        assert_eq!(next_look(&at(100, &partly)), None);
        let other = Pod { revision: "corp-2".to_owned(), ..serving };
        assert_eq!(expected(9999, &[starting("corp-1-a"), other], true), RECOVERS);
        assert_eq!(trouble(&at(9999, &partly), None, "corp-2", true), None, "it has no Deployment");
        let unheard = Pod { unready: None, ..starting("corp-1-a") };
        assert_eq!(expected(9999, &[unheard], true), None, "nobody said that it is not ready");
    }

    #[test]
    fn a_revision_without_pods_to_come_is_not_waited_for() {
        let mut stopped = at(9999, &[starting("corp-1-a")]);
        for child in stopped.children.values_mut() {
            child.detail = Detail::Deployment(DeploymentView::default());
        }
        assert_eq!(trouble(&stopped, None, "corp-1", true), None);
        assert_eq!(next_look(&stopped), None);
    }

    #[test]
    fn the_words_name_the_storage_where_the_engine_asks_it() {
        let bucket = ValidFleet { storage: bucket(), ..smallest() };
        let asked = starting("corp-1-a");
        let found = message(&asked, Some(&bucket));
        assert!(found.starts_with("pods of corp-1 run and none is ready: what spec.storage.s3 names"), "{found}");
        let look = "kubectl describe pod --selector goproxy.rs/revision=corp-1";
        for fleet in [None, Some(&smallest())] {
            assert!(message(&asked, fleet).contains(look), "a disk is asked by nobody else");
        }
        let silent = Pod { unready: told(200, false), ..asked.clone() };
        assert!(message(&silent, Some(&bucket)).contains("the node is lost"), "{}", message(&silent, Some(&bucket)));
        let stuck = Pod { running: None, ..asked };
        assert!(message(&stuck, Some(&bucket)).contains("gets through its start"));
    }
}
