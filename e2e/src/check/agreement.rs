//! What the chart says against what the program understands: each is right by itself, and wrong without the other.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use goproxy_operator::check::Permission;
use goproxy_operator::cli::Cli;
use serde_json::Value;

/// The operator starts with the arguments that its Deployment gives it, and its test with those of its pod.
pub fn flags(object: &Value) -> anyhow::Result<usize> {
    let spec = if object["kind"] == "Pod" { &object["spec"] } else { &object["spec"]["template"]["spec"] };
    let containers = spec["containers"].as_array().map_or(&[][..], Vec::as_slice);
    for container in containers {
        let args = container["args"].as_array().context("a container without arguments")?;
        let args = args.iter().map(|arg| arg.as_str().unwrap_or_default());
        Cli::try_parse_from(std::iter::once("goproxy-operator").chain(args))
            .with_context(|| format!("{} {}", object["kind"], object["metadata"]["name"]))?;
    }
    Ok(containers.len())
}

/// What a role allows is what the operator uses: no more, which an attacker would have for nothing, and no less.
pub fn rights(role: &Value, used: &[Permission]) -> anyhow::Result<()> {
    let used: BTreeSet<[&str; 3]> = used.iter().map(|one| [one.group, one.resource, one.verb]).collect();
    let mut allowed = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let words = |field: &str| -> Vec<&str> {
            rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        for group in words("apiGroups") {
            for resource in words("resources") {
                allowed.extend(words("verbs").into_iter().map(|verb| [group, resource, verb]));
            }
        }
    }
    let (unused, missing): (Vec<_>, Vec<_>) =
        (allowed.difference(&used).collect(), used.difference(&allowed).collect());
    ensure!(
        unused.is_empty() && missing.is_empty(),
        "allowed and never used: {unused:?}; used and not allowed: {missing:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use goproxy_operator::check::fleet_permissions;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flag_that_the_program_does_not_know_is_found() {
        let of = |arg: &str| json!({ "kind": "Pod", "spec": { "containers": [{ "args": ["run", arg] }] } });
        assert_eq!(flags(&of("--log-level=debug")).unwrap(), 1);
        assert!(flags(&of("--log-level=trace")).is_err());
        assert!(flags(&of("--colour")).is_err());
    }

    #[test]
    fn a_right_too_many_or_too_few_is_found() {
        let rule = |verbs: &[&str]| json!({ "apiGroups": [""], "resources": ["pods"], "verbs": verbs });
        let error =
            rights(&json!({ "rules": [rule(&["get", "list"])] }), &fleet_permissions()).unwrap_err().to_string();
        assert!(error.contains(r#"never used: [["", "pods", "get"]]"#), "{error}");
        assert!(error.contains(r#"["", "pods", "watch"]"#), "{error}");
    }
}
