//! Faults at every call, on the scripted API server. A sample here; all of it by `cargo lab test --tier faults`.

use std::time::Duration;

use goproxy_lab::scripted::{
    dice,
    digest::{difference, forget_history},
    fault::Fault,
    scenario::{FORGED, RESTORE, SCENARIOS, Scenario, labelled, unlabelled},
    sweep,
    world::Pace,
};

/// As many as finish within a minute of processor time. `FAULTS_SAMPLE` sets another number.
const SAMPLE: usize = 250;

#[test]
fn whatever_goes_wrong_once_the_end_is_the_same() {
    let (seed, sample) = (dice::seed(), dice::sample(SAMPLE));
    println!("FAULTS_SEED={seed}");
    let report = sweep::sweep_blocking(Some((seed, sample))).unwrap();
    println!("{report}");
    assert_eq!(report.clean.len(), SCENARIOS.len());
    assert_eq!(report.cases, sample.min(report.possible));
    assert!(report.failures.is_empty(), "{} failed; repeat with FAULTS_SEED={seed}", report.failures.len());
}

/// Each of these once led to a wrong end.
#[test]
fn what_was_wrong_once_stays_right() {
    let record = ("patch controllerrevisions", "patch controllerrevisions");
    let deployment = ("patch controllerrevisions", "patch deployments");
    let cases = [
        // A status that was not found made the operator forget that the old revision was still to be ended.
        ("edit on memory", ("patch services", "patch goproxies"), Fault::NotFound),
        // A record that was refused left a Deployment that counted as a second writer: what served was stopped.
        ("edit and back on memory", record, Fault::Forbidden),
        // The old revision was stopped although the new one's Deployment was refused.
        ("from memory to disk", deployment, Fault::Forbidden),
        ("from memory to disk", deployment, Fault::ServerError),
        // A removal that was not found made the operator forget what was still there.
        ("edit on memory while its record is lost", ("delete deployments", "delete configmaps"), Fault::NotFound),
        // Children of a deleted fleet were made again and again until the watch told that it is gone.
        ("delete while it changes", record, Fault::StaleFleets),
    ];
    for (scenario, call, fault) in cases {
        if let Err(error) = sweep::judge_one(scenario, call, fault) {
            panic!("{scenario}, {fault:?} at {}: {error:#}", call.1);
        }
    }
}

/// A new operator that is shown a fleet from before its deletion makes its children only once.
#[test]
fn a_deleted_fleet_seen_late_is_not_made_again_and_again() {
    let at = SCENARIOS.iter().position(|scenario| scenario.name == "delete while it changes").unwrap();
    let clean = sweep::run(&SCENARIOS[at], &[], Pace::default()).unwrap();
    let faults = vec![(4, Fault::StaleFleets), (10, Fault::CrashAfterAnswer)];
    let pace = Pace {
        controller: Duration::from_secs(2),
        pods: Duration::from_secs(2),
        start: Duration::from_secs(15),
        stop: Duration::from_millis(1),
        collect: Duration::from_millis(300),
        ..Pace::default()
    };
    sweep::judge(&sweep::Case { scenario: at, faults, pace }, &clean).unwrap();
}

/// A list out of a cache that lags behind the operator's own move of clients does not lead it to stop what serves.
#[test]
fn a_list_that_lags_behind_a_move_ends_nothing_that_serves() {
    let at = SCENARIOS.iter().position(|scenario| scenario.name == "edit twice on memory").unwrap();
    let clean = sweep::run(&SCENARIOS[at], &[], Pace::default()).unwrap();
    let pace = Pace {
        controller: Duration::from_millis(300),
        pods: Duration::from_millis(1),
        start: Duration::from_secs(15),
        stop: Duration::from_secs(2),
        collect: Duration::from_secs(15),
        answer: Duration::from_millis(50),
    };
    // The pauses of the watches are drawn: which list comes first is another one each time.
    for _ in 0..60 {
        let faults = vec![(3, Fault::MissedEvents), (6, Fault::MissedEvents)];
        sweep::judge(&sweep::Case { scenario: at, faults, pace }, &clean).unwrap();
    }
}

/// Objects of a restored server are older than what was seen of them before. What it lists is the truth nevertheless.
#[test]
fn after_a_restore_from_a_backup_the_end_is_that_of_before() {
    let end_of = |scenario: &Scenario| {
        let mut end = sweep::run(scenario, &[], Pace::default()).unwrap().digest;
        forget_history(&mut end);
        end
    };
    let before = end_of(SCENARIOS.iter().find(|scenario| scenario.name == "create on memory").unwrap());
    // The pauses of the watches are drawn, and with them the order in which they see the past.
    for _ in 0..5 {
        let differs = difference(&before, &end_of(&RESTORE));
        assert!(differs.is_empty(), "{differs}");
    }
}

/// An owner reference that somebody else wrote does no harm: what stands in the place of a child becomes that child, what has the
/// label goes as if it were left over, and anything else stays as it is until the fleet goes.
#[test]
fn a_forged_owner_reference_changes_nothing_of_a_fleet() {
    let born = SCENARIOS.iter().find(|scenario| scenario.name == "create on memory").unwrap();
    let before = sweep::run(born, &[], Pace::default()).unwrap().digest;
    let mut forged = sweep::run(&FORGED, &[], Pace::default()).unwrap();
    assert!(forged.digest.remove(&unlabelled().to_string()).is_some(), "what has no label was removed");
    assert!(!forged.digest.contains_key(&labelled().to_string()), "what claims to be a child and is none stays");
    let differs = difference(&before, &forged.digest);
    assert!(differs.is_empty(), "{differs}");
    assert_eq!(forged.changes, 2, "one child is set right, one object goes");
}
