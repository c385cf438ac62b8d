//! What an outage of etcd costs a fleet that locks with it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use tokio::task::JoinHandle;

use super::super::{
    Stage, Telling, holds,
    serving::{PATIENT, ask, service_address},
};
use super::{
    Before,
    fleets::{FLEET, Parts},
    inside::told,
};
use crate::{cluster::until, origin::generated::Module};

const NAMESPACE: &str = "story-lost-etcd";
/// A go command waits without an end.
const PATIENCE: Duration = Duration::from_mins(3);
/// With one more, more than both proxies have places for requests at the same time: so that one of them has none left.
const CROWD: usize = 200;

/// etcd is killed: what is stored is served, also by a proxy that starts meanwhile; what is not waits, and when too many wait, what
/// is stored waits with them. The status says so while the fleet stays ready. After etcd's return
/// everybody who waited is answered, by one fetch for each module.
pub fn a_lost_etcd_costs_misses_only(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let (known, unknown, wanted) = (Module::new(25, 0), Module::new(26, 0), Module::new(27, 0));
        let parts = Parts::start(stage, NAMESPACE, None).await?;
        parts.apply(stage, &json!({"etcd": {"addresses": [parts.etcd.endpoint()]}})).await?;
        let address = service_address(stage, NAMESPACE).await?;
        serves(&address, known).await.context("the first fetch")?;

        parts.etcd.server.kill().await?;
        serves(&address, known).await.context("without etcd")?;
        one_proxy_is_another(stage, &parts).await?;
        serves(&address, known).await.context("without etcd, and by a proxy that started so")?;
        let miss = client(&address, unknown);
        let crowd: Vec<_> = (0..CROWD).map(|_| client(&address, wanted)).collect();
        until("what is stored waits behind those that wait", Duration::from_mins(1), || async {
            Ok(serves(&address, known).await.is_err().then_some(()))
        })
        .await?;
        ensure!(!miss.is_finished(), "a miss was answered without etcd: {:?}", miss.await);
        is_told(stage, &parts).await?;
        parts.etcd.server.start_again().await?;
        for waiting in std::iter::once(miss).chain(crowd) {
            let (status, body) = waiting.await.context("a client died")??;
            ensure!(status == 200, "who waited is answered with {status}: {body}");
        }
        serves(&address, known).await.context("after etcd's return")?;
        told(stage, NAMESPACE, "LockReady", "True", "Available", Duration::from_mins(1)).await?;
        for module in [unknown, wanted] {
            let fetches = parts.fetches(stage, module).await?;
            ensure!(fetches == 1, "{} was fetched {fetches} times", module.path());
        }
        stage
            .progress
            .note(format!("  {} clients waited for etcd and were answered, by one fetch each module", CROWD + 1));
        stage.wait_settled(NAMESPACE, FLEET).await?;
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

/// Asks as a go command does.
fn client(address: &str, module: Module) -> JoinHandle<Result<(u16, String)>> {
    let (address, path) = (address.to_owned(), module.zip());
    tokio::spawn(async move { ask(&address, &path, PATIENCE).await })
}

async fn serves(address: &str, module: Module) -> Result<()> {
    let (status, body) = ask(address, &module.zip(), PATIENT).await?;
    ensure!(status == 200, "what is stored is answered with {status}: {body}");
    Ok(())
}

/// Deletes one of the proxies and waits for its successor.
async fn one_proxy_is_another(stage: &Stage, parts: &Parts) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let list = ListParams::default().labels(&format!("goproxy.rs/fleet={FLEET}"));
    let names =
        async || -> Result<Vec<String>> { Ok(pods.list(&list).await?.iter().map(ResourceExt::name_any).collect()) };
    let gone = names().await?.pop().context("the fleet has no pod")?;
    pods.delete(&gone, &DeleteParams::default()).await?;
    until("the deleted proxy is gone", Duration::from_mins(2), || async {
        Ok((!names().await?.contains(&gone)).then_some(()))
    })
    .await?;
    parts.wait_for_both(stage).await
}

/// The fleet is ready, and its lock is not.
async fn is_told(stage: &Stage, parts: &Parts) -> Result<()> {
    let message = told(stage, NAMESPACE, "LockReady", "False", "LockUnavailable", Duration::from_mins(2)).await?;
    ensure!(message.contains(&parts.etcd.endpoint()), "etcd is not named: {message}");
    let fleet = stage.fleets(NAMESPACE).get(FLEET).await?;
    if holds(&fleet, "Ready") != Some(true) || holds(&fleet, "Stalled") != Some(false) {
        bail!("without etcd the fleet's conditions are {:?}", fleet.status.map(|status| status.conditions));
    }
    Ok(())
}
