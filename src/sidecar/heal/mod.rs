//! Removes what was cut off in the middle of being written, so that the engine fetches it anew instead of serving it.
//!
//! For Athens' layout alone: [`judge`] says why a version is broken, [`sweep`] which are looked at, [`tree`] does it.
//!
//! Removing a version that somebody writes at the same moment does no damage either, though it is avoided: the engine writes on into files that
//! have no name any more, fails when it opens the next one, and the request is answered with an error instead of half a file.

pub mod archive;
pub mod judge;
pub mod sweep;
pub mod tree;

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{self, Instant},
};

use self::{
    sweep::{Now, Removed, Step, Sweep},
    tree::Time,
};
use super::{board::Board, config::Volume, words};

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(60);

/// Pause between two whole looks.
const WHOLE_EVERY: Duration = Duration::from_secs(24 * 3600);

/// So long the engine's start may wait for the first look. Twenty thousand versions take a second on a disk of the node; on a volume of
/// the network they may take minutes, and then what is left is worth less than an engine that serves.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// Directories looked at in one go, and the pause after it where nobody waits: the volume is the engine's.
const BUDGET: usize = 500;
const BREATH: Duration = Duration::from_millis(100);

/// What listens answers at once: it is in the same pod.
const CONNECT: Duration = Duration::from_secs(1);

/// Looks at the volume for as long as the program runs. `changed`: the volume became full, or is not full any more.
pub async fn watch(volume: Volume, board: Arc<Board>, changed: Arc<Notify>) {
    let begun = Instant::now();
    let alone = is_alone(volume.only_writer.as_deref()).await;
    let settle = Duration::from_secs(volume.settle_seconds.into());
    // To the part of a second: an engine that was killed is started again at once, and what it left is as old as that.
    let started = time_of_day();
    let mut sweep = Sweep::new(volume.path, settle, started, alone);
    let impatient = Arc::clone(&board);
    let timer = tokio::spawn(async move {
        time::sleep(START_PATIENCE).await;
        impatient.start();
    });
    sweep = look(sweep, true, &board, begun).await;
    timer.abort();
    board.start();
    let (mut whole, mut wanted) = (Instant::now(), false);
    let mut ticks = time::interval_at(Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = changed.notified() => wanted = true,
        }
        // A volume may go to and fro between full and not; before it has rested nothing would be removed anyway.
        let all = (wanted && whole.elapsed() >= settle) || whole.elapsed() >= WHOLE_EVERY;
        if all {
            (whole, wanted) = (Instant::now(), false);
        }
        sweep = look(sweep, all, &board, begun).await;
    }
}

/// Whether nobody writes: the only writer does not listen yet. What answers in any other way than by refusing may be one.
async fn is_alone(only_writer: Option<&str>) -> bool {
    let Some(address) = only_writer else { return false };
    let connected = time::timeout(CONNECT, TcpStream::connect(address)).await;
    matches!(connected, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// One look, in steps. The sweep goes from hand to hand, because file systems are asked on threads of their own.
async fn look(mut sweep: Sweep, whole: bool, board: &Board, begun: Instant) -> Sweep {
    sweep.begin(whole);
    let mut error = None;
    loop {
        if board.started() {
            sweep.not_alone();
        }
        let now = now(begun);
        let step = tokio::task::spawn_blocking(move || {
            let step = sweep.step(BUDGET, now);
            (sweep, step)
        });
        let (back, Step { removed, more, error: failed }) = match step.await {
            Ok(done) => done,
            // Only a bug panics there; the task ends with it, which the log tells.
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        sweep = back;
        tell(&removed, board);
        error = error.or(failed);
        board.note_broken(sweep.broken());
        if !more {
            break;
        }
        if board.started() {
            time::sleep(BREATH).await;
        }
    }
    board
        .note_look(error.map(|(below, error)| format!("cannot look at {}: {}", below.display(), words::cause(&error))));
    sweep
}

fn tell(removed: &[Removed], board: &Board) {
    for Removed { module, version, damage } in removed {
        tracing::warn!(
            module,
            version,
            broken = damage.file(),
            "removed a version that was cut off: it is fetched anew"
        );
    }
    if !removed.is_empty() {
        let count = u64::try_from(removed.len()).unwrap_or(u64::MAX);
        board.note(|report| report.volume.get_or_insert_default().removed += count);
    }
}

fn now(begun: Instant) -> Now {
    Now { running: begun.elapsed(), time: time_of_day().0 }
}

/// Now, as files have it.
fn time_of_day() -> Time {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(time.as_secs()).unwrap_or(i64::MAX), time.subsec_nanos().into())
}

#[cfg(test)]
mod tests;
