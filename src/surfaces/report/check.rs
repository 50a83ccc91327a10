//! Checks and units as typed JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::view::UnitView;
use crate::engine::{CheckView, Decision, Severity, Wall};

use super::{ContainerReport, Lines, Stamp};

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
    /// For containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Box<ContainerReport>>,
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

impl CheckReport {
    /// A check as it was at `at`, with what is log text only where `lines` are shown.
    pub fn of(view: &CheckView, at: Wall, lines: Lines) -> Self {
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
            container: view
                .container
                .as_ref()
                .map(|c| Box::new(ContainerReport::of(c, Stamp(at), lines))),
            decisions: view.decisions.iter().map(DecisionReport::from).collect(),
        }
    }

    /// When keepwell will restart what it is about.
    pub fn next_attempt(&self) -> Option<Stamp> {
        let unit = self.unit.as_ref().and_then(|u| u.next_attempt);
        unit.or_else(|| self.container.as_ref().and_then(|c| c.next_attempt))
    }

    /// A container that is well and that nobody named: listed among the others only when asked for.
    pub fn is_of_the_crowd(&self) -> bool {
        self.severity == Severity::Healthy && self.container.as_ref().is_some_and(|c| !c.named)
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
