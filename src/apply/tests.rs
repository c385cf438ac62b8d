use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::{api::condition::Reason, leader::Leadership, plan::validate::Settings};

/// Answers every write: one kind is refused, all else is stored as it was sent. Tells what was asked for.
async fn refusing(
    kind: &str,
    mut requests: tower_test::mock::Handle<http::Request<Body>, http::Response<Body>>,
) -> Vec<String> {
    let mut asked = Vec::new();
    while let Some((request, reply)) = requests.next_request().await {
        let (head, body) = request.into_parts();
        let plural = head.uri.path().rsplit('/').nth(1).unwrap_or_default().to_owned();
        let refused = plural == kind;
        asked.push(plural);
        let answer = if refused {
            json!({ "kind": "Status", "code": 403, "message": "denied by policy" }).to_string().into()
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        let code = if refused { 403 } else { 201 };
        reply.send_response(http::Response::builder().status(code).body(Body::from(answer)).unwrap());
    }
    asked
}

/// All that a fleet of the smallest spec consists of, and a cache that knows of that fleet and of nothing else.
fn smallest() -> (Vec<Object>, FleetKey, Arc<Store>) {
    asking("{}")
}

/// The same of another spec.
fn asking(spec: &str) -> (Vec<Object>, FleetKey, Arc<Store>) {
    let settings = Settings {
        engine_image_repository: "r/athens".to_owned(),
        goproxy_image_repository: Some("r/goproxy".to_owned()),
        redis_image: "r/redis:7.2.11".to_owned(),
        edge_image: Some("registry.example.com/goproxy-edge:v1".to_owned()),
        sidecar_image: Some("registry.example.com/goproxy-operator:v1".to_owned()),
        cluster_domain: "cluster.local".to_owned(),
    };
    let text = format!(
        "apiVersion: goproxy.rs/v1alpha1\nkind: GoProxy\nmetadata: {{name: corp, namespace: build}}\nspec: {spec}\n"
    );
    let objects = crate::render::render("test", &text, &Arc::new(settings), Timestamp::UNIX_EPOCH).unwrap();
    let store = Arc::new(Store::default());
    store.put_fleet(serde_json::from_value(fleet()).unwrap());
    (objects, FleetKey::new("build", "corp"), store)
}

fn fleet() -> serde_json::Value {
    json!({
        "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "spec": {},
        "metadata": { "name": "corp", "namespace": "build", "uid": "u", "resourceVersion": "1" },
    })
}

fn here(objects: Vec<Object>) -> [TargetPlan; 1] {
    let target = Target { region: "default".to_owned(), cluster: None };
    [TargetPlan { target, login: None, objects, let_go: Vec::new(), prune: Vec::new() }]
}

fn applier(service: tower_test::mock::Mock<http::Request<Body>, http::Response<Body>>, store: Arc<Store>) -> Applier {
    let writer = Writer { client: kube::Client::new(service, "default"), leadership: Leadership::always() };
    Applier { writer, store, metrics: Arc::default() }
}

fn answer(code: u16, body: impl Into<Vec<u8>>) -> http::Response<Body> {
    http::Response::builder().status(code).body(Body::from(body.into())).unwrap()
}

/// What is asked for while one kind is refused.
async fn with_one_refused(kind: &'static str, spec: &str) -> Vec<String> {
    let (objects, key, store) = asking(spec);
    let of_kind = objects.iter().filter(|object| object.kind.resource().2 == kind).count();
    let (service, requests) = tower_test::mock::pair();
    let server = tokio::spawn(refusing(kind, requests));
    let applier = applier(service, store);
    let outcome = applier.apply(Fleet { key: &key, uid: "u", known: false }, &here(objects)).await;
    assert_eq!((outcome.obstacles.len(), &outcome.setback), (of_kind, &None));
    drop(applier);
    server.await.unwrap()
}

#[tokio::test]
async fn a_refused_record_keeps_nothing_back_but_what_is_made_from_it() {
    let asked = with_one_refused("controllerrevisions", "{edge: {}}").await;
    for made in ["serviceaccounts", "networkpolicies", "persistentvolumeclaims", "services", "poddisruptionbudgets"] {
        assert!(asked.iter().any(|plural| plural == made), "{made} is missing in {asked:?}");
    }
    for waits in ["configmaps", "deployments", "statefulsets"] {
        assert!(!asked.iter().any(|plural| plural == waits), "{waits} was made without a record");
    }
}

#[tokio::test]
async fn no_pod_starts_on_a_volume_that_is_not_ours() {
    let asked = with_one_refused("persistentvolumeclaims", "{}").await;
    assert!(asked.iter().any(|plural| plural == "services"), "{asked:?}");
    assert!(!asked.iter().any(|plural| plural == "deployments"), "{asked:?}");
}

#[tokio::test]
async fn a_text_that_can_never_change_is_made_anew() {
    let (mut objects, key, store) = smallest();
    objects.retain(|object| object.kind == Kind::ConfigMap);
    let fence = Precondition::Replaces { uid: "c".to_owned(), resource_version: "7".to_owned() };
    let mut other = objects[0].body.clone();
    objects[0].precondition = fence;
    other["metadata"]["uid"] = "c".into();
    other["metadata"]["resourceVersion"] = "7".into();
    other["metadata"]["ownerReferences"][0]["uid"] = "u".into();
    other["data"]["config.toml"] = "# by another operator".into();
    store.put_child(Kind::ConfigMap, &crate::cache::decode::Seen::new(other));

    let (service, mut requests) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
    let server = tokio::spawn(async move {
        let (delete, reply) = requests.next_request().await.unwrap();
        reply.send_response(answer(200, "{}"));
        assert_eq!(delete.method(), http::Method::DELETE);
        delete.into_body().collect().await.unwrap().to_bytes()
    });
    let applier = applier(service, store);
    let outcome = applier.apply(Fleet { key: &key, uid: "u", known: true }, &here(objects)).await;
    assert!(matches!(outcome.setback, Some(Setback::Conflict(_))), "looked at again: {:?}", outcome.setback);
    let options: serde_json::Value = serde_json::from_slice(&server.await.unwrap()).unwrap();
    assert_eq!(options["preconditions"], json!({ "uid": "c", "resourceVersion": "7" }), "exactly what was planned");
}

#[tokio::test]
async fn a_volume_that_is_not_used_any_more_loses_its_owner_and_nothing_else() {
    let (objects, key, store) = smallest();
    let mut claim = objects.into_iter().find(|object| object.kind == Kind::PersistentVolumeClaim).unwrap().body;
    claim["metadata"]["uid"] = "v".into();
    claim["metadata"]["resourceVersion"] = "7".into();
    let mut kept = claim.clone();
    let owner = json!({ "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "name": "corp", "uid": "u", "controller": true });
    claim["metadata"]["ownerReferences"] = json!([owner]);
    kept["metadata"]["resourceVersion"] = "8".into();
    store.put_child(Kind::PersistentVolumeClaim, &crate::cache::decode::Seen::new(claim));

    let (service, mut requests) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
    let server = tokio::spawn(async move {
        let mut asked = Vec::new();
        while let Some((request, reply)) = requests.next_request().await {
            let (head, body) = request.into_parts();
            let text = head.headers[http::header::CONTENT_TYPE].to_str().unwrap().to_owned();
            let body: serde_json::Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
            asked.push((head.method, text, body));
            reply.send_response(answer(200, kept.to_string()));
        }
        asked
    });
    let applier = applier(service, store);
    let volume = crate::plan::Prune {
        kind: Kind::PersistentVolumeClaim,
        name: "corp-data".to_owned(),
        uid: "v".to_owned(),
        resource_version: "7".to_owned(),
    };
    let mut target = here(Vec::new());
    target[0].let_go.push(volume);
    let fleet = Fleet { key: &key, uid: "u", known: true };
    for writes in [1, 0] {
        let outcome = applier.apply(fleet, &target).await;
        assert_eq!((outcome.writes, outcome.setback, outcome.obstacles.len()), (writes, None, 0));
    }
    drop(applier);
    let metadata = json!({ "uid": "v", "resourceVersion": "7", "ownerReferences": null });
    let merge = "application/merge-patch+json".to_owned();
    assert_eq!(server.await.unwrap(), [(http::Method::PATCH, merge, json!({ "metadata": metadata }))]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_deleted_each_time_is_not_made_for_ever() {
    let (mut objects, key, store) = smallest();
    objects.retain(|object| object.kind == Kind::Service);
    let (service, mut requests) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
    tokio::spawn(async move {
        let mut version = 10;
        while let Some((request, reply)) = requests.next_request().await {
            if request.method() == http::Method::GET {
                reply.send_response(answer(200, fleet().to_string()));
                continue;
            }
            version += 1;
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut made: serde_json::Value = serde_json::from_slice(&body).unwrap();
            made["metadata"]["uid"] = "s".into();
            made["metadata"]["resourceVersion"] = version.to_string().into();
            reply.send_response(answer(201, made.to_string()));
        }
    });
    let applier = applier(service, store.clone());
    let fleet = Fleet { key: &key, uid: "u", known: true };
    for round in 0..10 {
        let outcome = applier.apply(fleet, &here(objects.clone())).await;
        assert_eq!((outcome.writes, &outcome.obstacles), (1, &Vec::new()), "round {round}");
        store.remove_child(Kind::Service, "build", "s");
    }
    let outcome = applier.apply(fleet, &here(objects.clone())).await;
    assert_eq!((outcome.writes, outcome.obstacles.len()), (0, 1));
    assert!(outcome.obstacles[0].message.contains("deleted as often as the operator makes it"));
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    assert_eq!(applier.apply(fleet, &here(objects)).await.writes, 1, "and then tried again");
}

/// Answers every question for pods with these, and every other one with nothing; takes every write. Tells what was written.
async fn with_pods(
    mut requests: tower_test::mock::Handle<http::Request<Body>, http::Response<Body>>,
    pods: serde_json::Value,
) -> Vec<String> {
    let mut written = Vec::new();
    while let Some((request, reply)) = requests.next_request().await {
        let (head, body) = request.into_parts();
        let last = head.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let ours = head.uri.query().unwrap_or_default().contains("goproxy.rs");
        let answer = if head.method == http::Method::GET {
            let items = if last == "pods" && !ours { pods.clone() } else { json!([]) };
            json!({ "kind": "List", "items": items }).to_string().into()
        } else {
            written.push(last);
            body.collect().await.unwrap().to_bytes()
        };
        reply.send_response(http::Response::builder().status(201).body(Body::from(answer)).unwrap());
    }
    written
}

#[tokio::test]
async fn no_pod_starts_on_a_claim_that_somebody_else_s_pod_mounts() {
    let pod = |labels: serde_json::Value, phase: &str| {
        json!({
            "metadata": { "name": "by-hand-0", "labels": labels }, "status": { "phase": phase },
            "spec": { "volumes": [{ "name": "m", "persistentVolumeClaim": { "claimName": "modules" } }] },
        })
    };
    let fence = |beside: Vec<String>| Precondition::NoPodsOutside {
        revision: "corp-1".to_owned(),
        beside,
        resource_version: None,
        claim: Some("modules".to_owned()),
    };
    for fence in [fence(Vec::new()), fence(vec!["corp-0".to_owned()])] {
        for (pod, starts) in [
            (pod(json!({}), "Running"), false),
            (pod(json!({ "goproxy.rs/fleet": "other" }), "Pending"), false),
            (pod(json!({}), "Succeeded"), true),
            (pod(json!({ "goproxy.rs/fleet": "corp" }), "Running"), true),
        ] {
            let body = json!({ "metadata": { "name": "corp-1", "namespace": "build" }, "spec": { "replicas": 1 } });
            let object = Object::from_body(Kind::Deployment, "corp-1", body).only_if(fence.clone());
            let (_, key, store) = smallest();
            let (service, requests) = tower_test::mock::pair();
            let server = tokio::spawn(with_pods(requests, json!([pod.clone()])));
            let applier = applier(service, store);
            let outcome = applier.apply(Fleet { key: &key, uid: "u", known: false }, &here(vec![object])).await;
            drop(applier);
            let written = server.await.unwrap();
            assert_eq!(!written.is_empty(), starts, "{fence:?} {pod}");
            let told: Vec<_> = outcome.obstacles.iter().map(|one| one.reason).collect();
            assert_eq!(told, if starts { vec![] } else { vec![Reason::VolumeInUse] }, "{fence:?} {pod}");
        }
    }
}
