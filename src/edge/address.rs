//! Addresses: who really speaks, and whether that address may.

use std::net::IpAddr;

use ipnet::IpNet;

/// The longest forwarding header that is read. A chain of proxies longer than what fits is an attack.
const FORWARDED_MAX: usize = 1024;

/// A network, written in its one form: no bits behind the prefix, IPv4 never inside IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network(IpNet);

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Neither an address nor a network.
    #[error("'{0}' is no network: write it like 10.0.0.0/8, 192.0.2.7/32 or 2001:db8::/32")]
    Form(String),
    /// Bits behind the prefix: either the address or the prefix is a mistake.
    #[error(
        "'{given}' has bits behind its prefix: write {network} for the network, or a longer prefix for the address"
    )]
    HostBits {
        /// As written.
        given: String,
        /// What contains it.
        network: IpNet,
    },
    /// An IPv4 address in IPv6 clothes.
    #[error("'{0}' is an IPv4 network inside IPv6, and every address is compared as IPv4: write it as IPv4")]
    Mapped(String),
}

/// Who may speak. What is denied stays denied, whatever allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// Only these, unless empty.
    pub allow: Vec<Network>,
    /// Never these.
    pub deny: Vec<Network>,
    /// For private modules only these of them, unless empty.
    pub private_allow: Vec<Network>,
}

/// Whether an address may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressVerdict {
    /// It may.
    Allowed,
    /// It is in a network that is denied.
    Denied(Network),
    /// It is in none that is allowed.
    NotAllowed,
    /// It may, but not ask for private modules.
    NotPrivate,
}

/// Why nobody can tell who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// A trusted proxy sent the header twice: which of the two it wrote cannot be told.
    #[error("a trusted proxy sent X-Forwarded-For more than once")]
    Repeated,
    /// An entry that a trusted proxy should have written is no address.
    #[error("an entry of X-Forwarded-For is no address")]
    NoAddress,
    /// The header is longer than any chain of proxies.
    #[error("X-Forwarded-For is longer than {FORWARDED_MAX} bytes")]
    Long,
}

impl Network {
    /// Reads a network. An address by itself is a network of one.
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        let form = || InvalidNetwork::Form(text.chars().take(64).collect());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        // Not by the network type's own parser: that one reads 010.0.0.0 as 10.0.0.0, where others read 8.0.0.0.
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let network = match prefix {
            None => IpNet::from(address),
            Some(prefix) => read_prefix(prefix).and_then(|prefix| IpNet::new(address, prefix).ok()).ok_or_else(form)?,
        };
        if let IpAddr::V6(address) = network.addr()
            && address.to_ipv4_mapped().is_some()
        {
            return Err(InvalidNetwork::Mapped(text.to_owned()));
        }
        if network.trunc() != network {
            return Err(InvalidNetwork::HostBits { given: text.to_owned(), network: network.trunc() });
        }
        Ok(Self(network))
    }

    /// Whether the address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether it is every address of its family: as a proxy that is trusted, that would be everybody.
    pub fn is_everything(self) -> bool {
        self.0.prefix_len() == 0
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl AddressRules {
    /// Judges an address, for a module that is private or not.
    pub fn judge(&self, address: IpAddr, private: bool) -> AddressVerdict {
        let within = |networks: &[Network]| networks.iter().copied().find(|network| network.contains(address));
        if let Some(network) = within(&self.deny) {
            return AddressVerdict::Denied(network);
        }
        if !self.allow.is_empty() && within(&self.allow).is_none() {
            return AddressVerdict::NotAllowed;
        }
        if private && !self.private_allow.is_empty() && within(&self.private_allow).is_none() {
            return AddressVerdict::NotPrivate;
        }
        AddressVerdict::Allowed
    }
}

/// Who speaks: the peer itself, or, where a trusted proxy stands between, the nearest address that no trusted proxy has. What an
/// untrusted peer says about others is not even read.
pub fn speaker(peer: IpAddr, forwarded: &[&str], trusted: &[Network]) -> Result<IpAddr, Untold> {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return Ok(peer);
    }
    let header = match forwarded {
        [] => return Ok(peer),
        [header] => *header,
        _ => return Err(Untold::Repeated),
    };
    if header.len() > FORWARDED_MAX {
        return Err(Untold::Long);
    }
    let mut nearest = peer;
    for entry in header.rsplit(',') {
        nearest = entry_address(entry.trim_matches([' ', '\t'])).ok_or(Untold::NoAddress)?;
        if !is_trusted(nearest) {
            break;
        }
    }
    Ok(nearest)
}

