//! Sending one message to every chat of the channel: each chat once, however often it is tried.

use std::time::Duration;

use serde_json::{Value, json};

use super::Telegram;
use super::api::{Failure, Refusal, TOKEN_HINT};
use super::chats::{Chat, Settled};
use super::render::{self, Form, MOST};
use super::words::Words;
use crate::engine::alert::Gist;
use crate::notify::{Outgoing, Retry, SendError, story};

/// What became of a try with one chat.
enum Tried {
    Settled(Settled),
    /// The chat takes no messages any more.
    Rests(String),
    Later(Option<Duration>, String),
    /// No chat would take it now, or ever.
    Broken(SendError),
}

impl Telegram {
    pub(super) async fn deliver(&self, message: &Outgoing) -> Result<String, SendError> {
        let story = story::compose(message);
        let takes = |text: &str| Words::read(text, MOST).map(drop);
        let words = self.templates.render_checked("text", message, &story, &takes);
        let words = words.and_then(|text| Words::read(&text, MOST).ok());
        let form = |buttons| render::form(message, &story, words.clone(), buttons);
        let (with, without) = (form(true), form(false));
        // Somebody may have mended it since: a test asks again.
        let test = message.notification.gist == Gist::Test;
        let mut later: Option<(Option<Duration>, String)> = None;
        for index in 0..self.chats.len() {
            if self.chats.settled(&message.key, index).is_some()
                || self.chats.resting(index).is_some() && !test
            {
                continue;
            }
            let form = if self.has_buttons(&self.chats.get(index)) { &with } else { &without };
            match self.tell(index, message, form).await {
                Tried::Settled(how) => self.chats.settle(&message.key, index, how),
                Tried::Rests(why) => {
                    tracing::warn!(channel = %self.name, "{why}");
                    self.chats.rest(index, why);
                }
                Tried::Later(wait, why) => {
                    let (longest, text) = later.get_or_insert_default();
                    *longest = (*longest).max(wait);
                    join(text, &why);
                }
                // The other chats are behind the same door.
                Tried::Broken(error) => return Err(error),
            }
        }
        if let Some((wait, text)) = later {
            return Err(SendError { retry: Retry::Later(wait), text });
        }
        self.verdict(&message.key)
    }

    /// What became of a message, now that no chat is left to be tried.
    fn verdict(&self, key: &str) -> Result<String, SendError> {
        let (mut taken, mut refused, mut resting) = (String::new(), String::new(), String::new());
        for index in 0..self.chats.len() {
            match self.chats.settled(key, index) {
                Some(Settled::Taken(text)) => join(&mut taken, &text),
                Some(Settled::Refused(text)) => join(&mut refused, &text),
                None => join(&mut resting, &self.chats.resting(index).unwrap_or_default()),
            }
        }
        if !refused.is_empty() {
            Err(SendError { retry: Retry::Never, text: refused })
        } else if taken.is_empty() {
            Err(SendError { retry: Retry::Stop, text: resting })
        } else {
            // The chats that rest hold up no other; the log has told of them.
            join(&mut taken, &resting);
            Ok(taken)
        }
    }

    /// Tries one chat: as it should look, and where Telegram does not take that, plainly.
    async fn tell(&self, index: usize, message: &Outgoing, form: &Form) -> Tried {
        let keyboard = self.keyboard(message, form);
        let mut html = true;
        let mut keyboard = keyboard.as_ref();
        let mut first: Option<Refusal> = None;
        let mut moved = false;
        loop {
            let chat = self.chats.get(index);
            let body = body(&chat, form, html, keyboard);
            self.chats.turn(index).await;
            let refusal = match self.bot.call("sendMessage", &body, Duration::ZERO).await {
                Ok(_) => {
                    let plainly = match first {
                        Some(refusal) => format!(", plainly, for {}", refusal.text()),
                        None => String::new(),
                    };
                    return Tried::Settled(Settled::Taken(format!("chat {chat} has it{plainly}")));
                }
                Err(Failure::Transport(error)) => return Tried::Broken(error),
                Err(Failure::Refused(refusal)) => refusal,
            };
            if let Some(id) = refusal.migrated_to
                && !moved
            {
                moved = true;
                tracing::warn!(
                    channel = %self.name,
                    "the group {chat} has become a supergroup and has a new id: set chat_id = {id} \
                     in place of {chat}; until then messages go to {id}"
                );
                self.chats.rename(index, id);
                continue;
            }
            // Once more, and plainly: without markup, and without what else may be at fault.
            if matches!(refusal.code, 400 | 413)
                && gone(&refusal).is_none()
                && first.is_none()
                && (html || keyboard.is_some())
            {
                html = false;
                if !refusal.description.contains("entit") {
                    keyboard = None;
                }
                first = Some(refusal);
                continue;
            }
            return self.refused(&chat, &refusal);
        }
    }

