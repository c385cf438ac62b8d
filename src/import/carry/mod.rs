//! From what was read to a fleet: pure, and complete in that whatever does not become a field becomes a reason.

mod engine;
mod lock;
mod outside;
mod storage;
mod upstream;

use super::found::{Found, Given, NotCarried, Value};
use crate::api::go_proxy::{GoProxySpec, LocalReference};

/// What an installation becomes.
#[derive(Clone, Debug)]
pub struct Carried {
    /// The fleet's spec, with nothing in it that is a default.
    pub spec: GoProxySpec,
    /// What it does not have.
    pub lost: Vec<NotCarried>,
    /// Secrets that have to be made first.
    pub secrets: Vec<WantedSecret>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// A Secret that the fleet refers to and that does not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedSecret {
    /// Its name.
    pub name: String,
    /// Its keys, and where the value of each is now.
    pub keys: Vec<WantedKey>,
}

/// A key of a Secret that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedKey {
    /// The key.
    pub key: &'static str,
    /// Where its value is: a setting's name, or another Secret.
    pub from: String,
    /// Whether the value is a file's content.
    pub file: bool,
}

/// Makes a fleet of this name. `claim` is the one to take over, where what was read does not tell.
pub fn carry(found: &Found, fleet: &str, claim: Option<&str>) -> Carried {
    let mut carrier = Carrier { found, fleet, carried: empty(found) };
    engine::carry(&mut carrier);
    storage::carry(&mut carrier, claim);
    lock::carry(&mut carrier);
    upstream::carry(&mut carrier);
    outside::logins(&mut carrier);
    engine::pods(&mut carrier);
    let mut all = carrier.carried;
    all.lost.extend(found.lost_by_table());
    all
}

fn empty(found: &Found) -> Carried {
    Carried { spec: GoProxySpec::default(), lost: found.lost.clone(), secrets: Vec::new(), notes: found.notes.clone() }
}

/// A fleet in the making.
struct Carrier<'a> {
    found: &'a Found,
    fleet: &'a str,
    carried: Carried,
}

impl Carrier<'_> {
    /// A setting that a fleet cannot have as it is.
    fn lose(&mut self, key: &str, why: impl Into<String>) {
        let Some(Given { name, value }) = self.found.get(key) else { return };
        let lost = match value {
            Value::Text(text) => NotCarried::shown(name, text, why),
            Value::List(items) => NotCarried::shown(name, &items.join(","), why),
            Value::Secret { .. } => NotCarried::hidden(name, why),
        };
        self.carried.lost.push(lost);
    }

    /// A setting that is one of these words, or none of them.
    fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)], why: &str) -> Option<T> {
        let text = self.found.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            self.lose(key, why);
        }
        found
    }

    /// A Secret for these settings, if any of them is given: the very one they are in, where it has the right keys, else one that
    /// is to be made. A key marked as a file is one.
    fn secret(&mut self, purpose: &str, keys: &[(&'static str, &str, bool)]) -> Option<LocalReference> {
        let given: Vec<_> =
            keys.iter().filter_map(|(key, setting, file)| Some((*key, self.found.get(setting)?, *file))).collect();
        if given.is_empty() {
            return None;
        }
        if let Some(name) = same_secret(&given) {
            self.carried.notes.push(format!("the login in your Secret {name} is used as it is"));
            return Some(LocalReference { name });
        }
        let name = format!("{}-{purpose}", self.fleet);
        let keys = given
            .into_iter()
            .map(|(key, given, file)| {
                let from = match &given.value {
                    Value::Secret { name, key } => format!("key {key} of Secret {name}"),
                    Value::Text(_) | Value::List(_) => given.name.clone(),
                };
                WantedKey { key, from, file }
            })
            .collect();
        self.carried.secrets.push(WantedSecret { name: name.clone(), keys });
        Some(LocalReference { name })
    }

    /// An address as a fleet may hold it: without the login and the last slash.
    fn address(&mut self, key: &str) -> Option<String> {
        let text = self.found.text(key)?.to_owned();
        let (url, login) = super::found::without_login(&text);
        if login {
            let why = "its login was left out: everybody who may read a GoProxy would see it";
            self.carried.lost.push(NotCarried::hidden(self.found.name(key), why));
        }
        Some(url.trim_end_matches('/').to_owned())
    }
}

/// The Secret that all these values are in, under the very keys.
fn same_secret(given: &[(&'static str, &Given, bool)]) -> Option<String> {
    let mut names = given.iter().map(|(wanted, given, file)| match &given.value {
        Value::Secret { name, key } if key == wanted && !file => Some(name.clone()),
        Value::Secret { .. } | Value::Text(_) | Value::List(_) => None,
    });
    let first = names.next()??;
    names.all(|name| name.as_ref() == Some(&first)).then_some(first)
}
