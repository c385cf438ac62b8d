//! The command line. Every flag of `run` has an environment variable, so that a chart can set it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    controller::run::Options,
    edge::agent,
    import::Import,
    leader::{Candidate, decide::Timing},
    plan::{
        object::edge,
        validate::{FleetName, Settings},
    },
    telemetry::{LogFormat, LogLevel},
};

/// Runs fleets of Go module proxies on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "goproxy-operator", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator until it is told to stop.
    Run(Box<Run>),
    /// Print the definitions of the custom resources, or write them to files.
    Crd {
        /// Directory to write one file per definition to.
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Print every object that the operator would apply for the GoProxy objects of a file, without a cluster.
    Render {
        /// File with GoProxy objects in YAML; `-` is standard input.
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Settings of the installation.
        #[command(flatten)]
        installation: Installation,
    },
    /// Run the agent beside the nginx of an edge until it is told to stop.
    Edge(Box<Edge>),
    /// Print a GoProxy for an Athens that somebody runs by hand, from its environment, its configuration file or the values of the
    /// public chart, and tell what the GoProxy does not have and why. Values of secrets are never printed.
    Import(Box<Import>),
    /// Check that the cluster is ready for the operator: definitions served, permissions granted, a smallest GoProxy accepted.
    Check {
        /// Where fleets are.
        #[command(flatten)]
        scope: Scope,
        /// Namespace for the trial GoProxy; nothing is created in it.
        #[arg(long, value_name = "NAMESPACE", env = "GOPROXY_OPERATOR_CHECK_NAMESPACE", default_value = "default")]
        namespace: String,
        /// Namespace of the lease.
        #[arg(long, value_name = "NAMESPACE", env = "GOPROXY_OPERATOR_LEADER_ELECT_NAMESPACE")]
        leader_elect_namespace: Option<String>,
    },
    /// Run beside an engine, in its pod: watch its volume, its locks and its logins, and tell the operator of them. Pods of the operator
    /// start this by themselves.
    Sidecar(Sidecar),
}

/// Flags of `sidecar`.
#[derive(Args, Debug)]
pub struct Sidecar {
    /// File that says what to watch, in JSON.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Address of the pages /report, /metrics, /startz and /livez.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9092")]
    pub address: SocketAddr,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// How much is logged.
    #[arg(long, value_enum, default_value = "info")]
    pub log_level: LogLevel,
}

/// Flags of `edge`.
#[derive(Args, Debug)]
pub struct Edge {
    /// Name of the fleet.
    #[arg(long, value_name = "NAME", env = "GOPROXY_EDGE_FLEET")]
    fleet: String,
    /// Namespace of the fleet. Default: the pod's own.
    #[arg(long, value_name = "NAMESPACE", env = "GOPROXY_EDGE_NAMESPACE")]
    namespace: Option<String>,
    /// Name of this edge's pod.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pod_name: String,
    /// File to read the state and the endpoints from, as JSON, instead of a cluster.
    #[arg(long, value_name = "FILE", env = "GOPROXY_EDGE_STATE")]
    state: Option<PathBuf>,
    /// Where sockets, nginx's file and what was told last are: what nginx is started with as its prefix and its working directory.
    #[arg(long, value_name = "DIR", env = "GOPROXY_EDGE_DIRECTORY", default_value = edge::RUN_DIRECTORY)]
    directory: PathBuf,
    /// Where nginx keeps files of modules.
    #[arg(long, value_name = "DIR", env = "GOPROXY_EDGE_CACHE", default_value = edge::CACHE_DIRECTORY)]
    cache: PathBuf,
    /// How much of them nginx keeps, in bytes. What was not asked for longest goes first.
    #[arg(long, value_name = "BYTES", env = "GOPROXY_EDGE_CACHE_BYTES", default_value = "1073741824",
          value_parser = clap::value_parser!(u64).range(1 << 20..))]
    cache_bytes: u64,
    /// Processes of nginx that serve.
    #[arg(long, value_name = "NUMBER", env = "GOPROXY_EDGE_WORKERS", default_value = "2",
          value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// nginx itself, which tests its file and is told to read it again.
    #[arg(long, value_name = "FILE", env = "GOPROXY_EDGE_NGINX", default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
    /// Where nginx's modules are.
    #[arg(long, value_name = "DIR", env = "GOPROXY_EDGE_MODULES", default_value = "/usr/lib/nginx/modules")]
    modules: PathBuf,
    /// Port of clients.
    #[arg(long, value_name = "PORT", env = "GOPROXY_EDGE_PORT", default_value_t = edge::PORT,
          value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Address of the pages /livez, /startz, /readyz and /metrics. Default: port 8082 of every address.
    #[arg(long, value_name = "ADDRESS", env = "GOPROXY_EDGE_METRICS_ADDRESS")]
    metrics_address: Option<SocketAddr>,
    /// How log lines look.
    #[arg(long, value_enum, env = "GOPROXY_EDGE_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
    /// How much is logged.
    #[arg(long, value_enum, env = "GOPROXY_EDGE_LOG_LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}

