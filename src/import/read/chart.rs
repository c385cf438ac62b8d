//! Values of the public Athens chart: which of its keys is what.

use serde_json::Value;

use super::{ReadError, config_file, environment::variable, pod};
use crate::{
    api::go_proxy::{Autoscaling, EngineKind, EngineServiceAccount},
    engine::version::Version,
    import::{
        found::{Found, Mount, NotCarried, SshServer, Value as Given},
        setting::{NO_LOGIN, by_key},
    },
};

/// Where the chart sends clients if it is told to send them elsewhere, and not where.
const UPSTREAM: &str = "https://gocenter.io";

/// Name of the chart, of which names of objects are made.
const CHART: &str = "athens-proxy";

/// What becomes of a value.
enum Use {
    /// It is this setting of the engine.
    Is(&'static str),
    /// It is a part of the pods, the Service or the volume: see [`take`].
    Taken,
    /// The operator sees to it by itself, or it only has a meaning together with another one.
    Settled,
    /// There is no place for it, unless it has this value.
    Lost(&'static str, &'static str),
}

const NO_GIT_CONFIG: &str = "git is told what follows from spec.private.credentials, rewritten addresses included, and nothing else: \
    name the private modules that it is for in spec.private.modules, and its logins there";
const NO_TRACES: &str = "the engine of a fleet sends no traces";
const NO_FILES: &str = "pods of a fleet have no other containers and files: credentials, certificates and settings have fields of their own";
const OWN_MONITOR: &str = "let your own monitor read /metrics of the pods, port http";

/// What the chart knows, by key; a star stands for all below.
#[rustfmt::skip]
const KEYS: &[(&str, Use)] = &[
    ("image.registry", Use::Settled),
    ("image.repository", Use::Taken),
    ("image.tag", Use::Taken),
    ("image.pullPolicy", Use::Taken),
    ("image.pullSecrets", Use::Taken),
    ("image.runAsNonRoot", Use::Settled),
    ("nameOverride", Use::Settled),
    ("fullnameOverride", Use::Settled),
    ("livenessProbe.*", Use::Settled),
    ("readinessProbe.*", Use::Settled),
    ("strategy.*", Use::Settled),
    ("terminationGracePeriodSeconds", Use::Settled),
    ("lifecycle.*", Use::Lost("", "the operator decides how a pod stops: it first stays for as long as routes to it may live")),
    ("securityContext.*", Use::Settled),
    ("podDisruptionBudget.*", Use::Settled),
    ("service.type", Use::Taken),
    ("service.annotations", Use::Taken),
    ("service.servicePort", Use::Lost("80", "a fleet's Service has port 80")),
    ("service.nodePort.*", Use::Lost("", "the cluster chooses the port on its nodes")),
    ("ingress.enabled", Use::Lost("false", "make an Ingress of your own that leads to the fleet's Service")),
    ("ingress.*", Use::Settled),
    ("storage.type", Use::Is("StorageType")),
    ("storage.disk.storageRoot", Use::Is("Storage.Disk.RootPath")),
    ("storage.disk.persistence.*", Use::Settled),
    ("storage.mongo.url", Use::Is("Storage.Mongo.URL")),
    ("storage.s3.region", Use::Is("Storage.S3.Region")),
    ("storage.s3.bucket", Use::Is("Storage.S3.Bucket")),
    ("storage.s3.useDefaultConfiguration", Use::Is("Storage.S3.UseDefaultConfiguration")),
    ("storage.s3.forcePathStyle", Use::Is("Storage.S3.ForcePathStyle")),
    ("storage.s3.accessKey", Use::Is("Storage.S3.Key")),
    ("storage.s3.secretKey", Use::Is("Storage.S3.Secret")),
    ("storage.s3.sessionToken", Use::Is("Storage.S3.Token")),
    ("storage.minio.endpoint", Use::Is("Storage.Minio.Endpoint")),
    ("storage.minio.accessKey", Use::Is("Storage.Minio.Key")),
    ("storage.minio.secretKey", Use::Is("Storage.Minio.Secret")),
    ("storage.minio.bucket", Use::Is("Storage.Minio.Bucket")),
    ("storage.gcp.projectID", Use::Is("Storage.GCP.ProjectID")),
    ("storage.gcp.bucket", Use::Is("Storage.GCP.Bucket")),
    ("storage.gcp.serviceAccount", Use::Is("Storage.GCP.JSONKey")),
    ("singleFlight.type", Use::Is("SingleFlightType")),
    ("singleFlight.etcd.endpoints", Use::Is("SingleFlight.Etcd.Endpoints")),
    ("singleFlight.redis.endpoint", Use::Is("SingleFlight.Redis.Endpoint")),
    ("singleFlight.redis.password", Use::Is("SingleFlight.Redis.Password")),
    ("singleFlight.redis.existingSecret", Use::Taken),
    ("singleFlight.redis.existingSecretKey", Use::Settled),
    ("singleFlight.redis.database", Use::Lost("0", "Athens takes no notice of it")),
    ("singleFlight.redis.lockConfig.ttl", Use::Is("SingleFlight.Redis.LockConfig.TTL")),
    ("singleFlight.redis.lockConfig.timeout", Use::Is("SingleFlight.Redis.LockConfig.Timeout")),
    ("singleFlight.redis.lockConfig.maxRetries", Use::Is("SingleFlight.Redis.LockConfig.MaxRetries")),
    ("singleFlight.redisSentinel.endpoints", Use::Is("SingleFlight.RedisSentinel.Endpoints")),
    ("singleFlight.redisSentinel.masterName", Use::Is("SingleFlight.RedisSentinel.MasterName")),
    ("singleFlight.redisSentinel.sentinelPassword", Use::Is("SingleFlight.RedisSentinel.SentinelPassword")),
    ("singleFlight.redisSentinel.redisUsername", Use::Is("SingleFlight.RedisSentinel.RedisUsername")),
    ("singleFlight.redisSentinel.redisPassword", Use::Is("SingleFlight.RedisSentinel.RedisPassword")),
    ("singleFlight.redisSentinel.existingSecret", Use::Taken),
    ("singleFlight.redisSentinel.existingSecretKey", Use::Settled),
    ("singleFlight.redisSentinel.database", Use::Lost("0", "Athens takes no notice of it")),
    ("singleFlight.redisSentinel.lockConfig.ttl", Use::Is("SingleFlight.RedisSentinel.LockConfig.TTL")),
    ("singleFlight.redisSentinel.lockConfig.timeout", Use::Is("SingleFlight.RedisSentinel.LockConfig.Timeout")),
    ("singleFlight.redisSentinel.lockConfig.maxRetries", Use::Is("SingleFlight.RedisSentinel.LockConfig.MaxRetries")),
    ("priorityClassName", Use::Taken),
    ("nodeSelector", Use::Taken),
    ("tolerations", Use::Taken),
    ("affinity", Use::Taken),
    ("resources", Use::Taken),
    ("annotations", Use::Taken),
    ("extraLabels", Use::Taken),
    ("configEnvVars", Use::Settled),
    ("config.enabled", Use::Settled),
    ("config.toml", Use::Settled),
    ("config.existingSecret.*", Use::Lost("", "the configuration file is in a Secret and not known here: give it with --config")),
    ("basicAuth.enabled", Use::Lost("false", NO_LOGIN)),
    ("basicAuth.*", Use::Settled),
    ("netrc.enabled", Use::Taken),
    ("netrc.*", Use::Settled),
    ("gitconfig.enabled", Use::Lost("false", NO_GIT_CONFIG)),
    ("gitconfig.*", Use::Settled),
    ("sshGitServers", Use::Taken),
    ("upstreamProxy.enabled", Use::Taken),
    ("upstreamProxy.*", Use::Settled),
    ("jaeger.enabled", Use::Lost("false", NO_TRACES)),
    ("jaeger.*", Use::Settled),
    ("tracing.enabled", Use::Lost("false", NO_TRACES)),
    ("tracing.*", Use::Settled),
    ("metrics.serviceMonitor.enabled", Use::Lost("false", OWN_MONITOR)),
    ("metrics.serviceScrape.enabled", Use::Lost("false", OWN_MONITOR)),
    ("metrics.*", Use::Settled),
    ("initContainerImage.*", Use::Settled),
    ("initContainerSecurityContext.*", Use::Settled),
    ("initContainerResources.*", Use::Settled),
    ("intiContainerResources.*", Use::Settled),
    ("extraInitContainers", Use::Lost("", NO_FILES)),
    ("extraVolumes", Use::Lost("", NO_FILES)),
    ("extraVolumeMounts", Use::Lost("", NO_FILES)),
    ("goGetWorkers", Use::Is("GoGetWorkers")),
    ("serviceAccount.create", Use::Taken),
    ("serviceAccount.annotations", Use::Settled),
    ("serviceAccount.name", Use::Settled),
    ("replicaCount", Use::Taken),
    ("autoscaling.enabled", Use::Taken),
    ("autoscaling.behavior.*", Use::Lost("", "how fast it scales is the cluster's default")),
    ("autoscaling.*", Use::Settled),
];

/// What the chart gives to the engine where the values say nothing.
const DEFAULTS: [(&str, &str, &str); 3] = [
    ("goGetWorkers", "GoGetWorkers", "3"),
    ("storage.type", "StorageType", "disk"),
    ("storage.disk.storageRoot", "Storage.Disk.RootPath", "/var/lib/athens"),
];

/// Whether the chart has values under this key.
pub fn knows(top: &str) -> bool {
    KEYS.iter().any(|(key, _)| key.split('.').next() == Some(top))
}

/// Reads values. `release` is the name under which the chart was installed.
pub fn read(documents: &[Value], release: Option<&str>, found: &mut Found) -> Result<(), ReadError> {
    let empty = Value::Object(serde_json::Map::new());
    let values = match documents {
        [] | [Value::Null] => &empty,
        [values @ Value::Object(_)] => values,
        _ => return Err(ReadError::Form("values of a chart are one YAML document of keys and values".to_owned())),
    };
    for (name, key, default) in DEFAULTS {
        set(key, name, default, found);
    }
    walk("", values, values, found);
    volume(values, release, found);
    surroundings(values, release, found);
    if let Some(text) = values.pointer("/config/toml").and_then(Value::as_str)
        && values.pointer("/config/enabled") == Some(&Value::Bool(true))
    {
        config_file::read(text, found)?;
    }
    // The engine's variables come last in the container, so they win.
    pod::variables("configEnvVars", values.get("configEnvVars").unwrap_or(&Value::Null), found);
    Ok(())
}

/// What nobody wrote down, and yet everybody relies on.
fn surroundings(values: &Value, release: Option<&str>, found: &mut Found) {
    if let Some(release) = release {
        let service = full_name(values, release);
        found
            .notes
            .push(format!("clients ask the Service {service}; that of the fleet has the fleet's own name: tell them"));
    }
    if values.pointer("/image/tag").is_none_or(pod::is_empty) {
        let newest = Version::newest(EngineKind::Athens).as_str();
        found.notes.push(format!("no release of Athens is named, so that it was the chart's; the fleet runs {newest}"));
    }
}

fn set(key: &str, name: &str, value: &str, found: &mut Found) {
    if let Some(setting) = by_key(key) {
        found.set(setting, name, Given::Text(value.to_owned()));
    }
}

fn row(path: &str) -> Option<&'static Use> {
    let exact = KEYS.iter().find(|(key, _)| *key == path);
    let below =
        |key: &str| key.strip_suffix(".*").is_some_and(|top| path.starts_with(&format!("{top}.")) || path == top);
    exact.or_else(|| KEYS.iter().find(|(key, _)| below(key))).map(|(_, use_)| use_)
}

