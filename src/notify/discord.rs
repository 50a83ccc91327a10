//! Discord, by a webhook: one embed a message, or one for each problem, each in its colour.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};

use super::chat::{self, Chat, markdown};
use super::http::Answer;
use super::shorten::{self, units};
use super::story::{self, Part, Story};
use super::{BoxFuture, Channel, Kind, Outgoing, Reading, Retry, SendError};
use crate::store::rfc3339;

pub(super) const KIND: Kind =
    Kind { name: "discord", doc: "Discord, by a webhook of a channel", keys: chat::KEYS, read };

/// Characters of a message without embeds.
const CONTENT: usize = 2000;
const TITLE: usize = 256;
const DESCRIPTION: usize = 4096;
const FOOTER: usize = 2048;
/// Characters of all embeds together.
const ALL: usize = 6000;
const EMBEDS: usize = 10;

struct Discord(Chat);

fn read(reading: &mut Reading<'_>) -> Option<Arc<dyn Channel>> {
    let mut chat = Chat::read(reading, KIND.name, "Discord", check)?;
    wait(&mut chat.url);
    Some(Arc::new(Discord(chat)))
}

/// The addresses of Discord that take other services' messages would refuse ours.
fn check(url: &Url) -> Result<(), (String, String)> {
    match url.path().trim_end_matches('/').rsplit('/').next() {
        Some(last @ ("slack" | "github")) => Err((
            format!("`channel.url` ends in /{last}, which takes no messages of Discord's own form"),
            format!("remove /{last} from its end"),
        )),
        _ => Ok(()),
    }
}

/// Asks Discord to answer only when the message is there; leaves the rest of the query as it is.
fn wait(url: &mut Url) {
    let query = url.query().unwrap_or_default();
    if query.split('&').any(|pair| pair.starts_with("wait=")) {
        return;
    }
    let query = if query.is_empty() { "wait=true".into() } else { format!("{query}&wait=true") };
    url.set_query(Some(&query));
}

impl Channel for Discord {
    fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(async move {
            let story = story::compose(message);
            let (title, text) = self.0.own(message, &story);
            let at = rfc3339(message.notification.at);
            let full = full(&story, &at, title.as_deref(), text.as_deref());
            self.0.send(message, &full, || plain(&story), |answer| self.judge(answer)).await
        })
    }
}

impl Discord {
    fn judge(&self, mut answer: Answer) -> Result<String, SendError> {
        let url = &self.0.url;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.status.as_u16() {
            204 => return Ok(answer.status.to_string()),
            // The message itself comes back, and is longer than an answer is read.
            200 if answer.body.first() == Some(&b'{') => {
                let id = body["id"].as_str().filter(|id| id.bytes().all(|b| b.is_ascii_digit()));
                let id = id.map(|id| format!(": message {id}")).unwrap_or_default();
                return Ok(format!("{}{id}", answer.status));
            }
            200..=299 => {
                let hint =
                    "; that is not how Discord answers: check the URL, and what stands between";
                return Err(answer.error(url, Retry::Later(answer.retry_after), hint));
            }
            // A forum's webhook takes messages only for a thread.
            400 if body["code"] == 220_001 => {
                let hint = "; the channel is a forum: add ?thread_id= and a thread's id to the URL";
                return Err(answer.error(url, Retry::Stop, hint));
            }
            404 => {
                let hint = "; the webhook is gone: make a new one and set its URL";
                return Err(answer.error(url, Retry::Stop, hint));
            }
            _ => {}
        }
        let asked = body["retry_after"].as_f64();
        // A number that no duration can hold is no hint.
        if let Some(asked) = asked.and_then(|s| Duration::try_from_secs_f64(s).ok()) {
            answer.retry_after = Some(asked);
        }
        answer.judge(url)
    }
}

/// The message with its embeds, short enough for Discord. `title` and `text` are the user's own
/// words, in Discord's markup; `at` is the time that it shows, in RFC 3339.
pub(super) fn full(story: &Story, at: &str, title: Option<&str>, text: Option<&str>) -> Value {
    shorten::fit(story, |story| render(story, at, title, text), fits)
}

