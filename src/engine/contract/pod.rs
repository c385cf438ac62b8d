//! The pod template. It passes Pod Security `restricted` and holds every field in the form the API server stores.

use k8s_openapi::{
    api::core::v1::{
        Affinity, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, HTTPGetAction, KeyToPath, Lifecycle,
        LifecycleHandler, LocalObjectReference, PersistentVolumeClaimVolumeSource, PodAffinityTerm, PodSpec,
        PodTemplateSpec, Probe, SleepAction, Volume, VolumeMount,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{CA_DIRECTORY, CA_FILE, PORT, PORT_NAME, SCRATCH_DIRECTORY, Timing, sidecar::Sidecar, way_out};
use crate::{
    api::{go_proxy::ImagePullPolicy, quantity::Quantity},
    engine::{Program, coordination},
    plan::{
        object::{
            REVISION_LABEL, fleet_labels, labels,
            pod::{
                container_security, empty_dir, mount, pod_security, read_only, resources, selector, some_map, spread,
            },
            revision_labels,
            stored_form::stored_form,
        },
        validate::{ValidFleet, ValidServiceAccount, ValidStorage},
    },
};

/// User and group of the engine, as the image has them, and group of its volumes.
const USER: i64 = 1000;
/// Room for git's and go's own small files.
const HOME_SIZE: Quantity = Quantity::mebibytes(64);

/// The pods of one revision, which run this program. `revision` is also the name of their ConfigMap.
pub fn pod_template(fleet: &ValidFleet, program: &Program, revision: &str) -> PodTemplateSpec {
    let pod = &fleet.engine.pod;
    let mut all_labels = pod.labels.clone();
    all_labels.extend(labels(fleet));
    all_labels.insert(REVISION_LABEL.to_owned(), revision.to_owned());
    let sidecar = Sidecar::of(fleet, program);
    let references = pod.image_pull_secrets.iter().map(|secret| LocalObjectReference { name: secret.name.clone() });
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(all_labels),
            annotations: some_map(&pod.annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            affinity: affinity(fleet),
            // The engine never talks to the API server.
            automount_service_account_token: Some(false),
            containers: vec![container(fleet, program, sidecar.as_ref())],
            init_containers: sidecar.as_ref().map(|sidecar| vec![sidecar.container.clone()]),
            // A Service called `athens` would otherwise set the engine's port through the environment.
            enable_service_links: Some(false),
            image_pull_secrets: Some(references.collect()),
            node_selector: some_map(&pod.node_selector),
            priority_class_name: pod.priority_class_name.clone(),
            security_context: Some(pod_security(USER)),
            service_account_name: Some(match &fleet.engine.service_account {
                ValidServiceAccount::Own(_) => fleet.name.engine(),
                ValidServiceAccount::Existing(name) => name.clone(),
            }),
            termination_grace_period_seconds: Some(seconds(Timing::of(fleet).grace_period)),
            tolerations: Some(pod.tolerations.iter().map(stored_form).collect()),
            topology_spread_constraints: Some(spread(&revision_labels(fleet, revision))),
            volumes: Some(volumes(fleet, program, sidecar, revision)),
            ..PodSpec::default()
        }),
    }
}

fn container(fleet: &ValidFleet, program: &Program, sidecar: Option<&Sidecar>) -> Container {
    let engine = &fleet.engine;
    Container {
        name: program.container.to_owned(),
        image: Some(engine.image.clone()),
        image_pull_policy: Some(
            match engine.image_pull_policy {
                ImagePullPolicy::Always => "Always",
                ImagePullPolicy::IfNotPresent => "IfNotPresent",
                ImagePullPolicy::Never => "Never",
            }
            .to_owned(),
        ),
        command: way_out::command(fleet, program),
        args: Some(way_out::arguments(fleet, program)),
        env: Some(environment(fleet, program)),
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.to_owned()),
            container_port: i32::from(PORT),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(resources(
            (engine.cpu_request, engine.cpu_limit),
            (engine.memory_request, engine.memory_limit),
        )),
        // Starting takes a moment; a busy node or a slow volume may make it minutes.
        startup_probe: Some(probe(program.live_path, &Times { period: 1, timeout: 2, failures: 180 })),
        readiness_probe: Some(probe(program.ready_path, &readiness(&fleet.storage))),
        // Only a process that hangs for good: killing a busy one would lose its fetches.
        liveness_probe: Some(probe(program.live_path, &Times { period: 10, timeout: 5, failures: 6 })),
        lifecycle: Timing::of(fleet).pre_stop.map(|pause| Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: seconds(pause) }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        security_context: Some(container_security()),
        // Why it ended is then in the pod's status, where the operator reads it.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts(fleet, program, sidecar)),
        ..Container::default()
    }
}

