//! What is told of a fleet from inside its pods: whether the volume has room, the lock answers, logins work, and nobody else uses the
//! bucket. Each is a condition of its own, and only where some pod looks at it.
//!
//! A pod that does not answer is unknown, and not bad: what was told before stays until somebody knows better. No message holds a
//! figure that moves by itself.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Observed, Obstacle,
    sight::{Answer, Bucket, Room, Sight},
    validate::{ValidFleet, ValidLock},
};
use crate::{
    api::condition::{ConditionType, Reason},
    engine::contract::sidecar,
};

/// What is told of one capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is as it should be; in these words.
    Good(&'static str),
    /// It is not.
    Bad(Obstacle),
    /// Nobody knows yet: what was told before stays.
    Unknown,
}

/// The conditions that come from inside pods.
pub const TOLD_INSIDE: [ConditionType; 4] = [
    ConditionType::VolumeHasRoom,
    ConditionType::LockReady,
    ConditionType::LoginsWork,
    ConditionType::StorageExclusive,
];

/// What is told of each capability that is looked at, or was. `fleet`: what the pods were made from, if the spec still says so.
pub fn findings(
    observed: &Observed,
    fleet: Option<&ValidFleet>,
    stable: Option<&str>,
) -> BTreeMap<ConditionType, Finding> {
    // Between the end of one pod and the first answer of the next one, nobody knows.
    let expected = observed.fleet.spec.replicas > 0 && fleet.is_some_and(sidecar::is_wanted);
    let Some(sights) = sights(observed, stable).or_else(|| expected.then(Vec::new)) else { return BTreeMap::new() };
    if sights.is_empty() {
        return TOLD_INSIDE.map(|type_| (type_, Finding::Unknown)).into();
    }
    let all = [room(&sights, fleet), locks(&sights, fleet), logins(&sights), bucket(&sights)];
    TOLD_INSIDE.into_iter().zip(all).filter_map(|(type_, found)| Some((type_, found?))).collect()
}

/// What is known of the pods that clients get, or else of any. `None` where no pod looks at anything.
fn sights<'a>(observed: &'a Observed, stable: Option<&str>) -> Option<Vec<&'a Sight>> {
    let live: Vec<_> = observed.pods.iter().filter(|pod| pod.sidecar && !pod.deleting).collect();
    if live.is_empty() {
        return None;
    }
    let of = |serving: bool| -> Vec<&Sight> {
        let pods = live.iter().filter(|pod| !serving || Some(pod.revision.as_str()) == stable);
        pods.filter_map(|pod| observed.reports.get(&pod.name)).map(AsRef::as_ref).collect()
    };
    let serving = of(true);
    Some(if serving.is_empty() { of(false) } else { serving })
}

/// The volume with the least room counts: those of one fleet are one volume.
fn room(sights: &[&Sight], fleet: Option<&ValidFleet>) -> Option<Finding> {
    let claim = fleet.and_then(|fleet| fleet.storage.foreign_claim());
    let grow = claim.map_or_else(
        || "raise spec.storage.disk.size".to_owned(),
        |claim| format!("make PersistentVolumeClaim {claim} larger"),
    );
    let bad = |reason, message| Finding::Bad(Obstacle { reason, message });
    Some(match sights.iter().filter_map(|sight| sight.room).max()? {
        Room::Enough => Finding::Good("the volume has room"),
        Room::Low => bad(
            Reason::NearlyFull,
            format!(
                "less than a tenth of the volume is free: once it is full, what is stored is served, and what is not fails; {grow}"
            ),
        ),
        Room::Full => {
            bad(Reason::Full, format!("the volume is full: what is stored is served, and what is not fails; {grow}"))
        }
    })
}

/// A lock that some proxy cannot reach. One of several servers that is lost costs nothing as long as enough are left.
fn locks(sights: &[&Sight], fleet: Option<&ValidFleet>) -> Option<Finding> {
    let judged: Vec<_> =
        sights.iter().filter(|sight| !sight.locks.is_empty()).map(|sight| lock(sight, fleet)).collect();
    let failing = judged.iter().filter_map(|one| if let Lock::Lost(told) = one { Some(*told) } else { None });
    // Of several proxies, the one that lost it first tells.
    if let Some((since, address, error)) = failing.min() {
        let message = format!(
            "{address} does not answer since {since}: {error}; what is stored is served, and what is not fails until it is back"
        );
        return Some(Finding::Bad(Obstacle { reason: Reason::LockUnavailable, message }));
    }
    let known = judged.iter().any(|one| matches!(one, Lock::Answers));
    (!judged.is_empty()).then_some(if known { Finding::Good("the lock answers") } else { Finding::Unknown })
}

