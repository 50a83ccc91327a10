//! Made-up snapshots for the tests of surfaces and the command line.

use std::sync::Arc;

use crate::engine::alert::AlertKey;
use crate::engine::observation::{ActiveState, Invocation, ServiceSeen, UnitSeen};
use crate::engine::saved::Hold;
use crate::engine::view::{ConditionView, UnitView, Value};
use crate::engine::{
    Actor, AlertKind, AlertRecord, CheckId, CheckKind, CheckView, Decision, Reason, Severity,
    Snapshot, Wall,
};

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
        holds: Vec::new(),
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
        decisions: Vec::new(),
    }
}

/// A check of a named unit that keepwell may restart.
pub(crate) fn unit(name: &str, severity: Severity, reason: Reason, summary: &str) -> CheckView {
    let bad = severity.alerts();
    let mut view = check(CheckKind::Unit, name, severity, reason, summary);
    view.unit = Some(UnitView {
        restarting: false,
        seen: UnitSeen {
            name: name.into(),
            active: if bad { ActiveState::Failed } else { ActiveState::Active },
            sub: if bad { "failed".into() } else { "running".into() },
            invocation: Some(Invocation([0xab; 16])),
            since: Some(ago(125)),
            service: Some(ServiceSeen {
                result: if bad { "exit-code".into() } else { "success".into() },
                exit_code: i32::from(bad),
                exit_status: i32::from(bad),
                main_pid: if bad { 0 } else { 4711 },
                n_restarts: 0,
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
        revision: 1,
        told: vec!["ops".into()],
        last_told: Some(ago(124)),
        lines: vec!["nginx: [emerg] bind() to 0.0.0.0:80 failed".to_owned()],
        acts: vec!["restarted, attempt 2".to_owned(), "next restart in 20 s".to_owned()],
    })];
    shown.holds = vec![Hold {
        unit: Some("web@2.service".into()),
        until: ago(-1_800),
        actor: Actor("root (uid 0)".to_owned()),
        why: Some("migration".to_owned()),
    }];
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
    let mut shown = snapshot(vec![unit(
        name,
        Severity::Critical,
        Reason::ExitCode,
        "<img src=x onerror=alert(2)> \u{1b}[2J\u{202e}",
    )]);
    shown.host = "<b>host</b>".into();
    shown
}
