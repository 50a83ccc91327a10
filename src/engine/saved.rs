//! What must survive: the records that a step changes and that a start reads back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::{AlertRecord, Notification};
use super::event::Actor;
use super::hook::HookContainer;
use super::matcher::Matcher;
use super::observation::{Health, Invocation};
use super::time::{Boot, Now, Wall};
use super::words::{CheckId, CheckKind};

/// One change to what survives. The store applies them in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Insert or replace the alert of this id (SQLite).
    Alert(AlertRecord),
    /// Insert or replace the counts of this unit (SQLite).
    Count(CountRecord),
    /// The counts of this subject are not needed any more (SQLite).
    CountGone(Arc<str>),
    /// Insert or replace the restart state of this subject (`state.json`).
    Restart(Arc<str>, RestartRecord),
    /// The subject needs no restart state any more (`state.json`).
    RestartGone(Arc<str>),
    /// Insert or replace what is known of the life of the container of this id (SQLite; in the
    /// same transaction as the calls that follow from it).
    Container(ContainerRecord),
    /// The container of this id is gone (SQLite).
    ContainerGone(Arc<str>),
    /// Replace all holds (SQLite).
    Holds(Vec<Hold>),
    /// Replace all silences (SQLite).
    Silences(Vec<Silence>),
    /// The journal has been read up to here for what happened to units (SQLite; in the same transaction as the counts).
    Cursor(String),
    /// The journal has been searched for errors of watched units up to here (SQLite).
    ErrorsCursor(String),
    /// Replace the facts about this agent's own life (SQLite).
    Agent(AgentRecord),
}

/// All that survived, as a start reads it back. Empty on the first start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Saved {
    /// Alerts that are open, and those resolved so recently that their cooldown may still matter.
    pub alerts: Vec<AlertRecord>,
    /// Counts per unit.
    pub counts: Vec<CountRecord>,
    /// Restart state per unit.
    pub restarts: BTreeMap<Arc<str>, RestartRecord>,
    /// Lives of containers, by id.
    pub containers: Vec<ContainerRecord>,
    /// Holds.
    pub holds: Vec<Hold>,
    /// Silences.
    pub silences: Vec<Silence>,
    /// Messages that were handed over and whose delivery is not known: what the outbox still holds.
    pub outbox: Vec<Arc<Notification>>,
    /// The highest number among the calls of hooks that are kept; 0: there are none.
    pub last_call: u64,
    /// Up to where the journal has been read for what happened to units.
    pub cursor: Option<String>,
    /// Up to where the journal has been searched for errors.
    pub errors_cursor: Option<String>,
    /// The agent's own life; `None` on the first start.
    pub agent: Option<AgentRecord>,
}

impl Saved {
    /// What a store that keeps everything would give back after this change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Alert(record) => match self.alerts.iter_mut().find(|a| a.id == record.id) {
                Some(old) => *old = record.clone(),
                None => self.alerts.push(record.clone()),
            },
            Change::Count(record) => match self.counts.iter_mut().find(|c| c.unit == record.unit) {
                Some(old) => *old = record.clone(),
                None => self.counts.push(record.clone()),
            },
            Change::CountGone(subject) => self.counts.retain(|c| c.unit != *subject),
            Change::Container(record) => {
                self.containers.retain(|c| c.container.id != record.container.id);
                self.containers.push(record.clone());
            }
            Change::ContainerGone(id) => self.containers.retain(|c| c.container.id != *id),
            Change::Restart(unit, record) => {
                self.restarts.insert(unit.clone(), record.clone());
            }
            Change::RestartGone(unit) => {
                self.restarts.remove(unit);
            }
            Change::Holds(holds) => self.holds.clone_from(holds),
            Change::Silences(silences) => self.silences.clone_from(silences),
            Change::Cursor(cursor) => self.cursor = Some(cursor.clone()),
            Change::ErrorsCursor(cursor) => self.errors_cursor = Some(cursor.clone()),
            Change::Agent(record) => self.agent = Some(record.clone()),
        }
    }
}

/// Counts of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountRecord {
    /// The unit.
    pub unit: Arc<str>,
    /// The run that was last seen.
    pub invocation: Option<Invocation>,
    /// The boot in which it began.
    pub boot_id: Arc<str>,
    /// Whether that run ended badly, so that a next one is a restart.
    pub ended_badly: bool,
    /// Whether a stop job ended that run.
    pub stopped: bool,
    /// The last run whose bad end was counted.
    pub crashed: Option<Invocation>,
    /// Runs already counted, oldest first, at most [`CountRecord::RECENT`].
    pub recent: VecDeque<Invocation>,
    /// Times of restarts, oldest first: those within the crash-loop window.
    pub window: VecDeque<Wall>,
    /// Runs that ended badly, since keepwell came to this host.
    pub crashes: u64,
    /// Restarts, since keepwell came to this host.
    pub restarts: u64,
    /// When this record last changed: older journal entries are known already.
    pub seen: Wall,
}

impl CountRecord {
    /// How many runs are remembered so that none is counted twice.
    pub const RECENT: usize = 32;

    /// How many restarts are remembered for the crash-loop window: as many as its `max` may be, and one.
    pub const WINDOW: usize = 1001;

    /// Nothing counted yet.
    pub fn new(unit: Arc<str>) -> Self {
        Self {
            unit,
            invocation: None,
            boot_id: "".into(),
            ended_badly: false,
            stopped: false,
            crashed: None,
            recent: VecDeque::new(),
            window: VecDeque::new(),
            crashes: 0,
            restarts: 0,
            seen: Wall::default(),
        }
    }
}

