//! What an edge's nginx is made of: what only a reload can change.

use std::{collections::BTreeSet, time::Duration};

use super::{
    front, origin,
    text::Text,
    tree::{Argument, Directive},
};

/// What of an edge's settings is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Names the front listener answers to, each once; any name where there is none.
    pub hostnames: BTreeSet<HostName>,
    /// Where it listens.
    pub ports: Ports,
    /// Whether it listens on addresses of IPv6 too: on a machine that has none, nginx would not start.
    pub ipv6: bool,
    /// What is kept on disk.
    pub cache: Cache,
    /// The longest fetch of the engine. Nothing waits less for one, and nothing much longer.
    pub fetch_timeout: Duration,
    /// Processes that serve.
    pub workers: u64,
}

/// Ports of an edge. A listener that is not used is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Clients, in clear.
    pub http: u16,
    /// Clients, over TLS with HTTP/2.
    pub https: Option<u16>,
    /// Clients behind a load balancer that sends the PROXY protocol. A port of its own: a preamble that anybody may send
    /// on a shared one is a forged address.
    pub proxy_protocol: Option<u16>,
    /// The engines' way to the origins.
    pub origin: Option<u16>,
}

/// What is kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Room for bodies, in bytes.
    pub size: u64,
    /// Room for keys in memory, in bytes: about 8000 of them in a mebibyte.
    pub keys: u64,
}

/// A DNS name as a server's name. Not a pattern, and nothing that nginx could take for one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

/// Why a text is no host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host name is made of small letters, digits and dashes, in parts of at most 63 joined by dots, 253 in all")]
pub struct InvalidHostName;

