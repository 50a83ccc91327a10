//! The daemon: bind early, spawn late, reload on SIGHUP, stop in order.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::clock;
use super::driver::{Control, Driver, Inlets, Outlets};
use super::lanes::{self, LaneSetup, Lanes};
use super::last_word::{self, TakenUp};
use super::listen;
use super::liveness;
use super::plan::{self, Plan, Scope};
use super::supervisor::Supervisor;
use super::work::Worker;
use crate::actions::Restarter;
use crate::config::{Diagnostics, Options, Paths};
use crate::engine::event::part_state;
use crate::engine::observation::{Part, PartState};
use crate::engine::{Engine, Event, Mode, Observation, Snapshot};
use crate::notify::Acts;
use crate::sources::SourceContext;
use crate::store::{self, Limits, LockError, OutboxRow, Store, StoreHandle};
use crate::surfaces::http::{self, Access, AgentInfo, Listener, Shared, Token};
use crate::systemd::bus::BusAddress;
use crate::systemd::journal::Journal;
use crate::systemd::notify::Notifier;
use crate::telemetry::ExportContext;

/// keepwell stops within this: less than the unit file's TimeoutStopSec=30.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Of it, how long messages that wait may still be delivered.
const FLUSH_LIMIT: Duration = Duration::from_secs(8);

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

    let (observations, observed) = mpsc::channel(1024);
    let (events, events_in) = mpsc::unbounded_channel();
    let (commands, commands_in) = mpsc::channel(16);
    let (control, control_in) = mpsc::unbounded_channel();
    let (tasks, tasks_in) = mpsc::unbounded_channel();
    let mut agent = Agent {
        options: options.clone(),
        bus: bus.clone(),
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
        everything: CancellationToken::new(),
        unsaved: Rc::default(),
        last_word,
    };
    let lanes = agent.start_lanes(&plan, opened.outbox);
    agent.listen(&plan);
    let inlets = Inlets {
        observations: observed,
        events: events_in,
        commands: commands_in,
        control: control_in,
        stored: opened.events,
    };
    let outlets = Outlets { lanes, tasks, resync: agent.resync.clone() };
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
    let shared = agent.serve(&plan, listeners, snapshots.clone(), commands, tests);
    agent.pictures = Some(snapshots.clone());
    agent.start_exporters(&plan);
    agent.start_liveness(&snapshots);

    let failed = agent.live(&shared, snapshots, signals).await;
    let clean = agent.stop(store).await;
    drop(lock);
    Ok(if failed || !clean { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Everything that runs, and what a reload and a stop need to reach it.
struct Agent {
    options: RunOptions,
    bus: BusAddress,
    supervisor: Supervisor,
    notifier: Rc<Notifier>,
    observations: mpsc::Sender<Observation>,
    events: mpsc::UnboundedSender<Event>,
    control: mpsc::UnboundedSender<Control>,
    resync: Arc<Notify>,
    store: StoreHandle,
    /// Stops the sources of the present configuration.
    sources: CancellationToken,
    /// Stops the lanes of the present configuration.
    lanes: CancellationToken,
    /// What people do on channels that listen.
    acts: Acts,
    /// The lanes of the present configuration, for those who send tests.
    reach: watch::Sender<Lanes>,
    /// What exporters measure; there from when the driver has started.
    pictures: Option<watch::Receiver<Arc<Snapshot>>>,
    /// What the lanes that were stopped had not delivered.
    left: Rc<RefCell<Vec<OutboxRow>>>,
    /// Stops all else, except the driver.
    everything: CancellationToken,
    /// Commits that were not on the disk when the driver ended.
    unsaved: Rc<Cell<usize>>,
    /// What the last word said while keepwell was down.
    last_word: Option<TakenUp>,
}

impl Agent {
    /// Starts a lane for each channel, with the rows that wait for it.
    fn start_lanes(&mut self, plan: &Plan, rows: Vec<OutboxRow>) -> Lanes {
        let setup = LaneSetup {
            store: Some(self.store.clone()),
            events: self.events.clone(),
            flush: FLUSH_LIMIT,
            stop: self.lanes.clone(),
            left: self.left.clone(),
        };
        let (lanes, rows) =
            Lanes::start(&plan.channels, &plan.config.rules, rows, setup, &mut self.supervisor);
        for row in rows {
            tracing::warn!(
                channel = &*row.channel,
                id = &*row.id,
                "a message waited for a channel that is not configured any more; it is dropped"
            );
            self.store.drop_channel(row.channel);
        }
        self.reach.send_replace(lanes.clone());
        lanes
    }

    /// Listens on the channels that can hear, for as long as their lanes live.
    fn listen(&mut self, plan: &Plan) {
        lanes::listen(&plan.channels, &self.acts, &self.lanes, &mut self.supervisor);
    }

    /// Starts the exporters of measurements; they live as long as the lanes.
    fn start_exporters(&mut self, plan: &Plan) {
        let Some(snapshots) = &self.pictures else { return };
        for exporter in &plan.exporters {
            let context = ExportContext {
                snapshots: snapshots.clone(),
                events: self.events.clone(),
                now: clock::now,
                flush: FLUSH_LIMIT,
                stop: self.lanes.clone(),
            };
            self.supervisor.spawn_exporter(exporter.clone(), context);
        }
    }

    fn start_sources(
        &mut self,
        plan: &Plan,
        remembered: Vec<Arc<str>>,
        (lives, errors): (Option<String>, Option<String>),
    ) {
        let context = SourceContext {
            out: self.observations.clone(),
            stop: self.sources.clone(),
            resync: self.resync.clone(),
            once: false,
        };
        for source in plan.sources(&self.options.scope, &self.bus, remembered, lives, errors) {
            self.supervisor.spawn_source(source, context.clone());
        }
    }

    fn serve(
        &mut self,
        plan: &Plan,
        listeners: Vec<Listener>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        commands: mpsc::Sender<http::CommandRequest>,
        tests: mpsc::Sender<http::TestRequest>,
    ) -> Arc<Shared> {
        let url = listeners.iter().find_map(Listener::address).map(|a| format!("http://{a}"));
        let info = AgentInfo {
            version: env!("CARGO_PKG_VERSION"),
            url: url.unwrap_or_else(|| "http://127.0.0.1:8080".into()),
        };
        let shared = Shared::new(snapshots, commands, info, access(plan)).with_tests(tests);
        let shared = Arc::new(shared);
        for listener in listeners {
            let name = match &listener {
                Listener::Tcp(_) => "HTTP",
                Listener::Unix(..) => "socket",
            };
            let task = http::serve(listener, shared.clone(), self.everything.clone());
            self.supervisor.spawn(name, task);
        }
        shared
    }

    fn start_liveness(&mut self, snapshots: &watch::Receiver<Arc<Snapshot>>) {
        let (notifier, stop) = (self.notifier.clone(), self.everything.clone());
        let watchdog = liveness::watchdog(notifier.clone(), self.control.clone(), stop.clone());
        self.supervisor.spawn("watchdog", watchdog);
        let status = liveness::status(notifier, snapshots.clone(), stop);
        self.supervisor.spawn("status line", status);
    }

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

    /// Loads the whole new configuration, then swaps; an invalid one is refused.
    async fn reload(&mut self, shared: &Arc<Shared>) {
        self.notifier.reloading();
        let files = Options::from_process(self.options.config.as_deref());
        match plan::load(&files) {
            Err(errors) => {
                tracing::error!(
                    "the new configuration is refused, the former one stays:\n{errors}"
                );
                let text = "the configuration on disk is not valid, the former one is in force; \
                            see: keepwell config check";
                self.tell_part(PartState::Broken(text.into()));
            }
            Ok(plan) => {
                for warning in &plan.config.warnings.found {
                    tracing::warn!("{warning}");
                }
                self.swap(&plan).await;
                shared.set_access(access(&plan));
                self.tell_part(PartState::Works);
                tracing::info!("the configuration has been reloaded");
            }
        }
        self.notifier.ready();
    }

    async fn swap(&mut self, plan: &Plan) {
        std::mem::take(&mut self.sources).cancel();
        // The former lanes hand over what they hold; what comes meanwhile waits at the driver.
        std::mem::take(&mut self.lanes).cancel();
        let limit = FLUSH_LIMIT + Duration::from_secs(1);
        // Together: the end of either, while the other is waited for, is what was asked for.
        // Nobody waits for exporters: while a receiver hangs, they end later by themselves.
        self.supervisor.wait_for(&["listener ", "channel "], limit).await;
        let rows = std::mem::take(&mut *self.left.borrow_mut());
        let lanes = self.start_lanes(plan, rows);
        self.listen(plan);
        let (done, remembered) = oneshot::channel();
        let rules = Box::new(plan.config.rules.clone());
        let expected = plan.expected();
        let reload = Control::Reload { rules, expected, lanes, done };
        if self.control.send(reload).is_err() {
            return; // The driver has ended, and with it keepwell.
        }
        let remembered = remembered.await.unwrap_or_default();
        self.start_exporters(plan);
        self.start_sources(plan, remembered.units, (remembered.lives, remembered.errors));
    }

    fn tell_part(&self, state: PartState) {
        let _ = self.events.send(part_state(Part::Configuration, state));
    }

    /// Stops in order, each part within its share of the limit. Returns whether all was saved.
    async fn stop(mut self, store: Store) -> bool {
        self.notifier.stopping();
        self.notifier.extend_timeout(STOP_LIMIT + Duration::from_secs(5));
        self.sources.cancel();
        let _ = self.control.send(Control::Stop);
        self.supervisor.wait_for(&["driver"], Duration::from_secs(4)).await;
        self.lanes.cancel();
        let limit = FLUSH_LIMIT + Duration::from_secs(1);
        self.supervisor.wait_for(&["channel ", "exporter "], limit).await;
        self.everything.cancel();
        self.supervisor.wait_for(&[""], Duration::from_secs(3)).await;
        let left = self.supervisor.running();
        if !left.is_empty() {
            tracing::warn!(tasks = left.join(", "), "these did not end in time and are left");
        }
        let saved = store.close(Duration::from_secs(4)).await;
        if let Err(error) = &saved {
            tracing::error!(%error, commits = self.unsaved.get(), "not everything was saved");
        }
        tracing::info!("keepwell has stopped");
        saved.is_ok()
    }
}

fn access(plan: &Plan) -> Access {
    let http = &plan.config.http;
    let mut hosts = http.allowed_hosts.clone();
    hosts.push(plan.config.rules.host.to_lowercase());
    Access { token: http.token.as_ref().and_then(|t| Token::new(t.expose())), hosts }
}
