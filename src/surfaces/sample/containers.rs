//! Made-up containers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::observation::{
    ContainerSeen, ContainerStatus, Health, HealthSeen, Policy, UsageSeen,
};
use crate::engine::view::{ConditionView, ContainerView, HookView};
use crate::engine::{Actor, AlertKind, CheckId, CheckKind, CheckView, Reason, Severity, Snapshot};

use super::{AT, Hold, ago, alert, check, healthy, snapshot};

const MIB: u64 = 1 << 20;

/// A container that runs, on a host of 8 processors and 16 GiB.
pub(crate) fn container(name: &str, image: &str) -> ContainerView {
    ContainerView {
        seen: ContainerSeen {
            name: name.into(),
            engine: name.split_once('/').map_or("docker", |(engine, _)| engine).into(),
            id: "0123456789abcdef".repeat(4).into(),
            image: image.into(),
            status: ContainerStatus::Running,
            created: ago(90_000),
            started: Some(ago(7_200)),
            policy: Policy::UnlessStopped,
            stop_signal: 15,
            pid: 4_711,
            ..ContainerSeen::default()
        },
        usage: Some(UsageSeen {
            cpus: Some(0.5),
            cpu_seconds: Some(1_234.5),
            memory: Some(128 * MIB),
            received: Some(1_000_000),
            sent: Some(2_000_000),
            read: Some(3_000_000),
            written: Some(4_000_000),
            pids: Some(12),
            ..UsageSeen::default()
        }),
        host_cpus: 8,
        host_memory: 16_384 * MIB,
        named: true,
        restart: true,
        required: false,
        crashes: 0,
        restarts: 0,
        restarts_in_window: 0,
        healed: 0,
        step: 0,
        restarting: false,
        gave_up: false,
        next_attempt: None,
    }
}

fn labelled(view: &mut ContainerView, labels: &[(&str, &str)]) {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    view.seen.labels = Arc::new(labels);
}

/// Its check.
pub(crate) fn contained(
    view: ContainerView,
    severity: Severity,
    reason: Reason,
    summary: &str,
) -> CheckView {
    let mut found = check(CheckKind::Container, &view.seen.name.clone(), severity, reason, summary);
    found.container = Some(Box::new(view));
    found
}

