//! What nginx has in its memory, kept equal to what it should have.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    pages::Figures,
    serving::{Now, Serving},
    unix_http::{self, Unanswered},
};

/// How often nginx is asked what it has: so long an nginx that began anew refuses everything.
const LOOK: Duration = Duration::from_millis(250);

/// How soon it is asked again after a push. Its workers take a tenth of a second.
const SOON: Duration = Duration::from_millis(20);

/// nginx answers from memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks what nginx has and pushes what it lacks. `acknowledged` is what every worker of nginx has, by its id. The first of the
/// sockets is the one that is spoken on.
pub(super) async fn run(
    sockets: [PathBuf; 2],
    mut serving: watch::Receiver<Serving>,
    acknowledged: watch::Sender<Option<String>>,
    figures: Arc<Figures>,
) {
    let (mut away, mut deserted) = (false, Deserted::default());
    loop {
        let now = serving.borrow_and_update().now.clone();
        let pause = match keep(&sockets[0], now.as_deref(), &figures).await {
            Ok(has) => {
                if away {
                    tracing::info!("nginx answers");
                }
                away = false;
                let behind = now.is_some_and(|now| has.as_deref() != Some(now.push.id.as_str()));
                set(&acknowledged, has);
                if behind { SOON } else { LOOK }
            }
            Err(error) => {
                if !away {
                    tracing::warn!(%error, "nginx does not answer");
                }
                away = true;
                if matches!(&error, Unanswered::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused) {
                    deserted.clear(&sockets);
                }
                set(&acknowledged, None);
                LOOK
            }
        };
        // What is new is pushed at once.
        if timeout(pause, serving.changed()).await.is_ok_and(|changed| changed.is_err()) {
            return sleep(LOOK).await;
        }
    }
}

/// Sockets that an nginx left behind when it was killed. Nobody listens on them, and the next nginx could not either.
#[derive(Debug, Default)]
struct Deserted(Option<(u64, u64)>);

impl Deserted {
    /// Removes them the second time that nobody listens on the same one: between being made and being listened on there is a moment
    /// for any socket, and it is much shorter than the time between two looks.
    fn clear(&mut self, sockets: &[PathBuf; 2]) {
        let inode = fs::metadata(&sockets[0]).map(|found| (found.ino(), found.dev())).ok();
        let again = inode.is_some() && self.0 == inode;
        self.0 = inode;
        if !again {
            return;
        }
        for socket in sockets {
            match fs::remove_file(socket) {
                Ok(()) => tracing::info!(socket = %socket.display(), "removed a socket that nobody listens on"),
                Err(error) => tracing::debug!(%error, socket = %socket.display(), "no socket to remove"),
            }
        }
    }
}

/// Asks what nginx has, and pushes if it is something else than it should be.
async fn keep(socket: &Path, now: Option<&Now>, figures: &Figures) -> Result<Option<String>, Unanswered> {
    let request = unix_http::get("/held").body(Full::default()).expect("a request of constants");
    let answer = unix_http::send(socket, request, PATIENCE).await?;
    let has = String::from_utf8_lossy(answer.body()).trim().to_owned();
    let has = (answer.status().is_success() && !has.is_empty()).then_some(has);
    let Some(now) = now.filter(|now| has.as_deref() != Some(now.push.id.as_str())) else { return Ok(has) };
    let request = http::Request::post("/push").header("host", "edge").body(Full::from(now.push.text.clone()));
    let answer = unix_http::send(socket, request.expect("a request of constants"), PATIENCE).await?;
    figures.pushed(answer.status().is_success());
    if !answer.status().is_success() {
        tracing::warn!(status = answer.status().as_u16(), "nginx does not take what is pushed");
    }
    Ok(has)
}

fn set(acknowledged: &watch::Sender<Option<String>>, value: Option<String>) {
    acknowledged.send_if_modified(|before| {
        let changed = *before != value;
        *before = value;
        changed
    });
}
