//! Telling services of the life of containers: a discovery service, billing, any other by HTTP.
//!
//! What is told is decided by the engine and kept by the store; `lane` sees to order, retry and a
//! receiver that is away, a kind makes a request of a call. A new kind is one new file and one word
//! in [`KINDS`].

mod billing;
mod custom;
mod discovery;
mod lane;
mod receiver;
#[cfg(test)]
mod tests;
mod tries;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{BoxFuture, SendError};
use crate::config::{HookSection, Key, Sink};
use crate::engine::hook::{HookCall, Transition};
use crate::engine::time::Now;
use crate::outbound::Clients;

pub use lane::HookLane;
pub use tries::too_many;

/// A kind of hook that a configuration can name.
#[derive(Clone, Copy)]
pub struct Kind {
    /// As in `type = "discovery"`.
    pub name: &'static str,
    /// One line for documentation and hints.
    pub doc: &'static str,
    /// The keys of its own, besides those that every hook has.
    pub keys: &'static [Key],
    /// What it can tell; what it tells where nothing is said.
    pub events: &'static [Transition],
    /// Reads them; what is wrong goes into the sink. `None` also when a secret cannot be had by
    /// the user that runs `config check`.
    read: fn(&HookSection, &mut Clients, &mut Sink) -> Option<Arc<dyn Hook>>,
}

/// Every kind there is.
pub const KINDS: &[Kind] = &[discovery::KIND, billing::KIND, custom::KIND];

/// A service that is told.
pub trait Hook: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &Arc<str>;

    /// Where it tells, as the configuration says it; there may be secrets in it.
    fn address(&self) -> &str;

    /// Tries once. Retry and order are the lane's affair. That the receiver knows already counts as
    /// success.
    fn tell<'a>(&'a self, call: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>>;
}

/// One call as a hook gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// What to tell.
    pub call: Arc<HookCall>,
    /// The idempotency key: the same over retries and restarts, different for each call of all
    /// hosts.
    pub key: String,
    /// When this try was made.
    pub now: Now,
}

/// Makes the hooks of a configuration, and fills in of what each is told where nothing is said;
/// what is wrong with a section goes into the sink.
pub(crate) fn hooks(
    sections: &mut [HookSection],
    clients: &mut Clients,
    sink: &mut Sink,
) -> Vec<Arc<dyn Hook>> {
    sections.iter_mut().filter_map(|section| hook(section, clients, sink)).collect()
}

fn hook(
    section: &mut HookSection,
    clients: &mut Clients,
    sink: &mut Sink,
) -> Option<Arc<dyn Hook>> {
    let Some(kind) = KINDS.iter().find(|kind| section.kind == kind.name) else {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        section.unknown_kind(&known, sink);
        return None;
    };
    let events = &mut section.rule.events;
    if events.is_empty() {
        events.extend(kind.events);
    }
    if let Some(event) = events.iter().find(|event| !kind.events.contains(event)) {
        let known: Vec<&str> = kind.events.iter().map(|event| event.as_str()).collect();
        let message = format!("a hook of the type {} cannot tell that {event}", kind.name);
        let at = section.events_at.unwrap_or(section.section.place());
        sink.error(at, message).hint(format!("it tells: {}", known.join(", ")));
    }
    let hook = (kind.read)(section, clients, sink)?;
    section.rule.receiver = fingerprint(hook.address());
    Some(hook)
}

/// Stands for a receiver and shows nothing of its address.
fn fingerprint(address: &str) -> Arc<str> {
    let digest = Sha256::digest(address.as_bytes());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}
