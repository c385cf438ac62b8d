//! What processes cost: processor time and memory, as the kernel counts them.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Memory of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Resident, MiB.
    pub resident: f64,
    /// Of it anonymous: heap and stacks, not pages of the program file. MiB.
    pub anonymous: f64,
    /// The most that was ever resident, MiB.
    pub peak: f64,
}

/// Reads the memory of a process.
pub fn memory(pid: i32) -> Result<Memory> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let (rollup, status) = (read("smaps_rollup")?, read("status")?);
    Ok(Memory {
        resident: mebibytes(&rollup, "Rss:")?,
        anonymous: mebibytes(&rollup, "Anonymous:")?,
        peak: mebibytes(&status, "VmHWM:")?,
    })
}

fn mebibytes(text: &str, key: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
    let number: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(number / 1024.0)
}

/// Processor time that this process has used.
pub fn own_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(") ").context("/proc/self/stat has no name")?;
    // After the name: state is field 3, so user and system time are the 12th and 13th from here.
    let ticks = rest.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(from_ticks(ticks))
}

/// Processor time that the whole machine has spent on anything but waiting.
pub fn machine_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    busy(&stat).context("/proc/stat does not begin with the sum of all processors")
}

/// user nice system idle iowait irq softirq steal guest guest_nice, guests being counted in user already.
fn busy(stat: &str) -> Option<Duration> {
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .map(|field| field.parse().ok())
        .collect::<Option<_>>()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = fields[..] else { return None };
    Some(from_ticks(user + nice + system + irq + softirq + steal))
}

/// The kernel tells times in hundredths of a second, whatever its own clock is.
fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}

/// The processor, its number and the commit that was measured, for the line above a table.
pub fn machine_line() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |m| m.1);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores, commit {}", commit())
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output =
            std::process::Command::new("git").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|list| !list.is_empty());
    if changed { format!("{hash} with changes") } else { hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        let memory = memory(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(memory.anonymous > 0.0 && memory.anonymous <= memory.resident, "{memory:?}");
        assert!(memory.peak > 0.0);
        assert!(own_time().unwrap() <= machine_time().unwrap());
    }

    #[test]
    fn waiting_is_not_work() {
        let stat = "cpu  100 20 30 99999 5000 1 2 7 50 0\ncpu0 1 1 1 1\n";
        assert_eq!(busy(stat), Some(Duration::from_millis(1600)));
        assert_eq!(busy("intr 1"), None);
    }
}
