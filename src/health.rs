//! What the process waits for, by name: the text behind `/readyz`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use kube::runtime::watcher;
use tokio::{
    sync::Notify,
    time::{Duration, Instant},
};

use crate::cache::{
    Source,
    pump::{Watch, status_of},
};

/// How long a listed watch's trouble is believed after it was last heard: a watch that works again may have nothing to
/// bring for hours, but one that does not is heard at least every 30 seconds.
const TROUBLE_LASTS: Duration = Duration::from_secs(75);

/// What a person must do about a watch's error. `None` for what passes by itself.
pub fn trouble(source: Source, error: &watcher::Error) -> Option<String> {
    let status = status_of(error)?;
    match (status.code, source) {
        (403, _) => Some(status.message.clone()),
        (404, Source::Fleets) => Some(
            "the CustomResourceDefinition goproxies.goproxy.rs is not installed: apply the files under crds/"
                .to_owned(),
        ),
        (404, Source::Children(_) | Source::Pods) => Some(format!("the API server does not serve {}", source.plural())),
        _ => None,
    }
}

/// What the process waits for.
#[derive(Debug)]
pub struct Health {
    watches: Mutex<BTreeMap<Watch, Progress>>,
    changed: Notify,
}

#[derive(Debug)]
struct Progress {
    listed: bool,
    trouble: Option<(String, Instant)>,
}

impl Health {
    /// Waits for all of these.
    pub fn new(watches: &[Watch]) -> Self {
        let fresh = |watch: &Watch| (watch.clone(), Progress { listed: false, trouble: None });
        Self { watches: Mutex::new(watches.iter().map(fresh).collect()), changed: Notify::new() }
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

    /// A watch has brought all there is.
    pub fn listed(&self, watch: &Watch) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = watches.get_mut(watch) {
            *progress = Progress { listed: true, trouble: None };
        }
        drop(watches);
        self.changed.notify_waiters();
    }

    /// One line per thing that is waited for; empty when ready.
    pub fn pending(&self) -> Vec<String> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(watch, progress): (&Watch, &Progress)| match progress {
            Progress { trouble: Some((reason, heard)), listed } if !listed || heard.elapsed() < TROUBLE_LASTS => {
                Some(format!("watch of {watch}: {reason}"))
            }
            Progress { listed: true, .. } => None,
            Progress { listed: false, .. } => Some(format!("watch of {watch}: not listed yet")),
        };
        watches.iter().filter_map(line).collect()
    }

    /// Returns once every watch has brought all there is.
    pub async fn all_listed(&self) {
        loop {
            let changed = self.changed.notified();
            let done = {
                let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
                watches.values().all(|progress| progress.listed)
            };
            if done {
                return;
            }
            changed.await;
        }
    }
}
