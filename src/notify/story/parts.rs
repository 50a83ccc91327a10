//! What is known of each alert, notice and check of a message, as the parts of its story.

use std::time::Duration;

use super::words::{clock, command, lasted, moment, name_of, short, thing};
use super::{Fact, IN_FULL, Part, Tone, WORDS, headline, is_over, notice_line};
use crate::engine::alert::{AlertRecord, Happening, Item, Notice, Notification, ReportLine};
use crate::engine::time::{Human, Wall};
use crate::engine::words::{CheckKind, Reason, Severity};

/// Log lines of the only alert of a message, and at least of each of several.
const LINES: (usize, usize) = (10, 3);
/// Characters of a log line.
const LINE: usize = 300;
/// What was done about it, in a story.
const ACTS: usize = 4;
/// What has lasted less than this has only just begun.
const A_WHILE: Duration = Duration::from_secs(60);

/// `full` is how many alerts of the message are no one's dependants: few have all that is known.
pub(super) fn part(item: &Item, full: usize, notification: &Notification) -> Part {
    let alert = &item.alert;
    let over = is_over(item);
    let severity = alert.severity.as_str().to_uppercase();
    let headline = headline(item, notification.at);
    let mut part = Part {
        heading: if over { headline } else { format!("{severity} {headline}") },
        tone: if over { Tone::Good } else { Tone::of(alert.severity) },
        beneath: item.beneath,
        facts: Vec::new(),
        lines: Vec::new(),
        command: None,
        alert: (!over).then(|| alert.id.to_string()),
        unit: (alert.key.check.kind == CheckKind::Unit).then(|| alert.key.check.name.to_string()),
    };
    if full > IN_FULL || item.beneath {
        return part;
    }
    if over {
        part.facts = ended(item);
    } else {
        part.facts = ongoing(item, notification);
        let lines = (LINES.0 / full.max(1)).max(LINES.1);
        part.lines = alert.lines[alert.lines.len().saturating_sub(lines)..]
            .iter()
            .map(|line| short(line, LINE))
            .collect();
    }
    part.command = command(alert);
    part
}

fn ongoing(item: &Item, notification: &Notification) -> Vec<Fact> {
    let alert = &item.alert;
    let mut facts = Vec::new();
    if matches!(item.happening, Happening::Acknowledged | Happening::Restarted) {
        facts.push(fact("What", format!("{}, {}", alert.severity, short(&alert.summary, WORDS))));
    }
    facts.push(fact("Since", since(alert.opened, notification.at)));
    facts.push(fact("Why", format!("{} ({})", alert.reason.meaning(), alert.reason)));
    facts.extend(of_container(alert));
    if let Some(cause) = &alert.cause {
        let known = notification.items.iter().find(|i| i.alert.id == *cause);
        let name = known.map(|i| format!("{}, ", thing(&i.alert))).unwrap_or_default();
        facts.push(fact("Cause", format!("{name}alert {cause}")));
    }
    if alert.flapping {
        facts.push(fact("Flapping", Reason::Flapping.meaning().into()));
    }
    facts.extend(acknowledged(alert));
    facts.extend(acts(alert));
    match &alert.next {
        Some(next) => facts.push(fact("Next", short(next, WORDS))),
        None if item.happening == Happening::GaveUp => {
            facts.push(fact("Next", "keepwell leaves it alone; somebody has to look".into()));
        }
        None => {}
    }
    facts
}

/// What is known of a container besides its name.
fn of_container(alert: &AlertRecord) -> Vec<Fact> {
    let Some(container) = &alert.container else { return Vec::new() };
    let mut facts = vec![fact("Image", short(&container.image, WORDS))];
    if let Some(project) = &container.project {
        let service = container.service.as_ref();
        let service = service.map(|name| format!(", service {}", short(name, WORDS)));
        let project = short(project, WORDS);
        facts.push(fact("Project", format!("{project}{}", service.unwrap_or_default())));
    }
    if let Some(code) = container.exit_code {
        facts.push(fact("Exit code", code.to_string()));
    }
    if container.restarts > 0 {
        facts.push(fact("Restarts", container.restarts.to_string()));
    }
    if let Some(error) = &container.error {
        facts.push(fact("Error", short(error, WORDS)));
    }
    if let Some(output) = &container.health {
        facts.push(fact("Health check", short(output, WORDS)));
    }
    facts
}

fn since(begin: Wall, at: Wall) -> String {
    let so_far = at.since(begin);
    if so_far < A_WHILE {
        moment(begin)
    } else {
        format!("{}, for {}", moment(begin), Human(so_far))
    }
}

fn acknowledged(alert: &AlertRecord) -> Option<Fact> {
    let ack = alert.ack.as_ref()?;
    let who = short(&ack.actor.0, WORDS);
    let until = ack.until.map(|u| format!(" until {}", moment(u))).unwrap_or_default();
    let why = ack.why.as_ref().map(|w| format!(": {}", short(w, WORDS))).unwrap_or_default();
    Some(fact("Acknowledged", format!("by {who} at {}{until}{why}", clock(ack.at, alert.opened))))
}

fn ended(item: &Item) -> Vec<Fact> {
    let alert = &item.alert;
    let mut facts = match (alert.resolved, lasted(alert)) {
        (Some(end), Some(lasted)) => vec![fact(
            "Lasted",
            format!("{} ({} to {})", Human(lasted), moment(alert.opened), moment(end)),
        )],
        _ => vec![fact("Began", moment(alert.opened))],
    };
    let summary = short(&alert.summary, WORDS);
    facts.push(fact("Was", format!("{}, {summary} ({})", alert.severity, alert.reason)));
    if item.opening {
        let text = "it began and ended before this channel could be told";
        facts.push(fact("Note", text.into()));
    }
    facts.extend(acknowledged(alert));
    facts.extend(acts(alert));
    facts
}

/// What was done about it. What keepwell itself did says so in its own words.
fn acts(alert: &AlertRecord) -> impl Iterator<Item = Fact> {
    alert.acts[alert.acts.len().saturating_sub(ACTS)..].iter().map(|act| {
        let at = clock(act.at, alert.opened);
        let text = short(&act.text, WORDS);
        match &act.by {
            Some(who) => fact("Done", format!("{at} {}: {text}", short(&who.0, WORDS))),
            None => fact("Done", format!("{at} {text}")),
        }
    })
}

pub(super) fn notice(notice: &Notice, brief: bool, at: Wall) -> Part {
    let line = notice_line(notice);
    let (heading, facts) = if brief {
        (format!("{} {line}", clock(notice.at, at)), Vec::new())
    } else {
        (line, vec![fact("At", moment(notice.at))])
    };
    Part { heading, facts, ..bare(Tone::Info) }
}

fn bare(tone: Tone) -> Part {
    Part {
        heading: String::new(),
        tone,
        beneath: false,
        facts: Vec::new(),
        lines: Vec::new(),
        command: None,
        alert: None,
        unit: None,
    }
}

pub(super) fn report_part(line: &ReportLine, at: Wall) -> Part {
    let text = format!("{}: {}", name_of(&line.check), short(&line.summary, WORDS));
    if line.severity == Severity::Healthy {
        return Part { heading: text, ..bare(Tone::Good) };
    }
    let heading = format!("{} {text}", line.severity.as_str().to_uppercase());
    let facts = vec![fact("Since", since(line.since, at))];
    Part { heading, facts, ..bare(Tone::of(line.severity)) }
}

fn fact(label: &'static str, text: String) -> Fact {
    Fact { label, text }
}
