//! What each image is made of: the one list that both the archives for the lab and the Dockerfiles for users come from.

use crate::origin::server::nginx_conf;
use crate::tools::Family;

use super::Image;

/// An image as layers, bottom first, and what a container of it runs.
pub(super) struct Recipe {
    pub(super) name: &'static str,
    pub(super) tag: &'static str,
    pub(super) layers: Vec<Layer>,
    pub(super) config: Config,
}

/// One layer.
pub(super) enum Layer {
    /// Debian packages with what they depend on.
    Debian(Suite, &'static [&'static str]),
    /// Files of our own.
    Files(Vec<File>),
}

/// One path of a layer. Directories above it belong to root and are readable by all.
pub(super) struct File {
    pub(super) path: &'static str,
    pub(super) mode: u32,
    /// User and group, which are the same number in every image.
    pub(super) owner: u32,
    pub(super) source: Source,
}

/// Where a file's content comes from.
pub(super) enum Source {
    /// A binary of a tool family.
    Tool(Family, &'static str),
    /// A file of the source of a tool family's module.
    ModuleFile(Family, &'static str),
    /// A file of the Go distribution that builds the family's binaries.
    GoRoot(Family, &'static str),
    /// The operator of this tree.
    Operator,
    /// `e2e/image/pause.c`, compiled.
    Pause,
    /// The modules and checksum database of the generated origin.
    GeneratedOrigin,
    /// This text.
    Text(String),
    /// A symbolic link to this path.
    Symlink(&'static str),
    /// An empty directory.
    Directory,
}

/// What a container of the image runs.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub(super) entrypoint: &'static [&'static str],
    pub(super) cmd: &'static [&'static str],
    pub(super) env: &'static [(&'static str, &'static str)],
    /// `uid:gid`; root when empty.
    pub(super) user: &'static str,
    pub(super) workdir: &'static str,
    pub(super) port: Option<u16>,
    /// What asks it to end; SIGTERM when empty.
    pub(super) stop_signal: &'static str,
}

/// A Debian release that packages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suite {
    /// What the lab's machine has, and what binaries are built on.
    Bookworm,
    /// Has an nginx that is maintained, and the Lua module for it.
    Trixie,
}

impl Suite {
    /// As mirrors name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// Left out of every Debian layer: a proxy that runs without a terminal reads no manual, and the git commands that
/// Athens' go calls (fetch, ls-remote, cat-file, log) are compiled. Perl alone is a third of git's installed size.
pub(super) const PRUNED: &[&str] = &[
    "usr/bin/perl",
    "usr/bin/perl5.36.0",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "usr/share/perl",
    "usr/share/perl5",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
];

/// `PATH` of images that hold more than one program.
const PATH: &str = "/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const ATHENS_PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    athens:x:1000:1000:Athens:/home/athens:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const ATHENS_GROUP: &str = "root:x:0:\nathens:x:1000:\nnogroup:x:65534:\n";

const GOPROXY_PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    goproxy:x:1000:1000:goproxy:/home/goproxy:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GOPROXY_GROUP: &str = "root:x:0:\ngoproxy:x:1000:\nnogroup:x:65534:\n";

/// What a program needs that runs the go command, which runs git and ssh: all three, and an init that reaps them.
const ENGINE_PACKAGES: &[&str] = &["ca-certificates", "dash", "git", "libc-bin", "openssh-client", "tini", "tzdata"];

const REDIS_PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nredis:x:999:999:redis:/data:/usr/sbin/nologin\n";
const REDIS_GROUP: &str = "root:x:0:\nredis:x:999:\n";

/// What stands between clients and proxies, and the authorities that mirrors' certificates are checked with.
pub(super) const EDGE_PACKAGES: &[&str] =
    &["ca-certificates", "libnginx-mod-http-lua", "lua-resty-core", "lua-resty-lrucache", "nginx"];

const OPERATOR_PASSWD: &str = "nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin\n";
const OPERATOR_GROUP: &str = "nonroot:x:65532:\n";

/// What the links of the busybox image call: those that tests, probes and volume helpers use, not all 270.
const BUSYBOX_LINKS: &[&str] = &[
    "usr/bin/awk",
    "usr/bin/cat",
    "usr/bin/chmod",
    "usr/bin/chown",
    "usr/bin/cp",
    "usr/bin/cut",
    "usr/bin/date",
    "usr/bin/dd",
    "usr/bin/df",
    "usr/bin/du",
    "usr/bin/echo",
    "usr/bin/env",
    "usr/bin/false",
    "usr/bin/find",
    "usr/bin/grep",
    "usr/bin/head",
    "usr/bin/hostname",
    "usr/bin/id",
    "usr/bin/ip",
    "usr/bin/kill",
    "usr/bin/ln",
    "usr/bin/ls",
    "usr/bin/mkdir",
    "usr/bin/mount",
    "usr/bin/mv",
    "usr/bin/nc",
    "usr/bin/nslookup",
    "usr/bin/ping",
    "usr/bin/printf",
    "usr/bin/ps",
    "usr/bin/rm",
    "usr/bin/rmdir",
    "usr/bin/sed",
    "usr/bin/seq",
    "usr/bin/sh",
    "usr/bin/sleep",
    "usr/bin/sort",
    "usr/bin/stat",
    "usr/bin/sync",
    "usr/bin/tail",
    "usr/bin/tar",
    "usr/bin/tee",
    "usr/bin/test",
    "usr/bin/timeout",
    "usr/bin/touch",
    "usr/bin/tr",
    "usr/bin/true",
    "usr/bin/uname",
    "usr/bin/wc",
    "usr/bin/wget",
    "usr/bin/xargs",
];

impl Recipe {
    /// The recipe of an image.
    pub(super) fn of(image: Image) -> Self {
        match image {
            Image::Pause => one_binary("pause", "1", &["/pause"], Source::Pause),
            Image::Busybox => busybox(),
            Image::CoreDns => tool_image(Family::CoreDns, &["/coredns"]),
            Image::MetricsServer => tool_image(Family::MetricsServer, &["/metrics-server"]),
            Image::LocalPathProvisioner => tool_image(Family::LocalPathProvisioner, &["/local-path-provisioner"]),
            Image::Athens => athens(Family::Athens),
            Image::Athens0180 => athens(Family::Athens0180),
            Image::Goproxy => goproxy(),
            Image::Operator => operator(),
            Image::Edge => edge(),
            Image::Origin => origin(),
            Image::Redis => redis(),
        }
    }

