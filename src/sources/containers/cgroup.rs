//! What a container uses, from the kernel's files: its cgroups (version 2 and 1) and the network
//! counters of its main process. All below a root folder, so that a test is a fake tree.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::engine::observation::UsageSeen;

/// Reads the files of containers.
#[derive(Debug)]
pub(super) struct Cgroups {
    root: PathBuf,
    buffer: Vec<u8>,
}

/// Where the files of one container are; a controller that is not there tells nothing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Folders {
    unified: Option<PathBuf>,
    cpu: Option<PathBuf>,
    memory: Option<PathBuf>,
    block: Option<PathBuf>,
    pids: Option<PathBuf>,
}

impl Cgroups {
    /// Files below `root`, which is `/` except in tests.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, buffer: Vec::new() }
    }

    /// What the container of this id uses, whose main process is `pid`; `None` when that process is
    /// not one of this container (it has ended, or its numbers are another namespace's) or has no
    /// cgroup that can be read.
    pub(super) fn usage(&mut self, id: &str, pid: u32) -> Option<UsageSeen> {
        let lines = self.read(&self.root.join(format!("proc/{pid}/cgroup")))?;
        let folders = self.folders(&lines, id);
        let mut seen = if folders.cpu.is_some() || folders.memory.is_some() {
            self.first(&folders)
        } else {
            self.second(folders.unified.as_ref()?)
        };
        if seen.cpu_seconds.is_none() && seen.memory.is_none() {
            return None;
        }
        let network = self.read(&self.root.join(format!("proc/{pid}/net/dev")));
        (seen.received, seen.sent) = network.as_deref().map(traffic).unzip();
        Some(seen)
    }

    /// From `/proc/PID/cgroup`: `4:memory:/docker/ID`, `0::/system.slice/docker-ID.scope`.
    fn folders(&self, lines: &str, id: &str) -> Folders {
        let mut folders = Folders::default();
        let base = self.root.join("sys/fs/cgroup");
        for line in lines.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let inside = path.trim_start_matches('/');
            // The id proves that the process is the container's. A path with `..` leads out of the
            // cgroup namespace that keepwell is in.
            if !path.contains(id) || inside.split('/').any(|part| part == "..") {
                continue;
            }
            // systemd in a container, and Podman, make cgroups of their own in it.
            let inside = container_part(inside, id);
            if controllers.is_empty() {
                let hybrid = base.join("unified");
                let at = if hybrid.is_dir() { hybrid } else { base.clone() };
                folders.unified = Some(at.join(inside));
                continue;
            }
            for controller in controllers.split(',') {
                let slot = match controller {
                    "cpuacct" => &mut folders.cpu,
                    "memory" => &mut folders.memory,
                    "blkio" => &mut folders.block,
                    "pids" => &mut folders.pids,
                    _ => continue,
                };
                // Mounted together they share a folder; the single name is a link to it.
                let single = base.join(controller);
                let at = if single.is_dir() { single } else { base.join(controllers) };
                *slot = Some(at.join(inside));
            }
        }
        folders
    }

    /// Version 2.
    fn second(&mut self, folder: &Path) -> UsageSeen {
        let cpu = self.read(&folder.join("cpu.stat"));
        let micros = cpu.as_deref().and_then(|text| after(text, "usage_usec"));
        let stat = self.read(&folder.join("memory.stat"));
        let inactive = stat.as_deref().and_then(|text| after(text, "inactive_file"));
        let memory = self.number(&folder.join("memory.current"));
        let io = self.read(&folder.join("io.stat"));
        let sum = |wanted: &str| {
            let words = io.as_deref()?.split_whitespace();
            Some(words.filter_map(|w| w.strip_prefix(wanted)?.parse::<u64>().ok()).sum())
        };
        UsageSeen {
            cpu_seconds: micros.map(|micros| micros as f64 / 1e6),
            memory: memory.map(|all| all.saturating_sub(inactive.unwrap_or_default())),
            read: sum("rbytes="),
            written: sum("wbytes="),
            pids: self.number(&folder.join("pids.current")),
            dies_whole: self.number(&folder.join("memory.oom.group")) == Some(1),
            ..UsageSeen::default()
        }
    }

    /// Version 1.
    fn first(&mut self, folders: &Folders) -> UsageSeen {
        let cpu = folders.cpu.as_ref();
        let nanos = cpu.and_then(|at| self.number(&at.join("cpuacct.usage")));
        let memory = folders.memory.as_ref().and_then(|at| {
            let all = self.number(&at.join("memory.usage_in_bytes"))?;
            let stat = self.read(&at.join("memory.stat"));
            let inactive = stat.as_deref().and_then(|text| after(text, "total_inactive_file"));
            Some(all.saturating_sub(inactive.unwrap_or_default()))
        });
        let block = folders.block.as_ref().and_then(|at| {
            self.read(&at.join("blkio.throttle.io_service_bytes_recursive"))
                .or_else(|| self.read(&at.join("blkio.throttle.io_service_bytes")))
        });
        let sum = |wanted: &str| {
            let lines = block.as_deref()?.lines().filter_map(|line| {
                let mut words = line.split_whitespace().skip(1);
                (words.next()? == wanted).then(|| words.next()?.parse::<u64>().ok())?
            });
            Some(lines.sum())
        };
        UsageSeen {
            cpu_seconds: nanos.map(|nanos| nanos as f64 / 1e9),
            memory,
            read: sum("Read"),
            written: sum("Write"),
            pids: folders.pids.as_ref().and_then(|at| self.number(&at.join("pids.current"))),
            ..UsageSeen::default()
        }
    }

    fn number(&mut self, path: &Path) -> Option<u64> {
        self.read(path)?.trim().parse().ok()
    }

    fn read(&mut self, path: &Path) -> Option<String> {
        self.buffer.clear();
        // What the kernel writes here is short.
        fs::File::open(path).ok()?.take(1024 * 1024).read_to_end(&mut self.buffer).ok()?;
        Some(String::from_utf8_lossy(&self.buffer).into_owned())
    }
}

