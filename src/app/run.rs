//! The daemon: bind early, spawn late, and go on until a signal ends it. What runs is in `agent`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, Requests};
use super::clock;
use super::driver::{Driver, Inlets, Outlets};
use super::lanes;
use super::last_word::{self, TakenUp};
use super::listen;
use super::logs;
use super::plan::{self, Scope};
use super::supervisor::Supervisor;
use super::work::Worker;
use crate::actions::{ContainerRestarter, Restarter};
use crate::config::{Diagnostics, Options, Paths};
use crate::docker::Engines;
use crate::engine::observation::PartState;
use crate::engine::{Engine, Mode, Observation, Snapshot};
use crate::store::{self, Limits, LockError, Store};
use crate::surfaces::http::Shared;
use crate::systemd::journal::Journal;
use crate::systemd::notify::Notifier;

/// systemd is told that keepwell is ready after this at the latest: what could not be looked at by
/// then is declared unavailable.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// The journal may take this long to say which boot this is.
const BOOT_ID_LIMIT: Duration = Duration::from_secs(5);

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// `--socket PATH`: where the command line finds this keepwell.
    pub socket: Option<PathBuf>,
    /// Which systemd.
    pub scope: Scope,
}

/// The configuration cannot be used. Its text is for stderr as it is.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub Diagnostics);

/// Runs until a signal ends it.
///
/// # Errors
/// When the configuration is invalid ([`BadConfig`]), another keepwell uses the state folder, or a
/// port cannot be bound.
pub fn run(options: &RunOptions) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let code = local.block_on(&runtime, run_here(options));
    // A name look-up that hangs in the blocking pool must not keep the process.
    runtime.shutdown_background();
    code
}

/// The identity of this boot, as the journal tells it: what is later read there is compared with it.
/// In a container the kernel's file may be the host's, for `ProtectKernelTunables=` of systemd 252
/// uncovers it; it is used where the journal says nothing.
async fn boot_id(journal: &Journal) -> Arc<str> {
    let now = clock::now();
    let began = now.wall.before(Duration::from_micros(now.boot.0));
    match timeout(BOOT_ID_LIMIT, journal.newest_boot()).await {
        Ok(Ok(Some((id, at)))) if at >= began => id,
        _ => clock::boot_id(),
    }
}

/// The signals that end it or have it read its configuration again. They are listened to from the
/// very start: as PID 1 of a container it would otherwise not even notice one.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }
}

