//! Where modules come from: the upstream and private parts of a `GoProxy`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expression;

/// Where modules come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.direct) || self.direct != 'Disabled' || (has(self.proxies) && size(self.proxies) > 0)")
        .message("spec.upstream: direct is Disabled and proxies is empty, so nothing could be fetched: name a proxy or enable direct"),
    validation = Rule::new("!has(self.proxies) || self.proxies.all(p, self.proxies.exists_one(q, q.name == p.name))")
        .message("spec.upstream.proxies: two proxies have the same name: rename one")
        .field_path(".proxies"),
    validation = Rule::new("!has(self.proxies) || self.proxies.all(p, self.proxies.exists_one(q, q.url == p.url))")
        .message("spec.upstream.proxies: two proxies have the same url: remove one")
        .field_path(".proxies")
)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// Module proxies, asked in this order. Default: empty, the go command's own default chain, which ends in version control.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub proxies: Vec<UpstreamProxy>,

    /// Whether version control servers are asked last: Enabled or Disabled. Default: Enabled. Disabled keeps a fleet to the named proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Direct")]
    pub direct: Option<Direct>,

    /// The database that module checksums are verified against. Default: the go command's own, sum.golang.org.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ChecksumDatabase")]
    pub checksum_database: Option<ChecksumDatabase>,

    /// Certificate authorities that go and git trust instead of the image's own set. Default: the image's. A changed bundle
    /// reaches new fetches within about a minute, without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CaBundle")]
    pub ca_bundle: Option<CaBundle>,
}

/// One module proxy upstream.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("isURL(self.url) && url(self.url).getScheme() in ['http', 'https'] && size(url(self.url).getHostname()) > 0")
        .message(expression("'spec.upstream.proxies: url \\'' + self.url + '\\' is not an http or https address: write it like https://mirror.example.com'"))
        .field_path(".url"),
    validation = Rule::new("self.url.matches('^[A-Za-z0-9:/._~%+\\\\[\\\\]-]*$') && !self.url.endsWith('/')")
        .message(expression("'spec.upstream.proxies: url \\'' + self.url + '\\' has a user, a query, a trailing slash or a character that GOPROXY cannot hold: give only scheme, host, port and path'"))
        .field_path(".url"),
    validation = Rule::new(FORBIDDEN_HOST)
        .message(expression("'spec.upstream.proxies: url \\'' + self.url + '\\' leads to the proxy itself or to node-local services: name a host, not localhost, a link-local, loopback or unspecified address, or a number'"))
        .field_path(".url")
)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamProxy {
    /// Short name of this proxy, used in status and metrics. Required.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,

    /// Address of the proxy: http or https, host, optional port and path. No user or password in it. Required.
    #[schemars(length(min = 1, max = 512))]
    pub url: String,

    /// When the next entry is asked: NotFound or AnyError. Default: NotFound. NotFound moves on only where this proxy says that
    /// it does not have the module (404 or 410; a comma in GOPROXY), so an outage fails clearly. AnyError moves on after any
    /// failure (a pipe in GOPROXY), which rides out an outage but may tell the next proxy which modules you use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TryNextOn")]
    pub try_next_on: Option<TryNextOn>,
}

/// Hosts that no upstream may have. `url().getHostname()` keeps the brackets of an IPv6 address.
const FORBIDDEN_HOST: &str = "!isURL(self.url) || (\
    !url(self.url).getHostname().lowerAscii().matches('^(localhost|.*\\\\.localhost|localhost\\\\.|[0-9.]*|0x[0-9a-f.x]*|([0-9]+|0x[0-9a-f]+)(\\\\.([0-9]+|0x[0-9a-f]+)){0,3}\\\\.?)$') \
    || isIP(url(self.url).getHostname())) && (\
    !isIP(url(self.url).getHostname().replace('[', '').replace(']', '')) || (\
    !ip(url(self.url).getHostname().replace('[', '').replace(']', '')).isLoopback() && \
    !ip(url(self.url).getHostname().replace('[', '').replace(']', '')).isLinkLocalUnicast() && \
    !ip(url(self.url).getHostname().replace('[', '').replace(']', '')).isUnspecified()))";

/// When the next entry of the chain is asked.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum TryNextOn {
    /// After 404 and 410 only.
    #[default]
    NotFound,
    /// After any failure.
    AnyError,
}

