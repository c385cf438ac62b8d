//! What each kind of child must hold, and that all of them are in the form the API server stores.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Kind, Object, config_map, controller_revision, deployment, horizontal_pod_autoscaler, lock, network_policy,
    persistent_volume_claim, pod_disruption_budget, service, service_account,
};
use crate::{
    api::{go_proxy::ServiceType, quantity::Quantity},
    plan::{
        StoredRevision,
        fixture::{SIDECAR_IMAGE, assert_as_stored, leads, richest, smallest, stored},
        validate::{ManagedRedis, ValidFleet, ValidServiceAccount, ValidStorage},
    },
};

const REVISION: &str = "corp-0123456789";

fn in_memory() -> ValidFleet {
    ValidFleet { storage: ValidStorage::Memory, ..smallest() }
}

fn instant() -> Timestamp {
    "2026-11-21T10:55:20Z".parse().unwrap()
}

/// No volume is there yet.
fn as_wanted(_: &str, wanted: Quantity) -> Quantity {
    wanted
}

fn all(fleet: &ValidFleet) -> Vec<Object> {
    let revision = stored(fleet, REVISION);
    let mut objects = vec![
        controller_revision::build(fleet, REVISION, &revision),
        config_map::build(fleet, REVISION, &revision).unwrap(),
        deployment::build(fleet, REVISION, &revision, 1),
        network_policy::build(fleet, false),
        service::build(fleet, &leads(REVISION, Some(instant()))),
        pod_disruption_budget::build(fleet),
    ];
    objects.extend(service_account::build(fleet));
    objects.extend(persistent_volume_claim::build(fleet, as_wanted));
    objects.extend(horizontal_pod_autoscaler::build(fleet));
    objects
}

#[test]
fn every_object_is_in_the_form_the_server_stores() {
    for (fleet, count) in [(smallest(), 8), (richest(), 9), (in_memory(), 7)] {
        let objects = all(&fleet);
        assert_eq!(objects.len(), count);
        for object in objects {
            assert_as_stored(&object);
            let (group, version, _) = object.kind.resource();
            let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
            assert_eq!(object.body["apiVersion"], api_version);
            assert_eq!(object.body["kind"], object.kind.as_str());
            assert_eq!(object.body["metadata"]["name"], object.name);
            assert_eq!(object.body["metadata"]["namespace"], "build");
            assert_eq!(object.body["metadata"]["labels"]["goproxy.rs/fleet"], "corp");
            assert!(object.body["status"].is_null(), "{:?}", object.kind);
        }
    }
}

#[test]
fn names_are_those_that_volumes_and_clients_depend_on() {
    let names: BTreeMap<Kind, String> = all(&richest()).into_iter().map(|object| (object.kind, object.name)).collect();
    for (kind, name) in [
        (Kind::ControllerRevision, REVISION),
        (Kind::ConfigMap, REVISION),
        (Kind::Deployment, REVISION),
        (Kind::ServiceAccount, "corp-engine"),
        (Kind::NetworkPolicy, "corp-engine"),
        (Kind::PersistentVolumeClaim, "corp-data"),
        (Kind::Service, "corp"),
        (Kind::PodDisruptionBudget, "corp"),
        (Kind::HorizontalPodAutoscaler, "corp"),
    ] {
        assert_eq!(names[&kind], name);
    }
}

#[test]
fn deployment_takes_its_pods_from_the_stored_text_alone() {
    let template =
        json!({ "metadata": { "labels": { "from": "an older operator" } }, "spec": { "field": "unknown today" } });
    let revision = StoredRevision { template: template.clone(), ..stored(&smallest(), REVISION) };
    let built = deployment::build(&smallest(), REVISION, &revision, 3);
    assert_eq!(built.body["spec"]["template"], template);
    assert_eq!(built.body["spec"]["replicas"], 3);
    assert_eq!(built.body["spec"]["selector"]["matchLabels"]["goproxy.rs/revision"], REVISION);
}

#[test]
fn only_pods_that_may_overlap_are_surged() {
    let strategy = |fleet: &ValidFleet| {
        deployment::build(fleet, REVISION, &stored(fleet, REVISION), 0).body["spec"]["strategy"].clone()
    };
    assert_eq!(strategy(&smallest()), json!({ "type": "Recreate" }));
    let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
    assert_eq!(strategy(&in_memory()), rolling);
}

