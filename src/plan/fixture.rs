//! Fleets and checks that several test modules share.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, from_value, json, to_value};

use super::{
    DeploymentView, Lead, Observed, StoredRevision,
    object::{Object, canonicalise},
    validate::{
        AzureIdentity, Checksums, FleetName, Login, Origin, RedisServers, Settings, ValidAutoscaling, ValidCredential,
        ValidEdge, ValidEgress, ValidEngine, ValidFleet, ValidLock, ValidRedis, ValidService, ValidServiceAccount,
        ValidStorage, ValidUpstream, Volume,
    },
};
use crate::{
    api::{
        go_proxy::{AccessMode, EngineKind, EnginePod, ImagePullPolicy, LogLevel, ServiceType, TryNextOn},
        quantity::Quantity,
    },
    engine::{
        contract::{ENGINE_CONTRACT, files, pod_template},
        coordination, program,
        version::Version,
    },
};

/// An installation.
pub fn settings() -> Settings {
    Settings {
        engine_image_repository: "registry.example.com/athens".to_owned(),
        goproxy_image_repository: Some("registry.example.com/goproxy".to_owned()),
        redis_image: "registry.example.com/redis:7.2.11".to_owned(),
        edge_image: Some("registry.example.com/goproxy-edge:v1".to_owned()),
        sidecar_image: Some(SIDECAR_IMAGE.to_owned()),
        cluster_domain: "cluster.local".to_owned(),
    }
}

/// Image of the sidecar.
pub const SIDECAR_IMAGE: &str = "registry.example.com/goproxy-operator:v1";

/// A fleet as the API server tells of it, by itself.
pub fn observed(fleet: Value) -> Observed {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    Observed::alone(Arc::new(from_value(fleet).unwrap()), now, Arc::new(settings()))
}

/// A Deployment of this many replicas whose controller is up to date, with this many available pods.
pub fn deployment(replicas: i32, available: i32) -> DeploymentView {
    DeploymentView {
        replicas,
        observed: true,
        current: available,
        ready: available,
        available,
        ..DeploymentView::default()
    }
}

/// A Service that leads clients to the proxies of a revision.
pub fn leads(revision: &str, moved_at: Option<Timestamp>) -> Lead {
    Lead { revision: Some(revision.to_owned()), moved_at, ..Lead::default() }
}

/// An edge of defaults.
pub fn edge() -> ValidEdge {
    ValidEdge {
        replicas: 1,
        image: "registry.example.com/goproxy-edge:v1".to_owned(),
        cache_size: Quantity::gibibytes(10),
        cache_volume: None,
        list_least: Duration::from_secs(5),
        list_most: Duration::from_mins(5),
        cpu_request: Quantity::milli(250),
        cpu_limit: None,
        memory_request: Quantity::mebibytes(256),
        memory_limit: Quantity::gibibytes(1),
        pod: EnginePod::default(),
    }
}

/// The fleet of `spec: {}`.
pub fn smallest() -> ValidFleet {
    ValidFleet {
        name: FleetName::unchecked("corp"),
        namespace: "build".to_owned(),
        uid: "0c1f5b0e-6a0e-4f6e-9d5e-3c8f2f1f0001".to_owned(),
        cluster: "cluster.local".to_owned(),
        replicas: 1,
        engine: ValidEngine {
            version: Version::newest(EngineKind::Athens),
            image: "registry.example.com/athens:v0.18.1".to_owned(),
            image_pull_policy: ImagePullPolicy::IfNotPresent,
            fetch_workers: 10,
            fetch_timeout: Duration::from_mins(10),
            log_level: LogLevel::Info,
            go_env: BTreeMap::from([("GOTOOLCHAIN".to_owned(), "local".to_owned())]),
            service_account: ValidServiceAccount::Own(BTreeMap::new()),
            cpu_request: Quantity::milli(250),
            cpu_limit: None,
            memory_request: Quantity::mebibytes(512),
            memory_limit: Quantity::gibibytes(2),
            pod: EnginePod::default(),
        },
        service: ValidService {
            type_: ServiceType::ClusterIP,
            annotations: BTreeMap::new(),
            load_balancer_class: None,
            load_balancer_source_ranges: Vec::new(),
        },
        autoscaling: None,
        storage: ValidStorage::Disk { volume: own_volume(), access_mode: AccessMode::ReadWriteOnce },
        lock: ValidLock::InProcess,
        managed_redis: None,
        upstream: ValidUpstream {
            proxies: Vec::new(),
            direct: true,
            checksums: Checksums::Database { name: "sum.golang.org".to_owned(), url: None, key: None },
            ca_bundle: None,
            egress: None,
        },
        private_modules: Vec::new(),
        credentials: Vec::new(),
        restart: None,
        secrets: None,
        sidecar_image: None,
        edge: None,
        scale_down_delay: Duration::from_secs(30),
        revision_history_limit: 5,
        defaults: Vec::new(),
    }
}

