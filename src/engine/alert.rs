//! The life of an alert: opened, changed, told, muted, resolved. One open alert per check and kind.
//! Here are its words; what becomes of it is decided in `book`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::Actor;
use super::observation::{ContainerSeen, ContainerStatus, Health};
use super::time::Wall;
use super::words::{AlertKind, CheckId, Reason, Severity};

/// What an alert is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertKey {
    /// The check.
    pub check: CheckId,
    /// Which of its conditions.
    pub kind: AlertKind,
}

/// One alert, from its opening to its end; what survives and what people see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRecord {
    /// Unique on this host: `a` and a number that rises.
    pub id: Arc<str>,
    /// What it is about.
    #[serde(flatten)]
    pub key: AlertKey,
    /// How bad it is now (of a resolved one: how bad it last was).
    pub severity: Severity,
    /// Why it is open.
    pub reason: Reason,
    /// One line for people.
    pub summary: String,
    /// When it opened.
    pub opened: Wall,
    /// When it ended.
    pub resolved: Option<Wall>,
    /// Why it ended, where that was no recovery: what it is about was removed, or is no longer
    /// watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Reason>,
    /// Channels that were handed a message that it is open, and so must be told of the end.
    #[serde(default)]
    pub told: Vec<Arc<str>>,
    /// What is decided to be told and not yet handed to its channel: at most one per channel.
    #[serde(default)]
    pub pending: Vec<Pending>,
    /// Why nobody has been told of it; `None` once somebody was (or is about to be).
    #[serde(default)]
    pub untold: Option<Reason>,
    /// When a message about it was first decided; escalation counts from here.
    #[serde(default)]
    pub first_told: Option<Wall>,
    /// When a message about it was last decided; cooldown and reminders count from here.
    pub last_told: Option<Wall>,
    /// How bad it was when that was decided: a rise that fell into a silence is told after it.
    #[serde(default)]
    pub told_severity: Option<Severity>,
    /// The last journal lines of the run that failed, secrets removed.
    #[serde(default)]
    pub lines: Vec<String>,
    /// What was done about it, by keepwell or by people, newest last, at most 12.
    #[serde(default)]
    pub acts: Vec<ActNote>,
    /// What keepwell will do next about it, in words; `None`: nothing.
    #[serde(default)]
    pub next: Option<String>,
    /// Somebody looks after it.
    #[serde(default)]
    pub ack: Option<Ack>,
    /// It opens and ends again and again: it stays open until it has been well for longer.
    #[serde(default)]
    pub flapping: bool,
    /// Id of the alert that is its cause, where the unit graph says so.
    #[serde(default)]
    pub cause: Option<Arc<str>>,
    /// Which steps of escalation were taken, a bit each.
    #[serde(default)]
    pub escalated: u32,
    /// What is known of the container that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Box<ContainerFacts>>,
}

/// What people are told of a container besides its name, as it was when its alert last changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerFacts {
    /// The endpoint that has it, such as `docker`.
    pub engine: Arc<str>,
    /// How a shell reaches that: `docker`, `podman --url unix:///…`; empty: not known.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub command: Arc<str>,
    /// Its image as it was asked for.
    pub image: Arc<str>,
    /// The Compose project that it belongs to.
    pub project: Option<Arc<str>>,
    /// The Compose service that it belongs to.
    pub service: Option<Arc<str>>,
    /// How its last run ended, while it does not run.
    pub exit_code: Option<i32>,
    /// When that was.
    pub ended: Option<Wall>,
    /// Restarts by whomever, since keepwell came to this host.
    pub restarts: u64,
    /// Why its engine could not start it, secrets removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
    /// What its health check last printed, secrets removed, while it fails.
    pub health: Option<Arc<str>>,
}

impl ContainerFacts {
    /// Of a container as it is now.
    pub fn of(seen: &ContainerSeen, restarts: u64) -> Self {
        use ContainerStatus::{Paused, Running, Stopping};
        let up = matches!(seen.status, Running | Paused | Stopping);
        let failing = seen.health.as_ref().filter(|h| h.status == Health::Unhealthy);
        Self {
            engine: seen.engine.clone(),
            command: seen.command.clone(),
            image: seen.image.clone(),
            project: seen.project().map(Into::into),
            service: seen.service().map(Into::into),
            exit_code: seen.finished.filter(|_| !up).map(|_| seen.exit_code),
            ended: seen.finished.filter(|_| !up),
            restarts,
            error: Some(seen.error.clone()).filter(|text| !up && !text.is_empty()),
            health: failing.map(|h| h.output.clone()).filter(|text| !text.is_empty()),
        }
    }
}

/// Something to be told to one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Who is told.
    pub channel: Arc<str>,
    /// What.
    pub happening: Happening,
    /// This channel has not been told of the beginning: the message tells it too.
    pub opening: bool,
    /// Since when it waits.
    pub since: Wall,
}

/// Something that was done about an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActNote {
    /// When.
    pub at: Wall,
    /// Who; `None` is keepwell itself.
    #[serde(default)]
    pub by: Option<Actor>,
    /// What, in words.
    pub text: String,
}

/// Somebody has said that they look after an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Who.
    pub actor: Actor,
    /// When.
    pub at: Wall,
    /// Why, in their words.
    pub why: Option<String>,
    /// Until when it holds; `None`: until the end of the alert.
    pub until: Option<Wall>,
}

