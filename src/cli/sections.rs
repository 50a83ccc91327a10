//! What `check --sections` prints: the checks under the headings that an operator goes through.

use std::fmt::Write;

use crate::engine::{Severity, Wall};
use crate::surfaces::report::{CheckReport, StatusReport};
use crate::surfaces::visible;

use super::table;
use super::terminal::{Look, fit};

/// So many healthy checks are listed in a section when not all are asked for.
const HEALTHY_SHOWN: usize = 10;
/// So many log lines are shown of one service.
const LINES_SHOWN: usize = 5;

/// A heading, the kinds of checks below it, and what is said when there are none.
struct Section {
    title: &'static str,
    kinds: &'static [&'static str],
    none: &'static str,
}

const SECTIONS: [Section; 7] = [
    Section {
        title: "Services",
        kinds: &["unit", "units"],
        none: "none is watched by name, none has failed",
    },
    Section {
        title: "Containers",
        kinds: &["container"],
        none: "none is watched by name, none has a problem",
    },
    Section { title: "Disk", kinds: &["disk", "inodes"], none: "not watched" },
    Section {
        title: "Memory and processors",
        kinds: &["memory", "swap", "cpu", "load", "pressure"],
        none: "not watched",
    },
    Section { title: "Git sync", kinds: &["probe"], none: "no checkout is watched" },
    Section { title: "Heartbeats", kinds: &["heartbeat"], none: "none is watched" },
    // Also what a newer daemon tells of kinds that this program has not heard of.
    Section { title: "Host and keepwell itself", kinds: &[], none: "nothing to report" },
];
/// Recent errors come before this section.
const ERRORS_BEFORE: &str = "Git sync";

/// The whole text. `now` is what ages are counted from; `all` lists every healthy check too.
pub(super) fn render(report: &StatusReport, now: Wall, look: Look, all: bool) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(out, "{}", table::headline(report, look));
    for section in &SECTIONS {
        if section.title == ERRORS_BEFORE {
            errors(&mut out, report, look);
        }
        let mut checks: Vec<&CheckReport> =
            report.checks.iter().filter(|c| section.holds(&c.id)).collect();
        heading(&mut out, section.title, checks.iter().map(|c| c.severity).max(), look);
        checks.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.id.cmp(&b.id)));
        let crowd = table::crowd(&mut checks, all);
        let bad = checks.iter().filter(|c| c.severity != Severity::Healthy).count();
        let hidden = if all { 0 } else { (checks.len() - bad).saturating_sub(HEALTHY_SHOWN) };
        checks.truncate(checks.len() - hidden);
        if checks.is_empty() {
            let _ = writeln!(out, "{}", look.dim(section.none));
        } else {
            table::rows(&mut out, &checks, now, look);
        }
        if hidden > 0 {
            let text = format!("and {hidden} healthy checks more (--all lists them)");
            let _ = writeln!(out, "{}", look.dim(&text));
        }
        if let Some(text) = crowd {
            let _ = writeln!(out, "{}", look.dim(&text));
        }
    }
    table::tail(&mut out, report, now, look);
    out
}

impl Section {
    fn holds(&self, id: &str) -> bool {
        let kind = id.split_once(':').map_or(id, |(kind, _)| kind);
        if self.kinds.is_empty() {
            !SECTIONS.iter().any(|s| s.kinds.contains(&kind))
        } else {
            self.kinds.contains(&kind)
        }
    }
}

fn heading(out: &mut String, title: &str, worst: Option<Severity>, look: Look) {
    let state = worst.map_or_else(String::new, |s| format!(": {}", look.paint(s, s.as_str())));
    let _ = writeln!(out, "\n{}{state}", look.bold(&format!("== {title}")));
}

