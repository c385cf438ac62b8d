use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::{
    api::go_proxy::{EnginePod, GoProxySpec},
    plan::{
        edge::{
            Edge,
            record::{StoredEdge, wanted},
        },
        fixture::{assert_as_stored, edge, richest, smallest},
    },
};

fn body(objects: &[Object], kind: Kind, name: &str) -> Value {
    objects.iter().find(|one| one.kind == kind && one.name == name).expect("it is built").body.clone()
}

/// What is made where nothing of it is there.
fn made(fleet: &ValidFleet, edge: &ValidEdge) -> Vec<Object> {
    build(fleet, edge, &wanted(&GoProxySpec::default(), fleet, edge, &[].into()))
}

/// On volumes, and with everything that a user may say of pods.
fn rich() -> ValidEdge {
    let pod: EnginePod = richest().engine.pod;
    ValidEdge { replicas: 3, cache_volume: Some(Some("fast".to_owned())), pod, ..edge() }
}

#[test]
fn every_object_is_in_the_form_the_server_stores_and_goes_with_the_fleet() {
    for (fleet, edge) in [(smallest(), edge()), (richest(), rich())] {
        let mut objects = made(&fleet, &edge);
        let fleet = ValidFleet { edge: Some(edge), ..fleet };
        let told = Edge::of(&[].into(), &fleet.name).tell(&fleet, "corp-1").unwrap();
        objects.push(state(&fleet, &told));
        assert_eq!(objects.len(), 10);
        for object in objects {
            assert_as_stored(&object);
            let (group, version, _) = object.kind.resource();
            let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
            assert_eq!(
                (&object.body["apiVersion"], &object.body["kind"]),
                (&api_version.into(), &object.kind.as_str().into())
            );
            assert_eq!(object.body["metadata"]["name"], object.name);
            assert_eq!(object.body["metadata"]["labels"]["goproxy.rs/fleet"], "corp");
            assert_eq!(object.body["metadata"]["ownerReferences"][0]["uid"], fleet.uid);
            assert!(is_part(&fleet.name, object.kind, &object.name), "{:?}", object.kind);
        }
    }
}

#[test]
fn what_is_not_the_edge_s_is_no_part_of_it() {
    let name = smallest().name;
    for (kind, other) in [
        (Kind::Service, "corp"),
        (Kind::ServiceAccount, "corp-engine"),
        (Kind::NetworkPolicy, "corp-engine"),
        (Kind::StatefulSet, "corp-lock"),
        (Kind::ControllerRevision, "corp-097c242dfc"),
        (Kind::PodDisruptionBudget, "corp"),
    ] {
        assert!(!is_part(&name, kind, other), "{kind:?} {other}");
    }
}

#[test]
fn its_pods_are_none_of_the_proxies_and_both_are_selected_by_what_means_them() {
    let objects = made(&richest(), &rich());
    let set = body(&objects, Kind::StatefulSet, "corp-edge");
    let labels = set["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
    assert_eq!((labels.get("goproxy.rs/fleet"), &labels["goproxy.rs/edge"]), (None, &"corp".into()));
    assert_eq!(labels["team"], "build", "the user's own");
    let selects =
        |selector: &Value| selector.as_object().unwrap().iter().all(|(key, value)| labels.get(key) == Some(value));
    assert!(selects(&set["spec"]["selector"]["matchLabels"]));
    assert!(selects(&body(&objects, Kind::PodDisruptionBudget, "corp-edge")["spec"]["selector"]["matchLabels"]));
    assert!(selects(&body(&objects, Kind::NetworkPolicy, "corp-edge")["spec"]["podSelector"]["matchLabels"]));
    assert!(selects(&body(&objects, Kind::Service, "corp-edge")["spec"]["selector"]));
    let engines = body(&objects, Kind::Service, "corp-engine");
    assert_eq!(
        (&engines["spec"]["clusterIP"], &engines["spec"]["selector"]),
        (&"None".into(), &json!({ "goproxy.rs/fleet": "corp" }))
    );
}

#[test]
fn its_pods_are_made_of_the_stored_text_alone() {
    let text =
        json!({ "metadata": { "labels": { "from": "an older operator" } }, "spec": { "field": "unknown today" } });
    let stored = Arc::new(StoredEdge { edge_template: text.clone() });
    let objects = build(&smallest(), &edge(), &EdgeRecord { name: "corp-edge-t1".to_owned(), stored: stored.clone() });
    assert_eq!(body(&objects, Kind::StatefulSet, "corp-edge")["spec"]["template"], text);
    let data = body(&objects, Kind::ControllerRevision, "corp-edge-t1")["data"].clone();
    assert_eq!(serde_json::from_value::<StoredEdge>(data).unwrap(), *stored);
}

#[test]
fn it_may_read_its_own_orders_answer_them_and_look_for_engines() {
    let objects = made(&smallest(), &edge());
    let own = json!(["corp"]);
    assert_eq!(
        body(&objects, Kind::Role, "corp-edge")["rules"],
        json!([
            { "apiGroups": ["goproxy.rs"], "resources": ["edgestates"], "resourceNames": own, "verbs": ["get", "list", "watch"] },
            { "apiGroups": ["goproxy.rs"], "resources": ["edgestates/status"], "resourceNames": own, "verbs": ["patch"] },
            { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"] },
        ])
    );
    let binding = body(&objects, Kind::RoleBinding, "corp-edge");
    assert_eq!(
        binding["roleRef"],
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "corp-edge" })
    );
    assert_eq!(binding["subjects"], json!([{ "kind": "ServiceAccount", "name": "corp-edge", "namespace": "build" }]));
    assert_eq!(body(&objects, Kind::ServiceAccount, "corp-edge")["automountServiceAccountToken"], false);
}

