//! What a person sees while the lab works: one line per step, with the time since the start and the step's own time.
//!
//! Nothing is ever rewritten on the screen, so the lines read the same in a terminal, a log file and a CI page.

use std::io::Write as _;
use std::time::{Duration, Instant};

/// Prints steps to standard error as they end.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    silent: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// A display whose clock starts now.
    pub fn new() -> Self {
        Self { start: Instant::now(), silent: false }
    }

    /// A display that prints nothing, for tests that bring up clusters many times.
    pub fn silent() -> Self {
        Self { start: Instant::now(), silent: true }
    }

    /// Begins a step that is expected to be short: it is printed once, when it ends.
    pub fn step(&self, what: impl Into<String>) -> Step<'_> {
        Step { progress: self, what: what.into(), start: Instant::now(), ended: false }
    }

    /// Begins a step that may take long: it is printed when it begins, so that nobody stares at nothing, and when it ends.
    pub fn long_step(&self, what: impl Into<String>) -> Step<'_> {
        let step = self.step(what);
        self.note(format!("{} ...", step.what));
        step
    }

    /// Prints one line that is not a step.
    pub fn note(&self, text: impl AsRef<str>) {
        if self.silent {
            return;
        }
        // Standard error that is gone (a closed pipe) is no reason to stop building a cluster.
        let _ = writeln!(std::io::stderr().lock(), "{} {}", stamp(self.start.elapsed()), text.as_ref());
    }

    /// Time since this display was made.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A step under way. Dropping it without [`Step::done`] prints it as failed, so that an early return is visible.
#[derive(Debug)]
pub struct Step<'a> {
    progress: &'a Progress,
    what: String,
    start: Instant,
    ended: bool,
}

impl Step<'_> {
    /// Ends the step well.
    pub fn done(self) {
        self.finish("");
    }

    /// Ends the step well, with a detail worth reading (a size, a count).
    pub fn done_with(self, detail: impl AsRef<str>) {
        self.finish(detail.as_ref());
    }

    fn finish(mut self, detail: &str) {
        self.ended = true;
        let separator = if detail.is_empty() { "" } else { ": " };
        let took = self.start.elapsed().as_secs_f64();
        self.progress.note(format!("{}{separator}{detail} ({took:.1} s)", self.what));
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let took = self.start.elapsed().as_secs_f64();
            self.progress.note(format!("{} FAILED ({took:.1} s)", self.what));
        }
    }
}

fn stamp(elapsed: Duration) -> String {
    format!("{:>7.1}s ", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_keeps_its_width_up_to_a_day() {
        assert_eq!(stamp(Duration::from_millis(1_250)), "    1.2s ");
        assert_eq!(stamp(Duration::from_hours(24)), "86400.0s ");
    }
}
