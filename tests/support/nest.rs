//! A room for an engine of containers and all that it starts: PID, mount and network namespaces of
//! its own, and a folder. What runs in it ends with the value, also when a test panics or its
//! process is killed. Needs root; where it cannot be had the test is skipped, or fails with
//! `KEEPWELL_REQUIRE_SYSTEMD=1`.

#![allow(dead_code, clippy::unwrap_used, reason = "this is a part of tests; no test uses it all")]

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use serde_json::Value;

/// Prefix of the folders and cgroups that are this rig's.
const PREFIX: &str = "kw-engine-";
/// 10 ms each: how long a start may take on a busy machine.
const TRIES: u32 = 12_000;

/// The first process of a nest. An engine of this machine, and what it keeps in `/run`, is not to be
/// seen; and somebody has to wait for orphans, or an engine takes a containerd that is dead for one
/// that runs.
const INIT: &str =
    r#"mount -t tmpfs run /run || exit 1; touch "$1"; while :; do sleep 1000 & wait; done"#;

/// The image that there is in every engine of a test: busybox, whose default command sleeps.
pub(crate) const IMAGE: &str = "busybox";

/// What a command did.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    /// It ended with exit code 0.
    pub(crate) ok: bool,
    /// What it printed, without the last line's end.
    pub(crate) stdout: String,
    /// What it complained of.
    pub(crate) stderr: String,
}

impl Done {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let out = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Self { ok: out.status.success(), stdout: text(&out.stdout), stderr: text(&out.stderr) }
    }
}

/// The room.
#[derive(Debug)]
pub(crate) struct Nest {
    id: String,
    folder: PathBuf,
    init: Running,
    /// Held so that no other run sweeps this one away.
    _lock: File,
}

/// A process that dies with this one, and the thread that started it: a process that is told of its
/// parent's end is told of the end of its parent's *thread*.
#[derive(Debug)]
struct Running {
    pid: u32,
    thread: Option<JoinHandle<()>>,
}

/// A daemon in a nest.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Its number as this machine sees it.
    pub(crate) pid: u32,
    runner: Running,
}

