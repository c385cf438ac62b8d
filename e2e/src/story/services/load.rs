//! Clients that ask one request after the other and never try one again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::task::JoinHandle;

use super::super::serving::ask;
use crate::cluster::until;

/// A list is asked of a Git server each time, by several programs one after the other.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers of each client that are worth waiting for: those that were under way, and two that were not.
const MORE: usize = 3;

/// Clients under way, one for each path.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<(Arc<AtomicUsize>, JoinHandle<Vec<String>>)>,
}

/// What they saw.
pub(super) struct Asked {
    pub(super) sent: usize,
    /// What was no answer, or not the right one.
    pub(super) failed: Vec<String>,
}

impl Load {
    /// Starts them.
    pub(super) fn start(address: &str, paths: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |path: &String| {
            let answered = Arc::new(AtomicUsize::new(0));
            let (address, path, stop, count) = (address.to_owned(), path.clone(), stop.clone(), answered.clone());
            let task = tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match ask(&address, &path, PATIENCE).await {
                        Ok((200, body)) if !body.trim().is_empty() => {}
                        Ok((status, body)) => failed.push(format!("{path}: {status} {body}")),
                        Err(error) => failed.push(format!("{path}: {error:#}")),
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
                failed
            });
            (answered, task)
        };
        Self { clients: paths.iter().map(client).collect(), stop }
    }

    /// Waits until every client has some more answers.
    pub(super) async fn more(&self) -> Result<()> {
        for (answered, _) in &self.clients {
            let goal = answered.load(Ordering::Relaxed) + MORE;
            until("a client has more answers", Duration::from_mins(2), || async {
                Ok((answered.load(Ordering::Relaxed) >= goal).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Ends them.
    pub(super) async fn stop(self) -> Result<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        let mut asked = Asked { sent: 0, failed: Vec::new() };
        for (answered, task) in self.clients {
            asked.failed.extend(task.await.context("a client died")?);
            asked.sent += answered.load(Ordering::Relaxed);
        }
        Ok(asked)
    }
}
