//! The pinned Go programs that the lab runs: Kubernetes, etcd, CoreDNS, Athens and their like.
//!
//! Each family has its own `e2e/tools/<dir>/go.mod`, because a shared one would let version selection raise the
//! dependencies of all of them. What is built is kept outside the tree under a key of everything that goes into it, so
//! that a second start builds nothing, and appears there by one rename, so that a killed build leaves nothing usable.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

mod spec;

use crate::progress::Progress;
use spec::Stamp;

/// Programs that are built from one pinned Go module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// The whole of Kubernetes, newest minor that the lab runs.
    Kubernetes,
    /// The control plane of the oldest Kubernetes minor that the operator supports.
    Kubernetes133,
    /// etcd, the server alone.
    Etcd,
    /// The DNS server of a cluster.
    CoreDns,
    /// Plays nodes and pods for clusters that have only a control plane.
    Kwok,
    /// Enforces network policies.
    KubeRouter,
    /// Serves `pods.metrics.k8s.io`, which autoscaling reads.
    MetricsServer,
    /// The default `StorageClass`.
    LocalPathProvisioner,
    /// The engine of a fleet, newest supported release.
    Athens,
    /// The engine's release before that, for upgrades.
    Athens0180,
    /// The other engine of a fleet.
    Goproxy,
    /// Installs the chart.
    Helm,
    /// An object store on a directory, for fleets that keep modules in S3.
    VersityGw,
    /// What stands for Google Cloud Storage, for fleets that keep modules there.
    FakeGcsServer,
    /// A database on files that speaks MongoDB's protocol, for fleets that keep modules there.
    FerretDb,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 15] = [
        Self::Kubernetes,
        Self::Kubernetes133,
        Self::Etcd,
        Self::CoreDns,
        Self::Kwok,
        Self::KubeRouter,
        Self::MetricsServer,
        Self::LocalPathProvisioner,
        Self::Athens,
        Self::Athens0180,
        Self::Goproxy,
        Self::Helm,
        Self::VersityGw,
        Self::FakeGcsServer,
        Self::FerretDb,
    ];

    /// Directory of the family's `go.mod` under `e2e/tools`.
    pub fn dir(self) -> &'static str {
        self.spec().dir
    }

    /// The module that the family is named after.
    pub fn module(self) -> &'static str {
        self.spec().module
    }

    /// The pinned version of that module, as its `go.mod` says it.
    ///
    /// # Panics
    /// When the family's `go.mod` does not require the module, which a test rules out.
    pub fn version(self) -> &'static str {
        let spec = self.spec();
        spec.go_mod
            .lines()
            .map(|line| line.trim().trim_start_matches("require "))
            .filter_map(|line| line.strip_prefix(spec.module)?.strip_prefix(' '))
            .find_map(|rest| rest.split_whitespace().next())
            .expect("a family's go.mod requires the module that the family is named after")
    }

    /// The oldest Go that builds the family.
    pub(crate) fn go_line(self) -> [u32; 3] {
        let line = self.spec().go_mod.lines().find_map(|line| line.strip_prefix("go "));
        numbers(line.unwrap_or_default())
    }

    /// What `go build -ldflags` is given; `date` is the text that stands for the release's date.
    pub(crate) fn ldflags(self, date: &str) -> String {
        let version = self.version();
        let [major, minor, _] = numbers(version).map(|number| number.to_string());
        let mut flags = String::from("-s -w");
        for (variable, stamp) in self.spec().stamps {
            let value = match stamp {
                Stamp::Version => version,
                Stamp::Major => &major,
                Stamp::Minor => &minor,
                Stamp::Date => date,
                Stamp::Archive => "archive",
            };
            let _ = write!(flags, " -X {variable}={value}");
        }
        flags
    }

    /// The package that builds the binary of this name.
    pub(crate) fn package(self, name: &str) -> Result<&'static str> {
        let found = self.spec().binaries.iter().find(|(binary, _)| *binary == name);
        found.map(|(_, package)| *package).with_context(|| format!("{self:?} has no binary called {name:?}"))
    }

    /// Names everything that goes into the family's binaries.
    pub(crate) fn key(self) -> String {
        let spec = self.spec();
        let mut hash = Sha256::new();
        for part in [spec.go_mod, spec.go_sum, &self.ldflags("DATE"), &GO_VERSION] {
            hash.update(part);
            hash.update([0]);
        }
        for (name, package) in spec.binaries {
            hash.update(format!("{name} {package}\0"));
        }
        hash.update(spec.own_program.unwrap_or_default());
        format!("{}-{}-{}", spec.dir, self.version(), short_hex(hash))
    }

    fn store(self) -> PathBuf {
        cache_dir().join("tools").join(self.key())
    }

    fn source(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(self.dir())
    }
}

