//! Looks whether a package manager is changing the system just now, without any rights: who holds
//! its lock is in `/proc/locks`. Nothing is kept.
//!
//! A front end of dpkg (apt, unattended-upgrades, aptitude) holds `lock-frontend` from its start to
//! its end, and `lock` too while it computes, downloads, or waits for an answer, for days if nobody
//! gives one. It lets go of `lock` only to have dpkg run, and takes it again when dpkg and the
//! hooks after it are done. rpm's lock is write-locked during the transaction itself only.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, StatxFlags, major, minor, stat, statx};

use crate::engine::observation::PackagesSeen;

const DPKG: &str = "var/lib/dpkg/lock";
const DPKG_FRONTEND: &str = "var/lib/dpkg/lock-frontend";
/// rpm's data base is in one of these.
const RPM: [&str; 2] = ["usr/lib/sysimage/rpm/.rpm.lock", "var/lib/rpm/.rpm.lock"];

/// Looks below `root`, which is `/` but for tests.
pub fn look(root: &Path) -> PackagesSeen {
    let Ok(text) = fs::read_to_string(root.join("proc/locks")) else {
        return PackagesSeen::default();
    };
    let locks: Vec<Lock> = text.lines().filter_map(Lock::parse).collect();
    if locks.is_empty() {
        return PackagesSeen::default();
    }
    let holder = |path: &str| {
        let file = File::find(root, path)?;
        locks.iter().find(|lock| file.is(lock)).map(|lock| lock.pid)
    };
    let dpkg = match (holder(DPKG_FRONTEND), holder(DPKG)) {
        (None, None) => false,
        (Some(front), Some(pid)) if front == pid => is_dpkg(root, pid),
        _ => true,
    };
    let busy: Option<Arc<str>> = if dpkg {
        Some("dpkg".into())
    } else if RPM.iter().any(|path| holder(path).is_some()) {
        Some("rpm".into())
    } else {
        None
    };
    PackagesSeen { busy }
}

/// Holds both locks by itself because nobody else has called it. A process that may not be looked
/// at counts as a front end, which mutes nothing.
fn is_dpkg(root: &Path, pid: i32) -> bool {
    let comm = fs::read_to_string(root.join(format!("proc/{pid}/comm")));
    comm.is_ok_and(|comm| comm.trim_end() == "dpkg")
}

/// A lock for writing that somebody holds.
#[derive(Debug, PartialEq, Eq)]
struct Lock {
    pid: i32,
    device: (u32, u32),
    inode: u64,
}

impl Lock {
    /// From a line such as `7: POSIX  ADVISORY  WRITE 47 00:28:788827 0 EOF`; none of one that
    /// reads, or waits (`7: -> POSIX ...`).
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (kind, _, mode) = (words.next()?, words.next()?, words.next()?);
        if !matches!(kind, "POSIX" | "OFDLCK" | "FLOCK") || mode != "WRITE" {
            return None;
        }
        let pid = words.next()?.parse().ok()?;
        let mut place = words.next()?.split(':');
        let mut hex = || u32::from_str_radix(place.next()?, 16).ok();
        let device = (hex()?, hex()?);
        Some(Self { pid, device, inode: place.next()?.parse().ok()? })
    }
}

/// A file as the kernel knows it.
#[derive(Debug)]
struct File {
    inode: u64,
    /// The device that stat names, and the one of its file system: on overlayfs and btrfs they
    /// differ, and locks go by the second.
    devices: [Option<(u32, u32)>; 2],
}

impl File {
    fn find(root: &Path, path: &str) -> Option<Self> {
        let full = root.join(path);
        let found = stat(&full).ok()?;
        let own = (major(found.st_dev), minor(found.st_dev));
        let mount = statx(CWD, &full, AtFlags::empty(), StatxFlags::MNT_ID).ok();
        let mount = mount
            .filter(|found| {
                StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID)
            })
            .and_then(|found| device_of_mount(root, found.stx_mnt_id));
        Some(Self { inode: found.st_ino, devices: [Some(own), mount] })
    }

    fn is(&self, lock: &Lock) -> bool {
        lock.inode == self.inode && self.devices.contains(&Some(lock.device))
    }
}

