//! The operator in a lab cluster: deployed from its chart as users get it, or as a process on the host where a test needs
//! to stop, count or profile it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{
    api::rbac::v1::{ClusterRoleBinding, RoleBinding, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind, TypeMeta},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::{
    check::source::cargo,
    cluster::{Cluster, Process, Reach, until},
    image::{self, Image},
    page::Page,
    progress::Progress,
    tools::{self, Family},
};

/// Namespace of the operator in labs.
pub const NAMESPACE: &str = "goproxy-system";
/// Name of the Helm release, and so of its objects.
pub const RELEASE: &str = "goproxy-operator";

/// Installs the operator from its chart, or upgrades it, and waits until it is ready.
pub async fn deploy(cluster: &Cluster, repo: &Path, values: &[&str], progress: &Progress) -> Result<()> {
    let reference = image::reference(Image::Operator);
    let (repository, tag) = reference.rsplit_once(':').context("the image has no tag")?;
    cluster.import(&image::archive(Image::Operator, progress)?).await?;
    cluster.namespace(NAMESPACE).await?;
    let step = progress.step("operator installed from its chart");
    let [athens, goproxy] = [Image::Athens, Image::Goproxy].map(image::reference);
    let mut sets = vec![
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
        format!("engine.imageRepository={}", engine_repository(&athens)),
        format!("engine.goproxyImageRepository={}", engine_repository(&goproxy)),
        format!("redis.image={}", image::reference(Image::Redis)),
        format!("edge.image={}", image::reference(Image::Edge)),
    ];
    sets.extend(values.iter().map(|value| (*value).to_owned()));
    let mut arguments = vec!["upgrade", "--install", RELEASE, "charts/goproxy-operator", "--namespace", NAMESPACE];
    arguments.extend(["--wait", "--timeout", "120s"]);
    arguments.extend(sets.iter().flat_map(|set| ["--set", set.as_str()]));
    helm(cluster, repo, &arguments).await?;
    step.done();
    Ok(())
}

/// Runs the chart's own test, as `helm test` does for a user.
pub async fn helm_test(cluster: &Cluster, repo: &Path) -> Result<String> {
    helm(cluster, repo, &["test", RELEASE, "--namespace", NAMESPACE, "--timeout", "120s"]).await
}

/// Runs helm against a cluster, as an administrator.
pub async fn helm(cluster: &Cluster, repo: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = helm_command(&cluster.directory().join("helm"));
    command.current_dir(repo).env("KUBECONFIG", cluster.kubeconfig()).args(arguments);
    finish(command, "helm", "").await
}

/// Helm with all its caches in a directory: neither it nor the client in it may leave anything in the home directory.
pub fn helm_command(caches: &Path) -> Command {
    let mut command = Command::new(tools::bin(Family::Helm, "helm"));
    for (variable, place) in [
        ("KUBECACHEDIR", "kube"),
        ("HELM_CACHE_HOME", "cache"),
        ("HELM_CONFIG_HOME", "config"),
        ("HELM_DATA_HOME", "data"),
    ] {
        command.env(variable, caches.join(place));
    }
    command
}

/// Runs kubectl against a cluster, as an administrator.
pub async fn kubectl(cluster: &Cluster, repo: &Path, arguments: &[&str]) -> Result<String> {
    kubectl_with_input(cluster, repo, arguments, "").await
}

/// The same, with something to read.
pub async fn kubectl_with_input(cluster: &Cluster, repo: &Path, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(tools::bin(Family::Kubernetes, "kubectl"));
    // Its cache would otherwise be left in the home directory.
    command.env("KUBECACHEDIR", cluster.directory().join("kubectl-cache"));
    command.current_dir(repo).env("KUBECONFIG", cluster.kubeconfig()).args(arguments);
    finish(command, "kubectl", input).await
}

async fn finish(mut command: Command, name: &str, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{name} {:?}: {out}{err}", command.as_std().get_args().collect::<Vec<_>>());
    Ok(out.into_owned())
}

/// An operator that runs on the host with the rights that the chart gives it, and no more.
#[derive(Clone, Debug)]
pub struct HostOperator {
    cluster: Cluster,
    name: String,
    account: String,
    port: u16,
}

impl HostOperator {
    /// Starts one under the account of the chart. `name` tells several apart; `arguments` follow `run`.
    pub async fn start(cluster: &Cluster, name: &str, binary: &Path, port: u16, arguments: &[&str]) -> Result<Self> {
        Self::start_as(cluster, RELEASE, name, binary, port, arguments).await
    }

