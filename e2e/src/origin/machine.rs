//! The module source that this machine's own `go` uses, for fleets that shall fetch real public modules.
//!
//! What is found is handed to a fleet and never written into the tree: it is the machine's business.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The public checksum database, as every go command knows it.
const PUBLIC_DATABASE: &str = "sum.golang.org";

/// Where Go programs look for certificate authorities when the environment names no file.
const CA_FILES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What a fleet needs to fetch what this machine can fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineUpstream {
    /// Module proxies, in the order in which they are tried. Empty when the machine fetches from the origins only.
    pub urls: Vec<String>,
    /// Under which of them the public checksum database answers, if any: value for the second word of `GOSUMDB`.
    pub checksum_database_url: Option<String>,
    /// Certificate authorities in PEM, when the machine has a list of its own.
    pub ca_pem: Option<String>,
}

/// Asks this machine's go command and environment.
pub fn machine_upstream() -> Result<MachineUpstream> {
    let output = Command::new("go").args(["env", "GOPROXY"]).env("GOTOOLCHAIN", "local").output().context("run go")?;
    ensure!(output.status.success(), "go env GOPROXY: {}", String::from_utf8_lossy(&output.stderr).trim());
    let urls = proxies(String::from_utf8_lossy(&output.stdout).trim());
    let mut checksum_database_url = None;
    for url in &urls {
        let database = format!("{url}/sumdb/{PUBLIC_DATABASE}");
        if answers(&format!("{database}/supported"))? {
            checksum_database_url = Some(database);
            break;
        }
    }
    Ok(MachineUpstream { urls, checksum_database_url, ca_pem: ca_pem()? })
}

/// The proxies among the words of a `GOPROXY` value.
fn proxies(value: &str) -> Vec<String> {
    let words = value.split([',', '|']).map(str::trim);
    let proxies = words.filter(|word| word.starts_with("https://") || word.starts_with("http://"));
    proxies.map(|word| word.trim_end_matches('/').to_owned()).collect()
}

/// Whether a URL answers with success. A server that cannot be reached is an answer too: no.
fn answers(url: &str) -> Result<bool> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/reach/main.go");
    let output = Command::new("go")
        .arg("run")
        .arg(&program)
        .arg(url)
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "")
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    Ok(output.status.success() && String::from_utf8_lossy(&output.stdout).trim() == "200")
}

/// The certificate authorities that Go programs on this machine trust.
fn ca_pem() -> Result<Option<String>> {
    let named = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let found = named.or_else(|| CA_FILES.iter().map(PathBuf::from).find(|path| path.is_file()));
    let Some(path) = found else { return Ok(None) };
    let pem =
        fs::read_to_string(&path).with_context(|| format!("read the certificate authorities {}", path.display()))?;
    ensure!(pem.contains("-----BEGIN CERTIFICATE-----"), "{} holds no certificate", path.display());
    Ok(Some(pem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_are_kept_in_order() {
        let value = "https://one.invalid/,http://two.invalid/path|direct,off";
        assert_eq!(proxies(value), ["https://one.invalid", "http://two.invalid/path"]);
        assert!(proxies("direct").is_empty());
    }

    #[test]
    fn an_address_that_refuses_is_no_answer() {
        assert!(!answers("http://127.0.0.1:9/").unwrap());
    }
}
