//! The driver: the one owner of the engine and the one loop.
//!
//! It drains what waits, steps the engine, hands the changes to the store, and releases the effects
//! when they are stored. It never waits for an action, a delivery or a disk: what became of them
//! comes back as an event.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::hooks::Hooks;
use super::lag::Lag;
use super::lanes::Lanes;
use super::late::Late;
use crate::engine::event::part_state;
use crate::engine::observation::{Invocation, Part, PartState, SourceKind};
use crate::engine::{
    Boot, Change, Effect, Engine, Event, HookCall, Notification, Now, Observation, Rules, Snapshot,
    Step, Wall,
};
use crate::store::{Commit, OutboxRow, StoreEvent, StoreHandle};
use crate::surfaces::http::CommandRequest;

/// Effects wait this long for the disk; then they are released from memory.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// A snapshot is published at most this often.
const PUBLISH_EVERY: Duration = Duration::from_millis(50);

/// Observations handled in one go before the effects of them are looked at.
const BATCH: usize = 256;

/// Without a deadline the loop still turns this often, so that a clock that ran on through suspend
/// is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Where the driver's effects go.
pub(super) struct Outlets {
    /// The lanes of the channels.
    pub(super) lanes: Lanes,
    /// The lanes of the hooks.
    pub(super) hooks: Hooks,
    /// Restarts and journal excerpts.
    pub(super) tasks: mpsc::UnboundedSender<Task>,
    /// Told when all is to be looked at again.
    pub(super) resync: Arc<tokio::sync::Notify>,
}

/// Something to be carried out elsewhere.
#[derive(Debug)]
pub(super) enum Task {
    /// Restart a unit.
    Restart { unit: Arc<str>, invocation: Option<Invocation>, allow_inactive: bool },
    /// Read the last journal lines of a run.
    FetchLog { unit: Arc<str>, invocation: Option<Invocation> },
    /// Restart a container.
    RestartContainer {
        name: Arc<str>,
        engine: Arc<str>,
        id: Arc<str>,
        run: Option<Invocation>,
        running: bool,
    },
    /// Read the last lines of a container's log.
    FetchContainerLog { name: Arc<str>, engine: Arc<str>, id: Arc<str>, since: Option<Wall> },
    /// See whether a package manager is at work.
    LookAtPackages,
}

/// What new sources need to know of what was before them.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// Units of which something is remembered.
    pub(super) units: Vec<Arc<str>>,
    /// Up to where the journal has been read for what happened to units.
    pub(super) lives: Option<String>,
    /// Up to where it has been searched for errors.
    pub(super) errors: Option<String>,
    /// Since when the events of each container engine are to be asked for again.
    pub(super) containers: std::collections::BTreeMap<Arc<str>, Wall>,
}

/// What the supervisor tells the driver.
pub(super) enum Control {
    /// The configuration has changed.
    Reload {
        rules: Box<Rules>,
        expected: BTreeSet<SourceKind>,
        lanes: Lanes,
        hooks: Hooks,
        done: oneshot::Sender<Remembered>,
    },
    /// Answer: the loop turns.
    Ping(oneshot::Sender<()>),
    /// Drain what waits, save, and return.
    Stop,
}

/// What the driver listens to.
pub(super) struct Inlets {
    pub(super) observations: mpsc::Receiver<Observation>,
    /// Outcomes, and how keepwell's own parts are.
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) commands: mpsc::Receiver<CommandRequest>,
    pub(super) control: mpsc::UnboundedReceiver<Control>,
    pub(super) stored: mpsc::UnboundedReceiver<StoreEvent>,
}

/// Effects that wait until their changes are stored.
struct Waiting {
    seq: u64,
    since: Boot,
    effects: Vec<Effect>,
}

/// The driver.
pub(super) struct Driver {
    engine: Engine,
    inlets: Inlets,
    outlets: Outlets,
    store: Option<StoreHandle>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    now: fn() -> Now,
    rules: Rules,
    seq: u64,
    waiting: VecDeque<Waiting>,
    /// Messages for lanes that have ended: a reload brings new ones.
    stranded: Vec<Arc<Notification>>,
    /// Calls for hooks whose lanes have ended, in their order.
    stranded_calls: Vec<Arc<HookCall>>,
    late: Late,
    deadline: Option<Boot>,
    dirty: bool,
    published: Boot,
    lag: Lag,
    /// The journal's cursors as last saved.
    lives: Option<String>,
    errors: Option<String>,
}

