//! Why a revision does not serve, from what its pods, its Deployment and its volume tell: one cause, the most telling first.

use super::{Detail, Observed, Obstacle, Pod, object::Kind, validate::ValidFleet};
use crate::{api::condition::Reason, engine::contract::is_config_refusal};

/// The cause that keeps a revision from serving, if one can be named. `None` while it simply starts.
pub fn trouble(observed: &Observed, fleet: Option<&ValidFleet>, revision: &str) -> Option<Obstacle> {
    refused_pods(observed, revision)
        .or_else(|| missing_ca_bundle(observed, fleet))
        .or_else(|| pods(observed, revision).find_map(|pod| container_trouble(pod, fleet)))
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

fn container_trouble(pod: &Pod, fleet: Option<&ValidFleet>) -> Option<Obstacle> {
    let (reason, message) =
        pod.waiting.as_ref().map_or(("", ""), |(reason, message)| (reason.as_str(), message.as_str()));
    let said = format!("pod {}: {}", pod.name, or(message, reason));
    match reason {
        "ErrImagePull" | "ImagePullBackOff" => {
            Some(obstacle(Reason::ImageUnavailable, said + &doubt_about_pull_secrets(fleet)))
        }
        "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" => {
            Some(obstacle(Reason::ImageUnavailable, said))
        }
        "CreateContainerConfigError" | "CreateContainerError" => {
            let cause = if is_about(message, "Secret") {
                Reason::SecretMissing
            } else if is_about(message, "ConfigMap") {
                Reason::ConfigMapMissing
            } else {
                Reason::ConfigRefused
            };
            Some(obstacle(cause, said))
        }
        _ => ended(pod),
    }
}

/// The kubelet pulls without a Secret that is not there, and a pod's status then only tells that the pull failed.
fn doubt_about_pull_secrets(fleet: Option<&ValidFleet>) -> String {
    let secrets = fleet.map_or(&[][..], |fleet| &fleet.engine.pod.image_pull_secrets);
    if secrets.is_empty() {
        return String::new();
    }
    let names: Vec<_> = secrets.iter().map(|secret| secret.name.as_str()).collect();
    let names = names.join(", ");
    format!(
        "; spec.engine.pod.imagePullSecrets names {names}: a Secret that is missing is left out, so check that it exists"
    )
}

/// Whether the kubelet speaks of an object of this kind: `secret "name" not found`, or of a key in it: `in Secret namespace/name`.
fn is_about(message: &str, kind: &str) -> bool {
    message.contains(&format!("{} \"", kind.to_lowercase())) || message.contains(&format!(" in {kind} "))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::go_proxy::LocalReference, plan::fixture::smallest};

    fn waiting(reason: &str, message: &str) -> Pod {
        let waiting = Some((reason.to_owned(), message.to_owned()));
        Pod { name: "corp-x".to_owned(), waiting, ..Pod::default() }
    }

    /// What kubelets of 1.36 say.
    #[test]
    fn an_object_that_a_container_needs_is_told_by_its_kind() {
        for (message, reason) in [
            (r#"secret "egress" not found"#, Reason::SecretMissing),
            ("couldn't find key proxy in Secret build/egress", Reason::SecretMissing),
            (r#"configmap "egress" not found"#, Reason::ConfigMapMissing),
            ("couldn't find key secret in ConfigMap build/secret", Reason::ConfigMapMissing),
            ("container has runAsNonRoot and image will run as root", Reason::ConfigRefused),
        ] {
            let found = container_trouble(&waiting("CreateContainerConfigError", message), None).unwrap();
            assert_eq!((found.reason, found.message), (reason, format!("pod corp-x: {message}")));
        }
    }

    #[test]
    fn a_pull_that_fails_names_the_secrets_that_it_was_to_use() {
        let mut fleet = smallest();
        let pod = waiting("ImagePullBackOff", "Back-off pulling image");
        let told = |fleet: &ValidFleet, pod: &Pod| container_trouble(pod, Some(fleet)).unwrap().message;
        assert_eq!(told(&fleet, &pod), "pod corp-x: Back-off pulling image");
        fleet.engine.pod.image_pull_secrets = vec![LocalReference { name: "registry".to_owned() }];
        assert!(told(&fleet, &pod).contains("imagePullSecrets names registry"), "{}", told(&fleet, &pod));
        let never = waiting("ErrImageNeverPull", "not present");
        assert_eq!(told(&fleet, &never), "pod corp-x: not present", "nothing was pulled");
    }
}
