//! Waiting for presses: `getUpdates`, one request kept open at a time, for as long as the channel
//! lives. A press is carried out only after Telegram was told that it has arrived, so that it is
//! done once at most, also when keepwell is killed in between.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Telegram;
use super::api::{Failure, TOKEN_HINT};
use super::press::{Handled, Press};
use super::shared::Share;
use crate::notify::{Acts, retry};

/// Updates in one answer.
const BATCH: usize = 20;
/// A server that answers sooner than this, and with nothing, is not asked again at once.
const SOON: Duration = Duration::from_secs(1);
/// After so many failures in a row it is said.
const SAID_AFTER: u32 = 3;
/// Telegram may begin to number updates anew after a week without any.
const QUIET: Duration = Duration::from_secs(24 * 3600);
/// However long Telegram asks to wait, it is asked again after this.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Listens until it is dropped; while another channel listens to the same bot, it waits. Once the
/// token turns out to be wrong it rests: only a new configuration can mend that.
pub(super) async fn run(telegram: Arc<Telegram>, acts: Acts) {
    let share = Share::new(&telegram);
    while !share.leads() {
        sleep(SOON.min(telegram.waits.longest)).await;
    }
    let mut ear = Ear {
        telegram,
        share,
        acts,
        offset: None,
        last: Instant::now(),
        arrived: Vec::new(),
        fresh: false,
        trouble: None,
        failures: 0,
        handled: Handled::default(),
    };
    while let Some(wait) = ear.turn().await {
        sleep(wait).await;
    }
    // It keeps its share: another channel of the same bot has the same token.
    std::future::pending().await
}

struct Ear {
    telegram: Arc<Telegram>,
    /// The channels that it listens for.
    share: Share,
    acts: Acts,
    /// One more than the last update that arrived.
    offset: Option<i64>,
    /// When that was.
    last: Instant,
    /// What has arrived and Telegram does not know it yet, each with whether it may be old.
    arrived: Vec<(Press, bool)>,
    /// The last request was answered: what comes now was pressed just now.
    fresh: bool,
    /// What was last said to be wrong.
    trouble: Option<Trouble>,
    /// In a row.
    failures: u32,
    handled: Handled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Conflict,
    Other,
}

impl Ear {
    /// One request and what comes of it; gives the wait before the next, `None` when there is no
    /// use in another.
    async fn turn(&mut self) -> Option<Duration> {
        let poll = if self.arrived.is_empty() { self.telegram.waits.poll } else { Duration::ZERO };
        let mut body = json!({
            "timeout": poll.as_secs(),
            "limit": BATCH,
            "allowed_updates": ["callback_query"],
        });
        if self.arrived.is_empty() && self.last.elapsed() > QUIET {
            self.offset = None;
        }
        if let Some(offset) = self.offset {
            body["offset"] = json!(offset);
        }
        let began = Instant::now();
        let answer = self.telegram.bot.call("getUpdates", &body, poll).await;
        let updates = match answer {
            Ok(Value::Array(updates)) => updates,
            Ok(_) => return Some(self.failed("the answer has no list of updates", None)),
            Err(failure) => return self.refused(&failure),
        };
        self.recovered();
        // Telegram knows by now that these have arrived.
        let known = std::mem::take(&mut self.arrived);
        let empty = updates.is_empty();
        updates.iter().for_each(|update| self.take(update));
        self.fresh = true;
        for (press, old) in &known {
            let channel = press.channel(&self.share);
            channel.pressed(press, *old, &self.acts, &mut self.handled).await;
        }
        let idle = empty && known.is_empty() && began.elapsed() < SOON.min(poll);
        Some(if idle { SOON } else { Duration::ZERO })
    }

    fn take(&mut self, update: &Value) {
        let Some(id) = update["update_id"].as_i64() else { return };
        let next = id.saturating_add(1);
        if self.offset.is_some_and(|offset| next <= offset) {
            return;
        }
        (self.offset, self.last) = (Some(next), Instant::now());
        if let Some(press) = Press::read(update) {
            self.arrived.push((press, !self.fresh));
        }
    }

    fn refused(&mut self, failure: &Failure) -> Option<Duration> {
        let name = self.telegram.name.clone();
        let refusal = match failure {
            Failure::Transport(error) => return Some(self.failed(&error.text, None)),
            Failure::Refused(refusal) => refusal,
        };
        let said = refusal.text();
        if refusal.is_about_the_token() {
            tracing::error!(channel = %name, "buttons do nothing until the configuration is loaded again: {said}; {TOKEN_HINT}");
            return None;
        }
        if refusal.code != 409 {
            let asked = refusal.retry_after.map(|wait| wait.min(LONGEST_ASKED));
            return Some(self.failed(&said, asked));
        }
        self.doubt();
        if self.trouble != Some(Trouble::Conflict) {
            self.trouble = Some(Trouble::Conflict);
            let remedy = if refusal.description.contains("webhook") {
                "the bot has a webhook, which takes all presses: remove it with deleteWebhook, or \
                 set buttons = false"
            } else {
                "another program, perhaps keepwell on another host, takes this bot's presses: give \
                 each host a bot of its own, or set buttons = false on all but one"
            };
            tracing::warn!(channel = %name, "buttons do nothing: {said}; {remedy}");
        }
        Some(self.telegram.waits.conflict)
    }

    fn failed(&mut self, why: &str, asked: Option<Duration>) -> Duration {
        self.doubt();
        self.failures = self.failures.saturating_add(1);
        let name = &self.telegram.name;
        if self.failures >= SAID_AFTER && self.trouble.is_none() {
            self.trouble = Some(Trouble::Other);
            tracing::warn!(channel = %name, "buttons do nothing for now: {why}");
        }
        let wait = retry::delay(name, "updates", self.failures).min(self.telegram.waits.longest);
        wait.max(asked.unwrap_or_default())
    }

    /// What was, or will be, pressed before the next answer may be old by then.
    fn doubt(&mut self) {
        self.fresh = false;
        self.arrived.iter_mut().for_each(|(_, old)| *old = true);
    }

    fn recovered(&mut self) {
        self.failures = 0;
        if self.trouble.take().is_some() {
            tracing::info!(channel = %self.telegram.name, "buttons work again");
        }
    }
}