/// The release of the `go` command on this machine, `go0` when there is none: then nothing is found under the key, and
/// the build that follows says what is wrong.
static GO_VERSION: LazyLock<String> = LazyLock::new(|| {
    let answer = Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output();
    answer.map_or_else(|_| "go0".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
});

/// The release of the `go` command on this machine.
pub(crate) fn go_version() -> &'static str {
    &GO_VERSION
}

/// The first three numbers of a version, zero where there is none.
pub(crate) fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = version.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok());
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

/// Whether everything that the lab runs by default is built.
pub(crate) fn all_cached() -> bool {
    let only_when_named =
        [Family::Kubernetes133, Family::Goproxy, Family::VersityGw, Family::FakeGcsServer, Family::FerretDb];
    Family::ALL.into_iter().filter(|family| !only_when_named.contains(family)).all(|family| family.store().is_dir())
}

/// First 12 hexadecimal digits of a hash: enough for names in one machine's cache.
pub(crate) fn short_hex(hash: Sha256) -> String {
    hex(&hash.finalize()[..6])
}

/// Two hexadecimal digits per byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Where built things are kept: `$GOPROXY_LAB_CACHE`, else `goproxy-lab` in the user's cache directory.
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("GOPROXY_LAB_CACHE").filter(|dir| !dir.is_empty()) {
        return PathBuf::from(dir);
    }
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty());
    cache.map_or_else(|| home.join(".cache"), PathBuf::from).join("goproxy-lab")
}

/// Takes the lock of this name, waiting for another lab that holds it. Dropping the file releases it.
pub(crate) fn lock(name: &str) -> Result<File> {
    let dir = cache_dir().join("locks");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let path = dir.join(name);
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

/// Builds those of the families that are not in the cache yet.
pub fn ensure(families: &[Family], progress: &Progress) -> Result<()> {
    let missing: Vec<_> = families.iter().copied().filter(|family| !family.store().is_dir()).collect();
    let count = missing.len();
    for (index, family) in missing.into_iter().enumerate() {
        let _lock = lock(&family.key())?;
        if family.store().is_dir() {
            continue;
        }
        let name = family.dir().split("-v").next().unwrap_or_default();
        let what = format!("build {name} {} from source ({} of {count})", family.version(), index + 1);
        let step = progress.long_step(what);
        build(family, progress)?;
        step.done_with(megabytes(directory_size(&family.store())?));
    }
    Ok(())
}

/// Where a built binary is. The file exists after [`ensure`] with its family.
pub fn bin(family: Family, name: &str) -> PathBuf {
    family.store().join(name)
}

/// The source directory of a module that the family is built from, fetched if need be.
pub fn module_dir(family: Family, module: &str) -> Result<PathBuf> {
    let dir = download(family, module, "Dir")?;
    ensure!(Path::new(&dir).is_dir(), "the go command names {dir} as the source of {module}, and it does not exist");
    Ok(PathBuf::from(dir))
}

/// `MB` as registries and `docker images` count them.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

fn directory_size(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

fn go(family: Family) -> Command {
    let mut go = Command::new("go");
    // A toolchain that the go command fetches by itself would be neither pinned nor part of the cache key; flags and a
    // workspace of the user's own would change what is built.
    go.current_dir(family.source())
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0");
    go
}

/// One field of what `go mod download -json` says about a module.
fn download(family: Family, module: &str, field: &str) -> Result<String> {
    let output = go(family).args(["mod", "download", "-json", module]).output().context("run go mod download")?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("go mod download {module}: {}", String::from_utf8_lossy(&output.stderr).trim()))?;
    if let Some(error) = answer["Error"].as_str() {
        bail!("go mod download {module}: {error}");
    }
    Ok(answer[field].as_str().unwrap_or_default().to_owned())
}

/// When the pinned release was made.
fn release_date(family: Family) -> Result<String> {
    let info = download(family, family.module(), "Info")?;
    let text = fs::read_to_string(&info).with_context(|| format!("read {info}"))?;
    let answer: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("parse {info}"))?;
    answer["Time"].as_str().map(ToOwned::to_owned).with_context(|| format!("{info} has no time"))
}

