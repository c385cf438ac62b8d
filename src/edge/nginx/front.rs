//! The listeners of clients, and the copy of mutable answers that only the agent reads.

use super::{
    structure::{Structure, waiting},
    tree::{Argument, Directive},
};

/// What of a version never changes. Looks like it, that is: the shim asks what the path really is and sends the rest on.
const SMALL: &str = r"^/.+/@v/v[0-9]+\.[0-9]+\.[0-9]+[^/]*\.(?:info|mod)$";
const ZIP: &str = r"^/.+/@v/v[0-9]+\.[0-9]+\.[0-9]+[^/]*\.zip$";

/// Headers by which an upstream could steer this nginx, or make an answer uncacheable.
pub(super) const IGNORED: &[&str] = &[
    "X-Accel-Redirect",
    "X-Accel-Expires",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
    "Expires",
    "Cache-Control",
    "Set-Cookie",
    "Vary",
];

pub(super) fn servers(structure: &Structure) -> Vec<Directive> {
    let mut servers = vec![Directive::block("server", &[], front(structure)), copy(structure)];
    if !structure.hostnames.is_empty() {
        servers.push(Directive::block("server", &[], strangers(structure)));
    }
    servers
}

/// One directive for each port, in the same words wherever the port is listened on: nginx would take one of two.
fn listen(structure: &Structure, last: &[&'static str]) -> Vec<Directive> {
    let ports = structure.ports;
    let all = [(Some(ports.http), None), (ports.https, Some("ssl")), (ports.proxy_protocol, Some("proxy_protocol"))];
    let lines = |(port, word): (Option<u16>, Option<&'static str>)| {
        let words: Vec<_> = word.into_iter().chain(last.iter().copied()).map(Argument::Word).collect();
        listen_on(structure, port, &words)
    };
    all.into_iter().flat_map(lines).collect()
}

/// A port on the addresses that the machine has, if it is used at all.
pub(super) fn listen_on(structure: &Structure, port: Option<u16>, words: &[Argument]) -> Vec<Directive> {
    let Some(port) = port.map(|port| Argument::Number(port.into())) else { return Vec::new() };
    let ipv6 = structure.ipv6.then(|| Argument::set("[::]:", port.clone()));
    let line = |address| Directive::line("listen", [address].into_iter().chain(words.iter().cloned()));
    [Some(port), ipv6].into_iter().flatten().map(line).collect()
}

/// The script chooses the certificate; nginx does not start without one to stand in.
fn tls() -> Vec<Directive> {
    vec![
        Directive::words("http2", &["on"]),
        Directive::words("ssl_protocols", &["TLSv1.2", "TLSv1.3"]),
        Directive::words("ssl_session_tickets", &["off"]),
        Directive::words("ssl_certificate", &["tls/placeholder.crt"]),
        Directive::words("ssl_certificate_key", &["tls/placeholder.key"]),
        Directive::words("ssl_certificate_by_lua_file", &["lua/certificate.lua"]),
    ]
}

fn front(structure: &Structure) -> Vec<Directive> {
    let mut server = listen(structure, &[]);
    if structure.ports.https.is_some() {
        server.extend(tls());
    }
    if structure.hostnames.is_empty() {
        server.push(Directive::words("server_name", &["_"]));
    } else {
        server.push(Directive::line("server_name", structure.hostnames.iter().map(super::HostName::argument)));
    }
    server.extend(variables());
    server.push(Directive::words("access_log", &["log/access.log", "edge", "buffer=128k", "flush=1s"]));
    // What nginx itself refuses is told in the same words whatever it was.
    server.push(Directive::words("absolute_redirect", &["off"]));
    server.push(Directive::block("location", &["~", SMALL], immutable(structure, "small")));
    server.push(Directive::block("location", &["~", ZIP], zip(structure)));
    server.push(Directive::block("location", &["/"], mutable(structure)));
    server.push(Directive::block(
        "location",
        &["=", "/healthz"],
        vec![Directive::words("content_by_lua_file", &["lua/health.lua"])],
    ));
    server.push(Directive::block("location", &["@small"], passed(structure)));
    server.push(Directive::block("location", &["@canary"], canary(structure)));
    server.push(Directive::block("location", &["@fallback"], fallback(structure)));
    server.push(Directive::block("location", &["@mutable"], mutable_passed(structure)));
    server.push(Directive::block("location", &["@sums"], sums(structure)));
    server
}

/// A request under another name than the fleet's is for somebody else.
fn strangers(structure: &Structure) -> Vec<Directive> {
    let mut server = listen(structure, &["default_server"]);
    if structure.ports.https.is_some() {
        server.push(Directive::words("ssl_reject_handshake", &["on"]));
    }
    server.push(Directive::words("return", &["421"]));
    server
}

/// Set by the shim once it knows; empty where a request was refused before.
fn variables() -> Vec<Directive> {
    [
        ["$edge_path", ""],
        ["$edge_revision", ""],
        ["$edge_decision", ""],
        ["$edge_identity", ""],
        ["$edge_address", ""],
        ["$edge_fallback", ""],
    ]
    .iter()
    .map(|pair| Directive::words("set", pair))
    .collect()
}

fn shim(room: &'static str) -> Vec<Directive> {
    vec![Directive::words("set", &["$edge_room", room]), Directive::words("access_by_lua_file", &["lua/access.lua"])]
}

fn immutable(structure: &Structure, room: &'static str) -> Vec<Directive> {
    let mut location = shim(room);
    location.extend(passed(structure));
    location
}

fn zip(structure: &Structure) -> Vec<Directive> {
    let mut location = vec![Directive::words("sendfile", &["on"]), Directive::words("tcp_nopush", &["on"])];
    location.extend(immutable(structure, "zip"));
    location
}

/// To the engines, through the cache. Of a failure nothing is left after a second, but those who waited for it do not ask one after the
/// other. Lists have no such line: a failure would take the place of the copy.
fn passed(structure: &Structure) -> Vec<Directive> {
    let mut lines = to_engine(structure);
    lines.extend(kept());
    lines.push(Directive::words("proxy_cache_valid", &["500", "502", "503", "504", "1s"]));
    lines
}

/// To a revision that is tried: past the cache, and into none. Whatever it fails with, be it before its first byte, the same request is
/// answered by what is kept or by the stable revision. The log has both statuses.
fn canary(structure: &Structure) -> Vec<Directive> {
    let mut lines = to_engine(structure);
    lines.extend([
        Directive::words("proxy_intercept_errors", &["on"]),
        Directive::words("error_page", &["404", "410", "500", "502", "503", "504", "=", "@fallback"]),
        Directive::words("add_header", &["X-Cache-Status", "BYPASS", "always"]),
    ]);
    lines
}

fn fallback(structure: &Structure) -> Vec<Directive> {
    let mut lines = vec![Directive::words("set", &["$edge_fallback", "1"])];
    lines.extend(passed(structure));
    lines
}

/// To a checksum database, which engines pass on and do not keep. Records never change, but nobody checks them on the way: what is wrong is
/// not kept for long, and what clients got before is good until there is something newer.
fn sums(structure: &Structure) -> Vec<Directive> {
    let mut lines = to_engine(structure);
    lines.extend([
        Directive::words("proxy_cache", &["modules"]),
        Directive::words("proxy_cache_valid", &["200", "10m"]),
        Directive::words("proxy_cache_valid", &["404", "410", "5s"]),
        Directive::words(
            "proxy_cache_use_stale",
            &["error", "timeout", "updating", "http_500", "http_502", "http_503", "http_504"],
        ),
        Directive::words("proxy_cache_background_update", &["on"]),
        Directive::words("add_header", &["X-Cache-Status", "$upstream_cache_status", "always"]),
    ]);
    lines
}

/// How long answers are kept: good ones as long as there is room, for they never change.
fn kept() -> [Directive; 4] {
    [
        Directive::words("proxy_cache", &["modules"]),
        Directive::words("proxy_cache_valid", &["200", "10y"]),
        Directive::words("proxy_cache_valid", &["404", "410", "5s"]),
        Directive::words("add_header", &["X-Cache-Status", "$upstream_cache_status", "always"]),
    ]
}

pub(super) fn to_engine(structure: &Structure) -> Vec<Directive> {
    let mut lines = vec![
        // The canonical path has no byte that would be escaped or unescaped on its way.
        Directive::words("proxy_pass", &["http://engine$edge_path"]),
        // By the older version an answer without a length ends where the connection ends, and half a file would be kept.
        Directive::words("proxy_http_version", &["1.1"]),
        Directive::words("proxy_pass_request_headers", &["off"]),
        Directive::words("proxy_pass_request_body", &["off"]),
        Directive::words("proxy_set_header", &["Host", "engine"]),
        Directive::words("proxy_set_header", &["Connection", ""]),
        Directive::words("proxy_ignore_headers", IGNORED),
        Directive::words("proxy_connect_timeout", &["2s"]),
        Directive::line("proxy_read_timeout", [Argument::Time(waiting(structure))]),
        Directive::words("proxy_next_upstream", &["error", "timeout", "http_502", "http_503", "http_504"]),
        Directive::words("proxy_next_upstream_tries", &["3"]),
        Directive::words("proxy_max_temp_file_size", &["2048m"]),
        // An engine that does not say that it knows ranges still gets them served from what is kept.
        Directive::words("proxy_force_ranges", &["on"]),
    ];
    lines.extend(["X-Accel-Redirect", "Set-Cookie", "Cache-Control", "Expires", "Vary"].map(hidden));
    lines
}

fn hidden(header: &'static str) -> Directive {
    Directive::line("proxy_hide_header", [Argument::Word(header)])
}

/// Answered by the agent, which filters lists by who asks.
fn mutable(structure: &Structure) -> Vec<Directive> {
    let mut location = shim("mutable");
    location.extend(mutable_passed(structure));
    location
}

fn mutable_passed(structure: &Structure) -> Vec<Directive> {
    vec![
        Directive::words("proxy_pass", &["http://agent$edge_path"]),
        Directive::words("proxy_http_version", &["1.1"]),
        Directive::words("proxy_pass_request_body", &["off"]),
        Directive::words("proxy_set_header", &["Connection", ""]),
        Directive::words("proxy_set_header", &["Authorization", ""]),
        Directive::words("proxy_set_header", &["X-Edge-Identity", "$edge_identity"]),
        Directive::words("proxy_set_header", &["X-Edge-Address", "$edge_address"]),
        Directive::words("proxy_connect_timeout", &["2s"]),
        Directive::line("proxy_read_timeout", [Argument::Time(waiting(structure))]),
    ]
}

/// The unfiltered copy of what changes. It stays for as long as there is room: when it is old is the agent's decision, and an old copy is
/// what is left when every origin is away.
fn copy(structure: &Structure) -> Directive {
    let mut location = [["$edge_path", "$uri"], ["$edge_revision", ""], ["$edge_fallback", ""]]
        .iter()
        .map(|pair| Directive::words("set", pair))
        .collect::<Vec<_>>();
    location.extend(to_engine(structure));
    location.extend(kept());
    location.push(Directive::words("proxy_cache_bypass", &["$http_x_edge_refresh"]));
    let listen = Directive::words("listen", &["unix:copy.sock"]);
    Directive::block("server", &[], vec![listen, Directive::block("location", &["/"], location)])
}
