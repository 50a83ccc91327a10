//! Containers, as the Docker Engine API tells of them (which Podman speaks too).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Invocation;
use crate::engine::time::Wall;
use crate::engine::words::named;

/// One container as it is now (`GET /containers/{id}/json`). Times are of the engine's clock.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ContainerSeen {
    /// As checks call it: `web`; of further endpoints with their name before it: `podman/web`.
    pub name: Arc<str>,
    /// The endpoint that has it, such as `docker`.
    pub engine: Arc<str>,
    /// How a shell reaches that engine: `docker`, `podman --url unix:///…`; empty: not known.
    #[serde(skip)]
    pub command: Arc<str>,
    /// Its id, 64 hexadecimal digits.
    pub id: Arc<str>,
    /// Its image as it was asked for, such as `nginx:alpine`.
    pub image: Arc<str>,
    /// `State.Status`.
    pub status: ContainerStatus,
    /// Its health check; `None`: it has none.
    pub health: Option<HealthSeen>,
    /// When it was made.
    pub created: Wall,
    /// When its present or last run began; `None`: never started.
    pub started: Option<Wall>,
    /// When its last run ended; `None`: none has.
    pub finished: Option<Wall>,
    /// Of the last run.
    pub exit_code: i32,
    /// The kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// `State.Error`: why it could not be started, secrets removed; empty when it could.
    pub error: Arc<str>,
    /// `RestartCount`: restarts by its policy since it was made or last started by hand.
    pub restart_count: u32,
    /// What the engine does when it ends.
    pub policy: Policy,
    /// The signal that `docker stop` sends it, such as 15.
    pub stop_signal: i32,
    /// Its engine may tell nobody that a person stops it (Podman).
    pub silent_stops: bool,
    /// The id of the container whose network it shares (`NetworkMode` is `container:ID`).
    pub network_of: Option<Arc<str>>,
    /// Its main process, as the host numbers it; 0 when it does not run.
    pub pid: u32,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Where others reach it: the host's port of its lowest published one, else its lowest
    /// exposed one.
    pub port: Option<u16>,
    /// Processors that it may use; `None`: no limit.
    pub cpu_limit: Option<f64>,
    /// Memory that it may use, in bytes; `None`: no limit.
    pub memory_limit: Option<u64>,
}

impl ContainerSeen {
    /// The Compose project that it belongs to.
    pub fn project(&self) -> Option<&str> {
        self.labels.get("com.docker.compose.project").map(String::as_str)
    }

    /// The Compose service that it belongs to.
    pub fn service(&self) -> Option<&str> {
        self.labels.get("com.docker.compose.service").map(String::as_str)
    }

    /// The command by which a person does this to it: `docker restart web`.
    pub fn by_hand(&self, what: &str) -> String {
        let program = if self.command.is_empty() { "docker" } else { &*self.command };
        format!("{program} {what} {}", own_name(&self.name, &self.engine)).trim_end().to_owned()
    }

    /// Identity of its present or last run, made of its id and when the run began.
    pub fn run(&self) -> Option<Invocation> {
        let started = self.started?;
        let mut run = [0; 16];
        for (byte, digits) in run.iter_mut().zip(self.id.as_bytes().chunks_exact(2)).take(8) {
            let digits = std::str::from_utf8(digits).ok();
            *byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok()).unwrap_or_default();
        }
        run[8..].copy_from_slice(&started.0.to_be_bytes());
        Invocation::from_bytes(&run)
    }
}

/// What its engine calls a container that checks know by this name.
pub fn own_name<'a>(name: &'a str, engine: &str) -> &'a str {
    name.strip_prefix(engine).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name)
}

named! {
    /// `State.Status` of a container.
    #[derive(Default)]
    pub enum ContainerStatus {
        Created = "created": "made and not started",
        Running = "running": "running",
        Paused = "paused": "paused",
        Restarting = "restarting": "ended, and its restart policy is about to start it",
        Stopping = "stopping": "being stopped",
        Removing = "removing": "being removed",
        Exited = "exited": "ended",
        Dead = "dead": "could not be removed",
        #[default]
        Other = "other": "a state that keepwell does not know",
    }
}

