//! A go client downloads through fleets: verified, without the origin once the fleet has it, and past the origin for
//! private modules.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use goproxy_operator::api::status::ClientSettings;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams};
use serde_json::{Value, json};

use super::{Stage, Telling, holds};
use crate::cluster::until;
use crate::go_client::GoClient;
use crate::image::{self, Image};
use crate::operator;
use crate::origin::generated::{self, Module};
use crate::origin::server::{self, Request};

pub(super) const ORIGIN: &str = "origin";
/// The fleet of these stories.
pub(super) const FLEET: &str = "public";
/// A name that the origin's certificate is good for too, and that nothing in the cluster leads to.
pub(super) const OUTSIDE: &str = "mirror.example";

/// A project downloads with every sum verified, and again when the origin is gone.
pub fn downloads_are_verified_then_served_without_the_origin(stage: &Stage) -> Telling<'_> {
    Box::pin(verified_then_unplugged(stage, "story-download", json!({})))
}

/// What matches a private pattern is not asked for at the origin, which has it.
pub fn private_modules_stay_private(stage: &Stage) -> Telling<'_> {
    Box::pin(private_stays_private(stage))
}

/// A fleet of this spec, which says all but its origin.
pub(super) async fn verified_then_unplugged(stage: &Stage, namespace: &str, spec: Value) -> Result<()> {
    let origin = Origin::start(stage, namespace).await?;
    let settings = fleet(stage, &origin, spec).await?;
    let work = tempfile::tempdir().context("cannot make a directory for the client")?;
    let client = GoClient::new(work.path(), &settings, &address(stage, namespace).await?);
    let (fresh, checked_out) = (work.path().join("fresh"), work.path().join("checked-out"));
    generated::write_consumer(&fresh, false)?;
    generated::write_consumer(&checked_out, true)?;
    let go_sum = std::fs::read_to_string(checked_out.join("go.sum"))?;

    let cold = client.download(&fresh, "cold").await?;
    ensure!(
        cold.modules.len() == generated::MODULES,
        "{} modules came, not {}",
        cold.modules.len(),
        generated::MODULES
    );
    let different = cold.differing_from(&go_sum);
    ensure!(different.is_empty(), "sums differ from those of the origin: {}", different.join(", "));
    let records: usize = cold.records.values().sum();
    ensure!(
        records >= generated::MODULES,
        "{records} records of the checksum database reached the client: {:?}",
        cold.records
    );
    let zips = origin.requests(stage).await?.iter().filter(|r| r.status == 200 && r.path.contains(".zip")).count();
    ensure!(zips == generated::MODULES, "the origin gave {zips} zips for {} modules", generated::MODULES);

    origin.unplug(stage).await?;
    // Without this, a fleet that still reached its origin would pass as well.
    let (unknown, version) = (Module::new(1, 0).path(), Module::new(1, 0).version());
    let asked = client.run(&fresh, "unknown", &["mod", "download", &format!("{unknown}@{version}")]).await;
    ensure!(asked.is_err(), "{unknown}@{version} was never downloaded before and came with the origin unplugged");
    let warm = client.download(&checked_out, "warm").await?;
    ensure!(warm.modules.len() == generated::MODULES, "{} modules came the second time", warm.modules.len());
    let different = warm.differing_from(&go_sum);
    ensure!(different.is_empty(), "the fleet changed what it stored: {}", different.join(", "));
    let printed = client.build_and_run(&checked_out, "warm").await?;
    ensure!(printed == generated::MODULES.to_string(), "the program of what was downloaded printed {printed:?}");
    stage.progress.note(format!("  cold: {}; origin unplugged: {}", cold.summary(), warm.summary()));
    stage.abandon(namespace).await
}

