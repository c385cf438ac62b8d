//! What the operator promises, told as stories that run on real clusters and fail when the promise is broken.
//!
//! A story gets a [`Stage`]: a cluster that is up and an operator that runs. It makes namespaces of its own, waits on
//! conditions, never on time, and leaves the stage as it found it.

use std::{future::Future, path::PathBuf, pin::Pin, time::Duration};

use anyhow::{Context as _, Result, bail};
use goproxy_operator::api::go_proxy::GoProxy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

pub mod adopt;
pub mod at_rest;
pub mod behind_edge;
pub mod changes;
pub mod control_plane;
pub mod convergence;
pub mod corpus;
pub mod download;
pub mod edge;
pub mod edge_under_load;
pub mod engines;
pub mod faults;
pub mod lab;
pub mod leadership;
pub mod logs;
pub mod node;
pub mod own_cluster;
pub mod policy;
pub mod rights;
pub mod secrets;
pub mod services;
pub mod serving;
pub mod surface;
pub mod troubles;

use crate::{
    cluster::{Cluster, until},
    operator::HostOperator,
    progress::Progress,
};

/// Where a story runs.
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// A client of its administrator.
    pub client: Client,
    /// The source tree, for charts and examples.
    pub repo: PathBuf,
    /// Where a story may say what it measured.
    pub progress: Progress,
    /// The operator, where it is a process on the host.
    pub host_operator: Option<HostOperator>,
    /// The program of another one, see [`operator::drill_binary`](crate::operator::drill_binary); where a story needs it.
    pub drill: Option<PathBuf>,
}

/// A story's work.
pub type Telling<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One story.
#[derive(Clone, Copy)]
pub struct Story {
    /// A sentence that is true when it passes.
    pub name: &'static str,
    /// Tells it.
    pub tell: for<'a> fn(&'a Stage) -> Telling<'a>,
}

impl Stage {
    /// The operator on the host, for stories that stop it and start it.
    pub fn operator(&self) -> Result<&HostOperator> {
        self.host_operator.as_ref().context("the operator is deployed here, not a process on the host")
    }

    /// Tells a part of a story with the stage's operator stopped, and starts it again however that part ends. Those of `others`
    /// that still run then are ended first, so that the next story has one operator.
    pub async fn without_operator<T>(
        &self,
        others: &[&str],
        part: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let ours = self.operator()?;
        ours.stop().await?;
        let told = part.await;
        for other in others {
            if !self.cluster.pids(other).is_empty() {
                self.cluster.kill(other).await?;
            }
        }
        ours.start_again().await?;
        told
    }

    /// The fleets of a namespace.
    pub fn fleets(&self, namespace: &str) -> Api<GoProxy> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Applies a fleet as a user would, with strict validation.
    pub async fn apply_fleet(&self, namespace: &str, name: &str, spec: Value) -> Result<GoProxy> {
        let body =
            json!({"apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "metadata": {"name": name}, "spec": spec});
        let parameters = PatchParams::apply("a-user").force().validation_strict();
        self.fleets(namespace).patch(name, &parameters, &Patch::Apply(body)).await.context("the fleet is refused")
    }

    /// Waits until a fleet's status speaks of its newest spec and satisfies the predicate.
    pub async fn wait_fleet(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        deadline: Duration,
        predicate: impl Fn(&GoProxy) -> bool + Send + Sync,
    ) -> Result<GoProxy> {
        let fleets = self.fleets(namespace);
        let waited = until(what, deadline, || async {
            let fleet = fleets.get(name).await?;
            let current =
                fleet.status.as_ref().and_then(|status| status.observed_generation) == fleet.metadata.generation;
            Ok((current && predicate(&fleet)).then_some(fleet))
        });
        match waited.await {
            Ok(fleet) => Ok(fleet),
            Err(error) => {
                let now = fleets.get(name).await.ok().and_then(|fleet| fleet.status);
                bail!("{error:#}; the status is {}", serde_json::to_string_pretty(&now)?)
            }
        }
    }

    /// Waits until a fleet is ready and nothing is under way.
    pub async fn wait_settled(&self, namespace: &str, name: &str) -> Result<GoProxy> {
        let settled = |fleet: &GoProxy| {
            holds(fleet, "Ready") == Some(true)
                && holds(fleet, "Reconciling") == Some(false)
                && holds(fleet, "Stalled") == Some(false)
        };
        self.wait_fleet(namespace, name, "the fleet settles", Duration::from_secs(120), settled).await
    }

    /// Waits until a fleet is not ready for the given reason.
    pub async fn wait_not_ready(&self, namespace: &str, name: &str, reason: &str) -> Result<Condition> {
        let not_ready = |fleet: &GoProxy| {
            condition(fleet, "Ready").is_some_and(|ready| ready.status == "False" && ready.reason == reason)
        };
        let what = format!("Ready is False for {reason}");
        let fleet = self.wait_fleet(namespace, name, &what, Duration::from_secs(60), not_ready).await?;
        condition(&fleet, "Ready").cloned().context("the condition just seen is gone")
    }

    /// Deletes a namespace without waiting: its end must not cost a story its time.
    pub async fn abandon(&self, namespace: &str) -> Result<()> {
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        namespaces.delete(namespace, &DeleteParams::background()).await?;
        Ok(())
    }
}

/// A condition of a fleet.
pub fn condition<'a>(fleet: &'a GoProxy, type_: &str) -> Option<&'a Condition> {
    fleet.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether a condition is true, or `None` when it is not there.
pub fn holds(fleet: &GoProxy, type_: &str) -> Option<bool> {
    condition(fleet, type_).map(|condition| condition.status == "True")
}
