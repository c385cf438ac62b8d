//! Which revision answers whom.
//!
//! A client meets one revision for as long as the weights stand, so that a build does not mix two; more weight for the canary only adds
//! clients to it, and takes none away. Every edge decides alike, because the decision is a function of names alone.

use sha2::{Digest as _, Sha256};

/// The shares that weights are measured in. One in ten thousand is finer than any weight that can be given.
const SHARES: u64 = 10_000;

/// What the weights of a fleet are right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Answers whoever the canary does not.
    pub stable: String,
    /// A revision that is tried, if there is one.
    pub canary: Option<Canary>,
    /// Differs from rollout to rollout, so that it is not always the same clients that try what is new.
    pub salt: String,
}

/// A revision that is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Its name.
    pub revision: String,
    /// How many of a hundred clients it answers. More than 100 is 100.
    pub percent: u8,
}

/// Who asks: the subject of a token where there is one, else the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client<'a> {
    /// Somebody known.
    Subject(&'a str),
    /// Somebody at an address.
    Address(std::net::IpAddr),
}

/// The revision that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// The stable one, through the cache.
    Stable(&'a str),
    /// The canary, past the cache. Where it fails or does not know a module, nginx asks `fallback` in the same request: that one may know it,
    /// and the client must not pay for the trial.
    Canary {
        /// Its name.
        revision: &'a str,
        /// The stable one.
        fallback: &'a str,
    },
}

impl Weights {
    /// Chooses for a client.
    pub fn choose(&self, client: Client<'_>) -> Choice<'_> {
        match &self.canary {
            Some(canary) if share(&self.salt, client) < u64::from(canary.percent) * (SHARES / 100) => {
                Choice::Canary { revision: &canary.revision, fallback: &self.stable }
            }
            _ => Choice::Stable(&self.stable),
        }
    }
}

/// A number below [`SHARES`] that a client keeps for as long as the salt does.
fn share(salt: &str, client: Client<'_>) -> u64 {
    let mut hash = Sha256::new();
    // The length keeps a salt and a client apart from a longer salt and the rest of the client.
    hash.update((salt.len() as u64).to_be_bytes());
    hash.update(salt);
    match client {
        Client::Subject(subject) => {
            hash.update(b"s");
            hash.update(subject);
        }
        Client::Address(address) => {
            hash.update(b"a");
            hash.update(address.to_canonical().to_string());
        }
    }
    let digest = hash.finalize();
    let start = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    start % SHARES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(percent: u8, salt: &str) -> Weights {
        let canary = Some(Canary { revision: "corp-new".to_owned(), percent });
        Weights { stable: "corp-old".to_owned(), canary, salt: salt.to_owned() }
    }

    fn is_canary(choice: Choice<'_>) -> bool {
        matches!(choice, Choice::Canary { .. })
    }

    fn share_of(weights: &Weights) -> usize {
        (0..10_000).filter(|number| is_canary(weights.choose(Client::Subject(&format!("user-{number}"))))).count()
    }

    #[test]
    fn weights_are_met_within_a_percent_of_ten_thousand_clients() {
        for percent in [0, 1, 10, 50, 99, 100] {
            let expected = usize::from(percent) * 100;
            assert!(share_of(&weights(percent, "a")).abs_diff(expected) <= 100, "{percent}");
        }
        assert_eq!(share_of(&weights(0, "a")), 0);
        assert_eq!(share_of(&weights(100, "a")), 10_000);
        assert_eq!(share_of(&weights(200, "a")), 10_000);
    }

    /// Another number here would move clients between revisions while an edge and its successor run side by side.
    #[test]
    fn the_share_of_a_client_is_the_same_in_every_release() {
        let address = Client::Address("192.0.2.7".parse().unwrap());
        assert_eq!(
            [share("r1", Client::Subject("alice")), share("r2", Client::Subject("alice")), share("r1", address)],
            PINNED
        );
    }

    const PINNED: [u64; 3] = [6722, 5512, 4245];

    #[test]
    fn other_clients_try_the_next_rollout() {
        let (one, other) = (weights(10, "one"), weights(10, "two"));
        let both = (0..10_000)
            .map(|number| format!("user-{number}"))
            .filter(|user| {
                is_canary(one.choose(Client::Subject(user))) && is_canary(other.choose(Client::Subject(user)))
            })
            .count();
        // One in a hundred by chance; the same ones would be one in ten.
        assert!((50..200).contains(&both), "{both}");
    }

    proptest! {
        #[test]
        fn more_weight_takes_nobody_away(subject in "\\PC{0,12}", low in 0_u8..=100, high in 0_u8..=100, salt in "[a-z]{0,4}") {
            let (low, high) = (low.min(high), low.max(high));
            let client = Client::Subject(&subject);
            prop_assert!(!is_canary(weights(low, &salt).choose(client)) || is_canary(weights(high, &salt).choose(client)));
        }
    }
}
