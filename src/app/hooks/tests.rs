//! The way of a call through the real engine, driver, store and lane: on the disk before it goes
//! out, not lost while lanes are changed, and there again after a kill.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::*;
use crate::app::clock;
use crate::app::driver::{Control, Driver, Inlets, Outlets, Remembered};
use crate::engine::hook::Transition;
use crate::engine::observation::{
    ContainerSeen, ContainerStatus, ContainersSeen, Round, SourceKind,
};
use crate::engine::rules::HookRule;
use crate::engine::{Engine, Mode, Observation, Rules, Snapshot, Wall};
use crate::notify::hooks::Outgoing;
use crate::notify::{BoxFuture, SendError};
use crate::store::{Limits, Store};

/// A service that looks whether what it is told of is on the disk.
struct Fake {
    name: Arc<str>,
    database: PathBuf,
    /// Number, event, and whether there was a row of it.
    told: Mutex<Vec<(u64, Transition, bool)>>,
}

impl Hook for Fake {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn address(&self) -> &str {
        "http://receiver"
    }

    fn tell<'a>(&'a self, call: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>> {
        let number = i64::try_from(call.call.number).unwrap();
        let stored = rows(&self.database).contains(&number);
        self.told.lock().unwrap().push((call.call.number, call.call.transition, stored));
        Box::pin(async { Ok("ok".into()) })
    }
}

