//! A message in words, before any service's markup: the one model that every channel renders, and
//! that the users' templates see. Pure: the same message gives the same story.
//!
//! All texts are plain: one line each, without control characters, not escaped for any markup, cut
//! only where no person wrote that much. Escaping and the limits of a service are its channel's
//! affair. Names, times and commands are in `words`, the whole as plain text is in `plain`.

use std::fmt::Write;

use serde::Serialize;

use super::Outgoing;
use crate::engine::alert::{Gist, Happening, Item, Notice, Notification, Report};
use crate::engine::time::{Human, Wall};
use crate::engine::words::{Reason, Severity};

mod parts;
mod plain;
#[cfg(test)]
mod tests;
mod words;

use parts::{notice, part, report_part};
pub use plain::text;
use words::name_of;
pub use words::{clean, command, lasted, moment, short, thing};

/// Characters of what else the outside says: summaries, names, reasons of people.
const WORDS: usize = 400;
/// Over this many alerts each gets one line and no more. What stands beneath a cause has one line
/// anyway and does not count.
const IN_FULL: usize = 5;

/// How a message is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// A notice, a report in which all is well, a test.
    Info,
    /// It is over.
    Good,
    /// Somebody should look soon.
    Warning,
    /// Somebody should look now.
    Critical,
}

impl Tone {
    fn of(severity: Severity) -> Self {
        match severity {
            Severity::Healthy | Severity::Unknown => Self::Info,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }

    /// As in CSS: `#d32f2f`.
    pub fn colour(self) -> &'static str {
        match self {
            Self::Info => "#1976d2",
            Self::Good => "#2e7d32",
            Self::Warning => "#ed9f00",
            Self::Critical => "#d32f2f",
        }
    }

    /// One character that shows it without colour.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Info => "ℹ️",
            Self::Good => "✅",
            Self::Warning => "⚠️",
            Self::Critical => "🔴",
        }
    }
}

/// A message in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Story {
    /// One line: how bad, where, what.
    pub title: String,
    /// How it is to look.
    pub tone: Tone,
    /// Remarks on the message as a whole, such as that it is late.
    pub remarks: Vec<String>,
    /// What it is about, in order.
    pub parts: Vec<Part>,
    /// Host and labels, one line.
    pub footer: String,
    /// There is one part, and the title says what its heading says: no need to show both.
    pub single: bool,
}

/// One alert, notice or check in a message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// One line: what, and how it is.
    pub heading: String,
    /// How it is to look.
    pub tone: Tone,
    /// It stands beneath the part before it that is its cause.
    pub beneath: bool,
    /// What is known, each with its label: `Since`, `Why`, `Done`, `Next`…; empty when there are so
    /// many parts that each gets one line.
    pub facts: Vec<Fact>,
    /// The last log lines, oldest first.
    pub lines: Vec<String>,
    /// The command that shows more.
    pub command: Option<String>,
    /// The alert's id, for buttons; `None` for what is no open alert.
    pub alert: Option<String>,
    /// The unit, for buttons, where it is about one.
    pub unit: Option<String>,
}

/// One thing that is known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fact {
    /// A word: `Since`.
    pub label: &'static str,
    /// One line.
    pub text: String,
}

/// Puts a message into words.
pub fn compose(message: &Outgoing) -> Story {
    let notification = &*message.notification;
    let mut parts = Vec::new();
    if let Some(report) = &notification.report {
        parts.extend(report.checks.iter().map(|line| report_part(line, notification.at)));
    }
    let full = notification.items.iter().filter(|i| !i.beneath).count();
    parts.extend(notification.items.iter().map(|item| part(item, full, notification)));
    let brief = notification.notices.len() > IN_FULL;
    parts.extend(notification.notices.iter().map(|one| notice(one, brief, notification.at)));
    let single = parts.len() == 1 && matches!(notification.gist, Gist::Alerts | Gist::Summary);
    Story {
        title: title(notification),
        tone: tone(notification),
        remarks: remarks(message),
        parts,
        footer: footer(notification),
        single,
    }
}

