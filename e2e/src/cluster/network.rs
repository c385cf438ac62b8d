//! Networks: a namespace per cluster, one for the link between clusters, and a wire from the host into each cluster.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::journal::Change;
use super::process::{HOLDER, Machine, Place, Process};

/// Group of the namespace that joins the clusters.
pub const WAN: &str = "wan";

/// Table of the host's packet filter.
pub const NFT_TABLE: &str = "goproxy_lab";

/// As many as have networks of their own below.
pub const MAX_CLUSTERS: u8 = 8;

/// Directories of the host that components insist on writing to: each cluster gets its own in its mount namespace.
pub const PRIVATE: [&str; 5] = ["/var/log", "/var/lib/kubelet", "/var/lib/cni", "/run/containerd", "/run/netns"];

/// Addresses of one cluster. Each has networks of its own, so that the host can have routes to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    index: u8,
}

impl Addresses {
    /// The addresses of the cluster with this number, counted from 1.
    pub fn of(index: u8) -> Result<Self> {
        ensure!((1..=MAX_CLUSTERS).contains(&index), "there can be 1 to {MAX_CLUSTERS} clusters, not {index}");
        Ok(Self { index })
    }

    /// On the link between clusters; also the address of the node.
    pub fn wan(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 200, 0, self.index)
    }

    /// The host's end of the wire into the cluster: the cluster's way out.
    pub fn host_end(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 201, self.index, 1)
    }

    /// The cluster's end of the wire: where the host reaches its API server.
    pub fn cluster_end(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 201, self.index, 2)
    }

    /// Network of Service addresses.
    pub fn services(self) -> String {
        format!("10.{}.0.0/16", 95 + self.index)
    }

    /// Address of the Service `default/kubernetes`, always the first of the network.
    pub fn kubernetes_service(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 95 + self.index, 0, 1)
    }

    /// Address of the cluster's name service.
    pub fn dns(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 95 + self.index, 0, 10)
    }

    /// Network of Pod addresses.
    pub fn pods(self) -> String {
        format!("10.{}.0.0/16", 243 + self.index)
    }
}

/// Name of the host's end of the wire into a cluster.
pub fn host_link(cluster: &str) -> String {
    format!("glab-{cluster}")
}

fn wan_port(cluster: &str) -> String {
    format!("port-{cluster}")
}

/// Refuses to start when the machine already uses one of the lab's networks.
pub async fn check_free(machine: &Machine, clusters: &[Addresses]) -> Result<()> {
    let text = machine.run(&Place::Host, "ip", &["-j", "-4", "route", "show", "table", "all"]).await?;
    let routes: Vec<Value> = serde_json::from_str(&text).context("cannot read the routes of the host")?;
    let used: Vec<&str> = routes.iter().filter_map(|route| route["dst"].as_str()).filter(|d| *d != "default").collect();
    for addresses in clusters {
        let ours = [
            format!("{}/24", addresses.wan()),
            format!("{}/24", addresses.host_end()),
            addresses.services(),
            addresses.pods(),
        ];
        for network in ours {
            if let Some(taken) = used.iter().find(|taken| overlaps(taken, &network)) {
                anyhow::bail!("the lab needs the network {network}, but this machine has a route to {taken}");
            }
        }
    }
    Ok(())
}

fn overlaps(one: &str, other: &str) -> bool {
    let (Some((a, a_len)), Some((b, b_len))) = (parse_network(one), parse_network(other)) else { return false };
    let mask = u32::MAX.checked_shl(32 - a_len.min(b_len)).unwrap_or(0);
    (a & mask) == (b & mask)
}

fn parse_network(text: &str) -> Option<(u32, u32)> {
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    let address: Ipv4Addr = address.parse().ok()?;
    Some((address.to_bits(), length.parse().ok().filter(|length| *length <= 32)?))
}

