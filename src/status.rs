//! The status as a pure function of the plan's report. Timestamps move only when what they date changes, so that a fleet
//! at rest has nothing to write.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    api::{
        condition::{ConditionType, Reason},
        go_proxy::GoProxy,
        status::{ClientsReach, EdgeStatus, GoProxyStatus, RegionState, RegionStatus, RolloutPhase, WaitingReason},
    },
    engine::{client_settings, version::Version},
    plan::{
        DEFAULT_REGION, Obstacle,
        edge::EdgeSight,
        front::Front,
        inside::{Finding, TOLD_INSIDE},
        report::{Report, Trouble, Verdict},
        rollout::Overlap,
        validate::Refusal,
    },
};

/// Longest message of a condition: enough for a cause and its fix; the API server's limit is 32 KiB.
const MESSAGE_MAX: usize = 1024;

/// The next status of a fleet.
pub fn status(fleet: &GoProxy, report: &Report, now: Timestamp) -> GoProxyStatus {
    let old = fleet.status.clone().unwrap_or_default();
    let generation = fleet.metadata.generation;
    let valid = match &report.verdict {
        Verdict::Planned(valid) => Some(valid.as_ref()),
        Verdict::Refused(_) | Verdict::StorageTaken(_) | Verdict::Suspended | Verdict::Deleting => None,
    };
    let stable = report.revisions.iter().find(|revision| Some(&revision.name) == report.stable.as_ref());
    let judgements = [ready(report), reconciling(report), stalled(report)]
        .into_iter()
        .chain(engine_update(stable.map(|s| s.version.as_str())))
        .chain(volume_sized(report))
        .chain(inside(report))
        .chain(report.edge.as_ref().map(edge_ready));
    let mut conditions: Vec<_> = judgements.map(|judgement| condition(&old, judgement, generation, now)).collect();
    conditions.extend(as_before(&old, report, generation));
    conditions.sort_by_key(|one| ConditionType::ALL.iter().position(|type_| type_.as_str() == one.type_));
    // Pods that are neither ready nor in trouble are told of together with what becomes of them.
    let replicas = if report.state == RegionState::Progressing { old.replicas } else { report.replicas };
    GoProxyStatus {
        observed_generation: generation,
        summary: Some(summary(fleet, report, stable.map(|revision| revision.version.as_str()))),
        version: stable.map(|revision| revision.version.clone()),
        replicas,
        ready_replicas: report.ready,
        selector: report.stable.as_ref().map(|stable| selector(fleet, stable)),
        conditions,
        client: valid.map(client_settings).or(old.client),
        edge: report.edge.as_ref().map(edge_status),
        effective: valid.map_or(old.effective, |valid| valid.defaults.clone()),
        regions: vec![RegionStatus {
            name: DEFAULT_REGION.to_owned(),
            state: report.state,
            ready_replicas: report.ready,
            revisions: report.revisions.clone(),
            rollout: report.rollout.clone(),
            unused_volume: report.unused_volume.clone(),
        }],
    }
}

/// Label selector of the stable revision's pods, for autoscalers.
fn selector(fleet: &GoProxy, stable: &str) -> String {
    let name = fleet.metadata.name.as_deref().unwrap_or_default();
    format!("{}={name},{}={stable}", crate::plan::object::FLEET_LABEL, crate::plan::object::REVISION_LABEL)
}

/// A condition before it has a time.
struct Judgement {
    type_: ConditionType,
    holds: bool,
    reason: Reason,
    message: String,
}

/// Ready: clients are served, by the newest spec or by the last good one.
fn ready(report: &Report) -> Judgement {
    let judge = |holds, reason, message: &str| Judgement {
        type_: ConditionType::Ready,
        holds,
        reason,
        message: message.to_owned(),
    };
    let shut_out = report.edge.as_ref().and_then(EdgeSight::outage);
    match (&report.verdict, report.state, &report.trouble) {
        (.., Some(Trouble { obstacle, .. })) if obstacle.reason == Reason::NameTaken => {
            judge(false, Reason::NameTaken, &obstacle.message)
        }
        (_, RegionState::Healthy, _) => judge(true, Reason::Available, "clients are served"),
        (Verdict::Refused(refusals), ..) => judge(false, Reason::InvalidSpec, &refusal_text(refusals)),
        (Verdict::StorageTaken(refusal), ..) => judge(false, Reason::StorageTaken, &refusal.message),
        (_, RegionState::Stopped, _) => judge(false, Reason::Stopped, "spec.replicas is 0"),
        _ if shut_out.is_some() => {
            judge(false, Reason::EdgeUnavailable, shut_out.as_ref().map_or("", |outage| outage.message.as_str()))
        }
        (_, _, Some(Trouble { obstacle, .. })) => judge(false, obstacle.reason, &with_way_back(report, obstacle)),
        (_, RegionState::Progressing | RegionState::Unavailable, None) => {
            judge(false, Reason::Progressing, "no pod is ready yet")
        }
    }
}