fn tone(notification: &Notification) -> Tone {
    match notification.gist {
        Gist::Test => Tone::Info,
        _ if notification.is_all_over() => Tone::Good,
        _ if is_news(notification) => Tone::Info,
        _ => Tone::of(notification.severity()),
    }
}

/// Whether it tells of nothing that somebody would have to look after.
fn is_news(notification: &Notification) -> bool {
    let items = &notification.items;
    notification.report.is_none()
        && items.iter().all(|item| {
            use Happening::{Acknowledged, Resolved, Restarted};
            matches!(item.happening, Acknowledged | Restarted | Resolved)
        })
}

fn remarks(message: &Outgoing) -> Vec<String> {
    let notification = &*message.notification;
    let mut remarks = Vec::new();
    if let Some(late) = message.delayed {
        remarks.push(format!("Delayed: decided {} ago, and not delivered until now", Human(late)));
    }
    match notification.gist {
        Gist::Test => remarks.push(
            "This is a test. If you can read it, the channel works and alerts will arrive here."
                .into(),
        ),
        Gist::Digest => {
            remarks.push("This was already so when keepwell first came to this host.".into());
        }
        Gist::Summary => remarks.push(
            "More happened than this channel takes in a minute; this is the rest in one message."
                .into(),
        ),
        Gist::Alerts | Gist::Report => {}
    }
    if let Some(report) = &notification.report {
        remarks.extend(report_remarks(report, notification.at));
    }
    if notification.omitted > 0 {
        let alerts = count(notification.omitted as usize, "more alert", "more alerts");
        remarks.push(format!("{alerts} began and ended before this channel could be told"));
    }
    remarks
}

/// One line: how bad, where, what.
fn title(notification: &Notification) -> String {
    let host = short(&notification.host, WORDS);
    let items = &notification.items;
    let all = |happening| !items.is_empty() && items.iter().all(|i| i.happening == happening);
    let word = match notification.gist {
        Gist::Test => "TEST".to_owned(),
        Gist::Report => "REPORT".to_owned(),
        _ if notification.is_all_over() => "RESOLVED".to_owned(),
        _ if all(Happening::Acknowledged) => "ACKNOWLEDGED".to_owned(),
        _ if all(Happening::Restarted) => "RESTARTED".to_owned(),
        _ if is_news(notification) => "INFO".to_owned(),
        _ => notification.severity().as_str().to_uppercase(),
    };
    let what = match (notification.gist, &items[..], &notification.notices[..]) {
        (Gist::Test, ..) => "this channel works".to_owned(),
        (Gist::Report, ..) => report_title(notification.report.as_ref()),
        (Gist::Digest, all, _) => format!("{} found at the first look", problems(all.len())),
        (_, [], []) => "alerts that are over already".to_owned(),
        (_, [], [one]) => notice_line(one),
        (_, [], many) => format!("{} notices", many.len()),
        (_, [one], _) => headline(one, notification.at),
        (_, [first, rest @ ..], _)
            if rest.iter().all(|i| i.beneath && is_over(i) == is_over(first)) =>
        {
            format!("{}, and {} with it", headline(first, notification.at), rest.len())
        }
        (_, all, _) => several(all),
    };
    format!("[{word}] {host}: {what}")
}

fn several(items: &[Item]) -> String {
    let over = items.iter().filter(|i| is_over(i)).count();
    let open = items.len() - over;
    let mut names: Vec<(String, usize)> = Vec::new();
    for item in items {
        match names.last_mut() {
            Some((_, with_it)) if item.beneath => *with_it += 1,
            _ => names.push((thing(&item.alert), 0)),
        }
    }
    let more = if names.len() > 3 { ", …" } else { "" };
    let names: Vec<String> = names
        .into_iter()
        .take(3)
        .map(|(name, with_it)| match with_it {
            0 => name,
            n => format!("{name} (and {n} with it)"),
        })
        .collect();
    let names = names.join(", ");
    match (open, over) {
        (0, over) => format!("{over} are over: {names}{more}"),
        (open, 0) => format!("{}: {names}{more}", problems(open)),
        (open, over) => format!("{}, {over} over: {names}{more}", problems(open)),
    }
}

fn problems(n: usize) -> String {
    count(n, "problem", "problems")
}

