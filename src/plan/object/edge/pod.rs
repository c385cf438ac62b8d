//! The edge's pod: an agent that decides, and nginx, which carries the bytes. See `plan::edge` for what they rely on.
//!
//! The agent is an init container that goes on: nginx starts once the agent has written its files, and the agent ends after nginx,
//! which still asks it while downloads come to their end.

use k8s_openapi::{
    api::core::v1::{
        ConfigMapProjection, Container, ContainerPort, DownwardAPIProjection, DownwardAPIVolumeFile, EnvVar,
        EnvVarSource, EphemeralVolumeSource, HTTPGetAction, KeyToPath, Lifecycle, LifecycleHandler,
        LocalObjectReference, ObjectFieldSelector, PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate, PodSpec,
        PodTemplateSpec, Probe, ProjectedVolumeSource, ServiceAccountTokenProjection, SleepAction, TCPSocketAction,
        Volume, VolumeProjection, VolumeResourceRequirements,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{AGENT_PORT, CACHE_DIRECTORY, CONFIGURATION, PORT, RUN_DIRECTORY, pod_labels};
use crate::{
    api::quantity::Quantity,
    engine::contract::PORT_NAME,
    plan::{
        object::{
            pod::{container_security, empty_dir, mount, pod_security, read_only, resources, some_map, spread, stored},
            stored_form::stored_form,
        },
        validate::{ValidEdge, ValidFleet},
    },
};

/// User and group of both containers.
const USER: i64 = 65532;
/// Name of the agent's port.
const AGENT: &str = "agent";
/// Sockets, nginx's file and log, and bodies that are on their way to a client and not kept.
const RUN_SIZE: Quantity = Quantity::gibibytes(4);
/// Whatever a library wants to write.
const SCRATCH_SIZE: Quantity = Quantity::mebibytes(64);
/// Where programs look for their token.
const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long a token is good for; the kubelet replaces it long before.
const TOKEN_SECONDS: i64 = 3600;
/// For routes to the pod to be withdrawn everywhere before nginx stops to listen.
const ROUTES_SECONDS: i64 = 5;
/// For what nginx waits beyond the longest fetch, and for both to end.
const MARGIN_SECONDS: u64 = 40;

/// The pods of an edge.
pub fn template(fleet: &ValidFleet, edge: &ValidEdge) -> PodTemplateSpec {
    let pod = &edge.pod;
    let mut labels = pod.labels.clone();
    labels.extend(pod_labels(&fleet.name));
    #[cfg(feature = "drill-label")]
    labels.insert("goproxy.rs/drill".to_owned(), "true".to_owned());
    let secrets = pod.image_pull_secrets.iter().map(|secret| LocalObjectReference { name: secret.name.clone() });
    let grace = fleet.engine.fetch_timeout.as_secs() + MARGIN_SECONDS + ROUTES_SECONDS.unsigned_abs();
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: some_map(&pod.annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            affinity: pod.affinity.as_ref().map(stored_form),
            // nginx needs none: the agent's is a volume of its own.
            automount_service_account_token: Some(false),
            containers: vec![nginx(edge)],
            enable_service_links: Some(false),
            image_pull_secrets: Some(secrets.collect()),
            init_containers: Some(vec![agent(fleet, edge)]),
            node_selector: some_map(&pod.node_selector),
            priority_class_name: pod.priority_class_name.clone(),
            security_context: Some(pod_security(USER)),
            service_account_name: Some(fleet.name.edge()),
            // The agent tells nginx by a signal to read its file again.
            share_process_namespace: Some(true),
            termination_grace_period_seconds: Some(i64::try_from(grace).unwrap_or(i64::MAX)),
            tolerations: Some(pod.tolerations.iter().map(stored_form).collect()),
            topology_spread_constraints: Some(spread(&pod_labels(&fleet.name))),
            volumes: Some(vec![empty_dir("run", RUN_SIZE), empty_dir("tmp", SCRATCH_SIZE), cache(edge), token()]),
            ..PodSpec::default()
        }),
    }
}

fn agent(fleet: &ValidFleet, edge: &ValidEdge) -> Container {
    // The cache grows over its bound for a moment, and a pod that fills its volume is evicted.
    let room = edge.cache_size.units() / 8 * 7;
    let told = ["--fleet", fleet.name.as_str(), "--namespace", &fleet.namespace, "--cache-bytes", &room.to_string()];
    let mounts = [read_only(mount("token", TOKEN_DIRECTORY))];
    Container {
        name: AGENT.to_owned(),
        command: Some(vec!["goproxy-operator".to_owned(), "edge".to_owned()]),
        args: Some(told.into_iter().map(str::to_owned).collect()),
        env: Some(
            [("POD_NAME", "metadata.name"), ("POD_IP", "status.podIP")]
                .map(|(name, field)| from_pod(name, field))
                .into(),
        ),
        ports: Some(vec![container_port(AGENT, AGENT_PORT)]),
        resources: Some(resources((Quantity::milli(50), None), (Quantity::mebibytes(64), Quantity::mebibytes(256)))),
        restart_policy: Some("Always".to_owned()),
        startup_probe: Some(asked("/startz", (1, 2, 180))),
        readiness_probe: Some(asked("/readyz", (2, 2, 2))),
        liveness_probe: Some(asked("/livez", (10, 5, 6))),
        volume_mounts: Some(container(edge).volume_mounts.into_iter().flatten().chain(mounts).collect()),
        ..container(edge)
    }
}

