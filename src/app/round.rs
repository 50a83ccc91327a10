//! One round without a daemon, for `keepwell check`: every source looks once, the engine decides,
//! and what was asked for is done before the process ends.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::clock;
use super::driver::{Control, Driver, Inlets, Outlets};
use super::hooks::Hooks;
use super::lanes::{LaneSetup, Lanes};
use super::plan::{self, Scope};
use super::run::BadConfig;
use super::supervisor::Supervisor;
use super::work::Worker;
use crate::actions::{ContainerRestarter, Restarter};
use crate::config::{Options, Paths};
use crate::docker::Engines;
use crate::engine::saved::Saved;
use crate::engine::{Engine, Mode, Observation, Snapshot, Wall};
use crate::notify::hooks::too_many;
use crate::sources::SourceContext;
use crate::store::{self, Limits, Store};

/// A round is over within this, whatever hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Messages are delivered within this, or left for the next round.
const FLUSH: Duration = Duration::from_secs(15);

/// States that pass settle within this.
const SETTLE: Duration = Duration::from_millis(400);

/// What `keepwell check` is to do.
#[derive(Debug, Clone, Default)]
pub struct RoundOptions {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// Which systemd.
    pub scope: Scope,
    /// Tell the channels.
    pub alert: bool,
    /// Restart what has failed and may be restarted.
    pub restart: bool,
    /// Ignore cooldowns and backoff.
    pub force: bool,
}

/// Looks once at everything.
///
/// # Errors
/// When the configuration is invalid, or, with `alert` or `restart`, another keepwell uses the
/// state folder.
pub fn round(options: &RoundOptions) -> anyhow::Result<Arc<Snapshot>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let snapshot = local.block_on(&runtime, round_here(options));
    runtime.shutdown_background();
    snapshot
}

async fn round_here(options: &RoundOptions) -> anyhow::Result<Arc<Snapshot>> {
    let files = Options::from_process(options.config.as_deref());
    let mut plan = plan::load(&files).map_err(BadConfig)?;
    let bus = options.scope.bus().map_err(anyhow::Error::msg)?;
    if !options.alert {
        plan.channels.clear();
    }
    // What acts keeps what it decides, and must not forget who was told of what: without channels
    // to send it, a message waits in the outbox for a keepwell that tells.
    if !options.alert && !options.restart {
        plan.config.rules.channels.clear();
    }
    if !options.restart {
        plan.config.rules.units.iter_mut().for_each(|u| u.restart = false);
        plan.config.rules.containers.look_only = true;
    }
    // Only what acts needs to remember: looking changes nothing.
    let acts = options.alert || options.restart;
    let (mut kept, mut opened, mut lock) = (None, None, None);
    if acts {
        let paths = Paths::find(&files.environment, plan.config.agent.state_dir.as_deref())?;
        lock = Some(store::lock(paths.state())?);
        let limits = Limits {
            max_bytes: plan.config.store.max_size,
            retention: plan.config.store.retention,
            ..Limits::default()
        };
        let (store, found) = Store::open(paths.state(), limits, clock::now);
        (kept, opened) = (Some(store), Some(found));
    }
    if let (Some(store), Some(opened)) = (&kept, &opened) {
        // Here no lane bounds what waits for the daemon, which may never come.
        let handle = store.handle();
        too_many(&opened.calls).into_iter().for_each(|number| handle.call_done(number));
    }
    let (saved, rows, faults, stored) = match opened {
        Some(o) => (o.saved, o.outbox, o.faults, o.events),
        None => (Saved::default(), Vec::new(), Vec::new(), mpsc::unbounded_channel().1),
    };
    let cursor = saved.cursor.clone();
    let rules = plan.config.rules.clone();
    let mode = Mode { expected: plan.expected(), force: options.force, eager: true };
    let (engine, first) = Engine::new(rules.clone(), saved, clock::boot_id(), mode, clock::now());
    let remembered = engine.remembered();
    let engines = Engines::new(engine.containers_since());

    let (observations, observed) = mpsc::channel(1024);
    let (events, events_in) = mpsc::unbounded_channel();
    let (_commands, commands_in) = mpsc::channel(1);
    let (control, control_in) = mpsc::unbounded_channel();
    let (tasks, tasks_in) = mpsc::unbounded_channel();
    let mut supervisor = Supervisor::default();
    let stop = CancellationToken::new();
    let stop_lanes = CancellationToken::new();
    let setup = LaneSetup {
        store: kept.as_ref().map(Store::handle),
        events: events.clone(),
        flush: FLUSH,
        stop: stop_lanes.clone(),
        // What is left is in the database, for the next round or the daemon.
        left: Rc::default(),
    };
    let (lanes, _) = Lanes::start(&plan.channels, &plan.config.rules, rows, setup, &mut supervisor);
    let resync = Arc::new(Notify::new());
    // Nobody is told of containers by a single look: what is to be told waits for the daemon.
    let hooks = Hooks::default();
    let outlets = Outlets { lanes, hooks, tasks, resync: resync.clone() };
    let inlets = Inlets {
        observations: observed,
        events: events_in,
        commands: commands_in,
        control: control_in,
        stored,
    };
    let handle = kept.as_ref().map(Store::handle);
    let (driver, mut snapshots) =
        Driver::new(engine, first, rules, inlets, outlets, handle, clock::now);
    supervisor.spawn("driver", async move {
        driver.run().await;
    });
    for fault in faults {
        let _ = observations.send(Observation::Part(fault)).await;
    }
    let worker = Worker {
        tasks: tasks_in,
        events,
        observations: observations.clone(),
        restarter: Arc::new(Restarter::new(bus.clone())),
        containers: ContainerRestarter::new(engines.clone()),
        journal: options.scope.journal(),
        lines: plan.config.journal.lines,
        host: plan.config.host.root.clone(),
        stop: stop.clone(),
    };
    supervisor.spawn("worker", worker.run());
    let context = SourceContext { out: observations, stop: stop.clone(), resync, once: true };
    for source in plan.sources(&options.scope, &bus, &engines, remembered, cursor, None) {
        supervisor.spawn_source(source, context.clone());
    }
    let _ = timeout(LIMIT, async {
        let _ = snapshots.wait_for(|s| s.ready).await;
        // Every source has looked; what may be a passing state settles, restarts end.
        supervisor.wait_for(&["source "], LIMIT).await;
        tokio::time::sleep(SETTLE).await;
        if options.restart {
            settle_restarts(&mut snapshots).await;
        }
    })
    .await;
    let _ = control.send(Control::Stop);
    supervisor.wait_for(&["driver"], LIMIT).await;
    stop_lanes.cancel();
    supervisor.wait_for(&["channel "], FLUSH + SETTLE).await;
    stop.cancel();
    if let Some(store) = kept {
        store.close(Duration::from_secs(5)).await?;
    }
    drop(lock);
    Ok(snapshots.borrow().clone())
}

/// Until no restart is due at once: those that wait for their backoff are for a later round.
async fn settle_restarts(snapshots: &mut tokio::sync::watch::Receiver<Arc<Snapshot>>) {
    let soon = |s: &Snapshot, at: Option<Wall>| at.is_some_and(|at| at.since(s.at) < SETTLE);
    let _ = snapshots
        .wait_for(|s| {
            !s.checks.iter().any(|check| {
                let unit = check.unit.as_ref();
                let container = check.container.as_ref();
                unit.is_some_and(|u| u.restarting || soon(s, u.next_attempt))
                    || container.is_some_and(|c| c.restarting || soon(s, c.next_attempt))
            })
        })
        .await;
}
