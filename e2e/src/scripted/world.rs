//! What stands behind the API server in a cluster, as small as rollouts need it: the Deployment controller, a kubelet,
//! the garbage collector and the protection of volumes. Each acts a while after it could have, and not at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    resource::Resource,
    rules::{claim, label},
    store::{Key, State, Store},
};

/// How long each takes. Simulated.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From a change of a Deployment to its controller having seen it.
    pub controller: Duration,
    /// From that to pods being created or deleted.
    pub pods: Duration,
    /// From creation to ready.
    pub start: Duration,
    /// From deletion to gone.
    pub stop: Duration,
    /// From an owner's end to that of what it owns.
    pub collect: Duration,
    /// From a call having been carried out to its answer: watches may tell of it before.
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            controller: Duration::from_millis(120),
            pods: Duration::from_millis(340),
            start: Duration::from_secs(4),
            stop: Duration::from_secs(6),
            collect: Duration::from_millis(700),
            answer: Duration::ZERO,
        }
    }
}

/// One thing to be done later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// The Deployment controller sees a generation.
    See(Key, i64),
    /// It makes the pods fit.
    Fit(Key, i64),
    /// A pod becomes ready.
    Ready(Key),
    /// A pod is gone.
    Gone(Key),
    /// An object without owner is removed.
    Collect(Key, String),
    /// A volume that nobody uses loses its protection.
    Release(Key),
    /// A volume gets the size that its claim asks for.
    Grow(Key),
}

const ACTOR: &str = "kube-controller-manager";
const KUBELET: &str = "kubelet";

/// Runs for ever: acts when something is due, and looks again when something changed.
pub async fn run(store: Store, pace: Pace) {
    let mut news = store.listen();
    let mut due: BTreeMap<Task, Instant> = BTreeMap::new();
    loop {
        news.mark_unchanged();
        let next = step(&store, pace, &mut due);
        let wait = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = news.changed() => if changed.is_err() { return },
            () = wait => {}
        }
    }
}

/// Does all that is due. Returns when something will be due next.
fn step(store: &Store, pace: Pace, due: &mut BTreeMap<Task, Instant>) -> Option<Instant> {
    let mut state = store.lock();
    let now = Instant::now();
    loop {
        let wanted = wanted(&state, pace);
        due.retain(|task, _| wanted.contains_key(task));
        for (task, delay) in wanted {
            due.entry(task).or_insert(now + delay);
        }
        let ripe: Vec<Task> = due.iter().filter(|(_, at)| **at <= now).map(|(task, _)| task.clone()).collect();
        if ripe.is_empty() {
            return due.values().min().copied();
        }
        for task in ripe {
            due.remove(&task);
            act(&mut state, &task);
        }
    }
}

/// All that somebody would do about the present state, and how long after it came about.
fn wanted(state: &State, pace: Pace) -> BTreeMap<Task, Duration> {
    let mut tasks = BTreeMap::new();
    for (key, deployment) in state.list(Resource::named("deployments"), None) {
        let number = |path: &str| deployment.pointer(path).and_then(Value::as_i64).unwrap_or(0);
        let generation = number("/metadata/generation");
        if number("/status/observedGeneration") < generation {
            tasks.insert(Task::See(key.clone(), generation), pace.controller);
        } else if !fits(state, key, deployment) {
            tasks.insert(Task::Fit(key.clone(), generation), pace.pods);
        } else if status_of(state, key, deployment) != deployment["status"] {
            tasks.insert(Task::See(key.clone(), generation), pace.controller);
        } else if let Some(wait) = next_available(state, key, deployment) {
            tasks.insert(Task::See(key.clone(), generation), wait);
        }
    }
    for (key, pod) in state.list(Resource::named("pods"), None) {
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            tasks.insert(Task::Gone(key.clone()), pace.stop);
        } else if !is_ready(pod) && volume_exists(state, key, pod) {
            tasks.insert(Task::Ready(key.clone()), pace.start);
        }
    }
    let uids: std::collections::BTreeSet<&str> =
        state.objects.values().filter_map(|object| object["metadata"]["uid"].as_str()).collect();
    for (key, object) in &state.objects {
        let marked = object.pointer("/metadata/deletionTimestamp").is_some();
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let lost = owners.is_some_and(|owners| {
            !owners.is_empty()
                && owners.iter().all(|owner| !owner["uid"].as_str().is_some_and(|uid| uids.contains(uid)))
        });
        if lost && !marked {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            tasks.insert(Task::Collect(key.clone(), uid), pace.collect);
        }
        if marked && key.resource.kind == "PersistentVolumeClaim" && !is_used(state, key) {
            tasks.insert(Task::Release(key.clone()), pace.controller);
        }
        let bound = key.resource.kind == "PersistentVolumeClaim" && object["status"]["phase"] == "Bound";
        if bound && capacity(object) != asked(object) {
            tasks.insert(Task::Grow(key.clone()), pace.controller);
        }
    }
    tasks
}

