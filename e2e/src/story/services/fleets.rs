//! Fleets of several proxies on one storage, with each lock between them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};

use super::super::{
    Stage, Telling, condition,
    download::Origin,
    holds,
    serving::{PATIENT, ask, service_address},
};
use super::{Before, inside::told, search};
use crate::{
    cluster::until,
    origin::generated::Module,
    service::{bucket, etcd, redis, sentinel},
};

pub(super) const FLEET: &str = "corp";
/// Builds that ask for the same module at once.
const CLIENTS: usize = 50;
/// A go command waits without an end. Who waits for a lock of Redis asks for it once a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two proxies share a bucket; fifty clients ask for a module that neither has. Every change of the lock ends the old
/// proxies before the new ones start. No login of bucket and locks is written anywhere.
pub fn one_fetch_with_each_lock(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let namespace = "story-locks";
        let parts = Parts::start(stage, namespace, None).await?;
        let locks = [
            (
                "redis",
                json!({"redis": {"address": parts.redis.endpoint(), "tls": "Disabled", "credentialsSecretRef": {"name": "redis"}}}),
            ),
            (
                "redis over TLS with a user",
                json!({"redis": {
                    "address": parts.redis.encrypted_endpoint(), "username": parts.redis.user,
                    "credentialsSecretRef": {"name": "redis-user"},
                }}),
            ),
            (
                "redis behind a sentinel",
                json!({"redis": {
                    "sentinel": {"masterName": parts.sentinel.primary_name, "addresses": [parts.sentinel.endpoint()]},
                    "credentialsSecretRef": {"name": "sentinel"},
                }}),
            ),
            ("etcd", json!({"etcd": {"addresses": [parts.etcd.endpoint()]}})),
            ("no lock", json!({"inProcess": {}})),
        ];
        for (index, (name, lock)) in locks.into_iter().enumerate() {
            parts.apply(stage, &lock).await?;
            let began = Instant::now();
            let fetches = parts.ask_cold(stage, Module::new(index + 10, 0)).await.context(name)?;
            let slowest = began.elapsed().as_secs_f64();
            stage
                .progress
                .note(format!("  {name}: {CLIENTS} clients, {fetches} fetches, all served after {slowest:.1} s"));
            ensure!(fetches == 1 || name == "no lock", "with {name}, {fetches} fetches reached the origin");
            ensure!(fetches <= 2, "two proxies fetched {fetches} times");
        }
        let searched = search::outside_environments(stage, namespace, &parts.logins()).await?;
        stage.progress.note(format!("  no login in {searched}"));
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

/// Redis is killed in the middle of a fetch: what was fetched is stored, hits go on, a miss fails, a proxy that starts meanwhile
/// ends and the status says why; and after Redis' return all of it works again without anybody's help.
pub fn a_lost_lock_costs_misses_only(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let namespace = "story-lost-lock";
        let (known, slow, unknown) = (Module::new(20, 0), Module::new(24, 0), Module::new(21, 0));
        let parts = Parts::start(stage, namespace, Some(slow)).await?;
        let lock = json!({"redis": {
            "address": parts.redis.endpoint(), "tls": "Disabled", "credentialsSecretRef": {"name": "redis"},
        }});
        parts.apply(stage, &lock).await?;
        let address = service_address(stage, namespace).await?;
        ensure!(ask(&address, &known.zip(), PATIENT).await?.0 == 200, "the first fetch failed");

        let path = slow.zip();
        told(stage, namespace, "LockReady", "True", "Available", Duration::from_mins(1)).await?;
        let (during, killed) = tokio::join!(ask(&address, &path, PATIENCE), parts.kill_redis_while_it_locks(slow));
        killed?;
        stage.progress.note(format!("  a fetch whose lock was lost is answered with {}", during?.0));
        let (status, _) = ask(&address, &path, PATIENT).await?;
        ensure!(status == 200, "what was fetched while Redis was lost is answered with {status}");
        let (status, _) = ask(&address, &known.zip(), PATIENT).await?;
        ensure!(status == 200, "without Redis, what is stored is answered with {status}");
        let (status, _) = ask(&address, &unknown.zip(), PATIENCE).await?;
        ensure!(status >= 500, "without Redis, a miss is answered with {status}");

        let message = told(stage, namespace, "LockReady", "False", "LockUnavailable", Duration::from_mins(1)).await?;
        stage.progress.note(format!("  {message}"));
        ensure!(message.contains(&parts.redis.endpoint()), "Redis is not named: {message}");
        let fleet = stage.fleets(namespace).get(FLEET).await?;
        ensure!(holds(&fleet, "Ready") == Some(true), "without Redis the fleet is not ready");

        parts.a_start_without_redis_is_told_of(stage).await?;
        ensure!(ask(&address, &known.zip(), PATIENT).await?.0 == 200, "the proxy that is left does not serve");
        parts.redis.server.start_again().await?;
        until("misses work again", Duration::from_secs(60), || async {
            Ok((ask(&address, &unknown.zip(), PATIENCE).await?.0 == 200).then_some(()))
        })
        .await?;
        told(stage, namespace, "LockReady", "True", "Available", Duration::from_mins(1)).await?;
        stage.wait_settled(namespace, FLEET).await?;
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

/// The bucket of a fleet that serves hangs: nothing in its pods' states tells why they are not ready, and yet the status names the
/// field, and says neither that pods start nor that somebody has to change the fleet. With the bucket back, they serve by
/// themselves.
pub fn a_lost_bucket_is_told_of(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let namespace = "story-lost-bucket";
        let parts = Parts::start(stage, namespace, None).await?;
        parts.apply(stage, &json!({"inProcess": {}})).await?;
        let began = Instant::now();
        parts.bucket.server.pause()?;
        let told = |fleet: &goproxy_operator::api::go_proxy::GoProxy| {
            condition(fleet, "Ready").is_some_and(|ready| ready.status == "False" && ready.reason == "NotReady")
        };
        let what = "the status says that a fleet without its bucket serves nobody";
        // The kubelet asks every quarter minute, waits ten seconds for the answer, and believes the second no.
        let fleet = stage.wait_fleet(namespace, FLEET, what, Duration::from_mins(2), told).await?;
        stage.progress.note(format!("  a lost bucket is told of after {:.1} s", began.elapsed().as_secs_f64()));
        let message = condition(&fleet, "Ready").map(|ready| ready.message.as_str()).unwrap_or_default();
        ensure!(message.contains("spec.storage.s3"), "{message}");
        let others = [holds(&fleet, "Reconciling"), holds(&fleet, "Stalled")];
        ensure!(others == [Some(false); 2], "Reconciling and Stalled are {others:?}");
        parts.bucket.server.resume()?;
        stage.wait_settled(namespace, FLEET).await?;
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

/// What a fleet on a bucket needs.
pub(super) struct Parts {
    namespace: &'static str,
    origin: Origin,
    pub(super) bucket: bucket::Bucket,
    redis: redis::Redis,
    sentinel: sentinel::Sentinel,
    pub(super) etcd: etcd::Etcd,
}

impl Parts {
    pub(super) async fn start(stage: &Stage, namespace: &'static str, slow: Option<Module>) -> Result<Self> {
        let cluster = &stage.cluster;
        let parts = Self {
            namespace,
            origin: Origin::start_with(stage, namespace, slow.map(|module| (module, 2048))).await?,
            bucket: bucket::start(cluster).await?,
            redis: redis::start(cluster).await?,
            sentinel: sentinel::start(cluster).await?,
            etcd: etcd::start(cluster).await?,
        };
        let bundle = [parts.origin.authority(stage).await?, parts.redis.ca_pem.clone()].concat();
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), namespace);
        let map = json!({"metadata": {"name": "bundle"}, "data": {"ca.crt": bundle}});
        maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
        let (redis, sentinel) = (&parts.redis, &parts.sentinel);
        for (name, data) in [
            (
                "s3",
                json!({"AWS_ACCESS_KEY_ID": parts.bucket.access_key, "AWS_SECRET_ACCESS_KEY": parts.bucket.secret_key}),
            ),
            ("redis", json!({"password": redis.password})),
            ("redis-user", json!({"password": redis.user_password})),
            ("sentinel", json!({"password": sentinel.password, "sentinelPassword": sentinel.sentinel_password})),
        ] {
            let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), namespace);
            let secret = json!({"metadata": {"name": name}, "stringData": data});
            secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
        }
        Ok(parts)
    }

    /// What nobody may read, as it is and as objects hold it.
    fn logins(&self) -> Vec<String> {
        let (redis, sentinel) = (&self.redis, &self.sentinel);
        let all = [
            &self.bucket.secret_key,
            &redis.password,
            &redis.user_password,
            &sentinel.password,
            &sentinel.sentinel_password,
        ];
        all.into_iter().flat_map(|one| [one.clone(), STANDARD.encode(one)]).collect()
    }

    /// Gives the fleet this lock, and waits until both proxies serve.
    pub(super) async fn apply(&self, stage: &Stage, lock: &Value) -> Result<()> {
        stage.apply_fleet(self.namespace, FLEET, self.spec(lock)?).await?;
        self.wait_for_both(stage).await
    }

    /// Two proxies on the bucket with this lock.
    pub(super) fn spec(&self, lock: &Value) -> Result<Value> {
        Ok(json!({
            "replicas": 2,
            "engine": {"fetchTimeout": "30s", "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}},
            "storage": {"s3": {
                "bucket": self.bucket.name, "region": self.bucket.region, "endpoint": self.bucket.endpoint(),
                "credentialsSecretRef": {"name": "s3"},
            }},
            "lock": lock,
            "upstream": self.origin.upstream("bundle")?,
            "rollout": {"scaleDownDelay": "0s"},
        }))
    }

    /// Waits until the fleet is settled and has its two proxies.
    pub(super) async fn wait_for_both(&self, stage: &Stage) -> Result<()> {
        stage.wait_settled(self.namespace, FLEET).await?;
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), self.namespace);
        let ready = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
        };
        until("two proxies are ready and no other is left", Duration::from_mins(2), || async {
            let found = pods.list(&ListParams::default().labels("goproxy.rs/fleet=corp")).await?.items;
            Ok((found.len() == 2 && found.iter().all(ready)).then_some(()))
        })
        .await
    }

    /// All clients at once; how many fetches reached the origin.
    pub(super) async fn ask_cold(&self, stage: &Stage, module: Module) -> Result<usize> {
        let address = service_address(stage, self.namespace).await?;
        let path = module.zip();
        let answers = join_all((0..CLIENTS).map(|_| ask(&address, &path, PATIENCE))).await;
        let mut bodies = std::collections::BTreeSet::new();
        for answer in answers {
            let (status, body) = answer?;
            ensure!(status == 200, "a client got {status}: {body}");
            bodies.insert(body);
        }
        ensure!(bodies.len() == 1, "clients got {} different answers", bodies.len());
        self.fetches(stage, module).await
    }

    /// How often the origin gave a module's zip out.
    pub(super) async fn fetches(&self, stage: &Stage, module: Module) -> Result<usize> {
        let asked = self.origin.requests(stage).await?;
        // A go command escapes the mark of a capital letter.
        let is_it = |asked: &str| asked.replace("%21", "!") == module.zip();
        Ok(asked.iter().filter(|request| request.status == 200 && is_it(&request.path)).count())
    }

    /// Waits until a proxy holds the lock of a module, and kills Redis then.
    async fn kill_redis_while_it_locks(&self, module: Module) -> Result<()> {
        let login = Some((self.redis.user.as_str(), self.redis.user_password.as_str()));
        let held = format!("EXISTS {}@{}", module.path(), module.version());
        until("a proxy holds the lock", Duration::from_secs(20), || async {
            Ok((self.redis.commands(login, false, &held).await?.lines().last() == Some("1")).then_some(()))
        })
        .await?;
        self.redis.server.kill().await
    }

    /// Deletes one of the proxies and waits for what the status says of its successor.
    async fn a_start_without_redis_is_told_of(&self, stage: &Stage) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), self.namespace);
        let found = pods.list(&ListParams::default().labels("goproxy.rs/fleet=corp")).await?.items;
        let name = found.first().and_then(|pod| pod.metadata.name.as_deref()).context("the fleet has no pod")?;
        pods.delete(name, &DeleteParams::default()).await?;
        let stalled = |fleet: &goproxy_operator::api::go_proxy::GoProxy| {
            condition(fleet, "Stalled").is_some_and(|stalled| stalled.status == "True" && stalled.reason == "CrashLoop")
        };
        let what = "the status says why a proxy does not start";
        let fleet = stage.wait_fleet(self.namespace, FLEET, what, Duration::from_mins(2), stalled).await?;
        let told = condition(&fleet, "Stalled").context("the condition just seen is gone")?;
        ensure!(told.message.contains("connection refused"), "of a lost Redis it is told: {}", told.message);
        ensure!(!told.message.contains(&self.redis.password), "the password is told");
        stage.progress.note(format!("  a start without Redis: {}", told.message));
        Ok(())
    }

    pub(super) async fn close(self, stage: &Stage) -> Result<()> {
        stage.abandon(self.namespace).await?;
        self.bucket.server.close().await?;
        self.redis.server.close().await?;
        self.sentinel.close().await?;
        self.etcd.server.close().await
    }
}
