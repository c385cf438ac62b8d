use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    api::edge_state::{
        AddressSettings, CanarySettings, EdgeSettings, EdgeStateSpec, Generation, IdentitySettings, JwtSettings,
        PROTOCOL, RoleSettings, WeightSettings,
    },
    edge::adopt::{Adoption, Origin, adopt},
};

const PLAIN: &[u8] = b"/golang.org/x/text/@v/v0.3.0.mod";
const OURS: &[u8] = b"/git.corp.example/team/app/@v/v1.0.0.zip";

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

pub(in crate::edge) fn settings() -> EdgeSettings {
    EdgeSettings {
        weights: WeightSettings { stable: "corp-1".to_owned(), ..WeightSettings::default() },
        private_modules: texts(&["git.corp.example/*"]),
        ..EdgeSettings::default()
    }
}

pub(in crate::edge) fn held(settings: EdgeSettings) -> Held {
    let spec = EdgeStateSpec { protocol: PROTOCOL, settled: Generation { number: 1, settings }, trial: None };
    match adopt("edge-0", &spec, &Origin { uid: "u".to_owned(), generation: 1 }, None) {
        Adoption::Serve(held) => *held,
        other @ (Adoption::Same | Adoption::Keep(_)) => panic!("{other:?}"),
    }
}

fn with(change: impl FnOnce(&mut EdgeSettings)) -> Held {
    let mut settings = settings();
    change(&mut settings);
    held(settings)
}

/// Engineers read everything, and nobody else anything.
fn known() -> Held {
    with(|settings| {
        settings.identity = Some(IdentitySettings {
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
                modules: texts(&["golang.org/*"]),
                actions: texts(&["Read"]),
                ..RoleSettings::default()
            }],
        });
    })
}

fn keys() -> KeySet {
    KeySet::from_jwks(include_bytes!("../token/testdata/jwks.json")).unwrap()
}

fn token() -> String {
    let tokens: serde_json::Value = serde_json::from_str(include_str!("../token/testdata/tokens.json")).unwrap();
    format!("Bearer {}", tokens["rs256"].as_str().unwrap())
}

fn now() -> Timestamp {
    Timestamp::from_second(1_799_990_000).unwrap()
}

fn asked<'a>(target: &'a [u8], peer: &str, authorization: &'a [&'a str]) -> Ask<'a> {
    Ask { target, peer: peer.parse().unwrap(), forwarded: Vec::new(), authorization: authorization.to_vec() }
}

fn way(held: &Held, ask: &Ask<'_>) -> Result<(Room, String), Refused> {
    match decide(held, &keys(), ask, now()).answer {
        Answer::Pass { room, revision, .. } => Ok((room, revision)),
        Answer::Refuse(refused) => Err(refused),
    }
}

#[test]
fn each_path_has_its_room() {
    let held = held(settings());
    for (target, room) in [
        (PLAIN, Ok(Room::Small)),
        (b"/golang.org/x/text/@v/v0.3.0.info", Ok(Room::Small)),
        (OURS, Ok(Room::Zip)),
        (b"/golang.org/x/text/@v/list", Ok(Room::Mutable)),
        (b"/golang.org/x/text/@latest", Ok(Room::Mutable)),
        (b"/golang.org/x/text/@v/master.info", Ok(Room::Mutable)),
        (b"/golang.org/x/text/@v/v2.0.0.info", Ok(Room::Mutable)),
        (b"/sumdb/sum.golang.org/supported", Ok(Room::Sums)),
        (b"/sumdb/sum.golang.org/lookup/golang.org/x/text@v0.3.0", Ok(Room::Sums)),
        (b"/golang.org/x/text/@v/v0.3.0.mod?x", Err(400)),
        (b"/golang.org/x/../text/@v/list", Err(400)),
        (b"/", Err(400)),
    ] as [(&[u8], _); 12]
    {
        let found = way(&held, &asked(target, "192.0.2.7", &[])).map(|(room, _)| room).map_err(|no| no.status());
        assert_eq!(found, room, "{}", String::from_utf8_lossy(target));
    }
}

#[test]
fn a_path_comes_before_an_address_and_an_address_before_a_token() {
    let mut held = known();
    held.addresses = with(|settings| {
        settings.addresses = AddressSettings { deny: texts(&["192.0.2.0/24"]), ..AddressSettings::default() };
    })
    .addresses;
    let token = token();
    assert_eq!(way(&held, &asked(b"/x", "192.0.2.7", &[])).unwrap_err().status(), 400);
    assert_eq!(way(&held, &asked(PLAIN, "192.0.2.7", &[&token])), Err(Refused::Address));
    assert_eq!(way(&held, &asked(PLAIN, "198.51.100.7", &["Bearer x.y.z"])), Err(Refused::Unknown));
    assert_eq!(way(&held, &asked(PLAIN, "198.51.100.7", &[])), Err(Refused::Unknown));
    assert_eq!(way(&held, &asked(OURS, "198.51.100.7", &[&token])), Err(Refused::Forbidden));
    assert!(way(&held, &asked(PLAIN, "198.51.100.7", &[&token])).is_ok());
}

