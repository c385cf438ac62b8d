//! What the operator knows of the cluster, kept small: one watch per kind of object, each with a pump of its own that
//! forgets on decode, and one store that holds what is left.

mod claims;
pub mod decode;
pub mod kept;
mod lean;
pub mod projection;
pub mod pump;
mod secrets;
pub mod size;
pub mod store;
pub mod watch;

use std::{fmt, sync::Arc};

use kube::core::ApiResource;

use crate::{api::GROUP, plan::object::Kind};

/// Namespace and name of a fleet. Cheap to copy: the texts are shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FleetKey {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl FleetKey {
    /// Of these names.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a watch brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The fleets themselves.
    Fleets,
    /// Children of one kind.
    Children(Kind),
    /// Pods of all fleets.
    Pods,
    /// Secrets, in the namespaces that are listed for it alone.
    Secrets,
}

impl Source {
    /// Everything that is watched wherever fleets are.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Fleets, Self::Pods].into_iter().chain(Kind::ALL.map(Self::Children))
    }

    /// Plural name of the resource, as in RBAC rules.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Fleets => "goproxies",
            Self::Children(kind) => kind.resource().2,
            Self::Pods => "pods",
            Self::Secrets => "secrets",
        }
    }

    /// The resource, for requests.
    pub fn resource(self) -> ApiResource {
        let (group, version, plural, kind) = match self {
            Self::Fleets => (GROUP, "v1alpha1", "goproxies", "GoProxy"),
            Self::Pods => ("", "v1", "pods", "Pod"),
            Self::Secrets => ("", "v1", "secrets", "Secret"),
            Self::Children(kind) => {
                let (group, version, plural) = kind.resource();
                (group, version, plural, kind.as_str())
            }
        };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") },
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }
}
