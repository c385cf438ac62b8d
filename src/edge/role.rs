//! Roles: what somebody may do with which module.

use std::collections::BTreeSet;

use crate::gomod::{ModulePath, ModulePattern};

/// Something that can be done with a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Action {
    /// Download it.
    Read,
    /// Have a new version fetched now.
    Publish,
    /// Have a version removed from every cache.
    Purge,
}

/// Somebody whose credentials were checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Who: the subject of a token, or a user's name.
    pub subject: String,
    /// Groups that the token names.
    pub groups: BTreeSet<String>,
    /// Scopes that the token names.
    pub scopes: BTreeSet<String>,
}

/// Who has a role. All that is given must fit; within one list one entry is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Subjects.
    pub subjects: BTreeSet<String>,
    /// Groups.
    pub groups: BTreeSet<String>,
    /// Scopes.
    pub scopes: BTreeSet<String>,
}

/// A role: who has it, and what it allows. Roles only ever allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name, for logs and waivers.
    pub name: String,
    /// Who has it.
    pub who: Match,
    /// With which modules.
    pub modules: Vec<ModulePattern>,
    /// What may be done.
    pub actions: BTreeSet<Action>,
}

/// Whether clients have to say who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody has to: everybody reads, and nobody does more.
    Open,
    /// Everybody has to. Without roles, whoever is known reads.
    Known(Vec<Role>),
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// By this role, if one was needed.
    Allowed(Option<&'a str>),
    /// 401: say who you are.
    Unknown,
    /// 403: you may not.
    Forbidden,
}

impl Match {
    /// Whether somebody fits. One that asks for nothing fits nobody: an empty list is a mistake more often than it is everybody.
    pub fn fits(&self, identity: &Identity) -> bool {
        let asks = [&self.subjects, &self.groups, &self.scopes];
        let subject = BTreeSet::from([identity.subject.clone()]);
        let has = [&subject, &identity.groups, &identity.scopes];
        asks.iter().any(|asked| !asked.is_empty())
            && asks.iter().zip(has).all(|(asked, has)| asked.is_empty() || !asked.is_disjoint(has))
    }
}

