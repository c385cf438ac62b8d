//! The directory that nginx and the agent share: sockets, nginx's file and scripts, what was told last.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{Input, serving::Told};
use crate::{
    edge::{
        nginx::{Structure, file},
        peers::Endpoint,
    },
    plan::object::edge::CONFIGURATION,
};

/// The scripts, by the names that nginx's file calls them by.
const SCRIPTS: [(&str, &str); 7] = [
    ("edge.lua", include_str!("../lua/edge.lua")),
    ("worker.lua", include_str!("../lua/worker.lua")),
    ("access.lua", include_str!("../lua/access.lua")),
    ("engine.lua", include_str!("../lua/engine.lua")),
    ("push.lua", include_str!("../lua/push.lua")),
    ("held.lua", include_str!("../lua/held.lua")),
    ("health.lua", include_str!("../lua/health.lua")),
];

/// What nginx is.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) nginx: PathBuf,
    pub(super) modules: PathBuf,
}

/// The directory.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    programs: Programs,
}

/// What was told last, as it is kept on disk and as `--state` reads it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Saved {
    #[serde(flatten)]
    pub(super) told: Told,
    #[serde(default)]
    pub(super) endpoints: Vec<Endpoint>,
}

/// Why nginx does not serve by a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("nginx's file cannot be written: {0}")]
    Write(#[from] io::Error),
    #[error("nginx refuses its file: {0}")]
    Test(String),
    #[error("nginx does not reload: {0}")]
    Reload(String),
}

impl Place {
    /// Makes everything but nginx's file, which needs to be told what it is made of.
    pub(super) fn prepare(directory: &Path, cache: &Path, programs: Programs) -> io::Result<Self> {
        for below in ["conf", "lua", "log", "temp", "tls"] {
            fs::create_dir_all(directory.join(below))?;
        }
        link(cache, &directory.join("cache"))?;
        link(&programs.modules, &directory.join("modules"))?;
        for (name, text) in SCRIPTS {
            write(&directory.join("lua").join(name), text)?;
        }
        Ok(Self { directory: directory.to_owned(), programs })
    }

    /// Whether nginx has a file to begin with.
    pub(super) fn is_written(&self) -> bool {
        self.directory.join(CONFIGURATION).exists()
    }

    /// The log of requests.
    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("log/access.log")
    }

    /// Has nginx write to a new file where the old one was.
    pub(super) async fn reopen(&self) -> Result<(), String> {
        self.nginx(&self.directory.join(CONFIGURATION), &["-s", "reopen"]).await
    }

    /// A socket.
    pub(super) fn socket(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Has nginx serve by this structure, unless it does already. The file is tested before it is put in the place of another one, so
    /// that an nginx that begins anew finds one that works.
    pub(super) async fn structure(&self, structure: &Structure) -> Result<(), Refused> {
        let (path, text) = (self.directory.join(CONFIGURATION), file(structure));
        let before = fs::read_to_string(&path).ok();
        if before.as_ref() == Some(&text) {
            return Ok(());
        }
        let trial = self.directory.join("conf/trial.conf");
        write(&trial, &text)?;
        self.nginx(&trial, &["-t", "-q"]).await.map_err(Refused::Test)?;
        fs::rename(&trial, &path)?;
        if let Err(reason) = self.nginx(&path, &["-s", "reload"]).await
            // One that does not run reads the file when it begins.
            && std::os::unix::net::UnixStream::connect(self.socket("control.sock")).is_ok()
        {
            if let Some(before) = before {
                write(&path, &before)?;
            }
            return Err(Refused::Reload(reason));
        }
        Ok(())
    }

    /// Runs nginx for a moment. Its last words say what was wrong.
    async fn nginx(&self, configuration: &Path, arguments: &[&str]) -> Result<(), String> {
        let output = tokio::process::Command::new(&self.programs.nginx)
            .args(arguments)
            .arg("-p")
            .arg(&self.directory)
            .arg("-c")
            .arg(configuration)
            .args(["-e", "stderr"])
            .current_dir(&self.directory)
            .output()
            .await
            .map_err(|error| format!("{} cannot be started: {error}", self.programs.nginx.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        Err(words.lines().find(|line| line.contains("[emerg]")).or(words.lines().last()).unwrap_or_default().to_owned())
    }

    /// What was told before this agent began, if anything.
    pub(super) fn saved(&self) -> Option<[Input; 2]> {
        let text = fs::read(self.directory.join("told.json")).ok()?;
        let saved = serde_json::from_slice::<Saved>(&text);
        let Saved { told, endpoints } =
            saved.inspect_err(|error| tracing::warn!(%error, "what was told last cannot be read")).ok()?;
        Some([Input::Endpoints(endpoints.into_iter().collect()), Input::State(Box::new(told))])
    }

    /// Keeps what was told.
    pub(super) fn save(&self, saved: &Saved) {
        let text = serde_json::to_string(saved).expect("numbers, texts and lists are JSON");
        if let Err(error) = write(&self.directory.join("told.json"), &text) {
            tracing::warn!(%error, "what was told cannot be kept on disk");
        }
    }
}

/// Whole or not at all: whoever reads it may do so at any moment.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut building = path.as_os_str().to_owned();
    building.push(".new");
    fs::write(&building, text)?;
    fs::rename(&building, path)
}

fn link(target: &Path, path: &Path) -> io::Result<()> {
    if fs::read_link(path).is_ok_and(|before| before == target) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    symlink(target, path)
}
