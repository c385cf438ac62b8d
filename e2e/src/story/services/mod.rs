//! The services of the lab are what fleets will meet: each is used by a client that it was made for, with good and with
//! bad credentials, is taken away and given back, and leaves nothing when it is closed.

mod autoscaling;
mod backends;
mod etcd_outage;
mod fleets;
mod git;
mod inside;
mod kept_locks;
mod load;
mod locks;
mod own_redis;
mod ownership;
mod private;
mod search;
mod storage;
mod volumes;
mod way_out;

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::go_proxy::GoProxy;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};

use super::{Stage, Story};
use crate::cluster::{Cluster, until};
use crate::image::{self, Image};
use crate::operator;
use crate::progress::Progress;
use crate::service;

/// In the order in which they are told, in every run.
pub const SHORT: &[Story] = &[
    Story { name: "a bucket keeps what a signed request stored", tell: storage::a_bucket_keeps_objects },
    Story { name: "two pods write to one volume", tell: storage::two_pods_write_to_one_volume },
    Story { name: "Redis lets in who has a password", tell: locks::redis_lets_in_who_has_a_password },
    Story { name: "a sentinel names another primary when the first is lost", tell: locks::a_sentinel_fails_over },
    Story { name: "etcd gives a lock to one at a time", tell: locks::etcd_gives_a_lock_to_one },
    Story { name: "a Git server lets in who has credentials", tell: git::a_server_lets_in_who_has_credentials },
    Story { name: "a go command in a pod gets private modules", tell: git::a_go_command_gets_private_modules },
    Story {
        name: "private code needs no login at the client",
        tell: private::private_code_needs_no_login_at_the_client,
    },
    Story {
        name: "private code: a login changes under load and is written nowhere",
        tell: private::a_login_changes_under_load,
    },
    Story {
        name: "private code: the way out is taken by go and git",
        tell: private::the_way_out_is_taken_by_go_and_git,
    },
    Story { name: "a Redis that comes along locks for its fleet alone", tell: own_redis::it_locks_for_its_fleet_alone },
    Story { name: "load brings a second proxy by the autoscaler", tell: autoscaling::load_brings_a_second_proxy },
    Story { name: "a bucket and a volume have one fleet each", tell: ownership::a_place_has_one_fleet },
    Story { name: "a volume grows, and one that is left is named", tell: volumes::it_grows_and_is_named_when_left },
    Story { name: "a full volume serves what it has", tell: volumes::full_it_serves_what_it_has },
    Story { name: "the way out leads through a proxy that writes down", tell: storage::the_way_out_is_written_down },
    Story {
        name: "a volume is told of before it is full, and heals",
        tell: inside::a_volume_is_told_of_before_it_is_full,
    },
];

/// Those that wait long for clocks of others: lock times and probes. They are told when the tier is named.
pub const LONG: &[Story] = &[
    Story { name: "with each lock one cold module is fetched once", tell: fleets::one_fetch_with_each_lock },
    Story {
        name: "without its lock a fleet serves what it has, and recovers",
        tell: fleets::a_lost_lock_costs_misses_only,
    },
    Story { name: "without its bucket a fleet says that it serves nobody", tell: fleets::a_lost_bucket_is_told_of },
    Story { name: "modules are kept at Google", tell: backends::modules_are_kept_at_google },
    Story { name: "modules are kept in MongoDB", tell: backends::modules_are_kept_in_mongodb },
    Story {
        name: "modules are kept by the client for MinIO",
        tell: backends::modules_are_kept_by_the_client_for_minio,
    },
    Story {
        name: "modules are kept by a service of one's own",
        tell: backends::modules_are_kept_by_a_service_of_one_s_own,
    },
    Story { name: "Azure is asked at the account's address", tell: backends::azure_is_asked_at_the_account_s_address },
    Story { name: "a cluster of Redis locks for a fleet", tell: locks::a_cluster_of_redis_locks_for_a_fleet },
    Story {
        name: "without etcd a fleet serves what it has, and recovers",
        tell: etcd_outage::a_lost_etcd_costs_misses_only,
    },
    Story { name: "a Redis with a volume keeps its locks", tell: kept_locks::they_outlive_its_pod },
    Story { name: "a login that ends is told of, and mended", tell: inside::a_login_that_ends_is_told_of },
    Story { name: "goproxy takes the way out", tell: way_out::goproxy_takes_the_way_out },
    Story { name: "the way out wants a login", tell: way_out::the_way_out_wants_a_login },
];

