//! The life of containers, as services outside are told of it: a discovery service, billing, any
//! other by HTTP. What is told is decided by the engine and stored with it; `notify::hooks` makes
//! requests of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::time::Wall;
use super::words::named;

named! {
    /// A transition in the life of a container.
    pub enum Transition {
        Created = "created": "it was made",
        Started = "started": "it runs",
        Healthy = "healthy": "its health check passes, after it did not",
        Unhealthy = "unhealthy": "its health check fails",
        Paused = "paused": "it was paused",
        Unpaused = "unpaused": "it goes on after a pause",
        Restarting = "restarting": "it ended, and its restart policy is about to start it",
        Stopped = "stopped": "it ended because somebody wanted it to, or without an error",
        Died = "died": "it ended with an error, or was killed for want of memory",
        Removed = "removed": "it is gone",
    }
}

/// Something to be told to one hook. It never changes once it is made: a repeat is the same call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookCall {
    /// Unique on this host, and made of what is told: hook, container, transition and time. With the
    /// host's identity before it, it is the idempotency key.
    pub id: Arc<str>,
    /// It rises: calls of one container go out in this order.
    pub number: u64,
    /// Which hook.
    pub hook: Arc<str>,
    /// What happened.
    pub transition: Transition,
    /// When, by the container engine's clock.
    pub at: Wall,
    /// The host's name.
    pub host: Arc<str>,
    /// The container, as it was then.
    pub container: HookContainer,
}

/// What a hook is told of a container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HookContainer {
    /// Its id, 64 hexadecimal digits.
    pub id: Arc<str>,
    /// As checks call it.
    pub name: Arc<str>,
    /// The endpoint that has it.
    pub engine: Arc<str>,
    /// Its image as it was asked for, such as `nginx:alpine`.
    pub image: Arc<str>,
    /// Where others reach it, if anywhere; see [`super::observation::ContainerSeen::port`].
    pub port: Option<u16>,
    /// Processors that it may use: its limit, else all of its engine's host.
    pub cpus: f64,
    /// Memory that it may use, in bytes: its limit, else all of its engine's host.
    pub memory: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How it ended, of what has ended.
    pub exit_code: Option<i32>,
}
