//! The source as a whole, on fake trees and on this very host; and the fake tree itself.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::engine::observation::{Amount, DiskSeen, DiskUsage, PressureSeen};
use crate::sources::SourceError;

use super::proc_file::ProcFiles;
use super::*;

mod hung;

/// A temporary root folder with a few files.
pub(super) struct Tree(TempDir);

impl Tree {
    /// Files by name relative to the root, and their content.
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (name, content) in files {
            tree.write(name, content);
        }
        tree
    }

    pub(super) fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn files(&self) -> ProcFiles {
        ProcFiles::new(self.path())
    }
}

/// A whole small host: its `/` and `/data` are folders of the real file system below.
fn host() -> Tree {
    let tree = Tree::new(&[
        (
            "proc/meminfo",
            "MemTotal: 1000 kB\nMemAvailable: 250 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
        ),
        ("proc/stat", "cpu  100 0 0 100\ncpu0 100 0 0 100\nintr 1\n"),
        ("proc/loadavg", "0.50 0.25 0.10 1/2 3\n"),
        ("proc/uptime", "1000.50 1.00\n"),
        ("proc/vmstat", "oom_kill 2\n"),
        ("proc/pressure/memory", "some avg60=1.00\nfull avg60=0.50\n"),
        (
            "proc/self/mountinfo",
            "20 1 254:0 / / rw - ext4 /dev/vda1 rw\n21 20 254:1 / /data ro - xfs /dev/vdb ro\n",
        ),
    ]);
    fs::create_dir(tree.path().join("data")).unwrap();
    tree
}

fn watch(tree: &Tree) -> HostWatch {
    HostWatch { root: tree.path().to_owned(), ..HostWatch::default() }
}

/// Runs the source while `body` looks at what it sends.
async fn during<T>(
    source: &mut dyn Source,
    once: bool,
    body: impl AsyncFnOnce(&mut Seen) -> T,
) -> (T, Result<(), SourceError>) {
    let (out, seen) = mpsc::channel(64);
    let (stop, resync) = (CancellationToken::new(), Arc::new(Notify::new()));
    let context = SourceContext { out, stop: stop.clone(), resync: Arc::clone(&resync), once };
    let mut seen = Seen { seen, resync };
    let body = async {
        let result = body(&mut seen).await;
        stop.cancel();
        result
    };
    time::timeout(LONG, async { tokio::join!(body, source.run(context)) })
        .await
        .expect("the source did not come to an end")
}

const LONG: Duration = Duration::from_secs(120);

struct Seen {
    seen: mpsc::Receiver<Observation>,
    resync: Arc<Notify>,
}

impl Seen {
    /// All up to the end of a round, which is checked to be last.
    async fn round(&mut self) -> Vec<Observation> {
        let mut all = Vec::new();
        loop {
            let next = time::timeout(LONG, self.seen.recv()).await.expect("no round in time");
            let next = next.expect("the source ended");
            if next == Observation::Round(Round { source: SourceKind::Host, total: None }) {
                return all;
            }
            all.push(next);
        }
    }
}

fn parts(round: Vec<Observation>) -> (HostSeen, Option<Vec<DiskSeen>>, Option<PartState>) {
    let (mut host, mut disks, mut state) = (None, None, None);
    for seen in round {
        match seen {
            Observation::Host(seen) => host = Some(seen),
            Observation::Disks(seen) => disks = Some(seen),
            Observation::Part(PartSeen { part: Part::Source(SourceKind::Host), state: seen }) => {
                state = Some(seen);
            }
            other => panic!("not of the host: {other:?}"),
        }
    }
    (host.unwrap(), disks, state)
}

