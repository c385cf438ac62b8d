//! How many requests a change costs, counted on the scripted API server: no cluster is needed to notice one too many.

#![expect(clippy::unwrap_used, reason = "all of this is test code, its functions too")]

use std::{collections::BTreeMap, time::Duration};

use goproxy_lab::scripted::{
    scenario::{self, Scenario, Step},
    store::State,
    sweep,
    world::Pace,
    write::{self, Writer},
};
use serde_json::{Value, json};

fn user() -> Writer {
    Writer { manager: "kubectl".to_owned(), force: true, status: false }
}

fn edit(state: &mut State, patch: &Value) {
    write::merge_patch(state, &scenario::fleet(), &user(), patch).unwrap();
}

fn create(state: &mut State) {
    write::apply(state, &scenario::fleet(), &user(), &json!({ "spec": { "storage": { "memory": {} } } })).unwrap();
}

fn engine(state: &mut State) {
    edit(state, &json!({ "spec": { "engine": { "logLevel": "Debug" } } }));
}

fn engine_without_delay(state: &mut State) {
    edit(state, &json!({ "spec": { "engine": { "logLevel": "Debug" }, "rollout": { "scaleDownDelay": "0s" } } }));
}

fn service(state: &mut State) {
    edit(state, &json!({ "spec": { "service": { "annotations": { "team.example/cost": "build" } } } }));
}

fn label(state: &mut State) {
    edit(state, &json!({ "metadata": { "labels": { "team.example/cost": "build" } } }));
}

fn delete(state: &mut State) {
    state.delete("kubectl", &scenario::fleet());
}

/// What the operator asks of the API server because of a step, without watches: how often by verb and kind.
fn requests(before: &'static [Step], steps: &'static [(u64, Step)], pace: Pace) -> BTreeMap<String, usize> {
    let scenario = Scenario { name: "economy", before, steps, volume_may_go: false, while_down: false };
    let run = sweep::run(&scenario, &[], pace).unwrap();
    let mut counts = BTreeMap::new();
    for call in run.made.iter().filter(|call| !call.title.starts_with("watch ")) {
        let (what, name) = call.title.rsplit_once(' ').unwrap();
        let subresource = name.split_once('/').map_or("", |(_, subresource)| subresource);
        *counts.entry(format!("{what} {subresource}").trim().to_owned()).or_default() += 1;
    }
    counts
}

/// Answers may come before a watch tells of the change, or long after: neither order may cost more.
fn assert_costs(before: &'static [Step], steps: &'static [(u64, Step)], expected: &[(&str, usize)]) {
    for answer in [0, 20, 200].map(Duration::from_millis) {
        let counts = requests(before, steps, Pace { answer, ..Pace::default() });
        let found: Vec<(&str, usize)> = counts.iter().map(|(what, count)| (what.as_str(), *count)).collect();
        assert_eq!(found, expected, "with answers that take {answer:?}");
    }
}

#[test]
fn a_creation_costs_its_children_and_two_statuses() {
    let expected = [
        ("patch configmaps", 1),
        ("patch controllerrevisions", 1),
        ("patch deployments", 1),
        ("patch goproxies status", 2),
        ("patch networkpolicies", 1),
        ("patch poddisruptionbudgets", 1),
        ("patch serviceaccounts", 1),
        ("patch services", 1),
    ];
    assert_costs(&[], &[(0, create)], &expected);
}

/// The new revision's three objects, the Service that moves, the old Deployment that ends; a status that says what has
/// begun and one that says that it is done.
#[test]
fn an_edit_of_the_engine_costs_its_five_objects_and_two_statuses() {
    let expected = [
        ("patch configmaps", 1),
        ("patch controllerrevisions", 1),
        ("patch deployments", 2),
        ("patch goproxies status", 2),
        ("patch services", 1),
    ];
    assert_costs(&[create], &[(0, engine_without_delay)], &expected);
}

/// With the default delay there is one more thing to be told: clients have moved, and the old revision is kept.
#[test]
fn keeping_the_old_revision_for_a_while_costs_one_status_more() {
    let expected = [
        ("patch configmaps", 1),
        ("patch controllerrevisions", 1),
        ("patch deployments", 2),
        ("patch goproxies status", 3),
        ("patch services", 1),
    ];
    assert_costs(&[create], &[(0, engine)], &expected);
}

#[test]
fn an_edit_of_the_service_costs_the_service_and_a_status() {
    assert_costs(&[create], &[(0, service)], &[("patch goproxies status", 1), ("patch services", 1)]);
}

#[test]
fn what_changes_nothing_and_what_ends_a_fleet_cost_nothing() {
    assert_costs(&[create], &[(0, label)], &[]);
    assert_costs(&[create], &[(0, delete)], &[]);
}
