//! What things are called, when they were, and which command shows more: the words that a story is
//! made of.

use std::time::Duration;

use crate::engine::alert::AlertRecord;
use crate::engine::observation::own_name;
use crate::engine::time::Wall;
use crate::engine::words::{AlertKind, CheckId, CheckKind};

/// How long before the beginning the suggested look at the journal starts, and how long after the
/// end it stops: what led to it, and what came of it.
const AROUND: Duration = Duration::from_secs(60);
/// A crash loop opens when it has gone round several times: the look starts this much earlier.
const BEFORE_A_LOOP: Duration = Duration::from_secs(15 * 60);

/// What an alert is about, in words.
pub fn thing(alert: &AlertRecord) -> String {
    let mut words = name_of(&alert.key.check);
    match alert.key.kind {
        AlertKind::State => {}
        AlertKind::CrashLoop if alert.key.check.kind == CheckKind::Container => {
            words.push_str(" (malfunction: restart loop)");
        }
        AlertKind::CrashLoop => words.push_str(" (crash loop)"),
        AlertKind::Errors => words.push_str(" (its log)"),
        AlertKind::Memory => words.push_str(" (its memory)"),
        AlertKind::Cpu => words.push_str(" (its processor time)"),
    }
    words
}

pub(super) fn name_of(check: &CheckId) -> String {
    let CheckId { kind, name } = check;
    let name = short(name, super::WORDS);
    match kind {
        CheckKind::Unit | CheckKind::Host if !name.is_empty() => name,
        CheckKind::Units => "units of the host".into(),
        CheckKind::Inodes => format!("inodes of {name}"),
        CheckKind::Cpu => "CPU".into(),
        CheckKind::Pressure => format!("pressure on {name}"),
        CheckKind::Agent => match name.split_once('-') {
            Some(("channel", channel)) => format!("keepwell's channel {channel}"),
            Some(("hook", hook)) => format!("keepwell's hook {hook}"),
            Some(("engine", engine)) => format!("container engine {engine}"),
            _ => format!("keepwell's own {name}"),
        },
        kind if name.is_empty() => kind.as_str().to_owned(),
        kind => format!("{kind} {name}"),
    }
}

/// The command that shows more.
pub fn command(alert: &AlertRecord) -> Option<String> {
    let CheckId { kind, name } = &alert.key.check;
    let before = match alert.key.kind {
        AlertKind::CrashLoop => BEFORE_A_LOOP,
        AlertKind::State | AlertKind::Errors | AlertKind::Memory | AlertKind::Cpu => AROUND,
    };
    let since = moment(alert.opened.before(before));
    let until = alert.resolved.map(|end| format!(" --until \"{}\"", moment(end.after(AROUND))));
    let until = until.unwrap_or_default();
    Some(match kind {
        CheckKind::Unit => format!("journalctl -u {} --since \"{since}\"{until}", quoted(name)),
        CheckKind::Units => "systemctl --failed".into(),
        CheckKind::Disk => format!("df -h {}", quoted(name)),
        CheckKind::Inodes => format!("df -i {}", quoted(name)),
        CheckKind::Memory | CheckKind::Swap => "ps aux --sort=-rss | head".into(),
        CheckKind::Cpu | CheckKind::Load | CheckKind::Pressure => {
            "ps aux --sort=-pcpu | head".into()
        }
        CheckKind::Heartbeat => format!("ls -l {}", quoted(name)),
        CheckKind::Container => return Some(of_container(alert, before)),
        CheckKind::Probe => format!("keepwell explain {}", quoted(&format!("probe:{name}"))),
        CheckKind::Agent => "keepwell doctor".into(),
        CheckKind::Host => match &**name {
            "oom-kill" => format!("journalctl -k --since \"{since}\"{until}"),
            "reboot" => "journalctl -b -1 -e".into(),
            _ => return None,
        },
    })
}

/// The command that shows more of a container: its engine's own, where that reaches it.
fn of_container(alert: &AlertRecord, before: Duration) -> String {
    let CheckId { name, .. } = &alert.key.check;
    let (engine, command) = match &alert.container {
        Some(container) => (&*container.engine, &*container.command),
        None => ("", ""),
    };
    let program = match (command, engine) {
        ("", "docker" | "podman") => engine,
        // Of another user, or at an address of its own that is not known.
        ("", _) => return format!("keepwell explain {}", quoted(&format!("container:{name}"))),
        (command, _) => command,
    };
    let own = own_name(name, engine);
    let own = quoted(own);
    if matches!(alert.key.kind, AlertKind::Memory | AlertKind::Cpu) {
        return format!("{program} stats --no-stream {own}");
    }
    let time = |at: Wall| at.written("%Y-%m-%dT%H:%M:%SZ");
    // It counts as down after a while: what it said before its end is what is wanted.
    let ended = alert.container.as_ref().and_then(|container| container.ended);
    let since = time(alert.opened.min(ended.unwrap_or(alert.opened)).before(before));
    let until = alert.resolved.map(|end| format!(" --until {}", time(end.after(AROUND))));
    format!("{program} logs --since {since}{} {own}", until.unwrap_or_default())
}

/// From its beginning to its end.
pub fn lasted(alert: &AlertRecord) -> Option<Duration> {
    Some(alert.resolved?.since(alert.opened))
}

/// A time for people, which `journalctl --since` understands as well.
pub fn moment(at: Wall) -> String {
    at.written("%Y-%m-%d %H:%M:%S UTC")
}

/// A time that is read together with `beside`: without the date where that is the same.
pub(super) fn clock(at: Wall, beside: Wall) -> String {
    let day = |at: Wall| at.written("%Y-%m-%d");
    if day(at) == day(beside) { at.written("%H:%M:%S") } else { moment(at) }
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

/// Without line breaks, without what steers a terminal or is not seen, and without what reverses
/// the direction of writing, and so can disguise a line.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut rest),
            // Of no width: they hide words from those who search for them.
            '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => {}
            '\u{e0000}'..='\u{e007f}' => {}
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' => out.push(' '),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push(' '),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// What a terminal takes for a command rather than text, behind the escape character: `[31m`. One
/// that does not end is text.
fn skip_sequence(rest: &mut std::str::Chars<'_>) {
    let mut ahead = rest.clone();
    if ahead.next() == Some('[') {
        // Parameters, then one letter.
        for c in ahead.by_ref().take(32) {
            match c {
                ' '..='?' => {}
                '@'..='~' => {
                    *rest = ahead;
                    return;
                }
                _ => return,
            }
        }
    }
}

/// Clean, and cut where it is longer than anybody writes; a text of many megabytes costs no more
/// than a long one.
pub fn short(text: &str, most: usize) -> String {
    let begin = text.floor_char_boundary(most.saturating_mul(8));
    let cleaned = clean(&text[..begin]);
    match cleaned.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &cleaned[..at]),
        None if begin < text.len() => cleaned + "…",
        None => cleaned,
    }
}
