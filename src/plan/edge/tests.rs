use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{record::StoredEdge, *};
use crate::{
    api::status::RegionState,
    edge::adopt::{Adoption, Origin, adopt},
    observe::as_if_applied,
    plan::{
        DeploymentView, Observed, Plan, Transition, fixture,
        object::{Object, Precondition},
        plan,
    },
    status::status,
};

const UID: &str = "u";

/// One fleet through time: every plan is written as it is, and its pods do as they are told.
struct Story {
    spec: Value,
    children: Children,
    second: i64,
}

impl Story {
    fn new(spec: Value) -> Self {
        Self { spec, children: Children::new(), second: 0 }
    }

    fn observed(&self) -> Observed {
        let fleet = json!({
            "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy",
            "metadata": { "name": "corp", "namespace": "build", "uid": UID },
            "spec": self.spec,
        });
        let now = Timestamp::from_second(1_800_000_000 + self.second).unwrap();
        Observed { now, children: self.children.clone(), ..fixture::observed(fleet) }
    }

    fn plan(&self) -> Plan {
        plan(&self.observed())
    }

    /// Plans and writes once. The engines' pods follow; what edges answer stays.
    fn step(&mut self) -> Plan {
        let planned = self.plan();
        let mut next = as_if_applied(&planned.targets[0].objects, UID);
        for (key, child) in &mut next {
            let before = self.children.get(key).map(|before| &before.detail);
            match (&mut child.detail, before) {
                (Detail::Deployment(view), _) => {
                    let pods = view.replicas;
                    let counted =
                        DeploymentView { observed: true, current: pods, ready: pods, available: pods, ..view.clone() };
                    *view = counted;
                }
                (Detail::StatefulSet(view), Some(Detail::StatefulSet(before))) => view.ready = before.ready,
                (Detail::EdgeState(view), Some(Detail::EdgeState(before))) => view.edges.clone_from(&before.edges),
                _ => {}
            }
        }
        let gone: Vec<_> = planned.targets[0].prune.iter().map(|prune| (prune.kind, prune.name.clone())).collect();
        let kept = self.children.iter().filter(|(key, _)| !next.contains_key(*key) && !gone.contains(*key));
        let kept: Vec<_> = kept.map(|(key, child)| (key.clone(), child.clone())).collect();
        next.extend(kept);
        self.children = next;
        planned
    }

    /// Until nothing changes, without time passing.
    fn rest(&mut self) -> Vec<Transition> {
        let mut steps = Vec::new();
        for _ in 0..10 {
            let before = self.children.clone();
            steps.extend(self.step().transition);
            if self.children == before {
                return steps;
            }
        }
        panic!("it does not come to rest: {steps:?}");
    }

    fn set(&mut self) -> &mut StatefulSetView {
        let child = self.children.get_mut(&(Kind::StatefulSet, "corp-edge".to_owned())).unwrap();
        let Detail::StatefulSet(view) = &mut child.detail else { panic!("no set of pods") };
        view
    }

    fn state(&mut self) -> &mut EdgeStateView {
        let child = self.children.get_mut(&(Kind::EdgeState, "corp".to_owned())).unwrap();
        let Detail::EdgeState(view) = &mut child.detail else { panic!("no orders of an edge") };
        view
    }

    /// The first pods of the edge are ready, and serve by what it was told.
    fn edges_follow(&mut self, pods: i32) {
        self.set().ready = pods;
        let generation = self.state().spec.settled.number;
        let report = EdgeReport { protocol: PROTOCOL, generation, trouble: None };
        let reports = (0..pods).map(|place| (format!("corp-edge-{place}"), report.clone()));
        self.state().edges.extend(reports);
    }

    fn object(&self, kind: Kind, name: &str) -> Option<Object> {
        let planned = self.plan();
        planned.targets[0].objects.iter().find(|one| one.kind == kind && one.name == name).cloned()
    }

    /// What the edge's pods are made of, as it is stored, and its name.
    fn record(&mut self) -> (String, &mut Arc<StoredEdge>) {
        let records = self.children.iter_mut().filter_map(|((_, name), child)| {
            let Detail::EdgeRecord(stored) = &mut child.detail else { return None };
            Some((name.clone(), stored))
        });
        let mut records: Vec<_> = records.collect();
        assert_eq!(records.len(), 1, "one is kept");
        records.remove(0)
    }

    fn pods(&self) -> Value {
        self.object(Kind::StatefulSet, "corp-edge").unwrap().body["spec"]["template"].clone()
    }

    fn pruned(&self) -> Vec<(Kind, String)> {
        self.plan().targets[0].prune.iter().map(|one| (one.kind, one.name.clone())).collect()
    }

    fn selector(&self) -> Value {
        self.object(Kind::Service, "corp").unwrap().body["spec"]["selector"].clone()
    }

