//! One child: written or removed, after a look at what is there.

use tokio::time::Instant;

use super::{
    Applier, Fleet, Outcome,
    refusal::{changed_back, deleted_again, naming, taken},
    request::Setback,
};
use crate::{
    api::condition::Reason,
    cache::{
        FleetKey, Source,
        decode::{Owner, Seen},
        kept::Child,
    },
    metrics::{WriteResult, Written},
    observe::is_ours,
    plan::{
        Prune,
        object::{Kind, Object, Precondition},
    },
};

impl Applier {
    pub(super) async fn write(&self, fleet: Fleet<'_>, object: &Object) -> Result<Outcome, Setback> {
        let written = self.write_checked(fleet, object).await;
        if let Err(setback) = &written {
            let result = match setback {
                Setback::Deposed => return written,
                Setback::Conflict(_) => WriteResult::Conflict,
                Setback::Refused(obstacle) if obstacle.reason == Reason::NameTaken => WriteResult::NameTaken,
                Setback::Refused(_) => WriteResult::Refused,
                Setback::NotFound(_) | Setback::Failing { .. } => WriteResult::Failed,
            };
            self.metrics.wrote(Written::Child(object.kind), result);
            tracing::info!(kind = object.kind.as_str(), name = object.name, %setback, "not written");
        }
        written.map_err(|setback| naming(object, setback))
    }

    async fn write_checked(&self, fleet: Fleet<'_>, object: &Object) -> Result<Outcome, Setback> {
        let Fleet { key, uid: fleet_uid, .. } = fleet;
        // It may have been deleted since the plan was made; its objects go with it.
        if !self.store.is_fleet(key, fleet_uid) {
            return Err(Setback::NotFound(format!("the fleet {key} is gone")));
        }
        let held = || self.store.child(key, object.kind, &object.name);
        let before = held();
        let wrote = match &before {
            Some(before) if is_ours(before, fleet_uid) => {
                self.change(fleet, object, (&before.uid, &before.resource_version)).await?
            }
            Some(before) => {
                let by_name = before.owner.as_ref().is_some_and(|(_, by_name)| *by_name);
                return Err(Setback::Refused(taken(object, by_name)));
            }
            None => self.create(fleet, object).await?,
        };
        // Compared here and not where the answer is put away: the watch may have been faster than the answer.
        let news = match (before, held()) {
            (Some(before), Some(after)) => !after.looks_like(&before),
            (before, after) => before.is_some() || after.is_some(),
        };
        Ok(Outcome { wrote, news })
    }

    /// Creates what is not there. Version 1 is no object's: an object of the name makes this a conflict, so that
    /// nothing foreign is ever taken over.
    async fn create(&self, fleet: Fleet<'_>, object: &Object) -> Result<bool, Setback> {
        self.check(fleet.key, fleet.uid, object).await?;
        if fleet.known && !self.store.may_remake(fleet.key, object.kind, &object.name, Instant::now()) {
            return Err(Setback::Refused(deleted_again()));
        }
        match self.send(fleet.key, object, ("resourceVersion", "1"), None).await {
            Err(Setback::Conflict(_)) => self.meet(fleet, object).await,
            Ok(made) if fleet.known => {
                self.store.count_remade(fleet.key, object.kind, &object.name, Instant::now());
                Ok(made)
            }
            other => other,
        }
    }

    /// An object of the name exists that no watch has brought: either it is ours and the watch lags or its label was
    /// removed, or it is somebody else's.
    async fn meet(&self, fleet: Fleet<'_>, object: &Object) -> Result<bool, Setback> {
        let Fleet { key, uid: fleet_uid, .. } = fleet;
        let source = Source::Children(object.kind);
        let found: Seen = self.writer.get(source, &key.namespace, &object.name).await?.read()?;
        match found.owner() {
            Some(Owner { uid, .. }) if uid == fleet_uid => {}
            None if object.kind == Kind::PersistentVolumeClaim
                && (found.managed || found.fleet() == Some(&*key.name)) => {}
            Some(Owner { fleet, .. }) => return Err(Setback::Refused(taken(object, fleet == Some(&*key.name)))),
            None => return Err(Setback::Refused(taken(object, false))),
        }
        self.store.answer_child(object.kind, &found);
        if found.deleting() {
            return Err(Setback::Conflict("the old one is still being deleted".to_owned()));
        }
        if found.live == object.fingerprint {
            return Ok(false);
        }
        self.change(fleet, object, (found.uid(), found.resource_version())).await
    }

    /// Changes the object of this uid, known in this version, and no other.
    async fn change(&self, fleet: Fleet<'_>, object: &Object, known: (&str, &str)) -> Result<bool, Setback> {
        let (key, (uid, version)) = (fleet.key, known);
        self.check(key, fleet.uid, object).await?;
        if !self.store.allow_change(key, object.kind, &object.name, Instant::now()) {
            return Err(Setback::Refused(changed_back(object)));
        }
        if let Precondition::Replaces { uid, resource_version } = &object.precondition {
            return self.clear(key, object, (uid, resource_version)).await;
        }
        self.send(key, object, ("uid", uid), Some(version)).await
    }

