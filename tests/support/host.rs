//! What the machine that runs the tests must have for containers, where they live on it, and the
//! sweeping up after runs that were killed.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Set in CI: where a container cannot be had, the test fails instead of being skipped.
const REQUIRE: &str = "KEEPWELL_REQUIRE_SYSTEMD";
/// Prefix of the cgroups that belong to this rig, so that sweeping touches no others.
const PREFIX: &str = "keepwell-rig-";

/// What containers need of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Where images and the state of running containers are.
    pub(crate) dir: PathBuf,
    /// The cgroup (v2) in which each container gets its own.
    pub(crate) cgroup: PathBuf,
}

impl Host {
    /// What there is, or why containers cannot be had. Found out once a process.
    pub(crate) fn get() -> Result<&'static Self, String> {
        static HOST: OnceLock<Result<Host, String>> = OnceLock::new();
        HOST.get_or_init(Self::find).as_ref().map_err(Clone::clone)
    }

    fn find() -> Result<Self, String> {
        if std::env::var_os("KEEPWELL_NO_CONTAINERS").is_some_and(|v| v == "1") {
            return Err("containers are left out (--quick)".into());
        }
        if !rustix::process::geteuid().is_root() {
            return Err("containers need root (try sudo)".into());
        }
        for tool in ["systemd-nspawn", "nsenter", "unshare", "setpriv"] {
            let found = std::env::var_os("PATH").is_some_and(|path| {
                std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
            });
            if !found {
                return Err(format!("{tool} is not installed (scripts/test installs it)"));
            }
        }
        let dir = std::env::var_os("KEEPWELL_RIG_DIR")
            .map_or_else(|| PathBuf::from("/var/tmp/keepwell-rig"), PathBuf::from);
        let host = Self { dir, cgroup: own_cgroup()? };
        let probe = host.cgroup.join(format!("{PREFIX}probe-{}", std::process::id()));
        fs::create_dir(&probe)
            .and_then(|()| fs::remove_dir(&probe))
            .map_err(|e| format!("no cgroup can be made in {}: {e}", host.cgroup.display()))?;
        fs::create_dir_all(host.rooms())
            .map_err(|e| format!("{} cannot be made: {e}", host.rooms().display()))?;
        host.sweep();
        Ok(host)
    }

    /// The image of a release, made by `scripts/image`.
    pub(crate) fn image(&self, release: &str, packages: &[&str]) -> Result<PathBuf, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/image");
        let out = Command::new(&script)
            .args(["--path", release])
            .args(packages)
            .env("KEEPWELL_RIG_DIR", &self.dir)
            .output()
            .map_err(|e| format!("{}: {e}", script.display()))?;
        let path = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
        if path.join("usr/lib/systemd/systemd").exists() {
            Ok(path)
        } else {
            Err(format!(
                "there is no image of {release}; make it with: scripts/image {release} {}",
                packages.join(" ")
            ))
        }
    }

    /// A folder of its own for a container, locked for as long as this process lives.
    pub(crate) fn room(&self, id: &str) -> std::io::Result<(PathBuf, File)> {
        let _all = self.lock_all()?;
        let room = self.rooms().join(id);
        fs::create_dir_all(&room)?;
        let lock = File::create(room.join("lock"))?;
        lock.lock()?;
        Ok((room, lock))
    }

    /// The cgroup of the container called `id`.
    pub(crate) fn cgroup_of(&self, id: &str) -> PathBuf {
        self.cgroup.join(format!("{PREFIX}{id}"))
    }

    /// Where containers keep what they write. An overlay's upper layer cannot itself be on an
    /// overlay (as in most build containers): then it is kept in memory.
    fn rooms(&self) -> PathBuf {
        const OVERLAYFS: u64 = 0x794c_7630;
        let on_overlay = fs::create_dir_all(&self.dir).is_ok()
            && rustix::fs::statfs(&self.dir).is_ok_and(|s| s.f_type as u64 == OVERLAYFS);
        if on_overlay { "/dev/shm/keepwell-rig".into() } else { self.dir.join("run") }
    }

    fn lock_all(&self) -> std::io::Result<File> {
        let all = File::create(self.rooms().join(".lock"))?;
        all.lock()?;
        Ok(all)
    }

    /// Ends and removes what killed runs left behind: a room whose lock nobody holds.
    fn sweep(&self) {
        let Ok(_all) = self.lock_all() else { return };
        let Ok(rooms) = fs::read_dir(self.rooms()) else { return };
        for room in rooms.flatten().filter(|room| room.path().is_dir()) {
            let dead = match File::open(room.path().join("lock")) {
                Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
                Err(_) => true,
            };
            if dead {
                end_cgroup(&self.cgroup_of(&room.file_name().to_string_lossy()));
                let _ = fs::remove_dir_all(room.path());
            }
        }
    }
}

/// Says that a test is skipped and why, past the capture of test output; panics instead where
/// `KEEPWELL_REQUIRE_SYSTEMD=1` says that it must run.
#[track_caller]
pub(crate) fn skip(why: &str) {
    assert!(
        std::env::var_os(REQUIRE).is_none_or(|v| v != "1"),
        "{REQUIRE}=1, but a real systemd cannot be had: {why}"
    );
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// The cgroup (v2) that this process is in.
fn own_cgroup() -> Result<PathBuf, String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
    // Fields: id parent dev root mountpoint options... - type source superoptions
    let mount = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup2 "))
        .find_map(|line| line.split(' ').nth(4))
        .ok_or("cgroup v2 is not mounted")?;
    let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .ok_or("this process is in no cgroup of version 2")?;
    Ok(Path::new(mount).join(own))
}

/// Kills all that is in a cgroup and removes it with all below it. Returns once it is gone, or
/// after 10 s of trying.
pub(crate) fn end_cgroup(cgroup: &Path) {
    let end = super::clock::monotonic() + std::time::Duration::from_secs(10);
    while cgroup.exists() && super::clock::monotonic() < end {
        let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        if remove_cgroups(cgroup) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // Where v1 hierarchies are mounted as well, nspawn makes a namesake in systemd's own.
    if let Some(name) = cgroup.file_name() {
        remove_cgroups(&Path::new("/sys/fs/cgroup/systemd").join(name));
    }
}

fn remove_cgroups(cgroup: &Path) -> bool {
    if let Ok(below) = fs::read_dir(cgroup) {
        for dir in below.flatten().filter(|entry| entry.path().is_dir()) {
            remove_cgroups(&dir.path());
        }
    }
    fs::remove_dir(cgroup).is_ok()
}