/// What stands for a check in `state.json` and among counts: a unit by its name, a container as
/// `container/NAME`, which no unit can be called.
pub fn subject(check: &CheckId) -> Arc<str> {
    match check.kind {
        CheckKind::Container => format!("{CONTAINER}{}", check.name).into(),
        _ => check.name.clone(),
    }
}

/// The container that a subject stands for; `None`: it stands for a unit.
pub fn container_of(subject: &str) -> Option<&str> {
    subject.strip_prefix(CONTAINER)
}

const CONTAINER: &str = "container/";

/// What is known of the life of a container, so that each transition is told once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// What hooks are told of it; its id is the record's.
    pub container: HookContainer,
    /// Where it is in its life.
    pub stage: Stage,
    /// What its health check last said, if it has one and was running.
    #[serde(default)]
    pub health: Option<Health>,
    /// When its present or last run began.
    #[serde(default)]
    pub started: Option<Wall>,
    /// When its last run ended.
    #[serde(default)]
    pub finished: Option<Wall>,
    /// Its last end was none of its own: its engine was away.
    #[serde(default)]
    pub swept: bool,
    /// Restarts by its policy, as last seen.
    #[serde(default)]
    pub restart_count: u32,
    /// When the last of what is known of it happened, by its engine's clock.
    pub seen: Wall,
    /// Hooks that were told that its present run began, each with its receiver (`NAME RECEIVER`;
    /// the name alone: whichever it was).
    #[serde(default)]
    pub told: Vec<Arc<str>>,
    /// Hooks that were told anything of it.
    #[serde(default)]
    pub known: Vec<Arc<str>>,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Made and not started.
    Created,
    /// Running.
    Running,
    /// Paused.
    Paused,
    /// Ended, and its restart policy is about to start it.
    Restarting,
    /// Ended.
    Ended,
    /// Removed; kept while its last events may be told again.
    Removed,
}

/// Restart state of one unit or container, as `state.json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartRecord {
    /// Attempts since the unit was last stable: the step of the backoff.
    pub step: u32,
    /// What keepwell is about.
    pub phase: Phase,
    /// When the last attempt was made.
    pub last_attempt: Option<Wall>,
    /// The run for which it was made, or will be made.
    pub last_invocation: Option<Invocation>,
    /// Restarts by keepwell, since it came to this host.
    pub total: u64,
}

/// What keepwell is about with a failed unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing.
    #[default]
    Idle,
    /// A restart is due at a time.
    Waiting {
        /// When.
        at: Moment,
    },
    /// The restart is under way.
    Acting {
        /// Since when.
        since: Moment,
    },
    /// It was restarted and must stay up until a time.
    Verifying {
        /// Until when.
        until: Moment,
    },
    /// It is up; the backoff starts afresh at a time.
    Up {
        /// When.
        stable_at: Moment,
    },
    /// Restarts did not help; nothing more until it recovers or a person acts.
    GaveUp,
}

/// A moment that keeps its meaning over a reboot: by both clocks, with the boot it was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// `/proc/sys/kernel/random/boot_id` of that boot.
    pub boot_id: Arc<str>,
    /// `CLOCK_BOOTTIME` in that boot, µs.
    pub boottime: Boot,
    /// The wall clock, µs since the epoch.
    pub wall: Wall,
}

impl Moment {
    /// This moment by the present boot's clock. After a reboot the wall clock tells, and what
    /// remains is clamped to `longest`, so that a clock that jumped cannot make it wait for ever.
    pub fn in_boot(&self, boot_id: &str, now: Now, longest: std::time::Duration) -> Boot {
        if *self.boot_id == *boot_id {
            self.boottime
        } else {
            now.boot.after(self.wall.since(now.wall).min(longest))
        }
    }
}

/// Healing is off for a unit, or for all, until a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The unit; `None` is all.
    pub unit: Option<Arc<str>>,
    /// Until when.
    pub until: Wall,
    /// Who said so.
    pub actor: Actor,
    /// Why.
    pub why: Option<String>,
}

/// No messages of what matches, until a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Unique on this host: `s` and a number that rises.
    pub id: Arc<str>,
    /// Of which alerts.
    pub matcher: Matcher,
    /// Since when.
    pub from: Wall,
    /// Until when.
    pub until: Wall,
    /// Who said so.
    pub actor: Actor,
    /// Why.
    pub why: Option<String>,
}

/// The agent's own life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// The boot it last ran in.
    pub boot_id: Arc<str>,
    /// It was stopped in an orderly way (and not killed, nor the power lost).
    pub clean_stop: bool,
    /// The next alert gets this number.
    pub next_alert: u64,
    /// The first round on this host is done: what fails from now on is news.
    pub settled: bool,
    /// The next call of a hook gets this number.
    #[serde(default)]
    pub next_call: u64,
    /// Container engines that are known, by the name of their endpoint, and up to when by their
    /// clock all that happened there is known and stored.
    #[serde(default)]
    pub engines: BTreeMap<Arc<str>, Wall>,
    /// When the last periodic report was decided, and what is counted since.
    #[serde(default)]
    pub reported: Option<Reported>,
}

/// What the next report counts from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reported {
    /// Since when.
    pub since: Wall,
    /// Alerts that opened since.
    pub opened: u32,
    /// Alerts that ended since.
    pub resolved: u32,
    /// Restarts by keepwell since.
    pub restarts: u32,
}
