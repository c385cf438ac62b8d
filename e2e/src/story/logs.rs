//! What the operator writes to its log.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Stage, Telling};

/// What the operator wrote to its log, all through the stories before: one JSON object per line, which says when, how grave, from
/// where and what.
pub fn every_line_is_an_object(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let path = stage.operator()?.log();
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // It runs: what it writes at this moment may be half there.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            check(line).with_context(|| format!("{path} holds: {line}"))?;
        }
        let count = whole.lines().count();
        ensure!(count > 0, "{path} holds no line");
        stage.progress.note(format!("{count} lines"));
        Ok(())
    })
}

fn check(line: &str) -> Result<()> {
    let said: Value = serde_json::from_str(line).context("it is no JSON")?;
    let word =
        |key: &str| said[key].as_str().filter(|word| !word.is_empty()).with_context(|| format!("it has no {key}"));
    word("timestamp")?.parse::<jiff::Timestamp>().context("its timestamp is none")?;
    ensure!(["ERROR", "WARN", "INFO", "DEBUG"].contains(&word("level")?), "its level is none");
    word("target")?;
    word("message").map(drop)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_line_that_lacks_a_part_is_found() {
        let whole = r#"{"timestamp":"2026-01-01T00:00:00.000001Z","level":"INFO","message":"leads","target":"a::b"}"#;
        check(whole).unwrap();
        for part in ["timestamp", "level", "message", "target"] {
            assert!(check(&whole.replace(part, "other")).is_err(), "{part}");
        }
        for line in ["", "leads", "INFO leads", "[]", &whole.replace("INFO", "info"), &whole.replace("2026", "soon")] {
            assert!(check(line).is_err(), "{line}");
        }
    }
}