#[tokio::test]
async fn once_is_one_whole_round() {
    let tree = host();
    let mut source = HostSource::new(watch(&tree));
    let (round, ended) = during(&mut source, true, async |seen| {
        let round = seen.round().await;
        assert_eq!(seen.seen.recv().await, None, "there is one round only");
        round
    })
    .await;
    ended.unwrap();
    let (host, disks, state) = parts(round);
    assert_eq!(state, None);
    assert_eq!(
        host,
        HostSeen {
            memory: Some(Amount { total: 1_024_000, available: 256_000 }),
            swap: None,
            cpu: None,
            load: Some([0.5, 0.25, 0.1]),
            cpus: 1,
            pressure: vec![PressureSeen { resource: "memory", some: 0.01, full: Some(0.005) }],
            oom_kills: Some(2),
            uptime: Some(1000.5),
            own: host.own,
        },
        "the fake processor does not tick, so its use is not known"
    );
    let disks = disks.unwrap();
    assert_eq!(disks.len(), 2);
    assert_eq!(
        (&*disks[0].mount, &*disks[0].device, disks[0].read_only),
        ("/", "/dev/vda1", false)
    );
    assert_eq!((&*disks[1].mount, &*disks[1].fstype, disks[1].read_only), ("/data", "xfs", true));
    for disk in &disks {
        let DiskUsage::Known { space, .. } = &disk.usage else { panic!("{disk:?}") };
        assert!(space.total > 0 && space.available <= space.total, "{space:?}");
    }
}

#[tokio::test]
async fn it_samples_at_the_interval_and_when_asked() {
    let tree = host();
    let mut source =
        HostSource::new(HostWatch { interval: Duration::from_secs(3600), ..watch(&tree) });
    let ((), ended) = during(&mut source, false, async |seen| {
        seen.round().await;
        tree.write("proc/stat", "cpu  175 0 0 125\ncpu0 175 0 0 125\n");
        seen.resync.notify_one();
        let (host, ..) = parts(seen.round().await);
        assert_eq!(host.cpu, Some(0.75));
    })
    .await;
    ended.unwrap();

    let mut source =
        HostSource::new(HostWatch { interval: Duration::from_millis(10), ..watch(&tree) });
    let ((), ended) = during(&mut source, false, async |seen| {
        for _ in 0..5 {
            seen.round().await;
        }
    })
    .await;
    ended.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_none_and_what_is_malformed_is_told_once() {
    let tree = host();
    fs::remove_file(tree.path().join("proc/vmstat")).unwrap();
    fs::remove_dir_all(tree.path().join("proc/pressure")).unwrap();
    tree.write("proc/loadavg", "none\n");
    let mut source = HostSource::new(watch(&tree));
    let ((), ended) = during(&mut source, false, async |seen| {
        let (host, disks, state) = parts(seen.round().await);
        assert_eq!((host.oom_kills, host.load, host.pressure.len()), (None, None, 0));
        assert!(host.memory.is_some() && disks.is_some());
        let root = tree.path().display();
        let what = format!("{root}/proc/loadavg:1: expected three load averages, found 'none'");
        assert_eq!(state, Some(PartState::Broken(what)));

        seen.resync.notify_one();
        assert_eq!(parts(seen.round().await).2, None, "the same is not told twice");

        tree.write("proc/loadavg", "1 2 3\n");
        seen.resync.notify_one();
        let (host, _, state) = parts(seen.round().await);
        assert_eq!((host.load, state), (Some([1.0, 2.0, 3.0]), Some(PartState::Works)));
    })
    .await;
    ended.unwrap();
}

#[tokio::test]
async fn without_a_table_of_mounts_no_disk_counts_as_gone() {
    let tree = host();
    let table = "proc/self/mountinfo";
    let mut source = HostSource::new(watch(&tree));
    let ((), ended) = during(&mut source, false, async |seen| {
        assert_eq!(parts(seen.round().await).1.unwrap().len(), 2);

        tree.write(table, "");
        seen.resync.notify_one();
        let (_, disks, state) = parts(seen.round().await);
        assert_eq!(disks, None);
        let Some(PartState::Broken(what)) = state else { panic!("{state:?}") };
        assert!(what.ends_with("it has no mount: file systems are not watched"), "{what}");

        tree.write(table, "20 1 254:0 / / rw - ext4 /dev/vda1 rw\nbroken\n");
        seen.resync.notify_one();
        let (_, disks, state) = parts(seen.round().await);
        assert_eq!(disks.unwrap().len(), 1);
        let Some(PartState::Broken(what)) = state else { panic!("{state:?}") };
        assert!(what.ends_with("mountinfo:2: expected a mount, found 'broken'"), "{what}");

        tree.write(table, "20 1 254:0 / /gone rw - ext4 /dev/vda1 rw\n");
        seen.resync.notify_one();
        let (_, disks, state) = parts(seen.round().await);
        assert_eq!(state, Some(PartState::Works));
        let expected = DiskUsage::Error("No such file or directory (os error 2)".to_owned());
        assert_eq!(disks.unwrap()[0].usage, expected);
    })
    .await;
    ended.unwrap();
}

#[tokio::test]
async fn without_proc_nothing_is_known_and_that_is_said() {
    let tree = Tree::new(&[]);
    let mut source = HostSource::new(watch(&tree));
    let (round, ended) = during(&mut source, true, async |seen| seen.round().await).await;
    ended.unwrap();
    let (host, disks, state) = parts(round);
    // What keepwell itself uses is read from the real /proc.
    let expected = HostSeen { own: host.own, ..HostSeen::default() };
    assert_eq!((host, disks), (expected, None));
    let what = format!(
        "cannot read {}/proc/self/mountinfo: entity not found: file systems are not watched",
        tree.path().display()
    );
    assert_eq!(state, Some(PartState::Broken(what)));
}

#[tokio::test]
async fn this_very_host_can_be_read() {
    let mut source = HostSource::new(HostWatch::default());
    let (round, _) = during(&mut source, true, async |seen| seen.round().await).await;
    let (host, disks, state) = parts(round);
    assert_eq!(state, None);
    let memory = host.memory.unwrap();
    assert!(memory.available > 0 && memory.available < memory.total, "{memory:?}");
    assert!(host.cpu.is_some_and(|cpu| (0.0..=1.0).contains(&cpu)), "{:?}", host.cpu);
    assert!(host.cpus >= 1 && host.uptime.is_some() && host.load.is_some());
    for disk in disks.unwrap() {
        assert!(disk.fstype != "tmpfs".into() && disk.fstype != "proc".into(), "{disk:?}");
    }
}

/// Processor time of this process, in µs.
pub(in crate::sources) fn processor_time() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 * 1e6 + t.tv_nsec as f64 / 1e3
}

