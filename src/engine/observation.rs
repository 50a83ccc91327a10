//! What sources see: plain facts, nothing decided. One type per kind of thing.

mod containers;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Wall;
use super::view::Value;
use super::words::Reason;

pub use containers::{
    ContainerEvent, ContainerLog, ContainerSeen, ContainerStatus, ContainerWhat, ContainersSeen,
    EngineAway, Health, HealthSeen, Policy, UsageSeen, own_name,
};

/// One fact from a source.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// The present state of one unit. Sent on each change and for what a resync found changed.
    Unit(Box<UnitSeen>),
    /// What the journal says happened to a unit while nobody listened, oldest first. It always
    /// comes before the resync that shows the present.
    Life(Life),
    /// The gap has been read: all up to this journal cursor has been sent as [`Observation::Life`].
    CaughtUp(String),
    /// systemd itself: reloading, shutting down, still starting.
    Manager(ManagerSeen),
    /// A source has completed a round (a resync, a sampling): everything it watches was seen.
    Round(Round),
    /// Memory, processor, load, pressure, kernel counters: one sampling.
    Host(HostSeen),
    /// All file systems of one sampling: one that is missing here is gone.
    Disks(Vec<DiskSeen>),
    /// All heartbeat files of one sampling.
    Heartbeats(Vec<HeartbeatSeen>),
    /// What one probe found.
    Probe(ProbeSeen),
    /// The container engines that are watched from now on, by the names of their endpoints, whether
    /// they answer or not. Comes before anything else of them, and before their first round.
    Engines(Vec<Arc<str>>),
    /// Nobody could reach an engine for a while. Comes before what happened meanwhile.
    EngineAway(EngineAway),
    /// Something happened to a container, as the engine's event stream tells it; of each container
    /// in order, and before the [`Observation::Container`] that shows what came of it.
    ContainerEvent(ContainerEvent),
    /// The present state of one container. Sent after each of its events and by each re-list.
    Container(Box<ContainerSeen>),
    /// All containers that a container engine has, of which each was sent before: one that is
    /// missing here is gone.
    Containers(ContainersSeen),
    /// What running containers use: one sampling.
    ContainerUsage(Vec<UsageSeen>),
    /// The last lines of a container's log, which [`super::Effect::FetchContainerLog`] asked for.
    ContainerLog(ContainerLog),
    /// Errors that a watched unit logged; the source limits their rate.
    Errors(ErrorsSeen),
    /// The last journal lines of an invocation, which [`super::Effect::FetchLog`] asked for.
    Excerpt(Excerpt),
    /// Whether a package manager is at work: the answer to [`super::Effect::LookAtPackages`].
    Packages(PackagesSeen),
    /// How one of keepwell's own parts is. Sent on change.
    Part(PartSeen),
}

/// Whether a package manager is at work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackagesSeen {
    /// Which one, such as `dpkg`; `None`: none.
    pub busy: Option<Arc<str>>,
}

/// Who observes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Units over D-Bus.
    Units,
    /// Memory, processor, disks.
    Host,
    /// Heartbeat files.
    Heartbeats,
    /// What the configuration says to ask.
    Probes,
    /// Containers of Docker and Podman.
    Containers,
    /// Errors in the journal.
    Journal,
}

/// A completed round of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Which source.
    pub source: SourceKind,
    /// For [`SourceKind::Units`]: how many units systemd has loaded, where known.
    pub total: Option<u32>,
}

/// The 128-bit identity of one run of a unit; it changes on every start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Invocation(pub [u8; 16]);

impl Invocation {
    /// From the bytes of the `InvocationID` property; `None` unless there are 16 and not all zero.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id: [u8; 16] = bytes.try_into().ok()?;
        (id != [0; 16]).then_some(Self(id))
    }
}

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Invocation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 32 || !text.is_ascii() {
            return Err(());
        }
        let mut id = [0; 16];
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| ())?;
        }
        Self::from_bytes(&id).ok_or(())
    }
}

