//! Whose a storage is. Two fleets that write to one bucket or database damage each other's modules unless they lock alike, so
//! each place has one fleet: the one that uses it already, and among those that only want it the older one.
//!
//! A fleet's own volume is such a place too, because another fleet can name its claim. Only memory is nobody else's.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    Observed, StoredRevision,
    assemble::in_use,
    served_by,
    validate::{FleetName, Refusal, ValidFleet, ValidStorage, Volume, storage_of},
};
use crate::{api::go_proxy::GoProxy, engine::coordination};

/// What another fleet says or does about the place that a fleet wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its age; `None` where it is gone and only its pods are left.
    pub age: Option<Age>,
    /// Whether its clients are led there, or it has pods there or asks for them.
    pub in_use: bool,
}

/// When a fleet was created, and what decides between two of one second.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// `metadata.uid`.
    pub uid: String,
}

impl Age {
    /// Of a fleet. One that is in no cluster yet is the youngest.
    pub fn of(fleet: &GoProxy) -> Self {
        let metadata = &fleet.metadata;
        Self {
            created: metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0),
            uid: metadata.uid.clone().unwrap_or_default(),
        }
    }
}

/// The place that a fleet's spec names. A fleet that is being deleted wants none any more.
pub fn wanted(fleet: &GoProxy) -> Option<String> {
    if fleet.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let (name, storage) = storage_of(fleet)?;
    place(&storage, fleet.metadata.namespace.as_deref().unwrap_or_default(), &name)
}

/// Which storage it is, over all fleets: two that are equal here are the same place. Logins, regions and addressing are no
/// part of it; a scheme is, as far as its port tells servers apart. `None` where each pod has its own.
pub fn place(storage: &ValidStorage, namespace: &str, fleet: &FleetName) -> Option<String> {
    Some(match storage {
        ValidStorage::Memory => return None,
        ValidStorage::Disk { volume: Volume::Own { .. }, .. } => format!("claim {namespace}/{}", fleet.data()),
        ValidStorage::Disk { volume: Volume::Existing { claim }, .. } => format!("claim {namespace}/{claim}"),
        ValidStorage::S3 { bucket, endpoint, region, .. } => match endpoint {
            Some(url) => bucket_at(&server(url, namespace), bucket),
            None => format!("bucket {} {bucket}", partition(region)),
        },
        ValidStorage::Minio { endpoint, bucket, tls, .. } => {
            // The same bucket by another client: the layouts differ, so it is one place all the more.
            let scheme = if *tls { "https" } else { "http" };
            bucket_at(&server(&format!("{scheme}://{endpoint}"), namespace), bucket)
        }
        ValidStorage::Gcs { bucket, .. } => format!("gcs {bucket}"),
        ValidStorage::AzureBlob { account, container, .. } => format!("azureBlob {account} {container}"),
        // Where it is stands in the Secret, which is not read: another Secret may lead to the same database.
        ValidStorage::Mongo { secret, database, collection } => {
            format!("mongo {namespace}/{secret} {database} {collection}")
        }
        ValidStorage::External { url } => format!("external {}", server(url, namespace)),
    })
}

/// A bucket of a store that is named by its address: the clouds' own are known by other names too.
fn bucket_at(server: &str, bucket: &str) -> String {
    if server == "storage.googleapis.com" {
        return format!("gcs {bucket}");
    }
    let cloud = [(".amazonaws.com", "aws"), (".amazonaws.com.cn", "aws-cn")];
    let known = cloud.iter().find(|(ending, _)| server.starts_with("s3") && server.ends_with(ending));
    format!("bucket {} {bucket}", known.map_or(server, |(_, name)| name))
}

/// Names of buckets are unique within a partition of AWS, over all its regions.
fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") { "aws-cn" } else { "aws" }
}

/// An address without what does not tell places apart: case, the port that goes without saying, a last slash, and the ways to
/// write a Service of the cluster.
fn server(url: &str, namespace: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let authority = authority.to_ascii_lowercase();
    let usual = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let authority = authority.strip_suffix(usual).unwrap_or(&authority);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, format!(":{port}")),
        _ => (authority, String::new()),
    };
    let host = host.trim_end_matches('.');
    let host = host.strip_suffix(".cluster.local").unwrap_or(host);
    let address = host.starts_with('[') || host.contains('.');
    let host = if address { host.to_owned() } else { format!("{host}.{namespace}.svc") };
    let path = path.trim_end_matches('/');
    if path.is_empty() { format!("{host}{port}") } else { format!("{host}{port}/{path}") }
}

/// Why a fleet may not have the place that it names. `None` when it may: it is the first there, or wants no pods.
pub fn refused(
    observed: &Observed,
    fleet: &ValidFleet,
    stored: &BTreeMap<String, Arc<StoredRevision>>,
) -> Option<Refusal> {
    if observed.claims.is_empty() || fleet.replicas == 0 {
        return None;
    }
    let place = place(&fleet.storage, &fleet.namespace, &fleet.name)?;
    // Whoever is there goes first, so that a fleet which only wants to come there ends nobody.
    let rank = |in_use: bool, age: Option<&Age>| (!in_use, age.is_none(), age.cloned().unwrap_or_default());
    let own = rank(uses(observed, stored, &place), Some(&Age::of(&observed.fleet)));
    let first = observed.claims.iter().min_by_key(|claim| rank(claim.in_use, claim.age.as_ref()))?;
    (rank(first.in_use, first.age.as_ref()) < own).then(|| refusal(fleet, first))
}

/// Whether a revision of the fleet is what clients are led to there, or has pods or asks for them.
fn uses(observed: &Observed, stored: &BTreeMap<String, Arc<StoredRevision>>, place: &str) -> bool {
    let served = served_by(&observed.children, observed.fleet.metadata.name.as_deref().unwrap_or_default());
    stored.iter().any(|(name, revision)| {
        let there = revision.agreement.as_deref().and_then(coordination::place_of) == Some(place);
        there && (served == Some(name) || in_use(observed, name))
    })
}

/// The other one is named within the namespace only: whoever may not look there shall not learn of it here.
fn refusal(fleet: &ValidFleet, claim: &Claim) -> Refusal {
    let who = if *claim.namespace == *fleet.namespace {
        format!("GoProxy '{}'", claim.name)
    } else {
        "a GoProxy of another namespace".to_owned()
    };
    let (field, what) = match &fleet.storage {
        ValidStorage::Memory => ("storage.memory", "it".to_owned()),
        ValidStorage::Disk { volume: Volume::Own { .. }, .. } => ("storage.disk", format!("'{}'", fleet.name.data())),
        ValidStorage::Disk { volume: Volume::Existing { claim }, .. } => {
            ("storage.disk.existingClaim", format!("'{claim}'"))
        }
        ValidStorage::S3 { bucket, .. } => ("storage.s3.bucket", format!("'{bucket}'")),
        ValidStorage::Gcs { bucket, .. } => ("storage.gcs.bucket", format!("'{bucket}'")),
        ValidStorage::Minio { bucket, .. } => ("storage.minio.bucket", format!("'{bucket}'")),
        ValidStorage::AzureBlob { container, .. } => ("storage.azureBlob.container", format!("'{container}'")),
        ValidStorage::Mongo { database, .. } => ("storage.mongo.database", format!("'{database}'")),
        ValidStorage::External { url } => ("storage.external.url", format!("'{url}'")),
    };
    Refusal {
        field: format!("spec.{field}"),
        message: format!(
            "spec.{field}: {what} belongs to {who}, which came first: two fleets would damage each other's modules; name \
             another place, or remove that fleet first"
        ),
    }
}

#[cfg(test)]
mod tests;
