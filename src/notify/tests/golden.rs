//! The text of each happening, word for word.

use super::*;

#[track_caller]
fn reads(message: &Outgoing, expected: &str) {
    let text = message::text(message);
    assert_eq!(text, expected, "\n--- got ---\n{text}\n");
    assert_eq!(text.lines().next().unwrap(), message::subject(message));
}

#[test]
fn opened() {
    reads(
        &outgoing(notification("a7", Happening::Opened, 1)),
        "\
[CRITICAL] web1: nginx.service: failed: exited with status 3
Labels: env=prod
Since: 2026-11-21 06:41:23 UTC
Why: it ended with an error code (exit-code)
keepwell: waits 10 s before it restarts it
Last log lines:
    starting
    cannot bind to  [31m0.0.0.0:80
Look: journalctl -u nginx.service --since \"2026-11-21 06:40:23 UTC\"",
    );
}

fn disk(happening: Happening, severity: Severity, summary: &str) -> Notification {
    let mut n = notification("a8", happening, 2);
    n.labels = Arc::default();
    let alert = &mut n.alerts[0];
    alert.key.check = "disk:/var/lib/my data".parse().unwrap();
    alert.severity = severity;
    alert.reason = Reason::OverThreshold;
    alert.summary = summary.into();
    alert.lines.clear();
    alert.acts.clear();
    n
}

#[test]
fn worse() {
    let n = disk(Happening::Worse, Severity::Critical, "93 % used, 2.1 GiB free");
    reads(
        &outgoing(n.clone()),
        "\
[CRITICAL] web1: disk /var/lib/my data: 93 % used, 2.1 GiB free (worse than before)
Since: 2026-11-21 06:41:23 UTC
Why: the value is over its threshold for long enough (over-threshold)
Look: df -h '/var/lib/my data'",
    );
    let folded = Outgoing { opening: true, ..outgoing(n) };
    assert_eq!(
        message::subject(&folded),
        "[CRITICAL] web1: disk /var/lib/my data: 93 % used, 2.1 GiB free"
    );
    assert_eq!(message::happening(&folded), Happening::Opened);
}

#[test]
fn better() {
    reads(
        &outgoing(disk(Happening::Better, Severity::Warning, "84 % used, 5 GiB free")),
        "\
[WARNING] web1: disk /var/lib/my data: 84 % used, 5 GiB free (better than before)
Since: 2026-11-21 06:41:23 UTC
Why: the value is over its threshold for long enough (over-threshold)
Look: df -h '/var/lib/my data'",
    );
}

#[test]
fn gave_up() {
    let mut n = notification("a7", Happening::GaveUp, 4);
    n.alerts[0].acts = (1..=6).map(|i| format!("restart {i} did not help")).collect();
    n.alerts[0].lines.clear();
    n.alerts[0].key.kind = AlertKind::CrashLoop;
    reads(
        &outgoing(n),
        "\
[CRITICAL] web1: nginx.service (crash loop): keepwell gave up: failed: exited with status 3
Labels: env=prod
Since: 2026-11-21 06:41:23 UTC
Why: it ended with an error code (exit-code)
keepwell: restart 3 did not help
keepwell: restart 4 did not help
keepwell: restart 5 did not help
keepwell: restart 6 did not help
Look: journalctl -u nginx.service --since \"2026-11-21 06:40:23 UTC\"",
    );
}

#[test]
fn resolved() {
    let n = notification("a7", Happening::Resolved, 2);
    reads(
        &outgoing(n.clone()),
        "\
[RESOLVED] web1: nginx.service: well again after 5 min 12 s
Labels: env=prod
Lasted: 5 min 12 s (2026-11-21 06:41:23 UTC to 2026-11-21 06:46:35 UTC)
Was: critical, failed: exited with status 3 (exit-code)
keepwell: waits 10 s before it restarts it",
    );
    // Late, and to a receiver that knew of nothing.
    let late = Outgoing { opening: true, delayed: Some(Duration::from_secs(1500)), ..outgoing(n) };
    reads(
        &late,
        "\
[RESOLVED] web1: nginx.service: well again after 5 min 12 s
Delayed: decided 25 min ago, and not delivered until now
Labels: env=prod
Lasted: 5 min 12 s (2026-11-21 06:41:23 UTC to 2026-11-21 06:46:35 UTC)
Was: critical, failed: exited with status 3 (exit-code)
It began and ended before the first message could be delivered
keepwell: waits 10 s before it restarts it",
    );
}

#[test]
fn digest() {
    let mut n = notification("d1", Happening::Digest, 1);
    n.labels = Arc::default();
    let mut warning = disk(Happening::Opened, Severity::Warning, "84 % used").alerts.remove(0);
    n.alerts.insert(0, warning.clone());
    reads(
        &outgoing(n.clone()),
        "\
[CRITICAL] web1: 2 problems found at the first look
This was so when keepwell first came to this host:
- CRITICAL nginx.service: failed: exited with status 3
- WARNING disk /var/lib/my data: 84 % used
Look: keepwell status",
    );
    for i in 0..30 {
        warning.key.check = CheckId::unit(format!("w{i:02}.service"));
        n.alerts.push(warning.clone());
    }
    let text = message::text(&outgoing(n));
    assert!(text.starts_with("[CRITICAL] web1: 32 problems found at the first look\n"));
    assert!(text.contains("\n- WARNING w18.service: 84 % used\n- and 12 more\n"), "{text}");
}
