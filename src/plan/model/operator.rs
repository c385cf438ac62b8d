//! The operator's step: the real plan, on a snapshot of the small world made large.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    edge::State,
    world::{Content, Fence, Id, Moved, Objects, Rev, Service, Spec},
};
use crate::{
    api::{
        edge_state::{EdgeReport, PROTOCOL},
        go_proxy::{GoProxy, GoProxySpec},
    },
    cache::decode::{Detail as Packed, Seen},
    plan::{
        Child, Children, DeploymentView, Detail, Lead, Observed, Pod, StatefulSetView, StoredRevision,
        edge::{Edge, EdgeStateView, record},
        fixture,
        object::{
            Fingerprint, Kind, Object, Precondition, controller_revision, deployment, edge, network_policy, service,
        },
        plan, revision,
        validate::{Settings, ValidFleet, validate},
        volume::ClaimView,
    },
};

const UID: &str = "0c1f5b0e-6a0e-4f6e-9d5e-3c8f2f1f0001";

/// What a plan may depend on. Copies of different age but the same content give the same plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub spec: Spec,
    pub objects: Objects,
    pub pods: [bool; 2],
}

/// A plan, as far as the small world goes: what differs from the snapshot, in the order in which it is applied.
#[derive(Debug, PartialEq, Eq)]
pub struct Steps {
    pub writes: Vec<(Id, Content, Fence)>,
    /// Whether it asks to look again by itself.
    pub again: bool,
    /// Whether it takes a step of a change.
    pub moves: bool,
}

/// Where a fleet keeps its modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In each pod.
    Memory,
    /// On a volume with one writer.
    Disk,
    /// In a bucket, which each of the two revisions locks in another way.
    TwoLocks,
}

/// Where the fleet keeps its modules, and how many revisions it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    pub storage: Storage,
    pub history: i32,
    /// Whether it ever has an edge. What only an edge needs is no part of the world otherwise.
    pub edge: bool,
}

impl Fleet {
    /// Whether no two revisions may have pods at the same time.
    pub fn ends_first(self) -> bool {
        self.storage != Storage::Memory
    }
}

/// The real operator. What it decided once is remembered: the plan is pure.
pub struct Operator {
    settings: Arc<Settings>,
    fleet: Fleet,
    valid: ValidFleet,
    names: [String; 2],
    stored: [Arc<StoredRevision>; 2],
    /// A child that is there although it is another owner's.
    foreign: Option<Id>,
    decided: Mutex<HashMap<Snapshot, Arc<Steps>>>,
}

/// The operator of a fleet that meets nothing foreign. Stories share it, and with it what was decided once.
pub fn of(fleet: Fleet) -> Arc<Operator> {
    static KNOWN: Mutex<Vec<Arc<Operator>>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap();
    if let Some(operator) = known.iter().find(|one| one.fleet == fleet) {
        return operator.clone();
    }
    known.push(Arc::new(Operator::new(fleet, None)));
    known[known.len() - 1].clone()
}

impl Operator {
    pub fn new(fleet: Fleet, foreign: Option<Id>) -> Self {
        let settings = Arc::new(fixture::settings());
        let wanted = |rev| {
            let asked = ask(fleet, Spec { wanted: rev, replicas: 1, edge: false });
            let valid = validate(&asked, &settings, None).unwrap();
            (revision::wanted(&asked.spec, &valid, &BTreeMap::new()), valid)
        };
        let ((first, valid), (second, _)) = (wanted(0), wanted(1));
        let names = [first.name, second.name];
        assert_ne!(names[0], names[1]);
        let stored = [first.stored, second.stored];
        Self { settings, fleet, valid, names, stored, foreign, decided: Mutex::default() }
    }

    pub fn steps(&self, snapshot: &Snapshot) -> Arc<Steps> {
        if let Some(known) = self.decided.lock().unwrap().get(snapshot) {
            return known.clone();
        }
        let steps = Arc::new(self.decide(snapshot));
        self.decided.lock().unwrap().insert(*snapshot, steps.clone());
        steps
    }

    /// How many different snapshots were planned on.
    pub fn plans(&self) -> usize {
        self.decided.lock().unwrap().len()
    }

    fn decide(&self, snapshot: &Snapshot) -> Steps {
        let children = self.children(&snapshot.objects);
        let pod = |rev: Rev| Pod { name: format!("pod-{rev}"), revision: self.names[rev].clone(), ..Pod::default() };
        let decided = plan(&Observed {
            children: children.clone(),
            pods: (0..2).filter(|rev| snapshot.pods[*rev]).map(pod).collect(),
            ..Observed::alone(Arc::new(ask(self.fleet, snapshot.spec)), now(), self.settings.clone())
        });
        let [target] = decided.targets.as_slice() else { panic!("the spec is refused: {:?}", decided.report.verdict) };
        let mut due: Vec<&Object> =
            target.objects.iter().filter(|object| self.id(object.kind, &object.name).is_some()).collect();
        // As `apply` does: in stages, and what stops something last among Deployments.
        due.sort_by_key(|object| (object.stage, matches!(object.precondition, Precondition::Unchanged { .. })));
        let differs = |object: &&Object| {
            let held = children.get(&(object.kind, object.name.clone()));
            held.is_none_or(|held| held.live != object.fingerprint || held.owner_uid.as_deref() != Some(UID))
        };
        let mut writes: Vec<_> = due.into_iter().filter(differs).map(|object| self.read(object)).collect();
        let gone = target.prune.iter().map(|prune| {
            let id = self.id(prune.kind, &prune.name).expect("only what is in the snapshot is pruned");
            assert_eq!(prune.resource_version, version(id));
            (id, Content::Nothing, Fence::Unchanged(true))
        });
        writes.extend(gone);
        Steps { writes, again: decided.again_at.is_some(), moves: decided.transition.is_some() }
    }

