//! Hooks in trouble, with the real program and a real Docker daemon: receivers whose certificate is
//! not right, and a disk without room for what is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "hooks/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "support/clock.rs"]
mod clock;
#[path = "hooks/disk.rs"]
mod disk;
#[path = "support/dockerd.rs"]
mod dockerd;
#[path = "support/nest.rs"]
mod nest;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(240);

/// keepwell as a service of this test; it ends with it.
struct Agent {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Agent {
    /// Its folder; nothing runs yet.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        Self { folder, child: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes its configuration: this engine, and what else is said.
    fn configure(&self, engine: &str, rest: &str) {
        let state = self.path("state");
        let text = format!(
            "[agent]\nstate_dir = \"{}\"\n\n[http]\nlisten = \"127.0.0.1:0\"\n\n\
             [containers]\nengines = [\"{engine}\"]\n\n{rest}",
            state.display()
        );
        fs::write(self.path("keepwell.toml"), text).unwrap();
    }

    /// Starts it, as the last words of this command, say `nsenter …`.
    fn start(&mut self, way: &[&str]) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(way)
            .args([env!("CARGO_BIN_EXE_keepwell"), "run", "--socket"])
            .arg(self.path("keepwell.sock"))
            .arg("--config")
            .arg(self.path("keepwell.toml"))
            .env_remove("DOCKER_HOST")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Its end is as sudden as can be.
    fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn reload(&self) {
        let pid = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::HUP).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A check as it shows it; null where there is none.
    fn check(&self, id: &str) -> Value {
        let all = nest::get(&self.path("keepwell.sock"), "/health/detailed").unwrap_or_default();
        let of = |all: &Vec<Value>| all.iter().find(|check| check["id"] == id).cloned();
        all["checks"].as_array().and_then(of).unwrap_or_default()
    }

    /// Waits until a check is so; its summary.
    #[track_caller]
    fn wait_for_check(&self, id: &str, severity: &str) -> String {
        let check = self.wait(&format!("{id} is {severity}"), || {
            Some(self.check(id)).filter(|check| check["severity"] == severity)
        });
        check["summary"].as_str().unwrap().to_owned()
    }

    /// Waits for something, and shows the log when it does not come.
    #[track_caller]
    fn wait<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let end = clock::monotonic() + LONG;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(clock::monotonic() < end, "{what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
