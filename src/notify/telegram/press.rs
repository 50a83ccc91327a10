//! Carrying out one press of a button: who may, what it asks for, and what is answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::Telegram;
use super::api::Failure;
use super::buttons::{Order, Wrong};
use super::render::inert;
use super::shared::Share;
use crate::engine::event::{Actor, Command};
use crate::notify::shorten::cut;
use crate::notify::{Acts, story};

/// Characters of the answer to a press.
const ANSWER: usize = 200;
/// Characters of a message in the chat.
const MESSAGE: usize = 1000;
/// Presses that were carried out, and strangers that the log has named: how many are remembered.
const REMEMBERED: usize = 256;

/// A press of a button, as Telegram tells it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Press {
    /// By which it is answered.
    id: String,
    user: i64,
    /// Without `@`.
    username: Option<String>,
    /// The message that has the button; `None` where Telegram does not say.
    place: Option<Place>,
    data: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Place {
    chat: i64,
    chat_name: Option<String>,
    message: i64,
    /// The buttons of the message, when it was pressed.
    rows: Vec<Vec<Value>>,
}

/// What is remembered of presses.
#[derive(Debug, Default)]
pub(super) struct Handled {
    /// Chat, message, and what the button carries.
    done: VecDeque<(i64, i64, String)>,
    strangers: VecDeque<(i64, i64)>,
}

fn remember<T: PartialEq>(all: &mut VecDeque<T>, one: T) -> bool {
    if all.contains(&one) {
        return false;
    }
    if all.len() == REMEMBERED {
        all.pop_front();
    }
    all.push_back(one);
    true
}

impl Press {
    /// Reads an update; `None` when it is no press of a button.
    pub(super) fn read(update: &Value) -> Option<Self> {
        let query = update.get("callback_query")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let username = text(&query["from"]["username"]).filter(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        let message = &query["message"];
        let place = message["chat"]["id"].as_i64().zip(message["message_id"].as_i64());
        let rows = message["reply_markup"]["inline_keyboard"].as_array();
        let rows = rows.into_iter().flatten().filter_map(|row| row.as_array().cloned()).collect();
        Some(Self {
            id: text(&query["id"])?,
            user: query["from"]["id"].as_i64()?,
            username,
            place: place.map(|(chat, message_id)| Place {
                chat,
                chat_name: text(&message["chat"]["username"]),
                message: message_id,
                rows,
            }),
            data: text(&query["data"]).unwrap_or_default(),
        })
    }

    /// The channel that it is for, of those that share the bot.
    pub(super) fn channel(&self, share: &Share) -> Arc<Telegram> {
        let (chat, name) = match &self.place {
            Some(place) => (place.chat, place.chat_name.as_deref()),
            None => (0, None),
        };
        share.channel_of(chat, name, self.user)
    }

    /// `@anna (id 123)`.
    fn who(&self) -> String {
        match &self.username {
            Some(name) => format!("@{name} (id {})", self.user),
            None => format!("id {}", self.user),
        }
    }
}

impl Telegram {
    /// Carries out a press, answers it, and tells the chat. `old`: it may be so old that nobody
    /// expects it to do anything any more.
    pub(super) async fn pressed(
        &self,
        press: &Press,
        old: bool,
        acts: &Acts,
        handled: &mut Handled,
    ) {
        let who = press.who();
        let Some((index, place)) = self.allowed_place(press) else {
            let chat = press.place.as_ref().map_or(0, |place| place.chat);
            // Once each, lest a stranger fill the log.
            if remember(&mut handled.strangers, (chat, press.user)) {
                tracing::warn!(
                    channel = %self.name,
                    "{who} pressed a button in chat {chat} and is not allowed to; to allow it, add \
                     the id to allowed_users"
                );
            }
            let text = format!(
                "You are not allowed to do this. Who runs keepwell can add your id, {}, to \
                 allowed_users.",
                press.user
            );
            return self.answer(press, &text, true).await.unwrap_or_else(|e| self.unanswered(&e));
        };
        let order = match self.buttons.read(&press.data).and_then(|o| Ok((o.act()?, o))) {
            Ok((act, order)) => (act, order),
            Err(wrong) => return self.no_order(press, &who, wrong).await,
        };
        let (act, order) = order;
        let done = (place.chat, place.message, press.data.clone());
        if handled.done.contains(&done) {
            let answered = self.answer(press, "This has been done already.", false).await;
            return answered.unwrap_or_else(|e| self.unanswered(&e));
        }
        // Telegram takes no answer to a press that is more than some seconds old.
        if old && let Err(failure) = self.answer(press, "keepwell is at it…", false).await {
            tracing::info!(channel = %self.name, "{who} pressed a button too long ago: not done");
            if matches!(failure, Failure::Refused(_)) {
                let text = "This button was pressed while keepwell could not listen, and nothing \
                            was done. Press it again if it still matters.";
                self.reply(index, place, text).await;
            }
            return;
        }
        tracing::info!(channel = %self.name, alert = %order.alert, "{who} pressed {:?}", order.deed);
        let command = Command { actor: Actor(format!("telegram:{who}")), act };
        let result = timeout(self.waits.act, acts(command)).await.unwrap_or_else(|_| {
            Err("keepwell is busy and has not answered; it may still do it".into())
        });
        match result {
            Ok(text) => {
                remember(&mut handled.done, done);
                if !old {
                    self.answer(press, &text, false).await.unwrap_or_else(|e| self.unanswered(&e));
                }
                self.take_away(place, handled).await;
                self.reply(index, place, &told(&order, &who, &text)).await;
            }
            Err(text) if old => self.reply(index, place, &text).await,
            Err(text) => {
                self.answer(press, &text, true).await.unwrap_or_else(|e| self.unanswered(&e));
            }
        }
    }