    /// Starts one under an account of its own with the same rights, so that the audit log tells it from others.
    pub async fn start_as(
        cluster: &Cluster,
        account: &str,
        name: &str,
        binary: &Path,
        port: u16,
        arguments: &[&str],
    ) -> Result<Self> {
        let kubeconfig = cluster.service_account_kubeconfig(NAMESPACE, account, Reach::Host).await?;
        if account != RELEASE {
            share_rights(&cluster.client().await?, account).await?;
        }
        let process = Process::on_host(cluster.name(), name, binary)
            .args(["run", "--identity", name, "--leader-elect-namespace", NAMESPACE])
            .args(["--metrics-address", &format!("127.0.0.1:{port}")])
            .args(["--engine-image-repository", engine_repository(&image::reference(Image::Athens))])
            .args(["--goproxy-image-repository", engine_repository(&image::reference(Image::Goproxy))])
            .args(["--redis-image", &image::reference(Image::Redis)])
            .args(["--edge-image", &image::reference(Image::Edge)])
            .args(arguments.iter().copied())
            .env("KUBECONFIG", kubeconfig.display().to_string());
        cluster.run(&process).await?;
        Ok(Self { cluster: cluster.clone(), name: name.to_owned(), account: account.to_owned(), port })
    }

    /// The user that the audit log names.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{NAMESPACE}:{}", self.account)
    }

    /// Its process id.
    pub fn pid(&self) -> Result<i32> {
        self.cluster
            .pids(&self.name)
            .first()
            .copied()
            .with_context(|| format!("{} does not run: {}", self.name, self.log()))
    }

    /// Waits until its readiness page says that nothing is pending.
    pub async fn wait_ready(&self) -> Result<()> {
        until(&format!("{} is ready", self.name), Duration::from_secs(30), || async {
            Ok(self.page("/readyz").await.ok().filter(Page::is_ok))
        })
        .await
        .map(drop)
    }

    /// One of its pages.
    pub async fn page(&self, path: &str) -> Result<Page> {
        Page::get(self.port, path)
            .await
            .with_context(|| format!("the operator does not answer; its log: {}", self.log()))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        self.cluster.signal(&self.name, signal)
    }

    /// Ends it as Kubernetes would, and waits until it is gone.
    pub async fn stop(&self) -> Result<()> {
        self.cluster.stop(&self.name).await
    }

    /// Waits until it has ended by itself.
    pub async fn wait_gone(&self) -> Result<()> {
        until(&format!("{} ends", self.name), Duration::from_secs(30), || async {
            Ok(self.cluster.pids(&self.name).is_empty().then_some(()))
        })
        .await
    }

    /// Starts it again after it ended.
    pub async fn start_again(&self) -> Result<()> {
        self.cluster.start(&self.name).await?;
        self.wait_ready().await
    }

    /// The path of its log.
    pub fn log(&self) -> String {
        self.cluster.log(&self.name).display().to_string()
    }
}

/// Adds an account to every binding of the chart's account.
async fn share_rights(client: &Client, account: &str) -> Result<()> {
    let subject = Subject {
        kind: "ServiceAccount".to_owned(),
        name: account.to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
        api_group: None,
    };
    let bound = |subjects: &Option<Vec<Subject>>| subjects.iter().flatten().any(|subject| subject.name == RELEASE);
    let cluster_wide: Api<ClusterRoleBinding> = Api::all(client.clone());
    for mut binding in cluster_wide.list(&ListParams::default()).await?.into_iter().filter(|one| bound(&one.subjects)) {
        binding.metadata =
            ObjectMeta { name: Some(format!("{}-{account}", binding.name_any())), ..ObjectMeta::default() };
        binding.subjects = Some(vec![subject.clone()]);
        create_once(&cluster_wide, &binding).await?;
    }
    let inside: Api<RoleBinding> = Api::namespaced(client.clone(), NAMESPACE);
    for mut binding in inside.list(&ListParams::default()).await?.into_iter().filter(|one| bound(&one.subjects)) {
        binding.metadata =
            ObjectMeta { name: Some(format!("{}-{account}", binding.name_any())), ..ObjectMeta::default() };
        binding.subjects = Some(vec![subject.clone()]);
        create_once(&inside, &binding).await?;
    }
    Ok(())
}

async fn create_once<K>(api: &Api<K>, object: &K) -> Result<()>
where
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// An image reference without its tag.
pub fn engine_repository(reference: &str) -> &str {
    reference.rsplit_once(':').map_or(reference, |(repository, _)| repository)
}

