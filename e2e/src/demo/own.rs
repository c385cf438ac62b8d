//! The demo on a cluster of the user's own: what is installed there is named, marked and removed again, and nothing of
//! the person's own configuration is used without being named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use tokio::process::Command;

use goproxy_operator::api::go_proxy::GoProxy;

use super::tour::Site;
use super::{closing, or_interrupted, print, repo};
use crate::cluster::until;
use crate::image::{self, Image};
use crate::operator;
use crate::probe;
use crate::progress::Progress;
use crate::tools::{self, Family};

/// Namespace of the operator there.
pub const OPERATOR_NAMESPACE: &str = "goproxy-demo-system";
/// Namespace of the fleet there.
pub const FLEET_NAMESPACE: &str = "goproxy-demo";
/// The Helm release: another name than a real installation has, so that neither can be taken for the other.
const RELEASE: &str = "goproxy-demo";
/// On every namespace that the demo makes; only such namespaces are ever deleted.
const MARK: &str = "goproxy.rs/made-by-demo";
/// Where the images went, so that `down` can tell.
const REGISTRY: &str = "goproxy.rs/demo-registry";
const CRD: &str = "goproxies.goproxy.rs";

/// A cluster, by two names that both have to be said: no current context and no kubeconfig of the environment counts.
#[derive(Clone, Debug)]
pub struct Target {
    context: String,
    kubeconfig: PathBuf,
}

/// What an installation on a cluster of one's own needs.
#[derive(Clone, Debug)]
pub struct Install {
    target: Target,
    registry: String,
    plain_http: bool,
}

/// The arguments that name a cluster: both or neither.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TargetArgs {
    /// A cluster of your own instead of the lab: its context in the kubeconfig.
    #[arg(long, requires = "kubeconfig", value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig that has the context. There is no default, and no current context is used.
    #[arg(long, requires = "context", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl TargetArgs {
    /// The cluster that is named, if one is.
    pub fn target(&self) -> Option<Target> {
        Some(Target::new(self.context.as_deref()?, self.kubeconfig.as_deref()?))
    }
}

impl Target {
    /// Names a context of a kubeconfig.
    pub fn new(context: &str, kubeconfig: &Path) -> Self {
        Self { context: context.to_owned(), kubeconfig: kubeconfig.to_owned() }
    }

    async fn client(&self) -> Result<Client> {
        let Self { context, kubeconfig } = self;
        let read =
            Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
        let names: Vec<&str> = read.contexts.iter().map(|context| context.name.as_str()).collect();
        ensure!(
            names.contains(&context.as_str()),
            "{} has no context {context}; it has {}",
            kubeconfig.display(),
            names.join(", ")
        );
        let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
        let config = kube::Config::from_custom_kubeconfig(read, &options).await?;
        let client = Client::try_from(config)?;
        client
            .apiserver_version()
            .await
            .with_context(|| format!("the cluster of context {context} does not answer"))?;
        Ok(client)
    }

    async fn helm(&self, repo: &Path, arguments: &[&str]) -> Result<String> {
        let caches = tempfile::tempdir().context("cannot make a directory for helm's caches")?;
        let mut command = operator::helm_command(caches.path());
        command.current_dir(repo).env_remove("KUBECONFIG").args(["--kube-context", &self.context, "--kubeconfig"]);
        command.arg(&self.kubeconfig).args(arguments);
        output_of(command, "helm").await
    }
}

impl Install {
    /// Says where to install, and through which registry.
    pub fn new(target: Target, registry: &str, plain_http: bool) -> Self {
        Self { target, registry: registry.to_owned(), plain_http }
    }
}

/// What builds the images and pushes them, and the Debian package of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("apt-config", "apt"),
    ("mmdebstrap", "mmdebstrap"),
    ("git", "git"),
    ("gcc", "gcc"),
    ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev"),
    ("skopeo", "skopeo"),
];

