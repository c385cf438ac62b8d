//! All-at-once rollout: the next revision becomes available, then clients move to it in one patch, then the old one ends.
//! Where storage has one writer, or two revisions store or lock another way, the old one ends first and no two revisions
//! ever have pods at the same time.
//!
//! Nothing is remembered in status. Which revision clients get, and since when, is read from the Service's selector and
//! annotation; what runs, from the Deployments. So a plan can be made again from any crash in between.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{DeploymentView, Pod};
use crate::api::status::{RolloutPhase, RolloutStatus, WaitingFor, WaitingReason};

/// What the decision looks at.
#[derive(Clone, Debug)]
pub struct World<'a> {
    /// The revision that the spec asks for.
    pub wanted: &'a str,
    /// The revision that clients get, from the Service's selector. `None`: there is no Service yet.
    pub stable: Option<&'a str>,
    /// When clients were moved to it.
    pub moved_at: Option<Timestamp>,
    /// Whether pods of the stable and the wanted revision may run at the same time.
    pub overlap: Overlap,
    /// Whether the change is only asked for by a newer operator and must wait for its turn.
    pub must_wait_for_slot: bool,
    /// Pods wanted.
    pub replicas: i32,
    /// How long the old revision stays after clients moved.
    pub scale_down_delay: Duration,
    /// Whether all that leads clients leads them to what the Service says: an edge takes a moment to hear of it.
    pub told: bool,
    /// The Deployments that exist, by revision.
    pub deployments: BTreeMap<&'a str, &'a DeploymentView>,
    /// All pods of the fleet.
    pub pods: &'a [Pod],
    /// The instant.
    pub now: Timestamp,
}

/// Whether pods of several revisions may run at the same time; the strongest reason against it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overlap {
    /// They may.
    Allowed,
    /// Each could run beside others of its kind, but they do not use the same storage with the same lock.
    OtherLock,
    /// The storage of one of them has one writer, or nobody knows any more what it has.
    OneWriter,
}

/// What shall be.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The revision that clients shall get.
    pub serve: String,
    /// The moved-at annotation to write.
    pub moved_at: Option<Timestamp>,
    /// Pods per revision. A revision that is not named here keeps its Deployment at 0.
    pub scale: BTreeMap<String, i32>,
    /// Set when the wanted revision starts on storage that others may have written to until now: their pods must be
    /// proved gone at the moment of the write.
    pub alone: bool,
    /// Whether revisions may run at the same time, for the words about it.
    pub overlap: Overlap,
    /// What is under way.
    pub rollout: Option<RolloutStatus>,
    /// When to look again.
    pub again_at: Option<Timestamp>,
}

/// Decides one step.
pub fn decide(world: &World<'_>) -> Decision {
    let target = match world.stable {
        Some(stable) if world.must_wait_for_slot => stable,
        _ => world.wanted,
    };
    let mut decision = if world.overlap == Overlap::Allowed { beside(world, target) } else { alone(world, target) };
    if target != world.wanted {
        decision.rollout = Some(waiting(RolloutPhase::Starting, WaitingReason::RolloutSlot, None));
    }
    decision
}

