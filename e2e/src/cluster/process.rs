//! Starting, finding and ending processes of the lab, on the host or inside a cluster's namespaces.
//!
//! Every process writes itself into a control group of the lab before it becomes the program that it is for. If the lab
//! is killed in between, the process either is found there by `down` or cannot join a group that is gone, and exits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::cgroup::{Cgroups, ROOT};
use super::journal::Journal;
use super::state::StateDir;

/// Arguments: number of files, the files, the command. `$$` stays the same through `exec`. Open files of whoever called
/// the lab (a lock, a pipe) are closed: a component that lives on would keep them open for good.
const JOIN: &str = r#"
    n=$1; shift
    while [ "$n" -gt 0 ]; do echo $$ >"$1" || exit 125; shift; n=$((n-1)); done
    for fd in /proc/$$/fd/*; do fd=${fd##*/}; if [ "$fd" -gt 2 ]; then eval "exec $fd>&-"; fi; done
    exec "$@""#;

/// Enough for the system's tools; nothing is inherited from whoever called the lab.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Short commands (ip, nft, ctr) take milliseconds; importing a large image on a busy machine is the longest.
const COMMAND_DEADLINE: Duration = Duration::from_mins(3);

/// From the start of a process until it is in its control group; milliseconds are usual.
const JOIN_DEADLINE: Duration = Duration::from_secs(30);

/// Name of the process that keeps a group's namespaces alive.
pub const HOLDER: &str = "holder";

/// Where a process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The machine's own namespaces.
    Host,
    /// The network and mount namespace of a group: a cluster, or the link between clusters.
    Inside(String),
}

/// A process that stays: how it is started, also when it is started again by another run of the lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Cluster, or other group, that it belongs to.
    pub group: String,
    /// Name within the group: of its control group, log and record.
    pub name: String,
    /// Where it runs.
    pub place: Place,
    /// Absolute path, or the name of a system tool.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment apart from `PATH`, which may be replaced here.
    pub env: BTreeMap<String, String>,
}

impl Process {
    /// A process inside the namespaces of its group.
    pub fn inside(group: &str, name: &str, program: impl Into<PathBuf>) -> Self {
        Self {
            group: group.into(),
            name: name.into(),
            place: Place::Inside(group.into()),
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
        }
    }

