//! Messages of others, made the same each time they tell of the same fault. Kubelets, schedulers and API servers put
//! names of pods, counts, times and addresses into their words: each is new with every attempt, and each would be a
//! write of a status in which nothing changed.

use std::sync::LazyLock;

use regex::Regex;

/// Longest text: a cause and what it is about fit, a page of HTML does not.
const LONGEST: usize = 600;

/// What is dropped or replaced, in this order. Names of images, Secrets, quotas and hosts stay.
const RULES: [(&str, &str); 17] = [
    // A login in an address.
    (r#"//[^/:@\s"]*:[^/\s"]*@"#, "//…@"),
    // The same fault, told while the kubelet waits and told while it tries.
    (r#"^Back-off pulling image "[^"]*": [A-Za-z]+: "#, ""),
    (r"(rpc error: code = [A-Za-z]+ desc = )+", ""),
    (r"back-off [0-9hms.]+ restarting", "back-off restarting"),
    // Pods and containers: the next attempt has another name.
    (r#"pods "[^"]*" is forbidden: "#, ""),
    (r#" ?\(pod: "[^"]*", container: [^)]*\)"#, ""),
    (r" pod=[^ ]+", ""),
    (r#""[a-z0-9.-]+(_[A-Za-z0-9.-]+){4}""#, "\"…\""),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "…"),
    // What others use of a quota changes all the time; what is asked for and what is allowed do not.
    (r", used: [^ ]+, limited: ", ", limited: "),
    // A connection has another port each time, and a name may lead to another address.
    (r"(dial|read|write) (tcp|udp) [0-9a-fA-F.:\[\]]+(->[0-9a-fA-F.:\[\]]+)?: ", "$1 $2: "),
    (r"(lookup [^ ]+) on [0-9a-fA-F.:\[\]]+: ", "$1: "),
    // Times, of day and taken.
    (r"[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})? ?", ""),
    (r"\[?[0-9]{1,2}:[0-9]{2}(AM|PM)\]? ?", ""),
    (r" (after|in) ([0-9.]+(h|ms|m|s|µs|us|ns))+", ""),
    (r"0x[0-9a-f]+", "0x…"),
    (r"[ \t\r\n]+", " "),
];

struct Rules {
    replaced: Vec<(Regex, &'static str)>,
    digest: Regex,
}

static COMPILED: LazyLock<Rules> = LazyLock::new(|| {
    let compile = |pattern: &str| Regex::new(pattern).expect("a constant that a test compiles");
    Rules {
        replaced: RULES.iter().map(|(pattern, instead)| (compile(pattern), *instead)).collect(),
        digest: compile("(sha256:)?[0-9a-f]{64}"),
    }
});

/// A message in one line of bounded length, without what differs from one attempt to the next.
pub fn steady(message: &str) -> String {
    let mut text = message.trim().to_owned();
    for (pattern, instead) in &COMPILED.replaced {
        text = pattern.replace_all(&text, *instead).into_owned();
    }
    // Ids of containers; an image's digest belongs to its name.
    text = COMPILED
        .digest
        .replace_all(&text, |found: &regex::Captures<'_>| match found.get(1) {
            Some(_) => found[0].to_owned(),
            None => "…".to_owned(),
        })
        .into_owned();
    cut(text.trim())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Why no node takes a pod, without how many nodes there are: in a cluster that grows and shrinks that says nothing.
pub fn placement(message: &str) -> String {
    let Some((_, reasons)) = message.split_once(" nodes are available: ") else { return steady(message) };
    let ends = [" preemption:", " no new claims to deallocate"];
    let end = ends.iter().filter_map(|word| reasons.find(word)).min().unwrap_or(reasons.len());
    let reasons = reasons[..end].trim().trim_end_matches('.');
    let uncounted = |reason: &str| {
        let (count, rest) = reason.split_once(' ')?;
        count.bytes().all(|byte| byte.is_ascii_digit()).then(|| rest.to_owned())
    };
    // The scheduler sorts by count. Where there are no counts, it is one sentence.
    let text = match reasons.split(", ").map(uncounted).collect::<Option<Vec<_>>>() {
        Some(mut all) => {
            all.sort_unstable();
            all.dedup();
            all.join(", ")
        }
        None => reasons.to_owned(),
    };
    steady(&format!("no node fits: {text}"))
}

/// The last words of an engine: the text of the line that says why it ends.
pub fn last_words(message: &str) -> String {
    let lines = || message.lines().map(str::trim).filter(|line| !line.is_empty());
    let panic = lines().find(|line| line.starts_with("panic: ") || line.starts_with("fatal error: "));
    let line = panic.or_else(|| lines().next_back()).unwrap_or_default();
    let structured = serde_json::from_str::<serde_json::Value>(line).ok();
    let text = structured.as_ref().and_then(|entry| {
        let member = |names: [&str; 2]| names.iter().find_map(|name| entry.get(name)?.as_str());
        let said = member(["msg", "message"])?;
        Some(member(["error", "err"]).map_or_else(|| said.to_owned(), |error| format!("{said}: {error}")))
    });
    steady(&without_connection_string(text.as_deref().unwrap_or(line)))
}

/// A MongoDB client that cannot read its connection string quotes what it took for a host, and that may be half of a password.
fn without_connection_string(text: &str) -> String {
    const BEGINS: [&str; 2] = ["error parsing uri", "error validating uri"];
    match BEGINS.iter().filter_map(|words| text.find(words)).min() {
        Some(at) => format!(
            "{}the connection string cannot be used: check key url of the Secret that \
             spec.storage.mongo.credentialsSecretRef names, its host and its options, and percent-encode user and password",
            &text[..at]
        ),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Several messages about one fault, as they follow each other, and what is made of all of them.
    fn same(make: fn(&str) -> String, messages: &[&str], expected: &str) {
        for message in messages {
            assert_eq!(make(message), expected, "from {message}");
        }
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_told_in_the_same_words_each_time() {
        let absent = "failed to pull and unpack image \"registry.example.com/athens:v9\": failed to resolve reference \
                      \"registry.example.com/athens:v9\": registry.example.com/athens:v9: not found";
        same(
            steady,
            &[
                &format!("rpc error: code = NotFound desc = {absent}"),
                &format!(
                    "Back-off pulling image \"registry.example.com/athens:v9\": ErrImagePull: rpc error: code = NotFound desc = {absent}"
                ),
            ],
            absent,
        );
        same(
            steady,
            &[
                "failed to do request: Head \"https://registry.example.com/v2/athens/manifests/v9\": dial tcp: lookup registry.example.com on 10.96.0.10:53: read udp 10.244.0.5:47213->10.96.0.10:53: i/o timeout",
                "failed to do request: Head \"https://registry.example.com/v2/athens/manifests/v9\": dial tcp: lookup registry.example.com on 10.96.0.11:53: read udp 10.244.0.5:51880->10.96.0.11:53: i/o timeout",
            ],
            "failed to do request: Head \"https://registry.example.com/v2/athens/manifests/v9\": dial tcp: lookup registry.example.com: read udp: i/o timeout",
        );
        let digest = "a".repeat(64);
        let pinned = format!("image \"10.0.0.5:5000/athens@sha256:{digest}\" not found");
        assert_eq!(steady(&pinned), pinned, "the image's name is the cause");
    }

    #[test]
    fn a_container_that_cannot_be_made_is_told_without_its_pod() {
        let uid = "0c1f5b0e-6a0e-4f6e-9d5e-3c8f2f1f0001";
        same(
            steady,
            &[
                &format!(
                    "container has runAsNonRoot and image will run as root (pod: \"corp-1-abcde_build({uid})\", container: athens)"
                ),
                &format!(
                    "container has runAsNonRoot and image will run as root (pod: \"corp-1-fghij_build({uid})\", container: athens)"
                ),
            ],
            "container has runAsNonRoot and image will run as root",
        );
        let reserved = |pod: &str, attempt: u32, id: &str| {
            let id = id.repeat(64);
            format!(
                "failed to reserve container name \"athens_{pod}_build_{uid}_{attempt}\": name \"athens_{pod}_build_{uid}_{attempt}\" is reserved for \"{id}\""
            )
        };
        assert_eq!(steady(&reserved("corp-1-abcde", 0, "1")), steady(&reserved("corp-1-fghij", 7, "b")));
        assert_eq!(steady("secret \"corp-git\" not found"), "secret \"corp-git\" not found");
        same(
            steady,
            &[
                "back-off 10s restarting failed container=athens pod=corp-1-abcde_build(0c1f)",
                "back-off 5m0s restarting failed container=athens pod=corp-1-fghij_build(77aa)",
            ],
            "back-off restarting failed container=athens",
        );
    }

    #[test]
    fn a_quota_is_told_without_what_others_use() {
        same(
            steady,
            &[
                "pods \"corp-1-7d9f-abcde\" is forbidden: exceeded quota: team, requested: limits.memory=2Gi,pods=1, used: limits.memory=7Gi,pods=9, limited: limits.memory=8Gi,pods=9",
                "pods \"corp-1-7d9f-xyzzy\" is forbidden: exceeded quota: team, requested: limits.memory=2Gi,pods=1, used: limits.memory=6528Mi,pods=9, limited: limits.memory=8Gi,pods=9",
            ],
            "exceeded quota: team, requested: limits.memory=2Gi,pods=1, limited: limits.memory=8Gi,pods=9",
        );
    }

    #[test]
    fn nodes_are_not_counted() {
        same(
            placement,
            &[
                "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint {dedicated: ci}. preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.",
                "0/57 nodes are available: 10 node(s) had untolerated taint {dedicated: ci}, 47 Insufficient memory. no new claims to deallocate, preemption: 0/57 nodes are available: 57 No preemption victims found for incoming pod.",
            ],
            "no node fits: Insufficient memory, node(s) had untolerated taint {dedicated: ci}",
        );
        let unbound = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
        assert_eq!(placement(unbound), "no node fits: pod has unbound immediate PersistentVolumeClaims");
        assert_eq!(placement("persistentvolumeclaim \"a\" not found"), "persistentvolumeclaim \"a\" not found");
    }

    #[test]
    fn last_words_are_told_without_their_time() {
        same(
            last_words,
            &[
                "2026/11/21 10:55:20 Could not load config file: storage type \"bogus\" is unknown\n",
                "starts\n2026/11/21 11:00:31 Could not load config file: storage type \"bogus\" is unknown",
                "{\"time\":\"2026-11-21T10:55:20Z\",\"level\":\"ERROR\",\"msg\":\"Could not load config file: storage type \\\"bogus\\\" is unknown\"}\n",
                "[1:32PM] Could not load config file: storage type \"bogus\" is unknown",
            ],
            "Could not load config file: storage type \"bogus\" is unknown",
        );
        same(
            last_words,
            &[
                "panic: nil map at 0xc000123456\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:9 +0x1d\n",
                "panic: nil map at 0xc000999999\n\ngoroutine 7 [running]:\nmain.main()\n\t/src/main.go:9 +0x1d\n",
            ],
            "panic: nil map at 0x…",
        );
        assert_eq!(last_words(""), "");
    }

    #[test]
    fn no_part_of_a_login_is_repeated() {
        let json = r#"{"level":"ERROR","msg":"Could not create App: adding proxy routes: error parsing uri: invalid host \"ss@w0rd@db.example.com\": parse"}"#;
        for words in [
            r#"Could not create App: error parsing uri: invalid host "ss@w0rd@db.example.com": lookup w0rd"#,
            json,
            "Could not create App: error validating uri: w0rd",
            "redis: cannot dial redis://athens:ss@w0rd@redis.example.com:6379: refused",
            "Get \"https://athens:w0rd@proxy.example.com/x/@v/list\": EOF",
        ] {
            let told = last_words(words);
            assert!(!told.contains("w0rd"), "{told}");
        }
        assert!(last_words(json).contains("key url of the Secret"), "{}", last_words(json));
        let address = "Get \"https://proxy.example.com:8443/x/@v/list\": EOF";
        assert_eq!(last_words(address), address, "a version in a path is no login");
        assert!(last_words("dial redis://a:b@redis.example.com:6379").contains("//…@redis.example.com:6379"));
    }

    #[test]
    fn a_page_becomes_a_line_of_bounded_length() {
        let page = format!("<html>\n{}\n</html>", "ä ".repeat(5000));
        let line = steady(&page);
        assert!(line.chars().count() <= LONGEST + 1 && !line.contains('\n') && line.ends_with('…'), "{line}");
    }
}