impl Access {
    /// Decides about an action. `module` is `None` for what is about no module, such as the tree of a checksum database.
    pub fn judge(&self, identity: Option<&Identity>, action: Action, module: Option<&ModulePath>) -> Verdict<'_> {
        let read = action == Action::Read;
        match (self, identity) {
            (Self::Open, _) => {
                if read {
                    Verdict::Allowed(None)
                } else {
                    Verdict::Forbidden
                }
            }
            (Self::Known(_), None) => Verdict::Unknown,
            (Self::Known(roles), Some(_)) if roles.is_empty() => {
                if read {
                    Verdict::Allowed(None)
                } else {
                    Verdict::Forbidden
                }
            }
            (Self::Known(roles), Some(identity)) => {
                let of_module = |role: &Role| {
                    module.is_none_or(|module| role.modules.iter().any(|pattern| pattern.matches(module)))
                };
                roles
                    .iter()
                    .find(|role| role.actions.contains(&action) && role.who.fits(identity) && of_module(role))
                    .map_or(Verdict::Forbidden, |role| Verdict::Allowed(Some(&role.name)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn role(name: &str, who: Match, modules: &[&str], actions: &[Action]) -> Role {
        let modules = modules.iter().map(|pattern| ModulePattern::parse(pattern).unwrap()).collect();
        Role { name: name.to_owned(), who, modules, actions: actions.iter().copied().collect() }
    }

    fn module(path: &str) -> ModulePath {
        ModulePath::parse(path).unwrap()
    }

    fn access() -> Access {
        let groups = |words: &[&str]| Match { groups: set(words), ..Match::default() };
        Access::Known(vec![
            role("dev", groups(&["engineering", "research"]), &["*"], &[Action::Read]),
            role(
                "ci",
                Match { subjects: set(&["ci"]), ..Match::default() },
                &["git.corp.example/*"],
                &[Action::Read, Action::Publish],
            ),
            role(
                "admin",
                Match { groups: set(&["platform"]), scopes: set(&["proxy:admin"]), ..Match::default() },
                &["*"],
                &[Action::Read, Action::Publish, Action::Purge],
            ),
        ])
    }

    #[test]
    fn a_role_allows_what_it_names_and_nothing_else() {
        let access = access();
        let identity = |subject: &str, groups: &[&str], scopes: &[&str]| Identity {
            subject: subject.to_owned(),
            groups: set(groups),
            scopes: set(scopes),
        };
        let dev = identity("alice", &["engineering"], &[]);
        let ci = identity("ci", &[], &[]);
        let half_admin = identity("bob", &["platform"], &[]);
        let admin = identity("carol", &["platform"], &["proxy:admin", "mail"]);
        let ours = module("git.corp.example/team/app");
        let public = module("golang.org/x/text");
        for (who, action, module, verdict) in [
            (&dev, Action::Read, Some(&public), Verdict::Allowed(Some("dev"))),
            (&dev, Action::Publish, Some(&public), Verdict::Forbidden),
            (&ci, Action::Read, Some(&ours), Verdict::Allowed(Some("ci"))),
            (&ci, Action::Publish, Some(&ours), Verdict::Allowed(Some("ci"))),
            (&ci, Action::Read, Some(&public), Verdict::Forbidden),
            (&ci, Action::Purge, Some(&ours), Verdict::Forbidden),
            (&half_admin, Action::Read, Some(&public), Verdict::Forbidden),
            (&admin, Action::Purge, Some(&public), Verdict::Allowed(Some("admin"))),
            (&dev, Action::Read, None, Verdict::Allowed(Some("dev"))),
            (&half_admin, Action::Read, None, Verdict::Forbidden),
        ] {
            assert_eq!(access.judge(Some(who), action, module), verdict, "{who:?} {action:?}");
        }
        assert_eq!(access.judge(None, Action::Read, Some(&public)), Verdict::Unknown);
    }

    #[test]
    fn without_roles_whoever_is_known_reads() {
        let known = Access::Known(Vec::new());
        let somebody = Identity { subject: "x".to_owned(), ..Identity::default() };
        let public = module("golang.org/x/text");
        assert_eq!(known.judge(Some(&somebody), Action::Read, Some(&public)), Verdict::Allowed(None));
        assert_eq!(known.judge(Some(&somebody), Action::Purge, Some(&public)), Verdict::Forbidden);
        assert_eq!(known.judge(None, Action::Read, Some(&public)), Verdict::Unknown);
        assert_eq!(Access::Open.judge(None, Action::Read, Some(&public)), Verdict::Allowed(None));
        assert_eq!(Access::Open.judge(Some(&somebody), Action::Publish, Some(&public)), Verdict::Forbidden);
    }

    #[test]
    fn a_role_for_nobody_in_particular_is_nobodys() {
        assert!(!Match::default().fits(&Identity {
            subject: "x".to_owned(),
            groups: set(&["g"]),
            scopes: set(&["s"])
        }));
    }

    proptest! {
        #[test]
        fn another_role_never_takes_a_right_away(group in "[a-c]", action in 0_usize..3, path in "[a-c]\\.[a-c]/[a-c]", pattern in "[a-c*]\\.[a-c]") {
            let action = [Action::Read, Action::Publish, Action::Purge][action];
            let who = Match { groups: set(&["a", "b"]), ..Match::default() };
            let first = vec![role("one", who.clone(), &["a.a/*"], &[Action::Read, Action::Purge])];
            let mut both = first.clone();
            both.insert(0, role("two", who, &[&pattern], &[Action::Publish]));
            let somebody = Identity { subject: "x".to_owned(), groups: set(&[&group]), ..Identity::default() };
            let module = module(&path);
            let may = |roles: Vec<Role>| matches!(Access::Known(roles).judge(Some(&somebody), action, Some(&module)), Verdict::Allowed(_));
            prop_assert!(!may(first) || may(both));
        }
    }
}
