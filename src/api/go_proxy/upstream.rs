//! Where modules come from: the upstream part of a `GoProxy`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LocalReference;
use crate::api::rule;

/// Why a chain without an origin is refused.
pub const NO_ORIGIN: &str =
    "'Disabled' leaves nothing to fetch from while proxies is empty: name a proxy or set direct to Enabled";

/// Why two proxies of one name are refused.
pub const SAME_NAME: &str = "two proxies have the name '%s': rename one";

/// Why two proxies of one address are refused.
pub const SAME_URL: &str = "two proxies have the url '%s': remove one";

/// Where modules come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.direct) || self.direct != 'Disabled' || (has(self.proxies) && size(self.proxies) > 0)")
        .message(NO_ORIGIN)
        .field_path(".direct"),
    validation = Rule::new("!has(self.proxies) || self.proxies.all(p, self.proxies.exists_one(q, q.name == p.name))")
        .message(rule::shown(SAME_NAME, "self.proxies.filter(p, !self.proxies.exists_one(q, q.name == p.name))[0].name"))
        .field_path(".proxies"),
    validation = Rule::new("!has(self.proxies) || self.proxies.all(p, self.proxies.exists_one(q, q.url == p.url))")
        .message(rule::shown(SAME_URL, "self.proxies.filter(p, !self.proxies.exists_one(q, q.url == p.url))[0].url"))
        .field_path(".proxies")
)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// Module proxies, asked in this order. Default: empty, the go command's own default chain, which ends in version control.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
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

    /// A proxy on the way out of the cluster. Default: absent, whatever is outside is reached directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EgressProxy")]
    pub egress_proxy: Option<EgressProxy>,
}

/// One module proxy upstream.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamProxy {
    /// Short name of this proxy, used in status and metrics. Required.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = rule::ORIGIN_NAME.rule())]
    pub name: String,

    /// Address of the proxy: http or https, host, optional port and path. No user or password in it. Required.
    #[schemars(schema_with = "http_address")]
    pub url: String,

    /// When the next entry is asked: NotFound or AnyError. Default: NotFound. NotFound moves on only where this proxy says that
    /// it does not have the module (404 or 410; a comma in GOPROXY), so an outage fails clearly. AnyError moves on after any
    /// failure (a pipe in GOPROXY), which rides out an outage but may tell the next proxy which modules you use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TryNextOn")]
    pub try_next_on: Option<TryNextOn>,
}

/// Why an IPv6 address is refused.
pub const BAD_IPV6: &str = "'%s' holds no usable IPv6 address: use one that is not loopback, link-local, multicast, unspecified or an IPv4 address in disguise";

/// An address that is asked over http or https.
pub(super) fn http_address(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    address(&rule::ORIGIN_SCHEME)
}

/// An address that is asked over https alone.
fn https_address(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    address(&rule::HTTPS)
}

fn address(scheme: &rule::Form) -> schemars::Schema {
    let forms = [scheme, &rule::ORIGIN_USER, &rule::ORIGIN_ADDRESS, &rule::ORIGIN_HOST];
    let rules: Vec<_> = forms.map(rule::Form::rule).into_iter().chain([ipv6_rule()]).collect();
    schemars::json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 512,
        "x-kubernetes-validations": rules,
    })
}

/// An IPv6 address has too many spellings for a pattern.
fn ipv6_rule() -> kube::core::Rule {
    let address = "self.split('/', 4)[2].split(']')[0].replace('[', '')";
    kube::core::Rule::new(format!(
        "!self.matches(r'^[a-z]+://\\[') || (isIP({address}) && [ip({address})].all(a, a.isGlobalUnicast()))"
    ))
    .message(rule::shown(BAD_IPV6, "self.replace('\\n', ' ')"))
}

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

/// Why a checksum database that is neither on nor off is refused.
pub const ONE_DATABASE: &str =
    "it is either used or not: set exactly one of name and disabled, or leave checksumDatabase out for sum.golang.org";

/// Why a disabled database with an address is refused.
pub const DISABLED_DATABASE: &str = "url and key have no meaning when checksums are disabled: remove them, or disabled";

