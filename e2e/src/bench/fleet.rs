//! The fleets that are measured, and what the operator would send for one: the bodies of the raw client.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::go_proxy::GoProxy;
use goproxy_operator::plan::object::{FIELD_MANAGER, Object, stage::Stage};
use goproxy_operator::plan::validate::Settings;
use goproxy_operator::plan::{self, Observed};
use goproxy_operator::status::status;
use jiff::Timestamp;
use kube::Resource as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::image::{self, Image};
use crate::operator::engine_repository;

/// As a company would have them: a few fleets for each team.
pub const PER_NAMESPACE: usize = 20;

/// Where a fleet is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Places for a number of fleets, in namespaces that begin with this text.
pub fn places(prefix: &str, count: usize) -> Vec<Place> {
    let place =
        |index| Place { namespace: format!("{prefix}-{}", index / PER_NAMESPACE), name: format!("fleet-{index}") };
    (0..count).map(place).collect()
}

/// The object that a user would write. In memory, since kwok binds no volumes.
pub fn manifest(place: &Place) -> Value {
    json!({
        "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy",
        "metadata": {"namespace": place.namespace, "name": place.name},
        "spec": {"storage": {"memory": {}}},
    })
}

/// Requests of a fleet: those of one step may be sent together, and each step needs the one before.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Steps that make the children.
    pub steps: Vec<Vec<http::Request<Vec<u8>>>>,
    /// The status after that.
    pub status: Option<http::Request<Vec<u8>>>,
}

impl Requests {
    /// Number of children.
    pub fn children(&self) -> usize {
        self.steps.iter().map(Vec::len).sum()
    }
}

/// What the operator would send for a fleet that is new.
pub fn requests(fleet: &GoProxy) -> Result<Requests> {
    let now = Timestamp::now();
    let plan = plan::plan(&observed(fleet, now));
    let objects: Vec<&Object> = plan.targets.iter().flat_map(|target| &target.objects).collect();
    ensure!(!objects.is_empty(), "the plan of {:?} makes nothing: {:?}", fleet.metadata.name, plan.report.verdict);
    let mut steps: BTreeMap<Stage, Vec<http::Request<Vec<u8>>>> = BTreeMap::new();
    for object in objects {
        steps.entry(object.stage).or_default().push(child_request(fleet, object)?);
    }
    let next = status(fleet, &plan.report, now);
    let status = status_request(fleet, &json!(next))?;
    Ok(Requests { steps: steps.into_values().collect(), status: Some(status) })
}

fn observed(fleet: &GoProxy, now: Timestamp) -> Observed {
    // As the operator in the lab is told, so that the bodies are the same.
    let settings = Settings {
        engine_image_repository: engine_repository(&image::reference(Image::Athens)).to_owned(),
        goproxy_image_repository: Some(engine_repository(&image::reference(Image::Goproxy)).to_owned()),
        redis_image: image::reference(Image::Redis),
        edge_image: Some(image::reference(Image::Edge)),
        sidecar_image: None,
        cluster_domain: "cluster.local".to_owned(),
    };
    Observed::alone(fleet.clone().into(), now, settings.into())
}

fn child_request(fleet: &GoProxy, object: &Object) -> Result<http::Request<Vec<u8>>> {
    let namespace = fleet.metadata.namespace.as_deref().context("a fleet has a namespace")?;
    let (group, version, plural) = object.kind.resource();
    let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
    let mut body = object.body.clone();
    // As the operator creates: an object of the name would be a conflict.
    body["metadata"]["resourceVersion"] = "1".into();
    let request = kube::core::Request::new(format!("{root}/{version}/namespaces/{namespace}/{plural}"));
    request.patch(&object.name, &params(), &Patch::Apply(&body)).context("cannot make a request")
}

fn status_request(fleet: &GoProxy, status: &Value) -> Result<http::Request<Vec<u8>>> {
    let name = fleet.metadata.name.as_deref().context("a fleet has a name")?;
    let path = GoProxy::url_path(&(), fleet.metadata.namespace.as_deref());
    let body = json!({
        "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy",
        "metadata": {"name": name, "resourceVersion": fleet.metadata.resource_version},
        "status": status,
    });
    let request = kube::core::Request::new(path);
    request.patch_subresource("status", name, &params(), &Patch::Apply(&body)).context("cannot make a request")
}

fn params() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force().validation_strict()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> GoProxy {
        let mut manifest = manifest(&places("bench", 1)[0]);
        manifest["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555".into();
        serde_json::from_value(manifest).unwrap()
    }

    #[test]
    fn fleets_are_spread_over_namespaces() {
        let places = places("raw", 45);
        assert_eq!(places[0], Place { namespace: "raw-0".into(), name: "fleet-0".into() });
        assert_eq!(places[44].namespace, "raw-2");
    }

    #[test]
    fn the_raw_client_sends_what_the_plan_holds_for_a_new_fleet() {
        let requests = requests(&fleet()).unwrap();
        assert!(requests.children() >= 6, "{}", requests.children());
        let first = &requests.steps[0][0];
        assert!(first.uri().path().starts_with("/apis/apps/v1/namespaces/bench-0/controllerrevisions/fleet-0-"));
        assert!(first.uri().query().unwrap().contains("fieldManager=goproxy-operator"));
        let body: Value = serde_json::from_slice(first.body()).unwrap();
        assert_eq!(body["metadata"]["ownerReferences"][0]["uid"], "11111111-2222-3333-4444-555555555555");
        let kinds: Vec<usize> = requests.steps.iter().map(Vec::len).collect();
        assert_eq!(kinds.len(), 4, "record, ground, pods, front: {kinds:?}");
        let status: Value = serde_json::from_slice(requests.status.unwrap().body()).unwrap();
        assert!(status["status"]["conditions"].is_array());
    }
}
