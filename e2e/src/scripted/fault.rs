//! Faults: what goes wrong, and at which call.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use kube::client::Body;
use tokio::{sync::Notify, time::Instant};

use super::{
    http::{Answer, Call, answer, refusal},
    store::{Blindness, Store, View},
    write::Refused,
};

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// 409.
    Conflict,
    /// 429 with `Retry-After`.
    TooManyRequests,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 500.
    ServerError,
    /// The connection breaks before the server gets it.
    Reset,
    /// The server does it, and the connection breaks before the answer.
    LostAnswer,
    /// The operator dies before it sends.
    CrashBefore,
    /// The operator dies after the server did it and before the answer.
    CrashAfterCommit,
    /// The operator dies right after the answer.
    CrashAfterAnswer,
    /// From here on watches see nothing for a while, then all of it.
    StaleWatches,
    /// From here on watches see nothing for a while, then only what came of it.
    MissedEvents,
    /// The same for the watch of pods alone, then all of it: what is known does not fit together.
    StalePods,
    /// The same for Deployments.
    StaleDeployments,
    /// The same for Services.
    StaleServices,
    /// The same for the fleets.
    StaleFleets,
    /// The operator dies, and the next one's watches begin with a view from before the change.
    CrashIntoThePast,
    /// Every call fails for a minute.
    Outage,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Conflict,
        Self::TooManyRequests,
        Self::Forbidden,
        Self::NotFound,
        Self::ServerError,
        Self::Reset,
        Self::LostAnswer,
        Self::CrashBefore,
        Self::CrashAfterCommit,
        Self::CrashAfterAnswer,
        Self::StaleWatches,
        Self::MissedEvents,
        Self::StalePods,
        Self::StaleDeployments,
        Self::StaleServices,
        Self::StaleFleets,
        Self::CrashIntoThePast,
        Self::Outage,
    ];

    /// Whether it says anything about a call that writes nothing: there a crash is as good as one before the next write.
    pub const fn concerns_reads(self) -> bool {
        matches!(
            self,
            Self::TooManyRequests
                | Self::Forbidden
                | Self::NotFound
                | Self::ServerError
                | Self::Reset
                | Self::LostAnswer
        )
    }

    /// What watches do not see for a while.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most faults blind nobody")]
    const fn blinds(self) -> Option<View> {
        match self {
            Self::StaleWatches | Self::MissedEvents | Self::CrashIntoThePast => Some(View::Everything),
            Self::StalePods => Some(View::Only("Pod")),
            Self::StaleDeployments => Some(View::Only("Deployment")),
            Self::StaleServices => Some(View::Only("Service")),
            Self::StaleFleets => Some(View::Only("GoProxy")),
            _ => None,
        }
    }

    const fn crashes(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfterCommit | Self::CrashAfterAnswer | Self::CrashIntoThePast)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "most faults are no answers")]
    const fn status(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Conflict => Some((409, "Conflict")),
            Self::TooManyRequests => Some((429, "TooManyRequests")),
            Self::Forbidden => Some((403, "Forbidden")),
            Self::NotFound => Some((404, "NotFound")),
            Self::ServerError => Some((500, "InternalError")),
            _ => None,
        }
    }
}

/// How long watches are blind, and how long an outage lasts.
const BLIND: Duration = Duration::from_secs(20);
const OUTAGE: Duration = Duration::from_mins(1);

/// One call that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// When, in simulated seconds since the start.
    pub second: u64,
    /// What it did.
    pub title: String,
    /// Whether it changes something.
    pub write: bool,
}

#[derive(Debug, Default)]
struct Tally {
    made: Vec<Made>,
    /// The calls that go wrong, counted from 0, and how.
    plan: Vec<(usize, Fault)>,
    outage_until: Option<Instant>,
    /// The generation of operators that may still speak. A crashed one's calls lead nowhere.
    generation: u64,
    counting: bool,
}

/// Stands between operators and the server: counts what is called, and makes one call go wrong.
#[derive(Clone, Debug)]
pub struct Interposer {
    store: Store,
    tally: Arc<Mutex<Tally>>,
    crash: Arc<Notify>,
    /// How long an answer is under way.
    answer: Duration,
}

impl Interposer {
    /// In front of a server whose answers to writes take so long to arrive.
    pub fn new(store: Store, answer: Duration) -> Self {
        Self { store, tally: Arc::default(), crash: Arc::default(), answer }
    }