/// One that is well, one that is unhealthy, one that died for want of memory, one that comes and
/// goes, one of a second engine that nobody named, and two hooks of which one fails.
pub(crate) fn containers() -> Snapshot {
    let mut web = container("web", "nginx:alpine");
    web.seen.health = Some(HealthSeen { status: Health::Healthy, failing: 0, output: "".into() });
    web.seen.cpu_limit = Some(1.0);
    web.seen.memory_limit = Some(512 * MIB);
    web.required = true;

    let mut db = container("shop-db-1", "postgres:16");
    db.seen.health = Some(HealthSeen {
        status: Health::Unhealthy,
        failing: 3,
        output: "connection to 127.0.0.1:5432 refused".into(),
    });
    labelled(
        &mut db,
        &[
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", "db"),
            ("traefik.http.auth", "admin:$apr1$"),
        ],
    );
    db.next_attempt = Some(ago(-20));
    (db.step, db.healed, db.restarts) = (1, 1, 1);

    let mut job = container("job", "registry.example.org/job:7");
    job.seen.status = ContainerStatus::Exited;
    job.seen.policy = Policy::OnFailure(3);
    job.seen.finished = Some(ago(125));
    job.seen.exit_code = 137;
    job.seen.oom_killed = true;
    job.seen.memory_limit = Some(64 * MIB);
    job.usage = None;
    job.restart = false;
    job.crashes = 1;

    let mut flaky = container("flaky", "flaky:dev");
    flaky.seen.status = ContainerStatus::Restarting;
    flaky.seen.policy = Policy::Always;
    flaky.seen.finished = Some(ago(2));
    flaky.seen.started = Some(ago(3));
    flaky.seen.exit_code = 1;
    flaky.seen.restart_count = 9;
    flaky.usage = None;
    (flaky.named, flaky.restart) = (false, false);
    (flaky.crashes, flaky.restarts, flaky.restarts_in_window) = (9, 9, 5);

    let mut cache = container("podman/cache", "redis:7");
    cache.usage.as_mut().unwrap().memory = Some(2_048 * MIB);
    (cache.named, cache.restart) = (false, false);

    let mut flaky =
        contained(flaky, Severity::Warning, Reason::CrashLoop, "5 restarts within 5 min");
    flaky.conditions = vec![
        ConditionView {
            kind: AlertKind::State,
            severity: Severity::Healthy,
            reason: Reason::RestartPolicy,
            summary: "restarting: exit code 1".to_owned(),
        },
        ConditionView {
            kind: AlertKind::CrashLoop,
            severity: Severity::Warning,
            reason: Reason::CrashLoop,
            summary: "5 restarts within 5 min".to_owned(),
        },
    ];
    let mut checks: Vec<CheckView> = healthy().checks.iter().map(|c| (**c).clone()).collect();
    checks.extend([
        contained(web, Severity::Healthy, Reason::Healthy, "running, healthy"),
        contained(db, Severity::Warning, Reason::Unhealthy, "unhealthy: 3 checks failed in a row"),
        contained(job, Severity::Critical, Reason::OutOfMemory, "killed for want of memory"),
        flaky,
        contained(cache, Severity::Healthy, Reason::Running, "running"),
    ]);
    let mut shown = snapshot(checks);
    let of = |name: &str| CheckId::new(CheckKind::Container, name);
    let mut opened =
        alert("a21", of("shop-db-1"), Severity::Warning, "unhealthy: 3 checks failed in a row");
    opened.reason = Reason::Unhealthy;
    opened.next = Some("restart in 20 s".to_owned());
    opened.told = vec!["ops".into()];
    opened.lines = vec!["FATAL: could not open file".to_owned()];
    shown.alerts = vec![Arc::new(opened)];
    shown.holds = vec![Hold {
        unit: Some("container:web".into()),
        until: ago(-1_800),
        actor: Actor("root (uid 0)".to_owned()),
        why: None,
    }];
    shown.hooks = vec![
        HookView {
            name: "discovery".into(),
            kind: "discovery".into(),
            sent: 40,
            failed: 2,
            refused: 0,
            queued: 0,
            last_success: Some(ago(300)),
            last_error: None,
        },
        HookView {
            name: "billing".into(),
            kind: "billing".into(),
            sent: 12,
            failed: 7,
            refused: 1,
            queued: 3,
            last_success: Some(ago(4_000)),
            last_error: Some("no answer within 5 s".into()),
        },
    ];
    shown
}

/// As many containers as asked, each fourth one unhealthy, none named.
pub(crate) fn crowd(count: usize) -> Snapshot {
    let one = |i: usize| {
        let mut view = container(&format!("c{i:04}"), "busybox:latest");
        (view.named, view.restart) = (false, false);
        if i.is_multiple_of(4) {
            contained(view, Severity::Warning, Reason::Unhealthy, "unhealthy")
        } else {
            contained(view, Severity::Healthy, Reason::Running, "running")
        }
    };
    snapshot((0..count).map(one).collect())
}

/// A container whose every text tries to break out.
pub(super) fn hostile(evil: &str) -> CheckView {
    let mut view = container(evil, evil);
    view.seen.engine = evil.into();
    view.seen.error = evil.into();
    view.seen.health =
        Some(HealthSeen { status: Health::Unhealthy, failing: 1, output: evil.into() });
    labelled(
        &mut view,
        &[("com.docker.compose.project", evil), ("com.docker.compose.service", evil), (evil, evil)],
    );
    view.seen.finished = Some(AT);
    contained(view, Severity::Warning, Reason::Unhealthy, evil)
}

/// A hook whose every text tries to break out.
pub(super) fn hostile_hook(evil: &str) -> HookView {
    HookView {
        name: evil.into(),
        kind: evil.into(),
        sent: 0,
        failed: 1,
        refused: 0,
        queued: 1,
        last_success: None,
        last_error: Some(evil.into()),
    }
}
