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
fn a_lock_is_the_storages_own_where_that_holds_anybody_back() {
    let chosen = |place: &Value| {
        let fleet = valid(&json!({ "storage": place }));
        let (word, source) = default(&fleet, "spec.lock").unwrap();
        assert_eq!(source, DefaultSource::Derived);
        (fleet.lock.clone(), word.to_owned())
    };
    let azure = json!({ "azureBlob": { "accountName": "corp", "container": "modules", "credentialsSecretRef": { "name": "azure" } } });
    assert_eq!(chosen(&azure), (ValidLock::Native, "native".to_owned()));
    for place in [json!({ "gcs": { "bucket": "modules" } }), json!({ "s3": { "bucket": "modules" } })] {
        assert_eq!(chosen(&place), (ValidLock::InProcess, "inProcess".to_owned()));
    }
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