/// What every engine is told, then what only this one is.
fn environment(fleet: &ValidFleet, program: &Program) -> Vec<EnvVar> {
    let mut variables = vec![("HOME", program.home_directory.to_owned())];
    if fleet.upstream.ca_bundle.is_some() {
        // The engine itself passes requests on to the checksum database. It reads these once, when it first connects.
        variables.push(("SSL_CERT_FILE", format!("{CA_DIRECTORY}/{CA_FILE}")));
        variables.push(("SSL_CERT_DIR", CA_DIRECTORY.to_owned()));
    }
    if let Some(egress) = &fleet.upstream.egress {
        // The engine hands them on to go, and so to git. Some programs know one spelling, some the other.
        for names in [("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"), ("https_proxy", "http_proxy", "no_proxy")] {
            variables.push((names.0, egress.https.clone()));
            variables.push((names.1, egress.http.clone()));
            variables.push((names.2, egress.past.join(",")));
        }
    }
    variables
        .into_iter()
        .map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() })
        .chain(program.env.iter().cloned())
        .chain(way_out::login(fleet))
        .collect()
}

struct Times {
    period: i32,
    timeout: i32,
    failures: i32,
}

/// Readiness reads the storage. Two misses take the pod out: within the quarter minute where storage is the pod's own or a
/// volume. Elsewhere each question is a request that a store counts, and perhaps charges, for every pod; it may be slow for
/// a moment, and then for all pods at once.
const fn readiness(storage: &ValidStorage) -> Times {
    match storage {
        ValidStorage::Memory | ValidStorage::Disk { .. } => Times { period: 5, timeout: 3, failures: 2 },
        ValidStorage::S3 { .. }
        | ValidStorage::Gcs { .. }
        | ValidStorage::AzureBlob { .. }
        | ValidStorage::Mongo { .. }
        | ValidStorage::Minio { .. }
        | ValidStorage::External { .. } => Times { period: 15, timeout: 10, failures: 2 },
    }
}

fn probe(path: &str, times: &Times) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(times.period),
        timeout_seconds: Some(times.timeout),
        failure_threshold: Some(times.failures),
        ..Probe::default()
    }
}

/// Room for all workers at once. A module's zip and its unpacked form are at most 500 MiB each, so a fetch through a
/// proxy stays under 1 GiB; a clone from version control is seldom more. 2 GiB on top are for one very large repository and
/// for questions for versions. It is a bound that protects the node, not a reservation.
fn scratch_size(fleet: &ValidFleet) -> Quantity {
    Quantity::gibibytes(2 + u128::from(fleet.engine.fetch_workers.unsigned_abs()))
}

fn volumes(fleet: &ValidFleet, program: &Program, sidecar: Option<Sidecar>, revision: &str) -> Vec<Volume> {
    let named = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
    let config = Volume {
        config_map: Some(ConfigMapVolumeSource { name: revision.to_owned(), ..ConfigMapVolumeSource::default() }),
        ..named("config")
    };
    let told = !program.files.is_empty() || sidecar.is_some();
    let mut volumes = if told { vec![config] } else { Vec::new() };
    volumes.extend([empty_dir("home", HOME_SIZE), empty_dir("scratch", scratch_size(fleet))]);
    if let ValidStorage::Disk { .. } = fleet.storage {
        let claim = fleet.storage.foreign_claim().map_or_else(|| fleet.name.data(), str::to_owned);
        volumes.push(Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim,
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            ..named("data")
        });
    }
    if let Some((name, key)) = &fleet.upstream.ca_bundle {
        let item = KeyToPath { key: key.clone(), path: CA_FILE.to_owned(), ..KeyToPath::default() };
        volumes.push(Volume {
            config_map: Some(ConfigMapVolumeSource {
                name: name.clone(),
                items: Some(vec![item]),
                ..ConfigMapVolumeSource::default()
            }),
            ..named("ca")
        });
    }
    volumes.extend(program.volumes.iter().map(|(volume, _)| volume.clone()));
    volumes.extend(sidecar.into_iter().flat_map(|sidecar| sidecar.volumes));
    volumes
}

