//! Private modules as bare repositories, the same for every start: two of them, one of which needs the other.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Every commit has this time: 2026-01-01 in UTC.
const TIME: &str = "1767225600 +0000";

/// One tagged state of a repository.
pub(super) struct Release {
    tag: &'static str,
    files: Vec<(&'static str, String)>,
}

/// A repository with its releases, oldest first.
pub(super) struct Repository {
    /// Two elements: the group and the name.
    pub(super) path: &'static str,
    releases: Vec<Release>,
}

/// A library in three versions, one of them a new major version, a second one that needs both majors over time, and one of a
/// group that strangers are told nothing about.
pub(super) fn all(host: &str) -> [Repository; 3] {
    let library = |suffix: &str, answer: u32| {
        let module = format!("module {host}/acme/lib{suffix}\n\ngo 1.24\n");
        let source = format!(
            "// Package lib is private.\npackage lib\n\n// Answer is {answer}.\nfunc Answer() int {{ return {answer} }}\n"
        );
        vec![("go.mod", module), ("lib.go", source)]
    };
    let user = |suffix: &str, version: &str| {
        let needed = format!("{host}/acme/lib{suffix}");
        let module = format!("module {host}/acme/app\n\ngo 1.24\n\nrequire {needed} {version}\n");
        let source = format!(
            "// Package app is private.\npackage app\n\nimport \"{needed}\"\n\n// Answer is that of the library.\nfunc Answer() int {{ return lib.Answer() }}\n"
        );
        vec![("go.mod", module), ("app.go", source)]
    };
    let closed = vec![("go.mod", format!("module {host}/closed/tool\n\ngo 1.24\n"))];
    let release = |tag, files| Release { tag, files };
    [
        Repository {
            path: "acme/lib",
            releases: vec![
                release("v1.0.0", library("", 100)),
                release("v1.1.0", library("", 110)),
                release("v2.0.0", library("/v2", 200)),
            ],
        },
        Repository {
            path: "acme/app",
            releases: vec![release("v0.1.0", user("", "v1.1.0")), release("v0.2.0", user("/v2", "v2.0.0"))],
        },
        Repository { path: "closed/tool", releases: vec![release("v1.0.0", closed)] },
    ]
}

impl Repository {
    /// Makes the bare repository below a directory.
    pub(super) async fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(format!("{}.git", self.path));
        git(&path, &["init", "--quiet", "--bare", "--initial-branch=main", "."], "").await?;
        git(&path, &["fast-import", "--quiet"], &self.stream()).await
    }

    /// All commits and tags as `git fast-import` reads them.
    fn stream(&self) -> String {
        self.releases.iter().map(|release| commit("main", &format!("Release {}", release.tag), release)).collect()
    }
}

/// Adds a release, or moves its tag when there is one already: what a module proxy must never believe.
pub(super) async fn publish(
    root: &Path,
    repository: &str,
    tag: &'static str,
    files: Vec<(&'static str, String)>,
) -> Result<()> {
    let path = root.join(format!("{repository}.git"));
    let release = Release { tag, files };
    let stream = commit("main", &format!("Release {tag} again"), &release).replacen(
        "deleteall",
        "from refs/heads/main^0\ndeleteall",
        1,
    );
    git(&path, &["fast-import", "--quiet", "--force"], &stream).await
}

/// One commit that holds exactly these files, and its tag.
fn commit(branch: &str, message: &str, release: &Release) -> String {
    let mut text = format!(
        "commit refs/heads/{branch}\nmark :1\ncommitter Acme <acme@git.invalid> {TIME}\ndata {}\n{message}\ndeleteall\n",
        message.len()
    );
    for (name, content) in &release.files {
        let _ = writeln!(text, "M 100644 inline {name}\ndata {}\n{content}", content.len());
    }
    let _ = writeln!(text, "reset refs/tags/{}\nfrom :1\n", release.tag);
    text
}

async fn git(repository: &Path, args: &[&str], input: &str) -> Result<()> {
    std::fs::create_dir_all(repository).with_context(|| format!("make {}", repository.display()))?;
    let mut child = Command::new("git")
        .args(args)
        .current_dir(repository)
        // Nothing of the user's own: hooks, signatures, another name of the first branch.
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run git")?;
    let mut stdin = child.stdin.take().context("git has no standard input")?;
    stdin.write_all(input.as_bytes()).await.context("write to git")?;
    drop(stdin);
    let output = child.wait_with_output().await.context("wait for git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {} in {}: {}", args.join(" "), repository.display(), said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn show(repository: &Path, args: &[&str]) -> String {
        let output = Command::new("git").arg("--git-dir").arg(repository).args(args).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[tokio::test]
    async fn repositories_hold_their_tags_and_are_always_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let mut heads = Vec::new();
        for root in ["one", "two"].map(|name| directory.path().join(name)) {
            for repository in all("git.invalid") {
                repository.write(&root).await.unwrap();
            }
            let library = root.join("acme/lib.git");
            assert_eq!(show(&library, &["tag"]).await, "v1.0.0\nv1.1.0\nv2.0.0\n");
            let module = show(&library, &["show", "v2.0.0:go.mod"]).await;
            assert_eq!(module, "module git.invalid/acme/lib/v2\n\ngo 1.24\n");
            heads.push(show(&root.join("acme/app.git"), &["rev-parse", "main"]).await);
        }
        assert_eq!(heads[0], heads[1]);
    }

    #[tokio::test]
    async fn a_tag_can_be_moved() {
        let directory = tempfile::tempdir().unwrap();
        for repository in all("git.invalid") {
            repository.write(directory.path()).await.unwrap();
        }
        let files = vec![("go.mod", "module git.invalid/acme/lib\n".to_owned())];
        publish(directory.path(), "acme/lib", "v1.0.0", files).await.unwrap();
        let library = directory.path().join("acme/lib.git");
        assert_eq!(show(&library, &["show", "v1.0.0:go.mod"]).await, "module git.invalid/acme/lib\n");
        assert_eq!(show(&library, &["rev-list", "--count", "main"]).await, "4\n");
    }
}