    /// Deletes what can never become the object, which is made once that is gone.
    async fn clear(&self, key: &FleetKey, object: &Object, (uid, version): (&str, &str)) -> Result<bool, Setback> {
        let source = Source::Children(object.kind);
        self.writer.delete(source, &key.namespace, &object.name, uid, version).await?;
        self.metrics.wrote(Written::Child(object.kind), WriteResult::Deleted);
        let (kind, name) = (object.kind.as_str(), &object.name);
        tracing::warn!(kind, name, "this object differs and can never change: deleted, to be made anew");
        Err(Setback::Conflict("it can never change: deleted, to be made anew".to_owned()))
    }

    /// Sends an object with a guard in its metadata. True: the API server took it.
    async fn send(
        &self,
        key: &FleetKey,
        object: &Object,
        guard: (&str, &str),
        version: Option<&str>,
    ) -> Result<bool, Setback> {
        let mut body = object.body.clone();
        body["metadata"][guard.0] = guard.1.into();
        if let Some(version) = object.precondition.resource_version() {
            body["metadata"]["resourceVersion"] = version.into();
        }
        let source = Source::Children(object.kind);
        let answer = self.writer.apply(source, &key.namespace, &object.name, &body, false).await?;
        let stored: Seen = answer.read()?;
        let result = match (answer.created, version == Some(stored.resource_version())) {
            (true, _) => WriteResult::Created,
            (false, true) => WriteResult::Unchanged,
            (false, false) => WriteResult::Changed,
        };
        self.metrics.wrote(Written::Child(object.kind), result);
        tracing::debug!(kind = object.kind.as_str(), name = object.name, ?result, "written");
        self.store.answer_child(object.kind, &stored);
        self.remember_form(key, object, &stored);
        Ok(true)
    }

    /// The server may keep what it was given in another form, which would look like drift for ever.
    fn remember_form(&self, key: &FleetKey, object: &Object, stored: &Seen) {
        if stored.live != object.fingerprint
            && self.store.set_same_as_live(key, object.kind, &object.name, object.fingerprint)
        {
            self.metrics.write_loop_avoided(object.kind);
            let (kind, name) = (object.kind.as_str(), &object.name);
            tracing::warn!(kind, name, "the API server keeps this object in another form than it was applied in");
        }
    }

    /// Takes the owner from a volume, so that it does not go with the fleet.
    pub(super) async fn let_go(&self, key: &FleetKey, fleet_uid: &str, volume: &Prune) -> Result<Outcome, Setback> {
        let Prune { kind, name, uid, resource_version } = volume;
        let held: Option<Child> = self.store.child(key, *kind, name);
        let owned = |held: Child| held.owner.is_some_and(|(owner, _)| *owner == *fleet_uid) && *held.uid == **uid;
        if !held.is_some_and(owned) {
            return Ok(Outcome::default());
        }
        let source = Source::Children(*kind);
        let stored: Seen = self.writer.disown(source, &key.namespace, name, (uid, resource_version)).await?.read()?;
        self.metrics.wrote(Written::Child(*kind), WriteResult::Changed);
        tracing::info!(name, "this volume is not used any more: it is kept when the fleet is deleted");
        self.store.answer_child(*kind, &stored);
        Ok(Outcome { wrote: true, news: true })
    }

    pub(super) async fn prune(&self, key: &FleetKey, fleet_uid: &str, prune: &Prune) -> Result<Outcome, Setback> {
        let Prune { kind, name, uid, resource_version } = prune;
        let held: Option<Child> = self.store.child(key, *kind, name);
        if !held.is_some_and(|held| is_ours(&held, fleet_uid) && *held.uid == **uid && !held.deleting) {
            return Ok(Outcome::default());
        }
        let source = Source::Children(*kind);
        let deleted = self.writer.delete(source, &key.namespace, name, uid, resource_version).await;
        let result = match &deleted {
            Ok(_) | Err(Setback::NotFound(_)) => WriteResult::Deleted,
            Err(Setback::Conflict(_)) => WriteResult::Conflict,
            Err(Setback::Refused(_)) => WriteResult::Refused,
            Err(Setback::Failing { .. } | Setback::Deposed) => WriteResult::Failed,
        };
        self.metrics.wrote(Written::Child(*kind), result);
        match deleted {
            // The watch tells when it is gone.
            Ok(_) => Ok(Outcome { wrote: true, news: false }),
            // That it is gone is believed when the watch tells it, because nothing would tell that it is not.
            Err(Setback::NotFound(message)) => Err(Setback::Conflict(message)),
            Err(setback) => Err(setback),
        }
    }
}
