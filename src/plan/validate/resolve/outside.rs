//! Logins for Git servers and the way out, with defaults.

use url::Url;

use super::Defaults;
use crate::{
    api::{
        go_proxy::{Credential, EgressProxy},
        status::DefaultSource,
    },
    plan::{
        object::network_policy::{FORBIDDEN_V4, FORBIDDEN_V6},
        validate::{Checksums, Login, ValidCredential, ValidEgress, ValidFleet, ValidLock, ValidStorage},
    },
};

const TOKEN_USER: &str = "x-access-token";
/// User at Git servers over ssh, if nothing is said.
pub const SSH_USER: &str = "git";
const HTTPS_PORT: i32 = 443;
/// Port of ssh.
pub const SSH_PORT: i32 = 22;
/// The pod itself. The go command never asks a proxy for it; git would.
pub const OWN_POD: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Services of the cluster, by the short form of their names.
pub const INSIDE: &str = ".svc";

/// The logins, by host: their order in the spec means nothing.
pub fn credentials(given: Vec<Credential>, defaults: &mut Defaults) -> Vec<ValidCredential> {
    let mut credentials: Vec<_> = given.into_iter().filter_map(|one| credential(one, defaults)).collect();
    credentials.sort_by(|one, other| one.host.cmp(&other.host));
    credentials
}

fn credential(given: Credential, defaults: &mut Defaults) -> Option<ValidCredential> {
    let Credential { host, port, basic, token, netrc, ssh, git_hub_app, probe } = given;
    let path = |field: &str| format!("spec.private.credentials.{host}.{field}");
    let usual = if ssh.is_some() { SSH_PORT } else { HTTPS_PORT };
    let port = defaults.or(&path("port"), port, usual);
    let basic = basic.map(|basic| (basic.secret_ref.name, Login::Basic));
    let token = token.map(|token| {
        let username = defaults.or(&path("token.username"), token.username, TOKEN_USER.to_owned());
        (token.secret_ref.name, Login::Token { username })
    });
    let netrc = netrc.map(|netrc| (netrc.secret_ref.name, Login::Netrc));
    let ssh = ssh.map(|ssh| {
        let user = defaults.or(&path("ssh.user"), ssh.user, SSH_USER.to_owned());
        (ssh.secret_ref.name, Login::Ssh { user })
    });
    let app = git_hub_app.map(|app| (app.secret_ref.name, Login::GitHubApp));
    let (secret, login) = basic.or(token).or(netrc).or(ssh).or(app)?;
    Some(ValidCredential { port: (port != usual).then_some(port), host, secret, login, probe })
}

/// The proxy on the way out, and what is reached past it: what was said, and what no such proxy can reach. What hands out tokens
/// at the node's own addresses must not be asked for through it: it would answer with the proxy's. Asked past it, the pod's
/// network policy decides.
pub fn egress(given: EgressProxy, fleet: &ValidFleet, cluster_domain: &str, defaults: &mut Defaults) -> ValidEgress {
    let own = OWN_POD.iter().chain(&FORBIDDEN_V4).chain(&FORBIDDEN_V6).map(|one| (*one).to_owned());
    let inside = [INSIDE.to_owned(), format!(".{cluster_domain}")];
    let mut past: Vec<String> = own.chain(inside).chain(single_words(fleet)).chain(lock_hosts(&fleet.lock)).collect();
    past.extend(given.past);
    let mut seen = std::collections::BTreeSet::new();
    past.retain(|one| seen.insert(one.clone()));
    defaults.note("spec.upstream.egressProxy.noProxy", past.join(","), DefaultSource::Derived);
    let http = given.http.unwrap_or_else(|| {
        defaults.note("spec.upstream.egressProxy.httpProxy", &given.https, DefaultSource::Derived);
        given.https.clone()
    });
    ValidEgress { https: given.https, http, past, secret: given.login.map(|login| login.name) }
}

/// Hosts of one word are Services of the fleet's own namespace: no proxy outside of it knows them.
fn single_words(fleet: &ValidFleet) -> Vec<String> {
    let proxies = fleet.upstream.proxies.iter().map(|proxy| proxy.url.as_str());
    let database = match &fleet.upstream.checksums {
        Checksums::Database { url, .. } => url.as_deref(),
        Checksums::Disabled => None,
    };
    let hosts = proxies.chain(database).filter_map(host_of_url).chain(store_host(&fleet.storage));
    hosts.filter(|host| !host.contains(['.', ':'])).collect()
}

