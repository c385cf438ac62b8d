//! The raw client: the same library, the same bodies and the same number at a time as the operator, but nothing is
//! watched, compared or decided. What it reaches is what the API server gives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use futures::future::{join_all, try_join_all};
use kube::Client;

use super::fleet::Requests;

/// Sends the requests of many fleets, this many fleets at a time.
pub async fn send_all(client: &Client, fleets: Vec<Requests>, concurrency: usize) -> Result<()> {
    let (fleets, next) = (Arc::new(fleets), Arc::new(AtomicUsize::new(0)));
    let workers = (0..concurrency).map(|_| {
        let (client, fleets, next) = (client.clone(), Arc::clone(&fleets), Arc::clone(&next));
        tokio::spawn(async move {
            while let Some(requests) = fleets.get(next.fetch_add(1, Ordering::Relaxed)) {
                send(&client, requests).await?;
            }
            Ok::<_, anyhow::Error>(())
        })
    });
    join_all(workers).await.into_iter().try_for_each(|worker| worker.context("a worker of the raw client ended")?)
}

/// Sends the requests of one fleet.
pub async fn send(client: &Client, requests: &Requests) -> Result<()> {
    for step in &requests.steps {
        try_join_all(step.iter().map(|request| one(client, request))).await?;
    }
    if let Some(status) = &requests.status {
        one(client, status).await?;
    }
    Ok(())
}

async fn one(client: &Client, request: &http::Request<Vec<u8>>) -> Result<()> {
    let shown = || format!("{} {}", request.method(), request.uri().path());
    client.request_text(request.clone()).await.with_context(shown)?;
    Ok(())
}
