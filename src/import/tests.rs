use serde_json::json;

use crate::plan::{fixture::settings, validate::validate};

use super::{
    setting::{Fate, SETTINGS, Setting, by_key, by_variable},
    *,
};

/// Every key of the sample configuration file of Athens v0.18.1.
const SAMPLE: &str = "GoBinary GoEnv GoBinaryEnvVars GoGetWorkers GoGetDir ProtocolWorkers LogLevel LogFormat CloudRuntime \
    EnablePprof PprofPort FilterFile RobotsFile Timeout StashTimeout StorageType Port UnixSocket GlobalEndpoint BasicAuthUser \
    BasicAuthPass HomeTemplatePath ForceSSL ValidatorHook PathPrefix NETRCPath GithubToken HGRCPath TraceExporter \
    TraceExporterURL TraceSamplingFraction StatsExporter SumDBs NoSumPatterns DownloadMode NetworkMode DownloadURL \
    SingleFlightType IndexType ShutdownTimeout TLSCertFile TLSKeyFile SingleFlight.Etcd.Endpoints \
    SingleFlight.Redis.Endpoint SingleFlight.Redis.Password SingleFlight.Redis.Cluster SingleFlight.Redis.LockConfig.TTL \
    SingleFlight.Redis.LockConfig.Timeout SingleFlight.Redis.LockConfig.MaxRetries SingleFlight.RedisSentinel.Endpoints \
    SingleFlight.RedisSentinel.MasterName SingleFlight.RedisSentinel.SentinelPassword SingleFlight.RedisSentinel.DB \
    SingleFlight.RedisSentinel.RedisUsername SingleFlight.RedisSentinel.RedisPassword \
    SingleFlight.RedisSentinel.LockConfig.TTL SingleFlight.RedisSentinel.LockConfig.Timeout \
    SingleFlight.RedisSentinel.LockConfig.MaxRetries SingleFlight.GCP.StaleThreshold Storage.CDN.Endpoint \
    Storage.Disk.RootPath Storage.GCP.ProjectID Storage.GCP.Bucket Storage.GCP.JSONKey Storage.Minio.Endpoint \
    Storage.Minio.Key Storage.Minio.Secret Storage.Minio.EnableSSL Storage.Minio.Bucket Storage.Minio.Region \
    Storage.Mongo.URL Storage.Mongo.DefaultDBName Storage.Mongo.CertPath Storage.Mongo.Insecure Storage.S3.Region \
    Storage.S3.Key Storage.S3.Secret Storage.S3.Token Storage.S3.Bucket Storage.S3.ForcePathStyle \
    Storage.S3.UseDefaultConfiguration Storage.S3.CredentialsEndpoint Storage.S3.AwsContainerCredentialsRelativeURI \
    Storage.S3.Endpoint Storage.AzureBlob.AccountName Storage.AzureBlob.AccountKey \
    Storage.AzureBlob.ManagedIdentityResourceId Storage.AzureBlob.CredentialScope Storage.AzureBlob.ContainerName \
    Storage.External.URL Index.MySQL.Protocol Index.MySQL.Host Index.MySQL.Port Index.MySQL.User Index.MySQL.Password \
    Index.MySQL.Database Index.MySQL.Params.parseTime Index.MySQL.Params.timeout Index.Postgres.Host Index.Postgres.Port \
    Index.Postgres.User Index.Postgres.Password Index.Postgres.Database Index.Postgres.Params.connect_timeout \
    Index.Postgres.Params.sslmode";

