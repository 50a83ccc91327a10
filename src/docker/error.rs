//! What can go wrong between keepwell and a container engine, in words that say what to do about it.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::engine::Human;

use super::Address;

/// A fault of a container engine, of the way to it, or of one call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DockerError {
    /// There is no socket.
    #[error(
        "there is no container engine at {at}: no such socket; start the engine (systemctl start \
         docker, or systemctl start podman.socket), or set containers.engines to where it is"
    )]
    NoSocket {
        /// Where.
        at: String,
    },
    /// keepwell may not open the socket.
    #[error(
        "keepwell may not open {at}: permission denied; give it a way: rootless Podman's socket, the \
         service keepwell-docker-proxy with containers.engines set to \
         unix:///run/keepwell-docker/docker.sock, or the drop-in /usr/share/keepwell/docker.conf, \
         which adds the group docker and is as good as root"
    )]
    Permission {
        /// Where.
        at: String,
    },
    /// Nobody listens.
    #[error(
        "no container engine answers at {at}: connection refused; start the engine (systemctl \
         start docker, or systemctl start podman.socket)"
    )]
    Refused {
        /// Where.
        at: String,
    },
    /// The way there is broken in another manner.
    #[error("cannot reach the container engine at {at}: {why}; check that address and the engine")]
    Unreachable {
        /// Where.
        at: String,
        /// What the system said.
        why: String,
    },
    /// It takes the question and does not answer.
    #[error(
        "the container engine at {at} did not answer {what} within {}; it hangs or is overloaded: \
         see its log, restart it if that lasts",
        Human(*limit)
    )]
    Hangs {
        /// Where.
        at: String,
        /// What was asked.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The connection ended before the answer did.
    #[error("the container engine at {at} broke off while it answered {what}: {why}")]
    Broken {
        /// Where.
        at: String,
        /// What was asked.
        what: &'static str,
        /// What ended it.
        why: String,
    },
    /// A proxy, or the engine itself, refuses this question (403).
    #[error(
        "{at} refuses {what} (403{message}): a proxy in front of the engine does not allow it; \
         allow {allow} there"
    )]
    Forbidden {
        /// Where.
        at: String,
        /// What was asked.
        what: &'static str,
        /// The answer's words, with a comma before them.
        message: String,
        /// The path that is to be allowed.
        allow: &'static str,
    },
    /// It is watched by another address already.
    #[error(
        "{at} leads to the container engine '{name}', which is watched at {other} already; it is \
         left out: name each engine once (containers.engines, DOCKER_HOST)"
    )]
    Twin {
        /// Where.
        at: String,
        /// The other address.
        other: String,
        /// The engine's name.
        name: String,
    },
    /// No such container (404).
    #[error("the container engine at {at} has no such container")]
    NotFound {
        /// Where.
        at: String,
    },
    /// The container is in the way of that itself, such as by being removed (409).
    #[error("the container engine at {at} turned down {what} (409): {message}")]
    Conflict {
        /// Where.
        at: String,
        /// What was asked.
        what: &'static str,
        /// Its words.
        message: String,
    },
    /// It answered with another error.
    #[error("the container engine at {at} answered {what} with {status}: {message}")]
    Failed {
        /// Where.
        at: String,
        /// What was asked.
        what: &'static str,
        /// The status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The answer is not what an engine answers.
    #[error("what {at} answered to {what} cannot be read ({why}); is that a container engine?")]
    Unreadable {
        /// Where.
        at: String,
        /// What was asked.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl DockerError {
    /// From a failed attempt to connect.
    pub(super) fn connecting(at: &Address, error: &io::Error) -> Self {
        let at = at.to_string();
        match error.kind() {
            ErrorKind::NotFound => Self::NoSocket { at },
            ErrorKind::PermissionDenied => Self::Permission { at },
            ErrorKind::ConnectionRefused => Self::Refused { at },
            _ => Self::Unreachable { at, why: error.to_string() },
        }
    }

    /// From an answer that says no; `message` is the engine's own.
    pub(super) fn of_status(at: &Address, call: Call, status: u16, message: &str) -> Self {
        let (at, message) = (at.to_string(), plain(message));
        let what = call.what;
        match status {
            401 | 403 => {
                // A proxy's page says no more than its status does.
                let silent = message.is_empty() || message.starts_with('<');
                let message = if silent { String::new() } else { format!(", {message}") };
                Self::Forbidden { at, what, message, allow: call.allow }
            }
            404 => Self::NotFound { at },
            409 => Self::Conflict { at, what, message },
            _ => Self::Failed { at, what, status, message },
        }
    }

    /// Its container's log is kept nowhere, or where the engine cannot read it. Docker says so with
    /// 501, Podman in words.
    pub fn keeps_no_log(&self) -> bool {
        match self {
            Self::Failed { status: 501, .. } => true,
            Self::Failed { message, .. } => {
                message.contains("log driver") || message.contains("logging driver")
            }
            _ => false,
        }
    }

    /// Whether the engine is away, as opposed to one answer being no.
    pub fn away(&self) -> bool {
        matches!(
            self,
            Self::NoSocket { .. }
                | Self::Permission { .. }
                | Self::Refused { .. }
                | Self::Unreachable { .. }
                | Self::Hangs { .. }
                | Self::Broken { .. }
        )
    }
}

/// What is asked, for errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// In words.
    pub(super) what: &'static str,
    /// What a proxy has to allow for it.
    pub(super) allow: &'static str,
}

/// An engine's words on one line, without control characters, at most 300 characters.
fn plain(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().take(300).collect()
}
