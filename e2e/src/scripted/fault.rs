//! Faults: what goes wrong, and at which call.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Collected, combinators::UnsyncBoxBody};
use kube::client::Body;
use tokio::{sync::Notify, time::Instant};
use tower::BoxError;

use super::{
    http::{Answer, Call, answer, refusal},
    store::{Blindness, Store, View},
    write::Refused,
};

/// Body of an answer, whoever gives it.
pub type Reply = UnsyncBoxBody<bytes::Bytes, BoxError>;

/// What an [`Interposer`] stands in front of: the scripted API server or a real one.
pub trait Server: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// How long an outage lasts.
    const OUTAGE: Duration;

    /// Seconds since the start, as this server counts them.
    fn second(&self) -> u64;

    /// Does what a request asks, which was taken apart before.
    fn answer(
        &self,
        call: &Call,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Reply>, BoxError>> + Send;

    /// From now on watches see nothing of this for a while. Then all of it, or, if they `forget`, only what came of it.
    fn blind(&self, view: View, forget: bool);
}

impl Server for Store {
    const OUTAGE: Duration = Duration::from_mins(1);

    fn second(&self) -> u64 {
        self.lock().second()
    }

    async fn answer(&self, call: &Call, _: Request<Body>) -> Result<Response<Reply>, BoxError> {
        Ok(boxed(answer(self, call)))
    }

    fn blind(&self, view: View, forget: bool) {
        let until = Instant::now() + BLIND;
        let mut state = self.lock();
        state.blind = Some(Blindness { version: state.version(), view, until, forget });
        drop(state);
        let store = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            store.lock().see_again();
        });
    }
}

fn boxed(answer: Response<Answer>) -> Response<Reply> {
    answer.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

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
    /// Every call fails for a while.
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

/// How long watches of the scripted API server are blind.
const BLIND: Duration = Duration::from_secs(20);

/// One call that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// When, in seconds since the start.
    pub second: u64,
    /// What it did.
    pub title: String,
    /// Whether it changes something.
    pub write: bool,
    /// Whether it met an outage that had begun: it changed nothing, whatever it was.
    pub out: bool,
}

/// Which of the calls that are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By its number, from 0.
    Number(usize),
    /// By its title, and how many of this title came before: for runs in which the order differs from time to time.
    Titled(String, usize),
}

#[derive(Debug, Default)]
struct Tally {
    made: Vec<Made>,
    /// The calls that go wrong, and how.
    plan: Vec<(Place, Fault)>,
    struck: usize,
    outage_until: Option<Instant>,
    /// The generation of operators that may still speak. A crashed one's calls lead nowhere.
    generation: u64,
    counting: bool,
}

/// Stands between operators and the server: counts what is called, and makes one call go wrong.
#[derive(Clone, Debug)]
pub struct Interposer<S = Store> {
    server: S,
    tally: Arc<Mutex<Tally>>,
    crash: Arc<Notify>,
    /// How long an answer is under way.
    answer: Duration,
}

impl<S: Server> Interposer<S> {
    /// In front of a server whose answers to writes take so much longer to arrive.
    pub fn new(server: S, answer: Duration) -> Self {
        Self { server, tally: Arc::default(), crash: Arc::default(), answer }
    }

    /// Counts from here on, and lets these calls go wrong.
    pub fn begin(&self, plan: Vec<(Place, Fault)>) {
        let mut tally = self.lock();
        tally.counting = true;
        tally.made.clear();
        tally.struck = 0;
        tally.plan = plan;
    }

    /// The calls that were counted.
    pub fn made(&self) -> Vec<Made> {
        self.lock().made.clone()
    }

    /// How many calls that were planned to go wrong have done so.
    pub fn struck(&self) -> usize {
        self.lock().struck
    }

    /// Waits until the operator shall die.
    pub async fn crashed(&self) {
        self.crash.notified().await;
    }

    /// Waits until an outage that began is over.
    pub async fn recovered(&self) {
        let until = self.lock().outage_until.unwrap_or_else(Instant::now);
        tokio::time::sleep_until(until).await;
    }