/// Reconciling: a change is under way. Pods that only wait for what they lost, or for somebody, are none.
fn reconciling(report: &Report) -> Judgement {
    let (holds, reason, message) = match (&report.verdict, &report.rollout, report.state) {
        (Verdict::Suspended, ..) => (false, Reason::Suspended, "spec.suspend is set: nothing of this fleet is touched"),
        (Verdict::Deleting, ..) => (true, Reason::Progressing, "the fleet is being deleted"),
        (Verdict::Refused(_), ..) => (false, Reason::InvalidSpec, "the spec is refused; the last good state goes on"),
        (Verdict::StorageTaken(_), ..) => {
            (false, Reason::StorageTaken, "another fleet has the storage; the last good state goes on")
        }
        (Verdict::Planned(_), Some(rollout), _) => {
            (true, Reason::Progressing, waiting_text(rollout.waiting_for.reason, report.overlap))
        }
        (Verdict::Planned(_), None, RegionState::Progressing | RegionState::Unavailable) if report.ready > 0 => {
            without_an_edge(report)
        }
        (Verdict::Planned(_), None, RegionState::Progressing | RegionState::Unavailable) => without_a_pod(report),
        (Verdict::Planned(_), None, RegionState::Stopped) => (false, Reason::Stopped, "spec.replicas is 0"),
        (Verdict::Planned(_), None, RegionState::Healthy) => edge_changes(report)
            .map_or((false, Reason::Available, "nothing is under way"), |change| (true, Reason::Progressing, change)),
    };
    Judgement { type_: ConditionType::Reconciling, holds, reason, message: message.to_owned() }
}

/// Whether pods of a fleet that has none ready are on their way.
fn without_a_pod(report: &Report) -> (bool, Reason, &'static str) {
    match report.trouble.as_ref().filter(|trouble| !trouble.starting) {
        None => (true, Reason::Progressing, "pods are starting"),
        Some(trouble) if trouble.stalled => {
            (false, trouble.obstacle.reason, "nothing is under way until somebody sees to what Stalled tells")
        }
        Some(trouble) => {
            (false, trouble.obstacle.reason, "nothing is under way: pods serve again once what they miss is back")
        }
    }
}

/// Whether something is under way in a fleet whose proxies serve and whose edge does not. Clients came to it, so pods of it were ready
/// before: they wait for what they lost, or for somebody.
fn without_an_edge(report: &Report) -> (bool, Reason, &'static str) {
    let lost = "nothing is under way: clients are served again once a pod of the edge is ready";
    edge_changes(report).map_or((false, Reason::EdgeUnavailable, lost), |change| (true, Reason::Progressing, change))
}

/// What a fleet waits for whose clients do not reach yet what the spec says.
fn edge_changes(report: &Report) -> Option<&'static str> {
    let edge = report.edge.as_ref()?;
    match (edge.wanted, edge.front) {
        (true, Front::Engines) => Some("waiting for a pod of the edge to serve; clients reach the proxies meanwhile"),
        (true, Front::Edges) => None,
        (false, Front::Edges) => Some("waiting for proxies that can serve before clients leave the edge"),
        (false, Front::Engines) => Some("clients have left the edge; it is kept for spec.rollout.scaleDownDelay"),
    }
}

const fn waiting_text(reason: WaitingReason, overlap: Overlap) -> &'static str {
    match reason {
        WaitingReason::NextAvailable => "waiting for the next revision's pods to become available",
        WaitingReason::OldPodsGone => match overlap {
            Overlap::OtherLock => {
                "waiting for the old revision's pods to end: they store or lock another way than the next one's"
            }
            Overlap::Allowed | Overlap::OneWriter => {
                "waiting for the old revision's pods to end: its storage has one writer"
            }
        },
        WaitingReason::ScaleDownDelay => "clients have moved; the old revision is kept for spec.rollout.scaleDownDelay",
        WaitingReason::EdgesFollow => "clients have moved; the old revision is kept until every edge pod leads past it",
        WaitingReason::RolloutSlot => {
            "waiting for other fleets that change for the same operator upgrade; one that this upgrade stalled keeps its place"
        }
    }
}

