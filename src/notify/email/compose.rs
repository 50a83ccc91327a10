//! A message as a mail: headers, text, HTML, and the log lines as attachments. Pure but for the
//! boundaries between the parts, which are random.

use std::time::{Duration, SystemTime};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, MessageBuilder, MultiPart, SinglePart};

use super::answer::Refusal;
use super::page;
use super::settings::Settings;
use super::thread::{self, atom, domain};
use crate::engine::alert::{AlertRecord, Gist, Happening};
use crate::notify::Outgoing;
use crate::notify::story::{self, Story, Tone};
use crate::notify::template::Templates;

/// Characters of a subject.
const SUBJECT: usize = 200;
/// Parts of a story that are shown; mail programs cut long mails (Gmail at 102 KB).
const PARTS: usize = 50;
/// Characters of a heading or a fact.
const TEXT: usize = 500;
/// Bytes of text or HTML that a user's template may give.
const TEMPLATE: usize = 512 * 1024;
/// Bytes of all attachments together, before they are encoded.
const ATTACHED: usize = 256 * 1024;
/// Attachments.
const FILES: usize = 20;

/// How much of a message goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Text, HTML and attachments.
    Full,
    /// The text alone: for relays that do not want the rest.
    Short,
}

/// The bytes of a mail, with CRLF at line ends.
///
/// # Errors
/// When it cannot be put together, which is never the relay's fault.
pub(super) fn mail(
    settings: &Settings,
    templates: &Templates,
    message: &Outgoing,
    form: Form,
) -> Result<Vec<u8>, Refusal> {
    let story = story::compose(message);
    let own = |name| templates.render(name, message, &story);
    let (shown, more) = bounded(&story);
    let subject = own("subject").unwrap_or_else(|| story.title.clone());
    let subject = cut(&one_line(&subject), SUBJECT);
    let logs = logs(message);
    let text = own("text").map(|t| cut_bytes(&plain(&t), TEMPLATE));
    let text = text.unwrap_or_else(|| text_of(&shown, more, &logs));
    let headers = headers(settings, message, story.tone, subject);
    let built = match form {
        Form::Short => headers.singlepart(SinglePart::plain(cut_bytes(&text, 4096))),
        Form::Full => {
            let html = own("html").map(|h| cut_bytes(&h, TEMPLATE));
            let html = html.unwrap_or_else(|| page::render(message, &shown, more, &logs));
            let both = MultiPart::alternative_plain_html(text, html);
            if logs.is_empty() {
                headers.multipart(both)
            } else {
                let mut mixed = MultiPart::mixed().multipart(both);
                for Log { name, text } in logs {
                    mixed =
                        mixed.singlepart(Attachment::new(name).body(text, ContentType::TEXT_PLAIN));
                }
                headers.multipart(mixed)
            }
        }
    };
    Ok(built.map_err(|error| Refusal::Unmade(error.to_string()))?.formatted())
}

fn headers(settings: &Settings, message: &Outgoing, tone: Tone, subject: String) -> MessageBuilder {
    let notification = &*message.notification;
    let ids = thread::ids(message);
    let mut mail = lettre::Message::builder()
        .from(settings.from(message))
        .date(date(message))
        .message_id(Some(ids.own))
        .subject(subject);
    mail = settings.to.iter().cloned().fold(mail, MessageBuilder::to);
    mail = settings.cc.iter().cloned().fold(mail, MessageBuilder::cc);
    mail = settings.reply_to.iter().cloned().fold(mail, MessageBuilder::reply_to);
    if let Some(nearest) = ids.references.last() {
        mail = mail.in_reply_to(nearest.clone()).references(ids.references.join(" "));
    }
    let event = match &notification.items[..] {
        [only] if notification.gist == Gist::Alerts => story::told_as(only).as_str(),
        _ => notification.gist.as_str(),
    };
    let list =
        format!("<{}.keepwell.{}>", label(&notification.channel), domain(&notification.host));
    let mut further = vec![
        // No answer by a machine: no notice of absence, no loop between two of them.
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("List-Id", list),
        ("X-Keepwell-Event", event.to_owned()),
        ("X-Keepwell-Id", atom(&message.key)),
    ];
    if tone == Tone::Critical && notification.gist != Gist::Report {
        further.push(("X-Priority", "1".to_owned()));
        further.push(("Importance", "high".to_owned()));
    }
    further.into_iter().fold(mail, |mail, (name, value)| {
        mail.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), value))
    })
}

