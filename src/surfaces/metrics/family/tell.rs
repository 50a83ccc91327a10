//! Alerts, channels, exporters and hooks.

use crate::engine::view::{ChannelState, ChannelView, ExportView, HookView};
use crate::engine::{Severity, Snapshot};
use crate::surfaces::report::AlertCounts;

use super::{Sample, labelled, sample, seconds, truth};

/// The severities that alerts have.
const ALERTING: [Severity; 2] = [Severity::Warning, Severity::Critical];

/// The samples of a metric about who is told of what; `None` when the name is of another sort.
pub(super) fn fill<'a>(name: &str, snapshot: &'a Snapshot) -> Option<Vec<Sample<'a>>> {
    let channels = |value: fn(&ChannelView) -> f64| of_channels(snapshot, move |c| Some(value(c)));
    let exports = |value: fn(&ExportView) -> f64| of_exports(snapshot, move |e| Some(value(e)));
    let hooks = |value: fn(&HookView) -> f64| of_hooks(snapshot, move |h| Some(value(h)));
    Some(match name {
        "keepwell_hook_sent_total" => hooks(|h| h.sent as f64),
        "keepwell_hook_failed_total" => hooks(|h| h.failed as f64),
        "keepwell_hook_refused_total" => hooks(|h| h.refused as f64),
        "keepwell_hook_queued" => hooks(|h| h.queued as f64),
        "keepwell_hook_last_success_timestamp_seconds" => {
            of_hooks(snapshot, |h| h.last_success.map(seconds))
        }
        "keepwell_alerts_open" => ALERTING
            .iter()
            .map(|s| {
                let open = snapshot.alerts.iter().filter(|a| a.severity == *s).count();
                labelled("severity", s.as_str(), open as f64)
            })
            .collect(),
        "keepwell_alerts" => ALERTING
            .into_iter()
            .flat_map(|s| by_care(s, AlertCounts::of(snapshot, |a| a.severity == s)))
            .collect(),
        "keepwell_channel_up" => {
            channels(|c| truth(matches!(c.state, ChannelState::Works | ChannelState::Untried)))
        }
        "keepwell_channel_sent_total" => channels(|c| c.sent as f64),
        "keepwell_channel_failed_total" => channels(|c| c.failed as f64),
        "keepwell_channel_queued" => channels(|c| c.queued as f64),
        "keepwell_channel_last_success_timestamp_seconds" => {
            of_channels(snapshot, |c| c.last_success.map(seconds))
        }
        "keepwell_channel_latency_seconds" => {
            of_channels(snapshot, |c| c.last_latency.map(|us| us as f64 / 1e6))
        }
        "keepwell_export_sent_total" => exports(|e| e.sent as f64),
        "keepwell_export_failed_total" => exports(|e| e.failed as f64),
        "keepwell_export_dropped_total" => exports(|e| e.dropped as f64),
        "keepwell_export_rejected_total" => exports(|e| e.rejected as f64),
        "keepwell_export_queued" => exports(|e| e.queued as f64),
        "keepwell_export_last_success_timestamp_seconds" => {
            of_exports(snapshot, |e| e.last_success.map(seconds))
        }
        _ => return None,
    })
}

fn by_care<'a>(severity: Severity, counts: AlertCounts) -> impl Iterator<Item = Sample<'a>> {
    let states = [
        ("active", counts.active),
        ("acknowledged", counts.acknowledged),
        ("silenced", counts.silenced),
    ];
    states.into_iter().map(move |(state, count)| {
        sample([("severity", severity.as_str()), ("state", state)], count as f64)
    })
}

/// One sample for each channel that has this value; there are as many as the configuration names.
fn of_channels<'a>(
    snapshot: &'a Snapshot,
    value: impl Fn(&ChannelView) -> Option<f64>,
) -> Vec<Sample<'a>> {
    let of = |channel: &'a ChannelView| {
        let labels = [("channel", &*channel.name), ("type", &*channel.kind)];
        Some(sample(labels, value(channel)?))
    };
    snapshot.channels.iter().filter_map(of).collect()
}

fn of_exports<'a>(
    snapshot: &'a Snapshot,
    value: impl Fn(&ExportView) -> Option<f64>,
) -> Vec<Sample<'a>> {
    let of = |export: &'a ExportView| Some(labelled("exporter", &export.name, value(export)?));
    snapshot.exports.iter().filter_map(of).collect()
}

fn of_hooks<'a>(
    snapshot: &'a Snapshot,
    value: impl Fn(&HookView) -> Option<f64>,
) -> Vec<Sample<'a>> {
    let of = |hook: &'a HookView| {
        Some(sample([("hook", &*hook.name), ("type", &*hook.kind)], value(hook)?))
    };
    snapshot.hooks.iter().filter_map(of).collect()
}
