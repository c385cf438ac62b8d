//! Certificates and keys of one cluster: elliptic curve P-256 throughout.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose as Usage, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::network::Addresses;

/// Who a client certificate stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User name.
    pub user: String,
    /// Group, when the user needs one.
    pub group: Option<&'static str>,
}

impl Identity {
    /// A user with rights bound to the name.
    pub fn user(user: impl Into<String>) -> Self {
        Self { user: user.into(), group: None }
    }

    /// A user who may do everything.
    pub fn master(user: impl Into<String>) -> Self {
        Self { user: user.into(), group: Some("system:masters") }
    }

    /// The kubelet of a node.
    pub fn node(name: &str) -> Self {
        Self { user: format!("system:node:{name}"), group: Some("system:nodes") }
    }
}

/// A certificate with its key, as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// The authorities of a cluster and the directory with all their files.
#[derive(Debug)]
pub struct Pki {
    directory: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// Makes the authorities and every server certificate of a cluster.
    pub fn create(directory: &Path, node: &str, addresses: Addresses) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let pki = Self { directory: directory.to_path_buf(), authority: authority("goproxy-lab")? };
        pki.write("ca.crt", &pki.authority.pem())?;
        pki.write("ca.key", &pki.authority.key().serialize_pem())?;
        let tokens = KeyPair::generate()?;
        pki.write("service-account.key", &tokens.serialize_pem())?;
        pki.write("service-account.pub", &tokens.public_key_pem())?;

        let front = authority("goproxy-lab-front-proxy")?;
        pki.write("front-proxy-ca.crt", &front.pem())?;
        let client = issue(&front, &Identity::user("front-proxy-client"), &[], Usage::ClientAuth)?;
        pki.write_pair("front-proxy-client", &client)?;

        pki.write_pair("kube-apiserver", &pki.server("kube-apiserver", &api_server_names(addresses))?)?;
        pki.write_pair("kubelet", &pki.server(node, &[node.to_owned(), addresses.wan().to_string()])?)?;
        pki.write_pair("kubelet-client", &pki.client(&Identity::master("kube-apiserver-kubelet-client"))?)?;
        Ok(pki)
    }

    /// Issues a client certificate.
    pub fn client(&self, identity: &Identity) -> Result<Pair> {
        issue(&self.authority, identity, &[], Usage::ClientAuth)
    }

    fn server(&self, name: &str, names: &[String]) -> Result<Pair> {
        issue(&self.authority, &Identity::user(name), names, Usage::ServerAuth)
    }

    /// Path of one of the files.
    pub fn path(&self, file: &str) -> String {
        self.directory.join(file).to_string_lossy().into_owned()
    }

    /// The certificate of the authority, as PEM.
    pub fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    fn write_pair(&self, name: &str, pair: &Pair) -> Result<()> {
        self.write(&format!("{name}.crt"), &pair.certificate)?;
        self.write(&format!("{name}.key"), &pair.key)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        std::fs::write(self.directory.join(file), text).with_context(|| format!("cannot write {}", self.path(file)))
    }
}

/// An authority that no cluster knows, for services whose clients have to be told whom to trust.
pub(crate) struct PrivateAuthority(CertifiedIssuer<'static, KeyPair>);

impl PrivateAuthority {
    /// Makes the authority.
    pub(crate) fn create(name: &str) -> Result<Self> {
        Ok(Self(authority(name)?))
    }

    /// Its certificate, as PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues the certificate of a server that is reached under these names and addresses.
    pub(crate) fn server(&self, name: &str, names: &[String]) -> Result<Pair> {
        issue(&self.0, &Identity::user(name), names, Usage::ServerAuth)
    }
}

fn api_server_names(addresses: Addresses) -> Vec<String> {
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ];
    let ips = [addresses.kubernetes_service(), addresses.wan(), addresses.cluster_end(), std::net::Ipv4Addr::LOCALHOST];
    names.into_iter().map(str::to_owned).chain(ips.into_iter().map(|ip| ip.to_string())).collect()
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?).context("cannot make a certificate authority")
}

fn issue(authority: &CertifiedIssuer<'_, KeyPair>, who: &Identity, names: &[String], usage: Usage) -> Result<Pair> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, who.user.as_str());
    if let Some(group) = who.group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority).with_context(|| format!("cannot issue for {}", who.user))?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_server_is_reachable_under_every_address_of_the_cluster() {
        let names = api_server_names(Addresses::of(2).unwrap());
        for expected in ["10.97.0.1", "10.200.0.2", "10.201.2.2", "127.0.0.1", "kubernetes.default.svc"] {
            assert!(names.iter().any(|name| name == expected), "{expected} is missing in {names:?}");
        }
    }

    #[test]
    fn every_file_of_a_cluster_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::create(directory.path(), "node-a", Addresses::of(1).unwrap()).unwrap();
        for name in ["ca", "kube-apiserver", "kubelet", "kubelet-client", "front-proxy-client"] {
            for end in ["crt", "key"] {
                assert!(Path::new(&pki.path(&format!("{name}.{end}"))).exists(), "{name}.{end}");
            }
        }
        assert!(pki.client(&Identity::node("node-a")).unwrap().certificate.starts_with("-----BEGIN CERTIFICATE"));
    }
}
