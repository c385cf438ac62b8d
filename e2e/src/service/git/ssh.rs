//! The Git server's way in by ssh: sshd with a host key and users of its own.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Credentials, PORT_SSH, REPOSITORIES, SSH_LOG};
use crate::service::room::Room;

const COMPONENT: &str = super::SSHD;

/// Makes the host key and starts sshd. Returns the public half of the host key.
pub(super) async fn start(room: &mut Room) -> Result<String> {
    let public = key(room, "host_key").await?;
    let script = include_str!("serve.sh")
        .replace("@LOG@", &room.path_text(SSH_LOG))
        .replace("@REPOSITORIES@", &room.path_text(REPOSITORIES));
    room.write("serve.sh", &script)?;
    room.write(SSH_LOG, "")?;
    let users = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    // The repositories lie where only root can go. Such a login is let in with a forced command only.
    let user = format!("git:*:0:0:git:{}:/bin/sh\n", room.path_text("."));
    room.write("passwd", &format!("{users}{user}"))?;
    let conf = format!(
        "Port {PORT_SSH}\nListenAddress 0.0.0.0\nHostKey {host}\nPidFile none\nAuthorizedKeysFile {keys}\n\
         AllowUsers git\nPermitRootLogin forced-commands-only\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nUsePAM no\nPrintMotd no\nAcceptEnv GIT_PROTOCOL\nMaxStartups 100\n\
         LogLevel VERBOSE\n",
        host = room.path_text("host_key"),
        keys = room.path_text("authorized_keys"),
    );
    let conf = room.write("sshd_config", &conf)?.display().to_string();
    // Both changes are seen by this process alone: the user, and the directory that sshd is compiled to insist on.
    let script = "mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && chmod 644 \"$1\" && \
                  mount --bind \"$1\" /etc/passwd && exec /usr/sbin/sshd -D -e -f \"$2\"";
    let passwd = room.path_text("passwd");
    let process = room.process(COMPONENT, "/usr/bin/unshare");
    let process = process.args(["--mount", "/bin/sh", "-c", script, COMPONENT, &passwd, &conf]);
    room.serve(&process, PORT_SSH).await?;
    Ok(public)
}

/// Makes a key; returns its public half, which is the first two words of a line.
pub(super) async fn key(room: &Room, name: &str) -> Result<String> {
    let path = room.path_text(name);
    let args = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &path];
    room.client("ssh-keygen", &args, "").await?;
    let line = room.read(&format!("{name}.pub"))?;
    Ok(line.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

/// The lines of `authorized_keys` for credentials. sshd reads the file at every login.
pub(super) fn authorized(room: &Room, credentials: &[Credentials]) -> Result<()> {
    let serve = room.path_text("serve.sh");
    let line =
        |one: &Credentials| format!("command=\"/bin/sh {serve} {0}\",restrict {1} {0}\n", one.user, one.ssh_public);
    let text: String = credentials.iter().map(line).collect();
    // By a rename, so that no login meets half a file.
    let fresh = room.write("authorized_keys.new", &text)?;
    std::fs::rename(&fresh, room.path("authorized_keys")).context("replace authorized_keys")
}

/// The line that a client needs to know the server.
pub(super) fn known_host(hosts: &[String], public: &str) -> String {
    let hosts: Vec<String> = hosts.iter().map(|host| format!("[{host}]:{PORT_SSH}")).collect();
    format!("{} {public}\n", hosts.join(","))
}

/// Where the private half of a key is.
pub(super) fn private(room: &Room, name: &str) -> Result<String> {
    room.read(name).with_context(|| format!("read the key of {}", Path::new(name).display()))
}
