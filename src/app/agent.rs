//! Everything that runs, for as long as keepwell does: how each part is started, what a reload makes
//! anew, and in which order all of it stops.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::clock;
use super::driver::Control;
use super::hooks::{HookSetup, Hooks};
use super::lanes::{self, LaneSetup, Lanes};
use super::last_word::TakenUp;
use super::liveness;
use super::plan::{self, Plan};
use super::run::RunOptions;
use super::supervisor::Supervisor;
use crate::config::Options;
use crate::docker::Engines;
use crate::engine::event::part_state;
use crate::engine::observation::{Part, PartState};
use crate::engine::{Event, Observation, Snapshot};
use crate::notify::{Acts, Context};
use crate::sources::SourceContext;
use crate::store::{CallRow, OutboxRow, Store, StoreHandle};
use crate::surfaces::http::{self, Access, AgentInfo, Listener, Shared, Token};
use crate::systemd::bus::BusAddress;
use crate::systemd::notify::Notifier;
use crate::telemetry::ExportContext;

/// keepwell stops within this: less than the unit file's TimeoutStopSec=30.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Of it, how long messages that wait may still be delivered.
const FLUSH_LIMIT: Duration = Duration::from_secs(8);

/// Where what people ask for over HTTP goes.
pub(super) struct Requests {
    pub(super) commands: mpsc::Sender<http::CommandRequest>,
    pub(super) tests: mpsc::Sender<http::TestRequest>,
    pub(super) logs: mpsc::Sender<http::LogRequest>,
}

/// Everything that runs, and what a reload and a stop need to reach it.
pub(super) struct Agent {
    pub(super) options: RunOptions,
    pub(super) bus: BusAddress,
    /// The container engines that are watched.
    pub(super) engines: Engines,
    pub(super) supervisor: Supervisor,
    pub(super) notifier: Rc<Notifier>,
    pub(super) observations: mpsc::Sender<Observation>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) control: mpsc::UnboundedSender<Control>,
    pub(super) resync: Arc<Notify>,
    pub(super) store: StoreHandle,
    /// Stops the sources of the present configuration.
    pub(super) sources: CancellationToken,
    /// Stops the lanes of the present configuration.
    pub(super) lanes: CancellationToken,
    /// What people do on channels that listen.
    pub(super) acts: Acts,
    /// The lanes of the present configuration, for those who send tests.
    pub(super) reach: watch::Sender<Lanes>,
    /// What exporters measure; there from when the driver has started.
    pub(super) pictures: Option<watch::Receiver<Arc<Snapshot>>>,
    /// What the lanes that were stopped had not delivered.
    pub(super) left: Rc<RefCell<Vec<OutboxRow>>>,
    /// What the lanes of hooks that were stopped had not told.
    pub(super) left_calls: Rc<RefCell<Vec<CallRow>>>,
    /// Stops all else, except the driver.
    pub(super) everything: CancellationToken,
    /// Commits that were not on the disk when the driver ended.
    pub(super) unsaved: Rc<Cell<usize>>,
    /// What the last word said while keepwell was down.
    pub(super) last_word: Option<TakenUp>,
}