    /// A connection for a new operator; those of earlier ones lead nowhere from now on.
    pub fn connect(&self) -> Connection<S> {
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
        let planned = tally.planned(&call.title());
        let out = planned.is_none() && tally.outage_until.is_some_and(|until| Instant::now() < until);
        let made = Made { second: self.server.second(), title: call.title(), write: call.is_write(), out };
        tally.made.push(made);
        if let Some(fault) = planned {
            tally.struck += 1;
            if fault == Fault::Outage {
                tally.outage_until = Some(Instant::now() + S::OUTAGE);
            }
            // What a crashed operator still had under way leads nowhere.
            if fault.crashes() {
                tally.generation += 1;
            }
            return Verdict::Struck(fault);
        }
        if out { Verdict::Struck(Fault::ServerError) } else { Verdict::Fine }
    }

    async fn pass(self, generation: u64, request: Request<Body>) -> Result<Response<Reply>, BoxError> {
        // Every answer takes a moment, so that calls made at once overlap as they do over a network.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.map(Collected::to_bytes)?;
        let request = || Request::from_parts(parts.clone(), Body::from(bytes.clone()));
        let call = match Call::read(request()).await {
            Ok(call) => call,
            Err(refused) => return Ok(boxed(refusal(&refused))),
        };
        match self.count(&call, generation) {
            Verdict::Fine => {
                let answer = self.server.answer(&call, request()).await;
                if call.is_write() {
                    tokio::time::sleep(self.answer).await;
                }
                answer
            }
            Verdict::Dead => std::future::pending().await,
            Verdict::Struck(fault) => self.strike(fault, &call, request()).await,
        }
    }

    async fn strike(&self, fault: Fault, call: &Call, request: Request<Body>) -> Result<Response<Reply>, BoxError> {
        if let Some((code, reason)) = fault.status() {
            let refused = Refused::new(code, reason, format!("injected: {}", call.title()));
            return Ok(boxed(refusal(&refused)));
        }
        let broken = || std::io::Error::new(std::io::ErrorKind::ConnectionReset, "injected: connection reset");
        if fault == Fault::Reset {
            return Err(broken().into());
        }
        if fault == Fault::CrashBefore {
            return self.die().await;
        }
        if fault == Fault::Outage {
            let refused = Refused::new(503, "ServiceUnavailable", "injected: outage");
            return Ok(boxed(refusal(&refused)));
        }
        if let Some(view) = fault.blinds() {
            self.server.blind(view, fault == Fault::MissedEvents);
        }
        let answer = self.server.answer(call, request).await;
        if fault == Fault::LostAnswer {
            return Err(broken().into());
        }
        if fault == Fault::CrashAfterAnswer {
            self.crash.notify_one();
            return answer;
        }
        if fault.crashes() { self.die().await } else { answer }
    }

    async fn die(&self) -> Result<Response<Reply>, BoxError> {
        self.crash.notify_one();
        std::future::pending().await
    }
}

impl Tally {
    /// What shall go wrong with the next call.
    fn planned(&self, title: &str) -> Option<Fault> {
        let before = || self.made.iter().filter(|made| made.title == title).count();
        let is_next = |place: &Place| match place {
            Place::Number(number) => *number == self.made.len(),
            Place::Titled(wanted, nth) => wanted == title && *nth == before(),
        };
        self.plan.iter().find(|(place, _)| is_next(place)).map(|(_, fault)| *fault)
    }
}

enum Verdict {
    Fine,
    Dead,
    Struck(Fault),
}

/// A connection of one operator to the server. Give it to `kube::Client::new`.
#[derive(Clone, Debug)]
pub struct Connection<S = Store> {
    interposer: Interposer<S>,
    generation: u64,
}

impl<S: Server> tower::Service<Request<Body>> for Connection<S> {
    type Response = Response<Reply>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.interposer.clone().pass(self.generation, request))
    }
}
