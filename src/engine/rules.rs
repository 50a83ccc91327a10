//! What the engine decides by: the configuration in the engine's own words, already validated.
//!
//! `config` reads files and makes these; the constructors refuse values that make no sense, with
//! the reason as text for the person who wrote them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::exports::EXPORTER;
use super::files::{CHANNEL, HOOK};
use super::words::{CheckId, CheckKind, Severity};

mod containers;
mod telling;

pub use super::matcher::{CheckPattern, Matcher};
pub use containers::{ContainerRule, ContainerRules, HookRule, Selector};
pub use telling::{
    AlertRules, ChannelRule, Escalation, Flapping, Maintenance, ReportRule, ReportTimes, Route,
};

/// All that the engine decides by.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The host's name as people know it.
    pub host: Arc<str>,
    /// The user's labels, on every message and metric.
    pub labels: BTreeMap<String, String>,
    /// Named units and globs, in the order of the configuration; the first that matches applies.
    pub units: Vec<UnitRule>,
    /// Also report units that nobody named when they fail (on by default).
    pub all_units: bool,
    /// Units left out of `all_units`.
    pub ignore: Vec<UnitPattern>,
    /// Space on file systems.
    pub disk: Levels,
    /// Inodes.
    pub inodes: Levels,
    /// Memory in use.
    pub memory: Levels,
    /// Swap in use.
    pub swap: Levels,
    /// Processor time in use.
    pub cpu: Levels,
    /// 5-minute load average divided by the number of processors.
    pub load: Levels,
    /// PSI "some" over 60 s, by resource: `cpu`, `memory`, `io`.
    pub pressure: BTreeMap<String, Levels>,
    /// Heartbeat files; observations name them by index.
    pub heartbeats: Vec<HeartbeatRule>,
    /// Probes.
    pub probes: Vec<ProbeRule>,
    /// Containers.
    pub containers: ContainerRules,
    /// Who is told of the life of containers.
    pub hooks: Vec<HookRule>,
    /// How alerts are told.
    pub alerts: AlertRules,
    /// Who can be told.
    pub channels: Vec<ChannelRule>,
    /// What sends measurements elsewhere, by name.
    pub exporters: Vec<Arc<str>>,
}

/// When a condition that was sampled counts, both ways. All that is set must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirm {
    /// Bad for so long.
    pub lasting: Duration,
    /// Bad so many times in a row; at least 1.
    pub failures: u32,
    /// Good for so long.
    pub recovery: Duration,
    /// Good so many times in a row; at least 1.
    pub successes: u32,
}

impl Default for Confirm {
    fn default() -> Self {
        Self { lasting: Duration::ZERO, failures: 1, recovery: Duration::ZERO, successes: 1 }
    }
}

impl Confirm {
    /// Bad for `lasting` to count, and good for as long to be over.
    pub fn lasting(lasting: Duration) -> Self {
        Self { lasting, recovery: lasting, ..Self::default() }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            labels: BTreeMap::new(),
            units: Vec::new(),
            all_units: true,
            ignore: Vec::new(),
            disk: Levels::of(Some(0.80), Some(0.90), Duration::ZERO),
            inodes: Levels::of(Some(0.80), Some(0.90), Duration::ZERO),
            memory: Levels::of(Some(0.90), None, Duration::from_secs(60)),
            swap: Levels::of(Some(0.80), Some(0.95), Duration::from_secs(120)),
            cpu: Levels::of(Some(0.95), None, Duration::from_secs(120)),
            load: Levels::off(),
            pressure: BTreeMap::new(),
            heartbeats: Vec::new(),
            probes: Vec::new(),
            containers: ContainerRules::default(),
            hooks: Vec::new(),
            alerts: AlertRules::default(),
            channels: Vec::new(),
            exporters: Vec::new(),
        }
    }
}

