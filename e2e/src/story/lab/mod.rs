//! What the lab promises, shown on the lab itself: it leaves nothing, links can be cut, and a cluster does what a cluster does.
//!
//! These stories bring labs up and down themselves, so they run one after the other and only while no lab is up.

mod abuse;
mod links;
mod services;
mod snapshot;

use std::future::Future;
use std::pin::Pin;

use anyhow::{Context as _, Result, ensure};

use crate::cluster::{self, Lab, Spec, StateDir};
use crate::progress::Progress;

pub use self::snapshot::Snapshot;

/// A story's work.
pub type Telling<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// A story that needs the whole machine.
#[derive(Clone, Copy)]
pub struct LabStory {
    /// A sentence that is true when it passes.
    pub name: &'static str,
    /// Tells it.
    pub tell: for<'a> fn(&'a Progress) -> Telling<'a>,
}

/// Every story about the lab.
pub const ALL: &[LabStory] = &[
    LabStory {
        name: "three starts in a row leave nothing behind",
        tell: |progress| Box::pin(abuse::three_rounds(progress)),
    },
    LabStory {
        name: "a lab killed at any moment is removed without a trace",
        tell: |progress| Box::pin(abuse::killed_while_starting(progress)),
    },
    LabStory {
        name: "a killed down is finished by the next one",
        tell: |progress| Box::pin(abuse::killed_while_ending(progress)),
    },
    LabStory {
        name: "two labs at once: the second is refused",
        tell: |progress| Box::pin(abuse::two_at_once(progress)),
    },
    LabStory {
        name: "the link between clusters can be cut and healed",
        tell: |progress| Box::pin(links::cut_and_heal(progress)),
    },
    LabStory {
        name: "a control plane runs 100 pods without a kubelet",
        tell: |progress| Box::pin(links::hundred_pods(progress)),
    },
    LabStory {
        name: "a node enforces, stores, measures and resolves",
        tell: |progress| Box::pin(services::node(progress)),
    },
];

/// Fails while a lab is up.
pub(crate) fn expect_none() -> Result<()> {
    ensure!(!StateDir::from_env().journal().exists(), "a lab is up; end it first: cargo lab down");
    Ok(())
}

/// Brings a lab up, works on it, and takes it down whatever came of the work.
pub(crate) async fn on_a_lab(
    spec: &Spec,
    progress: &Progress,
    work: impl AsyncFnOnce(&Lab) -> Result<()>,
) -> Result<()> {
    expect_none()?;
    let state = StateDir::from_env();
    let worked = match cluster::up(spec, &state, progress).await {
        Ok(lab) => work(&lab).await,
        Err(error) => Err(error),
    };
    let ended = cluster::down(&state, progress).await.context("the lab could not be taken down");
    worked.and(ended)
}
