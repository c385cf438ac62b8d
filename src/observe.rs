//! What is known of a fleet, as a plan wants it: out of memory, and at most one request.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::{
    api::{condition::ConditionType, go_proxy::GoProxy, status::GoProxyStatus},
    apply::request::{Setback, Writer},
    cache::{decode::Detail as Packed, kept::Child as Kept, store::Snapshot},
    client::describe,
    plan::{
        Child, Children, Detail, Observed, StoredRevision, login::doubtful, object::Kind, revision::stored,
        validate::Settings,
    },
};

/// What a plan gets beside the snapshot.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The instant of the snapshot.
    pub now: Timestamp,
    /// What was found out about the CA bundle.
    pub ca_bundle_found: Option<bool>,
    /// A text that no other snapshot has.
    pub nonce: String,
    /// Settings of the installation.
    pub settings: Arc<Settings>,
}

/// Puts together what a plan decides on. In memory.
pub fn observe(fleet: Arc<GoProxy>, snapshot: Snapshot, around: Circumstances) -> Observed {
    let uid = fleet.uid().unwrap_or_default();
    // An object that is not ours is as if it were absent: the plan asks for ours, and apply finds the name taken.
    let ours = snapshot.children.into_iter().filter(|child| is_ours(child, &uid));
    let children: Children = ours.map(|child| ((child.kind, child.name.to_string()), unpack(child))).collect();
    let Circumstances { now, ca_bundle_found, nonce, settings } = around;
    Observed {
        fleet,
        now,
        children,
        pods: snapshot.pods,
        reports: snapshot.reports,
        ca_bundle_found,
        login_found: None,
        nonce,
        secrets: snapshot.secrets,
        claims: snapshot.claims,
        obstacles: snapshot.obstacles,
        contract_slot: false,
        settings,
    }
}

/// Whether a child with our label is this fleet's. A volume has no owner as long as it is kept: its label decides.
pub fn is_ours(child: &Kept, fleet_uid: &str) -> bool {
    match &child.owner {
        Some((uid, _)) => **uid == *fleet_uid,
        None => child.kind == Kind::PersistentVolumeClaim,
    }
}

/// Asks whether the ConfigMap key with the CA bundle exists. Only where a fleet names one whose pods do not all run: a
/// missing one keeps pods from starting, those of a next revision too. One request, or none.
pub async fn ca_bundle_found(client: &Client, fleet: &GoProxy) -> Option<bool> {
    let key_ref = fleet.spec.upstream.as_ref()?.ca_bundle.as_ref()?;
    if fleet.status.as_ref().is_some_and(is_settled) {
        return None;
    }
    let reference = &key_ref.config_map_key_ref;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &fleet.namespace()?);
    match api.get_opt(&reference.name).await {
        Ok(Some(map)) => {
            let text = map.data.unwrap_or_default().contains_key(&reference.key);
            Some(text || map.binary_data.unwrap_or_default().contains_key(&reference.key))
        }
        Ok(None) => Some(false),
        Err(error) => {
            tracing::info!(error = describe(&error), name = reference.name, "cannot ask for the CA bundle");
            None
        }
    }
}

/// Asks whether the login of the lock that the fleet brings along exists: by a trial run of creating it, because Secrets may be
/// created and not read. Only where it is in doubt. One request, or none.
pub async fn login_found(writer: &Writer, observed: &Observed) -> Option<bool> {
    let login = doubtful(observed, &stored(&observed.children))?;
    let trial = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": login } });
    match writer.create_secret(&observed.fleet.namespace()?, &trial, true).await {
        Ok(()) => Some(false),
        Err(Setback::Conflict(_)) => Some(true),
        Err(setback) => {
            tracing::info!(%setback, name = login, "cannot ask for the login of the lock");
            None
        }
    }
}

/// Whether clients are served and nothing is under way.
fn is_settled(status: &GoProxyStatus) -> bool {
    let is = |type_: ConditionType, value: &str| {
        status.conditions.iter().any(|one| one.type_ == type_.as_str() && one.status == value)
    };
    is(ConditionType::Ready, "True") && !is(ConditionType::Reconciling, "True")
}

fn unpack(kept: Kept) -> Child {
    Child {
        uid: kept.uid.into(),
        resource_version: kept.resource_version.into(),
        owner_uid: kept.owner.map(|(uid, _)| uid.to_string()),
        live: kept.live,
        deleting: kept.deleting,
        detail: unpack_detail(kept.detail),
    }
}

fn unpack_detail(packed: Packed) -> Detail {
    match packed {
        Packed::None => Detail::None,
        Packed::Revision { data, number } => match serde_json::from_str::<StoredRevision>(&data) {
            Ok(stored) => Detail::Revision(Arc::new(StoredRevision { number, ..stored })),
            Err(error) => unpack_edge(&data).unwrap_or_else(|| {
                tracing::warn!(%error, "a stored revision cannot be read");
                Detail::None
            }),
        },
        Packed::Deployment(view) => Detail::Deployment(*view),
        Packed::Service(lead) => Detail::Service(*lead),
        Packed::Text { digest } => Detail::Text { digest },
        Packed::Claim(view) => Detail::Claim(view),
        Packed::StatefulSet(view) => Detail::StatefulSet(*view),
        Packed::NetworkPolicy { edge_only } => Detail::NetworkPolicy { edge_only },
        Packed::EdgeState(view) => Detail::EdgeState(view),
    }
}

/// What an edge's pods are made of, if it is that.
fn unpack_edge(data: &str) -> Option<Detail> {
    serde_json::from_str(data).ok().map(|stored| Detail::EdgeRecord(Arc::new(stored)))
}

/// The children that would be there after everything of a plan was applied: what `render` goes on from.
pub fn as_if_applied(objects: &[crate::plan::object::Object], fleet_uid: &str) -> Children {
    let child = |object: &crate::plan::object::Object| {
        let seen = crate::cache::decode::Seen::new(object.body.clone());
        let child = Child {
            uid: String::new(),
            resource_version: String::new(),
            owner_uid: (object.kind != Kind::PersistentVolumeClaim).then(|| fleet_uid.to_owned()),
            live: object.fingerprint,
            deleting: false,
            detail: unpack_detail(seen.detail(object.kind)),
        };
        ((object.kind, object.name.clone()), child)
    };
    objects.iter().map(child).collect::<BTreeMap<_, _>>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fleet_that_serves_while_its_next_revision_starts_is_not_settled() {
        let settled = |ready: &str, reconciling: &str| {
            let condition = |type_: &str, status: &str| json!({ "type": type_, "status": status, "reason": "Any", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" });
            let conditions = [condition("Ready", ready), condition("Reconciling", reconciling)];
            let status = GoProxyStatus {
                conditions: serde_json::from_value(json!(conditions)).unwrap(),
                ..GoProxyStatus::default()
            };
            is_settled(&status)
        };
        assert!(settled("True", "False"));
        assert!(!settled("True", "True"), "a missing bundle may keep the next revision from starting");
        assert!(!settled("False", "False"));
    }
}
