mod generated;
mod storage;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    api::status::DefaultSource,
    engine::coordination,
    plan::{fixture::settings, object::CONFIRM_DELETE_ANNOTATION},
};

fn object(spec: &Value) -> Value {
    json!({
        "apiVersion": "goproxy.rs/v1alpha1",
        "kind": "GoProxy",
        "metadata": { "name": "corp", "namespace": "build", "uid": "0c1f5b0e-6a0e-4f6e-9d5e-3c8f2f1f0001" },
        "spec": spec,
    })
}

fn valid(spec: &Value) -> ValidFleet {
    validate(&parse(object(spec)).unwrap(), &settings(), None).unwrap()
}

fn fields(refused: Result<GoProxy, Vec<Refusal>>) -> Vec<String> {
    refused.unwrap_err().into_iter().map(|refusal| refusal.field).collect()
}

fn default<'a>(fleet: &'a ValidFleet, field: &str) -> Option<(&'a str, DefaultSource)> {
    fleet.defaults.iter().find(|default| default.field == field).map(|default| (default.value.as_str(), default.source))
}

#[test]
fn an_engine_without_a_repository_needs_its_image_named() {
    let bare = Settings { goproxy_image_repository: None, ..settings() };
    let verdict = |engine: Value| {
        let spec =
            json!({ "engine": engine, "upstream": { "proxies": [{ "name": "m", "url": "https://mirror.example" }] } });
        validate(&parse(object(&spec)).unwrap(), &bare, None)
    };
    let refused = verdict(json!({ "kind": "Goproxy" })).unwrap_err();
    assert_eq!(refused.len(), 1);
    assert_eq!(
        (&*refused[0].field, refused[0].message.contains("engine.goproxyImageRepository")),
        ("spec.engine.image", true)
    );
    let named = verdict(json!({ "kind": "Goproxy", "image": "mirror.example/goproxy:0.20.0" })).unwrap();
    assert_eq!(named.engine.image, "mirror.example/goproxy:0.20.0");
    assert!(verdict(json!({})).is_ok(), "Athens has a default");
}

#[test]
fn what_needs_a_sidecar_is_refused_by_name_where_there_is_none() {
    let token = json!({ "host": "git.example.com", "token": { "secretRef": { "name": "git" } }, "probe": "git.example.com/lib" });
    let app = json!({ "host": "github.com", "gitHubApp": { "secretRef": { "name": "app" } }, "probe": "github.com/acme/lib" });
    let private = json!({ "modules": ["git.example.com/*", "github.com/acme/*"], "credentials": [token, app] });
    let fleet = parse(object(&json!({ "private": private }))).unwrap();
    assert!(validate(&fleet, &settings(), None).is_ok());
    let none = Settings { sidecar_image: None, ..settings() };
    let refused = validate(&fleet, &none, None).unwrap_err();
    let fields: Vec<_> = refused.iter().map(|one| one.field.as_str()).collect();
    let expected = ["[0].probe", "[1].gitHubApp", "[1].probe"].map(|end| format!("spec.private.credentials{end}"));
    assert_eq!(fields, expected);
    assert!(refused.iter().all(|one| one.message.contains("sidecar.enabled")), "{refused:?}");
    let plain = parse(object(&json!({}))).unwrap();
    assert!(validate(&plain, &none, None).is_ok(), "a volume is served without anybody who looks at it");
}

/// In every pair of a pattern and a module below, what is let through is private by Go's own reading.
#[test]
fn a_probe_that_is_let_through_is_asked_of_nobody_in_public() {
    let firsts =
        ["git.example.com", "*.example.com", "git.*", "git.example.co?", "*.com", "g*.example.com", "example.com"];
    let rests = ["", "/*", "/team", "/team/*", "/te*", "/team/lib", "/*/lib", "/?eam/*", "/team/*/*"];
    let (mut let_through, mut turned_away) = (0, 0);
    for pattern in firsts.iter().flat_map(|first| rests.map(|rest| format!("{first}{rest}"))) {
        for path in ["team", "teams", "team/lib", "other/lib", "team/lib/v2", "lib"] {
            let probe = format!("git.example.com/{path}");
            let credential =
                json!({ "host": "git.example.com", "basic": { "secretRef": { "name": "git" } }, "probe": probe });
            let private = json!({ "modules": [pattern, "git.example.com/elsewhere"], "credentials": [credential] });
            let refused = parse(object(&json!({ "private": private }))).err();
            let covered = crate::gomod::ModulePattern::parse(&pattern)
                .unwrap()
                .matches(&crate::gomod::ModulePath::parse(&probe).unwrap());
            assert!(refused.is_some() || covered, "{pattern} does not cover {probe}");
            if refused.is_none() { let_through += 1 } else { turned_away += 1 }
        }
    }
    assert!(let_through > 20 && turned_away > 100, "{let_through} and {turned_away}");
}

