//! What the process waits for, by name: the text behind `/readyz`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tokio::{
    sync::{Notify, watch},
    time::{Duration, Instant},
};

use crate::cache::watch::Watch;

/// How long a listed watch's trouble is believed after it was last heard: a watch that works again may have nothing to
/// bring for hours, but one that does not is heard at least every 30 seconds.
const TROUBLE_LASTS: Duration = Duration::from_secs(75);

/// What the process waits for.
#[derive(Debug)]
pub struct Health {
    watches: Mutex<BTreeMap<Watch, Progress>>,
    changed: Notify,
    /// How often all watches were asked to list. They wait for the first time.
    round: watch::Sender<u64>,
}

#[derive(Debug)]
struct Progress {
    /// The last round in which it brought all there is.
    listed: Option<u64>,
    trouble: Option<(String, Instant)>,
}

impl Health {
    /// Waits for all of these.
    pub fn new(watches: &[Watch]) -> Self {
        let fresh = |watch: &Watch| (watch.clone(), Progress { listed: None, trouble: None });
        let watches = Mutex::new(watches.iter().map(fresh).collect());
        Self { watches, changed: Notify::new(), round: watch::Sender::new(0) }
    }

    /// Asks every watch to list, anew if it did: what they brought until now may be older than what another process did last.
    pub fn list_anew(&self) {
        self.round.send_modify(|round| *round += 1);
    }

    /// The round of lists that is asked for.
    pub fn rounds(&self) -> watch::Receiver<u64> {
        self.round.subscribe()
    }

    /// A watch cannot go on without a person. True if that is news.
    pub fn troubled(&self, watch: &Watch, reason: String) -> bool {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(progress) = watches.get_mut(watch) else { return false };
        let news = progress.trouble.as_ref().is_none_or(|(known, _)| *known != reason);
        progress.trouble = Some((reason, Instant::now()));
        news
    }

    /// A watch brings events again.
    pub fn recovered(&self, watch: &Watch) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = watches.get_mut(watch) {
            progress.trouble = None;
        }
    }

    /// A watch has brought all there is, in a list that began in this round.
    pub fn listed(&self, watch: &Watch, round: u64) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = watches.get_mut(watch) {
            *progress = Progress { listed: Some(round), trouble: None };
        }
        drop(watches);
        self.changed.notify_waiters();
    }

    /// One line per thing that is waited for; empty when ready.
    pub fn pending(&self) -> Vec<String> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let round = *self.round.borrow();
        let line = |(watch, progress): (&Watch, &Progress)| {
            let listed = progress.listed == Some(round);
            match &progress.trouble {
                Some((reason, heard)) if !listed || heard.elapsed() < TROUBLE_LASTS => {
                    Some(format!("watch of {watch}: {reason}"))
                }
                _ => (!listed).then(|| format!("watch of {watch}: not listed yet")),
            }
        };
        watches.iter().filter_map(line).collect()
    }

    /// Returns once every watch has brought all there is, in the newest round.
    pub async fn all_listed(&self) {
        loop {
            let changed = self.changed.notified();
            let done = {
                let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
                let round = *self.round.borrow();
                watches.values().all(|progress| progress.listed == Some(round))
            };
            if done {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> (Health, Vec<Watch>) {
        let watches = Watch::all(&[]);
        (Health::new(&watches), watches)
    }

    #[tokio::test(start_paused = true)]
    async fn is_ready_once_every_watch_is_listed_and_says_what_it_waits_for_until_then() {
        let (health, watches) = health();
        assert_eq!(health.pending().len(), watches.len());
        assert!(health.troubled(&watches[0], "no".to_owned()));
        assert!(!health.troubled(&watches[0], "no".to_owned()), "the same trouble is no news");
        assert!(health.pending()[0].ends_with(": no"), "{:?}", health.pending());
        let (last, others) = watches.split_last().unwrap();
        for watch in others {
            health.listed(watch, 0);
        }
        assert_eq!(health.pending(), [format!("watch of {last}: not listed yet")]);
        tokio::join!(health.all_listed(), async { health.listed(last, 0) });
        assert!(health.pending().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_began_before_lists_were_asked_for_anew_does_not_count() {
        let (health, watches) = health();
        health.list_anew();
        let round = *health.rounds().borrow();
        let (last, others) = watches.split_last().unwrap();
        for watch in others {
            health.listed(watch, round);
        }
        health.listed(last, 0);
        assert_eq!(health.pending(), [format!("watch of {last}: not listed yet")]);
        tokio::join!(health.all_listed(), async { health.listed(last, round) });
        assert!(health.pending().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_listed_watch_that_is_quiet_again_is_believed_to_work() {
        let (health, watches) = health();
        for watch in &watches {
            health.listed(watch, 0);
        }
        health.troubled(&watches[0], "the role was taken away".to_owned());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(health.pending().len(), 1);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(health.pending().is_empty());
        health.troubled(&watches[0], "the role was taken away".to_owned());
        health.recovered(&watches[0]);
        assert!(health.pending().is_empty());
    }
}
