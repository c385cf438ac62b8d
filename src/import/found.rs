//! What an installation of Athens says of itself, wherever it was read: settings of the engine, and what is around it.

use std::collections::BTreeMap;

use super::setting::{Fate, SETTINGS, Setting};
use crate::api::{
    go_proxy::{Autoscaling, DiskStorage, Engine, Service},
    rule,
};

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Found {
    settings: BTreeMap<&'static str, Given>,
    /// What is around the engine.
    pub around: Around,
    /// What can go nowhere, found while reading.
    pub lost: Vec<NotCarried>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// A setting with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// How it was called there.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// As text.
    Text(String),
    /// Of a list.
    List(Vec<String>),
    /// In a Secret.
    Secret {
        /// The Secret.
        name: String,
        /// Its key.
        key: String,
    },
}

/// What is around the engine: of a chart's values or of a workload.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its image.
    pub image: Option<String>,
    /// Pods.
    pub replicas: Option<i32>,
    /// Resources, placement and identity of pods.
    pub engine: Engine,
    /// The Service.
    pub service: Service,
    /// The autoscaler.
    pub autoscaling: Option<Autoscaling>,
    /// What is mounted where.
    pub mounts: Vec<Mount>,
    /// The volume that a chart makes.
    pub disk: DiskStorage,
    /// Proxies on the way out, by their variables in lower case.
    pub egress: BTreeMap<String, String>,
    /// Git servers that are asked over ssh.
    pub ssh: Vec<SshServer>,
    /// A module proxy that a chart sends clients to.
    pub sends_to: Option<String>,
    /// Where the configuration file is mounted from, if it is.
    pub config_mount: Option<String>,
}

/// A Git server that is asked over ssh, without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshServer {
    /// How it is called where it stands.
    pub setting: String,
    /// Its host.
    pub host: String,
    /// The user there.
    pub user: Option<String>,
    /// Its port.
    pub port: Option<i32>,
    /// Where its key is.
    pub key: String,
}

/// A directory of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub path: String,
    /// The claim that it shows; `None` for what is lost with the pod.
    pub claim: Option<String>,
    /// The part of the volume that it shows.
    pub sub_path: Option<String>,
}

/// A setting that a fleet does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotCarried {
    /// How it was called.
    pub setting: String,
    /// Its value; `None` where it is a secret, may be one, or is not known.
    pub value: Option<String>,
    /// Why, and what to do instead.
    pub why: String,
}

impl NotCarried {
    /// Without a value.
    pub fn hidden(setting: impl Into<String>, why: impl Into<String>) -> Self {
        Self { setting: setting.into(), value: None, why: why.into() }
    }

    /// With its value, unless that may hold a login.
    pub fn shown(setting: impl Into<String>, value: &str, why: impl Into<String>) -> Self {
        Self { setting: setting.into(), value: harmless(value), why: why.into() }
    }
}

/// Settings whose value may hold a login, which is then taken out of it.
const ADDRESSES: [&str; 8] = [
    "GoBinaryEnvVars",
    "SumDBs",
    "NoSumPatterns",
    "SingleFlight.Etcd.Endpoints",
    "SingleFlight.Redis.Endpoint",
    "SingleFlight.RedisSentinel.Endpoints",
    "Storage.S3.Endpoint",
    "Storage.External.URL",
];

impl Found {
    /// Takes a setting. What is read later wins.
    pub fn set(&mut self, setting: &'static Setting, name: &str, value: Value) {
        let plain = setting.fate == Fate::Carried && !setting.secret && !ADDRESSES.contains(&setting.key);
        if plain && matches!(&value, Value::Text(text) if text.contains('@')) {
            self.lost.push(NotCarried::hidden(name, "it was left out, because it may hold a login"));
            return;
        }
        self.settings.insert(setting.key, Given { name: name.to_owned(), value });
    }

    /// Whether this setting was given, be it empty.
    pub fn knows(&self, setting: &Setting) -> bool {
        self.settings.contains_key(setting.key)
    }

