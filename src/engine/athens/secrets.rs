//! What the pod gets from Secrets: by reference, so that no value passes through the operator.

use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, KeyToPath, ProjectedVolumeSource, SecretKeySelector, SecretProjection, SecretVolumeSource,
    Volume, VolumeMount, VolumeProjection,
};

use super::config;
use crate::{
    engine::contract::LOGIN_DIRECTORY,
    plan::validate::{AzureIdentity, RedisServers, ValidCredential, ValidFleet, ValidLock, ValidRedis, ValidStorage},
};

/// Where the key file of a cloud is mounted.
const CLOUD_DIRECTORY: &str = "/etc/goproxy/cloud";
/// The key file, by its name in the Secret too.
pub const CLOUD_FILE: &str = "key.json";

/// A variable and the key of a Secret that it comes from.
struct FromSecret<'a> {
    variable: &'static str,
    secret: &'a str,
    key: &'static str,
    optional: bool,
}

/// Variables of the engine's container. A Secret without a key that must be there keeps the pod from starting.
pub fn environment(fleet: &ValidFleet) -> Vec<EnvVar> {
    let mut variables = of_storage(&fleet.storage);
    if let ValidLock::Redis(ValidRedis { secret: Some(secret), servers, .. }) = &fleet.lock {
        match servers {
            // Either may be the only one that wants a password.
            RedisServers::Sentinel { .. } => {
                variables.push(FromSecret::optional("ATHENS_REDIS_PASSWORD", secret, "password"));
                variables.push(FromSecret::optional("ATHENS_REDIS_SENTINEL_PASSWORD", secret, "sentinelPassword"));
            }
            RedisServers::One(_) | RedisServers::Cluster(_) => {
                variables.push(FromSecret::required("ATHENS_REDIS_PASSWORD", secret, "password"));
            }
        }
    }
    variables.into_iter().map(FromSecret::variable).chain(plain(&fleet.storage)).collect()
}

fn of_storage(storage: &ValidStorage) -> Vec<FromSecret<'_>> {
    match storage {
        ValidStorage::S3 { secret: Some(secret), .. } => vec![
            FromSecret::required("AWS_ACCESS_KEY_ID", secret, "AWS_ACCESS_KEY_ID"),
            FromSecret::required("AWS_SECRET_ACCESS_KEY", secret, "AWS_SECRET_ACCESS_KEY"),
            FromSecret::optional("AWS_SESSION_TOKEN", secret, "AWS_SESSION_TOKEN"),
        ],
        ValidStorage::AzureBlob { identity: AzureIdentity::Key(secret), .. } => {
            vec![FromSecret::required("ATHENS_AZURE_ACCOUNT_KEY", secret, "accountKey")]
        }
        ValidStorage::Mongo { secret, .. } => vec![FromSecret::required("ATHENS_MONGO_STORAGE_URL", secret, "url")],
        ValidStorage::Minio { secret, .. } => vec![
            FromSecret::required("ATHENS_MINIO_ACCESS_KEY_ID", secret, "accessKey"),
            FromSecret::required("ATHENS_MINIO_SECRET_ACCESS_KEY", secret, "secretKey"),
        ],
        ValidStorage::Memory
        | ValidStorage::Disk { .. }
        | ValidStorage::S3 { secret: None, .. }
        | ValidStorage::Gcs { .. }
        | ValidStorage::AzureBlob { identity: AzureIdentity::Managed(_), .. }
        | ValidStorage::External { .. } => Vec::new(),
    }
}

/// What belongs to a login and is no secret, but can only be said here.
fn plain(storage: &ValidStorage) -> Vec<EnvVar> {
    let variable =
        |name: &str, value: &str| EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() };
    match storage {
        ValidStorage::Mongo { database, collection, .. } => vec![
            variable("ATHENS_MONGO_DEFAULT_DATABASE", database),
            variable("ATHENS_MONGO_DEFAULT_COLLECTION", collection),
        ],
        ValidStorage::Gcs { secret: Some(_), .. } => {
            vec![variable("GOOGLE_APPLICATION_CREDENTIALS", &format!("{CLOUD_DIRECTORY}/{CLOUD_FILE}"))]
        }
        ValidStorage::Memory
        | ValidStorage::Disk { .. }
        | ValidStorage::S3 { .. }
        | ValidStorage::Gcs { secret: None, .. }
        | ValidStorage::AzureBlob { .. }
        | ValidStorage::Minio { .. }
        | ValidStorage::External { .. } => Vec::new(),
    }
}

/// Whether an engine that ended with these last words missed a cloud's key file.
pub fn misses_key_file(message: &str) -> bool {
    let last = message.trim_end().lines().last().unwrap_or_default();
    last.contains(&format!("open {CLOUD_DIRECTORY}/{CLOUD_FILE}: no such file or directory"))
}

