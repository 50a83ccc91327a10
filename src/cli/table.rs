//! The table that `check` and `status` show.

use std::fmt::Write;
use std::time::Duration;

use crate::engine::{Human, Severity, Wall};
use crate::surfaces::report::{
    CheckReport, MaintenanceReport, SilenceReport, Stamp, StatusReport, meaning,
};
use crate::surfaces::visible;

use super::columns::{Columns, Row};
use super::terminal::{Look, fit};

/// So many healthy checks are listed when not all are asked for.
const HEALTHY_SHOWN: usize = 40;

/// The whole text. `now` is what ages are counted from; `all` lists every healthy check too.
pub(super) fn render(report: &StatusReport, now: Wall, look: Look, all: bool) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(out, "{}\n", headline(report, look));
    let mut checks: Vec<&CheckReport> = report.checks.iter().collect();
    checks.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.id.cmp(&b.id)));
    let crowd = crowd(&mut checks, all);
    let bad = checks.iter().filter(|c| c.severity != Severity::Healthy).count();
    let hidden = if all { 0 } else { (checks.len() - bad).saturating_sub(HEALTHY_SHOWN) };
    checks.truncate(checks.len() - hidden);
    if checks.is_empty() && crowd.is_some() {
        // What is said of them below is enough.
    } else if checks.is_empty() {
        let text = if report.ready { "Nothing to watch was found." } else { "No checks yet." };
        let _ = writeln!(out, "{text}");
    } else {
        rows(&mut out, &checks, now, look);
    }
    if hidden > 0 {
        let text = format!("and {hidden} healthy checks more (--all lists them)");
        let _ = writeln!(out, "{}", look.dim(&text));
    }
    if let Some(text) = crowd {
        let _ = writeln!(out, "{}", look.dim(&text));
    }
    tail(&mut out, report, now, look);
    out
}

/// Takes out the healthy containers that nobody named, unless all are asked for; gives the line
/// that counts them.
pub(super) fn crowd(checks: &mut Vec<&CheckReport>, all: bool) -> Option<String> {
    let before = checks.len();
    checks.retain(|check| all || !check.is_of_the_crowd());
    match before - checks.len() {
        0 => None,
        1 => Some("and 1 healthy container that nobody named (--all lists it)".to_owned()),
        n => Some(format!("and {n} healthy containers that nobody named (--all lists them)")),
    }
}

/// How the host is, in one line.
pub(super) fn headline(report: &StatusReport, look: Look) -> String {
    let host = visible(&report.host);
    if !report.ready {
        return format!("{}: not everything has been looked at yet", look.bold(&host));
    }
    let counts = report.counts;
    let word = look.paint(report.status, report.status.as_str());
    let mut parts = Vec::new();
    for severity in [Severity::Critical, Severity::Warning, Severity::Unknown, Severity::Healthy] {
        match counts.get(severity) {
            0 => {}
            n => parts.push(format!("{n} {severity}")),
        }
    }
    let parts = if parts.is_empty() { "no checks".to_owned() } else { parts.join(", ") };
    format!("{} is {word}: {parts}", look.bold(&host))
}

/// The checks, one a line.
pub(super) fn rows(out: &mut String, checks: &[&CheckReport], now: Wall, look: Look) {
    let rows: Vec<Row> = checks
        .iter()
        .map(|c| Row { cells: columns(c, now).to_vec(), severity: c.severity })
        .collect();
    let titles = &["STATE", "CHECK", "FOR", "WHAT"];
    Columns { titles, painted: 0, gives_way: 1 }.draw(out, &rows, look);
}

fn columns(check: &CheckReport, now: Wall) -> [String; 4] {
    let mut what = visible(&check.summary).into_owned();
    if check.severity != Severity::Healthy {
        let _ = write!(what, " [{}]", visible(&check.reason));
    }
    if let Some(next) = check.next_attempt()
        && next.0 > now
    {
        let _ = write!(
            what,
            "; restart in {}",
            Human(Duration::from_secs(next.0.since(now).as_secs()))
        );
    }
    [
        check.severity.as_str().to_owned(),
        visible(&check.id).into_owned(),
        age(check.since, now),
        what,
    ]
}

/// How long ago, in whole seconds.
pub(super) fn age(then: Stamp, now: Wall) -> String {
    Human(Duration::from_secs(now.since(then.0).as_secs())).to_string()
}