/// Which namespaces.
#[derive(Args, Clone, Debug)]
pub struct Scope {
    /// Namespaces to work in, separated by commas. Default: all.
    #[arg(long, value_name = "NAMESPACES", env = "GOPROXY_OPERATOR_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Namespaces in which Secrets of fleets may be read, separated by commas. A changed Secret that the engine reads only at its
    /// start makes a new revision there. Default: none.
    #[arg(long, value_name = "NAMESPACES", env = "GOPROXY_OPERATOR_FLEET_NAMESPACES", value_delimiter = ',')]
    fleet_namespaces: Vec<String>,
}

impl Scope {
    /// Namespaces to work in; none means all.
    pub fn namespaces(&self) -> Vec<String> {
        named(&self.namespaces)
    }

    /// Namespaces in which Secrets of fleets may be read; none means nowhere.
    pub fn fleet_namespaces(&self) -> Vec<String> {
        named(&self.fleet_namespaces)
    }
}

/// An empty variable is read as a list with one empty name, which would mean every namespace to the API server.
fn named(list: &[String]) -> Vec<String> {
    list.iter().filter(|name| !name.is_empty()).cloned().collect()
}

/// What an installation sets for all fleets.
#[derive(Args, Clone, Debug)]
pub struct Installation {
    /// Repository of Athens' image, without tag.
    #[arg(
        long,
        value_name = "REPOSITORY",
        env = "GOPROXY_OPERATOR_ENGINE_IMAGE_REPOSITORY",
        default_value = "gomods/athens"
    )]
    pub engine_image_repository: String,
    /// Repository of goproxy's image, without tag. Its makers publish it in the container registry of GitHub alone. Without one,
    /// fleets of that engine name their image themselves.
    #[arg(long, value_name = "REPOSITORY", env = "GOPROXY_OPERATOR_GOPROXY_IMAGE_REPOSITORY")]
    pub goproxy_image_repository: Option<String>,
    /// Image of the Redis that fleets with lock.managedRedis bring along.
    #[arg(long, value_name = "IMAGE", env = "GOPROXY_OPERATOR_REDIS_IMAGE", default_value = "redis:7.2.11")]
    pub redis_image: String,
    /// Image of the edge, by tag or digest. Without one, fleets cannot have an edge. Another one replaces the edge pods of every fleet, one after the other.
    #[arg(long, value_name = "IMAGE", env = "GOPROXY_OPERATOR_EDGE_IMAGE")]
    pub edge_image: Option<String>,
    /// Image of the sidecar of proxies, by tag or digest: the operator's own. Without one, proxies have none, and fields that need one are
    /// refused. Another one reaches a proxy with its next revision and restarts none.
    #[arg(long, value_name = "IMAGE", env = "GOPROXY_OPERATOR_SIDECAR_IMAGE")]
    pub sidecar_image: Option<String>,
    /// DNS suffix of Services.
    #[arg(long, value_name = "DOMAIN", env = "GOPROXY_OPERATOR_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
}

/// Flags of `run`.
#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    election: ElectionArgs,
    /// Address of the pages /livez, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", env = "GOPROXY_OPERATOR_METRICS_ADDRESS", default_value = "0.0.0.0:8080")]
    metrics_address: SocketAddr,
    /// How log lines look.
    #[arg(long, value_enum, env = "GOPROXY_OPERATOR_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
    /// How much is logged.
    #[arg(long, value_enum, env = "GOPROXY_OPERATOR_LOG_LEVEL", default_value = "info")]
    pub log_level: LogLevel,
    /// Fleets worked on at the same time.
    #[arg(long, value_name = "NUMBER", env = "GOPROXY_OPERATOR_CONCURRENCY", default_value = "32",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
}

/// Flags of leader election.
#[derive(Args, Debug)]
struct ElectionArgs {
    /// Whether replicas elect one that writes. Only with a single replica may this be false.
    #[arg(long, env = "GOPROXY_OPERATOR_LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true")]
    leader_elect: bool,
    /// Namespace of the lease. Default: the pod's own.
    #[arg(long, value_name = "NAMESPACE", env = "GOPROXY_OPERATOR_LEADER_ELECT_NAMESPACE")]
    leader_elect_namespace: Option<String>,
    /// Name of the lease.
    #[arg(long, value_name = "NAME", env = "GOPROXY_OPERATOR_LEASE_NAME", default_value = "goproxy-operator")]
    lease_name: String,
    /// Name of this replica in the lease and in events; no two may have the same. Default: host name and a random part.
    #[arg(long, value_name = "NAME", env = "GOPROXY_OPERATOR_IDENTITY")]
    identity: Option<String>,
    /// How long other replicas wait before they take a lease that is not renewed.
    #[arg(long, value_name = "DURATION", env = "GOPROXY_OPERATOR_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    lease_duration: Duration,
    /// How long a replica that cannot renew the lease goes on writing before it ends.
    #[arg(long, value_name = "DURATION", env = "GOPROXY_OPERATOR_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    renew_deadline: Duration,
    /// Pause between two attempts to get or renew the lease.
    #[arg(long, value_name = "DURATION", env = "GOPROXY_OPERATOR_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    retry_period: Duration,
}