/// Installs what a host operator needs: the CRD, its account and exactly the rights of the chart.
pub async fn install_rights(cluster: &Cluster, repo: &Path, values: &[&str]) -> Result<()> {
    cluster.namespace(NAMESPACE).await?;
    let mut arguments = vec!["template", RELEASE, "charts/goproxy-operator", "--namespace", NAMESPACE];
    // Rendering asks no server, so helm has to be told; the oldest supported one will do.
    arguments.extend(["--kube-version", "1.33.0", "--set", "image.repository=lab.invalid/operator"]);
    arguments.extend(values.iter().flat_map(|value| ["--set", *value]));
    let rendered = helm(cluster, repo, &arguments).await?;
    let client = cluster.client().await?;
    let wanted =
        ["CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    for object in documents(&rendered)? {
        let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
        let hook = object.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("helm.sh/hook"));
        if wanted.contains(&kind) && !hook {
            apply(&client, &object).await?;
        }
    }
    let crd: Api<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
        Api::all(client);
    for name in ["goproxies.goproxy.rs", "edgestates.goproxy.rs"] {
        let established = kube::runtime::conditions::is_crd_established();
        kube::runtime::wait::await_condition(crd.clone(), name, established).await?;
    }
    Ok(())
}

/// The objects of a YAML stream.
pub fn documents(text: &str) -> Result<Vec<DynamicObject>> {
    let values: Vec<serde_json::Value> = serde_saphyr::from_multiple(text).context("cannot read YAML")?;
    let objects = values.into_iter().filter(|value| !value.is_null()).map(serde_json::from_value);
    objects.collect::<Result<_, _>>().context("a document is no Kubernetes object")
}

/// Applies one object as the test's own field manager. Objects without namespace go to `default`.
pub async fn apply(client: &Client, object: &DynamicObject) -> Result<DynamicObject> {
    let api = api_for(client, object, "default")?;
    let name = object.metadata.name.as_deref().context("an object without a name")?;
    let parameters = PatchParams::apply("goproxy-lab").force().validation_strict();
    api.patch(name, &parameters, &Patch::Apply(object)).await.with_context(|| format!("cannot apply {name}"))
}

/// The API for an object's kind and namespace; cluster-scoped kinds are those of RBAC, CRDs and namespaces.
fn api_for(client: &Client, object: &DynamicObject, namespace: &str) -> Result<Api<DynamicObject>> {
    let TypeMeta { api_version, kind } = object.types.as_ref().context("an object without a kind")?;
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource = match kind.as_str() {
        "NetworkPolicy" => ApiResource::from_gvk_with_plural(&gvk, "networkpolicies"),
        "GoProxy" => ApiResource::from_gvk_with_plural(&gvk, "goproxies"),
        _ => ApiResource::from_gvk(&gvk),
    };
    let cluster_scoped = ["CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Namespace", "StorageClass"];
    if cluster_scoped.contains(&kind.as_str()) {
        return Ok(Api::all_with(client.clone(), &resource));
    }
    let namespace = object.metadata.namespace.as_deref().unwrap_or(namespace);
    Ok(Api::namespaced_with(client.clone(), namespace, &resource))
}

/// The operator's release binary, built when it is not current.
pub fn binary(progress: &Progress) -> Result<PathBuf> {
    image::operator_binary(progress)
}

/// An operator whose builders put one more label on every child: what a later release might do. A debug build, because only
/// what it sends matters, and built together with the lab, so that the two share their dependencies.
pub fn drill_binary(repo: &Path, progress: &Progress) -> Result<PathBuf> {
    let step = progress.long_step("operator with another label built");
    let output = cargo(repo)
        .args(["build", "--quiet", "--locked", "--package", "goproxy-operator", "--package", "goproxy-lab"])
        .args(["--bin", "goproxy-operator", "--features", "goproxy-operator/drill-label", "--message-format", "json"])
        .output()
        .context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the operator with another label does not build: {said}");
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    let built = messages.flatten().filter_map(|message| message["executable"].as_str().map(PathBuf::from)).last();
    let kept = own_copy(&built.context("cargo names no program")?, "drill")?;
    step.done();
    Ok(kept)
}

/// A copy of an operator, for this purpose, that no build overwrites while it is used.
pub fn own_copy(binary: &Path, purpose: &str) -> Result<PathBuf> {
    let directory = tools::cache_dir().join(purpose);
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let (copy, copying) = (directory.join("goproxy-operator"), directory.join("copying"));
    // One that still runs keeps its file: that could not be written to.
    std::fs::copy(binary, &copying).with_context(|| format!("cannot copy {}", binary.display()))?;
    std::fs::rename(&copying, &copy).with_context(|| format!("cannot make {}", copy.display()))?;
    Ok(copy)
}
