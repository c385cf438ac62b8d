//! The other engine behind a proxy on the way out.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use serde_json::json;

use super::super::{
    Stage, Telling,
    download::{ORIGIN, OUTSIDE, Origin},
    serving::{ask, service_address},
};
use super::Before;
use crate::{
    cluster::until,
    image::{self, Image},
    origin::generated::Module,
    service::egress,
};

const NAMESPACE: &str = "story-goproxy-way-out";
/// It may try for long before it gives an origin up.
const PATIENCE: Duration = Duration::from_secs(90);

/// goproxy reaches a mirror outside, and the checksum database there, through the proxy alone: with the proxy killed nothing comes
/// that is not stored, what is stored is served, and after its return all works again.
pub fn goproxy_takes_the_way_out(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        stage.cluster.import(&image::archive(Image::Goproxy, &stage.progress)?).await?;
        let origin = Origin::start(stage, NAMESPACE).await?;
        let services: Api<Service> = Api::namespaced(stage.client.clone(), NAMESPACE);
        let address = services.get(ORIGIN).await?.spec.and_then(|spec| spec.cluster_ip).context("no address")?;
        let proxy = egress::start_knowing(&stage.cluster, &[(OUTSIDE, address.parse()?)]).await?;
        let mut upstream = origin.upstream("authority")?;
        let outside = upstream.to_string().replace(&origin.host(), OUTSIDE);
        upstream = serde_json::from_str(&outside)?;
        upstream["egressProxy"] = json!({"httpsProxy": proxy.url()});
        let spec = json!({"engine": {"kind": "Goproxy", "fetchTimeout": "30s"}, "upstream": upstream});
        stage.apply_fleet(NAMESPACE, "corp", spec).await?;
        stage.wait_settled(NAMESPACE, "corp").await?;
        let fleet = service_address(stage, NAMESPACE).await?;
        let (known, unknown) = (Module::new(3, 0).zip(), Module::new(4, 0).zip());
        let (status, body) = ask(&fleet, &known, PATIENCE).await?;
        ensure!(status == 200, "through the proxy: {status} {body}");
        let asked = proxy.requests()?;
        let mirror = format!("{OUTSIDE}:443");
        let out = |one: &egress::Request| one.method == "CONNECT" && one.target == mirror;
        ensure!(!asked.is_empty() && asked.iter().all(out), "the proxy was asked for {asked:?}");
        let records = origin.requests(stage).await?.iter().filter(|one| one.path.starts_with("/sumdb/")).count();
        ensure!(records > 0, "the checksum database was not asked");
        stage
            .progress
            .note(format!("  {} tunnels to {mirror}, {records} requests to the checksum database", asked.len()));

        proxy.server.kill().await?;
        let (status, _) = ask(&fleet, &unknown, PATIENCE).await?;
        ensure!(status >= 400, "a miss is answered with {status} without the proxy");
        ensure!(ask(&fleet, &known, PATIENCE).await?.0 == 200, "what is stored is not served without the proxy");
        proxy.server.start_again().await?;
        until("misses work again", Duration::from_mins(2), || async {
            Ok((ask(&fleet, &unknown, PATIENCE).await?.0 == 200).then_some(()))
        })
        .await?;
        stage.abandon(NAMESPACE).await?;
        proxy.server.close().await?;
        before.expect_only(&stage.cluster)
    })
}
