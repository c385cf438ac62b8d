//! Whom clients reach first: the proxies themselves, or the edge in front of them.
//!
//! The client Service says which, and since when; that is the only memory. Clients move to the edge in one patch, once a pod of it
//! serves by what it was told; and back in one patch, once the proxies let anybody in again. Either is a step of its own: no revision
//! moves in it. Only long after clients came to the edge are the proxies closed to all others, and only long after they left it does it end.
//!
//! ```text
//!  no edge ──▶ edge starts ──▶ clients on the edge ──▶ proxies closed to others
//!     ▲                                                      │ edge not wanted
//!     └──── edge ends ◀── clients on the proxies ◀── proxies opened
//! ```

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Children, Detail, Lead, Observed,
    assemble::deployment_of,
    edge::Edge,
    object::Kind,
    rollout,
    validate::{FleetName, ValidFleet},
};

/// Whom clients reach first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Front {
    /// The proxies.
    #[default]
    Engines,
    /// The edge.
    Edges,
}

/// What the decision looks at.
#[expect(clippy::struct_excessive_bools, reason = "facts that were seen, each by itself")]
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Whether the spec asks for an edge.
    pub wanted: bool,
    /// Whom the client Service leads to. `None`: there is no such Service.
    pub front: Option<Front>,
    /// Since when.
    pub moved_at: Option<Timestamp>,
    /// Whether a pod of the edge is ready, and serves by the newest that the edge was told, which names what clients get.
    pub edge_serves: bool,
    /// Whether clients move to another revision in this step.
    pub revision_moves: bool,
    /// Whether the revision that clients get has pods that can serve, or is to have none.
    pub engines_serve: bool,
    /// Whether the proxies let in others than the edge, as far as is known.
    pub engines_open: bool,
    /// How long what clients left goes on for those who have not noticed.
    pub delay: Duration,
    /// The instant.
    pub now: Timestamp,
}

/// What shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whom the client Service leads to.
    pub front: Front,
    /// Since when; `None` where it never led to an edge.
    pub moved_at: Option<Timestamp>,
    /// Whether the proxies let in others than the edge.
    pub engines_open: bool,
    /// Whether an edge that is there stays.
    pub keep: bool,
    /// Whether clients move in this step.
    pub moves: bool,
    /// When to look again.
    pub again_at: Option<Timestamp>,
}

/// Decides one step.
pub fn decide(sight: &Sight) -> Decision {
    let end = sight.moved_at.and_then(|moved| moved.checked_add(sight.delay).ok());
    let left_at = end.filter(|end| sight.now < *end);
    let stay = |front, engines_open| Decision {
        front,
        moved_at: sight.moved_at,
        engines_open,
        keep: true,
        moves: false,
        again_at: left_at,
    };
    let go = |front| Decision {
        moved_at: Some(sight.now),
        moves: true,
        again_at: sight.now.checked_add(sight.delay).ok(),
        ..stay(front, true)
    };
    match (sight.wanted, sight.front) {
        // What led clients to the edge is lost; the edge is not.
        (true, None) if sight.edge_serves => Decision { moves: false, ..go(Front::Edges) },
        (true, Some(Front::Engines)) if sight.edge_serves && !sight.revision_moves => go(Front::Edges),
        (true, Some(Front::Edges)) => stay(Front::Edges, left_at.is_some()),
        (true, _) => Decision { again_at: None, ..stay(Front::Engines, true) },
        (false, Some(Front::Edges)) if sight.engines_open && sight.engines_serve && !sight.revision_moves => {
            go(Front::Engines)
        }
        (false, Some(Front::Edges)) => Decision { again_at: None, ..stay(Front::Edges, true) },
        (false, _) if left_at.is_some() => stay(Front::Engines, true),
        (false, _) => Decision { moved_at: None, keep: false, again_at: None, ..stay(Front::Engines, true) },
    }
}

/// Whether all that leads clients leads them to what the Service says.
pub fn told(children: &Children, fleet: &FleetName, lead: Option<&Lead>, stable: Option<&str>) -> bool {
    let through_edge = lead.is_some_and(|lead| lead.front == Front::Edges);
    !through_edge || stable.is_some_and(|stable| Edge::of(children, fleet).all_serve(stable))
}

