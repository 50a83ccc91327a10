//! The last lines of one run of a unit: what its processes printed, and what the service manager
//! said of it, as short text that is safe to show.
//!
//! Measured on systemd 252 and 257: asked right after `kill -9`, a quiet service's lines were complete
//! 79 times of 80. Asked as soon as `systemctl show` no longer said `active`, of a service that had
//! just printed 500 lines the manager's "Failed with result" was still missing 28 times of 60 (its own
//! last line never). So a run whose end is not there yet is read again; with that, asked right after
//! `systemd-run --wait`, 60 of 60 such excerpts were complete.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use super::{Entry, Journal, JournalError, Place, Scope};
use crate::engine::observation::Invocation;
use crate::systemd::redact::Redactor;

/// How long one line may be, in characters.
const LINE: usize = 500;
/// How much of a message is looked at at all, in bytes: any [`LINE`] fits, and what is cut is cut
/// far behind the end of what is shown.
const LOOKED_AT: usize = 4096;
/// Waits before reading again while the end of the run is not in the journal.
const AGAIN: [Duration; 2] = [Duration::from_millis(60), Duration::from_millis(120)];
/// What the manager says last of a run: failed, deactivated successfully, failed to start.
const ENDS: [&str; 3] = [
    "d9b373ed55a64feb8242e02dbe79a49c",
    "7ad2d189f7e94e70a38c781354912448",
    "be02cf6855d2428ba40df7e9d022f03d",
];

impl Journal {
    /// The last `lines` lines of a run of `unit`, or of the unit in this boot when no run is given:
    /// `HH:MM:SS ident: message`, in UTC as all of keepwell's times, oldest first, without control characters, at most 500
    /// characters each, secrets removed. Empty when the journal has none.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn excerpt(
        &self,
        unit: &str,
        invocation: Option<Invocation>,
        lines: usize,
    ) -> Result<Vec<String>, JournalError> {
        let matches = matches(self.scope, unit, invocation);
        let mut waits = AGAIN.iter();
        loop {
            let mut args = vec![format!("--lines={lines}"), "--all".into()];
            if invocation.is_none() {
                args.extend(Place::Boot.args());
            }
            args.extend(matches.iter().cloned());
            let mut last = Last::new(lines);
            self.run(Entry::FIELDS, &args, |line| {
                if let Some(entry) = Entry::parse(line) {
                    last.take(&entry);
                }
                ControlFlow::Continue(())
            })
            .await?;
            match waits.next() {
                Some(wait) if invocation.is_some() && !last.ended => {
                    tokio::time::sleep(*wait).await;
                }
                _ => return Ok(last.lines.into()),
            }
        }
    }
}

/// The unit's own lines, or the manager's about it.
fn matches(scope: Scope, unit: &str, invocation: Option<Invocation>) -> Vec<String> {
    let [about, about_run, from] = scope.fields();
    let mut all = match invocation {
        Some(run) => vec![format!("_SYSTEMD_INVOCATION_ID={run}")],
        None => vec![format!("{from}={unit}")],
    };
    all.push("+".into());
    all.extend(scope.manager());
    all.push(format!("{about}={unit}"));
    all.extend(invocation.map(|run| format!("{about_run}={run}")));
    all
}

/// Keeps the last lines, made fit to show.
struct Last {
    lines: VecDeque<String>,
    most: usize,
    ended: bool,
    redactor: Redactor,
}

impl Last {
    fn new(most: usize) -> Self {
        Self { lines: VecDeque::new(), most, ended: false, redactor: Redactor::default() }
    }

    fn take(&mut self, entry: &Entry) {
        self.ended |= entry.message_id.as_deref().is_some_and(|id| ENDS.contains(&id));
        let text = match &entry.message {
            Some(message) => tidy(message, &mut self.redactor),
            None => "(a line too long to be shown)".into(),
        };
        let ident = entry.ident.as_deref().or(entry.transport.as_deref()).unwrap_or("unknown");
        // The identifier is the logger's own choice too.
        let ident = plain(ident);
        let time = jiff::Timestamp::from_microsecond(entry.at.0)
            .map(|at| at.strftime("%H:%M:%S ").to_string())
            .unwrap_or_default();
        if self.lines.len() >= self.most {
            self.lines.pop_front();
        }
        if self.most > 0 {
            self.lines.push_back(format!("{time}{}: {text}", shorten(&ident, 40)));
        }
    }
}

/// A message as it may be shown: one line, no control characters, no secrets, not too long. The
/// redactor goes along from line to line, because a private key spans many.
pub fn tidy(message: &str, redactor: &mut Redactor) -> String {
    let end = message.floor_char_boundary(LOOKED_AT.min(message.len()));
    let plain = plain(&message[..end]);
    // Redacted before it is cut, so that no half of a secret stays.
    let text = redactor.line(&plain);
    let short = shorten(&text, LINE);
    if end < message.len() && short.len() == text.len() {
        format!("{short}…")
    } else {
        short.into_owned()
    }
}

