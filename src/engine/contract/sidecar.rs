//! The sidecar of a proxy's pod: what is known in the pod alone, it tells the operator, which comes and asks. It has no token for
//! the API server, no secret but that of a GitHub App, and no say in whether the pod is ready.
//!
//! It is a container that starts before the engine and ends after it. What it does is a file of the revision's ConfigMap. A pod for which
//! it would have nothing to do gets none.

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction, KeyToPath, Probe, ProjectedVolumeSource,
        SecretProjection, SecretVolumeSource, Volume, VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use url::Url;

use super::{CA_DIRECTORY, CA_FILE, PORT as ENGINE_PORT, Timing, way_out};
use crate::{
    api::quantity::Quantity,
    engine::Program,
    plan::{
        object::pod::{container_security, mount, read_only, resources, stored},
        validate::{Login, RedisServers, ValidCredential, ValidFleet, ValidLock, ValidRedis, ValidStorage},
    },
    sidecar::config::{
        Addressing, Config, GithubApp, Layout, LockKind, LockServer, Logins, Marker, Owner, Probe as LoginProbe,
        S3Bucket, Volume as Disk,
    },
};

/// Name of its container, by which the operator knows that there is one.
pub const CONTAINER: &str = "sidecar";
/// Where it answers.
pub const PORT: u16 = 9092;
/// Name of that port.
const PORT_NAME: &str = "sidecar";
/// What it is told, as a key of the revision's ConfigMap.
pub const CONFIG_FILE: &str = "sidecar.json";
/// Where that ConfigMap is mounted for it.
const CONFIG_DIRECTORY: &str = "/etc/goproxy/sidecar";
/// Where it keeps tokens for the engine's git: a file for each host.
pub const TOKEN_DIRECTORY: &str = "/run/goproxy/tokens";
/// Where the keys of GitHub Apps are mounted, for it alone: a directory for each host.
const APP_DIRECTORY: &str = "/etc/goproxy/apps";
/// Where the keys of a bucket are mounted, for it alone: the engine has them in its environment.
const BUCKET_DIRECTORY: &str = "/etc/goproxy/bucket";
/// The object in a bucket that says whose it is. No module has such a path: its first part has no dot.
const MARKER: &str = "goproxy-operator/owner.json";
/// Keys of an App's Secret, and the files that they become.
const APP_KEYS: [&str; 3] = ["app-id", "installation-id", "private-key.pem"];
/// Who may read a key: its owner. The kubelet gives the pod's group the same right.
const OWNER_ONLY: i32 = 0o400;
/// Room for some dozens of tokens.
const TOKENS_SIZE: Quantity = Quantity::mebibytes(1);
/// Pause between two questions for the module of a login. Each is one for the Git server too, from every pod.
const PROBE_SECONDS: u32 = 120;

/// What a pod gets for its sidecar.
pub struct Sidecar {
    /// What it does.
    config: Config,
    /// Its container.
    pub container: Container,
    /// Volumes beyond those that the engine has.
    pub volumes: Vec<Volume>,
    /// What the engine mounts of them.
    pub for_engine: Vec<VolumeMount>,
}

impl Sidecar {
    /// That of a fleet's pods. `None` where there is nothing to do, or no image.
    pub fn of(fleet: &ValidFleet, program: &Program) -> Option<Self> {
        let image = fleet.sidecar_image.as_ref().filter(|_| is_wanted(fleet))?;
        let config = config(fleet, program);
        let apps = !config.github_apps.is_empty();
        Some(Self {
            container: container(fleet, program, &config, image),
            config,
            volumes: keys_of_bucket(&fleet.storage)
                .into_iter()
                .chain(apps.then(|| keys_of_apps(&fleet.credentials)))
                .chain(apps.then(tokens))
                .collect(),
            for_engine: if apps { vec![read_only(mount("tokens", TOKEN_DIRECTORY))] } else { Vec::new() },
        })
    }

    /// What it does, as the text of its file.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(&self.config).expect("the configuration is plain data with string keys")
    }
}

