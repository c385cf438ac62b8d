use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::plan::{
    Child, Children, DeploymentView, Detail, Plan, Verdict, fixture,
    object::{Fingerprint, Kind},
    plan, revision,
};

fn fleet(storage: &Value, created: &str) -> GoProxy {
    serde_json::from_value(json!({
        "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy",
        "metadata": { "name": "corp", "namespace": "build", "uid": "b", "creationTimestamp": created },
        "spec": { "storage": storage },
    }))
    .unwrap()
}

fn named(storage: &Value) -> Option<String> {
    wanted(&fleet(storage, "2026-05-01T00:00:00Z"))
}

fn s3(endpoint: &str) -> Option<String> {
    named(&json!({ "s3": { "bucket": "modules", "endpoint": endpoint } }))
}

#[test]
fn one_place_written_in_several_ways_is_one_place() {
    for same in [
        "https://S3.Example.com/",
        "https://s3.example.com:443",
        "http://s3.example.com",
        "http://s3.example.com:80/",
        "https://s3.example.com.",
    ] {
        assert_eq!(s3(same), s3("https://s3.example.com"), "{same}");
    }
    for same in ["http://minio:9000", "http://minio.build.svc:9000", "http://minio.build.svc.cluster.local:9000"] {
        assert_eq!(s3(same), s3("http://minio.build.svc:9000/"), "{same}");
    }
    let aws = named(&json!({ "s3": { "bucket": "modules", "region": "eu-central-1" } }));
    assert_eq!(s3("https://s3.eu-central-1.amazonaws.com"), aws);
    assert_eq!(named(&json!({ "s3": { "bucket": "modules" } })), aws, "a name is given once in all regions");
    let minio = json!({ "minio": { "endpoint": "s3.example.com", "bucket": "modules", "tls": "Enabled", "credentialsSecretRef": { "name": "m" } } });
    assert_eq!(named(&minio), s3("https://s3.example.com"), "another client of the same bucket");
    assert_eq!(named(&json!({ "gcs": { "bucket": "modules" } })), s3("https://storage.googleapis.com"));
    let own = named(&json!({ "disk": { "existingClaim": "corp-data" } }));
    for same in [json!({ "disk": {} }), json!({ "disk": { "accessMode": "ReadWriteMany" } }), json!({})] {
        assert_eq!(named(&same), own, "{same}");
    }
}

#[test]
fn other_places_are_others() {
    let all = [
        s3("https://s3.example.com"),
        s3("https://s3.example.com:8443"),
        s3("https://s3.example.com/tenant"),
        s3("http://minio.other.svc:9000"),
        s3("http://minio:9000"),
        named(&json!({ "s3": { "bucket": "modules" } })),
        named(&json!({ "s3": { "bucket": "modules", "region": "cn-north-1" } })),
        named(&json!({ "s3": { "bucket": "others" } })),
        named(&json!({ "gcs": { "bucket": "modules" } })),
        named(&json!({ "mongo": { "credentialsSecretRef": { "name": "m" } } })),
        named(&json!({ "mongo": { "credentialsSecretRef": { "name": "m" }, "database": "other" } })),
        named(&json!({ "external": { "url": "https://store.example.com" } })),
        named(&json!({ "disk": {} })),
        named(&json!({ "disk": { "existingClaim": "athens" } })),
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().map(|place| place.as_ref().unwrap()).collect();
    assert_eq!(distinct.len(), all.len(), "{all:?}");
    assert_eq!(named(&json!({ "memory": {} })), None);
}

fn claim(namespace: &str, created: Option<&str>, in_use: bool) -> Claim {
    let age = created.map(|created| Age { created: created.parse().unwrap(), uid: "a".to_owned() });
    Claim { namespace: namespace.into(), name: "other".into(), age, in_use }
}

/// The plan of a fleet that was created in May, beside another one.
fn beside(claim: Claim, children: Children) -> Plan {
    let fleet = fleet(&json!({ "s3": { "bucket": "modules" } }), "2026-05-01T00:00:00Z");
    plan(&Observed { children, claims: vec![claim], ..fixture::observed(serde_json::to_value(fleet).unwrap()) })
}

fn refused(plan: &Plan) -> Option<&str> {
    match &plan.report.verdict {
        Verdict::StorageTaken(refusal) => {
            assert!(plan.targets.is_empty(), "something is touched");
            Some(&refusal.message)
        }
        Verdict::Planned(_) | Verdict::Refused(_) | Verdict::Suspended | Verdict::Deleting => None,
    }
}

const APRIL: Option<&str> = Some("2026-04-01T00:00:00Z");
const MAY: Option<&str> = Some("2026-05-01T00:00:00Z");
const JUNE: Option<&str> = Some("2026-06-01T00:00:00Z");

#[test]
fn of_two_that_want_a_place_the_older_gets_it_and_whoever_is_there_keeps_it() {
    for (created, in_use, mine) in [
        (APRIL, false, false),
        (JUNE, false, true),
        (MAY, false, false),
        (APRIL, true, false),
        (JUNE, true, false),
        (None, true, false),
    ] {
        let planned = beside(claim("build", created, in_use), Children::new());
        assert_eq!(refused(&planned).is_none(), mine, "{created:?} {in_use}");
    }
}

#[test]
fn a_fleet_that_is_there_gives_way_only_to_an_older_one_that_is_there_too() {
    let first = beside(claim("build", JUNE, false), Children::new());
    let name = first.report.stable.unwrap();
    let fleet = fleet(&json!({ "s3": { "bucket": "modules" } }), "2026-05-01T00:00:00Z");
    let valid = crate::plan::validate::validate(&fleet, &fixture::settings(), None).unwrap();
    let stored = revision::wanted(&fleet.spec, &valid, &BTreeMap::new()).stored;
    let child = |detail| Child {
        uid: "child".to_owned(),
        resource_version: "7".to_owned(),
        owner_uid: Some("b".to_owned()),
        live: Fingerprint::of(&json!({})),
        deleting: false,
        detail,
    };
    let view = DeploymentView { replicas: 1, observed: true, ..DeploymentView::default() };
    let record = ((Kind::ControllerRevision, name.clone()), child(Detail::Revision(stored)));
    let pods = ((Kind::Deployment, name.clone()), child(Detail::Deployment(view)));
    let service = child(Detail::Service(fixture::leads(&name, None)));
    let led_there = ((Kind::Service, "corp".to_owned()), service);
    for there in [pods, led_there] {
        let children = Children::from([record.clone(), there]);
        for (created, in_use, mine) in
            [(APRIL, false, true), (JUNE, true, true), (None, true, true), (APRIL, true, false)]
        {
            let planned = beside(claim("build", created, in_use), children.clone());
            assert_eq!(refused(&planned).is_none(), mine, "{created:?} {in_use}");
        }
    }
    assert!(refused(&beside(claim("build", APRIL, false), Children::from([record]))).is_some(), "a record is no pod");
}

#[test]
fn the_other_fleet_is_named_to_its_own_namespace_only() {
    let here = beside(claim("build", APRIL, false), Children::new());
    let message = refused(&here).unwrap();
    for part in ["spec.storage.s3.bucket", "'modules'", "GoProxy 'other'", "name another place"] {
        assert!(message.contains(part), "{message}");
    }
    let elsewhere = beside(claim("secret-project", APRIL, true), Children::new());
    let message = refused(&elsewhere).unwrap();
    assert!(!message.contains("'other'") && !message.contains("secret-project"), "{message}");
}
