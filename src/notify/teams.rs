//! Microsoft Teams, by a workflow that takes webhooks: one Adaptive Card a message.
//!
//! Text that comes from elsewhere stands in `RichTextBlock`s, which know no Markdown: what escapes
//! mean in the other elements differs between the desktop's Teams and the telephones'.

use std::sync::Arc;

use reqwest::Url;
use serde_json::{Value, json};

use super::chat::{self, Chat};
use super::http::Answer;
use super::shorten;
use super::story::{self, Fact, Part, Story, Tone};
use super::{BoxFuture, Channel, Kind, Outgoing, Reading, Retry, SendError};

pub(super) const KIND: Kind = Kind {
    name: "teams",
    doc: "Microsoft Teams, by a workflow that posts what it gets to a channel or chat",
    keys: chat::KEYS,
    read,
};

/// Bytes of the request's body. Teams takes 28 KB of its own form of it, which is larger than ours.
const BODY: usize = 20_000;
/// Characters of the user's own title and text.
const OWN_TITLE: usize = 500;
const OWN_TEXT: usize = 10_000;

struct Teams(Chat);

fn read(reading: &mut Reading<'_>) -> Option<Arc<dyn Channel>> {
    let chat = Chat::read(reading, KIND.name, "Microsoft Teams", check)?;
    Some(Arc::new(Teams(chat)))
}

/// The addresses of the Office connectors, which are no more.
fn check(url: &Url) -> Result<(), (String, String)> {
    let host = url.host_str().unwrap_or_default();
    let ended = host.ends_with(".webhook.office.com")
        || ["webhook.office.com", "outlook.office.com", "outlook.office365.com"].contains(&host);
    if !ended {
        return Ok(());
    }
    Err((
        "`channel.url` belongs to an Office connector; these ended in May 2026 and deliver nothing"
            .into(),
        "in Teams open the channel's menu, then Workflows, choose \"Send webhook alerts to a \
         channel\" and use the address that it shows"
            .into(),
    ))
}

impl Channel for Teams {
    fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(async move {
            let story = story::compose(message);
            let (title, text) = self.0.own(message, &story);
            let full = full(&story, title.as_deref(), text.as_deref());
            self.0.send(message, &full, || plain(&story), |answer| self.judge(&answer)).await
        })
    }
}

impl Teams {
    fn judge(&self, answer: &Answer) -> Result<String, SendError> {
        let url = &self.0.url;
        let body = answer.plain(url);
        let hint = match answer.status.as_u16() {
            // A workflow that is switched off answers 400.
            400 if body.contains("NotEnabled") || body.contains("WorkflowNotEnabled") => {
                "; the workflow is switched off: turn it on in Power Automate"
            }
            401 | 403 => {
                "; the address is not whole (the end after sig= counts), or the workflow does not \
                 let anyone trigger it"
            }
            404 | 410 => "; the workflow is gone: make a new one and set its URL",
            _ => return answer.judge(url),
        };
        Err(answer.error(url, Retry::Stop, hint))
    }
}

/// The message as a card, short enough for Teams. `title` and `text` are the user's own words, in
/// the Markdown of Adaptive Cards.
pub(super) fn full(story: &Story, title: Option<&str>, text: Option<&str>) -> Value {
    let mut room = OWN_TEXT;
    loop {
        // Bytes are what counts, and a character of the user's text may be many of them.
        let text = text.map(|text| shorten::cut_markup(text, room));
        let body = shorten::fit(story, |story| render(story, title, text.as_deref()), fits);
        if text.is_none() || room < 10 || fits(&body) {
            return body;
        }
        room /= 2;
    }
}

