//! The edge of the small world: one pod, and the controller that counts it.

use super::{
    act::EdgeAct,
    world::{Age, Id, Rev, World},
};

/// What the edge is told, and what its pod answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub number: u8,
    pub stable: Rev,
    pub answer: Option<u8>,
}

/// The pod of the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EdgePod {
    /// Where it leads clients.
    pub leads: Option<Rev>,
    /// The number of the settings by which it does, if it heard them from the object that is there.
    pub number: Option<u8>,
}

impl World {
    /// What the edge's pod and its controller do next, sooner or later.
    pub fn edge_acts(&self) -> Vec<EdgeAct> {
        let (set, state) = (self.objects.set, self.objects.state);
        let mut acts = Vec::new();
        let Some(pod) = self.edge else {
            acts.extend(set.map(|_| EdgeAct::Start));
            return acts;
        };
        let heard = |state: State| pod.number == Some(state.number) && pod.leads == Some(state.stable);
        acts.extend(state.filter(|state| !heard(*state)).map(|_| EdgeAct::Hear));
        acts.extend(state.filter(|state| pod.number.is_some() && state.answer != pod.number).map(|_| EdgeAct::Answer));
        acts.extend(set.filter(|ready| !ready && pod.leads.is_some()).map(|_| EdgeAct::Ready));
        acts.extend(set.is_none().then_some(EdgeAct::End));
        acts
    }

    /// Does one of them. An edge that answers before it does what it was told is one that a story makes wrong.
    pub fn edge_act(&mut self, act: EdgeAct, hasty: bool) {
        let state = self.objects.state;
        match (act, &mut self.edge, state) {
            (EdgeAct::Start, edge, _) => *edge = Some(EdgePod::default()),
            (EdgeAct::End, edge, _) => *edge = None,
            (EdgeAct::Hear, Some(edge), Some(state)) if hasty && edge.number != Some(state.number) => {
                edge.number = Some(state.number);
            }
            (EdgeAct::Hear, Some(edge), Some(state)) => {
                *edge = EdgePod { leads: Some(state.stable), number: Some(state.number) };
            }
            (EdgeAct::Answer, Some(edge), Some(state)) => {
                self.objects.state = Some(State { answer: edge.number, ..state });
                self.outdate(Id::State, Age::Older);
            }
            (EdgeAct::Ready, ..) => {
                self.objects.set = Some(true);
                self.outdate(Id::Set, Age::Older);
            }
            (EdgeAct::Hear | EdgeAct::Answer, ..) => unreachable!("{act:?} without a pod or orders"),
        }
    }
}