impl ContainerStatus {
    /// From the API's word; Podman has some of its own.
    pub fn from_api(word: &str) -> Self {
        match word {
            "configured" | "initialized" => Self::Created,
            "stopped" => Self::Exited,
            word => Self::ALL.iter().copied().find(|s| s.as_str() == word).unwrap_or(Self::Other),
        }
    }

    /// Whether it has a run that goes on.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Stopping)
    }
}

/// What a health check says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthSeen {
    /// Its word.
    pub status: Health,
    /// Checks that failed in a row.
    pub failing: u32,
    /// What the last check printed, secrets removed, at most 500 characters.
    pub output: Arc<str>,
}

named! {
    /// `State.Health.Status`.
    pub enum Health {
        Starting = "starting": "its health check has not passed yet",
        Healthy = "healthy": "its health check passes",
        Unhealthy = "unhealthy": "its health check fails",
    }
}

/// `HostConfig.RestartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// It stays down.
    #[default]
    No,
    /// It is restarted when it ended with an error, at most so often; 0: always.
    OnFailure(u32),
    /// It is restarted whatever the end, also when the engine comes up.
    Always,
    /// The same, but not when somebody had stopped it.
    UnlessStopped,
}

/// Something happened to a container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerEvent {
    /// The name that checks know it by at that time.
    pub name: Arc<str>,
    /// The endpoint.
    pub engine: Arc<str>,
    /// Its id.
    pub id: Arc<str>,
    /// Its image.
    pub image: Arc<str>,
    /// When, by the engine's clock.
    pub at: Wall,
    /// What.
    pub what: ContainerWhat,
    /// Its labels; empty also where its engine does not send them with this event.
    pub labels: BTreeMap<String, String>,
    /// It was asked for again after a break: keepwell may have been told before.
    pub replayed: bool,
}

/// Kinds of [`ContainerEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerWhat {
    /// It was made.
    Created,
    /// It runs.
    Started,
    /// A signal was sent to it through the API (`docker kill`, and how `docker stop` begins).
    Killed {
        /// Which.
        signal: i32,
    },
    /// The kernel killed a process of it for want of memory.
    OutOfMemory,
    /// Its main process ended.
    Died {
        /// With this exit code.
        exit_code: i32,
    },
    /// Somebody stopped it through the API; comes after `Died`.
    Stopped,
    /// Somebody restarted it through the API; comes after `Started`.
    Restarted,
    /// Its health check says something else than before.
    Health(Health),
    /// It is paused.
    Paused,
    /// It goes on.
    Unpaused,
    /// It has a new name, that of the event.
    Renamed,
    /// It is gone.
    Removed,
}

/// What a container engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainersSeen {
    /// The endpoint.
    pub engine: Arc<str>,
    /// Ids of all containers that there are: what was heard of since the list was asked for counts.
    pub ids: Vec<Arc<str>>,
    /// What the host of the engine has: processors, and memory in bytes.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory: u64,
}

/// A time in which an engine took no requests: what ended then was not ended by a person through
/// it. Never told of an engine beside which containers can be stopped (Podman).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineAway {
    /// The endpoint.
    pub engine: Arc<str>,
    /// Since when, by the engine's clock.
    pub from: Wall,
    /// Until when.
    pub to: Wall,
}

/// What one container uses. `None` is "not known".
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct UsageSeen {
    /// The endpoint.
    pub engine: Arc<str>,
    /// The container.
    pub id: Arc<str>,
    /// Processors in use on average since the last sampling (1.5 is one and a half).
    pub cpus: Option<f64>,
    /// Processor time since its start, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Memory in use without what the kernel would give back at once (inactive file pages), bytes.
    pub memory: Option<u64>,
    /// Bytes received since its start, of all interfaces of its network but loopback.
    pub received: Option<u64>,
    /// Bytes sent.
    pub sent: Option<u64>,
    /// Bytes read from block devices.
    pub read: Option<u64>,
    /// Bytes written.
    pub written: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// For want of memory the kernel kills all its processes at once (`memory.oom.group`).
    #[serde(skip)]
    pub dies_whole: bool,
}

/// The last lines of a container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerLog {
    /// The container, as checks call it.
    pub name: Arc<str>,
    /// The lines, secrets removed, oldest first. Empty when they could not be read.
    pub lines: Vec<String>,
}
