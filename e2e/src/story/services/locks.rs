//! Who may fetch a module, of several pods that want to: Redis, Redis with a sentinel, a cluster of Redis, etcd.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams};
use serde_json::json;

use super::super::{
    Stage, Telling,
    serving::{PATIENT, ask, service_address},
};
use super::{Before, fleets, refused};
use crate::cluster::until;
use crate::origin::generated::Module;
use crate::service::{etcd, redis, redis_cluster, sentinel};

/// Both users and both addresses work; no password, a wrong one, and a server that hangs do not.
pub fn redis_lets_in_who_has_a_password(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let redis = redis::start(&stage.cluster).await?;
        let default = ("default", redis.password.as_str());
        let user = (redis.user.as_str(), redis.user_password.as_str());
        redis.round_trip(default, false, "one").await?;
        redis.round_trip(default, true, "two").await?;
        redis.round_trip(user, false, "three").await?;
        redis.round_trip(user, true, "four").await?;
        let answer = redis.commands(None, false, "GET one").await?;
        ensure!(answer.contains("NOAUTH"), "without a password: {answer:?}");
        let answer = redis.commands(Some((&redis.user, &redis.password)), true, "GET one").await?;
        ensure!(answer.contains("WRONGPASS"), "with somebody else's password: {answer:?}");

        redis.server.pause()?;
        let asked = tokio::time::timeout(Duration::from_millis(500), redis.round_trip(default, false, "five")).await;
        ensure!(asked.is_err(), "a server that hangs answered");
        redis.server.resume()?;
        redis.round_trip(default, false, "six").await?;
        redis.server.kill().await?;
        refused(redis.round_trip(default, false, "seven").await, "a client of a server that is gone")?;
        redis.server.start_again().await?;
        redis.round_trip(default, false, "one").await.context("it did not forget what it held")?;
        redis.server.close().await?;
        before.expect_only(&stage.cluster)
    })
}

/// What was written is still there after the primary was lost, at another port.
pub fn a_sentinel_fails_over(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let set = sentinel::start(&stage.cluster).await?;
        let old = set.primary().await?;
        let answer = set.on_primary("SET lock held\nWAIT 1 5000").await?;
        ensure!(answer == "OK\n1\n", "the replica did not take the write: {answer:?}");
        let start = std::time::Instant::now();
        set.fail_over().await?;
        stage.progress.note(format!("  the replica took over after {} ms", start.elapsed().as_millis()));
        ensure!(set.primary().await? != old, "the primary is the old one");
        let answer = set.on_primary("GET lock").await?;
        ensure!(answer == "held\n", "the new primary holds {answer:?}");
        set.start_replica().await?;
        set.kill_sentinel().await?;
        refused(set.primary().await, "a question to a sentinel that is gone")?;
        set.start_sentinel().await?;
        ensure!(set.primary().await? != old, "the sentinel forgot the failover");
        set.close().await?;
        before.expect_only(&stage.cluster)
    })
}

/// Two proxies, and a lock that is spread over three servers: of many clients that ask for a cold module none makes a second fetch,
/// whichever server has its lock. With one server lost what is stored is served, misses fail, and come again with it.
pub fn a_cluster_of_redis_locks_for_a_fleet(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let namespace = "story-redis-cluster";
        let parts = fleets::Parts::start(stage, namespace, None).await?;
        let redis = redis_cluster::start(&stage.cluster).await?;
        let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), namespace);
        let secret = json!({"metadata": {"name": "cluster"}, "stringData": {"password": redis.password}});
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
        let lock = json!({"redis": {
            "cluster": {"addresses": redis.endpoints()}, "tls": "Disabled", "username": redis.user,
            "credentialsSecretRef": {"name": "cluster"},
        }});
        parts.apply(stage, &lock).await?;
        // Six names: that all of their locks are at one server does not happen.
        for index in 30..36 {
            let fetches = parts.ask_cold(stage, Module::new(index, 0)).await?;
            ensure!(fetches == 1, "{fetches} fetches of module {index} reached the origin");
        }
        let locked = redis.locked().await?;
        stage.progress.note(format!("  1 fetch each of 6 modules; locks taken or tried, by server: {locked:?}"));
        ensure!(locked.iter().filter(|count| **count > 0).count() > 1, "one server has all locks: {locked:?}");

        redis.kill_one().await?;
        let address = service_address(stage, namespace).await?;
        let unknown = Module::new(36, 0).zip();
        until("a miss fails without one of the servers", Duration::from_mins(1), || async {
            Ok((ask(&address, &unknown, PATIENT).await?.0 >= 500).then_some(()))
        })
        .await?;
        let (status, _) = ask(&address, &Module::new(30, 0).zip(), PATIENT).await?;
        ensure!(status == 200, "what is stored is answered with {status}");
        redis.start_it_again().await?;
        until("misses work again", Duration::from_mins(1), || async {
            Ok((ask(&address, &Module::new(37, 0).zip(), PATIENT).await?.0 == 200).then_some(()))
        })
        .await?;
        parts.close(stage).await?;
        redis.close().await?;
        before.expect_only(&stage.cluster)
    })
}

/// The second waits until the first gives the lock back, also across a crash of the server.
pub fn etcd_gives_a_lock_to_one(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let etcd = etcd::start(&stage.cluster).await?;
        let name = "git.invalid/lib@v1.0.0";
        let first = etcd.lock(name).await?;
        let mut second = Box::pin(etcd.lock(name));
        let queued = crate::cluster::until("the second one waits", Duration::from_secs(10), || async {
            Ok((etcd.contenders(name).await? == 2).then_some(()))
        });
        tokio::select! {
            queued = queued => queued?,
            got = &mut second => anyhow::bail!("two have the lock: {got:?}"),
        }
        etcd.unlock(&first).await?;
        let second = second.await?;
        ensure!(second != first, "one key stands for both");
        etcd.server.kill().await?;
        etcd.server.start_again().await?;
        ensure!(etcd.contenders(name).await? == 1, "the lock did not outlive the server");
        etcd.unlock(&second).await?;
        ensure!(etcd.contenders(name).await? == 0, "the lock was not given back");
        etcd.server.close().await?;
        before.expect_only(&stage.cluster)
    })
}
