//! A notification in words. Pure: the same notification gives the same text.
//!
//! Plain text for people; channels that have a markup of their own (and its escaping) build it
//! from the same parts in their own files.

use std::fmt::Write;
use std::time::Duration;

use super::Outgoing;
use crate::engine::alert::{AlertRecord, Happening};
use crate::engine::time::{Human, Wall};
use crate::engine::words::{AlertKind, CheckId, CheckKind};

/// Log lines shown in a text; structured channels carry all of them.
const LINES: usize = 10;
/// Characters of a log line that are shown.
const LINE: usize = 300;
/// What keepwell did, shown in a text.
const ACTS: usize = 4;
/// Alerts listed in a digest.
const DIGEST: usize = 20;
/// How long before the beginning the suggested look at the journal starts.
const BEFORE: Duration = Duration::from_secs(60);

/// What a receiver should understand has happened: to one that was not told of the beginning, a
/// change for the worse or better is the beginning.
pub fn happening(message: &Outgoing) -> Happening {
    match message.notification.happening {
        Happening::Worse | Happening::Better if message.opening => Happening::Opened,
        other => other,
    }
}

/// One line: how bad, where, what.
pub fn subject(message: &Outgoing) -> String {
    let notification = &message.notification;
    let host = &notification.host;
    let happening = happening(message);
    let word = match happening {
        Happening::Resolved => "RESOLVED".to_owned(),
        _ => notification.severity().as_str().to_uppercase(),
    };
    let what = match (happening, &notification.alerts[..]) {
        (Happening::Digest, [_]) => "1 problem found at the first look".into(),
        (Happening::Digest, all) => format!("{} problems found at the first look", all.len()),
        (_, []) => "nothing further is known".into(),
        (_, [alert, ..]) => {
            let name = thing(alert);
            let summary = clean(&alert.summary);
            match happening {
                Happening::Worse => format!("{name}: {summary} (worse than before)"),
                Happening::Better => format!("{name}: {summary} (better than before)"),
                Happening::GaveUp => format!("{name}: keepwell gave up: {summary}"),
                Happening::Resolved => match lasted(alert) {
                    Some(lasted) => format!("{name}: well again after {}", Human(lasted)),
                    None => format!("{name}: well again"),
                },
                Happening::Opened | Happening::Digest => format!("{name}: {summary}"),
            }
        }
    };
    format!("[{word}] {host}: {what}")
}

/// The whole message: the subject, then what is known, one fact a line.
pub fn text(message: &Outgoing) -> String {
    let mut out = subject(message);
    out.push('\n');
    if let Some(late) = message.delayed {
        line(
            &mut out,
            format_args!("Delayed: decided {} ago, and not delivered until now", Human(late)),
        );
    }
    let notification = &message.notification;
    if !notification.labels.is_empty() {
        let labels: Vec<_> =
            notification.labels.iter().map(|(k, v)| format!("{}={}", clean(k), clean(v))).collect();
        line(&mut out, format_args!("Labels: {}", labels.join(", ")));
    }
    match happening(message) {
        Happening::Digest => digest(&mut out, &notification.alerts),
        Happening::Resolved => {
            notification.alerts.iter().for_each(|a| ended(&mut out, a, message.opening));
        }
        _ => notification.alerts.iter().for_each(|a| ongoing(&mut out, a)),
    }
    out.truncate(out.trim_end().len());
    out
}

fn ongoing(out: &mut String, alert: &AlertRecord) {
    line(out, format_args!("Since: {}", moment(alert.opened)));
    line(out, format_args!("Why: {} ({})", alert.reason.meaning(), alert.reason));
    acts(out, alert);
    if !alert.lines.is_empty() {
        line(out, format_args!("Last log lines:"));
        for text in &alert.lines[alert.lines.len().saturating_sub(LINES)..] {
            line(out, format_args!("    {}", cut(&clean(text))));
        }
    }
    if let Some(command) = command(alert) {
        line(out, format_args!("Look: {command}"));
    }
}