impl From<Installation> for Settings {
    fn from(given: Installation) -> Self {
        let Installation {
            engine_image_repository,
            goproxy_image_repository,
            redis_image,
            edge_image,
            sidecar_image,
            cluster_domain,
        } = given;
        Self {
            engine_image_repository,
            goproxy_image_repository,
            redis_image,
            edge_image,
            // An empty variable names none.
            sidecar_image: sidecar_image.filter(|image| !image.is_empty()),
            cluster_domain,
        }
    }
}

impl Edge {
    /// The flags as the agent uses them.
    pub fn options(self) -> agent::Options {
        agent::Options {
            fleet: FleetName::told(self.fleet),
            namespace: self.namespace.unwrap_or_else(own_namespace),
            pod: self.pod_name,
            state: self.state,
            directory: self.directory,
            cache: self.cache,
            cache_bytes: self.cache_bytes,
            workers: self.workers,
            nginx: self.nginx,
            modules: self.modules,
            port: self.port,
            pages: self.metrics_address,
        }
    }
}

impl Run {
    /// The flags as the operator uses them, with what is not given taken from the surroundings.
    pub fn options(self) -> Options {
        let Self { scope, installation, election, metrics_address, concurrency, .. } = self;
        let identity = election.identity.clone().unwrap_or_else(own_identity);
        Options {
            namespaces: scope.namespaces(),
            fleet_namespaces: scope.fleet_namespaces(),
            address: metrics_address,
            candidate: election.leader_elect.then(|| election.candidate(identity.clone())),
            identity,
            concurrency: concurrency.into(),
            settings: installation.into(),
        }
    }
}

impl ElectionArgs {
    fn candidate(self, identity: String) -> Candidate {
        let Self { leader_elect_namespace, lease_name, lease_duration, renew_deadline, retry_period, .. } = self;
        Candidate {
            namespace: leader_elect_namespace.unwrap_or_else(own_namespace),
            lease: lease_name,
            identity,
            timing: Timing { lease_duration, renew_deadline, retry_period },
        }
    }
}

/// Where the kubelet tells a pod its namespace.
const OWN_NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The pod's namespace; outside of a cluster, `default`.
pub fn own_namespace() -> String {
    let told = std::fs::read_to_string(OWN_NAMESPACE_FILE).ok();
    told.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned())
}

/// The random part keeps a container that was restarted in its pod from taking its predecessor's lease while that one
/// might still write.
fn own_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "goproxy-operator".to_owned());
    format!("{host}_{:08x}", crate::backoff::draw())
}

fn duration(text: &str) -> Result<Duration, String> {
    let given: kube::core::Duration = text.parse().map_err(|error| format!("{error}; write it like 15s or 1m30s"))?;
    if given.is_negative() { Err("a duration cannot be negative".to_owned()) } else { Ok(given.into()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_run_has_an_environment_variable_and_a_text() {
        let mut command = Cli::command();
        let run = command.find_subcommand_mut("run").unwrap();
        for flag in run.get_arguments().filter(|flag| flag.get_id() != "help") {
            let env = flag.get_env().unwrap_or_else(|| panic!("{} has none", flag.get_id())).to_str().unwrap();
            assert_eq!(env, format!("GOPROXY_OPERATOR_{}", flag.get_id().as_str().to_uppercase()));
            assert!(flag.get_help().is_some(), "{}", flag.get_id());
        }
    }

    #[test]
    fn defaults_make_a_safe_candidate() {
        let Command::Run(run) = Cli::parse_from(["goproxy-operator", "run"]).command else { panic!() };
        let options = run.options();
        let candidate = options.candidate.unwrap();
        assert!(candidate.timing.check().is_ok());
        assert_eq!(candidate.lease, "goproxy-operator");
        assert_eq!(options.concurrency, 32);
        assert_ne!(own_identity(), own_identity());
    }

    #[test]
    fn takes_lists_and_switches() {
        let parse = |arguments: &[&str]| {
            let command = Cli::parse_from([&["goproxy-operator", "run"], arguments].concat()).command;
            let Command::Run(run) = command else { panic!("{command:?}") };
            run.options()
        };
        assert_eq!(parse(&["--namespaces", "a,b"]).namespaces, ["a", "b"]);
        assert_eq!(parse(&["--fleet-namespaces", "a,b"]).fleet_namespaces, ["a", "b"]);
        for nothing in [parse(&[]), parse(&["--namespaces", "", "--fleet-namespaces", ""])] {
            assert!(nothing.namespaces.is_empty() && nothing.fleet_namespaces.is_empty());
        }
        assert!(parse(&["--leader-elect=false"]).candidate.is_none());
        assert!(parse(&["--leader-elect"]).candidate.is_some());
        assert!(Cli::try_parse_from(["goproxy-operator", "run", "--lease-duration", "soon"]).is_err());
    }
}