/// Builds a family into its place. The caller holds the family's lock.
fn build(family: Family, progress: &Progress) -> Result<()> {
    let store = family.store();
    let building = store.with_file_name(format!("{}.building", family.key()));
    if building.exists() {
        fs::remove_dir_all(&building).with_context(|| format!("remove {}", building.display()))?;
    }
    fs::create_dir_all(&building).with_context(|| format!("create {}", building.display()))?;
    let ldflags = family.ldflags(&release_date(family)?);
    for (name, package) in family.spec().binaries {
        let step = progress.step(format!("  {name}"));
        let output = go(family)
            .args(["build", "-trimpath", "-ldflags", &ldflags, "-o"])
            .args([building.join(name).as_os_str(), package.as_ref()])
            .output()
            .context("run go build")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let last: Vec<_> = text.lines().rev().take(20).collect();
            let last: Vec<_> = last.into_iter().rev().collect();
            bail!("go build {package} in {}: {}\n{}", family.source().display(), output.status, last.join("\n"));
        }
        step.done();
    }
    fs::rename(&building, &store).with_context(|| format!("publish {}", store.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use goproxy_operator::{api::go_proxy::EngineKind, engine::version::Version};

    #[test]
    fn every_family_pins_its_module_and_packages_as_tools() {
        for family in Family::ALL {
            assert!(family.version().starts_with('v'), "{family:?}: {}", family.version());
            for (_, package) in family.spec().binaries {
                let declared =
                    family.spec().go_mod.lines().any(|line| line.trim_start_matches("tool ").trim() == *package);
                assert!(declared, "{family:?}: go.mod has no tool line for {package}");
            }
        }
    }

    #[test]
    fn versions_are_the_ones_that_the_lab_is_documented_to_run() {
        assert_eq!(Family::Kubernetes.version(), "v1.36.3");
        assert_eq!(Family::Kubernetes133.version(), "v1.33.13");
        assert_eq!(Family::Athens0180.version(), "v0.18.0");
        assert_eq!(Family::Athens.version(), Version::newest(EngineKind::Athens).as_str());
        assert_eq!(Family::Goproxy.version(), Version::newest(EngineKind::Goproxy).as_str());
    }

    #[test]
    fn kubernetes_is_stamped_in_both_packages() {
        let flags = Family::Kubernetes133.ldflags("2026-01-02T03:04:05Z");
        for expected in [
            "-X k8s.io/client-go/pkg/version.gitMinor=33",
            "-X k8s.io/component-base/version.gitVersion=v1.33.13",
            "-X k8s.io/component-base/version.buildDate=2026-01-02T03:04:05Z",
        ] {
            assert!(flags.contains(expected), "{flags}");
        }
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("go1.26.10") > numbers("go1.26.4"));
        assert!(numbers("go1.27") > numbers("go1.26.4"));
        assert_eq!(numbers("go0"), [0, 0, 0]);
        assert!(Family::Kubernetes.go_line() >= [1, 26, 0]);
    }

    #[test]
    fn keys_differ_between_families_of_one_module() {
        assert_ne!(Family::Athens.key(), Family::Athens0180.key());
        assert_eq!(Family::Athens.key(), Family::Athens.key());
    }
}
