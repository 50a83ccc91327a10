//! What decides, keeps and tells, without what sees, heals and shows: store, engine, driver and
//! lanes. For programs that bring observations of their own, such as tests of the whole way from a
//! failed unit to a delivered message.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::clock;
use super::driver::{Control, Driver, Inlets, Outlets, Task};
use super::hooks::{HookSetup, Hooks};
use super::lanes::{LaneSetup, Lanes, host_key};
use super::plan::Plan;
use super::supervisor::Supervisor;
use crate::engine::observation::{ContainerLog, Excerpt, PackagesSeen, SourceKind};
use crate::engine::{Engine, Event, Mode, Observation, Outcome, RestartResult, Snapshot};
use crate::notify::Context;
use crate::store::{CloseError, Limits, Store};

/// How long each part may take to end.
const LIMIT: Duration = Duration::from_secs(5);

/// keepwell without its senses. It runs on the [`tokio::task::LocalSet`] that it is started on.
pub struct Core {
    /// What is to be seen: its first round is over with that of the units.
    pub observations: mpsc::Sender<Observation>,
    /// What it knows.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    supervisor: Supervisor,
    control: mpsc::UnboundedSender<Control>,
    stop_lanes: CancellationToken,
    store: Store,
}

impl Core {
    /// Takes up what a state folder holds. Nobody else may use the folder.
    pub async fn start(plan: &Plan, dir: &Path) -> Self {
        let (store, opened) = Store::open(dir, Limits::default(), clock::now);
        let rules = plan.config.rules.clone();
        let mode = Mode { expected: [SourceKind::Units].into(), ..Mode::default() };
        let (saved, boot_id) = (opened.saved, clock::boot_id());
        let (engine, first) = Engine::new(rules.clone(), saved, boot_id, mode, clock::now());
        let (observations, observed) = mpsc::channel(1024);
        let (events, events_in) = mpsc::unbounded_channel();
        let (control, control_in) = mpsc::unbounded_channel();
        let (tasks, tasks_in) = mpsc::unbounded_channel();
        let stop_lanes = CancellationToken::new();
        let mut supervisor = Supervisor::default();
        let setup = LaneSetup {
            store: Some(store.handle()),
            events: events.clone(),
            flush: LIMIT,
            stop: stop_lanes.clone(),
            left: Rc::default(),
        };
        let (lanes, _) =
            Lanes::start(&plan.channels, &plan.config.rules, opened.outbox, setup, &mut supervisor);
        let setup = HookSetup {
            context: Context {
                host_key: host_key(),
                store: Some(store.handle()),
                events: events.clone(),
                now: clock::now,
                flush: LIMIT,
            },
            max_size: plan.config.store.max_size,
            stop: stop_lanes.clone(),
            left: Rc::default(),
        };
        let (hooks, _) = Hooks::start(&plan.hooks, opened.calls, &setup, &mut supervisor);
        let inlets = Inlets {
            observations: observed,
            events: events_in,
            commands: mpsc::channel(1).1,
            control: control_in,
            stored: opened.events,
        };
        let outlets = Outlets { lanes, hooks, tasks, resync: Arc::new(Notify::new()) };
        let handle = Some(store.handle());
        let (driver, snapshots) =
            Driver::new(engine, first, rules, inlets, outlets, handle, clock::now);
        supervisor.spawn("driver", async move {
            driver.run().await;
        });
        supervisor.spawn("worker", answer(tasks_in, events, observations.clone()));
        for fault in opened.faults {
            let _ = observations.send(Observation::Part(fault)).await;
        }
        Self { observations, snapshots, supervisor, control, stop_lanes, store }
    }

    /// Stops in an orderly way.
    ///
    /// # Errors
    /// When not everything was saved.
    pub async fn stop(mut self) -> Result<(), CloseError> {
        let _ = self.control.send(Control::Stop);
        self.supervisor.wait_for(&["driver"], LIMIT).await;
        self.stop_lanes.cancel();
        self.supervisor.wait_for(&["channel ", "hook "], 2 * LIMIT).await;
        self.store.close(LIMIT).await
    }
}

/// Where there is no host to act on: no log lines, no package manager, and nothing to restart with.
async fn answer(
    mut tasks: mpsc::UnboundedReceiver<Task>,
    events: mpsc::UnboundedSender<Event>,
    observations: mpsc::Sender<Observation>,
) {
    while let Some(task) = tasks.recv().await {
        let seen = match task {
            Task::Restart { unit, .. } => {
                let result = RestartResult::Failed("there is nothing to restart it with".into());
                let _ = events.send(Event::Outcome(Outcome::Restart { unit, result }));
                continue;
            }
            Task::RestartContainer { name, .. } => {
                let result = RestartResult::Failed("there is nothing to restart it with".into());
                let _ = events.send(Event::Outcome(Outcome::ContainerRestart { name, result }));
                continue;
            }
            Task::FetchContainerLog { name, .. } => {
                Observation::ContainerLog(ContainerLog { name, lines: Vec::new() })
            }
            Task::FetchLog { unit, invocation } => {
                Observation::Excerpt(Excerpt { unit, invocation, lines: Vec::new() })
            }
            Task::LookAtPackages => Observation::Packages(PackagesSeen::default()),
        };
        let _ = observations.send(seen).await;
    }
}
