//! The life of an alert: opened, changed, told, muted, resolved. One open alert per check and kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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
    /// Rises with each message about it; part of the idempotency key.
    pub revision: u32,
    /// Channels that have been told that it is open, and so must be told of the end.
    pub told: Vec<Arc<str>>,
    /// When it was last told; the cooldown counts from here.
    pub last_told: Option<Wall>,
    /// The last journal lines of the run that failed, secrets removed.
    pub lines: Vec<String>,
    /// What keepwell did and will do, newest last, at most 8.
    pub acts: Vec<String>,
}

/// What a message says of its alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happening {
    /// It began.
    Opened,
    /// It grew worse.
    Worse,
    /// It grew better, but is not over.
    Better,
    /// keepwell's restarts did not help and it has given up.
    GaveUp,
    /// It is over.
    Resolved,
    /// What was already failing when keepwell first came to this host.
    Digest,
}

impl Happening {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Worse => "worse",
            Self::Better => "better",
            Self::GaveUp => "gave-up",
            Self::Resolved => "resolved",
            Self::Digest => "digest",
        }
    }
}

/// One message to people, before any channel gives it its shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The same over retries and restarts of keepwell, different for each message of this host:
    /// the idempotency key, once `notify` has put the host's identity before it.
    pub id: String,
    /// What a later message about the same thing replaces while this one waits: the alert's id.
    pub subject: Arc<str>,
    /// Who is told.
    pub channels: Vec<Arc<str>>,
    /// What happened.
    pub happening: Happening,
    /// When it was decided.
    pub at: Wall,
    /// The host's name.
    pub host: Arc<str>,
    /// The user's labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// What it is about; one, or several in a digest.
    pub alerts: Vec<AlertRecord>,
}

impl Notification {
    /// The worst severity among its alerts.
    pub fn severity(&self) -> Severity {
        self.alerts.iter().map(|a| a.severity).max().unwrap_or_default()
    }
}