/// The step that is taken beside a step of the rollout.
pub fn step(
    observed: &Observed,
    fleet: &ValidFleet,
    lead: Option<&Lead>,
    stable: Option<&str>,
    rollout: &rollout::Decision,
) -> Decision {
    let children = &observed.children;
    let available = deployment_of(children, &rollout.serve).is_some_and(|view| view.available > 0);
    decide(&Sight {
        wanted: fleet.edge.is_some(),
        front: lead.map(|lead| lead.front),
        moved_at: lead.and_then(|lead| lead.front_moved_at),
        edge_serves: Edge::of(children, &fleet.name).serves(&rollout.serve),
        revision_moves: stable.is_some_and(|stable| stable != rollout.serve),
        engines_serve: available || fleet.replicas == 0,
        engines_open: !is_edge_only(children, &fleet.name),
        delay: fleet.scale_down_delay,
        now: observed.now,
    })
}

/// Whether the proxies let in nobody but the edge.
fn is_edge_only(children: &Children, fleet: &FleetName) -> bool {
    let policy = children.get(&(Kind::NetworkPolicy, fleet.engine()));
    policy.is_some_and(|child| matches!(child.detail, Detail::NetworkPolicy { edge_only: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(30);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// A fleet whose clients reach its proxies, with an edge that serves already.
    fn sight() -> Sight {
        Sight {
            wanted: true,
            front: Some(Front::Engines),
            moved_at: None,
            edge_serves: true,
            revision_moves: false,
            engines_serve: true,
            engines_open: true,
            delay: DELAY,
            now: at(0),
        }
    }

    #[test]
    fn a_fleet_without_an_edge_has_nothing_of_it() {
        for front in [None, Some(Front::Engines)] {
            let decision = decide(&Sight { wanted: false, front, edge_serves: false, ..sight() });
            let nothing = Decision {
                front: Front::Engines,
                moved_at: None,
                engines_open: true,
                keep: false,
                moves: false,
                again_at: None,
            };
            assert_eq!(decision, nothing);
        }
    }

    #[test]
    fn clients_come_once_the_edge_serves_and_no_revision_moves() {
        for waits in [Sight { edge_serves: false, ..sight() }, Sight { revision_moves: true, ..sight() }] {
            let decision = decide(&waits);
            assert_eq!((decision.front, decision.moves, decision.keep), (Front::Engines, false, true));
        }
        let decision = decide(&sight());
        assert_eq!((decision.front, decision.moves, decision.moved_at), (Front::Edges, true, Some(at(0))));
        assert!(decision.engines_open, "those who have not noticed still come to the proxies");
    }

    #[test]
    fn a_new_fleet_begins_with_its_proxies_and_a_lost_service_comes_back_to_the_edge() {
        let new = decide(&Sight { front: None, edge_serves: false, ..sight() });
        assert_eq!((new.front, new.moves), (Front::Engines, false));
        let lost = decide(&Sight { front: None, engines_open: false, ..sight() });
        assert_eq!((lost.front, lost.moves), (Front::Edges, false));
    }

    #[test]
    fn the_proxies_close_once_all_had_time_to_leave_them() {
        let edges = Sight { front: Some(Front::Edges), moved_at: Some(at(0)), ..sight() };
        let soon = decide(&Sight { now: at(29), ..edges });
        assert_eq!((soon.engines_open, soon.again_at), (true, Some(at(30))));
        let later = decide(&Sight { now: at(30), ..edges });
        assert_eq!((later.engines_open, later.again_at, later.front), (false, None, Front::Edges));
        // An edge that fails is no reason to go round it.
        let failing = decide(&Sight { now: at(30), edge_serves: false, ..edges });
        assert_eq!(failing, later);
    }

    #[test]
    fn clients_go_back_to_proxies_that_let_them_in_and_serve() {
        let unwanted = Sight { wanted: false, front: Some(Front::Edges), moved_at: Some(at(-60)), ..sight() };
        for waits in [
            Sight { engines_open: false, ..unwanted },
            Sight { engines_serve: false, ..unwanted },
            Sight { revision_moves: true, ..unwanted },
        ] {
            let decision = decide(&waits);
            assert_eq!((decision.front, decision.engines_open, decision.keep), (Front::Edges, true, true), "{waits:?}");
        }
        let back = decide(&unwanted);
        assert_eq!((back.front, back.moves, back.keep, back.moved_at), (Front::Engines, true, true, Some(at(0))));
        let left = Sight { front: Some(Front::Engines), moved_at: Some(at(0)), ..unwanted };
        let soon = decide(&Sight { now: at(29), ..left });
        assert_eq!((soon.keep, soon.again_at), (true, Some(at(30))));
        let later = decide(&Sight { now: at(30), ..left });
        assert_eq!((later.keep, later.moved_at, later.again_at), (false, None, None));
    }
}