/// Every variable that the sources of Athens v0.18.1 name, and the one that they make of a setting's name (ATHENS_TIMEOUT).
const VARIABLES: &str = "ATHENS_AZURE_ACCOUNT_KEY ATHENS_AZURE_ACCOUNT_NAME ATHENS_AZURE_CONTAINER_NAME ATHENS_AZURE_CREDENTIAL_SCOPE \
    ATHENS_AZURE_MANAGED_IDENTITY_RESOURCE_ID ATHENS_CLOUD_RUNTIME ATHENS_DISK_STORAGE_ROOT ATHENS_DOWNLOAD_MODE \
    ATHENS_DOWNLOAD_URL ATHENS_ENABLE_PPROF ATHENS_ETCD_ENDPOINTS ATHENS_EXTERNAL_STORAGE_URL ATHENS_FILTER_FILE \
    ATHENS_GCP_STALE_THRESHOLD ATHENS_GITHUB_TOKEN ATHENS_GLOBAL_ENDPOINT ATHENS_GOGET_DIR ATHENS_GOGET_WORKERS \
    ATHENS_GONOSUM_PATTERNS ATHENS_GO_BINARY_ENV_VARS ATHENS_HGRC_PATH ATHENS_HOME_TEMPLATE_PATH \
    ATHENS_INDEX_MYSQL_DATABASE ATHENS_INDEX_MYSQL_HOST ATHENS_INDEX_MYSQL_PARAMS ATHENS_INDEX_MYSQL_PASSWORD \
    ATHENS_INDEX_MYSQL_PORT ATHENS_INDEX_MYSQL_PROTOCOL ATHENS_INDEX_MYSQL_USER ATHENS_INDEX_POSTGRES_DATABASE \
    ATHENS_INDEX_POSTGRES_HOST ATHENS_INDEX_POSTGRES_PARAMS ATHENS_INDEX_POSTGRES_PASSWORD ATHENS_INDEX_POSTGRES_PORT \
    ATHENS_INDEX_POSTGRES_USER ATHENS_INDEX_TYPE ATHENS_LOG_FORMAT ATHENS_LOG_LEVEL ATHENS_MINIO_ACCESS_KEY_ID \
    ATHENS_MINIO_BUCKET_NAME ATHENS_MINIO_ENDPOINT ATHENS_MINIO_REGION ATHENS_MINIO_SECRET_ACCESS_KEY \
    ATHENS_MINIO_USE_SSL ATHENS_MONGO_CERT_PATH ATHENS_MONGO_DEFAULT_COLLECTION ATHENS_MONGO_DEFAULT_DATABASE \
    ATHENS_MONGO_INSECURE ATHENS_MONGO_STORAGE_URL ATHENS_NETRC_PATH ATHENS_NETWORK_MODE ATHENS_PATH_PREFIX \
    ATHENS_PORT ATHENS_PPROF_PORT ATHENS_PROTOCOL_WORKERS ATHENS_PROXY_VALIDATOR ATHENS_REDIS_CLUSTER \
    ATHENS_REDIS_ENDPOINT ATHENS_REDIS_LOCK_MAX_RETRIES ATHENS_REDIS_LOCK_TIMEOUT ATHENS_REDIS_LOCK_TTL \
    ATHENS_REDIS_PASSWORD ATHENS_REDIS_SENTINEL_DB ATHENS_REDIS_SENTINEL_ENDPOINTS ATHENS_REDIS_SENTINEL_MASTER_NAME \
    ATHENS_REDIS_SENTINEL_PASSWORD ATHENS_REDIS_USERNAME ATHENS_ROBOTS_FILE ATHENS_S3_BUCKET_NAME \
    ATHENS_SHUTDOWN_TIMEOUT ATHENS_SINGLE_FLIGHT_TYPE ATHENS_STASH_TIMEOUT ATHENS_STATS_EXPORTER \
    ATHENS_STORAGE_GCP_BUCKET ATHENS_STORAGE_GCP_JSON_KEY ATHENS_STORAGE_TYPE ATHENS_SUM_DBS ATHENS_TIMEOUT ATHENS_TLSCERT_FILE \
    ATHENS_TLSKEY_FILE ATHENS_TRACE_EXPORTER ATHENS_TRACE_EXPORTER_URL ATHENS_TRACE_SAMPLING_FRACTION \
    ATHENS_UNIX_SOCKET AWS_ACCESS_KEY_ID AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_CREDENTIALS_ENDPOINT AWS_ENDPOINT \
    AWS_FORCE_PATH_STYLE AWS_REGION AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_USE_DEFAULT_CONFIGURATION \
    BASIC_AUTH_PASS BASIC_AUTH_USER GOOGLE_CLOUD_PROJECT GO_BINARY_PATH GO_ENV PROXY_FORCE_SSL";

fn wishes() -> Wishes {
    Wishes { name: "corp".to_owned(), ..Wishes::default() }
}

fn imported(kind: Kind, text: &str) -> Imported {
    import(&[Text { name: "test".to_owned(), kind: Some(kind), text: text.to_owned() }], &wishes()).unwrap()
}

fn of_environment(text: &str) -> Imported {
    imported(Kind::Environment, text)
}

/// Everything that is printed.
fn printed(imported: &Imported) -> String {
    format!("{}---\n{}", yaml(imported).unwrap(), report::told(imported))
}

#[test]
fn no_key_of_the_engine_s_sample_is_unknown() {
    for key in SAMPLE.split_whitespace() {
        assert!(by_key(key).is_some(), "{key}");
    }
}

#[test]
fn no_variable_of_the_engine_is_unknown() {
    for variable in VARIABLES.split_whitespace() {
        assert!(!by_variable(variable).is_empty(), "{variable}");
    }
    let known = VARIABLES.split_whitespace().collect::<Vec<_>>();
    for setting in SETTINGS.iter().filter(|setting| !setting.variable.is_empty()) {
        assert!(known.contains(&setting.variable), "{} is no variable of the engine", setting.variable);
    }
}

