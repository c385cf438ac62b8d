//! What a user does, and what has to have happened before.

use serde_json::{Value, json};

use super::{
    store::{Key, State},
    write::{self, Writer},
};

/// The namespace of every simulated fleet.
pub const NAMESPACE: &str = "team";
/// Its name.
pub const FLEET: &str = "mods";

/// Something that a user does.
pub type Step = fn(&mut State);

/// A story: steps that lead up to it, and the step that is watched.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Done one after the other, each until all is quiet.
    pub before: &'static [Step],
    /// What is watched, with the seconds to wait before each step.
    pub steps: &'static [(u64, Step)],
    /// Whether the volume may go.
    pub volume_may_go: bool,
    /// Whether the operator is down while the steps are done.
    pub while_down: bool,
}

impl Scenario {
    /// Whether a slow operator may rightly skip what a quick one did in between.
    pub const fn has_stages(&self) -> bool {
        self.steps.len() > 1
    }
}

const fn scenario(name: &'static str, before: &'static [Step], steps: &'static [(u64, Step)]) -> Scenario {
    Scenario { name, before, steps, volume_may_go: false, while_down: false }
}

/// Every scenario.
pub static SCENARIOS: [Scenario; 28] = [
    scenario("create on memory", &[], &[(0, create_memory)]),
    scenario("create on disk", &[], &[(0, create_disk)]),
    scenario("edit on memory", &[create_memory], &[(0, log_debug)]),
    scenario("edit on disk", &[create_disk], &[(0, log_debug)]),
    scenario("edit and back on memory", &[create_memory], &[(0, log_debug), (3, log_default)]),
    scenario("edit and back on disk", &[create_disk], &[(0, log_debug), (8, log_default)]),
    scenario("edit twice on disk", &[create_disk], &[(0, log_debug), (2, log_error)]),
    scenario("edit twice on memory", &[create_memory], &[(0, log_debug), (2, log_error)]),
    scenario("stop on disk", &[create_disk], &[(0, stop)]),
    scenario("start on disk", &[create_disk, stop], &[(0, start)]),
    scenario("edit while stopped", &[create_disk, stop], &[(0, log_debug), (5, start)]),
    scenario("service edit", &[create_memory], &[(0, annotate_service)]),
    scenario("delete on memory", &[create_memory], &[(0, delete)]),
    scenario("delete on disk", &[create_disk], &[(0, delete)]),
    scenario("delete while it changes", &[create_disk], &[(0, log_debug), (2, delete)]),
    scenario("recreate with the volume kept", &[create_disk, delete], &[(0, create_disk)]),
    scenario("recreate at once", &[create_disk], &[(0, delete), (0, create_disk)]),
    Scenario {
        name: "delete with the volume",
        before: &[create_disk, confirm_delete],
        steps: &[(0, delete)],
        volume_may_go: true,
        while_down: false,
    },
    Scenario {
        name: "edit on disk while the operator is down",
        before: &[create_disk],
        steps: &[(0, log_debug)],
        volume_may_go: false,
        while_down: true,
    },
    Scenario {
        name: "edit on memory while the operator is down",
        before: &[create_memory],
        steps: &[(0, log_debug)],
        volume_may_go: false,
        while_down: true,
    },
    Scenario {
        name: "repair what others broke while the operator is down",
        before: &[create_memory],
        steps: &[(0, break_children)],
        volume_may_go: false,
        while_down: true,
    },
    scenario("repair what others broke", &[create_disk], &[(0, break_children)]),
    scenario("from memory to disk", &[create_memory], &[(0, to_disk)]),
    scenario("from disk to memory", &[create_disk], &[(0, to_memory)]),
    scenario("grow the volume", &[create_disk], &[(0, grow)]),
    scenario("a second fleet on a bucket", &[create_on_bucket], &[(0, create_rival)]),
    scenario("a bucket that its fleet leaves", &[create_on_bucket, create_rival], &[(0, to_another_bucket)]),
    scenario("edit on memory while its record is lost", &[create_memory], &[(0, log_debug), (2, lose_record)]),
];