enum Lock<'a> {
    Answers,
    Lost((Timestamp, &'a str, &'a str)),
    Unknown,
}

/// Whether enough servers answer one proxy: of etcd more than half, of those that only know where Redis is, one.
fn lock<'a>(sight: &'a Sight, fleet: Option<&ValidFleet>) -> Lock<'a> {
    let servers = &sight.locks;
    let majority = matches!(fleet.map(|fleet| &fleet.lock), Some(ValidLock::Etcd { .. }));
    let spare = if majority { (servers.len() - 1) / 2 } else { servers.len() - 1 };
    let mut lost: Vec<_> = servers
        .iter()
        .filter_map(|(address, answer)| match answer {
            Answer::No { since, error } => Some((*since, address.as_str(), error.as_str())),
            Answer::Yes | Answer::Unknown => None,
        })
        .collect();
    lost.sort_unstable();
    let answers = servers.iter().filter(|(_, answer)| *answer == Answer::Yes).count();
    match lost.get(spare) {
        // The one after which too few were left.
        Some(lost) => Lock::Lost(*lost),
        None if answers >= servers.len() - spare => Lock::Answers,
        None => Lock::Unknown,
    }
}

/// Every host with a login that some proxy is refused with.
fn logins(sights: &[&Sight]) -> Option<Finding> {
    let mut failing: BTreeMap<&str, (Timestamp, &str)> = BTreeMap::new();
    for sight in sights {
        let mut own = BTreeMap::new();
        for (host, answer) in &sight.logins {
            if let Answer::No { since, error } = answer {
                // What an App says comes first, and explains what its host's probe says.
                own.entry(host.as_str()).or_insert((*since, error.as_str()));
            }
        }
        // Of several proxies, the one that was refused first tells.
        for (host, told) in own {
            let first = failing.entry(host).or_insert(told);
            *first = told.min(*first);
        }
    }
    if !failing.is_empty() {
        let hosts: Vec<_> =
            failing.into_iter().map(|(host, (since, error))| format!("{host} since {since}: {error}")).collect();
        let message = format!(
            "what is stored is served, and nothing new comes from {}; see to its entry in spec.private.credentials and its Secret",
            hosts.join("; nor from ")
        );
        return Some(Finding::Bad(Obstacle { reason: Reason::LoginRefused, message }));
    }
    let mut all = sights.iter().flat_map(|sight| &sight.logins).peekable();
    let any = all.peek().is_some();
    let known = all.any(|(_, answer)| *answer == Answer::Yes);
    any.then_some(if known { Finding::Good("every login that is tried works") } else { Finding::Unknown })
}

