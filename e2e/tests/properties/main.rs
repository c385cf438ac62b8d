//! Properties of the plan that hold in any world: whatever the operator sees late, in whatever order a cluster acts, and
//! wherever a reconcile is cut off. The world here is smaller and rougher than the scripted API server's: it is made to
//! reach odd states by the thousand.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "all of this is test code, its functions too")]

mod cluster;
mod world;

use goproxy_operator::plan::object::{FLEET_LABEL, Kind, Object};
use proptest::prelude::*;

use world::World;

/// Something that happens. The numbers pick among what there is.
#[derive(Clone, Debug)]
enum Act {
    /// The operator reconciles, and is cut off after so many writes.
    Reconcile(usize),
    /// It starts again, with a view that is true at that moment.
    Restart,
    /// A watch delivers one child, or all pods.
    Deliver(usize),
    DeliverPods,
    /// The Deployment controller sees what is asked of one Deployment and counts its pods.
    Count(usize),
    /// It creates or deletes pods.
    Fit(usize),
    /// A kubelet makes a pod ready, or ends one that is to end.
    Ready(usize),
    End(usize),
    /// A user sets the log level, which makes another revision, or the number of pods.
    Edit(usize),
    Scale(i32),
    /// Time passes, in seconds.
    Pass(i64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => prop_oneof![3 => Just(usize::MAX), 1 => 0_usize..6].prop_map(Act::Reconcile),
        1 => Just(Act::Restart),
        4 => any::<usize>().prop_map(Act::Deliver),
        3 => Just(Act::DeliverPods),
        4 => any::<usize>().prop_map(Act::Count),
        4 => any::<usize>().prop_map(Act::Fit),
        3 => any::<usize>().prop_map(Act::Ready),
        3 => any::<usize>().prop_map(Act::End),
        1 => (0_usize..3).prop_map(Act::Edit),
        1 => (0_i32..2).prop_map(Act::Scale),
        1 => (1_i64..40).prop_map(Act::Pass),
    ]
}

fn story(storage: &str, acts: &[Act]) -> Result<(), TestCaseError> {
    let mut world = World::new(storage);
    for act in acts {
        world.happen(act)?;
    }
    world.settle()?;
    world.check_rest()
}

/// As many as take some seconds. `PROPTEST_CASES` sets another number; what fails is printed in its smallest form.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn one_writer_is_one_writer_and_comes_to_rest(acts in prop::collection::vec(act(), 0..120)) {
        story("disk", &acts)?;
    }

    #[test]
    fn what_serves_goes_on_until_the_next_serves(acts in prop::collection::vec(act(), 0..120)) {
        story("memory", &acts)?;
    }

    /// A revision may be lost, a child may be anything: a plan still comes, the same each time, and leaves volumes alone.
    #[test]
    fn any_children_give_a_plan(acts in prop::collection::vec(act(), 0..60), lost in prop::collection::vec(any::<usize>(), 0..4)) {
        let mut world = World::new("disk");
        for act in &acts {
            world.happen(act)?;
        }
        for number in lost {
            if let Some(place) = number.checked_rem(world.known.len()) {
                let key = world.known.keys().nth(place).cloned().unwrap();
                world.known.remove(&key);
            }
        }
        let plan = world.plan();
        prop_assert_eq!(&plan, &world.plan());
        let pruned: Vec<_> = plan.targets.iter().flat_map(|target| &target.prune).collect();
        prop_assert!(pruned.iter().all(|prune| prune.kind != Kind::PersistentVolumeClaim));
        let labelled = |object: &Object| object.body["metadata"]["labels"][FLEET_LABEL] == "mods";
        prop_assert!(plan.targets.iter().flat_map(|target| &target.objects).all(labelled));
    }
}
