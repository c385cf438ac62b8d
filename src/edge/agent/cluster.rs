//! What the cluster tells: the fleet's `EdgeState`, and the pods of its engines that take requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    pin::pin,
};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject},
    runtime::watcher::{self, Event, watcher},
};
use tokio::{sync::mpsc, time::sleep};

use super::{Input, serving::Told};
use crate::{
    api::edge_state::EdgeState,
    backoff::{Backoff, chance},
    edge::peers::Endpoint,
    engine::contract::PORT_NAME,
    plan::validate::FleetName,
};

/// Which fleet this edge is for.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) fleet: FleetName,
    /// The name of this edge.
    pub(super) pod: String,
}

impl Target {
    /// The one object that tells what to do, and takes the answers.
    pub(super) fn states(&self, client: Client) -> Api<DynamicObject> {
        Api::namespaced_with(client, &self.namespace, &resource())
    }
}

/// Read as it is written: what is not known of it is not refused before its version was looked at.
pub(super) fn resource() -> ApiResource {
    ApiResource::erase::<EdgeState>(&())
}

/// Watches both until nobody listens any more. Each has its own connection and its own pauses after failures.
pub(super) async fn watch(client: Client, target: Target, inputs: mpsc::Sender<Input>) {
    let state = watcher::Config::default().fields(&format!("metadata.name={}", target.fleet.edge_state()));
    let states = watcher(target.states(client.clone()), state);
    let slices = watcher::Config::default().labels(&format!("kubernetes.io/service-name={}", target.fleet.engine()));
    let endpoints = watcher(Api::<EndpointSlice>::namespaced(client, &target.namespace), slices);
    let state = take(states, "EdgeState", async |event| match event {
        Event::Apply(object) | Event::InitApply(object) => {
            inputs.send(Input::State(Box::new(told(&object, &target.pod)))).await.is_ok()
        }
        // Whoever deletes it takes the edges away too. Until that has happened clients are served.
        Event::Delete(_) | Event::Init | Event::InitDone => true,
    });
    let mut known = BTreeMap::new();
    let endpoints = take(endpoints, "EndpointSlices", async |event| {
        let complete = note(&mut known, event);
        let all = known.values().flatten().cloned().collect();
        !complete || inputs.send(Input::Endpoints(all)).await.is_ok()
    });
    tokio::select! {
        () = state => {}
        () = endpoints => {}
    }
}

/// Takes events until `use_it` says that nobody listens. What fails is tried again after a pause, and what was told before holds.
async fn take<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    what: &'static str,
    mut use_it: impl AsyncFnMut(Event<K>) -> bool,
) {
    let mut events = pin!(events);
    let mut failures = 0;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                // A list that is begun and never ends is a failure too.
                failures = if matches!(event, Event::Init) { failures + 1 } else { 0 };
                if failures > 1 {
                    sleep(Backoff::WATCH.pause(failures, chance())).await;
                }
                if !use_it(event).await {
                    return;
                }
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, what, failures, "the watch was interrupted; what was told before holds");
                sleep(Backoff::WATCH.pause(failures, chance())).await;
            }
        }
    }
}

fn told(object: &DynamicObject, pod: &str) -> Told {
    let answered = object.data.get("status").and_then(|status| status.get("edges")?.get(pod));

    Told {
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        spec: object.data.get("spec").cloned().unwrap_or_default(),
        answered: answered.and_then(|entry| serde_json::from_value(entry.clone()).ok()),
    }
}

/// Keeps what slices say. Half a list is told to nobody.
fn note(known: &mut BTreeMap<String, BTreeSet<Endpoint>>, event: Event<EndpointSlice>) -> bool {
    match event {
        Event::Init => known.clear(),
        Event::InitApply(slice) => {
            known.insert(slice.name_any(), endpoints(&slice));
        }
        Event::InitDone => return true,
        Event::Apply(slice) => {
            known.insert(slice.name_any(), endpoints(&slice));
            return true;
        }
        Event::Delete(slice) => {
            known.remove(&slice.name_any());
            return true;
        }
    }
    false
}

