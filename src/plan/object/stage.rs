//! In which order objects are written.

use super::Kind;

/// Stages of an apply, in order. Within one, nothing depends on anything else, so it is written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The record from which the rest is made.
    Record,
    /// What pods need.
    Ground,
    /// The pods, one Deployment after the other: one may wait for another's pods to end.
    Pods,
    /// What leads to pods or watches them.
    Front,
    /// What edges are told. Nobody is led anywhere before the Service, which is the memory of it, says so.
    Edges,
}

impl Stage {
    /// Where an object of this kind belongs unless its builder says otherwise. Exhaustive on purpose: a new kind that nobody
    /// placed does not compile.
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::ControllerRevision => Self::Record,
            Kind::ServiceAccount | Kind::Role | Kind::NetworkPolicy | Kind::ConfigMap | Kind::PersistentVolumeClaim => {
                Self::Ground
            }
            Kind::StatefulSet | Kind::Deployment => Self::Pods,
            // A Role is bound long after it was made: API servers refuse to bind one that they do not know yet.
            Kind::Service | Kind::PodDisruptionBudget | Kind::HorizontalPodAutoscaler | Kind::RoleBinding => {
                Self::Front
            }
            Kind::EdgeState => Self::Edges,
        }
    }

    /// Every stage, in order.
    pub const ALL: [Self; 5] = [Self::Record, Self::Ground, Self::Pods, Self::Front, Self::Edges];
}
