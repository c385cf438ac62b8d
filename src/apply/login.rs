//! The login of a lock that a fleet brings along: made once, told to nobody, never read and never changed.

use std::fmt::Write as _;

use serde_json::json;

use super::{Applied, Applier, Fleet, Setback};
use crate::{
    api::condition::Reason,
    plan::{
        Obstacle,
        login::Login,
        object::lock::{CONFIGURATION_KEY, PASSWORD_KEY},
    },
};

/// As many as nobody guesses.
const PASSWORD_BYTES: usize = 32;

impl Applier {
    /// Makes the login unless it exists. Its content is drawn here, so that it passes through no plan, and is held no longer than
    /// the request.
    pub(super) async fn ensure_login(&self, fleet: Fleet<'_>, login: &Login, applied: &mut Applied) {
        let Some(password) = password() else {
            let message = "the system gives no random numbers".to_owned();
            applied.setback = Some(Setback::Failing { message, not_before: None });
            return;
        };
        let mut body = login.body.clone();
        body["stringData"] = json!({ PASSWORD_KEY: password, CONFIGURATION_KEY: format!("requirepass {password}\n") });
        match self.writer.create_secret(&fleet.key.namespace, &body, false).await {
            Ok(()) => applied.writes += 1,
            Err(Setback::Conflict(_)) => {}
            Err(setback) => {
                (applied.unmade, applied.unclaimed) = (true, true);
                applied.add(Err(naming(login, setback)));
            }
        }
    }
}

fn naming(login: &Login, setback: Setback) -> Setback {
    match setback {
        Setback::Refused(Obstacle { reason: Reason::Forbidden, .. }) => Setback::Refused(Obstacle {
            reason: Reason::Forbidden,
            message: format!(
                "the operator may not create Secret {}, the login of lock.managedRedis: give it the verb create on \
                 secrets, as its chart does, or name a Redis of your own in lock.redis",
                login.name
            ),
        }),
        Setback::Refused(Obstacle { reason, message }) => {
            Setback::Refused(Obstacle { reason, message: format!("Secret {}: {message}", login.name) })
        }
        other @ (Setback::Conflict(_) | Setback::NotFound(_) | Setback::Deposed | Setback::Failing { .. }) => other,
    }
}

fn password() -> Option<String> {
    let mut bytes = [0; PASSWORD_BYTES];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    let mut text = String::with_capacity(2 * PASSWORD_BYTES);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::Value;

    use super::*;
    use crate::{
        apply::{Applied, Applier, request::Writer},
        cache::{FleetKey, store::Store},
        leader::Leadership,
        plan::{
            Target, TargetPlan, fixture,
            object::lock,
            validate::{ManagedRedis, ValidFleet},
        },
    };

    /// Answers every request; Secrets with this code. Tells what was asked for, and with which bodies.
    async fn answering(
        code: u16,
        mut requests: tower_test::mock::Handle<http::Request<Body>, http::Response<Body>>,
    ) -> Vec<(String, Value)> {
        let mut asked = Vec::new();
        while let Some((request, reply)) = requests.next_request().await {
            let (head, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let path = head.uri.path().split_once("/build/").unwrap_or_default().1;
            asked.push((format!("{} {path}", head.method), serde_json::from_slice(&bytes).unwrap()));
            let refusal = json!({ "kind": "Status", "message": "User \"o\" cannot create resource \"secrets\"" });
            let (code, answer) = match path {
                "secrets" if code != 201 => (code, refusal.to_string().into()),
                _ => (201, bytes),
            };
            reply.send_response(http::Response::builder().status(code).body(Body::from(answer)).unwrap());
        }
        asked
    }

    async fn applied(code: u16) -> (Applied, Vec<(String, Value)>) {
        let managed =
            ManagedRedis { login: "corp-lock-1".to_owned(), image: "r/redis:7.2.11".to_owned(), persistence: None };
        let fleet = ValidFleet { managed_redis: Some(managed), ..fixture::smallest() };
        let key = FleetKey::new("build", "corp");
        let store = Arc::new(Store::default());
        let stored = json!({
            "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "spec": {},
            "metadata": { "name": "corp", "namespace": "build", "uid": "u", "resourceVersion": "1" },
        });
        store.put_fleet(serde_json::from_value(stored).unwrap());
        let (service, requests) = tower_test::mock::pair();
        let server = tokio::spawn(answering(code, requests));
        let writer = Writer { client: kube::Client::new(service, "default"), leadership: Leadership::always() };
        let applier = Applier { writer, store, metrics: Arc::default() };
        let login = Login { name: "corp-lock-1".to_owned(), body: lock::login(&fleet, "corp-lock-1") };
        let target = Target { region: "default".to_owned(), cluster: None };
        let targets = [TargetPlan {
            target,
            login: Some(login),
            objects: lock::build(&fleet, |_, wanted| wanted),
            let_go: Vec::new(),
            prune: Vec::new(),
        }];
        let outcome = applier.apply(Fleet { key: &key, uid: "u", known: false }, &targets).await;
        drop(applier);
        (outcome, server.await.unwrap())
    }

    fn titles(asked: &[(String, Value)]) -> Vec<&str> {
        asked.iter().map(|(title, _)| title.as_str()).collect()
    }

    #[tokio::test]
    async fn a_login_is_created_and_never_applied_before_what_uses_it() {
        let (outcome, asked) = applied(201).await;
        assert_eq!((outcome.obstacles.len(), &outcome.setback), (0, &None));
        assert_eq!(asked[0].0, "POST secrets");
        let password = asked[0].1["stringData"][PASSWORD_KEY].as_str().unwrap();
        assert_eq!(password.len(), 2 * PASSWORD_BYTES);
        assert_eq!(asked[0].1["stringData"][CONFIGURATION_KEY], format!("requirepass {password}\n"));
        assert!(titles(&asked).contains(&"PATCH statefulsets/corp-lock"), "{:?}", titles(&asked));
        let elsewhere = asked[1..].iter().any(|(_, body)| body.to_string().contains(password));
        assert!(!elsewhere, "the password is in another object");
        let (_, again) = applied(201).await;
        assert_ne!(again[0].1["stringData"][PASSWORD_KEY], password);
    }

    #[tokio::test]
    async fn a_login_that_exists_is_left_as_it_is() {
        let (outcome, asked) = applied(409).await;
        assert_eq!((outcome.obstacles.len(), &outcome.setback), (0, &None));
        assert!(titles(&asked).contains(&"PATCH statefulsets/corp-lock"), "{:?}", titles(&asked));
    }

    #[tokio::test]
    async fn nothing_remembers_a_login_that_could_not_be_made() {
        let (outcome, asked) = applied(403).await;
        assert_eq!(outcome.obstacles[0].reason, Reason::Forbidden);
        assert!(outcome.obstacles[0].message.contains("verb create on secrets"), "{:?}", outcome.obstacles);
        assert!(!titles(&asked).contains(&"PATCH statefulsets/corp-lock"), "{:?}", titles(&asked));
        assert!(titles(&asked).contains(&"PATCH services/corp-lock"), "the rest is made: {:?}", titles(&asked));
    }
}
