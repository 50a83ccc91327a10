//! A message as Telegram shows it: HTML and, should Telegram not take that, plain text. Pure.
//!
//! Telegram makes links of `@name` and `/word` by itself wherever they stand in running text, and
//! tells people that they were mentioned; what comes from a host must do neither.

use std::sync::Arc;

use super::words::Words;
use crate::engine::alert::{AlertRecord, Gist, Happening};
use crate::notify::Outgoing;
use crate::notify::shorten::{self, units};
use crate::notify::story::{Part, Story, Tone};

/// Characters of a message once its markup is read, in UTF-16 units.
pub(super) const MOST: usize = 4096;
/// Bytes of a message with its markup: what is over is cut off without a word.
const BYTES: usize = 32 * 1024;
/// So many alerts of one message have buttons.
pub(super) const ROWS: usize = 3;
/// Splits what would become a link, and is not seen.
const JOINER: char = '\u{2060}';

/// A message in Telegram's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::notify) struct Form {
    /// With markup.
    pub(in crate::notify) html: String,
    /// The same without markup.
    pub(in crate::notify) plain: String,
    /// Ids of the alerts that have buttons, in the order of their numbers.
    pub(in crate::notify) alerts: Vec<Arc<str>>,
    /// Nobody is to be woken by it.
    pub(in crate::notify) silent: bool,
}

/// Shapes a message. `words` are the user's own, which fit; with `buttons`, parts that have some are numbered.
pub(in crate::notify) fn form(
    message: &Outgoing,
    story: &Story,
    words: Option<Words>,
    buttons: bool,
) -> Form {
    let silent = match message.notification.gist {
        Gist::Test => false,
        Gist::Report => true,
        _ => matches!(story.tone, Tone::Good | Tone::Info),
    };
    if let Some(Words { html, plain }) = words {
        let alerts = offered(message, story, buttons);
        return Form { html, plain, alerts, silent };
    }
    let draw = |story: &Story| {
        let alerts = offered(message, story, buttons);
        let page = page(story, if alerts.len() > 1 { &alerts } else { &[] });
        (page, alerts)
    };
    let fits = |(page, _): &(Page, _)| {
        units(&page.plain).max(page.units) <= MOST && page.html.len() <= BYTES
    };
    let (page, alerts) = shorten::fit(story, draw, fits);
    Form { html: page.html, plain: page.plain, alerts, silent }
}

/// The alerts that get buttons: the first that are open and stand beneath no other.
fn offered(message: &Outgoing, story: &Story, buttons: bool) -> Vec<Arc<str>> {
    if !buttons {
        return Vec::new();
    }
    let shown = story.parts.iter().filter(|part| !part.beneath);
    shown
        .filter_map(|part| alert(message, part.alert.as_deref()?))
        .map(|alert| alert.id.clone())
        .take(ROWS)
        .collect()
}

/// The open alert of this id in a message.
pub(super) fn alert<'a>(message: &'a Outgoing, id: &str) -> Option<&'a AlertRecord> {
    let mut items = message.notification.items.iter();
    let found = items.find(|i| *i.alert.id == *id && i.happening != Happening::Resolved)?;
    Some(&found.alert)
}

/// Both forms of a message as they grow.
#[derive(Default)]
struct Page {
    html: String,
    plain: String,
    /// The length of `html` without its markup.
    units: usize,
}

impl Page {
    /// Running text, without a line break, in tags that may be empty.
    fn text(&mut self, tag: &str, text: &str) {
        let text = inert(text);
        self.plain.push_str(&text);
        self.tagged(tag, &text);
    }

    /// Text in which Telegram looks for nothing.
    fn code(&mut self, tag: &str, text: &str) {
        self.plain.push_str(&inert(text));
        self.tagged(tag, text);
    }

    fn tagged(&mut self, tag: &str, text: &str) {
        self.units += units(text);
        if tag.is_empty() {
            return escape(&mut self.html, text);
        }
        self.html.extend(["<", tag, ">"]);
        escape(&mut self.html, text);
        self.html.extend(["</", tag, ">"]);
    }

    fn line(&mut self) {
        self.html.push('\n');
        self.plain.push('\n');
        self.units += 1;
    }
}

fn page(story: &Story, numbered: &[Arc<str>]) -> Page {
    let mut page = Page::default();
    page.text("", &format!("{} ", story.tone.sign()));
    page.text("b", &story.title);
    for remark in &story.remarks {
        page.line();
        page.text("i", remark);
    }
    let spacious = story.parts.iter().any(|part| !part.facts.is_empty());
    for (n, part) in story.parts.iter().enumerate() {
        if n == 0 || spacious && !part.beneath {
            page.line();
        }
        let number = numbered.iter().position(|id| part.alert.as_deref() == Some(id));
        draw(&mut page, part, story.single, number);
    }
    page.line();
    page.line();
    page.text("i", &story.footer);
    page
}

fn draw(page: &mut Page, part: &Part, single: bool, number: Option<usize>) {
    if !single {
        page.line();
        let number = number.map(|n| format!("{}. ", n + 1)).unwrap_or_default();
        let indent = if part.beneath { "    ↳ " } else { "" };
        page.text("", &format!("{indent}{} {number}", part.tone.sign()));
        // Telegram marks up no more than 100 places of a message.
        page.text(if part.facts.is_empty() { "" } else { "b" }, &part.heading);
    }
    for fact in &part.facts {
        page.line();
        page.text("b", &format!("{}:", fact.label));
        page.text("", &format!(" {}", fact.text));
    }
    if !part.lines.is_empty() {
        page.line();
        page.code("pre", &part.lines.join("\n"));
    }
    if let Some(command) = &part.command {
        page.line();
        page.code("code", command);
    }
}

/// Escapes what has a meaning in HTML.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}

/// Text in which nobody is mentioned and no word is a command to a bot. Paths stay as they are, but
/// for those of one word.
pub(super) fn inert(text: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len() + 8);
    let mut before = None;
    for (at, c) in text.char_indices() {
        out.push(c);
        let rest = &text[at + c.len_utf8()..];
        let linked = match c {
            '@' => !before.is_some_and(word),
            '/' => {
                let after = rest.trim_start_matches(word).chars().next();
                !before.is_some_and(|b| word(b) || b == '/') && after != Some('/')
            }
            _ => false,
        };
        if linked && rest.starts_with(word) {
            out.push(JOINER);
        }
        before = Some(c);
    }
    out
}
