//! The Redis that a fleet brings along: what it locks, whom it lets in, and what becomes of a login that somebody deletes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

use super::super::{Stage, Telling, condition, holds};
use super::{
    Before,
    fleets::{FLEET, Parts},
};
use crate::{
    cluster::until,
    image::{self, Image},
    operator,
    origin::generated::Module,
};

const NAMESPACE: &str = "story-own-redis";
const REDIS: &str = "corp-lock";

/// Two proxies on a bucket with `managedRedis`: fifty clients ask for one cold module, and one fetch reaches the origin. Who is no
/// proxy of the fleet does not reach Redis, and who has no password is refused by it. A login that was deleted is made anew.
pub fn it_locks_for_its_fleet_alone(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let parts = Parts::start(stage, NAMESPACE, None).await?;
        parts.apply(stage, &json!({"managedRedis": {}})).await?;
        let fetches = parts.ask_cold(stage, Module::new(30, 0)).await?;
        stage.progress.note(format!("  with a Redis that came along, {fetches} fetches reached the origin"));
        ensure!(fetches == 1, "{fetches} fetches reached the origin");

        let first = the_login(stage, NAMESPACE).await?;
        only_with_a_password(stage, &first).await?;
        strangers_do_not_reach_it(stage).await?;
        told_to_nobody(stage, &first).await?;
        a_lost_login_is_made_anew(stage, &parts, &first).await?;
        let fetches = parts.ask_cold(stage, Module::new(31, 0)).await?;
        ensure!(fetches == 1, "with the new login, {fetches} fetches reached the origin");
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

/// The one login that Redis was made with.
pub(super) async fn the_login(stage: &Stage, namespace: &str) -> Result<Secret> {
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), namespace);
    let labelled = ListParams::default().labels(&format!("goproxy.rs/fleet={FLEET}"));
    let found = secrets.list(&labelled).await?.items;
    ensure!(found.len() == 1, "there are {} logins", found.len());
    found.into_iter().next().context("there is no login")
}

pub(super) fn password(login: &Secret) -> Result<String> {
    let data = login.data.as_ref().and_then(|data| data.get("password")).context("the login has no password")?;
    String::from_utf8(data.0.clone()).context("the password is no text")
}

/// From the node, which no policy keeps out.
async fn only_with_a_password(stage: &Stage, login: &Secret) -> Result<()> {
    let services: Api<Service> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let address = services.get(REDIS).await?.spec.and_then(|spec| spec.cluster_ip).context("Redis has no address")?;
    let say = async |commands: &str| stage.cluster.run_inside("redis-cli", &["-h", &address], commands).await;
    let answer = say("PING\n").await?;
    ensure!(answer.contains("NOAUTH"), "without a password Redis answers {answer:?}");
    let answer = say(&format!("AUTH {}\nPING\n", password(login)?)).await?;
    ensure!(answer.lines().eq(["OK", "PONG"]), "with the password Redis answers {answer:?}");
    Ok(())
}

/// A pod that reaches the fleet does not reach its Redis.
async fn strangers_do_not_reach_it(stage: &Stage) -> Result<()> {
    let script = format!(
        "asks() {{ printf '%b' \"$3\" | timeout 5 nc \"$1\" \"$2\" | grep -q \"$4\"; }}\n\
         asks {FLEET} 80 'GET /healthz HTTP/1.0\\r\\n\\r\\n' 200 || {{ echo the fleet is out of reach; exit 1; }}\n\
         asks {REDIS} 6379 'PING\\r\\n' NOAUTH && {{ echo Redis answers; exit 1; }}\n\
         echo only the fleet answers"
    );
    let pod = json!({
        "metadata": {"name": "stranger"},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": image::reference(Image::Busybox), "imagePullPolicy": "Never",
                "command": ["sh", "-c", script], "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let phase = until("the stranger ends", Duration::from_mins(1), || async {
        let phase = pods.get("stranger").await?.status.and_then(|status| status.phase).unwrap_or_default();
        Ok(["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase))
    })
    .await?;
    let said = pods.logs("stranger", &kube::api::LogParams::default()).await?;
    ensure!(phase == "Succeeded", "a stranger says: {said}");
    Ok(())
}

/// The password is in the Secret alone: in no other object of the namespace, and not in what the operator logs.
async fn told_to_nobody(stage: &Stage, login: &Secret) -> Result<()> {
    let password = password(login)?;
    let kinds =
        "goproxies,controllerrevisions,configmaps,deployments,statefulsets,services,networkpolicies,pods,events";
    let objects = stage.cluster.kubectl(&["-n", NAMESPACE, "get", kinds, "-o", "json"]).await?;
    ensure!(objects.contains(&login.name_any()), "the objects looked at are not the fleet's");
    let operator = format!("deployment/{}", operator::RELEASE);
    let log = stage.cluster.kubectl(&["-n", operator::NAMESPACE, "logs", &operator]).await?;
    ensure!(!log.is_empty(), "the operator logs nothing");
    for (where_, text) in [("an object", objects), ("the operator's log", log)] {
        ensure!(!text.contains(&password), "the password is in {where_}");
    }
    Ok(())
}

/// What runs goes on without the Secret; a Redis that does not start for it makes the operator draw another one.
async fn a_lost_login_is_made_anew(stage: &Stage, parts: &Parts, first: &Secret) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    secrets.delete(&first.name_any(), &DeleteParams::default()).await?;
    pods.delete(&format!("{REDIS}-0"), &DeleteParams::default()).await?;
    let away = |fleet: &goproxy_operator::api::go_proxy::GoProxy| {
        condition(fleet, "LockReady").is_some_and(|told| told.status == "False" && told.reason == "LockUnavailable")
    };
    stage.wait_fleet(NAMESPACE, FLEET, "LockReady is False", Duration::from_mins(1), away).await?;
    let back = |fleet: &goproxy_operator::api::go_proxy::GoProxy| {
        holds(fleet, "Ready") == Some(true) && holds(fleet, "LockReady") != Some(false)
    };
    stage.wait_fleet(NAMESPACE, FLEET, "Redis is back", Duration::from_mins(4), back).await?;
    parts.wait_for_both(stage).await?;
    let next = the_login(stage, NAMESPACE).await?;
    ensure!(next.name_any() != first.name_any(), "the login has the name of the one that was deleted");
    Ok(())
}