impl Rules {
    /// The rule for a unit that somebody named, exactly or by a glob.
    pub fn unit(&self, name: &str) -> Option<&UnitRule> {
        // An exact name beats a glob, wherever it stands.
        self.units
            .iter()
            .find(|rule| rule.pattern.exact() == Some(name))
            .or_else(|| self.units.iter().find(|rule| rule.pattern.matches(name)))
    }

    /// Whether a check is about one of the channels that there are.
    pub fn is_channel(&self, check: &CheckId) -> bool {
        super::files::is_channel(check)
            && self.channels.iter().any(|c| check.name.strip_prefix(CHANNEL) == Some(&*c.name))
    }

    /// Whether a check is about one of the exporters that there are.
    pub(super) fn is_exporter(&self, check: &CheckId) -> bool {
        super::exports::is_exporter(check)
            && self.exporters.iter().any(|e| check.name.strip_prefix(EXPORTER) == Some(&**e))
    }

    /// How long a repeat of the same alert about a check is muted.
    pub(super) fn cooldown(&self, check: &CheckId) -> Duration {
        match check.kind {
            CheckKind::Container => self.containers.cooldown,
            _ => self.alerts.cooldown,
        }
    }

    /// Whether a check is about one of the hooks that there are.
    pub(super) fn is_hook(&self, check: &CheckId) -> bool {
        super::files::is_hook(check)
            && self.hooks.iter().any(|h| check.name.strip_prefix(HOOK) == Some(&*h.name))
    }

    /// The rule of a probe.
    pub fn probe(&self, name: &str) -> Option<&ProbeRule> {
        self.probes.iter().find(|rule| *rule.name == *name)
    }

    /// Whether a failure of this unit is to be reported at all.
    pub fn watches(&self, name: &str) -> bool {
        self.unit(name).is_some()
            || (self.all_units && !self.ignore.iter().any(|p| p.matches(name)))
    }
}

/// A unit name, or a glob as `systemctl` takes it (`*`, `?`, `[…]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitPattern {
    text: Arc<str>,
    glob: Option<glob::Pattern>,
}

impl UnitPattern {
    /// A name without a suffix gets `.service`, as with `systemctl`.
    ///
    /// # Errors
    /// When it is empty, holds characters that no unit name can hold, is a template without an
    /// instance, or is no valid glob.
    pub fn try_new(text: &str) -> Result<Self, String> {
        const SUFFIXES: [&str; 11] = [
            ".service",
            ".socket",
            ".device",
            ".mount",
            ".automount",
            ".swap",
            ".target",
            ".path",
            ".timer",
            ".slice",
            ".scope",
        ];
        if text.is_empty() {
            return Err("a unit name cannot be empty".into());
        }
        if let Some(bad) =
            text.chars().find(|c| !(c.is_ascii_alphanumeric() || ":-_.\\@*?[]!".contains(*c)))
        {
            return Err(format!("a unit name cannot contain {bad:?}"));
        }
        let is_glob = text.contains(['*', '?', '[']);
        let mut name = text.to_owned();
        if !is_glob && !SUFFIXES.iter().any(|s| text.ends_with(s)) {
            name.push_str(".service");
        }
        if !is_glob && name.contains("@.") {
            return Err(format!(
                "'{name}' is a template; name an instance ({}) or all of them ({})",
                name.replace("@.", "@NAME."),
                name.replace("@.", "@*.")
            ));
        }
        if name.len() > 255 {
            return Err("a unit name has at most 255 characters".into());
        }
        let glob = if is_glob {
            Some(glob::Pattern::new(&name).map_err(|e| format!("not a valid pattern: {}", e.msg))?)
        } else {
            None
        };
        Ok(Self { text: name.into(), glob })
    }

    /// The name, when this is no glob.
    pub fn exact(&self) -> Option<&str> {
        self.glob.is_none().then_some(&*self.text)
    }

    /// As written, with the suffix.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a unit has this name or fits the glob.
    pub fn matches(&self, name: &str) -> bool {
        match &self.glob {
            None => *self.text == *name,
            Some(glob) => glob.matches(name),
        }
    }
}

