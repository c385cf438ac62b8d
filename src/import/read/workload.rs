//! A workload as `kubectl get -o yaml` prints it, or the list of its variables alone.

use serde_json::Value;

use super::{ReadError, pod};
use crate::import::found::{Found, Mount, NotCarried};

/// Kinds that make pods of an engine that somebody deployed by hand.
const KINDS: [&str; 5] = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod"];

/// Parts of a pod that have no place in a fleet.
const NO_PLACE: [(&str, &str); 6] = [
    ("hostNetwork", "pods of a fleet have addresses of their own"),
    ("hostAliases", "names are resolved by the cluster's DNS alone"),
    ("dnsConfig", "names are resolved by the cluster's DNS alone"),
    ("runtimeClassName", "pods of a fleet run in the cluster's usual runtime"),
    ("initContainers", "pods of a fleet have one container"),
    ("topologySpreadConstraints", "the operator spreads pods over zones and nodes by itself"),
];

/// Reads the one engine that the documents describe.
pub fn read(documents: &[Value], found: &mut Found) -> Result<(), ReadError> {
    if let [Value::Array(_)] = documents {
        pod::variables("the list", &documents[0], found);
        return Ok(());
    }
    let mut engines: Vec<(&Value, &Value, &Value)> = Vec::new();
    for workload in documents.iter().flat_map(items).filter(|one| is_workload(one)) {
        let Some(spec) = template(workload).and_then(|template| template.get("spec")) else { continue };
        engines.extend(engine(spec).map(|container| (workload, spec, container)));
    }
    match engines[..] {
        [(workload, spec, container)] => {
            around(workload, spec, container, found);
            pod::variables("env", container.get("env").unwrap_or(&Value::Null), found);
            Ok(())
        }
        [] => Err(ReadError::Form("it holds no Deployment, StatefulSet, DaemonSet or Pod that runs Athens".to_owned())),
        _ => Err(ReadError::Form(format!("it holds {} workloads that run Athens: give one", engines.len()))),
    }
}

fn items(document: &Value) -> Vec<&Value> {
    match document.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().collect(),
        None => vec![document],
    }
}

fn is_workload(object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str).is_some_and(|kind| KINDS.contains(&kind))
}

/// What its pods are made from.
fn template(workload: &Value) -> Option<&Value> {
    if workload.get("kind")?.as_str()? == "Pod" { Some(workload) } else { workload.pointer("/spec/template") }
}

/// The container that runs Athens: by its variables, its image or its arguments, or because there is no other.
fn engine(spec: &Value) -> Option<&Value> {
    let containers = list(spec, "containers");
    let is_athens = |container: &&Value| {
        let env = list(container, "env").iter().any(|one| text(one, "name").starts_with("ATHENS_"));
        let words = ["command", "args"].iter().flat_map(|key| list(container, key)).filter_map(Value::as_str);
        env || text(container, "image").contains("athens") || words.into_iter().any(|word| word.contains("athens"))
    };
    containers.iter().find(is_athens)
}

fn around(workload: &Value, spec: &Value, container: &Value, found: &mut Found) {
    found.around.namespace = workload.pointer("/metadata/namespace").and_then(Value::as_str).map(str::to_owned);
    let replicas = workload.pointer("/spec/replicas").and_then(Value::as_i64);
    found.around.replicas = replicas.and_then(|count| i32::try_from(count).ok());
    found.around.image = Some(text(container, "image").to_owned()).filter(|image| !image.is_empty());
    found.around.engine.image_pull_policy =
        container.get("imagePullPolicy").and_then(|policy| pod::part("imagePullPolicy", policy, found));
    found.around.engine.resources =
        container.get("resources").and_then(|resources| pod::resources("resources", resources, found));
    let mut placed = std::mem::take(&mut found.around.engine.pod).unwrap_or_default();
    for (name, value) in spec.as_object().into_iter().flatten() {
        pod::placement(name, name, value, &mut placed, found);
    }
    found.around.engine.pod = Some(placed);
    let account = text(spec, "serviceAccountName");
    if !matches!(account, "" | "default") {
        found.around.engine.service_account.get_or_insert_default().name = Some(account.to_owned());
    }
    mounts(workload, spec, container, found);
    without_place(workload, spec, container, found);
}

/// What has no counterpart in a fleet, by name.
fn without_place(workload: &Value, spec: &Value, container: &Value, found: &mut Found) {
    let mut lost = |name: String, why: &str| found.lost.push(NotCarried::hidden(name, why));
    for (name, why) in NO_PLACE {
        if spec.get(name).is_some_and(|value| !pod::is_empty(value) && *value != Value::Bool(false)) {
            lost(name.to_owned(), why);
        }
    }
    for other in list(spec, "containers").iter().filter(|other| *other != container) {
        lost(format!("container {}", text(other, "name")), "pods of a fleet have one container");
    }
    for source in list(container, "envFrom") {
        let name =
            ["secretRef", "configMapRef"].iter().find_map(|kind| source.pointer(&format!("/{kind}/name"))?.as_str());
        let why = "its variables are not known here: give them in a file with --env";
        lost(format!("envFrom {}", name.unwrap_or_default()), why);
    }
    let annotations = template(workload).and_then(|template| template.pointer("/metadata/annotations"));
    for (key, _) in annotations.and_then(Value::as_object).into_iter().flatten() {
        // What kubectl and charts write to make pods anew says nothing about them.
        if template(workload) != Some(workload)
            && !key.starts_with("kubectl.kubernetes.io/")
            && !key.starts_with("checksum/")
        {
            lost(format!("annotation {key}"), "set what your tools need in spec.engine.pod.annotations");
        }
    }
}

