//! `goproxy-operator crd`: the definitions as files.

use std::{fs, io::Write, path::Path};

use anyhow::Context;

use crate::api::crd;

/// Prints all definitions, or writes each to a file of its own.
pub fn print(output: Option<&Path>) -> anyhow::Result<()> {
    for definition in crd::all() {
        let text = crd::to_yaml(&definition)?;
        match output {
            None => write!(std::io::stdout(), "---\n{text}")?,
            Some(directory) => {
                let (group, plural) = (&definition.spec.group, &definition.spec.names.plural);
                let path = directory.join(format!("{group}_{plural}.yaml"));
                fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    Ok(())
}
