//! A made-up world of modules in the layout of a module proxy, the same on every machine.
//!
//! Forty modules form a binary tree of requirements, in three versions each, with capital letters and a major version
//! suffix among their paths. The consumer needs the newest version of all of them, so one `go mod download` of it asks
//! for forty zips. The world has a signed checksum database of its own.

use std::fs::{self, File};
use std::io::{Cursor, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::checksum::h1;
use super::database::{self, Record};

/// Root hash of the world's checksum database. Images that hold the world are keyed by it, and a test keeps it true.
pub const DIGEST: &str = "CNC3HMbbzNmSlfnOCAXO5yhNtqOMA2AXnyyyNvxFsP4=";

/// How many modules there are, and how many of them the consumer needs.
pub const MODULES: usize = 40;

/// How many versions each module has, oldest first.
pub const VERSIONS: usize = 3;

/// What `go.mod` files of the made-up modules say: old enough for every go command that can build a fleet's clients.
const GO_LINE: &str = "1.24";

/// One version of one module. Its requirements have the same version index, so a graph never mixes versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    index: usize,
    version: usize,
}

impl Module {
    /// The module of this index, in the version of this index.
    pub const fn new(index: usize, version: usize) -> Self {
        Self { index: index % MODULES, version: version % VERSIONS }
    }

    /// Every version of every module.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..MODULES).flat_map(|index| (0..VERSIONS).map(move |version| Self { index, version }))
    }

    /// The module path as Go source names it.
    pub fn path(self) -> String {
        let group = if self.index.is_multiple_of(5) { "Mixed" } else { "plain" };
        let suffix = if self.major() == 2 { "/v2" } else { "" };
        format!("origin.invalid/{group}/{}{suffix}", self.package())
    }

    /// The version.
    pub fn version(self) -> String {
        format!("v{}.{}.0", self.major(), self.version)
    }

    /// The path and version as URLs and directories name them: a capital letter is an exclamation mark and a small one.
    pub fn escaped(self) -> (String, String) {
        (escape(&self.path()), self.version())
    }

    /// Where a proxy has its zip.
    pub fn zip(self) -> String {
        let (path, version) = self.escaped();
        format!("/{path}/@v/{version}.zip")
    }

    const fn major(self) -> usize {
        if self.index % 7 == 6 { 2 } else { 1 }
    }

    fn package(self) -> String {
        format!("m{:02}", self.index)
    }

    fn requires(self) -> impl Iterator<Item = Self> {
        let children = [2 * self.index + 1, 2 * self.index + 2];
        children.into_iter().filter(|index| *index < MODULES).map(move |index| Self { index, ..self })
    }

    fn go_mod(self) -> String {
        let requirements = requirements(self.requires());
        format!("module {}\n\ngo {GO_LINE}\n\n{requirements}", self.path())
    }

    fn source(self) -> String {
        let imports = joined(self.requires().map(|module| format!("import \"{}\"\n", module.path())));
        let calls = joined(self.requires().map(|module| format!(" + {}.Count()", module.package())));
        format!(
            "// Package {0} is made up.\npackage {0}\n\n{imports}\n// Count counts this package and those below it.\n\
             func Count() int {{ return 1{calls} }}\n",
            self.package()
        )
    }

    /// What makes the zip heavy: most modules are a few kilobytes, some hundreds, and one is large.
    fn payload(self) -> Vec<u8> {
        let size = match self.index {
            index if index == MODULES - 1 => 4 << 20,
            index if index % 8 == 3 => 256 << 10,
            index => 1 << (10 + index % 5),
        };
        // A linear congruential generator: cheap, the same everywhere, and nothing that compresses.
        let mut state = (self.index * VERSIONS + self.version) as u64 + 1;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        std::iter::repeat_with(next).take(size).collect()
    }

    /// The files of the module, named as in its zip.
    fn files(self) -> Vec<(String, Vec<u8>)> {
        let root = format!("{}@{}", self.path(), self.version());
        vec![
            (format!("{root}/go.mod"), self.go_mod().into_bytes()),
            (format!("{root}/{}.go", self.package()), self.source().into_bytes()),
            (format!("{root}/payload"), self.payload()),
        ]
    }

    /// The two lines of `go.sum`.
    fn sums(self) -> String {
        let (path, version) = (self.path(), self.version());
        let files = self.files();
        let zip = h1(files.iter().map(|(name, content)| (name.as_str(), content.as_slice())));
        let go_mod = h1([("go.mod", self.go_mod().as_bytes())]);
        format!("{path} {version} {zip}\n{path} {version}/go.mod {go_mod}\n")
    }

    fn info(self) -> String {
        format!("{{\"Version\":\"{}\",\"Time\":\"2026-01-0{}T00:00:00Z\"}}\n", self.version(), self.version + 1)
    }

    fn write(self, dir: &Path) -> Result<()> {
        let (path, version) = self.escaped();
        let versions = dir.join(&path).join("@v");
        fs::create_dir_all(&versions).with_context(|| format!("create {}", versions.display()))?;
        let put = |name: &str, content: &[u8]| {
            let path = versions.join(name);
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))
        };
        put(&format!("{version}.info"), self.info().as_bytes())?;
        put(&format!("{version}.mod"), self.go_mod().as_bytes())?;
        put(&format!("{version}.zip"), &zip_of(&self.files())?)?;
        let list = joined((0..VERSIONS).map(|version| format!("{}\n", Self { version, ..self }.version())));
        put("list", list.as_bytes())?;
        let newest = Self { version: VERSIONS - 1, ..self };
        put("../@latest", newest.info().as_bytes())
    }
}