/// How one named unit, or all that a glob matches, is treated.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitRule {
    /// Which units.
    pub pattern: UnitPattern,
    /// Restart it when it has failed (off by default).
    pub restart: bool,
    /// It must be running: `inactive` without a stop job is as bad as `failed`.
    pub required: bool,
    /// How bad it is when it is down.
    pub severity: Severity,
    /// When to restart.
    pub backoff: Backoff,
    /// When restarts are too many.
    pub crash_loop: CrashLoop,
    /// Whether errors in its log are a warning.
    pub errors: bool,
    /// When its being down counts as an alert, beyond what its state asks for anyway; only the
    /// durations apply, for units are seen by event.
    pub confirm: Confirm,
}

impl UnitRule {
    /// What a unit gets that is named and nothing else.
    pub fn new(pattern: UnitPattern) -> Self {
        Self {
            pattern,
            restart: false,
            required: false,
            severity: Severity::Critical,
            backoff: Backoff::default(),
            crash_loop: CrashLoop::default(),
            errors: true,
            confirm: Confirm::default(),
        }
    }
}

/// When to restart a failed unit, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    first: Duration,
    factor: f64,
    max: Duration,
    stable: Duration,
    verify: Duration,
    give_up_after: Option<u32>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            factor: 2.0,
            max: Duration::from_secs(300),
            stable: Duration::from_secs(600),
            verify: Duration::from_secs(5),
            give_up_after: None,
        }
    }
}

impl Backoff {
    /// Waits `first`, then `factor` times as long before each next attempt, at most `max`; starts
    /// afresh after the unit was up for `stable`; a restart counts as done when the unit has been
    /// up for `verify`; after `give_up_after` attempts without that, keepwell gives up.
    ///
    /// # Errors
    /// When the values make no sense; the text says which and why.
    pub fn try_new(
        first: Duration,
        factor: f64,
        max: Duration,
        stable: Duration,
        verify: Duration,
        give_up_after: Option<u32>,
    ) -> Result<Self, String> {
        if first < Duration::from_millis(100) {
            return Err("the first wait must be at least 100 ms".into());
        }
        if !(1.0..=100.0).contains(&factor) {
            return Err("the factor must be between 1 and 100".into());
        }
        if max < first {
            return Err("the longest wait must not be shorter than the first".into());
        }
        if max > Duration::from_secs(86_400) {
            return Err("the longest wait must not exceed one day".into());
        }
        if stable < verify {
            return Err("the stable time must not be shorter than the verify time".into());
        }
        if give_up_after == Some(0) {
            return Err(
                "give_up_after must be at least 1; to never restart, leave restart off".into()
            );
        }
        Ok(Self { first, factor, max, stable, verify, give_up_after })
    }

    /// How long to wait before the attempt after `step` attempts.
    pub fn delay(&self, step: u32) -> Duration {
        // 64 doublings exceed any `max`; the clamp keeps powi finite.
        let factor = self.factor.powi(i32::try_from(step.min(64)).unwrap_or(64));
        let secs = (self.first.as_secs_f64() * factor).min(self.max.as_secs_f64());
        Duration::from_secs_f64(secs).max(self.first).min(self.max)
    }

    /// How long a unit must be up for the backoff to start afresh.
    pub fn stable(&self) -> Duration {
        self.stable
    }

    /// How long a unit must be up for a restart to count as done.
    pub fn verify(&self) -> Duration {
        self.verify
    }

    /// After how many attempts to give up; `None`: never.
    pub fn give_up_after(&self) -> Option<u32> {
        self.give_up_after
    }
}

/// When restarts are too many: more than `max` within `window`.
#[derive(Debug, Clone, PartialEq)]
pub struct CrashLoop {
    max: u32,
    window: Duration,
}

impl Default for CrashLoop {
    fn default() -> Self {
        Self { max: 5, window: Duration::from_secs(3600) }
    }
}

