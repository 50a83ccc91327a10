//! The page at `/`: prepares what the template shows. Plain HTML, no script, nothing from elsewhere.

use std::time::Duration;

use crate::engine::{Human, Severity, bytes};

use super::report::{
    AlertReport, ChannelReport, CheckReport, ContainerReport, Counts, HoldReport, HookReport,
    MaintenanceReport, SilenceReport, Stamp, StatusReport, UsageReport, meaning,
};
use super::visible;

#[path = "templates/page.rs"]
mod template;

use template::Page;

/// The style sheet, served beside the page so that the content policy needs no exception.
pub(super) const STYLE: &[u8] = include_bytes!("templates/style.css");

/// So many open alerts are shown, the worst and oldest; a storm must not make the page too large.
const CARDS: usize = 50;

/// The whole page. `url` is where keepwell can be reached, for the examples.
pub(super) fn render(report: &StatusReport, url: &str) -> String {
    let mut bad: Vec<&CheckReport> =
        report.checks.iter().filter(|c| c.severity != Severity::Healthy).collect();
    bad.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.since.cmp(&a.since)));
    let mut open: Vec<&AlertReport> = report.alerts.iter().collect();
    open.sort_by_key(|a| std::cmp::Reverse(a.severity));
    let row = |c: &CheckReport| Row::of(c, report.timestamp);
    let page = Page {
        host: shown(&report.host),
        version: &report.version,
        url,
        status: report.status.as_str(),
        headline: headline(report),
        at: report.timestamp.readable(),
        up: human(report.timestamp, report.started),
        labels: report.labels.iter().map(|(k, v)| shown(&format!("{k}={v}"))).collect(),
        counts: report.counts,
        bad: bad.into_iter().map(row).collect(),
        good: report
            .checks
            .iter()
            .filter(|c| c.severity == Severity::Healthy && c.container.is_none())
            .map(row)
            .collect(),
        containers: report.checks.iter().filter_map(Container::of).collect(),
        alerts: open.iter().take(CARDS).map(|a| Alert::of(a, report.timestamp)).collect(),
        more_alerts: open.len().saturating_sub(CARDS),
        recent: report.recent.iter().filter_map(Ended::of).collect(),
        holds: report.holds.iter().map(Held::of).collect(),
        quiet: report
            .quiet
            .as_deref()
            .map_or_else(String::new, |why| shown(meaning(why).unwrap_or(why))),
        silences: report.silences.iter().map(Held::of_silence).collect(),
        maintenance: report
            .maintenance
            .iter()
            .map(|m| shown(&MaintenanceReport::line(m)))
            .collect(),
        channels: report.channels.iter().map(Channel::of).collect(),
        hooks: report.hooks.iter().map(Channel::of_hook).collect(),
    };
    // Rendering writes to a string and calls nothing that can fail.
    askama::Template::render(&page).unwrap_or_default()
}

fn headline(report: &StatusReport) -> String {
    let Counts { critical, warning, unknown, .. } = report.counts;
    if !report.ready {
        return "Looking at everything for the first time".to_owned();
    }
    match report.status {
        Severity::Healthy => "All is well".to_owned(),
        Severity::Critical => counted(critical, "needs attention now", "need attention now"),
        Severity::Warning => counted(warning, "should be looked at", "should be looked at"),
        Severity::Unknown => counted(unknown, "could not be found out", "could not be found out"),
    }
}

fn counted(count: usize, one: &str, more: &str) -> String {
    if count == 1 { format!("1 check {one}") } else { format!("{count} checks {more}") }
}

fn human(now: Stamp, then: Stamp) -> String {
    // Whole seconds: no one reads the rest.
    Human(Duration::from_secs(now.0.since(then.0).as_secs())).to_string()
}

fn shown(text: &str) -> String {
    visible(text).into_owned()
}

struct Row {
    id: String,
    severity: &'static str,
    reason: String,
    meaning: &'static str,
    summary: String,
    since: String,
    for_: String,
    detail: String,
}

