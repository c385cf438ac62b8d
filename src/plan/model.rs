//! The rollout, checked in every order of events that a small world allows.
//!
//! The operator's step is the real [`plan`](super::plan) on a snapshot; nothing of it is written a second time here. The
//! world around it is modelled: objects and pods of one fleet with two revisions, the controllers of Kubernetes, watches
//! that lag each by itself, a user who changes the spec, and what goes wrong: a crash between any two writes, a leader
//! that was deposed with writes still under way, a child deleted by somebody, an evicted pod. Every write of a plan is a
//! step of its own, in the order and with the fences of `apply`.
//!
//! Checked in every state that can be reached:
//!
//! * on disk storage, and where they lock in different ways, no two revisions have pods at the same time;
//! * once clients are served, they go on being served, unless a user, an eviction or a deletion is the cause;
//! * another owner's object is not changed;
//! * if nothing more goes wrong, the world comes to rest: clients get the wanted revision, no other has pods, and another
//!   plan writes nothing. This is followed to its end from every state, because the checker's own `eventually` does
//!   not see a world that runs in circles;
//! * what only time will change is asked to be looked at again.
//!
//! And the checks can fail: where a fence, the lease or a new leader's lists are left out, a counterexample has to be found.
//!
//! Some stories have an edge in front: a pod that hears, does and answers what it is told, each in its own time. Clients are served
//! through it while it leads them to a revision whose pod answers.
//!
//! What is assumed: a ReplicaSet's controller acts on its newest number, the lists before a start and the write that follows
//! them are one step, watches bring nothing while a plan is being written, and no pod fails by itself.
//!
//! `GOPROXY_MODEL=wide cargo test -p goproxy-operator --lib model -- --nocapture` lets more go wrong in one story, for
//! minutes instead of seconds. Either way the number of states of each story is printed.

mod act;
mod edge;
mod operator;
mod world;

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
};

use super::front::Front;
use act::{Act, Fences, Late, Mishap, Watch};
use operator::{Fleet, Operator, Snapshot, Steps, Storage};
use stateright::{Checker, Model, Property};
use world::{Age, Answer, Content, Fence, Id, Mishaps, Rev, Spec, View, World, Write};

/// More than any world needs to come to rest.
const STEPS_TO_REST: usize = 200;

/// A story that may unfold.
#[expect(clippy::struct_excessive_bools, reason = "each makes another story")]
#[derive(Clone)]
struct Story {
    operator: Arc<Operator>,
    /// What the user asks for, one after the other.
    specs: Vec<Spec>,
    mishaps: Mishaps,
    /// What may be deleted.
    deletable: Vec<Id>,
    fences: Fences,
    late: Late,
    /// Whether a leader begins with what its watches told before it led, instead of listing everything anew.
    behind: bool,
    foreign: Option<Id>,
    /// Whether no two revisions may have pods at the same time.
    ends_first: bool,
    /// Whether the fleet serves its first spec when the story begins.
    grown: bool,
    /// Whether the edge answers before it does what it was told.
    hasty: bool,
    /// States from which the world is known to come to rest.
    calm: Arc<Mutex<HashSet<u64>>>,
}

impl Story {
    fn new(fleet: Fleet, specs: &[(Rev, u8)]) -> Self {
        Self {
            operator: operator::of(fleet),
            specs: specs
                .iter()
                .map(|(wanted, replicas)| Spec { wanted: *wanted, replicas: *replicas, edge: false })
                .collect(),
            mishaps: Mishaps::default(),
            deletable: Vec::new(),
            fences: Fences::AsBuilt,
            late: Late::Never,
            behind: false,
            foreign: None,
            ends_first: fleet.ends_first(),
            grown: true,
            hasty: false,
            calm: Arc::default(),
        }
    }

    /// One whose specs say whether there shall be an edge.
    fn with_edge(fleet: Fleet, specs: &[(Rev, bool)]) -> Self {
        let specs = specs.iter().map(|(wanted, edge)| Spec { wanted: *wanted, replicas: 1, edge: *edge }).collect();
        Self { specs, ..Self::new(Fleet { edge: true, ..fleet }, &[]) }
    }

    fn spec(&self, world: &World) -> Spec {
        self.specs[world.edits]
    }

    fn steps(&self, view: &View) -> Arc<Steps> {
        self.operator.steps(&Snapshot { spec: self.specs[view.edits], objects: view.objects, pods: view.pods })
    }

