//! The other engine serves as Athens does, and a fleet may change from one to the other and back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    Stage, Telling,
    convergence::stable,
    download::{self, Origin},
    serving::{ask, service_address},
};
use crate::origin::generated::Module;

const FLEET: &str = "corp";
/// An engine may try for long before it gives an origin up.
const PATIENCE: Duration = Duration::from_secs(90);

/// A project downloads through goproxy with every sum verified, and again when the origin is gone.
pub fn goproxy_serves_without_the_origin(stage: &Stage) -> Telling<'_> {
    let spec = json!({"engine": {"kind": "Goproxy", "fetchTimeout": "30s"}});
    Box::pin(download::verified_then_unplugged(stage, "story-goproxy", spec))
}

/// On one volume each engine keeps what it stored. Going back is to the revision that was. Without the origin Athens has no
/// versions to tell, and goproxy tells those that it knew.
pub fn a_fleet_changes_its_engine_and_back(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "story-engines";
        let origin = Origin::start(stage, namespace).await?;
        let (first, second) = (Module::new(1, 0), Module::new(2, 0));
        let athens = change(stage, namespace, &origin, json!({})).await?;
        expect(stage, namespace, &first.zip(), 200).await?;
        let goproxy = change(stage, namespace, &origin, json!({"kind": "Goproxy", "fetchTimeout": "30s"})).await?;
        ensure!(goproxy.version == "goproxy v0.20.0", "the fleet runs {}", goproxy.version);
        expect(stage, namespace, &second.zip(), 200).await?;
        expect(stage, namespace, &list(second), 200).await?;
        let back = change(stage, namespace, &origin, json!({"kind": "Athens"})).await?;
        ensure!(back == athens, "going back made {back:?} of {athens:?}");

        origin.unplug(stage).await?;
        expect(stage, namespace, &first.zip(), 200).await.context("what Athens stored before")?;
        let (status, _) = ask(&service_address(stage, namespace).await?, &second.zip(), PATIENCE).await?;
        ensure!(status >= 400, "Athens answers {status} for what only goproxy stored");
        change(stage, namespace, &origin, json!({"kind": "Goproxy", "fetchTimeout": "30s"})).await?;
        expect(stage, namespace, &second.zip(), 200).await.context("what goproxy stored before")?;
        expect(stage, namespace, &list(second), 200).await.context("versions that goproxy knew")?;
        stage.abandon(namespace).await
    })
}

/// What a fleet came to.
#[derive(Debug, PartialEq, Eq)]
struct Running {
    revision: String,
    version: String,
}

async fn change(stage: &Stage, namespace: &str, origin: &Origin, engine: Value) -> Result<Running> {
    let spec = json!({"engine": engine, "upstream": origin.upstream("authority")?});
    stage.apply_fleet(namespace, FLEET, spec).await?;
    let fleet = stage.wait_settled(namespace, FLEET).await?;
    let version = fleet.status.as_ref().and_then(|status| status.version.clone()).context("no version is told")?;
    Ok(Running { revision: stable(&fleet)?, version })
}

async fn expect(stage: &Stage, namespace: &str, path: &str, wanted: u16) -> Result<()> {
    let start = Instant::now();
    let (status, body) = ask(&service_address(stage, namespace).await?, path, PATIENCE).await?;
    ensure!(status == wanted, "{path} is answered with {status}: {body}");
    stage.progress.note(format!("  {path}: {status} after {} ms", start.elapsed().as_millis()));
    Ok(())
}

fn list(module: Module) -> String {
    format!("/{}/@v/list", module.escaped().0)
}