/// Old and new may run side by side: nothing is taken away before its replacement serves.
fn beside(world: &World<'_>, target: &str) -> Decision {
    let serves_target = world.stable.is_none_or(|stable| stable == target);
    let move_now = !serves_target && is_available(world, target);
    let moved_at = if move_now { Some(world.now) } else { world.moved_at };
    let serve = if serves_target || move_now { target } else { world.stable.unwrap_or(target) };
    let mut scale = BTreeMap::from([(target.to_owned(), world.replicas), (serve.to_owned(), world.replicas)]);

    let drained_at = moved_at.and_then(|moved| moved.checked_add(world.scale_down_delay).ok());
    let draining = drained_at.is_some_and(|end| world.now < end);
    let old = others(world, target).filter(|name| *name != serve);
    let mut kept_old = false;
    for name in old {
        // Only what clients were just moved away from is kept, and that is what still has its pods.
        let running = world.deployments.get(name).map_or(0, |deployment| deployment.replicas);
        // Whom clients leave in this very step goes on until they have left, even without any delay.
        let leaving = move_now && world.stable == Some(name);
        let was_serving = leaving || ((draining || !world.told) && serves_target);
        // A fleet that shall stop has nobody to wait for.
        if was_serving && running > 0 && world.replicas > 0 {
            scale.insert(name.to_owned(), running);
            kept_old = true;
        }
    }
    let rollout = if serve != target {
        Some(waiting(RolloutPhase::Starting, WaitingReason::NextAvailable, None))
    } else if kept_old && !move_now && !draining {
        Some(waiting(RolloutPhase::Draining, WaitingReason::EdgesFollow, None))
    } else if kept_old {
        Some(waiting(RolloutPhase::Draining, WaitingReason::ScaleDownDelay, drained_at))
    } else {
        None
    };
    // What edges answer is heard.
    let again_at = drained_at.filter(|_| kept_old && (move_now || draining));
    Decision { serve: serve.to_owned(), moved_at, scale, alone: false, overlap: world.overlap, rollout, again_at }
}

/// One writer: the old revision ends, its pods are gone, then the new one starts.
fn alone(world: &World<'_>, target: &str) -> Decision {
    let runs = world.deployments.get(target).is_some_and(|deployment| deployment.replicas > 0);
    let others_stopped = others(world, target).all(|name| {
        world.deployments.get(name).is_none_or(|deployment| deployment.replicas == 0 && deployment.observed)
    });
    let others_gone = others_stopped && world.pods.iter().all(|pod| pod.revision == target);
    // One that runs already goes on: it holds the volume, and whoever came later has to go.
    let start = runs || others_gone;
    let serves_target = world.stable.is_none_or(|stable| stable == target);
    let move_now = !serves_target && start && is_available(world, target);
    let serve = if serves_target || move_now { target } else { world.stable.unwrap_or(target) };
    let rollout = if !start {
        Some(waiting(RolloutPhase::Stopping, WaitingReason::OldPodsGone, None))
    } else if serve != target {
        Some(waiting(RolloutPhase::Starting, WaitingReason::NextAvailable, None))
    } else {
        None
    };
    Decision {
        serve: serve.to_owned(),
        moved_at: if move_now { Some(world.now) } else { world.moved_at },
        scale: BTreeMap::from([(target.to_owned(), if start { world.replicas } else { 0 })]),
        alone: start && !runs,
        overlap: world.overlap,
        rollout,
        again_at: None,
    }
}

/// Revisions that have a Deployment or pods, without the target.
fn others<'a>(world: &World<'a>, target: &str) -> impl Iterator<Item = &'a str> {
    world.deployments.keys().copied().filter(move |name| *name != target).collect::<Vec<_>>().into_iter()
}

/// Whether the Deployment does what was last asked of it, and all its pods can serve. Old news is not availability.
fn is_available(world: &World<'_>, name: &str) -> bool {
    world.deployments.get(name).is_some_and(|deployment| {
        deployment.observed && deployment.replicas == world.replicas && deployment.available >= world.replicas
    })
}