impl HostName {
    /// Checks a name.
    pub fn parse(name: &str) -> Result<Self, InvalidHostName> {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(plain)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() <= 253 && name.split('.').all(label) { Ok(Self(name.to_owned())) } else { Err(InvalidHostName) }
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn argument(&self) -> Argument {
        Argument::Text(Text::new(&self.0).expect("letters, digits, dashes and dots"))
    }
}

/// Every path is below the prefix that nginx is started with (`-p`), which is its working directory too (sockets are relative to
/// that), so the file is the same wherever it runs.
pub(super) fn tree(structure: &Structure) -> Vec<Directive> {
    let mut tree = vec![
        Directive::words("load_module", &["modules/ndk_http_module.so"]),
        Directive::words("load_module", &["modules/ngx_http_lua_module.so"]),
        Directive::line("worker_processes", [Argument::Number(structure.workers)]),
        Directive::words("pid", &["nginx.pid"]),
        Directive::words("error_log", &["stderr", "warn"]),
        // Each open file takes one beside its connection.
        Directive::words("worker_rlimit_nofile", &["16384"]),
        // An old worker stays until its last download has ended: cutting those short would break clients, and reloads are
        // rare and counted by the agent.
        Directive::block("events", &[], vec![Directive::words("worker_connections", &["4096"])]),
    ];
    let mut http = base();
    http.extend(shared_memory());
    http.extend(cache(structure));
    http.push(log());
    http.extend(upstreams(structure));
    http.extend(front::servers(structure));
    http.extend(structure.ports.origin.map(|_| origin::server(structure)));
    http.push(control());
    tree.push(Directive::block("http", &[], http));
    tree
}

/// What holds for every listener.
fn base() -> Vec<Directive> {
    vec![
        Directive::words("default_type", &["application/octet-stream"]),
        Directive::words("server_tokens", &["off"]),
        // What nginx refuses before it looks for a server has none of the variables that are set there.
        Directive::words("uninitialized_variable_warn", &["off"]),
        Directive::words("access_log", &["off"]),
        // A host name may have 253 letters; by default nginx begins with none that has more than half of its line of cache.
        Directive::words("server_names_hash_bucket_size", &["512"]),
        // A request of a module proxy has no body.
        Directive::words("client_max_body_size", &["1k"]),
        Directive::words("client_header_timeout", &["10s"]),
        Directive::words("client_body_timeout", &["10s"]),
        Directive::words("send_timeout", &["60s"]),
        Directive::words("large_client_header_buffers", &["4", "16k"]),
        // Many ranges of one request make one answer many times its size.
        Directive::words("max_ranges", &["1"]),
        // A go command asks for hundreds of files on one connection.
        Directive::words("keepalive_requests", &["100000"]),
        Directive::words("keepalive_timeout", &["75s"]),
        // Small files are read and written in one call each; with these on, they are a fifth slower. Zips turn them on.
        Directive::words("sendfile", &["off"]),
        Directive::words("tcp_nopush", &["off"]),
        // A file that was removed is still served until it is checked again: nothing is denied by removing it.
        Directive::words("open_file_cache", &["max=4096", "inactive=60s"]),
        Directive::words("open_file_cache_valid", &["30s"]),
        Directive::words("open_file_cache_errors", &["off"]),
        Directive::words("client_body_temp_path", &["temp/body"]),
        Directive::words("proxy_temp_path", &["temp/proxy"]),
        Directive::words("fastcgi_temp_path", &["temp/fastcgi"]),
        Directive::words("uwsgi_temp_path", &["temp/uwsgi"]),
        Directive::words("scgi_temp_path", &["temp/scgi"]),
    ]
}

/// What the agent pushes, and what the shim in Lua keeps. It survives a reload and not a restart.
fn shared_memory() -> Vec<Directive> {
    vec![
        Directive::words("lua_shared_dict", &["state", "16m"]),
        Directive::words("lua_package_path", &["lua/?.lua;;"]),
        // An agent that is away is told by the answers, not by a line for each request.
        Directive::words("lua_socket_log_errors", &["off"]),
        Directive::words("init_worker_by_lua_file", &["lua/worker.lua"]),
    ]
}

fn cache(structure: &Structure) -> Vec<Directive> {
    let Cache { size, keys } = structure.cache;
    vec![
        Directive::line(
            "proxy_cache_path",
            [
                Argument::Word("cache"),
                Argument::Word("levels=1:2"),
                Argument::set("keys_zone=modules:", Argument::Bytes(keys)),
                Argument::set("max_size=", Argument::Bytes(size)),
                // Least recently used goes first when it is full; nothing goes because of its age.
                Argument::Word("inactive=10y"),
                Argument::Word("use_temp_path=off"),
            ],
        ),
        // The canonical path and nothing else: no revision, no identity. Who may see it is asked on every request.
        Directive::words("proxy_cache_key", &["$edge_path"]),
        Directive::words("proxy_cache_lock", &["on"]),
        // Waiting less than the slowest fetch would send everybody who waits to the engine at once.
        Directive::line("proxy_cache_lock_timeout", [Argument::Time(waiting(structure))]),
        Directive::line("proxy_cache_lock_age", [Argument::Time(waiting(structure))]),
        Directive::words("proxy_cache_methods", &["GET", "HEAD"]),
    ]
}

/// How long an answer may take: the longest fetch, and what the engine needs to say that it failed.
pub(super) fn waiting(structure: &Structure) -> Duration {
    structure.fetch_timeout + Duration::from_secs(15)
}

/// One line of JSON for each request, written 128 KiB at a time. A log that is written line by line costs a tenth of
/// the rate, and one that goes to a socket loses lines.
fn log() -> Directive {
    Directive::words(
        "log_format",
        &[
            "edge",
            "escape=json",
            concat!(
                r#"{"time":"$msec","status":$status,"bytes":$body_bytes_sent,"seconds":$request_time,"#,
                r#""upstreamSeconds":"$upstream_response_time","upstreamStatus":"$upstream_status","#,
                r#""cache":"$sent_http_x_cache_status","revision":"$edge_revision","#,
                r#""path":"$edge_path","decision":"$edge_decision","identity":"$edge_identity","address":"$edge_address"}"#
            ),
        ],
    )
}

fn upstreams(structure: &Structure) -> Vec<Directive> {
    let balanced = |name: &'static str, script: &'static str| {
        let inner = vec![
            // nginx wants one server to be named, and asks the script instead.
            Directive::words("server", &["0.0.0.1"]),
            Directive::words("balancer_by_lua_file", &[script]),
            Directive::words("keepalive", &["64"]),
            Directive::words("keepalive_requests", &["100000"]),
        ];
        Directive::block("upstream", &[name], inner)
    };
    let agent = vec![
        Directive::words("server", &["unix:agent.sock"]),
        Directive::words("keepalive", &["64"]),
        Directive::words("keepalive_requests", &["100000"]),
    ];
    let mut upstreams = vec![balanced("engine", "lua/engine.lua"), Directive::block("upstream", &["agent"], agent)];
    if structure.ports.origin.is_some() {
        upstreams.push(balanced("mirror", "lua/mirror.lua"));
    }
    upstreams
}

/// Where the agent pushes and reads, on a socket that only the pod can reach.
fn control() -> Directive {
    let push = vec![
        Directive::words("client_max_body_size", &["16m"]),
        Directive::words("client_body_buffer_size", &["16m"]),
        Directive::words("content_by_lua_file", &["lua/push.lua"]),
    ];
    Directive::block(
        "server",
        &[],
        vec![
            Directive::words("listen", &["unix:control.sock"]),
            Directive::block("location", &["=", "/push"], push),
            Directive::block(
                "location",
                &["=", "/held"],
                vec![Directive::words("content_by_lua_file", &["lua/held.lua"])],
            ),
            Directive::block("location", &["/"], vec![Directive::words("return", &["404"])]),
        ],
    )
}
