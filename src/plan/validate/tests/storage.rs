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

/// Why pairs are refused, by the letter that stands for it in the table below.
const REASONS: [(char, &str); 5] = [
    ('a', "only gcs and azureBlob storage have a lock of their own: use redis or etcd, or leave lock out"),
    ('l', "s3 has a lock of its own only from Athens v0.19.0 on"),
    ('n', "memory and disk storage of one proxy need no lock, and a lost one would stop every fetch"),
    ('o', "'2' pods are too many: memory belongs to one proxy, and so does a disk that is not ReadWriteMany"),
    ('u', "'2' pods are too many without a lock: two that store one module at the same time would damage it"),
];

/// Every place with every lock, for one proxy and for two: what is said against it, and nothing else. A dot stands for nothing.
#[test]
#[rustfmt::skip]
fn every_pair_of_place_and_lock_is_accepted_or_refused_for_its_reason() {
    let claim = json!({ "disk": { "existingClaim": "modules" } });
    let shared_claim = json!({ "disk": { "existingClaim": "modules", "accessMode": "ReadWriteMany" } });
    let mut places = places();
    places.splice(3..3, [claim, shared_claim]);
    let locks = [
        Value::Null,
        json!({ "inProcess": {} }),
        json!({ "native": {} }),
        json!({ "redis": { "address": "redis:6379" } }),
        json!({ "redis": { "sentinel": { "masterName": "modules", "addresses": ["redis:26379"] } } }),
        json!({ "redis": { "cluster": { "addresses": ["redis:6379"] } } }),
        json!({ "managedRedis": {} }),
        json!({ "etcd": { "addresses": ["etcd:2379"] } }),
    ];
    // none, inProcess, native, redis, sentinels, cluster, managedRedis, etcd
    let table = [
        (". . a n n n n n", "o o oa on on on on on"), // memory
        (". . a n n n n n", "o o oa on on on on on"), // disk
        (". . a . . . . .", "u u a . . . . ."),       // disk, ReadWriteMany
        (". . a n n n n n", "o o oa on on on on on"), // a claim
        (". . a . . . . .", "u u a . . . . ."),       // a claim, ReadWriteMany
        (". . l . . . . .", ". . l . . . . ."),       // s3
        (". . . . . . . .", ". . . . . . . ."),       // gcs
        (". . . . . . . .", ". . . . . . . ."),       // azureBlob
        (". . a . . . . .", "u u a . . . . ."),       // mongo
        (". . a . . . . .", "u u a . . . . ."),       // minio
        (". . a . . . . .", "u u a . . . . ."),       // external
    ];
    assert_eq!(places.len(), table.len());
    for (place, (one, two)) in places.iter().zip(table) {
        for (replicas, row) in [(1, one), (2, two)] {
            assert_eq!(row.split(' ').count(), locks.len());
            for (lock, expected) in locks.iter().zip(row.split(' ')) {
                let spec = json!({ "replicas": replicas, "storage": place, "lock": lock });
                let said: String = parse(object(&spec)).err().unwrap_or_default().iter().map(|refused| {
                    let reason = REASONS.iter().find(|(_, reason)| refused.message.contains(reason));
                    reason.unwrap_or_else(|| panic!("{spec}: {}", refused.message)).0
                }).collect();
                assert_eq!(said, expected.trim_matches('.'), "{spec}");
            }
        }
    }
}
