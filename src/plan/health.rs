//! Why a revision does not serve, from what its pods, its Deployment and its volume tell: one cause, the most telling first.
//! Which pod it was, how often it tried and when is not told: a lasting fault reads the same until it is over.

use jiff::{SignedDuration, Timestamp};

use super::{
    Detail, Observed, Obstacle, Pod, login,
    object::Kind,
    steady::{last_words, placement, steady},
    validate::ValidFleet,
};
use crate::{
    api::condition::Reason,
    engine::{CLOUD_FILE, is_config_refusal, misses_key_file},
};

/// The cause that keeps a revision from serving, if one can be named. `None` while it simply starts.
pub fn trouble(observed: &Observed, fleet: Option<&ValidFleet>, revision: &str) -> Option<Obstacle> {
    refused_pods(observed, revision)
        .or_else(|| missing_ca_bundle(observed, fleet))
        .or_else(|| most_telling(pods(observed, revision).filter_map(|pod| container_trouble(pod, fleet))))
        .map(|found| without_its_lock(observed, fleet, found))
        .or_else(|| most_telling(pods(observed, revision).filter_map(|pod| placement_trouble(observed, fleet, pod))))
        .or_else(|| lost_volume(observed, fleet))
}

/// The most telling of what several pods suffer from. Their order says nothing, so what is told depends on the causes
/// alone: what was never there before what broke, and else the first by its words.
fn most_telling(troubles: impl Iterator<Item = Obstacle>) -> Option<Obstacle> {
    const FIRST: [Reason; 6] = [
        Reason::SecretMissing,
        Reason::ConfigMapMissing,
        Reason::ConfigRefused,
        Reason::ImageUnavailable,
        Reason::VolumeMissing,
        Reason::VolumePending,
    ];
    let rank = |trouble: &Obstacle| FIRST.iter().position(|reason| *reason == trouble.reason).unwrap_or(FIRST.len());
    troubles.min_by(|one, other| (rank(one), &one.message).cmp(&(rank(other), &other.message)))
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
    Some(obstacle(reason, format!("the API server refuses pods of {revision}: {}", steady(message))))
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

/// An engine whose lock does not answer ends at its start: what is wrong is the lock.
fn without_its_lock(observed: &Observed, fleet: Option<&ValidFleet>, found: Obstacle) -> Obstacle {
    let lock = fleet
        .filter(|_| matches!(found.reason, Reason::CrashLoop | Reason::ConfigRefused))
        .and_then(|fleet| login::trouble(observed, fleet));
    lock.unwrap_or(found)
}

fn container_trouble(pod: &Pod, fleet: Option<&ValidFleet>) -> Option<Obstacle> {
    let (reason, message) =
        pod.waiting.as_ref().map_or(("", ""), |(reason, message)| (reason.as_str(), message.as_str()));
    let said = or(message, reason);
    match reason {
        "ErrImagePull" | "ImagePullBackOff" => {
            Some(obstacle(Reason::ImageUnavailable, said + &doubt_about_pull_secrets(fleet)))
        }
        "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Some(obstacle(Reason::ImageUnavailable, said)),
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
    if misses_key_file(message) {
        return Some(obstacle(
            Reason::SecretMissing,
            format!(
                "the Secret that spec.storage.gcs.credentialsSecretRef names is missing or has no key {CLOUD_FILE}: \
                 create it, and the next start finds it"
            ),
        ));
    }
    let reason = if is_config_refusal(*code, message) { Reason::ConfigRefused } else { Reason::CrashLoop };
    Some(obstacle(reason, format!("the engine ended with code {code}: {}", last_words(message))))
}

fn placement_trouble(observed: &Observed, fleet: Option<&ValidFleet>, pod: &Pod) -> Option<Obstacle> {
    let message = pod.unschedulable.as_ref()?;
    let claim = fleet.and_then(|fleet| fleet.storage.foreign_claim());
    if let Some(claim) = claim.filter(|claim| message.contains(&format!("persistentvolumeclaim \"{claim}\" not found")))
    {
        return Some(obstacle(
            Reason::VolumeMissing,
            format!(
                "spec.storage.disk.existingClaim names PersistentVolumeClaim {claim}, which does not exist: create it, or \
                 correct the name"
            ),
        ));
    }
    // The pod that must end first still holds the volume: this is the wait that keeps two writers apart.
    if observed.pods.iter().any(|other| other.deleting) && message.contains("anti-affinity") {
        return overdue(observed);
    }
    let about_volume = ["PersistentVolumeClaim", "persistentvolumeclaim", "persistent volume", "volume node affinity"];
    let reason = if about_volume.iter().any(|word| message.contains(word)) {
        Reason::VolumePending
    } else {
        Reason::Unschedulable
    };
    Some(obstacle(reason, placement(message)))
}

/// How much longer than its grace period an end may take: the kubelet still has to tell of it.
const TELLING: SignedDuration = SignedDuration::from_secs(30);

/// A pod that should have ended long ago, and that its successor waits for: the kubelet that would tell of its end is gone.
pub fn overdue(observed: &Observed) -> Option<Obstacle> {
    observed.pods.iter().filter_map(overdue_from).any(|from| from <= observed.now).then(|| {
        obstacle(
            Reason::Unschedulable,
            "a pod that was deleted is still there after its grace period, and its successor waits for its end: see whether \
             its node is lost, and once the node is surely off, delete the pod with --force"
                .to_owned(),
        )
    })
}

/// The next instant at which a pod that is ending becomes overdue.
pub fn overdue_at(observed: &Observed) -> Option<Timestamp> {
    observed.pods.iter().filter_map(overdue_from).filter(|from| *from > observed.now).min()
}

fn overdue_from(pod: &Pod) -> Option<Timestamp> {
    pod.gone_by.filter(|_| pod.deleting)?.checked_add(TELLING).ok()
}

/// A volume that is lost matters while the fleet keeps its modules on it. Without a valid spec nobody knows better.
fn lost_volume(observed: &Observed, fleet: Option<&ValidFleet>) -> Option<Obstacle> {
    if fleet.is_some_and(|fleet| !fleet.storage.has_own_volume()) {
        return None;
    }
    observed.children.iter().find_map(|((kind, name), child)| match (&kind, &child.detail) {
        (Kind::PersistentVolumeClaim, Detail::Claim(claim)) if claim.phase.as_deref() == Some("Lost") => {
            Some(obstacle(
                Reason::VolumePending,
                format!(
                    "PersistentVolumeClaim {name} is Lost: its volume is gone; restore the volume or delete the claim"
                ),
            ))
        }
        _ => None,
    })
}

fn or(message: &str, fallback: &str) -> String {
    steady(if message.is_empty() { fallback } else { message })
}

const fn obstacle(reason: Reason, message: String) -> Obstacle {
    Obstacle { reason, message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        api::go_proxy::LocalReference,
        plan::{
            Child,
            fixture::{self, bucket, places, smallest},
            object::Fingerprint,
            volume::ClaimView,
        },
    };

    fn observed(pods: Vec<Pod>) -> Observed {
        let fleet = json!({ "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "metadata": { "name": "corp" }, "spec": {} });
        Observed { now: Timestamp::UNIX_EPOCH, pods, ..fixture::observed(fleet) }
    }

    fn pod(name: &str) -> Pod {
        Pod { name: name.to_owned(), revision: "corp-1".to_owned(), ..Pod::default() }
    }

    fn waiting(name: &str, reason: &str, message: &str) -> Pod {
        Pod { waiting: Some((reason.to_owned(), message.to_owned())), ..pod(name) }
    }

    fn told(pods: Vec<Pod>) -> Option<Obstacle> {
        trouble(&observed(pods), None, "corp-1")
    }

    #[test]
    fn a_lasting_fault_is_told_in_the_same_words_whatever_its_pods_do_meanwhile() {
        let cause = "failed to pull image \"r.example/athens:v9\": not found";
        let first =
            told(vec![waiting("corp-1-a", "ErrImagePull", &format!("rpc error: code = NotFound desc = {cause}"))]);
        let backing_off = format!(
            "Back-off pulling image \"r.example/athens:v9\": ErrImagePull: rpc error: code = NotFound desc = {cause}"
        );
        let later = told(vec![waiting("corp-1-b", "ImagePullBackOff", &backing_off)]);
        assert_eq!(first, Some(Obstacle { reason: Reason::ImageUnavailable, message: cause.to_owned() }));
        assert_eq!(first, later);

        let crashed = |name: &str, second: u32| Pod {
            terminated: Some((2, format!("2026/11/21 10:55:{second} disk is full"))),
            ..waiting(name, "CrashLoopBackOff", &format!("back-off {second}s restarting failed container"))
        };
        let ended = told(vec![crashed("corp-1-a", 10)]);
        assert_eq!(
            ended.as_ref().map(|ended| ended.message.as_str()),
            Some("the engine ended with code 2: disk is full")
        );
        assert_eq!(ended, told(vec![crashed("corp-1-c", 40)]));
    }

    #[test]
    fn two_pods_do_not_take_turns_in_being_told_of() {
        let missing = waiting("corp-1-z", "CreateContainerConfigError", "secret \"git\" not found");
        let image = waiting("corp-1-a", "ErrImagePull", "no such image");
        let other = waiting("corp-1-b", "ErrImagePull", "another image");
        let one = told(vec![image.clone(), missing.clone(), other.clone()]);
        assert_eq!(one.as_ref().map(|one| one.reason), Some(Reason::SecretMissing));
        assert_eq!(one, told(vec![missing, other.clone(), image.clone()]));
        assert_eq!(told(vec![image.clone(), other.clone()]), told(vec![other, image]));
    }

    #[test]
    fn a_key_file_that_is_missing_is_told_as_a_missing_secret() {
        let words = "Could not create App: adding proxy routes: dialing: google: error getting credentials using \
                     GOOGLE_APPLICATION_CREDENTIALS environment variable: open /etc/goproxy/cloud/key.json: no such file or directory";
        let ended = Pod { terminated: Some((1, words.to_owned())), ..waiting("corp-1-a", "CrashLoopBackOff", "") };
        let found = told(vec![ended]).unwrap();
        assert_eq!(found.reason, Reason::SecretMissing);
        assert!(found.message.contains("spec.storage.gcs.credentialsSecretRef"), "{}", found.message);
    }

    #[test]
    fn a_successor_waits_in_silence_only_as_long_as_the_end_of_the_one_before_may_take() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let ending = Pod { deleting: true, gone_by: Some(second(600)), ..pod("corp-1-a") };
        let next = Pod {
            unschedulable: Some("0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.".to_owned()),
            ..pod("corp-1-b")
        };
        let at = |now| Observed { now: second(now), ..observed(vec![ending.clone(), next.clone()]) };
        assert_eq!(trouble(&at(629), None, "corp-1"), None);
        assert_eq!(overdue_at(&at(629)), Some(second(630)), "nothing else would tell");
        let found = trouble(&at(630), None, "corp-1").unwrap();
        assert!(found.reason == Reason::Unschedulable && found.message.contains("node is lost"), "{}", found.message);
        assert_eq!(overdue_at(&at(630)), None, "looked at again for nothing");
    }

    #[test]
    fn a_lost_volume_troubles_only_whoever_keeps_modules_on_it() {
        let claim = Child {
            uid: "claim".to_owned(),
            resource_version: "1".to_owned(),
            owner_uid: None,
            live: Fingerprint::of(&json!({})),
            deleting: false,
            detail: Detail::Claim(Box::new(ClaimView { phase: Some("Lost".to_owned()), ..ClaimView::default() })),
        };
        let mut lost = observed(Vec::new());
        lost.children.insert((Kind::PersistentVolumeClaim, "corp-data".to_owned()), claim);
        let told = |storage| trouble(&lost, Some(&ValidFleet { storage, ..smallest() }), "corp-1");
        assert_eq!(told(smallest().storage).map(|found| found.reason), Some(Reason::VolumePending));
        assert_eq!(told(bucket()), None, "a bucket needs no volume");
        assert!(trouble(&lost, None, "corp-1").is_some());
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
            let found = container_trouble(&waiting("corp-x", "CreateContainerConfigError", message), None).unwrap();
            assert_eq!((found.reason, found.message.as_str()), (reason, message));
        }
    }

    #[test]
    fn a_claim_to_take_over_that_is_missing_is_told_by_its_field() {
        let message = "0/3 nodes are available: persistentvolumeclaim \"athens\" not found. not found";
        let pod = Pod { unschedulable: Some(message.to_owned()), ..pod("corp-1-a") };
        let storage = places().into_iter().find(|(name, _)| *name == "claim").unwrap().1;
        let fleet = ValidFleet { storage, ..smallest() };
        let told = |fleet: &ValidFleet| trouble(&observed(vec![pod.clone()]), Some(fleet), "corp-1").unwrap();
        assert_eq!(told(&fleet).reason, Reason::VolumeMissing);
        assert!(
            told(&fleet).message.starts_with("spec.storage.disk.existingClaim names PersistentVolumeClaim athens,")
        );
        assert_eq!(told(&smallest()).reason, Reason::VolumePending, "that one is the operator's to make");
    }

    #[test]
    fn a_pull_that_fails_names_the_secrets_that_it_was_to_use() {
        let mut fleet = smallest();
        let pod = waiting("corp-x", "ImagePullBackOff", "Back-off pulling image");
        let told = |fleet: &ValidFleet, pod: &Pod| container_trouble(pod, Some(fleet)).unwrap().message;
        assert_eq!(told(&fleet, &pod), "Back-off pulling image");
        fleet.engine.pod.image_pull_secrets = vec![LocalReference { name: "registry".to_owned() }];
        assert!(told(&fleet, &pod).contains("imagePullSecrets names registry"), "{}", told(&fleet, &pod));
        let never = waiting("corp-x", "ErrImageNeverPull", "not present");
        assert_eq!(told(&fleet, &never), "not present", "nothing was pulled");
    }
}