/// Stalled: it cannot go on by itself, or did not within its time.
fn stalled(report: &Report) -> Judgement {
    let (holds, reason, message) = match (&report.verdict, &report.trouble) {
        (Verdict::Refused(refusals), _) => (true, Reason::InvalidSpec, refusal_text(refusals)),
        (Verdict::StorageTaken(refusal), _) => (true, Reason::StorageTaken, refusal.message.clone()),
        (_, Some(Trouble { obstacle, stalled: true, .. })) => (true, obstacle.reason, with_way_back(report, obstacle)),
        (Verdict::Planned(_) | Verdict::Suspended | Verdict::Deleting, _) => {
            (false, Reason::Available, "nothing stands in the way".to_owned())
        }
    };
    Judgement { type_: ConditionType::Stalled, holds, reason, message }
}

/// What is wrong. Where what served had to end before its successor could start, also how clients get it back.
fn with_way_back(report: &Report, trouble: &Obstacle) -> String {
    let starting = report.rollout.as_ref().is_some_and(|rollout| rollout.phase == RolloutPhase::Starting);
    let why = match report.overlap {
        Overlap::OneWriter => "its storage has one writer",
        Overlap::OtherLock => "the next one stores or locks modules another way",
        Overlap::Allowed => return trouble.message.clone(),
    };
    match &report.stable {
        Some(stable) if starting && report.ready == 0 => {
            // First, because a long message is cut off at its end.
            format!(
                "{stable} had to end first, as {why}; to have exactly it back, undo the change of spec: {}",
                trouble.message
            )
        }
        _ => trouble.message.clone(),
    }
}

/// `EngineUpdateAvailable`: judged once a revision serves.
fn engine_update(version: Option<&str>) -> Option<Judgement> {
    let version = Version::parse(version?)?;
    let newest = Version::newest(version.kind());
    let newer = version < newest;
    let (reason, message) = match version.fault() {
        Some(fault) => {
            (Reason::FaultyEngine, format!("{version} {fault}: set spec.engine.version to {}", newest.as_str()))
        }
        None if newer => (
            Reason::NewerEngine,
            format!("the fleet runs {version}; {newest} is tested: set spec.engine.version to {}", newest.as_str()),
        ),
        None => (Reason::UpToDate, format!("{version} is the newest tested engine")),
    };
    Some(Judgement { type_: ConditionType::EngineUpdateAvailable, holds: newer, reason, message })
}

/// `VolumeSized`: told of while the volume is not as the spec says, so that most statuses need no room for it.
fn volume_sized(report: &Report) -> Option<Judgement> {
    let sizing = report.volume.as_ref()?;
    let (reason, message) = (sizing.reason, sizing.message.clone());
    Some(Judgement { type_: ConditionType::VolumeSized, holds: false, reason, message })
}

/// What is told from inside the pods; of a lock that the fleet brings along, its own pod tells first.
fn inside(report: &Report) -> impl Iterator<Item = Judgement> {
    let bad = |type_, Obstacle { reason, message }| Judgement { type_, holds: false, reason, message };
    let judge = move |type_: ConditionType| {
        let lock = report.lock.clone().filter(|_| type_ == ConditionType::LockReady);
        match (lock, report.inside.get(&type_)) {
            (Some(obstacle), _) => Some(bad(type_, obstacle)),
            (None, Some(Finding::Bad(obstacle))) => Some(bad(type_, obstacle.clone())),
            (None, Some(Finding::Good(words))) => {
                Some(Judgement { type_, holds: true, reason: Reason::Available, message: (*words).to_owned() })
            }
            (None, Some(Finding::Unknown) | None) => None,
        }
    };
    TOLD_INSIDE.into_iter().filter_map(judge)
}

