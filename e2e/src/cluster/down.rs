//! Removing every trace of a lab. Each step looks first whether there is anything to do, so that a `down` that was killed
//! itself is simply run again.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::cgroup::{Cgroups, ROOT};
use super::journal::{Change, Journal};
use super::state::{Lock, StateDir};
use super::sysctl;
use crate::progress::Progress;

/// The kernel needs a moment to end processes and to dissolve what they held.
const DEADLINE: Duration = Duration::from_secs(30);

/// Ends the lab of a state directory and undoes every change that it made to the machine.
pub async fn down(state: &StateDir, progress: &Progress) -> Result<()> {
    super::check_root()?;
    let lock = Lock::take(state, "lab down")?;
    tear_down(state, progress).await?;
    lock.remove()
}

/// The same for a caller that holds the lock.
pub(super) async fn tear_down(state: &StateDir, progress: &Progress) -> Result<()> {
    let cgroups = Cgroups::discover()?;
    let step = progress.step("processes ended");
    let count = end_processes(&cgroups).await?;
    step.done_with(count.to_string());

    let changes = Journal::read(&state.journal())?;
    let step = progress.step("changes of the machine undone");
    let rebooted = changes.iter().any(|change| matches!(change, Change::Boot { id } if *id != boot_id()));
    for change in changes.iter().rev() {
        undo(change, rebooted).await?;
    }
    // Also when the journal is gone: the name is the lab's alone.
    remove_cgroups(ROOT).await?;
    step.done_with(changes.len().to_string());

    let step = progress.step("state directory removed");
    remove_state(state).await?;
    step.done();
    Ok(())
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

async fn end_processes(cgroups: &Cgroups) -> Result<usize> {
    let count = cgroups.all_processes(ROOT).len();
    let start = Instant::now();
    loop {
        let left = cgroups.all_processes(ROOT);
        if left.is_empty() {
            return Ok(count);
        }
        ensure!(start.elapsed() < DEADLINE, "these processes of the lab do not end: {left:?}");
        cgroups.kill_all(ROOT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn undo(change: &Change, rebooted: bool) -> Result<()> {
    match change {
        Change::Sysctl { key, old } if !rebooted => sysctl::restore(key, old),
        Change::Boot { .. } | Change::Sysctl { .. } => Ok(()),
        // Declaring the table first makes the removal succeed whether it exists or not.
        Change::NftTable { family, name } => {
            command("nft", &["-f", "-"], &format!("table {family} {name}\ndelete table {family} {name}\n"))
        }
        Change::Link { name } => remove_link(name).await,
        Change::Directory { path } => {
            remove_empty(path);
            Ok(())
        }
        Change::Cgroup { name } => remove_cgroups(name).await,
    }
}

/// The other end lies in a namespace that the kernel is dissolving, which removes the link as well.
async fn remove_link(name: &str) -> Result<()> {
    let path = Path::new("/sys/class/net").join(name);
    let start = Instant::now();
    while path.exists() {
        let result = command("ip", &["link", "delete", name], "");
        if start.elapsed() > DEADLINE {
            return result;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn remove_cgroups(name: &str) -> Result<()> {
    let cgroups = Cgroups::discover()?;
    let start = Instant::now();
    loop {
        let left = cgroups.remove(name);
        if left.is_empty() {
            return Ok(());
        }
        ensure!(start.elapsed() < DEADLINE, "these control groups cannot be removed: {left:?}");
        // A process that was just being started joins late.
        cgroups.kill_all(name);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Removes a directory that the lab made, with all empty ones below. Where somebody else has put something since, it stays.
fn remove_empty(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_empty(&entry.path());
    }
    // It fails for a directory with content, which is meant to stay.
    let _ = std::fs::remove_dir(directory);
}

/// The journal goes last: as long as it exists, the directory is known to be a lab's.
async fn remove_state(state: &StateDir) -> Result<()> {
    let (path, journal) = (state.path(), state.journal());
    if !path.exists() {
        return Ok(());
    }
    if !journal.exists() {
        // Never a lab's, or emptied by a `down` that was killed just here: only an empty directory is removed.
        let _ = std::fs::remove_dir(path);
        return Ok(());
    }
    refuse_mounts(path)?;
    let start = Instant::now();
    while let Err(error) = remove_all_but(path, &journal) {
        if start.elapsed() > DEADLINE {
            return Err(error).with_context(|| format!("cannot empty {}", path.display()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::remove_file(&journal)?;
    std::fs::remove_dir(path).with_context(|| format!("cannot remove {}", path.display()))
}

/// Deleting through a mount would delete what is mounted. The lab mounts nothing here, so somebody else did.
fn refuse_mounts(path: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let below =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).find(|mount| Path::new(mount).starts_with(path));
    if let Some(mount) = below {
        bail!(
            "{mount} is a mount inside the state directory and not the lab's: unmount it, then run `cargo lab down` again"
        );
    }
    Ok(())
}

fn remove_all_but(directory: &Path, keep: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path == keep {
            continue;
        }
        if path.is_dir() && !path.is_symlink() { std::fs::remove_dir_all(&path)? } else { std::fs::remove_file(&path)? }
    }
    Ok(())
}

/// Runs a system tool outside the lab's control groups, which are being removed.
fn command(program: &str, args: &[&str], input: &str) -> Result<()> {
    let shown = || format!("{program} {}", args.join(" "));
    let mut child = Command::new("/usr/bin/env")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .arg(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", shown()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input may have closed it already.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "`{}` failed: {}", shown(), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_put_into_our_directory_stays() {
        let directory = tempfile::tempdir().unwrap();
        let ours = directory.path().join("ours");
        std::fs::create_dir_all(ours.join("empty/deeper")).unwrap();
        std::fs::create_dir_all(ours.join("used")).unwrap();
        std::fs::write(ours.join("used/file"), "").unwrap();
        remove_empty(&ours);
        assert!(ours.join("used/file").exists() && !ours.join("empty").exists());
        std::fs::remove_file(ours.join("used/file")).unwrap();
        remove_empty(&ours);
        assert!(!ours.exists());
    }

    #[tokio::test]
    async fn a_directory_without_a_journal_is_never_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::at(directory.path().join("home"));
        std::fs::create_dir_all(state.path()).unwrap();
        std::fs::write(state.path().join("thesis.txt"), "").unwrap();
        remove_state(&state).await.unwrap();
        assert!(state.path().join("thesis.txt").exists());
        std::fs::write(state.journal(), "").unwrap();
        remove_state(&state).await.unwrap();
        assert!(!state.path().exists());
    }
}