impl Row {
    fn of(check: &CheckReport, now: Stamp) -> Self {
        let mut detail = Vec::new();
        let unit = check.unit.as_ref().map(|u| (u.crashes, u.healed));
        let counts = unit.or_else(|| check.container.as_ref().map(|c| (c.crashes, c.healed)));
        if let Some((crashes, healed)) = counts {
            if let Some(next) = check.next_attempt().filter(|n| *n > now) {
                detail.push(format!("next restart at {}", next.time_of_day()));
            }
            for (count, word) in [(crashes, "crash"), (healed, "restart by keepwell")] {
                match count {
                    0 => {}
                    1 => detail.push(format!("1 {word}")),
                    n if word == "crash" => detail.push(format!("{n} crashes")),
                    n => detail.push(format!("{n} restarts by keepwell")),
                }
            }
        }
        Self {
            id: shown(&check.id),
            severity: check.severity.as_str(),
            reason: check.reason.clone(),
            meaning: meaning(&check.reason).unwrap_or_default(),
            summary: shown(&check.summary),
            since: check.since.readable(),
            for_: human(now, check.since),
            detail: detail.join(" · "),
        }
    }
}

/// A container, whatever its state.
struct Container {
    name: String,
    severity: &'static str,
    state: String,
    image: String,
    compose: String,
    cpu: String,
    memory: String,
    restarts: u64,
    up: String,
    since: String,
}

impl Container {
    fn of(check: &CheckReport) -> Option<Self> {
        let container: &ContainerReport = check.container.as_ref()?;
        let compose = [&container.project, &container.service];
        let compose: Vec<&str> = compose.into_iter().flatten().map(String::as_str).collect();
        let usage = container.usage.as_ref();
        let up = container.uptime_seconds.map(|up| Duration::from_secs(up as u64));
        let since = if up.is_some() { container.started } else { container.finished };
        Some(Self {
            name: shown(&container.name),
            severity: check.severity.as_str(),
            state: shown(&container.state_in_words()),
            image: shown(&container.image),
            compose: shown(&compose.join(" / ")),
            cpu: usage.and_then(|u| u.cpu_ratio).map(percent).unwrap_or_default(),
            memory: usage.map(memory).unwrap_or_default(),
            restarts: container.restarts,
            up: up.map(|up| Human(up).to_string()).unwrap_or_default(),
            since: since.map(|at| at.readable()).unwrap_or_default(),
        })
    }
}

fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

/// `128.0 MiB of 512.0 MiB`; without a limit what part of the host it is.
fn memory(usage: &UsageReport) -> String {
    let Some(used) = usage.memory_bytes else { return String::new() };
    match (usage.memory_limit_bytes, usage.memory_ratio) {
        (Some(limit), _) => format!("{} of {}", bytes(used), bytes(limit)),
        (None, Some(ratio)) => format!("{} ({} of the host)", bytes(used), percent(ratio)),
        (None, None) => bytes(used),
    }
}

struct Alert {
    id: String,
    what: String,
    severity: &'static str,
    summary: String,
    marks: Vec<String>,
    opened: String,
    for_: String,
    telling: String,
    acts: Vec<String>,
    next: String,
    lines: Vec<String>,
}

impl Alert {
    fn of(alert: &AlertReport, now: Stamp) -> Self {
        Self {
            id: shown(&alert.id),
            what: shown(&alert.what()),
            severity: alert.severity.as_str(),
            summary: shown(&alert.summary),
            marks: alert.marks().iter().map(|m| shown(m)).collect(),
            opened: alert.opened.readable(),
            for_: human(now, alert.opened),
            telling: shown(&alert.telling()),
            acts: alert.acts.iter().map(|a| shown(&a.line())).collect(),
            next: alert.next.as_deref().map(shown).unwrap_or_default(),
            lines: alert.lines.iter().map(|l| shown(l)).collect(),
        }
    }
}

/// An alert that is over.
struct Ended {
    what: String,
    summary: String,
    ended: String,
    lasted: String,
    telling: String,
}

impl Ended {
    fn of(alert: &AlertReport) -> Option<Self> {
        let resolved = alert.resolved?;
        Some(Self {
            what: shown(&alert.what()),
            summary: shown(&alert.summary),
            ended: resolved.readable(),
            lasted: human(resolved, alert.opened),
            telling: shown(&alert.telling()),
        })
    }
}

