//! What is asked of the API server itself before a pod may write to storage that others may write to as well.

use serde::Deserialize;

use super::{Applier, refusal::may_start_pods, request::Setback};
use crate::{
    cache::{
        FleetKey, Source,
        decode::{Detail, Seen},
    },
    plan::object::{FLEET_LABEL, Kind, Object, Precondition},
};

/// A list of objects.
#[derive(Deserialize)]
struct Listed {
    items: Option<Vec<Seen>>,
}

impl Listed {
    fn seen(&self) -> impl Iterator<Item = &Seen> {
        self.items.iter().flatten()
    }
}

impl Applier {
    /// What must hold besides, asked right before the write.
    pub(super) async fn check(&self, key: &FleetKey, fleet_uid: &str, object: &Object) -> Result<(), Setback> {
        let Precondition::NoPodsOutside { revision, beside, .. } = &object.precondition else { return Ok(()) };
        let is_outside = |name: &str| name != revision && !beside.iter().any(|other| other == name);
        let labels = format!("{FLEET_LABEL}={}", key.name);
        // Deployments first: the pods of one that was stopped since are still found among the pods.
        let deployments: Listed =
            self.writer.list(Source::Children(Kind::Deployment), &key.namespace, &labels).await?.read()?;
        let may_start = |seen: &&Seen| {
            matches!(seen.detail(Kind::Deployment), Detail::Deployment(view)
                if view.replicas > 0 || view.current > 0 || !view.observed)
        };
        if let Some(other) = deployments.seen().filter(|seen| is_outside(seen.name())).find(may_start) {
            return Err(may_start_pods(other, key, fleet_uid));
        }
        let pods: Listed = self.writer.list(Source::Pods, &key.namespace, &labels).await?.read()?;
        let outside = pods.seen().filter_map(Seen::pod).find(|pod| is_outside(&pod.revision));
        outside
            .map_or(Ok(()), |pod| Err(Setback::Conflict(format!("pod {} of another revision still exists", pod.name))))
    }
}
