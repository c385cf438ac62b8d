use std::{
    fs,
    os::unix::fs::{FileExt as _, symlink},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{
    archive::tests::zip,
    judge::Damage,
    sweep::{Now, Removed, Step, Sweep},
    *,
};
use crate::sidecar::config::Layout;

const SETTLE: Duration = Duration::from_secs(900);

/// A volume, and one who looks at it at times that the test chooses.
struct Volume {
    directory: TempDir,
    sweep: Sweep,
}

impl Volume {
    fn new(alone: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Whatever a test puts there was there before, however long it takes to write it.
        let sweep = Sweep::new(directory.path().to_owned(), SETTLE, (today() + 3600, 0), alone);
        Self { directory, sweep }
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn put(&self, file: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn good(&self, module: &str, version: &str) {
        self.put(&format!("{module}/{version}/go.mod"), format!("module {module}\n"));
        self.put(&format!("{module}/{version}/source.zip"), zip(3, ""));
        self.put(&format!("{module}/{version}/{version}.info"), format!("{{\"Version\":\"{version}\"}}"));
    }

    fn cut(&self, module: &str, version: &str) {
        let whole = zip(30, "");
        self.put(&format!("{module}/{version}/go.mod"), format!("module {module}\n"));
        self.put(&format!("{module}/{version}/source.zip"), &whole[..whole.len() / 2]);
    }

    /// One look, at this time after the start. By the clock it is now, so that whatever was written just before is young.
    fn look(&mut self, whole: bool, running: u64) -> Step {
        self.look_at(whole, running, today())
    }

    fn look_at(&mut self, whole: bool, running: u64, time: i64) -> Step {
        self.sweep.begin(whole);
        let mut all = Step::default();
        loop {
            let step = self.sweep.step(7, Now { running: Duration::from_secs(running), time });
            all.removed.extend(step.removed);
            all.error = all.error.or(step.error);
            if !step.more {
                return all;
            }
        }
    }

    fn removed(&mut self, whole: bool, running: u64) -> Vec<String> {
        let step = self.look(whole, running);
        assert!(step.error.is_none(), "{:?}", step.error);
        step.removed.into_iter().map(|Removed { module, version, .. }| format!("{module}@{version}")).collect()
    }

    fn has(&self, path: &str) -> bool {
        self.root().join(path).symlink_metadata().is_ok()
    }
}

fn today() -> i64 {
    time_of_day().0
}

#[test]
fn what_an_engine_left_is_removed_and_what_is_whole_stays() {
    let mut volume = Volume::new(true);
    for module in ["git.example.com/good", "github.com/Azure/sdk", "github.com/!azure/sdk", "a.b/v2", "a.b/v1.2.3/deep"]
    {
        volume.good(module, "v1.0.0");
    }
    volume.good("github.com/Azure/sdk", "v2.0.0+incompatible");
    volume.cut("github.com/Azure/cut", "v0.0.0-20200101000000-0123456789ab");
    volume.cut("github.com/!azure/cut", "v1.0.0");
    volume.cut("a.b/v1.2.3/deep", "v1.0.1");
    volume.put("a.b/empty/v1.0.0/go.mod", "");
    volume.put("a.b/only/v1.0.0/go.mod", "module a.b/only\n");
    fs::create_dir_all(volume.root().join("a.b/nothing/v1.0.0")).unwrap();
    volume.good("a.b/info", "v1.0.0");
    volume.put("a.b/info/v1.0.0/v1.0.0.info", "{\"Version\":\"v1");
    volume.good("a.b/zeroed", "v1.0.0");
    volume.put("a.b/zeroed/v1.0.0/go.mod", [0; 20]);
    let mut removed = volume.removed(true, 0);
    removed.sort_unstable();
    let expected = [
        "a.b/empty@v1.0.0",
        "a.b/info@v1.0.0",
        "a.b/nothing@v1.0.0",
        "a.b/v1.2.3/deep@v1.0.1",
        "a.b/zeroed@v1.0.0",
        "github.com/!azure/cut@v1.0.0",
        "github.com/Azure/cut@v0.0.0-20200101000000-0123456789ab",
    ];
    assert_eq!(removed, expected);
    assert!(volume.has("github.com/Azure/sdk/v2.0.0+incompatible/source.zip"));
    assert!(volume.has("a.b/v1.2.3/deep/v1.0.0/source.zip") && volume.has("a.b/only/v1.0.0/go.mod"));
    assert!(
        !volume.has("github.com/Azure/cut/v0.0.0-20200101000000-0123456789ab") && volume.has("github.com/Azure/cut")
    );
    assert!(volume.removed(true, 1).is_empty(), "nothing is broken any more");
}

#[test]
fn a_file_in_the_middle_of_being_written_is_left_alone_until_it_rests() {
    let mut volume = Volume::new(false);
    volume.good("a.b/c", "v1.0.0");
    assert!(volume.removed(true, 0).is_empty());
    let whole = zip(30, "");
    volume.put("a.b/c/v1.1.0/go.mod", "module a.b/c\n");
    let path = volume.put("a.b/c/v1.1.0/source.zip", &whole[..10]);
    assert!(volume.removed(false, 60).is_empty());
    assert_eq!(volume.sweep.broken(), 1);
    // It grows, and so it is not at rest, however long it takes.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&whole[10..20], 10).unwrap();
    assert!(volume.removed(false, 960).is_empty());
    assert!(volume.removed(false, 1859).is_empty());
    file.write_all_at(&whole[20..], 20).unwrap();
    assert!(volume.removed(false, 1860).is_empty());
    assert_eq!(volume.sweep.broken(), 0);
    // It is cut by a fetch that writes it again, which changes no time of a directory; and then nobody goes on.
    fs::write(&path, &whole[..100]).unwrap();
    assert!(volume.removed(false, 1920).is_empty());
    assert!(volume.removed(false, 2819).is_empty());
    assert_eq!(volume.removed(false, 2820), ["a.b/c@v1.1.0"]);
    assert!(volume.has("a.b/c/v1.0.0/source.zip") && !volume.has("a.b/c/v1.1.0"));
}

#[test]
fn before_the_only_writer_starts_what_it_left_goes_at_once_and_afterwards_nothing_does() {
    let mut volume = Volume::new(true);
    volume.cut("a.b/before", "v1.0.0");
    assert_eq!(volume.removed(true, 0), ["a.b/before@v1.0.0"]);
    volume.cut("a.b/after", "v1.0.0");
    assert!(volume.removed(false, 60).is_empty());
    let mut impatient = Volume::new(true);
    impatient.cut("a.b/before", "v1.0.0");
    impatient.sweep.not_alone();
    assert!(impatient.removed(true, 0).is_empty());
    assert_eq!(impatient.removed(false, 900), ["a.b/before@v1.0.0"]);
}

#[test]
fn what_is_hours_old_goes_at_once_from_a_shared_volume() {
    let mut volume = Volume::new(false);
    volume.cut("a.b/old", "v1.0.0");
    let removed = volume.look_at(true, 0, today() + 3000).removed;
    assert!(removed.is_empty(), "within what clocks may differ by");
    let removed = volume.look_at(false, 60, today() + 5000).removed;
    assert_eq!(
        removed,
        [Removed { module: "a.b/old".to_owned(), version: "v1.0.0".to_owned(), damage: Damage::Archive }]
    );
}

#[test]
fn links_are_not_followed_and_what_is_not_an_engines_stays() {
    let outside = Volume::new(false);
    outside.cut("x", "v1.0.0");
    let mut volume = Volume::new(true);
    volume.good("a.b/c", "v1.0.0");
    symlink(outside.root(), volume.root().join("a.b/outside")).unwrap();
    symlink(outside.root().join("x/v1.0.0"), volume.root().join("a.b/c/v2.0.0")).unwrap();
    // Whole or not: what a link leads to is not the engine's work.
    let linked = volume.put("a.b/linked/v1.0.0/go.mod", "");
    symlink(outside.root().join("x/v1.0.0/source.zip"), linked.with_file_name("source.zip")).unwrap();
    // What else lies in a version's directory is not ours to remove.
    volume.cut("a.b/noted", "v1.0.0");
    volume.put("a.b/noted/v1.0.0/notes", "mine");
    volume.put("lost+found/v1.0.0/go.mod", "");
    volume.put("v1.0.0/go.mod", "");
    assert_eq!(volume.removed(true, 0), ["a.b/noted@v1.0.0"]);
    assert!(outside.has("x/v1.0.0/source.zip") && outside.has("x/v1.0.0/go.mod"));
    assert!(volume.has("a.b/noted/v1.0.0/notes") && !volume.has("a.b/noted/v1.0.0/source.zip"));
    assert!(
        volume.has("a.b/linked/v1.0.0/go.mod") && volume.has("lost+found/v1.0.0/go.mod") && volume.has("v1.0.0/go.mod")
    );
}

#[test]
fn a_module_that_becomes_a_link_between_two_looks_is_not_entered() {
    let outside = Volume::new(false);
    outside.cut("x", "v1.0.0");
    let mut volume = Volume::new(false);
    volume.cut("a.b/x", "v1.0.0");
    assert!(volume.removed(true, 0).is_empty());
    fs::remove_dir_all(volume.root().join("a.b/x")).unwrap();
    symlink(outside.root().join("x"), volume.root().join("a.b/x")).unwrap();
    assert!(volume.removed(false, 5000).is_empty());
    assert!(outside.has("x/v1.0.0/source.zip"));
    assert_eq!(volume.sweep.broken(), 0, "it is forgotten");
}

#[test]
fn a_volume_of_twenty_thousand_versions_costs_what_changed() {
    let mut volume = Volume::new(false);
    let whole = zip(1, "");
    for module in 0..400 {
        for version in 0..50 {
            let directory =
                volume.root().join(format!("git.example.com/team{}/lib{module}/v1.{version}.0", module % 20));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("go.mod"), "module m\n").unwrap();
            fs::write(directory.join("source.zip"), &whole).unwrap();
            fs::write(directory.join(format!("v1.{version}.0.info")), "{}").unwrap();
        }
    }
    // Hours later, all of it rests.
    let later = today() + 10_000;
    let begun = std::time::Instant::now();
    assert!(volume.look_at(true, 0, later).removed.is_empty());
    let first = volume.sweep.opened();
    assert_eq!(first, 20_000 + 400 + 20 + 1 + 1);
    volume.look_at(false, 60, later);
    assert_eq!(volume.sweep.opened() - first, 400 + 20 + 1 + 1, "directories above versions are asked for their time");
    volume.cut("git.example.com/team0/lib0", "v1.50.0");
    let before = volume.sweep.opened();
    assert_eq!(volume.look_at(false, 120, later).removed.len(), 1);
    // Besides the new one, those that were made in the same step of the clock as the newest before it.
    let opened = volume.sweep.opened() - before;
    assert!((423..=422 + 51).contains(&opened), "no more than the versions of its module: {opened}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn what_cannot_be_looked_at_is_told_until_it_can() {
    let mut volume = Volume::new(false);
    volume.good("a.b/c", "v1.0.0");
    let root = volume.root().to_owned();
    let away = root.with_extension("away");
    fs::rename(&root, &away).unwrap();
    assert!(volume.look(true, 0).error.is_some());
    fs::rename(&away, &root).unwrap();
    assert!(volume.look(false, 60).error.is_none());
}

#[tokio::test]
async fn only_a_refused_connection_says_that_nobody_writes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    assert!(!is_alone(Some(&address)).await);
    drop(listener);
    assert!(is_alone(Some(&address)).await);
    assert!(!is_alone(None).await);
    assert!(!is_alone(Some("name.invalid:3000")).await);
}

#[tokio::test]
async fn the_engine_waits_for_the_first_look_and_the_board_tells_of_it() {
    let volume = Volume::new(true);
    volume.cut("a.b/c", "v1.0.0");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let only_writer = Some(listener.local_addr().unwrap().to_string());
    drop(listener);
    let (board, changed) = (Arc::new(Board::new(false)), Arc::new(Notify::new()));
    let config = crate::sidecar::config::Volume {
        path: volume.root().to_owned(),
        layout: Some(Layout::Athens),
        settle_seconds: 900,
        only_writer,
    };
    let watching = tokio::spawn(watch(config, Arc::clone(&board), changed));
    let started = async {
        while !board.started() {
            tokio::task::yield_now().await;
        }
    };
    time::timeout(Duration::from_secs(10), started).await.unwrap();
    watching.abort();
    assert_eq!(board.report().volume.unwrap().removed, 1);
    assert!(!volume.has("a.b/c/v1.0.0"));
}