/// A channel's name as a part of a list's.
fn label(channel: &str) -> String {
    let label = atom(channel).replace(['.', '_'], "-");
    if label.is_empty() { "alerts".to_owned() } else { label }
}

/// When this try was made: a mail that comes late must not hide among those of hours ago.
fn date(message: &Outgoing) -> SystemTime {
    // From 1970 to 9999: what a date in a mail can say.
    let micros = message.now.wall.0.clamp(0, 253_402_300_799_000_000).unsigned_abs();
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

/// The story with bounds on everything, and how many parts it is short of.
fn bounded(story: &Story) -> (Story, usize) {
    let mut shown = story.clone();
    let more = shown.parts.len().saturating_sub(PARTS);
    shown.parts.truncate(PARTS);
    shown.title = cut(&shown.title, TEXT);
    shown.footer = cut(&shown.footer, 2 * TEXT);
    for remark in &mut shown.remarks {
        *remark = cut(remark, TEXT);
    }
    for part in &mut shown.parts {
        part.heading = cut(&part.heading, TEXT);
        for fact in &mut part.facts {
            fact.text = cut(&fact.text, TEXT);
        }
        if let Some(command) = &mut part.command {
            *command = cut(command, TEXT);
        }
    }
    (shown, more)
}

fn text_of(shown: &Story, more: usize, logs: &[Log]) -> String {
    let mut text = story::text(shown);
    if more > 0 {
        text.push_str(&format!("\n\nAnd {more} more; to see all: keepwell status"));
    }
    if !logs.is_empty() {
        let names: Vec<&str> = logs.iter().map(|l| l.name.as_str()).collect();
        text.push_str(&format!("\n\nAttached: {}", names.join(", ")));
    }
    text.push('\n');
    text
}

/// An attachment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Log {
    /// `log-a7.txt`.
    pub name: String,
    /// All lines, the oldest first.
    pub text: String,
}

/// The log lines of what is not over; the newest ones where there are too many.
pub(super) fn logs(message: &Outgoing) -> Vec<Log> {
    let mut left = ATTACHED;
    let items = message.notification.items.iter();
    let bad = items.filter(|i| i.happening != Happening::Resolved).map(|i| &i.alert);
    let mut logs = Vec::new();
    for alert in bad.filter(|a| !a.lines.is_empty()).take(FILES) {
        let text = log_text(alert, left);
        left -= text.len();
        if text.is_empty() {
            break;
        }
        logs.push(Log { name: format!("log-{}.txt", atom(&alert.id)), text });
    }
    logs
}

fn log_text(alert: &AlertRecord, most: usize) -> String {
    const LEFT_OUT: &str = "(earlier lines are left out)\n";
    let mut room = most.saturating_sub(LEFT_OUT.len());
    let mut kept = Vec::new();
    for line in alert.lines.iter().rev() {
        // So much of one line at most: one that is a megabyte long must not take the place of all.
        let mut line = cut_bytes(&story::clean(line), 8 * 1024);
        line.push('\n');
        if line.len() > room {
            break;
        }
        room -= line.len();
        kept.push(line);
    }
    let mut text = String::new();
    if kept.len() < alert.lines.len() {
        if kept.is_empty() {
            return text;
        }
        text.push_str(LEFT_OUT);
    }
    text.extend(kept.into_iter().rev());
    text
}

/// At most so many characters, `…` at the end where some are left out.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// As [`cut`], in bytes.
fn cut_bytes(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// A user's subject: no line breaks, which would end the header.
fn one_line(text: &str) -> String {
    story::clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A user's text: no control characters but line ends and tabs.
fn plain(text: &str) -> String {
    let lines =
        text.lines().map(|line| line.split('\t').map(story::clean).collect::<Vec<_>>().join("\t"));
    lines.collect::<Vec<_>>().join("\n")
}
