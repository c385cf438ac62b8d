//! Where modules are kept, and how they come in: an object store, a shared volume, a proxy.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::super::{Stage, Telling};
use super::{Before, refused};
use crate::image::{self, Image};
use crate::service::egress::Request;
use crate::service::{bucket, egress, volume};

/// Objects are stored, read, damaged, lost and found; a wrong secret is refused.
pub fn a_bucket_keeps_objects(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let mut bucket = bucket::start(&stage.cluster).await?;
        let key = "git.invalid/lib/@v/v1.0.0.mod";
        bucket.put(key, "module git.invalid/lib\n").await?;
        ensure!(bucket.get(key).await? == "module git.invalid/lib\n", "the object came back changed");
        ensure!(std::fs::read_to_string(bucket.file(key))? == "module git.invalid/lib\n", "the file is another one");
        // The other endpoint is up as well, and asks for a signature.
        let answer = stage.cluster.run_inside("curl", &["--silent", &bucket.endpoint()], "").await?;
        ensure!(answer.contains("<Error>"), "without a signature: {answer}");
        let secret = std::mem::replace(&mut bucket.secret_key, "0123456789abcdef".to_owned());
        let error = refused(bucket.get(key).await, "a wrong secret")?;
        ensure!(error.contains("403"), "{error}");
        bucket.secret_key = secret;

        bucket.server.kill().await?;
        refused(bucket.get(key).await, "a request to a store that is gone")?;
        bucket.server.start_again().await?;
        bucket.get(key).await.context("the object is lost after a restart")?;
        bucket.delete(key).await?;
        ensure!(refused(bucket.get(key).await, "a deleted object")?.contains("404"), "a deleted object is still there");
        let requests = bucket.requests()?;
        let gets = requests.iter().filter(|line| line.contains(key) && line.contains("GetObject")).count();
        ensure!(gets == 4, "{gets} of 4 answered requests are in the log: {requests:#?}");
        bucket.server.close().await?;
        before.expect_only(&stage.cluster)
    })
}

/// A claim for many writers is bound, and each of two pods sees what the other one wrote.
pub fn two_pods_write_to_one_volume(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let namespace = "story-shared";
        stage.cluster.namespace(namespace).await?;
        let volumes = volume::start(&stage.cluster, 1, "1Gi").await?;
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "shared"},
            "spec": {
                "storageClassName": volume::CLASS, "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        });
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [claim, writer("one"), writer("two")]});
        let kubectl = ["-n", namespace];
        let apply = [&kubectl[..], &["apply", "-f", "-"]].concat();
        stage.cluster.kubectl_with_input(&apply, &objects.to_string()).await?;
        let wait = ["wait", "--for=condition=Ready", "--timeout=60s", "pod/one", "pod/two"];
        stage.cluster.kubectl(&[&kubectl[..], &wait].concat()).await?;
        for (reader, other) in [("one", "two"), ("two", "one")] {
            let file = format!("/shared/{other}");
            let read = [&kubectl[..], &["exec", reader, "--", "cat", &file]].concat();
            let text = stage.cluster.kubectl(&read).await?;
            ensure!(text.trim() == other, "{reader} reads {text:?} from {file}");
        }
        ensure!(volumes.directory(&volumes.names()[0]).join("one").exists(), "the files are somewhere else");
        stage.cluster.kubectl(&[&kubectl[..], &["delete", "pod", "one", "two", "--wait"]].concat()).await?;
        stage.cluster.kubectl(&[&kubectl[..], &["delete", "pvc", "shared", "--wait"]].concat()).await?;
        volumes.close().await?;
        stage.abandon(namespace).await?;
        before.expect_only(&stage.cluster)
    })
}

/// Writes its name into the volume as an ordinary user, and is ready when both have.
fn writer(name: &str) -> Value {
    let script = format!("echo {name} >/shared/{name} && exec sleep infinity");
    let both = "test -e /shared/one && test -e /shared/two";
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0, "securityContext": {"fsGroup": 65532},
            "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}],
            "containers": [{
                "name": "main", "image": image::reference(Image::Busybox), "imagePullPolicy": "Never",
                "command": ["sh", "-c", script], "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
                "readinessProbe": {"exec": {"command": ["sh", "-c", both]}, "periodSeconds": 1},
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
                    "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
                },
            }],
        },
    })
}

/// Plain and encrypted requests arrive through the proxy, and nowhere when it is gone.
pub fn the_way_out_is_written_down(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let bucket = bucket::start(&stage.cluster).await?;
        let proxy = egress::start(&stage.cluster).await?;
        let ca = stage.cluster.directory().join("services/s3/ca.crt").display().to_string();
        let (plain, encrypted) = (format!("{}/", bucket.endpoint()), bucket.encrypted_endpoint());
        let ask = async |url: &str| {
            let args = ["--silent", "--show-error", "--cacert", &ca, "--proxy", &proxy.url(), url];
            stage.cluster.run_inside("curl", &args, "").await
        };
        for url in [&plain, &encrypted] {
            let answer = ask(url).await?;
            ensure!(answer.contains("<Error>"), "through the proxy the store says {answer:?}");
        }
        let expected = [
            Request { method: "GET".to_owned(), target: plain.clone() },
            Request { method: "CONNECT".to_owned(), target: encrypted.trim_start_matches("https://").to_owned() },
        ];
        let written = proxy.requests()?;
        ensure!(written == expected, "the proxy wrote down {written:?}");
        proxy.server.kill().await?;
        refused(ask(&plain).await, "a request without the proxy")?;
        proxy.server.start_again().await?;
        ask(&encrypted).await.context("the proxy does not come back")?;
        proxy.server.close().await?;
        bucket.server.close().await?;
        before.expect_only(&stage.cluster)
    })
}