fn count(n: usize, one: &str, more: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {more}") }
}

fn is_over(item: &Item) -> bool {
    item.happening == Happening::Resolved
}

/// What happened to one alert, in one line.
fn headline(item: &Item, at: Wall) -> String {
    let alert = &item.alert;
    let (name, summary) = (thing(alert), short(&alert.summary, WORDS));
    let open_for = Human(at.since(alert.opened));
    match told_as(item) {
        Happening::Opened => format!("{name}: {summary}"),
        Happening::Worse if alert.severity == Severity::Critical => {
            format!("{name}: {summary} (worse: it was a warning)")
        }
        Happening::Worse => format!("{name}: {summary} (worse than before)"),
        Happening::Better if alert.severity == Severity::Warning => {
            format!("{name}: {summary} (better: it was critical)")
        }
        Happening::Better => format!("{name}: {summary} (better than before)"),
        Happening::Reminded => format!("{name}: still {summary} (for {open_for})"),
        Happening::Escalated => {
            format!("{name}: {summary} (nobody has acknowledged it for {open_for})")
        }
        Happening::Acknowledged => match &alert.ack {
            Some(ack) => format!("{name}: acknowledged by {}", short(&ack.actor.0, WORDS)),
            None => format!("{name}: acknowledged"),
        },
        Happening::Restarted => {
            let last = alert.acts.iter().rev().find(|a| a.by.is_none());
            match last.filter(|act| act.text.starts_with("restarted")) {
                Some(act) => format!("{name}: {}", short(&act.text, WORDS)),
                None => format!("{name}: restarted by keepwell"),
            }
        }
        Happening::GaveUp => format!("{name}: {summary}, and restarts did not help"),
        Happening::Resolved => {
            let after = lasted(alert).map(|d| format!(" after {}", Human(d))).unwrap_or_default();
            let how = match alert.ended {
                Some(Reason::Removed) => "removed",
                Some(_) => "no longer watched",
                None => "well again",
            };
            format!("{name}: {how}{after}")
        }
    }
}

/// What a receiver should understand has happened: to one that was not told of the beginning, a
/// change for the worse or better is the beginning.
pub fn told_as(item: &Item) -> Happening {
    match item.happening {
        Happening::Worse | Happening::Better | Happening::Reminded if item.opening => {
            Happening::Opened
        }
        other => other,
    }
}

fn notice_line(notice: &Notice) -> String {
    format!("{}: {}", name_of(&notice.check), short(&notice.text, WORDS))
}

fn report_title(report: Option<&Report>) -> String {
    let [healthy, unknown, warning, critical] = report.map(|r| r.counts).unwrap_or_default();
    if unknown + warning + critical == 0 {
        return format!("all is well ({})", count(healthy, "check", "checks"));
    }
    let counts = [(critical, "critical"), (warning, "warning"), (unknown, "unknown")];
    let bad: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    format!("{}, {healthy} healthy", bad.join(", "))
}

fn report_remarks(report: &Report, at: Wall) -> Vec<String> {
    let Report { opened, resolved, restarts, .. } = *report;
    let last = Human(at.since(report.since));
    let mut remarks = vec![if opened + resolved + restarts == 0 {
        format!("In the last {last}: no alert and no restart")
    } else {
        format!(
            "In the last {last}: {} opened, {resolved} ended, {} by keepwell",
            count(opened as usize, "alert", "alerts"),
            count(restarts as usize, "restart", "restarts"),
        )
    }];
    let bad: usize = report.counts[1..].iter().sum();
    let shown = report.checks.iter().filter(|c| c.severity != Severity::Healthy).count();
    if let Some(left @ 1..) = bad.checked_sub(shown) {
        let checks = count(left, "more check", "more checks");
        remarks.push(format!("{checks} not listed here: keepwell status shows all"));
    }
    remarks
}

fn footer(notification: &Notification) -> String {
    let mut footer = short(&notification.host, WORDS);
    for (key, value) in &*notification.labels {
        // Writing to a String cannot fail.
        let _ = write!(footer, " · {}={}", short(key, WORDS), short(value, WORDS));
    }
    footer
}
