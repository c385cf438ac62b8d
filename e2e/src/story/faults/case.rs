//! One case: a namespace, a fleet, an operator in this process, and one call that goes wrong.

use std::{pin::pin, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use super::{
    super::Stage,
    digest::Digest,
    rest,
    scenario::{End, FLEET, Scenario, Step},
    server::RealServer,
};
use crate::{
    cluster::until,
    scripted::{
        fault::{Fault, Interposer, Made, Place},
        operator::Operator,
    },
};

/// Whatever went wrong, it is over after so long, on a machine that has other things to do.
const LONGEST: Duration = Duration::from_secs(60);
/// Writes that one fault may cost beyond those of a clean run: what was begun again, and statuses that tell of it.
const EXTRA_WRITES: usize = 12;
/// Rounds within which the operator has to be silent once. A write may still be under way when all is as it shall be.
const ROUNDS: usize = 3;

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is done.
    pub scenario: &'static Scenario,
    /// What goes wrong: with the call of this title that so many of the same came before.
    pub fault: Option<(String, usize, Fault)>,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.scenario.name)?;
        match &self.fault {
            Some((title, nth, fault)) => write!(f, ", {fault:?} at {title} ({})", nth + 1),
            None => f.write_str(", nothing goes wrong"),
        }
    }
}

/// How a case ended.
#[derive(Debug)]
pub struct Ended {
    /// What was there.
    pub digest: Digest,
    /// The calls from the watched step on.
    pub made: Vec<Made>,
    /// Whether the call came that was to go wrong.
    pub struck: bool,
}

impl Ended {
    /// How many calls changed something.
    pub fn writes(&self) -> usize {
        writes(&self.made)
    }
}

/// A case under way.
struct Run<'a> {
    stage: &'a Stage,
    namespace: &'a str,
    interposer: Interposer<RealServer>,
    operator: Operator,
}

/// Runs a case in a namespace of its own, with the operator's rights. A run to compare with is `clean`.
pub async fn run(stage: &Stage, client: Client, namespace: &str, case: &Case, clean: Option<&Ended>) -> Result<Ended> {
    stage.cluster.namespace(namespace).await?;
    if case.scenario.disk {
        make_volume(&stage.client, namespace).await?;
    }
    let interposer = Interposer::new(RealServer::new(client), Duration::ZERO);
    let operator = operator(&interposer, namespace);
    let mut run = Run { stage, namespace, interposer, operator };
    let ended = run.tell(case, clean).await;
    drop(run);
    stage.abandon(namespace).await?;
    if case.scenario.disk {
        let volumes: Api<PersistentVolume> = Api::all(stage.client.clone());
        volumes.delete(namespace, &DeleteParams::background()).await?;
    }
    ended
}

fn operator(interposer: &Interposer<RealServer>, namespace: &str) -> Operator {
    let client = Client::new(interposer.connect(), namespace);
    Operator::on(client, Arc::new(Timestamp::now), &[namespace.to_owned()])
}

