//! Images as `docker save` writes them: layers, a configuration, and a manifest that names both.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::layer::{Content, LayerFile, Node, Tree, hash_file};
use super::recipe::{Config, Layer, Recipe};
use super::source;
use crate::progress::Progress;
use crate::tools::{self, hex};

/// The archive of an image, made unless the cache has it.
pub(super) fn ensure(recipe: &Recipe, progress: &Progress) -> Result<PathBuf> {
    source::prepare(recipe, progress)?;
    let layers = recipe.layers.iter().map(source::fingerprint).collect::<Result<Vec<_>>>()?;
    let mut hash = Sha256::new();
    hash.update(format!("{} {} {:?}", recipe.reference(), layers.join(" "), recipe.config));
    let name = format!("{}-{}-{}", recipe.name, recipe.tag, tools::short_hex(hash));
    let dir = tools::cache_dir().join("images");
    let path = dir.join(format!("{name}.tar"));
    if path.is_file() {
        return Ok(path);
    }
    let _lock = tools::lock(&format!("image-{name}"))?;
    if path.is_file() {
        return Ok(path);
    }
    let step = progress.step(format!("image {}", recipe.reference()));
    let work = dir.join(format!("{name}.building"));
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    }
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let sizes = write(recipe, &layers, &work, &path)?;
    fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    step.done_with(sizes);
    Ok(path)
}

/// Writes the archive to its place and says how large it and its layers are.
fn write(recipe: &Recipe, keys: &[String], work: &Path, path: &Path) -> Result<String> {
    let mut layers = Vec::new();
    for (index, (layer, key)) in recipe.layers.iter().zip(keys).enumerate() {
        layers.push(match layer {
            Layer::Debian(..) => cached_layer(layer, key, work)?,
            Layer::Files(_) => source::tree(layer, work)?.write(&work.join(format!("{index}.tar")))?,
        });
    }
    let config = serde_json::to_vec(&config(&recipe.config, &layers))?;
    let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
    let layer_names: Vec<_> = layers.iter().map(|layer| format!("{}/layer.tar", layer.sha256)).collect();
    let manifest = json!([{ "Config": config_name, "RepoTags": [recipe.reference()], "Layers": layer_names }]);

    let mut tree = Tree::default();
    let file = |content| Node { mode: 0o644, owner: 0, content };
    tree.add("manifest.json", file(Content::Bytes(serde_json::to_vec(&manifest)?)));
    tree.add(&config_name, file(Content::Bytes(config)));
    for (layer, name) in layers.iter().zip(&layer_names) {
        tree.add(name, file(Content::Copy(layer.path.clone())));
    }
    let building = work.join("image.tar");
    let size = tree.write(&building)?.size;
    fs::rename(&building, path).with_context(|| format!("publish {}", path.display()))?;
    let sizes: Vec<_> = layers.iter().map(|layer| tools::megabytes(layer.size)).collect();
    Ok(format!("{}, layers {}", tools::megabytes(size), sizes.join(" + ")))
}

/// A cached layer as files on this machine. Only what the layer's packages hold: nothing of it is run.
pub(super) fn unpacked(layer: &Layer, progress: &Progress) -> Result<PathBuf> {
    let key = source::fingerprint(layer)?;
    let dir = tools::cache_dir().join("layers");
    let root = dir.join(format!("{key}.root"));
    if root.is_dir() {
        return Ok(root);
    }
    let step = progress.step(format!("unpack layer {key}"));
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let work = tempfile::Builder::new().prefix("unpack").tempdir_in(&dir).context("create a directory")?;
    let layer = cached_layer(layer, &key, work.path())?;
    let building = work.path().join("root");
    let file = fs::File::open(&layer.path).with_context(|| format!("open {}", layer.path.display()))?;
    tar::Archive::new(file).unpack(&building).with_context(|| format!("unpack {}", layer.path.display()))?;
    // Somebody else may have been faster, with the same files.
    if let Err(error) = fs::rename(&building, &root)
        && !root.is_dir()
    {
        return Err(error).with_context(|| format!("publish {}", root.display()));
    }
    step.done();
    Ok(root)
}

/// A layer that is slow to make and shared between images.
fn cached_layer(layer: &Layer, key: &str, work: &Path) -> Result<LayerFile> {
    let dir = tools::cache_dir().join("layers");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let path = dir.join(format!("{key}.tar"));
    let _lock = tools::lock(&format!("layer-{key}"))?;
    if !path.is_file() {
        let building = dir.join(format!("{key}.building"));
        source::tree(layer, work)?.write(&building)?;
        fs::rename(&building, &path).with_context(|| format!("publish {}", path.display()))?;
    }
    let (sha256, size) = hash_file(&path)?;
    Ok(LayerFile { path, sha256, size })
}

/// The image configuration as the OCI image specification names its fields.
fn config(config: &Config, layers: &[LayerFile]) -> Value {
    let env: Vec<_> = config.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut container = json!({ "WorkingDir": config.workdir, "Env": env });
    if !config.entrypoint.is_empty() {
        container["Entrypoint"] = json!(config.entrypoint);
    }
    if !config.cmd.is_empty() {
        container["Cmd"] = json!(config.cmd);
    }
    if !config.user.is_empty() {
        container["User"] = json!(config.user);
    }
    if let Some(port) = config.port {
        container["ExposedPorts"] = json!({ (format!("{port}/tcp")): {} });
    }
    if !config.stop_signal.is_empty() {
        container["StopSignal"] = json!(config.stop_signal);
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", layer.sha256)).collect();
    json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": container,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
}

#[cfg(test)]
mod tests {
    use super::super::Image;
    use super::*;

    #[test]
    fn the_engine_keeps_the_contract_of_the_official_image() {
        let config = config(&Recipe::of(Image::Athens).config, &[]);
        let container = &config["config"];
        assert_eq!(container["Entrypoint"], json!(["/usr/bin/tini", "--"]));
        assert_eq!(container["Cmd"], json!(["athens-proxy", "-config_file=/config/config.toml"]));
        assert_eq!(container["ExposedPorts"], json!({ "3000/tcp": {} }));
        assert_eq!(container["User"], Value::Null);
    }

    #[test]
    fn the_other_engine_has_an_init_and_is_not_root() {
        let config = config(&Recipe::of(Image::Goproxy).config, &[]);
        let container = &config["config"];
        assert_eq!(container["Entrypoint"], json!(["/usr/bin/tini", "--"]));
        assert_eq!(container["User"], json!("1000:1000"));
        let paths: Vec<_> = Recipe::of(Image::Goproxy).files().map(|file| file.path).collect();
        assert!(paths.contains(&"usr/local/go/bin/go") && paths.contains(&"usr/local/bin/goproxy"), "{paths:?}");
    }

    #[test]
    fn the_edge_ends_when_its_last_download_has() {
        let config = config(&Recipe::of(Image::Edge).config, &[]);
        assert_eq!(config["config"]["StopSignal"], json!("SIGQUIT"));
        assert_eq!(config["config"]["User"], json!("65532:65532"));
    }

    #[test]
    fn the_operator_runs_as_nobody_in_particular() {
        let config = config(&Recipe::of(Image::Operator).config, &[]);
        assert_eq!(config["config"]["User"], json!("65532:65532"));
        assert_eq!(config["config"]["Entrypoint"], json!(["/goproxy-operator"]));
    }
}
