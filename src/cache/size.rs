//! What is held, in bytes, by a walk over all of it: what was asked of the allocator. What the allocator itself adds, and
//! everything that is not the store, is the rest of the process's memory.

use std::{mem::size_of, sync::Arc};

use super::{
    FleetKey,
    decode::Detail,
    kept::{Child, Entry, Fleet, KeptPod},
};
use crate::{
    api::{
        go_proxy::GoProxy,
        status::{EffectiveDefault, GoProxyStatus, RegionStatus, RevisionStatus},
    },
    plan::{
        DeploymentView, Lead, Pod, StatefulSetView,
        edge::EdgeStateView,
        sight::{Answer, Bucket, Sight},
        volume::ClaimView,
    },
    sidecar::config::Owner,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Two counters stand before what is shared.
const SHARED: usize = 2 * size_of::<usize>();

/// Bytes held, by what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Names, and the entries found by them.
    pub index: usize,
    /// Fleets: metadata and spec. What a spec has on the heap is taken to be as long as its text.
    pub fleets: usize,
    /// Their statuses.
    pub statuses: usize,
    /// Children, without what their revisions are made of.
    pub children: usize,
    /// What revisions are made of.
    pub revision_texts: usize,
    /// Pods.
    pub pods: usize,
}

impl Bytes {
    /// Of all that is held of one fleet.
    pub(super) fn add(&mut self, key: &FleetKey, entry: &Entry) {
        self.index += size_of::<(FleetKey, Entry)>() + shared(&key.namespace) + shared(&key.name);
        self.index += entry.obstacles.iter().map(|one| one.message.len() + size_of_val(one)).sum::<usize>();
        if let Some(fleet) = &entry.fleet {
            self.add_fleet(fleet);
        }
        self.children += entry.children.capacity() * size_of::<Child>();
        // The owner's uid is shared by all of them.
        self.children += entry.children.iter().find_map(|child| child.owner.as_ref()).map_or(0, |one| shared(&one.0));
        entry.children.iter().for_each(|child| self.add_child(child));
        self.pods += entry.pods.capacity() * size_of::<KeptPod>();
        self.pods += entry.pods.iter().map(kept_pod).sum::<usize>();
    }