#[test]
fn the_agent_comes_first_and_alone_has_the_token() {
    let set = body(&made(&smallest(), &edge()), Kind::StatefulSet, "corp-edge");
    let pod = &set["spec"]["template"]["spec"];
    let (agent, nginx) = (&pod["initContainers"][0], &pod["containers"][0]);
    assert_eq!((&agent["name"], &agent["restartPolicy"]), (&"agent".into(), &"Always".into()));
    assert_eq!(agent["args"], json!(["--fleet", "corp", "--namespace", "build", "--cache-bytes", "9395240960"]));
    assert_eq!(agent["startupProbe"]["httpGet"], json!({ "path": "/startz", "port": "agent" }));
    assert_eq!(agent["readinessProbe"]["httpGet"], json!({ "path": "/readyz", "port": "agent" }));
    assert_eq!(agent["ports"][0]["containerPort"], 8082);
    assert_eq!(
        (&nginx["name"], &nginx["ports"][0]["containerPort"], &nginx["ports"][0]["name"]),
        (&"nginx".into(), &8080.into(), &"http".into())
    );
    let mounts = |container: &Value| {
        let mounts = container["volumeMounts"].as_array().unwrap().iter();
        mounts.map(|mount| mount["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(mounts(nginx), ["run", "tmp", "cache"]);
    assert_eq!(mounts(agent), ["run", "tmp", "cache", "token"]);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["terminationGracePeriodSeconds"], 645);
    for container in [agent, nginx] {
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(container["image"], "registry.example.com/goproxy-edge:v1");
    }
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
}

#[test]
fn files_are_kept_on_the_node_or_on_a_volume_of_the_pod() {
    let cache = |edge: &ValidEdge| {
        let set = body(&made(&smallest(), edge), Kind::StatefulSet, "corp-edge");
        let volumes = set["spec"]["template"]["spec"]["volumes"].as_array().unwrap().clone();
        volumes.into_iter().find(|volume| volume["name"] == "cache").unwrap()
    };
    assert_eq!(cache(&edge()), json!({ "name": "cache", "emptyDir": { "sizeLimit": "10Gi" } }));
    let claim = &cache(&rich())["ephemeral"]["volumeClaimTemplate"]["spec"];
    assert_eq!(claim["storageClassName"], "fast");
    assert_eq!(claim["resources"], json!({ "requests": { "storage": "10Gi" } }));
    let plain = cache(&ValidEdge { cache_volume: Some(None), ..edge() });
    assert!(plain["ephemeral"]["volumeClaimTemplate"]["spec"]["storageClassName"].is_null());
}

#[test]
fn clients_reach_the_edge_and_the_edge_nothing_of_the_node() {
    let spec = body(&made(&smallest(), &edge()), Kind::NetworkPolicy, "corp-edge")["spec"].clone();
    let open = |port| json!({ "port": port, "protocol": "TCP" });
    assert_eq!(spec["ingress"], json!([{ "ports": [open(8080), open(8082)] }]));
    assert_eq!(spec["egress"], super::super::network_policy::build(&smallest(), false).body["spec"]["egress"]);
    assert_eq!(spec["egress"][1]["to"][0]["ipBlock"]["except"], json!(["169.254.0.0/16"]));
}
