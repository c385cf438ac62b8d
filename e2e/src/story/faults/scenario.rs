//! What a user does while something goes wrong, and what has to have happened before.

use anyhow::Result;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::super::{
    Stage,
    convergence::{self, KINDS, children},
    holds,
};

/// Name of the fleet of every case.
pub const FLEET: &str = "mods";

/// Something that a user does.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Makes the fleet with this spec.
    Create(fn() -> Value),
    /// Merges this into its spec.
    Edit(fn() -> Value),
    /// Deletes it.
    Delete,
    /// Deletes and edits children.
    Break,
}

/// How the fleet is once all is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Clients are served.
    Served,
    /// It has no pods.
    Stopped,
    /// It is gone.
    Gone,
}

/// Steps that lead up to something, and the step in the course of which something goes wrong.
#[derive(Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Whether the fleet has a volume.
    pub disk: bool,
    /// Done one after the other, each until all is quiet.
    pub before: &'static [Step],
    /// What is watched.
    pub step: Step,
    /// Done as soon as something has gone wrong, without waiting for anything.
    pub then: Option<Step>,
    /// How it ends.
    pub end: End,
}

const fn scenario(name: &'static str, disk: bool, before: &'static [Step], step: Step, end: End) -> Scenario {
    Scenario { name, disk, before, step, then: None, end }
}

const fn cut_short(name: &'static str, disk: bool, before: &'static [Step], step: Step) -> Scenario {
    Scenario { name, disk, before, step, then: Some(Step::Delete), end: End::Gone }
}

const IN_MEMORY: Step = Step::Create(in_memory);
const ON_DISK: Step = Step::Create(on_disk);
const LOG: Step = Step::Edit(log_debug);
const SERVICE: Step = Step::Edit(annotate_service);
const STOP: Step = Step::Edit(no_pods);
const START: Step = Step::Edit(one_pod);

/// Every scenario.
pub static SCENARIOS: [Scenario; 10] = [
    scenario("create in memory", false, &[], IN_MEMORY, End::Served),
    scenario("create on disk", true, &[], ON_DISK, End::Served),
    scenario("edit in memory", false, &[IN_MEMORY], LOG, End::Served),
    scenario("edit on disk", true, &[ON_DISK], LOG, End::Served),
    scenario("edit the Service", false, &[IN_MEMORY], SERVICE, End::Served),
    scenario("stop in memory", false, &[IN_MEMORY], STOP, End::Stopped),
    scenario("stop on disk", true, &[ON_DISK], STOP, End::Stopped),
    scenario("start on disk", true, &[ON_DISK, STOP], START, End::Served),
    scenario("repair what others broke", false, &[IN_MEMORY], Step::Break, End::Served),
    cut_short("delete while it changes on disk", true, &[ON_DISK], LOG),
];

fn in_memory() -> Value {
    json!({ "storage": { "memory": {} }, "rollout": { "scaleDownDelay": "1s" } })
}

fn on_disk() -> Value {
    json!({ "storage": { "disk": { "size": "1Gi" } }, "replicas": 1 })
}

fn log_debug() -> Value {
    json!({ "engine": { "logLevel": "Debug" } })
}

fn annotate_service() -> Value {
    json!({ "service": { "annotations": { "team.example/cost": "build" } } })
}

fn no_pods() -> Value {
    json!({ "replicas": 0 })
}

fn one_pod() -> Value {
    json!({ "replicas": 1 })
}

impl Step {
    /// How the fleet is once the operator has done its part.
    pub fn end(self) -> End {
        match self {
            Self::Delete => End::Gone,
            Self::Edit(spec) if spec()["replicas"] == 0 => End::Stopped,
            Self::Create(_) | Self::Edit(_) | Self::Break => End::Served,
        }
    }

    /// Does it.
    pub async fn take(self, stage: &Stage, namespace: &str) -> Result<()> {
        let fleets = stage.fleets(namespace);
        match self {
            Self::Create(spec) => {
                stage.apply_fleet(namespace, FLEET, spec()).await?;
            }
            Self::Edit(spec) => {
                let edit = Patch::Merge(json!({ "spec": spec() }));
                fleets.patch(FLEET, &PatchParams::default(), &edit).await?;
            }
            Self::Delete => {
                fleets.delete(FLEET, &DeleteParams::background()).await?;
            }
            Self::Break => break_children(stage, namespace).await?,
        }
        Ok(())
    }
}

/// Deletes children of some kinds and edits those of the others.
async fn break_children(stage: &Stage, namespace: &str) -> Result<()> {
    for kind in KINDS {
        let api: Api<_> = convergence::api(stage, namespace, kind);
        for child in children(stage, namespace, FLEET, kind).await? {
            let edit = match kind.2 {
                "ConfigMap" | "NetworkPolicy" | "ServiceAccount" => {
                    api.delete(&child.name_any(), &DeleteParams::background()).await?;
                    continue;
                }
                "Service" => json!({ "spec": { "selector": { "goproxy.rs/revision": "nobody" } } }),
                "Deployment" => json!({ "spec": { "progressDeadlineSeconds": 7 } }),
                _ => json!({ "metadata": { "labels": { "app.kubernetes.io/name": "broken" } } }),
            };
            api.patch(&child.name_any(), &PatchParams::default(), &Patch::Merge(edit)).await?;
        }
    }
    Ok(())
}

impl End {
    /// Whether the operator says that it is so: of the newest spec, and that nothing is under way.
    pub async fn is_told(self, stage: &Stage, namespace: &str) -> Result<bool> {
        let Some(fleet) = stage.fleets(namespace).get_opt(FLEET).await? else { return Ok(self == Self::Gone) };
        let seen = fleet.status.as_ref().and_then(|status| status.observed_generation);
        let rests = holds(&fleet, "Reconciling") == Some(false) && holds(&fleet, "Stalled") == Some(false);
        let serves = holds(&fleet, "Ready") == Some(true);
        Ok(seen == fleet.metadata.generation && rests && serves == (self == Self::Served) && self != Self::Gone)
    }
}