    fn id(&self, kind: Kind, name: &str) -> Option<Id> {
        let rev = self.names.iter().position(|known| known == name);
        match kind {
            Kind::ControllerRevision => rev.map(Id::Record),
            Kind::Deployment => rev.map(Id::Deployment),
            Kind::Service => (name == self.valid.name.service()).then_some(Id::Service),
            Kind::NetworkPolicy => (self.fleet.edge && name == self.valid.name.engine()).then_some(Id::Policy),
            Kind::StatefulSet => self.fleet.edge.then_some(Id::Set),
            Kind::EdgeState => self.fleet.edge.then_some(Id::State),
            Kind::ServiceAccount
            | Kind::Role
            | Kind::RoleBinding
            | Kind::ConfigMap
            | Kind::PersistentVolumeClaim
            | Kind::PodDisruptionBudget
            | Kind::HorizontalPodAutoscaler => None,
        }
    }

    /// What an object of a plan says.
    fn read(&self, object: &Object) -> (Id, Content, Fence) {
        let id = self.id(object.kind, &object.name).expect("nothing else is asked about");
        let small = |value: &serde_json::Value| u8::try_from(value.as_i64().unwrap()).unwrap();
        let content = match id {
            Id::Record(_) => Content::Record(small(&object.body["revision"])),
            Id::Deployment(_) => Content::Replicas(small(&object.body["spec"]["replicas"])),
            Id::Service => {
                let Lead { revision, moved_at, front, front_moved_at } = lead_of(object);
                let leads = self.names.iter().position(|name| Some(name) == revision.as_ref()).unwrap();
                Content::Service(Service { leads, moved: age(moved_at), front, fronted: age(front_moved_at) })
            }
            Id::Policy => Content::Policy(!object.body["spec"]["ingress"][0]["from"].is_null()),
            Id::Set => Content::Set,
            Id::State => {
                let settled = &object.body["spec"]["settled"];
                let stable = settled["settings"]["weights"]["stable"].as_str().unwrap();
                let stable = self.names.iter().position(|name| name == stable).unwrap();
                Content::State(small(&settled["number"]), stable)
            }
        };
        let fence = match &object.precondition {
            Precondition::None => Fence::None,
            Precondition::Replaces { .. } => panic!("no text is among what is asked about"),
            Precondition::Unchanged { resource_version } => {
                assert_eq!(*resource_version, version(id), "a fence is about the object itself");
                Fence::Unchanged(true)
            }
            Precondition::NoPodsOutside { revision, beside, resource_version, claim } => {
                assert!(beside.is_empty(), "its two revisions share nothing");
                assert_eq!(*claim, None, "fleets of the model have volumes of their own");
                assert_eq!(*revision, object.name, "what starts alone is what is written");
                assert!(resource_version.as_ref().is_none_or(|held| *held == version(id)));
                Fence::NoPodsOutside(resource_version.as_ref().map(|_| true))
            }
        };
        (id, content, fence)
    }

    fn state(&self, held: State) -> EdgeStateView {
        let valid = ValidFleet { edge: Some(fixture::edge()), ..self.valid.clone() };
        let mut spec = Edge::of(&Children::new(), &valid.name).tell(&valid, &self.names[held.stable]).unwrap();
        spec.settled.number = held.number.into();
        let report = |number: u8| EdgeReport { protocol: PROTOCOL, generation: number.into(), trouble: None };
        let edges = held.answer.map(|number| (valid.name.edge_pod(0), report(number)));
        EdgeStateView { spec, edges: edges.into_iter().collect() }
    }

    fn children(&self, objects: &Objects) -> Children {
        let known = Id::ALL.into_iter().filter(|id| objects.has(*id) || self.foreign == Some(*id));
        let claim = (self.fleet.storage == Storage::Disk)
            .then(|| ((Kind::PersistentVolumeClaim, self.valid.name.data()), volume()));
        known.map(|id| self.child(id, objects)).chain(claim).collect()
    }