fn act(state: &mut State, task: &Task) {
    match task {
        Task::See(key, _) => {
            if let Some(deployment) = state.get(key).cloned() {
                let mut next = (*deployment).clone();
                next["status"] = status_of(state, key, &deployment);
                state.put(ACTOR, key, next);
            }
        }
        Task::Fit(key, _) => fit(state, key),
        Task::Ready(key) => start(state, key),
        Task::Gone(key) => state.remove(KUBELET, key),
        Task::Grow(key) => {
            if let Some(volume) = state.get(key).cloned() {
                let mut next = (*volume).clone();
                next["status"]["capacity"]["storage"] = json!(asked(&volume));
                state.put(ACTOR, key, next);
            }
        }
        Task::Collect(key, _) => state.delete("garbage-collector", key),
        Task::Release(key) => {
            if let Some(volume) = state.get(key).cloned() {
                let mut next = (*volume).clone();
                next["metadata"]["finalizers"] = json!([]);
                state.put(ACTOR, key, next);
            }
        }
    }
}

fn asked(volume: &Value) -> Option<&str> {
    volume.pointer("/spec/resources/requests/storage")?.as_str()
}

fn capacity(volume: &Value) -> Option<&str> {
    volume.pointer("/status/capacity/storage")?.as_str()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

fn volume_exists(state: &State, key: &Key, pod: &Value) -> bool {
    claim(pod).is_none_or(|claim| {
        let volume = state.get(&Key::new("persistentvolumeclaims", &key.namespace, claim));
        volume.is_some_and(|volume| volume.pointer("/metadata/deletionTimestamp").is_none())
    })
}

fn is_used(state: &State, volume: &Key) -> bool {
    let mut pods = state.list(Resource::named("pods"), Some(&volume.namespace));
    pods.any(|(_, pod)| claim(pod) == Some(volume.name.as_str()))
}

/// Pods of a Deployment, those that are ending included.
fn pods_of<'a>(state: &'a State, key: &'a Key, deployment: &Value) -> Vec<(&'a Key, &'a Arc<Value>)> {
    let uid = deployment["metadata"]["uid"].clone();
    state
        .list(Resource::named("pods"), Some(&key.namespace))
        .filter(|(_, pod)| pod["metadata"]["ownerReferences"][0]["uid"] == uid)
        .collect()
}

fn template_hash(deployment: &Value) -> String {
    goproxy_operator::plan::object::short_hash(&deployment["spec"]["template"].to_string(), 10)
}

fn ending(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_some()
}

/// Live pods of the present template, and those of another one.
fn split<'a>(state: &'a State, key: &'a Key, deployment: &Value) -> (Vec<&'a Key>, Vec<&'a Key>, usize) {
    let hash = template_hash(deployment);
    let all = pods_of(state, key, deployment);
    let ending_count = all.iter().filter(|(_, pod)| ending(pod)).count();
    let (new, old): (Vec<_>, Vec<_>) = all
        .into_iter()
        .filter(|(_, pod)| !ending(pod))
        .partition(|(_, pod)| label(pod, "pod-template-hash") == Some(hash.as_str()));
    (new.into_iter().map(|(key, _)| key).collect(), old.into_iter().map(|(key, _)| key).collect(), ending_count)
}

fn replicas(deployment: &Value) -> usize {
    deployment["spec"]["replicas"].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(1)
}

/// Whether a Deployment has the pods that it shall have, as far as it may act now.
fn fits(state: &State, key: &Key, deployment: &Value) -> bool {
    if ending(deployment) {
        return true;
    }
    let (new, old, ending) = split(state, key, deployment);
    let waits = deployment["spec"]["strategy"]["type"] == "Recreate" && ending > 0 && new.is_empty();
    old.is_empty() && (new.len() == replicas(deployment) || (waits && new.len() < replicas(deployment)))
}