/// Starts the process that keeps a new network and mount namespace alive, with private directories in it.
pub async fn start_holder(machine: &Machine, group: &str, private: &[&str]) -> Result<()> {
    let base = machine.state.group(group);
    let mut arguments = Vec::new();
    for target in private {
        machine.journal.make_directory(std::path::Path::new(target))?;
        let source = base.join("private").join(target.trim_start_matches('/').replace('/', "-"));
        std::fs::create_dir_all(&source)?;
        arguments.extend([source.to_string_lossy().into_owned(), (*target).to_owned()]);
    }
    let ready = base.join("holder-ready");
    let script = r#"set -e
        ready=$1; shift
        mount --make-rshared /
        ip link set lo up
        echo 1 >/proc/sys/net/ipv4/ip_forward
        while [ $# -gt 0 ]; do mount --bind "$1" "$2"; shift 2; done
        : >"$ready"
        exec sleep infinity"#;
    let process = Process::on_host(group, HOLDER, "/usr/bin/unshare")
        .args(["--net", "--mount", "/bin/sh", "-c", script, HOLDER])
        .args([ready.to_string_lossy().into_owned()])
        .args(arguments);
    machine.start(&process).await?;
    super::wait::until(&format!("the namespaces of {group}"), Duration::from_secs(10), || async {
        machine.expect_running(group, &[HOLDER])?;
        Ok(ready.exists().then_some(()))
    })
    .await
}

/// Makes the bridge that joins the clusters.
pub async fn make_wan(machine: &Machine) -> Result<()> {
    start_holder(machine, WAN, &[]).await?;
    let batch = "link add name wan type bridge\nlink set wan up\n";
    machine.run_with_input(&Place::Inside(WAN.into()), "ip", &["-batch", "-"], batch).await?;
    Ok(())
}

/// Lets traffic of the clusters out through the host.
pub async fn make_masquerade(machine: &Machine) -> Result<()> {
    machine.journal.record(&Change::NftTable { family: "ip".into(), name: NFT_TABLE.into() })?;
    let rules = format!(
        "table ip {NFT_TABLE} {{\n\
           chain postrouting {{\n\
             type nat hook postrouting priority srcnat;\n\
             ip saddr 10.201.0.0/16 oifname != \"glab-*\" masquerade;\n\
           }}\n\
         }}\n"
    );
    machine.run_with_input(&Place::Host, "nft", &["-f", "-"], &rules).await?;
    Ok(())
}

/// Connects a cluster to the link between clusters and to the host.
pub async fn connect(machine: &Machine, cluster: &str, addresses: Addresses, mtu: u64) -> Result<()> {
    let (inside, wan) = (machine.holder(cluster)?, machine.holder(WAN)?);
    let (link, port) = (host_link(cluster), wan_port(cluster));
    machine.journal.record(&Change::Link { name: link.clone() })?;
    let ends = format!(
        "link add {port} mtu {mtu} netns {wan} type veth peer name wan0 mtu {mtu} netns {inside}\n\
         link add {link} mtu {mtu} type veth peer name uplink mtu {mtu} netns {inside}\n\
         addr add {host}/24 dev {link}\nlink set {link} up\n",
        host = addresses.host_end()
    );
    machine.run_with_input(&Place::Host, "ip", &["-batch", "-"], &ends).await?;
    let batch = format!("link set {port} master wan\nlink set {port} up\n");
    machine.run_with_input(&Place::Inside(WAN.into()), "ip", &["-batch", "-"], &batch).await?;
    let batch = format!(
        "addr add {wan}/24 dev wan0\nlink set wan0 up\naddr add {end}/24 dev uplink\nlink set uplink up\n\
         route add default via {host}\n",
        wan = addresses.wan(),
        end = addresses.cluster_end(),
        host = addresses.host_end()
    );
    machine.run_with_input(&Place::Inside(cluster.into()), "ip", &["-batch", "-"], &batch).await?;
    let batch = format!(
        "route add {services} via {end} dev {link}\nroute add {pods} via {end} dev {link}\n",
        services = addresses.services(),
        pods = addresses.pods(),
        end = addresses.cluster_end()
    );
    machine.run_with_input(&Place::Host, "ip", &["-batch", "-"], &batch).await?;
    Ok(())
}

/// Takes a cluster's link to the others down, or up again. Its wire to the host stays.
pub async fn set_link(machine: &Machine, cluster: &str, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    machine.run(&Place::Inside(WAN.into()), "ip", &["link", "set", &wan_port(cluster), state]).await?;
    Ok(())
}

/// The packet size of the host's way out: larger packets of a cluster would only be sent back.
pub async fn uplink_mtu(machine: &Machine) -> Result<u64> {
    let text = machine.run(&Place::Host, "ip", &["-j", "-4", "route", "show", "default"]).await?;
    let routes: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    let Some(device) = routes.first().and_then(|route| route["dev"].as_str()) else { return Ok(1500) };
    let text = machine.run(&Place::Host, "ip", &["-j", "link", "show", "dev", device]).await?;
    let links: Vec<Value> = serde_json::from_str(&text)?;
    Ok(links.first().and_then(|link| link["mtu"].as_u64()).unwrap_or(1500))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_clusters_share_a_network() {
        let all: Vec<_> = (1..=MAX_CLUSTERS).map(|index| Addresses::of(index).unwrap()).collect();
        let networks: Vec<String> = all
            .iter()
            .flat_map(|a| [a.services(), a.pods(), format!("{}/24", a.host_end()), format!("{}/32", a.wan())])
            .collect();
        for (index, one) in networks.iter().enumerate() {
            for other in &networks[index + 1..] {
                assert!(!overlaps(one, other), "{one} overlaps {other}");
            }
        }
    }

    #[test]
    fn addresses_lie_in_their_networks() {
        let addresses = Addresses::of(3).unwrap();
        assert!(overlaps(&addresses.services(), &addresses.dns().to_string()));
        assert!(overlaps(&addresses.services(), &addresses.kubernetes_service().to_string()));
        assert!(Addresses::of(0).is_err() && Addresses::of(MAX_CLUSTERS + 1).is_err());
    }

    #[test]
    fn overlap_is_decided_by_the_shorter_prefix() {
        assert!(overlaps("10.0.0.0/8", "10.200.0.0/24"));
        assert!(overlaps("10.96.3.4", "10.96.0.0/16"));
        assert!(overlaps("0.0.0.0/0", "10.96.0.0/16"));
        assert!(!overlaps("10.97.0.0/16", "10.96.0.0/16"));
        assert!(!overlaps("fd00::/64", "10.96.0.0/16"));
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        assert!(host_link("a").len() <= 15 && wan_port("a").len() <= 15);
    }
}
