//! How to speak with a container engine: the Docker Engine API over a unix socket or TCP, as Docker
//! and Podman have it. Answers are read tolerantly: only the fields that are used, and a word that
//! is not known makes one container's state unknown, not the list of all unreadable.

mod client;
mod engines;
mod error;
mod event;
mod lines;
mod log;
mod model;
mod stats;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use client::{Client, Events, Info, Limits, Peer};
pub use engines::Engines;
pub use error::DockerError;
pub use event::Heard;
pub use log::LogLine;
pub use model::Inspected;
pub use stats::Stats;

/// A container engine that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, such as `docker`: in `agent:engine-docker`, labels and messages.
    pub name: Arc<str>,
    /// What stands before the names of its containers: empty for the first endpoint, `podman/` and
    /// the like for further ones.
    pub prefix: Arc<str>,
    /// Where it is.
    pub address: Address,
}

impl Endpoint {
    /// A container of it, as checks call it.
    pub fn named(&self, container: &str) -> Arc<str> {
        format!("{}{container}", self.prefix).into()
    }
}

/// Where a container engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, plain HTTP: for a proxy on this host or in this network.
    Tcp(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(to) => write!(f, "tcp://{to}"),
        }
    }
}
