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

/// For so long clients are told again that there is nothing: as long as nginx does of what never changes.
const ABSENT: Duration = Duration::from_secs(5);

/// For so long they are told again that the engine failed. Those who waited for their turn then do not ask one after the other.
const FAILED: Duration = Duration::from_secs(1);

/// The longest answer without a list that is told again, and the longest path of which anything is remembered. Both are what somebody who
/// tries paths could fill memory with.
const AGAIN_MAX: usize = 1024;

/// What the engine may take longer than its longest fetch.
const BEYOND_FETCH: Duration = Duration::from_secs(20);

/// What nginx says at once where no engine takes a connection.
const AWAY: [StatusCode; 2] = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE];

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
    /// Until when clients are told again that there is no list, and in which words.
    without: Mutex<Option<(Moment, Response<Bytes>)>>,
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
        if let Some(answer) = slot.without(self.now()) {
            return ("HIT", Ok(answer));
        }
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
                if let Some(answer) = slot.without(self.now()) {
                    return ("HIT", Ok(answer));
                }
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
        if path.len() > AGAIN_MAX {
            return Arc::default();
        }
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
        let away = matches!(&asked, Ok(answer) if AWAY.contains(&answer.status()));
        let left = if away && !slot.is_known() { self.left(path, patience).await } else { None };
        slot.find(left.as_ref());
        let stale = slot.learn(&asked, self.now());
        drop(turn);
        match (stale, left) {
            (false, _) => ("MISS", asked),
            (true, Some(left)) => ("STALE", Ok(left)),
            (true, None) => ("STALE", self.fetch(path, false, patience).await),
        }
    }

    /// A copy that nginx has from before this agent began, which knows of none.
    async fn left(&self, path: &str, patience: Duration) -> Option<Response<Bytes>> {
        self.fetch(path, false, patience).await.ok().filter(|answer| answer.status() == StatusCode::OK)
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
    fn is_known(&self) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Notes a copy of which nobody knows how old it is: at least as old as this process.
    fn find(&self, left: Option<&Response<Bytes>>) {
        let Some(left) = left else { return };
        let begun = Moment(Duration::ZERO);
        let (kept, digest) = (Kept::told(None, begun, false), Sha256::digest(left.body()).into());
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known { kept, digest, rests_until: begun });
    }

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
                self.repeat(asked, now.after(ABSENT));
                false
            }
            Ok(_) | Err(_) => {
                match known.as_mut() {
                    Some(known) => known.rests_until = now.after(REST),
                    None => self.repeat(asked, now.after(FAILED)),
                }
                known.is_some()
            }
        }
    }

    fn repeat(&self, asked: &Answered, until: Moment) {
        let answer = asked.as_ref().ok().filter(|answer| answer.body().len() <= AGAIN_MAX);
        *self.without.lock().unwrap_or_else(PoisonError::into_inner) = answer.map(|answer| (until, answer.clone()));
    }

    /// The answer that there is no list, while it is told again.
    fn without(&self, now: Moment) -> Option<Response<Bytes>> {
        let without = self.without.lock().unwrap_or_else(PoisonError::into_inner);
        without.as_ref().filter(|(until, _)| now < *until).map(|(_, answer)| answer.clone())
    }

    fn does(&self, now: Moment, bounds: Bounds) -> Serve {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some(known) if now < known.rests_until => Serve::Copy,
            known => trust(known.map(|known| known.kept).as_ref(), now, bounds),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures::future::join_all;
    use tokio::net::UnixListener;

    use super::*;
    use crate::edge::{
        agent::serving::Now,
        decide::tests::{held, settings},
        peers::{Endpoint, Peers},
        token::KeySet,
        wire::push,
    };

    /// Lists over an nginx that has none and whose engine answers so. How often that was asked, too.
    fn over(directory: &Path, status: StatusCode) -> (Arc<Lists>, Arc<AtomicUsize>) {
        let copies = directory.join("copy.sock");
        let listener = UnixListener::bind(&copies).unwrap();
        let times = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&times);
        let router = Router::new().fallback(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { (status, "no such module") }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let held = held(settings());
        let endpoint = Endpoint { pod: "corp-1-a".to_owned(), address: "10.0.0.1:3000".parse().unwrap() };
        let push = push(&held, &Peers::default().next(&BTreeSet::from([endpoint]), &held.weights));
        let now = Some(Arc::new(Now { held, keys: KeySet::default(), push }));
        let (_, serving) = watch::channel(Serving { now, trouble: None, heard: (1, None) });
        let lists = Lists { slots: Mutex::default(), copies, serving, figures: Arc::default(), begun: Instant::now() };
        (Arc::new(lists), times)
    }

    #[tokio::test]
    async fn many_who_ask_for_what_is_not_there_are_one_question() {
        for status in [StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR] {
            let directory = tempfile::tempdir().unwrap();
            let (lists, times) = over(directory.path(), status);
            let clients = (0..20).map(|_| Arc::clone(&lists).get("/a.example/none/@v/list"));
            for (_, answered) in join_all(clients).await {
                let answer = answered.unwrap();
                assert_eq!((answer.status(), &answer.body()[..]), (status, &b"no such module"[..]));
            }
            assert_eq!(times.load(Ordering::Relaxed), 1, "{status}");
        }
    }

    #[test]
    fn what_was_not_there_is_asked_for_again_soon() {
        let (slot, start) = (Slot::default(), Moment(Duration::from_secs(100)));
        let told = |status: StatusCode| Ok(http::Response::builder().status(status).body(Bytes::new()).unwrap());
        for (status, rest) in [(StatusCode::GONE, ABSENT), (StatusCode::BAD_GATEWAY, FAILED)] {
            assert!(!slot.learn(&told(status), start), "there is no copy to serve instead");
            assert!(slot.without(start).is_some_and(|answer| answer.status() == status));
            assert!(slot.without(start.after(rest)).is_none());
        }
        let long = http::Response::builder().status(404).body(Bytes::from(vec![b'x'; AGAIN_MAX + 1])).unwrap();
        assert!(!slot.learn(&Ok(long), start));
        assert!(slot.without(start).is_none(), "nobody fills memory with what is not there");
        assert!(!slot.learn(&told(StatusCode::OK), start));
        assert!(slot.learn(&told(StatusCode::BAD_GATEWAY), start), "a copy is served instead");
        assert!(slot.without(start).is_none());
    }
}
