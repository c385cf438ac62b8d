//! `goproxy-operator check`: is this cluster ready for the operator? Asks and creates nothing. `helm test` runs it with
//! the operator's own permissions.

use std::{fmt::Debug, io::Write, process::ExitCode};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;

use crate::{
    api::{
        GROUP,
        edge_state::EdgeState,
        go_proxy::{GoProxy, GoProxySpec},
    },
    cache::Source,
    cli::Scope,
    client::{clients, describe},
    plan::object::Kind,
};

/// One line of the answer.
struct Finding {
    what: String,
    problem: Option<String>,
}

/// A permission that the operator uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// API group, "" for core.
    pub group: &'static str,
    /// Plural name, with the subresource after a slash.
    pub resource: &'static str,
    /// What may be done with it.
    pub verb: &'static str,
}

/// Prints a table; the exit code tells whether all is well.
pub async fn command(scope: &Scope, trial: &str, lease: &str) -> anyhow::Result<ExitCode> {
    let namespaces = scope.namespaces();
    let client = clients().await?.request;
    let mut findings = vec![served::<GoProxy>(&client, trial).await, served::<EdgeState>(&client, trial).await];
    let scopes: Vec<Option<&str>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().map(|name| Some(name.as_str())).collect() };
    for scope in scopes {
        for permission in fleet_permissions() {
            findings.push(allowed(&client, scope, &permission).await);
        }
    }
    for namespace in scope.fleet_namespaces() {
        for permission in secret_permissions() {
            findings.push(allowed(&client, Some(&namespace), &permission).await);
        }
    }
    for permission in lease_permissions() {
        findings.push(allowed(&client, Some(lease), &permission).await);
    }
    findings.push(accepted(&client, namespaces.first().map_or(trial, String::as_str)).await);
    let mut out = std::io::stdout().lock();
    for Finding { what, problem } in &findings {
        match problem {
            None => writeln!(out, "ok    {what}")?,
            Some(problem) => writeln!(out, "FAIL  {what}: {problem}")?,
        }
    }
    let failed = findings.iter().filter(|finding| finding.problem.is_some()).count();
    writeln!(out, "{} checks, {failed} failed", findings.len())?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn served<K>(client: &Client, namespace: &str) -> Finding
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let problem = match api.list(&ListParams::default().limit(1)).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Some("the CustomResourceDefinition is not installed: apply the files under crds/".to_owned())
        }
        // Not allowed in this namespace, but known: the lines below tell what is missing.
        Err(kube::Error::Api(status)) if status.code == 403 => None,
        Err(error) => Some(describe(&error)),
    };
    Finding { what: format!("{}.{GROUP} is served", K::plural(&())), problem }
}

async fn allowed(client: &Client, namespace: Option<&str>, permission: &Permission) -> Finding {
    let Permission { group, resource, verb } = *permission;
    let (name, subresource) = resource.split_once('/').map_or((resource, None), |(name, sub)| (name, Some(sub)));
    let attributes = ResourceAttributes {
        namespace: namespace.map(str::to_owned),
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(name.to_owned()),
        subresource: subresource.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..SelfSubjectAccessReview::default()
    };
    let problem = match Api::all(client.clone()).create(&PostParams::default(), &review).await {
        Ok(SelfSubjectAccessReview { status: Some(status), .. }) if status.allowed => None,
        Ok(_) => Some("not allowed: install the chart's roles, or add this rule to the operator's role".to_owned()),
        Err(error) => Some(describe(&error)),
    };
    let dot = if group.is_empty() { "" } else { "." };
    let place = namespace.map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
    Finding { what: format!("may {verb} {resource}{dot}{group} in {place}"), problem }
}

/// A smallest fleet passes the schema, its rules and whatever else guards the namespace.
async fn accepted(client: &Client, namespace: &str) -> Finding {
    let fleet = GoProxy::new("goproxy-operator-check", GoProxySpec { replicas: 1, ..GoProxySpec::default() });
    let api: Api<GoProxy> = Api::namespaced(client.clone(), namespace);
    let created = api.create(&PostParams { dry_run: true, ..PostParams::default() }, &fleet).await;
    let problem = match created {
        Ok(_) => None,
        // The operator itself never creates one, so it need not be allowed to: the request got as far as that.
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("cannot create resource") => {
            None
        }
        Err(error) => Some(describe(&error)),
    };
    Finding { what: format!("a smallest GoProxy is accepted in namespace {namespace}"), problem }
}

/// Everything that the operator does with what it watches and writes.
pub fn fleet_permissions() -> Vec<Permission> {
    let of = |source: Source, verbs: &'static [&'static str]| {
        let group = match source {
            Source::Fleets => GROUP,
            Source::Children(kind) => kind.resource().0,
            Source::Pods | Source::Secrets => "",
        };
        verbs.iter().map(move |verb| Permission { group, resource: source.plural(), verb })
    };
    let mut all: Vec<Permission> = of(Source::Fleets, &["get", "list", "watch"]).collect();
    all.push(Permission { group: GROUP, resource: "goproxies/status", verb: "patch" });
    // Asked for by API servers that check who may set an owner reference which blocks the owner's deletion.
    all.push(Permission { group: GROUP, resource: "goproxies/finalizers", verb: "update" });
    all.extend(of(Source::Pods, &["list", "watch"]));
    for kind in Kind::ALL {
        all.extend(of(Source::Children(kind), &["get", "list", "watch", "create", "patch"]));
        // Volumes are never deleted, only given an owner.
        if kind != Kind::PersistentVolumeClaim {
            all.extend(of(Source::Children(kind), &["delete"]));
        }
    }
    // Nobody may hand out a right that they do not have: these are the edge's.
    all.push(Permission { group: GROUP, resource: "edgestates/status", verb: "patch" });
    let slices = |verb| Permission { group: "discovery.k8s.io", resource: "endpointslices", verb };
    all.extend(["list", "watch"].map(slices));
    // Asked for by fleets with lock.managedRedis alone, and never read.
    all.push(Permission { group: "", resource: "secrets", verb: "create" });
    all.extend(["create", "patch"].map(|verb| Permission { group: "events.k8s.io", resource: "events", verb }));
    all
}

/// What it does with Secrets, in the namespaces that are listed for it alone.
pub fn secret_permissions() -> Vec<Permission> {
    let of = |verb| Permission { group: "", resource: Source::Secrets.plural(), verb };
    ["list", "watch"].map(of).into()
}

fn lease_permissions() -> impl Iterator<Item = Permission> {
    ["get", "create", "update"].into_iter().map(|verb| Permission {
        group: "coordination.k8s.io",
        resource: "leases",
        verb,
    })
}