#[test]
fn the_smallest_fleet_is_what_its_builders_expect() {
    let mut smallest = valid(&json!({}));
    smallest.engine.image = "registry.example.com/athens:v0.18.1".to_owned();
    assert!(smallest.defaults.len() >= 17);
    smallest.defaults.clear();
    assert_eq!(smallest.sidecar_image.take(), settings().sidecar_image);
    assert_eq!(smallest, crate::plan::fixture::smallest());
}

#[test]
fn a_version_is_named_else_pinned_else_the_newest() {
    let plain = parse(object(&json!({}))).unwrap();
    let named = parse(object(&json!({ "engine": { "version": "v0.18.1" } }))).unwrap();
    let old = Some(Version::V0_18_0);
    let pinned = validate(&plain, &settings(), old).unwrap();
    assert_eq!(pinned.engine.version, Version::V0_18_0);
    assert_eq!(pinned.engine.image, "registry.example.com/athens:v0.18.0");
    assert_eq!(default(&pinned, "spec.engine.version"), Some(("v0.18.0", DefaultSource::Pinned)));
    let named = validate(&named, &settings(), old).unwrap();
    assert_eq!((named.engine.version, default(&named, "spec.engine.version")), (Version::V0_18_1, None));
    let newest = validate(&plain, &settings(), None).unwrap();
    assert_eq!(default(&newest, "spec.engine.version"), Some(("v0.18.1", DefaultSource::Default)));
}

#[test]
fn every_supported_version_is_accepted_and_named() {
    for version in Version::ALL {
        let spec = |name: &str| {
            let engine = json!({ "kind": format!("{:?}", version.kind()), "version": name });
            json!({ "engine": engine, "upstream": { "proxies": [MIRROR_PROXY.clone()] } })
        };
        assert_eq!(valid(&spec(version.as_str())).engine.version, version);
        let refused = parse(object(&spec("v9"))).unwrap_err();
        assert!(refused[0].message.contains(version.as_str()), "{}", refused[0].message);
    }
}

static MIRROR_PROXY: std::sync::LazyLock<Value> =
    std::sync::LazyLock::new(|| json!({ "name": "mirror", "url": "https://mirror.example.com" }));

#[test]
fn a_fleet_of_the_other_engine_is_what_its_builders_expect() {
    let ca = json!({ "configMapKeyRef": { "name": "corp-ca", "key": "ca.crt" } });
    let upstream = json!({ "proxies": [MIRROR_PROXY.clone()], "caBundle": ca });
    let mut mirror = valid(&json!({ "engine": { "kind": "Goproxy" }, "upstream": upstream }));
    assert_eq!(default(&mirror, "spec.engine.version"), Some(("v0.20.0", DefaultSource::Default)));
    assert_eq!(default(&mirror, "spec.upstream.direct"), Some(("Disabled", DefaultSource::Derived)));
    for nothing in ["spec.engine.fetchWorkers", "spec.engine.logLevel", "spec.engine.goEnv.GOTOOLCHAIN", "spec.lock"] {
        assert_eq!(default(&mirror, nothing), None, "{nothing} means nothing here");
    }
    mirror.defaults.clear();
    assert_eq!(mirror.sidecar_image.take(), settings().sidecar_image);
    assert_eq!(mirror, crate::plan::fixture::mirror());
}

#[test]
fn a_version_is_pinned_within_one_engine() {
    let goproxy = json!({ "engine": { "kind": "Goproxy" }, "upstream": { "proxies": [MIRROR_PROXY.clone()] } });
    let given = parse(object(&goproxy)).unwrap();
    let fleet = validate(&given, &settings(), Some(Version::V0_18_0)).unwrap();
    assert_eq!(fleet.engine.version, Version::Goproxy0_20_0);
    let athens = validate(&parse(object(&json!({}))).unwrap(), &settings(), Some(Version::Goproxy0_20_0)).unwrap();
    assert_eq!(athens.engine.version, Version::V0_18_1);
}

