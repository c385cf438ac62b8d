//! Where modules come from, how they are verified, and which are private.

use std::collections::{BTreeMap, BTreeSet};

use super::{Carrier, outside};
use crate::{
    api::{
        go_proxy::{ChecksumDatabase, ChecksumsDisabled, Direct, Engine, Private, TryNextOn, Upstream, UpstreamProxy},
        rule,
    },
    engine::origins::{KNOWN_DATABASE, KNOWN_DATABASE_MIRROR},
    import::found::{NotCarried, without_login},
};

/// A public proxy that values of the chart still name.
const ENDED: &str = "gocenter.io";
/// Longest name of a proxy.
const NAME_MOST: usize = 40;

/// What the go command is told, and the engine's own lists.
pub fn carry(carrier: &mut Carrier<'_>) {
    let list = carrier.found.items("GoBinaryEnvVars");
    let name = carrier.found.name("GoBinaryEnvVars");
    let mut go = Go { name, egress: carrier.found.around.egress.clone(), ..Go::default() };
    for assignment in &list {
        match assignment.split_once('=') {
            Some((key, value)) => go.take(key.trim(), value.trim(), carrier),
            None => carrier.carried.lost.push(NotCarried::hidden(&go.name, "one of its parts has no `=`")),
        }
    }
    sent(carrier, &mut go);
    if !go.told_origins {
        carrier.carried.notes.push(
            "Athens fetched from version control alone (GOPROXY=direct, its default); the fleet asks as the go command does by \
             itself, which goes to a public mirror first, except for private.modules"
                .to_owned(),
        );
    }
    databases(carrier, &mut go);
    private(carrier, &mut go);
    outside::egress(&go.egress, &mut go.upstream, carrier);
    let Go { upstream, environment, .. } = go;
    if !environment.is_empty() {
        carrier.carried.spec.engine.get_or_insert_with(Engine::default).go_env = environment;
    }
    carrier.carried.spec.upstream = (upstream != Upstream::default()).then_some(upstream);
}

/// What the go command's variables become.
#[derive(Default)]
struct Go {
    name: String,
    upstream: Upstream,
    environment: BTreeMap<String, String>,
    patterns: BTreeSet<String>,
    /// Proxies on the way out, by their variables in lower case.
    egress: BTreeMap<String, String>,
    told_origins: bool,
    told_direct: bool,
}

impl Go {
    fn lose(&self, key: &str, why: &str, carrier: &mut Carrier<'_>) {
        // Never with its value: it may hold a login.
        carrier.carried.lost.push(NotCarried::hidden(format!("{} {key}", self.name), why));
    }

