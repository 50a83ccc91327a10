//! Telegram: messages by a bot, and buttons beneath them that people press.
//!
//! Here are the settings and how they are read. Sending is in `send`, the shape of a message in
//! `render`, what stands in buttons in `buttons`, waiting for presses in `listen`, carrying one out
//! in `press`.

mod api;
mod buttons;
mod chats;
mod listen;
mod press;
mod render;
mod send;
mod shared;
mod words;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url};

use super::template::{self, Templates};
use super::{Acts, BoxFuture, Channel, Kind, Outgoing, Reading, SendError, host_key, http};
use crate::config::sink::Place;
use crate::config::{Key, KeyKind, Reader, Secret};

use api::Bot;
use buttons::Buttons;
pub(in crate::notify) use chats::Chat;
pub(in crate::notify) use chats::Chats;
#[cfg(test)]
pub(in crate::notify) use words::Words;

pub(super) const KIND: Kind = Kind {
    name: "telegram",
    doc: "Sends each message to Telegram chats by a bot, with buttons for open alerts",
    keys: KEYS,
    read,
};

const fn key(
    name: &'static str,
    kind: KeyKind,
    default: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, kind, default, example, doc }
}

const KEYS: &[Key] = &[
    key(
        "token",
        KeyKind::Secret,
        "",
        "{ credential = \"telegram-token\" }",
        "The bot's token, as @BotFather gives it. Required.",
    ),
    key(
        "chat_id",
        KeyKind::Identifiers,
        "",
        "[-1001234567890, 123456789]",
        "The chats that get messages: numbers, or @name of a public channel. Required.",
    ),
    key(
        "allowed_users",
        KeyKind::Identifiers,
        "[]",
        "[123456789]",
        "Ids of the users who may press buttons. Without any, only the one person of a private chat.",
    ),
    key(
        "buttons",
        KeyKind::Bool,
        "true",
        "false",
        "Show buttons and listen to them. A bot's buttons can have one host only.",
    ),
    key(
        "api",
        KeyKind::Secret,
        "\"https://api.telegram.org\"",
        "\"http://127.0.0.1:8081\"",
        "Where the Bot API is, for a server of your own.",
    ),
    key(
        "timeout",
        KeyKind::Duration,
        "\"10s\"",
        "\"20s\"",
        "How long one request may take, 1s to 30s.",
    ),
    key("template", KeyKind::Table(TEMPLATE), "", "", "Words of your own."),
    http::CA,
    http::PROXY,
];

const TEMPLATE: &[Key] = &[template::key(
    "text",
    "\"<b>{{ title | html }}</b>\"",
    "What stands in place of the message, in Telegram's HTML.",
)];

const API: &str = "https://api.telegram.org";
const SECOND: Duration = Duration::from_secs(1);

/// What a configuration says of a Telegram channel.
#[derive(Debug, Clone)]
pub(in crate::notify) struct Settings {
    pub(in crate::notify) token: Secret,
    pub(in crate::notify) chats: Vec<Chat>,
    pub(in crate::notify) allowed: Vec<i64>,
    pub(in crate::notify) buttons: bool,
    pub(in crate::notify) api: Url,
    pub(in crate::notify) timeout: Duration,
    pub(in crate::notify) templates: Templates,
    /// Tells this host's buttons from those of others.
    pub(in crate::notify) host: Arc<str>,
    pub(in crate::notify) waits: Waits,
}

/// How long to wait for what; tests wait less.
#[derive(Debug, Clone, Copy)]
pub(in crate::notify) struct Waits {
    /// Between two messages to the same chat.
    pub(in crate::notify) pace: Duration,
    /// The server keeps a request for updates open for this long.
    pub(in crate::notify) poll: Duration,
    /// Before the next try while somebody else takes the bot's updates.
    pub(in crate::notify) conflict: Duration,
    /// The longest wait after other failures.
    pub(in crate::notify) longest: Duration,
    /// An act of a person is answered within this time.
    pub(in crate::notify) act: Duration,
}

impl Waits {
    pub(in crate::notify) const USUAL: Self = Self {
        pace: SECOND,
        poll: Duration::from_secs(50),
        conflict: Duration::from_secs(5 * 60),
        longest: Duration::from_secs(60),
        act: Duration::from_secs(20),
    };
}

/// A bot and its chats, ready to send.
pub(in crate::notify) struct Telegram {
    name: Arc<str>,
    bot: Bot,
    chats: Chats,
    allowed: Vec<i64>,
    with_buttons: bool,
    buttons: Buttons,
    templates: Templates,
    waits: Waits,
}

impl Telegram {
    pub(in crate::notify) fn new(name: Arc<str>, settings: Settings, client: Client) -> Self {
        let Settings { token, chats, allowed, buttons, api, timeout, templates, host, waits } =
            settings;
        Self {
            name,
            buttons: Buttons::new(&token, &host),
            bot: Bot::new(client, api, token, timeout),
            chats: Chats::new(chats, waits.pace),
            allowed,
            with_buttons: buttons,
            templates,
            waits,
        }
    }

    /// Whether a user may press buttons in a chat.
    fn may_press(&self, chat: &Chat, user: i64) -> bool {
        if self.allowed.is_empty() {
            chat.person() == Some(user)
        } else {
            self.allowed.contains(&user)
        }
    }

    /// Whether a user may press buttons in the chat that an update names: if so it is one of ours.
    fn may_press_in(&self, chat: i64, name: Option<&str>, user: i64) -> bool {
        self.with_buttons
            && self
                .chats
                .find(chat, name)
                .is_some_and(|index| self.may_press(&self.chats.get(index), user))
    }

