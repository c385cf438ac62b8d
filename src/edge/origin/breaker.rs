//! Leaves a mirror alone that fails, and finds out with one request at a time whether it is back.

use std::time::Duration;

use super::Moment;
use crate::backoff::Backoff;

/// How many failures in a row mean that a mirror is gone. One reset or time-out among good answers is everyday life on
/// the internet, and every failure costs a client time.
const FAILURES: u32 = 5;

/// How long a mirror is left alone: a restart takes seconds, a throttled address is free again within a minute.
const PAUSE: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_mins(1) };

/// How long the answer to a trial may take before another one is sent: whoever sent it may be gone.
const TRIAL: Duration = Duration::from_mins(1);

/// What is known of one mirror's health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    trials: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It answers; so many failures since it last did.
    Closed { failures: u32 },
    /// It is left alone until then, for the so manyth time in a row.
    Open { until: Moment, times: u32 },
    /// One request finds out, and counts as lost at that time.
    Trying { trial: u64, until: Moment, times: u32 },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// Leave to ask; handed back with how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Leave {
    trial: Option<u64>,
}

impl Breaker {
    /// Asks for leave; otherwise the moment at which to ask again.
    pub fn ask(&mut self, now: Moment) -> Result<Leave, Moment> {
        let (until, times) = match self.state {
            State::Closed { .. } => return Ok(Leave { trial: None }),
            State::Open { until, times } | State::Trying { until, times, .. } => (until, times),
        };
        if now < until {
            return Err(until);
        }
        self.trials += 1;
        self.state = State::Trying { trial: self.trials, until: now.after(TRIAL), times };
        Ok(Leave { trial: Some(self.trials) })
    }

    /// The mirror answered, be it that it lacks the module.
    #[expect(clippy::needless_pass_by_value, reason = "leave is handed back once")]
    pub fn answered(&mut self, leave: Leave) {
        match self.state {
            State::Closed { .. } => self.state = State::default(),
            State::Trying { trial, .. } if leave.trial == Some(trial) => self.state = State::default(),
            // The answer to what was asked before it was left alone says nothing about now.
            State::Open { .. } | State::Trying { .. } => {}
        }
    }

    /// The mirror failed. `chance`, from 0 to 1, spreads the next trials of several edges.
    #[expect(clippy::needless_pass_by_value, reason = "leave is handed back once")]
    pub fn failed(&mut self, leave: Leave, now: Moment, chance: f64) {
        let times = match self.state {
            State::Closed { failures } if failures + 1 < FAILURES => {
                self.state = State::Closed { failures: failures + 1 };
                return;
            }
            State::Closed { .. } => 1,
            State::Trying { trial, times, .. } if leave.trial == Some(trial) => times + 1,
            State::Open { .. } | State::Trying { .. } => return,
        };
        self.state = State::Open { until: now.after(PAUSE.pause(times, chance)), times };
    }

    /// Whether requests go through as if nothing had happened.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn broken() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            let leave = breaker.ask(at(0)).unwrap();
            breaker.failed(leave, at(0), 1.0);
        }
        breaker
    }

    #[test]
    fn single_failures_among_answers_change_nothing() {
        let mut breaker = Breaker::default();
        for round in 0..50 {
            let leave = breaker.ask(at(round)).unwrap();
            if round % u64::from(FAILURES) == 0 {
                breaker.answered(leave);
            } else {
                breaker.failed(leave, at(round), 1.0);
            }
        }
        assert!(breaker.is_closed());
    }

    #[test]
    fn a_mirror_that_fails_is_left_alone_longer_each_time() {
        let mut breaker = broken();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let until = breaker.ask(now).unwrap_err();
            pauses.push(until.since(now).as_secs());
            now = until;
            let leave = breaker.ask(now).unwrap();
            breaker.failed(leave, now, 1.0);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn one_request_at_a_time_finds_out() {
        let mut breaker = broken();
        let trial = breaker.ask(at(1)).unwrap();
        assert_eq!(breaker.ask(at(1)), Err(at(61)));
        breaker.answered(trial);
        assert!(breaker.is_closed());
        assert!(breaker.ask(at(1)).is_ok());
    }

    #[test]
    fn a_trial_that_never_ends_is_tried_again() {
        let mut breaker = broken();
        let lost = breaker.ask(at(1)).unwrap();
        let second = breaker.ask(at(61)).unwrap();
        // What the lost one has to say comes too late to count.
        breaker.answered(lost);
        assert!(!breaker.is_closed());
        breaker.answered(second);
        assert!(breaker.is_closed());
    }

    #[test]
    fn an_answer_from_before_does_not_end_the_pause() {
        let mut breaker = Breaker::default();
        let early = breaker.ask(at(0)).unwrap();
        for _ in 0..FAILURES {
            let leave = breaker.ask(at(0)).unwrap();
            breaker.failed(leave, at(0), 1.0);
        }
        breaker.answered(early);
        assert!(!breaker.is_closed());
    }

    proptest! {
        /// Whatever happens, there is at most one trial, and a mirror that is back is used again within two minutes.
        #[test]
        fn never_stuck(events in prop::collection::vec((0_u8..3, 0_u64..30), 0..60)) {
            let mut breaker = Breaker::default();
            let mut now = 0;
            let mut held: Vec<Leave> = Vec::new();
            for (event, passed) in events {
                now += passed;
                match event {
                    0 => held.extend(breaker.ask(at(now)).ok()),
                    1 => if let Some(leave) = held.pop() { breaker.answered(leave) },
                    _ => if let Some(leave) = held.pop() { breaker.failed(leave, at(now), 1.0) },
                }
            }
            let leave = breaker.ask(at(now + 120));
            prop_assert!(leave.is_ok());
            breaker.answered(leave.unwrap());
            prop_assert!(breaker.is_closed());
        }
    }
}