async fn private_stays_private(stage: &Stage) -> Result<()> {
    let namespace = "story-private";
    let origin = Origin::start(stage, namespace).await?;
    let settings = fleet(stage, &origin, json!({"private": {"modules": ["origin.invalid/Mixed"]}})).await?;
    ensure!(settings.gonosumdb == "origin.invalid/Mixed", "clients are told GONOSUMDB={:?}", settings.gonosumdb);
    let work = tempfile::tempdir().context("cannot make a directory for the client")?;
    let client = GoClient::new(work.path(), &settings, &address(stage, namespace).await?);
    let (private, public) = (Module::new(5, 0), Module::new(1, 0));
    let named = |module: Module| format!("{}@{}", module.path(), module.version());
    client.run(work.path(), "public", &["mod", "download", &named(public)]).await.context("a public module")?;
    // Its version control server does not exist, so it cannot be had: the origin has it, and must not be asked.
    let asked = client.run(work.path(), "private", &["mod", "download", &named(private)]).await;
    ensure!(asked.is_err(), "{} came from somewhere, and only the origin has it", named(private));
    let requests = origin.requests(stage).await?;
    // The go command writes the mark of an uppercase letter as `%21`.
    let is_about = |path: &str, module: Module| path.replace("%21", "!").contains(&module.escaped().0);
    let about = |module| requests.iter().filter(|request| is_about(&request.path, module)).count();
    ensure!(
        about(public) > 0,
        "the origin was not even asked for {}: its record of requests is no proof",
        named(public)
    );
    ensure!(about(private) == 0, "the origin was asked {} times for {}", about(private), named(private));
    stage.abandon(namespace).await
}

/// The generated modules and their checksum database, served by TLS inside the cluster under a name and certificate
/// of their own.
pub(crate) struct Origin {
    namespace: String,
    /// The zip of this one takes long: so many bytes a second.
    slow: Option<(Module, u32)>,
}

impl Origin {
    /// Starts it in a namespace, which is made.
    pub(crate) async fn start(stage: &Stage, namespace: &str) -> Result<Self> {
        Self::start_with(stage, namespace, None).await
    }

