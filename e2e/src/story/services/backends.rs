//! Places for modules other than S3 and volumes: Google Cloud Storage, MongoDB, Azure. The first two have stand-ins that speak
//! their protocols; for Azure it is shown how far the engine comes without one.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};

use super::super::{
    Stage, Telling, condition,
    download::Origin,
    holds,
    serving::{ask, service_address},
};
use super::Before;
use crate::{
    cluster::until,
    origin::generated::Module,
    service::{bucket, egress, etcd, external, gcs, mongo},
};

const FLEET: &str = "corp";
/// Who waits for a fetch of another proxy waits for all of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Builds that ask for the same module at once.
const CLIENTS: usize = 50;
/// A storage account that nobody has.
const ACCOUNT: &str = "goproxylabnobody";

/// Two proxies on one bucket of Google's, with the login of a service account: what one stores the other serves. The bucket
/// outlives every pod; without the store the condition tells of it, and with it all works again; a bucket that does not
/// exist is told of in the engine's own words.
pub fn modules_are_kept_at_google(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let store = gcs::start(&stage.cluster).await?;
        let proxy = egress::start_knowing(&stage.cluster, &store.names()).await?;
        let fleet = Fleet::start(stage, "story-google", &store.ca_pem).await?;
        fleet.secret(stage, "gcs", json!({"key.json": store.key})).await?;
        let spec = |bucket: &str, lock: &str| -> Result<Value> {
            let mut spec = fleet.spec(2)?;
            spec["storage"] = json!({"gcs": {"bucket": bucket, "credentialsSecretRef": {"name": "gcs"}}});
            spec["lock"] = json!({lock: {}});
            spec["upstream"]["egressProxy"] = json!({"httpsProxy": proxy.url()});
            Ok(spec)
        };
        // Its own lock holds nobody back: all that is sure of it is that nobody gets something else. Without it each proxy fetches once.
        for (index, lock, most) in [(1, "native", CLIENTS), (2, "inProcess", 2)] {
            fleet.apply(stage, spec(&store.bucket, lock)?).await.context(lock)?;
            fleet.is_fetched_and_kept(stage, Module::new(index, 0), most).await.context(lock)?;
        }
        let kept = store.objects().await?;
        ensure!(kept.len() == 6, "the bucket has {kept:?}");
        stage.progress.note(format!("  the bucket has {}", kept.join(", ")));

        store.server.kill().await?;
        let told = fleet.not_ready(stage, "NotReady", [false, false]).await?;
        stage.progress.note(format!("  without the store: {told}"));
        ensure!(told.contains("spec.storage.gcs"), "{told}");
        store.server.start_again().await?;
        stage.wait_settled(fleet.namespace, FLEET).await?;
        fleet.serves(stage, Module::new(1, 0)).await?;

        stage.apply_fleet(fleet.namespace, FLEET, spec("no-such-bucket", "inProcess")?).await?;
        let refused = fleet.not_ready(stage, "ConfigRefused", [true, true]).await?;
        stage.progress.note(format!("  a bucket that does not exist: {refused}"));
        ensure!(refused.contains("storage bucket"), "{refused}");
        stage.abandon(fleet.namespace).await?;
        proxy.server.close().await?;
        store.server.close().await?;
        before.expect_only(&stage.cluster)
    })
}

/// Two proxies on one database with etcd between them: of many clients that ask for one cold module none makes a second fetch. The
/// database outlives every pod; without it the condition tells of it, and with it all works again.
pub fn modules_are_kept_in_mongodb(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let (database, lock) = (mongo::start(&stage.cluster).await?, etcd::start(&stage.cluster).await?);
        let fleet = Fleet::start(stage, "story-mongo", "").await?;
        fleet.secret(stage, "mongo", json!({"url": database.url()})).await?;
        let mut spec = fleet.spec(2)?;
        spec["storage"] = json!({"mongo": {"credentialsSecretRef": {"name": "mongo"}, "database": "goproxy"}});
        spec["lock"] = json!({"etcd": {"addresses": [lock.endpoint()]}});
        fleet.apply(stage, spec).await?;
        fleet.is_fetched_and_kept(stage, Module::new(2, 0), 1).await?;
        ensure!(database.has("goproxy"), "the modules are in another database");

        database.server.kill().await?;
        let told = fleet.not_ready(stage, "NotReady", [false, false]).await?;
        stage.progress.note(format!("  without the database: {told}"));
        ensure!(told.contains("spec.storage.mongo"), "{told}");
        database.server.start_again().await?;
        stage.wait_settled(fleet.namespace, FLEET).await?;
        fleet.serves(stage, Module::new(2, 0)).await?;
        stage.abandon(fleet.namespace).await?;
        database.server.close().await?;
        lock.server.close().await?;
        before.expect_only(&stage.cluster)
    })
}

