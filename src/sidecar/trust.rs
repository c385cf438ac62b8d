//! Whom the sidecar trusts, and the clients that it asks with.

use std::{path::Path, sync::Arc, time::Duration};

use reqwest::{NoProxy, Proxy};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Names the program to those who are asked.
const USER_AGENT: &str = concat!("goproxy-operator/", env!("CARGO_PKG_VERSION"));

/// The variables with the login at the way out: user and password.
pub const EGRESS_LOGIN: [&str; 2] = ["EGRESS_PROXY_USERNAME", "EGRESS_PROXY_PASSWORD"];

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file with certificate authorities cannot be used.
    #[error("cannot use the certificate authorities in {path}: {problem}")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        problem: String,
    },
    /// The address of the way out cannot be used. Without the address: it may hold a login.
    #[error("the environment's {variable} is no address of a proxy")]
    WayOut {
        /// The variable.
        variable: &'static str,
    },
    /// The library has no suitable ciphers or the client cannot be made.
    #[error("cannot make a client: {0}")]
    Client(String),
}

/// What a client does on its way.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// Certificate authorities in PEM besides those of the system.
    pub ca_file: Option<&'a Path>,
    /// Whether the way out that the environment names is taken, with the login that it names.
    pub proxy_from_environment: bool,
    /// No answer takes longer.
    pub timeout: Duration,
}

/// TLS that trusts the system's authorities, or Mozilla's where the system has none, and those of a file. The file is read each time: it is a mounted Secret or ConfigMap, and
/// may be renewed while the pod runs.
pub fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    // The program's own image has nothing in it but the program.
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = ca_file {
        let unusable = |problem: String| TrustError::Unusable { path: path.display().to_string(), problem };
        let found = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
        for certificate in found {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TrustError::Client(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A client for an address of this scheme. In clear, it needs nobody to trust.
pub fn client(scheme: &str, way: Way<'_>) -> Result<reqwest::Client, TrustError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .timeout(way.timeout)
        // None of those who are asked has a reason to send anywhere else, and a login must not follow.
        .redirect(reqwest::redirect::Policy::none())
        // What the library reads of the environment by itself has no place for a login.
        .no_proxy();
    builder = match scheme {
        "https" => builder.tls_backend_preconfigured(tls(way.ca_file)?),
        // The library reads the system's authorities when a client is made, and fails where there are none.
        _ => builder.tls_backend_preconfigured(nobody()?),
    };
    if way.proxy_from_environment {
        for proxy in ways_out(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))? {
            builder = builder.proxy(proxy);
        }
    }
    builder.build().map_err(|error| TrustError::Client(error.to_string()))
}

/// The ways out that an environment names. A login is apart from the address, so that nobody has to encode it.
fn ways_out(environment: impl Fn(&str) -> Option<String>) -> Result<Vec<Proxy>, TrustError> {
    let past = NoProxy::from_string(&environment("NO_PROXY").unwrap_or_default());
    let login = environment(EGRESS_LOGIN[0]).zip(environment(EGRESS_LOGIN[1]));
    let way = |variable: &'static str, proxy: fn(String) -> reqwest::Result<Proxy>| {
        let Some(address) = environment(variable) else { return Ok(None) };
        let proxy = proxy(address).map_err(|_| TrustError::WayOut { variable })?.no_proxy(past.clone());
        Ok(Some(match &login {
            Some((username, password)) => proxy.basic_auth(username, password),
            None => proxy,
        }))
    };
    let ways = [way("HTTPS_PROXY", Proxy::https)?, way("HTTP_PROXY", Proxy::http)?];
    Ok(ways.into_iter().flatten().collect())
}

fn nobody() -> Result<ClientConfig, TrustError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TrustError::Client(error.to_string()))?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The body of an answer, up to a size that nothing sensible exceeds.
pub async fn body(mut response: reqwest::Response, most: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() >= most {
            body.truncate(most);
            break;
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_authority_is_told_by_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n").unwrap();
        let error = tls(Some(file.path())).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
        assert!(tls(Some(Path::new("/nowhere/ca.crt"))).is_err());
    }

    #[test]
    fn the_way_out_is_the_environment_s_and_what_cannot_be_read_is_not_quoted() {
        let named = |pairs: &'static [(&'static str, &'static str)]| {
            ways_out(move |name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned()))
        };
        assert!(named(&[]).unwrap().is_empty());
        let [user, password] = EGRESS_LOGIN;
        assert_eq!((user, password), ("EGRESS_PROXY_USERNAME", "EGRESS_PROXY_PASSWORD"));
        let both = named(&[
            ("HTTPS_PROXY", "http://egress:3128"),
            ("HTTP_PROXY", "http://egress:3128"),
            ("EGRESS_PROXY_USERNAME", "a@b"),
            ("EGRESS_PROXY_PASSWORD", "p:w/d"),
        ]);
        assert_eq!(both.unwrap().len(), 2);
        let error = named(&[("HTTPS_PROXY", "http://secret word")]).unwrap_err().to_string();
        assert!(error.contains("HTTPS_PROXY") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn in_clear_nobody_has_to_be_trusted() {
        let way = Way { ca_file: None, proxy_from_environment: false, timeout: Duration::from_secs(1) };
        assert!(client("http", way).is_ok());
    }
}