/// What was told from inside pods of which nobody knows more yet.
fn as_before(old: &GoProxyStatus, report: &Report, generation: Option<i64>) -> Vec<Condition> {
    let unknown = |type_: &ConditionType| report.inside.get(type_) == Some(&Finding::Unknown);
    let stays =
        |told: &&Condition| TOLD_INSIDE.iter().filter(|type_| unknown(type_)).any(|one| one.as_str() == told.type_);
    let own_lock = |told: &&Condition| report.lock.is_some() && told.type_ == ConditionType::LockReady.as_str();
    let kept = old.conditions.iter().filter(stays).filter(|told| !own_lock(told));
    kept.map(|told| Condition { observed_generation: generation, ..told.clone() }).collect()
}

/// `EdgeReady`: what is not answered yet is no news, so that a change of settings is none either.
fn edge_ready(edge: &EdgeSight) -> Judgement {
    let name = &edge.name;
    let (holds, reason, message) = match (edge.outage(), &edge.refusal) {
        (Some(Obstacle { reason, message }), _) => (false, reason, message),
        (None, _) if edge.ready == 0 => {
            let advice = format!("the edge starts; if it stays so, `kubectl describe pod {name}-0` tells why");
            (false, Reason::Progressing, advice)
        }
        (None, Some(refusal)) => (false, Reason::EdgeBehind, refusal.clone()),
        (None, None) => (true, Reason::Available, "the edge serves".to_owned()),
    };
    Judgement { type_: ConditionType::EdgeReady, holds, reason, message }
}

fn edge_status(edge: &EdgeSight) -> EdgeStatus {
    EdgeStatus {
        replicas: edge.replicas,
        ready_replicas: edge.ready,
        generation: edge.generation,
        clients: match edge.front {
            Front::Engines => ClientsReach::Engines,
            Front::Edges => ClientsReach::Edges,
        },
    }
}

