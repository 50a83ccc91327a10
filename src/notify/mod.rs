//! Telling people: what a channel is, what it gets, and what its errors mean.
//!
//! Rendering is in `message` (pure), queueing and retry in `lane`, one file for each kind of
//! channel. A new kind is one new file here and one word in [`KINDS`]. Not here: who is told and
//! when (`engine`), and keeping messages over a restart (`store`).

mod http;
mod lane;
pub mod message;
mod queue;
mod registry;
mod retry;
#[cfg(test)]
mod tests;
mod webhook;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::engine::alert::Notification;
use crate::engine::time::{Now, Wall};

pub use http::http_client;
pub use lane::{Context, Lane, Queued};
pub use registry::channels;
pub use webhook::{Webhook, WebhookSettings};

/// Messages that are older than this when they go out are marked as delayed.
pub const DELAYED: Duration = Duration::from_secs(10 * 60);

/// A kind of channel that a configuration can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// As in `type = "webhook"`.
    pub name: &'static str,
    /// One line for documentation and hints.
    pub doc: &'static str,
}

/// Every kind there is.
pub const KINDS: &[Kind] = &[webhook::KIND];

/// A boxed future, sendable so that it runs on any executor.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to tell people.
pub trait Channel: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &Arc<str>;

    /// Tries once. Retry, order and time limits of the whole are the lane's affair.
    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<(), SendError>>;
}

/// One message as a channel gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// What to tell.
    pub notification: Arc<Notification>,
    /// The idempotency key: the same over retries and restarts, different for each message of
    /// all hosts.
    pub key: String,
    /// The receiver has not been told of the beginning: this message tells it too.
    pub opening: bool,
    /// How late it is, if late enough to say so.
    pub delayed: Option<Duration>,
    /// When this try was made.
    pub now: Now,
}

/// A delivery failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SendError {
    /// Whether and when to try again.
    pub retry: Retry,
    /// What, where (without secrets), why, and what to do.
    pub text: String,
}

/// What a failed delivery says about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// This message will never be taken.
    Never,
    /// The receiver wants no message any more: the channel rests until the configuration is
    /// loaded again.
    Gone,
    /// Later; the receiver may have said how much later.
    Later(Option<Duration>),
}

/// How a channel does, for surfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelStats {
    /// Messages delivered since keepwell started.
    pub sent: u64,
    /// Deliveries that failed, each try counted.
    pub failed: u64,
    /// Messages given up since keepwell started.
    pub given_up: u64,
    /// Messages that wait, the one under way included.
    pub queued: usize,
    /// When a message was last delivered.
    pub last_success: Option<Wall>,
    /// Why the last try failed; `None` once one worked.
    pub last_error: Option<Arc<str>>,
    /// The receiver has refused all further messages.
    pub gone: bool,
}

/// The host's part of idempotency keys: derived from the machine id, from which it cannot be told
/// (machine-id(5) asks that the id itself is not shown to others).
pub fn host_key(machine_id: &str) -> Arc<str> {
    let mut mac = Hmac::<Sha256>::new_from_slice(machine_id.trim().as_bytes())
        // Invariant: HMAC takes keys of any length.
        .expect("HMAC takes keys of any length");
    mac.update(b"keepwell idempotency key 1");
    let digest = mac.finalize().into_bytes();
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect::<String>().into()
}