/// Writes the world: every module, and the checksum database under `sumdb/<name>`, where a proxy passes it on.
pub fn write(dir: &Path) -> Result<()> {
    for module in Module::all() {
        module.write(dir)?;
    }
    database::write(&dir.join("sumdb").join(database::NAME), &records())
}

fn records() -> Vec<Record> {
    let records = Module::all().map(|module| {
        let (path, version) = module.escaped();
        Record { lookup: format!("{path}@{version}"), text: module.sums() }
    });
    records.collect()
}

/// The value of `GOSUMDB` with which the go command verifies the world, through any proxy that passes on its database.
pub fn checksum_database() -> Result<String> {
    database::verifier_key()
}

/// The newest version of every module: what the consumer needs.
pub fn consumed() -> impl Iterator<Item = Module> {
    (0..MODULES).map(|index| Module { index, version: VERSIONS - 1 })
}

/// Writes a program that needs all of the world. Run, it prints [`MODULES`]. With `sums` its `go.sum` is there from
/// the start, as in a checked-out project; without, the go command has to ask the checksum database.
pub fn write_consumer(dir: &Path, sums: bool) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let requirements = requirements(consumed());
    let top = Module::new(0, VERSIONS - 1);
    let main =
        format!("package main\n\nimport \"{}\"\n\nfunc main() {{ println({}.Count()) }}\n", top.path(), top.package());
    let put = |name: &str, text: &str| {
        File::create(dir.join(name))
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("write {name} in {}", dir.display()))
    };
    put("go.mod", &format!("module consumer.invalid/consumer\n\ngo {GO_LINE}\n\n{requirements}"))?;
    put("main.go", &main)?;
    if sums {
        put("go.sum", &consumed().map(Module::sums).collect::<String>())?;
    }
    Ok(())
}

fn requirements(modules: impl Iterator<Item = Module>) -> String {
    joined(modules.map(|module| format!("require {} {}\n", module.path(), module.version())))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().concat()
}

fn escape(path: &str) -> String {
    let mut escaped = String::new();
    for letter in path.chars() {
        if letter.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(letter.to_ascii_lowercase());
    }
    escaped
}

fn zip_of(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // Stored, because the bytes of a compressor change between its releases, and the payload would not shrink.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o644);
    for (name, content) in files {
        zip.start_file(name.as_str(), options).with_context(|| format!("zip {name}"))?;
        zip.write_all(content).with_context(|| format!("zip {name}"))?;
    }
    Ok(zip.finish().context("finish a zip")?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::process::Command;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("goproxy-lab-origin-{}-{name}", std::process::id()));
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// The go command with nothing but this world.
    fn go(world: &Path, project: &Path, database: &str) -> Command {
        let mut go = Command::new("go");
        go.current_dir(project)
            .env("GOPROXY", format!("file://{}", world.display()))
            .env("GOSUMDB", database)
            .env("GOMODCACHE", project.join("cache"))
            .env("GOFLAGS", "-mod=mod -modcacherw")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .env_remove("GONOSUMDB")
            .env_remove("GONOPROXY")
            .env_remove("GOPRIVATE");
        go
    }

    #[test]
    fn capital_letters_are_escaped() {
        assert_eq!(Module::new(0, 0).escaped().0, "origin.invalid/!mixed/m00");
        assert_eq!(Module::new(6, 1).escaped(), ("origin.invalid/plain/m06/v2".to_owned(), "v2.1.0".to_owned()));
    }

    #[test]
    fn the_go_command_verifies_the_world_against_its_database_and_runs_the_consumer() {
        let (world, project) = (scratch("world"), scratch("consumer"));
        write(&world).unwrap();
        write_consumer(&project, false).unwrap();
        let output = go(&world, &project, &checksum_database().unwrap()).args(["run", "."]).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{printed}");
        assert!(printed.lines().any(|line| line == MODULES.to_string()), "{printed}");
        // What the go command computed from the zips is what this module wrote.
        let mut computed: Vec<_> =
            fs::read_to_string(project.join("go.sum")).unwrap().lines().map(ToOwned::to_owned).collect();
        let sums: String = consumed().map(Module::sums).collect();
        let mut expected: Vec<_> = sums.lines().map(ToOwned::to_owned).collect();
        computed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(computed, expected);
        fs::remove_dir_all(&world).unwrap();
        fs::remove_dir_all(&project).unwrap();
    }

    #[test]
    fn the_go_command_refuses_a_module_that_the_database_does_not_know_like_this() {
        let (world, project) = (scratch("changed-world"), scratch("changed-consumer"));
        write(&world).unwrap();
        write_consumer(&project, false).unwrap();
        let changed = Module::new(1, VERSIONS - 1);
        let (path, version) = changed.escaped();
        let mut files = changed.files();
        files[2].1.push(b'x');
        fs::write(world.join(path).join(format!("@v/{version}.zip")), zip_of(&files).unwrap()).unwrap();
        let output = go(&world, &project, &checksum_database().unwrap()).args(["mod", "download"]).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && printed.contains("SECURITY ERROR"), "{printed}");
        fs::remove_dir_all(&world).unwrap();
        fs::remove_dir_all(&project).unwrap();
    }

    #[test]
    fn the_digest_is_that_of_the_world() {
        assert_eq!(database::root(&records()), DIGEST);
    }

    #[test]
    fn writing_twice_gives_the_same_bytes() {
        let module = Module::new(3, 1);
        assert_eq!(zip_of(&module.files()).unwrap(), zip_of(&module.files()).unwrap());
    }
}
