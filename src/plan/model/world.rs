//! One fleet on a cluster, as small as it can be and still go wrong: two revisions, at most one pod wanted.

use super::{
    act::Fences,
    edge::{EdgePod, State},
};
use crate::plan::front::Front;

/// A revision by its place: 0 is the one that the fleet begins with.
pub type Rev = usize;

const COUNT: usize = 8;

/// The children that matter to a rollout. The others never change anything about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    Record(Rev),
    Deployment(Rev),
    Service,
    /// Whether the proxies let in nobody but the edge.
    Policy,
    /// The pods of the edge.
    Set,
    /// What the edge is told.
    State,
}

impl Id {
    /// Those of a fleet that never has an edge.
    pub const PLAIN: [Self; 5] =
        [Self::Record(0), Self::Record(1), Self::Deployment(0), Self::Deployment(1), Self::Service];

    pub const ALL: [Self; COUNT] = [
        Self::Record(0),
        Self::Record(1),
        Self::Deployment(0),
        Self::Deployment(1),
        Self::Service,
        Self::Policy,
        Self::Set,
        Self::State,
    ];

    const fn place(self) -> usize {
        match self {
            Self::Record(rev) => rev,
            Self::Deployment(rev) => 2 + rev,
            Self::Service => 4,
            Self::Policy => 5,
            Self::Set => 6,
            Self::State => 7,
        }
    }
}

/// What a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    pub wanted: Rev,
    pub replicas: u8,
    pub edge: bool,
}

/// A Deployment: what is asked of it, and what its status tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Deployment {
    pub replicas: u8,
    pub observed: bool,
    pub current: bool,
    pub available: bool,
}

/// When clients were moved, as far as the delay before the old revision ends goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moved {
    Never,
    LongAgo,
    JustNow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    pub leads: Rev,
    pub moved: Moved,
    pub front: Front,
    pub fronted: Moved,
}

impl Service {
    fn tick(&mut self) {
        for moved in [&mut self.moved, &mut self.fronted] {
            if *moved == Moved::JustNow {
                *moved = Moved::LongAgo;
            }
        }
    }

    fn is_fresh(self) -> bool {
        [self.moved, self.fronted].contains(&Moved::JustNow)
    }
}

/// Objects on the API server, or what somebody takes them to be. A record is its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Objects {
    pub records: [Option<u8>; 2],
    pub deployments: [Option<Deployment>; 2],
    pub service: Option<Service>,
    pub policy: Option<bool>,
    /// Whether its pod is ready, as far as its status tells.
    pub set: Option<bool>,
    pub state: Option<State>,
}

impl Objects {
    pub fn has(&self, id: Id) -> bool {
        match id {
            Id::Record(rev) => self.records[rev].is_some(),
            Id::Deployment(rev) => self.deployments[rev].is_some(),
            Id::Service => self.service.is_some(),
            Id::Policy => self.policy.is_some(),
            Id::Set => self.set.is_some(),
            Id::State => self.state.is_some(),
        }
    }

    fn copy(&mut self, id: Id, from: &Self) {
        match id {
            Id::Record(rev) => self.records[rev] = from.records[rev],
            Id::Deployment(rev) => self.deployments[rev] = from.deployments[rev],
            Id::Service => self.service = from.service,
            Id::Policy => self.policy = from.policy,
            Id::Set => self.set = from.set,
            Id::State => self.state = from.state,
        }
    }

    fn remove(&mut self, id: Id) {
        self.copy(id, &Self::default());
    }
}

/// How a copy stands to the object: a resourceVersion is only ever compared for being the newest, a uid for being the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Age {
    Newest,
    Older,
    /// The object of that uid is gone.
    Gone,
}

/// What the leader knows. Each part of it may be old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// How many edits it has heard of.
    pub edits: usize,
    pub objects: Objects,
    pub ages: [Age; COUNT],
    pub pods: [bool; 2],
}

impl View {
    pub fn age(&self, id: Id) -> Option<Age> {
        self.objects.has(id).then(|| self.ages[id.place()])
    }
}

/// What a write makes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    Record(u8),
    Replicas(u8),
    Service(Service),
    Policy(bool),
    Set,
    State(u8, Rev),
    Nothing,
}

/// What must hold when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fence {
    None,
    /// The resourceVersion that was planned on, and whether it still is the object's.
    Unchanged(bool),
    /// No pods of the other revision, and the same of the resourceVersion if there was an object.
    NoPodsOutside(Option<bool>),
}