#[test]
fn the_table_agrees_with_itself() {
    for setting in SETTINGS {
        assert_eq!(SETTINGS.iter().filter(|other| other.key == setting.key).count(), 1, "{}", setting.key);
        assert!(setting.variable.is_empty() || by_variable(setting.variable).iter().any(|one| one.key == setting.key));
        if let Fate::With(other) = setting.fate {
            assert!(matches!(by_key(other).unwrap().fate, Fate::Lost { .. }), "{}", setting.key);
        }
    }
}

/// Variables without which a setting means nothing.
fn context(setting: &Setting) -> String {
    let mut lines = Vec::new();
    if let Some((chooser, word)) = setting.chosen_by() {
        lines.push(format!("{}={word}", by_key(chooser).unwrap().variable));
        if chooser == "SingleFlightType" {
            lines.push("ATHENS_STORAGE_TYPE=s3\nATHENS_S3_BUCKET_NAME=modules".to_owned());
            lines.push("ATHENS_REDIS_ENDPOINT=redis.example.com:6379".to_owned());
        }
    }
    lines.join("\n")
}

/// A value that is not the default.
fn probe(setting: &Setting) -> &'static str {
    match setting.key {
        "GoBinaryEnvVars" => "GOGC=50",
        "GoGetWorkers" | "StashTimeout" => "77",
        "LogLevel" => "debug",
        "SumDBs" => "https://sums.example.com",
        "NoSumPatterns" => "git.example.com",
        "StorageType" => "external",
        "SingleFlightType" => "etcd",
        "SingleFlight.Redis.Cluster" | "Storage.S3.ForcePathStyle" | "Storage.Minio.EnableSSL" => "true",
        "Storage.AzureBlob.ManagedIdentityResourceID" => "/subscriptions/1",
        _ => "probe.example.com:1234",
    }
}

#[test]
fn every_setting_does_what_the_table_says() {
    for setting in SETTINGS.iter().filter(|setting| !setting.variable.is_empty()) {
        let context = context(setting);
        let without = of_environment(&format!("{context}\n# nothing\n"));
        let with = of_environment(&format!("{context}\n{}={}\n", setting.variable, probe(setting)));
        let (key, same_object) = (setting.key, with.object == without.object);
        let more = with.lost.len() > without.lost.len();
        match setting.fate {
            Fate::Carried => {
                let same = same_object && with.secrets == without.secrets && !more;
                assert!(!same, "{key} is said to be carried and changes nothing");
            }
            Fate::Settled | Fate::Idle | Fate::With(_) => {
                assert!(same_object && !more, "{key} is said to change nothing: {}", printed(&with));
            }
            Fate::Lost { unless, .. } => {
                let told = with.lost.iter().any(|lost| lost.setting == setting.variable);
                assert!(same_object && told, "{key} is lost without a word: {}", printed(&with));
                for harmless in unless {
                    let with = of_environment(&format!("{context}\n{}={harmless}\n", setting.variable));
                    assert_eq!(with.lost, without.lost, "{key}={harmless}");
                }
            }
        }
    }
}

#[test]
fn no_secret_is_printed_wherever_it_stands() {
    let mut texts = Vec::new();
    for setting in SETTINGS.iter().filter(|setting| !setting.variable.is_empty()) {
        let login = "https://user:hunter2/hunter2@probe.example.com/x?token=hunter2";
        for value in ["hunter2", login].into_iter().filter(|value| setting.secret || *value == login) {
            texts.push((
                setting.key,
                Kind::Environment,
                format!("{}\n{}={value}\n", context(setting), setting.variable),
            ));
        }
    }
    for go in ["GOPROXY=https://hunter2:hunter2@a.example.com,direct", "GOSUMDB=x https://hunter2@b", "TOKEN=hunter2"] {
        texts.push(("go", Kind::Environment, format!("ATHENS_GO_BINARY_ENV_VARS={go}\n")));
    }
    for redis in ["redis://user:hunter2@redis.example.com:6379/1", ":hunter2@redis.example.com"] {
        let context = "ATHENS_STORAGE_TYPE=s3\nATHENS_S3_BUCKET_NAME=modules\nATHENS_SINGLE_FLIGHT_TYPE=redis";
        texts.push(("redis", Kind::Environment, format!("{context}\nATHENS_REDIS_ENDPOINT={redis}\n")));
    }
    texts.push(("values", Kind::Values, "sshGitServers: [{host: git.example.com, privateKey: hunter2}]\n".to_owned()));
    texts.push((
        "values",
        Kind::Values,
        "storage: {type: s3, s3: {accessKey: hunter2, secretKey: hunter2}}\n".to_owned(),
    ));
    for (what, kind, text) in texts {
        let printed = printed(&imported(kind, &text));
        assert!(!printed.contains("hunter2"), "{what}: {printed}");
    }
}