    /// A process on the host that belongs to a group.
    pub fn on_host(group: &str, name: &str, program: impl Into<PathBuf>) -> Self {
        Self { place: Place::Host, ..Self::inside(group, name, program) }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    fn cgroup(&self) -> String {
        component_cgroup(&self.group, &self.name)
    }
}

/// The control group of a component.
pub fn component_cgroup(group: &str, name: &str) -> String {
    format!("{ROOT}/{group}/{name}")
}

/// The machine as the lab sees it: its state directory, its control groups and its journal.
#[derive(Debug)]
pub struct Machine {
    /// Where state is kept.
    pub state: StateDir,
    /// The hierarchies that processes join.
    pub cgroups: Cgroups,
    /// Where changes are written down before they are made.
    pub journal: Journal,
}

impl Machine {
    /// Starts a process; it is recorded, so that it can be started again by name.
    pub async fn start(&self, process: &Process) -> Result<()> {
        let record = self.record(&process.group, &process.name);
        if let Some(directory) = record.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&record, serde_json::to_vec_pretty(process)?)?;
        let log = self.log(&process.group, &process.name);
        if let Some(directory) = log.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let log = OpenOptions::new().create(true).append(true).open(&log).context("cannot open the log")?;
        let mut command = self.command(&process.place, &process.cgroup(), &process.program, &process.args)?;
        command.envs(&process.env).stdout(log.try_clone()?).stderr(log);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {} of {}", process.name, process.group))?;
        // Until it has joined its group nobody could find it, and it would look as if it had ended.
        let start = Instant::now();
        while self.processes(&process.group, &process.name).is_empty() {
            if child.try_wait()?.is_some() {
                let tail = self.log_tail(&process.group, &process.name);
                bail!("{} of {} ended at once; the end of its log:\n{tail}", process.name, process.group);
            }
            if start.elapsed() > JOIN_DEADLINE {
                // Outside of its group it would outlive the lab.
                child.kill().await?;
                bail!("{} of {} did not join its control group within {JOIN_DEADLINE:?}", process.name, process.group);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Starts a recorded process again.
    pub async fn start_again(&self, group: &str, name: &str) -> Result<()> {
        let path = self.record(group, name);
        let text = std::fs::read(&path).with_context(|| format!("{group} has no component {name}"))?;
        self.start(&serde_json::from_slice(&text)?).await
    }

    /// Takes a process out of the names of its group: it is not missed when it does not run.
    pub fn forget(&self, group: &str, name: &str) -> Result<()> {
        std::fs::remove_file(self.record(group, name)).with_context(|| format!("cannot forget {name} of {group}"))
    }

    /// Names of the processes that were started in a group.
    pub fn recorded(&self, group: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.state.group(group).join("run")) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    /// Runs a short command to its end and returns what it printed.
    pub async fn run<S: AsRef<str>>(&self, place: &Place, program: impl AsRef<Path>, args: &[S]) -> Result<String> {
        self.run_with_input(place, program, args, "").await
    }

    /// The same with text for its standard input.
    pub async fn run_with_input<S: AsRef<str>>(
        &self,
        place: &Place,
        program: impl AsRef<Path>,
        args: &[S],
        input: &str,
    ) -> Result<String> {
        let args: Vec<String> = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
        let program = program.as_ref();
        let shown = || format!("{} {}", program.display(), args.join(" "));
        let mut command = self.command(place, &component_cgroup("commands", "short"), program, &args)?;
        command.env("KUBECACHEDIR", self.state.path().join("kube-cache")).env("HOME", self.state.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot run `{}`", shown()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input may have closed it already.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = tokio::time::timeout(COMMAND_DEADLINE, child.wait_with_output())
            .await
            .with_context(|| format!("`{}` did not end within {COMMAND_DEADLINE:?}", shown()))??;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{}` failed ({}): {}", shown(), output.status, stderr.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, place: &Place, cgroup: &str, program: &Path, args: &[String]) -> Result<Command> {
        let files = self.cgroups.create_tracking(cgroup)?;
        let mut command = Command::new("/bin/bash");
        command.env_clear().env("PATH", PATH).current_dir("/").process_group(0).stdin(Stdio::null());
        command.args(["-c", JOIN, "lab"]).arg(files.len().to_string()).args(files);
        if let Place::Inside(group) = place {
            let holder = self.holder(group)?.to_string();
            command.args(["/usr/bin/nsenter", "-t", &holder, "-m", "-n", "--"]);
        }
        command.arg(program).args(args);
        Ok(command)
    }

    /// The process that keeps the namespaces of a group alive.
    pub fn holder(&self, group: &str) -> Result<i32> {
        let found = self.processes(group, HOLDER);
        found.first().copied().with_context(|| format!("{group} is not up: nothing holds its namespaces"))
    }

    /// Live processes of a component. Containers' shims inherit the group of containerd and are not part of it.
    pub fn processes(&self, group: &str, name: &str) -> BTreeSet<i32> {
        let mut found = self.cgroups.processes(&component_cgroup(group, name));
        found.retain(|pid| is_alive(*pid));
        if name == "containerd" {
            found.retain(|pid| program_of(*pid).as_deref() == Some("containerd"));
        }
        found
    }

    /// Sends a signal to a component.
    pub fn signal(&self, group: &str, name: &str, signal: Signal) -> Result<()> {
        let found = self.processes(group, name);
        ensure!(!found.is_empty(), "{name} of {group} does not run");
        for pid in found {
            kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot signal {name} of {group}"))?;
        }
        Ok(())
    }

    /// Waits until no process of a component is left.
    pub async fn wait_gone(&self, group: &str, name: &str, deadline: Duration) -> Result<()> {
        let start = Instant::now();
        while !self.processes(group, name).is_empty() {
            ensure!(start.elapsed() < deadline, "{name} of {group} still runs after {deadline:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Fails when one of these components has ended, with the end of its log.
    pub fn expect_running(&self, group: &str, names: &[&str]) -> Result<()> {
        for name in names {
            if self.processes(group, name).is_empty() {
                bail!("{name} of {group} has ended; the end of its log:\n{}", self.log_tail(group, name));
            }
        }
        Ok(())
    }

    /// Path of a component's log.
    pub fn log(&self, group: &str, name: &str) -> PathBuf {
        self.state.group(group).join("logs").join(format!("{name}.log"))
    }

    /// The last lines of a component's log.
    pub fn log_tail(&self, group: &str, name: &str) -> String {
        let text = std::fs::read(self.log(group, name)).unwrap_or_default();
        tail(&String::from_utf8_lossy(&text), 15)
    }

    fn record(&self, group: &str, name: &str) -> PathBuf {
        self.state.group(group).join("run").join(format!("{name}.json"))
    }
}

/// False for a process that has ended and waits to be collected by its parent.
fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn program_of(pid: i32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }

    #[test]
    fn this_process_is_alive_and_an_unused_id_is_not() {
        assert!(is_alive(i32::try_from(std::process::id()).unwrap()));
        assert!(!is_alive(i32::MAX));
    }

    #[test]
    fn a_process_survives_its_record() {
        let process = Process::inside("a", "etcd", "/bin/etcd").args(["--name", "a"]).env("A", "b");
        let text = serde_json::to_string(&process).unwrap();
        assert_eq!(serde_json::from_str::<Process>(&text).unwrap(), process);
    }
}
