//! Which pods answer for which revision.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use serde::{Deserialize, Serialize};

use super::choice::Weights;

/// A pod that takes requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its name, which begins with the name of its revision and a dash.
    pub pod: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Addresses by revision, none of them without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers(BTreeMap<String, BTreeSet<SocketAddr>>);

impl Peers {
    /// The pods of the revisions that are in use. Where a revision has none all of a sudden, those of before stay: nobody is
    /// served by an empty list, and what told of it may be wrong.
    #[must_use]
    pub fn next(&self, endpoints: &BTreeSet<Endpoint>, weights: &Weights) -> Self {
        let canary = weights.canary.as_ref().map(|canary| &canary.revision);
        let revisions = [Some(&weights.stable), canary].into_iter().flatten();
        let of = |revision: &String| {
            let now: BTreeSet<_> = endpoints
                .iter()
                .filter(|endpoint| {
                    endpoint.pod.strip_prefix(revision.as_str()).is_some_and(|rest| rest.starts_with('-'))
                })
                .map(|endpoint| endpoint.address)
                .collect();
            let kept = if now.is_empty() { self.0.get(revision)?.clone() } else { now };
            Some((revision.clone(), kept))
        };
        Self(revisions.filter_map(of).collect())
    }

    /// By the name of the revision.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeSet<SocketAddr>)> {
        self.0.iter().map(|(revision, addresses)| (revision.as_str(), addresses))
    }

    /// Whether anybody answers for this revision.
    pub fn has(&self, revision: &str) -> bool {
        self.0.contains_key(revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::choice::Canary;

    fn endpoints(pods: &[(&str, &str)]) -> BTreeSet<Endpoint> {
        pods.iter()
            .map(|(pod, address)| Endpoint { pod: (*pod).to_owned(), address: address.parse().unwrap() })
            .collect()
    }

    fn shown(peers: &Peers) -> Vec<String> {
        peers.iter().map(|(revision, addresses)| format!("{revision} {addresses:?}")).collect()
    }

    #[test]
    fn each_revision_has_its_own_pods_and_no_other_has_any() {
        let canary = Some(Canary { revision: "corp-2b".to_owned(), percent: 10 });
        let weights = Weights { stable: "corp-2".to_owned(), canary, salt: String::new() };
        let all = endpoints(&[
            ("corp-2-5d-a", "10.0.0.1:3000"),
            ("corp-2-5d-b", "10.0.0.2:3000"),
            ("corp-2b-77-a", "10.0.0.3:3000"),
            ("corp-1-11-a", "10.0.0.4:3000"),
            ("corp-2", "10.0.0.5:3000"),
        ]);
        let peers = Peers::default().next(&all, &weights);
        assert_eq!(shown(&peers), ["corp-2 {10.0.0.1:3000, 10.0.0.2:3000}", "corp-2b {10.0.0.3:3000}"]);
    }

    #[test]
    fn a_list_that_empties_is_not_believed_and_a_revision_that_is_gone_is() {
        let weights = |stable: &str| Weights { stable: stable.to_owned(), canary: None, salt: String::new() };
        let first = Peers::default().next(&endpoints(&[("a-1-x", "10.0.0.1:3000")]), &weights("a"));
        assert_eq!(first.next(&BTreeSet::new(), &weights("a")), first);
        let moved = first.next(&endpoints(&[("a-1-y", "10.0.0.2:3000")]), &weights("a"));
        assert_eq!(shown(&moved), ["a {10.0.0.2:3000}"]);
        assert!(!first.next(&BTreeSet::new(), &weights("b")).has("a"));
    }
}