/// A fleet of the other engine.
pub fn mirror() -> ValidFleet {
    let plain = smallest();
    let version = Version::newest(EngineKind::Goproxy);
    ValidFleet {
        engine: ValidEngine { version, image: "registry.example.com/goproxy:0.20.0".to_owned(), ..plain.engine },
        upstream: ValidUpstream {
            proxies: vec![origin("mirror", "https://mirror.example.com", TryNextOn::NotFound)],
            direct: false,
            ca_bundle: Some(("corp-ca".to_owned(), "ca.crt".to_owned())),
            ..plain.upstream
        },
        ..plain
    }
}

/// A fleet that uses every field, some of them in forms that the API server rewrites.
pub fn richest() -> ValidFleet {
    let plain = smallest();
    ValidFleet {
        engine: rich_engine(plain.engine),
        service: ValidService {
            type_: ServiceType::LoadBalancer,
            annotations: strings([("example.com/pool", "internal")]),
            load_balancer_class: Some("example.com/internal".to_owned()),
            load_balancer_source_ranges: vec!["10.0.0.0/8".to_owned()],
        },
        autoscaling: Some(ValidAutoscaling {
            min_replicas: 1,
            max_replicas: 1,
            metrics: vec![
                from_value(json!({ "type": "Pods", "pods": {
                    "metric": { "name": "requests", "selector": { "matchLabels": {} } },
                    "target": { "type": "AverageValue", "averageValue": "1000m" },
                } }))
                .unwrap(),
            ],
        }),
        storage: ValidStorage::Disk {
            volume: Volume::Own {
                size: Quantity::mebibytes(1536),
                class: Some("fast".to_owned()),
                deleted_with_fleet: true,
            },
            access_mode: AccessMode::ReadWriteOncePod,
        },
        upstream: ValidUpstream {
            proxies: vec![
                origin("mirror", "https://mirror.example.com", TryNextOn::NotFound),
                origin("second", "http://second.example.com:8080/go", TryNextOn::AnyError),
            ],
            direct: true,
            checksums: Checksums::Database {
                name: "sum.example.com".to_owned(),
                url: Some("https://sums.example.com:8443/db".to_owned()),
                key: Some("sum.example.com+0a1b2c3d+AdXHNi1jzJPl4Gn5KZV3Ow==".to_owned()),
            },
            ca_bundle: Some(("corp-ca".to_owned(), "ca.crt".to_owned())),
            egress: Some(ValidEgress {
                https: "http://egress.example.com:3128".to_owned(),
                http: "http://egress.example.com:3129".to_owned(),
                past: vec!["localhost".to_owned(), ".svc".to_owned(), "10.0.0.0/8".to_owned()],
                secret: None,
            }),
        },
        private_modules: vec!["git.example.com/*".to_owned(), "*.internal.example.com".to_owned()],
        credentials: credentials(),
        ..plain
    }
}