fn mounts(workload: &Value, spec: &Value, container: &Value, found: &mut Found) {
    for mount in list(container, "volumeMounts") {
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        let volume = list(spec, "volumes").iter().find(|volume| text(volume, "name") == name);
        let claim = volume.map_or_else(
            || claim_of_set(name, workload),
            |volume| volume.pointer("/persistentVolumeClaim/claimName").and_then(Value::as_str).map(str::to_owned),
        );
        if claim.is_none() && volume.is_none_or(|volume| volume.get("emptyDir").is_none()) {
            other_mount(name, path, container, found);
            continue;
        }
        let sub_path = Some(text(mount, "subPath").to_owned()).filter(|path| !path.is_empty());
        found.around.mounts.push(Mount { path: path.to_owned(), claim, sub_path });
    }
}

/// The claim that a StatefulSet makes by itself for its first pod.
fn claim_of_set(name: &str, workload: &Value) -> Option<String> {
    let owner = workload.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let templates = list(workload.get("spec")?, "volumeClaimTemplates");
    let named = |claim: &Value| claim.pointer("/metadata/name").and_then(Value::as_str) == Some(name);
    templates.iter().any(named).then(|| format!("{name}-{owner}-0"))
}

/// Something else than modules: the engine's configuration file, or files that it refers to.
fn other_mount(name: &str, path: &str, container: &Value, found: &mut Found) {
    let words = ["command", "args"].iter().flat_map(|key| list(container, key)).filter_map(Value::as_str);
    let file = words.filter_map(|word| word.split_once("config_file=")).map(|(_, file)| file).next();
    if file.is_some_and(|file| file.starts_with(path)) {
        found.around.config_mount = Some(format!("volume {name} at {path}"));
    } else if !path.starts_with("/var/run/secrets/kubernetes.io") {
        let why =
            "pods of a fleet have no other files: credentials, certificates and settings have fields of their own";
        found.lost.push(NotCarried::hidden(format!("volume {name} at {path}"), why));
    }
}

fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "athens", "namespace": "build" },
            "spec": { "replicas": 1, "template": {
                "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": "x", "example.com/inject": "yes" } },
                "spec": {
                    "hostNetwork": false, "serviceAccountName": "modules", "nodeSelector": { "disk": "ssd" },
                    "containers": [
                        { "name": "logs", "image": "example.com/logs:1" },
                        {
                            "name": "athens", "image": "gomods/athens:v0.18.0",
                            "env": [
                                { "name": "ATHENS_STORAGE_TYPE", "value": "disk" },
                                { "name": "ATHENS_GITHUB_TOKEN", "valueFrom": { "secretKeyRef": { "name": "git", "key": "token" } } },
                                { "name": "ATHENS_PORT", "valueFrom": { "fieldRef": { "fieldPath": "x" } } },
                            ],
                            "envFrom": [{ "configMapRef": { "name": "more" } }],
                            "resources": { "limits": { "memory": "1Gi", "ephemeral-storage": "1Gi" } },
                            "volumeMounts": [
                                { "name": "modules", "mountPath": "/data", "subPath": "go" },
                                { "name": "netrc", "mountPath": "/etc/netrc" },
                            ],
                        },
                    ],
                    "volumes": [
                        { "name": "modules", "persistentVolumeClaim": { "claimName": "modules" } },
                        { "name": "netrc", "secret": { "secretName": "netrc" } },
                    ],
                },
            } },
        })
    }

    #[test]
    fn the_engine_is_found_among_what_is_around_it() {
        let mut found = Found::default();
        read(&[json!({ "kind": "List", "items": [{ "kind": "Service" }, deployment()] })], &mut found).unwrap();
        let around = &found.around;
        assert_eq!((around.namespace.as_deref(), around.replicas), (Some("build"), Some(1)));
        let mount =
            Mount { path: "/data".to_owned(), claim: Some("modules".to_owned()), sub_path: Some("go".to_owned()) };
        assert_eq!(around.mounts, [mount]);
        assert_eq!(around.engine.pod.as_ref().unwrap().node_selector["disk"], "ssd");
        assert_eq!(around.engine.service_account.as_ref().unwrap().name.as_deref(), Some("modules"));
        let mut told: Vec<_> = found.lost.iter().map(|one| one.setting.as_str()).collect();
        told.sort_unstable();
        let expected = [
            "ATHENS_PORT",
            "annotation example.com/inject",
            "container logs",
            "envFrom more",
            "resources.limits.ephemeral-storage",
            "volume netrc at /etc/netrc",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn no_engine_or_two_are_refused() {
        let read = |documents: &[Value]| read(documents, &mut Found::default()).unwrap_err().to_string();
        assert!(read(&[json!({ "kind": "Deployment", "spec": {} })]).contains("no Deployment"));
        assert!(read(&[deployment(), deployment()]).contains("2 workloads"));
    }

    #[test]
    fn a_stateful_set_has_claims_of_its_own() {
        let mut set = deployment();
        set["kind"] = json!("StatefulSet");
        set["spec"]["template"]["spec"]["volumes"] = json!([]);
        set["spec"]["volumeClaimTemplates"] = json!([{ "metadata": { "name": "modules" } }]);
        let mut found = Found::default();
        read(&[set], &mut found).unwrap();
        assert_eq!(found.around.mounts[0].claim.as_deref(), Some("modules-athens-0"));
    }
}
