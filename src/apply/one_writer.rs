//! What is asked of the API server itself before a pod may write to storage that others may write to as well.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Applier,
    refusal::{in_use, may_start_pods},
    request::Setback,
};
use crate::{
    cache::{
        FleetKey, Source,
        decode::{Detail, Seen},
    },
    plan::object::{FLEET_LABEL, Kind, Object, Precondition},
};

/// A list of objects.
#[derive(Deserialize)]
struct Listed<T> {
    items: Option<Vec<T>>,
}

impl<T> Listed<T> {
    fn seen(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flatten()
    }
}

impl Applier {
    /// What must hold besides, asked right before the write.
    pub(super) async fn check(&self, key: &FleetKey, fleet_uid: &str, object: &Object) -> Result<(), Setback> {
        let Precondition::NoPodsOutside { revision, beside, claim, .. } = &object.precondition else { return Ok(()) };
        let is_outside = |name: &str| name != revision && !beside.iter().any(|other| other == name);
        let labels = format!("{FLEET_LABEL}={}", key.name);
        // Deployments first: the pods of one that was stopped since are still found among the pods.
        let deployments: Listed<Seen> =
            self.writer.list(Source::Children(Kind::Deployment), &key.namespace, &labels).await?.read()?;
        let may_start = |seen: &&Seen| {
            matches!(seen.detail(Kind::Deployment), Detail::Deployment(view)
                if view.replicas > 0 || view.current > 0 || !view.observed)
        };
        if let Some(other) = deployments.seen().filter(|seen| is_outside(seen.name())).find(may_start) {
            return Err(may_start_pods(other, key, fleet_uid));
        }
        let pods: Listed<Seen> = self.writer.list(Source::Pods, &key.namespace, &labels).await?.read()?;
        if let Some(pod) = pods.seen().filter_map(Seen::pod).find(|pod| is_outside(&pod.revision)) {
            return Err(Setback::Conflict(format!("pod {} of another revision still exists", pod.name)));
        }
        match claim {
            Some(claim) => self.no_strangers_on(key, claim).await,
            None => Ok(()),
        }
    }

    /// A claim of somebody else may have a writer of somebody else, whom no label tells.
    async fn no_strangers_on(&self, key: &FleetKey, claim: &str) -> Result<(), Setback> {
        let pods: Listed<Mounting> = self.writer.list(Source::Pods, &key.namespace, "").await?.read()?;
        let stranger = pods.seen().filter(|pod| pod.mounts(claim) && !pod.is_of(&key.name)).map(Mounting::maker).min();
        stranger.map_or(Ok(()), |stranger| Err(in_use(claim, &stranger)))
    }
}

/// What is asked of a pod that may be anybody's.
#[derive(Deserialize)]
struct Mounting {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<Maker>>,
}

#[derive(Deserialize)]
struct Maker {
    kind: String,
    name: String,
    controller: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Spec {
    volumes: Option<Vec<Volume>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    persistent_volume_claim: Option<Claim>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    claim_name: String,
}

#[derive(Default, Deserialize)]
struct Status {
    phase: Option<String>,
}

impl Mounting {
    /// Whether it holds the claim, or will: one that ended for good does not.
    fn mounts(&self, claim: &str) -> bool {
        let ended = matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let mut claims =
            self.spec.volumes.iter().flatten().filter_map(|volume| volume.persistent_volume_claim.as_ref());
        !ended && claims.any(|found| found.claim_name == claim)
    }

    fn is_of(&self, fleet: &str) -> bool {
        self.metadata.labels.as_ref().and_then(|labels| labels.get(FLEET_LABEL)).is_some_and(|name| name == fleet)
    }

    /// What made it, which keeps its name when the pod is replaced; else the pod itself.
    fn maker(&self) -> String {
        let controls = |maker: &&Maker| maker.controller == Some(true);
        match self.metadata.owner_references.iter().flatten().find(controls) {
            Some(Maker { kind, name, .. }) => format!("a pod of {kind} {name}"),
            None => format!("pod {}", self.metadata.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(rest: &serde_json::Value) -> Mounting {
        let mut pod = json!({
            "metadata": { "name": "athens-0" },
            "spec": { "volumes": [{ "name": "tmp", "emptyDir": {} }, { "name": "m", "persistentVolumeClaim": { "claimName": "modules" } }] },
            "status": { "phase": "Running" },
        });
        for (name, part) in rest.as_object().unwrap() {
            pod[name] = part.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_pod_holds_a_claim_until_it_ended_for_good() {
        assert!(pod(&json!({})).mounts("modules"));
        assert!(!pod(&json!({})).mounts("tmp"));
        assert!(pod(&json!({ "status": {} })).mounts("modules"), "it starts");
        for phase in ["Succeeded", "Failed"] {
            assert!(!pod(&json!({ "status": { "phase": phase } })).mounts("modules"));
        }
        assert!(!pod(&json!({ "spec": {} })).mounts("modules"));
    }

    #[test]
    fn whoever_holds_it_is_told_by_what_lasts() {
        assert_eq!(pod(&json!({})).maker(), "pod athens-0");
        let owners = json!([
            { "kind": "Node", "name": "n" },
            { "kind": "ReplicaSet", "name": "athens-6d8f", "controller": true },
        ]);
        let made = pod(&json!({ "metadata": { "name": "athens-6d8f-x", "ownerReferences": owners } }));
        assert_eq!(made.maker(), "a pod of ReplicaSet athens-6d8f");
        let ours = pod(&json!({ "metadata": { "name": "x", "labels": { "goproxy.rs/fleet": "corp" } } }));
        assert!(ours.is_of("corp") && !ours.is_of("other"));
    }
}
