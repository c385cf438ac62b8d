//! Why a revision does not serve, from what its pods, its Deployment and its volume tell: one cause, the most telling first.

use super::{Detail, Observed, Obstacle, Pod, object::Kind, validate::ValidFleet};
use crate::{api::condition::Reason, engine::contract::is_config_refusal};

/// The cause that keeps a revision from serving, if one can be named. `None` while it simply starts.
pub fn trouble(observed: &Observed, fleet: Option<&ValidFleet>, revision: &str) -> Option<Obstacle> {
    refused_pods(observed, revision)
        .or_else(|| missing_ca_bundle(observed, fleet))
        .or_else(|| pods(observed, revision).find_map(container_trouble))
        .or_else(|| pods(observed, revision).find_map(|pod| placement_trouble(observed, pod)))
        .or_else(|| lost_volume(observed))
}

fn pods<'a>(observed: &'a Observed, revision: &str) -> impl Iterator<Item = &'a Pod> {
    observed.pods.iter().filter(move |pod| pod.revision == revision && !pod.deleting && !pod.ready)
}

/// The API server refuses the pods themselves: a quota, or Pod Security.
fn refused_pods(observed: &Observed, revision: &str) -> Option<Obstacle> {
    let child = observed.children.get(&(Kind::Deployment, revision.to_owned()))?;
    let Detail::Deployment(deployment) = &child.detail else { return None };
    let message = deployment.replica_failure.as_ref()?;
    let reason = if message.contains("exceeded quota") { Reason::QuotaExceeded } else { Reason::ObjectRefused };
    Some(obstacle(reason, format!("the API server refuses pods of {revision}: {message}")))
}

/// A missing ConfigMap leaves no trace on the pod but the word ContainerCreating.
fn missing_ca_bundle(observed: &Observed, fleet: Option<&ValidFleet>) -> Option<Obstacle> {
    let (name, key) = fleet?.upstream.ca_bundle.as_ref()?;
    (observed.ca_bundle_found == Some(false)).then(|| {
        obstacle(
            Reason::ConfigMapMissing,
            format!("spec.upstream.caBundle names key {key} of ConfigMap {name}, which does not exist: create it"),
        )
    })
}

fn container_trouble(pod: &Pod) -> Option<Obstacle> {
    let (reason, message) =
        pod.waiting.as_ref().map_or(("", ""), |(reason, message)| (reason.as_str(), message.as_str()));
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" => {
            Some(obstacle(Reason::ImageUnavailable, format!("pod {}: {}", pod.name, or(message, reason))))
        }
        "CreateContainerConfigError" | "CreateContainerError" => {
            let cause = if message.contains("secret") {
                Reason::SecretMissing
            } else if message.contains("configmap") {
                Reason::ConfigMapMissing
            } else {
                Reason::ConfigRefused
            };
            Some(obstacle(cause, format!("pod {}: {}", pod.name, or(message, reason))))
        }
        _ => ended(pod),
    }
}

/// The container ended: either the engine read its configuration and refused it, or it crashes.
fn ended(pod: &Pod) -> Option<Obstacle> {
    let (code, message) = pod.terminated.as_ref()?;
    let last_words = message.trim().lines().last().unwrap_or_default();
    let reason = if is_config_refusal(*code, message) { Reason::ConfigRefused } else { Reason::CrashLoop };
    let text =
        format!("pod {}: the engine ended with code {code} after {} restarts: {last_words}", pod.name, pod.restarts);
    Some(obstacle(reason, text))
}

fn placement_trouble(observed: &Observed, pod: &Pod) -> Option<Obstacle> {
    let message = pod.unschedulable.as_ref()?;
    // The pod that must end first still holds the volume: this is the wait that keeps two writers apart.
    if observed.pods.iter().any(|other| other.deleting) && message.contains("anti-affinity") {
        return None;
    }
    let about_volume = ["PersistentVolumeClaim", "persistentvolumeclaim", "persistent volume", "volume node affinity"];
    let reason = if about_volume.iter().any(|word| message.contains(word)) {
        Reason::VolumePending
    } else {
        Reason::Unschedulable
    };
    Some(obstacle(reason, format!("pod {}: {message}", pod.name)))
}

fn lost_volume(observed: &Observed) -> Option<Obstacle> {
    observed.children.iter().find_map(|((kind, name), child)| match (&kind, &child.detail) {
        (Kind::PersistentVolumeClaim, Detail::Claim { phase: Some(phase) }) if phase == "Lost" => Some(obstacle(
            Reason::VolumePending,
            format!("PersistentVolumeClaim {name} is Lost: its volume is gone; restore the volume or delete the claim"),
        )),
        _ => None,
    })
}

fn or<'a>(message: &'a str, fallback: &'a str) -> &'a str {
    if message.is_empty() { fallback } else { message }
}

const fn obstacle(reason: Reason, message: String) -> Obstacle {
    Obstacle { reason, message }
}