/// The client for MinIO makes its bucket in a store that speaks S3, and keeps modules there.
pub fn modules_are_kept_by_the_client_for_minio(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let store = bucket::start(&stage.cluster).await?;
        let fleet = Fleet::start(stage, "story-minio", "").await?;
        fleet.secret(stage, "minio", json!({"accessKey": store.access_key, "secretKey": store.secret_key})).await?;
        let mut spec = fleet.spec(1)?;
        spec["storage"] = json!({"minio": {
            "endpoint": store.endpoint().trim_start_matches("http://"), "bucket": "made-by-the-engine",
            "region": store.region, "tls": "Disabled", "credentialsSecretRef": {"name": "minio"},
        }});
        fleet.apply(stage, spec).await?;
        fleet.is_fetched_and_kept(stage, Module::new(7, 0), 1).await?;
        stage.abandon(fleet.namespace).await?;
        store.server.close().await?;
        before.expect_only(&stage.cluster)
    })
}

/// Two proxies on a storage service of one's own, which keeps versions whole or not at all. Without it what is stored is not served
/// either, clients are told of a failure and not that the module does not exist, and the condition names the field; with it all works
/// again.
pub fn modules_are_kept_by_a_service_of_one_s_own(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let (store, lock) = (external::start(&stage.cluster).await?, etcd::start(&stage.cluster).await?);
        let fleet = Fleet::start(stage, "story-external", "").await?;
        let mut spec = fleet.spec(2)?;
        spec["storage"] = json!({"external": {"url": store.url()}});
        spec["lock"] = json!({"etcd": {"addresses": [lock.endpoint()]}});
        fleet.apply(stage, spec).await?;
        let (known, unknown) = (Module::new(5, 0), Module::new(6, 0));
        fleet.is_fetched_and_kept(stage, known, 1).await?;
        let (path, version) = known.escaped();
        let kept = store.files(&path)?;
        ensure!(kept == ["info", "mod", "zip"].map(|ending| format!("{version}.{ending}")), "the service has {kept:?}");
        let address = service_address(stage, fleet.namespace).await?;
        let (status, versions) = ask(&address, &format!("/{path}/@v/list"), PATIENCE).await?;
        ensure!(status == 200 && versions.contains(&version), "versions: {status} {versions}");

        store.server.kill().await?;
        for (module, what) in [(known, "what is stored"), (unknown, "what is not")] {
            // Right after: while the proxies are still believed to be ready.
            let (status, body) = ask(&address, &module.zip(), PATIENCE).await?;
            ensure!(status >= 500, "without the service {what} is answered with {status}: {body}");
        }
        let told = fleet.not_ready(stage, "NotReady", [false, false]).await?;
        stage.progress.note(format!("  without the service: {told}"));
        ensure!(told.contains("spec.storage.external"), "{told}");
        store.server.start_again().await?;
        stage.wait_settled(fleet.namespace, FLEET).await?;
        for module in [known, unknown] {
            fleet.serves(stage, module).await?;
        }
        ensure!(fleet.fetches(stage, known).await? == 1, "what was stored was fetched again");
        stage.abandon(fleet.namespace).await?;
        store.server.close().await?;
        lock.server.close().await?;
        before.expect_only(&stage.cluster)
    })
}

/// Nothing here stands for Azure. The engine takes its settings, starts, and asks exactly the account's own address; it gets no
/// answer there, and the condition tells of it.
pub fn azure_is_asked_at_the_account_s_address(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let before = Before::of(&stage.cluster);
        let address = format!("{ACCOUNT}.blob.core.windows.net");
        // Nothing listens at that port: whatever names are known outside, nobody is asked there.
        let nowhere = stage.cluster.addresses().cluster_end();
        let proxy = egress::start_knowing(&stage.cluster, &[(&address, nowhere)]).await?;
        let fleet = Fleet::start(stage, "story-azure", "").await?;
        fleet.secret(stage, "azure", json!({"accountKey": "bm9ib2R5J3Mga2V5"})).await?;
        let mut spec = fleet.spec(1)?;
        spec["storage"] = json!({"azureBlob": {
            "accountName": ACCOUNT, "container": "modules", "credentialsSecretRef": {"name": "azure"},
        }});
        spec["upstream"]["egressProxy"] = json!({"httpsProxy": proxy.url()});
        stage.apply_fleet(fleet.namespace, FLEET, spec).await?;
        let told = fleet.not_ready(stage, "NotReady", [true, false]).await?;
        stage.progress.note(format!("  without an account: {told}"));
        ensure!(told.contains("spec.storage.azureBlob"), "{told}");
        let asked = proxy.requests()?;
        let account = |one: &egress::Request| one.method == "CONNECT" && one.target == format!("{address}:443");
        ensure!(!asked.is_empty() && asked.iter().all(account), "the engine asked for {asked:?}");
        let pods = fleet.pods(stage).await?;
        let restarts: i32 = pods.iter().flat_map(containers).map(|one| one.restart_count).sum();
        ensure!(pods.len() == 1 && restarts == 0, "the engine ended {restarts} times");
        stage.abandon(fleet.namespace).await?;
        proxy.server.close().await?;
        before.expect_only(&stage.cluster)
    })
}

/// A fleet, and where it gets modules from.
struct Fleet {
    namespace: &'static str,
    origin: Origin,
}