fn render(story: &Story, title: Option<&str>, text: Option<&str>) -> Value {
    let title = match title {
        Some(title) => json!({
            "type": "TextBlock",
            "text": shorten::cut_markup(title, OWN_TITLE),
            "wrap": true,
            "weight": "Bolder",
            "size": "Medium",
        }),
        None => {
            let text = format!("{} {}", story.tone.sign(), story.title);
            rich(&[json!({ "text": inert(&text), "weight": "Bolder", "size": "Medium" })])
        }
    };
    let mut body = vec![json!({
        "type": "Container",
        "style": style(story.tone),
        "bleed": true,
        "items": [title],
    })];
    body.extend(story.remarks.iter().map(|remark| rich(&[json!({ "text": inert(remark) })])));
    match text {
        Some(text) => body.push(json!({ "type": "TextBlock", "text": text, "wrap": true })),
        None => {
            let headed = !story.single;
            story.parts.iter().for_each(|part| words(part, headed, &mut body));
        }
    }
    let footer =
        rich(&[json!({ "text": inert(&story.footer), "isSubtle": true, "size": "Small" })]);
    body.push(with(footer, "separator", json!(true)));
    card(&story.title, body)
}

fn words(part: &Part, headed: bool, body: &mut Vec<Value>) {
    if headed {
        let text = inert(&chat::signed(part, &part.heading));
        let single = part.facts.is_empty() && part.lines.is_empty() && part.command.is_none();
        let run = if single {
            json!({ "text": text })
        } else {
            json!({ "text": text, "weight": "Bolder" })
        };
        let heading = rich(&[run]);
        let near = if single || part.beneath { "Small" } else { "Medium" };
        body.push(with(heading, "spacing", json!(near)));
    }
    for Fact { label, text } in &part.facts {
        let label = json!({ "text": format!("{label}: "), "weight": "Bolder" });
        let fact = rich(&[label, json!({ "text": inert(text) })]);
        body.push(with(fact, "spacing", json!("Small")));
    }
    for lines in [&part.lines[..], part.command.as_slice()] {
        if lines.is_empty() {
            continue;
        }
        let items = lines.iter().map(|line| {
            let run = json!({ "text": indented(line), "fontType": "Monospace", "size": "Small" });
            with(rich(&[run]), "spacing", json!("None"))
        });
        let items: Vec<Value> = items.collect();
        body.push(json!({
            "type": "Container", "style": "emphasis", "spacing": "Small", "items": items,
        }));
    }
}

/// A line of runs; a run is given without its type.
fn rich(runs: &[Value]) -> Value {
    let runs = runs.iter().map(|run| with(run.clone(), "type", json!("TextRun")));
    json!({ "type": "RichTextBlock", "inlines": runs.collect::<Vec<_>>() })
}

fn with(mut element: Value, key: &str, value: Value) -> Value {
    element[key] = value;
    element
}

/// Cards make local times of `{{DATE(…)}}`, also without Markdown.
fn inert(text: &str) -> String {
    text.replace("{{", "{\u{200b}{")
}

/// As [`inert`], and the spaces that a line begins with stay.
fn indented(line: &str) -> String {
    let rest = line.trim_start_matches(' ');
    let spaces = "\u{a0}".repeat(line.len() - rest.len());
    // A run without a visible text would leave no line at all.
    if rest.is_empty() { "\u{a0}".into() } else { format!("{spaces}{}", inert(rest)) }
}

fn style(tone: Tone) -> &'static str {
    match tone {
        Tone::Info => "accent",
        Tone::Good => "good",
        Tone::Warning => "warning",
        Tone::Critical => "attention",
    }
}

fn card(title: &str, body: Vec<Value>) -> Value {
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.2",
                "fallbackText": title,
                "msteams": { "width": "Full" },
                "body": body,
            },
        }],
    })
}

/// A form of the message that Teams cannot find fault with: one block of plain words.
fn plain(story: &Story) -> Value {
    let render = |story: &Story| {
        let text = story::text(story);
        let lines: Vec<String> = text.lines().map(|line| chat::markdown(line.trim())).collect();
        let block =
            json!({ "type": "TextBlock", "text": inert(&lines.join("\n\n")), "wrap": true });
        card(&story.title, vec![block])
    };
    shorten::fit(story, render, |body| body.to_string().len() <= BODY / 4)
}

fn fits(body: &Value) -> bool {
    body.to_string().len() <= BODY
}