impl Run<'_> {
    async fn tell(&mut self, case: &Case, clean: Option<&Ended>) -> Result<Ended> {
        let scenario = case.scenario;
        let (stage, namespace) = (self.stage, self.namespace);
        for step in scenario.before {
            step.take(stage, namespace).await?;
            self.wait_told(step.end()).await?;
        }
        let before = Digest::take(stage, namespace).await?;
        let plan = case.fault.iter().map(|(title, nth, fault)| (Place::Titled(title.clone(), *nth), *fault));
        self.interposer.begin(plan.collect());
        scenario.step.take(stage, namespace).await?;
        if let Some(then) = scenario.then {
            match &case.fault {
                Some(_) => self.wait_struck().await?,
                None => self.wait_told(scenario.step.end()).await?,
            }
            then.take(stage, namespace).await?;
        }
        match (clean, scenario.step) {
            (Some(clean), _) => self.wait_for(&clean.digest).await?,
            (None, Step::Break) => self.wait_for(&before).await?,
            (None, _) => self.wait_told(scenario.end).await?,
        }
        let made = self.interposer.made();
        let digest = self.rest(clean.map(|clean| &clean.digest)).await?;
        if let Some(clean) = clean {
            let most = clean.writes() + EXTRA_WRITES;
            ensure!(self.writes() <= most, "more than {most} writes:{}", titles(&self.interposer.made()));
        }
        Ok(Ended { digest, made, struck: self.interposer.struck() > 0 })
    }

    /// Waits for something, and brings a crashed operator back meanwhile.
    async fn alive<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                () = self.interposer.crashed() => self.operator = operator(&self.interposer, self.namespace),
                done = &mut work => return done,
            }
        }
    }

    async fn wait_told(&mut self, end: End) -> Result<()> {
        let (stage, namespace) = (self.stage, self.namespace);
        let what = format!("{end:?}");
        let told = until(&what, LONGEST, || async {
            let told = end.is_told(stage, namespace).await?;
            // What is left of a deleted fleet is the volume.
            let gone = end != End::Gone || Digest::take(stage, namespace).await?.is_bare();
            Ok((told && gone).then_some(()))
        });
        self.alive(told).await
    }

    async fn wait_struck(&mut self) -> Result<()> {
        let interposer = self.interposer.clone();
        // A call that does not come is no failure of the operator: the case is judged without it, and said to be so.
        let struck = tokio::time::timeout(Duration::from_secs(10), async {
            until("the call that goes wrong", LONGEST, || async { Ok((interposer.struck() > 0).then_some(())) }).await
        });
        self.alive(async { Ok(struck.await) }).await?.unwrap_or(Ok(()))
    }

    async fn wait_for(&mut self, digest: &Digest) -> Result<()> {
        let (stage, namespace) = (self.stage, self.namespace);
        let there = until("the end of a clean run", LONGEST, || async {
            Ok(digest.is_there(stage, namespace).await?.then_some(()))
        });
        let waited = self.alive(there).await;
        if let Err(error) = waited {
            let found = Digest::take(stage, namespace).await?;
            bail!("{error:#}:\n{}writes:{}", digest.difference(&found), titles(&self.interposer.made()));
        }
        Ok(())
    }

    /// Nothing is written any more, neither when something else happens nor when another operator starts.
    async fn rest(&mut self, expected: Option<&Digest>) -> Result<Digest> {
        // Asked to look, the operator tries again each time while the server is out; that is not what is looked for here.
        let interposer = self.interposer.clone();
        let recovered = async {
            interposer.recovered().await;
            Ok(())
        };
        self.alive(recovered).await?;
        for round in 1..=ROUNDS {
            if let Some(expected) = expected {
                self.wait_for(expected).await?;
            }
            let before = self.writes();
            self.show(&rest::mark(&self.stage.client, self.namespace, round).await?).await?;
            if self.writes() == before {
                break;
            }
            ensure!(round < ROUNDS, "goes on writing:{}", titles(&self.interposer.made()));
        }
        let digest = Digest::take(self.stage, self.namespace).await?;
        let before = self.writes();
        self.operator = operator(&self.interposer, self.namespace);
        self.show(&format!("{}-1", rest::MARKER)).await?;
        ensure!(self.writes() == before, "a restart at rest wrote something:{}", titles(&self.interposer.made()));
        let after = Digest::take(self.stage, self.namespace).await?;
        for (what, digest) in expected.map(|it| ("a clean run", it)).into_iter().chain([("before a restart", &digest)])
        {
            let differs = digest.difference(&after);
            ensure!(differs.is_empty(), "the end differs from that of {what}:\n{differs}");
        }
        Ok(after)
    }

    /// Lets the operator see a marker and look at the fleet. One that is to crash by now comes back first.
    async fn show(&mut self, marker: &str) -> Result<()> {
        self.alive(std::future::ready(Ok(()))).await?;
        rest::seen(&self.operator, self.namespace, marker).await
    }

    fn writes(&self) -> usize {
        writes(&self.interposer.made())
    }
}

/// While the server is out, each thing that happens has the operator try again: that changes nothing.
fn writes(made: &[Made]) -> usize {
    made.iter().filter(|made| made.write && !made.out).count()
}

fn titles(made: &[Made]) -> String {
    let line = |made: &Made| format!("\n    {} s {}", made.second, made.title);
    made.iter().filter(|made| made.write).map(line).collect::<Vec<_>>().concat()
}

/// A volume for the fleet's claim: nothing provisions any here.
async fn make_volume(client: &Client, namespace: &str) -> Result<()> {
    let volume: PersistentVolume = serde_json::from_value(json!({
        "metadata": { "name": namespace },
        "spec": {
            "capacity": { "storage": "1Ti" },
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": { "namespace": namespace, "name": format!("{FLEET}-data") },
            "hostPath": { "path": format!("/var/empty/{namespace}") },
        },
    }))?;
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    volumes.create(&PostParams::default(), &volume).await.context("cannot make a volume")?;
    Ok(())
}