/// Everything goes back to how it was before a change. Not among the others, because for a moment no order of steps is
/// right: one watch after the other lists anew, so what is known is partly of before and partly of after.
pub static RESTORE: Scenario = scenario("restore from a backup", &[create_memory, back_up, log_debug], &[(0, restore)]);

/// A tenant who may write objects of the fleet's namespace says of some that they are the fleet's. Not among the others,
/// because what is told of it is about the end alone.
pub static FORGED: Scenario = scenario("objects that claim to be the fleet's", &[create_memory], &[(0, forge)]);

/// What [`FORGED`] makes that the operator must not touch: it has the fleet as its owner and not the label.
pub fn unlabelled() -> Key {
    Key::new("configmaps", NAMESPACE, "mods-unlabelled")
}

/// What [`FORGED`] makes that goes: whoever has owner and label is taken at their word, and the fleet asks for no such object.
pub fn labelled() -> Key {
    Key::new("configmaps", NAMESPACE, "mods-labelled")
}

/// Objects whose owner is said to be the fleet: two of other names, and one in the place of a child.
fn forge(state: &mut State) {
    let uid = state.get(&fleet()).map(|fleet| fleet["metadata"]["uid"].clone());
    let owner = json!([{
        "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "name": FLEET, "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let account = Key::new("serviceaccounts", NAMESPACE, "mods-engine");
    assert!(state.get(&account).is_some(), "there is a child to take the place of");
    state.delete("kubectl", &account);
    let strong = json!({ "metadata": { "ownerReferences": owner }, "automountServiceAccountToken": true });
    let bare = json!({ "metadata": { "ownerReferences": owner }, "data": { "a": "b" } });
    let labels = json!({ "goproxy.rs/fleet": FLEET, "app.kubernetes.io/managed-by": "goproxy-operator" });
    let full = json!({ "metadata": { "ownerReferences": owner, "labels": labels }, "data": { "a": "b" } });
    for (key, body) in [(account, strong), (unlabelled(), bare), (labelled(), full)] {
        write::create(state, &key, &user(), body).expect("the name is free");
    }
    state.rules.foreign.insert(unlabelled());
}

fn user() -> Writer {
    Writer { manager: "kubectl".to_owned(), force: true, status: false }
}

/// The fleet.
pub fn fleet() -> Key {
    Key::new("goproxies", NAMESPACE, FLEET)
}

/// What is there before anything, and is none of the operator's business, however much it looks like it.
pub fn foreign(state: &mut State) {
    let labels = json!({ "goproxy.rs/fleet": FLEET, "app.kubernetes.io/managed-by": "goproxy-operator" });
    let objects = [
        ("configmaps", NAMESPACE, "mods-other", json!({ "metadata": { "labels": labels }, "data": { "a": "b" } })),
        ("services", NAMESPACE, "elsewhere", json!({ "spec": { "ports": [{ "port": 80, "protocol": "TCP" }] } })),
        ("serviceaccounts", NAMESPACE, "mods-engine-2", json!({ "metadata": { "labels": labels } })),
        ("configmaps", "other", "mods-data", json!({ "data": { "a": "b" } })),
        ("persistentvolumeclaims", NAMESPACE, "cache", json!({ "spec": { "accessModes": ["ReadWriteOnce"] } })),
    ];
    for (plural, namespace, name, body) in objects {
        let key = Key::new(plural, namespace, name);
        write::create(state, &key, &user(), body).expect("an empty server takes everything");
        state.rules.foreign.insert(key);
    }
}

fn apply(state: &mut State, body: &Value) {
    write::apply(state, &fleet(), &user(), body).expect("a forced apply without preconditions succeeds");
}

/// A JSON merge patch of any object; nothing when it does not exist.
fn patch(state: &mut State, key: &Key, patch: &Value) {
    let _ = write::merge_patch(state, key, &user(), patch);
}

fn create_memory(state: &mut State) {
    apply(state, &json!({ "spec": { "storage": { "memory": {} } } }));
}

fn create_disk(state: &mut State) {
    apply(state, &json!({ "spec": { "replicas": 1 } }));
}

fn create_on_bucket(state: &mut State) {
    apply(state, &json!({ "spec": { "storage": { "s3": { "bucket": "modules" } } } }));
}

fn to_another_bucket(state: &mut State) {
    patch(state, &fleet(), &json!({ "spec": { "storage": { "s3": { "bucket": "others" } } } }));
}

fn to_memory(state: &mut State) {
    let memory = json!({ "disk": null, "memory": {} });
    patch(state, &fleet(), &json!({ "spec": { "storage": memory } }));
}

fn grow(state: &mut State) {
    patch(state, &fleet(), &json!({ "spec": { "storage": { "disk": { "size": "50Gi" } } } }));
}

/// Another fleet that names the same bucket otherwise.
fn create_rival(state: &mut State) {
    let rival = Key::new("goproxies", NAMESPACE, "rival");
    let endpoint = "https://s3.us-east-1.amazonaws.com/";
    let spec = json!({ "spec": { "storage": { "s3": { "bucket": "modules", "endpoint": endpoint } } } });
    write::apply(state, &rival, &user(), &spec).expect("a forced apply without preconditions succeeds");
}

fn to_disk(state: &mut State) {
    apply(state, &json!({ "spec": { "storage": { "disk": {} } } }));
}

fn log_debug(state: &mut State) {
    patch(state, &fleet(), &json!({ "spec": { "engine": { "logLevel": "Debug" } } }));
}

fn log_error(state: &mut State) {
    patch(state, &fleet(), &json!({ "spec": { "engine": { "logLevel": "Error" } } }));
}

fn log_default(state: &mut State) {
    patch(state, &fleet(), &json!({ "spec": { "engine": null } }));
}

fn stop(state: &mut State) {
    patch(state, &fleet(), &json!({ "spec": { "replicas": 0 } }));
}

fn start(state: &mut State) {
    patch(state, &fleet(), &json!({ "spec": { "replicas": 1 } }));
}

fn annotate_service(state: &mut State) {
    patch(state, &fleet(), &json!({ "spec": { "service": { "annotations": { "team.example/cost": "build" } } } }));
}

fn confirm_delete(state: &mut State) {
    let confirmed = json!({
        "metadata": { "annotations": { "goproxy.rs/confirm-delete": FLEET } },
        "spec": { "storage": { "disk": { "whenDeleted": "Delete" } } },
    });
    patch(state, &fleet(), &confirmed);
}

fn delete(state: &mut State) {
    state.delete("kubectl", &fleet());
}

fn back_up(state: &mut State) {
    state.back_up();
}

fn restore(state: &mut State) {
    state.restore();
}

/// Deletes the record of what clients get.
fn lose_record(state: &mut State) {
    let service = state.get(&Key::new("services", NAMESPACE, FLEET));
    let served = service.and_then(|service| service["spec"]["selector"]["goproxy.rs/revision"].as_str());
    if let Some(record) = served.map(|name| Key::new("controllerrevisions", NAMESPACE, name)) {
        state.delete("kubectl", &record);
    }
}

/// Deletes and edits children of every kind at once.
fn break_children(state: &mut State) {
    let ours: Vec<Key> = state
        .objects
        .iter()
        .filter(|(_, object)| object["metadata"]["ownerReferences"][0]["kind"] == "GoProxy")
        .map(|(key, _)| key.clone())
        .collect();
    for key in ours {
        match key.resource.kind {
            "ConfigMap" | "NetworkPolicy" | "ServiceAccount" => state.delete("kubectl", &key),
            "Service" => {
                let astray = json!({ "spec": { "selector": { "goproxy.rs/revision": "nobody" } } });
                patch(state, &key, &astray);
            }
            "Deployment" => patch(state, &key, &json!({ "spec": { "progressDeadlineSeconds": 7 } })),
            _ => patch(state, &key, &json!({ "metadata": { "labels": { "app.kubernetes.io/name": "broken" } } })),
        }
    }
}
