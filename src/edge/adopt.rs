//! Which settings an edge serves by: everything that it was told is read at once, and either all of it holds or none. What held before
//! goes on where there is doubt.

use std::time::Duration;

use url::Url;

use super::{
    address::{AddressRules, Network},
    choice::{Canary, Weights},
    freshness::Bounds,
    origin::{chain::TryNextOn, pacing::Limits},
    role::{Access, Action, Match, Role},
    token::{Audiences, Rules},
};
use crate::{
    api::edge_state::{
        EdgeSettings, EdgeStateSpec, IdentitySettings, JwtSettings, ListSettings, MirrorSettings, PROTOCOL,
        PROTOCOL_OLDEST, RoleSettings, WeightSettings,
    },
    gomod::ModulePattern,
    plan::object::short_hash,
};

/// Settings that were read and hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Their number.
    pub number: u64,
    /// Differs wherever the settings do, in another object of the same name too.
    pub mark: String,
    /// Which revision answers.
    pub weights: Weights,
    /// Private modules.
    pub private: Vec<ModulePattern>,
    /// Which addresses may speak.
    pub addresses: AddressRules,
    /// Whose word about addresses counts.
    pub trusted_proxies: Vec<Network>,
    /// Which tokens count, where any do.
    pub tokens: Option<Rules>,
    /// What clients may do.
    pub access: Access,
    /// Mirrors, in the order of the spec.
    pub mirrors: Vec<Mirror>,
    /// How long what changes is taken for true.
    pub lists: Bounds,
    /// The longest fetch of the engine.
    pub fetch_timeout: Duration,
}

/// One mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: Url,
    /// When the next one is asked.
    pub try_next_on: TryNextOn,
    /// What it takes.
    pub limits: Limits,
}

/// Where an object comes from and how new it is: what keeps an edge from going back to what it read before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// uid of the object: another one begins to count anew.
    pub uid: String,
    /// `metadata.generation`, which grows with every change of the spec.
    pub generation: i64,
}

/// What an edge does about what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// Serves by these from now on.
    Serve(Box<Held>),
    /// Already does.
    Same,
    /// Goes on as before, for this reason.
    Keep(Doubt),
}

/// Why an edge goes on as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// A form that this edge does not read.
    #[error(
        "protocol {0} is not read by this edge, which reads {PROTOCOL_OLDEST} to {PROTOCOL}: upgrade it, or the operator"
    )]
    Protocol(u32),
    /// Older than what was read before.
    #[error("an older state of the object was read: generation {read} after {held}")]
    Older {
        /// What was read.
        read: i64,
        /// What was read before.
        held: i64,
    },
    /// Something in it is wrong.
    #[error("{field}: {reason}")]
    Settings {
        /// Where.
        field: String,
        /// What.
        reason: String,
    },
}

/// Decides what the edge `me` does about a state that it read.
pub fn adopt(me: &str, spec: &EdgeStateSpec, read: &Origin, before: Option<(&Origin, &Held)>) -> Adoption {
    if !(PROTOCOL_OLDEST..=PROTOCOL).contains(&spec.protocol) {
        return Adoption::Keep(Doubt::Protocol(spec.protocol));
    }
    if let Some((origin, _)) = before
        && origin.uid == read.uid
        && read.generation < origin.generation
    {
        return Adoption::Keep(Doubt::Older { read: read.generation, held: origin.generation });
    }
    let trial = spec.trial.as_ref().filter(|trial| trial.edges.iter().any(|edge| edge == me));
    let generation = trial.map_or(&spec.settled, |trial| &trial.generation);
    match check(generation.number, &generation.settings) {
        Ok(held) if before.is_some_and(|(_, before)| *before == held) => Adoption::Same,
        Ok(held) => Adoption::Serve(Box::new(held)),
        Err(doubt) => Adoption::Keep(doubt),
    }
}

fn check(number: u64, settings: &EdgeSettings) -> Result<Held, Doubt> {
    let EdgeSettings { weights, private_modules, addresses, identity, mirrors, lists, fetch_seconds } = settings;
    let (tokens, access) = match identity {
        None => (None, Access::Open),
        Some(identity) => check_identity(identity)?,
    };
    let trusted_proxies = networks("addresses.trustedProxies", &addresses.trusted_proxies)?;
    if trusted_proxies.iter().any(|network| network.is_everything()) {
        return Err(doubt(
            "addresses.trustedProxies",
            "a network of every address would let anybody claim any address",
        ));
    }
    Ok(Held {
        number,
        mark: mark(number, settings),
        weights: check_weights(weights)?,
        private: patterns("privateModules", private_modules)?,
        addresses: AddressRules {
            allow: networks("addresses.allow", &addresses.allow)?,
            deny: networks("addresses.deny", &addresses.deny)?,
            private_allow: networks("addresses.privateAllow", &addresses.private_allow)?,
        },
        trusted_proxies,
        tokens,
        access,
        mirrors: mirrors.iter().map(check_mirror).collect::<Result<_, _>>()?,
        lists: check_lists(lists)?,
        fetch_timeout: whole("fetchSeconds", *fetch_seconds)?,
    })
}

