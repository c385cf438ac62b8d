//! What this edge serves by, and why not by something newer.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::{
    Input,
    place::{Place, Saved},
};
use crate::{
    api::edge_state::{EdgeReport, EdgeStateSpec, PROTOCOL, PROTOCOL_OLDEST},
    edge::{
        adopt::{Adoption, Doubt, Held, Origin, adopt},
        nginx::{Cache, Ports, Structure},
        peers::{Endpoint, Peers},
        token::KeySet,
        wire::{Push, push},
    },
};

/// An object that was read.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Told {
    pub(super) uid: String,
    pub(super) generation: i64,
    /// As it was written: a form that is not known is not read at all.
    pub(super) spec: Value,
    /// What it says that this edge has answered.
    #[serde(skip)]
    pub(super) answered: Option<EdgeReport>,
}

/// What this edge serves by.
#[derive(Clone, Debug, Default)]
pub(super) struct Serving {
    pub(super) now: Option<Arc<Now>>,
    /// Why it is not what was told last.
    pub(super) trouble: Option<String>,
    /// How often the object was read, and what it said last that this edge has answered.
    pub(super) heard: (u64, Option<EdgeReport>),
}

/// What is served by now.
#[derive(Debug)]
pub(super) struct Now {
    pub(super) held: Held,
    pub(super) keys: KeySet,
    pub(super) push: Push,
}

/// What of nginx's structure is the pod's own, and the same for as long as it lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) port: u16,
    pub(super) cache_bytes: u64,
    pub(super) workers: u64,
    pub(super) ipv6: bool,
}

/// All that is remembered from one input to the next.
struct Room {
    me: String,
    frame: Frame,
    place: Arc<Place>,
    told: Option<Told>,
    /// The newest object that was adopted, and what it said.
    adopted: Option<(Origin, Held)>,
    endpoints: BTreeSet<Endpoint>,
    peers: Peers,
    now: Option<Arc<Now>>,
    /// Why the newest object was not adopted.
    doubt: Option<String>,
    heard: (u64, Option<EdgeReport>),
}

/// Takes what happens outside, one after the other.
pub(super) async fn run(
    me: String,
    frame: Frame,
    place: Arc<Place>,
    mut inputs: mpsc::Receiver<Input>,
    serving: watch::Sender<Serving>,
) {
    let endpoints = BTreeSet::new();
    let mut room = Room {
        me,
        frame,
        place,
        told: None,
        adopted: None,
        endpoints,
        peers: Peers::default(),
        now: None,
        doubt: None,
        heard: (0, None),
    };
    while let Some(input) = inputs.recv().await {
        match input {
            Input::State(mut told) => {
                room.heard = (room.heard.0 + 1, told.answered.take());
                room.doubt = room.adopt(*told).await;
            }
            Input::Endpoints(endpoints) => room.endpoints = endpoints,
        }
        let missing = room.renew();
        room.save();
        let trouble = room.doubt.clone().or(missing);
        tell(&serving, Serving { now: room.now.clone(), trouble, heard: room.heard.clone() });
    }
}

/// Tells the others, if there is anything new.
fn tell(serving: &watch::Sender<Serving>, next: Serving) {
    serving.send_if_modified(|before| {
        let id = |one: &Serving| one.now.as_ref().map(|now| now.push.id.clone());
        let changed = id(before) != id(&next) || before.trouble != next.trouble;
        let heard = before.heard != next.heard;
        if changed {
            let generation = next.now.as_ref().map(|now| now.held.number);
            tracing::info!(generation, trouble = next.trouble, "what is served by changed");
        }
        *before = next;
        changed || heard
    });
}

impl Room {
    /// Adopts what was told, and says why if it does not.
    async fn adopt(&mut self, told: Told) -> Option<String> {
        let origin = Origin { uid: told.uid.clone(), generation: told.generation };
        let spec = match read(&told.spec) {
            Ok(spec) => spec,
            Err(doubt) => return Some(doubt.to_string()),
        };
        let before = self.adopted.as_ref().map(|(origin, held)| (origin, held));
        match adopt(&self.me, &spec, &origin, before) {
            Adoption::Keep(doubt) => return Some(doubt.to_string()),
            Adoption::Same => {
                if let Some((adopted, _)) = &mut self.adopted {
                    *adopted = origin;
                }
            }
            Adoption::Serve(held) => {
                if let Err(refused) = self.place.structure(&self.frame.structure(&held)).await {
                    return Some(refused.to_string());
                }
                self.adopted = Some((origin, *held));
            }
        }
        self.told = Some(told);
        None
    }

    /// What is served by from now on; what was served by before where the stable revision has no pod, because nobody would be served
    /// by that. Says so.
    fn renew(&mut self) -> Option<String> {
        let (_, held) = self.adopted.as_ref()?;
        let peers = self.peers.next(&self.endpoints, &held.weights);
        if !peers.has(&held.weights.stable) {
            return Some(format!("revision {} has no pod that takes requests", held.weights.stable));
        }
        let push = push(held, &peers);
        self.peers = peers;
        if self.now.as_ref().is_none_or(|now| now.push != push) {
            self.now = Some(Arc::new(Now { held: held.clone(), keys: KeySet::default(), push }));
        }
        None
    }

    fn save(&self) {
        if let Some(told) = &self.told {
            let endpoints = self.endpoints.iter().cloned().collect();
            self.place.save(&Saved { told: told.clone(), endpoints });
        }
    }
}

/// Reads the form of an object, its version first: what follows may be anything in a version that is not known.
fn read(spec: &Value) -> Result<EdgeStateSpec, Doubt> {
    let protocol = spec.get("protocol").and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    match protocol {
        Some(protocol) if !(PROTOCOL_OLDEST..=PROTOCOL).contains(&protocol) => Err(Doubt::Protocol(protocol)),
        _ => serde_path_to_error::deserialize(spec)
            .map_err(|error| Doubt::Settings { field: error.path().to_string(), reason: error.inner().to_string() }),
    }
}

impl Frame {
    /// Room in memory for the addresses of half a million files, more than most caches hold. Pages of it are used as they fill.
    const KEYS: u64 = 64 << 20;

    fn structure(self, held: &Held) -> Structure {
        Structure {
            hostnames: BTreeSet::new(),
            ports: Ports { http: self.port, https: None, proxy_protocol: None, origin: None },
            ipv6: self.ipv6,
            cache: Cache { size: self.cache_bytes, keys: Self::KEYS },
            fetch_timeout: held.fetch_timeout,
            workers: self.workers,
        }
    }
}
