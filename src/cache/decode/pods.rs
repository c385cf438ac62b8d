//! What is kept of a pod.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use super::{Seen, read, text};
use crate::{
    engine::contract::sidecar,
    plan::{Pod, Unready, object::REVISION_LABEL},
};

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
            unready: self.unready(),
            running: self.running(),
            unschedulable: self.condition("PodScheduled", "False"),
            waiting: containers.iter().find_map(ContainerStatus::waiting),
            // The engine's own end tells more than that of what runs beside it.
            terminated: containers.iter().rev().find_map(ContainerStatus::terminated),
            created: text(&self.rest, "/metadata/creationTimestamp").and_then(|at| at.parse::<Timestamp>().ok()),
            sidecar: self.sidecar().is_some(),
        })
    }

    /// Where its sidecar answers, while that runs.
    pub fn sidecar_address(&self) -> Option<IpAddr> {
        self.sidecar().filter(|sidecar| sidecar.state.running.is_some())?;
        text(&self.rest, "/status/podIP")?.parse().ok()
    }

    fn sidecar(&self) -> Option<ContainerStatus> {
        let all: Vec<ContainerStatus> = read(self.rest.pointer("/status/initContainerStatuses"))?;
        all.into_iter().find(|one| one.name == sidecar::CONTAINER)
    }

    fn containers(&self) -> Vec<ContainerStatus> {
        let of = |path: &str| -> Vec<ContainerStatus> { read(self.rest.pointer(path)).unwrap_or_default() };
        let mut all = of("/status/initContainerStatuses");
        all.extend(of("/status/containerStatuses"));
        all
    }

    /// Since when all of its containers have run, once the start of each is over.
    fn running(&self) -> Option<Timestamp> {
        let containers: Vec<ContainerStatus> = read(self.rest.pointer("/status/containerStatuses"))?;
        let since: Option<Vec<_>> = containers.iter().map(ContainerStatus::running).collect();
        since?.into_iter().max()
    }

    /// Since when it is not ready. Its kubelet says so of its containers too; of a pod whose node is silent, others take `Ready`
    /// alone away.
    fn unready(&self) -> Option<Unready> {
        let since = self.found_condition("Ready", "False")?["lastTransitionTime"].as_str()?.parse().ok()?;
        Some(Unready { since, asked: self.found_condition("ContainersReady", "False").is_some() })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    #[serde(default)]
    name: String,
    #[serde(default)]
    state: ContainerState,
    #[serde(default)]
    last_state: ContainerState,
    /// Whether its startup probe has passed.
    started: Option<bool>,
}

#[derive(Default, Deserialize)]
struct ContainerState {
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
    running: Option<Running>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    started_at: Option<Time>,
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

    fn running(&self) -> Option<Timestamp> {
        self.state.running.as_ref()?.started_at.as_ref().filter(|_| self.started == Some(true)).map(|at| at.0)
    }

    fn terminated(&self) -> Option<(i32, String)> {
        let ended = self.state.terminated.as_ref().or(self.last_state.terminated.as_ref())?;
        // An init container that did its work is no end worth telling.
        if ended.exit_code == 0 && ended.finished_at.is_some() && ended.message.is_none() {
            return None;
        }
        let words = ended.message.clone().or_else(|| ended.reason.clone()).unwrap_or_default();
        let beside = self.name == sidecar::CONTAINER;
        let last = words.trim_end().lines().next_back().unwrap_or_default();
        Some((ended.exit_code, if beside { format!("its sidecar said: {last}") } else { words }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_that_runs_unready_tells_since_when_and_whether_its_own_node_says_so() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let pod = |containers: Value, ready: &str, containers_ready: &str| {
            let condition = |type_: &str, status: &str| json!({ "type": type_, "status": status, "lastTransitionTime": "1970-01-01T00:00:20Z" });
            let conditions = [condition("ContainersReady", containers_ready), condition("Ready", ready)];
            let status = json!({ "phase": "Running", "conditions": conditions, "containerStatuses": containers });
            let pod = Seen::new(json!({ "metadata": { "name": "p" }, "status": status })).pod().unwrap();
            (pod.ready, pod.unready, pod.running)
        };
        let container = |started: bool, at: u8| json!({ "name": "c", "started": started, "state": { "running": { "startedAt": format!("1970-01-01T00:00:{at}Z") } } });
        let both = json!([container(true, 10), container(true, 12)]);
        let unready = |asked| Some(Unready { since: second(20), asked });
        assert_eq!(pod(both.clone(), "False", "False"), (false, unready(true), Some(second(12))));
        assert_eq!(pod(both.clone(), "True", "True"), (true, None, Some(second(12))));
        assert_eq!(pod(both, "False", "True"), (false, unready(false), Some(second(12))), "its node is silent");
        let starting = json!([container(true, 10), container(false, 12)]);
        assert_eq!(pod(starting, "False", "False").2, None);
        let ended = json!([{ "name": "c", "started": false, "state": { "terminated": { "exitCode": 1 } } }]);
        assert_eq!(pod(ended, "False", "False").2, None);
    }

    fn with_sidecar(sidecar: &Value, engine: &Value) -> Pod {
        let seen = Seen::new(json!({
            "metadata": { "name": "corp-1-a" },
            "status": {
                "phase": "Running", "podIP": "10.0.0.7",
                "initContainerStatuses": [{ "name": "sidecar", "state": sidecar }],
                "containerStatuses": [{ "name": "athens", "state": engine }],
            },
        }));
        seen.pod().unwrap()
    }

    #[test]
    fn what_the_engine_said_comes_before_what_its_sidecar_said() {
        let ended = |message: &str| json!({ "terminated": { "exitCode": 1, "message": message } });
        let waiting = json!({ "waiting": { "reason": "PodInitializing" } });
        assert_eq!(with_sidecar(&ended("one"), &ended("other")).terminated, Some((1, "other".to_owned())));
        let alone = with_sidecar(&ended("{}\nError: configuration: volume.path\n"), &waiting);
        assert_eq!(alone.terminated, Some((1, "its sidecar said: Error: configuration: volume.path".to_owned())));
        assert!(alone.sidecar);
    }
}
