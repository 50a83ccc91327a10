//! The words of the domain: severity, check, alert kind, verdict and the named reasons.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How well a check is. The order is the order of badness: the overall state is the maximum.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All is well.
    #[default]
    Healthy,
    /// It could not be found out. Neither opens an alert nor ends one.
    Unknown,
    /// Somebody should look at it soon.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

impl Severity {
    /// The word used in JSON, metrics and text: `healthy`, `unknown`, `warning`, `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// Exit code of `keepwell check`: 0 healthy, 1 warning, 2 critical, 3 unknown.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    /// Whether an alert is open at this severity.
    pub fn alerts(self) -> bool {
        self >= Self::Warning
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Declares an enum whose variants have a fixed kebab-case name and a meaning for people.
macro_rules! named {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$mark:meta])* $variant:ident = $text:literal : $means:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $(#[doc = $means] #[serde(rename = $text)] $(#[$mark])* $variant,)+
        }

        impl $name {
            /// Every one there is, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its stable name, as used in JSON, metrics, logs and identifiers.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// What it means, for people.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $means,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.as_str()) }
        }
    };
}

pub(super) use named;

named! {
    /// What kind of thing a check looks at; the first half of a [`CheckId`].
    pub enum CheckKind {
        Unit = "unit": "a systemd unit",
        Units = "units": "all units of the host together",
        Disk = "disk": "space on a file system",
        Inodes = "inodes": "inodes of a file system",
        Memory = "memory": "memory that is not available",
        Swap = "swap": "swap in use",
        Cpu = "cpu": "processor time in use",
        Load = "load": "load average per processor",
        Pressure = "pressure": "time lost waiting for a resource (PSI)",
        Heartbeat = "heartbeat": "a file that a program touches while it is well",
        Container = "container": "a container",
        Probe = "probe": "what a probe of the configuration asks",
        Host = "host": "events of the host itself",
        Agent = "agent": "keepwell's own parts",
    }
}

named! {
    /// What an alert of a check is about: there is at most one open alert per check and kind.
    pub enum AlertKind {
        State = "state": "the check itself is bad",
        CrashLoop = "crash-loop": "too many restarts within the window",
        Errors = "errors": "errors in the unit's log",
        Memory = "memory": "memory that a container uses",
        Cpu = "cpu": "processor time that a container uses",
    }
}

