//! What the API tells, as typed JSON: the snapshot in words and RFC 3339 times. The command-line
//! tool reads the same types back, so that both sides have one shape. No rendering for people.
//!
//! Names from the engine (reasons, alert kinds, states) are plain strings here: a tool of one
//! version can then read the answer of a daemon of the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::matcher::CheckPattern;
use crate::engine::{CheckId, Reason, Severity, Snapshot};

mod alert;
mod channel;
mod check;
mod container;
mod quiet;
mod stamp;

pub use alert::{
    AckReport, ActReport, AlertCounts, AlertDetail, AlertList, AlertReport, PendingReport, Related,
    near,
};
pub use channel::{ChannelList, ChannelReport, TestReport, TestResult, near_names};
pub use check::{CheckReport, ConditionReport, DecisionReport, UnitReport};
pub use container::{
    ContainerList, ContainerReport, HealthReport, HookReport, LogReport, UsageReport,
};
pub(super) use container::{cpu_ratio, memory_ratio};
pub use quiet::{HoldReport, MaintenanceReport, SilenceList, SilenceReport, SilencedReport};
pub use stamp::Stamp;

/// Whether log lines are part of the answer: only those who may read logs get them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// Included.
    Shown,
    /// Left out.
    Hidden,
}

/// So many alerts that are over are part of the whole picture.
pub const RECENT: usize = 10;

/// So many names of checks are doubted in one go.
const DOUBTS: usize = 10;

/// How many checks there are of each severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// All is well.
    pub healthy: usize,
    /// Could not be found out.
    pub unknown: usize,
    /// To be looked at soon.
    pub warning: usize,
    /// To be looked at now.
    pub critical: usize,
}

impl Counts {
    /// Of all checks of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let [healthy, unknown, warning, critical] = snapshot.counts();
        Self { healthy, unknown, warning, critical }
    }

    /// All of them.
    pub fn total(self) -> usize {
        self.healthy + self.unknown + self.warning + self.critical
    }

    /// Those of one severity.
    pub fn get(self, severity: Severity) -> usize {
        match severity {
            Severity::Healthy => self.healthy,
            Severity::Unknown => self.unknown,
            Severity::Warning => self.warning,
            Severity::Critical => self.critical,
        }
    }
}

/// `/api/v1/status` and `/health/detailed`: everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The worst of all checks.
    pub status: Severity,
    /// When this picture was taken.
    pub timestamp: Stamp,
    /// The first round is done.
    pub ready: bool,
    /// Host name.
    pub host: String,
    /// keepwell's version.
    pub version: String,
    /// When keepwell started.
    pub started: Stamp,
    /// Rises with every change.
    pub generation: u64,
    /// The user's labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Units that systemd has loaded, where known.
    #[serde(default)]
    pub units_total: Option<u32>,
    /// How many checks there are of each severity.
    pub counts: Counts,
    /// All checks, ordered by id.
    pub checks: Vec<CheckReport>,
    /// Open alerts, oldest first.
    #[serde(default)]
    pub alerts: Vec<AlertReport>,
    /// How many alerts are open, by who looks after them.
    #[serde(default)]
    pub alert_counts: AlertCounts,
    /// Alerts that ended lately, newest first, at most [`RECENT`], without log lines.
    #[serde(default)]
    pub recent: Vec<AlertReport>,
    /// Holds in force.
    #[serde(default)]
    pub holds: Vec<HoldReport>,
    /// Silences in force.
    #[serde(default)]
    pub silences: Vec<SilenceReport>,
    /// Maintenance windows in force.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceReport>,
    /// Why messages and restarts wait at the moment, by name, if they do.
    #[serde(default)]
    pub quiet: Option<String>,
    /// Who can be told.
    #[serde(default)]
    pub channels: Vec<ChannelReport>,
    /// Who is told of the life of containers.
    #[serde(default)]
    pub hooks: Vec<HookReport>,
}

/// `/api/v1/explain`: one check and what bears on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainReport {
    /// When this picture was taken.
    pub timestamp: Stamp,
    /// The check.
    pub check: CheckReport,
    /// What its reason means.
    pub meaning: String,
    /// Its open alerts.
    pub alerts: Vec<AlertReport>,
    /// Holds that apply to it.
    pub holds: Vec<HoldReport>,
    /// Silences that apply to it; while it is well, those that would.
    #[serde(default)]
    pub silences: Vec<SilenceReport>,
    /// Maintenance windows in force; whether one is about this check, its alerts say.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceReport>,
    /// Why messages and restarts wait at the moment, by name, if they do.
    #[serde(default)]
    pub quiet: Option<String>,
    /// Channels that do not deliver.
    #[serde(default)]
    pub channels: Vec<ChannelReport>,
}

