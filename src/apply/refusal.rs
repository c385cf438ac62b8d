//! Refusals in words that a person can act on.

use super::request::Setback;
use crate::{
    api::condition::Reason,
    plan::{Obstacle, object::Object},
};

/// A name that is not ours to use. `left_over`: it belongs to a fleet of the same name that was deleted before.
pub(super) fn taken(object: &Object, left_over: bool) -> Obstacle {
    let (kind, name) = (object.kind.as_str(), &object.name);
    if left_over {
        let message = format!("{kind} {name} belongs to an earlier fleet of this name and is waited for to be removed");
        return Obstacle { reason: Reason::Progressing, message };
    }
    let message =
        format!("{kind} {name} exists and is not this fleet's: rename or remove it, or give the fleet another name");
    Obstacle { reason: Reason::NameTaken, message }
}

/// An obstacle's message tells which object it is about.
pub(super) fn naming(object: &Object, setback: Setback) -> Setback {
    if let Setback::Refused(Obstacle { reason, message }) = &setback
        && !matches!(reason, Reason::NameTaken | Reason::Progressing)
    {
        let message = format!("{} {}: {message}", object.kind.as_str(), object.name);
        return Setback::Refused(Obstacle { reason: *reason, message });
    }
    setback
}
