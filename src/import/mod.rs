//! `goproxy-operator import`: from an Athens that somebody runs by hand to a `GoProxy`.
//!
//! ```text
//!  read               found                carry                  report
//!  variables,     ─▶ settings of the  ─▶ a spec, and for all ─▶ YAML on standard output,
//!  file, values       engine by name       else a reason           the reasons on standard error
//! ```
//!
//! [`setting::SETTINGS`] is the table of everything that the engine can be told. Values of secret settings are never printed.

pub mod carry;
pub mod found;
mod read;
mod report;
pub mod setting;

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::Value;

pub use read::Kind;

use crate::plan::validate::{Refusal, parse};
use carry::{Carried, WantedSecret, carry};
use found::{Found, NotCarried};

/// Flags of `import`.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// What Athens is described by, told apart by its looks; `-` is standard input.
    #[arg(value_name = "FILE", conflicts_with_all = ["env", "config", "values"], required_unless_present_any = ["env", "config", "values"])]
    pub file: Option<PathBuf>,
    /// Its environment: lines of NAME=value, a list as in a pod, or a workload as `kubectl get deployment -o yaml` prints it.
    #[arg(long, value_name = "FILE")]
    pub env: Option<PathBuf>,
    /// Its configuration file. Beside an environment, which then wins.
    #[arg(long, value_name = "FILE", conflicts_with = "values")]
    pub config: Option<PathBuf>,
    /// Values of the public Athens chart.
    #[arg(long, value_name = "FILE", conflicts_with = "env")]
    pub values: Option<PathBuf>,
    /// Name of the Helm release, with values of a chart: names of its objects begin with it.
    #[arg(long, value_name = "NAME")]
    pub release: Option<String>,
    /// PersistentVolumeClaim with the modules, where what is read does not tell.
    #[arg(long, value_name = "NAME")]
    pub claim: Option<String>,
    /// Name of the fleet, which is also that of the Service that clients use.
    #[arg(long, value_name = "NAME", default_value = "goproxy")]
    pub name: String,
    /// Namespace of the fleet. Default: that of the workload, if one is read.
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Fail if something could not be carried.
    #[arg(long)]
    pub strict: bool,
}

/// How a fleet is to be called, and what the texts do not tell.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// The Helm release that the values were installed under.
    pub release: Option<String>,
    /// The claim to take over.
    pub claim: Option<String>,
}

/// What became of an installation.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The `GoProxy`, without what is a default anyway.
    pub object: Value,
    /// Secrets that it refers to and that have to be made.
    pub secrets: Vec<WantedSecret>,
    /// What it does not have.
    pub lost: Vec<NotCarried>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// Why the operator would refuse it.
    pub refused: Vec<Refusal>,
}

/// Why nothing is printed.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {source}")]
pub struct ImportError {
    file: String,
    source: read::ReadError,
}

/// Imports, prints the fleet and tells what it lacks. Exit code 1: it would be refused, or, if asked to be strict, it lacks
/// something.
pub fn command(import: &Import) -> anyhow::Result<ExitCode> {
    let Import { file, env, config, values, release, claim, name, namespace, strict } = import;
    let by_flag = [(env, Kind::Environment), (config, Kind::ConfigFile), (values, Kind::Values)];
    let mut given: Vec<(&Path, Option<Kind>)> = file.iter().map(|file| (file.as_path(), None)).collect();
    given.extend(by_flag.into_iter().filter_map(|(file, kind)| Some((file.as_deref()?, Some(kind)))));
    anyhow::ensure!(
        given.iter().filter(|(file, _)| *file == Path::new("-")).count() <= 1,
        "standard input can be read once: name a file for one of --env and --config"
    );
    let mut texts = Vec::new();
    for (file, kind) in given {
        texts.push(Text { name: file.display().to_string(), kind, text: contents(file)? });
    }
    let wishes =
        Wishes { name: name.clone(), namespace: namespace.clone(), release: release.clone(), claim: claim.clone() };
    let mut out = io::stdout().lock();
    let mut err = io::stderr().lock();
    match self::import(&texts, &wishes) {
        Ok(imported) => {
            write!(out, "{}", yaml(&imported)?)?;
            write!(err, "{}", report::told(&imported))?;
            let failed = !imported.refused.is_empty() || (*strict && !imported.lost.is_empty());
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Err(error) => {
            writeln!(err, "error: {error}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn contents(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(file).map_err(|error| anyhow::anyhow!("cannot read {}: {error}", file.display()))
}

/// A text that tells of an installation.
#[derive(Clone, Debug)]
pub struct Text {
    /// Where it is from.
    pub name: String,
    /// What it is; `None`: to be told by its looks.
    pub kind: Option<Kind>,
    /// The text.
    pub text: String,
}

/// Makes a fleet of what the texts tell. An environment comes before the file that it overrides.
pub fn import(texts: &[Text], wishes: &Wishes) -> Result<Imported, ImportError> {
    let mut found = Found::default();
    let mut kinds = Vec::new();
    for Text { name, kind, text } in texts {
        let failed = |source| ImportError { file: name.clone(), source };
        let kind = kind.map_or_else(|| read::detect(text), Ok).map_err(failed)?;
        read::read(kind, text, wishes.release.as_deref(), &mut found).map_err(failed)?;
        kinds.push(kind);
    }
    if let Some(mount) = found.around.config_mount.clone().filter(|_| !kinds.contains(&Kind::ConfigFile)) {
        found
            .lost
            .push(NotCarried::hidden(mount, "the engine's configuration file was not read: give it with --config"));
    }
    let Carried { spec, lost, secrets, notes } = carry(&found, &wishes.name, wishes.claim.as_deref());
    let namespace = wishes.namespace.as_deref().or(found.around.namespace.as_deref());
    let object = report::object(&wishes.name, namespace, &spec);
    let refused = parse(object.clone()).err().unwrap_or_default();
    Ok(Imported { object, secrets, lost, notes, refused })
}

/// The fleet as it is printed, below the commands that make its Secrets.
pub fn yaml(imported: &Imported) -> anyhow::Result<String> {
    Ok(report::yaml(imported)?)
}

#[cfg(test)]
mod tests;
