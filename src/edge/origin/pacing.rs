//! Keeps requests to a mirror below what it takes from one address.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};

use super::Moment;

/// What a mirror takes. Nothing is limited that is not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a second.
    pub requests_per_second: Option<u32>,
    /// Requests at a time.
    pub connections: Option<u32>,
}

/// The longest that a mirror's word keeps it from being asked: what is longer is a mistake, and the breaker does the rest.
const HOLD_MAX: Duration = Duration::from_mins(10);

/// What one mirror was asked lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    limits: Limits,
    next: Moment,
    running: u32,
    held_until: Moment,
}

/// Why a request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until then.
    Until(Moment),
    /// Until another one has ended.
    ForAnother,
}

impl Pacing {
    /// For a mirror that nothing was asked of yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Other limits from now on; what runs goes on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Begins a request, or says what it waits for. Requests are spread evenly: a mirror that counts by the second sees no burst at
    /// the seam of two seconds.
    pub fn begin(&mut self, now: Moment) -> Result<(), Wait> {
        if now < self.held_until {
            return Err(Wait::Until(self.held_until));
        }
        if self.limits.connections.is_some_and(|most| self.running >= most.max(1)) {
            return Err(Wait::ForAnother);
        }
        if let Some(rate) = self.limits.requests_per_second {
            if now < self.next {
                return Err(Wait::Until(self.next));
            }
            self.next = now.after(Duration::from_secs(1) / rate.max(1));
        }
        self.running += 1;
        Ok(())
    }

    /// A request that began has ended.
    pub fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// The mirror asked to be left alone for so long.
    pub fn hold(&mut self, now: Moment, time: Duration) {
        self.held_until = self.held_until.max(now.after(time.min(HOLD_MAX)));
    }
}

/// What a Retry-After header asks for: seconds, or a time of day.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = header.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let until = rfc2822::parse(header.trim()).ok()?.timestamp();
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    fn five_and_four() -> Pacing {
        Pacing::new(Limits { requests_per_second: Some(5), connections: Some(4) })
    }

    #[test]
    fn requests_are_spread_and_connections_counted() {
        let mut pacing = five_and_four();
        assert_eq!(pacing.begin(at(0)), Ok(()));
        assert_eq!(pacing.begin(at(0)), Err(Wait::Until(at(200))));
        for start in [200, 400, 600] {
            assert_eq!(pacing.begin(at(start)), Ok(()));
        }
        assert_eq!(pacing.begin(at(800)), Err(Wait::ForAnother));
        pacing.end();
        assert_eq!(pacing.begin(at(800)), Ok(()));
    }

    #[test]
    fn what_is_not_limited_goes_at_once() {
        let mut pacing = Pacing::new(Limits::default());
        assert!((0..1000).all(|_| pacing.begin(at(0)).is_ok()));
    }

    #[test]
    fn a_mirror_that_asks_for_peace_gets_it_for_ten_minutes_at_most() {
        let mut pacing = five_and_four();
        pacing.hold(at(0), Duration::from_secs(30));
        pacing.hold(at(0), Duration::from_secs(1));
        assert_eq!(pacing.begin(at(29_999)), Err(Wait::Until(at(30_000))));
        assert_eq!(pacing.begin(at(30_000)), Ok(()));
        pacing.hold(at(0), Duration::from_secs(u64::MAX));
        assert_eq!(pacing.begin(at(599_999)), Err(Wait::Until(at(600_000))));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        for (header, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(retry_after(header, now), expected.map(Duration::from_secs), "{header}");
        }
    }

    proptest! {
        /// However many ask, and whenever: in no second does the mirror see more than its rate, and never more at a time.
        #[test]
        fn no_second_has_more_than_the_rate(rate in 1_u32..20, most in 1_u32..8, steps in prop::collection::vec((0_u64..150, any::<bool>()), 1..200)) {
            let mut pacing = Pacing::new(Limits { requests_per_second: Some(rate), connections: Some(most) });
            let (mut now, mut running, mut begun) = (0, 0, Vec::new());
            for (passed, ends) in steps {
                now += passed;
                if ends && running > 0 {
                    pacing.end();
                    running -= 1;
                }
                if pacing.begin(at(now)).is_ok() {
                    running += 1;
                    begun.push(now);
                }
                prop_assert!(running <= most);
            }
            for (index, first) in begun.iter().enumerate() {
                let within = begun[index..].iter().take_while(|start| **start < first + 1000).count();
                prop_assert!(within <= rate as usize, "{} of {} a second", within, rate);
            }
        }
    }
}
