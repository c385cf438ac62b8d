use proptest::prelude::*;

use super::*;

/// Asks this room what Go was asked, and writes the answer as Go's was written down.
fn answer(line: &str) -> String {
    let fields: Vec<&str> = line.split('\t').collect();
    let yes = |holds: bool| if holds { "yes" } else { "no" };
    let answers = match fields[..] {
        ["path", path, ..] => match ModulePath::parse(path) {
            Ok(module) => vec![module.escaped(), module.major().to_owned()],
            Err(_) => vec!["-".to_owned(), "-".to_owned()],
        },
        ["escaped", escaped, ..] => {
            vec![ModulePath::from_escaped(escaped).map_or("-".to_owned(), |module| module.to_string())]
        }
        ["version", text, ..] => {
            let version = Version::parse(text);
            let pseudo = version.as_ref().is_some_and(Version::is_pseudo);
            vec![version.map_or("-".to_owned(), |version| version.escaped()), yes(pseudo).to_owned()]
        }
        ["fits", path, version, ..] => {
            let fits = Version::parse(version).unwrap().fits(&ModulePath::parse(path).unwrap());
            vec![version.to_owned(), yes(fits).to_owned()]
        }
        ["pattern", pattern, path, ..] => {
            let matches = ModulePattern::parse(pattern).unwrap().matches(&ModulePath::parse(path).unwrap());
            vec![path.to_owned(), yes(matches).to_owned()]
        }
        ["tile", path, ..] => vec![yes(Tile::parse(path).is_some()).to_owned()],
        _ => panic!("{line}"),
    };
    [&[fields[0].to_owned(), fields[1].to_owned()], &answers[..]].concat().join("\t")
}

#[test]
fn answers_as_go_does() {
    let lines = include_str!("testdata/answers.tsv").lines();
    let (same, other): (Vec<_>, Vec<_>) = lines.map(|line| (line, answer(line))).partition(|(go, own)| go == own);
    assert!(other.is_empty(), "Go's answer, and the one given here: {other:#?}");
    assert!(same.len() > 150);
}

#[test]
fn a_name_no_file_system_takes_is_refused() {
    let long = format!("example.com/{}", "a".repeat(ELEMENT_MAX));
    assert!(ModulePath::parse(&long).is_ok());
    assert_eq!(ModulePath::parse(&format!("{long}a")), Err(InvalidModulePath::Long));
    // Each capital letter takes two bytes.
    let capitals = format!("example.com/{}", "A".repeat(ELEMENT_MAX / 2 + 1));
    assert_eq!(ModulePath::parse(&capitals), Err(InvalidModulePath::Long));
    assert_eq!(Version::parse(&format!("v1.0.0-{}", "a".repeat(ELEMENT_MAX))), None);
    assert_eq!(Query::parse(&"a".repeat(ELEMENT_MAX + 1)), None);
}

#[test]
fn queries_are_names_that_git_allows_and_a_path_can_carry() {
    for text in ["master", "main", "Main", "abcdef0", "v1", "v1.2", "release-1.0_x", "v1.0.0+meta", "1.x"] {
        assert!(Query::parse(text).is_some(), "{text}");
    }
    for text in ["", ".", "..", "a..b", ".a", "a.", "a/b", "a b", "a@b", "a%b", "ä", "con", "a\0", "a!b", "a#b"] {
        assert!(Query::parse(text).is_none(), "{text}");
    }
}

#[test]
fn patterns_have_one_way_to_be_written() {
    for text in ["", "a//b", "/a", "a/", "a/[b]", "a\\*", "a b", "a,b", "a\n"] {
        assert!(ModulePattern::parse(text).is_none(), "{text}");
    }
}

proptest! {
    #[test]
    fn escaping_goes_both_ways(text in "[A-Za-z0-9._~/-]{0,40}") {
        prop_assert_eq!(escape::unescape(&escape::escape(&text)), Some(text));
    }

    #[test]
    fn only_what_escaping_writes_is_unescaped(text in "[A-Za-z0-9!./]{0,12}|\\PC{0,12}") {
        if let Some(unescaped) = escape::unescape(&text) {
            prop_assert_eq!(escape::escape(&unescaped), text);
        }
    }

    #[test]
    fn tiles_have_one_path(height in 1_u32..=30, level in proptest::option::of(0_u32..), number in 0_u64.., narrow in any::<u64>()) {
        let full = 1_u64 << height;
        let tile = Tile { height, level, number, width: full - narrow % full };
        prop_assert_eq!(Tile::parse(&tile.to_string()), Some(tile));
    }

    #[test]
    fn a_star_is_any_letters(start in "[a-c]{0,4}", middle in "[a-c]{0,6}", end in "[a-c]{0,4}") {
        let module = ModulePath::parse(&format!("x.y/{start}{middle}{end}z")).unwrap();
        let pattern = ModulePattern::parse(&format!("x.y/{start}*{end}z")).unwrap();
        prop_assert!(pattern.matches(&module));
    }
}