/// Loads the images that clients run in. The programs of the services are there already.
pub async fn prepare(stage: &Stage, progress: &Progress) -> Result<()> {
    for image in [Image::Athens, Image::Origin, Image::Redis] {
        stage.cluster.import(&image::archive(image, progress)?).await?;
    }
    operator::deploy(&stage.cluster, &stage.repo, &[], progress).await.map(drop)
}

/// What is on the stage before a story.
pub struct Scene {
    parts: Before,
    namespaces: BTreeSet<String>,
}

impl Scene {
    /// As it is now.
    pub async fn of(stage: &Stage) -> Result<Self> {
        Ok(Self { parts: Before::of(&stage.cluster), namespaces: namespaces(stage).await? })
    }

    /// Takes away what a story that failed left behind, so that the next one fails for its own reasons alone: it would meet the
    /// services under their names, and fleets that have the bucket.
    pub async fn restore(&self, stage: &Stage) -> Result<()> {
        let all: Api<Namespace> = Api::all(stage.client.clone());
        let mut left = namespaces(stage).await?;
        left.retain(|name| !self.namespaces.contains(name) && name != service::NAMESPACE);
        for name in &left {
            all.delete(name, &DeleteParams::background()).await.with_context(|| format!("delete namespace {name}"))?;
        }
        let fleets: Api<GoProxy> = Api::all(stage.client.clone());
        until("the fleets that are left go", Duration::from_mins(2), || async {
            let now = fleets.list(&ListParams::default()).await?.items;
            let gone = !now.iter().any(|fleet| fleet.namespace().is_some_and(|name| left.contains(&name)));
            Ok(gone.then_some(()))
        })
        .await?;
        for part in Before::of(&stage.cluster).0.difference(&self.parts.0) {
            match part.strip_prefix("services/") {
                Some(_) => fs::remove_dir_all(stage.cluster.directory().join(part)).with_context(|| part.clone())?,
                None => stage.cluster.remove(part).await.with_context(|| part.clone())?,
            }
        }
        Ok(())
    }
}

async fn namespaces(stage: &Stage) -> Result<BTreeSet<String>> {
    let all: Api<Namespace> = Api::all(stage.client.clone());
    let found = all.list(&ListParams::default()).await?.items;
    // What is being deleted was left in good order.
    let live = found.iter().filter(|one| one.metadata.deletion_timestamp.is_none());
    Ok(live.map(kube::ResourceExt::name_any).collect())
}

/// What a cluster had before a service came: its components and the services' directories.
#[derive(Debug, PartialEq, Eq)]
struct Before(BTreeSet<String>);

impl Before {
    fn of(cluster: &Cluster) -> Self {
        let directories = fs::read_dir(cluster.directory().join("services")).into_iter().flatten().flatten();
        let directories = directories.map(|entry| format!("services/{}", entry.file_name().to_string_lossy()));
        Self(cluster.components().into_iter().chain(directories).collect())
    }

    /// Fails unless the service is gone: its processes, its names and its files.
    fn expect_only(&self, cluster: &Cluster) -> Result<()> {
        let now = Self::of(cluster);
        ensure!(now == *self, "there was {:?} and there is {:?}", self.0, now.0);
        Ok(())
    }
}

/// Fails unless something failed, and returns why it did.
fn refused<T>(outcome: Result<T>, what: &str) -> Result<String> {
    match outcome {
        Ok(_) => anyhow::bail!("{what} was let in"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_service_has_a_story() {
        // The rooms that are declared, against the modules that the stories start.
        let rooms = include_str!("../../service/mod.rs").lines().filter_map(|line| line.strip_prefix("pub mod "));
        let told =
            [include_str!("backends.rs"), include_str!("git.rs"), include_str!("locks.rs"), include_str!("storage.rs")]
                .concat();
        for room in rooms.map(|line| line.trim_end_matches(';')) {
            assert!(told.contains(&format!("{room}::start(")), "no story starts {room}");
        }
    }
}
