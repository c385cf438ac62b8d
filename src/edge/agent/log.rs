//! The log of requests: read for figures, and begun anew before it fills the disk.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use tokio::{sync::watch, time::sleep};

use super::{pages::Figures, place::Place, serving::Serving};

/// How often it is read. nginx writes once a second.
const LOOK: Duration = Duration::from_secs(1);

/// How long it gets. With the one before it, twice that is on disk.
const LENGTH_MAX: u64 = 32 << 20;

/// How much is read at a time.
const CHUNK: u64 = 4 << 20;

/// One request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Line {
    pub(super) status: u16,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    upstream_status: String,
    cache: String,
    revision: String,
    path: String,
}

/// Which part a revision has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Stable,
    Canary,
    /// Refused before one was chosen, or of a revision that has none any more.
    None,
}

impl Part {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
            Self::None => "none",
        }
    }
}

impl Line {
    /// What was asked for.
    pub(super) fn what(&self) -> &'static str {
        if self.path.starts_with("/sumdb/") {
            return "sums";
        }
        let endings = [(".info", "info"), (".mod", "mod"), (".zip", "zip"), ("/list", "list"), ("/@latest", "latest")];
        endings.iter().find(|(ending, _)| self.path.ends_with(ending)).map_or("other", |(_, what)| what)
    }

    /// Where the answer came from.
    pub(super) fn cache(&self) -> &'static str {
        let known = ["HIT", "MISS", "BYPASS", "EXPIRED", "STALE", "UPDATING", "REVALIDATED"];
        known.into_iter().find(|known| *known == self.cache).unwrap_or("none")
    }

    /// The class of the status.
    pub(super) const fn code(&self) -> &'static str {
        match self.status {
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            500..=599 => "5xx",
            _ => "other",
        }
    }

    /// Whether a second revision was asked after the first had failed: nginx writes a colon between the two.
    pub(super) fn fell_back(&self) -> bool {
        self.upstream_status.contains(" : ")
    }

    fn part(&self, serving: &Serving) -> Part {
        let Some(now) = &serving.now else { return Part::None };
        let weights = &now.held.weights;
        if weights.stable == self.revision {
            Part::Stable
        } else if weights.canary.as_ref().is_some_and(|canary| canary.revision == self.revision) {
            Part::Canary
        } else {
            Part::None
        }
    }
}

/// A log that grows.
struct Log {
    file: File,
    /// Bytes of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Log {
    /// From its end: what is before that was counted by an earlier process.
    fn at_end(place: &Place) -> io::Result<Self> {
        let mut file = File::open(place.log())?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, rest: Vec::new() })
    }

    /// From its beginning: nginx has only just made it.
    fn at_start(place: &Place) -> io::Result<Self> {
        Ok(Self { file: File::open(place.log())?, rest: Vec::new() })
    }

    /// The lines that came since.
    fn read(&mut self, mut take: impl FnMut(Line)) -> io::Result<()> {
        while (&mut self.file).take(CHUNK).read_to_end(&mut self.rest)? > 0 {
            let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { continue };
            for line in self.rest[..end].split(|byte| *byte == b'\n') {
                match serde_json::from_slice(line) {
                    Ok(line) => take(line),
                    Err(error) => tracing::debug!(%error, "a line of the log cannot be read"),
                }
            }
            self.rest.drain(..=end);
        }
        Ok(())
    }
}

/// Counts what is logged until the process ends.
pub(super) async fn run(place: Arc<Place>, serving: watch::Receiver<Serving>, figures: Arc<Figures>) {
    let mut log = Log::at_end(&place).ok();
    loop {
        sleep(LOOK).await;
        let read = match &mut log {
            Some(log) => round(&place, log, &serving, &figures).await,
            None => Log::at_start(&place).map(|begun| log = Some(begun)),
        };
        if let Err(error) = read {
            tracing::debug!(%error, "the log of requests cannot be read");
            log = Log::at_end(&place).ok();
        }
    }
}

async fn round(place: &Place, log: &mut Log, serving: &watch::Receiver<Serving>, figures: &Figures) -> io::Result<()> {
    let take = |line: Line| figures.answered(&line, line.part(&serving.borrow()));
    log.read(take)?;
    if log.file.metadata()?.len() < LENGTH_MAX {
        return Ok(());
    }
    let path = place.log();
    std::fs::rename(&path, path.with_extension("log.1"))?;
    place.reopen().await.map_err(io::Error::other)?;
    // Workers write out what they still hold before they let go of the old file.
    sleep(LOOK).await;
    log.read(take)?;
    *log = Log::at_start(place)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn line(text: &str) -> Line {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn labels_are_of_a_few_values_whatever_is_in_a_line() {
        let good = line(
            r#"{"status":200,"bytes":7,"seconds":0.1,"upstreamStatus":"404 : 200","cache":"HIT","path":"/a/@v/list","x":1}"#,
        );
        assert_eq!((good.what(), good.cache(), good.code(), good.fell_back()), ("list", "HIT", "2xx", true));
        assert_eq!(line(r#"{"path":"/sumdb/s.example/latest"}"#).what(), "sums");
        let odd = line(r#"{"status":99,"upstreamStatus":"502, 200","cache":"evil","path":"/a.b/x"}"#);
        assert_eq!((odd.what(), odd.cache(), odd.code(), odd.fell_back()), ("other", "none", "other", false));
    }

    #[test]
    fn a_line_is_counted_once_and_only_when_it_is_whole() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut writer = path.reopen().unwrap();
        let mut log = Log { file: path.reopen().unwrap(), rest: Vec::new() };
        let mut seen = Vec::new();
        let mut read = |log: &mut Log| {
            log.read(|line| seen.push(line.status)).unwrap();
            seen.clone()
        };
        write!(writer, "{{\"status\":200}}\nno line\n{{\"sta").unwrap();
        assert_eq!(read(&mut log), [200]);
        writeln!(writer, "tus\":404}}").unwrap();
        assert_eq!(read(&mut log), [200, 404]);
        assert_eq!(read(&mut log), [200, 404]);
    }
}
