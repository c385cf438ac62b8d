//! Whatever a generator comes up with.

use proptest::{option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::*;

/// Some member, or none.
fn member(
    name: &'static str,
    value: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<(&'static str, Option<Value>)> {
    option::of(value).prop_map(move |value| (name, value)).boxed()
}

fn block(members: Vec<BoxedStrategy<(&'static str, Option<Value>)>>) -> impl Strategy<Value = Value> {
    members.prop_map(|members| {
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
    })
}

fn text(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    select(words).prop_map(Value::from)
}

fn amount() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0_u64..5000).prop_map(Value::from),
        ("[0-9]{1,4}(\\.[0-9]{1,3})?", select(vec!["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "Ti"]))
            .prop_map(|(number, suffix)| json!(format!("{number}{suffix}"))),
    ]
}

fn engines() -> impl Strategy<Value = Value> {
    let amounts = || block(vec![member("cpu", amount()), member("memory", amount())]);
    block(vec![
        member("version", text(&["v0.18.0", "v0.18.1", "v0.17.0"])),
        member("image", text(&["gomods/athens:v1", "gomods/athens", "r.example.com:5000/a@sha256:12"])),
        member("imagePullPolicy", text(&["Always", "IfNotPresent", "Never"])),
        member("fetchWorkers", (0..120_i32).prop_map(Value::from)),
        member("fetchTimeout", "([0-9]{1,3}[hms]){1,2}".prop_map(Value::from)),
        member("logLevel", text(&["Debug", "Info", "Warn", "Error"])),
        member(
            "goEnv",
            block(vec![member("GOGC", "[ -~]{0,8}".prop_map(Value::from)), member("GOVCS", text(&["*:git"]))]),
        ),
        member(
            "serviceAccount",
            block(vec![
                member("name", text(&["modules"])),
                member("annotations", block(vec![member("a/b", text(&["x"]))])),
            ]),
        ),
        member("resources", block(vec![member("requests", amounts()), member("limits", amounts())])),
        member("pod", block(vec![member("labels", block(vec![member("team", text(&["build", "a b"]))]))])),
    ])
}

fn upstreams() -> impl Strategy<Value = Value> {
    let proxy = (
        select(vec!["a", "b", "c"]),
        select(vec!["https://a.example.com", "http://b:80/x", "http://127.0.0.1", "http://[fd00::1]"]),
        option::of(select(vec!["NotFound", "AnyError"])),
    )
        .prop_map(|(name, url, next)| match next {
            Some(next) => json!({ "name": name, "url": url, "tryNextOn": next }),
            None => json!({ "name": name, "url": url }),
        });
    block(vec![
        member("proxies", prop::collection::vec(proxy, 0..4).prop_map(Value::from)),
        member("direct", text(&["Enabled", "Disabled"])),
        member(
            "checksumDatabase",
            block(vec![
                member("name", text(&["sum.golang.org", "sum.example.com"])),
                member("disabled", Just(json!({ "reason": "it is a test" }))),
            ]),
        ),
    ])
}

fn specs() -> impl Strategy<Value = Value> {
    let disk = block(vec![
        member("size", amount()),
        member("storageClassName", text(&["fast"])),
        member("accessMode", text(&["ReadWriteOnce", "ReadWriteOncePod"])),
    ]);
    block(vec![
        member("suspend", any::<bool>().prop_map(Value::from)),
        member("replicas", (0..3_i32).prop_map(Value::from)),
        member("engine", engines()),
        member(
            "service",
            block(vec![
                member("type", text(&["ClusterIP", "NodePort", "LoadBalancer"])),
                member("loadBalancerClass", text(&["a/b"])),
            ]),
        ),
        member(
            "autoscaling",
            block(vec![
                member("minReplicas", (0..3_i32).prop_map(Value::from)),
                member("maxReplicas", (0..3_i32).prop_map(Value::from)),
            ]),
        ),
        member(
            "storage",
            block(vec![
                member("memory", Just(json!({}))),
                member("disk", disk),
                member("whenDeleted", text(&["Retain", "Delete"])),
            ]),
        ),
        member("upstream", upstreams()),
        member(
            "private",
            block(vec![member(
                "modules",
                prop::collection::vec(text(&["git.example.com/*", "*", "a.example.com"]), 0..3).prop_map(Value::from),
            )]),
        ),
        member(
            "rollout",
            block(vec![
                member("scaleDownDelay", "[0-9]{1,3}[hms]".prop_map(Value::from)),
                member("revisionHistoryLimit", (0..60_i32).prop_map(Value::from)),
            ]),
        ),
    ])
}

fn assert_same_after_json(given: &Value) -> bool {
    let Ok(fleet) = parse(object(given)) else { return false };
    let first = validate(&fleet, &settings(), None).expect("what parse accepts, validate accepts");
    let written = serde_json::to_value(&fleet).unwrap();
    let again = parse(written).expect("an accepted fleet is accepted again");
    assert_eq!(again.spec, fleet.spec);
    assert_eq!(validate(&again, &settings(), None).unwrap(), first);
    assert!(validate_update(&fleet.spec, &again.spec).is_empty());
    let amounts = [first.engine.cpu_request, first.engine.memory_request, first.engine.memory_limit];
    for amount in amounts.into_iter().chain(first.engine.cpu_limit) {
        let stored = amount.to_string();
        assert_eq!(stored.parse::<Quantity>().map(|parsed| (parsed == amount, parsed.to_string())), Ok((true, stored)));
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_accepted_means_the_same_after_a_round_trip(engine in engines(), upstream in upstreams(), spec in specs()) {
        // Whole specs are mostly refused, so that blocks are tried alone too.
        for given in [json!({ "engine": engine }), json!({ "upstream": upstream }), spec] {
            assert_same_after_json(&given);
        }
    }

    #[test]
    fn any_object_at_all_is_judged_without_a_panic(name in "\\PC{0,12}", text in "\\PC{0,24}", number in any::<i64>()) {
        for value in [json!(text), json!(number), json!([text]), json!({ name.clone(): number }), Value::Null] {
            for field in ["replicas", "engine", "storage", "upstream", "private", "service", "rollout", "suspend"] {
                let _ = parse(object(&json!({ field: value })));
            }
            let _ = parse(json!({ "apiVersion": text, "kind": text, "metadata": { "name": name }, "spec": value }));
            let url = json!({ "proxies": [{ "name": "a", "url": format!("https://{text}") }] });
            let _ = parse(object(&json!({ "upstream": url, "private": { "modules": [text] } })));
        }
    }
}

#[test]
fn enough_of_the_generated_specs_are_accepted() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut accepted = |strategy: BoxedStrategy<Value>, block: &'static str| {
        let hits = (0..300).filter(|_| {
            let value = strategy.new_tree(&mut runner).unwrap().current();
            let given = if block.is_empty() { value } else { json!({ block: value }) };
            assert_same_after_json(&given)
        });
        hits.count()
    };
    let counts = (
        accepted(engines().boxed(), "engine"),
        accepted(upstreams().boxed(), "upstream"),
        accepted(specs().boxed(), ""),
    );
    assert!(counts.0 >= 10 && counts.1 >= 10 && counts.2 >= 1, "{counts:?}");
}
