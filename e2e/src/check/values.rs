//! The chart's values are documented: once in `values.yaml` for people who copy it, once in the schema for editors and refusals, once in the README's
//! table. All three must say the same, and the comments are where it is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{Golden, golden};

const BEGIN: &str = "<!-- values: written by the chart checks from values.yaml -->\n";
const END: &str = "<!-- end of values -->\n";

/// Every value has a comment, the schema describes the same values in the same words, and the README's table is current.
pub(super) fn documented(chart: &Path, update: Golden) -> anyhow::Result<()> {
    let read = |name: &str| std::fs::read_to_string(chart.join(name)).with_context(|| format!("cannot read {name}"));
    let text = read("values.yaml")?;
    let defaults: Value = serde_saphyr::from_str(&text).context("values.yaml does not parse")?;
    let schema: Value =
        serde_json::from_str(&read("values.schema.json")?).context("values.schema.json does not parse")?;
    let comments = comments(&text);
    let mut rows = String::from("| Value | Default | Meaning |\n|---|---|---|\n");
    for (path, property) in described(&schema) {
        let value = defaults.pointer(&format!("/{}", path.replace('.', "/")));
        let value = value.with_context(|| format!("values.yaml lacks {path}, which the schema allows"))?;
        let comment = comments.get(&path).with_context(|| format!("values.yaml says nothing about {path}"))?;
        ensure!(
            property["description"].as_str() == Some(comment),
            "the schema describes {path} differently than values.yaml does; it must say: {comment}"
        );
        if property["properties"].is_null() || path == "resources" {
            writeln!(rows, "| `{path}` | `{value}` | {} |", comment.replace('|', "\\|"))?;
        }
    }
    let described: Vec<String> = described(&schema).into_iter().map(|(path, _)| path).collect();
    for path in comments.keys() {
        ensure!(described.contains(path), "the schema lacks {path}, which values.yaml has");
    }
    let readme = read("README.md")?;
    golden(&chart.join("README.md"), &with_table(&readme, &rows)?, update)
}

/// The properties of the schema by path. Below `resources` it describes Kubernetes, and `global` belongs to helm.
fn described(schema: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if name == "global" {
            continue;
        }
        found.push((name.clone(), property));
        if name != "resources" {
            found
                .extend(described(property).into_iter().map(|(below, property)| (format!("{name}.{below}"), property)));
        }
    }
    found
}

/// The `# --` comments by the path of the key that follows.
fn comments(values: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut path: Vec<&str> = Vec::new();
    let mut comment = String::new();
    for line in values.lines() {
        let trimmed = line.trim_start();
        if let Some(start) = trimmed.strip_prefix("# -- ") {
            start.clone_into(&mut comment);
        } else if let Some(more) = trimmed.strip_prefix("# ").filter(|_| !comment.is_empty()) {
            comment = format!("{comment} {more}");
        } else if let Some((key, _)) = trimmed.split_once(':') {
            path.truncate((line.len() - trimmed.len()) / 2);
            path.push(key);
            if !comment.is_empty() {
                found.insert(path.join("."), std::mem::take(&mut comment));
            }
        }
    }
    found
}

/// The README with this table between its two marks.
fn with_table(readme: &str, rows: &str) -> anyhow::Result<String> {
    let marks = "the README lacks the marks of its table of values";
    let (before, rest) = readme.split_once(BEGIN).context(marks)?;
    let (_, after) = rest.split_once(END).context(marks)?;
    Ok(format!("{before}{BEGIN}{rows}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, comments, with_table};

    #[test]
    fn comments_belong_to_the_key_below_them() {
        let found =
            comments("# Not about a value.\n\n# -- All of a,\n# in two lines.\na:\n  # -- One.\n  b: 1\n  c: 2\n");
        let found: Vec<(&str, &str)> = found.iter().map(|(path, text)| (&**path, &**text)).collect();
        assert_eq!(found, [("a", "All of a, in two lines."), ("a.b", "One.")]);
    }

    #[test]
    fn the_table_replaces_the_old_one_only() {
        let readme = format!("head\n{BEGIN}old\n{END}tail\n");
        assert_eq!(with_table(&readme, "new\n").unwrap(), format!("head\n{BEGIN}new\n{END}tail\n"));
        assert!(with_table("no marks", "new\n").is_err());
    }
}
