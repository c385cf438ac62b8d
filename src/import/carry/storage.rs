//! Where modules are kept.

use super::Carrier;
use crate::{
    api::go_proxy::{
        AccessMode, AzureBlobStorage, AzureManagedIdentity, DiskStorage, ExternalStorage, GcsStorage, MemoryStorage,
        MinioStorage, MongoStorage, S3Addressing, S3Storage, Storage, Tls,
    },
    import::found::{Mount, NotCarried},
    plan::validate::{MONGO_COLLECTION, MONGO_DATABASE, S3_REGION},
};

/// Where the engine keeps modules if nothing is said.
const DEFAULT: &str = "memory";

/// Carries the storage.
pub fn carry(carrier: &mut Carrier<'_>, claim: Option<&str>) {
    let kind = carrier.found.text("StorageType").unwrap_or(DEFAULT).to_owned();
    let mut storage = Storage::default();
    match kind.as_str() {
        "memory" => {
            storage.memory = Some(MemoryStorage {});
            carrier
                .carried
                .notes
                .push("modules are kept in memory, as Athens kept them: they are lost with the pod".to_owned());
        }
        "disk" => storage.disk = disk(carrier, claim),
        "s3" => storage.s3 = Some(s3(carrier)),
        "gcp" => storage.gcs = Some(gcs(carrier)),
        "azureblob" => storage.azure_blob = Some(azure(carrier)),
        "mongo" => storage.mongo = Some(mongo(carrier)),
        "minio" => storage.minio = Some(minio(carrier)),
        "external" => {
            storage.external =
                Some(ExternalStorage { url: carrier.address("Storage.External.URL").unwrap_or_default() });
        }
        _ => carrier.lose("StorageType", "Athens v0.18 has no such storage, and a fleet now has a disk of its own"),
    }
    if claim.is_some() && kind != "disk" {
        let why = format!("modules are kept in storage of the type {kind}, and on no volume");
        carrier.carried.lost.push(NotCarried::hidden("--claim", why));
    }
    carrier.carried.spec.storage = (storage != Storage::default()).then_some(storage);
}

/// `None`: the fleet's default disk.
fn disk(carrier: &mut Carrier<'_>, claim: Option<&str>) -> Option<DiskStorage> {
    let root = carrier.found.text("Storage.Disk.RootPath").unwrap_or_default().trim_end_matches('/').to_owned();
    let around = &carrier.found.around;
    let access_mode = around.disk.access_mode.filter(|mode| *mode != AccessMode::default());
    let named = claim.map(|claim| Mount { path: root.clone(), claim: Some(claim.to_owned()), sub_path: None });
    let holds_root = |mount: &&Mount| {
        let path = mount.path.trim_end_matches('/');
        root == path || root.starts_with(&format!("{path}/"))
    };
    let mount = named.or_else(|| around.mounts.iter().filter(holds_root).max_by_key(|mount| mount.path.len()).cloned());
    match mount {
        Some(Mount { claim: Some(claim), path, sub_path: None }) if path.trim_end_matches('/') == root => {
            return Some(DiskStorage { access_mode, existing_claim: Some(claim), ..DiskStorage::default() });
        }
        Some(Mount { claim: Some(claim), .. }) => {
            let why = format!(
                "modules are in a directory of claim {claim}, and a fleet looks for them in the root of its volume: move them \
                 there and import with --claim {claim}; as it is, the fleet starts on an empty volume"
            );
            carrier.lose("Storage.Disk.RootPath", why);
        }
        Some(Mount { claim: None, .. }) => {
            let note = "modules were on a volume that ends with its pod; the fleet keeps them on one of its own (spec.storage.disk)";
            carrier.carried.notes.push(note.to_owned());
        }
        // The chart's volume is told of where it is read.
        None if around.disk.size.is_some() => {}
        None => {
            let why = "which volume that directory is on is not known: name its claim with --claim to take it over; as it is, the \
                       fleet starts on an empty volume";
            carrier.lose("Storage.Disk.RootPath", why);
        }
    }
    let own = DiskStorage { access_mode, ..around.disk.clone() };
    (own != DiskStorage::default()).then_some(own)
}

