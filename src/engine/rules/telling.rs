//! Who is told of what, how and when: alerts, routes, escalations, maintenance, the report, channels.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::Matcher;
use crate::engine::calendar::Weekly;
use crate::engine::words::Severity;

/// How alerts are told.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRules {
    /// How long a repeat of the same alert is muted after it was told.
    pub cooldown: Duration,
    /// What opens within this time goes out as one message; at most 10 s.
    pub group_wait: Duration,
    /// How often those who know of an open alert are reminded while nobody acknowledges it;
    /// `None`: never.
    pub remind: Option<Duration>,
    /// When an alert that comes and goes counts as flapping.
    pub flapping: Flapping,
    /// Further people who are told of what nobody acknowledges.
    pub escalations: Vec<Escalation>,
    /// Who is told of what; the first that matches counts, unless it says to go on.
    pub routes: Vec<Route>,
    /// Recurring times without messages.
    pub maintenance: Vec<Maintenance>,
    /// The periodic report.
    pub report: Option<ReportRule>,
}

impl Default for AlertRules {
    fn default() -> Self {
        Self {
            cooldown: Duration::from_secs(15 * 60),
            group_wait: Duration::from_secs(1),
            remind: Some(Duration::from_secs(24 * 3600)),
            flapping: Flapping::default(),
            escalations: Vec::new(),
            routes: Vec::new(),
            maintenance: Vec::new(),
            report: None,
        }
    }
}

/// An alert that opens for the `openings`th time within `window` is flapping: it then stays open
/// until it has been well for `calm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flapping {
    /// 0: never.
    pub openings: u32,
    /// The time they are counted over.
    pub window: Duration,
    /// How long it must be well to be over.
    pub calm: Duration,
}

impl Default for Flapping {
    fn default() -> Self {
        Self { openings: 4, window: Duration::from_secs(3600), calm: Duration::from_secs(15 * 60) }
    }
}

/// Further channels for what is open and not acknowledged. A channel that only escalations name
/// gets nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Escalation {
    /// How long after the alert was told.
    pub after: Duration,
    /// Of which alerts.
    pub matcher: Matcher,
    /// Who is told.
    pub channels: Vec<Arc<str>>,
}

/// Which channels are told of which alerts.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Of which alerts.
    pub matcher: Matcher,
    /// Only at these times; empty: always.
    pub times: Vec<Weekly>,
    /// Who is told. Empty: nobody.
    pub channels: Vec<Arc<str>>,
    /// Look at the routes after it too.
    pub go_on: bool,
}

/// Recurring times in which nobody is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Maintenance {
    /// Its name, for messages and status.
    pub name: Arc<str>,
    /// Of which alerts.
    pub matcher: Matcher,
    /// When.
    pub times: Vec<Weekly>,
}

/// The periodic report.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportRule {
    /// When.
    pub when: ReportTimes,
    /// Who gets it; empty: every channel that a route or the default tells.
    pub channels: Vec<Arc<str>>,
}

/// When the report is due.
#[derive(Debug, Clone, PartialEq)]
pub enum ReportTimes {
    /// So long after the last.
    Every(Duration),
    /// At these times of day in this zone.
    At(Vec<Time>, TimeZone),
}

/// A channel as far as the engine cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRule {
    /// Its name.
    pub name: Arc<str>,
    /// Its type, such as `slack`.
    pub kind: Arc<str>,
    /// Gets alerts of this severity and worse.
    pub min_severity: Severity,
    /// Gets notices too (`min_severity = "info"`).
    pub notices: bool,
    /// Is told of ends.
    pub send_resolved: bool,
    /// At most so many messages a minute; the rest is folded into a summary. At least 1.
    pub max_per_minute: u32,
    /// What happens within this time goes out as one message; what is critical is not held back.
    pub digest: Option<Duration>,
}

impl ChannelRule {
    /// Warning and critical, their ends, at most 10 messages a minute.
    pub fn new(name: impl Into<Arc<str>>, kind: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            min_severity: Severity::Warning,
            notices: false,
            send_resolved: true,
            max_per_minute: 10,
            digest: None,
        }
    }
}
