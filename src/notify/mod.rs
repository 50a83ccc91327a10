//! Telling people: what a channel is, what it gets, and what its errors mean.
//!
//! Rendering is in `message` (pure), queueing and retry in `lane`, one file for each kind of
//! channel. A new kind is one new file here and one word in [`KINDS`]. Not here: who is told and
//! when (`engine`), and keeping messages over a restart (`store`).

mod chat;
mod collector;
mod discord;
mod email;
mod fields;
mod header;
pub mod hooks;
mod lane;
mod registry;
mod retry;
mod sample;
mod shorten;
mod slack;
pub mod story;
mod teams;
mod telegram;
mod template;
#[cfg(test)]
mod tests;
mod voice;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{ChannelSection, Key, Sink};
use crate::engine::alert::Notification;
use crate::engine::event::Command;
use crate::engine::time::Now;
use crate::telemetry::Receivers;

use crate::outbound::{self as http, Clients, file};
pub use crate::outbound::{BoxFuture, Retry, SendError, host_key};
pub use lane::{Context, Lane, LaneJob, send_once};
pub(crate) use registry::channels;
pub use webhook::{Webhook, WebhookSettings};

/// Messages that are older than this when they go out are marked as delayed.
pub const DELAYED: Duration = Duration::from_secs(10 * 60);

/// A kind of channel that a configuration can name.
#[derive(Clone, Copy)]
pub struct Kind {
    /// As in `type = "webhook"`.
    pub name: &'static str,
    /// One line for documentation and hints.
    pub doc: &'static str,
    /// The keys of its own, besides those that every channel has.
    pub keys: &'static [Key],
    /// Reads them; what is wrong goes into the sink. `None` also when a secret cannot be had by
    /// the user that runs `config check`.
    read: fn(&mut Reading<'_>) -> Option<Arc<dyn Channel>>,
}

/// A `[[channel]]` section and what a kind needs to read its keys.
struct Reading<'a> {
    section: &'a ChannelSection,
    /// Of log records.
    receivers: &'a Receivers,
    clients: &'a mut Clients,
    sink: &'a mut Sink,
}

/// Every kind there is.
pub const KINDS: &[Kind] = &[
    slack::KIND,
    teams::KIND,
    discord::KIND,
    telegram::KIND,
    email::KIND,
    webhook::KIND,
    collector::OTLP,
    collector::AZURE,
];

/// A way to tell people.
pub trait Channel: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &Arc<str>;

    /// Tries once. Retry, order and time limits of the whole are the lane's affair. What the
    /// service answered is returned in one line, for the person who sends a test.
    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>>;

    /// Listens to what people answer (buttons), for as long as it is polled; `None` for a channel
    /// that only speaks.
    fn listen(self: Arc<Self>, acts: Acts) -> Option<BoxFuture<'static, ()>> {
        drop(acts);
        None
    }
}

/// Hands an act of a person to the driver and waits for its answer, in words for that person.
pub type Acts = Arc<dyn Fn(Command) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// One message as a channel gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// What to tell.
    pub notification: Arc<Notification>,
    /// The idempotency key: the same over retries and restarts, different for each message of
    /// all hosts.
    pub key: String,
    /// How late it is, if late enough to say so.
    pub delayed: Option<Duration>,
    /// When this try was made.
    pub now: Now,
}
