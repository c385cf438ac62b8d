//! What a proxy's pod tells of itself, brought down to what the plan goes by: words and levels, no figures. So a volume that fills
//! byte by byte, or an error that is another one each time, changes nothing until it matters.

use jiff::Timestamp;

use super::steady::steady;
use crate::sidecar::{
    config::Owner,
    report::{Report, VolumeReport},
};

/// What is known of a pod from the inside. A part that its sidecar does not look at is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// How much room its volume has.
    pub room: Option<Room>,
    /// Servers of its lock, by address.
    pub locks: Vec<(String, Answer)>,
    /// Logins, by the host of the Git server. A host with an App and a probe is in it twice, the App first.
    pub logins: Vec<(String, Answer)>,
    /// Whether somebody else uses its bucket.
    pub bucket: Option<Bucket>,
}

/// How much room a volume has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Enough.
    Enough,
    /// It is nearly full.
    Low,
    /// What does not fit is not stored.
    Full,
}

/// Whether something answers as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nobody can say yet.
    Unknown,
    /// It does.
    Yes,
    /// It does not.
    No {
        /// Since when.
        since: Timestamp,
        /// Why, in the words of when it began.
        error: String,
    },
}

/// Whose a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// The fleet's.
    Own,
    /// Somebody else's as well.
    Shared(Box<Owner>),
}

impl Sight {
    /// What is known after a report. What a sidecar does not know yet, because it started again, stays as it was told before.
    pub fn after(before: Option<&Self>, report: &Report) -> Self {
        let nothing = Self::default();
        let before = before.unwrap_or(&nothing);
        let apps = report.github_apps.iter().map(|app| {
            let works = app.error.as_ref().map(|_| false).or_else(|| app.expires.map(|_| true));
            (&app.host, works, app.since, &app.error)
        });
        let probes = report.logins.iter().map(|login| (&login.host, login.works, login.since, &login.error));
        let locks = report.locks.iter().map(|lock| (&lock.address, lock.reachable, lock.since, &lock.error));
        Self {
            room: report.volume.as_ref().and_then(|volume| Room::of(volume, before.room)),
            locks: answers(&before.locks, locks),
            logins: answers(&before.logins, apps.chain(probes)),
            bucket: report.marker.as_ref().and_then(|marker| match (&marker.foreign, &marker.error) {
                (Some(owner), _) => Some(Bucket::Shared(Box::new(owner.clone()))),
                (None, None) => Some(Bucket::Own),
                (None, Some(_)) => before.bucket.clone(),
            }),
        }
    }
}

/// What is told of one thing: its name, whether it answers, since when, and why not.
type Told<'a> = (&'a String, Option<bool>, Timestamp, &'a Option<String>);

/// Each with what was known of the one at the same place, if that is the same.
fn answers<'a>(before: &[(String, Answer)], told: impl Iterator<Item = Told<'a>>) -> Vec<(String, Answer)> {
    let known = |at: usize, name: &str| before.get(at).filter(|(known, _)| known == name).map(|(_, answer)| answer);
    told.enumerate().map(|(at, told)| (told.0.clone(), Answer::after(known(at, told.0), told))).collect()
}

impl Answer {
    fn after(before: Option<&Self>, (_, works, since, error): Told<'_>) -> Self {
        // The API stores whole seconds.
        let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
        match (works, before) {
            (Some(true), _) => Self::Yes,
            (None, Some(before)) => before.clone(),
            (None, None) => Self::Unknown,
            // The next attempt may fail in other words: it is still the same failure.
            (Some(false), Some(Self::No { since: known, error })) if *known <= since => {
                Self::No { since: *known, error: error.clone() }
            }
            (Some(false), _) => Self::No { since, error: steady(error.as_deref().unwrap_or("no answer")) },
        }
    }
}