    /// What happens by itself, sooner or later. In the order in which the world is followed to its rest.
    fn progress(&self, world: &World, acts: &mut Vec<Act>) {
        for rev in 0..2 {
            let asked = world.objects.deployments[rev].map_or(0, |deployment| deployment.replicas);
            let pods = world.pods[rev];
            let fits = pods.live.is_some() == (world.sets[rev] > 0);
            acts.extend((asked != world.sets[rev]).then_some(Act::Pass(rev)));
            acts.extend((!fits).then_some(Act::Fit(rev)));
            acts.extend((pods.live == Some(false)).then_some(Act::Ready(rev)));
            acts.extend((pods.ending > 0).then_some(Act::End(rev)));
            acts.extend(world.status(rev).map(|_| Act::Count(rev)));
        }
        acts.extend(world.edge_acts().into_iter().map(Act::Edge));
        if world.writes.is_empty() {
            acts.extend(Watch::ALL.into_iter().filter(|watch| is_news(world, *watch)).map(Act::Deliver));
            acts.extend((!self.steps(&world.view).writes.is_empty()).then_some(Act::Plan));
        } else {
            acts.push(Act::Write);
        }
        acts.extend(world.is_fresh().then_some(Act::Tick));
    }

    fn happen(&self, world: &mut World, act: Act) {
        match act {
            Act::Pass(rev) => world.sets[rev] = world.objects.deployments[rev].map_or(0, |held| held.replicas),
            Act::Count(rev) => {
                if let Some(next) = world.status(rev) {
                    world.set_status(rev, next);
                }
            }
            Act::Fit(rev) if world.sets[rev] > 0 => world.pods[rev].live = Some(false),
            Act::Fit(rev) => end(world, rev),
            Act::Ready(rev) => world.pods[rev].live = Some(true),
            Act::End(rev) => world.pods[rev].ending -= 1,
            Act::Edge(act) => world.edge_act(act, self.hasty),
            Act::Write => self.write(world),
            Act::Deliver(watch) => deliver(world, watch),
            Act::Plan => world.writes = self.planned(world),
            Act::Tick => world.tick(),
            Act::Wrong(mishap) => self.go_wrong(world, mishap),
            Act::Edit => {
                world.edits += 1;
                world.excused |= self.spec(world).replicas == 0;
            }
        }
        world.note();
        if world.mishaps.depositions == 0 || !self.behind {
            // What the next leader would know tells no two worlds apart.
            world.standby = world.view;
        }
    }

    fn go_wrong(&self, world: &mut World, mishap: Mishap) {
        match mishap {
            Mishap::Crash => {
                world.mishaps.crashes -= 1;
                world.writes.clear();
                for watch in Watch::ALL {
                    deliver(world, watch);
                }
            }
            Mishap::Follow => world.follow(),
            Mishap::Depose => {
                world.mishaps.depositions -= 1;
                let writes = std::mem::take(&mut world.writes);
                world.late = if self.late == Late::Never { Vec::new() } else { writes };
                if !self.behind {
                    world.follow();
                }
                world.view = world.standby;
            }
            Mishap::Late => {
                let write = world.late.remove(0);
                if world.write(write, false, self.fences, self.foreign) == Answer::Conflict {
                    world.late.clear();
                }
            }
            Mishap::Delete(id) => {
                world.mishaps.deletions -= 1;
                world.excused |= matches!(id, Id::Deployment(_) | Id::Set);
                world.delete(id);
            }
            Mishap::Evict(rev) => {
                world.mishaps.evictions -= 1;
                world.excused = true;
                end(world, rev);
            }
        }
    }

    /// The writes of a plan, with what is held of each object.
    fn planned(&self, world: &World) -> Vec<Write> {
        let view = &world.view;
        let same = |id| view.age(id) == Some(Age::Newest);
        let now = |id, fence| match fence {
            Fence::Unchanged(_) => Fence::Unchanged(same(id)),
            Fence::NoPodsOutside(version) => Fence::NoPodsOutside(version.map(|_| same(id))),
            Fence::None => Fence::None,
        };
        let steps = self.steps(view);
        let write = |(id, content, planned): &(Id, Content, Fence)| Write {
            id: *id,
            content: *content,
            held: view.age(*id),
            fence: now(*id, *planned),
        };
        steps.writes.iter().map(write).collect()
    }

    /// The next write of the plan. What could not be written ends it, but for a removal.
    fn write(&self, world: &mut World) {
        let write = world.writes.remove(0);
        match world.write(write, true, self.fences, self.foreign) {
            Answer::Done => {}
            Answer::Conflict if write.content == Content::Nothing => {}
            Answer::Conflict => world.writes.clear(),
            // Nothing is made from a record that is not there, and nothing is taken away for what cannot be made.
            Answer::Refused => {
                let unmade = |later: &Write| match (write.id, later.id) {
                    (Id::Record(refused), Id::Deployment(rev)) if refused == rev => true,
                    (Id::Record(_) | Id::Deployment(_), Id::Deployment(_)) => {
                        matches!(later.fence, Fence::Unchanged(_))
                    }
                    _ => false,
                };
                world.writes.retain(|later| !unmade(later) && later.content != Content::Nothing);
            }
        }
    }

    /// Whether the world comes to a good rest when nothing goes wrong any more.
    fn rests(&self, world: &World) -> bool {
        let (mut world, mut met) = (world.clone(), Vec::new());
        for _ in 0..STEPS_TO_REST {
            let mut hasher = DefaultHasher::new();
            world.hash(&mut hasher);
            let known = self.calm.lock().unwrap().contains(&hasher.finish());
            met.push(hasher.finish());
            let mut acts = Vec::new();
            self.progress(&world, &mut acts);
            let Some(act) = acts.first().filter(|_| !known) else {
                let good = known || self.is_good(&world);
                if good {
                    self.calm.lock().unwrap().extend(met);
                }
                return good;
            };
            self.happen(&mut world, *act);
        }
        false
    }

