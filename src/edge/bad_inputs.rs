//! A table of what has broken programs like this one, row by row: what reaches a configuration file, a token, an address or a path.
//! A row is either refused at the door or harmless behind it. A new bug gets a new row.

use jiff::Timestamp;
use ring::hmac;

use super::{
    address::{Network, Untold, speaker},
    adopt::{Adoption, Origin, adopt},
    nginx::{
        HostName, InvalidText, Text,
        tests::{example, is_one_argument},
    },
    path::RequestPath,
    token::{Algorithm, Audiences, InvalidKeySet, Key, KeySet, Rules, TokenRefusal, verify},
};
use crate::{
    api::edge_state::{AddressSettings, EdgeSettings, EdgeStateSpec, Generation, PROTOCOL, WeightSettings},
    gomod::{ModulePath, ModulePattern},
};

type Row = (&'static str, fn() -> bool);

#[test]
fn every_row_is_refused_or_harmless() {
    let rows: Vec<_> = [&CONFIGURATION[..], &TOKENS, &ADDRESSES, &REQUESTS].concat();
    let open: Vec<_> = rows.iter().filter(|(_, holds)| !holds()).map(|(row, _)| row).collect();
    assert!(open.is_empty(), "{open:#?}");
}

const CONFIGURATION: [Row; 15] = [
    ("a host that ends its server", || refused_host("a;}server{listen 81;")),
    ("a host with a line break", || refused_host("a\nb")),
    ("a host that is a pattern", || refused_host("~^(a+)+$") && refused_host("*.example.com") && refused_host("_")),
    ("a value with CR and LF", || Text::new("a\r\nX-Evil: 1") == Err(InvalidText::Control('\r'))),
    ("a variable", || {
        Text::new("$request_uri") == Err(InvalidText::Variable) && Text::new("${uri}") == Err(InvalidText::Variable)
    }),
    ("a brace that closes a location", || is_one_argument("}") && is_one_argument("a } b")),
    ("a comment that hides the rest", || is_one_argument("#") && is_one_argument("a #b")),
    ("a lone quote or backslash at the end", || {
        ["\"", "'", "a\\", "a\"", "\\\"", "\\\\"].into_iter().all(is_one_argument)
    }),
    ("a directive in a string", || is_one_argument("x; include /etc/passwd;") && is_one_argument("load_module x.so;")),
    ("a pattern that takes for ever", || {
        let pattern = ModulePattern::parse(&format!("x.y/{}b", "*a".repeat(120))).expect("letters and stars");
        !pattern.matches(&ModulePath::parse(&format!("x.y/{}", "a".repeat(250))).expect("letters"))
    }),
    ("a cache without the one key", || {
        example().matches("proxy_cache_key").count() == 1 && example().contains("proxy_cache_key $edge_path;")
    }),
    ("a megabyte of addresses", || refused_addresses(vec!["10.0.0.0/8".to_owned(); 100_000])),
    ("a NUL", || Text::new("a\0b").is_err() && refused_host("a\0b") && refused_path("/a.b/c\0/@v/list")),
    ("another control character", || Text::new("a\u{1b}[2J").is_err() && Text::new("a\u{85}b").is_err()),
    ("a text as long as a book", || Text::new(&"a".repeat(1 << 20)) == Err(InvalidText::Long)),
];

const TOKENS: [Row; 12] = [
    ("alg none, in any case", || {
        ["none", "None", "NONE"]
            .into_iter()
            .all(|alg| token(&format!(r#"{{"alg":"{alg}"}}"#), CLAIMS) == Err(TokenRefusal::Algorithm))
    }),
    ("a public RSA key used as a secret", || {
        let forged = forge(r#"{"alg":"HS256","kid":"rs"}"#, CLAIMS, include_bytes!("token/testdata/jwks.json"));
        verify(&forged, &published(), &rules(), now()) == Err(TokenRefusal::UnknownKey)
    }),
    ("a kid that is a path or a query", || {
        ["../../dev/null", "' OR 1=1 --"].into_iter().all(|kid| {
            let forged = forge(&format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#), CLAIMS, b"");
            verify(&forged, &published(), &rules(), now()) == Err(TokenRefusal::UnknownKey)
        })
    }),
    ("a key that the token brings", || {
        token(r#"{"alg":"HS256","jku":"https://evil.example"}"#, CLAIMS) == Err(TokenRefusal::Header("jku"))
            && token(r#"{"alg":"HS256","jwk":{}}"#, CLAIMS) == Err(TokenRefusal::Header("jwk"))
    }),
    ("no end", || token(HEADER, r#"{"iss":"i","aud":"a","sub":"s"}"#) == Err(TokenRefusal::Time("exp"))),
    ("an end that is a text", || {
        token(HEADER, r#"{"iss":"i","aud":"a","sub":"s","exp":"1800000000"}"#) == Err(TokenRefusal::Time("exp"))
    }),
    ("an end in the year 9999", || {
        token(HEADER, r#"{"iss":"i","aud":"a","sub":"s","exp":253402300799}"#) == Err(TokenRefusal::Lasting)
    }),
    ("a wrong audience, or others beside the right one", || {
        token(HEADER, r#"{"iss":"i","aud":"b","sub":"s","exp":1800000000}"#) == Err(TokenRefusal::Audience)
            && token(HEADER, r#"{"iss":"i","aud":["a","b"],"sub":"s","exp":1800000000}"#) == Err(TokenRefusal::Audience)
    }),
    ("claims that are there twice", || {
        token(HEADER, r#"{"iss":"i","aud":"a","sub":"s","sub":"t","exp":1800000000}"#) == Err(TokenRefusal::Form)
    }),
    ("header keys that are there twice", || {
        token(r#"{"alg":"none","alg":"HS256"}"#, CLAIMS) == Err(TokenRefusal::Form)
    }),
    ("a token of 64 kB", || verify(&"a".repeat(64 << 10), &published(), &rules(), now()) == Err(TokenRefusal::Long)),
    ("a key set that is a page, ten megabytes or empty", || {
        KeySet::from_jwks(b"<html></html>") == Err(InvalidKeySet::Form)
            && KeySet::from_jwks(&vec![b' '; 10 << 20]) == Err(InvalidKeySet::Long)
            && KeySet::from_jwks(br#"{"keys":[]}"#) == Err(InvalidKeySet::Empty)
    }),
];

const ADDRESSES: [Row; 6] = [
    ("a forged header with an allowed address", || says("203.0.113.9", &["10.0.0.1"]) == Ok("203.0.113.9".to_owned())),
    ("a forged entry before the proxy's", || {
        says("10.9.9.9", &["10.0.0.1, 203.0.113.9"]) == Ok("203.0.113.9".to_owned())
    }),
    ("a header twice", || says("10.9.9.9", &["10.0.0.1", "203.0.113.9"]) == Err(Untold::Repeated)),
    ("a PROXY preamble where nobody sends one", || {
        let text = example();
        let ports: Vec<_> = text.lines().filter(|line| line.contains("proxy_protocol")).collect();
        let own = ["listen 18081 proxy_protocol", "listen \"[::]:18081\" proxy_protocol"];
        // On its own port, in the server and in the one for strangers, and nowhere else.
        ports.iter().all(|line| own.iter().any(|own| line.trim_start().starts_with(own))) && ports.len() == 4
    }),
    ("networks with bits behind the prefix, in disguise or in octal", || {
        ["10.0.0.1/8", "::ffff:10.0.0.0/104", "010.0.0.0/8", "10.0.0.0/33", "0x0a000000"]
            .into_iter()
            .all(|text| Network::parse(text).is_err())
    }),
    ("every address as a trusted proxy", || {
        let everybody = AddressSettings { trusted_proxies: vec!["0.0.0.0/0".to_owned()], ..AddressSettings::default() };
        keeps(everybody)
    }),
];

const REQUESTS: [Row; 9] = [
    ("dot segments, plain and encoded", || {
        ["/a.b/../c/@v/list", "/a.b/%2e%2e/c/@v/list", "/a.b/.%2e/c/@v/list", "/a.b/./c/@v/list", "/../a.b/@v/list"]
            .into_iter()
            .all(refused_path)
    }),
    ("an encoded NUL", || refused_path("/a.b/c%00/@v/list")),
    ("double slashes", || {
        refused_path("//a.b/c/@v/list") && refused_path("/a.b//c/@v/list") && refused_path("/a.b/c/@v//list")
    }),
    ("abused escapes of capital letters", || {
        [
            "/a.b/!C/@v/list",
            "/a.b/!!c/@v/list",
            "/a.b/c!/@v/list",
            "/a.b/!1/@v/list",
            "/a.b/C/@v/list",
            "/a.b/%2521c/@v/list",
        ]
        .into_iter()
        .all(refused_path)
    }),
    ("@v twice", || refused_path("/a.b/@v/c/@v/list") && refused_path("/a.b/c/@v/@v/list")),
    ("an encoded slash or at", || refused_path("/a.b%2fc/@v/list") && refused_path("/a.b/c/%40v/list")),
    ("no UTF-8", || RequestPath::parse(b"/a.b/\xc3\x28/@v/list").is_err()),
    ("a thousand ranges", || example().contains("max_ranges 1;")),
    ("an upstream that steers", || {
        let text = example();
        let passes = text.matches("proxy_pass http://engine").count() + text.matches("proxy_pass $edge_mirror").count();
        text.matches("proxy_ignore_headers X-Accel-Redirect X-Accel-Expires").count() == passes
    }),
];

const HEADER: &str = r#"{"alg":"HS256"}"#;
const CLAIMS: &str = r#"{"iss":"i","aud":"a","sub":"s","exp":1800000000}"#;
const SECRET: &[u8; 32] = b"a secret of thirty-two bytes, ok";

/// A token that is good is taken: or the rows above would hold for any reason.
#[test]
fn the_token_that_rows_change_is_good() {
    assert!(token(HEADER, CLAIMS).is_ok());
    assert!(!refused_path("/a.b/c/@v/list"));
    assert!(!refused_host("a.example.com"));
    assert!(!keeps(AddressSettings { trusted_proxies: vec!["10.0.0.0/24".to_owned()], ..AddressSettings::default() }));
}

fn refused_host(name: &str) -> bool {
    HostName::parse(name).is_err()
}

fn refused_path(path: &str) -> bool {
    RequestPath::parse(path.as_bytes()).is_err()
}

fn refused_addresses(allow: Vec<String>) -> bool {
    keeps(AddressSettings { allow, ..AddressSettings::default() })
}

/// Whether an edge that is told so goes on as before.
fn keeps(addresses: AddressSettings) -> bool {
    let weights = WeightSettings { stable: "corp".to_owned(), ..WeightSettings::default() };
    let settings = EdgeSettings { weights, addresses, ..EdgeSettings::default() };
    let spec = EdgeStateSpec { protocol: PROTOCOL, settled: Generation { number: 1, settings }, trial: None };
    matches!(adopt("edge-0", &spec, &Origin { uid: String::new(), generation: 1 }, None), Adoption::Keep(_))
}

fn says(peer: &str, forwarded: &[&str]) -> Result<String, Untold> {
    let trusted = [Network::parse("10.9.9.0/24").expect("a network")];
    speaker(peer.parse().expect("an address"), forwarded, &trusted).map(|address| address.to_string())
}

fn now() -> Timestamp {
    Timestamp::from_second(1_799_990_000).expect("a time")
}

fn rules() -> Rules {
    let text = |text: &str| text.to_owned();
    Rules {
        issuer: text("i"),
        audience: text("a"),
        audiences: Audiences::Sole,
        leeway: 60,
        groups_claim: text("groups"),
    }
}

fn published() -> KeySet {
    KeySet::from_jwks(include_bytes!("token/testdata/jwks.json")).expect("keys")
}

fn forge(header: &str, payload: &str, secret: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn token(header: &str, payload: &str) -> Result<(), TokenRefusal> {
    let keys = KeySet::one(Key::secret(Algorithm::Hs256, SECRET).expect("long enough"));
    verify(&forge(header, payload, SECRET), &keys, &rules(), now()).map(|_| ())
}