/// What a sampling costs in processor time; `cargo test --lib cost_of -- --ignored --nocapture --test-threads=1`.
#[tokio::test]
#[ignore = "a measurement"]
async fn cost_of_a_sampling() {
    let mut source =
        HostSource::new(HostWatch { interval: Duration::from_secs(3600), ..HostWatch::default() });
    let (cost, _) = during(&mut source, false, async |seen| {
        seen.round().await;
        let before = processor_time();
        for _ in 0..2000 {
            seen.resync.notify_one();
            seen.round().await;
        }
        (processor_time() - before) / 2000.0
    })
    .await;
    println!("one sampling of this host: {cost:.1} µs of processor time");
    let interval = Duration::from_millis(20);
    let mut idle = HostSource::new(HostWatch { interval, ..HostWatch::default() });
    let (cost, _) = during(&mut idle, false, async |seen| {
        seen.round().await;
        let before = processor_time();
        for _ in 0..300 {
            seen.round().await;
        }
        (processor_time() - before) / 300.0
    })
    .await;
    println!("the same woken from sleep: {cost:.1} µs");
    let mut problems = Vec::new();
    let before = processor_time();
    for _ in 0..2000 {
        source.host(&mut problems);
    }
    println!("of these /proc without disks: {:.1} µs", (processor_time() - before) / 2000.0);
    let mut own = process::ProcessSelf::new();
    let before = processor_time();
    for _ in 0..200 {
        own.read();
    }
    println!("reading the process itself: {:.1} µs", (processor_time() - before) / 200.0);
}
