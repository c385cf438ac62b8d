//! Configuration files of the components, rendered from values.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::network::Addresses;
use super::pki::Pki;

/// What the files of one cluster are made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Name of its node.
    pub node: &'a str,
    /// Directory of the cluster.
    pub directory: &'a Path,
    /// Its addresses.
    pub addresses: Addresses,
    /// Its certificates.
    pub pki: &'a Pki,
    /// Image of the container that holds a Pod's namespaces.
    pub pause_image: &'a str,
    /// Largest packet that leaves the machine unsplit.
    pub mtu: u64,
}

impl Inputs<'_> {
    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }

    /// Address of the container runtime, as the kubelet and `ctr` want it.
    pub fn containerd_socket(&self) -> String {
        self.path("containerd.sock")
    }
}

/// Writes a value as YAML.
pub fn write_yaml(path: &Path, value: &Value) -> Result<()> {
    let text = serde_saphyr::to_string(value).with_context(|| format!("cannot render {}", path.display()))?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Every request is noted once, when it is answered: tests count who wrote what.
pub fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    })
}

/// The kubelet's configuration. The disk is shared with everything else on the machine, so its level evicts nothing.
pub fn kubelet(inputs: &Inputs<'_>) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": inputs.pki.path("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", pod_cgroup(inputs.cluster)),
        "clusterDNS": [inputs.addresses.dns().to_string()],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{}", inputs.containerd_socket()),
        "evictionHard": {
            "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%",
        },
        "failCgroupV1": false,
        "failSwapOn": false,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxPods": 250,
        "podLogsDir": inputs.path("pod-logs"),
        "readOnlyPort": 0,
        "registryPullQPS": 0,
        "resolvConf": inputs.path("resolv.conf"),
        "serializeImagePulls": false,
        "tlsCertFile": inputs.pki.path("kubelet.crt"),
        "tlsPrivateKeyFile": inputs.pki.path("kubelet.key"),
        "volumePluginDir": inputs.path("volume-plugins"),
    })
}

/// The group that the kubelet puts pods under.
pub fn pod_cgroup(cluster: &str) -> String {
    format!("{}/{cluster}/pods", super::cgroup::ROOT)
}

/// The service proxy's configuration: no limits of its own for connection tracking, which is the whole machine's.
pub fn kube_proxy(inputs: &Inputs<'_>) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": inputs.path("kubeconfigs/kube-proxy")},
        "clusterCIDR": inputs.addresses.pods(),
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "hostnameOverride": inputs.node,
        "mode": "nftables",
        "nodePortAddresses": ["0.0.0.0/0"],
    })
}

/// The container runtime's configuration. Every path is the cluster's own.
pub fn containerd(inputs: &Inputs<'_>) -> Result<String> {
    let value = json!({
        "version": 2,
        "root": inputs.path("containerd"),
        "state": "/run/containerd/state",
        "grpc": {"address": inputs.containerd_socket()},
        "disabled_plugins": ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"],
        "plugins": {
            "io.containerd.internal.v1.opt": {"path": inputs.path("opt")},
            "io.containerd.grpc.v1.cri": {
                "sandbox_image": inputs.pause_image,
                // Raising a process's importance needs a capability that machines like this one lack.
                "restrict_oom_score_adj": true,
                "disable_tcp_service": true,
                "tolerate_missing_hugetlb_controller": true,
                "containerd": {
                    "snapshotter": "overlayfs",
                    "runtimes": {"runc": {"runtime_type": "io.containerd.runc.v2", "options": {"SystemdCgroup": false}}},
                },
                // Registries that need other settings than encryption with public authorities have a directory here.
                "registry": {"config_path": inputs.path("registries")},
                "cni": {"bin_dir": "/usr/lib/cni", "conf_dir": inputs.path("cni")},
            },
        },
    });
    toml::to_string(&value).context("cannot render the container runtime's configuration")
}

/// Pod networking: a bridge, with masquerade for what leaves the cluster.
pub fn cni(inputs: &Inputs<'_>) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "lab",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "mtu": inputs.mtu,
                "ipam": {
                    "type": "host-local", "dataDir": inputs.path("cni-addresses"),
                    "ranges": [[{"subnet": inputs.addresses.pods()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_inputs(check: impl FnOnce(&Inputs<'_>)) {
        let directory = tempfile::tempdir().unwrap();
        let addresses = Addresses::of(2).unwrap();
        let pki = Pki::create(&directory.path().join("pki"), "node-b", addresses).unwrap();
        check(&Inputs {
            cluster: "b",
            node: "node-b",
            directory: directory.path(),
            addresses,
            pki: &pki,
            pause_image: "lab/pause:1",
            mtu: 1400,
        });
    }

    #[test]
    fn the_runtime_configuration_is_toml_with_the_cluster_s_own_paths() {
        with_inputs(|inputs| {
            let text = containerd(inputs).unwrap();
            let read: toml::Table = toml::from_str(&text).unwrap();
            let cri = &read["plugins"]["io.containerd.grpc.v1.cri"];
            assert_eq!(cri["sandbox_image"].as_str(), Some("lab/pause:1"));
            assert_eq!(cri["restrict_oom_score_adj"].as_bool(), Some(true));
            assert!(read["root"].as_str().unwrap().starts_with(inputs.directory.to_str().unwrap()));
        });
    }

    #[test]
    fn the_kubelet_puts_pods_below_the_lab_s_control_group() {
        with_inputs(|inputs| {
            let value = kubelet(inputs);
            assert_eq!(value["cgroupRoot"], "/goproxy-lab/b/pods");
            assert_eq!(value["clusterDNS"][0], "10.97.0.10");
            assert_eq!(value["failCgroupV1"], false);
        });
    }

    #[test]
    fn yaml_is_read_back_as_the_same_value() {
        with_inputs(|inputs| {
            let path = inputs.directory.join("kubelet.yaml");
            write_yaml(&path, &kubelet(inputs)).unwrap();
            let read: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            assert_eq!(read, kubelet(inputs));
        });
    }
}
