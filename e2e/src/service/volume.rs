//! Volumes that several pods may write to at once.
//!
//! They are directories of the node. That shows what pods on one node see of each other's writes and how a claim with
//! `ReadWriteMany` is bound. It does not show what a file server adds: mounts on several nodes, caches between open and
//! close, locks that are lost, a server that hangs or is gone.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::Cluster;

/// What a claim names to get one of the volumes.
pub const CLASS: &str = "lab-shared";

const MANAGER: &str = "goproxy-lab";

/// A storage class with some volumes of it.
#[derive(Debug)]
pub struct Volumes {
    cluster: Cluster,
    directory: PathBuf,
    names: Vec<String>,
}

/// Makes the class and this many volumes of this size. Nothing keeps a volume from growing beyond it.
pub async fn start(cluster: &Cluster, count: usize, size: &str) -> Result<Volumes> {
    let client = cluster.client().await?;
    let directory = cluster.directory().join("services/shared-volumes");
    let parameters = PatchParams::apply(MANAGER).force();
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": CLASS},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    });
    let classes: Api<StorageClass> = Api::all(client.clone());
    classes.patch(CLASS, &parameters, &Patch::Apply(class)).await.context("make the storage class")?;
    let volumes: Api<PersistentVolume> = Api::all(client);
    let mut made = Volumes { cluster: cluster.clone(), directory, names: Vec::new() };
    for index in 0..count {
        let name = format!("{CLASS}-{index}");
        let path = made.directory.join(&name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        // A local volume rather than a path of the host: the kubelet gives it to the group of the pod.
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "storageClassName": CLASS, "capacity": {"storage": size}, "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain", "local": {"path": path},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{
                    "key": "kubernetes.io/hostname", "operator": "In", "values": [cluster.node()],
                }]}]}},
            },
        });
        volumes.patch(&name, &parameters, &Patch::Apply(volume)).await.with_context(|| format!("make {name}"))?;
        made.names.push(name);
    }
    Ok(made)
}

/// A file system of its own in the place of a volume's directory. It is mounted where the cluster's nodes are, and goes with them: nobody else
/// sees it, and its device is given back with the mount.
#[derive(Debug)]
pub struct FileSystem {
    cluster: Cluster,
    path: String,
    image: String,
}

impl FileSystem {
    /// Fills it until so much is left.
    pub async fn leave(&self, size: &str) -> Result<()> {
        let Self { path, .. } = self;
        // What is there already stays: it only ever gets fuller.
        let script = format!(
            "free=$(df --block-size=1 --output=avail {path} | tail -n 1); left=$(numfmt --from=iec {size}); \
             dd if=/dev/zero of={path}/filler-{size} bs=4096 count=$(( (free - left) / 4096 )) status=none; \
             df --block-size=1 --output=avail {path} | tail -n 1"
        );
        let left = self.cluster.run_inside("sh", &["-c", &script], "").await?;
        let most: u64 = 8 << 20;
        let free: u64 = left.trim().parse().with_context(|| format!("df tells no number: {left}"))?;
        ensure!(free < most, "{free} bytes are left");
        Ok(())
    }

    /// Takes away what fills it.
    pub async fn empty(&self) -> Result<()> {
        let script = format!("rm -f {}/filler-*", self.path);
        self.cluster.run_inside("sh", &["-c", &script], "").await.map(drop)
    }

    /// Unmounts it. Pods that use it have to be gone.
    pub async fn close(self) -> Result<()> {
        self.cluster.run_inside("umount", &[&self.path], "").await?;
        fs::remove_file(&self.image).with_context(|| format!("remove {}", self.image))
    }
}

impl Volumes {
    /// Puts a new ext4 of this size in the place of a volume's directory, before any pod uses that.
    pub async fn own_file_system(&self, volume: &str, size: &str) -> Result<FileSystem> {
        let text = |path: PathBuf| path.to_str().map(str::to_owned).context("a path is no text");
        let path = text(self.directory(volume))?;
        let image = text(self.directory.join(format!("{volume}.img")))?;
        let script = format!(
            "truncate -s {size} {image} && mkfs.ext4 -q -m 0 {image} && mount -o loop {image} {path} && rmdir {path}/lost+found"
        );
        self.cluster.run_inside("sh", &["-c", &script], "").await.context("make a file system")?;
        Ok(FileSystem { cluster: self.cluster.clone(), path, image })
    }

    /// Where the files of a volume are, given what the claim says it is bound to.
    pub fn directory(&self, volume: &str) -> PathBuf {
        self.directory.join(volume)
    }

    /// Names of the volumes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Removes class, volumes and files. Pods that use them have to be gone.
    pub async fn close(self) -> Result<()> {
        let client = self.cluster.client().await?;
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        for name in &self.names {
            volumes.delete(name, &DeleteParams::default()).await.with_context(|| format!("delete {name}"))?;
        }
        let classes: Api<StorageClass> = Api::all(client);
        classes.delete(CLASS, &DeleteParams::default()).await.context("delete the storage class")?;
        fs::remove_dir_all(&self.directory).with_context(|| format!("remove {}", self.directory.display()))
    }
}
