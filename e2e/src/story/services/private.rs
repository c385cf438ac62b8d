//! Private code through fleets that log in where it lives. The clients have no logins of their own.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::status::ClientSettings;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::super::{
    Stage, Telling,
    download::Origin,
    serving::{ask, service_address},
};
use super::Before;
use super::{load::Load, search::Search};
use crate::{
    cluster::until,
    go_client::GoClient,
    origin::generated::Module,
    service::{
        egress,
        git::{self, Credentials, Git},
    },
};

const FLEET: &str = "corp";
/// A fetch runs several programs one after the other, and may take all of `fetchTimeout`.
const PATIENCE: Duration = Duration::from_secs(60);
/// The kubelet renews what it mounted once a minute, and may be a whole period late.
pub(super) const RENEWAL: Duration = Duration::from_mins(4);

/// Every way in serves a build; a wrong login, a missing one and a dead server do not, and are told. Whatever happens, the
/// public origin is never asked.
pub fn private_code_needs_no_login_at_the_client(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let parts = Parts::start(stage, "story-private-code").await?;
        let mut good = Vec::new();
        for (way, version, answer) in [
            ("basic", "v0.1.0", "110"),
            ("token", "v0.1.0", "110"),
            ("netrc", "v0.1.0", "110"),
            ("ssh", "v0.2.0", "200"),
        ] {
            parts.apply(stage, &parts.login(way, "git")).await.context(way)?;
            let printed = parts.build(stage, version).await.with_context(|| format!("a build by {way}"))?;
            ensure!(printed == answer, "what was built by {way} prints {printed:?}");
            if way != "ssh" {
                // The server tells where this one is only to whom it knows: here go itself needs the login.
                let (status, body) = parts.ask(stage, "closed/tool", "v1.0.0.info").await?;
                ensure!(status == 200, "a module of a closed group by {way}: {status} {body}");
            }
            good.push(way);
        }
        stage.progress.note(format!("  built without a login, by {}", good.join(", ")));
        for (secret, cause) in
            [("wrong", "Authentication failed"), ("absent", "its Secret is missing, or has no key token")]
        {
            parts.apply(stage, &parts.login("token", secret)).await?;
            parts.is_kept_out(stage, cause).await.with_context(|| format!("with a login that is {secret}"))?;
        }
        parts.apply(stage, &parts.login("ssh", "stranger")).await?;
        parts.is_kept_out(stage, "Host key verification failed").await.context("of an unknown server")?;
        parts.dead_server(stage).await?;
        parts.expect_only_public_requests(stage).await?;
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

/// A login is replaced while clients ask; none notices, no pod restarts, and neither login is written anywhere.
pub fn a_login_changes_under_load(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let mut parts = Parts::start(stage, "story-rotation").await?;
        parts.apply(stage, &parts.login("token", "git")).await?;
        parts.ask_public(stage).await?;
        let pods = parts.pods(stage).await?;
        let (old, new) = (parts.who.clone(), parts.git.issue().await?);
        let search = Search::start(&[&old, &new]);
        let host = parts.git.host.clone();
        let lists = ["acme/lib", "acme/lib/v2", "acme/app"].map(|path| format!("/{host}/{path}/@v/list"));
        let load = Load::start(&service_address(stage, parts.namespace).await?, &lists);
        load.more().await?;
        let start = Instant::now();
        parts.replace_login(stage, &new).await?;
        parts.until_mounted(stage, &pods[0].0, &new.token).await?;
        let renewed = start.elapsed();
        // Whoever began with the old login is answered before that is taken back.
        load.more().await?;
        parts.git.revoke(&old).await?;
        load.more().await?;
        let asked = load.stop().await?;
        ensure!(
            asked.failed.is_empty(),
            "{} of {} requests failed: {:?}",
            asked.failed.len(),
            asked.sent,
            asked.failed
        );
        ensure!(parts.pods(stage).await? == pods, "pods are not what they were: {pods:?}");
        stage.progress.note(format!(
            "  0 of {} requests failed; the new login was mounted after {:.0} s",
            asked.sent,
            renewed.as_secs_f64()
        ));
        let found = search.finish(stage, parts.namespace).await?;
        stage.progress.note(format!("  no login in {found}"));
        parts.expect_only_public_requests(stage).await?;
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

/// What is outside is asked for through the proxy, by go and by git; what is inside is not.
pub fn the_way_out_is_taken_by_go_and_git(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let parts = Parts::start(stage, "story-way-out").await?;
        let proxy = egress::start(&stage.cluster).await?;
        let mut spec = parts.spec(&parts.login("token", "git"))?;
        spec["upstream"]["egressProxy"] = json!({"httpsProxy": proxy.url()});
        spec["private"]["modules"] = json!([format!("{}/*", parts.git.host), "outside.example/*"]);
        parts.apply_spec(stage, spec).await?;
        // One path is looked up by go itself; the other says what it is, and is left to git.
        for (path, what) in [("outside.example/acme/lib", "go"), ("outside.example/acme/lib.git", "git")] {
            let known = proxy.requests()?.len();
            let address = service_address(stage, parts.namespace).await?;
            let (status, _) = ask(&address, &format!("/{path}/@v/v1.0.0.info"), PATIENCE).await?;
            ensure!(status == 404, "a host that does not exist answers with {status}");
            let asked = proxy.requests()?.split_off(known);
            let out =
                |request: &egress::Request| request.method == "CONNECT" && request.target == "outside.example:443";
            ensure!(!asked.is_empty() && asked.iter().all(out), "{what} asked the proxy for {asked:?}");
        }
        let printed = parts.build(stage, "v0.1.0").await?;
        ensure!(printed == "110", "what was built prints {printed:?}");
        let inside = |request: &egress::Request| request.target.contains(&parts.git.host);
        ensure!(!proxy.requests()?.iter().any(inside), "a Service of the cluster was asked for through the proxy");
        proxy.server.close().await?;
        parts.close(stage).await?;
        before.expect_only(&stage.cluster)
    })
}