fn waiting(phase: RolloutPhase, reason: WaitingReason, until: Option<Timestamp>) -> RolloutStatus {
    // The API stores whole seconds; a finer time would differ from what comes back and be written again.
    let until = until.map(|instant| Time(Timestamp::from_second(instant.as_second()).unwrap_or(instant)));
    RolloutStatus { phase, waiting_for: WaitingFor { reason, until } }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::deployment, *};

    const DELAY: Duration = Duration::from_secs(30);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn pod(revision: &str) -> Pod {
        Pod { name: format!("{revision}-x"), revision: revision.to_owned(), ..Pod::default() }
    }

    fn world<'a>(stable: Option<&'a str>, deployments: &'a [(&'a str, DeploymentView)], pods: &'a [Pod]) -> World<'a> {
        World {
            wanted: "b",
            stable,
            moved_at: None,
            overlap: Overlap::Allowed,
            must_wait_for_slot: false,
            replicas: 1,
            scale_down_delay: DELAY,
            told: true,
            deployments: deployments.iter().map(|(name, view)| (*name, view)).collect(),
            pods,
            now: at(0),
        }
    }

    fn scale(decision: &Decision) -> Vec<(&str, i32)> {
        decision.scale.iter().map(|(name, replicas)| (name.as_str(), *replicas)).collect()
    }

    #[test]
    fn first_revision_starts_and_is_served_at_once() {
        for overlap in [Overlap::Allowed, Overlap::OtherLock, Overlap::OneWriter] {
            let decision = decide(&World { overlap, ..world(None, &[], &[]) });
            assert_eq!((decision.serve.as_str(), scale(&decision)), ("b", vec![("b", 1)]));
            assert_eq!(decision.rollout, None);
        }
    }

    #[test]
    fn clients_stay_until_the_next_revision_is_available() {
        let deployments = [("a", deployment(1, 1)), ("b", deployment(1, 0))];
        let decision = decide(&world(Some("a"), &deployments, &[]));
        assert_eq!((decision.serve.as_str(), scale(&decision)), ("a", vec![("a", 1), ("b", 1)]));
        assert_eq!(decision.rollout.map(|rollout| rollout.waiting_for.reason), Some(WaitingReason::NextAvailable));
    }

    #[test]
    fn stale_availability_moves_nobody() {
        let mut next = deployment(1, 1);
        next.observed = false;
        let deployments = [("a", deployment(1, 1)), ("b", next)];
        assert_eq!(decide(&world(Some("a"), &deployments, &[])).serve, "a");
    }

    #[test]
    fn clients_move_and_the_old_revision_stays_for_the_delay() {
        let deployments = [("a", deployment(1, 1)), ("b", deployment(1, 1))];
        let moved = decide(&world(Some("a"), &deployments, &[]));
        assert_eq!((moved.serve.as_str(), moved.moved_at, moved.again_at), ("b", Some(at(0)), Some(at(30))));
        assert_eq!(scale(&moved), vec![("a", 1), ("b", 1)]);

        let later = World { moved_at: Some(at(0)), now: at(29), ..world(Some("b"), &deployments, &[]) };
        assert_eq!(scale(&decide(&later)), vec![("a", 1), ("b", 1)]);
        let end = World { moved_at: Some(at(0)), now: at(30), ..world(Some("b"), &deployments, &[]) };
        let ended = decide(&end);
        assert_eq!((scale(&ended), &ended.rollout, ended.again_at), (vec![("b", 1)], &None, None));
    }

    #[test]
    fn the_end_of_the_delay_is_told_as_the_api_will_store_it() {
        let deployments = [("a", deployment(1, 1)), ("b", deployment(1, 1))];
        let now = at(0).checked_add(Duration::from_millis(345)).unwrap();
        let moved = decide(&World { now, ..world(Some("a"), &deployments, &[]) });
        let told = moved.rollout.and_then(|rollout| rollout.waiting_for.until);
        assert_eq!((told, moved.moved_at), (Some(Time(at(30))), Some(now)));
    }

    #[test]
    fn without_a_delay_clients_still_move_before_the_old_revision_ends() {
        let deployments = [("a", deployment(1, 1)), ("b", deployment(1, 1))];
        let none = Duration::ZERO;
        let moved = decide(&World { scale_down_delay: none, ..world(Some("a"), &deployments, &[]) });
        assert_eq!((moved.serve.as_str(), scale(&moved), moved.again_at), ("b", vec![("a", 1), ("b", 1)], Some(at(0))));
        let next = World { scale_down_delay: none, moved_at: Some(at(0)), ..world(Some("b"), &deployments, &[]) };
        assert_eq!((scale(&decide(&next)), decide(&next).rollout), (vec![("b", 1)], None));
    }

    #[test]
    fn the_old_revision_stays_until_every_edge_leads_clients_past_it() {
        let deployments = [("a", deployment(1, 1)), ("b", deployment(1, 1))];
        let left = World { told: false, moved_at: Some(at(0)), now: at(29), ..world(Some("b"), &deployments, &[]) };
        let reason = |decision: &Decision| decision.rollout.as_ref().map(|rollout| rollout.waiting_for.reason);
        let soon = decide(&left);
        assert_eq!((reason(&soon), soon.again_at), (Some(WaitingReason::ScaleDownDelay), Some(at(30))));
        let later = decide(&World { now: at(90), ..left.clone() });
        assert_eq!(scale(&later), vec![("a", 1), ("b", 1)]);
        assert_eq!((reason(&later), later.again_at), (Some(WaitingReason::EdgesFollow), None));
        let told = decide(&World { now: at(90), told: true, ..left });
        assert_eq!((scale(&told), reason(&told)), (vec![("b", 1)], None));
    }

    #[test]
    fn going_back_before_the_move_ends_the_newcomer() {
        let deployments = [("b", deployment(1, 1)), ("c", deployment(1, 0))];
        let decision = decide(&world(Some("b"), &deployments, &[]));
        assert_eq!(scale(&decision), vec![("b", 1)]);
    }

    #[test]
    fn one_writer_ends_before_the_next_starts() {
        let running = [("a", deployment(1, 1))];
        let pods = [pod("a")];
        let first = decide(&World { overlap: Overlap::OneWriter, ..world(Some("a"), &running, &pods) });
        assert_eq!((first.serve.as_str(), scale(&first)), ("a", vec![("b", 0)]));
        assert_eq!(first.rollout.map(|rollout| rollout.phase), Some(RolloutPhase::Stopping));

        let stopped = [("a", deployment(0, 0))];
        let terminating = decide(&World { overlap: Overlap::OneWriter, ..world(Some("a"), &stopped, &pods) });
        assert_eq!(scale(&terminating), vec![("b", 0)]);

        let gone = decide(&World { overlap: Overlap::OneWriter, ..world(Some("a"), &stopped, &[]) });
        assert_eq!((scale(&gone), gone.alone), (vec![("b", 1)], true));
    }

    #[test]
    fn a_scale_down_that_was_not_seen_yet_starts_nobody() {
        let mut unseen = deployment(0, 0);
        unseen.observed = false;
        let deployments = [("a", unseen)];
        let decision = decide(&World { overlap: Overlap::OneWriter, ..world(Some("a"), &deployments, &[]) });
        assert_eq!(scale(&decision), vec![("b", 0)]);
    }

    #[test]
    fn a_change_for_a_new_operator_waits_for_its_turn() {
        let deployments = [("a", deployment(1, 1))];
        let decision = decide(&World { must_wait_for_slot: true, ..world(Some("a"), &deployments, &[]) });
        assert_eq!((decision.serve.as_str(), scale(&decision)), ("a", vec![("a", 1)]));
        assert_eq!(decision.rollout.map(|rollout| rollout.waiting_for.reason), Some(WaitingReason::RolloutSlot));
    }

    #[test]
    fn a_fleet_that_shall_stop_keeps_no_old_pods_for_the_delay() {
        let deployments = [("a", deployment(1, 1)), ("b", deployment(1, 1))];
        let stopping = World { replicas: 0, moved_at: Some(at(0)), now: at(1), ..world(Some("b"), &deployments, &[]) };
        let decision = decide(&stopping);
        assert_eq!((scale(&decision), &decision.rollout, decision.again_at), (vec![("b", 0)], &None, None));
    }

    #[test]
    fn a_stopped_fleet_moves_without_pods() {
        let deployments = [("a", deployment(0, 0)), ("b", deployment(0, 0))];
        let decision = decide(&World { replicas: 0, ..world(Some("a"), &deployments, &[]) });
        assert_eq!(decision.serve, "b");
    }
}
