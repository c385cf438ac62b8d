//! One watch and nothing else: its own stream, its own back-off, its own state for readiness. A watch that fails slows
//! no other, and what it brings goes straight into the store.

use std::{fmt::Debug, pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use kube::{
    Api, Client, Resource,
    core::Status,
    runtime::watcher::{self, Event, InitialListStrategy, watcher},
};
use serde::de::DeserializeOwned;

use super::{
    FleetKey, Source,
    decode::{Seen, SeenFleet},
    secrets::{SeenSecret, WATCHED},
    store::Store,
    watch::Watch,
};
use crate::{
    api::GROUP,
    backoff::{Backoff, chance},
    controller::queue::Queue,
    health::Health,
    metrics::Metrics,
    plan::object::FLEET_LABEL,
};

/// A child that is gone is most often gone with its fleet, and the garbage collector is faster than the fleet's own
/// watch: repairing at once would make anew what has to go. Short enough that nobody waits for a repair.
const CHILD_GONE_PAUSE: Duration = Duration::from_millis(100);

/// Where a pump puts what it gets.
#[derive(Clone)]
pub struct Sinks {
    /// The store.
    pub store: Arc<Store>,
    /// The fleets to look at again.
    pub queue: Arc<Queue>,
    /// What readiness tells.
    pub health: Arc<Health>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Watch {
    /// Runs until the process ends, from the start whenever lists are asked for. Every error is waited out.
    pub async fn run(self, client: Client, sinks: Sinks) {
        let mut rounds = sinks.health.rounds();
        let mut round = 0;
        while let Ok(asked) = rounds.wait_for(|asked| *asked > round).await.map(|asked| *asked) {
            round = asked;
            tokio::select! {
                () = self.follow(client.clone(), &sinks, round) => return,
                _ = rounds.wait_for(|asked| *asked > round) => {}
            }
        }
    }

    /// Lists, and follows what changes. Never returns.
    async fn follow(&self, client: Client, sinks: &Sinks, round: u64) {
        match self.source {
            Source::Fleets => {
                let api: Api<SeenFleet> = match &self.namespace {
                    Some(namespace) => Api::namespaced(client, namespace),
                    None => Api::all(client),
                };
                self.pump(api, sinks, |pump, event| pump.take_fleet(sinks, event, round)).await;
            }
            Source::Secrets => {
                // Never of all namespaces: see `Watch::secrets`.
                let Some(namespace) = &self.namespace else { return std::future::pending().await };
                let api: Api<SeenSecret> = Api::namespaced(client, namespace);
                self.pump(api, sinks, |pump, event| pump.take_secret(sinks, event, round)).await;
            }
            Source::Children(_) | Source::Pods => {
                let resource = self.source.resource();
                let api: Api<Seen> = match &self.namespace {
                    Some(namespace) => Api::namespaced_with(client, namespace, &resource),
                    None => Api::all_with(client, &resource),
                };
                self.pump(api, sinks, |pump, event| pump.take_seen(sinks, event, round)).await;
            }
        }
    }

    fn config(&self, streaming: bool) -> watcher::Config {
        let config = watcher::Config {
            initial_list_strategy: if streaming {
                InitialListStrategy::StreamingList
            } else {
                InitialListStrategy::ListWatch
            },
            ..watcher::Config::default()
        };
        match self.source {
            Source::Fleets => config,
            Source::Secrets => config.fields(WATCHED),
            Source::Children(_) | Source::Pods => config.labels(FLEET_LABEL),
        }
    }

    /// Streams the list where the server can, since that costs neither side a copy of it, and pages where it cannot.
    async fn pump<K, T>(&self, api: Api<K>, sinks: &Sinks, take: T)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        T: Fn(&Self, Event<K>),
    {
        self.drain(watcher(api.clone(), self.config(true)), sinks, &take, cannot_stream).await;
        tracing::info!(watch = %self, "the server does not stream lists: paging");
        self.drain(watcher(api, self.config(false)), sinks, &take, |_| false).await;
    }

    /// Takes events until an error says that this stream leads nowhere.
    async fn drain<K>(
        &self,
        stream: impl Stream<Item = watcher::Result<Event<K>>>,
        sinks: &Sinks,
        take: &impl Fn(&Self, Event<K>),
        give_up: impl Fn(&watcher::Error) -> bool,
    ) {
        let mut stream = pin!(stream);
        let mut failures = 0;
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => {
                    // A server that ends each list at once sends no error: begun and not done counts as one.
                    self.pause(failures).await;
                    failures += 1;
                    sinks.metrics.watch_started(self.source);
                    take(self, Event::Init);
                }
                Ok(event) => {
                    if failures > 0 && !matches!(event, Event::InitApply(_)) {
                        failures = 0;
                        sinks.health.recovered(self);
                    }
                    take(self, event);
                }
                Err(error) if give_up(&error) => return,
                Err(error) => {
                    failures += 1;
                    self.report(sinks, &error);
                    self.pause(failures).await;
                }
            }
        }
    }

    async fn pause(&self, failures: u32) {
        if failures > 0 {
            tokio::time::sleep(Backoff::WATCH.pause(failures, chance())).await;
        }
    }

    fn report(&self, sinks: &Sinks, error: &watcher::Error) {
        sinks.metrics.watch_failed(self.source);
        let Some(reason) = trouble(self.source, error) else {
            tracing::info!(watch = %self, error = describe_watch(error), "watch interrupted, resuming");
            return;
        };
        if sinks.health.troubled(self, reason.clone()) {
            tracing::warn!(watch = %self, reason, "watch cannot go on");
        }
    }

    fn take_fleet(&self, sinks: &Sinks, event: Event<SeenFleet>, round: u64) {
        match event {
            Event::Init => sinks.store.begin(self.source, self.namespace.as_ref()),
            Event::InitApply(seen) | Event::Apply(seen) => sinks.queue.push_all(sinks.store.put_fleet(seen)),
            Event::Delete(seen) => sinks.queue.push_all(sinks.store.remove_fleet(&seen)),
            Event::InitDone => self.settle(sinks, round),
        }
        sinks.queue.push_all(sinks.store.take_woken());
    }

    fn take_seen(&self, sinks: &Sinks, event: Event<Seen>, round: u64) {
        match event {
            Event::Init => sinks.store.begin(self.source, self.namespace.as_ref()),
            Event::InitApply(seen) | Event::Apply(seen) => sinks.queue.push_all(self.put(sinks, &seen)),
            Event::Delete(seen) => {
                if let Some(key) = self.remove(sinks, &seen) {
                    sinks.queue.push_after(key, CHILD_GONE_PAUSE);
                }
            }
            Event::InitDone => self.settle(sinks, round),
        }
        sinks.queue.push_all(sinks.store.take_woken());
    }

    fn take_secret(&self, sinks: &Sinks, event: Event<SeenSecret>, round: u64) {
        match event {
            Event::Init => sinks.store.begin(self.source, self.namespace.as_ref()),
            Event::InitApply(seen) | Event::Apply(seen) => sinks.queue.push_all(sinks.store.put_secret(&seen)),
            Event::Delete(seen) => sinks.queue.push_all(sinks.store.remove_secret(&seen)),
            Event::InitDone => self.settle(sinks, round),
        }
    }

    fn put(&self, sinks: &Sinks, seen: &Seen) -> Vec<FleetKey> {
        match self.source {
            Source::Children(kind) => sinks.store.put_child(kind, seen),
            Source::Pods => sinks.store.put_pod(seen),
            Source::Fleets | Source::Secrets => Vec::new(),
        }
    }

    fn remove(&self, sinks: &Sinks, seen: &Seen) -> Option<FleetKey> {
        match self.source {
            Source::Children(kind) => sinks.store.remove_child(kind, seen.namespace(), seen.uid()),
            Source::Pods => sinks.store.remove_pod(seen.namespace(), seen.uid()),
            Source::Fleets | Source::Secrets => None,
        }
    }

    fn settle(&self, sinks: &Sinks, round: u64) {
        sinks.queue.push_all(sinks.store.settle(self.source, self.namespace.as_ref()));
        sinks.health.listed(self, round);
        tracing::debug!(watch = %self, "listed");
    }
}