fn render(story: &Story, at: &str, title: Option<&str>, text: Option<&str>) -> Value {
    let title = match title {
        Some(title) => shorten::cut_markup(title, TITLE).into_owned(),
        None => {
            let sign = story.tone.sign();
            let room = TITLE - units(sign) - 1;
            format!("{sign} {}", shorten::cut_escaped(&story.title, room, markdown))
        }
    };
    let remarks = story.remarks.iter().map(|remark| markdown(remark) + "\n").collect::<String>();
    let mut embeds = match text {
        Some(text) => {
            let room = DESCRIPTION.saturating_sub(units(&remarks));
            vec![embed(story, &(remarks + &shorten::cut_markup(text, room)))]
        }
        None => embeds(story, &remarks),
    };
    embeds[0]["title"] = json!(title);
    // Invariant: there is always one.
    let last = embeds.len() - 1;
    embeds[last]["footer"] = json!({ "text": story.footer });
    embeds[last]["timestamp"] = json!(at);
    json!({ "embeds": embeds, "allowed_mentions": { "parse": [] } })
}

/// One for all, or where there is more to say than a line on each, one for each with what stands
/// beneath it.
fn embeds(story: &Story, remarks: &str) -> Vec<Value> {
    let headed = !story.single;
    let mut groups: Vec<Vec<&Part>> = Vec::new();
    for part in &story.parts {
        match groups.last_mut() {
            Some(group) if part.beneath => group.push(part),
            _ => groups.push(vec![part]),
        }
    }
    let detailed = story.parts.iter().any(|p| !p.lines.is_empty() || p.command.is_some());
    if groups.len() > 1 && groups.len() < EMBEDS && detailed {
        let mut embeds = vec![embed(story, remarks)];
        embeds.extend(groups.iter().map(|group| {
            let text: String = group.iter().map(|part| words(part, true)).collect();
            json!({ "color": colour(group[0].tone), "description": text.trim_end() })
        }));
        return embeds;
    }
    let all = story.parts.iter().map(|part| words(part, headed)).collect::<String>();
    vec![embed(story, &format!("{remarks}{all}"))]
}

fn embed(story: &Story, description: &str) -> Value {
    let mut embed = json!({ "color": colour(story.tone) });
    if !description.trim().is_empty() {
        embed["description"] = json!(description.trim_end());
    }
    embed
}

/// A part in Discord's Markdown, one fact a line.
fn words(part: &Part, headed: bool) -> String {
    let mut out = String::new();
    if headed {
        out += &chat::signed(part, &markdown(&part.heading));
        out.push('\n');
    }
    for fact in &part.facts {
        out += &format!("**{}:** {}\n", fact.label, markdown(&fact.text));
    }
    for lines in [&part.lines[..], part.command.as_slice()] {
        if !lines.is_empty() {
            let lines: Vec<String> = lines.iter().map(|line| chat::in_fence(line)).collect();
            out += &format!("```\n{}\n```\n", lines.join("\n"));
        }
    }
    out
}

fn colour(tone: story::Tone) -> u32 {
    // The colours are ours, and hexadecimal.
    u32::from_str_radix(&tone.colour()[1..], 16).unwrap_or_default()
}

/// A form of the message that Discord cannot find fault with.
fn plain(story: &Story) -> Value {
    let content = shorten::fit(
        story,
        |story| {
            let text = story::text(story);
            text.lines().map(|line| markdown(line.trim()) + "\n").collect::<String>()
        },
        |text| units(text) <= CONTENT,
    );
    json!({ "content": content, "allowed_mentions": { "parse": [] } })
}

fn fits(body: &Value) -> bool {
    let embeds = body["embeds"].as_array().map_or(&[][..], Vec::as_slice);
    let mut all = 0;
    let mut short = |text: &Value, most: usize| {
        let n = text.as_str().map_or(0, units);
        all += n;
        n <= most
    };
    let each = embeds.iter().all(|embed| {
        short(&embed["title"], TITLE)
            && short(&embed["description"], DESCRIPTION)
            && short(&embed["footer"]["text"], FOOTER)
    });
    each && all <= ALL && embeds.len() <= EMBEDS
}