    /// Each part with its name.
    pub const fn parts(&self) -> [(&'static str, usize); 6] {
        [
            ("index", self.index),
            ("fleets", self.fleets),
            ("statuses", self.statuses),
            ("children", self.children),
            ("revision_texts", self.revision_texts),
            ("pods", self.pods),
        ]
    }

    fn add_fleet(&mut self, fleet: &Fleet) {
        self.fleets += fleet.uid.len() + fleet.resource_version.len();
        match &fleet.read {
            Ok(read) => {
                self.fleets +=
                    SHARED + size_of::<GoProxy>() - size_of::<Option<GoProxyStatus>>() + metadata_and_spec(read);
                self.statuses += size_of::<Option<GoProxyStatus>>() + read.status.as_ref().map_or(0, status);
            }
            Err(why) => self.fleets += shared(why),
        }
    }

    fn add_child(&mut self, child: &Child) {
        self.children += child.name.len() + child.uid.len() + child.resource_version.len();
        match &child.detail {
            Detail::None | Detail::Text { .. } | Detail::NetworkPolicy { .. } => {}
            Detail::Revision { data, .. } => self.revision_texts += shared(data),
            Detail::Deployment(view) => {
                self.children += size_of::<DeploymentView>() + optional(view.replica_failure.as_ref());
            }
            Detail::Service(lead) => self.children += size_of::<Lead>() + optional(lead.revision.as_ref()),
            Detail::StatefulSet(view) => self.children += size_of::<StatefulSetView>() + optional(view.login.as_ref()),
            // What it holds on the heap is taken to be as long as its text.
            Detail::EdgeState(view) => {
                let spec = serde_json::to_vec(&view.spec).map_or(0, |text| text.len());
                let edges = serde_json::to_vec(&view.edges).map_or(0, |text| text.len());
                self.children += size_of::<EdgeStateView>() + spec + edges;
            }
            Detail::Claim(view) => self.children += size_of::<ClaimView>() + optional(view.phase.as_ref()),
        }
    }
}

fn shared(text: &Arc<str>) -> usize {
    SHARED + text.len()
}

fn optional(text: Option<&String>) -> usize {
    text.map_or(0, String::capacity)
}

fn metadata_and_spec(fleet: &GoProxy) -> usize {
    let metadata = &fleet.metadata;
    let texts = [&metadata.name, &metadata.namespace, &metadata.uid, &metadata.resource_version];
    let labels = metadata.labels.iter().chain(&metadata.annotations).flatten();
    let spec = serde_json::to_vec(&fleet.spec).map_or(0, |text| text.len());
    texts.into_iter().map(|text| optional(text.as_ref())).sum::<usize>()
        + labels.map(|(key, value)| 2 * size_of::<String>() + key.capacity() + value.capacity()).sum::<usize>()
        + spec
}

fn status(status: &GoProxyStatus) -> usize {
    let GoProxyStatus { summary, version, selector, conditions, client, effective, regions, .. } = status;
    let condition =
        |one: &Condition| one.type_.capacity() + one.status.capacity() + one.reason.capacity() + one.message.capacity();
    let client =
        client.as_ref().map_or(0, |one| one.goproxy.capacity() + one.gosumdb.capacity() + one.gonosumdb.capacity());
    [summary, version, selector].into_iter().map(|text| optional(text.as_ref())).sum::<usize>()
        + conditions.capacity() * size_of::<Condition>()
        + conditions.iter().map(condition).sum::<usize>()
        + client
        + effective.capacity() * size_of::<EffectiveDefault>()
        + effective.iter().map(|one| one.field.capacity() + one.value.capacity()).sum::<usize>()
        + regions.capacity() * size_of::<RegionStatus>()
        + regions.iter().map(region).sum::<usize>()
}

fn region(region: &RegionStatus) -> usize {
    region.name.capacity()
        + region.revisions.capacity() * size_of::<RevisionStatus>()
        + region.revisions.iter().map(|one| one.name.capacity() + one.version.capacity()).sum::<usize>()
}

fn kept_pod(kept: &KeptPod) -> usize {
    kept.uid.len() + kept.pod.as_ref().map_or(0, pod) + kept.sight.as_deref().map_or(0, sight)
}

fn sight(sight: &Sight) -> usize {
    let Sight { room: _, locks, logins, bucket } = sight;
    let answer = |(name, answer): &(String, Answer)| {
        let error = if let Answer::No { error, .. } = answer { error.capacity() } else { 0 };
        name.capacity() + error
    };
    let owner = |bucket: &Bucket| match bucket {
        Bucket::Own => 0,
        Bucket::Shared(owner) => {
            let Owner { cluster, namespace, name, uid } = &**owner;
            size_of::<Owner>() + [cluster, namespace, name, uid].map(String::capacity).iter().sum::<usize>()
        }
    };
    SHARED
        + size_of::<Sight>()
        + (locks.capacity() + logins.capacity()) * size_of::<(String, Answer)>()
        + locks.iter().chain(logins).map(answer).sum::<usize>()
        + bucket.as_ref().map_or(0, owner)
}

fn pod(pod: &Pod) -> usize {
    let Pod { name, revision, unschedulable, waiting, terminated, .. } = pod;
    name.capacity()
        + revision.capacity()
        + optional(unschedulable.as_ref())
        + waiting.as_ref().map_or(0, |(reason, message)| reason.capacity() + message.capacity())
        + terminated.as_ref().map_or(0, |(_, message)| message.capacity())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        cache::{decode::Seen, store::Store},
        plan::object::Kind,
    };

    #[test]
    fn what_is_put_in_is_counted_where_it_belongs() {
        let store = Store::default();
        assert_eq!(store.bytes(), Bytes::default());
        let text = "x".repeat(10_000);
        let metadata = |name: &str| json!({ "name": name, "namespace": "ns", "uid": name, "resourceVersion": "1", "labels": { "goproxy.rs/fleet": "a" } });
        store.put_child(
            Kind::ControllerRevision,
            &Seen::new(json!({ "metadata": metadata("r"), "data": text, "revision": 1 })),
        );
        let revision = store.bytes();
        assert!((10_000..10_100).contains(&revision.revision_texts), "{revision:?}");
        store.put_child(Kind::ConfigMap, &Seen::new(json!({ "metadata": metadata("c"), "data": { "a": text } })));
        let config = store.bytes();
        assert_eq!(config.revision_texts, revision.revision_texts, "the content of a ConfigMap is not kept");
        assert!(config.children > revision.children && config.children < 5_000, "{config:?}");
        store.put_pod(&Seen::new(json!({ "metadata": metadata("p") })));
        assert!(store.bytes().pods > 0 && store.bytes().fleets == 0);
        let spec = json!({ "metadata": metadata("a"), "spec": {}, "status": { "summary": text } });
        store.put_fleet(serde_json::from_value(spec).unwrap());
        let all = store.bytes();
        assert!(all.statuses >= 10_000 && all.fleets < 5_000, "{all:?}");
        assert_eq!(all.parts().iter().map(|(_, bytes)| bytes).filter(|bytes| **bytes == 0).count(), 0);
    }
}
