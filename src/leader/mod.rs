//! Leadership by a Lease: a small loop around [`decide`], and the permit that every write asks for.
//!
//! Fail-stop: a holder that cannot renew in time ends the process. Nothing is left running that could write late.

pub mod decide;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep_until, timeout};

use decide::{Action, LeaseView, Observation, Timing, decide};

use crate::{client::describe, clock::Clock};

/// Which lease, and who asks.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Namespace of the lease.
    pub namespace: String,
    /// Its name.
    pub lease: String,
    /// Our name: no other process may have it.
    pub identity: String,
    /// How long things take.
    pub timing: Timing,
}

/// The permit to write.
#[derive(Clone, Debug)]
pub struct Leadership {
    until: Arc<Mutex<Permit>>,
}

#[derive(Clone, Copy, Debug)]
enum Permit {
    /// There is one replica and no election.
    Always,
    Until(Instant),
    Never,
}

impl Leadership {
    /// Without election: one replica, or a test.
    pub fn always() -> Self {
        Self { until: Arc::new(Mutex::new(Permit::Always)) }
    }

    /// Until an instant, unless it is renewed.
    #[cfg(test)]
    pub(crate) fn lasting(until: Instant) -> Self {
        Self { until: Arc::new(Mutex::new(Permit::Until(until))) }
    }

    /// Renews it.
    #[cfg(test)]
    pub(crate) fn renew(&self, until: Instant) {
        self.set(Permit::Until(until));
    }

    /// Of a replica that has not won.
    pub fn none() -> Self {
        Self { until: Arc::new(Mutex::new(Permit::Never)) }
    }

    fn set(&self, permit: Permit) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    fn permit(&self) -> Permit {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether we may write at this moment. Asked right before each write: a process that was stopped and continued
    /// finds out here.
    pub fn still_ours(&self) -> bool {
        match self.permit() {
            Permit::Always => true,
            Permit::Until(until) => Instant::now() < until,
            Permit::Never => false,
        }
    }

    /// Waits until we may not write any more. A renewal meanwhile makes the wait longer.
    pub async fn ended(&self) {
        loop {
            match self.permit() {
                Permit::Always => std::future::pending().await,
                Permit::Until(until) if Instant::now() < until => sleep_until(until).await,
                Permit::Until(_) | Permit::Never => return,
            }
        }
    }
}

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Another process has the lease.
    #[error("the lease {namespace}/{lease} went to {holder}")]
    Taken {
        /// Namespace of the lease.
        namespace: String,
        /// The lease.
        lease: String,
        /// Who has it.
        holder: String,
    },
    /// It could not be renewed in time.
    #[error("the lease {namespace}/{lease} could not be renewed within {deadline:?}: {last}")]
    Deadline {
        /// Namespace of the lease.
        namespace: String,
        /// The lease.
        lease: String,
        /// The deadline.
        deadline: Duration,
        /// The last thing that went wrong.
        last: String,
    },
}

#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("{}", describe(.0))]
    Api(kube::Error),
    #[error("no answer within {0:?}")]
    Slow(Duration),
}

/// The election: holds what was last seen of the lease.
pub struct Election {
    api: Api<Lease>,
    candidate: Candidate,
    clock: Clock,
    leadership: Leadership,
    /// The lease as stored, and since when.
    seen: Option<(Lease, Observation)>,
}

impl Election {
    /// An election that nobody has won yet.
    pub fn new(client: Client, candidate: Candidate, clock: Clock) -> Self {
        let api = Api::namespaced(client, &candidate.namespace);
        Self { api, candidate, clock, leadership: Leadership::none(), seen: None }
    }

    /// The permit, which is given and taken by this election.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Asks once. True if we hold the lease now.
    pub async fn wins_at_once(&mut self) -> bool {
        matches!(self.step().await, Ok(Held::Ours))
    }

    /// Waits until we hold the lease.
    pub async fn win(&mut self) {
        let period = self.candidate.timing.retry_period;
        let mut told = String::new();
        loop {
            let next = match self.step().await {
                Ok(Held::Ours) => return,
                Ok(Held::Other { holder, until }) => {
                    if told != holder {
                        tracing::info!(holder, "another replica leads, standing by");
                        told = holder;
                    }
                    until.min(Instant::now() + period)
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot ask for the lease");
                    Instant::now() + period
                }
            };
            sleep_until(next).await;
        }
    }

    /// Renews until that fails for too long or another has it.
    pub async fn hold(&mut self) -> Lost {
        let Timing { retry_period, renew_deadline, .. } = self.candidate.timing;
        let mut deadline = Instant::now() + renew_deadline;
        let mut last = String::new();
        loop {
            sleep_until((Instant::now() + retry_period).min(deadline)).await;
            if Instant::now() >= deadline {
                break;
            }
            let asked = Instant::now();
            match tokio::time::timeout_at(deadline, self.step()).await {
                Ok(Ok(Held::Ours)) => deadline = asked + renew_deadline,
                Ok(Ok(Held::Other { holder, .. })) => {
                    self.leadership.set(Permit::Never);
                    let Candidate { namespace, lease, .. } = self.candidate.clone();
                    return Lost::Taken { namespace, lease, holder };
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot renew the lease");
                    last = error.to_string();
                }
                Err(_) => break,
            }
        }
        self.leadership.set(Permit::Never);
        let Candidate { namespace, lease, .. } = self.candidate.clone();
        Lost::Deadline { namespace, lease, deadline: renew_deadline, last }
    }

