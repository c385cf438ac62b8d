//! Where modules and their checksums come from, as the go command's own settings spell it. Every engine understands these.

use url::Url;

use crate::{
    api::go_proxy::TryNextOn,
    plan::validate::{Checksums, Origin, ValidUpstream},
};

/// The database that the go command knows by heart.
pub const KNOWN_DATABASE: &str = "sum.golang.org";
/// A second address of it. The go command accepts this name alone, but not together with an address.
pub const KNOWN_DATABASE_MIRROR: &str = "sum.golang.google.cn";

/// The value of GOPROXY; empty when nothing is named, and then the go command's own default counts.
pub fn chain(upstream: &ValidUpstream) -> String {
    let mut chain = String::new();
    for (index, Origin { url, try_next_on, .. }) in upstream.proxies.iter().enumerate() {
        chain.push_str(url);
        if index + 1 < upstream.proxies.len() || upstream.direct {
            chain.push(match try_next_on {
                TryNextOn::NotFound => ',',
                TryNextOn::AnyError => '|',
            });
        }
    }
    if !chain.is_empty() && upstream.direct {
        chain.push_str("direct");
    }
    chain
}

/// A checksum database as GOSUMDB spells it.
pub struct Database {
    /// A key, or the name of a database that the go command knows.
    key: String,
    /// Where it answers.
    address: Address,
    /// Whether the address must be said, because it does not follow from the key.
    elsewhere: bool,
}

/// An https address in the two parts that the engine treats differently.
struct Address {
    authority: String,
    path: String,
}

impl Address {
    fn parse(text: &str) -> Self {
        let url = Url::parse(text).ok();
        let part =
            |get: fn(&Url) -> &str, default: &str| url.as_ref().map_or(default.to_owned(), |url| get(url).to_owned());
        Self { authority: part(Url::authority, ""), path: part(Url::path, "").trim_end_matches('/').to_owned() }
    }
}

impl Database {
    /// The one that a fleet verifies against, if it does.
    pub fn of(checksums: &Checksums) -> Option<Self> {
        let Checksums::Database { name, url, key } = checksums else { return None };
        let alias = key.is_none() && name == KNOWN_DATABASE_MIRROR;
        let known = if alias { KNOWN_DATABASE } else { name };
        let default = format!("https://{name}");
        Some(Self {
            key: key.clone().unwrap_or_else(|| known.to_owned()),
            address: Address::parse(url.as_ref().unwrap_or(&default)),
            elsewhere: alias || url.is_some(),
        })
    }

    /// GOSUMDB of the fleet's own go command. Without an address it asks the proxies of its chain first, then the database.
    pub fn direct(&self) -> String {
        let Self { key, address: Address { authority, path }, elsewhere } = self;
        if *elsewhere { format!("{key} https://{authority}{path}") } else { key.clone() }
    }

    /// Its name, which stands in its key.
    pub fn name(&self) -> &str {
        self.key.split('+').next().unwrap_or_default()
    }

    /// Where it answers.
    pub fn address(&self) -> String {
        let Address { authority, path } = &self.address;
        format!("https://{authority}{path}")
    }

    /// GOSUMDB of a client that reaches the database through an engine that serves it under its own name: the go command asks
    /// its proxy there by itself.
    pub fn by_name(&self) -> String {
        self.key.clone()
    }

    /// Where it answers, without the path.
    pub fn origin(&self) -> String {
        format!("https://{}", self.address.authority)
    }

    /// GOSUMDB of a client that reaches the database through an engine that serves it as `/sumdb/HOST/`, host and path being
    /// those of its address. Without an address the go command itself asks its proxy under the database's name, which is the host then.
    pub fn through_host(&self, fleet: &str) -> String {
        let Self { key, address: Address { authority, path }, elsewhere } = self;
        if *elsewhere { format!("{key} {fleet}/sumdb/{authority}{path}") } else { key.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{origin, smallest};

    #[test]
    fn chain_spells_when_the_next_origin_is_asked() {
        use TryNextOn::{AnyError, NotFound};
        let a = |on| origin("a", "https://a.example.com", on);
        let b = |on| origin("b", "https://b.example.com/go", on);
        for (proxies, direct, expected) in [
            (vec![], true, ""),
            (vec![a(NotFound)], true, "https://a.example.com,direct"),
            (vec![a(AnyError)], true, "https://a.example.com|direct"),
            (vec![a(AnyError)], false, "https://a.example.com"),
            (vec![a(AnyError), b(NotFound)], true, "https://a.example.com|https://b.example.com/go,direct"),
            (vec![a(NotFound), b(AnyError)], false, "https://a.example.com,https://b.example.com/go"),
        ] {
            let upstream = ValidUpstream { proxies, direct, ..smallest().upstream };
            assert_eq!(chain(&upstream), expected);
        }
    }
}
