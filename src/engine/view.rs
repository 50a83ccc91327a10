//! What surfaces show: an immutable picture of all checks, shared by `Arc`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::AlertRecord;
use super::event::Decision;
use super::observation::{ContainerSeen, Invocation, UnitSeen, UsageSeen};
use super::saved::{Hold, Silence};
use super::time::{Boot, Wall};
use super::words::{AlertKind, CheckId, Reason, Severity, named};

/// Everything, at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// Rises with every snapshot: what is rendered from one is good while this stays.
    pub generation: u64,
    /// When it was taken.
    pub at: Wall,
    /// The same by the clock that never jumps.
    #[serde(skip)]
    pub boot: Boot,
    /// The worst of all checks; `unknown` before the first round.
    pub severity: Severity,
    /// The first round is done: units, host and heartbeats have been seen (or declared absent).
    pub ready: bool,
    /// Host name.
    pub host: Arc<str>,
    /// The user's labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// All checks, ordered by id.
    pub checks: Vec<Arc<CheckView>>,
    /// Open alerts, oldest first.
    pub alerts: Vec<Arc<AlertRecord>>,
    /// Alerts that ended lately, newest first, at most 100.
    pub recent: Vec<Arc<AlertRecord>>,
    /// Holds in force.
    pub holds: Vec<Hold>,
    /// Silences in force.
    pub silences: Vec<Silence>,
    /// Maintenance windows of the configuration that are in force.
    pub maintenance: Vec<MaintenanceView>,
    /// Why messages and restarts wait at the moment (boot, shutdown, sleep, packages), if they do.
    pub quiet: Option<Reason>,
    /// Who can be told, in the order of the configuration.
    pub channels: Vec<ChannelView>,
    /// What sends measurements elsewhere, by name; none before its first try.
    pub exports: Vec<ExportView>,
    /// Who is told of the life of containers, in the order of the configuration.
    pub hooks: Vec<HookView>,
    /// Times that the connection to systemd was lost and came back, since keepwell started.
    pub bus_reconnects: u64,
    /// How late the driver was at worst with what was due, of the last one to two minutes, µs.
    /// Filled in by the driver.
    pub loop_lag: u64,
    /// Units that systemd has loaded, where known.
    pub units_total: Option<u32>,
    /// When keepwell started.
    pub started: Wall,
}

impl Snapshot {
    /// The check of this id.
    pub fn check(&self, id: &CheckId) -> Option<&Arc<CheckView>> {
        self.checks.binary_search_by(|c| c.id.cmp(id)).ok().map(|i| &self.checks[i])
    }

    /// How many checks there are of each severity: healthy, unknown, warning, critical.
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for check in &self.checks {
            counts[check.severity as usize] += 1;
        }
        counts
    }
}

/// A maintenance window in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MaintenanceView {
    /// Its name.
    pub name: Arc<str>,
    /// When it ends.
    pub until: Wall,
}

/// How an exporter of measurements does; batches since keepwell started, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportView {
    /// Its name: `otlp`, `azure`.
    pub name: Arc<str>,
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
    /// When one was last taken.
    pub last_success: Option<Wall>,
}

/// How a channel does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelView {
    /// Its name.
    pub name: Arc<str>,
    /// Its type, such as `slack`.
    pub kind: Arc<str>,
    /// Gets alerts of this severity and worse.
    pub min_severity: Severity,
    /// Gets notices too.
    pub notices: bool,
    /// How it does.
    pub state: ChannelState,
    /// Alerts, notices and reports that wait to be told, those in the message under way included.
    pub queued: usize,
    /// Alerts in the message that was handed over and is not known to be delivered, by id; sorted.
    pub carries: Vec<Arc<str>>,
    /// Messages delivered since keepwell started.
    pub sent: u64,
    /// Tries that failed since keepwell started.
    pub failed: u64,
    /// When a message was last delivered.
    pub last_success: Option<Wall>,
    /// When a try last failed.
    pub last_failure: Option<Wall>,
    /// Why the last try failed; `None` once one worked.
    pub last_error: Option<Arc<str>>,
    /// How long the last message took from decision to delivery, µs.
    pub last_latency: Option<u64>,
}

