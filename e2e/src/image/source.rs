//! The files that go into images: found, built or generated.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::layer::{Content, Node, Tree, hash_file};
use super::recipe::{Layer, Recipe, Source};
use crate::progress::Progress;
use crate::{origin, tools};

/// The instruction set that the operator's image is for, as rustc names it.
pub(super) const OPERATOR_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Makes the operator's binary independent of any C library in the image.
pub(super) const OPERATOR_RUSTFLAGS: &str = "-C target-feature=+crt-static";

const PAUSE: &str = include_str!("../../image/pause.c");

/// Builds what the recipe's files come from.
pub(super) fn prepare(recipe: &Recipe, progress: &Progress) -> Result<()> {
    let families: Vec<_> = recipe
        .files()
        .filter_map(|file| match file.source {
            Source::Tool(family, _) | Source::ModuleFile(family, _) | Source::GoRoot(family, _) => Some(family),
            Source::Operator
            | Source::Pause
            | Source::GeneratedOrigin
            | Source::Text(_)
            | Source::Symlink(_)
            | Source::Directory => None,
        })
        .collect();
    tools::ensure(&families, progress)?;
    if recipe.files().any(|file| matches!(file.source, Source::Operator)) {
        operator_binary(progress)?;
    }
    Ok(())
}

/// Names everything that goes into a layer.
pub(super) fn fingerprint(layer: &Layer) -> Result<String> {
    let mut hash = Sha256::new();
    match layer {
        Layer::Debian(suite, packages) => {
            let pruned = super::recipe::PRUNED.join(",");
            hash.update(format!("debian 1 {} {} {pruned}", suite.name(), packages.join(",")));
        }
        Layer::Files(files) => {
            for file in files {
                let content = file_fingerprint(&file.source)?;
                hash.update(format!("{} {:o} {} {content}\0", file.path, file.mode, file.owner));
            }
        }
    }
    Ok(tools::short_hex(hash))
}

fn file_fingerprint(source: &Source) -> Result<String> {
    Ok(match source {
        Source::Tool(family, name) => format!("tool {} {name}", family.key()),
        Source::ModuleFile(family, path) => format!("module {} {path}", family.key()),
        Source::GoRoot(_, path) => format!("go {} {path}", tools::go_version()),
        Source::Operator => format!("operator {}", hash_file(&operator()?)?.0),
        Source::Pause => format!("pause {PAUSE}"),
        Source::GeneratedOrigin => format!("origin {}", origin::generated::DIGEST),
        Source::Text(text) => format!("text {text}"),
        Source::Symlink(target) => format!("link {target}"),
        Source::Directory => "directory".to_owned(),
    })
}

/// The file tree of a layer, using `work` for what lies in between.
pub(super) fn tree(layer: &Layer, work: &Path) -> Result<Tree> {
    let files = match layer {
        Layer::Debian(suite, packages) => return super::debian::tree(*suite, packages, work),
        Layer::Files(files) => files,
    };
    let mut tree = Tree::default();
    for file in files {
        let content = match &file.source {
            Source::Tool(family, name) => Content::Copy(tools::bin(*family, name)),
            Source::ModuleFile(family, path) => Content::Copy(tools::module_dir(*family, family.module())?.join(path)),
            Source::GoRoot(_, path) => Content::Copy(go_root()?.join(path)),
            Source::Operator => Content::Copy(operator()?),
            Source::Pause => Content::Copy(pause(work)?),
            Source::Text(text) => Content::Bytes(text.clone().into_bytes()),
            Source::Symlink(target) => Content::Symlink((*target).to_owned()),
            Source::Directory => Content::Directory,
            Source::GeneratedOrigin => {
                let content = work.join("origin");
                origin::generated::write(&content)?;
                tree.add_directory(file.path, &content)?;
                continue;
            }
        };
        tree.add(file.path, Node { mode: file.mode, owner: file.owner, content });
    }
    Ok(tree)
}

fn go_root() -> Result<PathBuf> {
    let output = Command::new("go").args(["env", "GOROOT"]).env("GOTOOLCHAIN", "local").output().context("run go")?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn pause(work: &Path) -> Result<PathBuf> {
    let (code, binary) = (work.join("pause.c"), work.join("pause"));
    fs::write(&code, PAUSE).with_context(|| format!("write {}", code.display()))?;
    let output = Command::new("gcc")
        .args(["-Os", "-static", "-s", "-o"])
        .args([&binary, &code])
        .output()
        .context("run gcc (Debian packages gcc and libc6-dev)")?;
    ensure!(output.status.success(), "compile pause.c: {}", String::from_utf8_lossy(&output.stderr));
    Ok(binary)
}

static OPERATOR: OnceLock<PathBuf> = OnceLock::new();

/// The operator's static binary, built unless cargo finds it current.
pub(super) fn operator_binary(progress: &Progress) -> Result<PathBuf> {
    if OPERATOR.get().is_none() {
        let step = progress.long_step("build the operator");
        operator()?;
        step.done();
    }
    operator()
}

/// Asks cargo once, so that a layer and its key speak of the same file.
fn operator() -> Result<PathBuf> {
    if let Some(path) = OPERATOR.get() {
        return Ok(path.clone());
    }
    let path = release_binary("goproxy-operator", "goproxy-operator")?;
    Ok(OPERATOR.get_or_init(|| path).clone())
}

/// A static, optimised binary of this workspace.
pub(super) fn release_binary(package: &str, binary: &str) -> Result<PathBuf> {
    let arguments = ["--release", "--target", OPERATOR_TARGET];
    build(package, binary, &arguments, |cargo| {
        cargo.env("RUSTFLAGS", OPERATOR_RUSTFLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    })
}

/// A binary of this workspace as `cargo test` has it, which is made in a fraction of the time.
pub(super) fn debug_binary(package: &str, binary: &str) -> Result<PathBuf> {
    build(package, binary, &[], |_| {})
}

fn build(package: &str, binary: &str, arguments: &[&str], adjust: impl FnOnce(&mut Command)) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--locked", "--package", package, "--bin", binary])
        .args(arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(Stdio::piped());
    adjust(&mut command);
    let output = command.output().context("run cargo build")?;
    if !output.status.success() {
        bail!("build {binary}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    let executable = messages.flatten().find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    executable.with_context(|| format!("cargo built {binary} and named no executable"))
}
