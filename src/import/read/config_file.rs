//! The engine's configuration file.

use toml::{Table, Value as Toml};

use super::ReadError;
use crate::import::{
    found::{Found, NotCarried, Value},
    setting::{Setting, by_key},
};

/// Reads a file. Variables that were read before win, as they do with the engine.
pub fn read(text: &str, found: &mut Found) -> Result<(), ReadError> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        // The first line of what it says: the next ones would show the text.
        ReadError::Toml { line, message: error.message().lines().next().unwrap_or_default().to_owned() }
    })?;
    walk("", &table, found);
    Ok(())
}

/// Whether a text is such a file: TOML with at least one setting of the engine.
pub fn looks_like(text: &str) -> bool {
    let table = text.parse::<Table>().unwrap_or_default();
    table.keys().any(|key| by_key(key).is_some() || matches!(key.as_str(), "Storage" | "SingleFlight" | "Index"))
}

fn walk(path: &str, table: &Table, found: &mut Found) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (value, by_key(&path)) {
            (Toml::Table(inner), _) => walk(&path, inner, found),
            (_, Some(setting)) => take(setting, &path, value, found),
            (_, None) => {
                found
                    .lost
                    .push(NotCarried::hidden(path, "Athens v0.18 knows no such setting and took no notice of it"));
            }
        }
    }
}

fn take(setting: &'static Setting, path: &str, value: &Toml, found: &mut Found) {
    // The engine's library fills in its own default over what the file says of these two.
    if matches!(setting.key, "Storage.Mongo.DefaultDBName" | "Storage.Mongo.DefaultCollectionName") {
        return overruled(setting, path, value, found);
    }
    let value = match value.as_array() {
        Some(items) => Value::List(items.iter().map(text).collect()),
        None => Value::Text(text(value)),
    };
    if found.knows(setting) {
        return;
    }
    found.set(setting, path, value);
}

fn overruled(setting: &'static Setting, path: &str, value: &Toml, found: &mut Found) {
    let used = if setting.key.ends_with("DBName") { "athens" } else { "modules" };
    if text(value) != used && !found.knows(setting) {
        let why = format!("Athens takes it from its variable alone, {}, and used '{used}'", setting.variable);
        found.notes.push(format!("{path}: {why}"));
    }
}

/// A value as its variable would have it.
fn text(value: &Toml) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> Found {
        let mut found = Found::default();
        read(text, &mut found).unwrap();
        found
    }

    #[test]
    fn keys_are_taken_in_any_case_and_values_in_any_form() {
        let found = read_all(
            "goGetWorkers = 5\nSumDBs = [\"https://a.example.com\"]\nForceSSL = true\nTraceSamplingFraction = 0.5\n\
             [Storage.AzureBlob]\nManagedIdentityResourceId = \"/subscriptions/1\"\n[Index.MySQL.Params]\ntimeout = \"30s\"\n",
        );
        assert_eq!(found.text("GoGetWorkers"), Some("5"));
        assert_eq!(found.items("SumDBs"), ["https://a.example.com"]);
        assert!(found.is_on("ForceSSL"));
        assert_eq!(found.text("Storage.AzureBlob.ManagedIdentityResourceID"), Some("/subscriptions/1"));
        assert_eq!(found.text("Index.MySQL.Params"), Some("30s"));
        assert_eq!(found.lost, []);
    }

    #[test]
    fn a_variable_wins_over_the_file_even_if_it_is_empty() {
        let mut found = Found::default();
        super::super::environment::lines("ATHENS_LOG_LEVEL=warn\nATHENS_NETRC_PATH=\n", &mut found).unwrap();
        read("LogLevel = \"debug\"\nNETRCPath = \"/x\"\nGoGetWorkers = 4\n", &mut found).unwrap();
        assert_eq!((found.text("LogLevel"), found.text("GoGetWorkers")), (Some("warn"), Some("4")));
        assert_eq!(found.get("NETRCPath"), None);
    }

    #[test]
    fn what_the_engine_overrules_or_does_not_know_is_told() {
        let found =
            read_all("Strange = 1\n[Storage.Mongo]\nDefaultDBName = \"go\"\nDefaultCollectionName = \"modules\"\n");
        assert_eq!(found.lost.len(), 1);
        assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
        assert_eq!(found.get("Storage.Mongo.DefaultDBName"), None);
    }
}
