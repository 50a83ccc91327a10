//! The source and the search, on real files; what needs a user without rights runs as one.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::UNIX_EPOCH;

use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::engine::Wall;
use crate::sources::host::tests::processor_time;

use super::*;

/// Longer than any test, those with simulated time too.
const LONG: Duration = Duration::from_secs(200_000);
const AT: Wall = Wall(1_700_000_000_250_000);

struct Files(TempDir);

impl Files {
    fn new(names: &[&str]) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        names.iter().for_each(|name| files.touch(name));
        files
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.0.path().display())
    }

    fn touch(&self, name: &str) {
        let path = self.at(name);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        let file = File::create(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_micros(AT.0 as u64)).unwrap();
    }

    /// What is found, with paths relative to the folder.
    fn look(&self, pattern: &str) -> Vec<(String, HeartbeatState)> {
        let looker = Looker::this_process(Path::new("/"));
        let found = FilePattern::try_new(&self.at(pattern)).unwrap().look(&looker);
        let prefix = self.at("");
        let short = |path: &str| path.strip_prefix(&prefix).unwrap().to_owned();
        found.into_iter().map(|(path, state)| (short(&path), state)).collect()
    }
}

fn one(path: &str, state: HeartbeatState) -> Vec<(String, HeartbeatState)> {
    vec![(path.to_owned(), state)]
}

#[test]
fn a_path_is_there_or_missing() {
    let files = Files::new(&["a/beat"]);
    assert_eq!(files.look("a/beat"), one("a/beat", HeartbeatState::Present(AT)));
    assert_eq!(files.look("a/none"), one("a/none", HeartbeatState::Missing));
    assert_eq!(files.look("none/beat"), one("none/beat", HeartbeatState::Missing));
    let folder = HeartbeatState::Error("it is a folder, not a file".to_owned());
    assert_eq!(files.look("a"), one("a", folder));
    let below = HeartbeatState::Error("Not a directory (os error 20)".to_owned());
    assert_eq!(files.look("a/beat/x"), one("a/beat/x", below));
    std::os::unix::fs::symlink(files.at("a/beat"), files.at("link")).unwrap();
    assert_eq!(files.look("link"), one("link", HeartbeatState::Present(AT)));
}

#[test]
fn a_pattern_finds_files_in_order_and_no_folders() {
    let files = Files::new(&["w2/x.hb", "w1/x.hb", "w1/y.hb", "w1/.z.hb", "w3/other", "file"]);
    fs::create_dir(files.at("w1/folder.hb")).unwrap();
    let names = |pattern| -> Vec<String> {
        let found = files.look(pattern);
        assert!(found.iter().all(|(_, state)| *state == HeartbeatState::Present(AT)), "{found:?}");
        found.into_iter().map(|(path, _)| path).collect()
    };
    assert_eq!(names("w*/*.hb"), ["w1/x.hb", "w1/y.hb", "w2/x.hb"]);
    assert_eq!(names("w?/x.hb"), ["w1/x.hb", "w2/x.hb"]);
    assert_eq!(names("w[12]/[x]*"), ["w1/x.hb", "w2/x.hb"]);
    assert_eq!(names("*/.z.hb"), ["w1/.z.hb"]);
}

#[test]
fn a_pattern_without_a_match_is_missing_as_itself() {
    let files = Files::new(&["a/beat"]);
    assert_eq!(files.look("a/*.hb"), one("a/*.hb", HeartbeatState::Missing));
    assert_eq!(files.look("none/*"), one("none/*", HeartbeatState::Missing));
    assert_eq!(files.look("*/none"), one("*/none", HeartbeatState::Missing));
}

#[test]
fn there_is_a_bound_on_matches() {
    let files = Files::new(&[]);
    (0..MOST_MATCHES + 3).for_each(|i| files.touch(&format!("{i:04}")));
    let found = files.look("*");
    assert_eq!(found.len(), MOST_MATCHES + 1);
    assert_eq!(found[MOST_MATCHES - 1], ("0999".to_owned(), HeartbeatState::Present(AT)));
    let text =
        "it matches more than 1000 files or folders; only the first ones by name are watched";
    assert_eq!(found[MOST_MATCHES], ("*".to_owned(), HeartbeatState::Error(text.to_owned())));
}

#[test]
fn what_is_no_place_for_a_heartbeat_is_refused() {
    let message = |text| FilePattern::try_new(text).unwrap_err().to_string();
    assert_eq!(message("a/b"), "'a/b' is not an absolute path: write it from / on");
    assert_eq!(message(""), "'' is not an absolute path: write it from / on");
    let folder = "names a folder: name a file in it, or a pattern such as *.heartbeat";
    assert_eq!(message("/"), format!("'/' {folder}"));
    assert_eq!(message("/a/"), format!("'/a/' {folder}"));
    assert_eq!(message("/a/../b"), "'/a/../b' holds '..': write the path without it");
    let levels = "'/a/**/b' holds '**': write one * for each folder level instead";
    assert_eq!(message("/a/**/b"), levels);
    assert_eq!(message("/a/[b"), "'/a/[b' is not a pattern: invalid range pattern");
}

/// Runs this very test once more as a user without rights. True when that is done or cannot be.
fn ran_as_nobody(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let skip = |why: &str| println!("SKIPPED: {why}");
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .output();
    match output {
        Err(e) => skip(&format!("setpriv: {e}")),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            if errors.contains("failed to execute") {
                skip(&errors);
            } else {
                assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
            }
        }
    }
    true
}

