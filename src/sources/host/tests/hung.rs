//! A mount that really hangs: a FUSE daemon that is stopped, in a mount namespace of its own.

use std::io::ErrorKind;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::engine::observation::HeartbeatState;
use crate::sources::heartbeats::{FilePattern, HeartbeatSource, HeartbeatWatch};

use super::*;

const INSIDE: &str = "KEEPWELL_TEST_INSIDE_NAMESPACE";

/// A process that is killed at the end, whatever happens.
struct Daemon(Child);

impl Daemon {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs this very test once more, in a mount namespace of its own, so that no hanging mount is
/// ever seen outside. `None` inside it; else how it ended, or why it could not be done.
fn run_inside(test: &str) -> Option<Result<(), String>> {
    if std::env::var_os(INSIDE).is_some() {
        return None;
    }
    let tried = || -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can make a mount namespace".to_owned());
        }
        if !Path::new("/dev/fuse").exists() {
            return Err("/dev/fuse does not exist".to_owned());
        }
        match Command::new("bindfs").arg("--version").stdout(Stdio::null()).status() {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err("bindfs is not installed".to_owned());
            }
            _ => {}
        }
        let this = std::env::current_exe().unwrap();
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"])
            .arg(this)
            .args([test, "--exact", "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .map_err(|e| format!("unshare: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("unshare failed") {
            return Err(errors.into_owned());
        }
        assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
        Ok(())
    };
    Some(tried())
}

/// A folder that a daemon shows at another place.
struct Shown {
    daemon: Daemon,
    real: TempDir,
    shown: TempDir,
}

impl Shown {
    async fn mount() -> Self {
        let (real, shown) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let daemon = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "bindfs", "-f"])
            .args([real.path(), shown.path()])
            .spawn()
            .map(Daemon)
            .unwrap();
        let this = Self { daemon, real, shown };
        until(|| fs::read_to_string("/proc/self/mountinfo").unwrap().contains(this.name())).await;
        this
    }

    fn name(&self) -> &str {
        self.shown.path().to_str().unwrap()
    }

    /// Kills the daemon, waits until no thread of this name hangs any more, and unmounts.
    async fn end(self, thread: &str) {
        drop(self.daemon);
        until(|| threads(thread) <= 1).await;
        let _ = Command::new("umount").arg("-l").arg(self.shown.path()).status();
    }
}

/// How many threads of this process have the name.
fn threads(name: &str) -> usize {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|comm| comm.trim() == name)
        .count()
}

/// Whether the test is to go on here: it is inside the namespace.
fn is_inside(test: &str) -> bool {
    match run_inside(&format!("sources::host::tests::hung::{test}")) {
        None => return true,
        Some(Ok(())) => {}
        Some(Err(why)) => {
            assert!(std::env::var_os("KEEPWELL_REQUIRE_FUSE").is_none_or(|v| v != "1"), "{why}");
            println!("SKIPPED: {why}");
        }
    }
    false
}

#[tokio::test]
async fn a_mount_whose_daemon_is_stopped_hangs_alone() {
    if !is_inside("a_mount_whose_daemon_is_stopped_hangs_alone") {
        return;
    }
    let mount = Shown::mount().await;
    let name = mount.name();
    let usage = |round| {
        let (_, disks, state) = parts(round);
        assert_eq!(state, None);
        let mut disks = disks.unwrap();
        let at = disks.iter().position(|disk| &*disk.mount == name).expect("the mount is listed");
        let hung = disks.remove(at).usage;
        assert!(!disks.is_empty(), "the others are listed too");
        for disk in disks {
            assert!(matches!(disk.usage, DiskUsage::Known { .. }), "{disk:?}");
        }
        hung
    };
    let asking = || threads("kw-disks");
    let limit = Duration::from_secs(3);
    let interval = Duration::from_secs(3600);
    let watch = HostWatch { interval, limit, ..HostWatch::default() };
    let mut source = HostSource::new(watch);
    let ((), ended) = during(&mut source, false, async |seen| {
        let first = usage(seen.round().await);
        assert!(matches!(first, DiskUsage::Known { .. }), "{first:?}");

        mount.daemon.signal(Signal::STOP);
        for _ in 0..5 {
            seen.resync.notify_one();
            assert_eq!(usage(seen.round().await), DiskUsage::Hangs);
            assert_eq!(asking(), 2, "the shared thread and the one that hangs");
        }

        mount.daemon.signal(Signal::CONT);
        until(|| asking() == 1).await;
        for _ in 0..2 {
            seen.resync.notify_one();
            let again = usage(seen.round().await);
            assert!(matches!(again, DiskUsage::Known { .. }), "{again:?}");
        }

        mount.daemon.signal(Signal::STOP);
        seen.resync.notify_one();
        assert_eq!(usage(seen.round().await), DiskUsage::Hangs);
    })
    .await;
    ended.unwrap();
    mount.end("kw-disks").await;
}

#[tokio::test]
async fn a_heartbeat_on_a_hung_mount_hides_no_other() {
    if !is_inside("a_heartbeat_on_a_hung_mount_hides_no_other") {
        return;
    }
    let mount = Shown::mount().await;
    let well = tempfile::NamedTempFile::new().unwrap();
    let well = well.path().to_str().unwrap();
    fs::write(mount.real.path().join("beat"), "").unwrap();
    let hung = format!("{}/beat", mount.name());
    let pattern = |text: &str| FilePattern::try_new(text).unwrap();
    let mut watch = HeartbeatWatch::new(vec![(0, pattern(&hung)), (1, pattern(well))]);
    watch.interval = Duration::from_secs(3600);
    watch.limit = Duration::from_secs(3);
    let mut source = HeartbeatSource::new(watch);
    mount.daemon.signal(Signal::STOP);
    let ((), ended) = during(&mut source, false, async |seen| {
        let mut next = async || {
            let Some(Observation::Heartbeats(beats)) = seen.seen.recv().await else { panic!() };
            assert!(matches!(seen.seen.recv().await, Some(Observation::Round(_))));
            let paths: Vec<_> = beats.iter().map(|beat| &*beat.path).collect();
            assert_eq!(paths, [&*hung, well]);
            assert!(matches!(beats[1].state, HeartbeatState::Present(_)), "{beats:?}");
            seen.resync.notify_one();
            beats[0].state.clone()
        };
        let text = "no answer within 3 s: its file system hangs".to_owned();
        for _ in 0..3 {
            assert_eq!(next().await, HeartbeatState::Error(text.clone()));
            // The shared thread and the one that hangs; one that is done may still be on its way.
            until(|| threads("kw-heartbeats") <= 2).await;
        }
        mount.daemon.signal(Signal::CONT);
        until(|| threads("kw-heartbeats") <= 1).await;
        let mut again = next().await;
        if again == HeartbeatState::Error(text) {
            // That round was asked for before the daemon went on.
            again = next().await;
        }
        assert!(matches!(again, HeartbeatState::Present(_)), "{again:?}");
    })
    .await;
    ended.unwrap();
    mount.end("kw-heartbeats").await;
}

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    time::timeout(LONG, wait).await.expect("the condition was not met in time");
}