impl Nest {
    /// A room with what `needs` names installed, or why there is none.
    pub(crate) fn new(needs: &[&str]) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if std::env::var_os("KEEPWELL_NO_CONTAINERS").is_some_and(|v| v == "1") {
            return Err("containers are left out (--quick)".into());
        }
        let id = Command::new("id").arg("-u").output().map_err(|e| format!("id: {e}"))?;
        if id.stdout.trim_ascii() != b"0" {
            return Err("engines of containers need root (try sudo)".into());
        }
        for tool in ["unshare", "nsenter", "setpriv"].iter().chain(needs) {
            program(tool).ok_or(format!("{tool} is not installed (scripts/need docker)"))?;
        }
        sweep();
        let id =
            format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&id);
        fs::create_dir_all(folder.join("home"))
            .map_err(|e| format!("{}: {e}", folder.display()))?;
        let lock = File::create(folder.join("lock")).map_err(|e| e.to_string())?;
        lock.lock().map_err(|e| e.to_string())?;
        let log = File::create(folder.join("nest.log")).map_err(|e| e.to_string())?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"])
            .args(["--mount", "--net", "--ipc"])
            .args(["sh", "-c", INIT, "nest"])
            .arg(folder.join("ready"))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log);
        let mut nest = Self { id, folder, init: Running::start(command)?, _lock: lock };
        nest.wait("its namespaces", || nest.folder.join("ready").exists()).map_err(|why| {
            let log = fs::read_to_string(nest.folder.join("nest.log")).unwrap_or_default();
            format!("no namespaces: {why} {}", log.trim())
        })?;
        let outer = nest.init.pid;
        nest.init.pid = child_of(outer).ok_or("its first process is gone")?;
        let loopback = nest.run(&["busybox", "ip", "link", "set", "lo", "up"]);
        if loopback.ok { Ok(nest) } else { Err(format!("no loopback in it: {}", loopback.stderr)) }
    }

    /// Its name: unique on this machine, good for a cgroup.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A path in its folder, which is the same in and outside of it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// `/proc` as it is inside, where the engine's process numbers are right.
    pub(crate) fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/proc", self.init.pid))
    }

    /// A command that will run inside. Its working folder is the nest's.
    pub(crate) fn command(&self, words: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter", "-t", &self.init.pid.to_string()])
            .args(["-m", "-p", "-n", "-i", "--"])
            .args(words)
            .current_dir(&self.folder)
            .env("HOME", self.path("home"))
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("DOCKER_HOST")
            .env_remove("CONTAINER_HOST");
        command
    }

    /// Runs a command inside to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Done {
        Done::of(&mut self.command(words))
    }

    /// Starts a daemon inside; what it prints is added to the file `log` of the folder.
    pub(crate) fn daemon(&self, command: Command, log: &str) -> Result<Daemon, String> {
        let mut command = command;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path(log))
            .map_err(|e| format!("{log}: {e}"))?;
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log);
        let runner = Running::start(command)?;
        let outer = runner.pid;
        let mut pid = None;
        self.wait("the daemon's process", || {
            pid = child_of(outer);
            pid.is_some() || !Path::new(&format!("/proc/{outer}")).exists()
        })?;
        Ok(Daemon { pid: pid.ok_or("the daemon ended at once")?, runner })
    }

    /// Polls until something is so.
    pub(crate) fn wait(&self, what: &str, mut so: impl FnMut() -> bool) -> Result<(), String> {
        for _ in 0..TRIES {
            if so() {
                return Ok(());
            }
            sleep(Duration::from_millis(10));
        }
        Err(format!("not within {} s: {what}", TRIES / 100))
    }

    /// Waits until an engine answers on its socket.
    pub(crate) fn wait_for_engine(&self, daemon: &Daemon, log: &str) -> Result<(), String> {
        let socket = self.socket();
        let mut ended = false;
        let up = self.wait("the engine answers", || {
            ended = !daemon.alive();
            ended || answers(&socket)
        });
        if up.is_ok() && !ended {
            return Ok(());
        }
        let log = fs::read_to_string(self.path(log)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(5)..].join("\n");
        Err(format!("{}\n{tail}", if ended { "the engine ended" } else { "it does not answer" }))
    }

    /// Where its engine's socket is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("engine.sock")
    }

    /// The tar archive of [`IMAGE`].
    pub(crate) fn image(&self) -> Result<PathBuf, String> {
        let busybox = program("busybox").ok_or("busybox is not installed")?;
        let bin = self.path("image/bin");
        fs::create_dir_all(&bin).map_err(|e| e.to_string())?;
        fs::copy(&busybox, bin.join("busybox")).map_err(|e| e.to_string())?;
        let names = Done::of(Command::new(&busybox).arg("--list")).stdout;
        for name in names.lines().filter(|name| *name != "busybox") {
            let _ = std::os::unix::fs::symlink("busybox", bin.join(name));
        }
        // One that needs libraries runs nowhere in an image that has none.
        let alone = Done::of(Command::new("chroot").arg(self.path("image")).args(["/bin/true"]));
        if !alone.ok {
            return Err(
                "busybox needs libraries; busybox-static is missing (scripts/need docker)".into()
            );
        }
        let archive = self.path("image.tar");
        let tar = Done::of(
            Command::new("tar")
                .arg("--create")
                .arg("--file")
                .arg(&archive)
                .arg("--directory")
                .arg(self.path("image"))
                .arg("."),
        );
        if tar.ok { Ok(archive) } else { Err(tar.stderr) }
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        // The first of a PID namespace takes all the others along.
        self.init.kill();
        remove_cgroups(&self.id);
        for _ in 0..100 {
            if fs::remove_dir_all(&self.folder).is_ok() || !self.folder.exists() {
                break;
            }
            sleep(Duration::from_millis(10));
        }
    }
}

