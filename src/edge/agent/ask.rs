//! Answers nginx's questions.

use std::{future::Future, io, path::Path, sync::Arc};

use jiff::Timestamp;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::watch,
};

use super::{pages::Figures, serving::Serving};
use crate::edge::{
    decide::decide,
    wire::{QUESTION_MAX, answer, question},
};

/// Listens; the future serves until the socket is closed.
pub(super) fn serve(
    socket: &Path,
    serving: watch::Receiver<Serving>,
    figures: Arc<Figures>,
) -> io::Result<impl Future<Output = ()> + use<>> {
    let listener = listen(socket)?;
    Ok(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (serving, figures) = (serving.clone(), Arc::clone(&figures));
            tokio::spawn(async move {
                if let Err(error) = converse(stream, &serving, &figures).await {
                    tracing::debug!(%error, "a conversation with nginx ended");
                }
            });
        }
    })
}

/// Listens on a unix socket, in the place of one that an earlier process left.
pub(super) fn listen(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    UnixListener::bind(socket)
}

/// One question after the other, until nginx closes the connection. Without settings, or with a question that is none, it is closed:
/// nginx then says that nobody decides.
async fn converse(stream: UnixStream, serving: &watch::Receiver<Serving>, figures: &Figures) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut text) = (String::new(), Vec::new());
    loop {
        line.clear();
        if (&mut stream).take(16).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let length = line.trim_end().parse().ok().filter(|length| *length <= QUESTION_MAX);
        text.resize(length.ok_or(io::ErrorKind::InvalidData)?, 0);
        stream.read_exact(&mut text).await?;
        let ask = question(&text).ok_or(io::ErrorKind::InvalidData)?;
        let Some(now) = serving.borrow().now.clone() else { return Ok(()) };
        let time = Timestamp::now();
        let decision = decide(&now.held, &now.keys, &ask, time);
        figures.decided(&decision.answer);
        stream.write_all(answer(&now.held.mark, &decision, time).as_bytes()).await?;
    }
}