    /// `repository:tag`. The domain is one that no registry can ever have, so that a forgotten pull policy fails at
    /// once and never fetches a stranger's image.
    pub(super) fn reference(&self) -> String {
        format!("lab.invalid/{}:{}", self.name, self.tag)
    }

    /// The files of all layers.
    pub(super) fn files(&self) -> impl Iterator<Item = &File> {
        self.layers.iter().flat_map(|layer| match layer {
            Layer::Debian(..) => [].iter(),
            Layer::Files(files) => files.iter(),
        })
    }
}

fn file(path: &'static str, mode: u32, source: Source) -> File {
    File { path, mode, owner: 0, source }
}

/// A temporary directory as Unix programs expect it.
fn tmp() -> File {
    file("tmp", 0o1777, Source::Directory)
}

/// An image that is one static program.
fn one_binary(name: &'static str, tag: &'static str, entrypoint: &'static [&'static str; 1], source: Source) -> Recipe {
    let layers = vec![Layer::Files(vec![file(&entrypoint[0][1..], 0o755, source), tmp()])];
    Recipe { name, tag, layers, config: Config { entrypoint, workdir: "/", ..Config::default() } }
}

fn tool_image(family: Family, entrypoint: &'static [&'static str; 1]) -> Recipe {
    let binary = &entrypoint[0][1..];
    one_binary(binary, family.version(), entrypoint, Source::Tool(family, binary))
}

fn busybox() -> Recipe {
    let links = BUSYBOX_LINKS.iter().map(|path| file(path, 0o777, Source::Symlink("busybox")));
    let config = Config { cmd: &["sh"], env: &[("PATH", PATH)], workdir: "/", ..Config::default() };
    let files = links.chain([tmp()]).collect();
    Recipe {
        name: "busybox",
        tag: "1",
        layers: vec![Layer::Debian(Suite::Bookworm, &["busybox-static"]), Layer::Files(files)],
        config,
    }
}

fn operator() -> Recipe {
    let files = vec![
        file("goproxy-operator", 0o755, Source::Operator),
        file("etc/passwd", 0o644, Source::Text(OPERATOR_PASSWD.to_owned())),
        file("etc/group", 0o644, Source::Text(OPERATOR_GROUP.to_owned())),
    ];
    let config = Config { entrypoint: &["/goproxy-operator"], user: "65532:65532", workdir: "/", ..Config::default() };
    Recipe { name: "goproxy-operator", tag: env!("CARGO_PKG_VERSION"), layers: vec![Layer::Files(files)], config }
}

/// nginx with its Lua module, as Debian has them, and the agent. The agent brings the scripts and writes the configuration, so that
/// those are always of one release. Nothing in it is an entry point: each of the pod's two containers names its program.
fn edge() -> Recipe {
    let own = |path| File { path, mode: 0o755, owner: 65532, source: Source::Directory };
    let files = vec![
        file("usr/local/bin/goproxy-operator", 0o755, Source::Operator),
        file("etc/passwd", 0o644, Source::Text(OPERATOR_PASSWD.to_owned())),
        file("etc/group", 0o644, Source::Text(OPERATOR_GROUP.to_owned())),
        own("run/edge"),
        own("var/cache/edge"),
        tmp(),
    ];
    let config = Config {
        env: &[("PATH", PATH)],
        user: "65532:65532",
        workdir: "/run/edge",
        port: Some(8080),
        // nginx then ends when its last download has.
        stop_signal: "SIGQUIT",
        ..Config::default()
    };
    let layers = vec![Layer::Debian(Suite::Trixie, EDGE_PACKAGES), Layer::Files(files)];
    Recipe { name: "goproxy-edge", tag: env!("CARGO_PKG_VERSION"), layers, config }
}

