//! Private code: a Git server, asked by git itself and by the go command.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::{Stage, Telling};
use super::{Before, refused};
use crate::cluster::{Cluster, until};
use crate::image::{self, Image};
use crate::service::git::{self, Credentials, Git};

/// A git client outside of pods, with nothing but what it is given.
struct Client<'a> {
    cluster: &'a Cluster,
    git: &'a Git,
    work: &'a Path,
}

impl Client<'_> {
    /// Lists the tags of a repository over https, as the user and with the password of these credentials.
    async fn https(&self, user: &str, password: &str) -> Result<String> {
        let store = self.git.client_file("store", &format!("https://{user}:{password}@{}\n", self.git.host))?;
        let helper = format!("credential.helper=store --file={}", store.display());
        self.list(&["-c", &helper], &self.git.https("acme/lib"), "true").await
    }

    /// The same with a bearer token.
    async fn bearer(&self, token: &str) -> Result<String> {
        let header =
            self.git.client_file("bearer", &format!("[http]\n\textraHeader = Authorization: Bearer {token}\n"))?;
        self.list(&["-c", &format!("include.path={}", header.display())], &self.git.https("acme/lib"), "true").await
    }

    /// The same over ssh.
    async fn ssh(&self, credentials: &Credentials) -> Result<String> {
        let key = self.git.client_file("key", &credentials.ssh_key)?.display().to_string();
        let known = self.git.client_file("known_hosts", &self.git.known_hosts)?.display().to_string();
        let command = format!(
            "ssh -F none -i {key} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes \
             -o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null"
        );
        self.list(&[], &self.git.ssh_by_address("acme/lib"), &command).await
    }

    async fn list(&self, more: &[&str], url: &str, ssh: &str) -> Result<String> {
        let ca = self.git.client_file("ca.crt", &self.git.ca_pem)?.display().to_string();
        let resolve = format!("http.curloptResolve={}", self.git.resolved());
        let (ca, ssh) = (format!("http.sslCAInfo={ca}"), format!("core.sshCommand={ssh}"));
        let work = self.work.display().to_string();
        let common = ["GIT_TERMINAL_PROMPT=0", "git", "-C", &work, "-c", &ca, "-c", &resolve, "-c", &ssh];
        let args = [&common[..], more, &["ls-remote", "--tags", url]].concat();
        self.cluster.run_inside("env", &args, "").await
    }
}

/// Password, token and key let in; others, and those that were taken back, do not. Every fetch is in the log.
pub fn a_server_lets_in_who_has_credentials(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let mut git = git::start(&stage.cluster).await?;
        let old = git.issue().await?;
        let work = tempfile::tempdir().context("cannot make a directory for the client")?;
        lets_in(&stage.cluster, &git, work.path(), &old).await?;
        let new = git.issue().await?;
        lets_in(&stage.cluster, &git, work.path(), &old).await.context("while both are valid")?;
        git.revoke(&old).await?;
        lets_in(&stage.cluster, &git, work.path(), &new).await?;
        let client = Client { cluster: &stage.cluster, git: &git, work: work.path() };
        keeps_out(&client, &old).await?;
        ensure!(git.ssh_log()?.contains("Accepted publickey for git"), "sshd says nothing about logins");

        let fetches = |method: &str| -> Result<usize> {
            let requests = git.requests()?;
            let served = requests.iter().filter(|r| r.method == method && r.status == 200);
            Ok(served.filter(|request| request.path.starts_with("/acme/lib.git")).count())
        };
        ensure!(fetches("SSH")? == 3, "{} of 3 fetches over ssh are in the log", fetches("SSH")?);
        ensure!(fetches("POST")? == 9, "{} of 9 fetches over https are in the log", fetches("POST")?);
        git.kill().await?;
        refused(client.https(&new.user, &new.password).await, "a client of a server that is gone")?;
        refused(client.ssh(&new).await, "a client of a server that is gone")?;
        git.start_again().await?;
        lets_in(&stage.cluster, &git, work.path(), &new).await.context("after a restart")?;
        git.close().await?;
        before.expect_only(&stage.cluster)
    })
}

/// Three fetches over https and one over ssh.
async fn lets_in(cluster: &Cluster, git: &Git, work: &Path, who: &Credentials) -> Result<()> {
    let client = Client { cluster, git, work };
    let answers = [
        client.https(&who.user, &who.password).await.context("with a password")?,
        client.https("x-access-token", &who.token).await.context("with a token as password")?,
        client.bearer(&who.token).await.context("with a bearer token")?,
        client.ssh(who).await.context("with a key")?,
    ];
    for answer in answers {
        ensure!(answer.contains("refs/tags/v2.0.0"), "the tags are {answer:?}");
    }
    Ok(())
}

