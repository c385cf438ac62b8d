//! What is kept of a pod.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use super::{Seen, read, text};
use crate::plan::{Pod, object::REVISION_LABEL};

impl Seen {
    /// What is kept of a pod. `None` once it has ended for good: nothing of it runs, so it is in nobody's way.
    pub fn pod(&self) -> Option<Pod> {
        let phase = text(&self.rest, "/status/phase");
        if matches!(phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let containers = self.containers();
        Some(Pod {
            name: self.name().to_owned(),
            revision: self.label(REVISION_LABEL).unwrap_or_default().to_owned(),
            deleting: self.deleting(),
            gone_by: text(&self.rest, "/metadata/deletionTimestamp").and_then(|at| at.parse().ok()),
            ready: self.condition("Ready", "True").is_some(),
            unschedulable: self.condition("PodScheduled", "False"),
            waiting: containers.iter().find_map(ContainerStatus::waiting),
            terminated: containers.iter().find_map(ContainerStatus::terminated),
            created: text(&self.rest, "/metadata/creationTimestamp").and_then(|at| at.parse::<Timestamp>().ok()),
        })
    }

    fn containers(&self) -> Vec<ContainerStatus> {
        let of = |path: &str| -> Vec<ContainerStatus> { read(self.rest.pointer(path)).unwrap_or_default() };
        let mut all = of("/status/initContainerStatuses");
        all.extend(of("/status/containerStatuses"));
        all
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    #[serde(default)]
    state: ContainerState,
    #[serde(default)]
    last_state: ContainerState,
}

#[derive(Default, Deserialize)]
struct ContainerState {
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Deserialize)]
struct Waiting {
    reason: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Terminated {
    exit_code: i32,
    reason: Option<String>,
    message: Option<String>,
    finished_at: Option<Time>,
}

impl ContainerStatus {
    fn waiting(&self) -> Option<(String, String)> {
        let waiting = self.state.waiting.as_ref()?;
        Some((waiting.reason.clone().unwrap_or_default(), waiting.message.clone().unwrap_or_default()))
    }

    fn terminated(&self) -> Option<(i32, String)> {
        let ended = self.state.terminated.as_ref().or(self.last_state.terminated.as_ref())?;
        // An init container that did its work is no end worth telling.
        if ended.exit_code == 0 && ended.finished_at.is_some() && ended.message.is_none() {
            return None;
        }
        Some((ended.exit_code, ended.message.clone().or_else(|| ended.reason.clone()).unwrap_or_default()))
    }
}