fn mounts(fleet: &ValidFleet, program: &Program, sidecar: Option<&Sidecar>) -> Vec<VolumeMount> {
    let config = read_only(mount("config", program.files_directory));
    let mut mounts = if program.files.is_empty() { Vec::new() } else { vec![config] };
    mounts.extend([mount("home", program.home_directory), mount("scratch", SCRATCH_DIRECTORY)]);
    if let ValidStorage::Disk { .. } = fleet.storage {
        mounts.push(mount("data", program.data_directory));
    }
    if fleet.upstream.ca_bundle.is_some() {
        mounts.push(read_only(mount("ca", CA_DIRECTORY)));
    }
    mounts.extend(program.volumes.iter().map(|(_, mount)| mount.clone()));
    mounts.extend(sidecar.iter().flat_map(|sidecar| sidecar.for_engine.iter().cloned()));
    mounts
}

/// The user's rules, and for storage with one writer a rule of ours.
fn affinity(fleet: &ValidFleet) -> Option<Affinity> {
    let given = fleet.engine.pod.affinity.as_ref().map(stored_form);
    if coordination::may_overlap(fleet) {
        return given;
    }
    let mut affinity = given.unwrap_or_default();
    affinity
        .pod_anti_affinity
        .get_or_insert_default()
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_default()
        .push(alone(fleet));
    Some(affinity)
}

/// A volume of one node still lets two pods of that node write it, and shared storage those of all nodes, which have one
/// operating system. A pod that is ending counts, so the replacement of one that somebody deletes waits until the old writer
/// is really gone.
fn alone(fleet: &ValidFleet) -> PodAffinityTerm {
    let reach = if fleet.storage.is_shared() { "kubernetes.io/os" } else { "kubernetes.io/hostname" };
    PodAffinityTerm {
        label_selector: Some(selector(fleet_labels(fleet))),
        topology_key: reach.to_owned(),
        ..PodAffinityTerm::default()
    }
}

