//! Agent and nginx as the processes that they are in a pod, in a directory of their own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Nginx, client};
use crate::origin::server::Server;

/// How long anything here may take; most of it takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(15);

/// The pod, the two revisions behind it, and what its agent is told.
pub(super) struct Pod<'a> {
    nginx: &'a Nginx,
    agent_program: &'a Path,
    directory: PathBuf,
    pub(super) front: SocketAddr,
    pub(super) pages: SocketAddr,
    agent: Option<Child>,
    nginx_process: Option<Child>,
    /// Files of the stable revision; the canary has none.
    pub(super) modules: PathBuf,
    pub(super) stable: Option<Server>,
    pub(super) canary: Option<Server>,
    endpoints: Value,
    told: i64,
}

/// Waits for something to hold.
pub(super) fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    let mut last = None;
    while start.elapsed() < DEADLINE {
        match holds() {
            Ok(true) => return Ok(()),
            Ok(false) => last = None,
            Err(error) => last = Some(error),
        }
        sleep(Duration::from_millis(10));
    }
    match last {
        Some(error) => Err(error.context(format!("not within {DEADLINE:?}: {what}"))),
        None => bail!("not within {DEADLINE:?}: {what}"),
    }
}

/// An address that nobody listens on.
pub(super) fn free() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}

impl<'a> Pod<'a> {
    /// Starts both revisions, and neither agent nor nginx.
    pub(super) fn new(nginx: &'a Nginx, agent_program: &'a Path, work: &Path) -> Result<Self> {
        let directory = work.join("pod");
        let modules = work.join("modules");
        for dir in [&directory, &modules, &work.join("cache")] {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let (stable, canary) = (free()?, free()?);
        let empty = work.join("empty");
        fs::create_dir_all(&empty)?;
        let endpoints = json!([
            { "pod": "corp-1-a", "address": stable.to_string() },
            { "pod": "corp-2-a", "address": canary.to_string() },
        ]);
        Ok(Self {
            nginx,
            agent_program,
            front: free()?,
            pages: free()?,
            agent: None,
            nginx_process: None,
            stable: Some(Server::start(&modules, &work.join("stable"), stable)?),
            canary: Some(Server::start(&empty, &work.join("canary"), canary)?),
            directory,
            modules,
            endpoints,
            told: 0,
        })
    }

    /// A revision once more, where it was before.
    pub(super) fn again(&self, name: &str) -> Result<Server> {
        let index = usize::from(name == "canary");
        let address = self.endpoints[index]["address"].as_str().context("an address")?.parse()?;
        let root = if index == 0 { self.modules.clone() } else { self.directory.with_file_name("empty") };
        // A directory of its own: the log of requests begins anew with each.
        Server::start(&root, &self.directory.with_file_name(format!("{name}-again")), address)
    }

    /// A file that stable would have from their storage.
    pub(super) fn module(&self, path: &str, content: &[u8]) -> Result<()> {
        let path = self.modules.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().context("a path with a directory")?)?;
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    }

