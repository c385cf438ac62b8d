//! The real programs that a sidecar is beside, as processes of this machine. Each ends with its handle.

use std::{
    fs::{self, File},
    io::{Seek as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, timeout},
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{
    cluster::{PrivateAuthority, until},
    tools::{self, Family, hex},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nobody listens on at this moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A process, killed with its handle.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it; what it says goes to a file.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        let name = command.as_std().get_program().display().to_string();
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(ExitStatus { .. })))
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it, without a chance to tidy up, and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("cannot kill it")
    }

    /// Tells it to end, as a kubelet does, and waits until it has, and well.
    pub async fn end(&mut self) -> Result<()> {
        let id = self.child.id().context("it has ended already")?;
        kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGTERM)?;
        let status =
            timeout(Duration::from_secs(5), self.child.wait()).await.context("it does not end when told to")??;
        ensure!(status.success(), "it ended with {status}: {}", self.log());
        Ok(())
    }

    async fn accepts(&mut self, address: &str) -> Result<()> {
        let what = format!("{address} accepts");
        let waited = until(&what, PATIENCE, || async { Ok(TcpStream::connect(address).await.ok().map(drop)) });
        waited.await.with_context(|| self.log())
    }
}

/// A directory that the go command takes for a module proxy, with one module that takes a moment to write.
pub struct Origin {
    directory: PathBuf,
    zip_size: u64,
}

impl Origin {
    /// The module.
    pub const MODULE: &str = "sidecar.test/large";
    /// Its versions, from v1.0.0 on.
    const VERSIONS: u64 = 4;
    const CONTENT: usize = 48 << 20;

    /// Makes it. Each version has the same content, and the zips differ in the names of the files alone.
    pub fn create(directory: &Path) -> Result<Self> {
        let directory = directory.join("origin");
        let versions = directory.join(Self::MODULE).join("@v");
        fs::create_dir_all(&versions)?;
        let list: Vec<_> = (0..Self::VERSIONS).map(|number| format!("v1.0.{number}")).collect();
        fs::write(versions.join("list"), list.join("\n"))?;
        let zip_size = write_versions(&versions)?;
        Ok(Self { directory, zip_size })
    }

    /// How large the zip of each version is.
    pub fn zip_size(&self) -> u64 {
        self.zip_size
    }
}

/// Writes every version, and returns how large a zip is.
fn write_versions(directory: &Path) -> Result<u64> {
    let mut content = vec![0; Origin::CONTENT];
    SystemRandom::new().fill(&mut content).map_err(|_| anyhow!("the system gives no random numbers"))?;
    let module = format!("module {}\n", Origin::MODULE);
    let mut size = 0;
    for number in 0..Origin::VERSIONS {
        let version = format!("v1.0.{number}");
        let info = json!({ "Version": version, "Time": "2026-01-01T00:00:00Z" });
        fs::write(directory.join(format!("{version}.info")), info.to_string())?;
        fs::write(directory.join(format!("{version}.mod")), &module)?;
        let mut zip = ZipWriter::new(File::create(directory.join(format!("{version}.zip")))?);
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for (file, content) in [("go.mod", module.as_bytes()), ("content.bin", content.as_slice())] {
            zip.start_file(format!("{}@{version}/{file}", Origin::MODULE), stored)?;
            zip.write_all(content)?;
        }
        size = zip.finish()?.stream_position()?;
    }
    Ok(size)
}

/// Athens with a directory as its storage.
pub struct Athens {
    address: String,
    directory: PathBuf,
    origin: PathBuf,
}

