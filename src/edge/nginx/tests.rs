use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::{tree::render, *};

fn structure() -> Structure {
    Structure {
        hostnames: [HostName::parse("goproxy.corp.example").unwrap(), HostName::parse("mods").unwrap()].into(),
        ports: Ports { http: 18080, https: Some(18443), proxy_protocol: Some(18081), origin: Some(18082) },
        ipv6: true,
        cache: Cache { size: 50 << 30, keys: 64 << 20 },
        fetch_timeout: Duration::from_secs(600),
        workers: 2,
    }
}

/// What nginx makes of one file: arguments, ends of directives, blocks. Follows `ngx_conf_read_token`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    End,
    Open,
    Close,
}

fn read(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\n' | '\t' | '\r' => {}
            '#' => while letters.next_if(|letter| *letter != '\n').is_some() {},
            ';' => tokens.push(Token::End),
            '{' => tokens.push(Token::Open),
            '}' => tokens.push(Token::Close),
            '"' | '\'' => {
                let word = inside(&mut letters, |inner| inner == letter);
                letters.next();
                assert!(matches!(letters.peek(), Some(' ' | ';' | '{' | '\n')), "text behind a quoted argument");
                tokens.push(Token::Word(word));
            }
            _ => {
                let mut word = letter.to_string();
                if letter == '$' && letters.peek() == Some(&'{') {
                    word.push(letters.next().unwrap());
                }
                word.push_str(&inside(&mut letters, |inner| matches!(inner, ' ' | '\n' | ';' | '{')));
                tokens.push(Token::Word(word));
            }
        }
    }
    tokens
}

/// Reads up to, and not with, what ends it.
fn inside(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, ends: impl Fn(char) -> bool) -> String {
    let mut word = String::new();
    while let Some(letter) = letters.next_if(|letter| !ends(*letter)) {
        match letter {
            '\\' => match letters.next().expect("a letter behind the last backslash") {
                escaped @ ('"' | '\'' | '\\') => word.push(escaped),
                't' => word.push('\t'),
                'r' => word.push('\r'),
                'n' => word.push('\n'),
                other => word.extend(['\\', other]),
            },
            _ => word.push(letter),
        }
    }
    assert!(letters.peek().is_some(), "the file ends inside of an argument");
    word
}

/// Whether nginx reads a checked text as one argument, the same, and goes on behind it as it should.
pub(in crate::edge) fn is_one_argument(text: &str) -> bool {
    let Ok(checked) = Text::new(text) else { return false };
    let file = render(&[Directive::line("inner", [Argument::Text(checked)]), Directive::words("next", &[])]);
    let word = |text: &str| Token::Word(text.to_owned());
    read(&file) == [word("inner"), word(text), Token::End, word("next"), Token::End]
}

pub(in crate::edge) fn example() -> String {
    file(&structure())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_text_ends_its_directive(text in "[ -~äß€\u{a0}]{0,24}|[\"'\\\\;{}#$ \\n\\r\\tnrt()]{0,12}|\\PC{0,8}|(?s).{0,8}") {
        let Ok(checked) = Text::new(&text) else {
            prop_assert!(text.contains('$') || text.contains(char::is_control));
            return Ok(());
        };
        let inner = Directive::line("inner", [Argument::Text(checked.clone()), Argument::set("key=", Argument::Text(checked))]);
        let file = render(&[Directive::block("outer", &[], vec![inner]), Directive::words("next", &[])]);
        let word = |text: &str| Token::Word(text.to_owned());
        prop_assert_eq!(read(&file), [
            word("outer"), Token::Open, word("inner"), word(&text), word(&format!("key={text}")), Token::End, Token::Close,
            word("next"), Token::End,
        ]);
    }
}

#[test]
fn sizes_and_times_are_written_as_nginx_reads_them() {
    let arguments = [
        Argument::Bytes(50 << 30),
        Argument::Bytes(3 << 10),
        Argument::Bytes(1500),
        Argument::Bytes(0),
        Argument::Time(Duration::from_millis(1500)),
    ];
    assert_eq!(render(&[Directive::line("x", arguments)]), "x 51200m 3k 1500 0 1500ms;\n");
}

#[test]
fn the_file_of_an_edge() {
    insta::assert_snapshot!(file(&structure()));
}

#[test]
fn a_fleet_without_names_or_tls_has_one_front_for_all() {
    let ports = Ports { https: None, proxy_protocol: None, origin: None, ..structure().ports };
    let text = file(&Structure { hostnames: BTreeSet::new(), ports, ipv6: false, ..structure() });
    assert!(text.contains("server_name _;"));
    for word in ["ssl_certificate", "proxy_protocol", "default_server", "421", "mirror", "[::]"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn every_cache_is_keyed_by_the_canonical_path_alone() {
    let text = file(&structure());
    let lines: Vec<_> = text.lines().filter(|line| line.contains("proxy_cache_key")).collect();
    assert_eq!(lines, ["    proxy_cache_key $edge_path;"]);
}

/// What a canary answers must not be what everybody gets afterwards.
#[test]
fn no_answer_of_a_canary_is_kept() {
    let text = file(&structure());
    let canary = text.split("location @canary {").nth(1).unwrap().split("\n        }").next().unwrap();
    assert!(canary.contains("error_page 404 410 500 502 503 504 = @fallback;"));
    assert!(!canary.contains("proxy_cache "), "{canary}");
}
