//! The Redis that a fleet brings along as its lock: one pod, its address, its rules, its volume and its login.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec},
        core::v1::{
            Capabilities, Container, ContainerPort, EmptyDirVolumeSource, KeyToPath, PersistentVolumeClaim,
            PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec,
            Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Service, ServicePort,
            ServiceSpec, TCPSocketAction, Volume, VolumeMount, VolumeResourceRequirements,
        },
        networking::v1::{
            NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use serde_json::{Value, json};

use super::{Kind, Object, fleet_labels, labels, metadata, owner, stage::Stage};
use crate::{
    api::quantity::Quantity as Size,
    plan::validate::{ManagedRedis, ValidFleet},
};

/// Where Redis answers.
pub const PORT: u16 = 6379;
/// Label of its pod, with the fleet's name. Not the fleet's own label: the pod is none of its proxies.
const LOCK_LABEL: &str = "goproxy.rs/lock";
/// Annotation of the StatefulSet with the name of its login. That is where it is remembered.
pub const LOGIN_ANNOTATION: &str = "goproxy.rs/login";
/// Key of the login that the engine reads.
pub const PASSWORD_KEY: &str = "password";
/// Key of the login that Redis reads.
pub const CONFIGURATION_KEY: &str = "redis.conf";

const NAME: &str = "redis";
const LOGIN_DIRECTORY: &str = "/etc/goproxy/redis";
const DATA_DIRECTORY: &str = "/data";
/// User and group of the official image.
const USER: i64 = 999;
/// The login is for the pod's group to read.
const LOGIN_MODE: i32 = 0o440;

/// What a lock with a login consists of. Empty where the fleet brings none along, or its login is not known yet.
/// `sized` says what the volume shall ask for, by its claim's name and what is wanted.
pub fn build(fleet: &ValidFleet, sized: impl Fn(&str, Size) -> Size) -> Vec<Object> {
    let Some(redis) = &fleet.managed_redis else { return Vec::new() };
    let mut objects = vec![network_policy(fleet), service(fleet), stateful_set(fleet, redis)];
    objects.extend(volume(fleet, redis, sized));
    objects
}

/// The login without its content, which whoever creates it fills in. It can never be changed, only made anew under another name.
pub fn login(fleet: &ValidFleet, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": fleet.namespace,
            "labels": labels(fleet),
            "ownerReferences": [owner(fleet)],
        },
        "immutable": true,
        "type": "Opaque",
    })
}

fn pod_labels(fleet: &ValidFleet) -> BTreeMap<String, String> {
    [(LOCK_LABEL.to_owned(), fleet.name.to_string())].into()
}

fn selector(fleet: &ValidFleet) -> LabelSelector {
    LabelSelector { match_labels: Some(pod_labels(fleet)), ..LabelSelector::default() }
}

fn stateful_set(fleet: &ValidFleet, redis: &ManagedRedis) -> Object {
    let name = fleet.name.lock();
    let mut common = metadata(fleet, &name);
    common.annotations = Some([(LOGIN_ANNOTATION.to_owned(), redis.login.clone())].into());
    let set = StatefulSet {
        metadata: common,
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            // A pod that never got ready is replaced by one that can, without anybody's help.
            pod_management_policy: Some("Parallel".to_owned()),
            revision_history_limit: Some(0),
            selector: selector(fleet),
            service_name: Some(name),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(pod_labels(fleet)), ..ObjectMeta::default() }),
                spec: Some(pod(fleet, redis)),
            },
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    };
    Object::new(Kind::StatefulSet, &fleet.name.lock(), &set)
}

fn pod(fleet: &ValidFleet, redis: &ManagedRedis) -> PodSpec {
    let login = Volume {
        name: "login".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(redis.login.clone()),
            default_mode: Some(LOGIN_MODE),
            items: Some(vec![KeyToPath {
                key: CONFIGURATION_KEY.to_owned(),
                path: CONFIGURATION_KEY.to_owned(),
                ..KeyToPath::default()
            }]),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let data = if redis.persistence.is_some() {
        Volume {
            name: "data".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: fleet.name.lock(),
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            ..Volume::default()
        }
    } else {
        Volume {
            name: "data".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity("64Mi".to_owned())),
                ..EmptyDirVolumeSource::default()
            }),
            ..Volume::default()
        }
    };
    PodSpec {
        automount_service_account_token: Some(false),
        containers: vec![container(redis)],
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            fs_group: Some(USER),
            run_as_group: Some(USER),
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        volumes: Some(vec![login, data]),
        ..PodSpec::default()
    }
}

