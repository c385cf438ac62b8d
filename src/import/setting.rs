//! Every setting that Athens v0.18 has: its place in the configuration file, its environment variable, and what becomes of it
//! in a fleet. What is in no row of this table is no setting of the engine.

/// One setting of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its place in the configuration file, such as `Storage.S3.Bucket`.
    pub key: &'static str,
    /// Its environment variable; empty where there is none.
    pub variable: &'static str,
    /// Whether its value is never to be shown.
    pub secret: bool,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A field of the fleet follows from it.
    Carried,
    /// The operator sees to it by itself: whatever it was, nobody misses it.
    Settled,
    /// It only has a meaning together with this setting, and is told of with it.
    With(&'static str),
    /// The engine itself makes nothing of it.
    Idle,
    /// There is no place for it, unless it has one of these values, which change nothing.
    Lost {
        /// Values that are as good as none.
        unless: &'static [&'static str],
        /// Why, and what to do instead.
        why: &'static str,
    },
}

const fn row(key: &'static str, variable: &'static str, fate: Fate) -> Setting {
    Setting { key, variable, secret: false, fate }
}

const fn carried(key: &'static str, variable: &'static str) -> Setting {
    row(key, variable, Fate::Carried)
}

const fn lost(
    key: &'static str,
    variable: &'static str,
    unless: &'static [&'static str],
    why: &'static str,
) -> Setting {
    row(key, variable, Fate::Lost { unless, why })
}

const fn with(key: &'static str, variable: &'static str, other: &'static str) -> Setting {
    row(key, variable, Fate::With(other))
}

const fn secret(setting: Setting) -> Setting {
    Setting { secret: true, ..setting }
}

const OFF: &[&str] = &["", "false"];
const LOCK_TIME: &str = "lock times follow from spec.engine.fetchTimeout, so that nobody waits too short or too long";
/// Why logins of clients are lost.
pub const NO_LOGIN: &str = "a fleet asks its clients for no login: put a gateway that does before its Service";
const NO_TLS: &str = "the Service answers in clear: end TLS in a gateway or load balancer before it";
const NO_MERCURIAL: &str = "a fleet logs in to Git servers alone, by spec.private.credentials";
const NO_CONTAINER_ROLE: &str =
    "the usual chain of the pod's own role is asked: give the ServiceAccount its role in spec.engine.serviceAccount";
const NO_INDEX: &str = "a fleet keeps no index of what it stored, because a lost index database would fail every fetch";