    /// The end that every change is to have.
    fn is_good(&self, world: &World) -> bool {
        let Spec { wanted, replicas, edge } = self.spec(world);
        let (other, steps) = (1 - wanted, self.steps(&world.view));
        let asked = |rev: Rev| world.objects.deployments[rev].map_or(0, |held| held.replicas);
        let front = if edge { Front::Edges } else { Front::Engines };
        world.objects.service.is_some_and(|service| service.leads == wanted && service.front == front)
            && (!edge
                || (world.objects.policy == Some(true) && world.edge.is_some_and(|pod| pod.leads == Some(wanted))))
            && (edge || (world.objects.policy != Some(true) && world.edge.is_none()))
            && (asked(wanted), asked(other)) == (replicas, 0)
            && world.pods[wanted].live.is_some() == (replicas > 0)
            && !world.pods[other].any()
            && world.objects.records[wanted].is_some()
            && !steps.moves
            && !steps.again
    }

    /// A plan that waits for nothing but time says so.
    fn is_woken(&self, world: &World) -> bool {
        if !world.writes.is_empty() || !world.is_fresh() || !self.steps(&world.view).writes.is_empty() {
            return true;
        }
        let mut later = world.clone();
        later.tick();
        self.steps(&later.view).writes.is_empty() || self.steps(&world.view).again
    }
}

fn end(world: &mut World, rev: Rev) {
    world.pods[rev].live = None;
    world.pods[rev].ending += 1;
}

fn is_news(world: &World, watch: Watch) -> bool {
    match watch {
        Watch::Fleet => world.view.edits != world.edits,
        Watch::Pods => world.view.pods != world.pods_seen(),
        Watch::Records | Watch::Deployments | Watch::Service | Watch::Policy | Watch::Set | Watch::State => {
            watch.brings().iter().any(|id| !world.knows(*id))
        }
    }
}

fn deliver(world: &mut World, watch: Watch) {
    match watch {
        Watch::Fleet => world.view.edits = world.edits,
        Watch::Pods => world.view.pods = world.pods_seen(),
        Watch::Records | Watch::Deployments | Watch::Service | Watch::Policy | Watch::Set | Watch::State => {
            watch.brings().iter().for_each(|id| world.learn(*id));
        }
    }
}

impl Model for Story {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        let mut world = World::new(self.mishaps);
        for _ in 0..if self.grown { STEPS_TO_REST } else { 0 } {
            let mut acts = Vec::new();
            self.progress(&world, &mut acts);
            let Some(act) = acts.first() else { break };
            self.happen(&mut world, *act);
        }
        world.standby = world.view;
        vec![world]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        self.progress(world, acts);
        let left = world.mishaps;
        acts.extend((world.edits + 1 < self.specs.len()).then_some(Act::Edit));
        if !world.writes.is_empty() {
            acts.extend((left.crashes > 0).then_some(Act::Wrong(Mishap::Crash)));
        }
        if left.depositions > 0 {
            acts.push(Act::Wrong(Mishap::Depose));
            acts.extend(self.behind.then_some(Act::Wrong(Mishap::Follow)));
        }
        let same = |write: &Write| matches!(write.fence, Fence::Unchanged(true) | Fence::NoPodsOutside(Some(true)));
        let first = world.late.first().filter(|write| self.late == Late::Any || !same(write));
        acts.extend(first.map(|_| Act::Wrong(Mishap::Late)));
        if left.deletions > 0 {
            acts.extend(
                self.deletable.iter().filter(|id| world.objects.has(**id)).map(|id| Act::Wrong(Mishap::Delete(*id))),
            );
        }
        if left.evictions > 0 {
            acts.extend((0..2).filter(|rev| world.pods[*rev].live.is_some()).map(|rev| Act::Wrong(Mishap::Evict(rev))));
        }
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = world.clone();
        self.happen(&mut next, act);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_WRITER, |story: &Self, world: &World| {
                !story.ends_first || !world.pods.iter().all(|pods| pods.any())
            }),
            Property::always(SERVED, |story: &Self, world: &World| {
                story.ends_first || !world.served || world.excused || world.serves()
            }),
            Property::always(FOREIGN, |_, world: &World| !world.trespassed),
            Property::always(WOKEN, Self::is_woken),
            Property::always(RESTS, |story: &Self, world: &World| story.foreign.is_some() || story.rests(world)),
        ]
    }
}

const ONE_WRITER: &str = "one revision at a time has pods";
const SERVED: &str = "clients go on being served";
const FOREIGN: &str = "another owner's object stays as it is";
const WOKEN: &str = "what only time changes is looked at again";
const RESTS: &str = "comes to rest with the wanted revision";

mod tests;