fn fit(state: &mut State, key: &Key) {
    let Some(deployment) = state.get(key).cloned() else { return };
    let (new, old, _) = split(state, key, &deployment);
    let (new, old): (Vec<Key>, Vec<Key>) = (new.into_iter().cloned().collect(), old.into_iter().cloned().collect());
    for pod in &old {
        state.delete(ACTOR, pod);
    }
    let wanted = replicas(&deployment);
    for pod in new.iter().skip(wanted) {
        state.delete(ACTOR, pod);
    }
    if !old.is_empty() && deployment["spec"]["strategy"]["type"] == "Recreate" {
        return;
    }
    for _ in new.len()..wanted {
        create_pod(state, key, &deployment);
    }
}

fn create_pod(state: &mut State, key: &Key, deployment: &Value) {
    let hash = template_hash(deployment);
    let name = format!("{}-{hash}-{}", key.name, state.version());
    let mut pod = deployment["spec"]["template"].clone();
    pod["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "Deployment", "name": key.name, "controller": true,
        "uid": deployment["metadata"]["uid"],
    }]);
    pod["status"] = json!({ "phase": "Pending" });
    state.put(ACTOR, &Key::new("pods", &key.namespace, &name), pod);
}

/// The pod's volume is bound and its container is ready.
fn start(state: &mut State, key: &Key) {
    let Some(pod) = state.get(key).cloned() else { return };
    if let Some(claim) = claim(&pod) {
        let volume = Key::new("persistentvolumeclaims", &key.namespace, claim);
        if let Some(held) = state.get(&volume).cloned() {
            let mut next = (*held).clone();
            next["status"]["phase"] = json!("Bound");
            next["status"]["capacity"] = json!({ "storage": asked(&held) });
            state.put(ACTOR, &volume, next);
        }
    }
    let mut next = (*pod).clone();
    let started = state.now().to_string();
    next["status"] = json!({
        "phase": "Running",
        "conditions": [{ "type": "Ready", "status": "True" }, { "type": "PodScheduled", "status": "True" }],
        "containerStatuses": [{
            "name": "athens", "restartCount": 0, "ready": true, "image": "", "imageID": "",
            "state": { "running": { "startedAt": started } },
        }],
    });
    state.put(KUBELET, key, next);
}

/// How long until a ready pod has been ready for as long as the Deployment asks; nothing once it has.
fn until_available(state: &State, deployment: &Value, pod: &Value) -> Duration {
    let started = pod.pointer("/status/containerStatuses/0/state/running/startedAt").and_then(Value::as_str);
    let ready_for = started
        .and_then(|at| at.parse().ok())
        .map_or(Duration::ZERO, |at| Duration::try_from(state.now().duration_since(at)).unwrap_or_default());
    Duration::from_secs(deployment["spec"]["minReadySeconds"].as_u64().unwrap_or(0)).saturating_sub(ready_for)
}

/// When the next pod of a Deployment counts as available, if one is on the way.
fn next_available(state: &State, key: &Key, deployment: &Value) -> Option<Duration> {
    let pods = pods_of(state, key, deployment);
    let ready = pods.iter().filter(|(_, pod)| !ending(pod) && is_ready(pod));
    ready.map(|(_, pod)| until_available(state, deployment, pod)).filter(|wait| !wait.is_zero()).min()
}

/// The status that the Deployment controller would write.
fn status_of(state: &State, key: &Key, deployment: &Value) -> Value {
    let pods = pods_of(state, key, deployment);
    let live: Vec<_> = pods.iter().filter(|(_, pod)| !ending(pod)).collect();
    let ready: Vec<_> = live.iter().filter(|(_, pod)| is_ready(pod)).collect();
    let available = ready.iter().filter(|(_, pod)| until_available(state, deployment, pod).is_zero()).count();
    let enough = if available >= replicas(deployment) { "True" } else { "False" };
    let mut status = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "conditions": [{ "type": "Available", "status": enough }],
    });
    for (name, count) in [
        ("replicas", live.len()),
        ("updatedReplicas", live.len()),
        ("readyReplicas", ready.len()),
        ("availableReplicas", available),
    ] {
        // Zeros are not stored.
        if count > 0 {
            status[name] = json!(count);
        }
    }
    status
}