fn s3(carrier: &mut Carrier<'_>) -> S3Storage {
    let endpoint = carrier.address("Storage.S3.Endpoint");
    let wanted =
        if carrier.found.is_on("Storage.S3.ForcePathStyle") { S3Addressing::Path } else { S3Addressing::VirtualHosted };
    let default = if endpoint.is_some() { S3Addressing::Path } else { S3Addressing::VirtualHosted };
    let keys = [
        ("AWS_ACCESS_KEY_ID", "Storage.S3.Key", false),
        ("AWS_SECRET_ACCESS_KEY", "Storage.S3.Secret", false),
        ("AWS_SESSION_TOKEN", "Storage.S3.Token", false),
    ];
    S3Storage {
        bucket: text(carrier, "Storage.S3.Bucket"),
        region: carrier.found.text("Storage.S3.Region").filter(|region| *region != S3_REGION).map(str::to_owned),
        addressing: (wanted != default).then_some(wanted),
        endpoint,
        credentials_secret_ref: carrier.secret("s3", &keys),
    }
}

fn gcs(carrier: &mut Carrier<'_>) -> GcsStorage {
    let login = carrier.secret("gcs", &[("key.json", "Storage.GCP.JSONKey", true)]);
    if login.is_some() {
        let name = carrier.found.name("Storage.GCP.JSONKey");
        carrier.carried.notes.push(format!("{name} held the key file in base64; the Secret holds the file itself"));
    }
    GcsStorage {
        bucket: text(carrier, "Storage.GCP.Bucket"),
        project: carrier.found.text("Storage.GCP.ProjectID").map(str::to_owned),
        credentials_secret_ref: login,
    }
}

fn azure(carrier: &mut Carrier<'_>) -> AzureBlobStorage {
    let managed = carrier.found.text("Storage.AzureBlob.ManagedIdentityResourceID").map(str::to_owned);
    let login = carrier.secret("azure", &[("accountKey", "Storage.AzureBlob.AccountKey", false)]);
    AzureBlobStorage {
        account_name: text(carrier, "Storage.AzureBlob.AccountName"),
        container: text(carrier, "Storage.AzureBlob.ContainerName"),
        // With a key the engine does not look at the identity.
        managed_identity: managed.filter(|_| login.is_none()).map(|resource_id| AzureManagedIdentity { resource_id }),
        credentials_secret_ref: login,
    }
}

fn mongo(carrier: &mut Carrier<'_>) -> MongoStorage {
    let differs = |carrier: &Carrier<'_>, key: &str, default: &str| {
        carrier.found.text(key).filter(|text| *text != default).map(str::to_owned)
    };
    MongoStorage {
        database: differs(carrier, "Storage.Mongo.DefaultDBName", MONGO_DATABASE),
        collection: differs(carrier, "Storage.Mongo.DefaultCollectionName", MONGO_COLLECTION),
        credentials_secret_ref: carrier.secret("mongo", &[("url", "Storage.Mongo.URL", false)]).unwrap_or_default(),
    }
}

fn minio(carrier: &mut Carrier<'_>) -> MinioStorage {
    let given = text(carrier, "Storage.Minio.Endpoint");
    let (scheme, endpoint) = given.trim_end_matches('/').split_once("://").unwrap_or(("", &given));
    let (endpoint, encrypted) =
        (endpoint.to_owned(), scheme == "https" || carrier.found.is_on("Storage.Minio.EnableSSL"));
    let keys = [("accessKey", "Storage.Minio.Key", false), ("secretKey", "Storage.Minio.Secret", false)];
    let port = if encrypted { ":443" } else { ":80" };
    MinioStorage {
        endpoint: if endpoint.is_empty() || endpoint.contains(':') { endpoint } else { endpoint + port },
        bucket: text(carrier, "Storage.Minio.Bucket"),
        region: carrier.found.text("Storage.Minio.Region").map(str::to_owned),
        tls: (!encrypted).then_some(Tls::Disabled),
        credentials_secret_ref: carrier.secret("minio", &keys).unwrap_or_default(),
    }
}

fn text(carrier: &Carrier<'_>, key: &str) -> String {
    carrier.found.text(key).unwrap_or_default().to_owned()
}