/// Installs operator and fleet in namespaces of their own and downloads through the fleet.
pub async fn install(install: &Install, progress: &Progress) -> Result<()> {
    let (repo, Install { target, registry, .. }) = (repo()?, install);
    let client = target.client().await?;
    check_unused(&client, &target.context).await?;
    probe::packages(PROGRAMS, progress)?;
    tools::ensure(&[Family::Kubernetes, Family::Helm], progress)?;
    let digest = push(Image::Operator, install, progress).await?;
    push(Image::Athens, install, progress).await?;
    for namespace in [OPERATOR_NAMESPACE, FLEET_NAMESPACE] {
        make_namespace(&client, namespace, registry).await?;
    }
    let step = progress.step(format!("operator installed from its chart, for namespace {FLEET_NAMESPACE} alone"));
    let sets = [
        format!("image.repository={}", pushed(Image::Operator, registry)?.0),
        format!("image.digest={digest}"),
        format!("engine.imageRepository={}", pushed(Image::Athens, registry)?.0),
        format!("namespaces={{{FLEET_NAMESPACE}}}"),
    ];
    let mut arguments = vec!["upgrade", "--install", RELEASE, "charts/goproxy-operator"];
    arguments.extend(["--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "3m"]);
    arguments.extend(sets.iter().flat_map(|set| ["--set", set.as_str()]));
    target.helm(&repo, &arguments).await.with_context(|| {
        format!(
            "look at: kubectl --kubeconfig {} --context {} --namespace {OPERATOR_NAMESPACE} get pods,events",
            target.kubeconfig.display(),
            target.context
        )
    })?;
    step.done();
    let work = tempfile::tempdir().context("cannot make a directory for the download")?;
    let site = Site {
        client,
        kubeconfig: std::path::absolute(&target.kubeconfig)?,
        context: target.context.clone(),
        namespace: FLEET_NAMESPACE,
        routed: false,
        patience: Duration::from_mins(5),
        work: work.path(),
        repo: &repo,
        progress,
    };
    let file = site.kubeconfig.display().to_string();
    let end = format!("cargo lab down --context {} --kubeconfig {file}", target.context);
    let tour = or_interrupted(site.tour(), &format!("what was installed is removed by: {end}")).await?;
    work.close().context("cannot remove the downloaded modules")?;
    let kubectl = format!("kubectl --kubeconfig {file} --context {}", target.context);
    print(&closing(&tour, progress, &kubectl, FLEET_NAMESPACE, &end))
}

/// Refuses a cluster on which fleets exist already: a second operator could get in the way of the first.
async fn check_unused(client: &Client, context: &str) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    match crds.get_opt(CRD).await.context("cannot ask for definitions")? {
        Some(crd) if !is_ours(&crd.metadata) => bail!(
            "the cluster of context {context} has the definition {CRD} already, and not from this demo: the operator is \
             installed there. Apply examples/minimal.yaml to it instead"
        ),
        _ => Ok(()),
    }
}

/// Whether Helm made an object for the demo's release.
fn is_ours(metadata: &ObjectMeta) -> bool {
    let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
    annotation("meta.helm.sh/release-name") == Some(RELEASE)
        && annotation("meta.helm.sh/release-namespace") == Some(OPERATOR_NAMESPACE)
}

async fn make_namespace(client: &Client, name: &str, registry: &str) -> Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    if let Some(found) = api.get_opt(name).await? {
        let marked = found.metadata.annotations.is_some_and(|all| all.contains_key(MARK));
        ensure!(marked, "the namespace {name} exists and was not made by this demo: rename or delete it");
        return Ok(());
    }
    let restricted = ("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned());
    let marks = [(MARK.to_owned(), "true".to_owned()), (REGISTRY.to_owned(), registry.to_owned())];
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([restricted])),
        annotations: Some(BTreeMap::from(marks)),
        ..ObjectMeta::default()
    };
    let namespace = Namespace { metadata, ..Namespace::default() };
    api.create(&PostParams::default(), &namespace)
        .await
        .with_context(|| format!("cannot make the namespace {name}"))?;
    Ok(())
}

/// Repository and tag of an image in the registry.
fn pushed(image: Image, registry: &str) -> Result<(String, String)> {
    let reference = image::reference(image);
    let (repository, tag) = reference.rsplit_once(':').context("the image has no tag")?;
    let name = repository.rsplit_once('/').map_or(repository, |(_, name)| name);
    Ok((format!("{}/{name}", registry.trim_end_matches('/')), tag.to_owned()))
}

/// Copies an image into the registry and returns its digest there.
async fn push(image: Image, install: &Install, progress: &Progress) -> Result<String> {
    let archive = image::archive(image, progress)?;
    let (repository, tag) = pushed(image, &install.registry)?;
    let step = progress.step(format!("image {repository}:{tag} pushed"));
    let digest = tempfile::NamedTempFile::new().context("cannot make a file for the digest")?;
    let mut command = Command::new("skopeo");
    command.arg("copy").arg("--digestfile").arg(digest.path());
    command.arg(format!("--dest-tls-verify={}", !install.plain_http));
    command.arg(format!("docker-archive:{}", archive.display())).arg(format!("docker://{repository}:{tag}"));
    output_of(command, "skopeo (Debian package skopeo)").await?;
    step.done();
    Ok(std::fs::read_to_string(digest.path()).context("skopeo told no digest")?.trim().to_owned())
}