impl CrashLoop {
    /// # Errors
    /// When the values make no sense.
    pub fn try_new(max: u32, window: Duration) -> Result<Self, String> {
        if !(1..=1000).contains(&max) {
            return Err("the number of restarts must be between 1 and 1000".into());
        }
        if window < Duration::from_secs(1) {
            return Err("the window must be at least 1 s".into());
        }
        Ok(Self { max, window })
    }

    /// Restarts that are still acceptable.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// The time they are counted over.
    pub fn window(&self) -> Duration {
        self.window
    }
}

/// Thresholds of a ratio: bad when over one of them for `lasting`.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    warning: Option<f64>,
    critical: Option<f64>,
    confirm: Confirm,
}

impl Levels {
    fn of(warning: Option<f64>, critical: Option<f64>, lasting: Duration) -> Self {
        Self { warning, critical, confirm: Confirm::lasting(lasting) }
    }

    /// Ratios from 0 to 1 (load may exceed 1); `None` is "never".
    ///
    /// # Errors
    /// When a ratio is not positive, or critical is not above warning.
    pub fn try_new(
        warning: Option<f64>,
        critical: Option<f64>,
        confirm: Confirm,
    ) -> Result<Self, String> {
        for level in [warning, critical].into_iter().flatten() {
            if !level.is_finite() || level <= 0.0 {
                return Err("a threshold must be above 0".into());
            }
        }
        if let (Some(w), Some(c)) = (warning, critical)
            && c <= w
        {
            return Err("the critical threshold must be above the warning threshold".into());
        }
        Ok(Self { warning, critical, confirm })
    }

    /// Never bad.
    pub fn off() -> Self {
        Self { warning: None, critical: None, confirm: Confirm::default() }
    }

    /// Over this it is a warning.
    pub fn warning(&self) -> Option<f64> {
        self.warning
    }

    /// Over this it is critical.
    pub fn critical(&self) -> Option<f64> {
        self.critical
    }

    /// When it counts.
    pub fn confirm(&self) -> Confirm {
        self.confirm
    }
}

/// A heartbeat file.
#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatRule {
    /// A path, or a glob that may match many files.
    pub path: Arc<str>,
    /// Older than this is stale.
    pub max_age: Duration,
    /// How bad it is when it is missing or stale.
    pub severity: Severity,
    /// When that counts.
    pub confirm: Confirm,
}

/// A probe, as far as every kind has it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeRule {
    /// Its name.
    pub name: Arc<str>,
    /// How bad it is when what it finds is not as it should be.
    pub severity: Severity,
    /// When that counts.
    pub confirm: Confirm,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_backoff_is_the_documented_one() {
        let backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|n| backoff.delay(n).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(backoff.delay(u32::MAX).as_secs(), 300);
    }

    #[test]
    fn unit_patterns_are_read_as_systemctl_reads_them() {
        assert_eq!(UnitPattern::try_new("nginx").unwrap().exact(), Some("nginx.service"));
        assert_eq!(UnitPattern::try_new("a@b.timer").unwrap().exact(), Some("a@b.timer"));
        let glob = UnitPattern::try_new("worker@*.service").unwrap();
        assert!(glob.matches("worker@7.service") && !glob.matches("worker.service"));
        assert!(UnitPattern::try_new("worker@.service").unwrap_err().contains("worker@*.service"));
        assert!(UnitPattern::try_new("a b").is_err());
        assert!(UnitPattern::try_new("").is_err());
    }

    #[test]
    fn an_exact_name_beats_a_glob() {
        let mut exact = UnitRule::new(UnitPattern::try_new("web@1.service").unwrap());
        exact.restart = true;
        let rules = Rules {
            units: vec![UnitRule::new(UnitPattern::try_new("web@*").unwrap()), exact],
            ..Rules::default()
        };
        assert!(rules.unit("web@1.service").unwrap().restart);
        assert!(!rules.unit("web@2.service").unwrap().restart);
        assert!(rules.unit("db.service").is_none() && rules.watches("db.service"));
    }
}