#[test]
fn a_wish_for_encryption_is_told_where_it_is_fulfilled() {
    for variable in setting::ENCRYPTION {
        let imported =
            of_environment(&format!("ATHENS_STORAGE_TYPE=s3\nATHENS_S3_BUCKET_NAME=modules\n{variable}=x\n"));
        let lost = imported.lost.iter().find(|lost| lost.setting == variable).unwrap();
        assert!(lost.why.contains("the bucket's own default encryption"), "{}", lost.why);
    }
}

const HAND_RUN: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: athens, namespace: build }
spec:
  replicas: 1
  template:
    spec:
      containers:
        - name: athens
          image: gomods/athens:v0.18.0
          args: [athens-proxy]
          env:
            - { name: ATHENS_STORAGE_TYPE, value: disk }
            - { name: ATHENS_DISK_STORAGE_ROOT, value: /var/lib/athens }
            - { name: ATHENS_GO_BINARY_ENV_VARS, value: "GOPROXY=https://mirror.example.com|https://second.example.com/go,direct; GOPRIVATE=git.example.com/*; GOTOOLCHAIN=auto" }
            - { name: ATHENS_GONOSUM_PATTERNS, value: "git.example.com/*" }
            - { name: ATHENS_STASH_TIMEOUT, value: "300" }
            - { name: ATHENS_LOG_LEVEL, value: debug }
            - { name: ATHENS_GITHUB_TOKEN, valueFrom: { secretKeyRef: { name: github, key: token } } }
          resources: { limits: { cpu: "1", memory: 2Gi } }
          volumeMounts: [{ name: modules, mountPath: /var/lib/athens }]
      volumes: [{ name: modules, persistentVolumeClaim: { claimName: athens-storage } }]
"#;

#[test]
fn a_deployment_by_hand() {
    let imported = of_environment(HAND_RUN);
    assert_eq!(imported.refused, []);
    insta::assert_snapshot!(printed(&imported));
}

#[test]
fn an_environment_with_a_bucket_and_redis() {
    let imported = of_environment(
        "ATHENS_STORAGE_TYPE=s3\nAWS_REGION=eu-central-1\nATHENS_S3_BUCKET_NAME=go-modules\n\
         AWS_ENDPOINT=https://s3.example.com/\nAWS_FORCE_PATH_STYLE=true\nAWS_ACCESS_KEY_ID=hunter2\n\
         AWS_SECRET_ACCESS_KEY=hunter2\nATHENS_SINGLE_FLIGHT_TYPE=redis\n\
         ATHENS_REDIS_ENDPOINT=rediss://athens:hunter2@redis.example.com:6380\nATHENS_REDIS_LOCK_TIMEOUT=600\n\
         BASIC_AUTH_USER=dev\nBASIC_AUTH_PASS=hunter2\nATHENS_DOWNLOAD_MODE=async\nATHENS_DOWNLOAD_URL=x\n\
         ATHENS_GOGET_WORKERS=300\nATHENS_GO_BINARY_ENV_VARS=GOPROXY=https://mirror.example.com;GOSUMDB=off\n",
    );
    assert_eq!(imported.refused, []);
    insta::assert_snapshot!(printed(&imported));
}

#[test]
fn a_configuration_file() {
    let imported = imported(
        Kind::ConfigFile,
        "StorageType = \"gcp\"\nSingleFlightType = \"gcp\"\nGoBinaryEnvVars = [\"GOPROXY=direct\"]\nTimeout = 300\n\
         NoSumPatterns = [\"git.example.com/*\", \"*\"]\nSumDBs = [\"https://sum.golang.org\"]\nPathPrefix = \"/go\"\n\
         [Storage]\n[Storage.GCP]\nProjectID = \"corp-modules\"\nBucket = \"modules\"\nJSONKey = \"aHVudGVyMg==\"\n\
         [Storage.S3]\nKey = \"MY_AWS_ACCESS_KEY_ID\"\n",
    );
    assert_eq!(imported.refused, []);
    insta::assert_snapshot!(printed(&imported));
}

#[test]
fn the_values_that_the_public_chart_documents() {
    let text = include_str!("testdata/values.yaml");
    let plain = imported(Kind::Values, text);
    assert_eq!((&plain.lost[..], &plain.refused[..]), (&[][..], &[][..]), "{}", printed(&plain));
    assert_eq!(plain.object["spec"], json!({ "engine": { "fetchWorkers": 3 } }), "what the chart gives to the engine");
    assert_eq!(imported(Kind::Values, "# nothing\n").object, plain.object, "defaults are known without being written");
}

