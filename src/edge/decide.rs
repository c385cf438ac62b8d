//! The one decision about a request: what it asks for, who asks, whether that may be, and who answers. A function of what is given and
//! of nothing else, so that the agent, a preview and a test decide alike.
//!
//! The order matters: a path that is none tells nothing of rules, and whoever may not speak at all gets no token checked.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{
    address::{AddressRules, AddressVerdict, speaker},
    adopt::Held,
    choice::{Choice, Client},
    path::{File, Freshness, Item, RequestPath},
    role::{Access, Action, Identity, Verdict},
    token::{Credential, KeySet, credential, verify},
};

/// What a client sent, as nginx read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The target, as it was sent.
    pub target: &'a [u8],
    /// Whose connection it is.
    pub peer: IpAddr,
    /// Headers that tell of others before that.
    pub forwarded: Vec<&'a str>,
    /// Headers that say who it is.
    pub authorization: Vec<&'a str>,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is done.
    pub answer: Answer,
    /// Who asks, if that is known.
    pub subject: Option<String>,
    /// Whose address counts, if one could be told.
    pub address: Option<IpAddr>,
    /// After this the same request may be decided otherwise.
    pub until: Option<Timestamp>,
}

/// What is done about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It goes on.
    Pass {
        /// What is asked for, canonical.
        path: RequestPath,
        /// Which way.
        room: Room,
        /// To whom.
        revision: String,
    },
    /// It does not.
    Refuse(Refused),
}

/// The way a request goes: each is a location of nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Through the cache.
    Small,
    /// Through the cache, and large.
    Zip,
    /// To the agent, which knows how old a list may be.
    Mutable,
    /// Past the cache, to a revision that is tried.
    Canary,
    /// To the checksum database, through the engine and the cache.
    Sums,
}

/// Why a request does not go on. The variants are what logs and metrics tell apart; the text is for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing of a module proxy.
    #[error("{0}")]
    Path(#[from] super::path::Refusal),
    /// A trusted proxy does not say whom it speaks for.
    #[error("{0}")]
    Untold(#[from] super::address::Untold),
    /// An address that may not speak.
    #[error("your address may not ask this proxy")]
    Address,
    /// An address that may not ask for private modules.
    #[error("your address may not ask this proxy for private modules")]
    PrivateAddress,
    /// Nobody said who they are, or it does not hold.
    #[error("say who you are: a token as the password in .netrc, or as a bearer token")]
    Unknown,
    /// Somebody known who may not.
    #[error("you may not read this module")]
    Forbidden,
}

impl Refused {
    /// The status of the answer.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Path(_) | Self::Untold(_) => 400,
            Self::Unknown => 401,
            Self::Address | Self::PrivateAddress | Self::Forbidden => 403,
        }
    }

    /// For logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Path(_) => "path",
            Self::Untold(_) => "untold",
            Self::Address => "address",
            Self::PrivateAddress => "private-address",
            Self::Unknown => "unknown",
            Self::Forbidden => "forbidden",
        }
    }
}

impl Room {
    /// The name of the location.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Zip => "zip",
            Self::Mutable => "mutable",
            Self::Canary => "canary",
            Self::Sums => "sums",
        }
    }
}

/// What a decision depends on besides the target. What nothing depends on is not part of what nginx remembers it by, so that a
/// thousand clients share one decision where they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depends {
    /// On what the client says of itself.
    pub authorization: bool,
    /// On where it comes from.
    pub address: bool,
}

impl Held {
    /// What decisions depend on by these settings.
    pub fn depends(&self) -> Depends {
        let authorization = self.access != Access::Open || self.tokens.is_some();
        let split = self.weights.canary.as_ref().is_some_and(|canary| canary.percent > 0);
        let address =
            split && !authorization || self.addresses != AddressRules::default() || !self.trusted_proxies.is_empty();
        Depends { authorization, address }
    }

    /// Whether everybody may read everything: then a plain path needs no decision, should there be nobody to make one.
    pub fn is_open(&self) -> bool {
        let Depends { authorization, address } = self.depends();
        !authorization && !address && self.private.is_empty()
    }
}

/// Decides about a request.
pub fn decide(held: &Held, keys: &KeySet, ask: &Ask<'_>, now: Timestamp) -> Decision {
    let mut decision = Decision { answer: Answer::Refuse(Refused::Unknown), subject: None, address: None, until: None };
    decision.answer = judge(held, keys, ask, now, &mut decision).unwrap_or_else(Answer::Refuse);
    decision
}

/// What is found out on the way is noted even where the end is a refusal: the log names who was refused.
fn judge(held: &Held, keys: &KeySet, ask: &Ask<'_>, now: Timestamp, noted: &mut Decision) -> Result<Answer, Refused> {
    let path = RequestPath::parse(ask.target)?;
    let address = speaker(ask.peer, &ask.forwarded, &held.trusted_proxies)?;
    noted.address = Some(address);
    let private = path.module().is_some_and(|module| held.private.iter().any(|pattern| pattern.matches(module)));
    match held.addresses.judge(address, private) {
        AddressVerdict::Allowed => {}
        AddressVerdict::Denied(_) | AddressVerdict::NotAllowed => return Err(Refused::Address),
        AddressVerdict::NotPrivate => return Err(Refused::PrivateAddress),
    }
    let identity = identify(held, keys, ask, now, noted)?;
    noted.subject = identity.as_ref().map(|identity| identity.subject.clone());
    match held.access.judge(identity.as_ref(), Action::Read, path.module()) {
        Verdict::Allowed(_) => {}
        Verdict::Unknown => return Err(Refused::Unknown),
        Verdict::Forbidden => return Err(Refused::Forbidden),
    }
    let client = identity.as_ref().map_or(Client::Address(address), |identity| Client::Subject(&identity.subject));
    let choice = held.weights.choose(client);
    let room = room(&path, choice);
    let revision = match (room, choice) {
        (Room::Canary, Choice::Canary { revision, .. }) | (_, Choice::Stable(revision)) => revision,
        (Room::Small | Room::Zip | Room::Mutable | Room::Sums, Choice::Canary { fallback, .. }) => fallback,
    };
    let revision = revision.to_owned();
    Ok(Answer::Pass { path, room, revision })
}

fn identify(
    held: &Held,
    keys: &KeySet,
    ask: &Ask<'_>,
    now: Timestamp,
    noted: &mut Decision,
) -> Result<Option<Identity>, Refused> {
    let Some(rules) = &held.tokens else { return Ok(None) };
    let sent = credential(&ask.authorization).ok().flatten();
    let Some(Credential::Bearer(token) | Credential::Basic { password: token, .. }) = sent else {
        return Err(Refused::Unknown);
    };
    let claims = verify(&token, keys, rules, now).map_err(|_| Refused::Unknown)?;
    noted.until = Some(claims.expires);
    Ok(Some(claims.identity))
}

fn room(path: &RequestPath, choice: Choice<'_>) -> Room {
    match (path, choice) {
        // Every revision asks the same database.
        (RequestPath::Sums { .. }, _) => Room::Sums,
        // Lists come from one copy that every client shares, so nobody gets one of a revision that is only tried.
        (RequestPath::Module { .. }, _) if path.freshness() == Freshness::Mutable => Room::Mutable,
        (RequestPath::Module { .. }, Choice::Canary { .. }) => Room::Canary,
        (RequestPath::Module { item: Item::File(_, File::Zip), .. }, Choice::Stable(_)) => Room::Zip,
        (RequestPath::Module { .. }, Choice::Stable(_)) => Room::Small,
    }
}

#[cfg(test)]
pub(in crate::edge) mod tests;
