//! Who the edge's pods are to the API server, and what they may ask it.

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};

use super::{Kind, Object, metadata};
use crate::{api::GROUP, plan::validate::ValidFleet};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Its token is mounted into the agent alone.
pub fn service_account(fleet: &ValidFleet) -> Object {
    let name = fleet.name.edge();
    let account = ServiceAccount {
        metadata: metadata(fleet, &name),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    Object::new(Kind::ServiceAccount, &name, &account)
}

/// Reads what its own fleet's edges are told, answers there, and looks for the engines. No rule can name the EndpointSlices that it
/// needs: their names are made up by a controller. They hold addresses and nothing else.
pub fn role(fleet: &ValidFleet) -> Object {
    let name = fleet.name.edge();
    let own = |resource: &str, verbs: &[&str]| PolicyRule {
        resource_names: Some(vec![fleet.name.edge_state().to_owned()]),
        ..rule(GROUP, resource, verbs)
    };
    let role = Role {
        metadata: metadata(fleet, &name),
        rules: Some(vec![
            own("edgestates", &["get", "list", "watch"]),
            own("edgestates/status", &["patch"]),
            rule("discovery.k8s.io", "endpointslices", &["list", "watch"]),
        ]),
    };
    Object::new(Kind::Role, &name, &role)
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    }
}

/// Binds it to the edge's account.
pub fn role_binding(fleet: &ValidFleet) -> Object {
    let name = fleet.name.edge();
    let binding = RoleBinding {
        metadata: metadata(fleet, &name),
        role_ref: RoleRef { api_group: RBAC.to_owned(), kind: Kind::Role.as_str().to_owned(), name: name.clone() },
        subjects: Some(vec![Subject {
            kind: Kind::ServiceAccount.as_str().to_owned(),
            name: name.clone(),
            namespace: Some(fleet.namespace.clone()),
            ..Subject::default()
        }]),
    };
    Object::new(Kind::RoleBinding, &name, &binding)
}
