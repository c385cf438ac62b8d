//! Counters for `/metrics`. Label values come from enums alone, so that their number is bounded.

use std::sync::Mutex;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{cache::Source, plan::object::Kind};

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the names are the label values, explained in the metric's help")]
pub enum Outcome {
    Applied,
    AtRest,
    Waiting,
    Refused,
    Suspended,
    Obstructed,
    Conflict,
    Failed,
    Gone,
    Undecodable,
    Deposed,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the names are the label values, explained in the metric's help")]
pub enum WriteResult {
    Created,
    Changed,
    Unchanged,
    Deleted,
    Conflict,
    NameTaken,
    Refused,
    Failed,
}

/// How a question to a sidecar ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the names are the label values, explained in the metric's help")]
pub enum Heard {
    Answered,
    Silent,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Written {
    /// A child.
    Child(Kind),
    /// The status of a fleet.
    Status,
    /// An event.
    Event,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeardLabel {
    result: Heard,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabel {
    condition: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    result: WriteResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<OutcomeLabel, Counter>,
    reconcile_seconds: Histogram,
    writes: Family<WriteLabels, Counter>,
    write_loops: Family<ResourceLabel, Counter>,
    watch_starts: Family<ResourceLabel, Counter>,
    watch_failures: Family<ResourceLabel, Counter>,
    objects: Family<ResourceLabel, Gauge>,
    fleets: Family<StateLabel, Gauge>,
    contract_changes: Family<StateLabel, Gauge>,
    impaired: Family<ConditionLabel, Gauge>,
    reports: Family<HeardLabel, Counter>,
    queue_depth: Gauge,
    leader: Gauge,
    lost_events: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let all = Self {
            registry: Mutex::new(Registry::with_prefix("goproxy_operator")),
            reconciles: Family::default(),
            // From a look at memory (0.1 ms) to a dozen writes against a slow server (30 s).
            reconcile_seconds: Histogram::new([0.0001, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0]),
            writes: Family::default(),
            write_loops: Family::default(),
            watch_starts: Family::default(),
            watch_failures: Family::default(),
            objects: Family::default(),
            fleets: Family::default(),
            contract_changes: Family::default(),
            impaired: Family::default(),
            reports: Family::default(),
            queue_depth: Gauge::default(),
            leader: Gauge::default(),
            lost_events: Counter::default(),
        };
        all.register();
        all
    }
}

impl Metrics {
    fn register(&self) {
        let Ok(mut registry) = self.registry.lock() else { return };
        registry.register("reconciles", "Looks at a fleet, by how they ended", self.reconciles.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Length of a look at a fleet, writes included",
            Unit::Seconds,
            self.reconcile_seconds.clone(),
        );
        registry.register("writes", "Requests that write, by kind and result", self.writes.clone());
        let help = "Children whose applied content the server keeps in another form: each is a write saved, and a bug";
        registry.register("write_loops_avoided", help, self.write_loops.clone());
        registry.register("watch_starts", "Lists begun, by resource", self.watch_starts.clone());
        registry.register("watch_failures", "Errors of watches, by resource", self.watch_failures.clone());
        registry.register("cached_objects", "Objects held in memory, by resource", self.objects.clone());
        registry.register("fleets", "Fleets by state, as the leader sees them", self.fleets.clone());
        let help =
            "Fleets that this operator version changes by itself: changing, stalled (each keeps a place) and waiting";
        registry.register("contract_changes", help, self.contract_changes.clone());
        let help =
            "Fleets that serve while a condition beside Ready is False, by that condition, as the leader sees them";
        registry.register("impaired_fleets", help, self.impaired.clone());
        registry.register("reports", "Questions to the sidecars of proxies, by result", self.reports.clone());
        registry.register("queue_depth", "Fleets that wait to be looked at", self.queue_depth.clone());
        registry.register("leader", "1 while this process may write", self.leader.clone());
        registry.register(
            "lost_events",
            "Events not sent because too many waited or another replica leads",
            self.lost_events.clone(),
        );
    }

    /// The text of `/metrics`.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        if let Ok(registry) = self.registry.lock() {
            // Writing to a string cannot fail.
            let _ = text::encode(&mut page, &registry);
        }
        page
    }

    /// A look at a fleet ended.
    pub fn reconciled(&self, outcome: Outcome, took: std::time::Duration) {
        self.reconciles.get_or_create(&OutcomeLabel { outcome }).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// A write ended.
    pub fn wrote(&self, what: Written, result: WriteResult) {
        let kind = match what {
            Written::Child(kind) => kind.as_str(),
            Written::Status => "GoProxyStatus",
            Written::Event => "Event",
        };
        self.writes.get_or_create(&WriteLabels { kind, result }).inc();
    }

    /// The server keeps a child in another form than it was applied in.
    pub fn write_loop_avoided(&self, kind: Kind) {
        self.write_loops.get_or_create(&ResourceLabel { resource: kind.resource().2 }).inc();
    }

    /// A list began.
    pub fn watch_started(&self, source: Source) {
        self.watch_starts.get_or_create(&ResourceLabel { resource: source.plural() }).inc();
    }

    /// A watch had an error.
    pub fn watch_failed(&self, source: Source) {
        self.watch_failures.get_or_create(&ResourceLabel { resource: source.plural() }).inc();
    }

    /// How many objects are held.
    pub fn set_objects(&self, source: Source, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.objects.get_or_create(&ResourceLabel { resource: source.plural() }).set(count);
    }

    /// How many fleets are in a state.
    pub fn set_fleets(&self, state: &'static str, count: i64) {
        self.fleets.get_or_create(&StateLabel { state }).set(count);
    }

    /// How many fleets are in a state of a change that only this operator version asks for.
    pub fn set_contract_changes(&self, state: &'static str, count: usize) {
        self.contract_changes.get_or_create(&StateLabel { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many fleets have a condition that is False beside Ready.
    pub fn set_impaired(&self, condition: &'static str, count: i64) {
        self.impaired.get_or_create(&ConditionLabel { condition }).set(count);
    }

    /// A question to a sidecar ended.
    pub fn heard(&self, result: Heard) {
        self.reports.get_or_create(&HeardLabel { result }).inc();
    }

    /// How many fleets wait.
    pub fn set_queue_depth(&self, depth: usize) {
        self.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// Whether this process may write.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(leader.into());
    }

    /// An event was not sent.
    pub fn lost_event(&self) {
        self.lost_events.inc();
    }
}
