//! What a container engine's answers say, read tolerantly: only what is used, and a field that is
//! missing, null or of another type is one that is not known.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::engine::Wall;
use crate::engine::observation::{ContainerSeen, ContainerStatus, Health, HealthSeen, Policy};

use super::{Endpoint, plain};

/// How long the output of a health check and the error of a start may be, in characters.
const TEXT: usize = 500;

/// A field that may be missing, null, or of another type than is documented.
#[derive(Debug, Deserialize)]
#[serde(untagged, bound = "T: DeserializeOwned")]
pub(super) enum Lax<T> {
    Is(T),
    Not(IgnoredAny),
}

impl<T> Default for Lax<T> {
    fn default() -> Self {
        Self::Not(IgnoredAny)
    }
}

impl<T> Lax<T> {
    pub(super) fn get(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Not(_) => None,
        }
    }

    pub(super) fn seen(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Not(_) => None,
        }
    }
}

impl<T: Default> Lax<T> {
    pub(super) fn or_default(self) -> T {
        self.get().unwrap_or_default()
    }
}

/// `GET /version`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Version {
    pub(super) version: Lax<String>,
    pub(super) api_version: Lax<String>,
    #[serde(rename = "MinAPIVersion")]
    pub(super) min_api_version: Lax<String>,
    components: Lax<Vec<Lax<Component>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Component {
    name: Lax<String>,
}

impl Version {
    /// What the head of the answer to a ping says.
    pub(super) fn of_ping(api: &str, podman: bool) -> Self {
        let name = if podman { "Podman Engine" } else { "Engine" };
        let component = Component { name: Lax::Is(name.into()) };
        Self {
            api_version: Lax::Is(api.into()),
            components: Lax::Is(vec![Lax::Is(component)]),
            ..Self::default()
        }
    }

    /// Whether Podman answers.
    pub(super) fn is_podman(&self) -> bool {
        let components = self.components.seen().map(Vec::as_slice).unwrap_or_default();
        let names = components.iter().filter_map(|c| c.seen()?.name.seen());
        names.into_iter().any(|name| name.starts_with("Podman"))
    }
}

/// `GET /info`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct InfoBody {
    #[serde(rename = "NCPU")]
    pub(super) cpus: Lax<u32>,
    pub(super) mem_total: Lax<u64>,
    #[serde(rename = "ID")]
    pub(super) id: Lax<String>,
    pub(super) name: Lax<String>,
    pub(super) docker_root_dir: Lax<String>,
    pub(super) system_time: Lax<String>,
}

/// One of `GET /containers/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Listed {
    pub(super) id: Lax<String>,
}