fn walk(path: &str, value: &Value, all: &Value, found: &mut Found) {
    let exact = KEYS.iter().any(|(key, _)| *key == path);
    if let (false, Value::Object(members)) = (exact, value) {
        for (name, member) in members {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&path, member, all, found);
        }
        return;
    }
    let text = pod::scalar(value);
    match (row(path), text) {
        (Some(Use::Is(key)), Some(text)) => set(key, path, &text, found),
        (Some(Use::Taken), _) => take(path, value, all, found),
        (Some(Use::Lost(unless, why)), text) => {
            if !pod::is_empty(value) && text.as_deref() != Some(*unless) {
                found.lost.push(NotCarried::hidden(path, *why));
            }
        }
        (Some(Use::Is(_)), None) if !pod::is_empty(value) => {
            found.lost.push(NotCarried::hidden(path, "it is no text"));
        }
        (Some(Use::Settled | Use::Is(_)), _) => {}
        (None, _) => {
            found.lost.push(NotCarried::hidden(path, "the chart knows no such value and takes no notice of it"));
        }
    }
}

/// Parts of the pods and the Service.
fn take(path: &str, value: &Value, all: &Value, found: &mut Found) {
    let mut placed = std::mem::take(&mut found.around.engine.pod).unwrap_or_default();
    match path {
        "nodeSelector" | "tolerations" | "affinity" | "priorityClassName" => {
            pod::placement(path, path, value, &mut placed, found);
        }
        "image.pullSecrets" => pod::placement("imagePullSecrets", path, value, &mut placed, found),
        "annotations" => placed.annotations = pod::part(path, value, found).unwrap_or_default(),
        "extraLabels" => placed.labels = pod::part(path, value, found).unwrap_or_default(),
        "image.repository" | "image.tag" => found.around.image = Some(image(all)),
        "image.pullPolicy" => found.around.engine.image_pull_policy = pod::part(path, value, found),
        "resources" => found.around.engine.resources = pod::resources(path, value, found),
        "service.type" => found.around.service.type_ = pod::part(path, value, found),
        "service.annotations" => found.around.service.annotations = pod::part(path, value, found).unwrap_or_default(),
        "replicaCount" => found.around.replicas = pod::part(path, value, found),
        "autoscaling.enabled" if *value == Value::Bool(true) => found.around.autoscaling = Some(autoscaling(all)),
        "netrc.enabled" if *value == Value::Bool(true) => netrc(all, found),
        "sshGitServers" => ssh_servers(value, found),
        "upstreamProxy.enabled" if *value == Value::Bool(true) => {
            let url = all.pointer("/upstreamProxy/url").and_then(Value::as_str).unwrap_or(UPSTREAM);
            found.around.sends_to = Some(url.to_owned());
        }
        "singleFlight.redis.existingSecret" => existing_secret("redis", "ATHENS_REDIS_PASSWORD", all, found),
        "singleFlight.redisSentinel.existingSecret" => {
            existing_secret("redisSentinel", "ATHENS_REDIS_SENTINEL_PASSWORD", all, found);
        }
        _ => {}
    }
    found.around.engine.pod = Some(placed);
    found.around.engine.service_account = service_account(all).or(found.around.engine.service_account.take());
}

