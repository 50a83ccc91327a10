//! Made-up snapshots for the tests of surfaces and the command line.

use std::sync::Arc;

use crate::engine::alert::{Ack, ActNote, AlertKey, Happening, Pending};
use crate::engine::matcher::Matcher;
use crate::engine::observation::{ActiveState, Invocation, ServiceSeen, UnitSeen};
use crate::engine::saved::{Hold, Silence};
use crate::engine::view::{
    ChannelState, ChannelView, ConditionView, ExportView, MaintenanceView, UnitView, Value,
};
use crate::engine::{
    Actor, AlertKind, AlertRecord, CheckId, CheckKind, CheckView, Decision, Reason, Severity,
    Snapshot, Wall,
};

mod containers;

pub(crate) use containers::{containers, crowd};

/// 2026-01-31T07:17:22.5Z.
pub(crate) const AT: Wall = Wall(1_769_843_842_500_000);

/// So many seconds before [`AT`].
pub(crate) fn ago(seconds: i64) -> Wall {
    Wall(AT.0 - seconds * 1_000_000)
}

/// Ready, with these checks; the overall severity is their worst.
pub(crate) fn snapshot(mut checks: Vec<CheckView>) -> Snapshot {
    checks.sort_by(|a, b| a.id.cmp(&b.id));
    Snapshot {
        generation: 7,
        at: AT,
        boot: Default::default(),
        severity: checks.iter().map(|c| c.severity).max().unwrap_or_default(),
        ready: true,
        host: "web-1".into(),
        labels: Arc::new([("env".to_owned(), "prod".to_owned())].into()),
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
        units_total: Some(180),
        started: ago(3_600),
    }
}

/// One check with a single condition.
pub(crate) fn check(
    kind: CheckKind,
    name: &str,
    severity: Severity,
    reason: Reason,
    summary: &str,
) -> CheckView {
    CheckView {
        id: CheckId::new(kind, name),
        severity,
        reason,
        summary: summary.to_owned(),
        since: ago(125),
        conditions: vec![ConditionView {
            kind: AlertKind::State,
            severity,
            reason,
            summary: summary.to_owned(),
        }],
        last_check: Some(AT),
        last_success: (severity == Severity::Healthy).then_some(AT),
        last_failure: severity.alerts().then_some(AT),
        consecutive_failures: u32::from(severity.alerts()) * 3,
        values: Vec::new(),
        unit: None,
        container: None,
        decisions: Vec::new(),
    }
}

/// A check of a named unit that keepwell may restart.
pub(crate) fn unit(name: &str, severity: Severity, reason: Reason, summary: &str) -> CheckView {
    let bad = severity.alerts();
    let mut view = check(CheckKind::Unit, name, severity, reason, summary);
    view.unit = Some(UnitView {
        restarting: false,
        gave_up: false,
        seen: UnitSeen {
            name: name.into(),
            active: if bad { ActiveState::Failed } else { ActiveState::Active },
            sub: if bad { "failed".into() } else { "running".into() },
            invocation: Some(Invocation([0xab; 16])),
            since: Some(ago(125)),
            active_since: Some(ago(if bad { 9_000 } else { 125 })),
            service: Some(ServiceSeen {
                result: if bad { "exit-code".into() } else { "success".into() },
                exit_code: i32::from(bad),
                exit_status: i32::from(bad),
                main_pid: if bad { 0 } else { 4711 },
                ..ServiceSeen::default()
            }),
            ..UnitSeen::default()
        },
        named: true,
        restart: true,
        crashes: u64::from(bad) * 4,
        restarts: u64::from(bad) * 3,
        restarts_in_window: u32::from(bad) * 2,
        healed: u64::from(bad) * 2,
        step: u32::from(bad) * 2,
        next_attempt: bad.then(|| ago(-20)),
        failed_invocation: bad.then_some(Invocation([0xab; 16])),
        judged: ago(125),
    });
    view
}

