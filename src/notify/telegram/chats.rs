//! The chats of a channel: what they are called, how each of them does, and which of them have a
//! message already, so that a repeat goes only to the others.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

/// Of so many messages it is known which chats have them. A lane has one under way at a time.
const MESSAGES: usize = 8;

/// How a configuration names a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::notify) enum Chat {
    /// A person (above 0) or a group or channel (below 0).
    Id(i64),
    /// A public channel or group: `@name`.
    Name(String),
}

impl Chat {
    /// Reads `-1001234567890` or `@name`.
    pub(in crate::notify) fn parse(text: &str) -> Option<Self> {
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        match text.strip_prefix('@') {
            Some(rest) if rest.len() >= 4 && rest.chars().all(name) => {
                Some(Self::Name(text.to_owned()))
            }
            Some(_) => None,
            None => text.parse().ok().filter(|id| *id != 0).map(Self::Id),
        }
    }

    /// The person, where it is a chat with one: its id is theirs.
    pub(super) fn person(&self) -> Option<i64> {
        match self {
            Self::Id(id) if *id > 0 => Some(*id),
            _ => None,
        }
    }

    /// As the API takes it.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Id(id) => json!(id),
            Self::Name(name) => json!(name),
        }
    }
}

impl fmt::Display for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What became of one message in one chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    /// The chat has it.
    Taken(String),
    /// The chat will never take it: why.
    Refused(String),
}

/// All chats of a channel.
#[derive(Debug)]
pub(in crate::notify) struct Chats {
    all: Vec<Slot>,
    /// By idempotency key, the newest last; one place for each chat.
    messages: Mutex<VecDeque<(String, Vec<Option<Settled>>)>>,
    /// The least time between two messages to the same chat.
    pace: Duration,
}

#[derive(Debug)]
struct Slot {
    now: Mutex<Now>,
    /// From when on the next message may go out.
    next: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Now {
    chat: Chat,
    /// It takes no messages any more: why.
    resting: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chats {
    pub(in crate::notify) fn new(chats: Vec<Chat>, pace: Duration) -> Self {
        let slot = |chat| Slot {
            now: Mutex::new(Now { chat, resting: None }),
            next: tokio::sync::Mutex::default(),
        };
        Self { all: chats.into_iter().map(slot).collect(), messages: Mutex::default(), pace }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The chat of this place, as it is called by now.
    pub(super) fn get(&self, index: usize) -> Chat {
        lock(&self.all[index].now).chat.clone()
    }

    /// The place of a chat that an update names.
    pub(super) fn find(&self, id: i64, username: Option<&str>) -> Option<usize> {
        (0..self.len()).find(|index| match self.get(*index) {
            Chat::Id(known) => known == id,
            Chat::Name(name) => username.is_some_and(|u| name[1..].eq_ignore_ascii_case(u)),
        })
    }

    /// A group has a new id.
    pub(super) fn rename(&self, index: usize, id: i64) {
        lock(&self.all[index].now).chat = Chat::Id(id);
    }

    /// Why a chat takes no messages any more, if so.
    pub(super) fn resting(&self, index: usize) -> Option<String> {
        lock(&self.all[index].now).resting.clone()
    }

    /// Lets a chat rest until the configuration is loaded again.
    pub(super) fn rest(&self, index: usize, why: String) {
        lock(&self.all[index].now).resting = Some(why);
    }

    /// Waits until a message may go to the chat.
    pub(in crate::notify) async fn turn(&self, index: usize) {
        let mut next = self.all[index].next.lock().await;
        if let Some(at) = *next {
            sleep_until(at).await;
        }
        *next = Some(Instant::now() + self.pace);
    }

    /// What became of a message in a chat, as far as it is settled.
    pub(super) fn settled(&self, key: &str, index: usize) -> Option<Settled> {
        let messages = lock(&self.messages);
        messages.iter().find(|(known, _)| known == key)?.1[index].clone()
    }

    /// Remembers what became of a message in a chat; one that took it does not rest.
    pub(super) fn settle(&self, key: &str, index: usize, how: Settled) {
        lock(&self.all[index].now).resting.take_if(|_| matches!(how, Settled::Taken(_)));
        let mut messages = lock(&self.messages);
        if let Some((_, all)) = messages.iter_mut().find(|(known, _)| known == key) {
            all[index] = Some(how);
            return;
        }
        if messages.len() == MESSAGES {
            messages.pop_front();
        }
        let mut all = vec![None; self.len()];
        all[index] = Some(how);
        messages.push_back((key.to_owned(), all));
    }
}
