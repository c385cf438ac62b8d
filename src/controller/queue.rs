//! Fleets to look at: each at most once in the queue and at most once at work, with a time to come back and a pause
//! that grows with failures. Runs on tokio's clock, so that tests need not wait.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    backoff::{Backoff, chance},
    cache::FleetKey,
};

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<FleetKey>,
    /// When fleets come back by themselves, soonest first.
    timers: BTreeSet<(Instant, FleetKey)>,
    slots: HashMap<FleetKey, Slot>,
    closed: bool,
}

/// What is known of a fleet that is queued, at work, timed or failing. None of these: no slot.
#[derive(Debug, Default)]
struct Slot {
    queued: bool,
    working: bool,
    /// Something changed while it was at work.
    again: bool,
    due: Option<Instant>,
    failures: u32,
}

/// What comes next for a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Wait,
    /// Once more after this long, even if nothing changes.
    After(Duration),
    /// It failed: once more after a pause that grows, but not before what the server asks for.
    Failed {
        /// `Retry-After` of the answer.
        not_before: Option<Duration>,
    },
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for fleets to be looked at now.
    pub fn push_all(&self, keys: impl IntoIterator<Item = FleetKey>) {
        let mut state = self.lock();
        for key in keys {
            state.push(key);
            self.wake.notify_one();
        }
    }

    /// Asks for a fleet to be looked at this much later, or earlier if something else asks for it.
    pub fn push_after(&self, key: FleetKey, pause: Duration) {
        self.lock().push_at(key, Instant::now() + pause);
        self.wake.notify_one();
    }

    /// The next fleet; it is the caller's until `done`. `None` once the queue is closed.
    pub async fn next(&self) -> Option<FleetKey> {
        loop {
            let woken = self.wake.notified();
            let due = {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                state.ring(Instant::now());
                if let Some(key) = state.pop() {
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return Some(key);
                }
                state.timers.first().map(|(due, _)| *due)
            };
            match due {
                Some(due) => tokio::select! { () = woken => {}, () = tokio::time::sleep_until(due) => {} },
                None => woken.await,
            }
        }
    }

    /// Gives a fleet back.
    pub fn done(&self, key: &FleetKey, next: Next) {
        let mut state = self.lock();
        state.done(key, next);
        // Whoever sleeps may sleep for too long now.
        self.wake.notify_one();
    }

    /// Hands out no more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_waiters();
        // One that is between looking and sleeping holds no waiter yet.
        self.wake.notify_one();
    }

    /// How many fleets wait to be looked at now.
    pub fn depth(&self) -> usize {
        self.lock().ready.len()
    }
}

impl State {
    fn push(&mut self, key: FleetKey) {
        let slot = self.slots.entry(key.clone()).or_default();
        if slot.working {
            slot.again = true;
        } else if !slot.queued {
            slot.queued = true;
            self.ready.push_back(key);
        }
    }

    fn push_at(&mut self, key: FleetKey, due: Instant) {
        let slot = self.slots.entry(key.clone()).or_default();
        if slot.queued || slot.due.is_some_and(|known| known <= due) {
            return;
        }
        if let Some(later) = slot.due.replace(due) {
            self.timers.remove(&(later, key.clone()));
        }
        self.timers.insert((due, key));
    }

