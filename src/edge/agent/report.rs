//! What the operator is told: by which generation this edge serves, and why not by another.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    cluster::{Target, resource},
    serving::Serving,
};
use crate::{
    api::edge_state::{EdgeReport, PROTOCOL},
    backoff::{Backoff, chance},
    client::describe,
};

/// How long one write may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is served by counts from when nginx has it: an order that was only heard is none that is carried out.
pub(super) fn report(serving: &Serving, acknowledged: Option<&str>, before: u64) -> EdgeReport {
    let now = serving.now.as_ref();
    let has = now.filter(|now| acknowledged == Some(now.push.id.as_str()));
    let silent = acknowledged.is_none().then(|| "nginx does not answer".to_owned());
    EdgeReport {
        protocol: PROTOCOL,
        generation: has.map_or(before, |now| now.held.number),
        trouble: serving.trouble.clone().or(silent),
    }
}

/// Writes this edge's own entry whenever what it says has changed, and where the object says something else: it may be another one
/// of the same name, or somebody took the entry out.
pub(super) async fn run(
    client: Client,
    target: Target,
    mut serving: watch::Receiver<Serving>,
    mut acknowledged: watch::Receiver<Option<String>>,
) {
    let api = target.states(client);
    let (mut told, mut read, mut generation, mut failures) = (None, 0, 0, 0);
    loop {
        let has = acknowledged.borrow_and_update().clone();
        let (report, (times, says)) = {
            let serving = serving.borrow_and_update();
            (report(&serving, has.as_deref(), generation), serving.heard.clone())
        };
        generation = report.generation;
        let lost = times > read && says.as_ref() != Some(&report);
        // Until something was told there is nobody who would want to know.
        if times > 0 && (lost || told.as_ref() != Some(&report)) {
            match write(&api, &target, &report).await {
                Ok(()) => (told, read, failures) = (Some(report), times, 0),
                Err(error) => {
                    failures += 1;
                    tracing::warn!(error, failures, "the operator cannot be told what this edge serves by");
                    sleep(Backoff::WATCH.pause(failures, chance())).await;
                    continue;
                }
            }
        }
        let changed = tokio::select! {
            changed = serving.changed() => changed,
            changed = acknowledged.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// The entry of this edge is its own: the field manager is its name, so that no edge takes another's away.
async fn write(api: &Api<DynamicObject>, target: &Target, report: &EdgeReport) -> Result<(), String> {
    let Target { fleet, pod, .. } = target;
    let name = fleet.edge_state();
    let kind = resource();
    let entry = json!({
        "apiVersion": kind.api_version, "kind": kind.kind, "metadata": { "name": name },
        "status": { "edges": { pod: report } },
    });
    let parameters = PatchParams::apply(pod).force();
    let written = timeout(PATIENCE, api.patch_status(name, &parameters, &Patch::Apply(&entry))).await;
    written.map_err(|_| format!("no answer within {PATIENCE:?}"))?.map(drop).map_err(|error| describe(&error))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::Value;

    use super::*;
    use crate::edge::{
        agent::serving::Now,
        decide::tests::{held, settings},
        peers::{Endpoint, Peers},
        token::KeySet,
        wire::push,
    };
    use crate::plan::validate::FleetName;

    fn serving() -> Serving {
        let held = held(settings());
        let endpoint = Endpoint { pod: "corp-1-a".to_owned(), address: "10.0.0.1:3000".parse().unwrap() };
        let peers = Peers::default().next(&BTreeSet::from([endpoint]), &held.weights);
        let push = push(&held, &peers);
        let now = Some(Arc::new(Now { held, keys: KeySet::default(), push }));
        Serving { now, trouble: None, heard: (1, None) }
    }

    #[test]
    fn a_generation_counts_from_when_nginx_has_it() {
        let serving = serving();
        let id = serving.now.as_ref().map(|now| now.push.id.clone());
        let told = |acknowledged| {
            let EdgeReport { generation, trouble, .. } = report(&serving, acknowledged, 0);
            (generation, trouble)
        };
        assert_eq!(told(None), (0, Some("nginx does not answer".to_owned())));
        assert_eq!(told(Some("another")), (0, None));
        assert_eq!(told(id.as_deref()), (1, None));
        assert_eq!(report(&serving, Some("another"), 7).generation, 7, "what was served by still is");
    }

    type Requests = tower_test::mock::Handle<http::Request<Body>, http::Response<Body>>;

    /// The next request, answered with this status.
    async fn next(requests: &mut Requests, status: u16) -> (http::Method, String, Value) {
        let (request, reply) = requests.next_request().await.unwrap();
        let (head, body) = request.into_parts();
        let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        let answer = if status == 200 { body.clone() } else { json!({ "kind": "Status", "code": status }) };
        let answer =
            http::Response::builder().status(status).body(Body::from(answer.to_string().into_bytes())).unwrap();
        reply.send_response(answer);
        (head.method, head.uri.to_string(), body)
    }

    #[tokio::test]
    async fn an_edge_writes_its_own_entry_when_that_changes_and_again_where_it_failed() {
        let (service, mut requests) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let [namespace, pod] = ["team", "corp-edge-0"].map(str::to_owned);
        let target = Target { namespace, fleet: FleetName::unchecked("corp"), pod };
        let (serve, serving) = watch::channel(serving());
        let (acknowledge, acknowledged) = watch::channel(None);
        let client = Client::new(service, "team");
        let running = tokio::spawn(run(client, target, serving.clone(), acknowledged));
        next(&mut requests, 500).await;
        let (method, uri, body) = next(&mut requests, 200).await;
        assert_eq!(method, http::Method::PATCH);
        assert_eq!(
            uri,
            "/apis/goproxy.rs/v1alpha1/namespaces/team/edgestates/corp/status?&force=true&fieldManager=corp-edge-0"
        );
        let entry = json!({ "protocol": 1, "generation": 0, "trouble": "nginx does not answer" });
        assert_eq!(body["status"], json!({ "edges": { "corp-edge-0": entry } }));
        acknowledge.send(serving.borrow().now.as_ref().map(|now| now.push.id.clone())).unwrap();
        let (_, _, body) = next(&mut requests, 200).await;
        assert_eq!(body["status"], json!({ "edges": { "corp-edge-0": { "protocol": 1, "generation": 1 } } }));
        // As it was written: nothing to do. Then somebody takes it out.
        serve.send_modify(|serving| {
            serving.heard = (2, Some(EdgeReport { protocol: PROTOCOL, generation: 1, trouble: None }));
        });
        serve.send_modify(|serving| serving.heard = (3, None));
        let (_, _, body) = next(&mut requests, 200).await;
        assert_eq!(body["status"]["edges"]["corp-edge-0"]["generation"], 1);
        running.abort();
    }
}
