//! Who may write: the decision, without a clock or a client.
//!
//! A lease is judged by how long *we* have watched it not change, on our own monotonic clock. The times written in it
//! are other machines' clocks and never compared with ours.

use std::time::Duration;

use tokio::time::Instant;

/// How long things take. The defaults are those of Kubernetes' own controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long others wait, counted from the last change they saw, before they take an unchanged lease.
    pub lease_duration: Duration,
    /// How long a holder that cannot renew goes on writing. Shorter than the duration, so that it has stopped by then.
    pub renew_deadline: Duration,
    /// Pause between attempts.
    pub retry_period: Duration,
}

impl Timing {
    /// Whether a holder stops before another one starts.
    pub fn check(&self) -> Result<(), TimingError> {
        if self.renew_deadline >= self.lease_duration {
            return Err(TimingError::Deadline(*self));
        }
        // One attempt must fit in, with time to hear that it failed.
        if self.retry_period.is_zero() || self.retry_period * 2 > self.renew_deadline {
            return Err(TimingError::Period(*self));
        }
        Ok(())
    }
}

/// Why a timing is not safe.
#[derive(Debug, thiserror::Error)]
pub enum TimingError {
    /// Two holders could write at once.
    #[error("--renew-deadline {:?} must be shorter than --lease-duration {:?}: else two replicas could write at once", .0.renew_deadline, .0.lease_duration)]
    Deadline(Timing),
    /// One lost request would cost the lease.
    #[error("--retry-period {:?} must be above zero and at most half of --renew-deadline {:?}: else one lost request costs the lease", .0.retry_period, .0.renew_deadline)]
    Period(Timing),
}

/// What a lease says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseView {
    /// Who holds it; `None` when released or never held.
    pub holder: Option<String>,
    /// How long its holder asks others to wait.
    pub duration: Duration,
    /// `metadata.resourceVersion`: differs after every change.
    pub resource_version: String,
}

/// A lease and since when we have seen it exactly so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What it says.
    pub lease: LeaseView,
    /// When we first saw this version.
    pub since: Instant,
}

impl Observation {
    /// The lease was read: the wait goes on if it is unchanged, and starts anew if not.
    #[must_use]
    pub fn update(held: Option<Self>, lease: LeaseView, now: Instant) -> Self {
        match held {
            Some(held) if held.lease == lease => held,
            Some(_) | None => Self { lease, since: now },
        }
    }
}

/// What to do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write our name, with the version that was read: if another was faster, the write fails.
    Take,
    /// Another holds it: look again by then.
    Wait {
        /// When it could be taken at the earliest, if it does not change.
        until: Instant,
    },
}

/// What to do about a lease that was observed so.
pub fn decide(observed: &Observation, me: &str, now: Instant) -> Action {
    match &observed.lease.holder {
        None => Action::Take,
        Some(holder) if holder == me => Action::Take,
        Some(_) => {
            let until = observed.since + observed.lease.duration;
            if now >= until { Action::Take } else { Action::Wait { until } }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lease(holder: Option<&str>, version: u32) -> LeaseView {
        LeaseView {
            holder: holder.map(str::to_owned),
            duration: Duration::from_secs(15),
            resource_version: version.to_string(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn takes_what_is_free_or_ours_and_waits_for_what_is_held() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let until = at(15);
        for (holder, now, action) in [
            (None, 0, Action::Take),
            (Some("me"), 0, Action::Take),
            (Some("me"), 99, Action::Take),
            (Some("you"), 0, Action::Wait { until }),
            (Some("you"), 14, Action::Wait { until }),
            (Some("you"), 15, Action::Take),
        ] {
            let observed = Observation { lease: lease(holder, 1), since: start };
            assert_eq!(decide(&observed, "me", at(now)), action, "{holder:?} at {now}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_starts_the_wait_anew_and_a_look_does_not() {
        let start = Instant::now();
        let later = start + Duration::from_secs(9);
        let first = Observation::update(None, lease(Some("you"), 1), start);
        assert_eq!(Observation::update(Some(first.clone()), lease(Some("you"), 1), later).since, start);
        assert_eq!(Observation::update(Some(first), lease(Some("you"), 2), later).since, later);
    }

    #[test]
    fn refuses_timings_that_let_two_write() {
        let timing = |lease, deadline, period| Timing {
            lease_duration: Duration::from_secs(lease),
            renew_deadline: Duration::from_secs(deadline),
            retry_period: Duration::from_secs(period),
        };
        assert!(timing(15, 10, 2).check().is_ok());
        assert!(timing(10, 10, 2).check().is_err());
        assert!(timing(15, 10, 6).check().is_err());
        assert!(timing(15, 10, 0).check().is_err());
    }

    /// One replica in a world where requests take time, are lost, or are answered late.
    #[derive(Clone, Debug)]
    struct Replica {
        name: &'static str,
        observed: Option<Observation>,
        may_write_until: Option<Instant>,
    }

    /// What happens to one attempt: how long the read and the write take, in milliseconds, and whether the write's
    /// answer is lost.
    type Attempt = (bool, u64, u64, bool);

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// However the attempts interleave and however slow they are, never do two replicas believe they may write.
        #[test]
        fn two_never_write_at_once(attempts in prop::collection::vec((any::<bool>(), 0_u64..6000, 0_u64..6000, any::<bool>()), 1..200)) {
            let timing = Timing {
                lease_duration: Duration::from_secs(15),
                renew_deadline: Duration::from_secs(10),
                retry_period: Duration::from_secs(2),
            };
            check_world(&timing, &attempts)?;
        }
    }

    fn check_world(timing: &Timing, attempts: &[Attempt]) -> Result<(), TestCaseError> {
        let mut now = Instant::now();
        let mut version = 1;
        let mut stored = lease(None, version);
        let fresh = |name| Replica { name, observed: None, may_write_until: None };
        let mut replicas = [fresh("a"), fresh("b")];
        for (second, read, write, lost) in attempts {
            let replica = &mut replicas[usize::from(*second)];
            now += Duration::from_millis(*read);
            let observed = Observation::update(replica.observed.take(), stored.clone(), now);
            replica.observed = Some(observed.clone());
            if decide(&observed, replica.name, now) != Action::Take {
                continue;
            }
            let sent = now;
            now += Duration::from_millis(*write);
            if observed.lease.resource_version != stored.resource_version {
                continue;
            }
            version += 1;
            stored = lease(Some(replica.name), version);
            if !lost {
                replica.may_write_until = Some(sent + timing.renew_deadline);
            }
            let writers = replicas.iter().filter(|one| one.may_write_until.is_some_and(|until| now < until)).count();
            prop_assert!(writers <= 1, "{replicas:?}");
        }
        Ok(())
    }
}