fn mark(number: u64, settings: &EdgeSettings) -> String {
    short_hash(&serde_json::to_string(&(number, settings)).expect("numbers, texts and lists are JSON"), 32)
}

fn whole(field: &str, seconds: u32) -> Result<Duration, Doubt> {
    if seconds == 0 { Err(doubt(field, "is no time")) } else { Ok(Duration::from_secs(seconds.into())) }
}

fn check_lists(lists: &ListSettings) -> Result<Bounds, Doubt> {
    let least = whole("lists.minSeconds", lists.min_seconds)?;
    let most = whole("lists.maxSeconds", lists.max_seconds)?;
    if least > most {
        return Err(doubt("lists", format!("{least:?} at least is more than {most:?} at most")));
    }
    Ok(Bounds { least, most })
}

fn doubt(field: &str, reason: impl Into<String>) -> Doubt {
    Doubt::Settings { field: field.to_owned(), reason: reason.into() }
}

fn check_weights(weights: &WeightSettings) -> Result<Weights, Doubt> {
    // An empty target is never right, whatever the reason was.
    if weights.stable.is_empty() {
        return Err(doubt("weights.stable", "names no revision, and nobody would be served"));
    }
    let canary = match &weights.canary {
        Some(canary) if canary.percent > 100 || canary.revision.is_empty() => {
            return Err(doubt("weights.canary", "is no revision with a share of 0 to 100"));
        }
        canary => canary.as_ref().map(|canary| Canary { revision: canary.revision.clone(), percent: canary.percent }),
    };
    Ok(Weights { stable: weights.stable.clone(), canary, salt: weights.salt.clone() })
}

/// The longest list of addresses. Each request is compared with every entry, and more than this is a routing table.
const NETWORKS_MAX: usize = 1000;

fn networks(field: &str, texts: &[String]) -> Result<Vec<Network>, Doubt> {
    if texts.len() > NETWORKS_MAX {
        return Err(doubt(field, format!("has {} entries, and {NETWORKS_MAX} is the most", texts.len())));
    }
    texts.iter().map(|text| Network::parse(text).map_err(|invalid| doubt(field, invalid.to_string()))).collect()
}

fn patterns(field: &str, texts: &[String]) -> Result<Vec<ModulePattern>, Doubt> {
    let pattern = |text: &String| {
        ModulePattern::parse(text).ok_or_else(|| doubt(field, format!("'{text}' is no pattern of modules")))
    };
    texts.iter().map(pattern).collect()
}

fn check_identity(identity: &IdentitySettings) -> Result<(Option<Rules>, Access), Doubt> {
    let tokens = identity.jwt.as_ref().map(check_tokens).transpose()?;
    if tokens.is_none() {
        return Err(doubt("identity", "gives no way to tell who somebody is, so nobody would be served"));
    }
    let roles: Vec<_> = identity.roles.iter().map(check_role).collect::<Result<_, _>>()?;
    Ok((tokens, Access::Known(roles)))
}

fn check_tokens(jwt: &JwtSettings) -> Result<Rules, Doubt> {
    // The longest leeway: by more than five minutes clocks are wrong, and expiry would mean little.
    const LEEWAY_MAX: u32 = 300;
    if jwt.issuer.is_empty() || jwt.audience.is_empty() || jwt.groups_claim.is_empty() {
        return Err(doubt("identity.jwt", "issuer, audience or groupsClaim is empty"));
    }
    if jwt.leeway_seconds > LEEWAY_MAX {
        return Err(doubt("identity.jwt.leewaySeconds", format!("{} is more than {LEEWAY_MAX}", jwt.leeway_seconds)));
    }
    Ok(Rules {
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        audiences: if jwt.shared_audience { Audiences::Shared } else { Audiences::Sole },
        leeway: jwt.leeway_seconds,
        groups_claim: jwt.groups_claim.clone(),
    })
}