/// Every setting of the engine.
#[rustfmt::skip]
pub static SETTINGS: &[Setting] = &[
    // How it runs.
    row("GoEnv", "GO_ENV", Fate::Settled),
    lost("GoBinary", "GO_BINARY_PATH", &["", "go"], "the go command of the image is used: bring an image of your own in spec.engine.image"),
    carried("GoBinaryEnvVars", "ATHENS_GO_BINARY_ENV_VARS"),
    carried("GoGetWorkers", "ATHENS_GOGET_WORKERS"),
    row("GoGetDir", "ATHENS_GOGET_DIR", Fate::Settled),
    lost("ProtocolWorkers", "ATHENS_PROTOCOL_WORKERS", &["", "30"], "it follows from spec.engine.fetchWorkers: ten for each, so that slow fetches do not block what is stored"),
    lost("Timeout", "ATHENS_TIMEOUT", &["", "300"], "it follows from spec.engine.fetchTimeout, and is at most 300 seconds"),
    carried("StashTimeout", "ATHENS_STASH_TIMEOUT"),
    lost("ShutdownTimeout", "ATHENS_SHUTDOWN_TIMEOUT", &["", "60"], "it follows from spec.engine.fetchTimeout, so that no fetch under way is cut off"),
    row("Port", "ATHENS_PORT", Fate::Settled),
    lost("UnixSocket", "ATHENS_UNIX_SOCKET", &[""], "clients of a fleet come through its Service"),
    lost("TLSCertFile", "ATHENS_TLSCERT_FILE", &[""], NO_TLS),
    lost("TLSKeyFile", "ATHENS_TLSKEY_FILE", &[""], NO_TLS),
    lost("ForceSSL", "PROXY_FORCE_SSL", OFF, NO_TLS),
    lost("PathPrefix", "ATHENS_PATH_PREFIX", &[""], "a fleet answers at the root of its Service: strip the prefix in a gateway before it, or tell clients the new address"),
    lost("BasicAuthUser", "BASIC_AUTH_USER", &[""], NO_LOGIN),
    secret(lost("BasicAuthPass", "BASIC_AUTH_PASS", &[""], NO_LOGIN)),
    lost("HomeTemplatePath", "ATHENS_HOME_TEMPLATE_PATH", &["", "/var/lib/athens/home.html"], "a fleet has no page of its own at /"),
    lost("RobotsFile", "ATHENS_ROBOTS_FILE", &["", "robots.txt"], "a fleet has no robots.txt of its own"),
    // What it tells.
    carried("LogLevel", "ATHENS_LOG_LEVEL"),
    lost("LogFormat", "ATHENS_LOG_FORMAT", &["", "json"], "the engine of a fleet logs JSON"),
    lost("CloudRuntime", "ATHENS_CLOUD_RUNTIME", &["", "none"], "the engine of a fleet logs JSON with its own names, not those of a cloud"),
    lost("EnablePprof", "ATHENS_ENABLE_PPROF", OFF, "the profiler is off: it answers everybody who reaches its port"),
    with("PprofPort", "ATHENS_PPROF_PORT", "EnablePprof"),
    lost("StatsExporter", "ATHENS_STATS_EXPORTER", &["", "prometheus"], "metrics are served for Prometheus, at /metrics of each pod"),
    lost("TraceExporter", "ATHENS_TRACE_EXPORTER", &[""], "the engine of a fleet sends no traces"),
    with("TraceExporterURL", "ATHENS_TRACE_EXPORTER_URL", "TraceExporter"),
    with("TraceSamplingFraction", "ATHENS_TRACE_SAMPLING_FRACTION", "TraceExporter"),
    // What it fetches.
    carried("SumDBs", "ATHENS_SUM_DBS"),
    carried("NoSumPatterns", "ATHENS_GONOSUM_PATTERNS"),
    lost("DownloadMode", "ATHENS_DOWNLOAD_MODE", &["", "sync"], "a fleet always fetches what it lacks while the client waits"),
    with("DownloadURL", "ATHENS_DOWNLOAD_URL", "DownloadMode"),
    lost("NetworkMode", "ATHENS_NETWORK_MODE", &["", "strict"], "a fleet always asks its origins for versions: fallback would answer with old ones while an origin is down, and downgrade builds without a word"),
    lost("FilterFile", "ATHENS_FILTER_FILE", &[""], "a fleet has no filter: nothing is denied or redirected; name mirrors in spec.upstream.proxies"),
    with("GlobalEndpoint", "ATHENS_GLOBAL_ENDPOINT", "FilterFile"),
    lost("ValidatorHook", "ATHENS_PROXY_VALIDATOR", &[""], "a fleet asks nobody before it answers"),
    // The chart has the file in a Secret.
    secret(carried("NETRCPath", "ATHENS_NETRC_PATH")),
    secret(carried("GithubToken", "ATHENS_GITHUB_TOKEN")),
    lost("HGRCPath", "ATHENS_HGRC_PATH", &[""], NO_MERCURIAL),
    // What keeps several from storing one module at the same time.
    carried("SingleFlightType", "ATHENS_SINGLE_FLIGHT_TYPE"),
    carried("SingleFlight.Etcd.Endpoints", "ATHENS_ETCD_ENDPOINTS"),
    carried("SingleFlight.Redis.Endpoint", "ATHENS_REDIS_ENDPOINT"),
    secret(carried("SingleFlight.Redis.Password", "ATHENS_REDIS_PASSWORD")),
    carried("SingleFlight.Redis.Cluster", "ATHENS_REDIS_CLUSTER"),
    lost("SingleFlight.Redis.LockConfig.TTL", "ATHENS_REDIS_LOCK_TTL", &["", "900"], LOCK_TIME),
    lost("SingleFlight.Redis.LockConfig.Timeout", "ATHENS_REDIS_LOCK_TIMEOUT", &["", "15"], LOCK_TIME),
    lost("SingleFlight.Redis.LockConfig.MaxRetries", "ATHENS_REDIS_LOCK_MAX_RETRIES", &["", "10"], LOCK_TIME),
    carried("SingleFlight.RedisSentinel.Endpoints", "ATHENS_REDIS_SENTINEL_ENDPOINTS"),
    carried("SingleFlight.RedisSentinel.MasterName", "ATHENS_REDIS_SENTINEL_MASTER_NAME"),
    secret(carried("SingleFlight.RedisSentinel.SentinelPassword", "ATHENS_REDIS_SENTINEL_PASSWORD")),
    carried("SingleFlight.RedisSentinel.RedisUsername", "ATHENS_REDIS_USERNAME"),
    secret(carried("SingleFlight.RedisSentinel.RedisPassword", "ATHENS_REDIS_PASSWORD")),
    lost("SingleFlight.RedisSentinel.DB", "ATHENS_REDIS_SENTINEL_DB", &["", "0"], "locks are kept in database 0 of Redis"),
    lost("SingleFlight.RedisSentinel.LockConfig.TTL", "ATHENS_REDIS_LOCK_TTL", &["", "900"], LOCK_TIME),
    lost("SingleFlight.RedisSentinel.LockConfig.Timeout", "ATHENS_REDIS_LOCK_TIMEOUT", &["", "15"], LOCK_TIME),
    lost("SingleFlight.RedisSentinel.LockConfig.MaxRetries", "ATHENS_REDIS_LOCK_MAX_RETRIES", &["", "10"], LOCK_TIME),
    row("SingleFlight.GCP.StaleThreshold", "ATHENS_GCP_STALE_THRESHOLD", Fate::Idle),
    // Where it keeps modules.
    carried("StorageType", "ATHENS_STORAGE_TYPE"),
    row("Storage.CDN.Endpoint", "", Fate::Idle),
    carried("Storage.Disk.RootPath", "ATHENS_DISK_STORAGE_ROOT"),
    carried("Storage.GCP.ProjectID", "GOOGLE_CLOUD_PROJECT"),
    carried("Storage.GCP.Bucket", "ATHENS_STORAGE_GCP_BUCKET"),
    secret(carried("Storage.GCP.JSONKey", "ATHENS_STORAGE_GCP_JSON_KEY")),
    carried("Storage.Minio.Endpoint", "ATHENS_MINIO_ENDPOINT"),
    secret(carried("Storage.Minio.Key", "ATHENS_MINIO_ACCESS_KEY_ID")),
    secret(carried("Storage.Minio.Secret", "ATHENS_MINIO_SECRET_ACCESS_KEY")),
    carried("Storage.Minio.EnableSSL", "ATHENS_MINIO_USE_SSL"),
    carried("Storage.Minio.Bucket", "ATHENS_MINIO_BUCKET_NAME"),
    carried("Storage.Minio.Region", "ATHENS_MINIO_REGION"),
    secret(carried("Storage.Mongo.URL", "ATHENS_MONGO_STORAGE_URL")),
    carried("Storage.Mongo.DefaultDBName", "ATHENS_MONGO_DEFAULT_DATABASE"),
    carried("Storage.Mongo.DefaultCollectionName", "ATHENS_MONGO_DEFAULT_COLLECTION"),
    lost("Storage.Mongo.CertPath", "ATHENS_MONGO_CERT_PATH", &[""], "the engine puts this file where it is not looked at, so a private certificate authority never worked"),
    lost("Storage.Mongo.InsecureConn", "ATHENS_MONGO_INSECURE", OFF, "certificates of the database are always checked"),
    row("Storage.Mongo.Insecure", "", Fate::Idle),
    carried("Storage.S3.Region", "AWS_REGION"),
    secret(carried("Storage.S3.Key", "AWS_ACCESS_KEY_ID")),
    secret(carried("Storage.S3.Secret", "AWS_SECRET_ACCESS_KEY")),
    secret(carried("Storage.S3.Token", "AWS_SESSION_TOKEN")),
    carried("Storage.S3.Bucket", "ATHENS_S3_BUCKET_NAME"),
    carried("Storage.S3.ForcePathStyle", "AWS_FORCE_PATH_STYLE"),
    row("Storage.S3.UseDefaultConfiguration", "AWS_USE_DEFAULT_CONFIGURATION", Fate::Settled),
    lost("Storage.S3.CredentialsEndpoint", "AWS_CREDENTIALS_ENDPOINT", &[""], NO_CONTAINER_ROLE),
    lost("Storage.S3.AwsContainerCredentialsRelativeURI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", &[""], NO_CONTAINER_ROLE),
    carried("Storage.S3.Endpoint", "AWS_ENDPOINT"),
    carried("Storage.AzureBlob.AccountName", "ATHENS_AZURE_ACCOUNT_NAME"),
    secret(carried("Storage.AzureBlob.AccountKey", "ATHENS_AZURE_ACCOUNT_KEY")),
    carried("Storage.AzureBlob.ManagedIdentityResourceID", "ATHENS_AZURE_MANAGED_IDENTITY_RESOURCE_ID"),
    lost("Storage.AzureBlob.CredentialScope", "ATHENS_AZURE_CREDENTIAL_SCOPE", &["", "https://storage.azure.com/.default"], "a managed identity always asks for https://storage.azure.com/.default"),
    carried("Storage.AzureBlob.ContainerName", "ATHENS_AZURE_CONTAINER_NAME"),
    carried("Storage.External.URL", "ATHENS_EXTERNAL_STORAGE_URL"),
    // What it writes down of it.
    lost("IndexType", "ATHENS_INDEX_TYPE", &["", "none"], NO_INDEX),
    with("Index.MySQL.Protocol", "ATHENS_INDEX_MYSQL_PROTOCOL", "IndexType"),
    with("Index.MySQL.Host", "ATHENS_INDEX_MYSQL_HOST", "IndexType"),
    with("Index.MySQL.Port", "ATHENS_INDEX_MYSQL_PORT", "IndexType"),
    with("Index.MySQL.User", "ATHENS_INDEX_MYSQL_USER", "IndexType"),
    secret(with("Index.MySQL.Password", "ATHENS_INDEX_MYSQL_PASSWORD", "IndexType")),
    with("Index.MySQL.Database", "ATHENS_INDEX_MYSQL_DATABASE", "IndexType"),
    with("Index.MySQL.Params", "ATHENS_INDEX_MYSQL_PARAMS", "IndexType"),
    with("Index.Postgres.Host", "ATHENS_INDEX_POSTGRES_HOST", "IndexType"),
    with("Index.Postgres.Port", "ATHENS_INDEX_POSTGRES_PORT", "IndexType"),
    with("Index.Postgres.User", "ATHENS_INDEX_POSTGRES_USER", "IndexType"),
    secret(with("Index.Postgres.Password", "ATHENS_INDEX_POSTGRES_PASSWORD", "IndexType")),
    with("Index.Postgres.Database", "ATHENS_INDEX_POSTGRES_DATABASE", "IndexType"),
    with("Index.Postgres.Params", "ATHENS_INDEX_POSTGRES_PARAMS", "IndexType"),
];

