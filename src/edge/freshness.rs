//! How long a list of versions, or what a branch stands for, is taken for true.
//!
//! What has not changed for long will most likely not change now: a copy is taken for true for a tenth of the time that it has stood
//! unchanged, within bounds. A module released a minute ago is looked at every few seconds, one that rests for years as rarely as is allowed.

use std::time::Duration;

use super::origin::Moment;

/// The part of its age for which a copy is trusted: what caches of the web do where nobody tells them.
const PART: u32 = 10;

/// Between these two a copy may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At least so long: the origin is not asked more often about one module.
    pub least: Duration,
    /// At most so long.
    pub most: Duration,
}

/// What is known of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When the origin last told it.
    pub told: Moment,
    /// Since when it told the same, as far as is known.
    pub same_since: Moment,
}

/// What is done for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// The copy is served.
    Copy,
    /// The copy is served, and the origin asked behind the client's back.
    CopyAndAsk,
    /// The origin is asked first; the copy, if there is one, is what is left if that fails.
    Ask,
}

impl Kept {
    /// What is known once the origin has told.
    pub fn told(before: Option<Self>, now: Moment, same: bool) -> Self {
        let same_since = before.filter(|_| same).map_or(now, |before| before.same_since);
        Self { told: now, same_since }
    }

    /// For how long after it was told it is trusted.
    pub fn trusted(&self, bounds: Bounds) -> Duration {
        (self.told.since(self.same_since) / PART).min(bounds.most).max(bounds.least)
    }
}

/// Decides for a request. Nobody is served what is older than what is trusted and the longest time together, unless no origin answers: a
/// module that nobody has asked for since yesterday is not served as it was yesterday.
pub fn serve(copy: Option<&Kept>, now: Moment, bounds: Bounds) -> Serve {
    let Some(copy) = copy else { return Serve::Ask };
    let (age, trusted) = (now.since(copy.told), copy.trusted(bounds));
    if age < trusted {
        Serve::Copy
    } else if age < trusted + bounds.most {
        Serve::CopyAndAsk
    } else {
        Serve::Ask
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { least: Duration::from_secs(5), most: Duration::from_mins(5) };

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn a_copy_is_trusted_for_a_tenth_of_the_time_it_stood() {
        for (stood, trusted) in [(0, 5), (49, 5), (100, 10), (1000, 100), (3000, 300), (1_000_000, 300)] {
            let copy = Kept { told: at(stood), same_since: at(0) };
            assert_eq!(copy.trusted(BOUNDS).as_secs(), trusted, "{stood}");
        }
    }

    #[test]
    fn a_change_is_looked_for_soon_again() {
        let first = Kept::told(None, at(0), false);
        let rested = Kept::told(Some(first), at(5000), true);
        assert_eq!(rested.trusted(BOUNDS), BOUNDS.most);
        let changed = Kept::told(Some(rested), at(5300), false);
        assert_eq!(changed.trusted(BOUNDS), BOUNDS.least);
    }

    #[test]
    fn an_old_copy_is_served_once_more_and_a_very_old_one_is_not() {
        let copy = Kept { told: at(1000), same_since: at(0) };
        assert_eq!(serve(Some(&copy), at(1099), BOUNDS), Serve::Copy);
        assert_eq!(serve(Some(&copy), at(1100), BOUNDS), Serve::CopyAndAsk);
        assert_eq!(serve(Some(&copy), at(1399), BOUNDS), Serve::CopyAndAsk);
        assert_eq!(serve(Some(&copy), at(1400), BOUNDS), Serve::Ask);
        assert_eq!(serve(None, at(1400), BOUNDS), Serve::Ask);
    }

    proptest! {
        /// A module that changes as it likes, a client that asks as it likes: while the origin answers, nothing is served that is
        /// older than twice the longest time, and the origin is not asked more often than every `least`.
        #[test]
        fn never_older_than_twice_the_longest_time(steps in prop::collection::vec((1_u64..400, any::<bool>()), 1..80)) {
            let (mut now, mut copy, mut asked) = (0, None::<Kept>, Vec::new());
            for (passed, changed) in steps {
                now += passed;
                let serves = serve(copy.as_ref(), at(now), BOUNDS);
                if let Some(copy) = copy.filter(|_| serves != Serve::Ask) {
                    prop_assert!(at(now).since(copy.told) < BOUNDS.most * 2);
                }
                if serves != Serve::Copy {
                    copy = Some(Kept::told(copy, at(now), !changed));
                    asked.push(now);
                }
            }
            prop_assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= BOUNDS.least.as_secs()));
        }
    }
}
