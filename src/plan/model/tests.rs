//! The stories that are checked.

use std::{fmt::Write as _, sync::Arc};

use stateright::{HasDiscoveries, Path};

use super::*;

const DISK: Fleet = Fleet { storage: Storage::Disk, history: 5, edge: false };
const MEMORY: Fleet = Fleet { storage: Storage::Memory, history: 5, edge: false };
/// A bucket that the first revision locks with Redis and the second one with etcd.
const TWO_LOCKS: Fleet = Fleet { storage: Storage::TwoLocks, history: 5, edge: false };
/// Keeps no revision that nothing needs.
const FORGETFUL: Fleet = Fleet { storage: Storage::Memory, history: 0, edge: false };
const BACK: [(Rev, u8); 3] = [(0, 1), (1, 1), (0, 1)];

/// Goes through every state of a story. What goes wrong, by the property that says so.
fn search(name: &str, story: &Story, threads: usize) -> Vec<(&'static str, String)> {
    let checker = story.clone().checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, plans) = (checker.unique_state_count(), story.operator.plans());
    println!("{name}: {states} states, {} steps deep, {plans} plans", checker.max_depth());
    let told = |(name, path): (&'static str, Path<World, Act>)| {
        let holds = story.property(name).condition;
        let steps = path.into_vec();
        let end = steps.iter().position(|(world, _)| !holds(story, world)).unwrap_or(steps.len() - 1);
        (name, tell(&steps[..=end]))
    };
    checker.discoveries().into_iter().map(told).collect()
}

/// The steps of a story, one per line, each write with what it says.
fn tell(path: &[(World, Option<Act>)]) -> String {
    let mut text = String::new();
    for (world, act) in path {
        let _ = match act {
            Some(Act::Write) => writeln!(text, "  Write {:?}", world.writes[0]),
            Some(Act::Wrong(Mishap::Late)) => writeln!(text, "  Late {:?}", world.late[0]),
            Some(act) => writeln!(text, "  {act:?}"),
            None => writeln!(text, "{world:?}"),
        };
    }
    text
}

/// Every state of a story is as it shall be. Searched again by one thread if not, which finds the shortest way there.
fn check(name: &str, story: &Story) {
    if search(name, story, 2).is_empty() {
        return;
    }
    let found: Vec<_> =
        search(name, story, 1).into_iter().map(|(what, how)| format!("not so: {what}\n{how}")).collect();
    panic!("{name}\n{}", found.concat());
}

/// Whether minutes may be taken instead of seconds.
fn wide() -> bool {
    std::env::var("GOPROXY_MODEL").is_ok_and(|value| value == "wide")
}

/// One edit, and where time is given, taking it back at any moment.
fn edits() -> &'static [(Rev, u8)] {
    if wide() { &BACK } else { &BACK[..2] }
}

fn story(fleet: Fleet, specs: &[(Rev, u8)], mishaps: Mishaps) -> Story {
    Story { mishaps, ..Story::new(fleet, specs) }
}

/// The way to what a story is made to show.
fn find(name: &str, story: &Story, property: &str) -> String {
    let found = search(name, story, 1).into_iter().find(|(what, _)| *what == property);
    found.unwrap_or_else(|| panic!("{name}: no way was found to what is not so: {property}")).1
}

#[test]
fn a_change_that_is_taken_back_at_any_moment() {
    let mishaps = Mishaps { crashes: if wide() { 2 } else { 1 }, ..Mishaps::default() };
    for fleet in [DISK, MEMORY, TWO_LOCKS, FORGETFUL, Fleet { storage: Storage::Disk, ..FORGETFUL }] {
        check(&format!("a change taken back, {fleet:?}"), &story(fleet, &BACK, mishaps));
    }
}

