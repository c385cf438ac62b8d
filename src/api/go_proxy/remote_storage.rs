//! Places for modules that are not a volume of the fleet: object stores, a database, a service of one's own.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LocalReference, upstream::http_address};
use crate::api::rule;

/// Why an identity that is neither or both is refused.
pub const ONE_AZURE_IDENTITY: &str =
    "the engine logs in one way: set exactly one of credentialsSecretRef and managedIdentity";

/// A bucket of S3, or of a store that speaks its protocol. It must exist.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct S3Storage {
    /// Name of the bucket. Required. It belongs to this fleet alone, as the engine knows no prefix within a bucket: another fleet
    /// that names it, in whatever namespace, is refused for as long as this one has it.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = rule::BUCKET.rule())]
    pub bucket: String,

    /// Region of the bucket. Default: us-east-1, which most stores other than AWS take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 63))]
    #[x_kube(validation = rule::ORIGIN_NAME.rule())]
    pub region: Option<String>,

    /// Address of the store. Default: that of AWS for the region. Keys are never sent to it, only signatures; objects are, so
    /// choose https outside a trusted network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "http_address")]
    pub endpoint: Option<String>,

    /// Where the bucket's name stands in an address: Path or VirtualHosted. Default: Path with `endpoint`, else VirtualHosted.
    /// Stores of one's own seldom have a name for each bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "S3Addressing")]
    pub addressing: Option<S3Addressing>,

    /// Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN if there is one. Default: absent,
    /// the pod's own role counts (`engine.serviceAccount`). The network policy then lets the pod reach the services of its node
    /// that hand out the role's tokens, 169.254.169.254 and 169.254.170.23 on port 80: give the role this bucket and nothing
    /// else, because a fetch that is talked into asking there gets the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LocalReference")]
    pub credentials_secret_ref: Option<LocalReference>,
}

/// Where a bucket's name stands in an address.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum S3Addressing {
    /// `https://store/bucket/object`.
    Path,
    /// `https://bucket.store/object`.
    #[default]
    VirtualHosted,
}

/// A bucket of Google Cloud Storage. It must exist, and the engine must be allowed to read its attributes: it does so when it starts, and
/// ends if it cannot.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GcsStorage {
    /// Name of the bucket. Required. It belongs to this fleet alone.
    #[schemars(length(min = 3, max = 222))]
    #[x_kube(validation = rule::GCS_BUCKET.rule())]
    pub bucket: String,

    /// Project that the engine is told the bucket is in. Default: that of the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 6, max = 30))]
    #[x_kube(validation = rule::ORIGIN_NAME.rule())]
    pub project: Option<String>,

    /// Secret whose key `key.json` holds a service account's key. Default: absent, the pod's own identity counts
    /// (`engine.serviceAccount`). The network policy then lets the pod reach the services of its node that hand out the
    /// identity's tokens, 169.254.169.254 on port 80 and 169.254.169.252 on port 988: give the identity this bucket and
    /// nothing else, because a fetch that is talked into asking there gets the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LocalReference")]
    pub credentials_secret_ref: Option<LocalReference>,
}

/// A container of Azure Blob Storage, in the public cloud. It must exist: without it the engine starts and is never ready.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.credentialsSecretRef) != has(self.managedIdentity)")
        .message(ONE_AZURE_IDENTITY)
)]
#[serde(rename_all = "camelCase")]
pub struct AzureBlobStorage {
    /// Name of the storage account, which is also the first part of the address that is asked. Required.
    #[schemars(length(min = 3, max = 24))]
    #[x_kube(validation = rule::AZURE_ACCOUNT.rule())]
    pub account_name: String,

    /// Name of the container. Required. It belongs to this fleet alone.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = rule::ORIGIN_NAME.rule())]
    pub container: String,

    /// Secret whose key `accountKey` holds a key of the account. Exactly one of this and `managedIdentity`. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LocalReference")]
    pub credentials_secret_ref: Option<LocalReference>,

    /// The node's managed identity. Federated workload identities are beyond this engine. Default: absent. The network policy
    /// then lets the pod reach the service of its node that hands out tokens, 169.254.169.254 on port 80, and with it every
    /// identity of the node: prefer `credentialsSecretRef` where the node has identities of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AzureManagedIdentity")]
    pub managed_identity: Option<AzureManagedIdentity>,
}

/// An identity that Azure gives to a node.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct AzureManagedIdentity {
    /// Resource id of the identity, which begins with /subscriptions/. Required.
    #[serde(rename = "resourceID")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rule::AZURE_RESOURCE.rule())]
    pub resource_id: String,
}

/// A MongoDB database.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MongoStorage {
    /// Secret whose key `url` holds the connection string, `mongodb://user:password@host`. Required. A server with a private
    /// certificate authority is out of this engine's reach.
    pub credentials_secret_ref: LocalReference,

    /// Database that the modules are kept in; another one starts empty. Default: athens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 63))]
    #[x_kube(validation = rule::MONGO_NAME.rule())]
    pub database: Option<String>,

    /// Collection that lists the modules of that database; another one starts empty. Default: modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 63))]
    #[x_kube(validation = rule::MONGO_NAME.rule())]
    pub collection: Option<String>,
}

/// A MinIO bucket, by the engine's old client. It is made if it does not exist; an engine that does not reach the server when it starts
/// ends.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MinioStorage {
    /// Host and port of the server. Required.
    #[schemars(length(min = 1, max = 260))]
    #[x_kube(validation = rule::HOST_PORT.rule(), validation = rule::HOST_PORT_LOCAL.rule())]
    pub endpoint: String,

    /// Name of the bucket. Required. It belongs to this fleet alone, and no `s3` fleet can read it: the layout differs.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = rule::BUCKET.rule())]
    pub bucket: String,

    /// Region of the bucket. Default: absent, the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 63))]
    #[x_kube(validation = rule::ORIGIN_NAME.rule())]
    pub region: Option<String>,

    /// Whether the server is asked over TLS: Enabled or Disabled. Default: Enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Tls")]
    pub tls: Option<Tls>,

    /// Secret with the keys `accessKey` and `secretKey`. Required.
    pub credentials_secret_ref: LocalReference,
}

/// Whether a server is asked over TLS.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum Tls {
    /// Over TLS. What `upstream.caBundle` holds is trusted.
    #[default]
    Enabled,
    /// In clear: whoever is on the way reads the password.
    Disabled,
}

/// A service of one's own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ExternalStorage {
    /// Address of the service. Required. It must answer a question for the versions of an unknown module with 200 and
    /// nothing: the engine asks that to know whether its storage works. A version comes in one upload of three parts, mod.info, mod.mod
    /// and mod.zip, which may be as large as a module is; until it has all of it, the service must not tell of that version, and must
    /// answer 404 for its files.
    #[schemars(schema_with = "http_address")]
    pub url: String,
}