#[test]
fn an_engine_is_asked_for_no_more_than_it_has() {
    let most = json!({
        "engine": { "kind": "Goproxy", "fetchWorkers": 5, "logLevel": "Debug", "goEnv": { "GODEBUG": "a=1" } },
        "storage": { "s3": { "bucket": "modules" } },
        "lock": { "redis": { "address": "redis:6379" } },
        "upstream": { "direct": "Enabled" },
        "private": { "modules": ["git.example.com/*"] },
    });
    let refused = fields(parse(object(&most)));
    for field in [
        "spec.engine.fetchWorkers",
        "spec.engine.logLevel",
        "spec.engine.goEnv",
        "spec.storage.s3",
        "spec.lock",
        "spec.upstream.direct",
        "spec.upstream.proxies",
        "spec.private",
    ] {
        assert!(refused.iter().any(|one| one == field), "{field} is not refused: {refused:?}");
    }
    let on_shared_disk = json!({
        "replicas": 3, "engine": { "kind": "Goproxy" }, "storage": { "disk": { "accessMode": "ReadWriteMany" } },
        "upstream": { "proxies": [MIRROR_PROXY.clone()] },
    });
    assert!(coordination::may_overlap(&valid(&on_shared_disk)), "it puts whole files in place");
}

#[test]
fn what_a_later_release_brings_is_refused_with_its_name() {
    let spec = json!({ "storage": { "s3": { "bucket": "modules" } }, "lock": { "native": {} } });
    let refused = parse(object(&spec)).unwrap_err();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].message.contains("only from Athens v0.19.0 on"), "{}", refused[0].message);
}

#[test]
fn amounts_that_are_left_out_follow_those_that_are_given() {
    let low = valid(&json!({ "engine": { "resources": { "limits": { "cpu": "100m", "memory": "256Mi" } } } }));
    assert_eq!((low.engine.cpu_request, low.engine.memory_request), (Quantity::milli(100), Quantity::mebibytes(256)));
    assert_eq!(default(&low, "spec.engine.resources.requests.cpu"), Some(("100m", DefaultSource::Derived)));
    let high = valid(&json!({ "engine": { "resources": { "requests": { "memory": "4Gi" } } } }));
    assert_eq!(high.engine.memory_limit, Quantity::gibibytes(4));
    assert_eq!(default(&high, "spec.engine.resources.limits.memory"), Some(("4Gi", DefaultSource::Derived)));
    let wide = valid(&json!({ "engine": { "resources": { "limits": { "memory": "8Gi" } } } }));
    assert_eq!(wide.engine.memory_request, Quantity::mebibytes(512));
    assert_eq!(default(&wide, "spec.engine.resources.requests.memory"), Some(("512Mi", DefaultSource::Default)));
}

#[test]
fn a_volume_goes_with_its_fleet_only_when_the_fleet_is_named() {
    for (when_deleted, annotation, gone) in [
        ("Delete", Some("corp"), true),
        ("Delete", Some("other"), false),
        ("Delete", None, false),
        ("Retain", Some("corp"), false),
    ] {
        let mut fleet = object(&json!({ "storage": { "whenDeleted": when_deleted, "disk": {} } }));
        if let Some(name) = annotation {
            fleet["metadata"]["annotations"] = json!({ CONFIRM_DELETE_ANNOTATION: name });
        }
        let fleet = validate(&parse(fleet).unwrap(), &settings(), None).unwrap();
        let ValidStorage::Disk { volume: Volume::Own { deleted_with_fleet, .. }, .. } = fleet.storage else {
            panic!("{:?}", fleet.storage)
        };
        assert_eq!(deleted_with_fleet, gone, "{when_deleted} {annotation:?}");
    }
}

#[test]
fn passwords_travel_in_clear_only_where_somebody_says_so_or_the_engine_cannot_help_it() {
    let resolved = |redis: Value| {
        let fleet = valid(&json!({ "storage": { "s3": { "bucket": "modules" } }, "lock": { "redis": redis } }));
        let told = default(&fleet, "spec.lock.redis.tls").map(|(word, source)| (word.to_owned(), source));
        let ValidLock::Redis(redis) = fleet.lock else { panic!("{:?}", fleet.lock) };
        (redis.tls, told)
    };
    let enabled = Some(("Enabled".to_owned(), DefaultSource::Default));
    assert_eq!(resolved(json!({ "address": "redis:6380" })), (true, enabled.clone()));
    assert_eq!(resolved(json!({ "cluster": { "addresses": ["redis:6380"] } })), (true, enabled));
    assert_eq!(resolved(json!({ "address": "redis:6379", "tls": "Disabled" })), (false, None));
    let sentinel = json!({ "masterName": "modules", "addresses": ["redis:26379"] });
    let derived = Some(("Disabled".to_owned(), DefaultSource::Derived));
    assert_eq!(resolved(json!({ "sentinel": sentinel })), (false, derived));
}

