//! The login at a proxy on the way out.
//!
//! go and git take it from their environment alone, as a part of the proxy's address. A character that means something in an
//! address would there end the login early, and both programs quote an address that they cannot read: in the engine's log, and
//! in its answers to clients. So a few lines of shell write every character but letters and digits in its encoded form before
//! the engine starts in their place. They use only what a shell has built in.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};

use crate::{engine::Program, plan::validate::ValidFleet, sidecar::trust::EGRESS_LOGIN};

/// Takes the login out of two variables, puts it into those of the proxy, and becomes the program in its arguments.
const SCRIPT: &str = include_str!("way_out.sh");

/// The variables that the script takes, and the keys of the Secret that they come from.
const LOGIN: [(&str, &str); 2] = [(EGRESS_LOGIN[0], "username"), (EGRESS_LOGIN[1], "password")];

fn secret(fleet: &ValidFleet) -> Option<&str> {
    fleet.upstream.egress.as_ref()?.secret.as_deref()
}

/// What runs instead of the image's entry point.
pub fn command(fleet: &ValidFleet, program: &Program) -> Option<Vec<String>> {
    let command = program.command.as_ref()?;
    Some(if secret(fleet).is_some() { before(command) } else { command.clone() })
}

/// Its arguments. Where the image's entry point stays, it starts what stands first in them.
pub fn arguments(fleet: &ValidFleet, program: &Program) -> Vec<String> {
    let own = program.command.is_some() || secret(fleet).is_none();
    if own { program.args.clone() } else { before(&program.args) }
}

/// The variables with the login. A Secret without one of the keys keeps the pod from starting.
pub fn login(fleet: &ValidFleet) -> Vec<EnvVar> {
    let variable = |(name, key): (&str, &str), secret: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.to_owned(),
                key: key.to_owned(),
                ..SecretKeySelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    secret(fleet).into_iter().flat_map(|secret| LOGIN.map(|one| variable(one, secret))).collect()
}

/// The shell with the script, then what it becomes. The kubelet fills variables into arguments, and takes two dollars for one.
fn before(program: &[String]) -> Vec<String> {
    let script = SCRIPT.replace('$', "$$");
    ["sh", "-c", &script, "sh"].into_iter().map(str::to_owned).chain(program.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, process::Command};

    use proptest::prelude::*;
    use serde_json::Value;
    use url::Url;

    use super::*;
    use crate::plan::{
        fixture::{mirror, richest, smallest, stored},
        validate::ValidEgress,
    };

    fn with_login(mut fleet: ValidFleet) -> ValidFleet {
        let egress = richest().upstream.egress.unwrap();
        fleet.upstream.egress = Some(ValidEgress { secret: Some("way-out".to_owned()), ..egress });
        fleet
    }

    fn container(fleet: &ValidFleet) -> Value {
        stored(fleet, "corp-0123456789").template["spec"]["containers"][0].clone()
    }

    #[test]
    fn the_program_is_the_same_and_starts_behind_the_script() {
        let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap_or_default() };
        for fleet in [smallest(), mirror()] {
            let (plain, wrapped) = (container(&fleet), container(&with_login(fleet)));
            let whole = |one: &Value| [texts(&one["command"]), texts(&one["args"])].concat();
            assert_eq!(whole(&wrapped)[..4], before(&[]));
            assert_eq!(whole(&wrapped)[4..], whole(&plain));
            assert_eq!(wrapped["command"].is_null(), plain["command"].is_null(), "the image's init stays where it is");
            let from_secret: Vec<_> = wrapped["env"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|one| Some((one["name"].as_str()?, one.pointer("/valueFrom/secretKeyRef")?.clone())))
                .collect();
            let reference = |key: &str| serde_json::json!({ "name": "way-out", "key": key });
            let expected = LOGIN.map(|(name, key)| (name, reference(key)));
            assert_eq!(from_secret, expected);
        }
    }

    /// What the kubelet makes of an argument in which nothing but the dollar is escaped.
    #[test]
    fn the_shell_gets_the_script_as_it_is_written() {
        let argument = before(&[]).remove(2);
        let mut rest = argument.chars();
        let mut read = String::new();
        while let Some(c) = rest.next() {
            assert!(c != '$' || rest.next() == Some('$'), "the kubelet would fill something in after {read}");
            read.push(c);
        }
        assert_eq!(read, SCRIPT);
    }

    /// The variables that the program gets, by the machine's own shell.
    fn run(user: &[u8], password: &[u8]) -> (bool, Vec<u8>) {
        let ended = Command::new("sh")
            .args(["-c", SCRIPT, "sh", "env"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HTTPS_PROXY", "http://egress.example.com:3128")
            .env("HTTP_PROXY", "https://[fd00::1]:3129")
            .env("https_proxy", "http://egress.example.com:3128")
            .env("http_proxy", "https://[fd00::1]:3129")
            .env("NO_PROXY", ".svc")
            .env(LOGIN[0].0, OsStr::from_bytes(user))
            .env(LOGIN[1].0, OsStr::from_bytes(password))
            .output()
            .unwrap();
        (ended.status.success(), [ended.stdout, ended.stderr].concat())
    }

    #[test]
    fn nothing_of_a_login_is_left_but_where_it_belongs() {
        let (started, text) = run(b"fleet\r\n", b"pass word\n");
        let text = String::from_utf8(text).unwrap();
        assert!(started, "{text}");
        let mut lines: Vec<_> =
            text.lines().filter(|line| !line.starts_with("PWD=") && !line.starts_with("_=")).collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "HTTPS_PROXY=http://fleet:pass%20word@egress.example.com:3128",
                "HTTP_PROXY=https://fleet:pass%20word@[fd00::1]:3129",
                "NO_PROXY=.svc",
                "PATH=/usr/bin:/bin",
                "http_proxy=https://fleet:pass%20word@[fd00::1]:3129",
                "https_proxy=http://fleet:pass%20word@egress.example.com:3128",
            ]
        );
    }

    #[test]
    fn without_a_user_nothing_starts_and_the_password_is_not_told() {
        let (started, text) = run(b"\n", b"hunter2");
        let text = String::from_utf8(text).unwrap();
        assert!(!started && text.contains("key username") && !text.contains("hunter2"), "{text}");
    }

    fn decoded(text: &str) -> Vec<u8> {
        let mut parts = text.split('%');
        let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend(&part.as_bytes()[2..]);
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a login holds, the address is read by everybody in the one way.
        #[test]
        fn any_login_gets_through(user in "[^\\x00\r\n]{1,12}", password in prop::collection::vec(1_u8.., 0..16)) {
            prop_assume!(!password.contains(&b'\n') && password.last() != Some(&b'\r'));
            let (started, text) = run(user.as_bytes(), &password);
            prop_assert!(started);
            let text = String::from_utf8(text).expect("it holds nothing but plain characters");
            let address = text.lines().find_map(|line| line.strip_prefix("HTTPS_PROXY=")).unwrap();
            let address = Url::parse(address).unwrap();
            prop_assert_eq!(address.host_str(), Some("egress.example.com"));
            prop_assert_eq!(decoded(address.username()), user.into_bytes());
            prop_assert_eq!(decoded(address.password().unwrap_or_default()), password);
        }
    }
}
