//! The page at `/`: prepares what the template shows. Plain HTML, no script, nothing from elsewhere.

use std::time::Duration;

use crate::engine::{Human, Severity};

use super::report::{AlertReport, CheckReport, Counts, HoldReport, Stamp, StatusReport, meaning};
use super::visible;

#[path = "templates/page.rs"]
mod template;

use template::Page;

/// The style sheet, served beside the page so that the content policy needs no exception.
pub(super) const STYLE: &[u8] = include_bytes!("templates/style.css");

/// The whole page. `url` is where keepwell can be reached, for the examples.
pub(super) fn render(report: &StatusReport, url: &str) -> String {
    let mut bad: Vec<&CheckReport> =
        report.checks.iter().filter(|c| c.severity != Severity::Healthy).collect();
    bad.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.since.cmp(&a.since)));
    let row = |c: &CheckReport| Row::of(c, report.timestamp);
    let page = Page {
        host: &report.host,
        version: &report.version,
        url,
        status: report.status.as_str(),
        headline: headline(report),
        at: report.timestamp.readable(),
        up: human(report.timestamp, report.started),
        labels: report.labels.iter().map(|(k, v)| format!("{k}={v}")).collect(),
        counts: report.counts,
        bad: bad.into_iter().map(row).collect(),
        good: report.checks.iter().filter(|c| c.severity == Severity::Healthy).map(row).collect(),
        alerts: report.alerts.iter().map(|a| Alert::of(a, report.timestamp)).collect(),
        holds: report.holds.iter().map(Held::of).collect(),
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
        if let Some(unit) = &check.unit {
            if let Some(next) = unit.next_attempt.filter(|n| *n > now) {
                detail.push(format!("next restart at {}", next.time_of_day()));
            }
            for (count, word) in [(unit.crashes, "crash"), (unit.healed, "restart by keepwell")] {
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

struct Alert {
    check: String,
    severity: &'static str,
    summary: String,
    opened: String,
    for_: String,
    told: String,
    acts: Vec<String>,
    lines: Vec<String>,
}

impl Alert {
    fn of(alert: &AlertReport, now: Stamp) -> Self {
        Self {
            check: shown(&alert.check),
            severity: alert.severity.as_str(),
            summary: shown(&alert.summary),
            opened: alert.opened.readable(),
            for_: human(now, alert.opened),
            told: alert.told.join(", "),
            acts: alert.acts.iter().map(|a| shown(a)).collect(),
            lines: alert.lines.iter().map(|l| shown(l)).collect(),
        }
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
        let html = page(&sample::hostile(), Lines::Shown);
        for breakout in ["<script", "<img", "<b>host", "x\">", "\u{1b}", "\u{202e}"] {
            assert!(!html.contains(breakout), "{breakout} in {html}");
        }
        assert!(html.contains("&#60;script&#62;"), "{html}");
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
}