/// The path up to the part that names the container.
fn container_part<'a>(path: &'a str, id: &str) -> &'a str {
    let Some(at) = path.find(id) else { return path };
    let rest = at + id.len();
    let end = path[rest..].find('/').map_or(path.len(), |slash| rest + slash);
    &path[..end]
}

/// The number behind a word at the beginning of a line.
fn after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Bytes received and sent, of `/proc/PID/net/dev`, without loopback.
fn traffic(text: &str) -> (u64, u64) {
    let mut all = (0, 0);
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        if name.trim() == "lo" {
            continue;
        }
        let numbers: Vec<u64> = rest.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        if let [received, ..] = *numbers
            && let Some(sent) = numbers.get(8)
        {
            all.0 += received;
            all.1 += sent;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0655447801ce84e2436388f3c074f24cd6d04d068230f5ecdb6294fff987d8f5";

    /// A fake tree of files.
    fn tree(files: &[(String, &str)]) -> (tempfile::TempDir, Cgroups) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = dir.path().to_owned();
        (dir, Cgroups::new(root))
    }

    const NETWORK: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:     500       5    0    0    0     0          0         0      500       5    0    0    0 0 0 0
  eth0:    1200      10    0    0    0     0          0         0      340       4    0    0    0 0 0 0
  eth1:     800       1    0    0    0     0          0         0        6       1    0    0    0 0 0 0
";

    #[test]
    fn version_2_is_read() {
        let scope = format!("sys/fs/cgroup/system.slice/docker-{ID}.scope");
        let own = format!("0::/system.slice/docker-{ID}.scope/init.scope\n");
        let (_dir, mut cgroups) = tree(&[
            ("proc/7/cgroup".into(), &own),
            ("proc/7/net/dev".into(), NETWORK),
            (format!("{scope}/cpu.stat"), "usage_usec 2500000\nuser_usec 1\nsystem_usec 2\n"),
            (format!("{scope}/memory.current"), "10000000\n"),
            (format!("{scope}/memory.stat"), "anon 1\ninactive_file 4000000\nactive_file 2\n"),
            (
                format!("{scope}/io.stat"),
                "8:0 rbytes=100 wbytes=20 rios=1\n8:16 rbytes=5 wbytes=6\n",
            ),
            (format!("{scope}/pids.current"), "3\n"),
        ]);
        let seen = cgroups.usage(ID, 7).unwrap();
        let wanted = UsageSeen {
            cpu_seconds: Some(2.5),
            memory: Some(6_000_000),
            received: Some(2000),
            sent: Some(346),
            read: Some(105),
            written: Some(26),
            pids: Some(3),
            ..UsageSeen::default()
        };
        assert_eq!(seen, wanted);
        assert_eq!(cgroups.usage("another", 7), None, "the process is another container's");
        assert_eq!(cgroups.usage(ID, 8), None, "the process has ended");
    }

    #[test]
    fn version_1_is_read_also_beside_version_2() {
        let own = format!(
            "12:memory:/docker/{ID}\n5:cpu,cpuacct:/docker/{ID}\n4:blkio:/docker/{ID}\n\
             3:pids:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/docker/{ID}\n"
        );
        let at =
            |controller: &str, file: &str| format!("sys/fs/cgroup/{controller}/docker/{ID}/{file}");
        let block = "8:0 Read 4096\n8:0 Write 100\n8:0 Sync 1\n8:16 Read 4\nTotal 4200\n";
        let (_dir, mut cgroups) = tree(&[
            ("proc/7/cgroup".into(), &own),
            (at("cpu,cpuacct", "cpuacct.usage"), "1500000000\n"),
            (at("memory", "memory.usage_in_bytes"), "5000\n"),
            (at("memory", "memory.stat"), "inactive_file 1\ntotal_inactive_file 1000\n"),
            (at("blkio", "blkio.throttle.io_service_bytes_recursive"), block),
            (at("pids", "pids.current"), "9\n"),
        ]);
        let seen = cgroups.usage(ID, 7).unwrap();
        let wanted = UsageSeen {
            cpu_seconds: Some(1.5),
            memory: Some(4000),
            read: Some(4100),
            written: Some(100),
            pids: Some(9),
            ..UsageSeen::default()
        };
        assert_eq!(seen, wanted);
    }

    #[test]
    fn what_cannot_be_reached_or_read_is_not_known() {
        for own in [
            format!("0::/../../docker/{ID}\n"),
            format!("0::/docker/{ID}\n"),
            "garbage\n\n:::\n".to_owned(),
            String::new(),
        ] {
            let (_dir, mut cgroups) = tree(&[("proc/7/cgroup".into(), &own)]);
            assert_eq!(cgroups.usage(ID, 7), None, "{own}");
        }
        let folder = format!("sys/fs/cgroup/docker/{ID}");
        let own = format!("0::/docker/{ID}\n");
        let (_dir, mut cgroups) = tree(&[
            ("proc/7/cgroup".into(), &own),
            (format!("{folder}/cpu.stat"), "usage_usec many\n"),
            (format!("{folder}/memory.current"), "77\n"),
            ("proc/7/net/dev".into(), "eth0: 1 2\nbroken\n"),
        ]);
        let seen = cgroups.usage(ID, 7).unwrap();
        assert_eq!((seen.cpu_seconds, seen.memory), (None, Some(77)));
        assert_eq!((seen.received, seen.sent), (Some(0), Some(0)));
    }
}
