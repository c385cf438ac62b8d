//! Rules about one value, each written once and used twice: as a CEL rule of the CRD and, with the same message, by
//! `validate`.

#[macro_use]
mod parts;

mod outside;
mod storage;

use std::sync::OnceLock;

use kube::core::{Message, Rule};
use regex::Regex;

pub use outside::*;
pub use storage::*;

use super::{duration::GoDuration, quantity::Quantity};

/// What a value must be.
#[derive(Debug)]
pub struct Form {
    test: Test,
    message: &'static str,
    regex: OnceLock<Regex>,
}

#[derive(Debug)]
enum Test {
    Matching(&'static str),
    FreeOf(&'static str),
    Duration(&'static str, &'static str),
    Quantity(&'static str, &'static str),
}

impl Form {
    const fn new(test: Test, message: &'static str) -> Self {
        Self { test, message, regex: OnceLock::new() }
    }

    /// A value must match the pattern.
    pub const fn matching(pattern: &'static str, message: &'static str) -> Self {
        Self::new(Test::Matching(pattern), message)
    }

    /// A value must not match the pattern.
    pub const fn free_of(pattern: &'static str, message: &'static str) -> Self {
        Self::new(Test::FreeOf(pattern), message)
    }

    /// Why a value is refused; `None` if it has the form.
    pub fn refuse(&self, text: &str) -> Option<String> {
        let right = match self.test {
            Test::Matching(_) => self.matches(text),
            Test::FreeOf(_) => !self.matches(text),
            Test::Duration(low, high) => self.matches(text) && within::<GoDuration>(text, low, high),
            Test::Quantity(low, high) => self.matches(text) && within::<Quantity>(text, low, high),
        };
        (!right).then(|| self.message.replace("%s", &on_one_line(text)))
    }

    fn pattern(&self) -> &'static str {
        match self.test {
            Test::Matching(pattern) | Test::FreeOf(pattern) => pattern,
            Test::Duration(..) => GoDuration::PATTERN,
            Test::Quantity(..) => Quantity::PATTERN,
        }
    }

    fn matches(&self, text: &str) -> bool {
        // Go's syntax of patterns is a subset of this crate's, and a test compiles every one of them.
        let regex = self.regex.get_or_init(|| Regex::new(self.pattern()).expect("a constant that a test compiles"));
        regex.is_match(text)
    }

    /// As a rule on a value.
    pub fn rule(&self) -> Rule {
        let message = match self.test {
            // A quantity may be written as a number, which has no `replace`.
            Test::Quantity(..) => shown(self.message, "self"),
            Test::Matching(_) | Test::FreeOf(_) | Test::Duration(..) => self.explained("self"),
        };
        Rule::new(self.on_value()).message(message)
    }

    /// As a rule on the keys of a map.
    pub fn key_rule(&self) -> Rule {
        let first = format!("self.filter(k, !({}))[0]", self.expression("k"));
        Rule::new(self.on_keys()).message(self.explained(&first))
    }

    /// What CEL says of a value somewhere in the object, and how it explains a refusal.
    pub fn about(&self, value: &str) -> (String, Message) {
        (self.expression(value), self.explained(value))
    }

    /// The form that a CEL rule of the CRD stands for, and whether it is about the keys of a map.
    pub fn of(rule: &str) -> Option<(&'static Self, bool)> {
        ALL.iter().find_map(|form| {
            let keys = form.on_keys() == rule;
            (keys || form.on_value() == rule).then_some((*form, keys))
        })
    }

    fn on_value(&self) -> String {
        self.expression("self")
    }

    fn on_keys(&self) -> String {
        format!("self.all(k, {})", self.expression("k"))
    }

    fn expression(&self, value: &str) -> String {
        let pattern = self.pattern();
        match self.test {
            Test::Matching(_) => format!("{value}.matches(r'{pattern}')"),
            Test::FreeOf(_) => format!("!{value}.matches(r'{pattern}')"),
            Test::Duration(low, high) => format!(
                "{value}.matches(r'{pattern}') && duration({value}) >= duration('{low}') && duration({value}) <= duration('{high}')"
            ),
            Test::Quantity(low, high) => format!(
                "string({value}).matches(r'{pattern}') && isQuantity(string({value})) && quantity(string({value})).compareTo(quantity('{low}')) >= 0 && quantity(string({value})).compareTo(quantity('{high}')) <= 0"
            ),
        }
    }

    fn explained(&self, value: &str) -> Message {
        if !self.message.contains("%s") {
            return Message::Message(self.message.to_owned());
        }
        // The server drops a message with a line break in it.
        shown(self.message, &format!("{value}.replace('\\n', ' ')"))
    }
}

fn within<T: std::str::FromStr + Ord>(text: &str, low: &str, high: &str) -> bool {
    match (text.parse::<T>(), low.parse::<T>(), high.parse::<T>()) {
        (Ok(value), Ok(low), Ok(high)) => low <= value && value <= high,
        _ => false,
    }
}

/// A text as messages show it.
pub fn on_one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// A message that shows values: CEL's `format` fills in what `values` evaluates to.
pub(super) fn shown(message: &str, values: &str) -> Message {
    Message::Expression(format!("\"{message}\".format([{values}])"))
}

/// Every form, for looking one up by its rule.
static ALL: [&Form; 43] = [
    &FETCH_TIMEOUT,
    &LIST_TTL,
    &SCALE_DOWN_DELAY,
    &CPU,
    &MEMORY,
    &VOLUME_SIZE,
    &FLEET_NAME,
    &FLEET_NAME_ENDING,
    &OBJECT_NAME,
    &OBJECT_KEY,
    &IMAGE,
    &IMAGE_PINNED,
    &IMAGE_LATEST,
    &GO_ENV_KEY,
    &GO_ENV_VALUE,
    &META_KEY,
    &OWN_KEY,
    &OWN_LABEL,
    &LABEL_VALUE,
    &LOAD_BALANCER_CLASS,
    &ORIGIN_NAME,
    &ORIGIN_SCHEME,
    &ORIGIN_USER,
    &ORIGIN_ADDRESS,
    &ORIGIN_HOST,
    &HTTPS,
    &CHECKSUM_KEY,
    &MODULE_PATTERN,
    &MODULE_WILDCARD,
    &BUCKET,
    &GCS_BUCKET,
    &AZURE_ACCOUNT,
    &AZURE_RESOURCE,
    &MONGO_NAME,
    &REDIS_USER,
    &HOST_PORT,
    &HOST_PORT_LOCAL,
    &GIT_HOST,
    &GIT_HOST_LOCAL,
    &LOGIN_NAME,
    &MODULE_PATH,
    &EGRESS_ADDRESS,
    &NO_PROXY,
];

/// `metadata.name`, of which Services and labels are made.
pub static FLEET_NAME: Form = Form::matching(
    r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$",
    "'%s' cannot name a Service with its revisions: use at most 40 lower-case letters, digits and dashes, beginning with a letter and not ending in a dash",
);

/// Endings that objects of other fleets have.
pub static FLEET_NAME_ENDING: Form = Form::free_of(
    r"-(engine|origin|edge|data|lock)$",
    "'%s' ends like an object of another fleet: choose a name that does not end in -engine, -origin, -edge, -data or -lock",
);

/// Name of an object in the fleet's namespace, or of a class.
pub static OBJECT_NAME: Form = Form::matching(
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    "'%s' is no object's name: use lower-case letters, digits, dashes and dots, with a letter or digit at both ends",
);

/// Key of a ConfigMap.
pub static OBJECT_KEY: Form = Form::matching(
    r"^[-._a-zA-Z0-9]+$",
    "'%s' is no key of a ConfigMap: use letters, digits, dashes, dots and underscores",
);

/// An image reference.
pub static IMAGE: Form = Form::matching(
    r"^([a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]{1,5})?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[a-f0-9]{64})?$",
    "'%s' is no image reference: write it like registry.example.com/team/athens:v0.18.1",
);

/// An image reference that says which image.
pub static IMAGE_PINNED: Form = Form::matching(
    r"(:[^/:@]+|@sha256:[a-f0-9]{64})$",
    "'%s' says neither tag nor digest, so the image could change under a running fleet: add a tag such as :v0.18.1",
);

/// The tag that every push moves.
pub static IMAGE_LATEST: Form =
    Form::free_of(r":latest$", "'%s' can change under a running fleet: name a tag other than latest, or a digest");

/// Longest fetch.
pub static FETCH_TIMEOUT: Form = Form::new(
    Test::Duration("10s", "1h"),
    "'%s' is no length of time from 10s to 1h: write whole hours, minutes and seconds, such as 90s or 10m",
);

/// How long what changes may be taken for true.
pub static LIST_TTL: Form = Form::new(
    Test::Duration("1s", "24h"),
    "'%s' is no length of time from 1s to 24h: write whole hours, minutes and seconds, such as 5s or 5m",
);

/// How long an old revision may stay.
pub static SCALE_DOWN_DELAY: Form = Form::new(
    Test::Duration("0s", "1h"),
    "'%s' is no length of time from 0s to 1h: write whole hours, minutes and seconds, such as 30s or 1h",
);

/// Processor time of a pod.
pub static CPU: Form = Form::new(
    Test::Quantity("1m", "1k"),
    "'%s' is no amount of CPU from 1m to 1000: write cores or thousandths of one, such as 2, 0.5 or 250m",
);

/// Memory of a pod.
pub static MEMORY: Form = Form::new(
    Test::Quantity("1Mi", "64Ti"),
    "'%s' is no amount of memory from 1Mi to 64Ti: write bytes with a suffix, such as 512Mi or 2Gi (m means thousandths)",
);

/// Size of a volume.
pub static VOLUME_SIZE: Form = Form::new(
    Test::Quantity("100Mi", "1Pi"),
    "'%s' is no size of a volume from 100Mi to 1Pi: write bytes with a suffix, such as 20Gi",
);

/// Settings of the go command that no other field covers.
pub static GO_ENV_KEY: Form = Form::matching(
    r"^(GOTOOLCHAIN|GODEBUG|GOVCS|GOGC|GOMEMLIMIT|GOMAXPROCS)$",
    "'%s' cannot be set here: allowed are GOTOOLCHAIN, GODEBUG, GOVCS, GOGC, GOMEMLIMIT and GOMAXPROCS; origins, checksums and private modules have fields of their own",
);

/// A value of such a setting: the engine splits its list of settings at semicolons.
pub static GO_ENV_VALUE: Form = Form::matching(
    r"^[ -:<-~]+$",
    "'%s' is empty or holds a semicolon, a control character or a letter beyond ASCII, which the engine cannot pass on: remove the character, or the key",
);

/// Key of a label or annotation.
pub static META_KEY: Form = Form::matching(
    r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
    "'%s' is no key of a label or annotation: write it like example.com/team, with at most 63 letters, digits, dashes, dots and underscores after the slash",
);

/// Keys that are the operator's.
pub static OWN_KEY: Form = Form::free_of(
    r"(^|\.)goproxy\.rs/",
    "'%s' belongs to the operator, as all of goproxy.rs/ does: use a prefix of your own",
);

/// Labels that the operator or the Deployment controller sets.
pub static OWN_LABEL: Form = Form::free_of(
    r"^app\.kubernetes\.io/|^pod-template-hash$",
    "'%s' is set by Kubernetes or the operator: use a key with a prefix of your own",
);

/// Value of a label.
pub static LABEL_VALUE: Form = Form::matching(
    r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$",
    "'%s' is no label's value: use at most 63 letters, digits, dashes, dots and underscores, with a letter or digit at both ends",
);

/// Class of a load balancer.
pub static LOAD_BALANCER_CLASS: Form = Form::matching(
    r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    "'%s' is no class of load balancers: write it like example.com/internal, as its vendor does",
);

/// Short name of an upstream proxy.
pub static ORIGIN_NAME: Form = Form::matching(
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    "'%s' is no valid name: use lower-case letters, digits and dashes, with a letter or digit at both ends",
);

/// Why such a host is refused.
const LEADS_HOME: &str = "'%s' leads to the proxy's own pod or to services of its node: name a host other than localhost or a loopback, link-local, multicast or unspecified address";

/// How an address begins.
pub static ORIGIN_SCHEME: Form =
    Form::matching(r"^https?://", "'%s' does not begin with http:// or https://: the engine speaks nothing else");

/// Login in an address. The one message without its value: it would carry the password on.
pub static ORIGIN_USER: Form = Form::free_of(
    r"^[^/]*//[^/]*@",
    "the address holds a login, which everyone who may read this object would see: leave out what stands before the @",
);

/// An address that GOPROXY can hold and no two programs read differently.
pub static ORIGIN_ADDRESS: Form = Form::matching(
    concat!(
        r"^([a-z]+:)?//([^/]*@)?(",
        host!(),
        r"|\[[0-9a-f:]+\])(:",
        port!(),
        r")?(/[A-Za-z0-9_~+-][A-Za-z0-9._~+-]*)*$"
    ),
    "'%s' is not an address like https://mirror.example.com:8443/go: give a lower-case host (an international one in its xn-- form) or an IP address of four numbers, a port of 1 to 65535 if needed, and a path of letters, digits and . _ ~ + - without a slash at its end",
);

/// Hosts that lead back to the pod or to services of the node.
pub static ORIGIN_HOST: Form = Form::free_of(concat!(r"^[a-z]*:?//([^/]*@)?", local_host!(), "(:|/|$)"), LEADS_HOME);

/// The only way to a checksum database.
pub static HTTPS: Form = Form::matching(
    r"^https://",
    "'%s' does not begin with https://: the engine asks checksum databases over nothing else",
);

/// Public key of a checksum database.
pub static CHECKSUM_KEY: Form = Form::matching(
    r"^[a-z0-9.-]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+$",
    "'%s' is no key of a checksum database: write it as the operator of the database published it, NAME+HASH+KEY",
);

/// Pattern of module paths.
pub static MODULE_PATTERN: Form = Form::matching(
    r"^[a-z0-9.*?-]+(/[A-Za-z0-9_~*?-][A-Za-z0-9._~*?-]*)*$",
    "'%s' is no pattern of module paths: write it like git.example.com/team/*, the host in lower case, without scheme, port, spaces or a slash at its end",
);

/// Patterns that cover everybody's modules.
pub static MODULE_WILDCARD: Form = Form::free_of(
    r"^[*?.]+(/|$)",
    "'%s' covers modules of every host and would turn off their checksums: name a host, or disable the checksum database with a reason",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_every_message_shows_the_value() {
        for form in ALL {
            form.refuse("");
            let shows = form.message.contains("'%s'") != std::ptr::eq(form, &raw const ORIGIN_USER);
            assert!(shows && form.message.contains(": "), "{}", form.message);
            // Within a CEL string, and within a raw one.
            assert!(!form.message.contains(['"', '\\', '\n']) && !form.pattern().contains('\''), "{}", form.pattern());
        }
    }

    #[test]
    fn a_login_is_refused_without_being_repeated() {
        let said = ORIGIN_USER.refuse("https://user:swordfish@mirror.example.com").unwrap();
        assert!(said.contains("holds a login") && !said.contains("swordfish") && !said.contains("user"), "{said}");
        let rule = ORIGIN_USER.rule();
        assert!(matches!(rule.message, Some(Message::Message(told)) if told == said));
    }

    #[test]
    fn a_form_is_found_by_its_rule() {
        for form in ALL {
            assert!(Form::of(&form.rule().rule).is_some_and(|(found, keys)| std::ptr::eq(found, form) && !keys));
            assert!(Form::of(&form.key_rule().rule).is_some_and(|(found, keys)| std::ptr::eq(found, form) && keys));
        }
        assert!(Form::of("self.x > 1").is_none());
    }
}
