//! Waiting for a condition with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Asks until the condition gives a value. An error of the condition ends the wait at once; "not yet" is `None`.
pub async fn until<T, F>(what: &str, deadline: Duration, mut condition: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await.with_context(|| format!("while waiting for {what}"))? {
            return Ok(value);
        }
        if start.elapsed() > deadline {
            bail!("{what}: not within {} s", deadline.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
