//! The Redis that a fleet brings along, with a volume: what becomes of locks, of the login and of the volume.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::super::{Stage, Telling};
use super::{
    Before,
    fleets::{FLEET, Parts},
    own_redis::{password, the_login},
};
use crate::{cluster::until, origin::generated::Module};

const NAMESPACE: &str = "story-kept-locks";
const REDIS: &str = "corp-lock";
const POD: &str = "corp-lock-0";
/// A lock that nobody gives back while the story lasts.
const LOCK: &str = "origin.invalid/held@v1.0.0";

/// Redis is killed, and its pod is replaced: who held a lock holds it, the login is the same, no proxy restarts, and one cold module
/// costs one fetch again. Without the field Redis forgets, and the volume stays; with it again, Redis knows what it
/// knew; and the volume goes with the fleet.
pub fn they_outlive_its_pod(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let parts = Parts::start(stage, NAMESPACE, None).await?;
        let persistence = json!({"size": "1Gi"});
        parts.apply(stage, &json!({"managedRedis": {"persistence": persistence}})).await?;
        let redis = Redis::of(stage).await?;
        let proxies = proxies(stage).await?;
        let fetches = parts.ask_cold(stage, Module::new(33, 0)).await?;
        ensure!(fetches == 1, "{fetches} fetches reached the origin");
        let answer = redis.say(&format!("SET {LOCK} me NX PX 3600000")).await?;
        ensure!(answer == "OK", "Redis answers {answer:?}");

        redis.kill().await?;
        redis.holds("me").await.context("after it was killed")?;
        redis.replace().await?;
        redis.holds("me").await.context("in another pod")?;
        ensure!(the_login(stage, NAMESPACE).await?.name_any() == redis.login.name_any(), "there is another login");
        ensure!(proxies == self::proxies(stage).await?, "proxies are not what they were");
        let fetches = parts.ask_cold(stage, Module::new(34, 0)).await?;
        stage
            .progress
            .note(format!("  after a killed Redis and another pod of it, {fetches} fetches reached the origin"));
        ensure!(fetches == 1, "{fetches} fetches reached the origin");

        let volume = redis.volume().await?;
        redis.changes_to(&Value::Null).await?;
        redis.holds("").await.context("without a volume")?;
        ensure!(redis.volume().await? == volume, "the volume is another one");
        redis.changes_to(&persistence).await?;
        redis.holds("me").await.context("with the volume again")?;
        ensure!(proxies == self::proxies(stage).await?, "proxies are not what they were");
        redis.goes_with_the_fleet().await?;
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

/// The fleet's Redis, as the node reaches it.
struct Redis<'a> {
    stage: &'a Stage,
    pods: Api<Pod>,
    claims: Api<PersistentVolumeClaim>,
    login: Secret,
    address: String,
}

impl<'a> Redis<'a> {
    async fn of(stage: &'a Stage) -> Result<Self> {
        let services: Api<Service> = Api::namespaced(stage.client.clone(), NAMESPACE);
        let address = services.get(REDIS).await?.spec.and_then(|spec| spec.cluster_ip).context("it has no address")?;
        let redis = Self {
            stage,
            pods: Api::namespaced(stage.client.clone(), NAMESPACE),
            claims: Api::namespaced(stage.client.clone(), NAMESPACE),
            login: the_login(stage, NAMESPACE).await?,
            address,
        };
        Ok(redis)
    }

    /// The answer to a command, of a Redis that lets its fleet in and goes on to answer.
    async fn say(&self, command: &str) -> Result<String> {
        let input = format!("AUTH {}\n{command}\nPING\n", password(&self.login)?);
        let said = self.stage.cluster.run_inside("redis-cli", &["-h", &self.address], &input).await?;
        match said.lines().collect::<Vec<_>>()[..] {
            ["OK", answer, "PONG"] => Ok(answer.to_owned()),
            _ => bail!("Redis answers {said:?}"),
        }
    }