named! {
    /// Why a decision was taken, also a decision to do nothing.
    pub enum Reason {
        // What a unit is.
        Running = "running": "it is active",
        Finished = "finished": "it did its work and stays active (exited)",
        Idle = "idle": "it runs when something triggers it; not running is normal",
        Starting = "starting": "it is being started",
        Stopping = "stopping": "it is being stopped",
        Reloading = "reloading": "it is reloading its configuration",
        AutoRestart = "auto-restart": "systemd's own Restart= is trying; keepwell waits",
        PendingJob = "pending-job": "systemd has a job queued for it; keepwell waits",
        Stopped = "stopped": "it is not running and nobody asked that it should be",
        StoppedByOperator = "stopped-by-operator": "a person or another program had it stopped; keepwell leaves it alone",
        NotRunning = "not-running": "it is marked as required and is not running",
        ConditionFailed = "condition-failed": "a Condition= of the unit was not met, so systemd skipped it",
        Masked = "masked": "it is masked, so it cannot be started",
        NotFound = "not-found": "there is none of this name",
        BadUnitFile = "bad-unit-file": "systemd cannot load its unit file",
        NoMatch = "no-match": "nothing fits the pattern",
        // Why a unit failed.
        OutOfMemory = "out-of-memory": "the kernel or systemd-oomd killed it for want of memory",
        WatchdogTimeout = "watchdog": "it did not ping systemd's watchdog in time",
        Timeout = "timeout": "starting, stopping or running took longer than allowed",
        Signal = "signal": "a signal killed it",
        CoreDump = "core-dump": "it crashed and dumped core",
        ExitCode = "exit-code": "it ended with an error code",
        StartLimit = "start-limit": "it was started too often and systemd gave up",
        Failed = "failed": "it failed",
        // What a container is.
        Created = "created": "it was made and has not been started",
        Paused = "paused": "it is paused",
        Healthy = "healthy": "its health check passes",
        Unhealthy = "unhealthy": "its health check fails",
        RestartPolicy = "restart-policy": "its restart policy is trying; keepwell waits",
        StartError = "start-error": "its engine could not start it",
        EngineWentDown = "engine-went-down": "it ended when its container engine went down",
        NetworkLost = "network-lost": "the container whose network it shares was started anew after it",
        NetworkDown = "network-down": "the container whose network it shares does not run; keepwell waits for that",
        Removed = "removed": "it was removed",
        BadLabel = "bad-label": "a label of keepwell on it makes no sense and is ignored",
        // Restarting.
        RestartScheduled = "restart-scheduled": "a restart waits for its backoff",
        RestartAsked = "restart-asked": "a person asked for a restart",
        RestartDone = "restart-done": "keepwell restarted it",
        RestartFailed = "restart-failed": "keepwell's restart did not work",
        RestartDenied = "restart-denied": "keepwell may not restart it",
        Verifying = "verifying": "it was restarted and must stay up before it counts as well",
        Restored = "restored": "it stayed up after the restart",
        BackoffReset = "backoff-reset": "it has been stable; the backoff starts afresh",
        GaveUp = "gave-up": "the configured number of restarts did not help",
        NotConfigured = "not-configured": "restart is not enabled for it",
        Held = "held": "a person told keepwell to leave it alone for a time",
        HostShutdown = "host-shutdown": "the host is shutting down",
        ManagerReloading = "manager-reloading": "systemd is reloading; decisions wait",
        NoLongerNeeded = "no-longer-needed": "it had recovered by the time keepwell was to act",
        CrashLoop = "crash-loop": "it was restarted too often within the window",
        // The host and files.
        WithinLimits = "within-limits": "the value is below its thresholds",
        OverThreshold = "over-threshold": "the value is over its threshold for long enough",
        Confirming = "confirming": "it is bad, but not for long enough to count",
        ReadOnly = "read-only": "the file system turned read-only",
        Hangs = "hangs": "the file system did not answer in time",
        Unreadable = "unreadable": "it could not be read",
        UnexpectedReboot = "unexpected-reboot": "the host restarted without an orderly shutdown",
        OomKill = "oom-kill": "the kernel killed a process for want of memory",
        NothingUnusual = "nothing-unusual": "nothing has happened that should be told",
        Fresh = "fresh": "the heartbeat is young enough",
        Stale = "stale": "the heartbeat is older than allowed",
        Missing = "missing": "the heartbeat file does not exist",
        NoPermission = "no-permission": "keepwell may not look at it",
        ErrorsLogged = "errors-logged": "the unit logged errors",
        // Probes.
        ProbeOk = "probe-ok": "the probe found nothing wrong",
        ProbeTimeout = "probe-timeout": "the probe was not done within its time limit",
        ProgramMissing = "program-missing": "a program that the probe needs is not installed",
        Behind = "behind": "the remote has commits that the checkout lacks",
        Ahead = "ahead": "the checkout has commits that the remote lacks",
        Diverged = "diverged": "checkout and remote each have commits that the other lacks",
        Dirty = "dirty": "files of the checkout differ from what is committed",
        Untracked = "untracked": "the checkout has files that are not in its repository",
        Detached = "detached": "no branch is checked out",
        NotACheckout = "not-a-checkout": "there is no checkout at the path",
        NoRemote = "no-remote": "the repository does not say where its remote is",
        NoRemoteBranch = "no-remote-branch": "the remote has no such branch",
        RemoteUnreachable = "remote-unreachable": "the remote does not answer, or refuses",
        // keepwell's own parts.
        Works = "works": "it works",
        Unreachable = "unreachable": "it cannot be reached",
        NoSystemd = "no-systemd": "this host does not run systemd",
        Broken = "broken": "it does not work",
        NotYetSeen = "not-yet-seen": "it has not been looked at yet",
        NoLongerWatched = "no-longer-watched": "the configuration does not name it any more",
        // Notifications.
        Cooldown = "cooldown": "the same was told a short while ago; repeats are muted",
        NoChannel = "no-channel": "no channel is configured that wants it",
        Grouping = "grouping": "what opens within a moment goes out as one message",
        Silenced = "silenced": "a person told keepwell to be silent about it for a time",
        Maintenance = "maintenance": "it falls into a maintenance window of the configuration",
        Dependant = "dependant": "it needs another unit that is down; that one is told",
        HostSleep = "host-sleep": "the host is going to sleep or has just woken up",
        PackageUpgrade = "package-upgrade": "a package manager is at work; decisions wait until it is done",
        Settling = "settling": "the host is still booting; decisions wait until it has settled",
        FirstLook = "first-look": "keepwell is new on this host: what already fails goes out as one digest",
        OverBeforeTold = "over-before-told": "it was over before anybody had to be told",
        Flapping = "flapping": "it comes and goes; it counts as over when it has been well for longer",
        Acknowledged = "acknowledged": "a person looks after it",
        Unacknowledged = "unacknowledged": "nobody looks after it any more",
        Reminded = "reminded": "it is still so, and nobody has acknowledged it",
        Escalated = "escalated": "nobody has acknowledged it: further people are told",
        DeliveryRefused = "delivery-refused": "a channel refused the message for good",
        Told = "told": "a notification was handed to its channels",
    }
}