/// A write that is still to be made, with what its sender held of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    pub id: Id,
    pub content: Content,
    pub held: Option<Age>,
    pub fence: Fence,
}

/// The pods of a revision. One that ends may still write to its volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pods {
    /// The one that is not ending, and whether it is ready.
    pub live: Option<bool>,
    pub ending: u8,
}

impl Pods {
    pub const fn any(self) -> bool {
        self.live.is_some() || self.ending > 0
    }
}

/// How often something may still go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mishaps {
    /// The operator ends between two writes and begins again.
    pub crashes: u8,
    /// Another process becomes leader; the writes of the one before are still under way.
    pub depositions: u8,
    /// Somebody deletes a child.
    pub deletions: u8,
    /// A pod is evicted.
    pub evictions: u8,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// How many edits the user has made.
    pub edits: usize,
    pub objects: Objects,
    /// What the Deployments' ReplicaSets are asked for.
    pub sets: [u8; 2],
    pub pods: [Pods; 2],
    pub edge: Option<EdgePod>,
    pub view: View,
    /// What the next leader knows: nobody tells it what this one writes.
    pub standby: View,
    /// What the leader still has to write of its last plan.
    pub writes: Vec<Write>,
    /// What a leader that was deposed has still to write.
    pub late: Vec<Write>,
    pub mishaps: Mishaps,
    /// Clients were served, and nobody but the operator had a reason to end that.
    pub served: bool,
    /// A user, an eviction or a deletion did.
    pub excused: bool,
    /// An object of another owner was changed.
    pub trespassed: bool,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    Conflict,
    /// The name is somebody else's.
    Refused,
}

impl World {
    pub fn new(mishaps: Mishaps) -> Self {
        let view = View { edits: 0, objects: Objects::default(), ages: [Age::Newest; COUNT], pods: [false; 2] };
        Self {
            edits: 0,
            objects: Objects::default(),
            sets: [0; 2],
            pods: [Pods::default(); 2],
            edge: None,
            view,
            standby: view,
            writes: Vec::new(),
            late: Vec::new(),
            mishaps,
            served: false,
            excused: false,
            trespassed: false,
        }
    }

    /// Whether clients reach a pod that answers.
    pub fn serves(&self) -> bool {
        let answers = |rev: Rev| self.pods[rev].live == Some(true);
        self.objects.service.is_some_and(|service| match service.front {
            Front::Engines => answers(service.leads) && self.objects.policy != Some(true),
            Front::Edges => self.edge.and_then(|edge| edge.leads).is_some_and(answers),
        })
    }

    /// Notes what clients get.
    pub fn note(&mut self) {
        if self.objects.service.is_none() {
            self.served = false;
        } else if self.serves() {
            self.served = true;
        }
    }

    /// The object has another resourceVersion now, or is gone: every copy and every fence is older by that.
    pub fn outdate(&mut self, id: Id, age: Age) {
        let grow = |old: Age| if old == Age::Gone { Age::Gone } else { age };
        for view in [&mut self.view, &mut self.standby].into_iter().filter(|view| view.objects.has(id)) {
            view.ages[id.place()] = grow(view.ages[id.place()]);
        }
        for write in self.writes.iter_mut().chain(&mut self.late).filter(|write| write.id == id) {
            write.held = write.held.map(grow);
            if let Fence::Unchanged(still) | Fence::NoPodsOutside(Some(still)) = &mut write.fence {
                *still = false;
            }
        }
    }

    /// The leader gets to know the object as it is.
    pub fn learn(&mut self, id: Id) {
        self.view.objects.copy(id, &self.objects);
        self.view.ages[id.place()] = Age::Newest;
    }

    /// The next leader knows everything as it is.
    pub fn follow(&mut self) {
        let ages = [Age::Newest; COUNT];
        self.standby = View { edits: self.edits, objects: self.objects, ages, pods: self.pods_seen() };
    }

    /// Whether the leader knows the object as it is.
    pub fn knows(&self, id: Id) -> bool {
        match self.view.age(id) {
            Some(age) => age == Age::Newest,
            None => !self.objects.has(id),
        }
    }

    pub fn pods_seen(&self) -> [bool; 2] {
        self.pods.map(Pods::any)
    }

    pub fn delete(&mut self, id: Id) {
        self.objects.remove(id);
        self.outdate(id, Age::Gone);
        match (id, &mut self.edge) {
            (Id::Deployment(rev), _) => self.sets[rev] = 0,
            (Id::State, Some(edge)) => edge.number = None,
            _ => {}
        }
    }

