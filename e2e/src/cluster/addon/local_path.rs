//! The default storage class: directories of the node, made when a Pod first needs them.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{find_kind, read_manifest};
use crate::image::{self, Image};
use crate::tools::{self, Family};

pub(in crate::cluster) const NAMESPACE: &str = "local-path-storage";
pub(in crate::cluster) const NAME: &str = "local-path-provisioner";

/// The project's own manifest with our images and the cluster's directory for volumes.
pub(in crate::cluster) fn objects(volumes: &str) -> Result<Vec<Value>> {
    let source = tools::module_dir(Family::LocalPathProvisioner, "github.com/rancher/local-path-provisioner")?;
    let mut objects = read_manifest(&source.join("deploy/local-path-storage.yaml"))?;
    let busybox = image::reference(Image::Busybox);

    let container = &mut find_kind(&mut objects, "Deployment")?["spec"]["template"]["spec"]["containers"][0];
    container["image"] = image::reference(Image::LocalPathProvisioner).into();
    container["imagePullPolicy"] = "Never".into();
    container["command"][0] = "/local-path-provisioner".into();
    container["env"].as_array_mut().context("env")?.push(json!({"name": "HELPER_IMAGE", "value": busybox}));

    let data = &mut find_kind(&mut objects, "ConfigMap")?["data"];
    let everywhere = json!({"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [volumes]});
    data["config.json"] = json!({"nodePathMap": [everywhere]}).to_string().into();
    let helper = data["helperPod.yaml"].as_str().context("helperPod.yaml")?;
    let mut helper: Value = serde_saphyr::from_str(helper).context("helperPod.yaml")?;
    helper["spec"]["containers"][0]["image"] = busybox.into();
    helper["spec"]["containers"][0]["imagePullPolicy"] = "Never".into();
    data["helperPod.yaml"] = serde_saphyr::to_string(&helper)?.into();

    find_kind(&mut objects, "StorageClass")?["metadata"]["annotations"] =
        json!({"storageclass.kubernetes.io/is-default-class": "true"});
    Ok(objects)
}