/// The image that the values name; without a tag it is the release that the chart was made for.
fn image(all: &Value) -> String {
    let part =
        |name: &str| all.pointer(&format!("/image/{name}")).and_then(pod::scalar).filter(|text| !text.is_empty());
    let registry = part("registry").map(|registry| format!("{registry}/")).unwrap_or_default();
    let repository = part("repository").unwrap_or_else(|| "gomods/athens".to_owned());
    let tag = part("tag").map(|tag| format!(":{tag}")).unwrap_or_default();
    format!("{registry}{repository}{tag}")
}

fn service_account(all: &Value) -> Option<EngineServiceAccount> {
    let given = all.get("serviceAccount")?;
    let name = given.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned);
    let annotations: std::collections::BTreeMap<String, String> =
        given.get("annotations").and_then(|all| serde_json::from_value(all.clone()).ok()).unwrap_or_default();
    if given.get("create") == Some(&Value::Bool(false)) {
        return name.map(|name| EngineServiceAccount { name: Some(name), ..EngineServiceAccount::default() });
    }
    (!annotations.is_empty()).then_some(EngineServiceAccount { name: None, annotations })
}

fn autoscaling(all: &Value) -> Autoscaling {
    let number = |name: &str| {
        let given = all.pointer(&format!("/autoscaling/{name}")).and_then(Value::as_i64);
        given.and_then(|number| i32::try_from(number).ok())
    };
    let metric = |resource: &str, name: &str, default: i32| {
        let target = number(name).unwrap_or(default);
        serde_json::json!({ "type": "Resource", "resource": {
            "name": resource, "target": { "type": "Utilization", "averageUtilization": target },
        } })
    };
    let metrics = [
        metric("cpu", "targetCPUUtilizationPercentage", 80),
        metric("memory", "targetMemoryUtilizationPercentage", 80),
    ];
    Autoscaling {
        min_replicas: Some(number("minReplicas").unwrap_or(1)),
        max_replicas: number("maxReplicas").unwrap_or(3),
        metrics: metrics.into_iter().filter_map(|metric| serde_json::from_value(metric).ok()).collect(),
    }
}