/// `GET /containers/{id}/json`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Inspected {
    id: Lax<String>,
    name: Lax<String>,
    created: Lax<String>,
    restart_count: Lax<u32>,
    state: Lax<State>,
    config: Lax<Configuration>,
    host_config: Lax<HostConfig>,
    network_settings: Lax<Network>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    status: Lax<String>,
    #[serde(rename = "OOMKilled")]
    oom_killed: Lax<bool>,
    pid: Lax<u32>,
    exit_code: Lax<i64>,
    error: Lax<String>,
    started_at: Lax<String>,
    finished_at: Lax<String>,
    health: Lax<HealthState>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HealthState {
    status: Lax<String>,
    failing_streak: Lax<u32>,
    log: Lax<Vec<Lax<HealthLog>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HealthLog {
    output: Lax<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Configuration {
    image: Lax<String>,
    tty: Lax<bool>,
    labels: Lax<BTreeMap<String, Lax<String>>>,
    stop_signal: Lax<String>,
    stop_timeout: Lax<u32>,
    exposed_ports: Lax<BTreeMap<String, IgnoredAny>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: Lax<String>,
    restart_policy: Lax<RestartPolicy>,
    memory: Lax<u64>,
    nano_cpus: Lax<u64>,
    cpu_quota: Lax<u64>,
    cpu_period: Lax<u64>,
    port_bindings: Lax<Ports>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RestartPolicy {
    name: Lax<String>,
    maximum_retry_count: Lax<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    ports: Lax<Ports>,
}

/// By `80/tcp`.
type Ports = BTreeMap<String, Lax<Vec<Lax<Binding>>>>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Binding {
    host_port: Lax<String>,
}

impl Inspected {
    /// Its output is a terminal's: one stream without frames.
    pub fn tty(&self) -> bool {
        self.config.seen().and_then(|c| c.tty.seen()).copied().unwrap_or_default()
    }

    /// It uses the network of the host, or of another container.
    pub fn shares_network(&self) -> bool {
        let mode = self.host_config.seen().and_then(|host| host.network_mode.seen());
        mode.is_some_and(|mode| {
            mode == "host" || mode.starts_with("container:") || mode.starts_with("ns:")
        })
    }

    /// How long it has to stop before it is killed, in seconds, where it has its own.
    pub fn stop_timeout(&self) -> Option<u32> {
        self.config.seen()?.stop_timeout.seen().copied()
    }

    /// As the engine is told of it. `blank` takes secrets out of what programs printed. `None`
    /// when it has no id that can be one, or no name.
    pub fn seen(
        self,
        endpoint: &Endpoint,
        blank: fn(&str) -> Cow<'_, str>,
    ) -> Option<ContainerSeen> {
        let id = self.id.get().filter(|id| plain::is_id(id))?;
        let name = self.name.get()?;
        let name = plain::name(name.strip_prefix('/').unwrap_or(&name), &id);
        if name.is_empty() {
            return None;
        }
        let state = self.state.or_default();
        let config = self.config.or_default();
        let host = self.host_config.or_default();
        let ports = self.network_settings.or_default().ports.or_default();
        let port = published(ports)
            .or_else(|| published(host.port_bindings.or_default()))
            .or_else(|| exposed(&config.exposed_ports.or_default()));
        let labels = config.labels.or_default();
        let network = host.network_mode.or_default();
        let quota = host.cpu_quota.get().filter(|quota| *quota > 0).map(|quota| {
            quota as f64 / host.cpu_period.get().filter(|p| *p > 0).unwrap_or(100_000) as f64
        });
        let nanos = host.nano_cpus.get().filter(|nanos| *nanos > 0).map(|n| n as f64 / 1e9);
        Some(ContainerSeen {
            silent_stops: false,
            command: "".into(),
            name: endpoint.named(name),
            engine: endpoint.name.clone(),
            id: id.into(),
            image: plain::short(&config.image.or_default()).into(),
            status: ContainerStatus::from_api(state.status.or_default().as_str()),
            health: state.health.get().and_then(|health| health.seen(blank)),
            created: self.created.get().and_then(|t| time(&t)).unwrap_or_default(),
            started: state.started_at.get().and_then(|t| time(&t)),
            finished: state.finished_at.get().and_then(|t| time(&t)),
            // The kernel's own width; an engine may write it without a sign.
            exit_code: state.exit_code.or_default() as i32,
            oom_killed: state.oom_killed.or_default(),
            error: text(&state.error.or_default(), blank),
            restart_count: self.restart_count.or_default(),
            policy: host.restart_policy.or_default().policy(),
            stop_signal: config.stop_signal.get().and_then(|s| signal(&s)).unwrap_or(15),
            network_of: network.strip_prefix("container:").map(|of| plain::short(of).into()),
            pid: state.pid.or_default(),
            labels: Arc::new(plain::labels(
                labels.into_iter().map(|(key, value)| (key, value.or_default())).collect(),
            )),
            port,
            cpu_limit: nanos.or(quota),
            memory_limit: host.memory.get().filter(|memory| *memory > 0),
        })
    }
}

impl HealthState {
    /// Podman says "" of a container without a check; Docker may say "none".
    fn seen(self, blank: fn(&str) -> Cow<'_, str>) -> Option<HealthSeen> {
        let status = health(&self.status.get()?)?;
        let last = self.log.or_default().pop().unwrap_or_default().or_default();
        let output = text(&last.output.or_default(), blank);
        Some(HealthSeen { status, failing: self.failing_streak.or_default(), output })
    }
}

impl RestartPolicy {
    fn policy(self) -> Policy {
        match self.name.or_default().as_str() {
            "on-failure" => Policy::OnFailure(self.maximum_retry_count.or_default()),
            "always" => Policy::Always,
            "unless-stopped" => Policy::UnlessStopped,
            _ => Policy::No,
        }
    }
}

/// The word of a health check.
pub(super) fn health(word: &str) -> Option<Health> {
    Health::ALL.iter().copied().find(|health| health.as_str() == word)
}

/// Without secrets, and short.
fn text(raw: &str, blank: fn(&str) -> Cow<'_, str>) -> Arc<str> {
    // More than is shown, so that a secret at the end is seen whole.
    let end = raw.floor_char_boundary(raw.len().min(8 * TEXT));
    let blanked = blank(raw[..end].trim());
    blanked.chars().take(TEXT).collect::<String>().into()
}

/// The number in `80/tcp`; TCP before others of the same number.
fn number(key: &str) -> Option<(u16, bool)> {
    let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    Some((port.parse().ok()?, protocol != "tcp"))
}

/// The host's port of the lowest published one.
fn published(ports: Ports) -> Option<u16> {
    let all = ports.into_iter().filter_map(|(key, bindings)| {
        let host = bindings.or_default().into_iter().find_map(|binding| {
            let port: u16 = binding.or_default().host_port.get()?.parse().ok()?;
            (port != 0).then_some(port)
        });
        Some((number(&key)?, host?))
    });
    all.min().map(|(_, host)| host)
}

fn exposed(ports: &BTreeMap<String, IgnoredAny>) -> Option<u16> {
    ports.keys().filter_map(|key| number(key)).min().map(|(port, _)| port)
}

/// A time of the API; `None` also for its zero, the year 1.
pub(super) fn time(text: &str) -> Option<Wall> {
    let at: jiff::Timestamp = text.parse().ok()?;
    // Cut, as the engine's events are: whole nanoseconds would round up.
    let micros = at.as_nanosecond().div_euclid(1000);
    i64::try_from(micros).ok().filter(|micros| *micros > 0).map(Wall)
}

/// The time in the head of an answer, in whole seconds.
pub(super) fn date(text: &str) -> Option<Wall> {
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Wall(at.as_microsecond()))
}

/// A signal by number or name: `15`, `TERM`, `SIGTERM`, `SIGRTMIN+3`.
pub(super) fn signal(text: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 20] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("TRAP", 5),
        ("ABRT", 6),
        ("BUS", 7),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("CHLD", 17),
        ("CONT", 18),
        ("STOP", 19),
        ("WINCH", 28),
        ("PWR", 30),
    ];
    if let Ok(number) = text.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let realtime = |prefix: &str, base: i32| {
        let rest = name.strip_prefix(prefix)?;
        let offset: i32 = if rest.is_empty() { 0 } else { rest.parse().ok()? };
        Some(base + offset).filter(|number| (34..=64).contains(number))
    };
    let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    known.or_else(|| realtime("RTMIN", 34)).or_else(|| realtime("RTMAX", 64))
}