/// Whether a fleet's pods have one.
pub fn is_wanted(fleet: &ValidFleet) -> bool {
    let disk = matches!(fleet.storage, ValidStorage::Disk { .. });
    let bucket = matches!(fleet.storage, ValidStorage::S3 { secret: Some(_), .. });
    let lock = matches!(fleet.lock, ValidLock::Redis(_) | ValidLock::Etcd { .. });
    let login = |one: &ValidCredential| one.probe.is_some() || one.login == Login::GitHubApp;
    fleet.sidecar_image.is_some() && (disk || bucket || lock || fleet.credentials.iter().any(login))
}

fn config(fleet: &ValidFleet, program: &Program) -> Config {
    Config {
        volume: disk(fleet, program),
        locks: locks(fleet),
        logins: logins(&fleet.credentials),
        github_apps: apps(fleet),
        marker: marker(fleet),
    }
}

/// A bucket that is opened by keys. The role of a pod opens it for the engine's own client alone.
fn marker(fleet: &ValidFleet) -> Option<Marker> {
    let ValidStorage::S3 { bucket, region, endpoint, path_style, secret: Some(_) } = &fleet.storage else {
        return None;
    };
    Some(Marker {
        s3: S3Bucket {
            endpoint: endpoint.as_deref().map(Url::parse).transpose().ok()?,
            region: region.clone(),
            bucket: bucket.clone(),
            addressing: if *path_style { Addressing::Path } else { Addressing::VirtualHosted },
            directory: BUCKET_DIRECTORY.into(),
            ca_file: fleet.upstream.ca_bundle.as_ref().map(|_| format!("{CA_DIRECTORY}/{CA_FILE}").into()),
            proxy_from_environment: fleet.upstream.egress.is_some(),
        },
        object: MARKER.to_owned(),
        owner: Owner {
            cluster: fleet.cluster.clone(),
            namespace: fleet.namespace.clone(),
            name: fleet.name.to_string(),
            uid: fleet.uid.clone(),
        },
    })
}

fn disk(fleet: &ValidFleet, program: &Program) -> Option<Disk> {
    let ValidStorage::Disk { .. } = fleet.storage else { return None };
    // Half as long again as a fetch may take: whoever writes on at a file after that has long been told that it failed.
    let settle = Timing::of(fleet).stash_timeout.saturating_mul(3) / 2;
    Some(Disk {
        path: program.data_directory.into(),
        layout: match program.layout {
            Layout::Athens => Some(Layout::Athens),
            // Each of its files is put in place as a whole: there is nothing to look for.
            Layout::Goproxy => None,
        },
        settle_seconds: u32::try_from(settle).unwrap_or(u32::MAX).max(1),
        only_writer: (!fleet.storage.is_shared()).then(|| format!("127.0.0.1:{ENGINE_PORT}")),
    })
}

fn locks(fleet: &ValidFleet) -> Vec<LockServer> {
    let bundle = fleet.upstream.ca_bundle.is_some();
    let server = |kind, tls: bool| {
        move |address: &String| LockServer {
            address: address.clone(),
            kind,
            tls,
            ca_file: (tls && bundle).then(|| format!("{CA_DIRECTORY}/{CA_FILE}").into()),
        }
    };
    match &fleet.lock {
        ValidLock::InProcess | ValidLock::Native => Vec::new(),
        ValidLock::Redis(ValidRedis { servers, tls, .. }) => match servers {
            RedisServers::One(address) => vec![server(LockKind::Redis, *tls)(address)],
            RedisServers::Cluster(addresses) => addresses.iter().map(server(LockKind::Redis, *tls)).collect(),
            RedisServers::Sentinel { addresses, .. } => {
                addresses.iter().map(server(LockKind::Sentinel, false)).collect()
            }
        },
        ValidLock::Etcd { addresses } => addresses.iter().map(server(LockKind::Etcd, false)).collect(),
    }
}

fn logins(credentials: &[ValidCredential]) -> Option<Logins> {
    let probe = |one: &ValidCredential| Some(LoginProbe { host: one.host.clone(), module: one.probe.clone()? });
    let probes: Vec<_> = credentials.iter().filter_map(probe).collect();
    let engine = Url::parse(&format!("http://127.0.0.1:{ENGINE_PORT}/")).expect("a constant that a test reads");
    (!probes.is_empty()).then_some(Logins { engine, every_seconds: PROBE_SECONDS, probes })
}

