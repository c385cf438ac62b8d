//! Logins for Git servers, and the proxy on the way out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Carrier, WantedKey, WantedSecret};
use crate::{
    api::{
        go_proxy::{Credential, EgressProxy, LocalReference, NetrcLogin, SshLogin, TokenLogin, Upstream},
        rule,
    },
    import::found::{Given, NotCarried, SshServer, Value, without_login},
    plan::validate::{INSIDE, OWN_POD, SSH_PORT, SSH_USER, is_about},
};

/// The host that the engine's token is for.
const GITHUB: &str = "github.com";
/// Hosts whose modules are mostly everybody's: a login there says nothing of all others.
const OF_EVERYBODY: [&str; 5] = [GITHUB, "gitlab.com", "bitbucket.org", "codeberg.org", "git.sr.ht"];
/// The key of a netrc file, here and in the chart.
const NETRC_KEY: &str = ".netrc";

/// The logins, each for a host of the private modules.
pub fn logins(carrier: &mut Carrier<'_>) {
    let modules = modules(carrier);
    let mut credentials = Vec::new();
    credentials.extend(github(carrier, &modules));
    for server in &carrier.found.around.ssh {
        credentials.extend(ssh(server, carrier, &modules));
    }
    // A file tells nothing of its hosts here; those that have a login of another kind do not need it.
    let hosts: BTreeSet<_> = modules.iter().filter_map(|pattern| pattern.split('/').next()).collect();
    let left = hosts.into_iter().filter(|host| {
        let known = |one: &Credential| one.host == *host;
        rule::GIT_HOST.refuse(host).is_none() && !credentials.iter().any(known)
    });
    let left: Vec<_> = left.map(str::to_owned).collect();
    credentials.extend(netrc(carrier, left));
    if let Some(private) = &mut carrier.carried.spec.private {
        private.credentials = credentials;
    }
}

/// The private modules, and those of servers that are asked over ssh: left out, a public mirror would be asked for them.
fn modules(carrier: &mut Carrier<'_>) -> Vec<String> {
    let mut modules = carrier.carried.spec.private.as_ref().map(|all| all.modules.clone()).unwrap_or_default();
    for SshServer { host, .. } in &carrier.found.around.ssh {
        let shared = OF_EVERYBODY.contains(&host.as_str()) || rule::GIT_HOST.refuse(host).is_some();
        if shared || is_covered(host, &modules) {
            continue;
        }
        modules.push(format!("{host}/*"));
        carrier.carried.notes.push(format!(
            "{host} is asked with a key, so that all of its modules became private.modules: without checksums of a database, and \
             never asked for elsewhere"
        ));
    }
    modules.sort();
    if !modules.is_empty() {
        carrier.carried.spec.private.get_or_insert_default().modules.clone_from(&modules);
    }
    modules
}

/// Why a login for a host is left out.
fn uncovered(host: &str) -> String {
    format!(
        "a login is used for private modules alone: name those of {host} in spec.private.modules, and the login in \
         spec.private.credentials; until then they are asked for like public ones, at a public mirror and checksum database too"
    )
}

/// Whether some private module may live at a host.
fn is_covered(host: &str, modules: &[String]) -> bool {
    modules.iter().any(|pattern| is_about(pattern, host))
}

/// The engine's one token.
fn github(carrier: &mut Carrier<'_>, modules: &[String]) -> Option<Credential> {
    let name = carrier.found.get("GithubToken")?.name.clone();
    if !is_covered(GITHUB, modules) {
        carrier.carried.lost.push(NotCarried::hidden(name, uncovered(GITHUB)));
        return None;
    }
    let secret_ref = carrier.secret("github", &[("token", "GithubToken", false)])?;
    let token = Some(TokenLogin { secret_ref, username: None });
    Some(Credential { host: GITHUB.to_owned(), token, ..Credential::default() })
}

/// A server over ssh. The chart trusts whatever server answers; a fleet does not.
fn ssh(server: &SshServer, carrier: &mut Carrier<'_>, modules: &[String]) -> Option<Credential> {
    let SshServer { setting, host, user, port, key } = server;
    if !is_covered(host, modules) {
        carrier.carried.lost.push(NotCarried::hidden(setting, uncovered(host)));
        return None;
    }
    let name = format!("{}-{}", carrier.fleet, host.replace('.', "-"));
    let known = format!("what `ssh-keyscan {host}` prints, compared with what the server's operator publishes");
    let keys = vec![
        WantedKey { key: "ssh-privatekey", from: key.clone(), file: true },
        WantedKey { key: "known_hosts", from: known, file: true },
    ];
    carrier.carried.secrets.push(WantedSecret { name: name.clone(), keys });
    let login = SshLogin { secret_ref: LocalReference { name }, user: user.clone().filter(|user| user != SSH_USER) };
    let port = port.filter(|port| *port != SSH_PORT);
    Some(Credential { host: host.clone(), port, ssh: Some(login), ..Credential::default() })
}