/// Whether version control is asked last.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
pub enum Direct {
    /// Version control servers are the last origin.
    #[default]
    Enabled,
    /// Only the named proxies are asked.
    Disabled,
}

/// The checksum database: one by name, or none for a stated reason.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.name) != has(self.disabled)")
        .message("spec.upstream.checksumDatabase: set exactly one of name and disabled"),
    validation = Rule::new("!has(self.disabled) || (!has(self.url) && !has(self.key))")
        .message("spec.upstream.checksumDatabase: url and key have no meaning when it is disabled: remove them"),
    validation = Rule::new("!has(self.name) || self.name in ['sum.golang.org', 'sum.golang.google.cn'] || (has(self.key) && has(self.url))")
        .message(expression("'spec.upstream.checksumDatabase: the go command has no key for \\'' + self.name + '\\': give key and url, or use sum.golang.org'")),
    validation = Rule::new("!has(self.key) || !has(self.name) || self.key.startsWith(self.name + '+')")
        .message("spec.upstream.checksumDatabase.key: it must start with name and a plus sign, as the database's operator published it"),
    validation = Rule::new("!has(self.url) || (isURL(self.url) && url(self.url).getScheme() == 'https' && self.url.matches('^[A-Za-z0-9:/._~%+-]*$') && !self.url.endsWith('/'))")
        .message(expression("'spec.upstream.checksumDatabase.url \\'' + self.url + '\\' is not usable: give an https address with host, optional port and path, without user, query or trailing slash'"))
)]
pub struct ChecksumDatabase {
    /// Name of the database, which is also the host it is published under. Default: sum.golang.org.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: Option<String>,

    /// Address at which the database, or a mirror of it, answers. Default: https:// and the name. Only https: the engine refuses others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 512))]
    pub url: Option<String>,

    /// Public key of a database of your own, NAME+HASH+KEY as its operator published it. Default: the go command knows the keys of
    /// sum.golang.org and sum.golang.google.cn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "String",
        length(min = 1, max = 512),
        regex(pattern = r"^[a-z0-9.-]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+$")
    )]
    pub key: Option<String>,

    /// Turns verification off for every module that this fleet fetches. Default: absent, verification is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ChecksumsDisabled")]
    pub disabled: Option<ChecksumsDisabled>,
}

/// Why checksums are not verified.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ChecksumsDisabled {
    /// Why nothing is verified, for whoever reads this later. Required.
    #[schemars(length(min = 8, max = 512))]
    pub reason: String,
}

/// Certificate authorities, from a ConfigMap.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CaBundle {
    /// The ConfigMap of the fleet's namespace, and its key, that hold the certificates in PEM form. Required.
    pub config_map_key_ref: KeyReference,
}

/// A key of an object of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct KeyReference {
    /// Name of the object, in the fleet's own namespace. Required.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,

    /// Key within the object. Required.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Your own modules.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.modules) || self.modules.all(m, m.matches('^[A-Za-z0-9._~*?/-]+$') && !m.startsWith('/') && !m.endsWith('/') && !m.contains('//') && !m.split('/').exists(s, s == '.' || s == '..'))")
        .message(expression("'spec.private.modules: \\'' + self.modules.filter(m, !m.matches('^[A-Za-z0-9._~*?/-]+$') || m.startsWith('/') || m.endsWith('/') || m.contains('//') || m.split('/').exists(s, s == '.' || s == '..'))[0] + '\\' is not a module pattern: write it like git.example.com/team/* without scheme or spaces'"))
        .field_path(".modules"),
    validation = Rule::new("!has(self.modules) || !self.modules.exists(m, m.matches('^[*?/]+$'))")
        .message("spec.private.modules: a pattern of wildcards alone would turn off checksums for every module: name a host, or disable the checksum database with a reason")
        .field_path(".modules")
)]
pub struct Private {
    /// Patterns of module paths, as in GOPRIVATE (`git.example.com/*`): a pattern matches a path and all below it. Default: none.
    /// What matches is fetched from version control directly, is never asked for at a proxy and never looked up in the checksum database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "patterns_schema")]
    pub modules: Vec<String>,
}

fn patterns_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "array", "maxItems": 100, "items": { "type": "string", "minLength": 1, "maxLength": 256 } })
}
