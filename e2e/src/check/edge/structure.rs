//! Every file that the agent may write is one that the image's nginx takes.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::edge::nginx::{Cache, HostName, Ports, Structure, file};
use sha2::{Digest as _, Sha256};

use super::Nginx;

/// Structures that differ in everything that a structure has, the same ones in every run.
fn structures() -> impl Iterator<Item = Structure> {
    let listeners = (0..8_u16).map(|bits| {
        let port = |bit: u16| (bits & (1 << bit) != 0).then_some(20_000 + bit);
        Ports { http: 20_010, https: port(0), proxy_protocol: port(1), origin: port(2) }
    });
    let sizes = [(64 << 20, 1 << 20), ((10 << 30) + 512, 64 << 20), (5 << 40, 8 << 20)];
    let times = [Duration::from_secs(1), Duration::from_millis(90_500), Duration::from_secs(3600)];
    let ipv6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    listeners.enumerate().flat_map(move |(first, ports)| {
        (0..9).map(move |second| {
            let (size, keys) = sizes[second / 3];
            Structure {
                hostnames: hostnames(first * 9 + second),
                ports,
                ipv6: ipv6 && second % 2 == 0,
                cache: Cache { size, keys },
                fetch_timeout: times[second % 3],
                workers: [1, 2, 64][second % 3],
            }
        })
    })
}

/// None, some, or a name as long as names can be.
fn hostnames(seed: usize) -> BTreeSet<HostName> {
    let digest = Sha256::digest(seed.to_string());
    let label = |byte: &u8| format!("h{byte:02x}-{byte}");
    let long = vec!["a".repeat(63); 3].join(".") + "." + &"b".repeat(61);
    let names = match seed % 4 {
        0 => Vec::new(),
        1 => vec![long],
        _ => digest.iter().take(seed % 7).map(|byte| format!("{}.example", label(byte))).collect(),
    };
    names.iter().map(|name| HostName::parse(name).expect("a host name")).collect()
}

/// Tests each file as the agent does before it is served by.
pub(super) fn every_structure(nginx: &Nginx, work: &Path) -> Result<()> {
    let prefix = work.join("structures");
    for below in ["log", "temp", "tls", "lua", "cache"] {
        std::fs::create_dir_all(prefix.join(below)).with_context(|| format!("create {below}"))?;
    }
    std::os::unix::fs::symlink(nginx.modules(), prefix.join("modules")).context("link the modules")?;
    let key = rcgen::generate_simple_self_signed(["placeholder.invalid".to_owned()]).context("make a certificate")?;
    for (name, text) in [
        ("placeholder.crt", key.cert.pem()),
        ("placeholder.key", key.signing_key.serialize_pem()),
        ("origins.crt", key.cert.pem()),
    ] {
        std::fs::write(prefix.join("tls").join(name), text).with_context(|| format!("write {name}"))?;
    }
    let mut tested = 0;
    for structure in structures() {
        let configuration = prefix.join("nginx.conf");
        std::fs::write(&configuration, file(&structure)).context("write the file")?;
        let output = Command::new(&nginx.program)
            .args(["-t", "-q", "-e", "stderr", "-p"])
            .arg(&prefix)
            .arg("-c")
            .arg(&configuration)
            .current_dir(&prefix)
            .output()
            .context("run nginx")?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nginx refuses the file of {structure:?}: {words}");
        // A warning is a directive that does not do what it says.
        ensure!(!words.contains("[warn]"), "nginx warns of the file of {structure:?}: {words}");
        tested += 1;
    }
    ensure!(tested >= 72, "only {tested} structures were tested");
    Ok(())
}