impl StatusReport {
    /// The whole snapshot.
    pub fn of(snapshot: &Snapshot, version: &str, lines: Lines) -> Self {
        Self {
            status: snapshot.severity,
            timestamp: Stamp(snapshot.at),
            ready: snapshot.ready,
            host: snapshot.host.to_string(),
            version: version.to_owned(),
            started: Stamp(snapshot.started),
            generation: snapshot.generation,
            labels: (*snapshot.labels).clone(),
            units_total: snapshot.units_total,
            counts: Counts::of(snapshot),
            checks: snapshot
                .checks
                .iter()
                .map(|c| CheckReport::of(c, snapshot.at, lines))
                .collect(),
            alerts: snapshot.alerts.iter().map(|a| AlertReport::of(a, snapshot, lines)).collect(),
            alert_counts: AlertCounts::of(snapshot, |_| true),
            recent: snapshot
                .recent
                .iter()
                .take(RECENT)
                .map(|a| AlertReport::of(a, snapshot, Lines::Hidden))
                .collect(),
            holds: snapshot.holds.iter().map(HoldReport::from).collect(),
            silences: snapshot.silences.iter().map(SilenceReport::from).collect(),
            maintenance: MaintenanceReport::all(snapshot),
            quiet: snapshot.quiet.map(|r| r.as_str().to_owned()),
            channels: snapshot.channels.iter().map(ChannelReport::from).collect(),
            hooks: snapshot.hooks.iter().map(HookReport::from).collect(),
        }
    }

    /// One check with all that bears on it. `asked` is an id, or only the second half of one
    /// (`nginx.service`, `nginx`) as long as a single check answers to it, or an alert's id (`a12`).
    ///
    /// # Errors
    /// The ids that come nearest, best first, at most three.
    pub fn explain(&self, asked: &str) -> Result<ExplainReport, Vec<String>> {
        let check = self.meant(asked).ok_or_else(|| self.near(asked))?.clone();
        // Holds call a container as its check is called.
        let unit = check.unit.as_ref().map(|u| u.name.as_str());
        let unit = unit.or(check.container.as_ref().map(|_| check.id.as_str()));
        let alerts: Vec<_> = self.alerts.iter().filter(|a| a.check == check.id).cloned().collect();
        let severity = alerts.iter().map(|a| a.severity).fold(check.severity, Ord::max);
        Ok(ExplainReport {
            timestamp: self.timestamp,
            meaning: meaning(&check.reason).unwrap_or_default().to_owned(),
            alerts,
            holds: self
                .holds
                .iter()
                .filter(|h| unit.is_some() && (h.unit.is_none() || h.unit.as_deref() == unit))
                .cloned()
                .collect(),
            silences: self
                .silences
                .iter()
                .filter(|s| s.applies(&check.id, severity, &self.labels))
                .cloned()
                .collect(),
            maintenance: self.maintenance.clone(),
            quiet: self.quiet.clone(),
            channels: self.channels.iter().filter(|c| c.is_down()).cloned().collect(),
            check,
        })
    }

    fn meant(&self, asked: &str) -> Option<&CheckReport> {
        self.find(asked).or_else(|| {
            let alert = self.alerts.iter().chain(&self.recent).find(|a| a.id == asked)?;
            self.checks.iter().find(|c| c.id == alert.check)
        })
    }

    fn find(&self, asked: &str) -> Option<&CheckReport> {
        if let Some(exact) = self.checks.iter().find(|c| c.id == asked) {
            return Some(exact);
        }
        let mut fitting = self.checks.iter().filter(|c| {
            let name = second_half(&c.id);
            name == asked || name.strip_suffix(".service") == Some(asked)
        });
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }

    /// What is odd about these names of checks in a silence, one line each: a name that means
    /// nothing may be a slip, and then the wrong thing is silent.
    pub fn doubts(&self, checks: &[String]) -> Vec<String> {
        let known: Vec<CheckId> = self.checks.iter().filter_map(|c| c.id.parse().ok()).collect();
        let nothing = |text: &&String| {
            text.trim() != "*"
                && CheckPattern::try_new(text).is_ok_and(|p| !known.iter().any(|id| p.matches(id)))
        };
        let doubt = |text: &String| {
            let near = match &self.near(text)[..] {
                [] => String::new(),
                near => format!("; did you mean {}?", near.join(" or ")),
            };
            let text: String = text.chars().take(100).collect();
            format!("no check matches '{text}' at the moment{near}")
        };
        checks.iter().filter(nothing).take(DOUBTS).map(doubt).collect()
    }

