//! A real `systemd --user` with a bus of its own, in private namespaces, for one test each. Needs
//! no rights beyond those namespaces; where they cannot be had the test is skipped, or fails with
//! `KEEPWELL_REQUIRE_SYSTEMD=1`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a part of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

/// The running manager. Dropping it ends it with all that it started.
pub(crate) struct UserSystemd {
    dir: TempDir,
    child: Child,
    cgroup: Option<PathBuf>,
    root: bool,
    /// The first process of its namespace, as it is numbered out here.
    init: u32,
}

impl UserSystemd {
    /// Starts one with these units (file name and text), or says why it cannot be.
    ///
    /// # Panics
    /// With `KEEPWELL_REQUIRE_SYSTEMD=1`, when it cannot be started.
    pub(crate) fn start(units: &[(&str, &str)]) -> Option<Self> {
        match Self::try_start(units) {
            Ok(started) => Some(started),
            Err(why) => {
                let required = std::env::var_os("KEEPWELL_REQUIRE_SYSTEMD");
                assert!(required.is_none_or(|v| v != "1"), "no systemd --user: {why}");
                println!("SKIPPED: no systemd --user: {why}");
                None
            }
        }
    }

    fn try_start(units: &[(&str, &str)]) -> Result<Self, String> {
        let binary = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .ok_or("systemd is not installed")?;
        let dir = tempfile::Builder::new()
            .prefix("kw-user-")
            .tempdir()
            .map_err(|e| format!("a temporary folder: {e}"))?;
        let unit_dir = dir.path().join("config/systemd/user");
        for folder in [dir.path().join("run"), unit_dir.clone()] {
            fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        let cgroup = own_cgroup();
        let mut command = Command::new("sh");
        let id = Command::new("id").arg("-u").output().map_err(|e| format!("id: {e}"))?;
        let root = id.stdout.trim_ascii() == b"0";
        let namespaces =
            if root { "-m -C --pid" } else { "-U --map-root-user --keep-caps -m -C --pid" };
        // Not by exec: as the first process of its namespace it would take itself for a system
        // manager.
        let script = format!(
            "{join} exec unshare {namespaces} --fork --kill-child --mount-proc sh -c '
               set -e
               mount --make-rprivate /
               mount -t tmpfs t /run/systemd
               mkdir /run/systemd/system
               umount -R -l /sys/fs/cgroup
               mount -t cgroup2 cgroup2 /sys/fs/cgroup
               {binary} --user
               exit $?'",
            join = cgroup.as_deref().map_or(String::new(), |cgroup| format!(
                "echo $$ >{}/cgroup.procs;",
                cgroup.display()
            )),
        );
        let log = fs::File::create(dir.path().join("log")).map_err(|e| e.to_string())?;
        let child = command
            .args(["-c", &script])
            .env("XDG_RUNTIME_DIR", dir.path().join("run"))
            .env("XDG_CONFIG_HOME", dir.path().join("config"))
            .env("HOME", dir.path())
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("sh: {e}"))?;
        let mut started = Self { dir, child, cgroup, root, init: 0 };
        for (name, text) in units {
            started.write_unit(name, text);
        }
        let socket = started.dir.path().join("run/systemd/private");
        started.wait_for("systemd --user came up", |_| socket.exists())?;
        let children = format!("/proc/{0}/task/{0}/children", started.child.id());
        started.init = fs::read_to_string(&children)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| format!("{children}: no child"))?;
        let bus = started.systemctl(&["start", "dbus.socket"]);
        if !bus.status.success() {
            return Err(format!("no bus: {}", String::from_utf8_lossy(&bus.stderr)));
        }
        Ok(started)
    }

    fn wait_for(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        for _ in 0..12_000 {
            if done(self) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                return Err(format!("it ended with {status}: {}", log.trim()));
            }
            sleep(Duration::from_millis(10));
        }
        Err(format!("not within 120 s: {what}"))
    }

    /// Where its bus is.
    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.dir.path().join("run/bus").display())
    }

    /// Writes a unit file; `daemon-reload` makes it known.
    pub(crate) fn write_unit(&self, name: &str, text: &str) {
        let path = self.dir.path().join("config/systemd/user").join(name);
        fs::write(path, text).unwrap();
    }

    /// `systemctl --user ARGS`, in the manager's own namespaces: it knows no peers from outside.
    pub(crate) fn systemctl(&self, args: &[&str]) -> Output {
        let user: &[&str] = if self.root { &[] } else { &["-U", "--preserve-credentials"] };
        Command::new("nsenter")
            .args(["-t", &self.init.to_string(), "-m", "-p", "-C"])
            .args(user)
            .args(["systemctl", "--user"])
            .args(args)
            .env("XDG_RUNTIME_DIR", self.dir.path().join("run"))
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// `systemctl --user ARGS`, which has to succeed.
    pub(crate) fn must(&self, args: &[&str]) {
        let out = self.systemctl(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// The processes of a unit, by their numbers out here; `None` where they cannot be known.
    pub(crate) fn pids(&self, unit: &str) -> Option<Vec<i32>> {
        fn find(folder: &Path, unit: &str) -> Option<PathBuf> {
            for entry in fs::read_dir(folder).ok()?.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    if entry.file_name() == unit {
                        return Some(path);
                    }
                    if let Some(found) = find(&path, unit) {
                        return Some(found);
                    }
                }
            }
            None
        }
        let text = fs::read_to_string(find(self.cgroup.as_deref()?, unit)?.join("cgroup.procs"));
        Some(text.ok()?.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Sends SIGKILL to the processes of a unit.
    pub(crate) fn kill(&self, unit: &str) {
        self.must(&["kill", "--signal=KILL", unit]);
    }
}

impl Drop for UserSystemd {
    fn drop(&mut self) {
        // Its child dies with it, and with that one, the first of its namespace, all the others.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(cgroup) = &self.cgroup {
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
            for _ in 0..100 {
                remove_cgroup(cgroup);
                if !cgroup.exists() {
                    break;
                }
                sleep(Duration::from_millis(10));
            }
        }
    }
}

/// A cgroup for this manager alone, where one can be made: two in one would be in each other's way.
fn own_cgroup() -> Option<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists())?;
    let path = root.join(own).join(format!("kw-user-{}-{number}", std::process::id()));
    fs::create_dir(&path).ok()?;
    Some(path)
}

fn remove_cgroup(path: &Path) {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten().filter(|e| e.path().is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}