#[test]
fn a_folder_that_refuses_is_named_with_the_remedy() {
    if ran_as_nobody("sources::heartbeats::tests::a_folder_that_refuses_is_named_with_the_remedy") {
        return;
    }
    let files = Files::new(&["open/beat", "shut/in/beat", "blind/beat"]);
    let (shut, blind) = (files.at("shut"), files.at("blind"));
    fs::set_permissions(&shut, Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&blind, Permissions::from_mode(0o300)).unwrap();

    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(user).unwrap().trim().to_owned();
    let enter = HeartbeatState::NoPermission(format!(
        "user {user} may not enter {shut}: give it the right to (chmod o+x {shut}, or an ACL: \
         setfacl -m u:{user}:x {shut})"
    ));
    let list = HeartbeatState::NoPermission(format!(
        "user {user} may not list {blind}: give it the right to (chmod o+rx {blind}, or an ACL: \
         setfacl -m u:{user}:rx {blind})"
    ));
    assert_eq!(files.look("shut/in/beat"), one("shut/in/beat", enter.clone()));
    assert_eq!(files.look("shut/none"), one("shut/none", enter.clone()), "it may be there");
    assert_eq!(files.look("shut/in/*"), one("shut/in/*", enter.clone()));
    assert_eq!(files.look("blind/beat"), one("blind/beat", HeartbeatState::Present(AT)));
    assert_eq!(files.look("blind/*"), one("blind/*", list));
    let both = files.look("[os]*/beat");
    let open = ("open/beat".to_owned(), HeartbeatState::Present(AT));
    assert_eq!(both, [open, ("[os]*/beat".to_owned(), enter)]);

    for path in [shut, blind] {
        fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    }
}

/// Runs the source while `body` looks at what it sends.
async fn during<T>(
    files: &[(usize, String)],
    once: bool,
    body: impl AsyncFnOnce(&mut mpsc::Receiver<Observation>, &Notify) -> T,
) -> T {
    let pattern = |(rule, text): &(usize, String)| (*rule, FilePattern::try_new(text).unwrap());
    let mut watch = HeartbeatWatch::new(files.iter().map(pattern).collect());
    watch.interval = Duration::from_secs(3600);
    let mut source = HeartbeatSource::new(watch);
    let (out, mut seen) = mpsc::channel(64);
    let (stop, resync) = (CancellationToken::new(), Arc::new(Notify::new()));
    let context = SourceContext { out, stop: stop.clone(), resync: Arc::clone(&resync), once };
    let body = async {
        let result = body(&mut seen, &resync).await;
        stop.cancel();
        result
    };
    let both = async { tokio::join!(body, source.run(context)) };
    let (result, ended) = time::timeout(LONG, both).await.expect("it came to no end");
    ended.unwrap();
    result
}

const ROUND: Observation =
    Observation::Round(Round { source: SourceKind::Heartbeats, total: None });

#[tokio::test]
async fn every_rule_gets_its_files() {
    let files = Files::new(&["a", "b"]);
    let (a, all, none) = (files.at("a"), files.at("?"), files.at("none"));
    let rules = [(4, a.clone()), (0, all.clone()), (1, none.clone()), (7, a.clone())];
    let seen = |path: &str, rule, state| HeartbeatSeen { path: path.into(), rule, state };
    let there = HeartbeatState::Present(AT);
    let mut expected = vec![
        seen(&a, 4, there.clone()),
        seen(&a, 7, there.clone()),
        seen(&a, 0, there.clone()),
        seen(&files.at("b"), 0, there.clone()),
        seen(&none, 1, HeartbeatState::Missing),
    ];
    during(&rules, false, async |observed, resync| {
        assert_eq!(observed.recv().await, Some(Observation::Heartbeats(expected.clone())));
        assert_eq!(observed.recv().await, Some(ROUND));
        files.touch("none");
        expected[4].state = there;
        resync.notify_one();
        assert_eq!(observed.recv().await, Some(Observation::Heartbeats(expected.clone())));
        assert_eq!(observed.recv().await, Some(ROUND));
    })
    .await;
}

#[tokio::test]
async fn once_is_one_round() {
    let files = Files::new(&["a"]);
    during(&[(0, files.at("a"))], true, async |observed, _| {
        assert!(
            matches!(observed.recv().await, Some(Observation::Heartbeats(seen)) if seen.len() == 1)
        );
        assert_eq!(observed.recv().await, Some(ROUND));
        assert_eq!(observed.recv().await, None);
    })
    .await;
}

/// What a sampling costs in processor time; `cargo test --lib cost_of -- --ignored --nocapture --test-threads=1`.
#[tokio::test]
#[ignore = "a measurement"]
async fn cost_of_a_heartbeat() {
    let files = Files::new(&["a"]);
    let cost = during(&[(0, files.at("a"))], false, async |observed, resync| {
        while observed.recv().await != Some(ROUND) {}
        let before = processor_time();
        for _ in 0..2000 {
            resync.notify_one();
            while observed.recv().await != Some(ROUND) {}
        }
        (processor_time() - before) / 2000.0
    })
    .await;
    println!("one sampling of a heartbeat: {cost:.1} µs of processor time");
}

#[tokio::test(start_paused = true)]
async fn without_files_it_sleeps_until_asked() {
    during(&[], false, async |observed, resync| {
        assert_eq!(observed.recv().await, Some(ROUND));
        let day = time::timeout(Duration::from_secs(86_400), observed.recv()).await;
        assert!(day.is_err(), "nothing for a day: {day:?}");
        resync.notify_one();
        assert_eq!(observed.recv().await, Some(ROUND));
    })
    .await;
}