    fn edge_only(&self) -> bool {
        !self.object(Kind::NetworkPolicy, "corp-engine").unwrap().body["spec"]["ingress"][0]["from"].is_null()
    }

    fn served(&self) -> String {
        self.plan().report.stable.unwrap()
    }
}

fn spec(edge: Option<Value>, level: &str) -> Value {
    let mut spec = json!({ "replicas": 1, "storage": { "memory": {} }, "engine": { "logLevel": level } });
    spec.as_object_mut().unwrap().extend(edge.map(|edge| ("edge".to_owned(), edge)));
    spec
}

/// A fleet whose clients reach the edge, long after they came.
fn grown(edge: Value) -> Story {
    let mut story = Story::new(spec(Some(edge), "Info"));
    story.rest();
    let pods = story.set().replicas;
    story.edges_follow(pods);
    assert_eq!(story.rest(), [Transition::Fronted { by: Front::Edges }]);
    story.second += 60;
    story.rest();
    story
}

#[test]
fn a_fleet_without_an_edge_is_as_it_was() {
    let mut story = Story::new(spec(None, "Info"));
    story.rest();
    let with = Story::new(spec(Some(json!({})), "Info"));
    let (plain, other) = (story.plan(), with.plan());
    assert_eq!(plain.report.stable, other.report.stable, "an edge is no input of a revision");
    for object in &plain.targets[0].objects {
        assert!(!object.body.to_string().contains("edge"), "{}", object.body);
        let same = other.targets[0].objects.iter().find(|one| (one.kind, &one.name) == (object.kind, &object.name));
        assert_eq!(same.map(|same| same.fingerprint), Some(object.fingerprint), "{:?} {}", object.kind, object.name);
    }
    assert_eq!(other.targets[0].objects.len() - plain.targets[0].objects.len(), 10);
    assert_eq!(plain.report.edge, None);
    assert_eq!(status(&story.observed().fleet, &plain.report, story.observed().now).edge, None);
}

#[test]
fn clients_come_to_the_edge_in_a_step_of_its_own_and_the_proxies_close_after_them() {
    let mut story = Story::new(spec(Some(json!({ "replicas": 2 })), "Info"));
    story.rest();
    let stable = story.served();
    let engines = json!({ "goproxy.rs/fleet": "corp", "goproxy.rs/revision": stable });
    assert_eq!(story.selector(), engines, "nobody is led to an edge that does not serve");
    story.set().ready = 1;
    assert_eq!(story.selector(), engines, "nor to one that has not been told");
    story.edges_follow(1);
    let planned = story.plan();
    assert_eq!(planned.transition, Some(Transition::Fronted { by: Front::Edges }));
    let service = story.object(Kind::Service, "corp").unwrap();
    assert!(matches!(service.precondition, Precondition::Unchanged { .. }), "a late one of another leader is refused");
    assert_eq!(service.body["spec"]["selector"], json!({ "goproxy.rs/edge": "corp" }));
    let notes = &service.body["metadata"]["annotations"];
    assert_eq!(
        (&notes["goproxy.rs/serves"], &notes["goproxy.rs/front-moved-at"]),
        (&stable.clone().into(), &"2027-01-15T08:00:00Z".into())
    );
    assert!(!story.edge_only());
    story.rest();
    assert_eq!(story.plan().again_at.map(Timestamp::as_second), Some(1_800_000_030));
    story.second = 29;
    assert!(!story.edge_only(), "some clients have not noticed");
    story.second = 30;
    assert!(story.edge_only());
    story.rest();
    assert_eq!((story.served(), story.plan().again_at), (stable, None));
}

#[test]
fn a_revision_moves_behind_the_edge_and_the_old_one_ends_once_every_pod_of_it_follows() {
    let mut story = grown(json!({ "replicas": 2 }));
    let old = story.served();
    let number = story.state().spec.settled.number;
    story.spec = spec(Some(json!({ "replicas": 2 })), "Debug");
    let steps = story.rest();
    let new = story.served();
    assert!(new != old && steps.contains(&Transition::Moved { from: old.clone(), to: new.clone() }), "{steps:?}");
    assert_eq!(story.selector(), json!({ "goproxy.rs/edge": "corp" }));
    let told = story.state().spec.settled.clone();
    assert_eq!((told.number, told.settings.weights.stable), (number + 1, new.clone()));
    story.second += 300;
    story.edges_follow(1);
    story.rest();
    let replicas = |story: &Story| story.object(Kind::Deployment, &old).unwrap().body["spec"]["replicas"].clone();
    assert_eq!(replicas(&story), 1, "one pod of the edge has not answered");
    story.edges_follow(2);
    assert_eq!(replicas(&story), 0);
    assert_eq!(story.rest(), [Transition::ScaledDown { revisions: vec![old] }]);
}