/// One line without control characters and terminal escapes; line breaks become ` | `.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unfit) {
        return Cow::Borrowed(text.trim_end());
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.trim_end().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // CSI: parameters up to a letter or one of @[\]^_`{|}~
                Some('[') => {
                    for c in chars.by_ref() {
                        if ('@'..='~').contains(&c) {
                            break;
                        }
                    }
                }
                // OSC and other strings: up to BEL or ESC \
                Some(']' | 'P' | '^' | '_' | 'X') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\n' => out.push_str(" | "),
            '\t' => out.push(' '),
            c if is_unfit(c) => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Control characters, and those that turn the direction of text around or are not seen at all.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// At most `most` characters, cut at a space where one is near, with `…` for what is gone.
pub(super) fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most || text.chars().count() <= most {
        return Cow::Borrowed(text);
    }
    let end = text.char_indices().nth(most.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
    let cut = &text[..end];
    let near = cut.floor_char_boundary(cut.len().saturating_sub(40));
    let cut = match cut[near..].rfind(' ') {
        Some(at) => &cut[..near + at],
        None => cut,
    };
    Cow::Owned(format!("{}…", cut.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_taken_out() {
        assert_eq!(plain("just text  "), "just text");
        assert_eq!(plain("\u{1b}[1;31mred\u{1b}[0m and \u{1b}[2Kgone"), "red and gone");
        assert_eq!(plain("\u{1b}]0;title\u{7}text \u{1b}]8;;http://x\u{1b}\\link"), "text link");
        assert_eq!(plain("a\nb\r\n\tc\0\u{8}"), "a | b |  c");
        assert_eq!(plain("abc\u{202e}def\u{200b}"), "abcdef");
        assert_eq!(plain("cut \u{1b}[31"), "cut ");
        assert_eq!(plain("cut \u{1b}"), "cut ");
    }

    #[test]
    fn long_lines_are_cut_at_a_word() {
        assert_eq!(shorten("short", 10), "short");
        assert_eq!(shorten("eins zwei drei", 10), "eins…");
        assert_eq!(shorten("ääääääääääää", 5), "ääää…");
        let long = "word ".repeat(300);
        let line = tidy(&long, &mut Redactor::default());
        assert!(line.chars().count() <= LINE && line.ends_with("word…"), "{line}");
    }

    #[test]
    fn no_half_of_a_secret_stays_where_a_line_is_cut() {
        let text = format!("{}password={}", "x".repeat(480), "s3cret".repeat(20));
        let line = tidy(&text, &mut Redactor::default());
        assert!(!line.contains("s3c"), "{line}");
    }

    #[test]
    fn recorded_lines_of_a_run() {
        for recording in [
            include_str!("../../../tests/fixtures/journal/ugly-252.jsonl"),
            include_str!("../../../tests/fixtures/journal/ugly-257.jsonl"),
        ] {
            let mut last = Last::new(20);
            for line in recording.lines() {
                last.take(&Entry::parse(line.as_bytes()).unwrap());
            }
            assert!(last.ended);
            let lines: Vec<&str> = last.lines.iter().map(|line| &line[9..]).collect();
            assert_eq!(
                lines,
                [
                    "systemd: Started ugly.service.",
                    "sh: start",
                    "sh: caf\u{fffd} red password=***",
                    "sh: last words",
                    "sh: /bin/sh: 1: kill: Illegal number: $$",
                    "systemd: ugly.service: Main process exited, code=exited, status=2/INVALIDARGUMENT",
                    "systemd: ugly.service: Failed with result 'exit-code'.",
                ]
            );
            assert_eq!(&last.lines[0][..9], "06:28:40 ");
        }
    }

    #[test]
    fn only_the_manager_may_speak_for_a_unit() {
        let run: Invocation = "75161462e9314baa99383df789ad2621".parse().unwrap();
        assert_eq!(
            matches(Scope::User(1000), "a.service", Some(run)).join(" "),
            "_SYSTEMD_INVOCATION_ID=75161462e9314baa99383df789ad2621 + _UID=1000 \
             _SYSTEMD_USER_UNIT=init.scope USER_UNIT=a.service \
             USER_INVOCATION_ID=75161462e9314baa99383df789ad2621"
        );
        assert_eq!(
            matches(Scope::System, "a.service", None).join(" "),
            "_SYSTEMD_UNIT=a.service + _PID=1 UNIT=a.service"
        );
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut last = Last::new(2);
        for text in ["one", "two", "three"] {
            last.take(&Entry {
                message: Some(text.into()),
                ident: Some("a".into()),
                ..Entry::default()
            });
        }
        let texts: Vec<&str> = last.lines.iter().map(|l| l.rsplit(' ').next().unwrap()).collect();
        assert_eq!(texts, ["two", "three"]);
        let mut none = Last::new(0);
        none.take(&Entry::default());
        assert!(none.lines.is_empty());
    }
}