/// The pods of a slice that take requests.
fn endpoints(slice: &EndpointSlice) -> BTreeSet<Endpoint> {
    let named = |name: &Option<String>| name.as_deref() == Some(PORT_NAME);
    let ports = slice.ports.iter().flatten();
    let Some(port) = ports.filter(|port| named(&port.name)).find_map(|port| u16::try_from(port.port?).ok()) else {
        return BTreeSet::new();
    };
    let ready = slice.endpoints.iter().filter(|endpoint| {
        // Absent means ready, by the API's own words.
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    let endpoint = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        let pod = endpoint.target_ref.as_ref()?.name.clone()?;
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        Some(Endpoint { pod, address: SocketAddr::new(address, port) })
    };
    ready.filter_map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(name: &str, endpoints: &serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": { "name": name }, "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{ "name": "metrics", "port": 1 }, { "name": PORT_NAME, "port": 3000, "protocol": "TCP" }],
        }))
        .unwrap()
    }

    fn one(pod: &str, address: &str, ready: Option<bool>) -> serde_json::Value {
        json!({ "addresses": [address], "conditions": { "ready": ready }, "targetRef": { "kind": "Pod", "name": pod } })
    }

    fn shown(known: &BTreeMap<String, BTreeSet<Endpoint>>) -> Vec<String> {
        known.values().flatten().map(|endpoint| format!("{} {}", endpoint.pod, endpoint.address)).collect()
    }

    #[test]
    fn only_pods_that_take_requests_are_endpoints() {
        let all = json!([
            one("a-1", "10.0.0.1", Some(true)),
            one("a-2", "10.0.0.2", Some(false)),
            one("a-3", "10.0.0.3", None),
            { "addresses": ["10.0.0.4"] },
            one("a-5", "host.example", Some(true)),
        ]);
        let known = BTreeMap::from([("s".to_owned(), endpoints(&slice("s", &all)))]);
        assert_eq!(shown(&known), ["a-1 10.0.0.1:3000", "a-3 10.0.0.3:3000"]);
    }

    #[test]
    fn half_a_list_is_told_to_nobody() {
        let mut known = BTreeMap::new();
        let (first, second) =
            (slice("s1", &json!([one("a-1", "10.0.0.1", None)])), slice("s2", &json!([one("a-2", "10.0.0.2", None)])));
        assert!(!note(&mut known, Event::Init));
        assert!(!note(&mut known, Event::InitApply(first.clone())));
        assert!(!note(&mut known, Event::InitApply(second.clone())));
        assert!(note(&mut known, Event::InitDone));
        assert_eq!(shown(&known), ["a-1 10.0.0.1:3000", "a-2 10.0.0.2:3000"]);
        assert!(note(&mut known, Event::Delete(first)));
        assert_eq!(shown(&known), ["a-2 10.0.0.2:3000"]);
    }

    /// The answer to a list of either kind, or a failure.
    fn listed(of_state: bool, fails: bool) -> http::Response<kube::client::Body> {
        let item = if of_state {
            json!({ "metadata": { "name": "corp", "uid": "u", "generation": 3 }, "spec": { "protocol": 1 },
                    "status": { "edges": { "corp-edge-0": { "protocol": 1, "generation": 7 } } } })
        } else {
            serde_json::to_value(slice("s", &json!([one("corp-1-a", "10.0.0.1", None)]))).unwrap()
        };
        let (code, body) = if fails {
            (500, json!({ "kind": "Status", "code": 500 }))
        } else {
            (200, json!({ "metadata": { "resourceVersion": "1" }, "items": [item] }))
        };
        let body = kube::client::Body::from(body.to_string().into_bytes());
        http::Response::builder().status(code).body(body).unwrap()
    }

    #[tokio::test]
    async fn one_object_and_the_pods_of_one_service_are_asked_for_and_a_failure_is_waited_out() {
        let (service, mut requests) =
            tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
        let [namespace, pod] = ["team", "corp-edge-0"].map(str::to_owned);
        let target = Target { namespace, fleet: FleetName::unchecked("corp"), pod };
        let (inputs, mut input) = mpsc::channel(16);
        let watching = watch(Client::new(service, "team"), target, inputs);
        let server = tokio::spawn(async move {
            let (mut asked, mut open) = (Vec::new(), Vec::new());
            // A failure, two lists, two watches: those never end.
            while open.len() < 2 {
                let (request, reply) = requests.next_request().await.unwrap();
                let uri = request.uri().to_string();
                if uri.contains("watch=true") {
                    open.push(reply);
                    continue;
                }
                let of_state = uri.contains("/edgestates?");
                let first = !asked.iter().any(|before: &String| before.contains("/edgestates?"));
                asked.push(uri);
                reply.send_response(listed(of_state, of_state && first));
            }
            asked
        });
        let (mut told, mut pods) = (None, None);
        let listening = async {
            while told.is_none() || pods.is_none() {
                match input.recv().await.unwrap() {
                    Input::State(state) => {
                        told = Some((state.uid, state.generation, state.answered.unwrap().generation));
                    }
                    Input::Endpoints(endpoints) => pods = Some(endpoints),
                }
            }
            server.await.unwrap()
        };
        let asked = tokio::select! {
            () = watching => panic!("the watch ended"),
            asked = listening => asked,
        };
        assert_eq!(told, Some(("u".to_owned(), 3, 7)));
        let endpoint = Endpoint { pod: "corp-1-a".to_owned(), address: "10.0.0.1:3000".parse().unwrap() };
        assert_eq!(pods, Some(BTreeSet::from([endpoint])));
        let of = |part: &str| asked.iter().filter(|uri| uri.contains(part)).count();
        assert_eq!(of("/namespaces/team/edgestates?&fieldSelector=metadata.name%3Dcorp"), 2, "{asked:?}");
        assert_eq!(of("labelSelector=kubernetes.io%2Fservice-name%3Dcorp-engine"), 1, "{asked:?}");
    }
}
