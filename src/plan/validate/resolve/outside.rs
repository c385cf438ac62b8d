//! The way out, with defaults.

use url::Url;

use super::Defaults;
use crate::{
    api::{go_proxy::EgressProxy, status::DefaultSource},
    plan::{
        object::network_policy::{FORBIDDEN_V4, FORBIDDEN_V6},
        validate::{Checksums, ValidEgress, ValidFleet, ValidLock, ValidStorage},
    },
};

/// The pod itself. The go command never asks a proxy for it; git would.
const OWN_POD: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Services of the cluster, by the short form of their names.
const INSIDE: &str = ".svc";

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
    ValidEgress { https: given.https, http, past }
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
            validate::{ValidFleet, parse, validate},
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
