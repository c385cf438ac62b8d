//! The table that a run ends in. A figure stands beside the raw client's of the same run, the bar and the aim.

use std::fmt::Write as _;

/// What a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Ours divided by raw is at least this.
    RatioAtLeast {
        /// What must be reached.
        bar: f64,
        /// What we want.
        aim: f64,
    },
    /// Ours divided by raw is at most this.
    RatioAtMost {
        /// What must be reached.
        bar: f64,
        /// What we want.
        aim: f64,
    },
    /// Ours is at most this.
    AtMost {
        /// What must be reached.
        bar: f64,
        /// What we want.
        aim: f64,
    },
    /// Printed, not judged.
    None,
}

/// How a figure stands to its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Better than wanted.
    AimMet,
    /// As good as it must be.
    BarMet,
    /// Not good enough.
    Missed,
    /// Nothing to compare with.
    NotJudged,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AimMet => "aim met",
            Self::BarMet => "bar met",
            Self::Missed => "MISSED",
            Self::NotJudged => "",
        }
    }
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which metric it belongs to: `P1`.
    pub metric: &'static str,
    /// What was measured, with its unit.
    pub what: String,
    /// The operator's figure.
    pub ours: f64,
    /// The figure of whoever it is compared with.
    pub raw: Option<f64>,
    /// What it is held against.
    pub goal: Goal,
    /// How many were measured.
    pub count: String,
    /// How far repeated measurements lay apart.
    pub spread: String,
}

impl Row {
    /// A figure without anything to compare it with.
    pub fn plain(metric: &'static str, what: impl Into<String>, ours: f64) -> Self {
        let (count, spread) = (String::new(), String::new());
        Self { metric, what: what.into(), ours, raw: None, goal: Goal::None, count, spread }
    }

    /// The same with a figure to compare it with.
    #[must_use]
    pub fn beside(mut self, raw: f64) -> Self {
        self.raw = Some(raw);
        self
    }

    /// The same with a goal.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    /// The same with the number of things measured.
    #[must_use]
    pub fn of(mut self, count: impl std::fmt::Display) -> Self {
        self.count = format!("{count}");
        self
    }

    /// The same with the spread of repeated measurements.
    #[must_use]
    pub fn spread(mut self, spread: impl Into<String>) -> Self {
        self.spread = spread.into();
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.raw.filter(|raw| *raw > 0.0).map(|raw| self.ours / raw)
    }

    /// How the figure stands to its goal.
    pub fn verdict(&self) -> Verdict {
        let grade = |bar: bool, aim: bool| match (bar, aim) {
            (_, true) => Verdict::AimMet,
            (true, false) => Verdict::BarMet,
            (false, false) => Verdict::Missed,
        };
        match (self.goal, self.ratio()) {
            (Goal::RatioAtLeast { bar, aim }, Some(ratio)) => grade(ratio >= bar, ratio >= aim),
            (Goal::RatioAtMost { bar, aim }, Some(ratio)) => grade(ratio <= bar, ratio <= aim),
            (Goal::AtMost { bar, aim }, _) => grade(self.ours <= bar, self.ours <= aim),
            (Goal::RatioAtLeast { .. } | Goal::RatioAtMost { .. } | Goal::None, _) => Verdict::NotJudged,
        }
    }

    fn cells(&self) -> [String; 10] {
        let (bar, aim) = match self.goal {
            Goal::RatioAtLeast { bar, aim } => (format!(">= {bar}x"), format!(">= {aim}x")),
            Goal::RatioAtMost { bar, aim } => (format!("<= {bar}x"), format!("<= {aim}x")),
            Goal::AtMost { bar, aim } if bar <= 0.0 && aim <= 0.0 => ("0".into(), "0".into()),
            Goal::AtMost { bar, aim } => (format!("<= {bar}"), format!("<= {aim}")),
            Goal::None => (String::new(), String::new()),
        };
        [
            self.metric.to_owned(),
            self.what.clone(),
            figure(self.ours),
            self.raw.map(figure).unwrap_or_default(),
            self.ratio().map(|ratio| format!("{ratio:.2}x")).unwrap_or_default(),
            bar,
            aim,
            self.count.clone(),
            self.spread.clone(),
            self.verdict().as_str().to_owned(),
        ]
    }
}

/// As many digits as mean something.
fn figure(value: f64) -> String {
    if value.fract().abs() < f64::EPSILON || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

const HEAD: [&str; 10] = ["", "measured", "ours", "raw", "ratio", "bar", "aim", "N", "spread", ""];

/// The rows as a table, columns as wide as what is in them.
pub fn render(rows: &[Row]) -> String {
    let cells: Vec<[String; 10]> = [HEAD.map(str::to_owned)].into_iter().chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Figures to the right, words to the left. Writing to a string cannot fail.
            let _ = if (2..=6).contains(&column) {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_judged_against_bar_and_aim() {
        let goal = Goal::RatioAtLeast { bar: 0.6, aim: 0.8 };
        let row = |ours| Row::plain("P1", "writes/s", ours).beside(100.0).goal(goal).verdict();
        assert_eq!([row(90.0), row(70.0), row(50.0)], [Verdict::AimMet, Verdict::BarMet, Verdict::Missed]);
        let goal = Goal::RatioAtMost { bar: 2.0, aim: 1.3 };
        let row = |ours| Row::plain("P6", "s", ours).beside(1.0).goal(goal).verdict();
        assert_eq!([row(1.0), row(1.9), row(2.1)], [Verdict::AimMet, Verdict::BarMet, Verdict::Missed]);
    }

    #[test]
    fn one_write_at_rest_is_one_too_many() {
        let row = |ours| Row::plain("P3", "writes", ours).goal(Goal::AtMost { bar: 0.0, aim: 0.0 });
        assert_eq!(row(0.0).verdict(), Verdict::AimMet);
        assert_eq!(row(1.0).verdict(), Verdict::Missed);
    }

    #[test]
    fn columns_line_up_and_a_missed_bar_is_seen() {
        let rows = [
            Row::plain("P1", "child writes/s", 412.4).beside(500.0).goal(Goal::RatioAtLeast { bar: 0.9, aim: 0.95 }),
            Row::plain("P5", "MiB", 3.25).of(1000).spread("2 %"),
        ];
        let text = render(&rows);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].ends_with("MISSED"), "{text}");
        assert!(lines[1].contains(" 412  500  0.82x  >= 0.9x  >= 0.95x"), "{text}");
        assert!(lines[2].contains("3.25"), "{text}");
    }
}