fn measured(mut view: CheckView, values: &[(&'static str, f64)]) -> CheckView {
    view.values = values.iter().map(|(name, value)| Value { name, value: *value }).collect();
    view
}

fn host_checks() -> Vec<CheckView> {
    use Reason::{Fresh, WithinLimits};
    use Severity::Healthy;
    vec![
        measured(
            check(CheckKind::Disk, "/", Healthy, WithinLimits, "42 % used, 58 GB free"),
            &[("used_ratio", 0.42), ("size_bytes", 1e11)],
        ),
        measured(
            check(CheckKind::Inodes, "/", Healthy, WithinLimits, "3 % used"),
            &[("used_ratio", 0.03)],
        ),
        measured(
            check(CheckKind::Memory, "", Healthy, WithinLimits, "31 % used"),
            &[("used_ratio", 0.31)],
        ),
        measured(
            check(CheckKind::Heartbeat, "/run/job/beat", Healthy, Fresh, "12 s old"),
            &[("age_seconds", 12.0)],
        ),
    ]
}

/// All is well.
pub(crate) fn healthy() -> Snapshot {
    let mut checks = host_checks();
    checks.push(unit("nginx.service", Severity::Healthy, Reason::Running, "active (running)"));
    snapshot(checks)
}

/// A unit failed, a disk fills, a heartbeat cannot be read; one alert, one hold.
pub(crate) fn failing() -> Snapshot {
    let mut checks = host_checks();
    let mut nginx =
        unit("nginx.service", Severity::Critical, Reason::ExitCode, "failed: exit code 1");
    let decide = |seconds, reason, text: &str| Decision {
        at: ago(seconds),
        check: CheckId::unit("nginx.service"),
        severity: Severity::Critical,
        reason,
        text: text.to_owned(),
    };
    nginx.decisions = vec![
        decide(125, Reason::ExitCode, "failed: exit code 1"),
        decide(124, Reason::RestartScheduled, "restart 3 in 20 s"),
    ];
    checks.push(nginx);
    checks.push(unit("web@2.service", Severity::Healthy, Reason::Running, "active (running)"));
    checks.push(measured(
        check(
            CheckKind::Disk,
            "/var",
            Severity::Warning,
            Reason::OverThreshold,
            "84 % used, over 80 %",
        ),
        &[("used_ratio", 0.84)],
    ));
    checks.push(check(
        CheckKind::Heartbeat,
        "/srv/beat",
        Severity::Unknown,
        Reason::NoPermission,
        "may not look at it; give keepwell's user read access to /srv",
    ));
    let mut shown = snapshot(checks);
    shown.alerts = vec![Arc::new(AlertRecord {
        id: "a12".into(),
        key: AlertKey { check: CheckId::unit("nginx.service"), kind: AlertKind::State },
        severity: Severity::Critical,
        reason: Reason::ExitCode,
        summary: "failed: exit code 1".to_owned(),
        opened: ago(125),
        resolved: None,
        told: vec!["ops".into()],
        first_told: Some(ago(124)),
        last_told: Some(ago(124)),
        told_severity: Some(Severity::Critical),
        lines: vec!["nginx: [emerg] bind() to 0.0.0.0:80 failed".to_owned()],
        acts: vec![ActNote { at: ago(60), by: None, text: "restarted, attempt 2".to_owned() }],
        next: Some("restart in 20 s".to_owned()),
        pending: Vec::new(),
        untold: None,
        ack: None,
        flapping: false,
        cause: None,
        escalated: 0,
        ended: None,
        container: None,
    })];
    shown.holds = vec![Hold {
        unit: Some("web@2.service".into()),
        until: ago(-1_800),
        actor: Actor("root (uid 0)".to_owned()),
        why: Some("migration".to_owned()),
    }];
    shown
}

/// An open alert without any past.
pub(crate) fn alert(id: &str, check: CheckId, severity: Severity, summary: &str) -> AlertRecord {
    AlertRecord {
        id: id.into(),
        key: AlertKey { check, kind: AlertKind::State },
        severity,
        reason: Reason::Failed,
        summary: summary.to_owned(),
        opened: ago(125),
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

/// A channel that nothing has been sent over.
pub(crate) fn channel(name: &str, kind: &str, state: ChannelState) -> ChannelView {
    ChannelView {
        name: name.into(),
        kind: kind.into(),
        min_severity: Severity::Warning,
        notices: false,
        state,
        queued: 0,
        carries: Vec::new(),
        sent: 0,
        failed: 0,
        last_success: None,
        last_failure: None,
        last_error: None,
        last_latency: None,
    }
}

/// As [`failing`], with people at work: alerts that are acknowledged, silenced, beneath a cause and
/// over; silences, a maintenance window, a host that boots, and channels of every state.
pub(crate) fn busy() -> Snapshot {
    let mut shown = failing();
    let root = Actor("root (uid 0)".to_owned());
    let mut db =
        alert("a11", CheckId::unit("db.service"), Severity::Critical, "killed by signal 9");
    db.reason = Reason::Signal;
    db.pending = vec![Pending {
        channel: "ops".into(),
        happening: Happening::Opened,
        opening: true,
        since: ago(1),
    }];
    let mut nginx = (*shown.alerts[0]).clone();
    nginx.ack = Some(Ack {
        actor: root.clone(),
        at: ago(30),
        why: Some("disk is on its way".to_owned()),
        until: Some(ago(-7_200)),
    });
    nginx.acts.push(ActNote {
        at: ago(30),
        by: Some(root.clone()),
        text: "acknowledged: disk is on its way".to_owned(),
    });
    nginx.escalated = 1;
    nginx.told.push("pager".into());
    let mut web = alert("a13", CheckId::unit("web@2.service"), Severity::Critical, "failed");
    web.cause = Some("a11".into());
    web.untold = Some(Reason::Dependant);
    let disk = CheckId::new(CheckKind::Disk, "/var");
    let mut disk = alert("a14", disk, Severity::Warning, "84 % used, over 80 %");
    disk.reason = Reason::OverThreshold;
    disk.untold = Some(Reason::Silenced);
    disk.flapping = true;
    let mut over = alert("a9", CheckId::unit("job.service"), Severity::Critical, "timed out");
    over.reason = Reason::Timeout;
    over.opened = ago(7_200);
    over.resolved = Some(ago(6_900));
    over.untold = Some(Reason::Cooldown);
    shown.alerts = [db, nginx, web, disk].map(Arc::new).to_vec();
    shown.recent = vec![Arc::new(over)];
    shown.silences = vec![Silence {
        id: "s3".into(),
        matcher: Matcher::check("disk:*").unwrap(),
        from: ago(600),
        until: ago(-3_000),
        actor: root,
        why: Some("cleaning up".to_owned()),
    }];
    shown.maintenance = vec![MaintenanceView { name: "backup".into(), until: ago(-900) }];
    shown.quiet = Some(Reason::Settling);
    let ops = ChannelView {
        notices: true,
        sent: 12,
        failed: 1,
        last_success: Some(ago(124)),
        last_failure: Some(ago(4_000)),
        last_latency: Some(1_250_000),
        ..channel("ops", "slack", ChannelState::Works)
    };
    let pager = ChannelView {
        min_severity: Severity::Critical,
        failed: 1,
        queued: 3,
        carries: vec!["a12".into()],
        last_failure: Some(ago(61)),
        last_error: Some("401 Unauthorized".into()),
        ..channel("pager", "webhook", ChannelState::Stopped)
    };
    let mail = ChannelView {
        sent: 2,
        failed: 4,
        queued: 1,
        last_success: Some(ago(3_600)),
        last_failure: Some(ago(10)),
        last_error: Some("no answer within 10 s".into()),
        last_latency: Some(800_000),
        ..channel("mail", "email", ChannelState::Failing)
    };
    shown.channels = vec![ops, pager, mail, channel("chat", "telegram", ChannelState::Untried)];
    shown.exports = vec![ExportView {
        name: "otlp".into(),
        sent: 240,
        failed: 5,
        dropped: 2,
        rejected: 1,
        queued: 3,
        last_success: Some(ago(30)),
    }];
    shown.bus_reconnects = 2;
    shown.loop_lag = 4_500;
    shown
}

/// Nothing has been seen yet.
pub(crate) fn before_first_round() -> Snapshot {
    let mut shown = snapshot(Vec::new());
    shown.severity = Severity::Unknown;
    shown.ready = false;
    shown
}

/// As many units as asked, each third one failed.
pub(crate) fn many(count: usize) -> Snapshot {
    let units = (0..count).map(|i| {
        if i % 3 == 0 {
            unit(&format!("w{i:04}.service"), Severity::Critical, Reason::Signal, "killed by TERM")
        } else {
            unit(
                &format!("w{i:04}.service"),
                Severity::Healthy,
                Reason::Running,
                "active (running)",
            )
        }
    });
    snapshot(units.collect())
}

/// Names and texts that try to break out of whatever shows them.
pub(crate) fn hostile() -> Snapshot {
    let name = "x\"><script>alert(1)</script>\\\n\u{1b}[31m'.service";
    let evil = "<script>x\"></script>\n\u{1b}[2J\u{202e}";
    let failed = unit(
        name,
        Severity::Critical,
        Reason::ExitCode,
        "<img src=x onerror=alert(2)> \u{1b}[2J\u{202e}",
    );
    let mut shown = snapshot(vec![failed, containers::hostile(evil)]);
    shown.hooks = vec![containers::hostile_hook(evil)];
    shown.host = "<b>host</b>".into();
    let actor = Actor(evil.to_owned());
    let mut opened = alert("a1", CheckId::unit(name), Severity::Critical, evil);
    opened.lines = vec![evil.to_owned()];
    opened.next = Some(evil.to_owned());
    opened.told = vec![evil.into()];
    opened.acts = vec![ActNote { at: AT, by: Some(actor.clone()), text: evil.to_owned() }];
    opened.ack =
        Some(Ack { actor: actor.clone(), at: AT, why: Some(evil.to_owned()), until: None });
    let mut over = opened.clone();
    over.id = "a0".into();
    over.resolved = Some(AT);
    shown.alerts = vec![Arc::new(opened)];
    shown.recent = vec![Arc::new(over)];
    shown.silences = vec![Silence {
        id: "s1".into(),
        matcher: Matcher { labels: [(evil.into(), evil.into())].into(), ..Matcher::all() },
        from: AT,
        until: ago(-60),
        actor,
        why: Some(evil.to_owned()),
    }];
    shown.maintenance = vec![MaintenanceView { name: evil.into(), until: ago(-60) }];
    shown.channels = vec![ChannelView {
        last_error: Some(evil.into()),
        ..channel(evil, evil, ChannelState::Stopped)
    }];
    shown
}