impl Driver {
    /// `store` is `None` for a one-shot check that keeps nothing. `first` is the step of the
    /// engine's start.
    pub(super) fn new(
        engine: Engine,
        first: Step,
        rules: Rules,
        inlets: Inlets,
        outlets: Outlets,
        store: Option<StoreHandle>,
        now: fn() -> Now,
    ) -> (Self, watch::Receiver<Arc<Snapshot>>) {
        let mut engine = engine;
        let (snapshots, watched) = watch::channel(Arc::new(engine.snapshot(now())));
        let mut driver = Self {
            engine,
            inlets,
            outlets,
            store,
            snapshots,
            now,
            rules,
            seq: 0,
            waiting: VecDeque::new(),
            stranded: Vec::new(),
            stranded_calls: Vec::new(),
            late: Late::default(),
            deadline: None,
            dirty: false,
            published: Boot(0),
            lag: Lag::default(),
            lives: None,
            errors: None,
        };
        driver.take(first);
        (driver, watched)
    }

    /// Runs until it is told to stop. Returns how many commits still wait for the disk.
    pub(super) async fn run(mut self) -> usize {
        let mut stopping = false;
        while !stopping {
            let rest = self.sleep();
            let due = (self.now)().boot.after(rest);
            let sleep = tokio::time::sleep(rest);
            tokio::select! {
                biased;
                control = self.inlets.control.recv() => match control {
                    Some(control) => stopping = self.control(control),
                    None => stopping = true,
                },
                event = self.inlets.stored.recv(), if self.store.is_some() => match event {
                    Some(event) => self.stored(event),
                    // The store's thread has crashed: a new start has a new one.
                    None => {
                        tracing::error!("the thread that saves the state has ended");
                        stopping = true;
                    }
                },
                Some(event) = self.inlets.events.recv() => self.event(event),
                Some(seen) = self.inlets.observations.recv() => {
                    self.event(Event::Observed(seen));
                    self.drain();
                }
                Some(request) = self.inlets.commands.recv() => self.command(request),
                () = sleep => {
                    let now = (self.now)().boot;
                    self.lag.saw(now.since(due), now);
                }
            }
            self.on_time();
        }
        self.stop().await
    }

    fn drain(&mut self) {
        for _ in 0..BATCH {
            match self.inlets.observations.try_recv() {
                Ok(seen) => self.event(Event::Observed(seen)),
                Err(_) => break,
            }
        }
    }

    /// How long nothing is due.
    fn sleep(&self) -> Duration {
        let now = (self.now)().boot;
        let publish = self.dirty.then(|| self.published.after(PUBLISH_EVERY));
        let store = self.waiting.front().map(|w| w.since.after(STORE_PATIENCE));
        [self.deadline, publish, store, self.late.due()]
            .into_iter()
            .flatten()
            .min()
            .map_or(LONGEST_SLEEP, |at| at.since(now).min(LONGEST_SLEEP))
    }

    fn on_time(&mut self) {
        let now = (self.now)();
        if self.deadline.is_some_and(|at| at <= now.boot) {
            self.event(Event::Deadline);
        }
        self.release_late(now.boot);
        if self.late.tell(now.boot) {
            let text = "the disk takes longer than 10 s to save; keepwell goes on from memory. \
                        Check the disk that holds the state folder";
            self.event(part_state(Part::Database, PartState::Broken(text.into())));
        }
        if self.dirty && now.boot.since(self.published) >= PUBLISH_EVERY {
            self.publish(now);
        }
    }

