//! The object in a bucket that says whose it is.
//!
//! The operator of one cluster sees to it that no two of its fleets share a bucket; of another cluster it knows nothing. The pods have the
//! bucket's keys, so they leave a small object there and look whether somebody else's is there. Nothing follows from it by itself:
//! the engine goes on, and people are told.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time;

use super::{
    board::Board,
    config::{Marker, Owner},
    report::MarkerReport,
    s3::{self, Condition, Found, S3Error},
    words,
};
use crate::backoff::chance;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(600);

/// Age at which an owner writes its marker anew.
const RENEW: SignedDuration = SignedDuration::from_secs(3600);

/// Age at which an owner is believed to be gone. Two renewals may fail before that.
const GONE: SignedDuration = SignedDuration::from_secs(3 * 3600);

/// What a marker holds. Members that are added later are passed over.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// Whose the bucket is.
    #[serde(flatten)]
    owner: Claimed,
    /// When it last said so.
    seen_at: Timestamp,
}

/// An owner as it stands in a bucket. Not [`Owner`] itself: that one is strict, and an operator of a later release may say more.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
struct Claimed {
    cluster: String,
    namespace: String,
    name: String,
    uid: String,
}

impl From<&Owner> for Claimed {
    fn from(owner: &Owner) -> Self {
        let Owner { cluster, namespace, name, uid } = owner.clone();
        Self { cluster, namespace, name, uid }
    }
}

impl Claimed {
    /// As it may be told: what stands in a bucket was written by anybody who has its keys.
    fn told(self) -> Owner {
        let Self { cluster, namespace, name, uid } = self;
        let [cluster, namespace, name, uid] = [cluster, namespace, name, uid].map(|text| words::told(&text));
        Owner { cluster, namespace, name, uid }
    }
}

/// What is done about a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// There is none: write ours.
    Create,
    /// It is ours and old, or somebody's who is gone: write ours in its place, if it still has this mark.
    Replace(String),
    /// It is ours and new.
    Rest,
    /// It is somebody else's, who is there.
    Foreign(Owner),
    /// It is no marker. It is not touched.
    Unknown,
}

/// What to do about what was found.
pub fn decide(found: Option<&Found>, me: &Owner, now: Timestamp) -> Act {
    let Some(found) = found else { return Act::Create };
    let Ok(Written { owner, seen_at }) = serde_json::from_slice::<Written>(&found.body) else { return Act::Unknown };
    let age = now.duration_since(seen_at);
    let mine = owner.cluster == me.cluster && owner.uid == me.uid;
    let replaced = age >= if mine { RENEW } else { GONE };
    match (replaced, mine) {
        (true, _) => Act::Replace(found.tag.clone()),
        (false, true) => Act::Rest,
        (false, false) => Act::Foreign(owner.told()),
    }
}

/// Looks after the marker for as long as the program runs.
pub async fn watch(marker: Marker, board: Arc<Board>) {
    board.note(|report| report.marker = Some(MarkerReport::default()));
    let mut known = MarkerReport::default();
    loop {
        let report = match look(&marker).await {
            Ok(foreign) => MarkerReport { foreign, error: None },
            // Whoever was there is believed to be there still.
            Err(error) => MarkerReport { error: Some(words::told(&error)), ..known.clone() },
        };
        if report != known {
            let owner =
                report.foreign.as_ref().map(|owner| format!("{}/{} of {}", owner.namespace, owner.name, owner.cluster));
            if report == MarkerReport::default() {
                tracing::info!("the bucket is ours again");
            } else {
                tracing::warn!(owner, error = report.error, "the bucket is not known to be ours alone");
            }
        }
        known = report;
        board.note(|report| report.marker = Some(known.clone()));
        // The pods of a fleet started together; one of them is enough to renew.
        time::sleep(EVERY.mul_f64(0.75 + 0.5 * chance())).await;
    }
}

/// One look. Returns who else is there.
async fn look(marker: &Marker) -> Result<Option<Owner>, String> {
    let Marker { s3: bucket, object, owner } = marker;
    let failed = |error: S3Error| error.to_string();
    let now = Timestamp::now();
    let found = s3::read(bucket, object).await.map_err(failed)?;
    let act = decide(found.as_ref(), owner, now);
    let condition = match &act {
        Act::Create => Condition::Absent,
        Act::Replace(tag) => Condition::Tagged(tag),
        Act::Rest => return Ok(None),
        Act::Foreign(other) => return Ok(Some(other.clone())),
        Act::Unknown => return Err(unknown(object)),
    };
    let written = Written { owner: owner.into(), seen_at: now };
    let body = serde_json::to_vec(&written).map_err(|error| error.to_string())?;
    if s3::write(bucket, object, body, condition).await.map_err(failed)? {
        return Ok(None);
    }
    // Another pod of ours was faster, or a stranger. Which of them, the object tells.
    let found = s3::read(bucket, object).await.map_err(failed)?;
    match decide(found.as_ref(), owner, now) {
        Act::Foreign(other) => Ok(Some(other)),
        // Another pod of ours wrote it; or it is gone or stale again, which the next look sees to.
        Act::Rest | Act::Create | Act::Replace(_) => Ok(None),
        Act::Unknown => Err(unknown(object)),
    }
}

fn unknown(object: &str) -> String {
    format!("{object} is there and is no marker: remove it if nobody needs it")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owner(cluster: &str, uid: &str) -> Owner {
        let [cluster, uid] = [cluster, uid].map(str::to_owned);
        Owner { cluster, namespace: "team".to_owned(), name: "corp".to_owned(), uid }
    }

    fn found(cluster: &str, uid: &str, seen_at: i64) -> Found {
        let seen_at = Timestamp::from_second(seen_at).unwrap();
        let body = json!({ "cluster": cluster, "namespace": "team", "name": "corp", "uid": uid, "seenAt": seen_at, "later": 1 });
        Found { body: body.to_string().into_bytes(), tag: "\"t\"".to_owned() }
    }

    #[test]
    fn a_bucket_is_ours_somebody_elses_or_nobodys() {
        let me = owner("c-1", "u-1");
        let now = Timestamp::from_second(100_000).unwrap();
        let replace = || Act::Replace("\"t\"".to_owned());
        let table = [
            (None, Act::Create),
            (Some(found("c-1", "u-1", 99_000)), Act::Rest),
            (Some(found("c-1", "u-1", 96_400)), replace()),
            (Some(found("c-1", "u-2", 99_000)), Act::Foreign(owner("c-1", "u-2"))),
            (Some(found("c-2", "u-1", 99_000)), Act::Foreign(owner("c-2", "u-1"))),
            (Some(found("c-2", "u-1", 89_201)), Act::Foreign(owner("c-2", "u-1"))),
            (Some(found("c-2", "u-1", 89_200)), replace()),
            // A clock that is ahead.
            (Some(found("c-2", "u-1", 200_000)), Act::Foreign(owner("c-2", "u-1"))),
            (Some(Found { body: b"hello".to_vec(), tag: String::new() }), Act::Unknown),
            (Some(Found { body: b"{}".to_vec(), tag: String::new() }), Act::Unknown),
        ];
        for (found, expected) in table {
            assert_eq!(decide(found.as_ref(), &me, now), expected, "{found:?}");
        }
    }

    #[test]
    fn what_we_write_is_what_we_read() {
        let now = Timestamp::from_second(0).unwrap();
        let me = owner("c-1", "u-1");
        let body = serde_json::to_vec(&Written { owner: (&me).into(), seen_at: now }).unwrap();
        assert_eq!(decide(Some(&Found { body, tag: String::new() }), &me, now), Act::Rest);
    }
}
