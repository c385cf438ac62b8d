use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::{leader::Leadership, plan::validate::Settings};

/// Answers every write: records are refused, all else is stored as it was sent. Tells what was asked for.
async fn refusing_records(
    mut requests: tower_test::mock::Handle<http::Request<Body>, http::Response<Body>>,
) -> Vec<String> {
    let mut asked = Vec::new();
    while let Some((request, reply)) = requests.next_request().await {
        let (head, body) = request.into_parts();
        let plural = head.uri.path().rsplit('/').nth(1).unwrap_or_default().to_owned();
        let refused = plural == "controllerrevisions";
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

#[tokio::test]
async fn a_refused_record_keeps_nothing_back_but_what_is_made_from_it() {
    let settings =
        Settings { engine_image_repository: "r/athens".to_owned(), cluster_domain: "cluster.local".to_owned() };
    let text = "apiVersion: goproxy.rs/v1alpha1\nkind: GoProxy\nmetadata: {name: corp, namespace: build}\nspec: {}\n";
    let objects = crate::render::render("test", text, &Arc::new(settings), Timestamp::UNIX_EPOCH).unwrap();
    let key = FleetKey::new("build", "corp");
    let store = Arc::new(Store::default());
    let fleet = json!({
        "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "spec": {},
        "metadata": { "name": "corp", "namespace": "build", "uid": "u", "resourceVersion": "1" },
    });
    store.put_fleet(serde_json::from_value(fleet).unwrap());

    let (service, requests) = tower_test::mock::pair();
    let server = tokio::spawn(refusing_records(requests));
    let writer = Writer { client: kube::Client::new(service, "default"), leadership: Leadership::always() };
    let applier = Applier { writer, store, metrics: Arc::default() };
    let target = Target { region: "default".to_owned(), cluster: None };
    let targets = [TargetPlan { target, objects, prune: Vec::new() }];
    let outcome = applier.apply(Fleet { key: &key, uid: "u", known: false }, &targets).await;
    drop(applier);
    let asked = server.await.unwrap();

    assert_eq!((outcome.obstacles.len(), &outcome.setback), (1, &None));
    for made in ["serviceaccounts", "networkpolicies", "persistentvolumeclaims", "services", "poddisruptionbudgets"] {
        assert!(asked.iter().any(|plural| plural == made), "{made} is missing in {asked:?}");
    }
    for waits in ["configmaps", "deployments"] {
        assert!(!asked.iter().any(|plural| plural == waits), "{waits} was made without a record");
    }
}
