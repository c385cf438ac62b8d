//! The private part of a `GoProxy`: which modules are one's own, and how the fleet logs in where they live.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::LocalReference;
use crate::api::rule;

/// Why none or two ways to log in are refused.
pub const ONE_LOGIN: &str =
    "a host is logged in to in one way: set exactly one of basic, token, netrc, ssh and gitHubApp";

/// Why a host outside of the private patterns is refused, with the host twice.
pub const UNCOVERED_HOST: &str = "'%s' is the host of no pattern in spec.private.modules, so public servers would be asked for what it keeps: add '%s/*' there, or correct the host";

/// The first of the credentials whose host no pattern is about. A pattern's host is compared as text, or by its end after `*.`.
const UNCOVERED: &str = "!has(self.modules) || !self.modules.exists(m, m == c.host || m.startsWith(c.host + '/') || (m.startsWith('*.') && c.host.endsWith(m.split('/')[0].substring(1))))";

/// Why a probe of another host is refused, with the probe, and the host twice.
pub const PROBE_ELSEWHERE: &str =
    "'%s' is no module of '%s': name one that this login opens, such as '%s/team/lib', or remove probe";

/// Why a probe that no pattern is surely about is refused, with the probe twice.
pub const PUBLIC_PROBE: &str = "'%s' is covered by no pattern in spec.private.modules that is a path, a path with '/*' after it, or '*.' and a domain, so public servers could be asked for it: add '%s' there, or name another module";

/// Refuses to ask public servers, now and then, for what is private. Patterns of other forms are not judged: an expression that
/// reads them all would cost the API server more than it allows.
fn probe_rule() -> kube::core::Rule {
    let below = "(m.endsWith('/*') ? c.probe.startsWith(m.substring(0, m.size() - 1)) : (c.probe == m || c.probe.startsWith(m + '/')))";
    let domain = "(m.startsWith('*.') && c.host.endsWith(m.split('/')[0].substring(1)) && (!m.contains('/') || (m.endsWith('/*') && m.split('/').size() == 2)))";
    let public = format!("has(c.probe) && (!has(self.modules) || !self.modules.exists(m, {below} || {domain}))");
    let first = format!("self.credentials.filter(c, {public})[0].probe");
    kube::core::Rule::new(format!("!has(self.credentials) || !self.credentials.exists(c, {public})"))
        .message(rule::shown(PUBLIC_PROBE, &format!("{first}, {first}")))
        .field_path(".credentials")
}

/// Refuses a login that would only be used for what the public is asked for first.
fn covered_rule() -> kube::core::Rule {
    let first = format!("self.credentials.filter(c, {UNCOVERED})[0].host");
    kube::core::Rule::new(format!("!has(self.credentials) || !self.credentials.exists(c, {UNCOVERED})"))
        .message(rule::shown(UNCOVERED_HOST, &format!("{first}, {first}")))
        .field_path(".credentials")
}

/// Your own modules.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = covered_rule(), validation = probe_rule())]
pub struct Private {
    /// Patterns of module paths, as in GOPRIVATE (`git.example.com/*`): a pattern matches a path and all below it. Default: none.
    /// What matches is fetched from version control directly, is never asked for at a proxy and never looked up in the checksum database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "patterns_schema")]
    pub modules: Vec<String>,

    /// How the fleet logs in to Git servers, one entry for each host. Default: none, only what needs no login is fetched. Every
    /// login is a Secret of the fleet's namespace, mounted as files: a changed one counts for new fetches within about two
    /// minutes, without a restart. Where a Secret or a key of it is missing, fetches from that host alone fail, and the
    /// engine's log says why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["host"]))]
    pub credentials: Vec<Credential>,
}

fn patterns_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 100,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "x-kubernetes-validations": [rule::MODULE_PATTERN.rule(), rule::MODULE_WILDCARD.rule()],
        },
    })
}