/// Variables by which releases after v0.18 ask S3 to encrypt.
pub const ENCRYPTION: [&str; 3] =
    ["ATHENS_S3_SERVER_SIDE_ENCRYPTION", "ATHENS_S3_SSE_KMS_KEY_ID", "ATHENS_S3_BUCKET_KEY_ENABLED"];

/// Other variables that releases after v0.18 know.
pub const NEWER: [&str; 4] =
    ["ATHENS_CACHE_CONTROL", "ATHENS_S3_LOCK_TTL", "ATHENS_S3_LOCK_TIMEOUT", "ATHENS_S3_LOCK_MAX_RETRIES"];

/// A table of the file, the setting that chooses it, and the word that does.
const TABLES: [(&str, &str, &str); 11] = [
    ("Storage.Disk.", "StorageType", "disk"),
    ("Storage.GCP.", "StorageType", "gcp"),
    ("Storage.Minio.", "StorageType", "minio"),
    ("Storage.Mongo.", "StorageType", "mongo"),
    ("Storage.S3.", "StorageType", "s3"),
    ("Storage.AzureBlob.", "StorageType", "azureblob"),
    ("Storage.External.", "StorageType", "external"),
    ("SingleFlight.Etcd.", "SingleFlightType", "etcd"),
    ("SingleFlight.Redis.", "SingleFlightType", "redis"),
    ("SingleFlight.RedisSentinel.", "SingleFlightType", "redis-sentinel"),
    ("SingleFlight.GCP.", "SingleFlightType", "gcp"),
];

