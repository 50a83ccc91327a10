//! What keeps messages or restarts back, as typed JSON: silences, maintenance windows, holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::matcher::CheckPattern;
use crate::engine::saved::{Hold, Silence};
use crate::engine::view::MaintenanceView;
use crate::engine::{CheckId, Severity, Snapshot};

use super::Stamp;

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

/// A maintenance window of the configuration in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaintenanceReport {
    /// Its name.
    pub name: String,
    /// When it ends.
    pub until: Stamp,
}

impl MaintenanceReport {
    /// All of a snapshot.
    pub fn all(snapshot: &Snapshot) -> Vec<Self> {
        let one = |m: &MaintenanceView| Self { name: m.name.to_string(), until: Stamp(m.until) };
        snapshot.maintenance.iter().map(one).collect()
    }

    /// `nightly backup until …`.
    pub fn line(&self) -> String {
        format!("{} until {}", self.name, self.until.readable())
    }
}

/// The silence under which an alert falls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SilencedReport {
    /// Its id.
    pub id: String,
    /// Until when.
    pub until: Stamp,
    /// Who said so.
    pub actor: String,
}

/// A silence: no messages of what matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SilenceReport {
    /// Its id.
    pub id: String,
    /// Of which alerts, in words.
    pub of: String,
    /// Of these checks; empty: any.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Of this severity and worse; `null`: any.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Of hosts with these labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Since when.
    pub from: Stamp,
    /// Until when.
    pub until: Stamp,
    /// Who said so.
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub why: Option<String>,
}

/// `/api/v1/silences`: everything that keeps messages back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SilenceList {
    /// When this picture was taken.
    pub timestamp: Stamp,
    /// Silences in force.
    pub silences: Vec<SilenceReport>,
    /// Maintenance windows in force.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceReport>,
    /// Why messages wait at the moment, by name, if they do.
    #[serde(default)]
    pub quiet: Option<String>,
}

impl From<&Silence> for SilenceReport {
    fn from(silence: &Silence) -> Self {
        let matcher = &silence.matcher;
        Self {
            id: silence.id.to_string(),
            of: matcher.to_string(),
            checks: matcher.checks.iter().map(|c| c.as_str().to_owned()).collect(),
            severity: matcher.min_severity,
            labels: matcher.labels.clone(),
            from: Stamp(silence.from),
            until: Stamp(silence.until),
            actor: silence.actor.0.clone(),
            why: silence.why.clone(),
        }
    }
}

impl SilenceReport {
    /// Whether it is about this check on a host with these labels, whatever the severity.
    pub fn is_about(&self, check: &str, labels: &BTreeMap<String, String>) -> bool {
        let Ok(id) = check.parse::<CheckId>() else { return false };
        let meant = |text: &String| CheckPattern::try_new(text).is_ok_and(|p| p.matches(&id));
        (self.checks.is_empty() || self.checks.iter().any(meant))
            && self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Whether it keeps messages back about this check, which is so bad; about one that is well it
    /// is when it would.
    pub fn applies(
        &self,
        check: &str,
        severity: Severity,
        labels: &BTreeMap<String, String>,
    ) -> bool {
        let bad_enough = self.severity.is_none_or(|least| severity >= least);
        (bad_enough || !severity.alerts()) && self.is_about(check, labels)
    }

    /// `unit:nginx.service until …, by root (uid 0): migration`.
    pub fn line(&self) -> String {
        let why = self.why.as_ref().map(|w| format!(": {w}")).unwrap_or_default();
        format!("{} {} until {}, by {}{why}", self.id, self.of, self.until.readable(), self.actor)
    }
}
