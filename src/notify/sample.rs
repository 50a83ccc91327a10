//! Sample messages, one of each sort: what the users' templates are tried with when the
//! configuration is read, and what every channel's golden files show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Outgoing;
use crate::engine::alert::{
    Ack, ActNote, AlertKey, AlertRecord, ContainerFacts, Gist, Happening, Item, Notice, NoticeKind,
    Notification, Report, ReportLine,
};
use crate::engine::event::Actor;
use crate::engine::time::{Boot, Now, Wall};
use crate::engine::words::{AlertKind, CheckId, CheckKind, Reason, Severity};

/// 2026-11-21 06:41:23.5 UTC.
pub(super) const AT: Wall = Wall(1_795_243_283_500_000);

/// The alert that samples are about.
pub(super) fn alert() -> AlertRecord {
    AlertRecord {
        id: "a7".into(),
        key: AlertKey { check: CheckId::unit("nginx.service"), kind: AlertKind::State },
        severity: Severity::Critical,
        reason: Reason::ExitCode,
        summary: "failed: exited with status 3".into(),
        opened: AT,
        resolved: None,
        told: Vec::new(),
        pending: Vec::new(),
        untold: None,
        first_told: Some(AT),
        last_told: Some(AT),
        told_severity: Some(Severity::Critical),
        lines: vec!["starting".into(), "cannot bind to 0.0.0.0:80: address in use".into()],
        acts: vec![ActNote {
            at: AT.after(Duration::from_secs(10)),
            by: None,
            text: "restarted by keepwell (attempt 1)".into(),
        }],
        next: Some("restart in 20 s (attempt 2)".into()),
        ack: None,
        flapping: false,
        cause: None,
        escalated: 0,
        ended: None,
        container: None,
    }
}

/// A message about one alert.
pub(super) fn of(happening: Happening, alert: AlertRecord) -> Notification {
    let opening = happening == Happening::Opened || happening == Happening::Escalated;
    let item = Item { happening, opening, since: AT, beneath: false, alert };
    Notification { items: vec![item], ..bare(Gist::Alerts) }
}

/// A message about nothing yet.
pub(super) fn bare(gist: Gist) -> Notification {
    let labels = Arc::new(BTreeMap::from([("env".to_owned(), "prod".to_owned())]));
    let mut bare =
        Notification::test("m12.1795243283500000", "ops".into(), "web1".into(), labels, AT);
    bare.gist = gist;
    bare
}

