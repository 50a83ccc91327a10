//! What the API tells, as typed JSON: the snapshot in words and RFC 3339 times. The command-line
//! tool reads the same types back, so that both sides have one shape. No rendering for people.
//!
//! Names from the engine (reasons, alert kinds, states) are plain strings here: a tool of one
//! version can then read the answer of a daemon of the next.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::engine::saved::Hold;
use crate::engine::view::UnitView;
use crate::engine::{AlertRecord, CheckView, Decision, Reason, Severity, Snapshot, Wall};

/// A moment, written as RFC 3339 in UTC with up to six decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Stamp(pub Wall);

impl Stamp {
    fn timestamp(self) -> jiff::Timestamp {
        let limit = if self.0.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::from_microsecond(self.0.0).unwrap_or(limit)
    }

    /// Date and time to the second for people: `2026-01-31 07:17:22 UTC`.
    pub fn readable(self) -> String {
        self.timestamp().strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
    }

    /// Time of day to the second for people: `07:17:22 UTC`.
    pub fn time_of_day(self) -> String {
        self.timestamp().strftime("%H:%M:%S UTC").to_string()
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.timestamp(), f)
    }
}

impl FromStr for Stamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        Ok(Self(Wall(text.parse::<jiff::Timestamp>()?.as_microsecond())))
    }
}

impl Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether log lines are part of the answer: only those who may read logs get them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// Included.
    Shown,
    /// Left out.
    Hidden,
}

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
    /// Holds in force.
    #[serde(default)]
    pub holds: Vec<HoldReport>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Its id, such as `unit:nginx.service`.
    pub id: String,
    /// The worst of its conditions.
    pub severity: Severity,
    /// Why, by name.
    pub reason: String,
    /// One line for people.
    pub summary: String,
    /// Since when it has had this severity.
    pub since: Stamp,
    /// Each condition.
    #[serde(default)]
    pub conditions: Vec<ConditionReport>,
    /// When it was last looked at.
    #[serde(default)]
    pub last_check: Option<Stamp>,
    /// When it was last found healthy.
    #[serde(default)]
    pub last_success: Option<Stamp>,
    /// When it was last found warning or critical.
    #[serde(default)]
    pub last_failure: Option<Stamp>,
    /// Times in a row it was found warning or critical.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// What was measured, by name with the unit in it; `null` for what is not a number.
    #[serde(default)]
    pub values: BTreeMap<String, Option<f64>>,
    /// For units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitReport>,
    /// The last decisions, newest last.
    #[serde(default)]
    pub decisions: Vec<DecisionReport>,
}

/// One condition of a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionReport {
    /// Which: `state`, `crash-loop`, `errors`.
    pub kind: String,
    /// How bad.
    pub severity: Severity,
    /// Why, by name.
    pub reason: String,
    /// One line for people.
    pub summary: String,
}

/// What is known of a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitReport {
    /// Full name.
    pub name: String,
    /// systemd's load state.
    pub load: String,
    /// systemd's active state.
    pub active: String,
    /// systemd's sub state.
    pub sub: String,
    /// When it entered its present state.
    #[serde(default)]
    pub state_since: Option<Stamp>,
    /// `InvocationID` of the present or last run.
    #[serde(default)]
    pub invocation: Option<String>,
    /// `Result` of a service, such as `exit-code`.
    #[serde(default)]
    pub result: Option<String>,
    /// Exit status or signal number of the last run, when the main process has ended.
    #[serde(default)]
    pub exit_status: Option<i32>,
    /// `MainPID`, when there is one.
    #[serde(default)]
    pub main_pid: Option<u32>,
    /// Somebody named it in the configuration.
    pub named: bool,
    /// keepwell may restart it.
    pub restart: bool,
    /// Runs that ended badly.
    pub crashes: u64,
    /// Restarts by whomever.
    pub restarts: u64,
    /// Restarts within the crash-loop window.
    pub restarts_in_window: u32,
    /// Restarts by keepwell.
    pub healed: u64,
    /// Attempts since it was last stable.
    pub step: u32,
    /// When keepwell will restart it.
    #[serde(default)]
    pub next_attempt: Option<Stamp>,
    /// The run that the last failure was about.
    #[serde(default)]
    pub failed_invocation: Option<String>,
    /// When keepwell came to its present verdict.
    pub judged: Stamp,
    /// The same in microseconds since the epoch, for those who measure.
    #[serde(default)]
    pub judged_us: i64,
}

/// A decision, also one to do nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionReport {
    /// When.
    pub at: Stamp,
    /// How bad the check was then.
    pub severity: Severity,
    /// Why, by name.
    pub reason: String,
    /// One line for people.
    pub text: String,
}

/// An open alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertReport {
    /// Its id.
    pub id: String,
    /// The check it is about.
    pub check: String,
    /// Which of its conditions.
    pub kind: String,
    /// How bad.
    pub severity: Severity,
    /// Why, by name.
    pub reason: String,
    /// One line for people.
    pub summary: String,
    /// When it opened.
    pub opened: Stamp,
    /// When it ended.
    #[serde(default)]
    pub resolved: Option<Stamp>,
    /// Channels that have been told.
    #[serde(default)]
    pub told: Vec<String>,
    /// When it was last told.
    #[serde(default)]
    pub last_told: Option<Stamp>,
    /// The last log lines of the run that failed; empty for those who may not read logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// What keepwell did and will do, newest last.
    #[serde(default)]
    pub acts: Vec<String>,
}