/// A password in a Secret that the values name.
fn existing_secret(table: &str, default_key: &str, all: &Value, found: &mut Found) {
    let part = |name: &str| {
        let given = all.pointer(&format!("/singleFlight/{table}/{name}")).and_then(Value::as_str);
        given.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if let Some(name) = part("existingSecret") {
        let key = part("existingSecretKey").unwrap_or_else(|| default_key.to_owned());
        variable(default_key, &Given::Secret { name, key }, found);
    }
}

/// The netrc file in a Secret that the values name.
fn netrc(all: &Value, found: &mut Found) {
    let name = all.pointer("/netrc/existingSecret").and_then(Value::as_str).unwrap_or("netrcsecret").to_owned();
    if let Some(setting) = by_key("NETRCPath") {
        found.set(setting, "netrc", Given::Secret { name, key: ".netrc".to_owned() });
    }
}

/// Git servers that are asked over ssh. Their keys are not looked at.
fn ssh_servers(value: &Value, found: &mut Found) {
    for (index, server) in value.as_array().into_iter().flatten().enumerate() {
        let setting = format!("sshGitServers[{index}]");
        let text = |name: &str| server.get(name).and_then(pod::scalar).filter(|text| !text.is_empty());
        let Some(host) = text("host") else {
            found.lost.push(NotCarried::hidden(setting, "it has no host"));
            continue;
        };
        let port = text("port").and_then(|port| port.parse().ok());
        let secret = |part: &str| server.pointer(&format!("/existingSecret/{part}")).and_then(Value::as_str);
        let key = match (secret("name"), secret("subPath")) {
            (Some(name), Some(key)) => format!("key {key} of Secret {name}"),
            _ => format!("{setting}.privateKey"),
        };
        found.around.ssh.push(SshServer { setting, host, user: text("user"), port, key });
    }
}

/// The volume that the chart makes, or the directory that is lost with the pod.
fn volume(values: &Value, release: Option<&str>, found: &mut Found) {
    let part = |name: &str| values.pointer(&format!("/storage/disk/persistence/{name}"));
    let root = found.text("Storage.Disk.RootPath").unwrap_or_default().to_owned();
    if found.text("StorageType") != Some("disk") {
        return;
    }
    if part("enabled") != Some(&Value::Bool(true)) {
        found.around.mounts.push(Mount { path: root, claim: None, sub_path: None });
        return;
    }
    let path = "storage.disk.persistence";
    found.around.disk.access_mode = part("accessMode").and_then(|mode| pod::part(path, mode, found));
    if let Some(release) = release {
        let claim = Some(format!("{}-storage", full_name(values, release)));
        found.around.mounts.push(Mount { path: root, claim, sub_path: None });
        let note = "`helm uninstall` of the old release would delete the claim with its modules: scale its Deployment to 0 instead";
        found.notes.push(note.to_owned());
        return;
    }
    found.around.disk.size = part("size").and_then(|size| pod::part(path, size, found));
    found.around.disk.storage_class_name =
        part("storageClass").and_then(Value::as_str).filter(|class| *class != "-").map(str::to_owned);
    let why = "the claim is named after the release: name that with --release to take the claim over; as it is, the fleet \
               starts on an empty volume";
    found.lost.push(NotCarried::hidden(path, why));
}

/// The name that the chart gives to its objects.
fn full_name(values: &Value, release: &str) -> String {
    let part = |name: &str| values.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let name = part("nameOverride").unwrap_or(CHART);
    let full = match part("fullnameOverride") {
        Some(full) => full.to_owned(),
        None if release.contains(name) => release.to_owned(),
        None => format!("{release}-{name}"),
    };
    full.chars().take(63).collect::<String>().trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_setting_that_is_named_exists() {
        for (key, use_) in KEYS {
            if let Use::Is(setting) = use_ {
                assert_eq!(by_key(setting).map(|found| found.key), Some(*setting), "{key}");
            }
        }
        for (name, key, _) in DEFAULTS {
            assert!(row(name).is_some() && by_key(key).is_some(), "{name}");
        }
    }

    #[test]
    fn objects_are_named_as_the_chart_names_them() {
        for (values, release, name) in [
            (json!({}), "athens", "athens-athens-proxy"),
            (json!({}), "my-athens-proxy", "my-athens-proxy"),
            (json!({ "nameOverride": "go" }), "go", "go"),
            (json!({ "fullnameOverride": "modules" }), "athens", "modules"),
        ] {
            assert_eq!(full_name(&values, release), name);
        }
    }
}
