//! The stories that need the whole machine: kubelet, containers, volumes, Athens, a go client.

use std::time::Duration;

use anyhow::Result;

use super::{Stage, Story, adopt, behind_edge, download, edge_under_load, engines, policy, serving, troubles};
use crate::{
    cluster::until,
    image::{self, Image},
    operator,
    progress::Progress,
};

/// In the order in which they are told.
pub const ALL: &[Story] = &[
    Story { name: "the chart's own test passes", tell: serving::the_chart_tests_itself },
    Story { name: "the smallest fleet serves from its volume", tell: serving::the_smallest_fleet_serves },
    Story { name: "pods pass Pod Security restricted", tell: serving::pods_are_restricted },
    Story {
        name: "only the proxy's port is open, and services of the node are out of reach",
        tell: policy::only_the_port_is_open,
    },
    Story {
        name: "downloads are verified, and served by Athens with the origin unplugged",
        tell: download::downloads_are_verified_then_served_without_the_origin,
    },
    Story {
        name: "goproxy verifies downloads, and gives them back with the origin unplugged",
        tell: engines::goproxy_serves_without_the_origin,
    },
    Story { name: "a fleet changes its engine and back", tell: engines::a_fleet_changes_its_engine_and_back },
    Story {
        name: "an edge keeps what clients download, and serves it without a proxy",
        tell: behind_edge::an_edge_keeps_what_clients_download,
    },
    Story {
        name: "clients of an edge lose nothing while it changes and what is around it is away",
        tell: edge_under_load::clients_of_an_edge_lose_nothing,
    },
    Story { name: "private modules are never asked for at an origin", tell: download::private_modules_stay_private },
    Story { name: "the autoscaler reads its metric", tell: serving::the_autoscaler_reads_its_metric },
    Story { name: "a change loses no request where revisions overlap", tell: serving::a_change_loses_no_request },
    Story { name: "two writers never share a disk", tell: serving::two_writers_never_share_a_disk },
    Story { name: "Athens is upgraded and taken back", tell: serving::athens_is_upgraded_and_taken_back },
    Story { name: "what keeps a fleet down is named", tell: troubles::what_keeps_a_fleet_down_is_named },
    Story {
        name: "a bad change leaves the last good one serving",
        tell: troubles::a_bad_change_leaves_the_last_good_one_serving,
    },
    Story {
        name: "a bad change on a disk is undone by the old spec",
        tell: troubles::a_bad_change_on_a_disk_is_undone_by_the_old_spec,
    },
    Story {
        name: "the volume of an Athens by hand is taken over",
        tell: adopt::a_volume_of_an_athens_by_hand_is_taken_over,
    },
    Story {
        name: "a missing ConfigMap is named, and its arrival mends it",
        tell: troubles::a_missing_config_map_is_named,
    },
];

/// What the stories run in pods, besides the operator.
pub const IMAGES: [Image; 6] =
    [Image::Athens, Image::Athens0180, Image::Goproxy, Image::Edge, Image::Origin, Image::Busybox];

/// Loads the images and installs the operator.
pub async fn prepare(stage: &Stage, progress: &Progress) -> Result<()> {
    for image in IMAGES {
        stage.cluster.import(&image::archive(image, progress)?).await?;
    }
    operator::deploy(&stage.cluster, &stage.repo, &[], progress).await?;
    let fleets = stage.fleets("default");
    until("fleets are served", Duration::from_secs(30), || async {
        Ok(fleets.list(&kube::api::ListParams::default()).await.ok())
    })
    .await
    .map(drop)
}
