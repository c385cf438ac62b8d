//! The listener through which engines reach origins.

use super::{
    front::{IGNORED, listen_on},
    structure::{Structure, waiting},
    tree::{Argument, Directive},
};

/// Which mirror is asked, and how often, is the agent's decision: the script asks it before each attempt and tells it how it ended.
pub(super) fn server(structure: &Structure) -> Directive {
    let location = vec![
        Directive::words("access_by_lua_file", &["lua/origin.lua"]),
        Directive::words("proxy_pass", &["$edge_mirror_scheme://mirror$edge_mirror_path"]),
        Directive::words("proxy_http_version", &["1.1"]),
        Directive::words("proxy_pass_request_headers", &["off"]),
        Directive::words("proxy_pass_request_body", &["off"]),
        Directive::words("proxy_set_header", &["Host", "$edge_mirror_host"]),
        Directive::words("proxy_set_header", &["Connection", ""]),
        Directive::words("proxy_ignore_headers", IGNORED),
        Directive::words("proxy_ssl_server_name", &["on"]),
        Directive::words("proxy_ssl_name", &["$edge_mirror_host"]),
        Directive::words("proxy_ssl_verify", &["on"]),
        Directive::words("proxy_ssl_verify_depth", &["4"]),
        Directive::words("proxy_ssl_trusted_certificate", &["tls/origins.crt"]),
        Directive::words("proxy_connect_timeout", &["5s"]),
        // Between two bytes, not for the whole: a mirror that stalls is left, one that is only slow is not.
        Directive::words("proxy_read_timeout", &["30s"]),
        Directive::line("proxy_next_upstream_timeout", [Argument::Time(waiting(structure))]),
        Directive::words("proxy_next_upstream", &["off"]),
        Directive::words("log_by_lua_file", &["lua/outcome.lua"]),
    ];
    let mut server = listen_on(structure, structure.ports.origin, &[]);
    server.extend([
        Directive::words("set", &["$edge_mirror_scheme", "https"]),
        Directive::words("set", &["$edge_mirror_host", ""]),
        Directive::words("set", &["$edge_mirror_path", ""]),
        Directive::block("location", &["/"], location),
    ]);
    Directive::block("server", &[], server)
}
