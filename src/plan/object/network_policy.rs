//! What the engine's pods may talk to.

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{EDGE_ONLY_ANNOTATION, Kind, Object, edge, fleet_labels, metadata, pod::selector};
use crate::{
    engine::contract::{self, sidecar},
    plan::validate::{AzureIdentity, ValidFleet, ValidStorage},
};

/// Networks that lead to services of the node or of the cloud, where credentials are handed out: an engine that was talked
/// into fetching from there could give them away. The last one is where a cloud serves them over IPv6.
pub const FORBIDDEN_V4: [&str; 1] = ["169.254.0.0/16"];
/// The same for IPv6.
pub const FORBIDDEN_V6: [&str; 2] = ["fe80::/10", "fd00:ec2::254/128"];

/// Where nodes of AWS, Google Cloud and Azure hand out tokens. AWS does so over IPv6 as well.
const INSTANCE: &str = "169.254.169.254/32";
const INSTANCE_V6: &str = "fd00:ec2::254/128";
/// Where an agent on nodes of EKS hands out the tokens of its Pod Identities. Its IPv6 address is among none of the above.
const POD_IDENTITY: &str = "169.254.170.23/32";
/// Where nodes of GKE take over questions for tokens, at a port of its own.
const GKE: &str = "169.254.169.252/32";

/// In: the one port, from anywhere, unless clients come through an edge: then from nobody else; and that of the sidecar, from within the
/// cluster. Out: names, and whatever is
/// not node-local, because modules may live on any host. And where the pod's own identity opens the storage, the services
/// that hand out its tokens, and nothing else of the node.
pub fn build(fleet: &ValidFleet, edge_only: bool) -> Object {
    let name = fleet.name.engine();
    let edge = || NetworkPolicyPeer {
        pod_selector: Some(selector(edge::pod_labels(&fleet.name))),
        ..NetworkPolicyPeer::default()
    };
    let mut metadata = metadata(fleet, &name);
    metadata.annotations = edge_only.then(|| [(EDGE_ONLY_ANNOTATION.to_owned(), "true".to_owned())].into());
    let clients = NetworkPolicyIngressRule {
        ports: Some(vec![port("TCP", Some(contract::PORT))]),
        from: edge_only.then(|| vec![edge()]),
    };
    let policy = NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(fleet_labels(fleet))),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some([clients].into_iter().chain(sidecar::is_wanted(fleet).then(reports)).collect()),
            egress: Some([names(), elsewhere()].into_iter().chain(tokens(&fleet.storage)).collect()),
        }),
    };
    Object::new(Kind::NetworkPolicy, &name, &policy)
}

/// Whoever asks the sidecar comes from a pod of the cluster: which one is the operator's, nobody here knows. There is no secret in what
/// it tells.
fn reports() -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        ports: Some(vec![port("TCP", Some(sidecar::PORT))]),
        from: Some(vec![NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        }]),
    }
}

/// Name servers may be node-local.
pub(super) fn names() -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        ports: Some(vec![port("UDP", Some(53)), port("TCP", Some(53))]),
        ..NetworkPolicyEgressRule::default()
    }
}

/// Anything that is not node-local.
pub(super) fn elsewhere() -> NetworkPolicyEgressRule {
    let all_but = |cidr: &str, except: &[&str]| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: Some(except.iter().copied().map(str::to_owned).collect()),
        }),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicyEgressRule {
        ports: Some(vec![port("TCP", None)]),
        to: Some(vec![all_but("0.0.0.0/0", &FORBIDDEN_V4), all_but("::/0", &FORBIDDEN_V6)]),
    }
}

/// Only where no Secret holds a login: an engine that was talked into asking there could give its token away.
fn tokens(storage: &ValidStorage) -> Vec<NetworkPolicyEgressRule> {
    let at = |cidrs: &[&str], number: u16| {
        let peer = |cidr: &&str| NetworkPolicyPeer {
            ip_block: Some(IPBlock { cidr: (*cidr).to_owned(), except: None }),
            ..NetworkPolicyPeer::default()
        };
        NetworkPolicyEgressRule {
            ports: Some(vec![port("TCP", Some(number))]),
            to: Some(cidrs.iter().map(peer).collect()),
        }
    };
    match storage {
        ValidStorage::S3 { secret: None, .. } => vec![at(&[INSTANCE, INSTANCE_V6, POD_IDENTITY], 80)],
        ValidStorage::Gcs { secret: None, .. } => vec![at(&[INSTANCE], 80), at(&[GKE], 988)],
        ValidStorage::AzureBlob { identity: AzureIdentity::Managed(_), .. } => vec![at(&[INSTANCE], 80)],
        ValidStorage::Memory
        | ValidStorage::Disk { .. }
        | ValidStorage::S3 { secret: Some(_), .. }
        | ValidStorage::Gcs { secret: Some(_), .. }
        | ValidStorage::AzureBlob { identity: AzureIdentity::Key(_), .. }
        | ValidStorage::Mongo { .. }
        | ValidStorage::Minio { .. }
        | ValidStorage::External { .. } => Vec::new(),
    }
}

/// A port, or all of them.
pub(super) fn port(protocol: &str, number: Option<u16>) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: number.map(|number| IntOrString::Int(i32::from(number))),
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::fixture::{assert_as_stored, bucket, places, smallest};

    fn egress(storage: ValidStorage) -> Vec<Value> {
        let built = build(&ValidFleet { storage, ..smallest() }, false);
        assert_as_stored(&built);
        built.body["spec"]["egress"].as_array().unwrap().clone()
    }

    #[test]
    fn services_of_the_node_are_open_only_where_the_pod_s_own_identity_counts() {
        let ValidStorage::S3 { bucket, region, endpoint, path_style, .. } = bucket() else { panic!("no bucket") };
        let by_role = ValidStorage::S3 { bucket, region, endpoint, path_style, secret: None };
        let workload = ValidStorage::Gcs { bucket: "modules".to_owned(), project: None, secret: None };
        let closed = egress(ValidStorage::Memory);
        assert_eq!(closed[1]["to"][0]["ipBlock"]["except"], json!(["169.254.0.0/16"]));
        let open_to = |cidrs: &[&str], port: u16| {
            let to: Vec<_> = cidrs.iter().map(|cidr| json!({ "ipBlock": { "cidr": cidr } })).collect();
            json!({ "ports": [{ "port": port, "protocol": "TCP" }], "to": to })
        };
        let node = ["169.254.169.254/32"];
        let cases = places().into_iter().chain([("s3-role", by_role), ("gcs-workload", workload)]);
        for (place, storage) in cases {
            let opened = match place {
                "s3-role" => vec![open_to(&["169.254.169.254/32", "fd00:ec2::254/128", "169.254.170.23/32"], 80)],
                "gcs-workload" => vec![open_to(&node, 80), open_to(&["169.254.169.252/32"], 988)],
                "azure-managed" => vec![open_to(&node, 80)],
                _ => Vec::new(),
            };
            assert_eq!(egress(storage), [closed.clone(), opened].concat(), "{place}");
        }
    }
}