    fn publish(&mut self, now: Now) {
        self.dirty = false;
        self.published = now.boot;
        let mut snapshot = self.engine.snapshot(now);
        snapshot.loop_lag = self.lag.worst(now.boot);
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    fn event(&mut self, event: Event) {
        let step = self.engine.step(event, (self.now)());
        self.take(step);
    }

    /// Carries out a step: changes to the store, effects now or when stored.
    fn take(&mut self, step: Step) {
        self.deadline = step.deadline;
        self.dirty |= step.dirty;
        for change in &step.changes {
            match change {
                Change::Cursor(cursor) => self.lives = Some(cursor.clone()),
                Change::ErrorsCursor(cursor) => self.errors = Some(cursor.clone()),
                _ => {}
            }
        }
        let mut held = Vec::new();
        let mut outbox = Vec::new();
        let mut calls = Vec::new();
        for effect in step.effects {
            match effect {
                Effect::Notify(notification) => {
                    outbox.push(OutboxRow::new(Arc::new(notification.clone())));
                    held.push(Effect::Notify(notification));
                }
                Effect::Call(call) => {
                    calls.push(Arc::new(call.clone()));
                    held.push(Effect::Call(call));
                }
                Effect::Restart { .. } | Effect::RestartContainer { .. } => held.push(effect),
                free => self.release(free),
            }
        }
        if step.changes.is_empty() && outbox.is_empty() && calls.is_empty() {
            held.into_iter().for_each(|e| self.release(e));
            return;
        }
        self.seq += 1;
        let commit = Commit { seq: self.seq, changes: step.changes, outbox, calls };
        let accepted = self.store.as_ref().is_some_and(|s| s.commit(commit).is_ok());
        if !accepted {
            // No store at all, or one whose thread is gone, which its own end reports.
            held.into_iter().for_each(|e| self.release(e));
        } else if !held.is_empty() || self.waiting.len() < BATCH {
            let since = (self.now)().boot;
            self.waiting.push_back(Waiting { seq: self.seq, since, effects: held });
        }
    }

    fn release(&mut self, effect: Effect) {
        match effect {
            Effect::Notify(notification) => self.deliver(Arc::new(notification)),
            Effect::Restart { unit, invocation, allow_inactive, .. } => {
                self.task(Task::Restart { unit, invocation, allow_inactive });
            }
            Effect::RestartContainer { name, engine, id, run, running, .. } => {
                self.task(Task::RestartContainer { name, engine, id, run, running });
            }
            Effect::FetchContainerLog { name, engine, id, since } => {
                self.task(Task::FetchContainerLog { name, engine, id, since });
            }
            Effect::Call(call) => self.call(Arc::new(call)),
            Effect::FetchLog { unit, invocation } => self.task(Task::FetchLog { unit, invocation }),
            Effect::LookAtPackages => self.task(Task::LookAtPackages),
            Effect::Resync => self.outlets.resync.notify_waiters(),
            Effect::Log(decision) => super::journal::decision(&decision),
        }
    }

    fn task(&self, task: Task) {
        // The runner of tasks ends only when keepwell does.
        let _ = self.outlets.tasks.send(task);
    }

    fn deliver(&mut self, notification: Arc<Notification>) {
        self.stranded.extend(self.outlets.lanes.deliver(notification).err());
    }

    fn call(&mut self, call: Arc<HookCall>) {
        self.stranded_calls.extend(self.outlets.hooks.call(call).err());
    }

    fn stored(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Stored(seq) => {
                self.release_up_to(seq);
                if self.late.saved(seq) {
                    self.event(part_state(Part::Database, PartState::Works));
                }
            }
            StoreEvent::Unsaved(seq) => {
                self.release_up_to(seq);
                self.late.said(seq);
            }
            StoreEvent::Part(seen) => self.event(Event::Observed(Observation::Part(seen))),
        }
    }

    fn release_up_to(&mut self, seq: u64) {
        while self.waiting.front().is_some_and(|w| w.seq <= seq) {
            if let Some(waiting) = self.waiting.pop_front() {
                waiting.effects.into_iter().for_each(|e| self.release(e));
            }
        }
    }

    /// The disk does not answer: people are told and services restarted all the same.
    fn release_late(&mut self, now: Boot) {
        while self.waiting.front().is_some_and(|w| now.since(w.since) >= STORE_PATIENCE) {
            if let Some(waiting) = self.waiting.pop_front() {
                self.late.waits(waiting.seq, waiting.since);
                waiting.effects.into_iter().for_each(|e| self.release(e));
            }
        }
    }

    fn command(&mut self, request: CommandRequest) {
        let mut step = self.engine.step(Event::Command(request.command), (self.now)());
        let reply = step.reply.take().unwrap_or_else(|| Ok(String::new()));
        self.take(step);
        // Who looks after the answer sees what it did.
        self.publish((self.now)());
        // Who asked may have gone away.
        let _ = request.reply.send(reply);
    }

    fn control(&mut self, control: Control) -> bool {
        match control {
            Control::Ping(answer) => {
                let _ = answer.send(());
                false
            }
            Control::Reload { rules, expected, lanes, hooks, done } => {
                self.rules = (*rules).clone();
                self.outlets.lanes = lanes;
                self.outlets.hooks = hooks;
                for notification in std::mem::take(&mut self.stranded) {
                    self.deliver(notification);
                }
                for call in std::mem::take(&mut self.stranded_calls) {
                    self.call(call);
                }
                let step = self.engine.reload(*rules, expected, (self.now)());
                self.take(step);
                let _ = done.send(Remembered {
                    units: self.engine.remembered(),
                    lives: self.lives.clone(),
                    errors: self.errors.clone(),
                    containers: self.engine.containers_since(),
                });
                false
            }
            Control::Stop => true,
        }
    }

    /// Takes in what still waits, notes the orderly stop, and shows the last state.
    async fn stop(mut self) -> usize {
        while let Ok(event) = self.inlets.events.try_recv() {
            self.event(event);
        }
        while let Ok(seen) = self.inlets.observations.try_recv() {
            self.event(Event::Observed(seen));
        }
        let step = self.engine.stopping((self.now)());
        self.take(step);
        let give_up = tokio::time::sleep(STORE_PATIENCE);
        tokio::pin!(give_up);
        while !self.waiting.is_empty() {
            tokio::select! {
                event = self.inlets.stored.recv() => match event {
                    Some(event) => self.stored(event),
                    None => break,
                },
                () = &mut give_up => break,
            }
        }
        let left = self.waiting.len();
        self.release_up_to(u64::MAX);
        self.publish((self.now)());
        left
    }
}