impl Serialize for Invocation {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Invocation {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(|()| serde::de::Error::custom("an invocation id is 32 hexadecimal digits"))
    }
}

/// systemd's `LoadState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadState {
    /// Loaded (also `merged` and `stub`).
    #[default]
    Loaded,
    /// No such unit file.
    NotFound,
    /// Masked.
    Masked,
    /// The unit file has a setting that systemd refuses.
    BadSetting,
    /// The unit file could not be loaded.
    Error,
}

impl LoadState {
    /// From systemd's word; what is not known counts as loaded.
    pub fn from_systemd(word: &str) -> Self {
        match word {
            "not-found" => Self::NotFound,
            "masked" => Self::Masked,
            "bad-setting" => Self::BadSetting,
            "error" => Self::Error,
            _ => Self::Loaded,
        }
    }

    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::NotFound => "not-found",
            Self::Masked => "masked",
            Self::BadSetting => "bad-setting",
            Self::Error => "error",
        }
    }
}

/// systemd's `ActiveState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActiveState {
    /// Running, or done and remaining.
    Active,
    /// Active and reloading (`reloading`, `refreshing`).
    Reloading,
    /// Not running.
    #[default]
    Inactive,
    /// Ended badly.
    Failed,
    /// On its way up, also while `auto-restart` waits.
    Activating,
    /// On its way down.
    Deactivating,
    /// Under maintenance.
    Maintenance,
}

impl ActiveState {
    /// From systemd's word; what is not known counts as inactive.
    pub fn from_systemd(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "reloading" | "refreshing" => Self::Reloading,
            "failed" => Self::Failed,
            "activating" => Self::Activating,
            "deactivating" => Self::Deactivating,
            "maintenance" => Self::Maintenance,
            _ => Self::Inactive,
        }
    }

    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Reloading => "reloading",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
            Self::Maintenance => "maintenance",
        }
    }
}

/// One unit as it is now: the merge of its Unit and Service interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct UnitSeen {
    /// Full name, such as `nginx.service`.
    pub name: Arc<str>,
    /// `LoadState`.
    pub load: LoadState,
    /// `ActiveState`.
    pub active: ActiveState,
    /// `SubState`, such as `running` or `auto-restart`.
    pub sub: Arc<str>,
    /// Whether a job is queued or running for it (`Job` is not 0).
    pub job: bool,
    /// `InvocationID` of the present or last run.
    pub invocation: Option<Invocation>,
    /// `StateChangeTimestamp`: when it entered its present state.
    pub since: Option<Wall>,
    /// `ActiveEnterTimestamp`: when it last became active, where that has been read.
    pub active_since: Option<Wall>,
    /// Its last start was skipped because of a `Condition=` (`ConditionResult` is false while
    /// `ConditionTimestamp` is set).
    pub condition_failed: bool,
    /// The Service interface, for services.
    pub service: Option<ServiceSeen>,
    /// What changes with the unit file only; read when the unit is not plainly active.
    pub details: Option<Details>,
}

/// What the Service interface says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ServiceSeen {
    /// `Result`: `success`, `exit-code`, `signal`, `core-dump`, `watchdog`, `timeout`,
    /// `oom-kill`, `start-limit-hit`, `protocol`, `resources`...
    pub result: Arc<str>,
    /// `ExecMainCode`: how the main process ended, as in `si_code` (1 exited, 2 killed, 3 dumped; 0 not ended).
    pub exit_code: i32,
    /// `ExecMainStatus`: exit status or signal number, by `exit_code`.
    pub exit_status: i32,
    /// `MainPID`; 0 when there is none.
    pub main_pid: u32,
    /// `NRestarts`: a hint only, systemd resets it on many occasions.
    pub n_restarts: u32,
    /// `OOMPolicy=kill`: for want of memory the kernel kills all its processes at once.
    #[serde(skip)]
    pub dies_whole: bool,
}