impl Agent {
    /// Starts a lane for each channel, with the rows that wait for it.
    pub(super) fn start_lanes(&mut self, plan: &Plan, rows: Vec<OutboxRow>) -> Lanes {
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

    /// Starts a lane for each hook, with the calls that wait for it.
    pub(super) fn start_hooks(&mut self, plan: &Plan, rows: Vec<CallRow>) -> Hooks {
        let context = Context {
            host_key: lanes::host_key(),
            store: Some(self.store.clone()),
            events: self.events.clone(),
            now: clock::now,
            flush: FLUSH_LIMIT,
        };
        let setup = HookSetup {
            context,
            max_size: plan.config.store.max_size,
            stop: self.lanes.clone(),
            left: self.left_calls.clone(),
        };
        let (hooks, rows) = Hooks::start(&plan.hooks, rows, &setup, &mut self.supervisor);
        let mut gone: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for row in rows {
            *gone.entry(row.call.hook.clone()).or_default() += 1;
        }
        for (hook, calls) in gone {
            tracing::warn!(
                hook = &*hook,
                calls,
                "calls waited for a hook that is not configured any more; they are dropped"
            );
            self.store.drop_hook(hook);
        }
        hooks
    }

    /// Listens on the channels that can hear, for as long as their lanes live.
    pub(super) fn listen(&mut self, plan: &Plan) {
        lanes::listen(&plan.channels, &self.acts, &self.lanes, &mut self.supervisor);
    }

    /// Starts the exporters of measurements; they live as long as the lanes.
    pub(super) fn start_exporters(&mut self, plan: &Plan) {
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

    pub(super) fn start_sources(
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
        let engines = &self.engines;
        let (scope, bus) = (&self.options.scope, &self.bus);
        for source in plan.sources(scope, bus, engines, remembered, lives, errors) {
            self.supervisor.spawn_source(source, context.clone());
        }
    }

    pub(super) fn serve(
        &mut self,
        plan: &Plan,
        listeners: Vec<Listener>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        requests: Requests,
    ) -> Arc<Shared> {
        let url = listeners.iter().find_map(Listener::address).map(|a| format!("http://{a}"));
        let info = AgentInfo {
            version: env!("CARGO_PKG_VERSION"),
            url: url.unwrap_or_else(|| "http://127.0.0.1:8080".into()),
        };
        let Requests { commands, tests, logs } = requests;
        let shared = Shared::new(snapshots, commands, info, access(plan));
        let shared = Arc::new(shared.with_tests(tests).with_logs(logs));
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

    pub(super) fn start_liveness(&mut self, snapshots: &watch::Receiver<Arc<Snapshot>>) {
        let (notifier, stop) = (self.notifier.clone(), self.everything.clone());
        let watchdog = liveness::watchdog(notifier.clone(), self.control.clone(), stop.clone());
        self.supervisor.spawn("watchdog", watchdog);
        let status = liveness::status(notifier, snapshots.clone(), stop);
        self.supervisor.spawn("status line", status);
    }

    /// Loads the whole new configuration, then swaps; an invalid one is refused.
    pub(super) async fn reload(&mut self, shared: &Arc<Shared>) {
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
        self.supervisor.wait_for(&["listener ", "channel ", "hook "], limit).await;
        let rows = std::mem::take(&mut *self.left.borrow_mut());
        let lanes = self.start_lanes(plan, rows);
        let calls = std::mem::take(&mut *self.left_calls.borrow_mut());
        let hooks = self.start_hooks(plan, calls);
        self.listen(plan);
        let (done, remembered) = oneshot::channel();
        let rules = Box::new(plan.config.rules.clone());
        let expected = plan.expected();
        let reload = Control::Reload { rules, expected, lanes, hooks, done };
        if self.control.send(reload).is_err() {
            return; // The driver has ended, and with it keepwell.
        }
        let remembered = remembered.await.unwrap_or_default();
        self.start_exporters(plan);
        self.engines.known_up_to(remembered.containers);
        self.start_sources(plan, remembered.units, (remembered.lives, remembered.errors));
    }

    fn tell_part(&self, state: PartState) {
        let _ = self.events.send(part_state(Part::Configuration, state));
    }

    /// Stops in order, each part within its share of the limit. Returns whether all was saved.
    pub(super) async fn stop(mut self, store: Store) -> bool {
        self.notifier.stopping();
        self.notifier.extend_timeout(STOP_LIMIT + Duration::from_secs(5));
        self.sources.cancel();
        let _ = self.control.send(Control::Stop);
        self.supervisor.wait_for(&["driver"], Duration::from_secs(4)).await;
        self.lanes.cancel();
        let limit = FLUSH_LIMIT + Duration::from_secs(1);
        self.supervisor.wait_for(&["channel ", "hook ", "exporter "], limit).await;
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