/// Where modules are kept, if that is a server that the spec names.
fn store_host(storage: &ValidStorage) -> Option<String> {
    match storage {
        ValidStorage::S3 { endpoint, .. } => host_of_url(endpoint.as_deref()?),
        ValidStorage::External { url } => host_of_url(url),
        ValidStorage::Minio { endpoint, .. } => Some(host_of(endpoint)),
        ValidStorage::Memory
        | ValidStorage::Disk { .. }
        | ValidStorage::Gcs { .. }
        | ValidStorage::AzureBlob { .. }
        | ValidStorage::Mongo { .. } => None,
    }
}

fn host_of_url(url: &str) -> Option<String> {
    Some(Url::parse(url).ok()?.host_str()?.to_owned())
}

/// The lock is asked in clear: nobody on the way out could pass that on.
fn lock_hosts(lock: &ValidLock) -> Vec<String> {
    match lock {
        ValidLock::Etcd { addresses } => addresses.iter().map(|address| host_of(address)).collect(),
        ValidLock::InProcess | ValidLock::Native | ValidLock::Redis(_) => Vec::new(),
    }
}

fn host_of(address: &str) -> String {
    address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        api::status::DefaultSource,
        plan::{
            fixture::settings,
            validate::{Login, ValidFleet, parse, validate},
        },
    };

    fn valid(spec: &Value) -> ValidFleet {
        let object = json!({
            "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "metadata": { "name": "corp" }, "spec": spec,
        });
        validate(&parse(object).unwrap(), &settings(), None).unwrap()
    }

    fn default(fleet: &ValidFleet, field: &str) -> Option<(String, DefaultSource)> {
        let found = fleet.defaults.iter().find(|default| default.field == field);
        found.map(|default| (default.value.clone(), default.source))
    }

    #[test]
    fn logins_are_the_same_in_every_order_and_tell_their_defaults() {
        let secret = json!({ "secretRef": { "name": "git" } });
        let one = json!({ "host": "b.example.com", "token": secret });
        let other = json!({ "host": "a.example.com", "port": 2222, "ssh": secret });
        let fleet = |list: Value| valid(&json!({ "private": { "modules": ["*.example.com"], "credentials": list } }));
        let first = fleet(json!([one, other]));
        assert_eq!(first.credentials, fleet(json!([other, one])).credentials);
        let told: Vec<_> = first.credentials.iter().map(|one| (one.host.as_str(), one.port, &one.login)).collect();
        let (key, token) =
            (Login::Ssh { user: "git".to_owned() }, Login::Token { username: "x-access-token".to_owned() });
        assert_eq!(told, [("a.example.com", Some(2222), &key), ("b.example.com", None, &token)]);
        let source = DefaultSource::Default;
        for (field, value) in [
            ("a.example.com.ssh.user", Some("git")),
            ("a.example.com.port", None),
            ("b.example.com.token.username", Some("x-access-token")),
            ("b.example.com.port", Some("443")),
        ] {
            let told = default(&first, &format!("spec.private.credentials.{field}"));
            assert_eq!(told, value.map(|value| (value.to_owned(), source)), "{field}");
        }
    }

    #[test]
    fn the_usual_port_said_or_not_is_the_same() {
        let fleet = |port: Value| {
            let mut one = json!({ "host": "a.example.com", "basic": { "secretRef": { "name": "git" } } });
            one["port"] = port;
            valid(&json!({ "private": { "modules": ["a.example.com"], "credentials": [one] } })).credentials
        };
        assert_eq!(fleet(json!(443)), fleet(Value::Null));
        assert_ne!(fleet(json!(22)), fleet(Value::Null));
    }

    #[test]
    fn nothing_inside_the_cluster_takes_the_way_out() {
        let fleet = valid(&json!({
            "storage": { "s3": { "bucket": "modules", "endpoint": "http://minio:9000" } },
            "lock": { "etcd": { "addresses": ["etcd.example.com:2379", "etcd:2379"] } },
            "upstream": {
                "proxies": [{ "name": "a", "url": "http://mirror" }, { "name": "b", "url": "https://b.example.com" }],
                "egressProxy": { "httpsProxy": "http://egress.example.com:3128", "noProxy": [".corp.example", ".svc"] },
            },
        }));
        let egress = fleet.upstream.egress.clone().unwrap();
        assert_eq!((egress.https.as_str(), &egress.http), ("http://egress.example.com:3128", &egress.https));
        let past = "localhost,127.0.0.1,::1,169.254.0.0/16,fe80::/10,fd00:ec2::254/128,.svc,.cluster.local,mirror,minio,etcd.example.com,etcd,.corp.example";
        assert_eq!(egress.past.join(","), past);
        let told = default(&fleet, "spec.upstream.egressProxy.noProxy");
        assert_eq!(told, Some((past.to_owned(), DefaultSource::Derived)));
    }
}