/// Why a database of one's own needs more.
pub const UNKNOWN_DATABASE: &str = "the go command has no key for '%s': give key and url too, or use sum.golang.org";

/// Why a key is refused: the key, then the name.
pub const FOREIGN_KEY: &str =
    "'%s' is the key of another database than '%s': give the key that begins with the name and a plus sign";

/// The checksum database: one by name, or none for a stated reason.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.name) != has(self.disabled)")
        .message(ONE_DATABASE),
    validation = Rule::new("!has(self.disabled) || (!has(self.url) && !has(self.key))")
        .message(DISABLED_DATABASE)
        .field_path(".disabled"),
    validation = Rule::new("!has(self.name) || self.name in ['sum.golang.org', 'sum.golang.google.cn'] || (has(self.key) && has(self.url))")
        .message(rule::shown(UNKNOWN_DATABASE, "self.name"))
        .field_path(".name"),
    validation = Rule::new("!has(self.key) || !has(self.name) || self.key.startsWith(self.name + '+')")
        .message(rule::shown(FOREIGN_KEY, "self.key, self.name"))
        .field_path(".key")
)]
pub struct ChecksumDatabase {
    /// Name of the database, which is also the host it is published under. Default: sum.golang.org.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    #[x_kube(validation = rule::OBJECT_NAME.rule())]
    pub name: Option<String>,

    /// Address at which the database, or a mirror of it, answers. Default: https:// and the name. Only https: the engine refuses others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "https_address")]
    pub url: Option<String>,

    /// Public key of a database of your own, NAME+HASH+KEY as its operator published it. Default: the go command knows the keys of
    /// sum.golang.org and sum.golang.google.cn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 512))]
    #[x_kube(validation = rule::CHECKSUM_KEY.rule())]
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
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::OBJECT_NAME.rule())]
    pub name: String,

    /// Key of it whose value is the certificates, one after the other. Required.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::OBJECT_KEY.rule())]
    pub key: String,
}

/// A proxy on the way out, for everything that go, git and the engine itself ask over http and https: origins, Git servers, the
/// checksum database, and object stores too. ssh is not led through it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct EgressProxy {
    /// Proxy for https addresses; what passes is encrypted end to end. Required. No user or password in it: a proxy that wants a
    /// login has `credentialsSecretRef`.
    #[serde(rename = "httpsProxy")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = rule::EGRESS_ADDRESS.rule(),
        validation = rule::ORIGIN_USER.rule(),
        validation = rule::ORIGIN_HOST.rule(),
        validation = ipv6_rule()
    )]
    pub https: String,

    /// Proxy that addresses of http are asked through. Default: the same as `httpsProxy`.
    #[serde(rename = "httpProxy", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 512))]
    #[x_kube(
        validation = rule::EGRESS_ADDRESS.rule(),
        validation = rule::ORIGIN_USER.rule(),
        validation = rule::ORIGIN_HOST.rule(),
        validation = ipv6_rule()
    )]
    pub http: Option<String>,

    /// What is reached past the proxy: hosts, domains with a dot before them, addresses and networks. Default: none beside what
    /// never goes through it: the pod itself, the node's own (link-local) addresses, Services of the cluster by their names, hosts of one word that this spec
    /// names, and the members of an etcd lock. Services by their addresses are not among them.
    #[serde(rename = "noProxy", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "no_proxy_schema")]
    pub past: Vec<String>,

    /// Secret with the keys `username` and `password`, as the type kubernetes.io/basic-auth has them: the login at both proxies. Any
    /// character may stand in them; the first line counts. Default: absent, no login. It is read when a proxy starts: `spec.storage`
    /// tells how a changed Secret gets to all of them. go and git know no other place for it than their environment, so it is in
    /// that of the engine and of what it runs, and in nothing else. An egress proxy whose address begins with http:// gets it in
    /// clear. The image needs a shell.
    #[serde(rename = "credentialsSecretRef", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LocalReference")]
    pub login: Option<LocalReference>,
}

fn no_proxy_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 253,
            "x-kubernetes-validations": [rule::NO_PROXY.rule()],
        },
    })
}
