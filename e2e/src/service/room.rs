//! A directory and a few processes of a cluster that make up one service, and come and go together.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::signal::Signal;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::net::TcpStream;

use super::name;
use crate::cluster::{Cluster, PrivateAuthority, Process, until};
use crate::probe;
use crate::progress::Progress;
use crate::tools::hex;

/// All of them answer within a second on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// One service of a cluster: one process nearly always, a few where one is not enough.
#[derive(Debug)]
pub struct Room {
    cluster: Cluster,
    name: &'static str,
    directory: PathBuf,
    /// What listens, each on its port, in the order in which it was started.
    components: Vec<(String, u16)>,
}

impl Room {
    /// Makes the directory of a service that is not there yet, and installs the packages of its programs.
    pub(super) fn open(cluster: &Cluster, name: &'static str, programs: &[(&str, &'static str)]) -> Result<Self> {
        probe::packages(programs, &Progress::new())?;
        let directory = cluster.directory().join("services").join(name);
        ensure!(!directory.exists(), "{name} of {} was started already", cluster.name());
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        Ok(Self { cluster: cluster.clone(), name, directory, components: Vec::new() })
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Where pods, other processes of the cluster and the host reach the service.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.cluster.addresses().cluster_end()
    }

    /// Address and port as one text.
    pub(super) fn endpoint(&self, port: u16) -> String {
        format!("{}:{port}", self.address())
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    pub(super) fn path_text(&self, file: &str) -> String {
        self.path(file).to_string_lossy().into_owned()
    }

    /// Makes a directory below that of the service.
    pub(super) fn make(&self, directory: &str) -> Result<PathBuf> {
        let path = self.path(directory);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    /// Writes a file that only the owner may read, as ssh and others insist.
    pub(super) fn write(&self, file: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(file);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("protect {}", path.display()))?;
        Ok(path)
    }

    pub(super) fn read(&self, file: &str) -> Result<String> {
        let path = self.path(file);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// Writes `server.crt` and `server.key` of an authority made for this service, and returns the authority's certificate.
    pub(super) fn certify(&self) -> Result<String> {
        self.certify_as(&[])
    }

    /// The same, and the certificate is good for these names too.
    pub(super) fn certify_as(&self, more: &[&str]) -> Result<String> {
        let authority = PrivateAuthority::create(&format!("goproxy-lab {}", self.name))?;
        let addresses = self.cluster.addresses();
        let own = [self.address().to_string(), addresses.wan().to_string(), name::dns(self.name)];
        let names: Vec<_> = own.into_iter().chain(more.iter().map(|name| (*name).to_owned())).collect();
        let pair = authority.server(self.name, &names)?;
        self.write("server.crt", &pair.certificate)?;
        self.write("server.key", &pair.key)?;
        self.write("ca.crt", &authority.pem())?;
        Ok(authority.pem())
    }

    /// A process of the service, to be given its arguments.
    pub(super) fn process(&self, component: &str, program: impl Into<PathBuf>) -> Process {
        Process::inside(self.cluster.name(), component, program)
    }

    /// Starts a process, and waits until it accepts connections. From then on it is a component of the service.
    pub(super) async fn serve(&mut self, process: &Process, port: u16) -> Result<()> {
        self.cluster.run(process).await?;
        self.accepts(&process.name, port).await?;
        self.components.push((process.name.clone(), port));
        Ok(())
    }

    /// Kills the service. What it keeps in files outlives that.
    pub async fn kill(&self) -> Result<()> {
        for (component, _) in &self.components {
            self.cluster.kill(component).await?;
        }
        Ok(())
    }

    /// Starts the service again after it was killed.
    pub async fn start_again(&self) -> Result<()> {
        for (component, port) in &self.components {
            self.start_one_again(component, *port).await?;
        }
        Ok(())
    }

    /// The same for one component of several.
    pub(super) async fn start_one_again(&self, component: &str, port: u16) -> Result<()> {
        self.cluster.start(component).await?;
        self.accepts(component, port).await
    }

    async fn accepts(&self, component: &str, port: u16) -> Result<()> {
        let endpoint = self.endpoint(port);
        let what = format!("{component} at {endpoint}");
        let waited = until(&what, START_DEADLINE, || async {
            ensure!(!self.cluster.pids(component).is_empty(), "{component} has ended");
            Ok(TcpStream::connect(&endpoint).await.ok())
        });
        waited.await.map(drop).with_context(|| self.last_words(component))
    }

    /// What a component said last, for whoever waits for it in vain.
    pub(super) fn last_words(&self, component: &str) -> String {
        format!("the end of the log of {component}:\n{}", self.cluster.log_tail(component))
    }

    /// Makes the service hang: connections are accepted by the kernel and never answered.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a service that hangs go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.components.iter().try_for_each(|(component, _)| self.cluster.signal(component, signal))
    }

    /// Runs a client inside the cluster's namespaces.
    pub(super) async fn client(&self, program: &str, args: &[&str], input: &str) -> Result<String> {
        self.cluster.run_inside(program, args, input).await
    }

    /// Ends the service and removes everything that it wrote.
    pub async fn close(self) -> Result<()> {
        for (component, _) in self.components.iter().rev() {
            self.cluster.remove(component).await?;
        }
        fs::remove_dir_all(&self.directory).with_context(|| format!("remove {}", self.directory.display()))
    }
}

/// A password that nobody has had before: 32 hexadecimal digits.
pub(super) fn secret() -> Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_never_repeat() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