fn ended(out: &mut String, alert: &AlertRecord, opening: bool) {
    match (alert.resolved, lasted(alert)) {
        (Some(end), Some(lasted)) => line(
            out,
            format_args!("Lasted: {} ({} to {})", Human(lasted), moment(alert.opened), moment(end)),
        ),
        _ => line(out, format_args!("Began: {}", moment(alert.opened))),
    }
    line(
        out,
        format_args!("Was: {}, {} ({})", alert.severity, clean(&alert.summary), alert.reason),
    );
    if opening {
        line(out, format_args!("It began and ended before the first message could be delivered"));
    }
    acts(out, alert);
}

fn acts(out: &mut String, alert: &AlertRecord) {
    for act in &alert.acts[alert.acts.len().saturating_sub(ACTS)..] {
        line(out, format_args!("keepwell: {}", clean(act)));
    }
}

fn digest(out: &mut String, alerts: &[AlertRecord]) {
    let mut sorted: Vec<_> = alerts.iter().collect();
    sorted.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.key.cmp(&b.key)));
    line(out, format_args!("This was so when keepwell first came to this host:"));
    for alert in sorted.iter().take(DIGEST) {
        let severity = alert.severity.as_str().to_uppercase();
        line(out, format_args!("- {severity} {}: {}", thing(alert), clean(&alert.summary)));
    }
    if sorted.len() > DIGEST {
        line(out, format_args!("- and {} more", sorted.len() - DIGEST));
    }
    line(out, format_args!("Look: keepwell status"));
}

/// What an alert is about, in words.
pub fn thing(alert: &AlertRecord) -> String {
    let CheckId { kind, name } = &alert.key.check;
    let name = clean(name);
    let mut words = match kind {
        CheckKind::Unit | CheckKind::Host if !name.is_empty() => name,
        CheckKind::Inodes => format!("inodes of {name}"),
        CheckKind::Cpu => "CPU".into(),
        CheckKind::Pressure => format!("pressure on {name}"),
        CheckKind::Agent => format!("keepwell's own {name}"),
        kind if name.is_empty() => kind.as_str().to_owned(),
        kind => format!("{kind} {name}"),
    };
    match alert.key.kind {
        AlertKind::State => {}
        AlertKind::CrashLoop => words.push_str(" (crash loop)"),
        AlertKind::Errors => words.push_str(" (its log)"),
    }
    words
}

/// The command that shows more.
pub fn command(alert: &AlertRecord) -> Option<String> {
    let CheckId { kind, name } = &alert.key.check;
    Some(match kind {
        CheckKind::Unit => format!(
            "journalctl -u {} --since \"{}\"",
            quoted(name),
            moment(alert.opened.before(BEFORE))
        ),
        CheckKind::Disk => format!("df -h {}", quoted(name)),
        CheckKind::Inodes => format!("df -i {}", quoted(name)),
        CheckKind::Memory | CheckKind::Swap => "ps aux --sort=-rss | head".into(),
        CheckKind::Cpu | CheckKind::Load | CheckKind::Pressure => {
            "ps aux --sort=-pcpu | head".into()
        }
        CheckKind::Heartbeat => format!("ls -l {}", quoted(name)),
        CheckKind::Agent => "keepwell doctor".into(),
        CheckKind::Units | CheckKind::Host => return None,
    })
}

/// From its beginning to its end.
pub fn lasted(alert: &AlertRecord) -> Option<Duration> {
    Some(alert.resolved?.since(alert.opened))
}

/// A time for people, which `journalctl --since` understands as well.
fn moment(at: Wall) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .map_or_else(|_| at.0.to_string(), |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// For a shell, in single quotes where needed.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@._:/-+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", clean(word).replace('\'', r"'\''"))
    }
}

/// Without line breaks and what steers a terminal.
fn clean(text: &str) -> String {
    // Also what reverses the direction of writing, and so can disguise a line.
    let hidden = |c: char| {
        c.is_control()
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    text.chars().map(|c| if hidden(c) { ' ' } else { c }).collect()
}

fn cut(text: &str) -> String {
    if text.chars().count() > LINE {
        text.chars().take(LINE).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
