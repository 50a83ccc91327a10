//! What goes into the engine and what comes out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::Notification;
use super::hook::HookCall;
use super::matcher::Matcher;
use super::observation::{Invocation, Observation, Part};
use super::saved::Change;
use super::time::{Boot, Wall};
use super::words::{CheckId, Reason, Severity};

/// One event. `Stored` of the design is the driver's own affair: it releases effects.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A source has seen something.
    Observed(Observation),
    /// What became of an effect.
    Outcome(Outcome),
    /// An act of a person.
    Command(Command),
    /// The time that [`Step::deadline`] named has come (or passed).
    Deadline,
}

/// What became of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A restart that [`Effect::Restart`] asked for has ended.
    Restart {
        /// The unit.
        unit: Arc<str>,
        /// How.
        result: RestartResult,
    },
    /// A restart that [`Effect::RestartContainer`] asked for has ended.
    ContainerRestart {
        /// The container, as checks call it.
        name: Arc<str>,
        /// How.
        result: RestartResult,
    },
    /// A hook has tried a call.
    Call {
        /// The hook.
        hook: Arc<str>,
        /// How it went.
        result: Delivery,
        /// Calls that wait for this hook now, this one included if it does.
        waiting: usize,
    },
    /// A channel has tried to deliver a message.
    Delivery {
        /// The channel.
        channel: Arc<str>,
        /// [`Notification::id`].
        id: Arc<str>,
        /// How it went.
        result: Delivery,
    },
    /// An exporter of measurements has done something.
    Export {
        /// The exporter.
        exporter: Arc<str>,
        /// What, since it last said.
        done: Export,
    },
}

/// What an exporter of measurements did since it last said; batches, unless said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Export {
    /// Taken by the receiver.
    pub sent: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Given up: refused for good, or no room for them.
    pub dropped: u64,
    /// Measurements within batches sent that the receiver did not take.
    pub rejected: u64,
    /// Waiting now.
    pub queued: usize,
}

/// How a try to deliver a message went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver has it.
    Delivered,
    /// Not this time; it will be tried again. Why.
    Failed(String),
    /// This message will never be taken, and is given up. Why.
    Refused(String),
    /// The channel takes no message any more until the configuration is loaded again; this one
    /// waits. Why.
    Stopped(String),
}

/// How a restart ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartResult {
    /// systemd's job is done; whether the unit stays up is for the engine to see.
    Done,
    /// systemd's job ended otherwise (`failed`, `timeout`, `canceled`, `dependency`, `skipped`...).
    /// The unit's former failure has been reset, so that it may merely be inactive now.
    JobFailed(String),
    /// There was no job: the call failed. What, in systemd's words.
    Failed(String),
    /// keepwell may not restart it: what refused, and the remedy.
    Denied(String),
    /// Read again just before acting, the unit needed no restart: why.
    Declined(Reason),
}

/// Who did it: `root (uid 0)`, `telegram:@anna`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(pub String);

/// An act of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Who.
    pub actor: Actor,
    /// What.
    pub act: Act,
}

/// Kinds of [`Command`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Stop healing one unit (`Some`) or all (`None`) until a time.
    Hold {
        /// The unit, or all.
        unit: Option<Arc<str>>,
        /// For how long from now.
        lasts: std::time::Duration,
        /// Why, in the person's words.
        why: Option<String>,
    },
    /// Heal again.
    Release {
        /// The unit, or all.
        unit: Option<Arc<str>>,
    },
    /// Look after an alert: no reminders, no escalation.
    Acknowledge {
        /// Its id.
        alert: Arc<str>,
        /// For how long from now; `None`: until its end.
        lasts: Option<std::time::Duration>,
        /// Why, in the person's words.
        why: Option<String>,
    },
    /// Take that back.
    Unacknowledge {
        /// Its id.
        alert: Arc<str>,
    },
    /// Send no messages of what matches, for a time.
    Silence {
        /// Of which alerts.
        matcher: Matcher,
        /// For how long from now.
        lasts: std::time::Duration,
        /// Why, in the person's words.
        why: Option<String>,
    },
    /// End a silence.
    Unsilence {
        /// Its id.
        id: Arc<str>,
    },
    /// Restart a unit that is down, now.
    Restart {
        /// The unit.
        unit: Arc<str>,
    },
}

/// Something to do. Effects are released only when the step's changes are stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Restart a failed unit (after reading it once more), and report [`Outcome::Restart`].
    Restart {
        /// The unit.
        unit: Arc<str>,
        /// The run that ended, as far as known: another one means that somebody was quicker.
        invocation: Option<Invocation>,
        /// The how manyth attempt since it was last stable, from 1.
        attempt: u32,
        /// Also when it is merely inactive.
        allow_inactive: bool,
    },
    /// Read the last journal lines of a run, and send [`Observation::Excerpt`].
    FetchLog {
        /// The unit.
        unit: Arc<str>,
        /// The run.
        invocation: Option<Invocation>,
    },
    /// Restart a container (after reading it once more), and report
    /// [`Outcome::ContainerRestart`].
    RestartContainer {
        /// As checks call it.
        name: Arc<str>,
        /// The endpoint.
        engine: Arc<str>,
        /// Its id.
        id: Arc<str>,
        /// The run that is to be ended, or has: another one means that somebody was quicker.
        run: Option<Invocation>,
        /// It runs: if it does not any more, somebody has stopped it.
        running: bool,
        /// The how manyth attempt since it was last stable, from 1.
        attempt: u32,
    },
    /// Read the last lines of a container's log, and send [`Observation::ContainerLog`].
    FetchContainerLog {
        /// As checks call it.
        name: Arc<str>,
        /// The endpoint.
        engine: Arc<str>,
        /// Its id.
        id: Arc<str>,
        /// Only what it said since then: when its last run began.
        since: Option<Wall>,
    },
    /// Tell a hook. Durable before it is released.
    Call(HookCall),
    /// Tell people. Durable before it is released.
    Notify(Notification),
    /// See whether a package manager is at work, and send [`Observation::Packages`].
    LookAtPackages,
    /// Look again now: a resync of units and a sampling of all else.
    Resync,
    /// Write a decision to the log.
    Log(Decision),
}

/// A decision, also one to do nothing, for the log, the page and `explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// When.
    pub at: Wall,
    /// About which check.
    pub check: CheckId,
    /// How bad the check is by now.
    pub severity: Severity,
    /// Why.
    pub reason: Reason,
    /// One line for people.
    pub text: String,
}

/// What one step decided.
#[derive(Debug, Default)]
pub struct Step {
    /// To be done, in this order, once `changes` are stored.
    pub effects: Vec<Effect>,
    /// To be stored.
    pub changes: Vec<Change>,
    /// When the engine wants [`Event::Deadline`]; `None`: never.
    pub deadline: Option<Boot>,
    /// Something that a [`super::Snapshot`] shows has changed.
    pub dirty: bool,
    /// The answer to a [`Event::Command`], for the person.
    pub reply: Option<Result<String, String>>,
}

/// A fault of one of keepwell's own parts, as a convenience for `app`.
pub fn part_state(part: Part, state: super::observation::PartState) -> Event {
    Event::Observed(Observation::Part(super::observation::PartSeen { part, state }))
}