/// Another fleet's marker in the bucket. Whoever reads this has the bucket's keys, and can read the marker as well.
fn bucket(sights: &[&Sight]) -> Option<Finding> {
    let told: Vec<_> = sights.iter().filter_map(|sight| sight.bucket.as_ref()).collect();
    let others = told.iter().filter_map(|bucket| match bucket {
        Bucket::Shared(owner) => Some((&owner.namespace, &owner.name, &owner.cluster)),
        Bucket::Own => None,
    });
    Some(match others.min() {
        _ if told.is_empty() => return None,
        None => Finding::Good("no other fleet marks the bucket as its own"),
        Some((namespace, name, cluster)) => Finding::Bad(Obstacle {
            reason: Reason::StorageShared,
            message: format!(
                "the fleet {namespace}/{name} of another operator (cluster {cluster}) marks the bucket as its own: give each a \
                 bucket, and keys that open that alone; if it is gone, its mark ends within three hours"
            ),
        }),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        api::status::GoProxyStatus,
        plan::{
            Pod,
            fixture::{self, SIDECAR_IMAGE, locks as all_locks, smallest},
            plan,
        },
        sidecar::config::Owner,
        status::status,
    };

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn no(since: i64, error: &str) -> Answer {
        Answer::No { since: second(since), error: error.to_owned() }
    }

    fn pod(name: &str, revision: &str) -> Pod {
        Pod { name: name.to_owned(), revision: revision.to_owned(), sidecar: true, ..Pod::default() }
    }

    /// A fleet of which pods of one revision, or none, told this.
    fn telling(sights: Vec<Sight>) -> Observed {
        let fleet = json!({
            "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "metadata": { "name": "corp", "namespace": "build", "uid": "u" },
            "spec": {},
        });
        let mut observed = fixture::observed(fleet);
        for (index, sight) in sights.into_iter().enumerate() {
            let name = format!("corp-1-{index}");
            observed.pods.push(pod(&name, "corp-1"));
            observed.reports.insert(name, Arc::new(sight));
        }
        observed
    }

    fn found(sights: Vec<Sight>, fleet: &ValidFleet) -> BTreeMap<ConditionType, Finding> {
        findings(&telling(sights), Some(fleet), Some("corp-1"))
    }

    fn bad(found: &BTreeMap<ConditionType, Finding>, type_: ConditionType) -> (Reason, String) {
        match found.get(&type_) {
            Some(Finding::Bad(Obstacle { reason, message })) => (*reason, message.clone()),
            other => panic!("{type_:?} is {other:?}"),
        }
    }

    fn with_room(room: Room) -> Sight {
        Sight { room: Some(room), ..Sight::default() }
    }

    fn asking(answers: &[Answer]) -> Sight {
        let locks = answers.iter().enumerate().map(|(at, answer)| (format!("lock-{at}:6379"), answer.clone()));
        Sight { locks: locks.collect(), ..Sight::default() }
    }

    fn logging_in(answers: &[(&str, Answer)]) -> Sight {
        Sight {
            logins: answers.iter().map(|(host, answer)| ((*host).to_owned(), answer.clone())).collect(),
            ..Sight::default()
        }
    }

    #[test]
    fn a_fleet_whose_pods_look_at_nothing_is_told_nothing() {
        assert!(findings(&telling(Vec::new()), Some(&smallest()), None).is_empty());
        let mut old = telling(vec![Sight::default()]);
        old.pods[0].sidecar = false;
        assert!(findings(&old, Some(&smallest()), Some("corp-1")).is_empty());
        assert!(found(vec![Sight::default()], &smallest()).is_empty(), "it looks at nothing");
    }

    #[test]
    fn the_pod_with_the_least_room_counts_and_says_how_to_get_more() {
        let sights = || vec![with_room(Room::Enough), with_room(Room::Full), with_room(Room::Low)];
        let (reason, message) = bad(&found(sights(), &smallest()), ConditionType::VolumeHasRoom);
        assert_eq!(reason, Reason::Full);
        assert_eq!(
            message,
            "the volume is full: what is stored is served, and what is not fails; raise spec.storage.disk.size"
        );
        let claimed = fixture::places().into_iter().find(|(name, _)| *name == "claim").unwrap().1;
        let fleet = ValidFleet { storage: claimed, ..smallest() };
        let (reason, message) = bad(&found(vec![with_room(Room::Low)], &fleet), ConditionType::VolumeHasRoom);
        assert_eq!(reason, Reason::NearlyFull);
        assert!(message.ends_with("make PersistentVolumeClaim athens larger"), "{message}");
        let good = found(vec![with_room(Room::Enough)], &smallest());
        assert_eq!(good.get(&ConditionType::VolumeHasRoom), Some(&Finding::Good("the volume has room")));
    }

    #[test]
    fn a_lock_is_lost_when_too_few_of_its_servers_answer() {
        let (yes, lost, unknown) = (Answer::Yes, no(10, "connection refused"), Answer::Unknown);
        let late = no(20, "timed out");
        for (lock, answers, expected) in [
            ("redis", vec![yes.clone()], Some("good")),
            ("redis", vec![unknown.clone()], Some("unknown")),
            (
                "redis",
                vec![lost.clone()],
                Some("lock-0:6379 does not answer since 1970-01-01T00:00:10Z: connection refused"),
            ),
            ("sentinel", vec![lost.clone(), lost.clone(), yes.clone()], Some("good")),
            ("sentinel", vec![lost.clone(), lost.clone(), unknown.clone()], Some("unknown")),
            (
                "sentinel",
                vec![lost.clone(), late.clone(), lost.clone()],
                Some("lock-1:6379 does not answer since 1970-01-01T00:00:20Z"),
            ),
            ("etcd", vec![lost.clone(), yes.clone(), yes.clone()], Some("good")),
            (
                "etcd",
                vec![late.clone(), lost.clone(), yes.clone()],
                Some("lock-0:6379 does not answer since 1970-01-01T00:00:20Z"),
            ),
            (
                "etcd",
                vec![lost.clone(), late, no(30, "x")],
                Some("lock-1:6379 does not answer since 1970-01-01T00:00:20Z"),
            ),
            ("in-process", vec![], None),
        ] {
            let lock_of = all_locks().into_iter().find(|(name, _)| *name == lock).unwrap().1;
            let fleet = ValidFleet { lock: lock_of, ..smallest() };
            let found = found(vec![asking(&answers)], &fleet).remove(&ConditionType::LockReady);
            let told = found.map(|found| match found {
                Finding::Good(_) => "good".to_owned(),
                Finding::Unknown => "unknown".to_owned(),
                Finding::Bad(obstacle) => obstacle.message,
            });
            assert!(
                told.as_deref().zip(expected).is_some_and(|(told, expected)| told.starts_with(expected))
                    || (told.is_none() && expected.is_none()),
                "{lock} {answers:?}: {told:?}"
            );
        }
    }

    #[test]
    fn one_proxy_that_cannot_reach_its_lock_is_enough_and_their_order_means_nothing() {
        let sights = vec![asking(&[Answer::Yes]), asking(&[no(20, "b")]), asking(&[no(10, "a")])];
        let reversed: Vec<_> = sights.iter().rev().cloned().collect();
        let (reason, message) = bad(&found(sights, &smallest()), ConditionType::LockReady);
        assert_eq!(reason, Reason::LockUnavailable);
        assert!(message.contains(":10Z: a;"), "{message}");
        assert_eq!(bad(&found(reversed, &smallest()), ConditionType::LockReady), (reason, message));
    }

    #[test]
    fn every_host_that_refuses_is_told_once() {
        let sights = vec![
            logging_in(&[("github.com", no(5, "the App is suspended")), ("github.com", no(9, "no token"))]),
            logging_in(&[("git.example.com", no(7, "401")), ("other.example.com", Answer::Yes)]),
        ];
        let reversed: Vec<_> = sights.iter().rev().cloned().collect();
        let (reason, message) = bad(&found(sights, &smallest()), ConditionType::LoginsWork);
        assert_eq!(reason, Reason::LoginRefused);
        assert_eq!(
            message,
            "what is stored is served, and nothing new comes from git.example.com since 1970-01-01T00:00:07Z: 401; nor from \
             github.com since 1970-01-01T00:00:05Z: the App is suspended; see to its entry in spec.private.credentials and its \
             Secret"
        );
        assert_eq!(bad(&found(reversed, &smallest()), ConditionType::LoginsWork).1, message);
        let known = found(vec![logging_in(&[("a", Answer::Unknown), ("b", Answer::Yes)])], &smallest());
        assert!(matches!(known[&ConditionType::LoginsWork], Finding::Good(_)));
        let unknown = found(vec![logging_in(&[("a", Answer::Unknown)])], &smallest());
        assert_eq!(unknown[&ConditionType::LoginsWork], Finding::Unknown);
    }

    #[test]
    fn another_fleets_marker_is_told_with_whose_it_is() {
        let marked = |bucket| vec![Sight { bucket: Some(bucket), ..Sight::default() }];
        let owner = Owner {
            cluster: "other.example".to_owned(),
            namespace: "build".to_owned(),
            name: "theirs".to_owned(),
            uid: "u-2".to_owned(),
        };
        let shared = found(marked(Bucket::Shared(Box::new(owner))), &smallest());
        let (reason, message) = bad(&shared, ConditionType::StorageExclusive);
        assert_eq!(reason, Reason::StorageShared);
        assert!(message.contains("build/theirs") && message.contains("other.example"), "{message}");
        let own = found(marked(Bucket::Own), &smallest());
        assert!(matches!(own[&ConditionType::StorageExclusive], Finding::Good(_)));
    }

    #[test]
    fn pods_that_clients_get_are_heard_before_others() {
        let mut observed = telling(vec![asking(&[no(1, "old")])]);
        observed.pods.push(pod("corp-2-0", "corp-2"));
        observed.reports.insert("corp-2-0".to_owned(), Arc::new(asking(&[Answer::Yes])));
        let of = |stable| findings(&observed, None, stable)[&ConditionType::LockReady].clone();
        assert!(matches!(of(Some("corp-2")), Finding::Good(_)));
        assert!(matches!(of(Some("corp-1")), Finding::Bad(_)));
        assert!(matches!(of(Some("corp-3")), Finding::Bad(_)), "any is better than none");
    }

    /// The status after the next look at what was observed.
    fn next(observed: &Observed, before: Option<GoProxyStatus>) -> GoProxyStatus {
        let mut fleet = (*observed.fleet).clone();
        fleet.status = before;
        let observed = Observed { fleet: Arc::new(fleet), ..observed.clone() };
        status(&observed.fleet, &plan(&observed).report, observed.now)
    }

    fn told(status: &GoProxyStatus, type_: &str) -> Option<(String, String)> {
        let found = status.conditions.iter().find(|one| one.type_ == type_)?;
        Some((found.status.clone(), found.reason.clone()))
    }

    #[test]
    fn what_is_not_known_stays_as_it_was_told_and_writes_nothing() {
        let full = telling(vec![with_room(Room::Full)]);
        let first = next(&full, None);
        assert_eq!(told(&first, "VolumeHasRoom"), Some(("False".to_owned(), "Full".to_owned())));
        // Another operator leads now, and has heard nobody yet; or the pod is gone, and its successor has not answered.
        let silent = Observed { reports: BTreeMap::new(), ..full.clone() };
        let between = Observed { pods: Vec::new(), ..silent.clone() };
        for unknown in [&silent, &between] {
            let room =
                |status: &GoProxyStatus| status.conditions.iter().find(|one| one.type_ == "VolumeHasRoom").cloned();
            assert_eq!(room(&next(unknown, Some(first.clone()))), room(&first));
            assert_eq!(told(&next(unknown, None), "VolumeHasRoom"), None, "nobody ever said so");
        }
        assert_eq!(next(&silent, Some(first.clone())), first);
        let more = next(&telling(vec![with_room(Room::Enough)]), Some(first.clone()));
        assert_eq!(told(&more, "VolumeHasRoom"), Some(("True".to_owned(), "Available".to_owned())));
        // Without an image, pods have no sidecars, and what once was told is not told any more.
        let settings = crate::plan::validate::Settings { sidecar_image: None, ..(*between.settings).clone() };
        let without = Observed { settings: Arc::new(settings), ..between };
        assert_eq!(told(&next(&without, Some(first)), "VolumeHasRoom"), None);
    }

    #[test]
    fn conditions_come_in_one_order_whether_told_anew_or_kept() {
        let both = Sight { locks: asking(&[no(1, "x")]).locks, ..with_room(Room::Low) };
        let observed = telling(vec![both]);
        let first = next(&observed, None);
        let types: Vec<_> = first.conditions.iter().map(|one| one.type_.as_str()).collect();
        assert_eq!(types[types.len() - 3..], ["EngineUpdateAvailable", "VolumeHasRoom", "LockReady"]);
        let kept = next(&Observed { reports: BTreeMap::new(), ..observed.clone() }, Some(first.clone()));
        assert_eq!(kept, first);
        assert_eq!(next(&observed, Some(kept)), first);
    }

    #[test]
    fn a_fleet_with_a_sidecar_is_expected_to_tell() {
        let fleet = ValidFleet { sidecar_image: Some(SIDECAR_IMAGE.to_owned()), ..smallest() };
        let found = findings(&telling(Vec::new()), Some(&fleet), None);
        assert!(found.values().all(|one| *one == Finding::Unknown) && found.len() == TOLD_INSIDE.len());
    }
}