    /// Counts from here on, and lets these calls go wrong.
    pub fn begin(&self, plan: &[(usize, Fault)]) {
        let mut tally = self.lock();
        tally.counting = true;
        tally.made.clear();
        tally.plan = plan.to_vec();
    }

    /// The calls that were counted.
    pub fn made(&self) -> Vec<Made> {
        self.lock().made.clone()
    }

    /// Waits until the operator shall die.
    pub async fn crashed(&self) {
        self.crash.notified().await;
    }

    /// A connection for a new operator; those of earlier ones lead nowhere from now on.
    pub fn connect(&self) -> Connection {
        let mut tally = self.lock();
        tally.generation += 1;
        Connection { interposer: self.clone(), generation: tally.generation }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call. Returns what shall go wrong with it.
    fn count(&self, call: &Call, generation: u64) -> Verdict {
        let mut tally = self.lock();
        if tally.generation != generation {
            return Verdict::Dead;
        }
        // Leases are a matter of their own, and events are told, not relied on.
        let minor = matches!(call.resource.kind, "Lease" | "Event");
        if !tally.counting || minor {
            return Verdict::Fine;
        }
        let number = tally.made.len();
        tally.made.push(Made { second: self.store.lock().second(), title: call.title(), write: call.is_write() });
        if let Some((_, fault)) = tally.plan.iter().find(|(at, _)| *at == number).copied() {
            if fault == Fault::Outage {
                tally.outage_until = Some(Instant::now() + OUTAGE);
            }
            // What a crashed operator still had under way leads nowhere.
            if fault.crashes() {
                tally.generation += 1;
            }
            return Verdict::Struck(fault);
        }
        match tally.outage_until {
            Some(until) if Instant::now() < until => Verdict::Struck(Fault::ServerError),
            _ => Verdict::Fine,
        }
    }

    fn blind(&self, version: u64, view: View, forget: bool) {
        let until = Instant::now() + BLIND;
        self.store.lock().blind = Some(Blindness { version, view, until, forget });
        let store = self.store.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            store.lock().see_again();
        });
    }

    async fn pass(self, generation: u64, request: Request<Body>) -> Result<Response<Answer>, std::io::Error> {
        // Every answer takes a moment, so that calls made at once overlap as they do over a network.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let call = match Call::read(request).await {
            Ok(call) => call,
            Err(refused) => return Ok(refusal(&refused)),
        };
        match self.count(&call, generation) {
            Verdict::Fine => {
                let answer = answer(&self.store, &call);
                if call.is_write() {
                    tokio::time::sleep(self.answer).await;
                }
                Ok(answer)
            }
            Verdict::Dead => std::future::pending().await,
            Verdict::Struck(fault) => self.strike(fault, &call).await,
        }
    }

    async fn strike(&self, fault: Fault, call: &Call) -> Result<Response<Answer>, std::io::Error> {
        if let Some((code, reason)) = fault.status() {
            return Ok(refusal(&Refused::new(code, reason, format!("injected: {}", call.title()))));
        }
        let broken = || std::io::Error::new(std::io::ErrorKind::ConnectionReset, "injected: connection reset");
        let before = self.store.lock().version();
        if fault == Fault::Reset {
            return Err(broken());
        }
        if fault == Fault::CrashBefore {
            return self.die().await;
        }
        if fault == Fault::Outage {
            return Ok(refusal(&Refused::new(503, "ServiceUnavailable", "injected: outage")));
        }
        if let Some(view) = fault.blinds() {
            self.blind(before, view, fault == Fault::MissedEvents);
        }
        let answer = answer(&self.store, call);
        if fault == Fault::LostAnswer {
            return Err(broken());
        }
        if fault == Fault::CrashAfterAnswer {
            self.crash.notify_one();
            return Ok(answer);
        }
        if fault.crashes() { self.die().await } else { Ok(answer) }
    }

    async fn die(&self) -> Result<Response<Answer>, std::io::Error> {
        self.crash.notify_one();
        std::future::pending().await
    }
}

enum Verdict {
    Fine,
    Dead,
    Struck(Fault),
}

/// A connection of one operator to the server. Give it to `kube::Client::new`.
#[derive(Clone, Debug)]
pub struct Connection {
    interposer: Interposer,
    generation: u64,
}

impl tower::Service<Request<Body>> for Connection {
    type Response = Response<Answer>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.interposer.clone().pass(self.generation, request))
    }
}