    fn near(&self, asked: &str) -> Vec<String> {
        let mut scored: Vec<(f64, &str)> = self
            .checks
            .iter()
            .map(|c| {
                let name = second_half(&c.id);
                let stem = name.strip_suffix(".service").unwrap_or(name);
                let mut score = [&*c.id, name, stem]
                    .iter()
                    .map(|known| strsim::jaro_winkler(known, asked))
                    .fold(0.0, f64::max);
                if asked.len() >= 3 && c.id.contains(asked) {
                    score = score.max(0.95);
                }
                (score, c.id.as_str())
            })
            .filter(|(score, _)| *score > 0.8)
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        scored.into_iter().take(3).map(|(_, id)| id.to_owned()).collect()
    }
}

fn second_half(id: &str) -> &str {
    id.split_once(':').map_or(id, |(_, name)| name)
}

/// What a reason means, for people; `None` for a reason of another version.
pub fn meaning(reason: &str) -> Option<&'static str> {
    Reason::ALL.iter().find(|r| r.as_str() == reason).map(|r| r.meaning())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Wall;
    use crate::surfaces::sample;

    #[test]
    fn a_report_reads_back_as_it_was_written() {
        let report = StatusReport::of(&sample::failing(), "1.2.3", Lines::Shown);
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(r#""timestamp":"2026-01-31T07:17:22.5Z""#), "{json}");
        assert_eq!(serde_json::from_str::<StatusReport>(&json).unwrap(), report);
    }

    #[test]
    fn log_lines_are_left_out_for_those_who_may_not_read_them() {
        let hidden = StatusReport::of(&sample::failing(), "1", Lines::Hidden);
        assert!(!serde_json::to_string(&hidden).unwrap().contains("bind() to"));
        let shown = StatusReport::of(&sample::failing(), "1", Lines::Shown);
        assert!(serde_json::to_string(&shown).unwrap().contains("bind() to"));
    }

    #[test]
    fn a_check_is_found_by_id_or_by_a_clear_short_name() {
        let report = StatusReport::of(&sample::failing(), "1", Lines::Hidden);
        for asked in ["unit:nginx.service", "nginx.service", "nginx"] {
            assert_eq!(report.explain(asked).unwrap().check.id, "unit:nginx.service");
        }
        assert_eq!(report.explain("nginx").unwrap().meaning, "it ended with an error code");
        assert_eq!(report.explain("ngnix").unwrap_err(), ["unit:nginx.service"]);
        assert!(report.explain("zzz").unwrap_err().is_empty());
        // "/" is both a disk and its inodes: not clear, so nothing is guessed.
        assert!(report.explain("/").is_err());
    }

    #[test]
    fn an_alert_stands_for_its_check() {
        let report = StatusReport::of(&sample::busy(), "1", Lines::Hidden);
        assert_eq!(report.explain("a12").unwrap().check.id, "unit:nginx.service");
        assert!(report.explain("a99").is_err());
    }

    #[test]
    fn a_silence_for_what_is_worse_does_not_apply() {
        let mut snapshot = sample::busy();
        let silences = |snapshot: &Snapshot, check: &str| {
            let report = StatusReport::of(snapshot, "1", Lines::Hidden);
            report.explain(check).unwrap().silences.len()
        };
        snapshot.silences[0].matcher.checks.clear();
        snapshot.silences[0].matcher.min_severity = Some(Severity::Critical);
        assert_eq!(silences(&snapshot, "disk:/var"), 0, "it is a warning");
        assert_eq!(silences(&snapshot, "nginx"), 1);
        assert_eq!(silences(&snapshot, "memory"), 1, "it is well");
        snapshot.silences[0].matcher.min_severity = Some(Severity::Warning);
        assert_eq!(silences(&snapshot, "disk:/var"), 1);
    }

    #[test]
    fn what_matches_nothing_is_doubted() {
        let report = StatusReport::of(&sample::failing(), "1", Lines::Hidden);
        let of = |checks: &[&str]| {
            report.doubts(&checks.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>())
        };
        assert!(of(&["nginx", "disk:*", "web@*", "*", "memory"]).is_empty());
        assert_eq!(
            of(&["ngnix", "swap"]),
            [
                "no check matches 'ngnix' at the moment; did you mean unit:nginx.service?",
                "no check matches 'swap' at the moment"
            ]
        );
    }

    #[test]
    fn a_time_outside_the_calendar_is_clamped() {
        assert!(Stamp(Wall(i64::MAX)).to_string().starts_with("9999-12-30"));
        assert_eq!(Stamp(Wall(0)).readable(), "1970-01-01 00:00:00 UTC");
    }
}
