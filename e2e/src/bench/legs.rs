//! A figure beside the raw client's of the same run: raw, ours, raw, so that a machine that slows down or speeds up in
//! between is noticed.

use anyhow::Result;

use super::number;
use crate::progress::Progress;

/// Which client a leg is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client that only sends.
    Raw,
    /// The operator.
    Ours,
}

/// How far apart the two raw legs may be.
const TOLERANCE: f64 = 0.20;

/// How often a run is tried.
const ATTEMPTS: usize = 3;

/// The three legs of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Legs {
    /// Raw, first.
    pub before: f64,
    /// The operator.
    pub ours: f64,
    /// Raw, last.
    pub after: f64,
    /// How many runs it took.
    pub attempts: usize,
}

impl Legs {
    /// What the raw client reached.
    pub fn raw(&self) -> f64 {
        f64::midpoint(self.before, self.after)
    }

    fn apart(&self) -> f64 {
        (self.before - self.after).abs() / self.raw()
    }

    /// Whether the machine was the same all the time.
    pub fn holds(&self) -> bool {
        self.apart() <= TOLERANCE
    }

    /// Distance of the raw legs, for the table.
    pub fn spread(&self) -> String {
        let void = if self.holds() { "" } else { ", VOID" };
        let again = if self.attempts > 1 { format!(", run {}", self.attempts) } else { String::new() };
        format!("raw legs {:.0} % apart{again}{void}", self.apart() * 100.0)
    }
}

/// Runs the legs, and runs them again while the raw ones differ too much. The last run counts either way, and says so.
pub async fn interleaved(
    progress: &Progress,
    what: &str,
    mut leg: impl AsyncFnMut(Side) -> Result<f64>,
) -> Result<Legs> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let before = leg(Side::Raw).await?;
        let ours = leg(Side::Ours).await?;
        let after = leg(Side::Raw).await?;
        let legs = Legs { before, ours, after, attempts };
        progress.note(format!("{what}: raw {before:.2}, ours {ours:.2}, raw {after:.2}"));
        if legs.holds() || attempts == ATTEMPTS {
            return Ok(legs);
        }
        progress.note(format!("{what}: {}; again", legs.spread()));
    }
}

/// The value below which this share of the values lies; 0.5 is the median. NaN of nothing.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a short list")]
    let place = (share * number(sorted.len())).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let found = [0.5, 0.99, 1.0].map(|share| format!("{}", quantile(&values, share)));
        assert_eq!(found, ["50", "99", "100"]);
        assert_eq!(format!("{}", quantile(&[7.0], 0.99)), "7");
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[tokio::test]
    async fn a_run_on_an_uneven_machine_is_repeated_three_times_and_then_called_void() {
        let mut raw = [100.0, 50.0].into_iter().cycle();
        let mut count = 0;
        let progress = Progress::silent();
        let legs = interleaved(&progress, "test", async |side| {
            count += 1;
            Ok(match side {
                Side::Raw => raw.next().unwrap(),
                Side::Ours => 70.0,
            })
        });
        let legs = legs.await.unwrap();
        assert_eq!((legs.attempts, count), (3, 9));
        assert!(legs.spread().contains("VOID"), "{}", legs.spread());
    }

    #[tokio::test]
    async fn an_even_run_counts_at_once() {
        let legs = interleaved(&Progress::silent(), "test", async |_| Ok(10.0)).await.unwrap();
        assert_eq!(legs.attempts, 1);
        assert!(legs.holds());
    }
}
