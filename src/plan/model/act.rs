//! What happens in a story, and how strict it is about it.

use super::world::{Id, Rev};

/// How writes are fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fences {
    AsBuilt,
    /// Nobody asks for anything before one starts alone.
    Blind,
    /// Whoever starts alone asks for pods, and not for Deployments that may start some.
    OnlyPods,
    /// No write carries a resourceVersion.
    NoVersions,
}

/// Which writes of a deposed leader still arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// None: each asks for the lease first.
    Never,
    /// Those without a resourceVersion, and those whose object is not what it was.
    Outdated,
    /// Any, as if there was no lease.
    Any,
}

/// What watches bring, each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    Fleet,
    Records,
    Deployments,
    Service,
    Policy,
    Set,
    State,
    Pods,
}

impl Watch {
    pub const ALL: [Self; 8] = [
        Self::Fleet,
        Self::Records,
        Self::Deployments,
        Self::Service,
        Self::Policy,
        Self::Set,
        Self::State,
        Self::Pods,
    ];

    pub const fn brings(self) -> &'static [Id] {
        match self {
            Self::Records => &[Id::Record(0), Id::Record(1)],
            Self::Deployments => &[Id::Deployment(0), Id::Deployment(1)],
            Self::Service => &[Id::Service],
            Self::Policy => &[Id::Policy],
            Self::Set => &[Id::Set],
            Self::State => &[Id::State],
            Self::Fleet | Self::Pods => &[],
        }
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The Deployment controller passes the number of pods on.
    Pass(Rev),
    /// It writes what it counts.
    Count(Rev),
    /// The ReplicaSet's controller creates a pod, or deletes one.
    Fit(Rev),
    /// A kubelet makes a pod ready, or is done with one that ends.
    Ready(Rev),
    End(Rev),
    /// The edge gets on.
    Edge(EdgeAct),
    /// The leader sends the next write of its plan.
    Write,
    /// A watch brings what is new.
    Deliver(Watch),
    /// The leader plans.
    Plan,
    /// The delay before the old revision ends passes.
    Tick,
    /// The user makes the next edit.
    Edit,
    Wrong(Mishap),
}

/// What the edge's pod and its controller do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeAct {
    /// The pod starts.
    Start,
    /// It reads what it is told, and does it.
    Hear,
    /// It answers.
    Answer,
    /// It is counted as ready.
    Ready,
    /// It ends.
    End,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The leader ends, and begins again with everything listed anew.
    Crash,
    /// The next leader's watches bring everything.
    Follow,
    /// It leads.
    Depose,
    /// The next write of the deposed leader arrives.
    Late,
    /// Somebody deletes a child.
    Delete(Id),
    /// A pod is evicted.
    Evict(Rev),
}
