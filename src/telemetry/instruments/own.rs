//! What keepwell says of itself: checks, alerts, channels, exporters, and its own process.

use opentelemetry::KeyValue;

use super::spec::{Beginning, Bound, Observe, Spec, only};
use crate::engine::alert::AlertRecord;
use crate::engine::view::{ChannelState, ChannelView, ExportView};
use crate::engine::{CheckKind, Severity, Snapshot};

const CHECK: &str = "keepwell.check";
const SEVERITY: &str = "keepwell.severity";
const ALERT_STATE: &str = "keepwell.alert.state";
pub(super) const CHANNEL: &str = "keepwell.channel.name";
pub(super) const CHANNEL_TYPE: &str = "keepwell.channel.type";
const EXPORTER: &str = "keepwell.exporter.name";

/// Recorded when a channel has delivered a message.
pub(super) const LATENCY: &str = "keepwell.channel.latency";

pub(super) const ALL: &[Spec] = &[
    Spec::gauge(
        "keepwell.severity",
        "1",
        "Worst of all checks: 0 healthy, 1 unknown, 2 warning, 3 critical.",
        |snapshot, observe| observe(rank(snapshot.severity), &[]),
    )
    .whole(),
    Spec::gauge(
        "keepwell.check.severity",
        "1",
        "State of a check: 0 healthy, 1 unknown, 2 warning, 3 critical.",
        |snapshot, observe| {
            for check in &snapshot.checks {
                observe(rank(check.severity), &[KeyValue::new(CHECK, check.id.to_string())]);
            }
        },
    )
    .whole()
    .by(&[CHECK], Bound::Checks),
    Spec::gauge("keepwell.checks", "{check}", "Checks by severity.", |snapshot, observe| {
        let counts = snapshot.counts();
        for severity in
            [Severity::Healthy, Severity::Unknown, Severity::Warning, Severity::Critical]
        {
            let count = counts[severity as usize] as f64;
            observe(count, &[KeyValue::new(SEVERITY, severity.as_str())]);
        }
    })
    .whole()
    .by(&[SEVERITY], Bound::Words),
    Spec::gauge(
        "keepwell.alerts",
        "{alert}",
        "Open alerts by severity and by who looks after them: active, acknowledged or silenced.",
        alerts,
    )
    .whole()
    .by(&[ALERT_STATE, SEVERITY], Bound::Words),
    Spec::gauge(
        "keepwell.channel.up",
        "1",
        "Whether a channel works or was not tried (1), or fails or is stopped (0).",
        |snapshot, observe| {
            channels(snapshot, observe, |channel| {
                let up = matches!(channel.state, ChannelState::Works | ChannelState::Untried);
                super::spec::flag(up)
            });
        },
    )
    .whole()
    .by(&[CHANNEL, CHANNEL_TYPE], Bound::Channels),
    Spec::counter(
        "keepwell.channel.delivered",
        Beginning::Here,
        "{message}",
        "Messages that a channel delivered.",
        |snapshot, observe| channels(snapshot, observe, |channel| channel.sent as f64),
    )
    .whole()
    .by(&[CHANNEL, CHANNEL_TYPE], Bound::Channels),
    Spec::counter(
        "keepwell.channel.failed",
        Beginning::Here,
        "{attempt}",
        "Tries of a channel to deliver that failed.",
        |snapshot, observe| channels(snapshot, observe, |channel| channel.failed as f64),
    )
    .whole()
    .by(&[CHANNEL, CHANNEL_TYPE], Bound::Channels),
    Spec::gauge(
        "keepwell.channel.queued",
        "{alert}",
        "Alerts, notices and reports that wait to be told by a channel.",
        |snapshot, observe| channels(snapshot, observe, |channel| channel.queued as f64),
    )
    .whole()
    .by(&[CHANNEL, CHANNEL_TYPE], Bound::Channels),
    Spec::histogram(LATENCY, "s", "Time that messages took from decision to delivery.")
        .by(&[CHANNEL, CHANNEL_TYPE], Bound::Channels),
    Spec::counter(
        "keepwell.export.sent",
        Beginning::Here,
        "{batch}",
        "Batches of measurements that a receiver took.",
        |snapshot, observe| exports(snapshot, observe, |export| export.sent as f64),
    )
    .whole()
    .by(&[EXPORTER], Bound::Exporters),
    Spec::counter(
        "keepwell.export.failed",
        Beginning::Here,
        "{attempt}",
        "Tries to send measurements that failed.",
        |snapshot, observe| exports(snapshot, observe, |export| export.failed as f64),
    )
    .whole()
    .by(&[EXPORTER], Bound::Exporters),
    Spec::counter(
        "keepwell.export.dropped",
        Beginning::Here,
        "{batch}",
        "Batches of measurements that were given up: refused for good, or no room for them.",
        |snapshot, observe| exports(snapshot, observe, |export| export.dropped as f64),
    )
    .whole()
    .by(&[EXPORTER], Bound::Exporters),
    Spec::counter(
        "keepwell.export.rejected",
        Beginning::Here,
        "{data_point}",
        "Measurements within batches sent that the receiver did not take.",
        |snapshot, observe| exports(snapshot, observe, |export| export.rejected as f64),
    )
    .whole()
    .by(&[EXPORTER], Bound::Exporters),
    Spec::gauge(
        "keepwell.export.queued",
        "{batch}",
        "Batches of measurements that wait to be sent.",
        |snapshot, observe| exports(snapshot, observe, |export| export.queued as f64),
    )
    .whole()
    .by(&[EXPORTER], Bound::Exporters),
    Spec::counter(
        "keepwell.bus.reconnects",
        Beginning::Here,
        "{reconnect}",
        "Times that the connection to systemd was lost and came back.",
        |snapshot, observe| observe(snapshot.bus_reconnects as f64, &[]),
    )
    .whole(),
    Spec::gauge(
        "keepwell.loop.lag",
        "s",
        "How late keepwell's loop was at worst with what was due, of the last one to two minutes.",
        |snapshot, observe| observe(snapshot.loop_lag as f64 / 1e6, &[]),
    ),
    Spec::gauge("process.uptime", "s", "Time since keepwell started.", |snapshot, observe| {
        observe(snapshot.at.since(snapshot.started).as_secs_f64(), &[]);
    }),
    Spec::amount(
        "process.memory.usage",
        "By",
        "Resident memory of keepwell itself.",
        |snapshot, observe| {
            only(snapshot, CheckKind::Agent, "resident_memory_bytes", |bytes| observe(bytes, &[]));
        },
    ),
    Spec::counter(
        "process.cpu.time",
        Beginning::Before,
        "s",
        "Processor time that keepwell itself has used.",
        |snapshot, observe| {
            only(snapshot, CheckKind::Agent, "cpu_seconds_total", |time| observe(time, &[]));
        },
    ),
    Spec::amount(
        "process.unix.file_descriptor.count",
        "{file_descriptor}",
        "Open file descriptors of keepwell itself.",
        |snapshot, observe| {
            only(snapshot, CheckKind::Agent, "open_fds", |n| observe(n, &[]));
        },
    ),
];

