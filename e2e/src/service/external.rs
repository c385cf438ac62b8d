//! A storage service of one's own, as the engine asks for one: files over HTTP, three of a version at once. It is this program
//! itself, as a process of a cluster.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
};
use clap::Args;

use super::room::Room;
use crate::cluster::Cluster;

const COMPONENT: &str = "external-storage";
const PORT: u16 = 8095;
/// The parts of an upload, and how the files are called that they become. The last one makes a version whole.
const PARTS: [(&str, &str); 3] = [("mod.zip", "zip"), ("mod.mod", "mod"), ("mod.info", "info")];

/// A running service.
#[derive(Debug)]
pub struct External {
    /// Its process. What it keeps outlives that.
    pub server: Room,
}

/// Starts the service with nothing in it.
pub async fn start(cluster: &Cluster) -> Result<External> {
    let mut server = Room::open(cluster, "external", &[])?;
    let root = server.make("modules")?.display().to_string();
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let listen = format!("0.0.0.0:{PORT}");
    let process = server.process(COMPONENT, program).args([COMPONENT, "--listen", &listen, "--root", &root]);
    server.serve(&process, PORT).await?;
    Ok(External { server })
}

impl External {
    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.endpoint(PORT))
    }

    /// What it keeps of a module, by the module's escaped path.
    pub fn files(&self, module: &str) -> Result<Vec<String>> {
        let directory = self.server.path("modules").join(module);
        let entries = fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))?;
        let mut names: Vec<_> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }
}

/// What the process is told.
#[derive(Args, Debug)]
pub struct Serve {
    /// Address and port.
    #[arg(long)]
    listen: SocketAddr,
    /// Where modules are kept.
    #[arg(long)]
    root: PathBuf,
}

/// Serves until the process ends.
pub async fn serve(told: Serve) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(told.listen).await.context("cannot listen")?;
    let root: Arc<Path> = told.root.into();
    // A module may be half a gigabyte.
    let router = Router::new().fallback(answer).with_state(root).layer(DefaultBodyLimit::disable());
    axum::serve(listener, router).await.context("the service ended")
}

async fn answer(
    State(root): State<Arc<Path>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    let said = match (place(&root, uri.path()), &method) {
        (Some((directory, "list")), &Method::GET) => Ok(list(&directory).into_bytes()),
        (Some((directory, file)), &Method::GET) => {
            // Nothing of a version is there before all of it is.
            let whole =
                file.rsplit_once('.').is_some_and(|(version, _)| directory.join(format!("{version}.info")).exists());
            let read = whole.then(|| fs::read(directory.join(file)).ok()).flatten();
            read.ok_or_else(|| (StatusCode::NOT_FOUND, format!("{file} is not here")))
        }
        (Some((directory, file)), &Method::POST) => {
            let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let version = file.strip_suffix(".save").context("uploads go to VERSION.save");
            let saved = version.and_then(|version| save(&directory, version, kind, &body));
            saved.map(|()| Vec::new()).map_err(|error| (StatusCode::BAD_REQUEST, format!("{error:#}")))
        }
        _ => Err((StatusCode::BAD_REQUEST, format!("{method} {uri} is nothing that an engine asks for"))),
    };
    said.map_or_else(|(status, text)| (status, text.into_bytes()), |bytes| (StatusCode::OK, bytes))
}

/// Directory and file that a path `/MODULE/@v/FILE` stands for.
fn place<'a>(root: &Path, path: &'a str) -> Option<(PathBuf, &'a str)> {
    let (module, file) = path.strip_prefix('/')?.rsplit_once("/@v/")?;
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('/');
    (module.split('/').all(plain) && plain(file)).then(|| (root.join(module), file))
}

/// The versions that are whole; of a module that nobody has heard of, none: the engine asks for such a one to see whether this
/// service is there.
fn list(directory: &Path) -> String {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut versions: Vec<_> = names.filter_map(|name| name.strip_suffix(".info").map(str::to_owned)).collect();
    versions.sort();
    versions.join("\n")
}

/// Keeps the parts of an upload under their own names.
fn save(directory: &Path, version: &str, kind: &str, body: &[u8]) -> Result<()> {
    let (_, boundary) = kind.split_once("boundary=").context("the upload has no boundary")?;
    let parts = parts(body, boundary.trim_matches('"'))?;
    fs::create_dir_all(directory)?;
    for (name, ending) in PARTS {
        let (_, content) = parts.iter().find(|(part, _)| part == name).with_context(|| format!("{name} is missing"))?;
        let file = directory.join(format!("{version}.{ending}"));
        let unfinished = directory.join(format!(".{version}.{ending}"));
        fs::write(&unfinished, content)?;
        fs::rename(&unfinished, &file)?;
    }
    Ok(())
}

/// Names and contents of the parts of an upload, which must be whole.
fn parts<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<(String, &'a [u8])>> {
    let line = format!("\r\n--{boundary}");
    // The first line has nothing before it.
    let mut rest = body.strip_prefix(&line.as_bytes()[2..]).context("the upload begins with something else")?;
    let mut found = Vec::new();
    while !rest.starts_with(b"--") {
        let head = position(rest, b"\r\n\r\n").context("a part has no end of its head")?;
        let content = &rest[head + 4..];
        let end = position(content, line.as_bytes()).context("the upload was cut off")?;
        let text = String::from_utf8_lossy(&rest[..head]);
        let name = text.split("; name=\"").nth(1).and_then(|rest| rest.split('"').next());
        found.push((name.context("a part has no name")?.to_owned(), &content[..end]));
        rest = &content[end + line.len()..];
    }
    ensure!(!found.is_empty(), "the upload is empty");
    Ok(found)
}

fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, content) in parts {
            let head = format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"");
            body.extend(format!("--mark\r\n{head}\r\nContent-Type: application/octet-stream\r\n\r\n").as_bytes());
            body.extend(*content);
            body.extend(b"\r\n");
        }
        body.extend(b"--mark--\r\n");
        body
    }

    #[test]
    fn a_version_is_there_when_all_of_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (directory, file) = place(root.path(), "/example.com/!lib/@v/v1.0.0.save").unwrap();
        assert_eq!((list(&directory), file), (String::new(), "v1.0.0.save"));
        let zip: &[u8] = b"PK\r\n--mar\r\n\r\n\x00\xff";
        let parts = [("mod.info", b"{}" as &[u8]), ("mod.mod", b"module x\n"), ("mod.zip", zip)];
        save(&directory, "v1.0.0", "multipart/form-data; boundary=mark", &upload(&parts)).unwrap();
        assert_eq!(list(&directory), "v1.0.0");
        assert_eq!(fs::read(directory.join("v1.0.0.zip")).unwrap(), zip);
        for body in [&upload(&parts)[..60], &upload(&parts[..2]), b""] {
            assert!(save(&directory, "v2.0.0", "multipart/form-data; boundary=mark", body).is_err());
        }
        assert_eq!(list(&directory), "v1.0.0");
    }

    #[test]
    fn no_path_leads_out() {
        for path in ["/../@v/list", "/a/./@v/list", "/a//b/@v/list", "/a/@v/../x", "/a/@v/", "a/@v/list", "/list"] {
            assert_eq!(place(Path::new("/root"), path), None, "{path}");
        }
    }
}