/// One message of each happening and gist, by name.
pub(super) fn all() -> Vec<(&'static str, Notification)> {
    let mut all: Vec<(&'static str, Notification)> = Happening::ALL
        .iter()
        .map(|happening| {
            let mut alert = alert();
            match happening {
                Happening::Resolved => {
                    alert.resolved = Some(AT.after(Duration::from_secs(312)));
                    alert.next = None;
                }
                Happening::Acknowledged => {
                    alert.ack = Some(Ack {
                        actor: Actor("root (uid 0)".into()),
                        at: AT,
                        why: Some("disk is being replaced".into()),
                        until: None,
                    });
                }
                Happening::GaveUp => alert.next = None,
                Happening::Better => alert.severity = Severity::Warning,
                _ => {}
            }
            let mut message = of(*happening, alert);
            if matches!(happening, Happening::Reminded | Happening::Escalated) {
                message.at = AT.after(Duration::from_secs(2 * 3600));
            }
            (happening.as_str(), message)
        })
        .collect();
    all.push(("grouped", grouped()));
    all.push(("digest", Notification { gist: Gist::Digest, ..grouped() }));
    all.push(("summary", Notification { gist: Gist::Summary, omitted: 3, ..storm(12) }));
    all.push(("report", report(true)));
    all.push(("report-well", report(false)));
    all.push(("notices", notices()));
    all.push(("test", bare(Gist::Test)));
    all.extend(containers());
    all
}

/// What templates are tried with: all of these, and one whose words have all that breaks a format.
pub(super) fn tried() -> Vec<(&'static str, Notification)> {
    let mut odd = alert();
    odd.summary = "failed: \"quoted\", back\\slash, {braces} <tags> & more".into();
    odd.lines = vec!["tab\tand \"quotes\"".into(), "two\nlines".into()];
    let mut tried = all();
    tried.push(("odd", of(Happening::Opened, odd)));
    tried
}

/// A database, two services that need it, and a full disk.
pub(super) fn grouped() -> Notification {
    let unit = |id: &str, name: &str, cause: Option<&str>| AlertRecord {
        id: id.into(),
        key: AlertKey { check: CheckId::unit(name), kind: AlertKind::State },
        cause: cause.map(Into::into),
        ..alert()
    };
    let disk = AlertRecord {
        id: "a10".into(),
        key: AlertKey { check: CheckId::new(CheckKind::Disk, "/var"), kind: AlertKind::State },
        severity: Severity::Warning,
        reason: Reason::OverThreshold,
        summary: "83 % of space in use, 3.4 GiB of 20.0 GiB left (over 80 %)".into(),
        lines: Vec::new(),
        acts: Vec::new(),
        next: None,
        ..alert()
    };
    let opened = |alert: AlertRecord| Item {
        happening: Happening::Opened,
        opening: true,
        since: AT,
        beneath: alert.cause.is_some(),
        alert,
    };
    Notification {
        items: vec![
            opened(unit("a7", "postgresql.service", None)),
            opened(unit("a8", "api.service", Some("a7"))),
            opened(unit("a9", "worker@1.service", Some("a7"))),
            opened(disk),
        ],
        ..bare(Gist::Alerts)
    }
}

/// Many at once, the last third of them over.
pub(super) fn storm(n: usize) -> Notification {
    let items = (0..n).map(|i| {
        let over = i >= n - n / 3;
        Item {
            happening: if over { Happening::Resolved } else { Happening::Opened },
            opening: true,
            since: AT,
            beneath: false,
            alert: AlertRecord {
                id: format!("a{i}").into(),
                key: AlertKey {
                    check: CheckId::unit(format!("worker@{i}.service")),
                    kind: AlertKind::State,
                },
                resolved: over.then(|| AT.after(Duration::from_secs(30))),
                ..alert()
            },
        }
    });
    Notification { items: items.collect(), ..bare(Gist::Alerts) }
}

fn report(bad: bool) -> Notification {
    let line = |check: &str, severity, summary: &str| ReportLine {
        // The names are ours.
        check: check.parse().unwrap_or_else(|_| CheckId::unit(check)),
        severity,
        summary: summary.into(),
        since: AT,
    };
    let mut checks = vec![
        line("unit:nginx.service", Severity::Healthy, "active (running)"),
        line("memory", Severity::Healthy, "41 % of memory in use, 9.4 GiB of 16.0 GiB left"),
    ];
    if bad {
        checks.insert(
            0,
            line("unit:api.service", Severity::Critical, "failed: exited with status 3"),
        );
    }
    let report = Report {
        since: AT.before(Duration::from_secs(6 * 3600)),
        counts: [2, 0, 0, usize::from(bad)],
        opened: 2,
        resolved: 1,
        restarts: 4,
        checks,
    };
    Notification { report: Some(report), ..bare(Gist::Report) }
}

/// One message of each thing that is told of containers.
fn containers() -> Vec<(&'static str, Notification)> {
    let of = |name: &str, kind, severity, reason, summary: &str| {
        let engine = if name.starts_with("podman/") { "podman" } else { "docker" };
        AlertRecord {
            key: AlertKey { check: CheckId::new(CheckKind::Container, name), kind },
            severity,
            reason,
            summary: summary.into(),
            told_severity: Some(severity),
            lines: Vec::new(),
            acts: Vec::new(),
            next: None,
            container: Some(Box::new(ContainerFacts {
                engine: engine.into(),
                image: "registry.example.org/shop/api:1.4".into(),
                project: Some("shop".into()),
                service: Some("api".into()),
                ..ContainerFacts::default()
            })),
            ..alert()
        }
    };
    let known = |alert: AlertRecord, change: fn(&mut ContainerFacts)| {
        let mut container = alert.container.clone().unwrap_or_default();
        change(&mut container);
        AlertRecord { container: Some(container), ..alert }
    };
    use AlertKind::{CrashLoop, Memory, State};
    use Severity::{Critical, Warning};
    let died = of("shop-api-1", State, Critical, Reason::ExitCode, "ended with exit code 3");
    let died = AlertRecord {
        lines: vec!["starting".into(), "cannot reach the database".into()],
        next: Some("restart in 10 s (attempt 1)".into()),
        ..known(died, |c| (c.exit_code, c.restarts) = (Some(3), 2))
    };
    let oom = of("worker", State, Warning, Reason::OutOfMemory, "killed for want of memory");
    let oom = known(oom, |c| {
        (c.exit_code, c.project, c.service) = (Some(137), None, None);
    });
    let unhealthy = of("podman/web", State, Warning, Reason::Unhealthy, "unhealthy");
    let unhealthy = known(unhealthy, |c| c.health = Some("HTTP 503 from /ready".into()));
    let looping = of("shop-api-1", CrashLoop, Warning, Reason::CrashLoop, "5 restarts in 5 min");
    let looping = known(looping, |c| (c.exit_code, c.restarts) = (Some(1), 5));
    let memory = "95 % of memory in use, 486 MiB of 512 MiB (over 90 %)";
    let memory = of("shop-api-1", Memory, Warning, Reason::OverThreshold, memory);
    let restored = AlertRecord {
        resolved: Some(AT.after(Duration::from_secs(42))),
        next: None,
        lines: Vec::new(),
        ..died.clone()
    };
    let opened = |alert| self::of(Happening::Opened, alert);
    vec![
        ("container-died", opened(died)),
        ("container-out-of-memory", opened(oom)),
        ("container-unhealthy", opened(unhealthy)),
        ("container-restart-loop", opened(looping)),
        ("container-memory", opened(memory)),
        ("container-restored", self::of(Happening::Resolved, restored)),
    ]
}

fn notices() -> Notification {
    let notice = |event, text: &str| Notice {
        at: AT,
        check: CheckId::unit("nginx.service"),
        event,
        text: text.into(),
    };
    Notification {
        notices: vec![
            notice(NoticeKind::Stopped, "stopped by an operator or another unit"),
            notice(NoticeKind::Started, "active (running)"),
        ],
        ..bare(Gist::Alerts)
    }
}

/// As a channel gets it.
pub(super) fn outgoing(notification: Notification) -> Outgoing {
    Outgoing {
        key: format!("0011223344556677-{}", notification.id),
        delayed: None,
        now: Now { boot: Boot(0), wall: AT },
        notification: Arc::new(notification),
    }
}

/// What tries to break out of its place: in the summary, the unit's name, and log lines.
#[cfg(test)]
pub(super) fn hostile() -> Notification {
    let lines = vec![
        "<script>alert(1)</script> &amp; </pre><img src=x onerror=alert(1)>".into(),
        "@everyone @here <!channel> <@U123> <!subteam^S1> <https://example.org|click>".into(),
        "*bold* _it_ ~no~ `code` ```block``` [link](https://example.org) # heading | ||spoiler||"
            .into(),
        "\u{1b}[31mred\u{7} \u{202e}reversed\u{2066} nul\0 tab\t cr\r lf\n end".into(),
        "\u{fffd} was not UTF-8; {{ 7 * 7 }} {% raw %} ${HOME} $(id)".into(),
        "x".repeat(1024 * 1024),
    ];
    let mut hostile = alert();
    hostile.key.check = CheckId::unit("a<b>&'\"@everyone.service");
    hostile.summary = lines[..5].join(" ");
    hostile.lines = lines;
    hostile.next = Some("</b>*`restart`*".into());
    let mut message = of(Happening::Opened, hostile);
    message.host = "web<1>&".into();
    message
}
