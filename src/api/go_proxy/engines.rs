//! Rules of the CRD that depend on the engine, made from the engines' own tables.

use kube::core::{Message, Rule};

use super::EngineKind;
use crate::engine::{
    capability::{self, Lack, Wish},
    version::{self, Gate, Refused},
};

/// Whether the spec asks for this engine, in CEL.
pub const fn is(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Athens => "(!has(self.engine) || !has(self.engine.kind) || self.engine.kind == 'Athens')",
        EngineKind::Goproxy => "(has(self.engine) && has(self.engine.kind) && self.engine.kind == 'Goproxy')",
    }
}

/// Every rule, for the spec as a whole.
pub fn rules() -> Vec<Rule> {
    let releases = version::REFUSED.iter().map(release);
    releases.chain(version::GATES.iter().map(gate)).chain(capability::TABLE.iter().map(lack)).collect()
}

fn release(refused: &Refused) -> Rule {
    let version = "self.engine.version";
    let (expression, message) = refused.form.about(version);
    let without = format!("!has(self.engine) || !has({version})");
    Rule::new(format!("{without} || !{} || {expression}", is(refused.kind)))
        .message(message)
        .field_path(".engine.version")
}

fn gate(gate: &Gate) -> Rule {
    said(&format!("!({} && {})", present(gate.field), present(gate.beside)), gate.field, gate.reason)
}

fn lack(lack: &Lack) -> Rule {
    let wish = match lack.wish {
        Wish::Given(field) => present(field),
        Wish::Filled(field) => format!("{} && size(self.{field}) > 0", present(field)),
        Wish::Says(field, word) => format!("{} && self.{field} == '{word}'", present(field)),
    };
    let right = if lack.needed { format!("({wish})") } else { format!("!({wish})") };
    said(&format!("!{} || {right}", is(lack.kind)), lack.wish.field(), lack.reason)
}

fn said(expression: &str, field: &str, reason: &str) -> Rule {
    Rule::new(expression).message(Message::Message(reason.to_owned())).field_path(format!(".{field}"))
}

/// Whether a field is there: each part of its path must be.
fn present(field: &str) -> String {
    let ends = field.match_indices('.').map(|(end, _)| end).chain([field.len()]);
    ends.map(|end| format!("has(self.{})", &field[..end])).collect::<Vec<_>>().join(" && ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_path_is_asked_for() {
        assert_eq!(present("lock"), "has(self.lock)");
        assert_eq!(present("storage.s3"), "has(self.storage) && has(self.storage.s3)");
    }
}