/// Names a check: what kind of thing, and which one. Shown as `unit:nginx.service`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId {
    /// What kind of thing.
    pub kind: CheckKind,
    /// Which one: a unit name, a mount point, a path; empty where there is only one (`memory`).
    pub name: Arc<str>,
}

impl CheckId {
    /// The check of `kind` called `name`.
    pub fn new(kind: CheckKind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }

    /// The check of a unit.
    pub fn unit(name: impl Into<Arc<str>>) -> Self {
        Self::new(CheckKind::Unit, name)
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            f.write_str(self.kind.as_str())
        } else {
            write!(f, "{}:{}", self.kind.as_str(), self.name)
        }
    }
}

/// The text is not the name of a check, such as `unit:nginx.service` or `memory`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a check: write it as KIND:NAME, such as unit:nginx.service or disk:/var")]
pub struct NotACheck(pub String);

impl FromStr for CheckId {
    type Err = NotACheck;

    fn from_str(text: &str) -> Result<Self, NotACheck> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        CheckKind::ALL
            .iter()
            .find(|k| k.as_str() == kind)
            .map(|k| Self::new(*k, name))
            .ok_or_else(|| NotACheck(text.to_owned()))
    }
}

impl Serialize for CheckId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CheckId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What was decided of one condition of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How bad.
    pub severity: Severity,
    /// Why.
    pub reason: Reason,
    /// One short line for people, with units, without the check's own name.
    pub summary: String,
}

impl Verdict {
    /// A verdict with its line for people.
    pub fn new(severity: Severity, reason: Reason, summary: impl Into<String>) -> Self {
        Self { severity, reason, summary: summary.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_id_reads_back_as_it_was_written() {
        for text in ["unit:nginx.service", "disk:/var/lib", "memory", "agent:bus"] {
            assert_eq!(text.parse::<CheckId>().unwrap().to_string(), text);
        }
        assert!("nginx".parse::<CheckId>().is_err());
    }

    #[test]
    fn the_overall_state_is_the_maximum() {
        use Severity::*;
        assert_eq!([Healthy, Unknown, Warning].iter().max(), Some(&Warning));
        assert_eq!([Healthy, Unknown].iter().max(), Some(&Unknown));
    }
}