struct Channel {
    name: String,
    kind: String,
    state: String,
    tone: &'static str,
    trouble: String,
}

impl Channel {
    fn of(channel: &ChannelReport) -> Self {
        let tone = match (channel.is_stopped(), channel.is_down(), channel.is_untried()) {
            (true, ..) => "critical",
            (_, true, _) => "warning",
            (.., true) => "unknown",
            _ => "healthy",
        };
        Self {
            name: shown(&channel.name),
            kind: shown(&channel.kind),
            state: shown(&channel.state),
            tone,
            trouble: if channel.is_down() { shown(&channel.trouble()) } else { String::new() },
        }
    }
}

impl Channel {
    fn of_hook(hook: &HookReport) -> Self {
        let trouble = shown(&hook.trouble());
        let (state, tone) = match (trouble.is_empty(), hook.sent) {
            (false, _) => ("failing".to_owned(), "warning"),
            (true, 0) => ("untried".to_owned(), "unknown"),
            (true, sent) => (format!("works, {sent} calls"), "healthy"),
        };
        Self { name: shown(&hook.name), kind: shown(&hook.kind), state, tone, trouble }
    }
}

struct Held {
    what: String,
    until: String,
    actor: String,
    why: String,
}

impl Held {
    fn of(hold: &HoldReport) -> Self {
        Self {
            what: hold.unit.as_deref().map_or_else(|| "all units".to_owned(), shown),
            until: hold.until.readable(),
            actor: shown(&hold.actor),
            why: hold.why.as_deref().map(shown).unwrap_or_default(),
        }
    }