fn apps(fleet: &ValidFleet) -> Vec<GithubApp> {
    let app = |ValidCredential { host, port, .. }: &ValidCredential| GithubApp {
        host: host.clone(),
        api: api(host, *port),
        directory: format!("{APP_DIRECTORY}/{host}").into(),
        token_file: format!("{TOKEN_DIRECTORY}/{host}").into(),
        ca_file: fleet.upstream.ca_bundle.as_ref().map(|_| format!("{CA_DIRECTORY}/{CA_FILE}").into()),
        proxy_from_environment: fleet.upstream.egress.is_some(),
    };
    fleet.credentials.iter().filter(|one| one.login == Login::GitHubApp).map(app).collect()
}

/// Where the API of a GitHub is: beside github.com and what is below ghe.com, and below everybody's own.
fn api(host: &str, port: Option<i32>) -> Url {
    let own = || format!("https://{host}{}/api/v3", port.map_or_else(String::new, |port| format!(":{port}")));
    let beside = host == "github.com" || host.ends_with(".ghe.com");
    let address = if beside { format!("https://api.{host}") } else { own() };
    Url::parse(&address).expect("a rule holds hosts to letters that addresses take")
}

fn container(fleet: &ValidFleet, program: &Program, config: &Config, image: &str) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(["sidecar", "--config", &format!("{CONFIG_DIRECTORY}/{CONFIG_FILE}")].map(str::to_owned).to_vec()),
        env: Some(environment(fleet)),
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.to_owned()),
            container_port: i32::from(PORT),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        // It runs beside the engine from before its start until after its end.
        restart_policy: Some("Always".to_owned()),
        resources: Some(resources((Quantity::milli(5), None), (Quantity::mebibytes(24), Quantity::mebibytes(64)))),
        // The engine starts once what was cut off on its volume is gone, or the look for it takes too long to wait for.
        startup_probe: config.volume.as_ref().and_then(|volume| volume.layout).map(|_| probe("/startz", (1, 2, 180))),
        // Only one that hangs for good. While it starts again, the pod counts as not ready.
        liveness_probe: Some(probe("/livez", (30, 10, 10))),
        security_context: Some(container_security()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts(fleet, program, config)),
        ..Container::default()
    }
}

/// Period, patience for an answer, and misses that count.
fn probe(path: &str, (period, timeout, failures): (i32, i32, i32)) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// The way out: a GitHub is asked as the engine's git asks it.
fn environment(fleet: &ValidFleet) -> Vec<EnvVar> {
    let egress = fleet.upstream.egress.iter();
    let variables = egress.flat_map(|egress| {
        [
            ("HTTPS_PROXY", egress.https.clone()),
            ("HTTP_PROXY", egress.http.clone()),
            ("NO_PROXY", egress.past.join(",")),
        ]
    });
    let variable =
        |(name, value): (&str, String)| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() };
    variables.map(variable).chain(way_out::login(fleet)).collect()
}

fn mounts(fleet: &ValidFleet, program: &Program, config: &Config) -> Vec<VolumeMount> {
    let mut mounts = vec![read_only(mount("config", CONFIG_DIRECTORY))];
    if config.volume.is_some() {
        mounts.push(mount("data", program.data_directory));
    }
    if fleet.upstream.ca_bundle.is_some() {
        mounts.push(read_only(mount("ca", CA_DIRECTORY)));
    }
    if config.marker.is_some() {
        mounts.push(read_only(mount("bucket", BUCKET_DIRECTORY)));
    }
    if !config.github_apps.is_empty() {
        mounts.push(read_only(mount("apps", APP_DIRECTORY)));
        mounts.push(mount("tokens", TOKEN_DIRECTORY));
    }
    mounts
}

/// Who has them may write to the bucket, as the engine does. A Secret that is missing keeps the engine from starting, and nobody else.
fn keys_of_bucket(storage: &ValidStorage) -> Option<Volume> {
    let ValidStorage::S3 { secret: Some(secret), .. } = storage else { return None };
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    let item = |key: &str| KeyToPath { key: key.to_owned(), path: key.to_owned(), ..KeyToPath::default() };
    Some(Volume {
        name: "bucket".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.clone()),
            default_mode: Some(OWNER_ONLY),
            items: Some(keys.map(item).to_vec()),
            optional: Some(true),
        }),
        ..Volume::default()
    })
}

