//! Real repositories, as git itself makes them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::AsyncBufReadExt;

use super::judge::WORDS;
use super::*;
use crate::engine::observation::ProbeOutcome::{Bad, Good, Unclear};
use crate::sources::probes::Reading;

/// A repository `origin`, a checkout `site` of it, and a second checkout `other` that pushes.
struct Rig {
    dir: TempDir,
}

impl Rig {
    /// `None`: there is no git to test with.
    fn new() -> Option<Self> {
        if process::Command::new("git").arg("--version").output().is_err() {
            println!("SKIPPED: there is no command git");
            return None;
        }
        let rig = Self { dir: tempfile::tempdir().unwrap() };
        rig.git("", &["init", "-q", "--bare", "origin"]);
        rig.git("origin", &["symbolic-ref", "HEAD", "refs/heads/main"]);
        rig.git("", &["clone", "-q", "origin", "other"]);
        rig.git("other", &["checkout", "-q", "-b", "main"]);
        rig.commit("other", "first");
        rig.git("other", &["push", "-q", "origin", "main"]);
        let origin = format!("file://{}", rig.path("origin").display());
        rig.git("", &["clone", "-q", &origin, "site"]);
        Some(rig)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[track_caller]
    fn git(&self, at: &str, args: &[&str]) -> String {
        let out = process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always"])
            .args(args)
            .current_dir(self.path(at))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", self.dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "git {args:?}: {said}");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    fn commit(&self, at: &str, file: &str) {
        fs::write(self.path(at).join(file), file).unwrap();
        self.git(at, &["add", file]);
        self.git(at, &["commit", "-q", "-m", file]);
    }

    /// New commits at the remote.
    fn push(&self, files: &[&str]) {
        files.iter().for_each(|file| self.commit("other", file));
        self.git("other", &["push", "-q", "origin", "main"]);
    }

    fn set(&self, more: &str) -> Git {
        self.at(&self.path("site"), more)
    }

    fn at(&self, path: &Path, more: &str) -> Git {
        let text = format!(
            "[[probe]]\nname = \"site\"\ntype = \"git\"\npath = \"{}\"\n{more}",
            path.display()
        );
        let search = std::env::var("PATH").unwrap();
        let runtime = self.dir.path().join("run");
        fs::create_dir_all(&runtime).unwrap();
        let variables =
            [("PATH", search.as_str()), ("RUNTIME_DIRECTORY", runtime.to_str().unwrap())];
        let environment = variables.into_iter().collect();
        let options = crate::config::Options::new(None, environment, true, "host".into());
        let inputs = vec![crate::config::Input::memory("a", text)];
        let mut loaded = crate::config::load_from(inputs, &options);
        let section = loaded.config.probes[0].clone();
        let environment = loaded.sink.environment().clone();
        assert!(read(&mut Reading { section: &section, sink: &mut loaded.sink }).is_some());
        let mut reader = section.section.read(&mut loaded.sink);
        let words = reader.texts("ignore");
        let words = words.map(|words| {
            let fault = |word: &str| WORDS.iter().find(|(known, _)| *known == word).unwrap().1;
            words.iter().map(|(word, _)| fault(word)).collect()
        });
        let ignore = words.unwrap_or(vec![Fault::Untracked]);
        let (remote, branch) = (reader.text("remote"), reader.text("branch"));
        let path = reader.path("path").unwrap();
        Git::new(Settings::new(&section.name, path, &environment, remote, branch, ignore))
    }

    /// What one look finds; the view that was made for it is gone afterwards.
    fn look(&self, git: &mut Git) -> (ProbeOutcome, &'static str, String) {
        let found = block(git.look());
        let left: Vec<_> = fs::read_dir(self.path("run")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        (found.outcome, found.reason.as_str(), found.summary)
    }

    #[track_caller]
    fn finds(&self, more: &str, outcome: ProbeOutcome, reason: &str, words: &str) {
        let found = self.look(&mut self.set(more));
        assert_eq!((found.0, found.1), (outcome, reason), "{}", found.2);
        assert!(found.2.contains(words), "{}", found.2);
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn behind_ahead_and_diverged_are_told_without_fetching() {
    let Some(rig) = Rig::new() else { return };
    rig.finds("", Good, "probe-ok", "at origin/main");
    rig.push(&["a", "b", "c"]);
    let before = rig.git("site", &["for-each-ref"]);
    rig.finds("", Bad, "behind", "behind origin/main, whose new commits are not fetched");
    assert_eq!(rig.git("site", &["for-each-ref"]), before, "nothing was fetched");
    rig.finds("ignore = [\"behind\"]", Good, "probe-ok", "not fetched");
    rig.git("site", &["fetch", "-q"]);
    rig.finds("", Bad, "behind", "3 commits behind origin/main, last fetched ");
    rig.commit("site", "own");
    rig.finds("", Bad, "diverged", "1 commit ahead, 3 behind");
    rig.push(&["d"]);
    rig.finds("", Bad, "diverged", "it has commits of its own");
    rig.git("site", &["fetch", "-q"]);
    rig.git("site", &["reset", "-q", "--hard", "origin/main"]);
    rig.finds("", Good, "probe-ok", "at origin/main");
    rig.commit("site", "more");
    rig.finds("", Bad, "ahead", "1 commit ahead of origin/main");
}

#[test]
fn what_differs_from_what_is_committed_is_counted() {
    let Some(rig) = Rig::new() else { return };
    fs::write(rig.path("site").join("first"), "other").unwrap();
    fs::write(rig.path("site").join("new"), "new").unwrap();
    let index = fs::read(rig.path("site/.git/index")).unwrap();
    rig.finds("", Bad, "dirty", "at origin/main, 1 changed file");
    rig.finds("ignore = []", Bad, "dirty", "1 changed file, 1 untracked file");
    rig.finds("ignore = [\"dirty\"]", Bad, "untracked", "at origin/main, 1 untracked file");
    rig.finds("ignore = [\"dirty\", \"untracked\"]", Good, "probe-ok", "at origin/main");
    rig.git("site", &["checkout", "-q", "."]);
    fs::write(rig.path("site/.git/info/exclude"), "new\n").unwrap();
    rig.finds("ignore = []", Good, "probe-ok", "at origin/main");
    // Touched and not changed: git would refresh its index, and may not.
    fs::write(rig.path("site").join("first"), "first").unwrap();
    rig.finds("", Good, "probe-ok", "at origin/main");
    assert_eq!(fs::metadata(rig.path("site/.git/index")).unwrap().len(), index.len() as u64);
    assert!(!rig.path("site/.git/index.lock").exists());
}

#[test]
fn branches_and_remotes_are_those_of_the_upstream_unless_said() {
    let Some(rig) = Rig::new() else { return };
    rig.push(&["a"]);
    rig.git("other", &["push", "-q", "origin", "main:release"]);
    rig.finds("branch = \"release\"", Bad, "behind", "behind origin/release");
    rig.finds("branch = \"none\"", Bad, "no-remote-branch", "no branch origin/none");
    rig.finds("remote = \"second\"", Bad, "no-remote", "no remote second");
    rig.git("site", &["fetch", "-q"]);
    rig.git("site", &["checkout", "-q", "-b", "work", "--track", "origin/release"]);
    rig.finds("", Good, "probe-ok", "at origin/release");
    let second = rig.path("other");
    rig.git("site", &["remote", "add", "second", second.to_str().unwrap()]);
    rig.finds("remote = \"second\"\nbranch = \"main\"", Good, "probe-ok", "at second/main");
    rig.git("site", &["checkout", "-q", "--detach"]);
    rig.finds("", Bad, "detached", "no branch is checked out (HEAD is at ");
    rig.finds("branch = \"release\"", Good, "probe-ok", "at origin/release");
    rig.git("site", &["checkout", "-q", "-b", "unborn-upstream"]);
    rig.finds("", Bad, "no-remote-branch", "origin/unborn-upstream");
}

#[test]
fn what_is_no_checkout_is_told_as_such() {
    let Some(rig) = Rig::new() else { return };
    let of = |name: &str| rig.look(&mut rig.at(&rig.path(name), ""));
    fs::create_dir(rig.path("plain")).unwrap();
    rig.git("", &["init", "-q", "empty"]);
    for (name, words) in [
        ("nowhere", "does not exist"),
        ("plain", "is it the top of a checkout?"),
        ("site/first", "is no folder"),
        ("origin", "is a bare repository"),
        ("empty", "no commit yet"),
    ] {
        let (outcome, reason, text) = of(name);
        assert_eq!((outcome, reason), (Bad, "not-a-checkout"), "{text}");
        assert!(text.contains(words), "{text}");
    }
    // Damaged: HEAD is no line of git's, and is not quoted; a commit is missing.
    fs::write(rig.path("other/.git/HEAD"), "root:x:hunter2\n").unwrap();
    let (outcome, reason, text) = of("other");
    assert_eq!((outcome, reason), (Bad, "unreadable"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    fs::write(rig.path("other/.git/HEAD"), "a".repeat(40)).unwrap();
    assert_eq!(of("other").1, "unreadable");
    fs::write(rig.path("site/.git/index"), "DIRCnonsense").unwrap();
    let (outcome, reason, text) = of("site");
    assert_eq!((outcome, reason), (Bad, "unreadable"), "{text}");
    assert!(text.contains("index"), "{text}");
}

#[test]
fn linked_shallow_and_split_checkouts_are_read_as_well() {
    let Some(rig) = Rig::new() else { return };
    rig.git("site", &["worktree", "add", "-q", "-b", "linked", "../linked", "origin/main"]);
    rig.git("linked", &["branch", "-q", "--set-upstream-to=origin/main"]);
    assert_eq!(rig.look(&mut rig.at(&rig.path("linked"), "")).1, "probe-ok");
    rig.git("site", &["update-index", "--split-index"]);
    rig.finds("", Good, "probe-ok", "at origin/main");

    let origin = format!("file://{}", rig.path("origin").display());
    rig.push(&["a", "b"]);
    rig.git("", &["clone", "-q", "--depth=1", &origin, "shallow"]);
    let shallow = || rig.look(&mut rig.at(&rig.path("shallow"), ""));
    assert_eq!(shallow().1, "probe-ok");
    rig.push(&["c", "d"]);
    assert_eq!(shallow().1, "behind");
    rig.git("shallow", &["fetch", "-q", "--depth=1"]);
    let (_, reason, text) = shallow();
    assert_eq!(reason, "behind", "{text}");
    assert!(text.contains("shallow clone"), "{text}");
    // Objects that are borrowed from another repository.
    rig.git("", &["clone", "-q", "--shared", "origin", "shared"]);
    assert_eq!(rig.look(&mut rig.at(&rig.path("shared"), "")).1, "probe-ok");
}

#[test]
fn a_remote_that_cannot_be_reached_is_told_without_its_login() {
    let Some(rig) = Rig::new() else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let to = |url: &str| rig.git("site", &["remote", "set-url", "origin", url]);
    to(&format!("http://me:hunter2@127.0.0.1:{port}/x.git"));
    let (outcome, reason, text) = rig.look(&mut rig.set(""));
    assert_eq!((outcome, reason), (Bad, "remote-unreachable"), "{text}");
    assert!(text.contains(&format!("origin (http://127.0.0.1:{port}/x.git)")), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    rig.finds("ignore = [\"unreachable\"]", Good, "probe-ok", "cannot be reached");
    to("/nowhere/at/all");
    rig.finds("", Bad, "remote-unreachable", "does not exist");
}

/// A program and all that it has started, for as long as the value lives.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_raw(self.0 as i32).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

#[test]
fn a_remote_behind_a_server_is_asked_for_one_branch() {
    let Some(rig) = Rig::new() else { return };
    block(async {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let base = rig.dir.path().display();
        let mut server = Command::new("git")
            .args(["daemon", "--export-all", "--verbose", "--listen=127.0.0.1", "--reuseaddr"])
            .args([format!("--port={port}"), format!("--base-path={base}")])
            .arg(rig.path("origin"))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _group = Group(server.id().unwrap());
        let mut log = tokio::io::BufReader::new(server.stderr.take().unwrap()).lines();
        let Some(line) = log.next_line().await.unwrap().filter(|l| l.contains("Ready")) else {
            println!("SKIPPED: there is no git daemon");
            return;
        };
        drop(line);
        rig.push(&["a"]);
        rig.git(
            "site",
            &["remote", "set-url", "origin", &format!("git://127.0.0.1:{port}/origin")],
        );
        let found = rig.set("").look().await;
        assert_eq!((found.outcome, found.reason), (Bad, Reason::Behind), "{}", found.summary);
        let found = rig.set("branch = \"none\"").look().await;
        assert_eq!(found.reason, Reason::NoRemoteBranch, "{}", found.summary);
    });
}

#[test]
fn a_remote_that_hangs_is_left_at_the_limit_with_all_its_programs() {
    let Some(rig) = Rig::new() else { return };
    block(async {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/x.git", server.local_addr().unwrap().port());
        rig.git("site", &["remote", "set-url", "origin", &url]);
        let mut git = rig.set("");
        {
            let looking = git.look();
            tokio::pin!(looking);
            // git speaks to it, and gets no answer.
            let (mut socket, _) = tokio::select! {
                found = &mut looking => panic!("{found:?}"),
                accepted = server.accept() => accepted.unwrap(),
            };
            let mut asked = [0; 16];
            tokio::select! {
                found = &mut looking => panic!("{found:?}"),
                read = tokio::io::AsyncReadExt::read(&mut socket, &mut asked) => {
                    assert!(read.unwrap() > 0);
                }
            }
            // The source drops the look at its limit.
        }
        let found = git.late(Duration::from_secs(30));
        assert_eq!((found.outcome, found.reason), (Bad, Reason::RemoteUnreachable));
        assert!(found.summary.contains("no answer within 30 s"), "{}", found.summary);
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while git.programs.hangs() {
            assert!(tokio::time::Instant::now() < end, "its programs are still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(fs::read_dir(rig.path("run")).unwrap().next().is_none(), "the view is gone");
    });
}

/// All that could make git run a program: nothing is run.
#[test]
fn what_a_repository_says_is_to_be_run_is_not_run() {
    let Some(rig) = Rig::new() else { return };
    let marker = rig.path("marker");
    let trap = rig.path("trap");
    fs::write(&trap, format!("#!/bin/sh\necho \"$0 $*\" >>{}\nexit 1\n", marker.display()))
        .unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
    let trap = trap.to_str().unwrap();
    rig.push(&["a"]);
    rig.git("site", &["fetch", "-q"]);
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "core.askPass",
        "core.gitProxy",
        "core.alternateRefsCommand",
        "credential.helper",
        "diff.external",
        "diff.evil.command",
        "diff.evil.textconv",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "merge.evil.driver",
        "gpg.program",
        "uploadpack.packObjectsHook",
        "remote.origin.uploadpack",
        "remote.origin.receivepack",
        "alias.status",
        "alias.rev-parse",
        "trace2.eventTarget",
        "submodule.evil.update",
    ] {
        rig.git("site", &["config", key, trap]);
    }
    // An own git would start these, also where one of them fails.
    let hooks = rig.path("hooks");
    fs::create_dir(&hooks).unwrap();
    for hook in ["post-index-change", "reference-transaction", "pre-auto-gc", "fsmonitor-watchman"]
    {
        for folder in [&hooks, &rig.path("site/.git/hooks")] {
            fs::create_dir_all(folder).unwrap();
            fs::copy(trap, folder.join(hook)).unwrap();
        }
    }
    let site = |args: &[&str]| rig.git("site", args);
    site(&["config", "core.hooksPath", hooks.to_str().unwrap()]);
    site(&["config", "filter.evil.required", "true"]);
    let include = rig.path("include");
    fs::write(&include, format!("[core]\n\tfsmonitor = {trap}\n")).unwrap();
    site(&["config", "include.path", include.to_str().unwrap()]);
    fs::write(rig.path("site/.git/info/attributes"), "* filter=evil diff=evil\n").unwrap();
    fs::write(rig.path("site/first"), "changed").unwrap();
    // What is missing is fetched from here, if git is let: by a program.
    site(&["config", "core.repositoryFormatVersion", "1"]);
    site(&["config", "extensions.partialClone", "lazy"]);
    site(&["config", "remote.lazy.promisor", "true"]);
    site(&["config", "remote.lazy.url", rig.path("origin").to_str().unwrap()]);
    site(&["config", "remote.lazy.uploadpack", trap]);

    // The trap works: git as everybody runs it falls into it.
    let _ = process::Command::new("git")
        .args(["status"])
        .current_dir(rig.path("site"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output();
    assert!(marker.exists(), "git runs nothing of this by itself");
    fs::remove_file(&marker).unwrap();

    rig.finds("", Bad, "behind", "1 changed file");
    // A commit that is not here.
    rig.push(&["b"]);
    rig.finds("", Bad, "behind", "1 changed file");
    for (n, url) in [
        format!("ext::{trap} %S"),
        format!("ssh://-oProxyCommand={trap}/x"),
        format!("--upload-pack={trap}"),
        "ssh://127.0.0.1:1/x".to_owned(),
        "http://127.0.0.1:1/x".to_owned(),
        "evil::x".to_owned(),
        format!("fd::17/{trap}"),
    ]
    .into_iter()
    .enumerate()
    {
        site(&["config", "remote.origin.url", &url]);
        site(&["config", "remote.origin.vcs", "evil"]);
        let (_, reason, text) = rig.look(&mut rig.set(""));
        assert_eq!(reason, "remote-unreachable", "{n}: {text}");
    }
    // The remote is another's as well.
    site(&["config", "remote.origin.url", rig.path("other").to_str().unwrap()]);
    rig.git("other", &["config", "core.fsmonitor", trap]);
    rig.git("other", &["config", "uploadpack.packObjectsHook", trap]);
    rig.finds("", Bad, "behind", "1 changed file");
    let ran = fs::read_to_string(&marker).unwrap_or_default();
    assert_eq!(ran, "", "these were run");
}

#[test]
fn without_git_or_rights_it_is_not_known() {
    let Some(rig) = Rig::new() else { return };
    let mut git = rig.set("");
    git.settings.search = Some("/nonexistent".into());
    let found = rig.look(&mut git);
    assert_eq!((found.0, found.1), (Unclear, "program-missing"), "{}", found.2);
    if rustix::process::geteuid().is_root() {
        println!("SKIPPED: root may do everything");
        return;
    }
    fs::set_permissions(rig.path("site/.git"), fs::Permissions::from_mode(0o000)).unwrap();
    let found = rig.look(&mut rig.set(""));
    fs::set_permissions(rig.path("site/.git"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!((found.0, found.1), (Unclear, "no-permission"), "{}", found.2);
    assert!(found.2.contains("setfacl"), "{}", found.2);
}

/// As root, git is run as the owner of the repository: another's checkout is read with that one's
/// rights and no more.
#[test]
fn root_does_not_lend_its_rights() {
    let Some(rig) = Rig::new() else { return };
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can give files to others");
        return;
    }
    let owned = process::Command::new("chown")
        .args(["-R", "65534:65534"])
        .arg(rig.path("site"))
        .arg(rig.path("origin"))
        .status()
        .unwrap();
    assert!(owned.success());
    fs::create_dir_all(rig.path("run")).unwrap();
    for folder in [rig.dir.path().to_owned(), rig.path("run")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    rig.finds("", Good, "probe-ok", "at origin/main");
    // A remote that only root may read.
    let secret = rig.path("other");
    fs::set_permissions(secret.join(".git"), fs::Permissions::from_mode(0o700)).unwrap();
    rig.git(
        "site",
        &["-c", "safe.directory=*", "config", "remote.origin.url", secret.to_str().unwrap()],
    );
    rig.finds("", Bad, "remote-unreachable", "ermission denied");
}
