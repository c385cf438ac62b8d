//! What is kept of where clients are led, and of what edges are told and answer.

use super::{Seen, read};
use crate::plan::{
    Lead,
    edge::EdgeStateView,
    front::Front,
    object::{EDGE_LABEL, FRONT_MOVED_AT_ANNOTATION, MOVED_AT_ANNOTATION, REVISION_LABEL, SERVES_ANNOTATION},
};

impl Seen {
    pub(super) fn lead(&self) -> Lead {
        let selects = |label: &str| self.rest.pointer("/spec/selector")?.get(label)?.as_str();
        let instant = |annotation: &str| self.annotation(annotation)?.parse().ok();
        let front = if selects(EDGE_LABEL).is_some() { Front::Edges } else { Front::Engines };
        let revision = match front {
            Front::Engines => selects(REVISION_LABEL),
            Front::Edges => self.annotation(SERVES_ANNOTATION),
        };
        Lead {
            revision: revision.map(str::to_owned),
            moved_at: instant(MOVED_AT_ANNOTATION),
            front,
            front_moved_at: instant(FRONT_MOVED_AT_ANNOTATION),
        }
    }

    /// `None` where it cannot be read, as one of another form.
    pub(super) fn edge_state(&self) -> Option<EdgeStateView> {
        Some(EdgeStateView {
            spec: read(self.rest.get("spec"))?,
            edges: read(self.rest.pointer("/status/edges")).unwrap_or_default(),
        })
    }
}
