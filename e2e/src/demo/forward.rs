//! A way into a cluster whose Services this machine has no route to.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;

use super::tour::Site;

/// How long the API server may take to open the way.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running `kubectl port-forward`; dropping it ends it.
#[derive(Debug)]
pub(super) struct Forward {
    kubectl: Child,
    port: u16,
}

impl Forward {
    /// Forwards a free port of this machine to port 80 of a Service.
    pub(super) async fn start(site: &Site<'_>, service: &str) -> Result<Self> {
        let mut command = site.kubectl_command();
        command.args(["port-forward", "--address", "127.0.0.1", service, ":80"]);
        let mut kubectl = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start kubectl port-forward")?;
        let stdout = kubectl.stdout.take().context("kubectl has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first =
            tokio::time::timeout(DEADLINE, lines.next_line()).await.context("kubectl port-forward says nothing")??;
        let Some(port) = first.as_deref().and_then(port_of) else {
            let mut said = String::new();
            if let Some(mut stderr) = kubectl.stderr.take() {
                stderr.read_to_string(&mut said).await?;
            }
            bail!("kubectl port-forward {service}: {} {}", first.unwrap_or_default(), said.trim());
        };
        // It writes a line for every connection and would stop at a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { kubectl, port })
    }

    /// Where the Service answers on this machine.
    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it and waits until it is gone.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.kubectl.kill().await.context("cannot end kubectl port-forward")
    }
}

/// The port in `Forwarding from 127.0.0.1:40123 -> 3000`.
fn port_of(line: &str) -> Option<u16> {
    let (address, _) = line.strip_prefix("Forwarding from ")?.split_once(" -> ")?;
    address.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_one_of_this_machine() {
        assert_eq!(port_of("Forwarding from 127.0.0.1:40123 -> 3000"), Some(40123));
        assert_eq!(port_of("error: services \"goproxy\" not found"), None);
    }
}