    fn ring(&mut self, now: Instant) {
        while self.timers.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, key)) = self.timers.pop_first() else { return };
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.due = None;
            }
            self.push(key);
        }
    }

    fn pop(&mut self) -> Option<FleetKey> {
        let key = self.ready.pop_front()?;
        let slot = self.slots.entry(key.clone()).or_default();
        slot.queued = false;
        slot.working = true;
        // It is looked at now: what it was to come back for is served.
        if let Some(due) = slot.due.take() {
            self.timers.remove(&(due, key.clone()));
        }
        Some(key)
    }

    fn done(&mut self, key: &FleetKey, next: Next) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.working = false;
        let pause = match next {
            Next::Wait | Next::After(_) => {
                slot.failures = 0;
                if let Next::After(pause) = next { Some(pause) } else { None }
            }
            Next::Failed { not_before } => {
                slot.failures = slot.failures.saturating_add(1);
                Some(Backoff::FLEET.pause(slot.failures, chance()).max(not_before.unwrap_or_default()))
            }
        };
        if std::mem::take(&mut slot.again) {
            slot.queued = true;
            self.ready.push_back(key.clone());
        } else if let Some(pause) = pause {
            self.push_at(key.clone(), Instant::now() + pause);
        } else if slot.due.is_none() {
            self.slots.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn key(name: &str) -> FleetKey {
        FleetKey::new("ns", name)
    }

    #[tokio::test(start_paused = true)]
    async fn hands_out_each_fleet_once_however_often_it_is_pushed() {
        let queue = Queue::default();
        queue.push_all([key("a"), key("a"), key("b"), key("a")]);
        assert_eq!(queue.depth(), 2);
        assert_eq!(queue.next().await, Some(key("a")));
        assert_eq!(queue.next().await, Some(key("b")));
        assert_eq!(queue.depth(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn brings_back_what_changed_during_the_work_and_never_works_twice_at_once() {
        let queue = Queue::default();
        queue.push_all([key("a")]);
        let first = queue.next().await.unwrap();
        queue.push_all([key("a"), key("a")]);
        assert_eq!(queue.depth(), 0, "it is at work");
        queue.done(&first, Next::Wait);
        assert_eq!(queue.next().await, Some(key("a")));
        queue.done(&first, Next::Wait);
        assert!(queue.lock().slots.is_empty(), "nothing is remembered of a fleet at rest");
    }

    #[tokio::test(start_paused = true)]
    async fn comes_back_in_time_and_a_push_serves_the_timer() {
        let queue = Queue::default();
        queue.push_all([key("a")]);
        let taken = queue.next().await.unwrap();
        queue.done(&taken, Next::After(Duration::from_secs(30)));
        let began = Instant::now();
        assert_eq!(queue.next().await, Some(key("a")));
        assert_eq!(began.elapsed().as_secs(), 30);
        queue.done(&taken, Next::After(Duration::from_secs(30)));
        queue.push_all([key("a")]);
        assert_eq!(queue.next().await, Some(key("a")));
        assert!(queue.lock().timers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn waits_longer_after_each_failure_and_as_long_as_the_server_asks() {
        let queue = Queue::default();
        queue.push_all([key("a")]);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let began = Instant::now();
            let taken = queue.next().await.unwrap();
            pauses.push(began.elapsed());
            queue.done(&taken, Next::Failed { not_before: None });
        }
        assert!(pauses[1] < Duration::from_millis(300), "{pauses:?}");
        assert!(pauses[8] > pauses[4]);
        assert!(
            pauses[19] >= Duration::from_secs(150) && pauses[19] <= Duration::from_mins(5) + Duration::from_millis(2)
        );
        let taken = queue.next().await.unwrap();
        queue.done(&taken, Next::Wait);
        queue.push_all([key("a")]);
        let taken = queue.next().await.unwrap();
        queue.done(&taken, Next::Failed { not_before: Some(Duration::from_secs(7)) });
        let began = Instant::now();
        queue.next().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_event_does_not_wait_for_the_pause_of_a_failure() {
        let queue = Queue::default();
        queue.push_all([key("a")]);
        let taken = queue.next().await.unwrap();
        queue.done(&taken, Next::Failed { not_before: Some(Duration::from_mins(1)) });
        queue.push_all([key("a")]);
        let began = Instant::now();
        queue.next().await.unwrap();
        assert!(began.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_later_comes_later_and_only_once() {
        let queue = Queue::default();
        let pause = Duration::from_millis(100);
        queue.push_after(key("a"), pause);
        queue.push_after(key("a"), pause * 2);
        let began = Instant::now();
        let taken = queue.next().await.unwrap();
        assert_eq!(began.elapsed().as_millis(), 100);
        // Asked for during the work: it is not lost, and an end without a wish does not drop it.
        queue.push_after(key("a"), pause);
        queue.done(&taken, Next::Wait);
        queue.next().await.unwrap();
        assert_eq!(began.elapsed().as_millis(), 200);
        queue.done(&taken, Next::Wait);
        assert!(queue.lock().slots.is_empty() && queue.lock().timers.is_empty());
    }

    #[tokio::test]
    async fn closing_ends_every_waiter() {
        let queue = Arc::new(Queue::default());
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.push_all([key("a")]);
        queue.close();
        for one in waiting {
            // The one that got the fleet before the close may have it; nobody hangs.
            one.await.unwrap();
        }
        assert_eq!(queue.next().await, None);
    }
}
