//! What the sidecar knows: the JSON behind `/report`, which the operator asks for.
//!
//! It is written by the sidecar of one release and read by the operator of another, so a reader passes over members that it does not
//! know and takes a missing part for one that is not done. Texts in it come from others: they are short, and free of logins
//! ([`super::words`]).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::Owner;

/// All that a sidecar tells. A part that it was not told to do is left out.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeReport>,
    /// The servers of the lock, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<LockReport>,
    /// The logins, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<LoginReport>,
    /// The GitHub Apps, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub github_apps: Vec<GithubAppReport>,
    /// The marker in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<MarkerReport>,
}

/// What is known of a volume.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeReport {
    /// Its size. 0 until it was looked at.
    pub total_bytes: u64,
    /// What the engine may still write.
    pub free_bytes: u64,
    /// How many files it can hold. 0 where its file system sets no limit.
    pub total_inodes: u64,
    /// How many more files it can hold.
    pub free_inodes: u64,
    /// Broken versions that were removed since the sidecar started.
    pub removed: u64,
    /// Why the newest look at it did not come to its end.
    pub error: Option<String>,
}

/// What is known of a server of the lock.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LockReport {
    /// Host and port.
    pub address: String,
    /// Whether it answers. `None` until it was asked often enough to say.
    pub reachable: Option<bool>,
    /// Since when that is so.
    pub since: Timestamp,
    /// Why the newest question was not answered.
    pub error: Option<String>,
}

/// What is known of a login.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LoginReport {
    /// The Git server.
    pub host: String,
    /// The module that was asked for.
    pub module: String,
    /// Whether the engine got an answer there. `None` while the engine itself did not answer yet.
    pub works: Option<bool>,
    /// Since when that is so.
    pub since: Timestamp,
    /// What the engine said instead.
    pub error: Option<String>,
}

/// What is known of a GitHub App.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GithubAppReport {
    /// The Git server.
    pub host: String,
    /// When the newest token ends. `None` until there is one.
    pub expires: Option<Timestamp>,
    /// Why the newest attempt got no token.
    pub error: Option<String>,
    /// Since when attempts fail, or since when they succeed.
    pub since: Timestamp,
}

/// What is known of the marker in a bucket.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MarkerReport {
    /// Who else says that the bucket is theirs.
    pub foreign: Option<Owner>,
    /// Why the marker could not be read or written.
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_is_as_it_is_documented() {
        let since: Timestamp = "2026-05-04T03:02:01Z".parse().unwrap();
        let report = Report {
            volume: Some(VolumeReport {
                total_bytes: 10,
                free_bytes: 4,
                total_inodes: 7,
                free_inodes: 6,
                removed: 3,
                error: None,
            }),
            locks: vec![LockReport {
                address: "redis:6379".to_owned(),
                reachable: Some(false),
                since,
                error: Some("connection refused".to_owned()),
            }],
            logins: vec![LoginReport {
                host: "git.example.com".to_owned(),
                module: "git.example.com/team/lib".to_owned(),
                works: None,
                since,
                error: None,
            }],
            github_apps: vec![GithubAppReport {
                host: "github.com".to_owned(),
                expires: Some(since),
                error: None,
                since,
            }],
            marker: Some(MarkerReport { foreign: None, error: None }),
        };
        let expected = json!({
            "volume": { "totalBytes": 10, "freeBytes": 4, "totalInodes": 7, "freeInodes": 6, "removed": 3, "error": null },
            "locks": [ { "address": "redis:6379", "reachable": false, "since": "2026-05-04T03:02:01Z", "error": "connection refused" } ],
            "logins": [ {
                "host": "git.example.com", "module": "git.example.com/team/lib", "works": null, "since": "2026-05-04T03:02:01Z",
                "error": null
            } ],
            "githubApps": [ { "host": "github.com", "expires": "2026-05-04T03:02:01Z", "error": null, "since": "2026-05-04T03:02:01Z" } ],
            "marker": { "foreign": null, "error": null },
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
        assert_eq!(serde_json::from_value::<Report>(expected).unwrap(), report);
    }

    #[test]
    fn a_reader_takes_what_another_release_wrote() {
        assert_eq!(serde_json::from_value::<Report>(json!({})).unwrap(), Report::default());
        let newer = json!({ "volume": { "totalBytes": 1, "freeBytes": 1, "totalInodes": 0, "freeInodes": 0, "removed": 0, "age": 2 }, "more": [] });
        assert_eq!(serde_json::from_value::<Report>(newer).unwrap().volume.unwrap().total_bytes, 1);
    }
}