    /// One request of a leader, answered as the API server and `apply` do: created only where nothing is, changed only
    /// under the uid that was held, fenced by version or by a list of pods.
    pub fn write(&mut self, write: Write, by_leader: bool, fences: Fences, foreign: Option<Id>) -> Answer {
        let Write { id, content, held, fence } = write;
        let exists = self.objects.has(id) || foreign == Some(id);
        if content == Content::Nothing {
            let same = held == Some(Age::Newest) || (fences == Fences::NoVersions && held == Some(Age::Older));
            if !exists || !same {
                return Answer::Conflict;
            }
            self.trespassed |= foreign == Some(id);
            self.delete(id);
            if by_leader {
                self.learn(id);
            }
            return Answer::Done;
        }
        if foreign == Some(id) {
            return Answer::Refused;
        }
        if held == Some(Age::Gone) || (held.is_some() && !exists) || !self.holds(fence, id, fences) {
            return Answer::Conflict;
        }
        self.put(id, content);
        if by_leader {
            self.learn(id);
        }
        Answer::Done
    }

    fn holds(&self, fence: Fence, id: Id, fences: Fences) -> bool {
        match (fence, id) {
            (Fence::None, _) => true,
            (Fence::Unchanged(still), _) => still || fences == Fences::NoVersions,
            (Fence::NoPodsOutside(Some(false)), _) if fences != Fences::NoVersions => false,
            (Fence::NoPodsOutside(_), Id::Deployment(rev)) => {
                let asked = self.objects.deployments[1 - rev].is_some_and(|other| other.replicas > 0);
                let stopped = fences == Fences::OnlyPods || (!asked && self.sets[1 - rev] == 0);
                fences == Fences::Blind || (stopped && !self.pods[1 - rev].any())
            }
            (Fence::NoPodsOutside(_), Id::Record(_) | Id::Service | Id::Policy | Id::Set | Id::State) => {
                unreachable!("only Deployments start pods")
            }
        }
    }

    fn put(&mut self, id: Id, content: Content) {
        let before = self.objects;
        match (id, content) {
            (Id::Record(rev), Content::Record(number)) => self.objects.records[rev] = Some(number),
            (Id::Deployment(rev), Content::Replicas(replicas)) => {
                let held = self.objects.deployments[rev].unwrap_or_default();
                let observed = held.observed && held.replicas == replicas;
                self.objects.deployments[rev] = Some(Deployment { replicas, observed, ..held });
            }
            (Id::Service, Content::Service(service)) => self.objects.service = Some(service),
            (Id::Policy, Content::Policy(edge_only)) => self.objects.policy = Some(edge_only),
            (Id::Set, Content::Set) => self.objects.set = self.objects.set.or(Some(false)),
            (Id::State, Content::State(number, stable)) => {
                let answer = self.objects.state.and_then(|held| held.answer);
                self.objects.state = Some(State { number, stable, answer });
            }
            _ => unreachable!("a plan writes {content:?} to {id:?}"),
        }
        if before != self.objects {
            self.outdate(id, Age::Older);
        }
    }

    /// The status that the Deployment controller would write now. It is written once the ReplicaSet is told.
    pub fn status(&self, rev: Rev) -> Option<Deployment> {
        let held = self.objects.deployments[rev].filter(|held| held.replicas == self.sets[rev])?;
        let live = self.pods[rev].live;
        let next = Deployment { observed: true, current: live.is_some(), available: live == Some(true), ..held };
        (next != held).then_some(next)
    }

    pub fn set_status(&mut self, rev: Rev, next: Deployment) {
        self.objects.deployments[rev] = Some(next);
        self.outdate(Id::Deployment(rev), Age::Older);
    }

    /// Whether there is an instant to wait for.
    pub fn is_fresh(&self) -> bool {
        [self.objects.service, self.view.objects.service, self.standby.objects.service]
            .into_iter()
            .flatten()
            .any(Service::is_fresh)
    }

    /// The delay passes, for everybody.
    pub fn tick(&mut self) {
        for write in self.writes.iter_mut().chain(&mut self.late) {
            if let Content::Service(service) = &mut write.content {
                service.tick();
            }
        }
        let copies = [&mut self.objects, &mut self.view.objects, &mut self.standby.objects];
        copies.into_iter().filter_map(|objects| objects.service.as_mut()).for_each(Service::tick);
    }
}
