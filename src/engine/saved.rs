//! What must survive: the records that a step changes and that a start reads back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::{AlertRecord, Notification};
use super::event::Actor;
use super::matcher::Matcher;
use super::observation::Invocation;
use super::time::{Boot, Now, Wall};

/// One change to what survives. The store applies them in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Insert or replace the alert of this id (SQLite).
    Alert(AlertRecord),
    /// Insert or replace the counts of this unit (SQLite).
    Count(CountRecord),
    /// Insert or replace the restart state of this unit (`state.json`).
    Restart(Arc<str>, RestartRecord),
    /// The unit needs no restart state any more (`state.json`).
    RestartGone(Arc<str>),
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
    /// Holds.
    pub holds: Vec<Hold>,
    /// Silences.
    pub silences: Vec<Silence>,
    /// Messages that were handed over and whose delivery is not known: what the outbox still holds.
    pub outbox: Vec<Arc<Notification>>,
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

/// Restart state of one unit, as `state.json` shows it.
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
