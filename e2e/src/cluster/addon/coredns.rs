//! The cluster's name service.

use serde_json::{Value, json};

use crate::cluster::network::Addresses;
use crate::cluster::resolver;
use crate::image::{self, Image};

pub(in crate::cluster) const NAMESPACE: &str = "kube-system";
pub(in crate::cluster) const NAME: &str = "coredns";

pub(in crate::cluster) fn objects(addresses: Addresses) -> Vec<Value> {
    let labels = json!({"k8s-app": "kube-dns"});
    let account = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]);
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": NAMESPACE}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": account,
        }),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE},
            "data": {"Corefile": corefile(&resolver::host_entries())},
        }),
        deployment(&labels),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": NAMESPACE, "labels": labels},
            "spec": {
                "clusterIP": addresses.dns().to_string(), "selector": labels,
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
        }),
    ]
}

fn deployment(labels: &Value) -> Value {
    let container = json!({
        "name": NAME, "image": image::reference(Image::CoreDns), "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "initialDelaySeconds": 30},
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": true}],
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": NAME, "priorityClassName": "system-cluster-critical",
                    // The node's resolver, not the cluster's: it would ask itself.
                    "dnsPolicy": "Default",
                    "containers": [container],
                    "volumes": [{"name": "config", "configMap": {"name": NAME}}],
                },
            },
        },
    })
}

fn corefile(hosts: &[String]) -> String {
    let hosts = if hosts.is_empty() {
        String::new()
    } else {
        format!("    hosts {{\n        {}\n        fallthrough\n    }}\n", hosts.join("\n        "))
    };
    // No answer is kept long: tests change things and look at once.
    format!(
        ".:53 {{\n    errors\n    health {{\n        lameduck 1s\n    }}\n    ready\n{hosts}    \
         kubernetes cluster.local in-addr.arpa ip6.arpa {{\n        pods insecure\n        \
         fallthrough in-addr.arpa ip6.arpa\n        ttl 2\n    }}\n    \
         forward . /etc/resolv.conf\n    cache 5\n    loadbalance\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_machine_come_before_the_cluster_s_names() {
        let text = corefile(&["192.0.2.7 mirror".to_owned()]);
        assert!(text.find("192.0.2.7 mirror").unwrap() < text.find("kubernetes cluster.local").unwrap(), "{text}");
        assert!(!corefile(&[]).contains("hosts"));
    }

    #[test]
    fn braces_of_the_corefile_are_balanced() {
        for hosts in [vec![], vec!["192.0.2.7 mirror".to_owned()]] {
            let text = corefile(&hosts);
            assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
        }
    }
}
