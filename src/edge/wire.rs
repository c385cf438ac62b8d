//! What the script in nginx and the agent say to each other.
//!
//! A question is framed by lengths, because a client may put any byte into it. An answer is one line of fields between tabs, which
//! costs the script one read and one match; no field can have a tab or a line break in it.

use std::{fmt::Write as _, net::IpAddr};

use jiff::Timestamp;

use super::{
    adopt::Held,
    decide::{Answer, Ask, Decision},
    peers::Peers,
};
use crate::plan::object::short_hash;

/// The longest question: the longest request that nginx takes, and a little.
pub const QUESTION_MAX: usize = 128 * 1024;

/// How long nginx remembers a decision. It is as long as clients are served what they were served before while there is no agent.
const REMEMBERED: i64 = 600;

/// Reads a question: fields of `LENGTH:BYTES`, the first byte of each telling what it is. What is not of that form was not
/// written by the script.
pub fn question(bytes: &[u8]) -> Option<Ask<'_>> {
    let (mut target, mut peer) = (None, None);
    let (mut forwarded, mut authorization) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let colon = rest.iter().take(7).position(|byte| *byte == b':')?;
        let length: usize = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
        let field = rest.get(colon + 1..)?.get(..length)?;
        rest = &rest[colon + 1 + length..];
        let (kind, value) = field.split_first()?;
        match kind {
            b't' => target = Some(value),
            b'p' => peer = Some(std::str::from_utf8(value).ok()?.parse::<IpAddr>().ok()?),
            // What is no text is no address and no token either: it is refused as what it then is.
            b'f' => forwarded.push(std::str::from_utf8(value).unwrap_or("\u{fffd}")),
            b'a' => authorization.push(std::str::from_utf8(value).unwrap_or("\u{fffd}")),
            _ => return None,
        }
    }
    Some(Ask { target: target?, peer: peer?, forwarded, authorization })
}

/// Writes an answer. `mark` tells by which settings it was decided: one by others than those that nginx has is not remembered.
pub fn answer(mark: &str, decision: &Decision, now: Timestamp) -> String {
    let left = decision.until.map_or(REMEMBERED, |until| until.as_second() - now.as_second());
    let (status, room, path, revision, refusal, text) = match &decision.answer {
        Answer::Pass { path, room, revision } => {
            (String::new(), room.name(), path.to_string(), revision.as_str(), "", String::new())
        }
        Answer::Refuse(refused) => {
            (refused.status().to_string(), "", String::new(), "", refused.name(), refused.to_string())
        }
    };
    let seconds = left.clamp(0, REMEMBERED).to_string();
    let address = decision.address.map(|address| address.to_string()).unwrap_or_default();
    let subject = decision.subject.as_deref().unwrap_or_default();
    let fields = [mark, &seconds, &status, room, &path, revision, subject, &address, refusal, &text];
    let mut line = fields.map(plain).join("\t");
    line.push('\n');
    line
}

/// Subjects come from tokens, which are checked to have no control characters; this is what holds if that ever changes.
fn plain(field: &str) -> String {
    field.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// What is pushed to nginx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Tells it from every other.
    pub id: String,
    /// One line for each fact.
    pub text: String,
}

/// Writes what nginx needs to know.
pub fn push(held: &Held, peers: &Peers) -> Push {
    let depends = held.depends();
    let flag = |on: bool| if on { "1" } else { "0" };
    let mut facts = format!(
        "mark\t{}\nstable\t{}\nauthorization\t{}\naddress\t{}\nopen\t{}\n",
        plain(&held.mark),
        plain(&held.weights.stable),
        flag(depends.authorization),
        flag(depends.address),
        flag(held.is_open())
    );
    for (revision, addresses) in peers.iter() {
        let _ = write!(facts, "peers\t{}", plain(revision));
        for address in addresses {
            let (open, close) = if address.is_ipv6() { ("[", "]") } else { ("", "") };
            let _ = write!(facts, "\t{open}{}{close}\t{}", address.ip(), address.port());
        }
        facts.push('\n');
    }
    let id = short_hash(&facts, 32);
    Push { text: format!("push\t{id}\n{facts}"), id }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::edge::{
        decide::{Refused, Room},
        path::RequestPath,
    };

    fn field(kind: u8, value: &[u8]) -> Vec<u8> {
        [format!("{}:", value.len() + 1).as_bytes(), &[kind], value].concat()
    }

    #[test]
    fn an_answer_is_one_line_whatever_is_in_it() {
        let now = Timestamp::from_second(1_000).unwrap();
        let path = RequestPath::parse(b"/a.b/c/@v/v1.0.0.mod").unwrap();
        let mut decision = Decision {
            answer: Answer::Pass { path, room: Room::Small, revision: "corp-1".to_owned() },
            subject: Some("al\tice\n".to_owned()),
            address: Some("192.0.2.7".parse().unwrap()),
            until: Some(Timestamp::from_second(1_030).unwrap()),
        };
        let line = "m\t30\t\tsmall\t/a.b/c/@v/v1.0.0.mod\tcorp-1\tal\u{fffd}ice\u{fffd}\t192.0.2.7\t\t\n";
        assert_eq!(answer("m", &decision, now), line);
        decision = Decision { answer: Answer::Refuse(Refused::Address), subject: None, until: None, ..decision };
        let line = "m\t600\t403\t\t\t\t\t192.0.2.7\taddress\tyour address may not ask this proxy\n";
        assert_eq!(answer("m", &decision, now), line);
    }

    #[test]
    fn a_decision_is_not_remembered_after_it_ends() {
        let now = Timestamp::from_second(1_000).unwrap();
        for (until, remembered) in [(999, "0"), (1_001, "1"), (1_599, "599"), (99_999, "600")] {
            let decision = Decision {
                answer: Answer::Refuse(Refused::Unknown),
                subject: None,
                address: None,
                until: Some(Timestamp::from_second(until).unwrap()),
            };
            assert_eq!(answer("m", &decision, now).split('\t').nth(1), Some(remembered), "{until}");
        }
    }

    #[test]
    fn what_the_script_did_not_write_is_no_question() {
        let peer = field(b'p', b"192.0.2.7");
        for bad in [&b""[..], b"6:t/a/b", b"x", b"3:zab", b"0:", b"99999999:t", b"2:t/", b"-1:t", b"3:p/a"] {
            assert_eq!(question(bad), None, "{bad:?}");
            assert_eq!(question(&[&peer[..], bad].concat()).filter(|_| !bad.starts_with(b"2:t")), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_question_is_read_as_it_was_asked(
            target in prop::collection::vec(any::<u8>(), 0..40),
            forwarded in prop::collection::vec("\\PC{0,12}", 0..3),
            authorization in prop::collection::vec("\\PC{0,12}", 0..3),
        ) {
            let mut bytes = [field(b't', &target), field(b'p', b"2001:db8::1")].concat();
            for value in &forwarded {
                bytes.extend(field(b'f', value.as_bytes()));
            }
            for value in &authorization {
                bytes.extend(field(b'a', value.as_bytes()));
            }
            let ask = question(&bytes).unwrap();
            prop_assert_eq!(ask.target, &target[..]);
            prop_assert_eq!(ask.peer, "2001:db8::1".parse::<IpAddr>().unwrap());
            prop_assert_eq!(ask.forwarded, forwarded);
            prop_assert_eq!(ask.authorization, authorization);
        }

        #[test]
        fn no_bytes_make_it_fall(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = question(&bytes);
        }
    }
}
