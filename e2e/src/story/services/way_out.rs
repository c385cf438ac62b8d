//! The other engine behind a proxy on the way out, and both behind one that wants a login.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::super::{
    Stage, Telling,
    download::{ORIGIN, OUTSIDE, Origin},
    serving::{ask, service_address},
};
use super::{Before, search};
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

const GUARDED: &str = "story-way-out-login";

/// A proxy on the way out lets nobody through without a login. With the Secret go, git and the engine itself come through, and so
/// does the other engine; with a wrong one nothing comes, and clients are told so. Neither login is written anywhere.
pub fn the_way_out_wants_a_login(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        stage.cluster.import(&image::archive(Image::Goproxy, &stage.progress)?).await?;
        let origin = Origin::start(stage, GUARDED).await?;
        let services: Api<Service> = Api::namespaced(stage.client.clone(), GUARDED);
        let address = services.get(ORIGIN).await?.spec.and_then(|spec| spec.cluster_ip).context("no address")?;
        let proxy = egress::start_guarded(&stage.cluster, &[(OUTSIDE, address.parse()?)]).await?;
        let (user, password) = proxy.login.clone().context("the proxy wants no login")?;
        let wrong = format!("{password}?/@:%");
        secret(stage, "right", &user, &password).await?;
        secret(stage, "wrong", &user, &wrong).await?;
        let outside = origin.upstream("authority")?.to_string().replace(&origin.host(), OUTSIDE);
        let spec = |login: Option<&str>| -> Result<Value> {
            let mut upstream: Value = serde_json::from_str(&outside)?;
            upstream["egressProxy"] = json!({"httpsProxy": proxy.url()});
            if let Some(name) = login {
                upstream["egressProxy"]["credentialsSecretRef"] = json!({"name": name});
            }
            Ok(json!({
                "storage": {"memory": {}}, "upstream": upstream, "rollout": {"scaleDownDelay": "0s"},
                "engine": {"fetchTimeout": "30s"}, "private": {"modules": ["private.example/*"]},
            }))
        };
        let module = |index| Module::new(index, 0).zip();
        // In the words of the proxy.
        for (login, words) in [(None, "Proxy Authentication Required"), (Some("wrong"), "Unauthorized")] {
            apply(stage, spec(login)?).await?;
            let (status, _) = fetch(stage, &module(5)).await?;
            ensure!(status == 404, "with the login {login:?} a miss is answered with {status}");
            let list = module(5).split("/@v/").next().unwrap_or_default().to_owned() + "/@v/list";
            let (status, told) = fetch(stage, &list).await?;
            ensure!(status == 404 && told.contains(words), "{login:?}: {status} {told}");
            ensure!(!told.contains(&password), "the answer tells the login");
        }
        apply(stage, spec(Some("right"))?).await?;
        let (status, body) = fetch(stage, &module(5)).await?;
        ensure!(status == 200, "with the login go does not come through: {status} {body}");
        let database = spec(None)?["upstream"]["checksumDatabase"]["name"].as_str().unwrap_or_default().to_owned();
        let (status, body) = fetch(stage, &format!("/sumdb/{OUTSIDE}/sumdb/{database}/latest")).await?;
        ensure!(status == 200, "with the login the engine does not come through: {status} {body}");
        // git is asked to go on where the proxy finds nobody: it says what the proxy answered.
        let (status, body) = fetch(stage, "/private.example/acme/lib.git/@v/list").await?;
        ensure!(status == 404 && body.contains("CONNECT tunnel failed, response 5"), "git: {status} {body}");

        let mut other = spec(Some("right"))?;
        other["engine"] = json!({"kind": "Goproxy", "fetchTimeout": "30s"});
        for unknown in ["storage", "private"] {
            other.as_object_mut().context("no object")?.remove(unknown);
        }
        let searched = search::outside_environments(stage, GUARDED, &forms(&user, &[&password, &wrong])).await?;
        stage.progress.note(format!("  no login in {searched}"));
        apply(stage, other).await?;
        let (status, body) = fetch(stage, &module(6)).await?;
        ensure!(status == 200, "with the login goproxy does not come through: {status} {body}");
        stage.abandon(GUARDED).await?;
        proxy.server.close().await?;
        before.expect_only(&stage.cluster)
    })
}

/// Passwords as they are, as an address holds them, and as they are sent.
fn forms(user: &str, passwords: &[&str]) -> Vec<String> {
    let encoded = |text: &str| {
        text.bytes().fold(String::new(), |all, byte| match byte {
            byte if byte.is_ascii_alphanumeric() => all + &char::from(byte).to_string(),
            byte => all + &format!("%{byte:02X}"),
        })
    };
    let forms =
        |one: &&str| [(*one).to_owned(), encoded(one), STANDARD.encode(one), STANDARD.encode(format!("{user}:{one}"))];
    passwords.iter().flat_map(forms).collect()
}

async fn secret(stage: &Stage, name: &str, user: &str, password: &str) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), GUARDED);
    let data = json!({"username": user, "password": password});
    let secret = json!({"metadata": {"name": name}, "type": "kubernetes.io/basic-auth", "stringData": data});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
    Ok(())
}

/// Applies the fleet, and waits until clients reach it as it is now.
async fn apply(stage: &Stage, spec: Value) -> Result<()> {
    stage.apply_fleet(GUARDED, "corp", spec).await?;
    stage.wait_settled(GUARDED, "corp").await.map(drop)
}

async fn fetch(stage: &Stage, path: &str) -> Result<(u16, String)> {
    ask(&service_address(stage, GUARDED).await?, path, PATIENCE).await
}
