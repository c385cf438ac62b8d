//! What an import prints: a fleet as people write it, the Secrets it needs, and what it could not have.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    Imported,
    carry::{WantedKey, WantedSecret},
    found::NotCarried,
};
use crate::{api::go_proxy::GoProxySpec, plan::validate::Refusal};

/// The fleet as an object, with nothing in it that goes without saying.
pub fn object(name: &str, namespace: Option<&str>, spec: &GoProxySpec) -> Value {
    let mut spec = json!(spec);
    if let Value::Object(members) = &mut spec {
        members.retain(|name, value| !(name == "replicas" && *value == json!(1)));
    }
    let mut object = json!({
        "apiVersion": "goproxy.rs/v1alpha1", "kind": "GoProxy", "metadata": { "name": name }, "spec": spec,
    });
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

/// The fleet in YAML, below the commands that make its Secrets.
pub fn yaml(imported: &Imported) -> Result<String, serde_saphyr::ser_error::Error> {
    let mut text = String::new();
    let namespace = imported.object.pointer("/metadata/namespace").and_then(Value::as_str);
    if !imported.secrets.is_empty() {
        text.push_str("# Make these Secrets first, with the values in place of the words in capitals:\n");
    }
    for secret in &imported.secrets {
        text.push_str(&command(secret, namespace));
    }
    text.push_str(&serde_saphyr::to_string(&imported.object)?);
    Ok(text)
}

/// The command that makes a Secret, as comments, and below it what each value is now.
fn command(secret: &WantedSecret, namespace: Option<&str>) -> String {
    let namespace = namespace.map(|name| format!(" --namespace {name}")).unwrap_or_default();
    let mut text = format!("#   kubectl create secret generic {}{namespace}", secret.name);
    // Writing to a string cannot fail.
    for WantedKey { key, file, .. } in &secret.keys {
        let _ = if *file {
            write!(text, " \\\n#     --from-file={key}=FILE")
        } else {
            write!(text, " \\\n#     --from-literal={key}=VALUE")
        };
    }
    text.push('\n');
    for WantedKey { key, from, .. } in &secret.keys {
        let _ = writeln!(text, "#   The value of {key} is in {from}.");
    }
    text
}

/// What is told on standard error.
pub fn told(imported: &Imported) -> String {
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = write!(text, "{title}:\n{}\n", lines.join("\n"));
        }
    };
    section("not carried", imported.lost.iter().map(lost).collect());
    section("secrets to make (their values are not shown)", imported.secrets.iter().map(wanted).collect());
    section("worth knowing", imported.notes.iter().map(|note| format!("  {note}")).collect());
    section("refused as it stands", imported.refused.iter().map(refused).collect());
    text
}

fn lost(lost: &NotCarried) -> String {
    let NotCarried { setting, value, why } = lost;
    match value {
        Some(value) => format!("  {setting}={value}: {why}"),
        None => format!("  {setting}: {why}"),
    }
}

fn wanted(secret: &WantedSecret) -> String {
    let keys: Vec<_> = secret.keys.iter().map(|key| format!("{} (from {})", key.key, key.from)).collect();
    format!("  Secret {}: {}", secret.name, keys.join(", "))
}

fn refused(refusal: &Refusal) -> String {
    format!("  {}", refusal.message)
}