impl Running {
    fn start(mut command: Command) -> Result<Self, String> {
        let (started, pid) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let child = command.spawn();
            let _ = started
                .send(child.as_ref().map(std::process::Child::id).map_err(|e| e.to_string()));
            if let Ok(mut child) = child {
                let _ = child.wait();
            }
        });
        let pid = pid.recv().map_err(|e| e.to_string())??;
        Ok(Self { pid, thread: Some(thread) })
    }

    fn ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn kill(&mut self) {
        if !self.ended() {
            send(self.pid, "KILL");
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Daemon {
    /// It has not ended.
    pub(crate) fn alive(&self) -> bool {
        !self.runner.ended()
    }

    /// Sends it a signal, and nothing to what it has started.
    pub(crate) fn signal(&self, signal: &str) {
        send(self.pid, signal);
    }

    /// Lets it hang: it takes connections, and answers none.
    #[track_caller]
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        // Each of its threads goes on until it has its turn to stop.
        for _ in 0..TRIES {
            if self.alive() && is_stopped(self.pid) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("the engine was not stopped within {} s", TRIES / 100);
    }

    /// Ends [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
        // nsenter stops when what it has started is stopped.
        send(self.runner.pid, "CONT");
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn wait(&mut self) {
        send(self.runner.pid, "CONT");
        for _ in 0..TRIES {
            if self.runner.ended() {
                return self.runner.kill();
            }
            sleep(Duration::from_millis(10));
        }
        panic!("the engine did not end within {} s", TRIES / 100);
    }
}

/// Says that a test is skipped and why, past the capture of test output; panics instead where
/// `KEEPWELL_REQUIRE_SYSTEMD=1` says that it must run.
#[track_caller]
pub(crate) fn skip(why: &str) {
    let required = std::env::var_os("KEEPWELL_REQUIRE_SYSTEMD").is_some_and(|v| v == "1");
    assert!(!required, "KEEPWELL_REQUIRE_SYSTEMD=1, but: {why}");
    leave_out(why);
}

/// Says that a part of a test is left out, for what not every machine has.
pub(crate) fn leave_out(why: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// What an answer may take on a busy machine, and what one to a question that none may come to.
const ANSWER: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_secs(5);

/// One answer of an engine's API, by a request of the test's own: `GET` and the path.
pub(crate) fn get(socket: &Path, path: &str) -> Option<Value> {
    let answer = ask(socket, path, ANSWER)?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

/// Whether an engine answers soon.
pub(crate) fn answers(socket: &Path) -> bool {
    ask(socket, "/_ping", GLANCE)
        .is_some_and(|answer| answer.lines().next().is_some_and(|status| status.contains(" 200 ")))
}

fn ask(socket: &Path, path: &str, limit: Duration) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn send(pid: u32, signal: &str) {
    let _ = Done::of(Command::new("kill").args(["-s", signal, &pid.to_string()]));
}

/// Whether all threads of a process are stopped.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        // The name in brackets may hold anything; the state comes after it.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}

fn child_of(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Where a program is.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Removes what killed runs left: folders whose lock nobody holds, and their cgroups. The processes
/// have ended with the run.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) {
            continue;
        }
        // One that is just being made has no lock yet, and its process lives.
        let owner = name[PREFIX.len()..].split('-').next().unwrap_or_default();
        if Path::new("/proc").join(owner).exists() {
            continue;
        }
        let held = File::open(entry.path().join("lock"))
            .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        if !held {
            remove_cgroups(&name);
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes the cgroups of one nest in all hierarchies.
fn remove_cgroups(id: &str) {
    fn remove(path: &Path) {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                remove(&entry.path());
            }
        }
        let _ = fs::remove_dir(path);
    }
    let root = Path::new("/sys/fs/cgroup");
    let mut all = vec![root.join(id)];
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        all.push(entry.path().join(id));
    }
    for _ in 0..100 {
        all.retain(|path| path.is_dir());
        if all.is_empty() {
            return;
        }
        all.iter().for_each(|path| remove(path));
        sleep(Duration::from_millis(10));
    }
}
