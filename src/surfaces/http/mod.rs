//! HTTP: health, metrics, API and page, over TCP and the unix socket that the command-line tool
//! uses. Who may see and do what is decided in [`gate`]; connections and their limits are in
//! [`serve`]; nothing here talks to systemd or waits for the driver, save for the answer to a
//! command.

mod accept;
mod acts;
mod answer;
mod api;
pub mod bind;
mod bodies;
mod cache;
mod gate;
mod logs;
mod open;
mod serve;
mod stall;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::{Actor, Command, Snapshot};

pub use bind::{BindError, Listener};
pub use bodies::{
    AcknowledgeBody, HoldBody, LONGEST, LONGEST_WHY, ReleaseBody, SilenceBody, TestBody,
};
pub use logs::{LogRefusal, LogRequest};
pub use serve::{Limits, serve};

/// An act of a person on its way to the driver, and where the answer goes.
#[derive(Debug)]
pub struct CommandRequest {
    /// The act.
    pub command: Command,
    /// What became of it, in words for the person.
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// A person wants to see whether a channel works, and how it went is to be told.
#[derive(Debug)]
pub struct TestRequest {
    /// The channel; `None` is each.
    pub channel: Option<Arc<str>>,
    /// Who.
    pub actor: Actor,
    /// Of each channel that was tried what the service said, or why it failed. Within 65 s.
    pub reply: oneshot::Sender<Tried>,
}

/// By channel what the service said to a test, or why it failed.
pub type Tried = Vec<(Arc<str>, Result<String, String>)>;

/// What is said of keepwell itself.
#[derive(Debug, Clone)]
pub struct AgentInfo {
    /// keepwell's version.
    pub version: &'static str,
    /// Where it can be reached, for the examples on the page: `http://127.0.0.1:8080`.
    pub url: String,
}

/// A secret that opens the API. Never shown.
#[derive(Clone)]
pub struct Token(Box<str>);

impl Token {
    /// `None` for an empty one, which would open the API to everybody.
    pub fn new(secret: impl Into<Box<str>>) -> Option<Self> {
        let secret = secret.into();
        (!secret.trim().is_empty()).then_some(Self(secret))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a reload of the configuration may change.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Opens the API over TCP; without one only the open paths are served there.
    pub token: Option<Token>,
    /// Names that the `Host` header may have besides `localhost` and IP addresses: the host's own
    /// name and those from the configuration, without port. `*` allows every name.
    pub hosts: Vec<String>,
}

/// What all connections of all listeners share.
pub struct Shared {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    commands: mpsc::Sender<CommandRequest>,
    /// Without one, no test can be sent.
    tests: Option<mpsc::Sender<TestRequest>>,
    /// Without one, no log of a container can be read.
    logs: Option<mpsc::Sender<LogRequest>>,
    agent: AgentInfo,
    access: RwLock<Arc<Access>>,
    cache: cache::Cache,
    /// The user that keepwell runs as; it may do all over the unix socket, as root may.
    uid: u32,
}

impl Shared {
    /// Takes its pictures from `snapshot` and sends what people do to `commands`.
    pub fn new(
        snapshot: watch::Receiver<Arc<Snapshot>>,
        commands: mpsc::Sender<CommandRequest>,
        agent: AgentInfo,
        access: Access,
    ) -> Self {
        Self {
            snapshot,
            commands,
            tests: None,
            logs: None,
            agent,
            access: RwLock::new(Arc::new(access)),
            cache: cache::Cache::default(),
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// Sends requests to test channels there.
    pub fn with_tests(mut self, tests: mpsc::Sender<TestRequest>) -> Self {
        self.tests = Some(tests);
        self
    }

    /// Asks there for the logs of containers.
    pub fn with_logs(mut self, logs: mpsc::Sender<LogRequest>) -> Self {
        self.logs = Some(logs);
        self
    }

    /// The present picture.
    fn now(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Puts a new token and new host names in force, for requests from now on.
    pub fn set_access(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }

    fn access(&self) -> Arc<Access> {
        self.access.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// Anybody who reaches the port; also loopback is not trust.
    Tcp,
    /// A user of this host, as the kernel says (SO_PEERCRED).
    Unix { uid: u32 },
}