#[test]
fn zero_replicas_are_said() {
    let built = deployment::build(&smallest(), REVISION, &stored(&smallest(), REVISION), 0);
    assert_eq!(built.body["spec"]["replicas"], 0);
    assert_eq!(built.body["spec"]["revisionHistoryLimit"], 0);
}

#[test]
fn pods_are_selected_by_every_object_that_means_them() {
    let fleet = richest();
    let revision = stored(&fleet, REVISION);
    let labels = revision.template["metadata"]["labels"].as_object().unwrap();
    let matches =
        |selector: &Value| selector.as_object().unwrap().iter().all(|(key, value)| labels.get(key) == Some(value));
    let deployment = deployment::build(&fleet, REVISION, &revision, 1).body;
    assert!(matches(&deployment["spec"]["selector"]["matchLabels"]));
    assert!(matches(&service::build(&fleet, &leads(REVISION, None)).body["spec"]["selector"]));
    assert!(matches(&pod_disruption_budget::build(&fleet).body["spec"]["selector"]["matchLabels"]));
    assert!(matches(&network_policy::build(&fleet, false).body["spec"]["podSelector"]["matchLabels"]));
    let other = service::build(&fleet, &leads("corp-other", None)).body;
    assert!(!matches(&other["spec"]["selector"]), "a Service leads to one revision only");
}

#[test]
fn revision_can_be_read_back() {
    let revision = stored(&richest(), REVISION);
    let built = controller_revision::build(&richest(), REVISION, &revision);
    assert_eq!(built.body["revision"], 1);
    let read: StoredRevision = serde_json::from_value(built.body["data"].clone()).unwrap();
    assert_eq!(StoredRevision { number: 1, ..read }, revision);
}

#[test]
fn configuration_is_immutable() {
    let built = config_map::build(&smallest(), REVISION, &stored(&smallest(), REVISION)).unwrap();
    assert_eq!(built.body["immutable"], true);
    assert!(built.body["data"]["config.toml"].as_str().unwrap().contains("StorageType = \"disk\""));
}

#[test]
fn volume_belongs_to_the_fleet_only_when_it_shall_go_with_it() {
    let kept = persistent_volume_claim::build(&smallest(), as_wanted).unwrap().body;
    assert!(kept["metadata"]["ownerReferences"].is_null());
    assert_eq!(
        kept["spec"],
        json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "20Gi" } } })
    );
    let going = persistent_volume_claim::build(&richest(), as_wanted).unwrap().body;
    assert_eq!(going["metadata"]["ownerReferences"][0]["kind"], "GoProxy");
    assert_eq!(
        going["spec"],
        json!({
            "accessModes": ["ReadWriteOncePod"],
            "resources": { "requests": { "storage": "1536Mi" } },
            "storageClassName": "fast",
        })
    );
    assert_eq!(persistent_volume_claim::build(&in_memory(), as_wanted), None);
}

#[test]
fn every_other_child_belongs_to_the_fleet() {
    for object in all(&richest()).into_iter().filter(|object| object.kind != Kind::PersistentVolumeClaim) {
        let owners = object.body["metadata"]["ownerReferences"].as_array().unwrap();
        assert_eq!(owners.len(), 1);
        assert_eq!(owners[0]["controller"], true);
        assert_eq!(owners[0]["uid"], richest().uid);
    }
}

#[test]
fn service_says_when_it_moved_and_keeps_the_users_annotations() {
    let annotations =
        |moved_at| service::build(&richest(), &leads(REVISION, moved_at)).body["metadata"]["annotations"].clone();
    assert_eq!(
        annotations(Some(instant())),
        json!({ "example.com/pool": "internal", "goproxy.rs/moved-at": "2026-11-21T10:55:20Z" })
    );
    assert_eq!(annotations(None), json!({ "example.com/pool": "internal" }));
    assert!(service::build(&smallest(), &leads(REVISION, None)).body["metadata"]["annotations"].is_null());
}