named! {
    /// How a channel does.
    pub enum ChannelState {
        Untried = "untried": "no message has been sent since keepwell started",
        Works = "works": "the last message was delivered",
        Failing = "failing": "the last try failed; it is tried again",
        Refused = "refused": "the last message was refused for good and given up; the next is tried",
        Stopped = "stopped": "the receiver refused for good; it is tried again when the configuration is loaded",
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckView {
    /// Its id.
    pub id: CheckId,
    /// The worst of its conditions.
    pub severity: Severity,
    /// Why: of the worst condition.
    pub reason: Reason,
    /// One line for people: of the worst condition.
    pub summary: String,
    /// Since when it has had this severity.
    pub since: Wall,
    /// Each condition, in the order of [`AlertKind`].
    pub conditions: Vec<ConditionView>,
    /// When it was last looked at.
    pub last_check: Option<Wall>,
    /// When it was last found healthy.
    pub last_success: Option<Wall>,
    /// When it was last found warning or critical.
    pub last_failure: Option<Wall>,
    /// Times in a row it was found warning or critical.
    pub consecutive_failures: u32,
    /// What was measured.
    pub values: Vec<Value>,
    /// For units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitView>,
    /// For containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Box<ContainerView>>,
    /// The last decisions, newest last, at most 8.
    pub decisions: Vec<Decision>,
}

/// One condition of a check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConditionView {
    /// Which.
    pub kind: AlertKind,
    /// How bad.
    pub severity: Severity,
    /// Why.
    pub reason: Reason,
    /// One line for people.
    pub summary: String,
}

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// Name without prefix, in Prometheus' manner, with its unit: `used_ratio`, `age_seconds`.
    pub name: &'static str,
    /// The value.
    pub value: f64,
}

/// What is known of a unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnitView {
    /// Its state.
    pub seen: UnitSeen,
    /// Somebody named it in the configuration.
    pub named: bool,
    /// keepwell may restart it.
    pub restart: bool,
    /// Runs that ended badly, since keepwell came to this host.
    pub crashes: u64,
    /// Restarts by whomever, since keepwell came to this host.
    pub restarts: u64,
    /// Restarts within the crash-loop window.
    pub restarts_in_window: u32,
    /// Restarts by keepwell, since it came to this host.
    pub healed: u64,
    /// Attempts since it was last stable.
    pub step: u32,
    /// keepwell is restarting it, or waits to see whether it stays up.
    pub restarting: bool,
    /// The configured number of restarts did not help.
    pub gave_up: bool,
    /// When keepwell will restart it.
    pub next_attempt: Option<Wall>,
    /// The run that the last failure was about.
    pub failed_invocation: Option<Invocation>,
    /// When keepwell came to its present verdict after the last change, µs after the epoch.
    pub judged: Wall,
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContainerView {
    /// Its state.
    pub seen: ContainerSeen,
    /// What it uses; `None` while it is not running or not known.
    pub usage: Option<UsageSeen>,
    /// What its memory and processor limits are parts of: those of its engine's host.
    pub host_cpus: u32,
    /// Memory of its engine's host, in bytes.
    pub host_memory: u64,
    /// Somebody named it in the configuration, or by a label of its own.
    pub named: bool,
    /// keepwell may restart it.
    pub restart: bool,
    /// It must be running.
    pub required: bool,
    /// Runs that ended badly, since keepwell came to this host.
    pub crashes: u64,
    /// Restarts by whomever, since keepwell came to this host.
    pub restarts: u64,
    /// Restarts within the restart-loop window.
    pub restarts_in_window: u32,
    /// Restarts by keepwell, since it came to this host.
    pub healed: u64,
    /// Attempts since it was last stable.
    pub step: u32,
    /// keepwell is restarting it, or waits to see whether it stays up.
    pub restarting: bool,
    /// The configured number of restarts did not help.
    pub gave_up: bool,
    /// When keepwell will restart it.
    pub next_attempt: Option<Wall>,
}

/// How a hook does; calls since keepwell started, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookView {
    /// Its name.
    pub name: Arc<str>,
    /// Its type, such as `discovery`.
    pub kind: Arc<str>,
    /// Taken by the receiver.
    pub sent: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Given up: refused for good.
    pub refused: u64,
    /// Waiting now.
    pub queued: usize,
    /// When one was last taken.
    pub last_success: Option<Wall>,
    /// Why the last try failed; `None` once one worked.
    pub last_error: Option<Arc<str>>,
}