/// From `/proc/self/mountinfo`: `123 102 0:40 / / rw...`.
fn device_of_mount(root: &Path, id: u64) -> Option<(u32, u32)> {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let line = mounts
        .lines()
        .find(|line| line.split(' ').next().is_some_and(|first| first.parse() == Ok(id)))?;
    let (major, minor) = line.split(' ').nth(2)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FlockOperation, fcntl_lock};

    use super::*;

    /// A root with lock files, whose `/proc` says what a test says.
    struct Root(tempfile::TempDir);

    impl Root {
        fn new() -> Self {
            let root = Self(tempfile::tempdir().unwrap());
            for path in [DPKG, DPKG_FRONTEND, RPM[1]] {
                root.write(path, "");
            }
            root.write("proc/7/comm", "dpkg\n");
            root.write("proc/8/comm", "apt-get\n");
            root.write("proc/locks", "");
            root
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// `(kind, pid, file)` of each lock: what is said of it all.
        fn with(&self, locks: &[(&str, i32, &str)]) -> Option<String> {
            self.of_device(locks, None)
        }

        fn of_device(&self, locks: &[(&str, i32, &str)], device: Option<&str>) -> Option<String> {
            let line = |(n, (kind, pid, path)): (usize, &(&str, i32, &str))| {
                let file = stat(self.0.path().join(path)).unwrap();
                let own = format!("{:02x}:{:02x}", major(file.st_dev), minor(file.st_dev));
                let device = device.unwrap_or(&own);
                format!("{}: {kind} {pid} {device}:{} 0 EOF\n", n + 1, file.st_ino)
            };
            let text: String = locks.iter().enumerate().map(line).collect();
            self.write(
                "proc/locks",
                &format!("{text}9: OFDLCK ADVISORY  WRITE -1 fe:00:1 0 EOF\n"),
            );
            look(self.0.path()).busy.map(|busy| busy.to_string())
        }
    }

    const WRITE: &str = "POSIX  ADVISORY  WRITE";

    #[test]
    fn dpkg_at_work_is_told_from_apt_that_waits() {
        let root = Root::new();
        let dpkg = Some("dpkg".to_owned());
        assert_eq!(root.with(&[]), None);
        // dpkg by itself.
        assert_eq!(root.with(&[(WRITE, 7, DPKG), (WRITE, 7, DPKG_FRONTEND)]), dpkg);
        // apt asks whether to go on.
        assert_eq!(root.with(&[(WRITE, 8, DPKG_FRONTEND), (WRITE, 8, DPKG)]), None);
        // dpkg for apt, and between two runs of it.
        assert_eq!(root.with(&[(WRITE, 8, DPKG_FRONTEND), (WRITE, 7, DPKG)]), dpkg);
        assert_eq!(root.with(&[(WRITE, 8, DPKG_FRONTEND)]), dpkg);
        // An older dpkg knows one lock only.
        assert_eq!(root.with(&[(WRITE, 7, DPKG)]), dpkg);
        // Nobody knows who that is.
        assert_eq!(root.with(&[(WRITE, 9, DPKG_FRONTEND), (WRITE, 9, DPKG)]), None);
    }

    #[test]
    fn a_lock_for_reading_and_one_that_waits_are_none() {
        let root = Root::new();
        assert_eq!(root.with(&[("POSIX  ADVISORY  READ ", 7, RPM[1])]), None);
        assert_eq!(root.with(&[("-> POSIX  ADVISORY  WRITE", 7, RPM[1])]), None);
        assert_eq!(root.with(&[(WRITE, 7, RPM[1])]), Some("rpm".into()));
    }

    #[test]
    fn the_same_number_on_another_device_is_another_file() {
        let root = Root::new();
        assert_eq!(root.of_device(&[(WRITE, 7, DPKG)], Some("7b:21")), None);
        // Where stat and the kernel's locks name different devices, the mount tells.
        let path = root.0.path().join(DPKG);
        let id = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).unwrap().stx_mnt_id;
        root.write("proc/self/mountinfo", &format!("1 0 8:1 / /a rw\n{id} 1 123:33 / / rw - o\n"));
        assert_eq!(root.of_device(&[(WRITE, 7, DPKG)], Some("7b:21")), Some("dpkg".into()));
    }

    #[test]
    fn the_kernels_own_table_is_understood() {
        let root = Root::new();
        fs::remove_dir_all(root.0.path().join("proc")).unwrap();
        std::os::unix::fs::symlink("/proc", root.0.path().join("proc")).unwrap();
        assert_eq!(look(root.0.path()).busy, None);
        let file = fs::File::options().write(true).open(root.0.path().join(RPM[1])).unwrap();
        fcntl_lock(&file, FlockOperation::LockExclusive).unwrap();
        assert_eq!(look(root.0.path()).busy.as_deref(), Some("rpm"));
        fcntl_lock(&file, FlockOperation::Unlock).unwrap();
        assert_eq!(look(root.0.path()).busy, None);
    }

    #[test]
    fn a_host_without_any_of_it_is_not_busy() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(look(empty.path()), PackagesSeen::default());
        let root = Root::new();
        root.write("proc/locks", "x\n1: POSIX\n2: POSIX ADVISORY WRITE 1 zz:1:2 0 EOF\n");
        assert_eq!(look(root.0.path()).busy, None);
    }
}