    fn take(&mut self, key: &str, value: &str, carrier: &mut Carrier<'_>) {
        match key {
            _ if value.is_empty() => {}
            "GOPROXY" => self.chain(value, carrier),
            "GOSUMDB" => self.database(value, carrier),
            "GOPRIVATE" | "GONOPROXY" | "GONOSUMDB" => {
                self.told_direct |= key != "GONOSUMDB";
                self.patterns.extend(value.split(',').map(|pattern| pattern.trim().to_owned()));
            }
            // The engine sets these itself, and a fleet does likewise.
            "GO111MODULE" | "CGO_ENABLED" | "GOPATH" | "GOCACHE" | "GOMODCACHE" | "HOME" | "PATH" => {}
            "GOFLAGS" if value == "-modcacherw" => {}
            "GOTOOLCHAIN" if value == "local" => {}
            "SSL_CERT_FILE" | "SSL_CERT_DIR" | "GIT_SSL_CAINFO" | "GIT_SSL_CAPATH" => {
                self.lose(key, "certificates come from a ConfigMap: name it in spec.upstream.caBundle", carrier);
            }
            "HTTP_PROXY" | "HTTPS_PROXY" | "NO_PROXY" | "http_proxy" | "https_proxy" | "no_proxy" => {
                self.egress.insert(key.to_ascii_lowercase(), value.to_owned());
            }
            "GOINSECURE" | "GONOSUMCHECK" => {
                self.lose(
                    key,
                    "origins are asked over checked connections, and checksums are off for private.modules alone",
                    carrier,
                );
            }
            _ if !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                carrier.carried.lost.push(NotCarried::hidden(&self.name, "one of its parts is no variable"));
            }
            _ if rule::GO_ENV_KEY.refuse(key).is_some() => {
                self.lose(key, "pods of a fleet hand no such variable to the go command", carrier);
            }
            _ if rule::GO_ENV_VALUE.refuse(value).is_some() => {
                self.lose(key, "its value has characters that the engine cannot pass on", carrier);
            }
            _ => {
                self.environment.insert(key.to_owned(), value.to_owned());
            }
        }
    }

    /// GOPROXY: a comma goes on after 404 and 410, a pipe after any failure, and nothing comes after `direct` and `off`.
    fn chain(&mut self, value: &str, carrier: &mut Carrier<'_>) {
        self.told_origins = true;
        let mut rest = value;
        let mut direct = Direct::Disabled;
        while !rest.is_empty() {
            let end = rest.find([',', '|']).unwrap_or(rest.len());
            let (entry, tail) = rest.split_at(end);
            rest = tail.get(1..).unwrap_or_default();
            match entry.trim() {
                "" => {}
                "off" => break,
                "direct" => {
                    direct = Direct::Enabled;
                    break;
                }
                url => self.origin(url, tail.starts_with('|'), carrier),
            }
        }
        if !self.upstream.proxies.is_empty() {
            self.upstream.direct = (direct == Direct::Disabled).then_some(direct);
        } else if direct == Direct::Enabled {
            let why = "a fleet without proxies asks as the go command does by itself, which goes to a public mirror first, except \
                       for private.modules: what must not be asked for there belongs in spec.private.modules";
            self.lose("GOPROXY=direct", why, carrier);
        } else {
            self.lose(
                "GOPROXY",
                "nothing would be left to fetch from: a fleet asks as the go command does by itself",
                carrier,
            );
        }
    }

    fn origin(&mut self, url: &str, any_error: bool, carrier: &mut Carrier<'_>) {
        let (url, login) = without_login(url.trim_end_matches('/'));
        if login {
            self.lose(
                "GOPROXY",
                "the login in an address was left out: everybody who may read a GoProxy would see it",
                carrier,
            );
        }
        if rule::ORIGIN_SCHEME.refuse(&url).is_some() {
            return self.lose("GOPROXY", "an entry that is no address with http or https was left out", carrier);
        }
        self.add(url, any_error);
    }

    fn add(&mut self, url: String, any_error: bool) {
        let name: String =
            host(&url).chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(NAME_MOST - 3).collect();
        let name = name.to_ascii_lowercase().trim_matches('-').to_owned();
        let same = self.upstream.proxies.iter().filter(|proxy| proxy.name.starts_with(&name)).count();
        self.upstream.proxies.push(UpstreamProxy {
            name: if same == 0 { name } else { format!("{name}-{}", same + 1) },
            url,
            try_next_on: any_error.then_some(TryNextOn::AnyError),
        });
    }

    /// GOSUMDB: `off`, or a name or key, and an address if it is another one.
    fn database(&mut self, value: &str, carrier: &mut Carrier<'_>) {
        if value == "off" {
            let reason = "GOSUMDB=off, as Athens had it before".to_owned();
            let disabled = Some(ChecksumsDisabled { reason });
            self.upstream.checksum_database = Some(ChecksumDatabase { disabled, ..ChecksumDatabase::default() });
            return;
        }
        let mut words = value.split_whitespace();
        let key = words.next().unwrap_or_default();
        let (url, login) = without_login(words.next().unwrap_or_default());
        if login {
            self.lose(
                "GOSUMDB",
                "the login in its address was left out: everybody who may read a GoProxy would see it",
                carrier,
            );
        }
        let url = url.trim_end_matches('/');
        let name = key.split('+').next().unwrap_or_default();
        if key == KNOWN_DATABASE && url.is_empty() {
            return;
        }
        let own = key.contains('+');
        let default = format!("https://{name}");
        self.upstream.checksum_database = Some(ChecksumDatabase {
            name: Some(name.to_owned()),
            key: own.then(|| key.to_owned()),
            url: match url {
                "" => own.then_some(default),
                url => Some(url.to_owned()),
            },
            disabled: None,
        });
    }
}