#[test]
fn azure_has_the_identity_that_is_named() {
    let identity = |member: &str, value: Value| {
        let azure = json!({ "accountName": "corp", "container": "modules", member: value });
        valid(&json!({ "storage": { "azureBlob": azure } })).storage
    };
    let ValidStorage::AzureBlob { identity: key, .. } = identity("credentialsSecretRef", json!({ "name": "azure" }))
    else {
        panic!()
    };
    assert_eq!(key, AzureIdentity::Key("azure".to_owned()));
    let id = json!({ "resourceID": "/subscriptions/1/id" });
    let ValidStorage::AzureBlob { identity: managed, .. } = identity("managedIdentity", id) else { panic!() };
    assert_eq!(managed, AzureIdentity::Managed("/subscriptions/1/id".to_owned()));
}

#[test]
fn lengths_of_time_and_words_are_resolved() {
    let fleet = valid(&json!({
        "engine": { "fetchTimeout": "1m30s", "logLevel": "Warn", "goEnv": { "GOTOOLCHAIN": "path" } },
        "rollout": { "scaleDownDelay": "0s", "revisionHistoryLimit": 0 },
        "upstream": { "proxies": [{ "name": "mirror", "url": "https://mirror.example.com" }], "direct": "Disabled" },
        "autoscaling": { "maxReplicas": 1 },
    }));
    assert_eq!((fleet.engine.fetch_timeout, fleet.scale_down_delay), (Duration::from_secs(90), Duration::ZERO));
    assert_eq!((fleet.revision_history_limit, fleet.upstream.direct), (0, false));
    assert_eq!(fleet.engine.go_env["GOTOOLCHAIN"], "path");
    assert_eq!(fleet.autoscaling.as_ref().unwrap().metrics.len(), 1);
    for field in
        ["spec.engine.fetchTimeout", "spec.engine.logLevel", "spec.engine.goEnv.GOTOOLCHAIN", "spec.upstream.direct"]
    {
        assert_eq!(default(&fleet, field), None, "{field}");
    }
    let next = default(&fleet, "spec.upstream.proxies.mirror.tryNextOn");
    assert_eq!(next, Some(("NotFound", DefaultSource::Default)));
}

#[test]
fn what_is_no_fleet_is_refused() {
    assert_eq!(fields(parse(json!([]))), ["object"]);
    assert_eq!(fields(parse(json!({}))), ["apiVersion", "kind", "metadata", "spec"]);
    let mut other = object(&json!({}));
    other["kind"] = json!("Goproxy");
    other["sepc"] = json!({});
    other["metadata"]["nmae"] = json!("corp");
    assert_eq!(fields(parse(other)), ["kind", "sepc", "metadata.nmae"]);
}

#[test]
fn a_typing_error_gets_advice() {
    let advice = |spec: Value| parse(object(&spec)).unwrap_err().remove(0).message;
    assert_eq!(
        advice(json!({ "engine": { "fetchWorker": 3 } })),
        "spec.engine.fetchWorker: unknown field \"spec.engine.fetchWorker\": did you mean 'fetchWorkers'?"
    );
    assert!(advice(json!({ "gateway": {} })).contains("kubectl explain"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let spec = json!({ "replicas": 5, "storage": {}, "engine": { "version": "v1", "fetchTimeout": "1s" } });
    let mut fleet = object(&spec);
    fleet["metadata"]["name"] = json!("Corp");
    let given: GoProxy = serde_json::from_value(fleet).unwrap();
    let found: Vec<_> =
        validate(&given, &settings(), None).unwrap_err().into_iter().map(|refusal| refusal.field).collect();
    assert_eq!(
        found,
        ["spec.engine.fetchTimeout", "metadata.name", "spec.engine.version", "spec.replicas", "spec.storage"]
    );
}
