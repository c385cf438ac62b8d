//! Where the parts of the sidecar write down what they know, and the pages read it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::report::Report;

/// What is known now.
#[derive(Debug, Default)]
pub struct Board {
    report: Mutex<Report>,
    /// Whether the engine may start: the first look at the volume is over, or took too long to wait for.
    started: AtomicBool,
    /// Versions that are broken and may still be written at.
    broken: AtomicU64,
    /// Why the newest look at the files of the volume did not come to its end. Its size is measured by somebody else.
    look_error: Mutex<Option<String>>,
}

impl Board {
    /// A board with nothing on it.
    pub fn new(started: bool) -> Self {
        Self { started: AtomicBool::new(started), ..Self::default() }
    }

    /// Writes something down.
    pub fn note(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All that is known.
    pub fn report(&self) -> Report {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(volume) = &mut report.volume
            && volume.error.is_none()
        {
            volume.error.clone_from(&self.look_error.lock().unwrap_or_else(PoisonError::into_inner));
        }
        report
    }

    /// How the newest look at the files of the volume ended.
    pub fn note_look(&self, error: Option<String>) {
        *self.look_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// The engine need not wait any more.
    pub fn start(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Whether the engine need not wait any more.
    pub fn started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// How many versions are broken and may still be written at.
    pub fn note_broken(&self, versions: u64) {
        self.broken.store(versions, Ordering::Relaxed);
    }

    /// The same, to be read.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }
}