    fn of_silence(silence: &SilenceReport) -> Self {
        Self {
            what: shown(&silence.of),
            until: silence.until.readable(),
            actor: shown(&silence.actor),
            why: silence.why.as_deref().map(shown).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::report::Lines;
    use crate::surfaces::sample;

    fn page(snapshot: &crate::engine::Snapshot, lines: Lines) -> String {
        render(&StatusReport::of(snapshot, "0.1.0", lines), "http://127.0.0.1:8080")
    }

    #[test]
    fn it_shows_every_check_the_worst_first() {
        let html = page(&sample::failing(), Lines::Hidden);
        assert!(html.contains("1 check needs attention now"), "{html}");
        let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("no {text} in {html}"));
        assert!(place("unit:nginx.service") < place("disk:/var"));
        assert!(place("disk:/var") < place("heartbeat:/srv/beat"));
        assert!(place("heartbeat:/srv/beat") < place("<details"));
        assert!(place("<details") < place("\"id\">memory</td>"));
        for text in [
            "failed: exit code 1",
            "exit-code",
            "next restart at 07:17:42 UTC",
            "2 min 5 s",
            "curl -s http://127.0.0.1:8080/metrics",
            "UptimeRobot",
            "migration",
            "env=prod",
        ] {
            place(text);
        }
    }

    #[test]
    fn log_text_is_only_for_those_who_may_read_it() {
        assert!(!page(&sample::failing(), Lines::Hidden).contains("[emerg]"));
        assert!(page(&sample::failing(), Lines::Shown).contains("[emerg]"));
    }

    #[test]
    fn hostile_names_are_text_and_nothing_else() {
        let mut hostile = sample::hostile();
        let evil = "prod\u{202e}\u{2066}\u{200b}";
        hostile.host = evil.into();
        hostile.labels = std::sync::Arc::new([(evil.to_owned(), evil.to_owned())].into());
        let html = page(&hostile, Lines::Shown);
        assert!(html.contains("prod\\u{202e}"), "{html}");
        let unseen = ['\u{202e}', '\u{2066}', '\u{200b}'];
        assert!(!html.contains(unseen), "{html}");
        let html = page(&sample::hostile(), Lines::Shown);
        for breakout in ["<script", "<img", "<b>host", "x\">", "\u{1b}", "\u{202e}"] {
            assert!(!html.contains(breakout), "{breakout} in {html}");
        }
        assert!(html.contains("&#60;script&#62;"), "{html}");
    }

    #[test]
    fn it_says_who_looks_after_an_alert_and_why_nobody_was_told() {
        let html = page(&sample::busy(), Lines::Hidden);
        for text in [
            "acknowledged by root (uid 0) until 2026-01-31 09:17:22 UTC: disk is on its way",
            "silenced until 2026-01-31 08:07:22 UTC by root (uid 0) (s3)",
            "because of a11",
            "about to be told: ops",
            "nobody has been told: it needs another unit that is down",
            "2026-01-31 07:16:52 UTC acknowledged: disk is on its way, by root (uid 0)",
            "next: restart in 20 s",
            "waits: the host is still booting",
            "<span class=\"id\">disk:*</span> is silent until 2026-01-31 08:07:22 UTC",
            "maintenance: backup until 2026-01-31 07:32:22 UTC",
            "Lately over (1)",
            "ended 2026-01-31 05:22:22 UTC, after 5 min",
            "slack, works",
            "stopped: 401 Unauthorized (3 waiting)",
            "telegram, untried",
        ] {
            assert!(html.contains(text), "{text} in {html}");
        }
        assert!(!html.contains("<script"));
        let none = page(&sample::healthy(), Lines::Hidden);
        assert!(none.contains("none is configured: nobody is told of what happens"), "{none}");
        assert!(!none.contains("Kept quiet") && !none.contains("Lately over"));
    }

    #[test]
    fn it_says_so_before_the_first_round_and_when_all_is_well() {
        assert!(
            page(&sample::before_first_round(), Lines::Hidden)
                .contains("Looking at everything for the first time")
        );
        assert!(page(&sample::healthy(), Lines::Hidden).contains("All is well"));
    }

    #[test]
    fn a_thousand_checks_make_a_page_of_bearable_size() {
        let html = page(&sample::many(1000), Lines::Hidden);
        assert!(html.len() < 700_000, "{} bytes", html.len());
        assert!(html.contains("334 checks need attention now"));
    }

    #[test]
    fn each_container_is_shown_with_what_it_uses() {
        let html = page(&sample::containers(), Lines::Hidden);
        for text in [
            "Containers (5)",
            "<td class=\"id\">shop-db-1<small>shop / db</small></td>",
            "<span class=\"tag\">running (unhealthy)</span>",
            "<span class=\"tag\">exited with code 137</span>",
            "<td>128 MiB of 512 MiB</td>",
            "<td>2.0 GiB (12 % of the host)</td>",
            "<td>50 %</td>",
            "title=\"since 2026-01-31 05:17:22 UTC\">2 h</td>",
            "unhealthy: 3 checks failed in a row",
            "next restart at 07:17:42 UTC",
            "discovery, works, 40 calls",
            "failing: no answer within 5 s (3 waiting)",
        ] {
            assert!(html.contains(text), "{text} in {html}");
        }
        // What a health check printed is log text, and labels may hold passwords.
        assert!(!html.contains("connection to 127.0.0.1") && !html.contains("apr1"));
        assert!(!page(&sample::healthy(), Lines::Hidden).contains("Containers"));
        let crowd = page(&sample::crowd(200), Lines::Hidden);
        assert!(crowd.len() < 200_000, "{} bytes", crowd.len());
    }

    #[test]
    fn a_storm_of_alerts_is_counted_and_not_listed() {
        let mut storm = sample::many(1000);
        let alert = |i: usize| {
            let check = crate::engine::CheckId::unit(format!("w{i:04}.service"));
            let mut alert = sample::alert(&format!("a{i}"), check, Severity::Warning, "failed");
            alert.lines = vec!["x".repeat(300); 20];
            if i == 700 {
                alert.severity = Severity::Critical;
            }
            std::sync::Arc::new(alert)
        };
        storm.alerts = (0..1000).map(alert).collect();
        let html = page(&storm, Lines::Shown);
        assert!(html.len() < 1_100_000, "{} bytes", html.len());
        assert!(html.contains("and 950 more: <code>keepwell alerts</code> lists them"));
        assert!(html.contains("<span class=\"label\">a700</span>"));
    }
}
