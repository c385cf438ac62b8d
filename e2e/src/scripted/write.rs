//! Writes as the API server does them: server-side apply, create, replace, merge patch, delete.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    fields::{self, Fields},
    store::{Key, State},
};

/// A refusal, as the API server words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status.
    pub code: u16,
    /// Reason of the `Status`.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
}

impl Refused {
    /// A refusal.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    /// Nothing of that name.
    pub fn not_found(key: &Key) -> Self {
        Self::new(404, "NotFound", format!("{} \"{}\" not found", key.resource.plural, key.name))
    }

    fn conflict(key: &Key, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{}\": {why}", key.resource.plural, key.name);
        Self::new(409, "Conflict", message)
    }
}

/// Who writes, and to which part.
#[derive(Clone, Debug)]
pub struct Writer {
    /// `fieldManager`.
    pub manager: String,
    /// `force`.
    pub force: bool,
    /// Whether only the status is meant.
    pub status: bool,
}

impl Writer {
    fn subresource(&self) -> &'static str {
        if self.status { "status" } else { "" }
    }
}

type Outcome = Result<(u16, Arc<Value>), Refused>;

/// Server-side apply.
pub fn apply(state: &mut State, key: &Key, writer: &Writer, body: &Value) -> Outcome {
    let live = state.get(key).cloned();
    check_preconditions(key, live.as_deref(), &body["metadata"])?;
    if writer.status && live.is_none() {
        return Err(Refused::not_found(key));
    }
    let code = if live.is_some() { 200 } else { 201 };
    let live = live.map_or_else(|| json!({ "metadata": {} }), |live| (*live).clone());
    let applied = relevant(key, writer, body);
    let wanted = fields::of(key.resource.kind, &applied);
    let mut managers = Managers::read(&live);
    let taken = managers.conflicts(writer, &live, &applied, &wanted);
    if let (Some(manager), false) = (taken.first(), writer.force) {
        return Err(Refused::conflict(key, &format!("Apply failed with 1 conflict: conflict with \"{manager}\"")));
    }
    let mut merged = fields::merge(key.resource.kind, &live, &applied);
    for path in managers.given_up(writer, &wanted) {
        fields::remove(&mut merged, &path);
    }
    managers.set(writer, "Apply", wanted);
    finish(state, key, writer, &live, merged, &managers, code)
}

/// Create; the name must be free.
pub fn create(state: &mut State, key: &Key, writer: &Writer, body: Value) -> Outcome {
    if state.get(key).is_some() {
        let message = format!("{} \"{}\" already exists", key.resource.plural, key.name);
        return Err(Refused::new(409, "AlreadyExists", message));
    }
    update(state, key, writer, &json!({ "metadata": {} }), body, 201)
}

/// Replace.
pub fn replace(state: &mut State, key: &Key, writer: &Writer, body: Value) -> Outcome {
    let live = state.get(key).cloned().ok_or_else(|| Refused::not_found(key))?;
    check_preconditions(key, Some(&live), &body["metadata"])?;
    let body = if writer.status {
        let mut next = (*live).clone();
        next["status"] = body["status"].clone();
        next
    } else {
        body
    };
    update(state, key, writer, &live, body, 200)
}

/// Merge patch.
pub fn merge_patch(state: &mut State, key: &Key, writer: &Writer, patch: &Value) -> Outcome {
    let live = state.get(key).cloned().ok_or_else(|| Refused::not_found(key))?;
    check_preconditions(key, Some(&live), &patch["metadata"])?;
    let mut next = (*live).clone();
    merge_json(&mut next, patch);
    update(state, key, writer, &live, next, 200)
}

/// Delete, if it still is the object that is meant.
pub fn delete(state: &mut State, key: &Key, actor: &str, preconditions: &Value) -> Outcome {
    let live = state.get(key).cloned().ok_or_else(|| Refused::not_found(key))?;
    check_preconditions(key, Some(&live), preconditions)?;
    state.delete(actor, key);
    Ok((200, live))
}