#[test]
fn a_change_of_a_fleet_that_is_not_there_yet() {
    let mishaps = Mishaps { crashes: 1, ..Mishaps::default() };
    for fleet in [DISK, MEMORY] {
        check(&format!("from nothing, {fleet:?}"), &Story { grown: false, ..story(fleet, edits(), mishaps) });
    }
}

#[test]
fn a_stop_in_the_middle_of_a_change() {
    let mishaps = Mishaps { crashes: u8::from(wide()), ..Mishaps::default() };
    let stop: &[(Rev, u8)] = if wide() { &[(0, 1), (1, 1), (1, 0), (1, 1)] } else { &[(0, 1), (1, 1), (1, 0)] };
    for fleet in [DISK, MEMORY, TWO_LOCKS] {
        check(&format!("stopped, {fleet:?}"), &story(fleet, stop, mishaps));
        check(&format!("started, {fleet:?}"), &story(fleet, &[(0, 0), (0, 1), (1, 1)], mishaps));
    }
}

#[test]
fn a_child_that_somebody_deletes() {
    let mishaps = Mishaps { deletions: 1, crashes: u8::from(wide()), ..Mishaps::default() };
    for fleet in [DISK, MEMORY, TWO_LOCKS] {
        let deletable = Id::PLAIN.to_vec();
        check(&format!("a child deleted, {fleet:?}"), &Story { deletable, ..story(fleet, edits(), mishaps) });
        let deletable = vec![Id::Service];
        check(&format!("the Service deleted, {fleet:?}"), &Story { deletable, ..story(fleet, &BACK, mishaps) });
    }
}

#[test]
fn a_pod_that_is_evicted() {
    let mishaps = Mishaps { evictions: 1, crashes: u8::from(wide()), ..Mishaps::default() };
    for fleet in [DISK, MEMORY] {
        check(&format!("a pod evicted, {fleet:?}"), &story(fleet, edits(), mishaps));
    }
}

#[test]
fn a_name_that_is_taken() {
    for fleet in [DISK, MEMORY] {
        for (foreign, labelled) in Id::PLAIN.into_iter().flat_map(|id| [(id, true), (id, false)]) {
            let operator = Arc::new(Operator::new(fleet, Some(foreign).filter(|_| labelled)));
            let taken = Story { operator, foreign: Some(foreign), grown: false, ..Story::new(fleet, edits()) };
            check(&format!("{foreign:?} taken, {fleet:?}"), &taken);
        }
    }
}

#[test]
fn late_writes_are_fenced_where_their_object_changed() {
    let mishaps = Mishaps { depositions: 1, ..Mishaps::default() };
    let late = |fences| Story { late: Late::Outdated, fences, ..story(MEMORY, &BACK, mishaps) };
    check("late writes", &late(Fences::AsBuilt));
    let how = find("late writes without versions", &late(Fences::NoVersions), SERVED);
    assert!(how.contains("Late"), "{how}");
}

#[test]
fn without_asking_for_pods_two_revisions_write() {
    let blind = Story { fences: Fences::Blind, ..Story::new(DISK, &BACK) };
    find("no list of pods", &blind, ONE_WRITER);
    let blind = Story { fences: Fences::Blind, ..Story::new(TWO_LOCKS, &BACK) };
    find("no list of pods with two locks", &blind, ONE_WRITER);
}

#[test]
fn without_the_lease_fences_are_not_enough() {
    let mishaps = Mishaps { depositions: 1, ..Mishaps::default() };
    let late = |fleet, specs| Story { late: Late::Any, ..story(fleet, specs, mishaps) };
    // The pods that a new leader asked for are not there yet when a late write asks about pods.
    let started = late(DISK, &BACK);
    let how = find("a late start", &Story { fences: Fences::OnlyPods, ..started.clone() }, ONE_WRITER);
    assert!(how.contains("NoPodsOutside"), "{how}");
    if wide() {
        check("a late start that asks for Deployments too", &started);
    }
    // Clients came back to what the late write stops, and nothing of its Deployment had to change for that.
    find("a late stop", &late(MEMORY, &BACK), SERVED);
}