    /// Waits until it answers, and fails unless this one holds the lock then.
    async fn holds(&self, who: &str) -> Result<()> {
        let holder = until("Redis answers", Duration::from_mins(1), || async {
            Ok(self.say(&format!("GET {LOCK}")).await.ok())
        })
        .await?;
        ensure!(holder == who, "the lock is held by {holder:?}");
        Ok(())
    }

    /// Waits until its pod is ready and as it should be.
    async fn until_ready(&self, what: &str, wanted: impl Fn(&Pod) -> bool + Sync) -> Result<Pod> {
        until(what, Duration::from_mins(2), || async {
            let found = self.pods.get_opt(POD).await?;
            let ready = |pod: &Pod| containers(pod).all(|one| one.ready) && containers(pod).next().is_some();
            Ok(found.filter(|pod| pod.metadata.deletion_timestamp.is_none() && ready(pod) && wanted(pod)))
        })
        .await
    }

    /// Ends its process without a word. The kubelet starts another one in the same pod.
    async fn kill(&self) -> Result<()> {
        let pod = self.pods.get(POD).await?;
        let uid = pod.uid().context("the pod has no uid")?;
        let restarts = |pod: &Pod| containers(pod).map(|one| one.restart_count).sum::<i32>();
        let known = restarts(&pod);
        let found = processes(&uid);
        ensure!(found.len() == 1, "its processes are {found:?}");
        kill(Pid::from_raw(found[0]), Signal::SIGKILL).context("kill Redis")?;
        self.until_ready("Redis is started again", |pod| restarts(pod) > known).await.map(drop)
    }

    /// Deletes its pod, as a drain of its node does.
    async fn replace(&self) -> Result<()> {
        let old = self.pods.get(POD).await?.uid();
        self.pods.delete(POD, &DeleteParams::default()).await?;
        self.until_ready("Redis has another pod", |pod| pod.uid() != old).await.map(drop)
    }

    /// The volume of its claim.
    async fn volume(&self) -> Result<String> {
        let claim = self.claims.get(REDIS).await?;
        claim.spec.and_then(|spec| spec.volume_name).context("the claim has no volume")
    }

    /// Gives Redis a volume, or takes it away by null, and waits until it is as the spec says. The proxies stay. A merge: an apply of
    /// `managedRedis: {}` would take away the last field in it, of which the API server makes a null that it then refuses.
    async fn changes_to(&self, persistence: &Value) -> Result<()> {
        let on_volume = !persistence.is_null();
        let change = json!({"spec": {"lock": {"managedRedis": {"persistence": persistence}}}});
        let fleets = self.stage.fleets(NAMESPACE);
        fleets.patch(FLEET, &PatchParams::default(), &Patch::Merge(change)).await?;
        let is_on_volume = |pod: &Pod| {
            let volumes = pod.spec.iter().filter_map(|spec| spec.volumes.as_ref()).flatten();
            volumes.into_iter().any(|volume| volume.persistent_volume_claim.is_some())
        };
        self.until_ready("Redis is as the spec says", |pod| is_on_volume(pod) == on_volume).await.map(drop)
    }

    async fn goes_with_the_fleet(&self) -> Result<()> {
        self.stage.fleets(NAMESPACE).delete(FLEET, &DeleteParams::foreground()).await?;
        until("the volume of the locks is gone", Duration::from_mins(2), || async {
            Ok(self.claims.get_opt(REDIS).await?.is_none().then_some(()))
        })
        .await
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &k8s_openapi::api::core::v1::ContainerStatus> {
    pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten()
}

/// The proxies: uid and restarts.
async fn proxies(stage: &Stage) -> Result<Vec<(Option<String>, i32)>> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let found = pods.list(&ListParams::default().labels(&format!("goproxy.rs/fleet={FLEET}"))).await?.items;
    Ok(found.iter().map(|pod| (pod.uid(), containers(pod).map(|one| one.restart_count).sum())).collect())
}

/// The processes of a pod that are a Redis, by the control groups that they are in.
fn processes(uid: &str) -> Vec<i32> {
    let known_by = [uid.to_owned(), uid.replace('-', "_")];
    let is_it = |pid: &i32| {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        read("comm").trim() == "redis-server" && known_by.iter().any(|uid| read("cgroup").contains(uid))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_it).collect()
}