/// The length of a prefix, without signs or leading zeros.
fn read_prefix(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// An address, with or without a port: some balancers add it.
fn entry_address(entry: &str) -> Option<IpAddr> {
    let address = entry.parse::<IpAddr>().ok();
    let address = address.or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()));
    let address = address
        .or_else(|| entry.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| Network::parse(text).unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_written_in_one_form() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32", "2001:db8::/32", "::/0", "fe80::1/128"] {
            assert_eq!(Network::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Network::parse("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        for text in ["10.0.0.1/8", "2001:db8::1/32", "10.0.0.0/7/8"] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
        assert!(Network::parse("10.0.0.1/8").unwrap_err().to_string().contains("write 10.0.0.0/8 for the network"));
        assert!(matches!(Network::parse("::ffff:10.0.0.0/104"), Err(InvalidNetwork::Mapped(_))));
        assert!(matches!(Network::parse("::ffff:10.0.0.1"), Err(InvalidNetwork::Mapped(_))));
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "/8",
            "10.0.0/8",
            "10.0.0.0/-1",
            "010.0.0.0/8",
            "0x0a.0.0.0/8",
            "167772160",
            "localhost",
            "10.0.0.0/8 ",
            "10.0.0.0/8\n",
            "fe80::1%eth0",
        ] {
            assert!(matches!(Network::parse(text), Err(InvalidNetwork::Form(_))), "{text}");
        }
        assert!(Network::parse("0.0.0.0/0").unwrap().is_everything());
        assert!(!Network::parse("0.0.0.0/1").unwrap().is_everything());
    }

    #[test]
    fn denied_is_denied_and_private_is_stricter() {
        let rules = AddressRules {
            allow: networks(&["10.0.0.0/8", "2001:db8::/32"]),
            deny: networks(&["10.6.6.0/24"]),
            private_allow: networks(&["10.8.0.0/16"]),
        };
        for (address, private, verdict) in [
            ("10.1.2.3", false, AddressVerdict::Allowed),
            ("10.6.6.6", false, AddressVerdict::Denied(networks(&["10.6.6.0/24"])[0])),
            ("192.0.2.1", false, AddressVerdict::NotAllowed),
            ("10.1.2.3", true, AddressVerdict::NotPrivate),
            ("10.8.2.3", true, AddressVerdict::Allowed),
            // The same client over a socket that speaks both families.
            ("::ffff:10.6.6.6", false, AddressVerdict::Denied(networks(&["10.6.6.0/24"])[0])),
            ("::ffff:10.1.2.3", false, AddressVerdict::Allowed),
            ("2001:db8::1", false, AddressVerdict::Allowed),
            ("2001:db8::1", true, AddressVerdict::NotPrivate),
        ] {
            assert_eq!(rules.judge(ip(address), private), verdict, "{address} {private}");
        }
        assert_eq!(AddressRules::default().judge(ip("203.0.113.9"), true), AddressVerdict::Allowed);
    }

    #[test]
    fn only_what_trusted_proxies_say_is_believed() {
        let trusted = networks(&["10.0.0.0/24", "2001:db8::/64"]);
        for (peer, forwarded, speaks) in [
            // Nobody between.
            ("203.0.113.9", &[][..], Ok("203.0.113.9")),
            // A forged header of somebody who is no proxy, also repeated or broken.
            ("203.0.113.9", &["10.8.0.1"], Ok("203.0.113.9")),
            ("203.0.113.9", &["10.8.0.1", "nonsense"], Ok("203.0.113.9")),
            // What the client wrote itself stands to the left of what the proxy added.
            ("10.0.0.7", &["10.8.0.1, 203.0.113.9"], Ok("203.0.113.9")),
            ("10.0.0.7", &["nonsense, 203.0.113.9"], Ok("203.0.113.9")),
            ("10.0.0.7", &["203.0.113.9, 10.0.0.8"], Ok("203.0.113.9")),
            ("::ffff:10.0.0.7", &["::ffff:203.0.113.9"], Ok("203.0.113.9")),
            ("2001:db8::1", &["[2001:db9::7]:443"], Ok("2001:db9::7")),
            ("10.0.0.7", &["203.0.113.9:4711"], Ok("203.0.113.9")),
            ("10.0.0.7", &[], Ok("10.0.0.7")),
            ("10.0.0.7", &["10.0.0.8"], Ok("10.0.0.8")),
            ("10.0.0.7", &["203.0.113.9", "10.8.0.1"], Err(Untold::Repeated)),
            ("10.0.0.7", &["unknown"], Err(Untold::NoAddress)),
            ("10.0.0.7", &[""], Err(Untold::NoAddress)),
            ("10.0.0.7", &["203.0.113.9,"], Err(Untold::NoAddress)),
            ("10.0.0.7", &["nonsense, 10.0.0.8"], Err(Untold::NoAddress)),
        ] {
            assert_eq!(speaker(ip(peer), forwarded, &trusted), speaks.map(ip), "{peer} {forwarded:?}");
        }
        let long = "10.0.0.8, ".repeat(200);
        assert_eq!(speaker(ip("10.0.0.7"), &[&long], &trusted), Err(Untold::Long));
    }

    proptest! {
        #[test]
        fn a_client_never_becomes_another_by_what_it_says(claimed in "[0-9a-f:., ]{0,40}|\\PC{0,20}", own in any::<u32>()) {
            let trusted = networks(&["10.0.0.0/24"]);
            let own = IpAddr::from(own.to_be_bytes());
            prop_assume!(!trusted[0].contains(own));
            prop_assert_eq!(speaker(own, &[&claimed], &trusted), Ok(own));
            let header = format!("{claimed}, {own}");
            prop_assert_eq!(speaker(ip("10.0.0.7"), &[&header], &trusted), Ok(own));
        }
    }
}