/// Where a chart sent clients for what the engine would have fetched: the fleet fetches it there.
fn sent(carrier: &mut Carrier<'_>, go: &mut Go) {
    let Some(given) = &carrier.found.around.sends_to else { return };
    let (url, login) = without_login(given.trim_end_matches('/'));
    let lost = match host(&url) {
        ENDED => {
            "that proxy ended in 2021: name another one in spec.upstream.proxies, or none for the go command's own default"
        }
        _ if go.told_origins => {
            "the engine itself was told where to fetch from, and clients were sent past it: the fleet does as the engine was told"
        }
        _ if login || rule::ORIGIN_SCHEME.refuse(&url).is_some() => {
            "it is no address with http or https and without a login: name the proxy in spec.upstream.proxies"
        }
        host => {
            carrier.carried.notes.push(format!(
                "clients were sent to {host} for everything, and nothing was kept; the fleet fetches from there and keeps what it gets"
            ));
            go.told_origins = true;
            return go.add(url.clone(), false);
        }
    };
    carrier.carried.lost.push(NotCarried::hidden("upstreamProxy.url", lost));
}

/// The databases that the engine passes requests on to: a fleet has the one that it verifies with.
fn databases(carrier: &mut Carrier<'_>, go: &mut Go) {
    let given = carrier.found.items("SumDBs");
    let hosts: Vec<_> = given.iter().map(|url| host(url)).collect();
    let verified = &go.upstream.checksum_database;
    let same = match verified {
        None => hosts.iter().all(|host| *host == KNOWN_DATABASE),
        Some(ChecksumDatabase { name: Some(name), url, .. }) => {
            hosts.iter().all(|given| *given == name.as_str() || Some(*given) == url.as_deref().map(host))
        }
        Some(_) => hosts.is_empty(),
    };
    match hosts[..] {
        _ if same => {}
        [KNOWN_DATABASE_MIRROR] if verified.is_none() => {
            let name = Some(KNOWN_DATABASE_MIRROR.to_owned());
            go.upstream.checksum_database = Some(ChecksumDatabase { name, ..ChecksumDatabase::default() });
        }
        _ => carrier.lose(
            "SumDBs",
            "a fleet passes requests on to the one database that it verifies with: name it, with url and key, in \
             spec.upstream.checksumDatabase",
        ),
    }
}

/// Host and port of an address.
fn host(url: &str) -> &str {
    let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// One list in place of four.
fn private(carrier: &mut Carrier<'_>, go: &mut Go) {
    let unsummed = carrier.found.items("NoSumPatterns");
    if !unsummed.is_empty() && !go.told_direct && !go.upstream.proxies.is_empty() {
        carrier.carried.notes.push(format!(
            "{} named modules without checksums that the proxies were asked for; as private.modules they come from version \
             control alone",
            carrier.found.name("NoSumPatterns")
        ));
    }
    go.patterns.extend(unsummed);
    let mut modules = Vec::new();
    for pattern in std::mem::take(&mut go.patterns) {
        let pattern = pattern.trim_end_matches('/');
        let fits = |form: &rule::Form| form.refuse(pattern).is_none();
        let why = match pattern {
            "" => continue,
            _ if !fits(&rule::MODULE_PATTERN) => "it is no pattern of module paths, like git.example.com/team/*",
            _ if !fits(&rule::MODULE_WILDCARD) => {
                "it covers modules of every host, whose checksums would not be verified"
            }
            _ => {
                modules.push(pattern.to_owned());
                continue;
            }
        };
        carrier.carried.lost.push(NotCarried::shown("private modules", pattern, why));
    }
    carrier.carried.spec.private = (!modules.is_empty()).then_some(Private { modules, credentials: Vec::new() });
}