    /// Everything that was given, with its row of the table.
    pub fn given(&self) -> impl Iterator<Item = (&'static Setting, &Given)> {
        SETTINGS.iter().filter_map(|setting| Some((setting, self.settings.get(setting.key)?)))
    }

    /// A setting as it was given, unless it is empty.
    pub fn get(&self, key: &str) -> Option<&Given> {
        debug_assert!(SETTINGS.iter().any(|setting| setting.key == key), "{key} is no setting");
        self.settings.get(key).filter(|given| match &given.value {
            Value::Text(text) => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
            Value::Secret { .. } => true,
        })
    }

    /// Its text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value {
            Value::Text(text) => Some(text),
            Value::List(_) | Value::Secret { .. } => None,
        }
    }

    /// Its items. In a variable they stand in one text.
    pub fn items(&self, key: &str) -> Vec<String> {
        let separator = if key == "GoBinaryEnvVars" { ';' } else { ',' };
        match self.get(key).map(|given| &given.value) {
            Some(Value::List(items)) => items.clone(),
            Some(Value::Text(text)) => {
                text.split(separator).map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
            }
            Some(Value::Secret { .. }) | None => Vec::new(),
        }
    }

    /// Whether it is switched on.
    pub fn is_on(&self, key: &str) -> bool {
        self.text(key).is_some_and(|text| plain(text) == "true")
    }

    /// How it was called, for telling of it.
    pub fn name(&self, key: &str) -> String {
        self.get(key).map_or_else(|| key.to_owned(), |given| given.name.clone())
    }

    /// Whether this setting means anything to this installation: one of a back-end that is not used does not.
    pub fn counts(&self, setting: &Setting) -> bool {
        setting.chosen_by().is_none_or(|(chooser, word)| self.text(chooser) == Some(word))
    }

    /// What has no place in a fleet by the table alone.
    pub fn lost_by_table(&self) -> Vec<NotCarried> {
        let counting = self.given().filter(|(setting, _)| self.counts(setting));
        let lost = counting.filter_map(|(setting, given)| {
            let why = match (setting.fate, &given.value) {
                (Fate::Lost { unless, why }, Value::Text(text)) if !unless.contains(&plain(text).as_str()) => why,
                (Fate::Lost { why, .. }, Value::List(_) | Value::Secret { .. }) => why,
                (Fate::Carried, Value::Secret { .. }) if !setting.secret => {
                    "its value is in a Secret and not known here: set it by hand"
                }
                _ => return None,
            };
            Some(match &given.value {
                Value::Text(text) if !setting.secret => NotCarried::shown(&given.name, text, why),
                Value::Text(_) | Value::List(_) | Value::Secret { .. } => NotCarried::hidden(&given.name, why),
            })
        });
        let mut all: Vec<_> = lost.collect();
        // Two tables may share a variable.
        all.dedup();
        all
    }
}

/// A value in the one spelling that the table has: the engine takes several for a switch.
fn plain(text: &str) -> String {
    match text {
        "1" | "t" | "T" | "TRUE" | "True" => "true".to_owned(),
        "f" | "F" | "FALSE" | "False" => "false".to_owned(),
        other => other.to_owned(),
    }
}

/// A value as it may be shown: `None` where it may hold a login, and without the parameters of an address.
fn harmless(value: &str) -> Option<String> {
    if value.contains('@') && !value.contains("@sha256:") {
        return None;
    }
    let value = rule::on_one_line(value);
    if !value.contains("//") {
        return Some(value);
    }
    Some(value.split(['?', '#']).next().unwrap_or_default().to_owned())
}

/// An address without login and parameters, and whether it held a login. A password may hold any character, so that the last `@`
/// ends it.
pub fn without_login(url: &str) -> (String, bool) {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match (url.split_once("//"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => (format!("{scheme}//{rest}"), true),
        (None, Some((_, rest))) => (rest.to_owned(), true),
        (_, None) => (url.to_owned(), false),
    }
}