/// The volume with a cloud's key file, and where it is mounted.
pub fn key_file(fleet: &ValidFleet) -> Option<(Volume, VolumeMount)> {
    let ValidStorage::Gcs { secret: Some(secret), .. } = &fleet.storage else { return None };
    let item = KeyToPath { key: CLOUD_FILE.to_owned(), path: CLOUD_FILE.to_owned(), ..KeyToPath::default() };
    let volume = Volume {
        name: "cloud".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.clone()),
            items: Some(vec![item]),
            // A pod that waits for a mount says nothing of it in its status. So the engine starts, says which file it misses
            // and ends; and it finds the file at a later start, once there is one.
            optional: Some(true),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let mount = VolumeMount {
        name: "cloud".to_owned(),
        mount_path: CLOUD_DIRECTORY.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    Some((volume, mount))
}

/// Who may read a login: its owner. The kubelet gives the engine's group the same right.
const OWNER_ONLY: i32 = 0o400;

/// The volume with the logins for Git servers, and where it is mounted. It is mounted as a whole: a file by itself would never
/// be updated. A missing Secret does not keep the engine from starting: it serves what it has, and one host is without a login.
pub fn logins(fleet: &ValidFleet) -> Option<(Volume, VolumeMount)> {
    let mounted = fleet.credentials.iter().filter(|one| !config::keys(&one.login).is_empty());
    let logins: Vec<_> = mounted.map(login).collect();
    if logins.is_empty() {
        return None;
    }
    let volume = Volume {
        name: "logins".to_owned(),
        projected: Some(ProjectedVolumeSource { default_mode: Some(OWNER_ONLY), sources: Some(logins) }),
        ..Volume::default()
    };
    let mount = VolumeMount {
        name: "logins".to_owned(),
        mount_path: LOGIN_DIRECTORY.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    Some((volume, mount))
}

/// One host's login.
fn login(credential: &ValidCredential) -> VolumeProjection {
    let item = |key: &&str| KeyToPath {
        key: (*key).to_owned(),
        path: format!("{}/{key}", credential.host),
        ..KeyToPath::default()
    };
    VolumeProjection {
        secret: Some(SecretProjection {
            name: credential.secret.clone(),
            items: Some(config::keys(&credential.login).iter().map(item).collect()),
            optional: Some(true),
        }),
        ..VolumeProjection::default()
    }
}

impl<'a> FromSecret<'a> {
    const fn required(variable: &'static str, secret: &'a str, key: &'static str) -> Self {
        Self { variable, secret, key, optional: false }
    }

    const fn optional(variable: &'static str, secret: &'a str, key: &'static str) -> Self {
        Self { variable, secret, key, optional: true }
    }

    fn variable(self) -> EnvVar {
        let selector = SecretKeySelector {
            name: self.secret.to_owned(),
            key: self.key.to_owned(),
            optional: self.optional.then_some(true),
        };
        EnvVar {
            name: self.variable.to_owned(),
            value_from: Some(EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() }),
            ..EnvVar::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{bucket, locks, places, smallest};

    fn told(fleet: &ValidFleet) -> String {
        let line = |variable: EnvVar| {
            let reference = variable.value_from.and_then(|from| from.secret_key_ref);
            let from = reference.map(|key| {
                let optional = if key.optional == Some(true) { ", if it is there" } else { "" };
                format!("key {} of Secret {}{optional}", key.key, key.name)
            });
            format!("{} = {}", variable.name, from.or(variable.value).unwrap_or_default())
        };
        environment(fleet).into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn logins_come_by_reference() {
        let by_place = places().into_iter().map(|(name, storage)| (name, ValidFleet { storage, ..smallest() }));
        let by_lock =
            locks().into_iter().map(|(name, lock)| (name, ValidFleet { storage: bucket(), lock, ..smallest() }));
        let all: Vec<_> = by_place.chain(by_lock).map(|(name, fleet)| format!("{name}:\n{}", told(&fleet))).collect();
        insta::assert_snapshot!(all.join("\n\n"));
    }

    #[test]
    fn a_key_file_is_mounted_where_the_variable_points() {
        let storage = ValidStorage::Gcs { bucket: "modules".to_owned(), project: None, secret: Some("gcs".to_owned()) };
        let fleet = ValidFleet { storage, ..smallest() };
        let (volume, mount) = key_file(&fleet).unwrap();
        assert_eq!(volume.name, mount.name);
        let path = format!("{}/{CLOUD_FILE}", mount.mount_path);
        assert!(environment(&fleet).iter().any(|variable| variable.value.as_ref() == Some(&path)));
        assert!(key_file(&smallest()).is_none());
        assert_eq!(volume.secret.unwrap().optional, Some(true), "a missing Secret would be told by no pod");
        assert!(misses_key_file(&format!("Could not create App: open {path}: no such file or directory\n")));
        assert!(!misses_key_file(&format!("open {path}: no such file or directory\nkilled")));
    }
}