impl Fleet {
    /// Starts the origin. Who vouches for it vouches for nobody else but for whom `more` does.
    async fn start(stage: &Stage, namespace: &'static str, more: &str) -> Result<Self> {
        let fleet = Self { namespace, origin: Origin::start(stage, namespace).await? };
        let bundle = fleet.origin.authority(stage).await? + more;
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), namespace);
        let map = json!({"metadata": {"name": "bundle"}, "data": {"ca.crt": bundle}});
        maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
        Ok(fleet)
    }

    async fn secret(&self, stage: &Stage, name: &str, data: Value) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), self.namespace);
        let secret = json!({"metadata": {"name": name}, "stringData": data});
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
        Ok(())
    }

    fn spec(&self, replicas: u8) -> Result<Value> {
        Ok(json!({
            "replicas": replicas,
            "engine": {"fetchTimeout": "30s", "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}},
            "upstream": self.origin.upstream("bundle")?,
            "rollout": {"scaleDownDelay": "0s"},
        }))
    }

    /// Applies the fleet and waits until all of its proxies serve.
    async fn apply(&self, stage: &Stage, spec: Value) -> Result<()> {
        let wanted = spec["replicas"].as_u64().unwrap_or(1);
        stage.apply_fleet(self.namespace, FLEET, spec).await?;
        stage.wait_settled(self.namespace, FLEET).await?;
        self.all_ready(stage, wanted).await
    }

    async fn all_ready(&self, stage: &Stage, wanted: u64) -> Result<()> {
        until("the proxies are ready", Duration::from_mins(2), || async {
            let pods = self.pods(stage).await?;
            let all = pods.len() as u64 == wanted && pods.iter().flat_map(containers).all(|one| one.ready);
            Ok(all.then_some(()))
        })
        .await
    }

    async fn pods(&self, stage: &Stage) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), self.namespace);
        Ok(pods.list(&ListParams::default().labels(&format!("goproxy.rs/fleet={FLEET}"))).await?.items)
    }

    /// All clients ask for a module that is not stored, and all get the same. Then every pod is replaced, and it is served by the
    /// new ones without another fetch.
    async fn is_fetched_and_kept(&self, stage: &Stage, module: Module, most: usize) -> Result<()> {
        let address = service_address(stage, self.namespace).await?;
        let path = module.zip();
        let answers = futures::future::join_all((0..CLIENTS).map(|_| ask(&address, &path, PATIENCE))).await;
        let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
        let (status, body) = &answers[0];
        ensure!(*status == 200 && answers.iter().all(|one| one.1 == *body), "clients got different answers: {status}");
        let fetches = self.fetches(stage, module).await?;
        stage.progress.note(format!("  {CLIENTS} clients, {fetches} fetches"));
        ensure!((1..=most).contains(&fetches), "{fetches} fetches reached the origin");

        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), self.namespace);
        let old = self.pods(stage).await?;
        for pod in &old {
            pods.delete(&pod.name_any(), &DeleteParams::default()).await?;
        }
        until("every pod is another one", Duration::from_mins(2), || async {
            let now = self.pods(stage).await?;
            Ok((!now.iter().any(|pod| old.iter().any(|old| old.uid() == pod.uid()))).then_some(()))
        })
        .await?;
        self.all_ready(stage, old.len() as u64).await?;
        self.serves(stage, module).await?;
        let again = self.fetches(stage, module).await?;
        ensure!(again == fetches, "what was stored was fetched again");
        Ok(())
    }

    async fn serves(&self, stage: &Stage, module: Module) -> Result<()> {
        let address = service_address(stage, self.namespace).await?;
        let (status, body) = ask(&address, &module.zip(), PATIENCE).await?;
        ensure!(status == 200, "what is stored is answered with {status}: {body}");
        Ok(())
    }

    /// How often the origin gave a module's zip out.
    async fn fetches(&self, stage: &Stage, module: Module) -> Result<usize> {
        let asked = self.origin.requests(stage).await?;
        // A go command escapes the mark of a capital letter.
        let is_it = |path: &str| path.replace("%21", "!") == module.zip();
        Ok(asked.iter().filter(|one| one.status == 200 && is_it(&one.path)).count())
    }

    /// Waits until the status says why nobody is served; what it says. Also fails unless Reconciling and Stalled are these then.
    async fn not_ready(&self, stage: &Stage, reason: &str, others: [bool; 2]) -> Result<String> {
        let told = |fleet: &goproxy_operator::api::go_proxy::GoProxy| {
            condition(fleet, "Ready").is_some_and(|one| one.status == "False" && one.reason == reason)
        };
        // The kubelet asks every quarter minute and believes the second no; before a changed storage is tried, old pods end.
        let (what, deadline) = (format!("Ready is False for {reason}"), Duration::from_mins(2));
        let fleet = stage.wait_fleet(self.namespace, FLEET, &what, deadline, told).await?;
        let found = ["Reconciling", "Stalled"].map(|type_| holds(&fleet, type_));
        ensure!(found == others.map(Some), "with {reason}, Reconciling and Stalled are {found:?}");
        Ok(condition(&fleet, "Ready").context("the condition just seen is gone")?.message.clone())
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &k8s_openapi::api::core::v1::ContainerStatus> {
    pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten()
}