/// A hold: healing is off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldReport {
    /// The unit; `null` is all.
    pub unit: Option<String>,
    /// Until when.
    pub until: Stamp,
    /// Who said so.
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub why: Option<String>,
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
            checks: snapshot.checks.iter().map(|c| CheckReport::from(&**c)).collect(),
            alerts: snapshot.alerts.iter().map(|a| AlertReport::of(a, lines)).collect(),
            holds: snapshot.holds.iter().map(HoldReport::from).collect(),
        }
    }

    /// One check with all that bears on it. `asked` is an id, or only the second half of one
    /// (`nginx.service`, `nginx`) as long as a single check answers to it.
    ///
    /// # Errors
    /// The ids that come nearest, best first, at most three.
    pub fn explain(&self, asked: &str) -> Result<ExplainReport, Vec<String>> {
        let check = self.find(asked).ok_or_else(|| self.near(asked))?.clone();
        let unit = check.unit.as_ref().map(|u| u.name.as_str());
        Ok(ExplainReport {
            timestamp: self.timestamp,
            meaning: meaning(&check.reason).unwrap_or_default().to_owned(),
            alerts: self.alerts.iter().filter(|a| a.check == check.id).cloned().collect(),
            holds: self
                .holds
                .iter()
                .filter(|h| unit.is_some() && (h.unit.is_none() || h.unit.as_deref() == unit))
                .cloned()
                .collect(),
            check,
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

impl From<&CheckView> for CheckReport {
    fn from(view: &CheckView) -> Self {
        Self {
            id: view.id.to_string(),
            severity: view.severity,
            reason: view.reason.as_str().to_owned(),
            summary: view.summary.clone(),
            since: Stamp(view.since),
            conditions: view
                .conditions
                .iter()
                .map(|c| ConditionReport {
                    kind: c.kind.as_str().to_owned(),
                    severity: c.severity,
                    reason: c.reason.as_str().to_owned(),
                    summary: c.summary.clone(),
                })
                .collect(),
            last_check: view.last_check.map(Stamp),
            last_success: view.last_success.map(Stamp),
            last_failure: view.last_failure.map(Stamp),
            consecutive_failures: view.consecutive_failures,
            values: view
                .values
                .iter()
                .map(|v| (v.name.to_owned(), v.value.is_finite().then_some(v.value)))
                .collect(),
            unit: view.unit.as_ref().map(UnitReport::from),
            decisions: view.decisions.iter().map(DecisionReport::from).collect(),
        }
    }
}

impl From<&UnitView> for UnitReport {
    fn from(view: &UnitView) -> Self {
        let seen = &view.seen;
        let service = seen.service.as_ref();
        Self {
            name: seen.name.to_string(),
            load: seen.load.as_str().to_owned(),
            active: seen.active.as_str().to_owned(),
            sub: seen.sub.to_string(),
            state_since: seen.since.map(Stamp),
            invocation: seen.invocation.map(|i| i.to_string()),
            result: service.map(|s| s.result.to_string()),
            exit_status: service.filter(|s| s.exit_code != 0).map(|s| s.exit_status),
            main_pid: service.map(|s| s.main_pid).filter(|p| *p != 0),
            named: view.named,
            restart: view.restart,
            crashes: view.crashes,
            restarts: view.restarts,
            restarts_in_window: view.restarts_in_window,
            healed: view.healed,
            step: view.step,
            next_attempt: view.next_attempt.map(Stamp),
            failed_invocation: view.failed_invocation.map(|i| i.to_string()),
            judged: Stamp(view.judged),
            judged_us: view.judged.0,
        }
    }
}

impl From<&Decision> for DecisionReport {
    fn from(decision: &Decision) -> Self {
        Self {
            at: Stamp(decision.at),
            severity: decision.severity,
            reason: decision.reason.as_str().to_owned(),
            text: decision.text.clone(),
        }
    }
}

impl AlertReport {
    fn of(alert: &AlertRecord, lines: Lines) -> Self {
        Self {
            id: alert.id.to_string(),
            check: alert.key.check.to_string(),
            kind: alert.key.kind.as_str().to_owned(),
            severity: alert.severity,
            reason: alert.reason.as_str().to_owned(),
            summary: alert.summary.clone(),
            opened: Stamp(alert.opened),
            resolved: alert.resolved.map(Stamp),
            told: alert.told.iter().map(|t| t.to_string()).collect(),
            last_told: alert.last_told.map(Stamp),
            lines: if lines == Lines::Shown { alert.lines.clone() } else { Vec::new() },
            acts: alert.acts.clone(),
        }
    }
}

impl From<&Hold> for HoldReport {
    fn from(hold: &Hold) -> Self {
        Self {
            unit: hold.unit.as_deref().map(str::to_owned),
            until: Stamp(hold.until),
            actor: hold.actor.0.clone(),
            why: hold.why.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn a_time_outside_the_calendar_is_clamped() {
        assert!(Stamp(Wall(i64::MAX)).to_string().starts_with("9999-12-30"));
        assert_eq!(Stamp(Wall(0)).readable(), "1970-01-01 00:00:00 UTC");
    }
}
