//! The go command of this machine as a client of a fleet: with empty caches and one proxy, so that whatever it has
//! afterwards came through the fleet and was verified.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use goproxy_operator::api::status::ClientSettings;
use serde::Deserialize;
use tokio::process::Command;

/// Nothing that a person or a machine sets for the go command may lead it past the fleet.
const FOREIGN: &[&str] = &[
    "GONOPROXY",
    "GOPRIVATE",
    "GOINSECURE",
    "GOVCS",
    "GOWORK",
    "GOAUTH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];

/// A client with a directory of its own for everything it writes, except the cache of compiled packages.
#[derive(Debug)]
pub struct GoClient {
    home: PathBuf,
    settings: ClientSettings,
}

/// One module as the go command reports it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase", default)]
pub struct Module {
    /// Its path.
    pub path: String,
    /// Its version.
    pub version: String,
    /// Sum of its zip.
    pub sum: String,
    /// Sum of its go.mod file.
    pub go_mod_sum: String,
    zip: PathBuf,
    error: String,
}

/// What one download brought.
#[derive(Debug)]
pub struct Download {
    /// The modules, zips included.
    pub modules: Vec<Module>,
    /// Bytes of their zips.
    pub bytes: u64,
    /// Records of the checksum database that the go command fetched and believed, by database.
    pub records: BTreeMap<String, usize>,
    /// How long the go command ran.
    pub took: Duration,
}

impl GoClient {
    /// A client of the fleet whose status says `settings`. Outside the cluster the name of its Service means nothing:
    /// `address` replaces it, in the address of the checksum database as well.
    pub fn new(home: &Path, settings: &ClientSettings, address: &str) -> Self {
        let settings = ClientSettings {
            goproxy: address.to_owned(),
            gosumdb: settings.gosumdb.replace(&settings.goproxy, address),
            ..settings.clone()
        };
        Self { home: home.to_owned(), settings }
    }

    /// Downloads what a project needs into the empty module cache of this name. Where the project has no go.sum, every
    /// module is looked up in the checksum database.
    pub async fn download(&self, project: &Path, cache: &str) -> Result<Download> {
        let root = self.cache(cache);
        ensure!(!root.exists(), "the module cache {} is not fresh", root.display());
        let start = Instant::now();
        let mut command = self.go(project, cache);
        let output = command.args(["mod", "download", "-json"]).output().await.context("cannot start go")?;
        let took = start.elapsed();
        let modules: Vec<Module> = serde_json::Deserializer::from_slice(&output.stdout)
            .into_iter()
            .collect::<Result<_, _>>()
            .context("cannot read what go mod download printed")?;
        let errors: BTreeSet<&str> =
            modules.iter().map(|module| module.error.as_str()).filter(|e| !e.is_empty()).collect();
        if !output.status.success() || !errors.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr);
            let errors = errors.into_iter().collect::<Vec<_>>().join("\n");
            bail!("go mod download through {} failed:\n{errors}\n{}", self.settings.goproxy, said.trim());
        }
        let sizes = modules.iter().map(|module| Ok(std::fs::metadata(&module.zip)?.len()));
        let bytes = sizes.sum::<Result<u64>>().context("a zip that go reported is not there")?;
        Ok(Download { bytes, records: records(&root)?, modules, took })
    }

    /// Compiles the project against a filled module cache, compares that with go.sum, and returns what the program prints.
    pub async fn build_and_run(&self, project: &Path, cache: &str) -> Result<String> {
        let program = self.home.join("program");
        let path = program.to_str().context("a temporary directory that is not text")?;
        self.run(project, cache, &["mod", "verify"]).await?;
        self.run(project, cache, &["build", "-trimpath", "-o", path, "."]).await?;
        let output = Command::new(&program).kill_on_drop(true).output().await.context("cannot start what was built")?;
        ensure!(output.status.success(), "what was built fails: {}", String::from_utf8_lossy(&output.stderr).trim());
        // Some programs print to standard error, as Go's own println does.
        let printed = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&printed).trim().to_owned())
    }

    /// Runs a go command and returns what it printed.
    pub async fn run(&self, project: &Path, cache: &str, arguments: &[&str]) -> Result<String> {
        let output = self.go(project, cache).args(arguments).output().await.context("cannot start go")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "go {}: {}", arguments.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn cache(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    fn go(&self, project: &Path, cache: &str) -> Command {
        let mut command = Command::new("go");
        command.current_dir(project).stdin(Stdio::null()).kill_on_drop(true);
        for variable in FOREIGN {
            command.env_remove(variable);
        }
        // GOPATH holds the newest tree head of the checksum database: it is as fresh as the module cache.
        command
            .env("GOENV", "off")
            .env("GOPATH", self.home.join(format!("{cache}-path")))
            .env("GOMODCACHE", self.cache(cache))
            .env("GOPROXY", &self.settings.goproxy)
            .env("GOSUMDB", &self.settings.gosumdb)
            .env("GONOSUMDB", &self.settings.gonosumdb)
            .env("GOFLAGS", "-modcacherw")
            .env("GOTOOLCHAIN", "local")
            .env("CGO_ENABLED", "0");
        command
    }
}

impl Download {
    /// Modules whose sums are not those of a go.sum file.
    pub fn differing_from(&self, go_sum: &str) -> Vec<String> {
        let known: BTreeSet<&str> = go_sum.lines().collect();
        let differs = |module: &&Module| {
            let Module { path, version, sum, go_mod_sum, .. } = module;
            !known.contains(format!("{path} {version}/go.mod {go_mod_sum}").as_str())
                || !known.contains(format!("{path} {version} {sum}").as_str())
        };
        self.modules.iter().filter(differs).map(|module| format!("{}@{}", module.path, module.version)).collect()
    }

    /// One line for people.
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    pub fn summary(&self) -> String {
        let megabytes = self.bytes as f64 / 1e6;
        format!("{} modules, {megabytes:.1} MB, {:.1} s", self.modules.len(), self.took.as_secs_f64())
    }
}

/// How many records of which checksum database a module cache holds.
fn records(cache: &Path) -> Result<BTreeMap<String, usize>> {
    let databases = cache.join("cache/download/sumdb");
    if !databases.exists() {
        return Ok(BTreeMap::new());
    }
    let mut found = BTreeMap::new();
    for database in std::fs::read_dir(&databases)? {
        let database = database?;
        let count = files_below(&database.path().join("lookup"))?;
        found.insert(database.file_name().to_string_lossy().into_owned(), count);
    }
    Ok(found)
}

fn files_below(directory: &Path) -> Result<usize> {
    if !directory.exists() {
        return Ok(0);
    }
    let mut count = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { files_below(&entry.path())? } else { 1 };
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(sum: &str) -> Module {
        let text = |text: &str| text.to_owned();
        Module {
            path: text("a.example/b"),
            version: text("v1.0.0"),
            sum: text(sum),
            go_mod_sum: text("h1:m="),
            ..Module::default()
        }
    }

    #[test]
    fn outside_the_cluster_the_address_replaces_the_name_everywhere() {
        let settings = ClientSettings {
            goproxy: "http://corp.build.svc".to_owned(),
            gosumdb: "sums http://corp.build.svc/sumdb/mirror/sums".to_owned(),
            gonosumdb: "git.example/*".to_owned(),
            ..ClientSettings::default()
        };
        let client = GoClient::new(Path::new("/nowhere"), &settings, "http://10.96.1.2");
        assert_eq!(client.settings.goproxy, "http://10.96.1.2");
        assert_eq!(client.settings.gosumdb, "sums http://10.96.1.2/sumdb/mirror/sums");
        assert_eq!(client.settings.gonosumdb, "git.example/*");
    }

    #[test]
    fn a_sum_that_is_not_in_the_file_is_named() {
        let sums = "a.example/b v1.0.0 h1:z=\na.example/b v1.0.0/go.mod h1:m=\n";
        let download =
            |sum| Download { modules: vec![module(sum)], bytes: 0, records: BTreeMap::new(), took: Duration::ZERO };
        assert!(download("h1:z=").differing_from(sums).is_empty());
        assert_eq!(download("h1:other=").differing_from(sums), ["a.example/b@v1.0.0"]);
    }

    #[test]
    fn what_go_reports_is_read() {
        let said =
            r#"{"Path":"a.example/b","Version":"v1.0.0","Sum":"h1:z=","GoModSum":"h1:m=","Zip":"/z","Info":"/i"}"#;
        let read: Module = serde_json::from_str(said).unwrap();
        assert_eq!(read, Module { zip: PathBuf::from("/z"), ..module("h1:z=") });
        let failed: Module = serde_json::from_str(r#"{"Path":"a.example/b","Error":"not found"}"#).unwrap();
        assert_eq!(failed.error, "not found");
    }
}
