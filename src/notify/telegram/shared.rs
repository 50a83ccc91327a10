//! Channels of this process that share a bot. Telegram gives the presses of a bot to one listener at
//! a time, so one channel listens for all of them, and hands each press to the channel whose chat it
//! came from. When it ends, the next one takes over: also after a reload, while the old channels are
//! not quite gone.
//!
//! This is the one thing that channels know of each other, and so it lives outside of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Telegram;

static LISTENING: Mutex<Vec<Arc<Telegram>>> = Mutex::new(Vec::new());

fn listening() -> MutexGuard<'static, Vec<Arc<Telegram>>> {
    // A list of which nothing is half done.
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A channel that listens, for as long as this is kept.
pub(super) struct Share(Arc<Telegram>);

impl Share {
    pub(super) fn new(telegram: &Arc<Telegram>) -> Self {
        listening().push(telegram.clone());
        Self(telegram.clone())
    }

    /// Whether it is for this channel to ask Telegram.
    pub(super) fn leads(&self) -> bool {
        let all = listening();
        let first = all.iter().find(|other| other.bot.is_same(&self.0.bot));
        first.is_some_and(|first| Arc::ptr_eq(first, &self.0))
    }

    /// The channel that a press in a chat is for: this one, where none has the chat.
    pub(super) fn channel_of(&self, chat: i64, name: Option<&str>, user: i64) -> Arc<Telegram> {
        let all = listening();
        let mut same = all.iter().filter(|other| other.bot.is_same(&self.0.bot));
        same.find(|other| other.may_press_in(chat, name, user)).unwrap_or(&self.0).clone()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = listening();
        if let Some(at) = all.iter().position(|other| Arc::ptr_eq(other, &self.0)) {
            all.remove(at);
        }
    }
}