/// A netrc file, for each host that it may be about.
fn netrc(carrier: &mut Carrier<'_>, hosts: Vec<String>) -> Vec<Credential> {
    let Some(given) = carrier.found.get("NETRCPath") else { return Vec::new() };
    if hosts.is_empty() {
        let why = uncovered("its hosts");
        carrier.carried.lost.push(NotCarried::hidden(&given.name, why));
        return Vec::new();
    }
    let secret = netrc_secret(given, carrier);
    carrier.carried.notes.push(
        "the netrc file is used for every host of private.modules: remove a host from private.credentials that it does not name"
            .to_owned(),
    );
    let login =
        |host| Credential { host, netrc: Some(NetrcLogin { secret_ref: secret.clone() }), ..Credential::default() };
    hosts.into_iter().map(login).collect()
}

/// The Secret with the file: the very one that holds it, if under the right key.
fn netrc_secret(given: &Given, carrier: &mut Carrier<'_>) -> LocalReference {
    let from = match &given.value {
        Value::Secret { name, key } if key == NETRC_KEY => {
            carrier.carried.notes.push(format!("the login in your Secret {name} is used as it is"));
            return LocalReference { name: name.clone() };
        }
        Value::Secret { name, key } => format!("key {key} of Secret {name}"),
        Value::Text(_) | Value::List(_) => format!("the file that {} names", given.name),
    };
    let name = format!("{}-netrc", carrier.fleet);
    let keys = vec![WantedKey { key: NETRC_KEY, from, file: true }];
    carrier.carried.secrets.push(WantedSecret { name: name.clone(), keys });
    LocalReference { name }
}

/// The proxy on the way out, from its variables by their lower-case names.
pub fn egress(given: &BTreeMap<String, String>, upstream: &mut Upstream, carrier: &mut Carrier<'_>) {
    let address = |name: &str| given.get(name).map(|text| egress_address(text));
    let (https, http) = (address("https_proxy"), address("http_proxy"));
    let Some(https) = https else {
        if http.is_some() {
            let why = "a fleet that takes a proxy for http addresses takes one for https addresses too: name both in \
                       spec.upstream.egressProxy";
            carrier.carried.lost.push(NotCarried::hidden("HTTP_PROXY", why));
        }
        return;
    };
    if http.is_none() {
        carrier.carried.notes.push("http addresses take the proxy of HTTPS_PROXY too".to_owned());
    }
    upstream.egress_proxy = Some(EgressProxy {
        http: http.filter(|http| *http != https),
        past: past(given.get("no_proxy").map_or("", String::as_str), carrier),
        https,
        login: egress_login(given, carrier),
    });
}

/// The Secret for what stands before the `@` of the addresses.
fn egress_login(given: &BTreeMap<String, String>, carrier: &mut Carrier<'_>) -> Option<LocalReference> {
    let login = |name: &str| {
        let (login, _) = given.get(name)?.rsplit_once('@')?;
        Some(login.split_once("://").map_or(login, |(_, login)| login))
    };
    let (https, http) = (login("https_proxy"), login("http_proxy"));
    let from = if https.is_some() { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    https.or(http)?;
    if given.contains_key("http_proxy") && https != http {
        let why = "a fleet has one login for both proxies, and these had not: it is used at the other one too";
        carrier.carried.lost.push(NotCarried::hidden(from, why));
    }
    let key = |key| WantedKey {
        key,
        from: format!("{from}, where characters may be written as % and two digits"),
        file: false,
    };
    let name = format!("{}-egress", carrier.fleet);
    carrier.carried.secrets.push(WantedSecret { name: name.clone(), keys: vec![key("username"), key("password")] });
    Some(LocalReference { name })
}

/// An address as a fleet may hold it, without the login. Programs take one without a scheme for http.
fn egress_address(text: &str) -> String {
    let (url, _) = without_login(text.trim());
    let url = url.trim_end_matches('/');
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// What is reached past it.
fn past(text: &str, carrier: &mut Carrier<'_>) -> Vec<String> {
    let mut past: Vec<String> = Vec::new();
    let goes_out = |item: &&str| !item.is_empty() && !OWN_POD.contains(item) && *item != INSIDE;
    for item in text.split([',', ' ']).map(str::trim).filter(goes_out) {
        let item = item.strip_prefix("*.").map_or_else(|| item.to_owned(), |domain| format!(".{domain}"));
        if rule::NO_PROXY.refuse(&item).is_some() {
            let why = "an entry that is no host, domain or network without a port was left out";
            carrier.carried.lost.push(NotCarried::hidden("NO_PROXY", why));
        } else if !past.contains(&item) {
            past.push(item);
        }
    }
    past
}