fn rank(severity: Severity) -> f64 {
    f64::from(severity as u8)
}

fn alerts(snapshot: &Snapshot, observe: &mut Observe<'_>) {
    for state in ["acknowledged", "active", "silenced"] {
        for severity in [Severity::Critical, Severity::Warning] {
            let count = snapshot
                .alerts
                .iter()
                .filter(|alert| alert.severity == severity && care(snapshot, alert) == state)
                .count();
            let attributes =
                [KeyValue::new(ALERT_STATE, state), KeyValue::new(SEVERITY, severity.as_str())];
            observe(count as f64, &attributes);
        }
    }
}

/// Who looks after an alert.
fn care(snapshot: &Snapshot, alert: &AlertRecord) -> &'static str {
    let silenced = || {
        snapshot.silences.iter().any(|silence| {
            silence.until > snapshot.at
                && silence.matcher.matches(&alert.key.check, alert.severity, &snapshot.labels)
        })
    };
    match alert.ack {
        Some(_) => "acknowledged",
        None if silenced() => "silenced",
        None => "active",
    }
}

fn channels(snapshot: &Snapshot, observe: &mut Observe<'_>, value: impl Fn(&ChannelView) -> f64) {
    for channel in &snapshot.channels {
        observe(value(channel), &of_channel(channel));
    }
}

/// What tells a channel apart.
pub(super) fn of_channel(channel: &ChannelView) -> [KeyValue; 2] {
    [
        KeyValue::new(CHANNEL, channel.name.clone()),
        KeyValue::new(CHANNEL_TYPE, channel.kind.clone()),
    ]
}

fn exports(snapshot: &Snapshot, observe: &mut Observe<'_>, value: impl Fn(&ExportView) -> f64) {
    for export in &snapshot.exports {
        observe(value(export), &[KeyValue::new(EXPORTER, export.name.clone())]);
    }
}