/// Keeps the contract of the official image. That one names no user, and neither does this one, so that a pod which
/// forgets to set the user is refused here as it would be refused there.
fn athens(family: Family) -> Recipe {
    let files = vec![
        file("usr/bin/athens-proxy", 0o755, Source::Tool(family, "athens-proxy")),
        file("config/config.toml", 0o644, Source::ModuleFile(family, "config.dev.toml")),
        file("etc/passwd", 0o644, Source::Text(ATHENS_PASSWD.to_owned())),
        file("etc/group", 0o644, Source::Text(ATHENS_GROUP.to_owned())),
        File { path: "home/athens", mode: 0o755, owner: 1000, source: Source::Directory },
        tmp(),
    ];
    let config = Config {
        entrypoint: &["/usr/bin/tini", "--"],
        cmd: &["athens-proxy", "-config_file=/config/config.toml"],
        env: &[("PATH", PATH), ("GOROOT", "/usr/local/go"), ("GO111MODULE", "on")],
        user: "",
        workdir: "/",
        port: Some(3000),
        ..Config::default()
    };
    let layers =
        vec![Layer::Debian(Suite::Bookworm, ENGINE_PACKAGES), Layer::Files(toolchain(family)), Layer::Files(files)];
    Recipe { name: "athens", tag: family.version(), layers, config }
}

/// As much of the Go distribution as fetching needs.
fn toolchain(family: Family) -> Vec<File> {
    vec![
        file("usr/local/go/VERSION", 0o644, Source::GoRoot(family, "VERSION")),
        file("usr/local/go/bin/go", 0o755, Source::GoRoot(family, "bin/go")),
        file("usr/local/go/go.env", 0o644, Source::GoRoot(family, "go.env")),
    ]
}

/// Everything that its own image has and that the operator relies on, and an init in front: whoever lets it fetch from version
/// control needs one.
fn goproxy() -> Recipe {
    let family = Family::Goproxy;
    let files = vec![
        file("usr/local/bin/goproxy", 0o755, Source::Tool(family, "goproxy")),
        file("etc/passwd", 0o644, Source::Text(GOPROXY_PASSWD.to_owned())),
        file("etc/group", 0o644, Source::Text(GOPROXY_GROUP.to_owned())),
        File { path: "home/goproxy", mode: 0o755, owner: 1000, source: Source::Directory },
        tmp(),
    ];
    let config = Config {
        entrypoint: &["/usr/bin/tini", "--"],
        cmd: &["goproxy", "server", "--address", ":8080"],
        env: &[("PATH", PATH), ("GOROOT", "/usr/local/go")],
        user: "1000:1000",
        workdir: "/home/goproxy",
        port: Some(8080),
        ..Config::default()
    };
    let layers =
        vec![Layer::Debian(Suite::Bookworm, ENGINE_PACKAGES), Layer::Files(toolchain(family)), Layer::Files(files)];
    // As its makers tag it.
    Recipe { name: "goproxy", tag: family.version().trim_start_matches('v'), layers, config }
}

/// Debian's server where the official image has its own, and the user of that one. There is no entry point: the operator names the
/// program.
fn redis() -> Recipe {
    let files = vec![
        file("etc/passwd", 0o644, Source::Text(REDIS_PASSWD.to_owned())),
        file("etc/group", 0o644, Source::Text(REDIS_GROUP.to_owned())),
        File { path: "data", mode: 0o755, owner: 999, source: Source::Directory },
        tmp(),
    ];
    let config = Config {
        cmd: &["redis-server"],
        env: &[("PATH", PATH)],
        workdir: "/data",
        port: Some(6379),
        ..Config::default()
    };
    Recipe {
        name: "redis",
        tag: "7",
        layers: vec![Layer::Debian(Suite::Bookworm, &["redis-server"]), Layer::Files(files)],
        config,
    }
}

fn origin() -> Recipe {
    let conf = nginx_conf("8080", "/srv/origin", "/tmp", "/dev/stdout");
    let files = vec![
        file("etc/nginx/nginx.conf", 0o644, Source::Text(conf)),
        file("srv/origin", 0o755, Source::GeneratedOrigin),
        tmp(),
    ];
    let config = Config {
        // Without the first option nginx tries its compiled-in log file before it has read its configuration.
        entrypoint: &["/usr/sbin/nginx", "-e", "/dev/stderr"],
        cmd: &["-g", "daemon off;"],
        env: &[("PATH", PATH)],
        user: "65532:65532",
        workdir: "/",
        port: Some(8080),
        ..Config::default()
    };
    Recipe {
        name: "origin",
        tag: "1",
        layers: vec![Layer::Debian(Suite::Bookworm, &["nginx"]), Layer::Files(files)],
        config,
    }
}