/// What the chart's README, its comments and the engine's pages on it tell people to set: values, what the spec then has beside the
/// chart's own number of workers, and words that are told of it.
#[rustfmt::skip]
const DOCUMENTED: &[(&str, &str, &[&str])] = &[
    ("image: { registry: images.example.com, repository: gomods/athens }", r#"{"engine":{"image":"images.example.com/gomods/athens:v0.18.1"}}"#, &["no release of Athens is named"]),
    ("image: { repository: gomods/athens, tag: v0.12.0 }", "{}", &["image=gomods/athens:v0.12.0: 'v0.12.0' makes zips"]),
    ("image: { registry: images.example.com, repository: gomods/athens, tag: v0.18.0 }", r#"{"engine":{"image":"images.example.com/gomods/athens:v0.18.0","version":"v0.18.0"}}"#, &[]),
    ("replicaCount: 3", "{}", &["replicas=3: '3' pods are too many"]),
    ("resources: { requests: { cpu: 100m, memory: 64Mi }, limits: { cpu: 100m, memory: 64Mi } }",
        r#"{"engine":{"resources":{"limits":{"cpu":"100m","memory":"64Mi"},"requests":{"cpu":"100m","memory":"64Mi"}}}}"#, &[]),
    ("configEnvVars: [{ name: ATHENS_GITHUB_TOKEN, valueFrom: { secretKeyRef: { name: github, key: token } } }]", "{}", &["name those of github.com in spec.private.modules"]),
    ("configEnvVars: [{ name: BASIC_AUTH_USER, value: dev }, { name: BASIC_AUTH_PASS, value: hunter2 }]", "{}", &["BASIC_AUTH_USER=dev", "BASIC_AUTH_PASS: "]),
    ("persistence: { enabled: false, size: 4Gi }", "{}", &["persistence.size: the chart knows no such value and takes no notice of it"]),
    ("storage: { type: disk, disk: { persistence: { enabled: true, accessMode: ReadWriteOnce, size: 4Gi, storageClass: } } }", r#"{"storage":{"disk":{"size":"4Gi"}}}"#, &["name that with --release"]),
    ("storage: { type: mongo, mongo: { url: 'mongodb://u:hunter2@db.example.com' } }", r#"{"storage":{"mongo":{"credentialsSecretRef":{"name":"corp-mongo"}}}}"#, &["from storage.mongo.url"]),
    ("storage: { type: s3, s3: { region: eu-west-1, bucket: modules } }", r#"{"storage":{"s3":{"bucket":"modules","region":"eu-west-1"}}}"#, &[]),
    ("storage: { type: s3, s3: { region: eu-west-1, bucket: modules, access_key_id: hunter2, secret_access_key: hunter2 } }", r#"{"storage":{"s3":{"bucket":"modules","region":"eu-west-1"}}}"#, &["storage.s3.access_key_id: the chart knows no such value"]),
    ("storage: { type: minio, minio: { endpoint: minio.build.svc, bucket: modules, accessKey: hunter2, secretKey: hunter2 } }",
        r#"{"storage":{"minio":{"bucket":"modules","credentialsSecretRef":{"name":"corp-minio"},"endpoint":"minio.build.svc:80","tls":"Disabled"}}}"#, &[]),
    ("storage: { type: minio, minio: { endpoint: 'https://minio.example.com:9000/', bucket: modules, accessKey: hunter2, secretKey: hunter2 } }",
        r#"{"storage":{"minio":{"bucket":"modules","credentialsSecretRef":{"name":"corp-minio"},"endpoint":"minio.example.com:9000"}}}"#, &[]),
    ("storage: { type: gcp, gcp: { projectID: corp-modules, bucket: modules, serviceAccount: aHVudGVyMg== } }",
        r#"{"storage":{"gcs":{"bucket":"modules","credentialsSecretRef":{"name":"corp-gcs"},"project":"corp-modules"}}}"#, &["storage.gcp.serviceAccount held the key file in base64"]),
    ("service: { type: NodePort, nodePort: { port: 30080 } }", r#"{"service":{"type":"NodePort"}}"#, &["service.nodePort.port: "]),
    ("ingress: { enabled: true, hosts: [{ host: athens.example.com, paths: [{ path: /, pathType: ImplementationSpecific }] }] }", "{}", &["ingress.enabled: make an Ingress"]),
    ("ingress: { enabled: true, annotations: { kubernetes.io/tls-acme: \"true\" }, hosts: [athens.example.com], tls: [{ secretName: tls, hosts: [athens.example.com] }] }", "{}", &["ingress.enabled: make an Ingress"]),
    ("upstreamProxy: { enabled: true, url: 'https://mirror.example.com' }", r#"{"upstream":{"proxies":[{"name":"mirror-example-com","url":"https://mirror.example.com"}]}}"#, &["clients were sent to mirror.example.com for everything"]),
    ("upstreamProxy: { enabled: true }", "{}", &["upstreamProxy.url: that proxy ended in 2021"]),
    ("upstreamProxy: { enabled: true, url: 'https://user:hunter2@mirror.example.com' }", "{}", &["upstreamProxy.url: it is no address"]),
    ("netrc: { enabled: true }", "{}", &["netrc: a login is used for private modules alone", "at a public mirror and checksum database too"]),
    ("netrc: { enabled: true }\nconfigEnvVars: [{ name: ATHENS_GONOSUM_PATTERNS, value: git.example.com/* }]",
        r#"{"private":{"credentials":[{"host":"git.example.com","netrc":{"secretRef":{"name":"netrcsecret"}}}],"modules":["git.example.com/*"]}}"#, &["the login in your Secret netrcsecret is used as it is"]),
    ("gitconfig: { enabled: true }", "{}", &["gitconfig.enabled: git is told"]),
    ("sshGitServers: [{ host: git.example.com, path: /scm, user: git, port: 22, privateKey: hunter2 }]",
        r#"{"private":{"credentials":[{"host":"git.example.com","ssh":{"secretRef":{"name":"corp-git-example-com"}}}],"modules":["git.example.com/*"]}}"#,
        &["all of its modules became private.modules", "ssh-privatekey (from sshGitServers[0].privateKey)"]),
    ("sshGitServers: [{ host: git.example.com, user: git, port: 22, existingSecret: { name: keys, subPath: id } }]",
        r#"{"private":{"credentials":[{"host":"git.example.com","ssh":{"secretRef":{"name":"corp-git-example-com"}}}],"modules":["git.example.com/*"]}}"#, &["ssh-privatekey (from key id of Secret keys)"]),
    ("sshGitServers: [{ host: github.com, user: git, port: 22, privateKey: hunter2 }]", "{}", &["name those of github.com in spec.private.modules"]),
    ("serviceAccount: { create: true, name: athens, annotations: { example.com/role: modules } }",
        r#"{"engine":{"serviceAccount":{"annotations":{"example.com/role":"modules"}}}}"#, &["the ServiceAccount corp-engine"]),
    ("podDisruptionBudget: { enabled: true, maxUnavailable: 10% }", "{}", &[]),
    ("extraInitContainers: [{ name: init, image: 'busybox:1.28' }]", "{}", &["extraInitContainers: "]),
    ("metrics: { serviceMonitor: { enabled: true, namespace: monitoring }, serviceScrape: { enabled: true } }", "{}", &["metrics.serviceMonitor.enabled: ", "metrics.serviceScrape.enabled: "]),
    ("basicAuth: { enabled: true }", "{}", &["basicAuth.enabled: "]),
    ("jaeger: { enabled: true }\ntracing: { enabled: true }", "{}", &["jaeger.enabled: ", "tracing.enabled: "]),
    ("securityContext: { allowPrivilegeEscalation: false }\ninitContainerResources: { limits: { cpu: 100m } }", "{}", &[]),
    ("autoscaling: { enabled: true }", "{}", &["autoscaling.maxReplicas=3: '3' pods are too many"]),
];

/// The same for locks, which have a bucket and three proxies beside them.
#[rustfmt::skip]
const DOCUMENTED_LOCKS: &[(&str, &str, &[&str])] = &[
    ("{ type: memory }", "null", &[]),
    ("{ type: azureblob }", "null", &["singleFlight.type=azureblob: only that storage itself has this lock"]),
    ("{ type: etcd, etcd: { endpoints: 'etcd-0:2379,etcd-1:2379' } }", r#"{"etcd":{"addresses":["etcd-0:2379","etcd-1:2379"]}}"#, &[]),
    ("{ type: redis, redis: { endpoint: 'redis:6379', password: hunter2, lockConfig: { ttl: 900, timeout: 15, maxRetries: 10 } } }",
        r#"{"redis":{"address":"redis:6379","credentialsSecretRef":{"name":"corp-redis"},"tls":"Disabled"}}"#, &["Redis is asked in clear"]),
    ("{ type: redis, redis: { endpoint: 'redis:6379', existingSecret: login } }",
        r#"{"redis":{"address":"redis:6379","credentialsSecretRef":{"name":"corp-redis"},"tls":"Disabled"}}"#, &["from key ATHENS_REDIS_PASSWORD of Secret login"]),
    ("{ type: redis, redis: { endpoint: 'rediss://redis:6380' } }", r#"{"redis":{"address":"redis:6380"}}"#, &[]),
    ("{ type: redis-sentinel, redisSentinel: { endpoints: 's1:26379,s2:26379', masterName: first, existingSecret: login } }",
        r#"{"redis":{"credentialsSecretRef":{"name":"corp-redis"},"sentinel":{"addresses":["s1:26379","s2:26379"],"masterName":"first"}}}"#, &["sentinelPassword (from key ATHENS_REDIS_SENTINEL_PASSWORD of Secret login)"]),
];

/// Whatever the chart's own texts tell people to set becomes a fleet that the operator accepts.
#[test]
fn every_example_that_the_public_chart_documents_is_a_fleet() {
    let examples = DOCUMENTED.iter().map(|(values, spec, told)| ((*values).to_owned(), spec, told, None));
    let locks = DOCUMENTED_LOCKS.iter().map(|(values, lock, told)| {
        let bucket = "replicaCount: 3\nstorage: { type: s3, s3: { region: eu-west-1, bucket: modules } }";
        (format!("{bucket}\nsingleFlight: {values}"), lock, told, Some("lock"))
    });
    for (values, expected, told, part) in examples.chain(locks) {
        let imported = imported(Kind::Values, &values);
        let printed = printed(&imported);
        assert_eq!(imported.refused, [], "{values}: {printed}");
        let fleet = parse(imported.object.clone()).unwrap();
        validate(&fleet, &settings(), None).unwrap_or_else(|refused| panic!("{values}: {refused:?}"));
        let mut spec = imported.object["spec"].clone();
        assert_eq!(spec["engine"]["fetchWorkers"], 3, "{values}");
        spec["engine"].as_object_mut().unwrap().remove("fetchWorkers");
        if spec["engine"] == json!({}) {
            spec.as_object_mut().unwrap().remove("engine");
        }
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(part.map_or(spec.clone(), |part| spec[part].clone()), expected, "{values}: {printed}");
        for word in *told {
            assert!(printed.contains(word), "{values}: {word:?} is missing: {printed}");
        }
        assert!(!printed.contains("hunter2"), "{values}: {printed}");
    }
}

#[test]
fn values_of_the_public_chart_that_somebody_changed() {
    let text = "image: { registry: registry.example.com, repository: team/athens, tag: v0.18.1, pullSecrets: [{ name: registry }] }\n\
        replicaCount: 3\nstorage: { type: s3, s3: { region: eu-central-1, bucket: go-modules, accessKey: hunter2, secretKey: hunter2 } }\n\
        singleFlight: { type: redis, redis: { endpoint: redis.example.com, existingSecret: redis, existingSecretKey: password } }\n\
        configEnvVars: [{ name: ATHENS_GOGET_WORKERS, value: \"20\" }, { name: ATHENS_NETWORK_MODE, value: offline }]\n\
        basicAuth: { enabled: true }\nnetrc: { enabled: true }\nservice: { type: NodePort, nodePort: { port: 30080 } }\n\
        upstreamProxy: { enabled: true, url: https://upstream.example.com }\nresources: { requests: { cpu: 1, memory: 1Gi } }\n\
        serviceAccount: { annotations: { example.com/role: modules } }\nextraLabels: { team: build }\nunheard: { of: 1 }\n";
    let imported = imported(Kind::Values, text);
    assert_eq!(imported.refused, [], "{}", printed(&imported));
    insta::assert_snapshot!(printed(&imported));
}

#[test]
fn the_chart_s_claim_is_taken_over_when_its_release_is_named() {
    let text = "storage: { disk: { persistence: { enabled: true, size: 40Gi, storageClass: fast } } }\n".to_owned();
    let texts = [Text { name: "values".to_owned(), kind: None, text }];
    let named = import(&texts, &Wishes { release: Some("go".to_owned()), ..wishes() }).unwrap();
    assert_eq!(named.object["spec"]["storage"], json!({ "disk": { "existingClaim": "go-athens-proxy-storage" } }));
    assert!(named.notes.iter().any(|note| note.contains("helm uninstall")), "{:?}", named.notes);
    let unnamed = import(&texts, &wishes()).unwrap();
    assert_eq!(unnamed.object["spec"]["storage"], json!({ "disk": { "size": "40Gi", "storageClassName": "fast" } }));
    assert_eq!(unnamed.lost.len(), 1);
}

#[test]
fn more_pods_than_storage_allows_are_not_carried() {
    let deployment = HAND_RUN.replace("replicas: 1", "replicas: 3");
    let imported = of_environment(&deployment);
    assert_eq!((imported.object["spec"].get("replicas"), &imported.refused[..]), (None, &[][..]));
    let lost = imported.lost.iter().find(|lost| lost.setting == "replicas").unwrap();
    assert!(lost.why.contains("'3' pods are too many"), "{}", lost.why);
}

#[test]
fn a_directory_of_a_claim_is_no_root() {
    for (from, to) in [
        ("mountPath: /var/lib/athens", "mountPath: /var/lib"),
        ("mountPath: /var/lib/athens", "subPath: go, mountPath: /var/lib/athens"),
    ] {
        let imported = of_environment(&HAND_RUN.replace(from, to));
        assert!(imported.object["spec"].get("storage").is_none(), "{to}");
        assert!(imported.lost.iter().any(|lost| lost.why.contains("directory of claim athens-storage")), "{to}");
    }
}

#[test]
fn what_the_operator_would_refuse_is_told_and_kept_as_it_was() {
    let imported = of_environment("ATHENS_STORAGE_TYPE=s3\nATHENS_S3_BUCKET_NAME=My_Bucket\n");
    assert_eq!(imported.object["spec"]["storage"]["s3"]["bucket"], "My_Bucket");
    assert_eq!(imported.refused[0].field, "spec.storage.s3.bucket");
    assert!(printed(&imported).contains("refused as it stands"));
}

#[test]
fn a_claim_can_be_named_where_nothing_tells_it() {
    let text = "ATHENS_STORAGE_TYPE=disk\nATHENS_DISK_STORAGE_ROOT=/data\n";
    let wishes = Wishes { claim: Some("athens".to_owned()), ..wishes() };
    let texts = [Text { name: "env".to_owned(), kind: None, text: text.to_owned() }];
    let imported = import(&texts, &wishes).unwrap();
    assert_eq!(imported.object["spec"]["storage"], json!({ "disk": { "existingClaim": "athens" } }));
    assert_eq!(imported.lost, []);
    assert_eq!(of_environment(text).lost.len(), 1, "without its name it is not found");
}

#[test]
fn logins_of_private_code_are_carried_by_host() {
    let imported = imported(
        Kind::Values,
        "netrc: { enabled: true, existingSecret: logins }\n\
         sshGitServers: [{ host: git.example.com, user: forge, port: 2222, privateKey: hunter2 }, { host: other.example.com }]\n\
         gitconfig: { enabled: true }\n\
         configEnvVars:\n\
         - { name: ATHENS_GITHUB_TOKEN, valueFrom: { secretKeyRef: { name: github, key: token } } }\n\
         - { name: ATHENS_GONOSUM_PATTERNS, value: \"github.com/acme/*,git.example.com/*,code.example.com/*,*.corp.example\" }\n\
         - { name: ATHENS_HGRC_PATH, value: /etc/hgrc }\n",
    );
    assert_eq!(imported.refused, [], "{}", printed(&imported));
    insta::assert_snapshot!(printed(&imported));
}

#[test]
fn a_login_without_private_modules_is_told() {
    for variable in ["ATHENS_GITHUB_TOKEN=hunter2", "ATHENS_NETRC_PATH=/etc/netrc"] {
        let imported = of_environment(&format!("{variable}\n"));
        let lost = imported.lost.iter().find(|lost| variable.starts_with(&lost.setting)).unwrap();
        assert!(lost.why.contains("in spec.private.modules"), "{}", lost.why);
        assert_eq!(lost.value, None);
        assert!(imported.secrets.is_empty() && imported.object["spec"].get("private").is_none());
    }
}

#[test]
fn the_way_out_is_carried_and_its_login_is_named() {
    let imported = of_environment(
        "https_proxy=http://other.example.com:1\nHTTPS_PROXY=http://user:hunter2@egress.example.com:3128/\nhttp_proxy=egress.example.com:3129\n\
         NO_PROXY=localhost,*.corp.example,git.example.com,10.0.0.0/8,git.example.com:8443,.svc\n",
    );
    assert_eq!(imported.refused, []);
    let expected = json!({
        "httpsProxy": "http://egress.example.com:3128", "httpProxy": "http://egress.example.com:3129",
        "noProxy": [".corp.example", "git.example.com", "10.0.0.0/8"],
        "credentialsSecretRef": { "name": "corp-egress" },
    });
    assert_eq!(imported.object["spec"]["upstream"]["egressProxy"], expected);
    let told: Vec<_> = imported.lost.iter().map(|lost| lost.setting.as_str()).collect();
    assert_eq!(told, ["NO_PROXY", "HTTPS_PROXY"]);
    assert!(!printed(&imported).contains("hunter2"));
    assert!(printed(&imported).contains("The value of password is in HTTPS_PROXY"), "{}", printed(&imported));
    let same =
        of_environment("HTTPS_PROXY=http://u:hunter2@a.example.com:1\nHTTP_PROXY=http://u:hunter2@b.example.com:1\n");
    assert_eq!((&same.lost[..], same.secrets.len()), (&[][..], 1));
    let of_go = of_environment("ATHENS_GO_BINARY_ENV_VARS=HTTPS_PROXY=http://egress.example.com:3128\n");
    let expected = json!({ "httpsProxy": "http://egress.example.com:3128" });
    assert_eq!(of_go.object["spec"]["upstream"]["egressProxy"], expected);
    let half = of_environment("HTTP_PROXY=http://egress.example.com:3128\n");
    assert!(half.object["spec"].get("upstream").is_none() && half.lost[0].setting == "HTTP_PROXY");
}