#[test]
fn another_operator_replaces_no_pod_of_an_edge() {
    let mut story = grown(json!({}));
    // As an operator made it whose builder set other labels.
    let (name, stored) = story.record();
    let mut older = (**stored).clone();
    older.edge_template["metadata"]["labels"]["from"] = "an older operator".into();
    *stored = Arc::new(older.clone());
    assert_eq!(story.pods(), older.edge_template);
    story.rest();
    for edge in [json!({ "replicas": 2 }), json!({ "cache": { "list": { "minTTL": "1s" } } })] {
        story.spec["edge"] = edge;
        story.rest();
        assert_eq!((story.record().0, story.pods()), (name.clone(), older.edge_template.clone()));
    }
    story.spec["edge"] = json!({ "cache": { "size": "20Gi" } });
    assert_eq!(story.pods()["metadata"]["labels"], json!({ "goproxy.rs/edge": "corp" }));
    assert_eq!(story.pruned(), [(Kind::ControllerRevision, name.clone())]);
    story.rest();
    assert_ne!(story.record().0, name);
}

#[test]
fn an_edge_that_comes_back_before_it_has_gone_keeps_its_pods() {
    let mut story = grown(json!({}));
    let (name, stored) = story.record();
    let mut older = (**stored).clone();
    older.edge_template["metadata"]["labels"]["from"] = "an older operator".into();
    *stored = Arc::new(older.clone());
    story.spec = spec(None, "Info");
    story.rest();
    story.second += 10;
    story.spec = spec(Some(json!({})), "Info");
    story.rest();
    assert_eq!((story.record().0, story.pods()), (name, older.edge_template));
}

#[test]
fn an_edge_that_is_removed_ends_after_clients_have_left_it() {
    let mut story = grown(json!({}));
    let (stable, record) = (story.served(), story.record().0);
    story.spec = spec(None, "Info");
    let first = story.plan();
    assert_eq!(first.transition, None, "the proxies let nobody in yet");
    assert!(!story.edge_only() && first.targets[0].prune.is_empty());
    story.step();
    assert_eq!(story.step().transition, Some(Transition::Fronted { by: Front::Engines }));
    assert_eq!(story.selector(), json!({ "goproxy.rs/fleet": "corp", "goproxy.rs/revision": stable }));
    let state = story.object(Kind::EdgeState, "corp").unwrap();
    assert_eq!(state.body["spec"]["settled"]["settings"]["weights"]["stable"], stable, "it serves who has not left");
    story.second += 29;
    assert!(story.plan().targets[0].prune.is_empty());
    story.second += 1;
    let pruned = story.pruned();
    let named = |kind, name: &str| (kind, name.to_owned());
    assert_eq!(
        pruned,
        [
            named(Kind::EdgeState, "corp"),
            named(Kind::PodDisruptionBudget, "corp-edge"),
            named(Kind::RoleBinding, "corp-edge"),
            named(Kind::Service, "corp-engine"),
            named(Kind::Service, "corp-edge"),
            named(Kind::StatefulSet, "corp-edge"),
            named(Kind::NetworkPolicy, "corp-edge"),
            named(Kind::Role, "corp-edge"),
            named(Kind::ServiceAccount, "corp-edge"),
            named(Kind::ControllerRevision, &record),
        ]
    );
    story.rest();
    let mut plain = Story::new(spec(None, "Info"));
    plain.rest();
    let bodies = |story: &Story| story.plan().targets[0].objects.iter().map(|one| one.body.clone()).collect::<Vec<_>>();
    assert_eq!(bodies(&story), bodies(&plain), "nothing of it is left");
}

#[test]
fn clients_stay_with_the_edge_while_no_proxy_can_serve_them() {
    let mut story = grown(json!({}));
    story.spec = spec(None, "Info");
    story.step();
    let stable = story.served();
    if let Detail::Deployment(view) = &mut story.children.get_mut(&(Kind::Deployment, stable)).unwrap().detail {
        (view.ready, view.available) = (0, 0);
    }
    assert_eq!((story.plan().transition, story.selector()), (None, json!({ "goproxy.rs/edge": "corp" })));
}

#[test]
fn the_same_settings_keep_their_number_and_other_ones_get_the_next() {
    let mut story = grown(json!({}));
    let first = story.state().spec.settled.clone();
    assert_eq!((first.number, first.settings.fetch_seconds), (1, 600));
    story.second += 1000;
    story.rest();
    assert_eq!(story.state().spec.settled, first);
    story.spec["edge"] = json!({ "cache": { "list": { "minTTL": "10s" } } });
    let object = story.object(Kind::EdgeState, "corp").unwrap();
    assert_eq!(object.body["spec"]["settled"]["number"], 2);
    assert!(matches!(object.precondition, Precondition::Unchanged { .. }));
    story.rest();
    assert_eq!(story.state().spec.settled.settings.lists, ListSettings { min_seconds: 10, max_seconds: 300 });
    story.children.remove(&(Kind::EdgeState, "corp".to_owned()));
    story.rest();
    assert_eq!(story.state().spec.settled.number, 1, "another object begins to count anew");
}