    /// The child as the cache would tell of it, with the digest of what a builder makes of its content.
    fn child(&self, id: Id, objects: &Objects) -> ((Kind, String), Child) {
        let (object, detail) = match id {
            Id::Record(rev) => {
                let number = i64::from(objects.records[rev].unwrap_or_default());
                let stored = StoredRevision { number, ..(*self.stored[rev]).clone() };
                let object = controller_revision::build(&self.valid, &self.names[rev], &stored);
                (object, Detail::Revision(Arc::new(stored)))
            }
            Id::Deployment(rev) => {
                let held = objects.deployments[rev].unwrap_or_default();
                let replicas = i32::from(held.replicas);
                let object = deployment::build(&self.valid, &self.names[rev], &self.stored[rev], replicas);
                let available = i32::from(held.available);
                let view = DeploymentView {
                    replicas,
                    observed: held.observed,
                    current: i32::from(held.current),
                    ready: available,
                    available,
                    replica_failure: None,
                    completed: false,
                };
                (object, Detail::Deployment(view))
            }
            Id::Service => {
                let lead = objects.service.map_or_else(
                    || fixture::leads(&self.names[0], None),
                    |held| Lead {
                        revision: Some(self.names[held.leads].clone()),
                        moved_at: instant(held.moved),
                        front: held.front,
                        front_moved_at: instant(held.fronted),
                    },
                );
                (service::build(&self.valid, &lead), Detail::Service(lead))
            }
            Id::Policy | Id::Set | Id::State => self.of_edge(id, objects),
        };
        let owner = if self.foreign == Some(id) { "another" } else { UID };
        let child = Child {
            uid: format!("{id:?}"),
            resource_version: version(id),
            owner_uid: Some(owner.to_owned()),
            live: object.fingerprint,
            deleting: false,
            detail,
        };
        ((object.kind, object.name), child)
    }

    /// What only a fleet with an edge has.
    fn of_edge(&self, id: Id, objects: &Objects) -> (Object, Detail) {
        match id {
            Id::Policy => {
                let edge_only = objects.policy.unwrap_or_default();
                (network_policy::build(&self.valid, edge_only), Detail::NetworkPolicy { edge_only })
            }
            Id::Set => {
                let (spec, edge) = (GoProxySpec::default(), fixture::edge());
                let record = record::wanted(&spec, &self.valid, &edge, &Children::new());
                let built = edge::build(&self.valid, &edge, &record);
                let object = built.into_iter().find(|object| object.kind == Kind::StatefulSet).unwrap();
                let ready = i32::from(objects.set.unwrap_or_default());
                (object, Detail::StatefulSet(StatefulSetView { login: None, observed: true, replicas: 1, ready }))
            }
            Id::State => {
                let view = self.state(objects.state.unwrap_or_default());
                (edge::state(&self.valid, &view.spec), Detail::EdgeState(Box::new(view)))
            }
            Id::Record(_) | Id::Deployment(_) | Id::Service => unreachable!("{id:?} is not the edge's"),
        }
    }
}

/// The volume, which is there all the time.
fn volume() -> Child {
    Child {
        uid: "volume".to_owned(),
        resource_version: "1".to_owned(),
        owner_uid: None,
        live: Fingerprint::of(&json!({})),
        deleting: false,
        detail: Detail::Claim(Box::new(ClaimView { phase: Some("Bound".to_owned()), ..ClaimView::default() })),
    }
}

fn ask(fleet: Fleet, spec: Spec) -> GoProxy {
    let level = ["Info", "Debug"][spec.wanted];
    let (storage, lock) = match fleet.storage {
        Storage::Memory => (json!({ "memory": {} }), None),
        Storage::Disk => (json!({ "disk": {} }), None),
        Storage::TwoLocks => {
            let locks = [
                json!({ "redis": { "address": "redis.example.com:6379" } }),
                json!({ "etcd": { "addresses": ["etcd.example.com:2379"] } }),
            ];
            (json!({ "s3": { "bucket": "modules" } }), Some(locks[spec.wanted].clone()))
        }
    };
    let edge = spec.edge.then(|| json!({}));
    let mut asked = json!({
        "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy",
        "metadata": { "name": "corp", "namespace": "build", "uid": UID, "generation": 1 },
        "spec": {
            "replicas": spec.replicas, "storage": storage, "engine": { "logLevel": level },
            "rollout": { "scaleDownDelay": "30s", "revisionHistoryLimit": fleet.history },
        },
    });
    if let Some(edge) = edge {
        asked["spec"]["edge"] = edge;
    }
    if let Some(lock) = lock {
        asked["spec"]["lock"] = lock;
    }
    serde_json::from_value(asked).unwrap()
}

fn version(id: Id) -> String {
    format!("version of {id:?}")
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn instant(moved: Moved) -> Option<Timestamp> {
    match moved {
        Moved::Never => None,
        Moved::LongAgo => Some(now() - SignedDuration::from_secs(60)),
        Moved::JustNow => Some(now()),
    }
}

fn age(moved_at: Option<Timestamp>) -> Moved {
    moved_at.map_or(Moved::Never, |at| if at == now() { Moved::JustNow } else { Moved::LongAgo })
}

/// Where a Service leads, as the cache reads it.
fn lead_of(object: &Object) -> Lead {
    let Packed::Service(lead) = Seen::new(object.body.clone()).detail(Kind::Service) else { panic!("no Service") };
    *lead
}