fn seconds(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::plan::fixture::{mirror, places, richest, smallest, stored as stored_revision};

    fn template(fleet: &ValidFleet) -> Value {
        stored_revision(fleet, "corp-0123456789").template
    }

    fn pretty(fleet: &ValidFleet) -> String {
        serde_json::to_string_pretty(&template(fleet)).unwrap()
    }

    fn in_memory() -> ValidFleet {
        ValidFleet { storage: ValidStorage::Memory, ..smallest() }
    }

    fn container_of(template: &Value) -> &Value {
        &template["spec"]["containers"][0]
    }

    #[test]
    fn pod_of_the_smallest_fleet() {
        insta::assert_snapshot!(pretty(&smallest()));
    }

    #[test]
    fn every_engine_is_shown_the_way_out_in_both_spellings() {
        for mut fleet in [smallest(), mirror()] {
            let variables = |fleet: &ValidFleet| {
                let template = template(fleet);
                let list = container_of(&template)["env"].as_array().unwrap().clone();
                list.into_iter().filter(|one| one["name"].as_str().unwrap().to_lowercase().ends_with("_proxy")).count()
            };
            assert_eq!(variables(&fleet), 0);
            fleet.upstream.egress = richest().upstream.egress;
            assert_eq!(variables(&fleet), 6);
        }
    }

    #[test]
    fn pod_of_the_richest_fleet() {
        insta::assert_snapshot!(pretty(&richest()));
    }

    #[test]
    fn keeps_what_athens_needs_of_its_pod() {
        for fleet in [smallest(), richest(), in_memory()] {
            let template = template(&fleet);
            let container = container_of(&template);
            assert!(container["command"].is_null(), "the image's init must stay");
            assert_eq!(container["args"][1], "-config_file=/config/config.toml");
            assert_eq!(template["spec"]["enableServiceLinks"], false);
            assert_eq!(template["spec"]["automountServiceAccountToken"], false);
            assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError");
            assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
            assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
        }
    }

    #[test]
    fn a_store_that_counts_requests_is_asked_seldom() {
        for (place, storage) in places() {
            let template = template(&ValidFleet { storage, ..smallest() });
            let probe = &container_of(&template)["readinessProbe"];
            let local = ["memory", "disk", "shared-disk", "claim", "shared-claim"].contains(&place);
            let expected = if local { [5, 3, 2] } else { [15, 10, 2] };
            assert_eq!(
                ["periodSeconds", "timeoutSeconds", "failureThreshold"].map(|key| &probe[key]),
                expected,
                "{place}"
            );
        }
    }

    /// What the profile `restricted` of Pod Security asks for, item by item.
    #[test]
    fn passes_pod_security_restricted() {
        let stored_anywhere = places().into_iter().map(|(_, storage)| ValidFleet { storage, ..smallest() });
        for fleet in [smallest(), richest(), mirror()].into_iter().chain(stored_anywhere) {
            let template = template(&fleet);
            let pod = &template["spec"];
            let allowed = ["configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"];
            for volume in pod["volumes"].as_array().unwrap() {
                let kind = volume.as_object().unwrap().keys().find(|key| *key != "name").unwrap();
                assert!(allowed.contains(&kind.as_str()), "{kind}");
            }
            for forbidden in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod[forbidden].is_null());
            }
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["runAsUser"], USER);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            let security = &container_of(&template)["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
            assert_eq!(security["readOnlyRootFilesystem"], true);
        }
    }

    #[test]
    fn every_place_that_is_written_is_mounted_and_bounded() {
        for (workers, size) in [(1, "3Gi"), (10, "12Gi"), (100, "102Gi")] {
            let mut fleet = in_memory();
            fleet.engine.fetch_workers = workers;
            let template = template(&fleet);
            let volumes = template["spec"]["volumes"].as_array().unwrap();
            let scratch = volumes.iter().find(|volume| volume["name"] == "scratch").unwrap();
            assert_eq!(scratch["emptyDir"]["sizeLimit"], size);
            let mounts = container_of(&template)["volumeMounts"].as_array().unwrap();
            let at = |path: &str| mounts.iter().find(|mount| mount["mountPath"] == path).unwrap();
            assert_eq!(at("/tmp")["name"], "scratch");
            assert_eq!(at("/home/athens")["name"], "home");
            assert_eq!(container_of(&template)["env"][0]["value"], "/home/athens");
        }
    }

    #[test]
    fn every_mount_has_its_volume_and_only_known_places_are_written() {
        for (place, storage) in places() {
            let template = template(&ValidFleet { storage, ..smallest() });
            let volumes = template["spec"]["volumes"].as_array().unwrap();
            let mounts = container_of(&template)["volumeMounts"].as_array().unwrap();
            let names = |all: &[Value]| all.iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
            assert_eq!(names(volumes), names(mounts), "{place}");
            for mount in mounts.iter().filter(|mount| mount["readOnly"] != true) {
                let written = ["/home/athens", "/tmp", "/var/lib/athens"];
                assert!(written.contains(&mount["mountPath"].as_str().unwrap()), "{place}: {mount}");
            }
        }
    }

    #[test]
    fn bundle_is_mounted_as_a_directory_so_that_updates_arrive() {
        let template = template(&richest());
        let mounts = container_of(&template)["volumeMounts"].as_array().unwrap();
        let bundle = mounts.iter().find(|mount| mount["name"] == "ca").unwrap();
        assert_eq!(bundle["mountPath"], CA_DIRECTORY);
        assert!(bundle["subPath"].is_null());
    }

    #[test]
    fn a_second_writer_cannot_be_placed_beside_the_first() {
        let ours = serde_json::json!({
            "labelSelector": { "matchLabels": { "goproxy.rs/fleet": "corp" } },
            "topologyKey": "kubernetes.io/hostname",
        });
        for (fleet, count) in [(smallest(), 1), (richest(), 2)] {
            let template = template(&fleet);
            assert_eq!(template["metadata"]["labels"]["goproxy.rs/fleet"], "corp");
            let rules =
                &template["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
            let rules = rules.as_array().unwrap();
            assert_eq!(rules.len(), count, "the user's own rules stay");
            assert!(rules.contains(&ours), "{rules:?}");
        }
        assert!(template(&in_memory())["spec"]["affinity"].is_null());
    }

    #[test]
    fn labels_of_the_operator_win() {
        let mut fleet = smallest();
        fleet.engine.pod.labels.insert(REVISION_LABEL.to_owned(), "forged".to_owned());
        assert_eq!(template(&fleet)["metadata"]["labels"][REVISION_LABEL], "corp-0123456789");
    }
}
