//! Metrics of a snapshot, not yet written out: families with their samples.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::engine::observation::ActiveState;
use crate::engine::view::{ChannelState, ChannelView};
use crate::engine::{CheckKind, CheckView, Severity, Snapshot, Wall};

use super::registry::{self, Entry, Kind};
use crate::surfaces::report::AlertCounts;

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

/// The states that `keepwell_unit_state` tells apart.
const STATES: [ActiveState; 6] = [
    ActiveState::Active,
    ActiveState::Activating,
    ActiveState::Inactive,
    ActiveState::Deactivating,
    ActiveState::Failed,
    ActiveState::Reloading,
];

/// All families that have at least one sample: the fixed ones in the order of the registry, then
/// the measured ones by name.
pub(super) fn all<'a>(snapshot: &'a Snapshot, version: &'a str) -> Vec<Family<'a>> {
    let mut fixed: Vec<Family<'a>> =
        registry::FIXED.iter().map(|e| fixed(e, snapshot, version)).collect();
    fixed.retain(|f| !f.samples.is_empty());
    fixed.extend(measured(snapshot));
    fixed
}

fn fixed<'a>(entry: &Entry, snapshot: &'a Snapshot, version: &'a str) -> Family<'a> {
    Family {
        name: entry.name.into(),
        kind: entry.kind,
        help: entry.help.into(),
        samples: fill(entry.name, snapshot, version),
    }
}

fn fill<'a>(name: &str, snapshot: &'a Snapshot, version: &'a str) -> Vec<Sample<'a>> {
    let checks = || snapshot.checks.iter().map(|c| &**c);
    match name {
        "keepwell_build_info" => vec![labelled("version", version, 1.0)],
        "keepwell_host_info" => vec![host_info(snapshot)],
        "keepwell_ready" => vec![bare(f64::from(u8::from(snapshot.ready)))],
        "keepwell_severity" => vec![bare(rank(snapshot.severity))],
        "keepwell_start_time_seconds" => vec![bare(seconds(snapshot.started))],
        "keepwell_snapshot_time_seconds" => vec![bare(seconds(snapshot.at))],
        "keepwell_checks" => {
            let all = [Severity::Healthy, Severity::Unknown, Severity::Warning, Severity::Critical];
            let counts = snapshot.counts();
            all.iter()
                .map(|s| labelled("severity", s.as_str(), counts[*s as usize] as f64))
                .collect()
        }
        "keepwell_alerts_open" => [Severity::Warning, Severity::Critical]
            .iter()
            .map(|s| {
                let open = snapshot.alerts.iter().filter(|a| a.severity == *s).count();
                labelled("severity", s.as_str(), open as f64)
            })
            .collect(),
        "keepwell_alerts" => [Severity::Warning, Severity::Critical]
            .into_iter()
            .flat_map(|s| by_care(s, AlertCounts::of(snapshot, |a| a.severity == s)))
            .collect(),
        "keepwell_silences" => vec![bare(snapshot.silences.len() as f64)],
        "keepwell_holds" => vec![bare(snapshot.holds.len() as f64)],
        "keepwell_units_loaded" => {
            snapshot.units_total.map(|n| bare(f64::from(n))).into_iter().collect()
        }
        "keepwell_check_severity" => checks().map(|c| of_check(c, rank(c.severity))).collect(),
        "keepwell_check_consecutive_failures" => {
            checks().map(|c| of_check(c, f64::from(c.consecutive_failures))).collect()
        }
        "keepwell_unit_active" => of_units(snapshot, |u| {
            let up = matches!(u.seen.active, ActiveState::Active | ActiveState::Reloading);
            f64::from(u8::from(up))
        }),
        "keepwell_unit_state" => checks().flat_map(states).collect(),
        "keepwell_unit_restarts_total" => of_units(snapshot, |u| u.restarts as f64),
        "keepwell_unit_crashes_total" => of_units(snapshot, |u| u.crashes as f64),
        "keepwell_unit_healed_total" => of_units(snapshot, |u| u.healed as f64),
        "keepwell_unit_backoff_step" => of_units(snapshot, |u| f64::from(u.step)),
        "keepwell_channel_up" => of_channels(snapshot, |c| {
            let up = matches!(c.state, ChannelState::Works | ChannelState::Untried);
            Some(f64::from(u8::from(up)))
        }),
        "keepwell_channel_sent_total" => of_channels(snapshot, |c| Some(c.sent as f64)),
        "keepwell_channel_failed_total" => of_channels(snapshot, |c| Some(c.failed as f64)),
        "keepwell_channel_queued" => of_channels(snapshot, |c| Some(c.queued as f64)),
        "keepwell_channel_last_success_timestamp_seconds" => {
            of_channels(snapshot, |c| c.last_success.map(seconds))
        }
        "keepwell_channel_latency_seconds" => {
            of_channels(snapshot, |c| c.last_latency.map(|us| us as f64 / 1e6))
        }
        _ => Vec::new(),
    }
}