fn container(redis: &ManagedRedis) -> Container {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    Container {
        name: NAME.to_owned(),
        image: Some(redis.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        // The image's own entry point would change the owner of its files, which needs root.
        command: Some(vec!["redis-server".to_owned()]),
        args: Some(arguments(redis)),
        ports: Some(vec![ContainerPort {
            name: Some(NAME.to_owned()),
            container_port: i32::from(PORT),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        liveness_probe: Some(probe(10, 6)),
        readiness_probe: Some(probe(2, 3)),
        resources: Some(resources()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![mount("login", LOGIN_DIRECTORY, true), mount("data", DATA_DIRECTORY, false)]),
        ..Container::default()
    }
}

/// The login is in the file. No snapshots: with a log each lock is on the disk before it is granted, and without one nothing is
/// worth keeping.
fn arguments(redis: &ManagedRedis) -> Vec<String> {
    let kept = if redis.persistence.is_some() { "yes" } else { "no" };
    let configuration = format!("{LOGIN_DIRECTORY}/{CONFIGURATION_KEY}");
    let port = PORT.to_string();
    let settings = [
        ("--port", port.as_str()),
        ("--save", ""),
        ("--appendonly", kept),
        ("--appendfsync", "always"),
        ("--dir", DATA_DIRECTORY),
        ("--maxmemory", "64mb"),
        ("--maxmemory-policy", "noeviction"),
    ];
    let settings = settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_owned()]);
    std::iter::once(configuration).chain(settings).collect()
}

fn probe(period: i32, failures: i32) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(i32::from(PORT)), ..TCPSocketAction::default() }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

/// A lock is some bytes.
fn resources() -> ResourceRequirements {
    let amounts = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect())
    };
    ResourceRequirements {
        requests: amounts(&[("cpu", "50m"), ("memory", "32Mi")]),
        limits: amounts(&[("memory", "128Mi")]),
        ..ResourceRequirements::default()
    }
}

/// Its address is that of the one pod.
fn service(fleet: &ValidFleet) -> Object {
    let name = fleet.name.lock();
    let service = Service {
        metadata: metadata(fleet, &name),
        spec: Some(ServiceSpec {
            ports: Some(vec![ServicePort {
                name: Some(NAME.to_owned()),
                port: i32::from(PORT),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(NAME.to_owned())),
                ..ServicePort::default()
            }]),
            selector: Some(pod_labels(fleet)),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    // Pods reach the lock by it; it leads no client to them.
    Object::new(Kind::Service, &name, &service).in_stage(Stage::Ground)
}

/// In: the fleet's proxies. Out: nothing.
fn network_policy(fleet: &ValidFleet) -> Object {
    let name = fleet.name.lock();
    let proxies = NetworkPolicyPeer {
        pod_selector: Some(LabelSelector { match_labels: Some(fleet_labels(fleet)), ..LabelSelector::default() }),
        ..NetworkPolicyPeer::default()
    };
    let policy = NetworkPolicy {
        metadata: metadata(fleet, &name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(fleet)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(vec![proxies]),
                ports: Some(vec![NetworkPolicyPort {
                    port: Some(IntOrString::Int(i32::from(PORT))),
                    protocol: Some("TCP".to_owned()),
                    ..NetworkPolicyPort::default()
                }]),
            }]),
            ..NetworkPolicySpec::default()
        }),
    };
    Object::new(Kind::NetworkPolicy, &name, &policy)
}

/// Locks are worth nothing without their fleet, so their volume goes with it.
fn volume(fleet: &ValidFleet, redis: &ManagedRedis, sized: impl Fn(&str, Size) -> Size) -> Option<Object> {
    let (size, class) = redis.persistence.as_ref()?;
    let name = fleet.name.lock();
    let claim = PersistentVolumeClaim {
        metadata: metadata(fleet, &name),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(sized(&name, *size).to_string()))].into()),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    };
    Some(Object::new(Kind::PersistentVolumeClaim, &name, &claim))
}
