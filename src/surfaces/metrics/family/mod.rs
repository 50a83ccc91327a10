//! Metrics of a snapshot, not yet written out: families with their samples.

mod containers;
mod measured;
mod shown;
mod tell;
mod units;

use std::borrow::Cow;

use crate::engine::{CheckView, Severity, Snapshot, Wall};

use super::registry::{self, Entry, Kind};
use shown::Shown;

#[cfg(test)]
pub(super) use shown::MOST_OF_A_KIND;

/// One metric with all its samples.
pub(super) struct Family<'a> {
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Kind,
    pub(super) help: Cow<'static, str>,
    pub(super) samples: Vec<Sample<'a>>,
}

/// One value and the labels that tell it apart.
pub(super) struct Sample<'a> {
    pub(super) labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) value: f64,
}

/// All families that have at least one sample: the fixed ones in the order of the registry, then
/// the measured ones by name.
pub(super) fn all<'a>(snapshot: &'a Snapshot, version: &'a str) -> Vec<Family<'a>> {
    let shown = Shown::of(snapshot);
    let mut all: Vec<Family<'a>> =
        registry::FIXED.iter().map(|entry| fixed(entry, &shown, version)).collect();
    all.retain(|f| !f.samples.is_empty());
    all.extend(measured::all(&shown));
    all
}

fn fixed<'a>(entry: &Entry, shown: &Shown<'a>, version: &'a str) -> Family<'a> {
    let name = entry.name;
    let samples = of_host(name, shown, version)
        .or_else(|| of_checks(name, shown))
        .or_else(|| units::fill(name, shown))
        .or_else(|| containers::fill(name, shown))
        .or_else(|| tell::fill(name, shown.snapshot))
        .unwrap_or_default();
    Family { name: name.into(), kind: entry.kind, help: entry.help.into(), samples }
}

/// What there is of the host and of keepwell as a whole; `None` when the name is of another sort.
fn of_host<'a>(name: &str, shown: &Shown<'a>, version: &'a str) -> Option<Vec<Sample<'a>>> {
    let snapshot = shown.snapshot;
    let value = match name {
        "keepwell_build_info" => {
            let labels = [("version", version), ("arch", std::env::consts::ARCH)];
            return Some(vec![sample(labels, 1.0)]);
        }
        "keepwell_host_info" => return Some(vec![host_info(snapshot)]),
        "keepwell_checks" => {
            let all = [Severity::Healthy, Severity::Unknown, Severity::Warning, Severity::Critical];
            let counts = snapshot.counts();
            let by_severity =
                all.iter().map(|s| labelled("severity", s.as_str(), counts[*s as usize] as f64));
            return Some(by_severity.collect());
        }
        "keepwell_units_loaded" => {
            return Some(snapshot.units_total.map(|n| bare(f64::from(n))).into_iter().collect());
        }
        "keepwell_ready" => truth(snapshot.ready),
        "keepwell_severity" => rank(snapshot.severity),
        "keepwell_start_time_seconds" => seconds(snapshot.started),
        "keepwell_snapshot_time_seconds" => seconds(snapshot.at),
        "keepwell_loop_lag_seconds" => snapshot.loop_lag as f64 / 1e6,
        "keepwell_bus_reconnects_total" => snapshot.bus_reconnects as f64,
        "keepwell_checks_left_out" => shown.left_out as f64,
        "keepwell_silences" => snapshot.silences.len() as f64,
        "keepwell_maintenance" => snapshot.maintenance.len() as f64,
        "keepwell_holds" => snapshot.holds.len() as f64,
        "keepwell_quiet" => truth(snapshot.quiet.is_some()),
        _ => return None,
    };
    Some(vec![bare(value)])
}

fn of_checks<'a>(name: &str, shown: &Shown<'a>) -> Option<Vec<Sample<'a>>> {
    let checks = shown.checks.iter().copied();
    Some(match name {
        "keepwell_check_severity" => checks.map(|c| of_check(c, rank(c.severity))).collect(),
        "keepwell_check_consecutive_failures" => {
            checks.map(|c| of_check(c, f64::from(c.consecutive_failures))).collect()
        }
        "keepwell_check_condition_severity" => checks
            .flat_map(|check| {
                check.conditions.iter().map(|condition| {
                    let mut sample = of_check(check, rank(condition.severity));
                    sample.labels.push(("condition".into(), condition.kind.as_str().into()));
                    sample
                })
            })
            .collect(),
        _ => return None,
    })
}

/// What keepwell is about with what it may restart. A hold counts for more than what it holds back;
/// `subject` is how holds call it.
fn phase(
    snapshot: &Snapshot,
    subject: &str,
    (restarting, gave_up, next_attempt): (bool, bool, Option<Wall>),
) -> &'static str {
    let held = || snapshot.holds.iter().any(|h| h.unit.as_deref().is_none_or(|u| u == subject));
    if restarting {
        "restarting"
    } else if held() {
        "held"
    } else if gave_up {
        "gave-up"
    } else if next_attempt.is_some() {
        "waiting"
    } else {
        "idle"
    }
}

fn of_check(check: &CheckView, value: f64) -> Sample<'_> {
    Sample {
        labels: vec![
            ("check".into(), check.id.to_string().into()),
            ("kind".into(), check.id.kind.as_str().into()),
        ],
        value,
    }
}

/// The user's labels go here and not on every sample, as a scraper has labels of its own for them;
/// a query joins them by `group_left`.
fn host_info(snapshot: &Snapshot) -> Sample<'_> {
    let mut labels: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        vec![("host".into(), (&*snapshot.host).into())];
    for (name, value) in snapshot.labels.iter() {
        let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut name: String = name.chars().map(fit).collect();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit() || c == '_') {
            name.insert_str(0, "label_");
        }
        if labels.iter().all(|(taken, _)| *taken != name) {
            labels.push((name.into(), value.into()));
        }
    }
    Sample { labels, value: 1.0 }
}

fn bare<'a>(value: f64) -> Sample<'a> {
    Sample { labels: Vec::new(), value }
}

fn labelled<'a>(name: &'static str, label: &'a str, value: f64) -> Sample<'a> {
    sample([(name, label)], value)
}

fn sample<'a, const N: usize>(labels: [(&'static str, &'a str); N], value: f64) -> Sample<'a> {
    Sample { labels: labels.map(|(name, value)| (name.into(), value.into())).into(), value }
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn rank(severity: Severity) -> f64 {
    f64::from(severity as u8)
}

fn seconds(at: Wall) -> f64 {
    at.0 as f64 / 1e6
}