/// Errors in the logs of services, with the lines where this user may read them.
fn errors(out: &mut String, report: &StatusReport, look: Look) {
    let mut found = Vec::new();
    for check in &report.checks {
        let bad = |kind: &str, severity| kind == "errors" && severity != Severity::Healthy;
        found.extend(
            check
                .conditions
                .iter()
                .filter(|c| bad(&c.kind, c.severity))
                .map(|condition| (&check.id, condition)),
        );
    }
    heading(out, "Recent errors", found.iter().map(|(_, c)| c.severity).max(), look);
    if found.is_empty() {
        let _ = writeln!(out, "{}", look.dim("none in the logs of services"));
    }
    let within = |text: String, indent: usize| match look.width {
        Some(width) => fit(&text, width.saturating_sub(indent)),
        None => text,
    };
    for (id, condition) in found {
        let text = format!("{}: {}", visible(id), visible(&condition.summary));
        let _ = writeln!(out, "{}", within(text, 0));
        let alert = report.alerts.iter().find(|a| a.check == *id && a.kind == "errors");
        let lines = alert.map_or(&[][..], |a| &a.lines);
        for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
            let _ = writeln!(out, "  {}", look.dim(&within(visible(line).into_owned(), 2)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Reason, Snapshot};
    use crate::surfaces::report::{ConditionReport, Lines};
    use crate::surfaces::sample;

    const PIPE: Look = Look { colour: false, width: None };

    fn report(snapshot: &Snapshot) -> StatusReport {
        StatusReport::of(snapshot, "0.1.0", Lines::Shown)
    }

    /// The busy sample, with errors in a log and a check of a kind that is not known here.
    fn busy() -> StatusReport {
        let mut report = report(&sample::busy());
        let web = report.checks.iter_mut().find(|c| c.id == "unit:web@2.service").unwrap();
        web.severity = Severity::Warning;
        web.conditions.push(ConditionReport {
            kind: "errors".into(),
            severity: Severity::Warning,
            reason: Reason::Running.as_str().into(),
            summary: "3 errors in its log".into(),
        });
        let alert = report.alerts.iter_mut().find(|a| a.check == "unit:web@2.service").unwrap();
        alert.kind = "errors".into();
        alert.lines = (1..=7).map(|n| format!("error {n}: \u{1b}[2Jdisk is slow")).collect();
        let mut git = report.checks[0].clone();
        git.id = "probe:site".into();
        git.summary = "3 commits behind origin/main".into();
        git.severity = Severity::Warning;
        git.reason = "behind".into();
        git.unit = None;
        let mut novel = git.clone();
        novel.id = "novel:thing".into();
        novel.summary = "of a newer keepwell".into();
        report.checks.extend([git, novel]);
        report
    }

    #[test]
    fn golden_sections() {
        let drawn = |report: &StatusReport| render(report, sample::AT, PIPE, false);
        insta::assert_snapshot!("healthy", drawn(&report(&sample::healthy())));
        insta::assert_snapshot!("busy", drawn(&busy()));
        insta::assert_snapshot!(
            "before_the_first_round",
            drawn(&report(&sample::before_first_round()))
        );
    }

    #[test]
    fn every_check_stands_in_exactly_one_section() {
        let report = busy();
        let text = render(&report, sample::AT, PIPE, true);
        for check in &report.checks {
            let row = |line: &&str| line.split_whitespace().nth(1) == Some(check.id.as_str());
            let rows = text.lines().take_while(|l| *l != "Open alerts").filter(row).count();
            assert_eq!(rows, 1, "{}:\n{text}", check.id);
        }
    }

    #[test]
    fn long_sections_are_cut_and_colours_come_only_where_wanted() {
        let many = report(&sample::many(1000));
        let text = render(&many, sample::AT, PIPE, false);
        assert!(text.contains("healthy checks more (--all lists them)"), "{text}");
        assert!(text.lines().count() < 500);
        assert!(!text.contains('\u{1b}'));
        let coloured = render(&busy(), sample::AT, Look { colour: true, width: None }, false);
        assert!(coloured.contains("== Disk\u{1b}[0m: \u{1b}[33mwarning"), "{coloured}");
        assert!(!render(&busy(), sample::AT, PIPE, false).contains('\u{1b}'));
    }
}
