//! Name resolution: what the host resolves, a pod resolves as well.

use std::net::IpAddr;

use anyhow::{Context as _, Result};

use super::making::BringUp;
use super::process::Process;
use crate::tools::{self, Family};

/// Where systemd-resolved keeps the servers that its loopback stub asks.
const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// The `resolv.conf` for pods that use the node's name service, among them the cluster's own.
///
/// A server on the loopback interface cannot be reached from a cluster: then the servers behind it are used, or a
/// forwarder on the host when there is no telling which these are.
pub(super) async fn resolv_conf(up: &BringUp<'_>) -> Result<String> {
    let text = std::fs::read_to_string("/etc/resolv.conf").context("cannot read /etc/resolv.conf")?;
    if let Some(usable) = usable(&text) {
        return Ok(usable);
    }
    if let Some(usable) = std::fs::read_to_string(BEHIND_STUB).ok().as_deref().and_then(usable) {
        return Ok(usable);
    }
    let corefile = format!(
        ".:53 {{\n    bind {}\n    errors\n    forward . /etc/resolv.conf\n    cache 5\n}}\n",
        up.addresses.host_end()
    );
    std::fs::write(up.path("Corefile.forwarder"), corefile)?;
    let forwarder = Process::on_host(up.name, "dns-forwarder", tools::bin(Family::CoreDns, "coredns"));
    up.machine.start(&forwarder.args(["-conf".to_owned(), up.path_text("Corefile.forwarder")])).await?;
    Ok(format!("nameserver {}\n", up.addresses.host_end()))
}

/// The file without servers on the loopback interface and of IPv6, which clusters do not have; none when none is left.
fn usable(text: &str) -> Option<String> {
    let keeps = |line: &&str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["nameserver", server, ..] => server.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() && !ip.is_loopback()),
        ["search" | "domain" | "options", ..] => true,
        _ => false,
    };
    let kept: Vec<&str> = text.lines().filter(keeps).collect();
    let has_server = kept.iter().any(|line| line.trim_start().starts_with("nameserver"));
    has_server.then(|| kept.join("\n") + "\n")
}

/// Entries of the host's `/etc/hosts` that mean something to a pod, as lines of address and names.
pub(super) fn host_entries() -> Vec<String> {
    entries(&std::fs::read_to_string("/etc/hosts").unwrap_or_default())
}

fn entries(hosts: &str) -> Vec<String> {
    let line = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        let names: Vec<&str> = words.collect();
        let useful = address.is_ipv4() && !address.is_loopback() && !address.is_unspecified() && !names.is_empty();
        useful.then(|| format!("{address} {}", names.join(" ")))
    };
    hosts.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_can_be_reached_is_kept() {
        let text = "# made by a tool\nnameserver 10.0.0.53\nnameserver ::1\nsearch corp.example\n";
        assert_eq!(usable(text).unwrap(), "nameserver 10.0.0.53\nsearch corp.example\n");
    }

    #[test]
    fn a_loopback_stub_alone_is_of_no_use() {
        assert_eq!(usable("nameserver 127.0.0.53\noptions edns0\n"), None);
        assert_eq!(usable(""), None);
    }

    #[test]
    fn hosts_of_the_loopback_interface_stay_on_the_host() {
        let text = "127.0.0.1 localhost vm\n::1 localhost\n192.0.2.7 mirror.example mirror # ours\n\n# 1.2.3.4 off\n";
        assert_eq!(entries(text), ["192.0.2.7 mirror.example mirror"]);
    }
}