    fn refused(&self, chat: &Chat, refusal: &Refusal) -> Tried {
        let said = format!("{} answered {}", self.bot.shown(), refusal.text());
        if refusal.is_about_the_token() {
            return Tried::Broken(SendError {
                retry: Retry::Stop,
                text: format!("{said}; {TOKEN_HINT}"),
            });
        }
        let about = format!("chat {chat}: {said}");
        match refusal.code {
            408 | 425 | 429 | 500.. => Tried::Later(refusal.retry_after, about),
            _ => match gone(refusal) {
                Some(remedy) => Tried::Rests(format!("{about}; {remedy}")),
                None => Tried::Settled(Settled::Refused(about)),
            },
        }
    }

    /// The buttons of a message, if it has any.
    fn keyboard(&self, message: &Outgoing, form: &Form) -> Option<Value> {
        let several = form.alerts.len() > 1;
        let rows: Vec<Value> = form
            .alerts
            .iter()
            .enumerate()
            .filter_map(|(n, id)| Some((n, render::alert(message, id)?)))
            .map(|(n, alert)| self.buttons.row(alert, several.then_some(n + 1)))
            .filter(|row| !row.is_empty())
            .map(Value::from)
            .collect();
        (!rows.is_empty()).then(|| json!({ "inline_keyboard": rows }))
    }
}

/// One request of `sendMessage`.
fn body(chat: &Chat, form: &Form, html: bool, keyboard: Option<&Value>) -> Value {
    let mut body = json!({
        "chat_id": chat.json(),
        "text": form.plain,
        "link_preview_options": { "is_disabled": true },
    });
    if html {
        body["text"] = json!(form.html);
        body["parse_mode"] = json!("HTML");
    }
    if form.silent {
        body["disable_notification"] = json!(true);
    }
    if let Some(keyboard) = keyboard {
        body["reply_markup"] = keyboard.clone();
    }
    body
}

/// Whether a chat takes no messages at all, and what can be done about it.
fn gone(refusal: &Refusal) -> Option<&'static str> {
    let words = refusal.description.to_lowercase();
    let has = |any: &[&str]| any.iter().any(|one| words.contains(one));
    if has(&["blocked by the user"]) {
        Some("the person has blocked the bot: they must unblock it, or take them out of `chat_id`")
    } else if has(&["can't initiate conversation"]) {
        Some("the person must write to the bot once before it may write to them")
    } else if has(&["user is deactivated"]) {
        Some("the account is gone: take it out of `chat_id`")
    } else if has(&["kicked", "not a member"]) {
        Some("add the bot to the group or channel again, or take it out of `chat_id`")
    } else if has(&[
        "not enough rights",
        "no rights to send",
        "need administrator",
        "write_forbidden",
    ]) {
        Some("let the bot post there: in a channel it must be an administrator")
    } else if has(&["chat not found", "peer_id_invalid", "chat_id_invalid", "group chat was deact"])
    {
        Some(
            "check `chat_id`; a person must write to the bot first, a group must have it as member",
        )
    } else if refusal.code == 403 {
        Some("the bot may not write there: check its membership and rights, or `chat_id`")
    } else {
        None
    }
}

fn join(all: &mut String, one: &str) {
    if !all.is_empty() && !one.is_empty() {
        all.push_str("; ");
    }
    all.push_str(one);
}