async fn keeps_out(client: &Client<'_>, who: &Credentials) -> Result<()> {
    let error = refused(client.https(&who.user, &who.password).await, "a password that was taken back")?;
    ensure!(error.contains("Authentication failed") || error.contains("could not read"), "{error}");
    let error = refused(client.bearer(&who.token).await, "a token that was taken back")?;
    ensure!(error.contains("could not read Username"), "{error}");
    let error = refused(client.ssh(who).await, "a key that was taken back")?;
    ensure!(error.contains("Permission denied (publickey)"), "{error}");
    let mut stranger = who.clone();
    "nothing".clone_into(&mut stranger.ssh_key);
    refused(client.ssh(&stranger).await, "no key at all").map(drop)
}

/// The module that needs the other is built, over both ways in, by a go command that knows the server by its name.
pub fn a_go_command_gets_private_modules(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let namespace = "story-git";
        stage.cluster.namespace(namespace).await?;
        let mut git = git::start(&stage.cluster).await?;
        let who = git.issue().await?;
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [secret(&git, &who), pod(&git)]});
        let apply = ["-n", namespace, "apply", "-f", "-"];
        stage.cluster.kubectl_with_input(&apply, &objects.to_string()).await?;
        let download = async |directory: &str, settings: &str, version: &str| {
            let module = format!("{}@{version}", git.module("acme/app"));
            // The image has neither coreutils nor busybox; git makes directories as well.
            let script = format!(
                "export GOPATH=/tmp/{directory}/path GOCACHE=/tmp/cache {settings}; git init --quiet /tmp/{directory} && \
                 cd /tmp/{directory} && go mod init x 2>/dev/null; go get {module} && go list -m all"
            );
            stage.cluster.kubectl(&["-n", namespace, "exec", "client", "--", "dash", "-c", &script]).await
        };
        let ready = ["-n", namespace, "wait", "--for=condition=Ready", "--timeout=60s", "pod/client"];
        stage.cluster.kubectl(&ready).await?;
        // A fresh name is known to the cluster's name service a moment later.
        let needs = until("the go command gets the module over https", std::time::Duration::from_secs(30), || async {
            Ok(download("https", "HOME=/secret", "v0.1.0").await.ok())
        })
        .await?;
        ensure!(needs.contains("acme/lib v1.1.0"), "the modules over https are {needs:?}");
        let over_ssh = format!(
            "GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=url.ssh://git@{0}:2222/.insteadOf GIT_CONFIG_VALUE_0=https://{0}/",
            git.host
        );
        let needs = download("ssh", &over_ssh, "v0.2.0").await?;
        ensure!(needs.contains("acme/lib/v2 v2.0.0"), "the modules over ssh are {needs:?}");
        let error = refused(download("none", "HOME=/tmp", "v0.1.0").await, "a go command without credentials")?;
        ensure!(error.contains("could not read Username"), "{error}");
        git.close().await?;
        stage.abandon(namespace).await?;
        before.expect_only(&stage.cluster)
    })
}

fn secret(git: &Git, who: &Credentials) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"},
        "stringData": {
            ".netrc": format!("machine {} login {} password {}\n", git.host, who.user, who.password),
            "key": who.ssh_key, "known_hosts": git.known_hosts, "ca.crt": git.ca_pem,
        },
    })
}

/// The go command and git of the engine's image, as the engine runs them, beside a program that stays.
fn pod(git: &Git) -> Value {
    let ssh =
        "ssh -F none -i /secret/key -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile=/secret/known_hosts";
    let variables = [
        ("GOPRIVATE", git.host.as_str()),
        ("GOTOOLCHAIN", "local"),
        ("SSL_CERT_FILE", "/secret/ca.crt"),
        ("GIT_SSL_CAINFO", "/secret/ca.crt"),
        ("GIT_SSH_COMMAND", ssh),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("HOME", "/tmp"),
    ];
    let variables: Vec<Value> = variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"},
        "spec": {
            "terminationGracePeriodSeconds": 0, "enableServiceLinks": false, "securityContext": {"fsGroup": 1000},
            "volumes": [
                {"name": "secret", "secret": {"secretName": "git", "defaultMode": 0o440}},
                {"name": "tmp", "emptyDir": {}},
            ],
            "containers": [{
                "name": "main", "image": image::reference(Image::Athens), "imagePullPolicy": "Never",
                "command": ["ssh-agent", "-D", "-a", "/tmp/agent"], "env": variables,
                "volumeMounts": [{"name": "secret", "mountPath": "/secret"}, {"name": "tmp", "mountPath": "/tmp"}],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
                    "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}, "readOnlyRootFilesystem": true,
                },
            }],
        },
    })
}