impl Athens {
    /// Makes its directories.
    pub fn new(origin: &Origin, directory: &Path) -> Result<Self> {
        for name in ["store", "home", "tmp"] {
            fs::create_dir_all(directory.join(name))?;
        }
        let address = format!("127.0.0.1:{}", free_port()?);
        Ok(Self { address, directory: directory.to_owned(), origin: origin.directory.clone() })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its storage.
    pub fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// Starts it.
    pub fn start(&self) -> Result<Running> {
        let [store, home, tmp] = ["store", "home", "tmp"].map(|name| self.directory.join(name));
        let go = format!(
            "GOPROXY=file://{};GOSUMDB=off;GONOSUMDB=*;GOFLAGS=-modcacherw;GOTOOLCHAIN=local",
            self.origin.display()
        );
        let mut command = Command::new(tools::bin(Family::Athens, "athens-proxy"));
        command.arg("-config_file=").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", home).env("TMPDIR", &tmp).env("ATHENS_GOGET_DIR", &tmp);
        command.env("ATHENS_PORT", &self.address).env("ATHENS_LOG_LEVEL", "error").env("ATHENS_STATS_EXPORTER", "");
        command.env("ATHENS_STORAGE_TYPE", "disk").env("ATHENS_DISK_STORAGE_ROOT", store);
        command.env("ATHENS_SUM_DBS", "").env("ATHENS_GO_BINARY_ENV_VARS", go);
        Running::start(command, &self.directory.join("athens.log"))
    }

    /// Kills it while it writes a zip, and returns that one's version. A version that it was too fast with is left behind.
    pub async fn killed_while_writing(&self, origin: &Origin) -> Result<String> {
        for number in 0..Origin::VERSIONS {
            let version = format!("v1.0.{number}");
            let zip = self.store().join(Origin::MODULE).join(&version).join("source.zip");
            let mut running = self.start()?;
            running.accepts(&self.address).await?;
            let asked = tokio::spawn(get(self.address.clone(), zip_of(&version)));
            // No pause: it is over within some ten milliseconds.
            let begun = Instant::now();
            while fs::metadata(&zip).map_or(0, |file| file.len()) == 0 {
                ensure!(begun.elapsed() < PATIENCE, "Athens wrote nothing: {}", running.log());
                tokio::task::yield_now().await;
            }
            running.kill().await?;
            asked.abort();
            if fs::metadata(&zip)?.len() < origin.zip_size() {
                return Ok(version);
            }
        }
        Err(anyhow!("Athens was never caught while it wrote"))
    }

    /// How many bytes it serves for a version's zip.
    pub async fn zip(&self, running: &mut Running, version: &str) -> Result<u64> {
        running.accepts(&self.address).await?;
        get(self.address.clone(), zip_of(version)).await.with_context(|| running.log())
    }
}

fn zip_of(version: &str) -> String {
    format!("/{}/@v/{version}.zip", Origin::MODULE)
}

/// The length of the body of a good answer.
async fn get(address: String, path: String) -> Result<u64> {
    let exchange = async {
        let mut stream = TcpStream::connect(&address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(PATIENCE, exchange).await.context("no answer in time")??;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("no answer")? + 4;
    let head = String::from_utf8_lossy(&answer[..end]);
    ensure!(head.split_whitespace().nth(1) == Some("200"), "{path}: {head}");
    Ok(u64::try_from(answer.len() - end)?)
}

/// Redis with a password, in clear and over TLS.
pub struct Redis {
    running: Running,
    ports: (u16, u16),
    authority: PathBuf,
}

impl Redis {
    /// Starts it.
    pub async fn start(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let ports = (free_port()?, free_port()?);
        let authority = PrivateAuthority::create("goproxy-lab sidecar")?;
        let pair = authority.server("redis", &["127.0.0.1".to_owned()])?;
        let path = |file: &str| directory.join(file).display().to_string();
        for (file, text) in [("ca.crt", authority.pem()), ("server.crt", pair.certificate), ("server.key", pair.key)] {
            fs::write(path(file), text).with_context(|| format!("cannot write {file}"))?;
        }
        let conf = format!(
            "bind 127.0.0.1\nport {}\ntls-port {}\ntls-cert-file {}\ntls-key-file {}\ntls-auth-clients no\n\
             requirepass {}\nsave \"\"\nappendonly no\ndaemonize no\ndir {}\n",
            ports.0,
            ports.1,
            path("server.crt"),
            path("server.key"),
            secret()?,
            directory.display()
        );
        fs::write(path("redis.conf"), conf)?;
        let mut command = Command::new("redis-server");
        command.arg(path("redis.conf"));
        let running = Running::start(command, &directory.join("redis.log"))?;
        let mut redis = Self { running, ports, authority: directory.join("ca.crt") };
        let address = redis.address(true);
        redis.running.accepts(&address).await?;
        Ok(redis)
    }

    /// Where it listens.
    pub fn address(&self, tls: bool) -> String {
        format!("127.0.0.1:{}", if tls { self.ports.1 } else { self.ports.0 })
    }

    /// Who vouches for it.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// Kills it.
    pub async fn kill(&mut self) -> Result<()> {
        self.running.kill().await
    }
}

/// An object store on a directory, with one bucket.
pub struct Store {
    _running: Running,
    address: String,
    directory: PathBuf,
}

impl Store {
    const BUCKET: &str = "modules";

    /// Starts it.
    pub async fn start(directory: &Path) -> Result<Self> {
        let (data, keys) = (directory.join("data"), directory.join("keys"));
        // A directory of it is a bucket.
        fs::create_dir_all(data.join(Self::BUCKET))?;
        fs::create_dir_all(&keys)?;
        let (id, key) = ("LABKEY".to_owned(), secret()?);
        for (file, text) in [("AWS_ACCESS_KEY_ID", &id), ("AWS_SECRET_ACCESS_KEY", &key)] {
            fs::write(keys.join(file), text)?;
        }
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(tools::bin(Family::VersityGw, "versitygw"));
        command.args(["--quiet", "--port", &address, "--region", "us-east-1", "posix"]).arg(&data);
        command.env("ROOT_ACCESS_KEY_ID", &id).env("ROOT_SECRET_ACCESS_KEY", &key);
        let mut running = Running::start(command, &directory.join("store.log"))?;
        running.accepts(&address).await?;
        Ok(Self { _running: running, address, directory: directory.to_owned() })
    }

    /// The bucket, as a sidecar is told of it.
    pub fn bucket(&self) -> Value {
        json!({
            "endpoint": format!("http://{}/", self.address), "region": "us-east-1", "bucket": Self::BUCKET, "addressing": "Path",
            "directory": self.directory.join("keys")
        })
    }

    /// Whether it holds an object.
    pub fn has(&self, object: &str) -> bool {
        self.file(object).is_file()
    }

    /// What an object holds.
    pub fn get(&self, object: &str) -> Result<String> {
        fs::read_to_string(self.file(object)).with_context(|| format!("no {object}"))
    }

    /// Changes an object behind the store's back.
    pub fn put(&self, object: &str, text: &str) -> Result<()> {
        fs::write(self.file(object), text).with_context(|| format!("cannot change {object}"))
    }

    fn file(&self, object: &str) -> PathBuf {
        self.directory.join("data").join(Self::BUCKET).join(object)
    }
}

fn secret() -> Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(hex(&bytes))
}
