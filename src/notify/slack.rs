//! Slack, by an incoming webhook: the title as the message's text, and beneath it one attachment
//! with a bar in the colour of the severity.
//!
//! Slack's markup has no escapes for `*` and its like, so whatever comes from elsewhere stands in
//! plain text or in a code block.

use std::sync::Arc;

use serde_json::{Value, json};

use super::chat::{self, Chat};
use super::http::Answer;
use super::shorten::{self, units};
use super::story::{self, Story};
use super::{BoxFuture, Channel, Kind, Outgoing, Reading, Retry, SendError};

pub(super) const KIND: Kind =
    Kind { name: "slack", doc: "Slack, by an incoming webhook", keys: chat::KEYS, read };

/// Characters of a section, and of any other text.
const TEXT: usize = 3000;
/// Characters of the title; Slack would take more.
const TITLE: usize = 500;
/// Slack takes 50 blocks in a message, but refuses an attachment of more than 20.
const BLOCKS: usize = 20;
/// Characters of all blocks. Slack gives no figure; above 8000 attachments were refused.
const ALL: usize = 8000;
/// Characters of a message without blocks, beyond which Slack makes several of it.
const PLAIN: usize = 4000;

struct Slack(Chat);

fn read(reading: &mut Reading<'_>) -> Option<Arc<dyn Channel>> {
    let chat = Chat::read(reading, KIND.name, "Slack", |_| Ok(()))?;
    Some(Arc::new(Slack(chat)))
}

impl Channel for Slack {
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

impl Slack {
    fn judge(&self, answer: &Answer) -> Result<String, SendError> {
        let url = &self.0.url;
        let word = answer.plain(url);
        if answer.status.as_u16() == 200 && word == "ok" {
            return Ok("200 OK: ok".into());
        }
        if answer.status.is_success() {
            let hint =
                "; Slack would answer 200 and \"ok\": check the URL, and what stands between";
            return Err(answer.error(url, Retry::Later(answer.retry_after), hint));
        }
        let hint = match word.as_str() {
            "no_service" | "no_active_hooks" | "invalid_token" => {
                "; the webhook is gone or switched off: make a new one and set its URL"
            }
            "channel_not_found" | "channel_is_archived" => {
                "; Slack's channel is gone or archived: make a webhook for another one"
            }
            "action_prohibited" | "posting_to_general_channel_denied" => {
                "; a rule of the workspace forbids it: ask its administrator"
            }
            "no_team" | "team_disabled" | "user_not_found" => {
                "; the workspace or the webhook's owner is gone: make a new webhook"
            }
            _ => return answer.judge(url),
        };
        Err(answer.error(url, Retry::Stop, hint))
    }
}

/// The message with its attachment, short enough for Slack. `title` and `text` are the user's own
/// words, in Slack's markup.
pub(super) fn full(story: &Story, title: Option<&str>, text: Option<&str>) -> Value {
    shorten::fit(story, |story| render(story, title, text), fits)
}

fn render(story: &Story, title: Option<&str>, text: Option<&str>) -> Value {
    let mut blocks = Blocks::default();
    if !story.remarks.is_empty() {
        story.remarks.iter().for_each(|remark| blocks.line(remark));
        blocks.flush();
    }
    match text {
        Some(text) => blocks.markup(&shorten::cut_markup(text, TEXT)),
        None => parts(story, &mut blocks),
    }
    blocks.flush();
    blocks
        .done
        .push(json!({ "type": "context", "elements": [plain_text(&escape(&story.footer))] }));
    let mut body = json!({
        "attachments": [{ "color": story.tone.colour(), "blocks": blocks.done }],
        // No server is to fetch what a log line names.
        "unfurl_links": false,
        "unfurl_media": false,
    });
    match title {
        Some(title) => body["text"] = json!(shorten::cut_markup(title, TEXT)),
        None => {
            let title = shorten::cut_escaped(&story.title, TITLE, escape);
            body["text"] = json!(format!("{} {title}", story.tone.sign()));
            body["mrkdwn"] = json!(false);
        }
    }
    body
}

fn parts(story: &Story, blocks: &mut Blocks) {
    let headed = !story.single;
    for part in &story.parts {
        let single = part.facts.is_empty() && part.lines.is_empty() && part.command.is_none();
        if !single && !part.beneath {
            blocks.flush();
        }
        if headed {
            blocks.line(&chat::signed(part, &part.heading));
        }
        for fact in &part.facts {
            blocks.line(&format!("{}: {}", fact.label, fact.text));
        }
        blocks.code(&part.lines);
        blocks.code(part.command.as_slice());
    }
}

/// Blocks under way: lines of text gather until they fill a section or something else comes.
#[derive(Default)]
struct Blocks {
    done: Vec<Value>,
    text: String,
}

impl Blocks {
    fn line(&mut self, line: &str) {
        let line = escape(line);
        if units(&self.text) + 1 + units(&line) > TEXT {
            self.flush();
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&line);
    }

    fn code(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        self.flush();
        let lines: Vec<String> = lines.iter().map(|l| escape(&chat::in_fence(l))).collect();
        self.markup(&format!("```\n{}\n```", lines.join("\n")));
    }

    fn markup(&mut self, text: &str) {
        if !text.trim().is_empty() {
            // `verbatim` keeps Slack from making links and mentions of bare words.
            let text = json!({ "type": "mrkdwn", "text": text, "verbatim": true });
            self.done.push(json!({ "type": "section", "text": text }));
        }
    }

    fn flush(&mut self) {
        if !self.text.trim().is_empty() {
            self.done.push(json!({ "type": "section", "text": plain_text(&self.text) }));
        }
        self.text.clear();
    }
}

/// `emoji: false` leaves `:8080:` as it is.
fn plain_text(escaped: &str) -> Value {
    json!({ "type": "plain_text", "text": escaped, "emoji": false })
}

/// A form of the message that Slack cannot find fault with.
fn plain(story: &Story) -> Value {
    let text =
        shorten::fit(story, |story| escape(&story::text(story)), |text| units(text) <= PLAIN);
    json!({ "text": text, "mrkdwn": false, "unfurl_links": false, "unfurl_media": false })
}

fn fits(body: &Value) -> bool {
    let blocks = body["attachments"][0]["blocks"].as_array().map_or(&[][..], Vec::as_slice);
    let texts = blocks.iter().flat_map(|block| {
        let own = block["text"]["text"].as_str();
        let elements = block["elements"].as_array().into_iter().flatten();
        own.into_iter().chain(elements.filter_map(|e| e["text"].as_str()))
    });
    let mut all = 0;
    let short = texts.map(units).all(|n| {
        all += n;
        n <= TEXT
    });
    short
        && all <= ALL
        && blocks.len() <= BLOCKS
        && units(body["text"].as_str().unwrap_or("")) <= TEXT
}

/// What Slack takes for a mention, a link or an entity becomes text.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
