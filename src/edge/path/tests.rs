use proptest::prelude::*;

use super::*;

const GOOD: [(&str, &str, Freshness); 26] = [
    ("/golang.org/x/text/@v/list", "", Freshness::Mutable),
    ("/golang.org/x/text/@latest", "", Freshness::Mutable),
    ("/golang.org/x/text/@v/v0.38.0.info", "", Freshness::Immutable),
    ("/golang.org/x/text/@v/v0.38.0.mod", "", Freshness::Immutable),
    ("/golang.org/x/text/@v/v0.38.0.zip", "", Freshness::Immutable),
    ("/golang.org/x/text/@v/master.info", "", Freshness::Mutable),
    ("/golang.org/x/text/@v/v1.info", "", Freshness::Mutable),
    ("/golang.org/x/text/@v/list.info", "", Freshness::Mutable),
    ("/golang.org/x/text/@v/v0.0.0-20170915032832-14c0d48ead0c.zip", "", Freshness::Immutable),
    ("/golang.org/toolchain/@v/v0.0.1-go1.21.0.linux-amd64.zip", "", Freshness::Immutable),
    ("/github.com/!azure/x/@v/v1.0.0-!r!c1.mod", "", Freshness::Immutable),
    ("/github.com/%21azure/x/@v/%21main.info", "/github.com/!azure/x/@v/!main.info", Freshness::Mutable),
    // The proxy answers this one with v2.0.0+incompatible, which may become another one.
    ("/github.com/x/y/@v/v2.0.0.info", "", Freshness::Mutable),
    ("/github.com/x/y/@v/v2.0.0+incompatible.zip", "", Freshness::Immutable),
    ("/github.com/x/y/v2/@v/v2.0.0.zip", "", Freshness::Immutable),
    ("/gopkg.in/yaml.v2/@v/v2.4.0.mod", "", Freshness::Immutable),
    ("/github.com/@v/list", "", Freshness::Mutable),
    ("/sumdb/sum.golang.org/supported", "", Freshness::Mutable),
    ("/sumdb/sum.golang.org/latest", "", Freshness::Mutable),
    ("/sumdb/sum.golang.org/lookup/github.com/!azure/x@v1.0.0", "", Freshness::Immutable),
    ("/sumdb/sum.golang.org/tile/8/1/x001/x234/067.p/3", "", Freshness::Immutable),
    ("/sumdb/sum.golang.org/tile/8/data/000", "", Freshness::Immutable),
    ("/sumdb/mirror.example.com:8443/Go_1/sumdb/sum.golang.org/latest", "", Freshness::Mutable),
    ("/sumdb/localhost:1/latest/latest", "", Freshness::Mutable),
    ("/sumdb/mirror.example.com/go/lookup/a.b/tile/lookup/c@v1.0.0", "", Freshness::Immutable),
    ("/sumdb/mirror.example.com/go/tile/8/data/000", "", Freshness::Immutable),
];