#[test]
fn an_edge_that_nobody_answers_for_is_told_and_nobody_goes_round_it() {
    let mut story = Story::new(spec(Some(json!({ "replicas": 2 })), "Info"));
    story.rest();
    let told = |story: &Story| status(&story.observed().fleet, &story.plan().report, story.observed().now);
    let condition = |story: &Story, type_: &str| {
        let found = told(story).conditions.into_iter().find(|one| one.type_ == type_).unwrap();
        (found.status, found.reason, found.message)
    };
    assert_eq!(condition(&story, "EdgeReady").1, "Progressing");
    assert!(
        condition(&story, "Ready").0 == "True" && condition(&story, "Reconciling").2.contains("the proxies meanwhile")
    );
    story = grown(json!({ "replicas": 2 }));
    assert_eq!(condition(&story, "Reconciling").0, "False");
    let edge = told(&story).edge.unwrap();
    assert_eq!((edge.replicas, edge.ready_replicas, edge.generation), (2, 2, Some(1)));
    assert_eq!(told(&story).summary.unwrap(), "1/1 proxies v0.18.1, edge 2/2");
    assert_eq!(condition(&story, "EdgeReady").0, "True");
    story.state().edges.get_mut("corp-edge-1").unwrap().trouble = Some("protocol 2 is not read".to_owned());
    let (status, reason, message) = condition(&story, "EdgeReady");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "EdgeBehind"));
    assert!(message.starts_with("corp-edge-1 ") && message.contains("protocol 2"), "{message}");
    assert_eq!(condition(&story, "Ready").0, "True", "the other one serves");
    story.set().ready = 0;
    for type_ in ["Ready", "EdgeReady"] {
        let (status, reason, message) = condition(&story, type_);
        assert_eq!((status.as_str(), reason.as_str()), ("False", "EdgeUnavailable"));
        assert!(message.contains("kubectl describe pod corp-edge-0"), "{message}");
    }
    assert_eq!(story.plan().report.state, RegionState::Unavailable);
    let (status, reason, message) = condition(&story, "Reconciling");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "EdgeUnavailable"),
        "its proxies are ready, and none starts"
    );
    assert!(message.contains("once a pod of the edge is ready"), "{message}");
    assert_eq!(condition(&story, "Stalled").0, "False", "it serves again without a change of the fleet");
    let summary = told(&story).summary.unwrap();
    assert!(summary.starts_with("1/1 proxies v0.18.1, edge 0/2; EdgeUnavailable: edge corp-edge "), "{summary}");
    assert_eq!(story.selector(), json!({ "goproxy.rs/edge": "corp" }));
    story.spec = spec(None, "Info");
    assert!(condition(&story, "Reconciling").2.contains("before clients leave the edge"), "that way out is a change");
}

#[test]
fn a_service_that_is_lost_comes_back_to_the_edge() {
    let mut story = grown(json!({}));
    let stable = story.served();
    story.children.remove(&(Kind::Service, "corp".to_owned()));
    assert_eq!(story.selector(), json!({ "goproxy.rs/edge": "corp" }));
    assert_eq!(story.served(), stable);
    story.set().ready = 0;
    assert_eq!(story.selector()["goproxy.rs/revision"], stable, "where the edge cannot serve, the proxies do");
    assert!(!story.edge_only());
}

#[test]
fn whatever_an_edge_is_told_it_can_do() {
    let patterns = ["git.example.com/*", "*.internal.example.com", "a-b.c/D_e~*/x?", "?.example/-v.1", "host"];
    for (least, most) in [("1s", "24h"), ("90s", "90s")] {
        let mut spec = spec(Some(json!({ "cache": { "list": { "minTTL": least, "maxTTL": most } } })), "Info");
        spec["engine"]["fetchTimeout"] = "1h".into();
        spec["private"] = json!({ "modules": patterns });
        let mut story = Story::new(spec);
        story.rest();
        let told = story.state().spec.clone();
        let origin = Origin { uid: "e".to_owned(), generation: 1 };
        let Adoption::Serve(held) = adopt("corp-edge-0", &told, &origin, None) else { panic!("{told:?}") };
        assert_eq!((held.number, held.private.len(), held.fetch_timeout), (1, patterns.len(), Duration::from_hours(1)));
        assert_eq!(held.weights.stable, story.served());
    }
}
