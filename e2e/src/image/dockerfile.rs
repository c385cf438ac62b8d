//! Recipes as Dockerfiles, for people who build the images with an engine of their own.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use super::Image;
use super::recipe::{File, Layer, PRUNED, Recipe, Source, Suite};
use super::source::{OPERATOR_RUSTFLAGS, OPERATOR_TARGET};
use crate::tools::Family;

/// The images that people build, with the committed file of each, relative to the root of the tree.
pub const COMMITTED: [(Image, &str); 4] = [
    (Image::Operator, "Dockerfile"),
    (Image::Edge, "e2e/image/edge.Dockerfile"),
    (Image::Athens, "e2e/image/athens.Dockerfile"),
    (Image::Goproxy, "e2e/image/goproxy.Dockerfile"),
];

/// The Debian release that binaries are built on. They need none where they run.
const BUILD_SUITE: &str = Suite::Bookworm.name();

/// The Dockerfile of an image. It is built from the root of the tree.
pub fn render(image: Image, path: &str) -> Result<String> {
    let recipe = Recipe::of(image);
    let mut text = format!(
        "# syntax=docker/dockerfile:1\n\
         # Rendered from the recipe in e2e/src/image/recipe.rs; a test compares the two. The lab makes the same image\n\
         # without an engine and runs that. CI has no engine, so this file itself is not built there.\n\
         #\n\
         #   docker build --file {path} --tag {}:{} .\n",
        recipe.name, recipe.tag
    );
    stages(&recipe, &mut text)?;
    for layer in &recipe.layers {
        match layer {
            Layer::Debian(suite, packages) => debian(*suite, packages, &mut text),
            Layer::Files(files) => {
                if !text.contains("\nFROM scratch\n") && !text.contains("-slim\n") {
                    text.push_str("\nFROM scratch\n");
                }
                for file in files {
                    copy(file, &mut text);
                }
            }
        }
    }
    config(&recipe, &mut text)?;
    Ok(text)
}

/// The stages that build binaries.
fn stages(recipe: &Recipe, text: &mut String) -> Result<()> {
    if recipe.files().any(|file| matches!(file.source, Source::Operator)) {
        let rust = env!("CARGO_PKG_RUST_VERSION");
        write!(
            text,
            "\nFROM rust:{rust}-{BUILD_SUITE} AS operator\nWORKDIR /src\nCOPY . .\n\
             RUN RUSTFLAGS=\"{OPERATOR_RUSTFLAGS}\" cargo build --release --locked --package goproxy-operator \
             --bin goproxy-operator --target {OPERATOR_TARGET} \\\n    \
             && cp target/{OPERATOR_TARGET}/release/goproxy-operator /goproxy-operator\n"
        )?;
    }
    let mut done = BTreeSet::new();
    for file in recipe.files() {
        if let Source::Tool(family, name) = file.source
            && done.insert(family.dir())
        {
            tool_stage(family, name, text)?;
        }
    }
    Ok(())
}

fn tool_stage(family: Family, name: &str, text: &mut String) -> Result<()> {
    let (dir, module) = (family.dir(), family.module());
    write!(
        text,
        "\nFROM golang:1.26-{BUILD_SUITE} AS {dir}\nWORKDIR /src\nENV CGO_ENABLED=0 GOFLAGS=-mod=readonly\n\
         COPY e2e/tools/{dir}/go.mod e2e/tools/{dir}/go.sum ./\nRUN go mod download {module} \\\n    \
         && date=\"$(go list -m -f '{{{{.Time.Format \"2006-01-02T15:04:05Z07:00\"}}}}' {module})\" \\\n    \
         && go build -trimpath -ldflags \"{}\" -o /out/{name} {} \\\n    \
         && cp -r \"$(go list -m -f '{{{{.Dir}}}}' {module})\" /out/source\n",
        family.ldflags("$date"),
        family.package(name)?,
    )?;
    Ok(())
}

fn debian(suite: Suite, packages: &[&str], text: &mut String) {
    let pruned: Vec<_> = PRUNED.iter().map(|path| format!("/{path}")).collect();
    let _ = write!(
        text,
        "\nFROM debian:{}-slim\n\
         RUN apt-get update \\\n    \
         && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends {} \\\n    \
         && rm -rf /var/lib/apt/lists/* \\\n        {}\n",
        suite.name(),
        packages.join(" "),
        pruned.join(" \\\n        ")
    );
}

fn copy(file: &File, text: &mut String) {
    let (path, mode) = (file.path, file.mode);
    let _ = match &file.source {
        Source::Tool(family, name) => {
            writeln!(text, "COPY --from={} --chmod={mode:o} /out/{name} /{path}", family.dir())
        }
        Source::ModuleFile(family, name) => {
            writeln!(text, "COPY --from={} --chmod={mode:o} /out/source/{name} /{path}", family.dir())
        }
        Source::GoRoot(family, name) => {
            writeln!(text, "COPY --from={} --chmod={mode:o} /usr/local/go/{name} /{path}", family.dir())
        }
        Source::Operator => writeln!(text, "COPY --from=operator --chmod={mode:o} /goproxy-operator /{path}"),
        Source::Text(content) => {
            writeln!(text, "COPY --chmod={mode:o} <<\"EOF\" /{path}\n{}\nEOF", content.trim_end())
        }
        Source::Symlink(target) => writeln!(text, "RUN ln -sfn {target} /{path}"),
        Source::Directory => {
            writeln!(text, "RUN install --directory --mode={mode:o} --owner={0} --group={0} /{path}", file.owner)
        }
        // Only images of the lab itself hold these.
        Source::Pause | Source::GeneratedOrigin => Ok(()),
    };
}

fn config(recipe: &Recipe, text: &mut String) -> Result<()> {
    let config = &recipe.config;
    for (name, value) in config.env {
        writeln!(text, "ENV {name}={value}")?;
    }
    if !config.user.is_empty() {
        writeln!(text, "USER {}", config.user)?;
    }
    if let Some(port) = config.port {
        writeln!(text, "EXPOSE {port}")?;
    }
    if !config.stop_signal.is_empty() {
        writeln!(text, "STOPSIGNAL {}", config.stop_signal)?;
    }
    writeln!(text, "WORKDIR {}", config.workdir)?;
    writeln!(text, "ENTRYPOINT {}", serde_json::to_string(config.entrypoint)?)?;
    if !config.cmd.is_empty() {
        writeln!(text, "CMD {}", serde_json::to_string(config.cmd)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Set `UPDATE_DOCKERFILES=1` to write the files instead of comparing them.
    #[test]
    fn committed_dockerfiles_are_what_the_recipes_say() {
        for (image, path) in COMMITTED {
            let rendered = render(image, path).unwrap();
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
            if std::env::var_os("UPDATE_DOCKERFILES").is_some() {
                std::fs::write(&file, &rendered).unwrap();
            }
            let committed = std::fs::read_to_string(&file).unwrap();
            assert_eq!(committed, rendered, "{path} differs: run this test with UPDATE_DOCKERFILES=1");
        }
    }

    #[test]
    fn every_file_of_a_recipe_is_in_its_dockerfile() {
        for (image, path) in COMMITTED {
            let text = render(image, path).unwrap();
            for file in Recipe::of(image).files() {
                assert!(text.contains(&format!(" /{}\n", file.path)), "{path} lacks {}", file.path);
            }
        }
    }
}