/// What a message says of one alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happening {
    /// It began.
    Opened,
    /// It grew worse.
    Worse,
    /// It grew better, but is not over.
    Better,
    /// It is still so.
    Reminded,
    /// Nobody has acknowledged it: further people are told.
    Escalated,
    /// Somebody looks after it.
    Acknowledged,
    /// keepwell restarted what it is about (only to channels that ask for notices).
    Restarted,
    /// keepwell's restarts did not help and it has given up.
    GaveUp,
    /// It is over.
    Resolved,
}

impl Happening {
    /// Every one there is.
    pub const ALL: [Self; 9] = [
        Self::Opened,
        Self::Worse,
        Self::Better,
        Self::Reminded,
        Self::Escalated,
        Self::Acknowledged,
        Self::Restarted,
        Self::GaveUp,
        Self::Resolved,
    ];

    /// Its name in JSON and templates.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Reminded => "reminded",
            Self::Escalated => "escalated",
            Self::Acknowledged => "acknowledged",
            Self::Restarted => "restarted",
            Self::GaveUp => "gave-up",
            Self::Resolved => "resolved",
        }
    }
}

/// What kind of message a [`Notification`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gist {
    /// News of alerts, or notices.
    #[default]
    Alerts,
    /// What was already failing when keepwell first came to this host.
    Digest,
    /// The channel had its share of messages for this minute: all that came since.
    Summary,
    /// The periodic report.
    Report,
    /// Somebody wants to see whether the channel works.
    Test,
}

impl Gist {
    /// Its name in JSON and templates.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Digest => "digest",
            Self::Summary => "summary",
            Self::Report => "report",
            Self::Test => "test",
        }
    }
}

/// One message to one channel, before the channel gives it its shape. What it holds never changes
/// once it is made, so that a repeat under the same id is the same message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The same over retries and restarts of keepwell, different for each message of this host:
    /// the idempotency key, once `notify` has put the host's identity before it.
    pub id: Arc<str>,
    /// Who is told.
    pub channel: Arc<str>,
    /// What kind of message.
    pub gist: Gist,
    /// When it was decided.
    pub at: Wall,
    /// The host's name.
    pub host: Arc<str>,
    /// The user's labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The alerts it is about, worst first; what is beneath a cause follows it at once.
    pub items: Vec<Item>,
    /// Notices, oldest first.
    #[serde(default)]
    pub notices: Vec<Notice>,
    /// Stories that began and ended while the channel took no messages, and that gave way.
    #[serde(default)]
    pub omitted: u32,
    /// The periodic report.
    #[serde(default)]
    pub report: Option<Report>,
}

/// One alert in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What happened.
    pub happening: Happening,
    /// The channel has not been told of the beginning before: this tells it too.
    pub opening: bool,
    /// When it was decided to tell this (the message may be later).
    pub since: Wall,
    /// It stands beneath the item before it that is its cause.
    pub beneath: bool,
    /// The alert as it was then. Its `pending` is empty here.
    pub alert: AlertRecord,
}

/// Something that is no alert: shown, recorded, sent only to channels that ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When.
    pub at: Wall,
    /// About what.
    pub check: CheckId,
    /// What.
    pub event: NoticeKind,
    /// One line for people.
    pub text: String,
}

/// Kinds of [`Notice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// It was started.
    Started,
    /// A person stopped it.
    Stopped,
    /// keepwell is about to restart it.
    Restarting,
    /// keepwell has restarted it.
    Restarted,
    /// It stayed up after a restart.
    Restored,
}

impl NoticeKind {
    /// Its name in JSON and templates.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Restarting => "restarting",
            Self::Restarted => "restarted",
            Self::Restored => "restored",
        }
    }
}

/// Everything with counts, and what happened since the last report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Since when the counts below are.
    pub since: Wall,
    /// Checks that are healthy, unknown, warning, critical.
    pub counts: [usize; 4],
    /// Alerts that opened since.
    pub opened: u32,
    /// Alerts that ended since.
    pub resolved: u32,
    /// Restarts by keepwell since.
    pub restarts: u32,
    /// Checks that are not healthy, worst first, then named units, then the host's own; at most 50.
    pub checks: Vec<ReportLine>,
}

/// One check in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportLine {
    /// The check.
    pub check: CheckId,
    /// How bad it is.
    pub severity: Severity,
    /// One line for people.
    pub summary: String,
    /// Since when.
    pub since: Wall,
}

impl Notification {
    /// A message that says nothing but that the channel works.
    pub fn test(
        id: impl Into<Arc<str>>,
        channel: Arc<str>,
        host: Arc<str>,
        labels: Arc<BTreeMap<String, String>>,
        at: Wall,
    ) -> Self {
        Self {
            id: id.into(),
            channel,
            gist: Gist::Test,
            at,
            host,
            labels,
            items: Vec::new(),
            notices: Vec::new(),
            omitted: 0,
            report: None,
        }
    }

    /// The worst severity of what is not over.
    pub fn severity(&self) -> Severity {
        let open = self.items.iter().filter(|i| i.happening != Happening::Resolved);
        let reported = self.report.iter().flat_map(|r| &r.checks).map(|c| c.severity);
        open.map(|i| i.alert.severity).chain(reported).max().unwrap_or_default()
    }

    /// Whether it tells of ends and of nothing else.
    pub fn is_all_over(&self) -> bool {
        !self.items.is_empty() && self.items.iter().all(|i| i.happening == Happening::Resolved)
    }
}