/// Properties that only a change of the unit file changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Details {
    /// `Restart=`, such as `no` or `on-failure`.
    pub restart: Arc<str>,
    /// `Type=`, such as `simple` or `oneshot`; empty for what is not a service.
    pub kind: Arc<str>,
    /// `TriggeredBy` is not empty: a timer, socket or path starts it.
    pub triggered: bool,
    /// What it cannot do without: `Requires`, `Requisite`, `BindsTo` and `PartOf`, mounts included,
    /// the nearest first and sorted within each step, without slices, targets and what every service
    /// requires.
    pub requires: Vec<Arc<str>>,
}

/// What happened to a unit, as the journal tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The unit.
    pub unit: Arc<str>,
    /// The run it is about: for [`LifeWhat::RestartScheduled`] the one that ended.
    pub invocation: Invocation,
    /// When it was logged.
    pub at: Wall,
    /// The boot of the host in which it was logged, written as in `/proc/sys/kernel/random/boot_id`:
    /// a reboot ends all runs, and the starts after it are no restarts.
    pub boot_id: Arc<str>,
    /// What happened.
    pub what: LifeWhat,
}

/// Kinds of [`Life`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifeWhat {
    /// A new run began.
    Started,
    /// A run ended badly ("Failed with result").
    Failed,
    /// systemd's `Restart=` scheduled a restart after the run.
    RestartScheduled,
    /// A stop job began to end the run.
    Stopping,
}

/// systemd itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ManagerSeen {
    /// Between `Reloading(true)` and `Reloading(false)`.
    pub reloading: bool,
    /// A shutdown, reboot or kexec has begun.
    pub stopping: bool,
    /// The host is still booting.
    pub starting: bool,
    /// The host goes to sleep, or is asleep.
    pub sleeping: bool,
}

/// One sampling of the host. `None` is "the kernel does not say".
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostSeen {
    /// Total memory and `MemAvailable`, in bytes.
    pub memory: Option<Amount>,
    /// Total and free swap, in bytes; `None` also where there is no swap.
    pub swap: Option<Amount>,
    /// Part of all processor time in use since the last sampling, 0 to 1.
    pub cpu: Option<f64>,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Processors online.
    pub cpus: u32,
    /// Pressure per resource.
    pub pressure: Vec<PressureSeen>,
    /// `oom_kill` of `/proc/vmstat`: processes killed for want of memory since boot.
    pub oom_kills: Option<u64>,
    /// Seconds since boot.
    pub uptime: Option<f64>,
    /// What keepwell itself uses.
    pub own: Option<OwnSeen>,
}

/// What keepwell's own process uses.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OwnSeen {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Processor time since the start, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Open file descriptors.
    pub open_files: Option<u64>,
}

/// An amount in bytes (or inodes) of which a part is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// All there is.
    pub total: u64,
    /// What is left to use.
    pub available: u64,
}

impl Amount {
    /// The part in use, 0 to 1.
    pub fn used_ratio(self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            1.0 - self.available.min(self.total) as f64 / self.total as f64
        }
    }
}

/// One file of `/proc/pressure`.
#[derive(Debug, Clone, PartialEq)]
pub struct PressureSeen {
    /// `cpu`, `memory` or `io`.
    pub resource: &'static str,
    /// Part of the last 60 s in which some task waited, 0 to 1.
    pub some: f64,
    /// Part of the last 60 s in which all tasks waited, 0 to 1, where the kernel says.
    pub full: Option<f64>,
}

/// One file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSeen {
    /// Where it is mounted.
    pub mount: Arc<str>,
    /// Its source, such as `/dev/sda1`.
    pub device: Arc<str>,
    /// Its type, such as `ext4`.
    pub fstype: Arc<str>,
    /// Mounted read-only, or turned so by the kernel.
    pub read_only: bool,
    /// What statvfs said.
    pub usage: DiskUsage,
}

/// What statvfs said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskUsage {
    /// Space in bytes and inodes (`None` where the file system counts none). Space reserved for
    /// root counts as neither total nor available, as in `df`.
    Known {
        /// Bytes.
        space: Amount,
        /// Inodes.
        inodes: Option<Amount>,
    },
    /// No answer within the time limit.
    Hangs,
    /// An error, with the system's words.
    Error(String),
}

