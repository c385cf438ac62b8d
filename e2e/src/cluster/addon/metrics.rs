//! Resource metrics, which autoscaling and `kubectl top` read.

use anyhow::Result;
use serde_json::{Value, json};

use super::{find_kind, read_manifest};
use crate::image::{self, Image};
use crate::tools::{self, Family};

pub(in crate::cluster) const NAMESPACE: &str = "kube-system";
pub(in crate::cluster) const NAME: &str = "metrics-server";

/// Where a container finds the cluster's authority, which has signed the kubelet's certificate.
const AUTHORITY: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// The project's own manifests with our image and what its kustomization would add.
pub(in crate::cluster) fn objects() -> Result<Vec<Value>> {
    let base = tools::module_dir(Family::MetricsServer, "sigs.k8s.io/metrics-server")?.join("manifests/base");
    let mut objects = Vec::new();
    for file in ["rbac.yaml", "service.yaml", "deployment.yaml", "apiservice.yaml"] {
        objects.extend(read_manifest(&base.join(file))?);
    }
    let labels = json!({"k8s-app": NAME});
    find_kind(&mut objects, "Service")?["spec"]["selector"] = labels.clone();
    let spec = &mut find_kind(&mut objects, "Deployment")?["spec"];
    spec["selector"] = json!({"matchLabels": labels});
    spec["template"]["metadata"] = json!({"labels": labels});
    let container = &mut spec["template"]["spec"]["containers"][0];
    container["image"] = image::reference(Image::MetricsServer).into();
    container["imagePullPolicy"] = "Never".into();
    container["args"] = json!([
        "--cert-dir=/tmp",
        "--secure-port=10250",
        "--kubelet-preferred-address-types=InternalIP",
        "--kubelet-use-node-status-port",
        format!("--kubelet-certificate-authority={AUTHORITY}"),
        // The shortest that it accepts: tests of autoscaling wait for it.
        "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",
    ]);
    // Nothing else on the machine is known to need these, and two cores are soon given away.
    container["resources"] = json!({"requests": {"cpu": "10m", "memory": "40Mi"}});
    container["readinessProbe"]["initialDelaySeconds"] = 1.into();
    container["readinessProbe"]["periodSeconds"] = 1.into();
    container["readinessProbe"]["failureThreshold"] = 60.into();
    Ok(objects)
}