async fn run_here(options: &RunOptions) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen().context("signals cannot be handled")?;
    let notifier = Rc::new(Notifier::from_env());
    let files = Options::from_process(options.config.as_deref());
    let plan = plan::load(&files).map_err(BadConfig)?;
    for warning in &plan.config.warnings.found {
        tracing::warn!("{warning}");
    }
    let bus = options.scope.bus().map_err(anyhow::Error::msg)?;
    let paths = Paths::find(&files.environment, plan.config.agent.state_dir.as_deref())?;
    let lock = match store::lock(paths.state()) {
        Ok(lock) => Some(lock),
        Err(error @ LockError::Held { .. }) => bail!(error),
        // The store says the same, and why it goes on all the same.
        Err(_) => None,
    };
    let listeners = listen::listen(&plan, &paths, options.socket.clone())?;

    let limits = Limits {
        max_bytes: plan.config.store.max_size,
        retention: plan.config.store.retention,
        ..Limits::default()
    };
    let (store, mut opened) = Store::open(paths.state(), limits, clock::now);
    let last_word = last_word::take_up(paths.state(), &mut opened.saved);
    let cursors = (opened.saved.cursor.clone(), opened.saved.errors_cursor.clone());
    let rules = plan.config.rules.clone();
    let mode = Mode { expected: plan.expected(), ..Mode::default() };
    let boot_id = boot_id(&options.scope.journal()).await;
    let (engine, mut first) = Engine::new(rules.clone(), opened.saved, boot_id, mode, clock::now());
    // Before what the engine has made of it since: of two, the later one is stored.
    first.changes.splice(0..0, last_word.iter().flat_map(TakenUp::change));
    let remembered = engine.remembered();
    let engines = Engines::new(engine.containers_since());

    let (observations, observed) = mpsc::channel(1024);
    let (events, events_in) = mpsc::unbounded_channel();
    let (commands, commands_in) = mpsc::channel(16);
    let (control, control_in) = mpsc::unbounded_channel();
    let (tasks, tasks_in) = mpsc::unbounded_channel();
    let mut agent = Agent {
        options: options.clone(),
        bus: bus.clone(),
        engines: engines.clone(),
        supervisor: Supervisor::default(),
        notifier,
        observations,
        events,
        control,
        resync: Arc::new(Notify::new()),
        store: store.handle(),
        sources: CancellationToken::new(),
        lanes: CancellationToken::new(),
        acts: lanes::acts(commands.clone()),
        reach: watch::Sender::default(),
        pictures: None,
        left: Rc::default(),
        left_calls: Rc::default(),
        everything: CancellationToken::new(),
        unsaved: Rc::default(),
        last_word,
    };
    let lanes = agent.start_lanes(&plan, opened.outbox);
    let hooks = agent.start_hooks(&plan, opened.calls);
    agent.listen(&plan);
    let inlets = Inlets {
        observations: observed,
        events: events_in,
        commands: commands_in,
        control: control_in,
        stored: opened.events,
    };
    let outlets = Outlets { lanes, hooks, tasks, resync: agent.resync.clone() };
    let store_handle = Some(store.handle());
    let (driver, snapshots) =
        Driver::new(engine, first, rules, inlets, outlets, store_handle, clock::now);
    let unsaved = agent.unsaved.clone();
    agent.supervisor.spawn("driver", async move { unsaved.set(driver.run().await) });
    for fault in opened.faults {
        if let PartState::Broken(why) | PartState::Absent(why) = &fault.state {
            tracing::error!(part = %fault.part.name(), "{why}");
        }
        let _ = agent.observations.send(Observation::Part(fault)).await;
    }
    let worker = Worker {
        tasks: tasks_in,
        events: agent.events.clone(),
        observations: agent.observations.clone(),
        restarter: Arc::new(Restarter::new(bus)),
        containers: ContainerRestarter::new(engines.clone()),
        journal: options.scope.journal(),
        lines: plan.config.journal.lines,
        host: plan.config.host.root.clone(),
        stop: agent.everything.clone(),
    };
    agent.supervisor.spawn("worker", worker.run());
    agent.start_sources(&plan, remembered, cursors);
    let (tests, asked) = mpsc::channel(4);
    agent
        .supervisor
        .spawn("tests", lanes::testing(asked, agent.reach.subscribe(), agent.everything.clone()));
    let (logs, asked) = mpsc::channel(4);
    let containers = ContainerRestarter::new(engines);
    agent.supervisor.spawn("logs", logs::reading(asked, containers, agent.everything.clone()));
    let requests = Requests { commands, tests, logs };
    let shared = agent.serve(&plan, listeners, snapshots.clone(), requests);
    agent.pictures = Some(snapshots.clone());
    agent.start_exporters(&plan);
    agent.start_liveness(&snapshots);

    let failed = agent.live(&shared, snapshots, signals).await;
    let clean = agent.stop(store).await;
    drop(lock);
    Ok(if failed || !clean { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Agent {
    /// Until a signal, or the end of a critical task. Returns whether it was the latter.
    async fn live(
        &mut self,
        shared: &Arc<Shared>,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        mut signals: Signals,
    ) -> bool {
        let mut ready = Box::pin(timeout(READY_LIMIT, async move {
            // An error means that the driver has ended, which is noticed below.
            let _ = snapshots.wait_for(|s| s.ready).await;
        }));
        let mut said = false;
        loop {
            tokio::select! {
                in_time = &mut ready, if !said => {
                    said = true;
                    if in_time.is_err() {
                        tracing::warn!("the first look at everything takes long; going on");
                    }
                    self.notifier.ready();
                    if let Some(last_word) = self.last_word.take() {
                        last_word.done();
                    }
                    tracing::info!(version = env!("CARGO_PKG_VERSION"), "keepwell watches this host");
                }
                _ = signals.term.recv() => return false,
                _ = signals.int.recv() => return false,
                _ = signals.hup.recv() => self.reload(shared).await,
                Some(ended) = self.supervisor.ended() => {
                    // Those of a former configuration end when they are told to.
                    if let Some(panic) = ended.panic {
                        tracing::error!(task = ended.name, panic, "a task crashed; please report this");
                        return true;
                    }
                    let passes = ["source ", "listener ", "exporter "];
                    if !passes.iter().any(|p| ended.name.starts_with(p)) {
                        tracing::error!(task = ended.name, "a task ended that must not");
                        return true;
                    }
                }
            }
        }
    }
}