#[test]
fn what_clients_ask_is_read_and_kept_in_one_spelling() {
    for (target, canonical, freshness) in GOOD {
        let path = RequestPath::parse(target.as_bytes()).unwrap_or_else(|refusal| panic!("{target}: {refusal}"));
        let canonical = if canonical.is_empty() { target } else { canonical };
        assert_eq!((path.to_string().as_str(), path.freshness()), (canonical, freshness));
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_not_canonical_is_refused_with_its_reason() {
    let byte = |byte, position| Refusal::Byte { byte, position };
    let module = Refusal::Module;
    for (target, refusal) in [
        ("", Refusal::Relative),
        ("/", Refusal::EmptyElement),
        ("example.com/m/@v/list", Refusal::Relative),
        ("http://example.com/m/@v/list", byte(b':', 4)),
        ("//example.com/m/@v/list", Refusal::EmptyElement),
        ("/example.com//m/@v/list", Refusal::EmptyElement),
        ("/example.com/m/@v/list/", Refusal::EmptyElement),
        ("/example.com/../m/@v/list", Refusal::DotElement),
        ("/example.com/./m/@v/list", Refusal::DotElement),
        ("/example.com/%2e%2e/m/@v/list", Refusal::Percent(13)),
        ("/example.com/%2E/m/@v/list", Refusal::Percent(13)),
        ("/example.com%2fm/@v/list", Refusal::Percent(12)),
        ("/example.com/m/%40v/list", Refusal::Percent(15)),
        ("/example.com/%2521m/@v/list", Refusal::Percent(13)),
        ("/example.com/m%00/@v/list", Refusal::Percent(14)),
        ("/example.com/m/@v/list%", Refusal::Percent(22)),
        ("/example.com/m/@v/list%2", Refusal::Percent(22)),
        ("/example.com/m/@v/list%zz", Refusal::Percent(22)),
        ("/example.com/m/@v/list?x=1", byte(b'?', 22)),
        ("/example.com/m/@v/list#x", byte(b'#', 22)),
        ("/example.com/m/@v/list;x", byte(b';', 22)),
        ("/example.com\\m/@v/list", byte(b'\\', 12)),
        ("/example.com/m\0/@v/list", byte(0, 14)),
        ("/example.com/m\r\n/@v/list", byte(b'\r', 14)),
        ("/example.com/m /@v/list", byte(b' ', 14)),
        ("/example.com/ä/@v/list", byte(0xc3, 13)),
        ("/example.com/m\u{7f}/@v/list", byte(0x7f, 14)),
        ("/example.com/Azure/@v/list", module(InvalidModulePath::Escape)),
        ("/example.com/!Azure/@v/list", module(InvalidModulePath::Escape)),
        ("/example.com/!!azure/@v/list", module(InvalidModulePath::Escape)),
        ("/example.com/azure!/@v/list", module(InvalidModulePath::Escape)),
        ("/example.com/!1/@v/list", module(InvalidModulePath::Escape)),
        ("/example/m/@v/list", module(InvalidModulePath::Host)),
        ("/example.com/m/v1/@v/list", module(InvalidModulePath::Major)),
        ("/example.com/a+b/@v/list", module(InvalidModulePath::Character)),
        ("/example.com/a@b/@v/list", module(InvalidModulePath::Character)),
        ("/example.com/.git/@v/list", module(InvalidModulePath::Dot)),
        ("/example.com/nul/@v/list", module(InvalidModulePath::Windows)),
        ("/example.com/m/@v/a/@v/list", Refusal::SecondMarker),
        ("/example.com/m/@v/@v/list", Refusal::SecondMarker),
        ("/@v/list", Refusal::Unknown),
        ("/healthz", Refusal::Unknown),
        ("/example.com/m/@v", Refusal::Unknown),
        ("/example.com/m/@v/v1.0.0", Refusal::Unknown),
        ("/example.com/m/@v/v1.0.0.ziphash", Refusal::Unknown),
        ("/example.com/m/@v/v1.0.0.INFO", Refusal::Unknown),
        ("/example.com/m/@v/a/b.info", Refusal::Version),
        ("/example.com/m/@latest/x", Refusal::Unknown),
        ("/example.com/m/@Latest", Refusal::Unknown),
        ("/example.com/m/@v/.info", Refusal::Version),
        ("/example.com/m/@v/...info", Refusal::Version),
        ("/example.com/m/@v/V1.0.0.info", Refusal::Version),
        ("/example.com/m/@v/v1.0.0-RC1.info", Refusal::Version),
        ("/example.com/m/@v/a@b.info", Refusal::Version),
        ("/example.com/m/@v/master.zip", Refusal::FileOfQuery),
        ("/example.com/m/@v/v1.2.mod", Refusal::FileOfQuery),
        ("/example.com/m/@v/v2.0.0.zip", Refusal::FileOfQuery),
        ("/sumdb/", Refusal::EmptyElement),
        ("/sumdb/sum.golang.org", Refusal::Sums),
        ("/sumdb/Sum.golang.org/latest", Refusal::Database),
        ("/sumdb/sum.golang.org/tile/8/1/x000/067", Refusal::Sums),
        ("/sumdb/sum.golang.org/lookup/example.com/m", Refusal::Sums),
        ("/sumdb/sum.golang.org/lookup/example.com/m@master", Refusal::Version),
        ("/sumdb/sum.golang.org/lookup/example.com/m@v2.0.0", Refusal::Version),
        ("/sumdb/sum.golang.org/lookup/example.com/M@v1.0.0", module(InvalidModulePath::Escape)),
        ("/sumdb/sum.golang.org/secret", Refusal::Sums),
        ("/sumdb/sum.golang.org:/latest", Refusal::Database),
        ("/sumdb/sum.golang.org:080/latest", Refusal::Database),
        ("/sumdb/sum.golang.org:65536/latest", Refusal::Database),
        ("/sumdb/sum.golang.org:80:80/latest", Refusal::Database),
        ("/sumdb/user@sum.golang.org/latest", Refusal::Database),
        ("/sumdb/sum.golang.org/a!b/latest", Refusal::Database),
        ("/sumdb/sum.golang.org/a:b/latest", Refusal::Database),
        ("/sumdb/sum.golang.org/../latest", Refusal::DotElement),
        ("/sumdb/sum.golang.org/tile/tile/8/data/000", Refusal::Sums),
        ("/sumdb/sum.golang.org/lookup/lookup/a.b/c@v1.0.0", module(InvalidModulePath::Host)),
        ("/sumdb/sum.golang.org/lookup", Refusal::Sums),
        ("/example.com:80/m/@v/list", byte(b':', 12)),
    ] {
        assert_eq!(RequestPath::parse(target.as_bytes()), Err(refusal), "{target:?}");
    }
    assert_eq!(RequestPath::parse(b"/example.com/\xff\xfe/@v/list"), Err(byte(0xff, 13)));
    let long = format!("/example.com{}/@v/list", "/aaaaaaaaa".repeat(TARGET_MAX / 10));
    assert_eq!(RequestPath::parse(long.as_bytes()), Err(Refusal::Long));
}

#[test]
fn rules_see_the_module_and_the_version() {
    let seen = |target: &str| {
        let path = RequestPath::parse(target.as_bytes()).unwrap();
        (path.module().map(ToString::to_string), path.version().map(ToString::to_string))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(seen("/a.b/!c/@v/v1.0.0.zip"), (some("a.b/C"), some("v1.0.0")));
    assert_eq!(seen("/a.b/!c/@v/main.info"), (some("a.b/C"), None));
    assert_eq!(seen("/a.b/!c/@v/list"), (some("a.b/C"), None));
    assert_eq!(seen("/sumdb/s.org/lookup/a.b/!c@v1.0.0"), (some("a.b/C"), some("v1.0.0")));
    assert_eq!(seen("/sumdb/s.org/latest"), (None, None));
}

fn module() -> impl Strategy<Value = ModulePath> {
    (
        "[a-z][a-z0-9-]{0,6}\\.[a-z]{2,4}",
        prop::collection::vec("[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,6}", 0..4),
        "(/v[2-9])?",
    )
        .prop_filter_map("a path that Go accepts", |(host, elements, major)| {
            let path = std::iter::once(host).chain(elements).collect::<Vec<_>>().join("/");
            ModulePath::parse(&format!("{path}{major}")).ok()
        })
}

fn version() -> impl Strategy<Value = Version> {
    "v[0-9]\\.[0-9]{1,2}\\.[0-9](-[A-Za-z0-9-]{1,8}(\\.[a-z]{1,3})?)?(\\+incompatible)?"
        .prop_filter_map("a canonical version", |text| Version::parse(&text))
}

fn path() -> impl Strategy<Value = RequestPath> {
    let file = prop_oneof![Just(File::Info), Just(File::Mod), Just(File::Zip)];
    let query = "[A-Za-z0-9_-][A-Za-z0-9._+~-]{0,8}".prop_filter_map("a query", |text| Query::parse(&text));
    let item = (0_u8..4, version(), query, file);
    let of_module =
        (module(), item).prop_filter_map("one that can be asked for", |(module, (which, version, query, file))| {
            let is_version = Version::parse(query.as_str()).is_some_and(|version| version.fits(&module));
            let item = match which {
                0 => Item::List,
                1 => Item::Latest,
                2 if !is_version => Item::Info(query),
                _ if version.fits(&module) => Item::File(version, file),
                _ => return None,
            };
            Some(RequestPath::Module { module, item })
        });
    let database = "[a-z]{1,3}\\.[a-z]{2}(:[1-9][0-9]{0,3})?(/(lookup|tile|latest|[A-Za-z0-9._~+-]{1,3})){0,2}";
    let of_database = (database, module(), version(), 0_u8..4, any::<u32>()).prop_filter_map(
        "one that fits",
        |(database, module, version, which, number)| {
            let item = match which {
                0 => SumsItem::Supported,
                1 => SumsItem::Latest,
                2 => SumsItem::Tile(Tile { height: 8, level: Some(0), number: u64::from(number), width: 256 }),
                _ if version.fits(&module) => SumsItem::Lookup(module, version),
                _ => return None,
            };
            Some(RequestPath::Sums { database: DatabaseName::parse(&database)?, item })
        },
    );
    prop_oneof![3 => of_module, 1 => of_database]
}

/// Bytes that mean something in paths, more often than chance would have them.
fn target() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("/".to_owned()),
        Just("/@v/".to_owned()),
        Just("/@latest".to_owned()),
        Just("list".to_owned()),
        Just("example.com".to_owned()),
        Just("v1.2.3".to_owned()),
        Just(".info".to_owned()),
        Just(".zip".to_owned()),
        Just("%21".to_owned()),
        Just("!".to_owned()),
        Just("/sumdb/sum.golang.org".to_owned()),
        Just("/tile/8/0/001".to_owned()),
        Just("/lookup/".to_owned()),
        Just(":8443".to_owned()),
        "[A-Za-z0-9._~+@%-]{0,4}",
        "\\PC{0,2}",
    ];
    prop_oneof![
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..64),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn what_is_written_is_read_back(path in path()) {
        prop_assert_eq!(RequestPath::parse(path.to_string().as_bytes()), Ok(path));
    }

    #[test]
    fn only_one_spelling_is_accepted(target in target()) {
        if let Ok(path) = RequestPath::parse(&target) {
            prop_assert_eq!(String::from_utf8(target).unwrap().replace("%21", "!"), path.to_string());
        }
    }

    /// The same, from the other side: no change of one byte gives another spelling of the same request.
    #[test]
    fn no_neighbour_means_the_same(path in path(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut changed = path.to_string().into_bytes();
        let at = at.index(changed.len());
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        prop_assert_ne!(RequestPath::parse(&changed), Ok(path));
    }
}