#[test]
fn who_asks_is_noted_whatever_the_end_and_a_token_ends_the_decision_with_it() {
    let (held, token) = (known(), token());
    let refused = decide(&held, &keys(), &asked(OURS, "198.51.100.7", &[&token]), now());
    assert_eq!(refused.subject.as_deref(), Some("alice"));
    assert_eq!(refused.address, Some("198.51.100.7".parse().unwrap()));
    assert_eq!(refused.until, Some(Timestamp::from_second(1_800_000_000).unwrap()));
    let open = decide(&self::held(settings()), &keys(), &asked(PLAIN, "198.51.100.7", &[]), now());
    assert_eq!((open.subject, open.until), (None, None));
}

#[test]
fn private_modules_are_for_their_own_addresses() {
    let held = with(|settings| settings.addresses.private_allow = texts(&["10.0.0.0/8"]));
    assert_eq!(way(&held, &asked(OURS, "192.0.2.7", &[])), Err(Refused::PrivateAddress));
    assert!(way(&held, &asked(OURS, "10.1.2.3", &[])).is_ok());
    assert!(way(&held, &asked(PLAIN, "192.0.2.7", &[])).is_ok());
}

#[test]
fn a_canary_answers_files_past_the_cache_and_no_list() {
    let held = with(|settings| {
        settings.weights.canary = Some(CanarySettings { revision: "corp-2".to_owned(), percent: 100 });
    });
    let ask = |target| way(&held, &asked(target, "192.0.2.7", &[])).unwrap();
    assert_eq!(ask(PLAIN), (Room::Canary, "corp-2".to_owned()));
    assert_eq!(ask(OURS), (Room::Canary, "corp-2".to_owned()));
    assert_eq!(ask(b"/golang.org/x/text/@v/list"), (Room::Mutable, "corp-1".to_owned()));
}

#[test]
fn what_nothing_depends_on_is_not_looked_at() {
    let none = Depends { authorization: false, address: false };
    let open = with(|settings| settings.private_modules.clear());
    assert_eq!((open.depends(), open.is_open()), (none, true));
    assert_eq!((held(settings()).depends(), held(settings()).is_open()), (none, false));
    assert_eq!(known().depends(), Depends { authorization: true, address: false });
    let split = with(|settings| {
        settings.weights.canary = Some(CanarySettings { revision: "corp-2".to_owned(), percent: 1 });
    });
    assert_eq!(split.depends(), Depends { authorization: false, address: true });
}

proptest! {
    /// What nginx does not remember a decision by must not change it: else one client would get another's.
    #[test]
    fn a_decision_depends_on_nothing_that_it_says_it_does_not(
        peers in [0_u8..4, 0_u8..4], bearer in [any::<bool>(), any::<bool>()],
        canary in prop::option::of(0_u8..=100), deny in any::<bool>(), identity in any::<bool>(), target in 0_usize..3,
    ) {
        let mut held = if identity { known() } else { held(settings()) };
        held.weights = with(|settings| {
            settings.weights.canary = canary.map(|percent| CanarySettings { revision: "corp-2".to_owned(), percent });
        }).weights;
        if deny {
            held.addresses = with(|settings| settings.addresses.deny = texts(&["192.0.2.2/32"])).addresses;
        }
        let target = [PLAIN, OURS, b"/golang.org/x/text/@v/list"][target];
        let token = token();
        let depends = held.depends();
        let decided = |number: usize| {
            let authorization = if bearer[number] { vec![token.as_str()] } else { Vec::new() };
            let ask = asked(target, &format!("192.0.2.{}", peers[number]), &authorization);
            decide(&held, &keys(), &ask, now()).answer
        };
        let same = (!depends.address || peers[0] == peers[1]) && (!depends.authorization || bearer[0] == bearer[1]);
        prop_assert!(!same || decided(0) == decided(1));
    }
}

#[test]
fn refusals_have_names_of_their_own() {
    let all = [
        Refused::Path(crate::edge::path::Refusal::Relative),
        Refused::Untold(crate::edge::address::Untold::Long),
        Refused::Address,
        Refused::PrivateAddress,
        Refused::Unknown,
        Refused::Forbidden,
    ];
    let names: BTreeSet<_> = all.iter().map(Refused::name).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.iter().all(|refused| (400..500).contains(&refused.status()) && !refused.to_string().is_empty()));
}