async fn output_of(mut command: Command, name: &str) -> Result<String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("cannot start {name}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{name}: {}{}", out, err.trim());
    Ok(out.into_owned())
}

/// Removes what [`install`] installed, and nothing else.
pub async fn remove(target: &Target, progress: &Progress) -> Result<()> {
    let client = target.client().await?;
    tools::ensure(&[Family::Helm], progress)?;
    let registry = delete_namespace(&client, FLEET_NAMESPACE, progress).await?;
    // The release goes while its namespace is there: Helm keeps its record in it.
    let listed = target.helm(&repo()?, &["list", "--namespace", OPERATOR_NAMESPACE, "--all", "--short"]).await?;
    if listed.lines().any(|line| line.trim() == RELEASE) {
        let step = progress.step(format!("helm release {RELEASE} removed"));
        let arguments = ["uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "2m"];
        target.helm(&repo()?, &arguments).await?;
        step.done();
    }
    let other = delete_namespace(&client, OPERATOR_NAMESPACE, progress).await?;
    remove_definition(&client, progress).await?;
    match registry.or(other) {
        Some(registry) => progress.note(format!("removed; the pushed images stay in {registry}")),
        None => progress.note(format!("context {} has no namespace that this demo made", target.context)),
    }
    Ok(())
}

/// Deletes a namespace if the demo made it; returns the registry that it was made with.
async fn delete_namespace(client: &Client, name: &str, progress: &Progress) -> Result<Option<String>> {
    let api: Api<Namespace> = Api::all(client.clone());
    let Some(found) = api.get_opt(name).await? else { return Ok(None) };
    let annotations = found.metadata.annotations.unwrap_or_default();
    if !annotations.contains_key(MARK) {
        progress.note(format!("the namespace {name} was not made by this demo: kept"));
        return Ok(None);
    }
    let step = progress.step(format!("namespace {name} removed"));
    api.delete(name, &DeleteParams::default()).await?;
    until(&format!("the end of namespace {name}"), Duration::from_mins(5), || async {
        Ok(api.get_opt(name).await?.is_none().then_some(()))
    })
    .await?;
    step.done();
    Ok(Some(annotations.get(REGISTRY).cloned().unwrap_or_default()))
}

/// Deletes the definitions if the demo installed them and no fleet is left that would go with them.
async fn remove_definition(client: &Client, progress: &Progress) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let Some(crd) = crds.get_opt(CRD).await? else { return Ok(()) };
    if !is_ours(&crd.metadata) {
        progress.note(format!("the definition {CRD} is not of this demo: kept"));
        return Ok(());
    }
    let fleets: Api<GoProxy> = Api::all(client.clone());
    let left = fleets.list(&ListParams::default()).await.context("cannot list fleets")?.items;
    if let Some(first) = left.first() {
        let name = format!(
            "{}/{}",
            first.metadata.namespace.as_deref().unwrap_or_default(),
            first.metadata.name.as_deref().unwrap_or_default()
        );
        progress.note(format!(
            "kept the definition {CRD}: fleets exist ({}, among them {name}) and would be deleted with it; to do that: \
             kubectl delete crd {CRD}",
            left.len()
        ));
        return Ok(());
    }
    for name in goproxy_operator::api::crd::all().into_iter().filter_map(|crd| crd.metadata.name) {
        if crds.get_opt(&name).await?.is_some_and(|crd| is_ours(&crd.metadata)) {
            let step = progress.step(format!("definition {name} removed"));
            crds.delete(&name, &DeleteParams::default()).await?;
            step.done();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_keep_their_names_in_a_registry() {
        let (repository, tag) = pushed(Image::Athens, "registry.example.com/team/").unwrap();
        assert_eq!(repository, "registry.example.com/team/athens");
        assert!(image::reference(Image::Athens).ends_with(&tag));
    }

    #[test]
    fn only_the_release_of_the_demo_is_ours() {
        let of = |release: &str, namespace: &str| ObjectMeta {
            annotations: Some(BTreeMap::from([
                ("meta.helm.sh/release-name".to_owned(), release.to_owned()),
                ("meta.helm.sh/release-namespace".to_owned(), namespace.to_owned()),
            ])),
            ..ObjectMeta::default()
        };
        assert!(is_ours(&of(RELEASE, OPERATOR_NAMESPACE)));
        assert!(!is_ours(&of("goproxy-operator", OPERATOR_NAMESPACE)));
        assert!(!is_ours(&of(RELEASE, "goproxy-system")));
        assert!(!is_ours(&ObjectMeta::default()));
    }
}