impl Room {
    /// Nearly full below a tenth, and again with room above three twentieths. Full below a hundredth or 32 MiB, of a small volume a
    /// twentieth, and no more from twice that on. Files are counted like bytes. `None` where nobody has looked yet.
    fn of(volume: &VolumeReport, before: Option<Self>) -> Option<Self> {
        if volume.total_bytes == 0 {
            return before;
        }
        let least = (volume.total_bytes / 100).max((32 << 20).min(volume.total_bytes / 20));
        let bytes = Self::by(volume.free_bytes, volume.total_bytes, least, before);
        let inodes = (volume.total_inodes > 0)
            .then(|| Self::by(volume.free_inodes, volume.total_inodes, volume.total_inodes / 100, before));
        Some(inodes.map_or(bytes, |inodes| inodes.max(bytes)))
    }

    fn by(free: u64, total: u64, least: u64, before: Option<Self>) -> Self {
        let full = if before == Some(Self::Full) { least.saturating_mul(2) } else { least };
        let low = if before.is_some_and(|before| before >= Self::Low) { total / 20 * 3 } else { total / 10 };
        if free < full.max(1) {
            Self::Full
        } else if free < low {
            Self::Low
        } else {
            Self::Enough
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sidecar::report::{GithubAppReport, LockReport, LoginReport, MarkerReport};

    const GIB: u64 = 1 << 30;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn volume(total: u64, free: u64) -> VolumeReport {
        VolumeReport { total_bytes: total, free_bytes: free, ..VolumeReport::default() }
    }

    fn lock(reachable: Option<bool>, since: i64, error: &str) -> Report {
        let error = (!error.is_empty()).then(|| error.to_owned());
        let lock = LockReport { address: "redis:6379".to_owned(), reachable, since: second(since), error };
        Report { locks: vec![lock], ..Report::default() }
    }

    /// The only answer of a row of reports.
    fn in_a_row(reports: &[Report]) -> Answer {
        let mut sight: Option<Sight> = None;
        for report in reports {
            sight = Some(Sight::after(sight.as_ref(), report));
        }
        sight.unwrap().locks.remove(0).1
    }

    fn no(since: i64, error: &str) -> Answer {
        Answer::No { since: second(since), error: error.to_owned() }
    }

    #[test]
    fn levels_of_a_volume() {
        let (low, full, enough) = (Some(Room::Low), Some(Room::Full), Some(Room::Enough));
        for (total, free, before, expected) in [
            (100 * GIB, 10 * GIB, None, enough),
            (100 * GIB, 10 * GIB - 1, None, low),
            (100 * GIB, 15 * GIB - 1, low, low),
            (100 * GIB, 15 * GIB, low, enough),
            (100 * GIB, GIB, None, low),
            (100 * GIB, GIB - 1, None, full),
            (100 * GIB, 2 * GIB - 1, full, full),
            (100 * GIB, 2 * GIB, full, low),
            (GIB, (32 << 20) - 1, None, full),
            (GIB, 32 << 20, None, low),
            // Of a small one, 32 MiB are no small part.
            (64 << 20, 16 << 20, None, enough),
            (64 << 20, 4 << 20, None, low),
            (64 << 20, 3 << 20, None, full),
            (64 << 20, 60 << 20, full, enough),
            (0, 0, None, None),
            (0, 0, low, low),
        ] {
            assert_eq!(Room::of(&volume(total, free), before), expected, "{free} of {total} after {before:?}");
        }
    }

    #[test]
    fn a_volume_that_can_hold_no_more_files_is_full() {
        let of = |free| VolumeReport { total_inodes: 65_536, free_inodes: free, ..volume(GIB, GIB) };
        assert_eq!(Room::of(&of(60_000), None), Some(Room::Enough));
        assert_eq!(Room::of(&of(5_000), None), Some(Room::Low));
        assert_eq!(Room::of(&of(0), None), Some(Room::Full));
        let endless = VolumeReport { total_inodes: 0, free_inodes: 0, ..volume(GIB, GIB) };
        assert_eq!(Room::of(&endless, None), Some(Room::Enough));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The same figures twice are no news, and less room is never a better level.
        #[test]
        fn levels_settle_and_follow_the_room(total in 1u64..1 << 50, free in any::<u64>(), more in any::<u64>()) {
            let free = free % (total + 1);
            let more = free + more % (total - free + 1);
            for before in [None, Some(Room::Enough), Some(Room::Low), Some(Room::Full)] {
                let once = Room::of(&volume(total, free), before);
                prop_assert_eq!(Room::of(&volume(total, free), once), once);
                prop_assert!(Room::of(&volume(total, more), before) <= once);
            }
            prop_assert_eq!(Room::of(&volume(total, 0), None), Some(Room::Full));
            prop_assert_eq!(Room::of(&volume(total, total), Some(Room::Full)), Some(Room::Enough));
        }
    }

    #[test]
    fn a_failure_keeps_its_first_words_and_its_beginning() {
        let refused = lock(Some(false), 100, "connection refused");
        let late = lock(Some(false), 100, "no answer within 3s");
        assert_eq!(in_a_row(&[refused.clone(), late.clone()]), no(100, "connection refused"));
        let again = [refused.clone(), lock(Some(true), 200, ""), lock(Some(false), 300, "no route to host")];
        assert_eq!(in_a_row(&again), no(300, "no route to host"));
        // A sidecar that started again asks anew; what it finds is no news.
        assert_eq!(in_a_row(&[refused.clone(), lock(None, 150, "")]), no(100, "connection refused"));
        assert_eq!(in_a_row(&[refused, lock(Some(false), 160, "timed out")]), no(100, "connection refused"));
        assert_eq!(in_a_row(&[lock(None, 150, "")]), Answer::Unknown);
        assert_eq!(in_a_row(&[lock(Some(true), 1, ""), lock(Some(true), 9, "one miss")]), Answer::Yes);
    }

    #[test]
    fn another_lock_is_not_taken_for_the_one_before() {
        let other = Report {
            locks: vec![LockReport {
                address: "other:6379".to_owned(),
                reachable: None,
                since: second(5),
                error: None,
            }],
            ..Report::default()
        };
        assert_eq!(in_a_row(&[lock(Some(false), 1, "x"), other]), Answer::Unknown);
    }

    #[test]
    fn an_app_works_once_it_has_a_token() {
        let app = |expires: Option<i64>, error: Option<&str>| Report {
            github_apps: vec![GithubAppReport {
                host: "github.com".to_owned(),
                expires: expires.map(second),
                error: error.map(str::to_owned),
                since: second(10),
            }],
            logins: vec![LoginReport {
                host: "github.com".to_owned(),
                module: "github.com/acme/lib".to_owned(),
                works: None,
                since: second(10),
                error: None,
            }],
            ..Report::default()
        };
        let told = |report: &Report| Sight::after(None, report).logins.remove(0).1;
        assert_eq!(told(&app(None, None)), Answer::Unknown);
        assert_eq!(told(&app(Some(99), None)), Answer::Yes);
        // The token in force still works; that no other one comes has to be seen to before it ends.
        assert_eq!(told(&app(Some(99), Some("404"))), no(10, "404"));
        assert_eq!(Sight::after(None, &app(None, None)).logins.len(), 2);
    }

    #[test]
    fn a_bucket_that_cannot_be_asked_stays_whose_it_was() {
        let owner = || Owner {
            cluster: "c".to_owned(),
            namespace: "build".to_owned(),
            name: "corp".to_owned(),
            uid: "u".to_owned(),
        };
        let marker = |foreign, error: Option<&str>| Report {
            marker: Some(MarkerReport { foreign, error: error.map(str::to_owned) }),
            ..Report::default()
        };
        let shared = Sight::after(None, &marker(Some(owner()), None));
        assert_eq!(shared.bucket, Some(Bucket::Shared(Box::new(owner()))));
        assert_eq!(Sight::after(Some(&shared), &marker(None, Some("403"))).bucket, shared.bucket);
        assert_eq!(Sight::after(Some(&shared), &marker(None, None)).bucket, Some(Bucket::Own));
        assert_eq!(Sight::after(None, &marker(None, Some("403"))).bucket, None);
        assert_eq!(Sight::after(Some(&shared), &Report::default()), Sight::default());
    }
}
