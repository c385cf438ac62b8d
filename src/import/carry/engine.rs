//! The engine's own settings, its pods, and how many there are.

use super::Carrier;
use crate::{
    api::{
        duration::GoDuration,
        go_proxy::{Engine, EngineKind, EnginePod, ImagePullPolicy, LogLevel, Service, ServiceType},
        rule,
    },
    engine::version::{Version, refuse},
    import::found::NotCarried,
    plan::validate::{FETCH_TIMEOUT, FETCH_WORKERS, one_pod},
};

/// Words of the engine, and the nearest of a fleet.
const LOG_LEVELS: [(&str, LogLevel); 7] = [
    ("trace", LogLevel::Debug),
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warn", LogLevel::Warn),
    ("error", LogLevel::Error),
    ("fatal", LogLevel::Error),
    ("panic", LogLevel::Error),
];

/// Most fetches at the same time.
const FETCH_WORKERS_MOST: i32 = 100;

/// The official image, from wherever a cluster pulls what has no host. One with a host stays there: it may be a mirror.
const OFFICIAL: &str = "gomods/athens";

/// Carries what the engine is told.
pub fn carry(carrier: &mut Carrier<'_>) {
    let mut engine = carrier.found.around.engine.clone();
    engine.fetch_workers = fetch_workers(carrier);
    engine.fetch_timeout = fetch_timeout(carrier);
    let level = carrier.word("LogLevel", &LOG_LEVELS, "it is no level of Athens");
    if matches!(carrier.found.text("LogLevel"), Some("trace" | "fatal" | "panic")) {
        carrier.lose("LogLevel", "a fleet has no such level: the nearest one is used");
    }
    engine.log_level = level.filter(|level| *level != LogLevel::default());
    image(carrier, &mut engine);
    account(carrier, &engine);
    engine.image_pull_policy = engine.image_pull_policy.filter(|policy| *policy != ImagePullPolicy::default());
    engine.pod = engine.pod.filter(|pod| *pod != EnginePod::default());
    // A change of the go command's environment comes with the origins.
    carrier.carried.spec.engine = (engine != Engine::default()).then_some(engine);
}

/// Clouds know who asks by the name of an account, which no annotation changes.
fn account(carrier: &mut Carrier<'_>, engine: &Engine) {
    if engine.service_account.as_ref().is_some_and(|account| !account.annotations.is_empty()) {
        carrier.carried.notes.push(format!(
            "the pods run as the ServiceAccount {}-engine: grant it, by that name, what the old one was granted",
            carrier.fleet
        ));
    }
}

fn fetch_workers(carrier: &mut Carrier<'_>) -> Option<i32> {
    let text = carrier.found.text("GoGetWorkers")?;
    match text.parse::<i32>() {
        Ok(FETCH_WORKERS) => None,
        Ok(workers) if (1..=FETCH_WORKERS_MOST).contains(&workers) => Some(workers),
        _ => {
            carrier.lose("GoGetWorkers", "a fleet's proxy runs 1 to 100 fetches at the same time; it has 10 now");
            None
        }
    }
}

fn fetch_timeout(carrier: &mut Carrier<'_>) -> Option<GoDuration> {
    let text = carrier.found.text("StashTimeout")?;
    let seconds = text.parse::<u64>().ok().filter(|seconds| *seconds <= 86_400);
    match seconds.map(GoDuration::seconds) {
        Some(FETCH_TIMEOUT) => None,
        Some(timeout) if rule::FETCH_TIMEOUT.refuse(&timeout.to_string()).is_none() => Some(timeout),
        _ => {
            carrier.lose("StashTimeout", "a fleet's fetch takes 10 seconds to one hour at most; it has 10 minutes now");
            None
        }
    }
}

/// A supported release by its tag; another image as it is.
fn image(carrier: &mut Carrier<'_>, engine: &mut Engine) {
    let Some(image) = &carrier.found.around.image else { return };
    let name_end = image.rfind('/').map_or(0, |at| at + 1);
    let (repository, tag) = match image[name_end..].find([':', '@']) {
        Some(at) => image.split_at(name_end + at),
        None => (image.as_str(), ""),
    };
    let tag = tag.trim_start_matches(':');
    let version = Version::of(EngineKind::Athens, tag.split('@').next().unwrap_or_default());
    engine.version = version
        .filter(|version| *version != Version::newest(EngineKind::Athens))
        .map(|version| version.as_str().to_owned());
    let official = repository == OFFICIAL;
    let copy = repository.strip_suffix(OFFICIAL).is_some_and(|host| host.ends_with('/'));
    if version.is_some() && !official {
        engine.image = Some(image.clone());
    }
    if version.is_none() && tag.is_empty() && (official || copy) {
        let newest = Version::newest(EngineKind::Athens);
        engine.image = copy.then(|| format!("{image}:{}", newest.as_str()));
        return;
    }
    // Of a tag of the official image it is known which release that is.
    let known = (official || copy) && !tag.contains('@');
    let mut reasons = if known { refuse(EngineKind::Athens, tag) } else { Vec::new() };
    if let (None, Some(why)) = (version, reasons.pop()) {
        carrier.carried.lost.push(NotCarried::shown("image", image, why));
    } else if version.is_none() {
        let releases: Vec<_> = Version::ALL
            .iter()
            .filter(|version| version.kind() == EngineKind::Athens)
            .map(|version| version.as_str())
            .collect();
        let why = format!(
            "a fleet runs {}: if that image holds one of them, name it in spec.engine.image",
            releases.join(" or ")
        );
        carrier.carried.lost.push(NotCarried::shown("image", image, why));
    }
}

/// How many pods there are, and what leads to them: after storage and lock, which say how many there may be.
pub fn pods(carrier: &mut Carrier<'_>) {
    let refusal = one_pod(&carrier.carried.spec);
    let around = &carrier.found.around;
    let mut autoscaling = around.autoscaling.clone();
    let mut lost = |name: &str, pods: i32| match refusal {
        Some(why) if pods > 1 => {
            let why = why.replacen("%s", &pods.to_string(), 1);
            carrier.carried.lost.push(NotCarried::shown(name, &pods.to_string(), why));
            true
        }
        _ => false,
    };
    if let Some(wanted) = around.replicas
        && autoscaling.is_none()
        && !lost("replicas", wanted)
    {
        carrier.carried.spec.replicas = wanted;
    }
    if autoscaling.as_ref().is_some_and(|given| lost("autoscaling.maxReplicas", given.max_replicas)) {
        autoscaling = None;
    }
    carrier.carried.spec.autoscaling = autoscaling;
    let mut service = around.service.clone();
    service.type_ = service.type_.filter(|type_| *type_ != ServiceType::default());
    carrier.carried.spec.service = (service != Service::default()).then_some(service);
}
