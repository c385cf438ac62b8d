//! Asks proxies' sidecars what they know. Only whoever leads asks, and it asks the pods and not the API server: what is learned goes into
//! the store, and a fleet is looked at again once a plan could see a difference.
//!
//! Why the operator comes and asks, rather than being told: proxies have no token for the API server, an operator needs no address that
//! every pod of every namespace may reach, and a pod that stays silent is noticed by whoever asks.

mod ask;

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;

use crate::{
    backoff::chance,
    cache::store::{Asked, Store},
    controller::queue::Queue,
    engine::contract::sidecar::PORT,
    metrics::{Heard, Metrics},
};

/// Pause between the beginnings of two rounds. A volume that fills at 100 MB/s gets 1.5 GB fuller meanwhile.
const PERIOD: Duration = Duration::from_secs(15);
/// How long one pod may take. It is one answer from memory.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pods asked at the same time. Were they all silent, 64 of them would be given up every three seconds.
const AT_ONCE: usize = 64;

/// Who asks, and where the answers go.
#[derive(Clone)]
pub struct Reports {
    /// What is known of pods.
    pub store: Arc<Store>,
    /// The fleets to look at again.
    pub queue: Arc<Queue>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Reports {
    /// Asks until it is dropped. Rounds differ in length, so that operators and what else runs by the clock do not fall into step.
    pub async fn gather(self) {
        loop {
            let pause = tokio::time::sleep(PERIOD.mul_f64(0.8 + 0.4 * chance()));
            self.round(PORT).await;
            pause.await;
        }
    }

    /// Asks every pod once.
    async fn round(&self, port: u16) {
        let pods = self.store.sidecars();
        futures::stream::iter(pods).for_each_concurrent(AT_ONCE, |pod| self.ask(pod, port)).await;
    }

    async fn ask(&self, pod: Asked, port: u16) {
        match ask::report((pod.address, port).into(), PATIENCE).await {
            Ok(report) => {
                self.metrics.heard(Heard::Answered);
                if self.store.put_report(&pod, &report) {
                    self.queue.push_all([pod.fleet]);
                }
            }
            // What it said before still counts: that it is silent says nothing about its volume or its lock.
            Err(error) => {
                self.metrics.heard(Heard::Silent);
                let (namespace, fleet) = (&pod.fleet.namespace, &pod.fleet.name);
                tracing::debug!(%error, address = %pod.address, %namespace, %fleet, "a sidecar does not answer");
            }
        }
    }
}

#[cfg(test)]
mod tests;
