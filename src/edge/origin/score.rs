//! Which mirror is best: what a fetch from it costs, and an order that changes only for a reason that lasts.

use std::{collections::BTreeMap, time::Duration};

/// The file that mirrors are compared by. Half of all module archives are smaller than a tenth of this, and builds
/// wait for the larger half.
const TYPICAL_BYTES: u64 = 1 << 20;

/// How much a new measurement counts against all before: one in four, so that four rounds forget half of a bad minute.
const NEWEST: u64 = 4;

/// How much better than the mirror before it one must be, in percent. Below that, the next round may say the opposite.
const MARGIN: u64 = 20;

/// For how many rounds in a row.
const ROUNDS: u32 = 3;

/// What a mirror costs that never answers. Finite, so that sums stay in bounds.
const HOPELESS: u64 = 3_600_000;

/// What one probe of a mirror found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It answered.
    Answered {
        /// Until the connection stood.
        connect: Duration,
        /// From the request to the first byte.
        first_byte: Duration,
        /// Bytes a second after that.
        throughput: u64,
        /// Whether its list lacks a version that others have had for a while.
        stale: bool,
    },
    /// It did not, or with something else than was asked for.
    Failed,
}

/// What is known of one mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    millis: u64,
    good_per_mille: u64,
    rounds: u32,
}

/// The order in which mirrors are asked, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranking {
    order: Vec<String>,
    scores: BTreeMap<String, Score>,
    ahead: BTreeMap<(String, String), u32>,
}

impl Score {
    /// From a first probe.
    fn first(probe: Probe) -> Self {
        match millis(probe) {
            Some(millis) => Self { millis, good_per_mille: 1000, rounds: 1 },
            None => Self { millis: 0, good_per_mille: 0, rounds: 1 },
        }
    }

    fn update(&mut self, probe: Probe) {
        let blend = |old: u64, new: u64| (old * (NEWEST - 1) + new) / NEWEST;
        let answered = millis(probe);
        if let Some(millis) = answered {
            self.millis = if self.millis == 0 { millis } else { blend(self.millis, millis) };
        }
        self.good_per_mille = blend(self.good_per_mille, if answered.is_some() { 1000 } else { 0 });
        self.rounds = self.rounds.saturating_add(1);
    }

    /// Milliseconds that a typical fetch takes, with those that have to be repeated because it failed.
    pub fn cost(&self) -> u64 {
        if self.millis == 0 || self.good_per_mille < 10 {
            return HOPELESS;
        }
        (self.millis * 1000 / self.good_per_mille).min(HOPELESS)
    }

    /// Out of a thousand probes, how many were answered, the newest counting most.
    pub fn good_per_mille(&self) -> u64 {
        self.good_per_mille
    }
}

/// What a typical fetch would take by this probe. A mirror that lags behind counts double: it answers, and with yesterday's news.
fn millis(probe: Probe) -> Option<u64> {
    match probe {
        Probe::Answered { connect, first_byte, throughput, stale } => {
            let waiting = u64::try_from((connect + first_byte).as_millis()).unwrap_or(HOPELESS);
            let reading = TYPICAL_BYTES * 1000 / throughput.max(1);
            let all = waiting.saturating_add(reading).clamp(1, HOPELESS);
            Some(if stale { all * 2 } else { all })
        }
        Probe::Failed => None,
    }
}

impl Ranking {
    /// Mirrors in the order of the spec: those that are known keep their place among each other, new ones go to the end until they have
    /// shown what they are worth.
    pub fn mirrors(&mut self, names: &[String]) {
        self.order.retain(|name| names.contains(name));
        self.scores.retain(|name, _| names.contains(name));
        self.ahead.retain(|(one, other), _| names.contains(one) && names.contains(other));
        for name in names {
            if !self.order.contains(name) {
                self.order.push(name.clone());
            }
        }
    }

    /// One round of probes. Whoever was clearly better than the mirror before it for some rounds in a row passes it; one
    /// place a round, so that no single measurement turns everything around.
    pub fn round(&mut self, probes: &BTreeMap<String, Probe>) {
        for (name, probe) in probes.iter().filter(|(name, _)| self.order.contains(name)) {
            self.scores
                .entry(name.clone())
                .and_modify(|score| score.update(*probe))
                .or_insert_with(|| Score::first(*probe));
        }
        let mut streaks = BTreeMap::new();
        let mut place = 1;
        while place < self.order.len() {
            let pair = (self.order[place - 1].clone(), self.order[place].clone());
            let newest = |name: &str| probes.get(name).map(|probe| millis(*probe).unwrap_or(HOPELESS));
            // Both the memory and the newest measurement must say so: one bad minute is remembered for many rounds.
            let better = self.is_clearly_better(&pair.1, &pair.0) && is_clearly_less(newest(&pair.1), newest(&pair.0));
            let streak = if better { self.ahead.get(&pair).copied().unwrap_or(0) + 1 } else { 0 };
            if streak >= ROUNDS {
                self.order.swap(place - 1, place);
                // The one that fell back is not compared again in this round.
                place += 1;
            } else if streak > 0 {
                streaks.insert(pair, streak);
            }
            place += 1;
        }
        self.ahead = streaks;
    }