/// A public origin, a private Git server, and Secrets that fit it or do not.
pub(super) struct Parts {
    namespace: &'static str,
    origin: Origin,
    pub(super) git: Git,
    pub(super) who: Credentials,
}

impl Parts {
    pub(super) async fn start(stage: &Stage, namespace: &'static str) -> Result<Self> {
        let origin = Origin::start(stage, namespace).await?;
        let mut git = git::start(&stage.cluster).await?;
        let who = git.issue().await?;
        let parts = Self { namespace, origin, git, who };
        let bundle = [parts.origin.authority(stage).await?, parts.git.ca_pem.clone()].concat();
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), namespace);
        let map = json!({"metadata": {"name": "bundle"}, "data": {"ca.crt": bundle}});
        maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
        let right = data(&parts.git, &parts.who);
        let mut stranger = right.clone();
        stranger["known_hosts"] = json!(parts.git.known_hosts.replace(&parts.git.host, "other.example.com"));
        for (name, data) in [("git", right), ("wrong", json!({"token": "nothing"})), ("stranger", stranger)] {
            let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), namespace);
            let secret = json!({"metadata": {"name": name}, "stringData": data});
            secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
        }
        Ok(parts)
    }

    /// One way into the Git server.
    pub(super) fn login(&self, way: &str, secret: &str) -> Value {
        let mut login = json!({"host": self.git.host, way: {"secretRef": {"name": secret}}});
        if way == "ssh" {
            login["port"] = json!(git::PORT_SSH);
        }
        login
    }

    fn spec(&self, login: &Value) -> Result<Value> {
        Ok(json!({
            "engine": {"fetchTimeout": "30s", "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}},
            "storage": {"memory": {}},
            "upstream": self.origin.upstream("bundle")?,
            "private": {"modules": [format!("{}/*", self.git.host)], "credentials": [login]},
            "rollout": {"scaleDownDelay": "0s"},
        }))
    }

    pub(super) async fn apply(&self, stage: &Stage, login: &Value) -> Result<()> {
        self.apply_spec(stage, self.spec(login)?).await
    }

    /// Applies the fleet, and waits until its newest proxy alone is left.
    async fn apply_spec(&self, stage: &Stage, spec: Value) -> Result<()> {
        stage.apply_fleet(self.namespace, FLEET, spec).await?;
        stage.wait_settled(self.namespace, FLEET).await?;
        until("one proxy is left", Duration::from_mins(1), || async {
            Ok((self.pods(stage).await?.len() == 1).then_some(()))
        })
        .await
    }

    /// The proxies: name, uid and restarts.
    pub(super) async fn pods(&self, stage: &Stage) -> Result<Vec<(String, String, i32)>> {
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), self.namespace);
        let found = pods.list(&ListParams::default().labels(&format!("goproxy.rs/fleet={FLEET}"))).await?;
        let restarts = |pod: &Pod| {
            let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            statuses.into_iter().flatten().map(|status| status.restart_count).sum()
        };
        Ok(found.items.iter().map(|pod| (pod.name_any(), pod.uid().unwrap_or_default(), restarts(pod))).collect())
    }

    /// Asks the fleet for a file of a module of the Git server.
    pub(super) async fn ask(&self, stage: &Stage, module: &str, file: &str) -> Result<(u16, String)> {
        let address = service_address(stage, self.namespace).await?;
        ask(&address, &format!("/{}/@v/{file}", self.git.module(module)), PATIENCE).await
    }

    /// Asks the fleet for a public module, so that the public origin has something to write down.
    pub(super) async fn ask_public(&self, stage: &Stage) -> Result<()> {
        let (path, version) = Module::new(1, 0).escaped();
        let address = service_address(stage, self.namespace).await?;
        let (status, body) = ask(&address, &format!("/{path}/@v/{version}.info"), PATIENCE).await?;
        ensure!(status == 200, "a public module: {status} {body}");
        Ok(())
    }

    /// Fails unless nothing comes from the Git server, for this reason. The engine says it to who asks for versions alone.
    async fn is_kept_out(&self, stage: &Stage, cause: &str) -> Result<()> {
        let (status, _) = self.ask(stage, "acme/app", "v0.1.0.info").await?;
        ensure!(status == 404, "a version is answered with {status}");
        let (status, body) = self.ask(stage, "acme/app", "list").await?;
        ensure!(status == 404 && body.contains(cause), "a list is answered with {status} {body}");
        Ok(())
    }

    /// Builds a program that uses the private module, with nothing but what the fleet's status tells; what it prints.
    async fn build(&self, stage: &Stage, version: &str) -> Result<String> {
        let fleet = stage.fleets(self.namespace).get(FLEET).await?;
        let settings = fleet.status.and_then(|status| status.client).context("the status tells clients nothing")?;
        let work = tempfile::tempdir().context("cannot make a directory for the client")?;
        let client = self.client(stage, work.path(), &settings).await?;
        let module = self.git.module("acme/app");
        let public = Module::new(1, 0);
        let named = format!("{}@{}", public.path(), public.version());
        client.run(work.path(), "cache", &["mod", "download", &named]).await.context("a public module")?;
        let project = work.path().join("project");
        std::fs::create_dir(&project)?;
        std::fs::write(project.join("go.mod"), format!("module x\n\ngo 1.24\n\nrequire {module} {version}\n"))?;
        let program = format!("package main\n\nimport \"{module}\"\n\nfunc main() {{ println(app.Answer()) }}\n");
        std::fs::write(project.join("main.go"), program)?;
        client.run(&project, "cache", &["mod", "tidy"]).await?;
        client.build_and_run(&project, "cache").await
    }

    async fn client(&self, stage: &Stage, work: &Path, settings: &ClientSettings) -> Result<GoClient> {
        let address = service_address(stage, self.namespace).await?;
        Ok(GoClient::new(work, settings, &format!("http://{}", address.trim_end_matches(":80"))))
    }

    /// What is stored is served without the Git server; the rest fails until it is back.
    async fn dead_server(&self, stage: &Stage) -> Result<()> {
        self.apply(stage, &self.login("token", "git")).await?;
        let (status, body) = self.ask(stage, "acme/lib", "v1.0.0.zip").await?;
        ensure!(status == 200, "before: {status} {body}");
        self.git.kill().await?;
        let (status, _) = self.ask(stage, "acme/lib", "v1.0.0.zip").await?;
        ensure!(status == 200, "what is stored is answered with {status} without the Git server");
        let (status, body) = self.ask(stage, "acme/lib", "v1.1.0.zip").await?;
        ensure!(status != 200, "a module came without the Git server: {body}");
        self.git.start_again().await?;
        until("misses work again", Duration::from_mins(1), || async {
            Ok((self.ask(stage, "acme/lib", "v1.1.0.zip").await?.0 == 200).then_some(()))
        })
        .await
    }

    /// The public origin knows of public modules alone.
    pub(super) async fn expect_only_public_requests(&self, stage: &Stage) -> Result<()> {
        let requests = self.origin.requests(stage).await?;
        let private: Vec<_> = requests.iter().filter(|request| request.path.contains(&self.git.host)).collect();
        ensure!(!requests.is_empty(), "the public origin was not asked at all: its log is no proof");
        ensure!(private.is_empty(), "the public origin was asked for private code: {private:?}");
        let served = self.git.requests()?.iter().filter(|request| request.status == 200).count();
        ensure!(served > 0, "the Git server was not asked either: its log is no proof");
        stage.progress.note(format!("  {} requests at the public origin, 0 of them for private code", requests.len()));
        Ok(())
    }

    /// Writes another login into the Secret that is mounted.
    pub(super) async fn replace_login(&self, stage: &Stage, new: &Credentials) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), self.namespace);
        let patch = json!({"stringData": data(&self.git, new)});
        secrets.patch("git", &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until a pod's file holds a token. The token goes through a pipe: in an argument it would be seen.
    async fn until_mounted(&self, stage: &Stage, pod: &str, token: &str) -> Result<()> {
        let script = format!("read -r token </etc/goproxy/logins/{}/token; echo \"$token\"", self.git.host);
        let args = ["-n", self.namespace, "exec", pod, "--", "sh", "-c", &script];
        until("the new login is mounted", RENEWAL, || async {
            Ok((stage.cluster.kubectl(&args).await?.trim() == token).then_some(()))
        })
        .await
    }

    pub(super) async fn close(self, stage: &Stage) -> Result<()> {
        stage.abandon(self.namespace).await?;
        self.git.close().await
    }
}

/// One Secret with a key for each way in.
fn data(git: &Git, who: &Credentials) -> Value {
    json!({
        "username": who.user, "password": who.password, "token": who.token,
        ".netrc": format!("machine {}\n  login {}\n  password {}\n", git.host, who.user, who.password),
        "ssh-privatekey": who.ssh_key, "known_hosts": git.known_hosts,
    })
}