fn rich_engine(plain: ValidEngine) -> ValidEngine {
    let pod = json!({
        "nodeSelector": { "example.com/pool": "" },
        "tolerations": [{ "key": "pool", "operator": "Equal", "value": "1000", "effect": "" }],
        "affinity": {
            "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
                { "weight": 1, "preference": { "matchExpressions": [{ "key": "disk", "operator": "In", "values": ["ssd"] }] } },
            ] },
            "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
                { "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "app": "noisy" } }, "namespaces": [] },
            ] },
        },
        "priorityClassName": "builds",
        "imagePullSecrets": [{ "name": "registry" }],
        "labels": { "team": "build" },
        "annotations": { "example.com/note": "text" },
    });
    ValidEngine {
        image_pull_policy: ImagePullPolicy::Always,
        fetch_workers: 40,
        fetch_timeout: Duration::from_secs(90),
        log_level: LogLevel::Debug,
        go_env: strings([("GODEBUG", "netdns=go,http2client=0"), ("GOTOOLCHAIN", "local")]),
        service_account: ValidServiceAccount::Own(strings([("example.com/role", "modules")])),
        cpu_limit: Some(Quantity::milli(2000)),
        memory_request: Quantity::mebibytes(1536),
        memory_limit: Quantity::mebibytes(4096),
        pod: from_value(pod).unwrap(),
        ..plain
    }
}

/// An entry of the origin chain.
pub fn origin(name: &str, url: &str, try_next_on: TryNextOn) -> Origin {
    Origin { name: name.to_owned(), url: url.to_owned(), try_next_on }
}

/// A login for a host, from a Secret.
pub fn credential(host: &str, login: Login) -> ValidCredential {
    ValidCredential { host: host.to_owned(), port: None, secret: "git".to_owned(), login, probe: None }
}

/// Every way in, two of them at ports of their own.
pub fn credentials() -> Vec<ValidCredential> {
    let token = Login::Token { username: "x-access-token".to_owned() };
    vec![
        credential("basic.example.com", Login::Basic),
        credential("netrc.example.com", Login::Netrc),
        ValidCredential { port: Some(2222), ..credential("ssh.example.com", Login::Ssh { user: "forge".to_owned() }) },
        ValidCredential { port: Some(8443), ..credential("token.example.com", token) },
    ]
}

/// The revision of a fleet under a name, as it would be stored.
pub fn stored(fleet: &ValidFleet, name: &str) -> StoredRevision {
    let program = program(fleet);
    let mut template = to_value(pod_template(fleet, &program, name)).unwrap();
    canonicalise(&mut template);
    StoredRevision {
        inputs: "0123456789abcdef0123456789abcdef".to_owned(),
        apart_from_secrets: None,
        contract: ENGINE_CONTRACT,
        version: fleet.engine.version.to_string(),
        may_overlap: coordination::may_overlap(fleet),
        agreement: coordination::agreement(fleet),
        template,
        config: files(fleet, &program),
        number: 1,
    }
}

fn strings<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Panics unless the object is in the form the API server stores: nothing null or empty that it drops, canonical
/// quantities, a protocol on every port.
pub fn assert_as_stored(object: &Object) {
    check(&object.body, &format!("{:?}", object.kind));
}

fn check(value: &Value, path: &str) {
    match value {
        Value::Null => panic!("{path} is null"),
        Value::Array(items) => {
            assert!(!items.is_empty(), "{path} is an empty list");
            items.iter().enumerate().for_each(|(index, item)| check_item(item, &format!("{path}[{index}]")));
        }
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            let path = format!("{path}.{name}");
            if matches!(name.as_str(), "requests" | "limits") {
                member
                    .as_object()
                    .unwrap()
                    .iter()
                    .for_each(|(name, amount)| check_quantity(amount, &format!("{path}.{name}")));
            }
            if matches!(name.as_str(), "sizeLimit" | "averageValue") {
                check_quantity(member, &path);
            }
            if name == "matchLabels" {
                assert!(member.as_object().is_some_and(|labels| !labels.is_empty()), "{path} is empty");
            }
            check(member, &path);
        }),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check_item(item: &Value, path: &str) {
    if path.contains(".ports[") {
        assert!(item["protocol"].is_string(), "{path} has no protocol");
    }
    if path.contains(".env[") && item.get("valueFrom").is_none() {
        assert!(item["value"].as_str().is_some_and(|text| !text.is_empty()), "{path} has no value");
    }
    check(item, path);
}

