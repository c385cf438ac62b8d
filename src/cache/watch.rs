//! The watches, by name: what each is of, and where.

use std::sync::Arc;

use super::Source;

/// One watch: what, and in which namespace; `None` is all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watch {
    /// What is watched.
    pub source: Source,
    /// Where.
    pub namespace: Option<Arc<str>>,
}

impl Watch {
    /// Every watch that the operator needs for these namespaces; none named means all.
    pub fn all(namespaces: &[String]) -> Vec<Self> {
        let scopes: Vec<Option<Arc<str>>> = if namespaces.is_empty() {
            vec![None]
        } else {
            namespaces.iter().map(|ns| Some(ns.as_str().into())).collect()
        };
        let of = |namespace: &Option<Arc<str>>| {
            let namespace = namespace.clone();
            Source::all().map(move |source| Self { source, namespace: namespace.clone() })
        };
        scopes.iter().flat_map(of).collect()
    }

    /// The watches of Secrets: in these namespaces, and none named means nowhere.
    pub fn secrets(namespaces: &[String]) -> impl Iterator<Item = Self> {
        namespaces.iter().map(|name| Self { source: Source::Secrets, namespace: Some(name.as_str().into()) })
    }
}

impl std::fmt::Display for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.source.plural())?;
        self.namespace.as_ref().map_or(Ok(()), |namespace| write!(f, " in namespace {namespace}"))
    }
}
