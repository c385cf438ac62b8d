//! How long a go command takes to get a hundred modules through a fleet of each engine: from a fleet that has none of them,
//! and once more from one that has all. Both engines take turns in one run, on disks of one class, with one origin.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::status::ClientSettings;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};

use super::Report;
use super::legs::quantile;
use super::table::Row;
use crate::cluster::{Lab, Spec, until};
use crate::go_client::GoClient;
use crate::image::{self, Image};
use crate::operator;
use crate::origin::generated::Module;
use crate::progress::Progress;
use crate::story::{Stage, download::Origin, lab};

const NAMESPACE: &str = "bench-engines";
/// Modules of the project. The generated world has fewer paths, so some are there in several versions.
const MODULES: usize = 100;
/// Each engine is measured this often, on a fresh fleet each time.
const ROUNDS: usize = 3;
const KINDS: [&str; 2] = ["Athens", "Goproxy"];

/// Seconds, by engine.
#[derive(Debug, Default)]
struct Times {
    cold: [Vec<f64>; 2],
    warm: [Vec<f64>; 2],
}

/// Measures both engines.
pub async fn measure(progress: &Progress) -> Result<Report> {
    let mut times = Times::default();
    lab::on_a_lab(&Spec::default(), progress, async |lab| rounds(lab, progress, &mut times).await).await?;
    let mut report = Report::default();
    for (what, seconds) in [("cold", &times.cold), ("warm", &times.warm)] {
        for (kind, seconds) in KINDS.iter().zip(seconds) {
            let what = format!("s, go mod download of {MODULES} modules, {what}, {kind}");
            let spread = format!("{:.2} to {:.2}", quantile(seconds, 0.0), quantile(seconds, 1.0));
            report.rows.push(Row::plain("engines", what, quantile(seconds, 0.5)).of(ROUNDS).spread(spread));
        }
    }
    report.notes.push(
        "engines: medians; the client's module cache is fresh each time, every module is looked up in the checksum \
         database, and the origin is in the same cluster"
            .to_owned(),
    );
    Ok(report)
}

async fn rounds(lab: &Lab, progress: &Progress, times: &mut Times) -> Result<()> {
    let cluster = lab.cluster("a")?.clone();
    for image in [Image::Athens, Image::Goproxy] {
        cluster.import(&image::archive(image, progress)?).await?;
    }
    let repo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let client = cluster.client().await?;
    let stage = Stage { client, cluster, repo, progress: Progress::new(), host_operator: None, drill: None };
    operator::deploy(&stage.cluster, &stage.repo, &[], progress).await?;
    let origin = Origin::start(&stage, NAMESPACE).await?;
    for round in 0..ROUNDS {
        // Whoever is first in one round is second in the next.
        for turn in 0..KINDS.len() {
            let which = (turn + round) % KINDS.len();
            let (cold, warm) = one(&stage, &origin, round, KINDS[which]).await?;
            progress.note(format!("{}: cold {cold:.2} s, warm {warm:.2} s", KINDS[which]));
            times.cold[which].push(cold);
            times.warm[which].push(warm);
        }
    }
    Ok(())
}

/// One fleet, which is gone afterwards: the next one shall have the machine for itself.
async fn one(stage: &Stage, origin: &Origin, round: usize, kind: &str) -> Result<(f64, f64)> {
    let name = format!("{}-{round}", kind.to_lowercase());
    let settings = fleet(stage, origin, &name, json!({"kind": kind})).await?;
    let work = tempfile::tempdir().context("cannot make a directory for the client")?;
    let services: Api<Service> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let address = services.get(&name).await?.spec.and_then(|spec| spec.cluster_ip).context("no address")?;
    let client = GoClient::new(work.path(), &settings, &format!("http://{address}"));
    let named = Module::all().take(MODULES).map(|module| format!("{}@{}", module.path(), module.version()));
    let named: Vec<String> = named.collect();
    let arguments: Vec<&str> = ["mod", "download"].into_iter().chain(named.iter().map(String::as_str)).collect();
    let mut seconds = [0.0; 2];
    for (cache, seconds) in ["cold", "warm"].into_iter().zip(&mut seconds) {
        let start = Instant::now();
        client.run(work.path(), cache, &arguments).await.with_context(|| format!("{kind}, {cache}"))?;
        *seconds = start.elapsed().as_secs_f64();
    }
    let fleets = stage.fleets(NAMESPACE);
    fleets.delete(&name, &DeleteParams::default()).await?;
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let selector = kube::api::ListParams::default().labels(&format!("goproxy.rs/fleet={name}"));
    until("the fleet is gone", std::time::Duration::from_mins(1), || async {
        Ok(pods.list(&selector).await?.items.is_empty().then_some(()))
    })
    .await?;
    Ok((seconds[0], seconds[1]))
}

async fn fleet(stage: &Stage, origin: &Origin, name: &str, engine: Value) -> Result<ClientSettings> {
    let spec = json!({"engine": engine, "upstream": origin.upstream("authority")?});
    stage.apply_fleet(NAMESPACE, name, spec).await?;
    let settings = stage.wait_settled(NAMESPACE, name).await?.status.and_then(|status| status.client);
    let settings = settings.context("the status tells clients nothing")?;
    ensure!(!settings.gosumdb.is_empty() && settings.gosumdb != "off", "nothing is verified");
    Ok(settings)
}
