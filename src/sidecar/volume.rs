//! How full the volume is.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::Notify, task::JoinHandle, time};

use super::{board::Board, report::VolumeReport, words};

/// Pause between two measurements. One is a call into the kernel that is answered from memory.
const EVERY: Duration = Duration::from_secs(10);

/// A volume of the network that says nothing for so long is told of. The call cannot be taken back, so that there is never a second
/// one beside it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nothing fits any more, but for the files of the smallest modules.
const FULL_BYTES: u64 = 4 << 20;

/// Size and room of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its size.
    pub total_bytes: u64,
    /// What is left for the engine, without what the file system keeps for root.
    pub free_bytes: u64,
    /// How many files it can hold; 0 where there is no limit.
    pub total_inodes: u64,
    /// How many more files it can hold.
    pub free_inodes: u64,
}

impl Space {
    /// Asks the file system.
    pub fn of(path: &std::path::Path) -> std::io::Result<Self> {
        let found = rustix::fs::statvfs(path)?;
        // A file system that counts in blocks of no size would be a bug of the kernel; then its blocks are bytes.
        let block = found.f_frsize.max(1);
        Ok(Self {
            total_bytes: found.f_blocks.saturating_mul(block),
            free_bytes: found.f_bavail.saturating_mul(block),
            total_inodes: found.f_files,
            free_inodes: found.f_favail,
        })
    }

    /// Whether a file that is being written now may well be cut off.
    pub fn is_full(&self) -> bool {
        self.free_bytes < FULL_BYTES || (self.total_inodes > 0 && self.free_inodes == 0)
    }
}

/// Measures for as long as the program runs. `changed` is told when the volume became full, and when it is not full any more.
pub async fn watch(path: PathBuf, board: Arc<Board>, changed: Arc<Notify>) {
    let mut ticks = time::interval(EVERY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut was_full = false;
    let mut under_way = None;
    loop {
        ticks.tick().await;
        let path = path.clone();
        let call = under_way.take().unwrap_or_else(|| tokio::task::spawn_blocking(move || Space::of(&path)));
        match patiently(call).await {
            Ok(Ok(space)) => {
                board.note(|report| keep(report.volume.get_or_insert_default(), space));
                if space.is_full() != was_full {
                    was_full = space.is_full();
                    let Space { free_bytes, free_inodes, .. } = space;
                    if was_full {
                        tracing::warn!(free_bytes, free_inodes, "the volume is full");
                    } else {
                        tracing::info!(free_bytes, free_inodes, "the volume has room again");
                    }
                    changed.notify_one();
                }
            }
            Ok(Err(error)) => fail(&board, &words::cause(&error)),
            Err(call) => {
                fail(&board, "the volume does not answer");
                under_way = Some(call);
            }
        }
    }
}

/// The result of a call, or the call itself if it takes too long.
async fn patiently<T>(
    mut call: JoinHandle<std::io::Result<T>>,
) -> Result<std::io::Result<T>, JoinHandle<std::io::Result<T>>> {
    match time::timeout(PATIENCE, &mut call).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Ok(Err(std::io::Error::other(error))),
        Err(_) => Err(call),
    }
}

fn keep(report: &mut VolumeReport, space: Space) {
    let Space { total_bytes, free_bytes, total_inodes, free_inodes } = space;
    *report = VolumeReport { total_bytes, free_bytes, total_inodes, free_inodes, error: None, ..report.clone() };
}

fn fail(board: &Board, error: &str) {
    board.note(|report| report.volume.get_or_insert_default().error = Some(error.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_directory_has_a_size() {
        let space = Space::of(std::env::temp_dir().as_path()).unwrap();
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes, "{space:?}");
        assert!(Space::of(std::path::Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn full_is_no_room_or_no_files() {
        let room = Space { total_bytes: 1 << 30, free_bytes: 1 << 29, total_inodes: 10, free_inodes: 5 };
        assert!(!room.is_full());
        assert!(Space { free_bytes: 0, ..room }.is_full());
        assert!(Space { free_inodes: 0, ..room }.is_full());
        assert!(!Space { total_inodes: 0, free_inodes: 0, ..room }.is_full(), "no limit at all");
    }

    #[tokio::test(start_paused = true)]
    async fn a_measurement_is_on_the_board_and_clears_an_error() {
        let board = Arc::new(Board::new(true));
        fail(&board, "the volume does not answer");
        let watch = tokio::spawn(watch(std::env::temp_dir(), Arc::clone(&board), Arc::new(Notify::new())));
        let measured = async {
            while board.report().volume.is_none_or(|volume| volume.error.is_some()) {
                tokio::task::yield_now().await;
            }
        };
        measured.await;
        watch.abort();
        assert!(board.report().volume.unwrap().total_bytes > 0);
    }
}
