//! Snapshots with all that instruments read: one, and a later one in which something has happened.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::alert::{Ack, AlertKey};
use crate::engine::matcher::Matcher;
use crate::engine::observation::{
    ActiveState, ContainerSeen, ContainerStatus, UnitSeen, UsageSeen,
};
use crate::engine::saved::Silence;
use crate::engine::view::{ChannelState, ChannelView, ContainerView, ExportView, UnitView, Value};
use crate::engine::{
    Actor, AlertKind, AlertRecord, CheckId, CheckKind, CheckView, Reason, Severity, Snapshot, Wall,
};

/// 2026-11-21 06:41:23.5 UTC.
pub(super) const AT: Wall = Wall(1_795_243_283_500_000);

pub(super) fn check(
    kind: CheckKind,
    name: &str,
    severity: Severity,
    values: &[(&'static str, f64)],
) -> CheckView {
    CheckView {
        id: CheckId::new(kind, name),
        severity,
        reason: Reason::WithinLimits,
        summary: "as it is".into(),
        since: AT,
        conditions: Vec::new(),
        last_check: Some(AT),
        last_success: None,
        last_failure: None,
        consecutive_failures: 0,
        values: values.iter().map(|(name, value)| Value { name, value: *value }).collect(),
        unit: None,
        container: None,
        decisions: Vec::new(),
    }
}

/// A named unit that is up (or has failed), with these crashes and restarts.
pub(super) fn unit(name: &str, up: bool, crashes: u64, restarts: u64) -> CheckView {
    let severity = if up { Severity::Healthy } else { Severity::Critical };
    let mut view = check(CheckKind::Unit, name, severity, &[]);
    view.unit = Some(UnitView {
        seen: UnitSeen {
            name: name.into(),
            active: if up { ActiveState::Active } else { ActiveState::Failed },
            ..UnitSeen::default()
        },
        named: true,
        restart: true,
        crashes,
        restarts,
        restarts_in_window: 0,
        healed: restarts / 2,
        step: 0,
        restarting: false,
        next_attempt: None,
        gave_up: false,
        failed_invocation: None,
        judged: AT,
    });
    view
}

/// A container that runs (or has ended), and has used so much of everything.
pub(super) fn container(name: &str, image: &str, up: bool, used: u64) -> CheckView {
    let mut view = check(CheckKind::Container, name, Severity::Healthy, &[]);
    let usage = UsageSeen {
        cpu_seconds: Some(used as f64 / 4.0),
        memory: Some(used << 20),
        received: Some(used),
        sent: Some(2 * used),
        read: Some(3 * used),
        written: None,
        ..UsageSeen::default()
    };
    view.container = Some(Box::new(ContainerView {
        seen: ContainerSeen {
            image: image.into(),
            status: if up { ContainerStatus::Running } else { ContainerStatus::Exited },
            started: Some(AT.before(Duration::from_millis(7_200_500))),
            ..ContainerSeen::default()
        },
        usage: up.then_some(usage),
        host_cpus: 4,
        host_memory: 16 << 30,
        named: true,
        restart: false,
        required: false,
        crashes: 0,
        restarts: 0,
        restarts_in_window: 0,
        healed: 0,
        step: 0,
        restarting: false,
        gave_up: false,
        next_attempt: None,
    }));
    view
}

pub(super) fn channel(name: &str, sent: u64, latency: Option<u64>) -> ChannelView {
    ChannelView {
        name: name.into(),
        kind: "slack".into(),
        min_severity: Severity::Warning,
        notices: false,
        state: ChannelState::Works,
        queued: 0,
        carries: Vec::new(),
        sent,
        failed: 1,
        last_success: None,
        last_failure: None,
        last_error: None,
        last_latency: latency,
    }
}

/// With these checks and nothing else.
pub(super) fn of(generation: u64, mut checks: Vec<CheckView>) -> Snapshot {
    checks.sort_by(|a, b| a.id.cmp(&b.id));
    Snapshot {
        generation,
        at: AT,
        boot: Default::default(),
        severity: checks.iter().map(|c| c.severity).max().unwrap_or_default(),
        ready: true,
        host: "web1".into(),
        labels: Arc::default(),
        checks: checks.into_iter().map(Arc::new).collect(),
        alerts: Vec::new(),
        recent: Vec::new(),
        holds: Vec::new(),
        silences: Vec::new(),
        maintenance: Vec::new(),
        quiet: None,
        channels: Vec::new(),
        exports: Vec::new(),
        hooks: Vec::new(),
        bus_reconnects: 0,
        loop_lag: 0,
        units_total: None,
        started: AT.before(Duration::from_secs(3600)),
    }
}

fn alert(id: &str, check: CheckId, severity: Severity) -> AlertRecord {
    AlertRecord {
        id: id.into(),
        key: AlertKey { check, kind: AlertKind::State },
        severity,
        reason: Reason::Failed,
        summary: "failed".into(),
        opened: AT,
        resolved: None,
        told: Vec::new(),
        pending: Vec::new(),
        untold: None,
        first_told: None,
        last_told: None,
        told_severity: None,
        lines: Vec::new(),
        acts: Vec::new(),
        next: None,
        ack: None,
        flapping: false,
        cause: None,
        escalated: 0,
        ended: None,
        container: None,
    }
}

/// Every instrument has something to say of this.
pub(super) fn full() -> Snapshot {
    use CheckKind::{
        Agent, Cpu, Disk, Heartbeat, Host, Inodes, Load, Memory, Pressure, Swap, Units,
    };
    use Severity::{Critical, Healthy, Warning};
    let amount =
        |used, size, left| [("used_ratio", used), ("size_bytes", size), ("available_bytes", left)];
    let mut checks = vec![
        check(Disk, "/", Healthy, &amount(0.5, 1e11, 5e10)),
        check(Disk, "/var", Warning, &amount(0.875, 8e9, 1e9)),
        check(Inodes, "/", Healthy, &[("used_ratio", 0.25), ("size", 4e6), ("available", 3e6)]),
        check(Memory, "", Healthy, &amount(0.375, 16e9, 10e9)),
        check(Swap, "", Healthy, &amount(0.125, 4e9, 3.5e9)),
        check(Cpu, "", Healthy, &[("used_ratio", 0.0625)]),
        check(
            Load,
            "",
            Healthy,
            &[
                ("per_cpu_ratio", 0.25),
                ("average_1m", 1.5),
                ("average_5m", 1.0),
                ("average_15m", 0.5),
                ("processors", 4.0),
            ],
        ),
        check(Pressure, "cpu", Healthy, &[("some_ratio", 0.03125)]),
        check(Pressure, "io", Healthy, &[("some_ratio", 0.5), ("full_ratio", 0.25)]),
        check(Heartbeat, "/run/job/beat", Healthy, &[("age_seconds", 12.5)]),
        check(Heartbeat, "/run/\"ödd\" \u{1b}/beat", Healthy, &[("age_seconds", 0.5)]),
        check(Host, "oom-kill", Healthy, &[("oom_kills_total", 2.0)]),
        check(Host, "reboot", Healthy, &[("uptime_seconds", 86_400.25)]),
        check(
            Agent,
            "process",
            Healthy,
            &[("resident_memory_bytes", 8e6), ("cpu_seconds_total", 1.5), ("open_fds", 21.0)],
        ),
        check(Units, "", Healthy, &[("failed", 1.0)]),
        unit("nginx.service", false, 4, 3),
        unit("web@2.service", true, 0, 0),
        unit("backup.timer", true, 0, 0),
        container("web", "registry.example.org:5000/shop/web:1.2", true, 1_000),
        container("podman/job", "job", false, 0),
    ];
    // Of a unit that nobody named and that is well, the state is not told.
    let mut unnamed = unit("cron.service", true, 1, 1);
    unnamed.unit.as_mut().unwrap().named = false;
    checks.push(unnamed);
    let mut full = of(7, checks);
    let disk = CheckId::new(Disk, "/var");
    let mut looked_after = alert("a2", CheckId::unit("db.service"), Critical);
    looked_after.ack =
        Some(Ack { actor: Actor("root (uid 0)".into()), at: AT, why: None, until: None });
    full.alerts = [
        alert("a1", CheckId::unit("nginx.service"), Critical),
        looked_after,
        alert("a3", disk, Warning),
    ]
    .map(Arc::new)
    .to_vec();
    full.silences = vec![Silence {
        id: "s1".into(),
        matcher: Matcher::check("disk:*").unwrap(),
        from: AT,
        until: AT.after(Duration::from_secs(60)),
        actor: Actor("root (uid 0)".into()),
        why: None,
    }];
    let mut pager = channel("pager", 0, None);
    pager.state = ChannelState::Failing;
    pager.queued = 3;
    full.channels = vec![channel("ops", 12, Some(800_000)), pager];
    full.exports = vec![ExportView {
        name: "otlp".into(),
        sent: 60,
        failed: 2,
        dropped: 1,
        rejected: 4,
        queued: 1,
        last_success: None,
    }];
    full.bus_reconnects = 1;
    full.loop_lag = 1_500;
    full.units_total = Some(180);
    full
}

/// A minute after [`full`]: two more restarts, a message that told them, in 1.25 s, and a container
/// that has gone on.
pub(super) fn later() -> Snapshot {
    let mut later = full();
    later.generation += 1;
    later.at = AT.after(Duration::from_secs(60));
    for check in &mut later.checks {
        let check = Arc::make_mut(check);
        match (check.id.kind, &*check.id.name) {
            (CheckKind::Unit, "nginx.service") => {
                *check = unit("nginx.service", true, 6, 5);
            }
            (CheckKind::Container, "web") => {
                *check = container("web", "registry.example.org:5000/shop/web:1.2", true, 1_500);
            }
            (CheckKind::Agent, _) => check.values[1].value = 1.75,
            _ => {}
        }
    }
    later.channels[0] = channel("ops", 13, Some(1_250_000));
    later.exports[0].sent = 61;
    later.severity = later.checks.iter().map(|c| c.severity).max().unwrap_or_default();
    later
}
