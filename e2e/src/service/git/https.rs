//! The Git server's way in by https: nginx, which asks for credentials, before Git's own CGI program.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;

use super::{CGI, Credentials, HTTPS_LOG, NGINX, PORT_HTTPS, REPOSITORIES};
use crate::cluster::until;
use crate::service::room::Room;

/// A port would stay taken for a minute after the program was killed.
const SOCKET: &str = "cgi.sock";

/// With a token as password, forges care little for the user. These are the names that their manuals give.
const TOKEN_USERS: [&str; 2] = ["x-access-token", "oauth2"];

/// Starts nginx and the processes behind it.
pub(super) async fn start(room: &mut Room, host: &str) -> Result<()> {
    let conf = include_str!("nginx.conf")
        .replace("@STATE@", &room.path_text(""))
        .replace("@LOG@", &room.path_text(HTTPS_LOG))
        .replace("@REPOSITORIES@", &room.path_text(REPOSITORIES))
        .replace("@PORT@", &PORT_HTTPS.to_string())
        .replace("@SOCKET@", &room.path_text(SOCKET))
        .replace("@HOST@", host);
    let conf = room.write("nginx.conf", &conf)?.display().to_string();
    let socket = format!("unix:{}", room.path_text(SOCKET));
    room.cluster().run(&room.process(CGI, "/usr/sbin/fcgiwrap").args(["-f", "-c", "8", "-s", &socket])).await?;
    listens(room).await?;
    let nginx = room.process(NGINX, "/usr/sbin/nginx");
    let nginx = nginx.args(["-e", "/dev/stderr", "-g", "daemon off; user root;", "-c", &conf]);
    room.serve(&nginx, PORT_HTTPS).await
}

/// Starts what is behind nginx again after it was killed.
pub(super) async fn start_again(room: &Room) -> Result<()> {
    fs::remove_file(room.path(SOCKET)).context("remove the socket of the CGI program")?;
    room.cluster().start(CGI).await?;
    listens(room).await
}

async fn listens(room: &Room) -> Result<()> {
    let waited = until("the CGI program listens", Duration::from_secs(10), || async {
        ensure!(!room.cluster().pids(CGI).is_empty(), "it has ended");
        Ok(room.path(SOCKET).exists().then_some(()))
    });
    waited.await.with_context(|| room.last_words(CGI))
}

/// Writes down whom nginx lets in.
pub(super) fn known(room: &Room, credentials: &[Credentials]) -> Result<()> {
    let mut text = String::new();
    for one in credentials {
        let basic = |user: &str, password: &str| STANDARD.encode(format!("{user}:{password}"));
        let _ = writeln!(text, "\"Bearer {}\" 1;\n\"Basic {}\" 1;", one.token, basic(&one.user, &one.password));
        for user in TOKEN_USERS.into_iter().chain([one.user.as_str()]) {
            let _ = writeln!(text, "\"Basic {}\" 1;", basic(user, &one.token));
        }
    }
    room.write("credentials.map", &text).map(drop)
}

/// Makes nginx read that again, and waits until it treats the credentials as it should from then on.
pub(super) async fn reload(room: &Room, probe: &Credentials, expected: &str) -> Result<()> {
    room.cluster().signal(NGINX, Signal::SIGHUP)?;
    until("nginx knows the new credentials", Duration::from_secs(10), || async {
        Ok((status(room, probe).await? == expected).then_some(()))
    })
    .await
    .with_context(|| room.last_words(NGINX))
}

/// The status code that these credentials get.
async fn status(room: &Room, credentials: &Credentials) -> Result<String> {
    let repository = "acme/lib.git/info/refs?service=git-upload-pack";
    let url = format!("https://{}/{repository}", room.endpoint(PORT_HTTPS));
    let (ca, header) =
        (room.path_text("ca.crt"), format!("header = \"Authorization: Bearer {}\"\n", credentials.token));
    let args =
        ["--silent", "--cacert", &ca, "--output", "/dev/null", "--write-out", "%{http_code}", "--config", "-", &url];
    room.client("curl", &args, &header).await.context("ask the Git server")
}
