//! Whether revisions may have pods at the same time.

use std::{collections::BTreeMap, sync::Arc};

use super::{Observed, StoredRevision, deployments, object::Kind, rollout::Overlap};

/// Whether everything that runs, or that clients get, may run beside the wanted revision. Revisions that lock differently do
/// not keep each other out; and one whose text is lost counts as a writer wherever there is something to write to.
pub fn overlap(
    observed: &Observed,
    stable: Option<&str>,
    stored: &BTreeMap<String, Arc<StoredRevision>>,
    wanted: &StoredRevision,
) -> Overlap {
    if !wanted.may_overlap {
        return Overlap::OneWriter;
    }
    let running = deployments(&observed.children).into_iter().filter(|(_, view)| view.replicas > 0 || view.current > 0);
    let in_use =
        running.map(|(name, _)| name).chain(observed.pods.iter().map(|pod| pod.revision.as_str())).chain(stable);
    let volume = observed.children.keys().any(|(kind, _)| *kind == Kind::PersistentVolumeClaim);
    let harmless = !volume && wanted.agreement.is_none();
    let with = |name: &str| match stored.get(name) {
        None if harmless => Overlap::Allowed,
        Some(other) if agree(other, wanted) => Overlap::Allowed,
        Some(other) if other.may_overlap => Overlap::OtherLock,
        None | Some(_) => Overlap::OneWriter,
    };
    in_use.map(with).max().unwrap_or(Overlap::Allowed)
}

fn agree(one: &StoredRevision, other: &StoredRevision) -> bool {
    one.may_overlap && other.may_overlap && one.agreement == other.agreement
}

/// The revisions that this one may run beside, where it shares storage: what was seen of the others may be old, so at its start
/// all that is not among these is asked for. `None` where it shares nothing.
pub fn beside(
    kept: &BTreeMap<String, Arc<StoredRevision>>,
    name: &str,
    stored: &StoredRevision,
) -> Option<Vec<String>> {
    stored.agreement.as_ref()?;
    let others = kept.iter().filter(|(other, revision)| *other != name && agree(revision, stored));
    Some(others.map(|(other, _)| other.clone()).collect())
}
