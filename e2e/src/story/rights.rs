//! What the operator needs and somebody takes away while it runs: it says what is missing, and goes on once it is back, without
//! being started again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::go_proxy::GoProxy;
use k8s_openapi::{
    api::{
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        core::v1::Service,
        rbac::v1::{ClusterRole, PolicyRule},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use super::{Stage, Telling, condition, convergence::in_memory, holds};
use crate::{
    cluster::until,
    operator::{self, RELEASE},
};

/// For a fleet that failed some times to be tried again: pauses double, so the next one is about as long as the trouble was.
const SOON: Duration = Duration::from_mins(1);
/// How long a watch's trouble is told of if nothing comes after it, and some more.
const TOLD: Duration = Duration::from_mins(2);
const DEFINITION: &str = "goproxies.goproxy.rs";

/// Without the right to patch Services a change of one stops there: the fleet serves on, and its status quotes the refusal. With
/// the right the change is done, by the same process.
pub fn a_right_that_was_taken_is_named(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let namespace = "rights";
        stage.cluster.namespace(namespace).await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        stage.wait_settled(namespace, "corp").await?;
        let pid = stage.operator()?.pid()?;
        let before = roles(stage).get(&role()).await?;
        let told = without_the_right(stage, namespace, &before).await;
        give(stage, before.rules.clone()).await?;
        told?;
        until("the change is done once the right is back", SOON, || async {
            Ok((type_of_service(stage, namespace).await? == "NodePort").then_some(()))
        })
        .await?;
        stage.wait_settled(namespace, "corp").await?;
        ensure!(stage.operator()?.pid()? == pid, "the operator is another process");
        stage.abandon(namespace).await
    })
}

async fn without_the_right(stage: &Stage, namespace: &str, before: &ClusterRole) -> Result<()> {
    let fewer = before.rules.iter().flatten().flat_map(|rule| without_patching(rule, "services")).collect();
    give(stage, Some(fewer)).await?;
    until("the API server takes the right away", SOON, || async {
        Ok((!may_patch_services(stage, namespace).await?).then_some(()))
    })
    .await?;
    stage.apply_fleet(namespace, "corp", as_node_port()).await?;
    let named = |fleet: &GoProxy| {
        condition(fleet, "Stalled").is_some_and(|stalled| {
            stalled.status == "True"
                && stalled.reason == "Forbidden"
                && stalled.message.contains("cannot patch resource \"services\"")
        })
    };
    let fleet = stage.wait_fleet(namespace, "corp", "Stalled quotes the refusal", SOON, named).await?;
    ensure!(holds(&fleet, "Ready") == Some(true), "the fleet does not serve meanwhile");
    let message = condition(&fleet, "Stalled").map(|stalled| stalled.message.as_str());
    stage.progress.note(format!("without a right: {}", message.unwrap_or_default()));
    ensure!(type_of_service(stage, namespace).await? == "ClusterIP", "the Service was changed without the right");
    Ok(())
}

fn as_node_port() -> Value {
    let mut spec = in_memory();
    spec["service"] = json!({"type": "NodePort"});
    spec
}

/// The rule without one verb for one of its resources, and with everything else.
fn without_patching(rule: &PolicyRule, resource: &str) -> Vec<PolicyRule> {
    let named = rule.resources.iter().flatten().any(|name| name == resource);
    if !named {
        return vec![rule.clone()];
    }
    let (mut others, mut this) = (rule.clone(), rule.clone());
    others.resources.get_or_insert_default().retain(|name| name != resource);
    this.resources = Some(vec![resource.to_owned()]);
    this.verbs.retain(|verb| verb != "patch");
    let all = [others, this];
    all.into_iter().filter(|rule| rule.resources.as_ref().is_some_and(|names| !names.is_empty())).collect()
}

fn role() -> String {
    format!("{RELEASE}-fleets")
}

fn roles(stage: &Stage) -> Api<ClusterRole> {
    Api::all(stage.client.clone())
}

/// Gives the operator these rights and no others.
async fn give(stage: &Stage, rules: Option<Vec<PolicyRule>>) -> Result<()> {
    let api = roles(stage);
    let now = api.get(&role()).await?;
    api.replace(&role(), &PostParams::default(), &ClusterRole { rules, ..now }).await?;
    Ok(())
}

async fn may_patch_services(stage: &Stage, namespace: &str) -> Result<bool> {
    let reviews: Api<SubjectAccessReview> = Api::all(stage.client.clone());
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        resource: Some("services".to_owned()),
        verb: Some("patch".to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(stage.operator()?.user()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("the review has no answer")?.allowed)
}

async fn type_of_service(stage: &Stage, namespace: &str) -> Result<String> {
    let services: Api<Service> = Api::namespaced(stage.client.clone(), namespace);
    Ok(services.get("corp").await?.spec.and_then(|spec| spec.type_).unwrap_or_default())
}

/// Without the definition of its resource the operator is not ready and says which one is missing; with it, the next fleet is
/// served by the same process. The fleets that there were are gone: whoever deletes a definition deletes them.
pub fn a_definition_that_was_taken_is_named(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let operator = stage.operator()?;
        operator.wait_ready().await?;
        let pid = operator.pid()?;
        let told = without_the_definition(stage).await;
        operator::install_rights(&stage.cluster, &stage.repo, &[]).await?;
        told?;
        let namespace = "definition";
        stage.cluster.namespace(namespace).await?;
        // The definition is established a moment before all of the API server serves it.
        until("fleets can be asked for", SOON, || async { Ok(stage.fleets(namespace).get_opt("corp").await.ok()) })
            .await?;
        stage.apply_fleet(namespace, "corp", in_memory()).await?;
        stage.wait_settled(namespace, "corp").await?;
        until("/readyz says that all is well", TOLD, || async {
            Ok(operator.page("/readyz").await?.is_ok().then_some(()))
        })
        .await?;
        ensure!(operator.pid()? == pid, "the operator is another process");
        stage.abandon(namespace).await
    })
}

async fn without_the_definition(stage: &Stage) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    definitions.delete(DEFINITION, &DeleteParams::default()).await?;
    let operator = stage.operator()?;
    let named = until("/readyz names the definition", TOLD, || async {
        let page = operator.page("/readyz").await?;
        let line = page.text().lines().find(|line| line.contains(DEFINITION) && line.contains("is not installed"));
        Ok(line.filter(|_| !page.is_ok()).map(str::to_owned))
    })
    .await;
    // Whatever was said: what is still on its way out cannot be installed.
    until("the definition is gone", SOON, || async {
        Ok(definitions.get_opt(DEFINITION).await?.is_none().then_some(()))
    })
    .await?;
    stage.progress.note(format!("without the definition: {}", named?));
    Ok(())
}