fn nginx(edge: &ValidEdge) -> Container {
    let file = format!("{RUN_DIRECTORY}/{CONFIGURATION}");
    // Before it has read its file, it would write to where its image cannot be written.
    let command = ["nginx", "-p", RUN_DIRECTORY, "-c", &file, "-e", "stderr", "-g", "daemon off;"];
    Container {
        name: "nginx".to_owned(),
        command: Some(command.into_iter().map(str::to_owned).collect()),
        // Its sockets are below the directory that it is started in.
        working_dir: Some(RUN_DIRECTORY.to_owned()),
        ports: Some(vec![container_port(PORT_NAME, PORT)]),
        resources: Some(resources((edge.cpu_request, edge.cpu_limit), (edge.memory_request, edge.memory_limit))),
        liveness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction {
                port: IntOrString::String(PORT_NAME.to_owned()),
                ..TCPSocketAction::default()
            }),
            ..times((10, 5, 6))
        }),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: ROUTES_SECONDS }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        ..container(edge)
    }
}

/// What both have in common.
fn container(edge: &ValidEdge) -> Container {
    Container {
        image: Some(edge.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        security_context: Some(container_security()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![mount("run", RUN_DIRECTORY), mount("tmp", "/tmp"), mount("cache", CACHE_DIRECTORY)]),
        ..Container::default()
    }
}

fn from_pod(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource { field_ref: Some(field_of_pod(field)), ..EnvVarSource::default() }),
        ..EnvVar::default()
    }
}

fn field_of_pod(path: &str) -> ObjectFieldSelector {
    ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() }
}

fn container_port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn asked(path: &str, every: (i32, i32, i32)) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(AGENT.to_owned()),
            ..HTTPGetAction::default()
        }),
        ..times(every)
    }
}

/// Period, patience for an answer, and misses that count.
fn times((period, timeout, failures): (i32, i32, i32)) -> Probe {
    Probe {
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// The volume of a pod is made and deleted with it. One that outlives the pod could never get another size or class: the API server
/// lets nobody change what a StatefulSet claims. What is lost with it is fetched again, from proxies that have it.
fn cache(edge: &ValidEdge) -> Volume {
    let Some(class) = &edge.cache_volume else { return empty_dir("cache", edge.cache_size) };
    let claim = PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
        resources: Some(VolumeResourceRequirements {
            requests: Some([("storage".to_owned(), stored(edge.cache_size))].into()),
            ..VolumeResourceRequirements::default()
        }),
        storage_class_name: class.clone(),
        ..PersistentVolumeClaimSpec::default()
    };
    Volume {
        name: "cache".to_owned(),
        ephemeral: Some(EphemeralVolumeSource {
            volume_claim_template: Some(PersistentVolumeClaimTemplate { metadata: None, spec: claim }),
        }),
        ..Volume::default()
    }
}

/// What the kubelet would mount by itself, into every container.
fn token() -> Volume {
    let item = |key: &str| KeyToPath { key: key.to_owned(), path: key.to_owned(), ..KeyToPath::default() };
    let sources = vec![
        VolumeProjection {
            service_account_token: Some(ServiceAccountTokenProjection {
                expiration_seconds: Some(TOKEN_SECONDS),
                path: "token".to_owned(),
                ..ServiceAccountTokenProjection::default()
            }),
            ..VolumeProjection::default()
        },
        VolumeProjection {
            config_map: Some(ConfigMapProjection {
                name: "kube-root-ca.crt".to_owned(),
                items: Some(vec![item("ca.crt")]),
                ..ConfigMapProjection::default()
            }),
            ..VolumeProjection::default()
        },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection {
                items: Some(vec![DownwardAPIVolumeFile {
                    field_ref: Some(field_of_pod("metadata.namespace")),
                    path: "namespace".to_owned(),
                    ..DownwardAPIVolumeFile::default()
                }]),
            }),
            ..VolumeProjection::default()
        },
    ];
    Volume {
        name: "token".to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(sources), ..ProjectedVolumeSource::default() }),
        ..Volume::default()
    }
}