/// What else bears on them: alerts, silences, holds, channels.
pub(super) fn tail(out: &mut String, report: &StatusReport, now: Wall, look: Look) {
    if let Some(why) = &report.quiet {
        let text = format!("Messages and restarts wait: {}", meaning(why).unwrap_or(why));
        let _ = writeln!(out, "\n{}", limited(&visible(&text), look));
    }
    let alerts = report.alerts.iter().map(|alert| {
        let mut parts = vec![
            format!("{} {}", alert.id, alert.what()),
            format!("open for {}", age(alert.opened, now)),
        ];
        parts.extend(alert.marks());
        parts.push(alert.telling());
        parts.join(", ")
    });
    list(out, "Open alerts", alerts, look);
    list(out, "Silenced", report.silences.iter().map(SilenceReport::line), look);
    list(out, "Maintenance", report.maintenance.iter().map(MaintenanceReport::line), look);
    list(out, "On hold", report.holds.iter().map(held), look);
    let down = report.channels.iter().filter(|c| c.is_down());
    let down = down.map(|c| format!("{} ({}) {}", c.name, c.kind, c.trouble()));
    list(out, "Channels that do not deliver", down, look);
    let failing = report.hooks.iter().filter(|hook| !hook.trouble().is_empty());
    let failing = failing.map(|h| format!("{} ({}) {}", h.name, h.kind, h.trouble()));
    list(out, "Hooks that do not get through", failing, look);
}

fn list(out: &mut String, title: &str, lines: impl Iterator<Item = String>, look: Look) {
    for (i, line) in lines.enumerate() {
        if i == 0 {
            let _ = writeln!(out, "\n{}", look.bold(title));
        }
        let _ = writeln!(out, "  {}", limited(&visible(&line), look));
    }
}

/// `all units until …, by root (uid 0): migration`.
pub(super) fn held(hold: &crate::surfaces::report::HoldReport) -> String {
    let what = hold.unit.as_deref().unwrap_or("all units");
    let why = hold.why.as_ref().map(|w| format!(": {w}")).unwrap_or_default();
    visible(&format!("{what} until {}, by {}{why}", hold.until.readable(), hold.actor)).into_owned()
}

fn limited(text: &str, look: Look) -> String {
    look.width.map_or_else(|| text.to_owned(), |w| fit(text, w.saturating_sub(2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Snapshot;
    use crate::surfaces::report::Lines;
    use crate::surfaces::sample;

    const PIPE: Look = Look { colour: false, width: None };

    fn drawn(snapshot: &Snapshot, look: Look) -> String {
        render(&StatusReport::of(snapshot, "0.1.0", Lines::Shown), sample::AT, look, false)
    }

    #[test]
    fn golden_tables() {
        insta::assert_snapshot!("healthy", drawn(&sample::healthy(), PIPE));
        insta::assert_snapshot!("failing", drawn(&sample::failing(), PIPE));
        insta::assert_snapshot!(
            "before_the_first_round",
            drawn(&sample::before_first_round(), PIPE)
        );
        insta::assert_snapshot!("no_checks", drawn(&sample::snapshot(Vec::new()), PIPE));
        insta::assert_snapshot!("busy", drawn(&sample::busy(), PIPE));
        insta::assert_snapshot!("containers", drawn(&sample::containers(), PIPE));
        let narrow = Look { colour: false, width: Some(60) };
        insta::assert_snapshot!("narrow", drawn(&sample::failing(), narrow));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [40, 60, 80, 120] {
            let text = drawn(&sample::failing(), Look { colour: false, width: Some(width) });
            for line in text.lines().skip(1) {
                assert!(line.chars().count() <= width.max(44), "{width}: {line}");
            }
        }
    }

    #[test]
    fn colours_come_only_where_wanted_and_names_bring_none() {
        let coloured = drawn(&sample::failing(), Look { colour: true, width: None });
        assert!(coloured.contains("\u{1b}[1;31mcritical\u{1b}[0m"));
        let hostile = drawn(&sample::hostile(), PIPE);
        assert!(!hostile.chars().any(|c| c.is_control() && c != '\n'), "{hostile:?}");
        assert!(hostile.contains("\\u{1b}[2J"), "{hostile}");
    }

    #[test]
    fn many_healthy_checks_are_counted_and_not_listed() {
        let report = StatusReport::of(&sample::many(1000), "1", Lines::Shown);
        let text = render(&report, sample::AT, PIPE, false);
        assert!(text.contains("and 626 healthy checks more"), "{text}");
        assert!(render(&report, sample::AT, PIPE, true).contains("w0999.service"));
    }

    #[test]
    fn a_crowd_of_containers_is_counted_and_what_is_wrong_with_one_is_listed() {
        let report = StatusReport::of(&sample::crowd(200), "1", Lines::Shown);
        let text = render(&report, sample::AT, PIPE, false);
        assert!(text.contains("and 150 healthy containers that nobody named"), "{text}");
        assert!(text.contains("container:c0196") && !text.contains("container:c0197"), "{text}");
        let all = render(&report, sample::AT, PIPE, true);
        assert!(all.contains("container:c0197") && !all.contains("nobody named"), "{all}");
    }
}