#[test]
fn service_is_what_was_asked_for() {
    let mut fleet = smallest();
    for (type_, name) in [
        (ServiceType::ClusterIP, "ClusterIP"),
        (ServiceType::NodePort, "NodePort"),
        (ServiceType::LoadBalancer, "LoadBalancer"),
    ] {
        fleet.service.type_ = type_;
        let spec = service::build(&fleet, &leads(REVISION, None)).body["spec"].clone();
        assert_eq!(spec["type"], name);
        assert_eq!(spec["ports"], json!([{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": "http" }]));
    }
    let spec = service::build(&richest(), &leads(REVISION, None)).body["spec"].clone();
    assert_eq!(spec["loadBalancerClass"], "example.com/internal");
    assert_eq!(spec["loadBalancerSourceRanges"], json!(["10.0.0.0/8"]));
}

#[test]
fn autoscaler_turns_the_fleets_own_scale() {
    assert_eq!(horizontal_pod_autoscaler::build(&smallest()), None);
    let mut fleet = richest();
    let spec = horizontal_pod_autoscaler::build(&fleet).unwrap().body["spec"].clone();
    assert_eq!(
        spec["scaleTargetRef"],
        json!({ "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "name": "corp" })
    );
    let pods = &spec["metrics"][0]["pods"];
    assert_eq!(pods["target"]["averageValue"], "1", "written as 1000m");
    assert_eq!(pods["metric"], json!({ "name": "requests", "selector": {} }));
    fleet.autoscaling.as_mut().unwrap().metrics.clear();
    let spec = horizontal_pod_autoscaler::build(&fleet).unwrap().body["spec"].clone();
    let cpu = json!({ "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 70 } });
    assert_eq!(spec["metrics"], json!([{ "type": "Resource", "resource": cpu }]));
}

#[test]
fn account_has_no_token_and_an_existing_one_is_left_alone() {
    let own = service_account::build(&richest()).unwrap().body;
    assert_eq!(own["automountServiceAccountToken"], false);
    assert_eq!(own["metadata"]["annotations"], json!({ "example.com/role": "modules" }));
    let mut fleet = smallest();
    fleet.engine.service_account = ValidServiceAccount::Existing("builds".to_owned());
    assert_eq!(service_account::build(&fleet), None);
    assert_eq!(stored(&fleet, REVISION).template["spec"]["serviceAccountName"], "builds");
}

#[test]
fn policy_keeps_node_local_services_out_of_reach() {
    let spec = network_policy::build(&smallest(), false).body["spec"].clone();
    assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(spec["ingress"], json!([{ "ports": [{ "port": 3000, "protocol": "TCP" }] }]));
    let egress = spec["egress"].as_array().unwrap();
    let open: Vec<&Value> = egress.iter().filter(|rule| rule["to"].is_null()).collect();
    let names = json!([{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }]);
    assert_eq!(open, [&json!({ "ports": names })], "only names may be asked for anywhere");
    let excepted: Vec<&str> = egress
        .iter()
        .filter_map(|rule| rule["to"].as_array())
        .flatten()
        .flat_map(|peer| peer["ipBlock"]["except"].as_array().unwrap())
        .map(|network| network.as_str().unwrap())
        .collect();
    assert_eq!(excepted, ["169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128"]);
}

#[test]
fn what_pods_need_is_there_before_them_and_what_leads_to_them_after() {
    let managed = ManagedRedis { login: "corp-lock-1".to_owned(), image: "r/redis:7".to_owned(), persistence: None };
    let fleet = ValidFleet { managed_redis: Some(managed), ..in_memory() };
    let lock = lock::build(&fleet, as_wanted);
    let clients = all(&fleet);
    let stage = |objects: &[Object], kind| objects.iter().find(|object| object.kind == kind).unwrap().stage;
    assert!(stage(&lock, Kind::Service) < stage(&clients, Kind::Deployment), "proxies ask for their lock first");
    assert!(stage(&clients, Kind::Service) > stage(&clients, Kind::Deployment));
}

#[test]
fn sidecars_are_reached_from_within_the_cluster_also_where_clients_come_through_an_edge() {
    let fleet = ValidFleet { sidecar_image: Some(SIDECAR_IMAGE.to_owned()), ..smallest() };
    for edge_only in [false, true] {
        let ingress = |fleet: &ValidFleet| network_policy::build(fleet, edge_only).body["spec"]["ingress"].clone();
        let (plain, with) = (ingress(&smallest()), ingress(&fleet));
        assert_eq!(plain.as_array().unwrap().len(), 1, "without a sidecar nothing is opened");
        assert_eq!(with[0], plain[0]);
        let opened = json!({ "ports": [{ "port": 9092, "protocol": "TCP" }], "from": [{ "namespaceSelector": {} }] });
        assert_eq!(with[1], opened);
        assert_as_stored(&network_policy::build(&fleet, edge_only));
    }
}