/// Tokens live in memory, and no longer than the pod.
fn tokens() -> Volume {
    Volume {
        name: "tokens".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: Some(stored(TOKENS_SIZE)),
        }),
        ..Volume::default()
    }
}

/// A Secret that is missing keeps nobody from starting: the sidecar tells of it, and finds it once it is there.
fn keys_of_apps(credentials: &[ValidCredential]) -> Volume {
    let secret = |credential: &ValidCredential| {
        let item = |key: &str| KeyToPath {
            key: key.to_owned(),
            path: format!("{}/{key}", credential.host),
            ..KeyToPath::default()
        };
        VolumeProjection {
            secret: Some(SecretProjection {
                name: credential.secret.clone(),
                items: Some(APP_KEYS.map(item).to_vec()),
                optional: Some(true),
            }),
            ..VolumeProjection::default()
        }
    };
    let apps = credentials.iter().filter(|one| one.login == Login::GitHubApp);
    Volume {
        name: "apps".to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(OWNER_ONLY),
            sources: Some(apps.map(secret).collect()),
        }),
        ..Volume::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        engine::program,
        plan::{
            fixture::{
                SIDECAR_IMAGE, bucket, credential, locks, mirror, places, richest, smallest, stored as stored_revision,
            },
            object::{Kind, Object},
        },
    };

    fn with_image(fleet: ValidFleet) -> ValidFleet {
        ValidFleet { sidecar_image: Some(SIDECAR_IMAGE.to_owned()), ..fleet }
    }

    fn told(fleet: &ValidFleet) -> Option<Config> {
        let told = Sidecar::of(fleet, &program(fleet)).map(|sidecar| Config::parse(&sidecar.text()).unwrap());
        let something = fleet.sidecar_image.is_some() && config(fleet, &program(fleet)) != Config::default();
        assert_eq!(
            told.is_some(),
            something,
            "whether there is one and whether it has something to do are two answers"
        );
        told
    }

    /// One with everything to do.
    fn busy() -> ValidFleet {
        let mut fleet = with_image(richest());
        fleet.credentials[0].probe = Some("basic.example.com/team/lib".to_owned());
        fleet.credentials.push(credential("github.com", Login::GitHubApp));
        fleet.lock = locks().into_iter().find(|(name, _)| *name == "redis-tls").unwrap().1;
        fleet
    }

    #[test]
    fn a_pod_with_nothing_to_tell_has_none() {
        let in_memory = ValidFleet { storage: ValidStorage::Memory, ..smallest() };
        assert_eq!(told(&with_image(in_memory)), None);
        assert_eq!(told(&smallest()), None, "there is no image");
        assert_eq!(told(&richest()), None, "there is no image");
        for fleet in [smallest(), mirror(), richest()] {
            let (without, with) = (stored_revision(&fleet, "corp-1"), stored_revision(&with_image(fleet), "corp-1"));
            assert!(!without.config.contains_key(CONFIG_FILE) && without.template["spec"]["initContainers"].is_null());
            assert!(with.config.contains_key(CONFIG_FILE));
            assert_eq!(with.template["spec"]["initContainers"][0]["name"], CONTAINER);
        }
    }

    #[test]
    fn what_it_does_follows_from_the_fleet() {
        for (name, storage) in places() {
            let disk = matches!(storage, ValidStorage::Disk { .. });
            let shared = storage.is_shared();
            let volume = told(&with_image(ValidFleet { storage, ..smallest() })).and_then(|config| config.volume);
            assert_eq!(volume.is_some(), disk, "{name}");
            assert_eq!(volume.is_some_and(|volume| volume.only_writer.is_some()), disk && !shared, "{name}");
        }
        let asked: Vec<_> = locks()
            .into_iter()
            .map(|(name, lock)| {
                let fleet = with_image(ValidFleet { lock, storage: ValidStorage::Memory, ..smallest() });
                let servers = told(&fleet).map_or_else(Vec::new, |config| config.locks);
                let kinds: Vec<_> = servers.iter().map(|one| format!("{:?} {}", one.kind, one.tls)).collect();
                format!("{name}: {}", kinds.join(", "))
            })
            .collect();
        assert_eq!(
            asked,
            [
                "in-process: ",
                "native: ",
                "redis: Redis false",
                "redis-tls: Redis true",
                "sentinel: Sentinel false, Sentinel false, Sentinel false",
                "cluster: Redis true, Redis true",
                "etcd: Etcd false",
            ]
        );
        for (name, storage) in places() {
            let marker = told(&with_image(ValidFleet { storage, ..smallest() })).and_then(|config| config.marker);
            assert_eq!(marker.is_some(), name == "s3", "{name}");
        }
        let other = told(&with_image(mirror())).unwrap().volume.unwrap();
        assert_eq!((other.layout, other.path.to_str().unwrap()), (None, "/var/lib/goproxy"));
    }

    #[test]
    fn pod_of_a_fleet_with_everything_to_do() {
        let fleet = busy();
        let stored = stored_revision(&fleet, "corp-0123456789");
        let object = Object::from_body(Kind::Deployment, "corp-0123456789", stored.template.clone());
        crate::plan::fixture::assert_as_stored(&object);
        let spec = &stored.template["spec"];
        let volumes: Vec<&Value> = spec["volumes"].as_array().unwrap().iter().collect();
        let ours = volumes.iter().filter(|one| ["apps", "tokens"].contains(&one["name"].as_str().unwrap()));
        let shown = serde_json::json!({
            "container": spec["initContainers"],
            "volumes": ours.collect::<Vec<_>>(),
            "file": serde_json::from_str::<Value>(&stored.config[CONFIG_FILE]).unwrap(),
        });
        insta::assert_snapshot!(serde_json::to_string_pretty(&shown).unwrap());
        let engine = spec["containers"][0]["volumeMounts"].as_array().unwrap();
        let tokens: Vec<_> = engine.iter().filter(|one| one["name"] == "tokens").collect();
        assert_eq!(tokens.len(), 1);
        assert_eq!(tokens[0]["readOnly"], true);
        assert!(engine.iter().all(|one| one["name"] != "apps"), "the engine can read an App's key");
    }

    #[test]
    fn a_bucket_is_marked_with_keys_that_the_sidecar_alone_has_as_files() {
        let fleet = with_image(ValidFleet { storage: bucket(), ..smallest() });
        let marker = told(&fleet).unwrap().marker.unwrap();
        assert_eq!(marker.owner.uid, fleet.uid, "it alone tells fleets of two clusters apart");
        assert_eq!((marker.s3.addressing, marker.s3.bucket.as_str()), (Addressing::Path, "modules"));
        let spec = stored_revision(&fleet, "corp-1").template["spec"].clone();
        let volume = spec["volumes"].as_array().unwrap().iter().find(|one| one["name"] == "bucket").unwrap();
        assert_eq!(volume["secret"]["secretName"], "s3");
        let mounts = |container: &Value| container["volumeMounts"].to_string().contains(r#""name":"bucket""#);
        assert!(mounts(&spec["initContainers"][0]) && !mounts(&spec["containers"][0]));
        let role = ValidStorage::S3 {
            bucket: "modules".to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: None,
            path_style: false,
            secret: None,
        };
        assert_eq!(told(&ValidFleet { storage: role, ..fleet }), None, "nobody here can ask as the pod's role");
    }

    #[test]
    fn the_file_is_mounted_whether_or_not_the_engine_has_files() {
        for fleet in [smallest(), mirror()] {
            let template = stored_revision(&with_image(fleet), "corp-1").template;
            let volumes = template["spec"]["volumes"].as_array().unwrap();
            let configs: Vec<_> = volumes.iter().filter(|one| one["name"] == "config").collect();
            assert_eq!(configs.len(), 1);
            assert_eq!(configs[0]["configMap"]["name"], "corp-1");
        }
        let engine = stored_revision(&with_image(mirror()), "corp-1").template;
        let mounts = engine["spec"]["containers"][0]["volumeMounts"].as_array().unwrap().clone();
        assert!(mounts.iter().all(|one| one["name"] != "config"), "it would be mounted over the root directory");
    }

    #[test]
    fn every_github_has_its_api() {
        for (host, port, expected) in [
            ("github.com", None, "https://api.github.com/"),
            ("corp.ghe.com", None, "https://api.corp.ghe.com/"),
            ("git.example.com", None, "https://git.example.com/api/v3"),
            ("git.example.com", Some(8443), "https://git.example.com:8443/api/v3"),
        ] {
            assert_eq!(api(host, port).as_str(), expected);
        }
    }
}