    /// What is there in their storage and no file: a socket, which nobody can open, and which is a failure to a server of files.
    pub(super) fn broken(&self, path: &str) -> Result<()> {
        let path = self.modules.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().context("a path with a directory")?)?;
        UnixListener::bind(&path).map(drop).with_context(|| format!("bind {}", path.display()))
    }

    /// Tells the agent something new. Returns the number of the settings.
    pub(super) fn tell(&mut self, weights: &Value) -> Result<i64> {
        self.tell_all(weights, 60)
    }

    /// Tells the agent of another longest fetch, which is in nginx's file.
    pub(super) fn tell_fetch(&mut self, seconds: u32) -> Result<i64> {
        self.tell_all(&json!({ "stable": "corp-1" }), seconds)
    }

    fn tell_all(&mut self, weights: &Value, fetch: u32) -> Result<i64> {
        let number = self.told + 1;
        let settings =
            json!({ "weights": weights, "lists": { "minSeconds": 1, "maxSeconds": 2 }, "fetchSeconds": fetch });
        let spec = json!({ "protocol": 1, "settled": { "number": number, "settings": settings } });
        self.tell_spec(&spec)?;
        Ok(number)
    }

    /// Tells the agent anything.
    pub(super) fn tell_spec(&mut self, spec: &Value) -> Result<()> {
        self.told += 1;
        let text = json!({ "uid": "u", "generation": self.told, "spec": spec, "endpoints": self.endpoints });
        let (path, building) = (self.state(), self.directory.join("state.new"));
        fs::write(&building, text.to_string()).and_then(|()| fs::rename(&building, &path)).context("write the state")
    }

    fn state(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    /// From the next telling on there is one pod more, and nobody listens at its address.
    pub(super) fn add_endpoint(&mut self, name: &str) -> Result<()> {
        let endpoint = json!({ "pod": name, "address": free()?.to_string() });
        self.endpoints.as_array_mut().context("a list of endpoints")?.push(endpoint);
        Ok(())
    }

    /// From the next telling on there is one pod less.
    pub(super) fn remove_endpoint(&mut self) -> Result<()> {
        self.endpoints.as_array_mut().context("a list of endpoints")?.pop().map(drop).context("no endpoint")
    }

    /// From now on there is nothing to read, as while an API server is away.
    pub(super) fn tell_nothing(&self) -> Result<()> {
        fs::remove_file(self.state()).context("remove the state")
    }

    pub(super) fn start_agent(&mut self) -> Result<()> {
        let log = File::create(self.directory.join("agent.log"))?;
        let cache = self.directory.with_file_name("cache");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(self.agent_program)
            .args(["edge", "--fleet", "corp", "--namespace", "default", "--log-format", "text", "--workers", "2"])
            .args([Path::new("--state"), &self.state(), Path::new("--directory"), &self.directory])
            .args([Path::new("--cache"), &cache, Path::new("--nginx"), &self.nginx.program])
            .args([Path::new("--modules"), &self.nginx.modules()])
            .args(["--port", &self.front.port().to_string(), "--metrics-address", &self.pages.to_string()])
            .env("POD_NAME", "corp-edge-0")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start the agent")?;
        self.agent = Some(child);
        Ok(())
    }

    /// As the pod does it: once there is a file.
    pub(super) fn start_nginx(&mut self) -> Result<()> {
        until("the agent has written nginx's file", || Ok(self.page("/startz")?.0 == 200))?;
        let log = File::options().create(true).append(true).open(self.directory.join("nginx.log"))?;
        let mut command = Command::new(&self.nginx.program);
        command.arg("-p").arg(&self.directory).arg("-c").arg(self.directory.join("conf/nginx.conf"));
        command.args(["-e", "stderr"]);
        // Of one user, as in a pod: root's nginx would have its workers be somebody else.
        let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
        command.args(["-g", &format!("daemon off; {user}")]);
        command.current_dir(&self.directory).process_group(0);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        self.nginx_process = Some(child.context("start nginx")?);
        Ok(())
    }

    pub(super) fn kill_agent(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("there is no agent")?;
        agent.kill().and_then(|()| agent.wait()).context("kill the agent")?;
        Ok(())
    }

    /// All of nginx at once, as a container ends that is killed.
    pub(super) fn kill_nginx(&mut self) -> Result<()> {
        let mut nginx = self.nginx_process.take().context("there is no nginx")?;
        killpg(pid(&nginx)?, Signal::SIGKILL).context("kill nginx")?;
        nginx.wait().context("wait for nginx")?;
        Ok(())
    }

    /// The processes of nginx that serve.
    pub(super) fn workers(&self) -> Result<Vec<u32>> {
        let master = self.nginx_process.as_ref().context("there is no nginx")?.id();
        let path = format!("/proc/{master}/task/{master}/children");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        // Others look after the cache, and one of those ends by itself.
        let serves = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("worker process") && !line.contains("shutting down"))
        };
        // One that ends with its last download is no worker any more: nginx says so in its title.
        let workers: Vec<_> = text.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(serves).collect();
        ensure!(workers.len() == 2, "nginx has {} workers", workers.len());
        Ok(workers)
    }

    /// Status and text of a page of the agent.
    pub(super) fn page(&self, path: &str) -> Result<(u16, String)> {
        client::get(self.pages, path).map(|answer| (answer.status, answer.text()))
    }

    /// Waits until clients are served.
    pub(super) fn ready(&self) -> Result<()> {
        until("the pod is ready", || Ok(self.page("/readyz")?.0 == 200))
    }

    /// Waits until every worker serves by these settings.
    pub(super) fn serves(&self, number: i64) -> Result<()> {
        let line = format!("goproxy_edge_generation {number}\n");
        until(&format!("the edge serves by {number}"), || Ok(self.page("/metrics")?.1.contains(&line)))
    }

    /// What the processes said, for whoever wonders why a check failed.
    pub(super) fn words(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        format!("--- agent\n{}--- nginx\n{}", read("agent.log"), read("nginx.log"))
    }

    /// The lines of nginx's log of requests.
    pub(super) fn requests(&self) -> Result<String> {
        fs::read_to_string(self.directory.join("log/access.log")).context("read the log of requests")
    }
}

fn pid(child: &Child) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(child.id()).context("a process id")?))
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill().and_then(|()| agent.wait());
        }
        if let Some(mut nginx) = self.nginx_process.take() {
            if let Ok(pid) = pid(&nginx) {
                let _ = killpg(pid, Signal::SIGKILL).or_else(|_| kill(pid, Signal::SIGKILL));
            }
            let _ = nginx.wait();
        }
    }
}