fn refusal_text(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| refusal.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// Adds the time: that of the old condition while the verdict is the same.
fn condition(old: &GoProxyStatus, judgement: Judgement, generation: Option<i64>, now: Timestamp) -> Condition {
    let Judgement { type_, holds, reason, message } = judgement;
    let status = if holds { "True" } else { "False" };
    let before =
        old.conditions.iter().find(|condition| condition.type_ == type_.as_str() && condition.status == status);
    Condition {
        type_: type_.as_str().to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.chars().take(MESSAGE_MAX).collect(),
        observed_generation: generation,
        // The API stores whole seconds; a finer time would differ from what comes back.
        last_transition_time: before.map_or_else(
            || Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
            |before| before.last_transition_time.clone(),
        ),
    }
}

/// One line for people.
fn summary(fleet: &GoProxy, report: &Report, version: Option<&str>) -> String {
    let served = format!("{}/{} proxies {}", report.ready, fleet.spec.replicas, version.unwrap_or("not started"));
    let more = match (&report.verdict, &report.trouble, &report.rollout) {
        (Verdict::Deleting, ..) => Some("being deleted".to_owned()),
        (Verdict::Suspended, ..) => Some("suspended".to_owned()),
        (Verdict::Refused(refusals), ..) => Some(format!("refused: {}", refusal_text(refusals))),
        (Verdict::StorageTaken(refusal), ..) => Some(format!("StorageTaken: {}", refusal.message)),
        (_, Some(Trouble { obstacle, .. }), _) => Some(format!("{}: {}", obstacle.reason.as_str(), obstacle.message)),
        (_, None, Some(rollout)) => Some(rollout_text(rollout.phase, rollout.waiting_for.until.as_ref())),
        (_, None, None) => {
            let outage = report.edge.as_ref().and_then(EdgeSight::outage);
            outage.map(|obstacle| format!("{}: {}", obstacle.reason.as_str(), obstacle.message))
        }
    };
    let edge = report.edge.as_ref().map(|edge| format!("edge {}/{}", edge.ready, edge.replicas));
    let served = [Some(served), edge].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let line = more.map_or(served.clone(), |more| format!("{served}; {more}"));
    line.chars().take(160).collect()
}

fn rollout_text(phase: RolloutPhase, until: Option<&Time>) -> String {
    let what = match phase {
        RolloutPhase::Starting => "next revision is starting",
        RolloutPhase::Stopping => "old revision is ending first",
        RolloutPhase::Draining => "old revision is kept",
    };
    until.map_or_else(|| what.to_owned(), |until| format!("{what} until {}", until.0.strftime("%H:%M:%SZ")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        api::status::{RolloutStatus, WaitingFor},
        plan::fixture::smallest,
    };

    fn unavailable(overlap: Overlap, phase: Option<RolloutPhase>) -> Report {
        let waiting_for = WaitingFor { reason: WaitingReason::NextAvailable, until: None };
        Report {
            verdict: Verdict::Planned(Box::new(smallest())),
            state: RegionState::Unavailable,
            revisions: Vec::new(),
            rollout: phase.map(|phase| RolloutStatus { phase, waiting_for }),
            overlap,
            stable: Some("corp-old".to_owned()),
            replicas: 0,
            ready: 0,
            lock: None,
            inside: BTreeMap::new(),
            edge: None,
            volume: None,
            unused_volume: None,
            trouble: Some(Trouble {
                obstacle: Obstacle { reason: Reason::ImageUnavailable, message: "pod corp-new-x: no image".to_owned() },
                starting: false,
                stalled: true,
            }),
        }
    }

    #[test]
    fn a_release_with_a_known_fault_is_told_of_with_its_cure() {
        let told = |version: &str| engine_update(Some(version)).map(|told| (told.holds, told.reason, told.message));
        let (holds, reason, message) = told("v0.18.0").unwrap();
        assert!(holds && reason == Reason::FaultyEngine);
        assert_eq!(
            message,
            "v0.18.0 can answer 404 for modules that exist (its child reaper races the go command): \
             set spec.engine.version to v0.18.1"
        );
        for newest in ["v0.18.1", "goproxy v0.20.0"] {
            assert_eq!(told(newest), Some((false, Reason::UpToDate, format!("{newest} is the newest tested engine"))));
        }
        assert_eq!(told("unknown"), None);
    }

    #[test]
    fn whoever_took_away_what_served_is_told_why_and_how_to_get_it_back() {
        for (overlap, why) in [
            (Overlap::OneWriter, "its storage has one writer"),
            (Overlap::OtherLock, "the next one stores or locks modules another way"),
        ] {
            let report = unavailable(overlap, Some(RolloutPhase::Starting));
            for judgement in [ready(&report), stalled(&report)] {
                assert_eq!(judgement.reason, Reason::ImageUnavailable);
                for part in ["corp-old had to end first", why, "undo the change of spec", "pod corp-new-x: no image"] {
                    assert!(judgement.message.contains(part), "{}", judgement.message);
                }
            }
        }
        for other in
            [unavailable(Overlap::Allowed, Some(RolloutPhase::Starting)), unavailable(Overlap::OneWriter, None)]
        {
            assert_eq!(ready(&other).message, "pod corp-new-x: no image");
            assert_eq!(stalled(&other).message, "pod corp-new-x: no image");
        }
    }

    #[test]
    fn who_starts_who_waits_for_what_is_lost_and_who_is_stuck_are_told_apart() {
        let told = |trouble: Option<(bool, bool)>| {
            let obstacle = Obstacle { reason: Reason::NotReady, message: "why".to_owned() };
            let trouble = trouble.map(|(starting, stalled)| Trouble { obstacle, starting, stalled });
            let state = if trouble.is_some() { RegionState::Unavailable } else { RegionState::Progressing };
            let report = Report { state, trouble, ..unavailable(Overlap::Allowed, None) };
            [ready(&report), reconciling(&report), stalled(&report)].map(|one| (one.holds, one.reason))
        };
        let (not_ready, stuck) = ((false, Reason::NotReady), (true, Reason::NotReady));
        let (going, sound) = ((true, Reason::Progressing), (false, Reason::Available));
        assert_eq!(told(None), [(false, Reason::Progressing), going, sound]);
        assert_eq!(told(Some((true, false))), [not_ready, going, sound]);
        assert_eq!(told(Some((true, true))), [not_ready, going, stuck]);
        assert_eq!(told(Some((false, false))), [not_ready, not_ready, sound]);
        assert_eq!(told(Some((false, true))), [not_ready, not_ready, stuck]);
    }

    #[test]
    fn what_a_change_waits_for_is_told_with_its_reason() {
        let told = |overlap| {
            let mut report = unavailable(overlap, Some(RolloutPhase::Stopping));
            let waiting_for = WaitingFor { reason: WaitingReason::OldPodsGone, until: None };
            report.rollout = Some(RolloutStatus { phase: RolloutPhase::Stopping, waiting_for });
            reconciling(&report).message
        };
        assert!(told(Overlap::OneWriter).ends_with("its storage has one writer"));
        assert!(told(Overlap::OtherLock).ends_with("they store or lock another way than the next one's"));
    }
}