    /// Gives the lease back, so that the next holder need not wait. Called when nothing writes any more.
    pub async fn release(&mut self) {
        self.leadership.set(Permit::Never);
        // Asked anew: a renewal may have been cut short, and what it stored is not known then.
        let Ok(Some(mut lease)) = self.send(self.api.get_opt(&self.candidate.lease)).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.candidate.identity) {
            return;
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime((self.clock)()));
        spec.lease_duration_seconds = Some(1);
        match self.send(self.api.replace(&self.candidate.lease, &PostParams::default(), &lease)).await {
            Ok(_) => tracing::info!("lease released"),
            Err(error) => tracing::warn!(%error, "cannot release the lease; it runs out by itself"),
        }
    }

    /// One look and, if it is ours to take, one write.
    async fn step(&mut self) -> Result<Held, StepError> {
        let lease = match self.seen.take() {
            // What we wrote last is what is stored, unless somebody else wrote: then the write fails and we look.
            Some((lease, observed)) if observed.lease.holder.as_ref() == Some(&self.candidate.identity) => {
                return self.take(lease, observed).await;
            }
            seen => {
                let found = self.send(self.api.get_opt(&self.candidate.lease)).await;
                match found {
                    Ok(Some(found)) => {
                        let held = seen.map(|(_, observed)| observed);
                        let observed = Observation::update(held, view(&found), Instant::now());
                        (found, observed)
                    }
                    Ok(None) => return self.create().await,
                    Err(error) => {
                        self.seen = seen;
                        return Err(error);
                    }
                }
            }
        };
        match decide(&lease.1, &self.candidate.identity, Instant::now()) {
            Action::Take => self.take(lease.0, lease.1).await,
            Action::Wait { until } => {
                let holder = lease.1.lease.holder.clone().unwrap_or_default();
                self.seen = Some(lease);
                Ok(Held::Other { holder, until })
            }
        }
    }

    async fn take(&mut self, lease: Lease, observed: Observation) -> Result<Held, StepError> {
        let wanted = self.renewed(lease.clone());
        let asked = Instant::now();
        match self.send(self.api.replace(&self.candidate.lease, &PostParams::default(), &wanted)).await {
            Ok(stored) => Ok(self.won(stored, asked)),
            Err(StepError::Api(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                // Somebody was faster, or the lease was deleted: look again at once, and never take it blindly.
                let Some(found) = self.send(self.api.get_opt(&self.candidate.lease)).await? else {
                    return self.create().await;
                };
                let found_view = view(&found);
                // Our own write whose answer got lost.
                if found_view.holder.as_ref() == Some(&self.candidate.identity) {
                    let observed = Observation::update(None, found_view, Instant::now());
                    self.seen = Some((found, observed));
                    return Err(StepError::Api(kube::Error::Api(status)));
                }
                let holder = found_view.holder.clone().unwrap_or_default();
                let observed = Observation::update(Some(observed), found_view, Instant::now());
                let until = observed.since + observed.lease.duration;
                self.seen = Some((found, observed));
                Ok(Held::Other { holder, until })
            }
            Err(error) => {
                self.seen = Some((lease, observed));
                Err(error)
            }
        }
    }

    async fn create(&mut self) -> Result<Held, StepError> {
        let metadata = ObjectMeta { name: Some(self.candidate.lease.clone()), ..ObjectMeta::default() };
        let lease = self.renewed(Lease { metadata, spec: None });
        let asked = Instant::now();
        let stored = self.send(self.api.create(&PostParams::default(), &lease)).await?;
        Ok(self.won(stored, asked))
    }

    /// Counted from before the request: others count from when they see its effect, which is later.
    fn won(&mut self, stored: Lease, asked: Instant) -> Held {
        self.leadership.set(Permit::Until(asked + self.candidate.timing.renew_deadline));
        let observed = Observation::update(None, view(&stored), Instant::now());
        self.seen = Some((stored, observed));
        Held::Ours
    }

    fn renewed(&self, mut lease: Lease) -> Lease {
        let now: Timestamp = (self.clock)();
        let mut spec = lease.spec.unwrap_or_default();
        if spec.holder_identity.as_ref() != Some(&self.candidate.identity) {
            let changes = spec.lease_transitions.unwrap_or_default();
            spec = LeaseSpec {
                acquire_time: Some(MicroTime(now)),
                lease_transitions: Some(changes.saturating_add(1)),
                ..LeaseSpec::default()
            };
        }
        spec.holder_identity = Some(self.candidate.identity.clone());
        spec.renew_time = Some(MicroTime(now));
        spec.lease_duration_seconds = i32::try_from(self.candidate.timing.lease_duration.as_secs()).ok();
        lease.spec = Some(spec);
        lease
    }

    /// One request with an end: two of them fit into the deadline.
    async fn send<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, StepError> {
        let longest = self.candidate.timing.renew_deadline / 2;
        timeout(longest, request).await.map_err(|_| StepError::Slow(longest))?.map_err(StepError::Api)
    }
}

enum Held {
    Ours,
    Other { holder: String, until: Instant },
}

fn view(lease: &Lease) -> LeaseView {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    LeaseView {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
        resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