    fn is_clearly_better(&self, one: &str, other: &str) -> bool {
        is_clearly_less(self.scores.get(one).map(Score::cost), self.scores.get(other).map(Score::cost))
    }

    /// Names, best first.
    pub fn order(&self) -> &[String] {
        &self.order
    }

    /// What is known of a mirror.
    pub fn score(&self, name: &str) -> Option<&Score> {
        self.scores.get(name)
    }
}

/// Nobody passes, or is passed, unmeasured.
fn is_clearly_less(one: Option<u64>, other: Option<u64>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one * 100 < other * (100 - MARGIN))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(letters: &str) -> Vec<String> {
        letters.chars().map(String::from).collect()
    }

    fn answered(millis: u64) -> Probe {
        Probe::Answered {
            connect: Duration::ZERO,
            first_byte: Duration::from_millis(millis),
            throughput: u64::MAX,
            stale: false,
        }
    }

    fn ranking(letters: &str) -> Ranking {
        let mut ranking = Ranking::default();
        ranking.mirrors(&names(letters));
        ranking
    }

    fn probes(of: &[(&str, Probe)]) -> BTreeMap<String, Probe> {
        of.iter().map(|(name, probe)| ((*name).to_owned(), *probe)).collect()
    }

    #[test]
    fn the_better_one_passes_after_three_rounds() {
        let mut ranking = ranking("ab");
        let round = probes(&[("a", answered(200)), ("b", answered(100))]);
        for expected in ["ab", "ab", "ba", "ba", "ba"] {
            ranking.round(&round);
            assert_eq!(ranking.order(), names(expected));
        }
    }

    #[test]
    fn a_single_bad_round_changes_nothing() {
        let mut ranking = ranking("ab");
        for round in 0..40 {
            let a = if round % 8 == 7 { answered(300) } else { answered(100) };
            ranking.round(&probes(&[("a", a), ("b", answered(100))]));
            assert_eq!(ranking.order(), names("ab"), "round {round}");
        }
    }

    #[test]
    fn failures_slowness_and_old_news_all_cost() {
        let cost = |rounds: &[Probe]| {
            let mut ranking = ranking("a");
            for probe in rounds {
                ranking.round(&probes(&[("a", *probe)]));
            }
            ranking.score("a").unwrap().cost()
        };
        let slow = Probe::Answered {
            connect: Duration::ZERO,
            first_byte: Duration::from_millis(100),
            throughput: 1 << 20,
            stale: false,
        };
        let stale = Probe::Answered {
            connect: Duration::ZERO,
            first_byte: Duration::from_millis(100),
            throughput: u64::MAX,
            stale: true,
        };
        assert_eq!(cost(&[answered(100)]), 100);
        assert_eq!(cost(&[slow]), 1100);
        assert_eq!(cost(&[stale]), 200);
        assert_eq!(cost(&[answered(100), Probe::Failed]), 133);
        assert_eq!(cost(&[Probe::Failed]), HOPELESS);
        assert!(cost(&[Probe::Failed, answered(100)]) < HOPELESS);
    }

    #[test]
    fn who_is_not_measured_neither_passes_nor_is_passed() {
        let mut ranking = ranking("ab");
        for _ in 0..9 {
            ranking.round(&probes(&[("b", answered(1))]));
        }
        assert_eq!(ranking.order(), names("ab"));
    }

    #[test]
    fn mirrors_come_and_go_without_disturbing_the_rest() {
        let mut ranking = ranking("ab");
        for _ in 0..3 {
            ranking.round(&probes(&[("a", answered(200)), ("b", answered(100))]));
        }
        ranking.mirrors(&names("abc"));
        assert_eq!(ranking.order(), names("bac"));
        ranking.mirrors(&names("ac"));
        assert_eq!(ranking.order(), names("ac"));
        assert_eq!(ranking.score("b"), None);
    }

    proptest! {
        /// Differences below the margin never change the order, whatever they do from round to round.
        #[test]
        fn noise_changes_nothing(rounds in prop::collection::vec(prop::collection::vec(90_u64..=110, 3), 1..60)) {
            let mut ranking = ranking("abc");
            for costs in rounds {
                ranking.round(&names("abc").into_iter().zip(costs.into_iter().map(answered)).collect());
                prop_assert_eq!(ranking.order(), names("abc"));
            }
        }

        /// Under steady conditions the order settles, nobody stands behind somebody clearly worse, and it stays.
        #[test]
        fn a_steady_world_has_a_steady_order(costs in prop::collection::vec(1_u64..2000, 1..6)) {
            let all: Vec<_> = (0..costs.len()).map(|number| format!("m{number}")).collect();
            let mut ranking = Ranking::default();
            ranking.mirrors(&all);
            let round: BTreeMap<_, _> = all.iter().cloned().zip(costs.iter().copied().map(answered)).collect();
            for _ in 0..100 {
                ranking.round(&round);
            }
            let settled = ranking.order().to_vec();
            for pair in settled.windows(2) {
                prop_assert!(!ranking.is_clearly_better(&pair[1], &pair[0]));
            }
            for _ in 0..20 {
                ranking.round(&round);
                prop_assert_eq!(ranking.order(), &settled[..]);
            }
            let mut sorted = settled;
            sorted.sort();
            prop_assert_eq!(sorted, all);
        }
    }
}