/// Servers before 1.34 refuse a streamed list as invalid when the feature is off, and older ones as bad.
fn cannot_stream(error: &watcher::Error) -> bool {
    status_of(error)
        .is_some_and(|status| matches!(status.code, 400 | 422) && status.message.contains("sendInitialEvents"))
}

/// What a person must do about a watch's error. `None` for what passes by itself.
fn trouble(source: Source, error: &watcher::Error) -> Option<String> {
    let status = status_of(error)?;
    match (status.code, source) {
        (403, _) => Some(status.message.clone()),
        (404, _) if source.resource().group == GROUP => Some(format!(
            "the CustomResourceDefinition {}.{GROUP} is not installed: apply the files under crds/",
            source.plural()
        )),
        (404, _) => Some(format!("the API server does not serve {}", source.plural())),
        _ => None,
    }
}

/// What the API server said, if it is that which went wrong.
fn status_of(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::WatchError(status) => Some(status),
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => {
            if let kube::Error::Api(status) = cause {
                Some(status)
            } else {
                None
            }
        }
        watcher::Error::NoResourceVersion => None,
    }
}

/// In words: the library's own text repeats the whole answer.
fn describe_watch(error: &watcher::Error) -> String {
    status_of(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str) -> watcher::Error {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        watcher::Error::WatchStartFailed(kube::Error::Api(status.boxed()))
    }

    #[test]
    fn tells_a_missing_permission_and_a_missing_definition_by_name() {
        let message =
            "pods is forbidden: User \"u\" cannot watch resource \"pods\" in API group \"\" at the cluster scope";
        assert_eq!(trouble(Source::Pods, &refused(403, message)).as_deref(), Some(message));
        let missing = trouble(Source::Fleets, &refused(404, "404 page not found")).unwrap();
        assert!(missing.contains("goproxies.goproxy.rs is not installed"), "{missing}");
        let missing =
            trouble(Source::Children(crate::plan::object::Kind::EdgeState), &refused(404, "404 page not found"))
                .unwrap();
        assert!(missing.contains("edgestates.goproxy.rs is not installed"), "{missing}");
        assert_eq!(trouble(Source::Pods, &refused(500, "etcd leader changed")), None, "that passes by itself");
        assert_eq!(trouble(Source::Pods, &watcher::Error::NoResourceVersion), None);
    }

    #[test]
    fn pages_only_where_the_server_says_that_it_does_not_stream() {
        let answer = |code, message: &str| {
            let status = Status { code, message: message.to_owned(), ..Status::default() };
            watcher::Error::WatchStartFailed(kube::Error::Api(status.boxed()))
        };
        let forbidden = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is \
                         forbidden for watch unless the WatchList feature gate is enabled";
        assert!(cannot_stream(&answer(422, forbidden)));
        assert!(!cannot_stream(&answer(422, "the label selector is invalid")));
        assert!(!cannot_stream(&answer(403, forbidden)));
        assert!(!cannot_stream(&watcher::Error::NoResourceVersion));
    }

    #[test]
    fn watches_every_source_once_per_namespace_and_children_by_label_alone() {
        assert_eq!(Watch::all(&[]).len(), Source::all().count());
        let two = Watch::all(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(two.len(), 2 * Source::all().count());
        for watch in two {
            let labelled = watch.config(true).label_selector.as_deref() == Some(FLEET_LABEL);
            assert_eq!(labelled, watch.source != Source::Fleets, "{watch}");
        }
    }
}