impl Setting {
    /// The setting that must have this value for this one to mean anything.
    pub fn chosen_by(&self) -> Option<(&'static str, &'static str)> {
        TABLES.iter().find(|(table, ..)| self.key.starts_with(table)).map(|(_, setting, word)| (*setting, *word))
    }
}

/// The setting at this place of the file. The engine takes keys in any case, and a table of parameters as one.
pub fn by_key(path: &str) -> Option<&'static Setting> {
    let same = |setting: &&Setting| setting.key.eq_ignore_ascii_case(path);
    SETTINGS.iter().find(same).or_else(|| {
        let (table, _) = path.rsplit_once('.')?;
        SETTINGS.iter().find(|setting| setting.key.ends_with(".Params") && setting.key.eq_ignore_ascii_case(table))
    })
}

/// The settings that this variable gives: more than one where two tables share it. Each may also be written with one more
/// `ATHENS_` before it.
pub fn by_variable(name: &str) -> Vec<&'static Setting> {
    let of = |name: &str| SETTINGS.iter().filter(|one| !name.is_empty() && one.variable == name).collect::<Vec<_>>();
    let found = of(if name == "PORT" { "ATHENS_PORT" } else { name });
    if found.is_empty() { name.strip_prefix("ATHENS_").map(of).unwrap_or_default() } else { found }
}
