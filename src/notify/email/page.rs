//! The HTML of a mail: prepares what the template shows. Nothing is loaded from elsewhere, and the
//! styles stand with the elements, because many mail programs drop style sheets.

use super::compose::Log;
use crate::engine::alert::{Happening, Item, Notice, ReportLine};
use crate::engine::time::Human;
use crate::engine::words::Severity;
use crate::notify::Outgoing;
use crate::notify::story::{self, Part, Story, Tone};

#[path = "page/template.rs"]
mod template;

use template::{Detail, Page, Row};

/// A report and notices have no more to tell than the first three.
const COLUMNS: &[&str] = &["State", "What", "Since", "Why", "Next"];

pub(super) fn render(message: &Outgoing, shown: &Story, more: usize, logs: &[Log]) -> String {
    let notification = &*message.notification;
    let checks = notification.report.iter().flat_map(|r| r.checks.iter().map(check));
    let items = notification.items.iter().map(item);
    let rows = checks.chain(items).chain(notification.notices.iter().map(notice));
    // One row and one part each, in the same order.
    let rows: Vec<Row<'_>> = rows
        .zip(&shown.parts)
        .map(|(row, part)| Row { what: without_word(part), beneath: part.beneath, ..row })
        .collect();
    let several = !shown.single;
    // What the table says already is not said again.
    let enough = if several { 1 } else { 0 };
    let details = shown.parts.iter().filter(|p| p.facts.len() > enough || !p.lines.is_empty());
    let page = Page {
        title: &shown.title,
        colour: colour(shown.tone),
        ink: ink(shown.tone),
        remarks: &shown.remarks,
        columns: if rows.iter().any(|r| !r.why.is_empty()) { COLUMNS } else { &COLUMNS[..3] },
        rows: if several { rows } else { Vec::new() },
        more,
        details: details.map(|part| Detail { part, colour: colour(part.tone), several }).collect(),
        attached: logs.iter().map(|l| l.name.as_str()).collect(),
        footer: &shown.footer,
    };
    // Rendering writes to a string and calls nothing that can fail.
    askama::Template::render(&page).unwrap_or_default()
}

fn colour(tone: Tone) -> &'static str {
    tone.colour()
}

/// What can be read on the colour.
fn ink(tone: Tone) -> &'static str {
    if tone == Tone::Warning { "#201500" } else { "#ffffff" }
}

fn row<'a>(word: String, tone: Tone, since: String, why: String, next: String) -> Row<'a> {
    Row { word, colour: colour(tone), ink: ink(tone), what: "", beneath: false, since, why, next }
}

fn item<'a>(item: &Item) -> Row<'a> {
    let alert = &item.alert;
    let since = story::moment(alert.opened);
    if item.happening == Happening::Resolved {
        let lasted = story::lasted(alert).map(|d| format!("lasted {}", Human(d)));
        return row(
            "RESOLVED".into(),
            Tone::Good,
            since,
            lasted.unwrap_or_default(),
            String::new(),
        );
    }
    let tone = tone(alert.severity);
    let next = alert.next.as_deref().map(|next| brief(&story::clean(next))).unwrap_or_default();
    let word = alert.severity.as_str().to_uppercase();
    row(word, tone, since, alert.reason.meaning().to_owned(), next)
}

fn check<'a>(line: &ReportLine) -> Row<'a> {
    let word = line.severity.as_str().to_uppercase();
    let tone = match line.severity {
        Severity::Healthy => Tone::Good,
        severity => tone(severity),
    };
    row(word, tone, story::moment(line.since), String::new(), String::new())
}

fn notice<'a>(notice: &Notice) -> Row<'a> {
    row("INFO".into(), Tone::Info, story::moment(notice.at), String::new(), String::new())
}

fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Critical => Tone::Critical,
        Severity::Warning => Tone::Warning,
        Severity::Healthy | Severity::Unknown => Tone::Info,
    }
}

/// The heading without the word that the row shows in colour.
fn without_word(part: &Part) -> &str {
    let heading = part.heading.as_str();
    ["CRITICAL ", "WARNING ", "UNKNOWN ", "HEALTHY "]
        .iter()
        .find_map(|word| heading.strip_prefix(word))
        .unwrap_or(heading)
}

fn brief(text: &str) -> String {
    if text.chars().count() > 200 {
        text.chars().take(199).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}