    /// The same, and it gives out the zip of one module with so many bytes a second.
    pub(super) async fn start_with(stage: &Stage, namespace: &str, slow: Option<(Module, u32)>) -> Result<Self> {
        stage.cluster.import(&image::archive(Image::Origin, &stage.progress)?).await?;
        stage.cluster.namespace(namespace).await?;
        let origin = Self { namespace: namespace.to_owned(), slow };
        for object in origin.objects()? {
            operator::apply(&stage.client, &serde_json::from_value(object)?).await?;
        }
        let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), namespace);
        until("the origin is available", Duration::from_mins(1), || async {
            let status = deployments.get(ORIGIN).await?.status.unwrap_or_default();
            Ok((status.available_replicas == Some(1)).then_some(()))
        })
        .await?;
        Ok(origin)
    }

    /// Its name inside the cluster.
    pub(super) fn host(&self) -> String {
        format!("{ORIGIN}.{}.svc", self.namespace)
    }

    fn objects(&self) -> Result<Vec<Value>> {
        let issued = rcgen::generate_simple_self_signed([self.host(), OUTSIDE.to_owned()])
            .context("cannot make a certificate")?;
        let listen = "8443 ssl;\n        ssl_certificate /tls/tls.crt;\n        ssl_certificate_key /tls/tls.key";
        let mut conf = server::nginx_conf(listen, "/srv/origin", "/tmp", "/dev/stdout");
        if let Some((module, rate)) = self.slow {
            let (path, version) = module.escaped();
            let place = "        location ~ \\.zip$ {";
            ensure!(conf.contains(place), "the configuration of the origin has no place for a slow module");
            let slow = format!("        location = /{path}/@v/{version}.zip {{ limit_rate {rate}; }}\n{place}");
            conf = conf.replace(place, &slow);
        }
        let labels = json!({"app": ORIGIN});
        let object = |api_version: &str, kind: &str, name: &str, rest: Value| {
            let mut object = json!({
                "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": self.namespace},
            });
            if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
                object.extend(rest);
            }
            object
        };
        Ok(vec![
            object("v1", "ConfigMap", "authority", json!({"data": {"ca.crt": issued.cert.pem()}})),
            object("v1", "ConfigMap", ORIGIN, json!({"data": {"nginx.conf": conf}})),
            object(
                "v1",
                "Secret",
                ORIGIN,
                json!({
                    "stringData": {"tls.crt": issued.cert.pem(), "tls.key": issued.signing_key.serialize_pem()},
                }),
            ),
            object(
                "v1",
                "Service",
                ORIGIN,
                json!({"spec": {
                    "selector": labels, "ports": [{"port": 443, "targetPort": 8443, "protocol": "TCP"}],
                }}),
            ),
            object(
                "apps/v1",
                "Deployment",
                ORIGIN,
                json!({"spec": {
                    "replicas": 1, "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod()},
                }}),
            ),
        ])
    }

    /// The fleet's part that leads here and nowhere else. The certificate authority is in the ConfigMap of this name.
    pub(crate) fn upstream(&self, authority: &str) -> Result<Value> {
        let key = generated::checksum_database()?;
        let (name, host) = (key.split('+').next().unwrap_or_default(), self.host());
        Ok(json!({
            "proxies": [{"name": ORIGIN, "url": format!("https://{host}")}],
            "direct": "Disabled",
            "checksumDatabase": {"name": name, "key": key, "url": format!("https://{host}/sumdb/{name}")},
            "caBundle": {"configMapKeyRef": {"name": authority, "key": "ca.crt"}},
        }))
    }

    /// Who vouches for it, as PEM.
    pub(super) async fn authority(&self, stage: &Stage) -> Result<String> {
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), &self.namespace);
        let data = maps.get("authority").await?.data.unwrap_or_default();
        data.get("ca.crt").cloned().context("the origin has no authority")
    }

    /// What was asked so far.
    pub(super) async fn requests(&self, stage: &Stage) -> Result<Vec<Request>> {
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), &self.namespace);
        let found = pods.list(&ListParams::default().labels(&format!("app={ORIGIN}"))).await?;
        let name = found.items.first().and_then(|pod| pod.metadata.name.as_deref()).context("the origin has no pod")?;
        let text = pods.logs(name, &LogParams::default()).await.context("cannot read the origin's log")?;
        text.lines().filter(|line| line.starts_with('{')).map(Request::parse).collect()
    }

    /// Takes it away, and waits until nothing of it answers.
    pub(super) async fn unplug(&self, stage: &Stage) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), &self.namespace);
        deployments.delete(ORIGIN, &DeleteParams::foreground()).await?;
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), &self.namespace);
        let selector = ListParams::default().labels(&format!("app={ORIGIN}"));
        until("the origin is gone", Duration::from_mins(1), || async {
            Ok(pods.list(&selector).await?.items.is_empty().then_some(()))
        })
        .await
    }
}

fn pod() -> Value {
    json!({
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [
            {"name": "conf", "configMap": {"name": ORIGIN}},
            {"name": "tls", "secret": {"secretName": ORIGIN}},
            {"name": "tmp", "emptyDir": {}},
        ],
        "containers": [{
            "name": ORIGIN, "image": image::reference(Image::Origin), "imagePullPolicy": "Never",
            "args": ["-c", "/conf/nginx.conf", "-g", "daemon off;"],
            "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "conf", "mountPath": "/conf"}, {"name": "tls", "mountPath": "/tls"},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }],
    })
}

/// A fleet that knows this origin and its checksum database alone; returns what clients are told to set.
pub(super) async fn fleet(stage: &Stage, origin: &Origin, mut spec: Value) -> Result<ClientSettings> {
    spec["upstream"] = origin.upstream("authority")?;
    stage.apply_fleet(&origin.namespace, FLEET, spec).await?;
    let fleet = stage.wait_settled(&origin.namespace, FLEET).await?;
    ensure!(holds(&fleet, "Ready") == Some(true), "the fleet is settled and not ready");
    fleet.status.and_then(|status| status.client).context("the status tells clients nothing")
}

/// Where the host reaches the fleet.
pub(super) async fn address(stage: &Stage, namespace: &str) -> Result<String> {
    let services: Api<Service> = Api::namespaced(stage.client.clone(), namespace);
    let spec = services.get(FLEET).await.context("the fleet has no Service")?.spec;
    Ok(format!("http://{}", spec.and_then(|spec| spec.cluster_ip).context("the Service has no address")?))
}
