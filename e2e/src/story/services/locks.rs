//! Who may fetch a module, of several pods that want to: Redis, Redis with a sentinel, etcd.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::super::{Stage, Telling};
use super::{Before, refused};
use crate::service::{etcd, redis, sentinel};

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