    /// Where the button is, if it is in one of our chats and the user may press it there.
    fn allowed_place<'a>(&self, press: &'a Press) -> Option<(usize, &'a Place)> {
        let place = press.place.as_ref()?;
        let name = place.chat_name.as_deref();
        let allowed = self.may_press_in(place.chat, name, press.user);
        Some((self.chats.find(place.chat, name).filter(|_| allowed)?, place))
    }

    async fn no_order(&self, press: &Press, who: &str, wrong: Wrong) {
        tracing::info!(channel = %self.name, "{who} pressed a button: {}", wrong.text());
        self.answer(press, wrong.text(), true).await.unwrap_or_else(|e| self.unanswered(&e));
    }

    async fn answer(&self, press: &Press, text: &str, alert: bool) -> Result<(), Failure> {
        let text = cut(&story::clean(text), ANSWER).into_owned();
        let body = json!({ "callback_query_id": press.id, "text": text, "show_alert": alert });
        self.bot.call("answerCallbackQuery", &body, Duration::ZERO).await.map(drop)
    }

    /// Takes the buttons that have done their work off the message.
    async fn take_away(&self, place: &Place, handled: &Handled) {
        let is_done = |button: &Value| {
            let data = button["callback_data"].as_str().unwrap_or_default();
            handled.done.iter().any(|(chat, message, done)| {
                (*chat, *message, done.as_str()) == (place.chat, place.message, data)
            })
        };
        let left = |row: &Vec<Value>| {
            row.iter().filter(|button| !is_done(button)).cloned().collect::<Vec<Value>>()
        };
        let rows: Vec<_> = place.rows.iter().map(left).filter(|row| !row.is_empty()).collect();
        let body = json!({
            "chat_id": place.chat,
            "message_id": place.message,
            "reply_markup": { "inline_keyboard": rows },
        });
        if let Err(failure) = self.bot.call("editMessageReplyMarkup", &body, Duration::ZERO).await {
            self.unanswered(&failure);
        }
    }

    async fn reply(&self, index: usize, place: &Place, text: &str) {
        let text = inert(&story::clean(text));
        let body = json!({
            "chat_id": place.chat,
            "text": cut(&text, MESSAGE),
            "reply_parameters": { "message_id": place.message, "allow_sending_without_reply": true },
            "link_preview_options": { "is_disabled": true },
            "disable_notification": true,
        });
        self.chats.turn(index).await;
        if let Err(failure) = self.bot.call("sendMessage", &body, Duration::ZERO).await {
            self.unanswered(&failure);
        }
    }

    /// What people were to see of a press did not get through; what it asked for is done or not
    /// done all the same.
    fn unanswered(&self, failure: &Failure) {
        let why = match failure {
            Failure::Transport(error) => error.text.clone(),
            Failure::Refused(refusal) => refusal.text(),
        };
        tracing::info!(channel = %self.name, "the answer to a button was not delivered: {why}");
    }
}

/// `Acknowledged by @anna (id 123): …`, for the chat.
fn told(order: &Order, who: &str, text: &str) -> String {
    format!("{} by {who}: {text}", order.deed.done())
}