/// The numbers of the calls on the disk.
fn rows(database: &Path) -> Vec<i64> {
    let db = rusqlite::Connection::open(database).unwrap();
    let mut select = db.prepare("SELECT number FROM calls ORDER BY number").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// keepwell without its senses, and with a hook.
struct Rig {
    observations: mpsc::Sender<Observation>,
    control: mpsc::UnboundedSender<Control>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    supervisor: Supervisor,
    rules: Rules,
    mode: Mode,
    setup: HookSetup,
    store: Store,
    hook: Arc<dyn Hook>,
}

impl Rig {
    fn new(folder: &Path, fake: &Arc<Fake>) -> (Self, Vec<CallRow>) {
        let rule = HookRule {
            name: fake.name.clone(),
            kind: "http".into(),
            events: Transition::ALL.iter().copied().collect(),
            who: Vec::new(),
            receiver: "".into(),
        };
        let rules = Rules { hooks: vec![rule], ..Rules::default() };
        let (store, opened) = Store::open(folder, Limits::default(), clock::now);
        assert_eq!(opened.faults, []);
        let mode = Mode { expected: [SourceKind::Containers].into(), ..Mode::default() };
        let (engine, first) =
            Engine::new(rules.clone(), opened.saved, "b".into(), mode.clone(), clock::now());
        let (observations, observed) = mpsc::channel(64);
        let (events, events_in) = mpsc::unbounded_channel();
        let (control, control_in) = mpsc::unbounded_channel();
        let mut supervisor = Supervisor::default();
        let context = Context {
            host_key: "0011".into(),
            store: Some(store.handle()),
            events,
            now: clock::now,
            flush: Duration::from_secs(5),
        };
        let (stop, left) = (CancellationToken::new(), Rc::default());
        let setup = HookSetup { context, max_size: 64 << 20, stop, left };
        let hook: Arc<dyn Hook> = fake.clone();
        let rows = opened.calls.clone();
        let (hooks, gone) =
            Hooks::start(std::slice::from_ref(&hook), opened.calls, &setup, &mut supervisor);
        assert_eq!(gone, []);
        let inlets = Inlets {
            observations: observed,
            events: events_in,
            commands: mpsc::channel(1).1,
            control: control_in,
            stored: opened.events,
        };
        let tasks = mpsc::unbounded_channel().0;
        let outlets = Outlets { lanes: Default::default(), hooks, tasks, resync: Arc::default() };
        let handle = Some(store.handle());
        let (driver, snapshots) =
            Driver::new(engine, first, rules.clone(), inlets, outlets, handle, clock::now);
        supervisor.spawn("driver", async move {
            driver.run().await;
        });
        let rig =
            Self { observations, control, snapshots, supervisor, rules, mode, setup, store, hook };
        (rig, rows)
    }

    /// All that the container engine has.
    async fn see(&self, containers: &[ContainerSeen]) {
        for seen in containers {
            let seen = Observation::Container(Box::new(seen.clone()));
            self.observations.send(seen).await.unwrap();
        }
        let ids = containers.iter().map(|seen| seen.id.clone()).collect();
        let (engine, cpus, memory) = ("docker".into(), 4, 8 << 30);
        let all = ContainersSeen { engine, ids, cpus, memory };
        self.observations.send(Observation::Containers(all)).await.unwrap();
        let round = Round { source: SourceKind::Containers, total: None };
        self.observations.send(Observation::Round(round)).await.unwrap();
    }

    /// Until the hook was told so often.
    async fn told(&mut self, fake: &Fake, times: usize) {
        let told = |_: &Arc<Snapshot>| fake.told.lock().unwrap().len() >= times;
        timeout(Duration::from_secs(30), async {
            while !told(&self.snapshots.borrow()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{:?}", fake.told.lock().unwrap()));
    }

    /// Ends the lanes, as a reload and a stop do.
    async fn end_lanes(&mut self) {
        std::mem::take(&mut self.setup.stop).cancel();
        assert!(self.supervisor.wait_for(&["hook "], Duration::from_secs(30)).await);
    }

    async fn reload(&mut self) -> Remembered {
        let left = std::mem::take(&mut *self.setup.left.borrow_mut());
        let hook = std::slice::from_ref(&self.hook);
        let (hooks, _) = Hooks::start(hook, left, &self.setup, &mut self.supervisor);
        let (done, remembered) = oneshot::channel();
        let (rules, expected) = (Box::new(self.rules.clone()), self.mode.expected.clone());
        let lanes = Default::default();
        let reload = Control::Reload { rules, expected, lanes, hooks, done };
        self.control.send(reload).ok().unwrap();
        remembered.await.unwrap()
    }

    async fn stop(mut self) {
        self.control.send(Control::Stop).ok().unwrap();
        assert!(self.supervisor.wait_for(&["driver"], Duration::from_secs(30)).await);
        self.end_lanes().await;
        self.store.close(Duration::from_secs(30)).await.unwrap();
    }
}

fn running(n: u64) -> ContainerSeen {
    ContainerSeen {
        name: format!("web-{n}").into(),
        engine: "docker".into(),
        id: format!("{n:064x}").into(),
        image: "nginx:alpine".into(),
        status: ContainerStatus::Running,
        created: Wall(1_755_587_841_000_000),
        started: Some(Wall(1_755_587_842_000_000)),
        ..ContainerSeen::default()
    }
}

fn fake(folder: &Path) -> Arc<Fake> {
    let (database, told) = (folder.join("keepwell.db"), Mutex::default());
    Arc::new(Fake { name: "registry".into(), database, told })
}

fn local(task: impl Future<Output = ()> + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, task);
}

#[test]
fn a_call_is_on_the_disk_before_it_goes_out_and_outlasts_a_change_of_lanes() {
    local(async {
        let dir = tempfile::tempdir().unwrap();
        let fake = fake(dir.path());
        let (mut rig, rows_before) = Rig::new(dir.path(), &fake);
        assert_eq!(rows_before, []);
        rig.see(&[running(1), running(2)]).await;
        let first = fake.told.lock().unwrap().len();
        rig.told(&fake, first.max(2)).await;
        rig.end_lanes().await;
        let before = fake.told.lock().unwrap().len();
        // Between the lanes: it is kept, on the disk as well.
        rig.see(&[running(1), running(2), running(3)]).await;
        timeout(Duration::from_secs(30), async {
            while rows(&fake.database).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        assert_eq!(fake.told.lock().unwrap().len(), before);
        rig.reload().await;
        rig.told(&fake, before + 1).await;
        rig.stop().await;
        let told = fake.told.lock().unwrap().clone();
        assert!(told.iter().all(|(.., stored)| *stored), "{told:?}");
        assert!(told.is_sorted_by_key(|(number, ..)| *number), "{told:?}");
        let of = |transition| told.iter().filter(|(_, t, _)| *t == transition).count();
        assert_eq!(of(Transition::Started), 3, "{told:?}");
        assert_eq!(rows(&fake.database), [] as [i64; 0]);
    });
}

#[test]
fn what_was_decided_before_a_kill_goes_out_after_it_under_the_same_number() {
    local(async {
        let dir = tempfile::tempdir().unwrap();
        let fake = fake(dir.path());
        let (mut rig, _) = Rig::new(dir.path(), &fake);
        rig.end_lanes().await;
        rig.see(&[running(1), running(2)]).await;
        timeout(Duration::from_secs(30), async {
            while rows(&fake.database).len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        // Gone without a word; the store's thread ends when nobody holds it any more.
        let Rig { supervisor, store, setup, .. } = rig;
        drop((supervisor, setup));
        store.close(Duration::from_secs(30)).await.unwrap();
        let numbers = rows(&fake.database);
        let (mut rig, taken_up) = Rig::new(dir.path(), &fake);
        assert_eq!(taken_up.len(), numbers.len());
        rig.told(&fake, numbers.len()).await;
        // The same again is no news.
        rig.see(&[running(1), running(2)]).await;
        rig.stop().await;
        let mut told: Vec<i64> =
            fake.told.lock().unwrap().iter().map(|(n, ..)| i64::try_from(*n).unwrap()).collect();
        told.sort();
        assert_eq!(told, numbers);
        assert_eq!(rows(&fake.database), [] as [i64; 0]);
    });
}

#[test]
fn rows_of_hooks_that_there_are_not_are_given_back() {
    local(async {
        let dir = tempfile::tempdir().unwrap();
        let fake = fake(dir.path());
        let (mut rig, _) = Rig::new(dir.path(), &fake);
        let call = crate::engine::HookCall {
            id: "h9".into(),
            number: 9,
            hook: "gone".into(),
            transition: Transition::Started,
            at: Wall(0),
            host: "web1".into(),
            container: Default::default(),
        };
        let row = CallRow::new(Arc::new(call));
        let hook = std::slice::from_ref(&rig.hook);
        let (hooks, gone) = Hooks::start(hook, vec![row.clone()], &rig.setup, &mut rig.supervisor);
        assert_eq!(gone, std::slice::from_ref(&row));
        assert!(hooks.call(row.call).is_ok(), "it waits on the disk");
        rig.stop().await;
    });
}