/// One heartbeat file, or a pattern that no file matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatSeen {
    /// The file, or the pattern when nothing matches it.
    pub path: Arc<str>,
    /// Index into [`super::Rules::heartbeats`].
    pub rule: usize,
    /// What was found.
    pub state: HeartbeatState,
}

/// What was found where a heartbeat should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeartbeatState {
    /// There, with its time of last change.
    Present(Wall),
    /// Not there.
    Missing,
    /// keepwell may not look: what refused, and the remedy.
    NoPermission(String),
    /// Another error, with the system's words.
    Error(String),
}

/// What one probe found.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeSeen {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What it found.
    pub finding: Finding,
    /// How long that took.
    pub took: Duration,
}

/// What a probe found, in the words of its kind. How bad that is the rules say.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Whether that is as it should be.
    pub outcome: ProbeOutcome,
    /// Why.
    pub reason: Reason,
    /// One line for people, secrets removed.
    pub summary: String,
    /// What was measured; names as in [`Value`].
    pub values: Vec<Value>,
}

/// Whether what a probe found is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// It is.
    Good,
    /// It is not.
    Bad,
    /// The probe could not look.
    Unclear,
}

/// Errors that a unit logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorsSeen {
    /// The unit.
    pub unit: Arc<str>,
    /// How many since the last observation.
    pub count: u32,
    /// The last of them, secrets removed, at most 20.
    pub lines: Vec<String>,
    /// The journal cursor up to which this has been read.
    pub cursor: Option<String>,
}

/// The last journal lines of one invocation of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The unit.
    pub unit: Arc<str>,
    /// Of which run; `None`: of the unit's last lines whatever the run.
    pub invocation: Option<Invocation>,
    /// The lines, secrets removed, oldest first. Empty when they could not be read.
    pub lines: Vec<String>,
}

/// How one of keepwell's own parts is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSeen {
    /// Which.
    pub part: Part,
    /// How.
    pub state: PartState,
}

/// keepwell's own parts. Each becomes a check `agent:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The system bus and systemd behind it.
    Bus,
    /// Reading the journal.
    Journal,
    /// The database.
    Database,
    /// `state.json`.
    StateFile,
    /// A container engine, by the name of its endpoint.
    Engine(Arc<str>),
    /// A hook, by name.
    Hook(Arc<str>),
    /// A notification channel, by name.
    Channel(Arc<str>),
    /// An exporter of measurements, by name.
    Exporter(Arc<str>),
    /// A source, by name.
    Source(SourceKind),
    /// The configuration that a reload refused.
    Configuration,
}

impl Part {
    /// The second half of its check's id: `bus`, `channel-ops`...
    pub fn name(&self) -> Arc<str> {
        match self {
            Self::Bus => "bus".into(),
            Self::Journal => "journal".into(),
            Self::Database => "database".into(),
            Self::StateFile => "state-file".into(),
            Self::Configuration => "configuration".into(),
            Self::Engine(name) => format!("engine-{name}").into(),
            Self::Hook(name) => format!("hook-{name}").into(),
            Self::Channel(name) => format!("channel-{name}").into(),
            Self::Exporter(name) => format!("exporter-{name}").into(),
            Self::Source(SourceKind::Units) => "source-units".into(),
            Self::Source(SourceKind::Host) => "source-host".into(),
            Self::Source(SourceKind::Heartbeats) => "source-heartbeats".into(),
            Self::Source(SourceKind::Probes) => "source-probes".into(),
            Self::Source(SourceKind::Containers) => "source-containers".into(),
            Self::Source(SourceKind::Journal) => "source-journal".into(),
        }
    }
}

/// How a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartState {
    /// It works.
    Works,
    /// It does not: what, why and what to do about it, in one line.
    Broken(String),
    /// This host does not have it (no systemd): nothing to repair.
    Absent(String),
}
