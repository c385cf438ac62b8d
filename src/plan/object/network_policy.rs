//! What the engine's pods may talk to.

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{Kind, Object, fleet_labels, metadata};
use crate::{engine::contract, plan::validate::ValidFleet};

/// Networks that lead to services of the node or of the cloud, where credentials are handed out: an engine that was talked
/// into fetching from there could give them away. The last one is where a cloud serves them over IPv6.
const FORBIDDEN_V4: [&str; 1] = ["169.254.0.0/16"];
const FORBIDDEN_V6: [&str; 2] = ["fe80::/10", "fd00:ec2::254/128"];

/// In: the one port, from anywhere; whom a Service of the fleet reaches is not decided here. Out: names, and whatever is
/// not node-local, because modules may live on any host.
pub fn build(fleet: &ValidFleet) -> Object {
    let name = fleet.name.engine();
    let policy = NetworkPolicy {
        metadata: metadata(fleet, &name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector { match_labels: Some(fleet_labels(fleet)), ..LabelSelector::default() }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                ports: Some(vec![port("TCP", Some(contract::PORT))]),
                ..NetworkPolicyIngressRule::default()
            }]),
            egress: Some(vec![names(), elsewhere()]),
        }),
    };
    Object::new(Kind::NetworkPolicy, &name, &policy)
}

/// Name servers may be node-local.
fn names() -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        ports: Some(vec![port("UDP", Some(53)), port("TCP", Some(53))]),
        ..NetworkPolicyEgressRule::default()
    }
}

fn elsewhere() -> NetworkPolicyEgressRule {
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

fn port(protocol: &str, number: Option<u16>) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: number.map(|number| IntOrString::Int(i32::from(number))),
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    }
}
