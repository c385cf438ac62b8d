//! The three things that an installation of Athens is described by, read into one.

mod chart;
mod config_file;
mod environment;
mod pod;
mod workload;

use serde_json::Value;

use super::found::Found;

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Environment variables: a file of lines, a list as in a pod, or a whole workload.
    Environment,
    /// The engine's configuration file.
    ConfigFile,
    /// Values of the public chart.
    Values,
}

/// Why a text cannot be read. Never a part of the text itself: it may hold passwords.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A line is no variable.
    #[error("line {0} is no variable: write NAME=value, one to a line")]
    Line(usize),
    /// It is no TOML.
    #[error("not readable as TOML: line {line}: {message}")]
    Toml {
        /// Where.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// It is no YAML.
    #[error("not readable as YAML: {0}")]
    Yaml(String),
    /// It is YAML of something else.
    #[error("{0}")]
    Form(String),
    /// Nothing tells what it is.
    #[error(
        "neither variables, nor a configuration file, nor values of the chart: say which with --env, --config or --values"
    )]
    Unknown,
}

/// Reads a text of a kind. `release` is the name under which a chart was installed.
pub fn read(kind: Kind, text: &str, release: Option<&str>, found: &mut Found) -> Result<(), ReadError> {
    match kind {
        Kind::Environment => match documents(text).ok().filter(|documents| documents.iter().any(is_structure)) {
            Some(documents) => workload::read(&documents, found),
            None => environment::lines(text, found),
        },
        Kind::ConfigFile => config_file::read(text, found),
        Kind::Values => chart::read(&documents(text)?, release, found),
    }
}

/// What a text is, by its looks.
pub fn detect(text: &str) -> Result<Kind, ReadError> {
    if let Ok(documents) = documents(text)
        && let Some(first) = documents.iter().find(|document| is_structure(document))
    {
        let keys = || first.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        return if first.is_array() || keys().any(|key| key == "kind") {
            Ok(Kind::Environment)
        } else if keys().any(chart::knows) {
            Ok(Kind::Values)
        } else {
            Err(ReadError::Unknown)
        };
    }
    if config_file::looks_like(text) {
        return Ok(Kind::ConfigFile);
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    if lines.peek().is_some() && lines.all(|line| line.contains('=')) {
        Ok(Kind::Environment)
    } else {
        Err(ReadError::Unknown)
    }
}

/// The YAML documents of a text. What is wrong is told without the text.
fn documents(text: &str) -> Result<Vec<Value>, ReadError> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| ReadError::Yaml(error.to_string()))
}

fn is_structure(document: &Value) -> bool {
    document.is_object() || document.is_array()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_by_its_looks() {
        for (text, kind) in [
            ("ATHENS_STORAGE_TYPE=disk\n", Ok(Kind::Environment)),
            ("# a comment\nexport GO_ENV=production\n", Ok(Kind::Environment)),
            ("- name: GO_ENV\n  value: production\n", Ok(Kind::Environment)),
            ("apiVersion: apps/v1\nkind: Deployment\nspec: {}\n", Ok(Kind::Environment)),
            ("StorageType = \"disk\"\n[Storage.Disk]\nRootPath = \"/x\"\n", Ok(Kind::ConfigFile)),
            ("storage:\n  type: s3\n", Ok(Kind::Values)),
            ("replicaCount: 2\n", Ok(Kind::Values)),
            ("", Err(ReadError::Unknown)),
            ("something: else\n", Err(ReadError::Unknown)),
            ("hello\n", Err(ReadError::Unknown)),
        ] {
            assert_eq!(detect(text), kind, "{text}");
        }
    }

    #[test]
    fn no_error_repeats_the_text() {
        let secret = "hunter2";
        for (kind, text) in [
            (Kind::Environment, format!("A=b\n{secret}\n")),
            (Kind::ConfigFile, format!("GithubToken = {secret}\n")),
            (Kind::ConfigFile, format!("GithubToken = \"{secret}\n")),
            (Kind::Values, format!("storage: {{s3: {{secretKey: '{secret}}}}}\n")),
            (Kind::Values, format!("- {secret}\n")),
            (Kind::Values, format!("storage: {secret}\n")),
            (Kind::Values, format!("configEnvVars: {secret}\n")),
            (Kind::Values, format!("resources: {secret}\n")),
            (Kind::Environment, format!("kind: Deployment\nspec: {{template: {secret}}}\n")),
        ] {
            let mut found = Found::default();
            let told = format!("{:?} {:?} {:?}", read(kind, &text, None, &mut found), found.lost, found.notes);
            assert!(!told.contains(secret), "{told}");
        }
    }
}