fn by_care<'a>(severity: Severity, counts: AlertCounts) -> impl Iterator<Item = Sample<'a>> {
    let states = [
        ("active", counts.active),
        ("acknowledged", counts.acknowledged),
        ("silenced", counts.silenced),
    ];
    states.into_iter().map(move |(state, count)| Sample {
        labels: vec![("severity".into(), severity.as_str().into()), ("state".into(), state.into())],
        value: count as f64,
    })
}

/// One sample for each channel that has this value; there are as many as the configuration names.
fn of_channels<'a>(
    snapshot: &'a Snapshot,
    value: impl Fn(&ChannelView) -> Option<f64>,
) -> Vec<Sample<'a>> {
    let sample = |channel: &'a ChannelView| {
        let labels = vec![
            ("channel".into(), (&*channel.name).into()),
            ("type".into(), (&*channel.kind).into()),
        ];
        Some(Sample { labels, value: value(channel)? })
    };
    snapshot.channels.iter().filter_map(sample).collect()
}

/// What the checks measured, as `keepwell_KIND_VALUE`.
fn measured(snapshot: &Snapshot) -> Vec<Family<'_>> {
    let mut families: BTreeMap<String, Family<'_>> = BTreeMap::new();
    for check in &snapshot.checks {
        for (i, value) in check.values.iter().enumerate() {
            let name = metric_name(check.id.kind, value.name);
            let twice = check.values[..i].iter().any(|v| v.name == value.name);
            if twice || registry::FIXED.iter().any(|e| e.name == name) {
                continue; // A second sample with the same labels would spoil the whole scrape.
            }
            let family = families.entry(name).or_insert_with_key(|name| {
                let (kind, help) = registry::measured(name);
                Family { name: name.clone().into(), kind, help, samples: Vec::new() }
            });
            let sample = match label_of(check.id.kind) {
                _ if check.id.name.is_empty() => bare(value.value),
                label => labelled(label, &check.id.name, value.value),
            };
            family.samples.push(sample);
        }
    }
    families.into_values().collect()
}

fn metric_name(kind: CheckKind, value: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("keepwell_{}_{value}", kind.as_str()).chars().map(fit).collect()
}

fn label_of(kind: CheckKind) -> &'static str {
    match kind {
        CheckKind::Disk | CheckKind::Inodes => "mount",
        CheckKind::Heartbeat => "file",
        CheckKind::Pressure => "resource",
        _ => "name",
    }
}

fn states(check: &CheckView) -> Vec<Sample<'_>> {
    let Some(unit) = check.unit.as_ref().filter(|u| u.named || check.severity.alerts()) else {
        return Vec::new();
    };
    STATES
        .iter()
        .map(|state| Sample {
            labels: vec![
                ("name".into(), (&*check.id.name).into()),
                ("state".into(), state.as_str().into()),
            ],
            value: f64::from(u8::from(unit.seen.active == *state)),
        })
        .collect()
}

fn of_units(
    snapshot: &Snapshot,
    value: impl Fn(&crate::engine::view::UnitView) -> f64,
) -> Vec<Sample<'_>> {
    let units = snapshot.checks.iter().filter_map(|c| c.unit.as_ref().map(|u| (c, u)));
    units.map(|(c, u)| labelled("name", &c.id.name, value(u))).collect()
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
    Sample { labels: vec![(name.into(), label.into())], value }
}

fn rank(severity: Severity) -> f64 {
    f64::from(severity as u8)
}

fn seconds(at: Wall) -> f64 {
    at.0 as f64 / 1e6
}
