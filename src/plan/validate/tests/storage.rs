//! Where modules live, and what locks them.

use serde_json::{Value, json};

use super::*;

/// Every place, as a user writes it.
fn places() -> Vec<Value> {
    let url = "https://store.example.com";
    vec![
        json!({ "memory": {} }),
        json!({ "disk": {} }),
        json!({ "disk": { "accessMode": "ReadWriteMany" } }),
        json!({ "s3": { "bucket": "modules" } }),
        json!({ "gcs": { "bucket": "modules" } }),
        json!({ "azureBlob": { "accountName": "corp", "container": "modules", "credentialsSecretRef": { "name": "azure" } } }),
        json!({ "mongo": { "credentialsSecretRef": { "name": "mongo" } } }),
        json!({ "minio": { "endpoint": "minio:9000", "bucket": "modules", "credentialsSecretRef": { "name": "minio" } } }),
        json!({ "external": { "url": url } }),
    ]
}

#[test]
fn two_proxies_are_let_together_exactly_where_they_damage_nothing() {
    let locks = [
        Value::Null,
        json!({ "inProcess": {} }),
        json!({ "native": {} }),
        json!({ "redis": { "address": "redis:6379" } }),
        json!({ "managedRedis": {} }),
        json!({ "etcd": { "addresses": ["etcd:2379"] } }),
    ];
    let mut judged = 0;
    for place in places() {
        for lock in &locks {
            let spec = |replicas| json!({ "replicas": replicas, "storage": place, "lock": lock });
            let Ok(alone) = parse(object(&spec(1))) else { continue };
            let alone = validate(&alone, &settings(), None).unwrap();
            let two = parse(object(&spec(2)));
            let damaging = !coordination::may_overlap(&alone);
            let in_memory = alone.storage == ValidStorage::Memory;
            assert_eq!(two.is_err(), damaging || in_memory, "{place} with {lock}");
            judged += 1;
        }
    }
    assert_eq!(judged, 2 * 2 + 5 * 5 + 2 * 6, "every pair that one proxy may have");
}

#[test]
fn a_lock_is_the_storages_own_where_it_has_one() {
    let chosen = |place: &Value| valid(&json!({ "storage": place })).lock;
    assert_eq!(chosen(&json!({ "gcs": { "bucket": "modules" } })), ValidLock::Native);
    assert_eq!(chosen(&json!({ "s3": { "bucket": "modules" } })), ValidLock::InProcess);
    let fleet = valid(&json!({ "storage": { "gcs": { "bucket": "modules" } } }));
    assert_eq!(default(&fleet, "spec.lock"), Some(("native", DefaultSource::Derived)));
    assert_eq!(default(&valid(&json!({})), "spec.lock"), None, "one proxy has nothing to lock");
}

#[test]
fn a_store_of_ones_own_has_its_buckets_in_the_path() {
    let path_style = |s3: Value| {
        let ValidStorage::S3 { path_style, .. } = valid(&json!({ "storage": { "s3": s3 } })).storage else { panic!() };
        path_style
    };
    let endpoint = "https://s3.example.com";
    assert!(!path_style(json!({ "bucket": "modules" })));
    assert!(path_style(json!({ "bucket": "modules", "endpoint": endpoint })));
    assert!(!path_style(json!({ "bucket": "modules", "endpoint": endpoint, "addressing": "VirtualHosted" })));
}