fn check_role(role: &RoleSettings) -> Result<Role, Doubt> {
    let field = format!("identity.roles[{}]", role.name);
    let action = |name: &String| match name.as_str() {
        "Read" => Ok(Action::Read),
        "Publish" => Ok(Action::Publish),
        "Purge" => Ok(Action::Purge),
        other => Err(doubt(&field, format!("'{other}' is no action: Read, Publish or Purge"))),
    };
    let set = |texts: &[String]| texts.iter().cloned().collect();
    let who = Match { subjects: set(&role.subjects), groups: set(&role.groups), scopes: set(&role.scopes) };
    if who == Match::default() {
        return Err(doubt(&field, "names neither subjects nor groups nor scopes, so nobody would have it"));
    }
    Ok(Role {
        name: role.name.clone(),
        who,
        modules: patterns(&field, &role.modules)?,
        actions: role.actions.iter().map(action).collect::<Result<_, _>>()?,
    })
}

fn check_mirror(mirror: &MirrorSettings) -> Result<Mirror, Doubt> {
    let field = format!("mirrors[{}].url", mirror.name);
    let url = Url::parse(&mirror.url).map_err(|invalid| doubt(&field, invalid.to_string()))?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
        return Err(doubt(&field, "is no http or https address without user, query and fragment"));
    }
    Ok(Mirror {
        name: mirror.name.clone(),
        url,
        try_next_on: if mirror.next_on_any_error { TryNextOn::AnyError } else { TryNextOn::NotFound },
        limits: Limits { requests_per_second: mirror.requests_per_second, connections: mirror.connections },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::edge_state::{AddressSettings, CanarySettings, Generation, Trial};

    fn settings() -> EdgeSettings {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        EdgeSettings {
            weights: WeightSettings {
                stable: "corp-old".to_owned(),
                canary: Some(CanarySettings { revision: "corp-new".to_owned(), percent: 10 }),
                salt: "r7".to_owned(),
            },
            private_modules: texts(&["git.corp.example/*"]),
            addresses: AddressSettings {
                allow: texts(&["10.0.0.0/8"]),
                trusted_proxies: texts(&["10.0.0.10/32"]),
                ..AddressSettings::default()
            },
            identity: Some(IdentitySettings {
                jwt: Some(JwtSettings {
                    issuer: "https://sso.corp.example".to_owned(),
                    audience: "goproxy".to_owned(),
                    leeway_seconds: 60,
                    groups_claim: "groups".to_owned(),
                    ..JwtSettings::default()
                }),
                roles: vec![RoleSettings {
                    name: "dev".to_owned(),
                    groups: texts(&["engineering"]),
                    modules: texts(&["*"]),
                    actions: texts(&["Read"]),
                    ..RoleSettings::default()
                }],
            }),
            mirrors: vec![MirrorSettings {
                name: "mirror".to_owned(),
                url: "https://mirror.corp.example/go".to_owned(),
                requests_per_second: Some(5),
                connections: Some(4),
                ..MirrorSettings::default()
            }],
            ..EdgeSettings::default()
        }
    }

    fn spec() -> EdgeStateSpec {
        EdgeStateSpec { protocol: PROTOCOL, settled: Generation { number: 7, settings: settings() }, trial: None }
    }

    fn origin(generation: i64) -> Origin {
        Origin { uid: "u1".to_owned(), generation }
    }

    fn served(adoption: Adoption) -> Held {
        match adoption {
            Adoption::Serve(held) => *held,
            Adoption::Same | Adoption::Keep(_) => panic!("{adoption:?}"),
        }
    }

    #[test]
    fn what_was_told_is_served_and_told_again_is_the_same() {
        let held = served(adopt("edge-0", &spec(), &origin(3), None));
        assert_eq!((held.number, held.weights.stable.as_str()), (7, "corp-old"));
        assert_eq!(adopt("edge-0", &spec(), &origin(3), Some((&origin(3), &held))), Adoption::Same);
    }

    #[test]
    fn a_trial_is_for_those_it_names_and_ends_when_it_is_taken_out() {
        let mut spec = spec();
        let mut next = settings();
        next.weights.canary = None;
        spec.trial =
            Some(Trial { generation: Generation { number: 8, settings: next }, edges: vec!["edge-0".to_owned()] });
        let first = served(adopt("edge-0", &spec, &origin(4), None));
        assert_eq!(first.number, 8);
        assert_eq!(served(adopt("edge-1", &spec, &origin(4), None)).number, 7);
        spec.trial = None;
        let back = served(adopt("edge-0", &spec, &origin(5), Some((&origin(4), &first))));
        assert_eq!(back.number, 7);
    }

    #[test]
    fn an_older_state_changes_nothing_and_a_new_object_counts_anew() {
        let held = served(adopt("edge-0", &spec(), &origin(9), None));
        let mut older = spec();
        older.settled.number = 6;
        let before = origin(9);
        let doubt = adopt("edge-0", &older, &origin(8), Some((&before, &held)));
        assert_eq!(doubt, Adoption::Keep(Doubt::Older { read: 8, held: 9 }));
        let other = Origin { uid: "u2".to_owned(), generation: 1 };
        assert_eq!(served(adopt("edge-0", &older, &other, Some((&before, &held)))).number, 6);
    }

    #[test]
    fn a_form_that_is_not_known_keeps_what_holds() {
        for (protocol, read) in
            [(PROTOCOL, true), (PROTOCOL_OLDEST - 1, false), (PROTOCOL + 1, false), (u32::MAX, false)]
        {
            let adoption = adopt("edge-0", &EdgeStateSpec { protocol, ..spec() }, &origin(1), None);
            assert_eq!(matches!(adoption, Adoption::Serve(_)), read, "{protocol}");
        }
    }

    #[test]
    fn one_wrong_setting_keeps_all_of_what_holds_and_says_which() {
        type Change = fn(&mut EdgeSettings);
        let cases: [(&str, Change); 17] = [
            ("weights.stable", |s| s.weights.stable.clear()),
            ("weights.canary", |s| s.weights.canary.as_mut().unwrap().percent = 101),
            ("privateModules", |s| s.private_modules.push("a//b".to_owned())),
            ("addresses.allow", |s| s.addresses.allow.push("10.0.0.1/8".to_owned())),
            ("addresses.deny", |s| s.addresses.deny.push("::ffff:10.0.0.0/104".to_owned())),
            ("addresses.privateAllow", |s| s.addresses.private_allow.push("nowhere".to_owned())),
            ("addresses.trustedProxies", |s| s.addresses.trusted_proxies.push("0.0.0.0/0".to_owned())),
            ("identity", |s| s.identity.as_mut().unwrap().jwt = None),
            ("identity.jwt", |s| s.identity.as_mut().unwrap().jwt.as_mut().unwrap().audience.clear()),
            ("identity.jwt.leewaySeconds", |s| s.identity.as_mut().unwrap().jwt.as_mut().unwrap().leeway_seconds = 301),
            ("identity.roles[dev]", |s| s.identity.as_mut().unwrap().roles[0].actions.push("Write".to_owned())),
            ("identity.roles[dev]", |s| s.identity.as_mut().unwrap().roles[0].groups.clear()),
            ("mirrors[mirror].url", |s| s.mirrors[0].url = "https://user:secret@mirror.corp.example".to_owned()),
            ("mirrors[mirror].url", |s| s.mirrors[0].url = "file:///etc/passwd".to_owned()),
            ("lists", |s| s.lists.min_seconds = 301),
            ("lists.minSeconds", |s| s.lists.min_seconds = 0),
            ("fetchSeconds", |s| s.fetch_seconds = 0),
        ];
        let held = served(adopt("edge-0", &spec(), &origin(1), None));
        for (expected, change) in cases {
            let mut wrong = spec();
            change(&mut wrong.settled.settings);
            let adoption = adopt("edge-0", &wrong, &origin(2), Some((&origin(1), &held)));
            let Adoption::Keep(doubt) = &adoption else { panic!("{expected}: {adoption:?}") };
            let Doubt::Settings { field, .. } = doubt else { panic!("{expected}: {doubt:?}") };
            assert_eq!(field, expected);
            assert!(!doubt.to_string().contains("secret"), "{expected}");
        }
    }

    #[test]
    fn the_object_is_read_as_it_is_written() {
        let mut whole = spec();
        whole.trial = Some(Trial { generation: whole.settled.clone(), edges: vec!["edge-0".to_owned()] });
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<EdgeStateSpec>(&text).unwrap(), whole);
        // The form of this protocol: another one needs another number.
        insta::assert_snapshot!(serde_json::to_string_pretty(&spec()).unwrap());
    }

    #[test]
    fn what_a_newer_operator_adds_is_not_in_the_way() {
        let text = r#"{"protocol":1,"settled":{"number":1,"settings":{"weights":{"stable":"a"},"limits":{}}},"new":1}"#;
        let read: EdgeStateSpec = serde_json::from_str(text).unwrap();
        assert_eq!(served(adopt("edge-0", &read, &origin(1), None)).access, Access::Open);
    }
}