#[test]
fn without_listing_anew_a_leader_takes_what_serves_for_left_over() {
    let mishaps = Mishaps { depositions: 1, ..Mishaps::default() };
    let behind = |fleet, specs| Story { behind: true, ..story(fleet, specs, mishaps) };
    let how = find("a leader behind", &behind(MEMORY, &BACK[..2]), SERVED);
    assert!(how.contains("Nothing"), "{how}");
    if wide() {
        check("a leader behind", &behind(DISK, &BACK[..2]));
        let taken_back = behind(DISK, &BACK);
        find(
            "a leader behind that asks for pods alone",
            &Story { fences: Fences::OnlyPods, ..taken_back.clone() },
            ONE_WRITER,
        );
        check("a leader behind, taken back", &taken_back);
    }
}

/// Stories with an edge, by what the user asks for: which revision, and whether through an edge.
const WITH_EDGE: [(&str, &[(Rev, bool)]); 5] = [
    ("an edge comes", &[(0, false), (0, true)]),
    ("a change behind an edge", &[(0, true), (1, true)]),
    ("an edge goes", &[(0, true), (0, false)]),
    ("an edge comes with a change", &[(0, false), (1, true)]),
    ("an edge goes with a change", &[(0, true), (1, false)]),
];

#[test]
fn an_edge_that_comes_goes_and_stays() {
    let mishaps = Mishaps { crashes: 1, ..Mishaps::default() };
    for (name, specs) in WITH_EDGE {
        check(name, &Story { mishaps, ..Story::with_edge(MEMORY, specs) });
    }
    if wide() {
        for (name, specs) in [
            ("a change behind an edge, taken back", &[(0, true), (1, true), (0, true)]),
            ("an edge that is taken back", &[(0, false), (0, true), (0, false)]),
            ("an edge that comes back", &[(0, true), (0, false), (0, true)]),
        ] {
            check(name, &Story { mishaps, ..Story::with_edge(MEMORY, specs) });
        }
        check("one writer behind an edge", &Story { mishaps, ..Story::with_edge(DISK, WITH_EDGE[1].1) });
    }
}

#[test]
fn late_writes_about_an_edge_are_fenced_too() {
    let mishaps = Mishaps { depositions: 1, ..Mishaps::default() };
    for (name, specs) in &WITH_EDGE[usize::from(!wide())..3] {
        let story = Story { mishaps, late: Late::Outdated, ..Story::with_edge(MEMORY, specs) };
        check(&format!("{name}, late writes"), &story);
    }
    let soon = [(0, false), (0, true), (0, false)];
    let story = Story { mishaps, late: Late::Outdated, ..Story::with_edge(MEMORY, &soon) };
    check("an edge that is taken back, late writes", &story);
    let how =
        find("late writes about an edge without versions", &Story { fences: Fences::NoVersions, ..story }, SERVED);
    assert!(how.contains("Late"), "{how}");
}

#[test]
fn a_child_of_a_fleet_with_an_edge_that_somebody_deletes() {
    let mishaps = Mishaps { deletions: 1, ..Mishaps::default() };
    let deletable = vec![Id::Service, Id::Policy, Id::Set, Id::State];
    let specs = if wide() { &WITH_EDGE[1..3] } else { &WITH_EDGE[2..3] };
    for (name, specs) in specs {
        let story = Story { mishaps, deletable: deletable.clone(), ..Story::with_edge(MEMORY, specs) };
        check(&format!("{name}, a child deleted"), &story);
    }
}

#[test]
fn an_edge_that_answers_before_it_does_what_it_was_told_leads_clients_to_nobody() {
    let hasty = Story { hasty: true, ..Story::with_edge(MEMORY, WITH_EDGE[1].1) };
    let how = find("a hasty edge", &hasty, SERVED);
    assert!(how.contains("Edge(Answer)"), "{how}");
}