fn check_quantity(amount: &Value, path: &str) {
    let text = amount.as_str().unwrap_or_else(|| panic!("{path} is no text"));
    assert_eq!(text.parse::<Quantity>().unwrap().to_string(), text, "{path} is not canonical");
}

/// The volume of `spec: {}`.
fn own_volume() -> Volume {
    Volume::Own { size: Quantity::gibibytes(20), class: None, deleted_with_fleet: false }
}

/// A bucket with keys.
pub fn bucket() -> ValidStorage {
    ValidStorage::S3 {
        bucket: "modules".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some("https://s3.example.com".to_owned()),
        path_style: true,
        secret: Some("s3".to_owned()),
    }
}

/// Every place, by a short name.
pub fn places() -> Vec<(&'static str, ValidStorage)> {
    let secret = || "login".to_owned();
    let disk = |access_mode| ValidStorage::Disk { volume: own_volume(), access_mode };
    let claimed =
        |access_mode| ValidStorage::Disk { volume: Volume::Existing { claim: "athens".to_owned() }, access_mode };
    let azure =
        |identity| ValidStorage::AzureBlob { account: "corp".to_owned(), container: "modules".to_owned(), identity };
    vec![
        ("memory", ValidStorage::Memory),
        ("disk", disk(AccessMode::ReadWriteOnce)),
        ("shared-disk", disk(AccessMode::ReadWriteMany)),
        ("claim", claimed(AccessMode::ReadWriteOnce)),
        ("shared-claim", claimed(AccessMode::ReadWriteMany)),
        ("s3", bucket()),
        ("gcs", ValidStorage::Gcs { bucket: "modules".to_owned(), project: None, secret: Some(secret()) }),
        ("azure-key", azure(AzureIdentity::Key(secret()))),
        ("azure-managed", azure(AzureIdentity::Managed("/subscriptions/1/id".to_owned()))),
        (
            "mongo",
            ValidStorage::Mongo { secret: secret(), database: "athens".to_owned(), collection: "modules".to_owned() },
        ),
        (
            "minio",
            ValidStorage::Minio {
                endpoint: "minio.example.com:9000".to_owned(),
                bucket: "modules".to_owned(),
                region: None,
                tls: true,
                secret: secret(),
            },
        ),
        ("external", ValidStorage::External { url: "https://store.example.com".to_owned() }),
    ]
}

/// Every lock, by a short name.
pub fn locks() -> Vec<(&'static str, ValidLock)> {
    let redis = |servers, tls, username: Option<&str>| {
        ValidLock::Redis(ValidRedis {
            servers,
            tls,
            username: username.map(str::to_owned),
            secret: Some("redis".to_owned()),
        })
    };
    let addresses = |hosts: &[&str]| hosts.iter().map(|host| format!("{host}.example.com:6379")).collect::<Vec<_>>();
    let sentinel =
        RedisServers::Sentinel { master_name: "modules".to_owned(), addresses: addresses(&["one", "two", "three"]) };
    vec![
        ("in-process", ValidLock::InProcess),
        ("native", ValidLock::Native),
        ("redis", redis(RedisServers::One("redis.example.com:6379".to_owned()), false, None)),
        ("redis-tls", redis(RedisServers::One("redis.example.com:6380".to_owned()), true, Some("athens"))),
        ("sentinel", redis(sentinel, false, Some("athens"))),
        ("cluster", redis(RedisServers::Cluster(addresses(&["one", "two"])), true, None)),
        ("etcd", ValidLock::Etcd { addresses: vec!["etcd.example.com:2379".to_owned()] }),
    ]
}