fn merge_json(target: &mut Value, patch: &Value) {
    let (Value::Object(members), Value::Object(changes)) = (&mut *target, patch) else {
        *target = patch.clone();
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            members.remove(name);
        } else {
            merge_json(members.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// `metadata.uid` and `metadata.resourceVersion` in a write say which object is meant.
fn check_preconditions(key: &Key, live: Option<&Value>, metadata: &Value) -> Result<(), Refused> {
    for name in ["uid", "resourceVersion"] {
        let Some(meant) = metadata.get(name).and_then(Value::as_str) else { continue };
        let held = live.and_then(|live| live["metadata"][name].as_str());
        match held {
            Some(held) if held != meant => {
                let why = if name == "uid" {
                    format!("Precondition failed: UID in precondition: {meant}, UID in object meta: {held}")
                } else {
                    "the object has been modified; please apply your changes to the latest version and try again"
                        .to_owned()
                };
                return Err(Refused::conflict(key, &why));
            }
            None if name == "uid" => return Err(Refused::conflict(key, "uid mismatch: the object does not exist")),
            _ => {}
        }
    }
    Ok(())
}

/// What of a body counts: not the identity, and either the status or all but the status.
fn relevant(key: &Key, writer: &Writer, body: &Value) -> Value {
    if writer.status {
        return json!({ "status": body["status"] });
    }
    let mut relevant = body.clone();
    if let Value::Object(members) = &mut relevant {
        members.retain(|name, _| {
            !matches!(name.as_str(), "apiVersion" | "kind") && (name != "status" || !key.resource.has_status())
        });
        if let Some(Value::Object(metadata)) = members.get_mut("metadata") {
            metadata
                .retain(|name, _| matches!(name.as_str(), "labels" | "annotations" | "ownerReferences" | "finalizers"));
        }
    }
    relevant
}

fn update(state: &mut State, key: &Key, writer: &Writer, live: &Value, mut next: Value, code: u16) -> Outcome {
    if key.resource.has_status() && !writer.status {
        match live.get("status") {
            Some(status) => next["status"] = status.clone(),
            None => {
                next.as_object_mut().map(|members| members.remove("status"));
            }
        }
    }
    let kind = key.resource.kind;
    let (before, after) = (relevant(key, writer, live), relevant(key, writer, &next));
    let mut managers = Managers::read(live);
    let all = fields::of(kind, &after);
    let changed: Fields =
        all.iter().filter(|path| fields::at(&before, path) != fields::at(&after, path)).cloned().collect();
    managers.take_over(writer, &changed, &all);
    finish(state, key, writer, live, next, &managers, code)
}

fn finish(
    state: &mut State,
    key: &Key,
    writer: &Writer,
    live: &Value,
    mut next: Value,
    managers: &Managers,
    code: u16,
) -> Outcome {
    key.resource.default(&mut next);
    if code == 200
        && let Some(why) = key.resource.immutable(live, &next)
    {
        let message = format!("{} \"{}\" is invalid: {why}", key.resource.kind, key.name);
        return Err(Refused::new(422, "Invalid", message));
    }
    if key.resource.kind == "PersistentVolumeClaim" && code == 201 {
        next["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
    }
    next["metadata"]["managedFields"] = managers.write(&state.now().to_string());
    Ok((code, state.put(&writer.manager, key, next)))
}

/// One entry of `managedFields`.
struct Manager {
    name: String,
    operation: String,
    subresource: String,
    fields: Fields,
    time: Option<String>,
}

/// Who owns what of an object.
struct Managers(Vec<Manager>);

impl Managers {
    fn read(object: &Value) -> Self {
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let read = |entry: &Value| Manager {
            name: text(entry, "manager"),
            operation: text(entry, "operation"),
            subresource: text(entry, "subresource"),
            fields: fields::from_tree(&entry["fieldsV1"]),
            time: entry["time"].as_str().map(str::to_owned),
        };
        Self(entries.into_iter().flatten().map(read).collect())
    }

    fn write(&self, now: &str) -> Value {
        let entry = |manager: &Manager| {
            let mut entry = json!({
                "manager": manager.name,
                "operation": manager.operation,
                "time": manager.time.as_deref().unwrap_or(now),
                "fieldsType": "FieldsV1",
                "fieldsV1": fields::to_tree(&manager.fields),
            });
            if !manager.subresource.is_empty() {
                entry["subresource"] = json!(manager.subresource);
            }
            entry
        };
        Value::Array(self.0.iter().filter(|manager| !manager.fields.is_empty()).map(entry).collect())
    }

    fn is(manager: &Manager, writer: &Writer, operation: &str) -> bool {
        manager.name == writer.manager && manager.operation == operation && manager.subresource == writer.subresource()
    }

    /// Takes from others what is applied with another value, and tells from whom.
    fn conflicts(&mut self, writer: &Writer, live: &Value, applied: &Value, wanted: &Fields) -> Vec<String> {
        let differs = |path: &Vec<String>| {
            wanted.contains(path) && {
                let (held, new) = (fields::at(live, path), fields::at(applied, path));
                held.is_some() && held != new && !new.is_some_and(|new| new.is_object() && path_is_item(path))
            }
        };
        let mut names = Vec::new();
        for manager in self.0.iter_mut().filter(|manager| !Self::is(manager, writer, "Apply")) {
            let count = manager.fields.len();
            manager.fields.retain(|path| !differs(path));
            if manager.fields.len() < count {
                manager.time = None;
                names.push(manager.name.clone());
            }
        }
        names
    }

    /// What the writer applied before and does not any more, and nobody else wants.
    fn given_up(&self, writer: &Writer, wanted: &Fields) -> Vec<Vec<String>> {
        let Some(own) = self.0.iter().find(|manager| Self::is(manager, writer, "Apply")) else { return Vec::new() };
        let others: Vec<_> = self.0.iter().filter(|manager| !Self::is(manager, writer, "Apply")).collect();
        own.fields
            .difference(wanted)
            .filter(|path| !others.iter().any(|other| other.fields.iter().any(|owned| owned.starts_with(path))))
            .cloned()
            .collect()
    }

    fn set(&mut self, writer: &Writer, operation: &str, fields: Fields) {
        if let Some(own) = self.0.iter_mut().find(|manager| Self::is(manager, writer, operation)) {
            if own.fields != fields {
                own.fields = fields;
                own.time = None;
            }
            return;
        }
        self.0.push(Manager {
            name: writer.manager.clone(),
            operation: operation.to_owned(),
            subresource: writer.subresource().to_owned(),
            fields,
            time: None,
        });
    }

    /// After an update: what changed belongs to the writer alone, what is gone to nobody.
    fn take_over(&mut self, writer: &Writer, changed: &Fields, all: &Fields) {
        for manager in self.0.iter_mut().filter(|manager| manager.subresource == writer.subresource()) {
            let count = manager.fields.len();
            let mine = Self::is(manager, writer, "Update");
            manager.fields.retain(|path| all.contains(path) && (mine || !changed.contains(path) || path_is_item(path)));
            if manager.fields.len() != count {
                manager.time = None;
            }
        }
        let own = self.0.iter().find(|manager| Self::is(manager, writer, "Update"));
        let mut fields = own.map(|own| own.fields.clone()).unwrap_or_default();
        fields.extend(changed.iter().cloned());
        if !fields.is_empty() {
            self.set(writer, "Update", fields);
        }
    }
}

/// The item of a list as such may belong to several; its members say whose they are.
fn path_is_item(path: &[String]) -> bool {
    path.last().is_some_and(|step| step.starts_with("k:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::store::Store;

    fn writer(manager: &str) -> Writer {
        Writer { manager: manager.to_owned(), force: true, status: false }
    }

    fn service(port: u16) -> Value {
        json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "ports": [{ "port": port, "protocol": "TCP" }] } })
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_apply_twice_writes_once() {
        let store = Store::default();
        let mut state = store.lock();
        let key = Key::new("services", "n", "s");
        let (code, first) = apply(&mut state, &key, &writer("x"), &service(80)).unwrap();
        let (again, second) = apply(&mut state, &key, &writer("x"), &service(80)).unwrap();
        assert_eq!((code, again, first), (201, 200, second));
        assert_eq!(state.changes.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_no_longer_applied_is_removed_unless_another_owns_it() {
        let store = Store::default();
        let mut state = store.lock();
        let key = Key::new("services", "n", "s");
        apply(&mut state, &key, &writer("x"), &service(80)).unwrap();
        apply(&mut state, &key, &writer("y"), &json!({ "metadata": { "labels": { "a": "b" } } })).unwrap();
        let (_, live) = apply(&mut state, &key, &writer("x"), &json!({ "spec": {} })).unwrap();
        assert_eq!(live["metadata"]["labels"], json!({ "a": "b" }));
        assert_eq!(live["spec"].get("ports"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_takes_the_field_and_an_apply_takes_it_back() {
        let store = Store::default();
        let mut state = store.lock();
        let key = Key::new("services", "n", "s");
        let (_, live) = apply(&mut state, &key, &writer("x"), &service(80)).unwrap();
        let mut edited = (*live).clone();
        edited["metadata"]["labels"]["a"] = json!("c");
        replace(&mut state, &key, &writer("kubectl"), edited).unwrap();
        let careful = Writer { force: false, ..writer("x") };
        assert_eq!(apply(&mut state, &key, &careful, &service(80)).unwrap_err().code, 409);
        let (_, live) = apply(&mut state, &key, &writer("x"), &service(80)).unwrap();
        assert_eq!(live["metadata"]["labels"]["a"], json!("b"));
        assert_eq!(live["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_is_not_live_is_refused_and_creates_when_absent() {
        let store = Store::default();
        let mut state = store.lock();
        let key = Key::new("services", "n", "s");
        let mut body = service(80);
        body["metadata"]["resourceVersion"] = json!("1");
        assert_eq!(apply(&mut state, &key, &writer("x"), &body).unwrap().0, 201);
        assert_eq!(apply(&mut state, &key, &writer("x"), &body).unwrap_err().code, 409);
    }

    #[tokio::test(start_paused = true)]
    async fn an_immutable_config_map_stays_as_it_is() {
        let store = Store::default();
        let mut state = store.lock();
        let key = Key::new("configmaps", "n", "c");
        let body = |text: &str| json!({ "immutable": true, "data": { "k": text } });
        apply(&mut state, &key, &writer("x"), &body("1")).unwrap();
        assert_eq!(apply(&mut state, &key, &writer("x"), &body("2")).unwrap_err().code, 422);
    }
}
