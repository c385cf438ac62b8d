//! What changes: lists of versions, newest versions, what branches stand for. nginx keeps the copies, this keeps their ages.

use std::{
    collections::HashMap,
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Response, StatusCode, Uri},
};
use http_body_util::Full;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, watch};

use super::{
    ask::listen,
    pages::Figures,
    serving::Serving,
    unix_http::{self, Unanswered},
};
use crate::edge::{
    freshness::{Bounds, Kept, Serve, serve as trust},
    origin::Moment,
    path::{Freshness, RequestPath},
};

/// Ages that are remembered. What is forgotten is asked for once more.
const REMEMBERED: usize = 50_000;

/// After a failure the copy is served for so long without asking again.
const REST: Duration = Duration::from_secs(5);

/// What the engine may take longer than its longest fetch.
const BEYOND_FETCH: Duration = Duration::from_secs(20);

/// Headers of an answer that clients get.
const PASSED: [&str; 2] = ["content-type", "last-modified"];

/// What is known of one copy.
#[derive(Clone, Copy, Debug)]
struct Known {
    kept: Kept,
    digest: [u8; 32],
    /// After a failure nobody asks before this.
    rests_until: Moment,
}

/// One path: what is known, and whose turn it is to ask.
#[derive(Debug, Default)]
struct Slot {
    known: Mutex<Option<Known>>,
    turn: Arc<Turn<()>>,
}

/// All of them.
#[derive(Debug)]
struct Lists {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    copies: PathBuf,
    serving: watch::Receiver<Serving>,
    figures: Arc<Figures>,
    begun: Instant,
}

type Answered = Result<Response<Bytes>, Unanswered>;

/// Listens; the future serves until the socket is closed.
pub(super) fn serve(
    socket: &Path,
    copies: PathBuf,
    serving: watch::Receiver<Serving>,
    figures: Arc<Figures>,
) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
    let listener = listen(socket)?;
    let lists = Lists { slots: Mutex::default(), copies, serving, figures, begun: Instant::now() };
    let router = Router::new().fallback(answer).with_state(Arc::new(lists));
    Ok(async move { axum::serve(listener, router).await })
}

async fn answer(State(lists): State<Arc<Lists>>, uri: Uri) -> Response<Body> {
    // nginx sends canonical paths of what changes and nothing else; whatever else comes is not answered.
    let path = RequestPath::parse(uri.path().as_bytes()).ok();
    let Some(path) = path.filter(|path| path.freshness() == Freshness::Mutable && path.module().is_some()) else {
        return refusal(StatusCode::NOT_FOUND, "not a list");
    };
    let (cache, answered) = Arc::clone(&lists).get(&path.to_string()).await;
    match answered {
        Ok(answer) => {
            let status = answer.status();
            let mut response = Response::new(Body::from(answer.body().clone()));
            *response.status_mut() = status;
            copy_headers(answer.headers(), response.headers_mut());
            response.headers_mut().insert("x-cache-status", http::HeaderValue::from_static(cache));
            response
        }
        Err(error) => {
            tracing::warn!(%error, "nginx gave no copy");
            refusal(StatusCode::BAD_GATEWAY, "the proxy behind this edge does not answer")
        }
    }
}

fn refusal(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for name in PASSED {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
}

impl Lists {
    fn now(&self) -> Moment {
        Moment(self.begun.elapsed())
    }

    /// The answer for one path, and where it came from.
    async fn get(self: Arc<Self>, path: &str) -> (&'static str, Answered) {
        let Some((bounds, patience)) = self.settings() else {
            return ("MISS", Err(Unanswered::Late(Duration::ZERO)));
        };
        let slot = self.slot(path);
        let does = slot.does(self.now(), bounds);
        self.figures.listed(does);
        match does {
            Serve::Copy => ("HIT", self.fetch(path, false, patience).await),
            Serve::CopyAndAsk => {
                if let Ok(turn) = Arc::clone(&slot.turn).try_lock_owned() {
                    let (lists, path) = (Arc::clone(&self), path.to_owned());
                    tokio::spawn(async move { lists.renew(&slot, &path, patience, turn).await });
                }
                ("STALE", self.fetch(path, false, patience).await)
            }
            Serve::Ask => {
                let turn = Arc::clone(&slot.turn).lock_owned().await;
                // Whoever waited for its turn finds what the one before it was told.
                if slot.does(self.now(), bounds) == Serve::Ask {
                    return self.renew(&slot, path, patience, turn).await;
                }
                drop(turn);
                ("HIT", self.fetch(path, false, patience).await)
            }
        }
    }

    fn settings(&self) -> Option<(Bounds, Duration)> {
        let serving = self.serving.borrow();
        let held = &serving.now.as_ref()?.held;
        Some((held.lists, held.fetch_timeout + BEYOND_FETCH))
    }

    fn slot(&self, path: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= REMEMBERED && !slots.contains_key(path) {
            // Those that somebody is busy with stay, so that nobody asks twice.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(path.to_owned()).or_default())
    }

    /// Has the engine asked, by nginx, which keeps what it says.
    async fn renew(
        &self,
        slot: &Slot,
        path: &str,
        patience: Duration,
        turn: OwnedMutexGuard<()>,
    ) -> (&'static str, Answered) {
        let asked = self.fetch(path, true, patience).await;
        let stale = slot.learn(&asked, self.now());
        drop(turn);
        if stale { ("STALE", self.fetch(path, false, patience).await) } else { ("MISS", asked) }
    }

    async fn fetch(&self, path: &str, refresh: bool, patience: Duration) -> Answered {
        let mut request = unix_http::get(path);
        if refresh {
            request = request.header("x-edge-refresh", "1");
        }
        let request = request.body(Full::default()).expect("a canonical path is a path");
        unix_http::send(&self.copies, request, patience).await
    }
}

impl Slot {
    /// Notes what the engine said. Whether it failed where there is a copy to serve instead.
    fn learn(&self, asked: &Answered, now: Moment) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.as_ref().map(|answer| (answer.status(), answer.body())) {
            Ok((StatusCode::OK, body)) => {
                let digest = Sha256::digest(body).into();
                let same = known.is_some_and(|known| known.digest == digest);
                let kept = Kept::told(known.map(|known| known.kept), now, same);
                *known = Some(Known { kept, digest, rests_until: now });
                false
            }
            Ok((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => {
                *known = None;
                false
            }
            Ok(_) | Err(_) => {
                if let Some(known) = known.as_mut() {
                    known.rests_until = now.after(REST);
                }
                known.is_some()
            }
        }
    }

    fn does(&self, now: Moment, bounds: Bounds) -> Serve {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some(known) if now < known.rests_until => Serve::Copy,
            known => trust(known.map(|known| known.kept).as_ref(), now, bounds),
        }
    }
}