/// How the fleet logs in to one Git server: exactly one way.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("[has(self.basic), has(self.token), has(self.netrc), has(self.ssh), has(self.gitHubApp)].filter(x, x).size() == 1")
        .message(ONE_LOGIN),
    validation = Rule::new("!has(self.probe) || self.probe.startsWith(self.host + '/')")
        .message(rule::shown(PROBE_ELSEWHERE, "self.probe, self.host, self.host"))
        .field_path(".probe")
)]
pub struct Credential {
    /// Host name of the Git server. Required. A pattern in `modules` must be about it: `git.example.com/*` or `*.example.com`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::GIT_HOST.rule(), validation = rule::GIT_HOST_LOCAL.rule())]
    pub host: String,

    /// Port of the Git server. Unit: port number. Default: 22 with `ssh`, else 443.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub port: Option<i32>,

    /// User and password, sent over https with every fetch from the host. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BasicLogin")]
    pub basic: Option<BasicLogin>,

    /// A token over https, as a password. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TokenLogin")]
    pub token: Option<TokenLogin>,

    /// The host's entry of a netrc file, over https. Default: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NetrcLogin")]
    pub netrc: Option<NetrcLogin>,

    /// A key over ssh. Default: absent. Addresses of the host that begin with https:// are rewritten, so it does not matter
    /// which one the server announces. An egress proxy is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SshLogin")]
    pub ssh: Option<SshLogin>,

    /// An installation of a GitHub App, over https. Default: absent. A sidecar of each proxy fetches its token, which lives for an
    /// hour, and renews it in time; the App's private key is mounted for the sidecar alone. On github.com, below ghe.com, or on a GitHub
    /// Enterprise Server of one's own.
    #[serde(default, rename = "gitHubApp", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GitHubAppLogin")]
    pub git_hub_app: Option<GitHubAppLogin>,

    /// Path of a module that this login opens, such as git.example.com/team/lib. Default: absent, and a login that stopped working is
    /// told of by the engine's answers alone. With it, a sidecar of each proxy asks for the module's versions every two minutes, and
    /// the condition `LoginsWork` is False while that fails, with the host, since when, and what was answered. `private.modules` must
    /// cover it. Another probe is another revision, and so a rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 256))]
    #[x_kube(validation = rule::MODULE_PATH.rule())]
    pub probe: Option<String>,
}

impl Credential {
    /// How many ways to log in are named.
    pub fn ways(&self) -> usize {
        let named = [
            self.basic.is_some(),
            self.token.is_some(),
            self.netrc.is_some(),
            self.ssh.is_some(),
            self.git_hub_app.is_some(),
        ];
        named.into_iter().filter(|named| *named).count()
    }
}

/// User and password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BasicLogin {
    /// Secret with the keys `username` and `password`, as the type kubernetes.io/basic-auth has them. Required.
    pub secret_ref: LocalReference,
}

/// A token.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenLogin {
    /// Secret whose key `token` holds the token. Required.
    pub secret_ref: LocalReference,

    /// User name that goes with the token. Default: x-access-token, which GitHub wants and GitLab and Gitea take; Bitbucket
    /// wants x-token-auth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 128))]
    #[x_kube(validation = rule::LOGIN_NAME.rule())]
    pub username: Option<String>,
}

/// A netrc file.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NetrcLogin {
    /// Secret whose key `.netrc` holds the file. Required. Of it only `machine` entries of the credential's host count, with
    /// `login` and `password`.
    pub secret_ref: LocalReference,
}

/// A key.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SshLogin {
    /// Secret with the keys `ssh-privatekey`, as the type kubernetes.io/ssh-auth has it, and `known_hosts`, which `ssh-keyscan`
    /// prints. Required. A host that `known_hosts` does not name is not trusted. The private key has no passphrase and ends with a
    /// line feed.
    pub secret_ref: LocalReference,

    /// User name with which git logs in at the server. Default: git, which GitHub, GitLab and Gitea want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 128))]
    #[x_kube(validation = rule::LOGIN_NAME.rule())]
    pub user: Option<String>,
}

/// An installation of a GitHub App.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GitHubAppLogin {
    /// Secret with the keys `app-id` (or the App's client id), `installation-id` and `private-key.pem`, as GitHub hands it out.
    /// Required. The installation needs to read contents, and nothing else.
    pub secret_ref: LocalReference,
}
