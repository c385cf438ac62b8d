//! What a cluster would tell, out of a file: for trying an edge without one.

use std::{path::Path, time::Duration};

use tokio::{sync::mpsc, time::sleep};

use super::{Input, place::Saved};

/// How often the file is read.
const LOOK: Duration = Duration::from_millis(100);

/// Reads the file again and again, and tells what changed.
pub(super) async fn watch(path: &Path, inputs: mpsc::Sender<Input>) {
    let mut before = Vec::new();
    loop {
        match std::fs::read(path) {
            Ok(text) if text != before => {
                match serde_json::from_slice::<Saved>(&text) {
                    Ok(Saved { told, endpoints }) => {
                        let endpoints = Input::Endpoints(endpoints.into_iter().collect());
                        let state = Input::State(Box::new(told));
                        if inputs.send(endpoints).await.is_err() || inputs.send(state).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(%error, path = %path.display(), "the file cannot be read as JSON"),
                }
                before = text;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, path = %path.display(), "the file cannot be read"),
        }
        sleep(LOOK).await;
    }
}