    /// Whether anybody may press buttons in a chat, and so there are some.
    fn has_buttons(&self, chat: &Chat) -> bool {
        self.with_buttons
            && match chat.person() {
                Some(person) => self.may_press(chat, person),
                None => !self.allowed.is_empty(),
            }
    }
}

impl Channel for Telegram {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(self.deliver(message))
    }

    fn listen(self: Arc<Self>, acts: Acts) -> Option<BoxFuture<'static, ()>> {
        let any = (0..self.chats.len()).any(|index| self.has_buttons(&self.chats.get(index)));
        any.then(|| -> BoxFuture<'static, ()> { Box::pin(listen::run(self, acts)) })
    }
}

fn read(reading: &mut Reading<'_>) -> Option<Arc<dyn Channel>> {
    let Reading { section, clients, sink, .. } = reading;
    let mut reader = section.section.read(sink);
    let way = http::way(&mut reader, clients);
    reader.require("token", "{ credential = \"NAME\" }");
    reader.require("chat_id", "-1001234567890");
    let token = token(&mut reader);
    let chats = chats(&mut reader);
    let allowed = users(&mut reader);
    let buttons = reader.bool("buttons").unwrap_or(true);
    let api = api(&mut reader);
    let timeout = reader.duration("timeout", SECOND, 30 * SECOND);
    let templates = Templates::read_with(&mut reader, &["text"], |_| {}, &|_, text| {
        words::Words::read(text, render::MOST).map(drop)
    });
    reader.finish();
    // An unreadable machine id is that of no host: buttons then cannot tell hosts apart.
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let settings = Settings {
        token: token.filter(Secret::is_resolved)?,
        chats: chats?,
        allowed: allowed?,
        buttons,
        api: api?,
        timeout: timeout.unwrap_or(10 * SECOND),
        templates,
        host: host_key(&machine),
        waits: Waits::USUAL,
    };
    Some(Arc::new(Telegram::new(section.name.clone(), settings, way?.client)))
}

fn token(reader: &mut Reader<'_>) -> Option<Secret> {
    let secret = reader.secret("token")?;
    if !secret.is_resolved() {
        return Some(secret); // `config check` by another user than the service; it has warned.
    }
    let token = secret.expose().trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let right = token.split_once(':').is_some_and(|(id, key)| {
        !id.is_empty()
            && id.bytes().all(|b| b.is_ascii_digit())
            && key.len() >= 20
            && key.chars().all(fits)
    });
    if right {
        return Some(Secret::new(token));
    }
    let hint = if token.starts_with("bot") {
        "leave out `bot` at the beginning"
    } else {
        "it looks like 123456789:AAF0… with 35 characters after the colon; ask @BotFather for it"
    };
    let at = reader.place_of("token");
    reader.sink().error(at, "`token` is not the token of a Telegram bot").hint(hint);
    None
}

/// Those that are right; `None` when one is wrong, or there is none.
fn chats(reader: &mut Reader<'_>) -> Option<Vec<Chat>> {
    const HINT: &str = "a person's id is a number above 0, a group's one below 0, such as \
                        -1001234567890; a public channel may be written as \"@name\"";
    let at = reader.place_of("chat_id");
    let texts = reader.identifiers("chat_id")?;
    let mut all: Vec<Chat> = Vec::new();
    let mut wrong = texts.is_empty();
    if wrong {
        reader.sink().error(at, "`chat_id` names no chat").hint(HINT);
    }
    for (text, at) in texts {
        match Chat::parse(&text) {
            Some(chat) if all.contains(&chat) => {
                wrong = true;
                reader.sink().error(at, format!("`chat_id` names {chat} twice"));
            }
            Some(chat) => all.push(chat),
            None => {
                wrong = true;
                let message = format!("`chat_id`: \"{}\" is not a chat", brief(&text));
                reader.sink().error(at, message).hint(HINT);
            }
        }
    }
    (!wrong).then_some(all)
}

fn users(reader: &mut Reader<'_>) -> Option<Vec<i64>> {
    let texts: Vec<(String, Place)> = reader.identifiers("allowed_users").unwrap_or_default();
    let mut all = Vec::new();
    let mut wrong = false;
    for (text, at) in texts {
        match text.parse::<i64>() {
            Ok(id) if id > 0 => all.push(id),
            _ => {
                wrong = true;
                let message = format!("`allowed_users`: \"{}\" is not a user's id", brief(&text));
                reader.sink().error(at, message).hint(
                    "names can be taken over by others, so it takes ids: numbers above 0; press a \
                     button, and the answer says yours",
                );
            }
        }
    }
    (!wrong).then_some(all)
}

fn api(reader: &mut Reader<'_>) -> Option<Url> {
    let at = reader.place_of("api");
    let given = reader.url("api");
    if given.is_none() && reader.has("api") {
        return None;
    }
    let text = given.as_ref().map_or(API, |secret| secret.expose());
    if given.as_ref().is_some_and(|secret| !secret.is_resolved()) {
        return None; // `config check` by another user than the service; it has warned.
    }
    match Url::parse(text.trim()) {
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            reader.sink().error(at, "`api` must not have a ? or #");
            None
        }
        Ok(url) => Some(url),
        Err(error) => {
            reader.sink().error(at, format!("`api` is not a valid URL: {error}"));
            None
        }
    }
}

fn brief(text: &str) -> std::borrow::Cow<'_, str> {
    super::shorten::cut(text, 40)
}
