//! The configuration as the other rooms use it: typed and complete.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Rules;
use crate::engine::rules::{ChannelRule, HookRule};

use super::diagnostic::Diagnostics;
use super::secret::Secret;
use super::section::{Section, suggestion};
use super::sink::{Place, Sink};
use super::values::brief;

/// Everything that can be configured, with defaults in place of what was not.
#[derive(Debug, Clone)]
pub struct Config {
    /// keepwell itself.
    pub agent: Agent,
    /// What the engine decides by, with heartbeats (also those of units) and channels.
    pub rules: Rules,
    /// Where each of the rules' heartbeats is named.
    pub heartbeat_places: Vec<Place>,
    /// File systems that are not looked at.
    pub host: HostFilters,
    /// The HTTP server.
    pub http: Http,
    /// The journal.
    pub journal: Journal,
    /// What is kept on disk.
    pub store: Store,
    /// How all that is sent reaches the network.
    pub outbound: Outbound,
    /// What is sent to collectors.
    pub telemetry: Telemetry,
    /// Who is told; the kinds read the rest of each section.
    pub channels: Vec<ChannelSection>,
    /// What is asked; the kinds read the rest of each section.
    pub probes: Vec<ProbeSection>,
    /// Which container engines are watched.
    pub containers: Containers,
    /// Who is told of the life of containers; the kinds read the rest of each section.
    pub hooks: Vec<HookSection>,
    /// The files that were read, in rising weight.
    pub files: Vec<PathBuf>,
    /// What is odd about it.
    pub warnings: Diagnostics,
}

/// `[agent]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// How often the host is measured.
    pub interval: Duration,
    /// Where state is kept, if said; else [`super::Paths`] decides.
    pub state_dir: Option<PathBuf>,
}

/// `[host]`, apart from the thresholds, which are rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFilters {
    /// Where the host's own `/` is: elsewhere in a container.
    pub root: PathBuf,
    /// Mount points or globs.
    pub ignore_mounts: Vec<glob::Pattern>,
    /// File system types.
    pub ignore_types: Vec<String>,
}

impl Default for HostFilters {
    fn default() -> Self {
        Self { root: "/".into(), ignore_mounts: Vec::new(), ignore_types: Vec::new() }
    }
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where it listens; empty for no HTTP at all.
    pub listen: Vec<SocketAddr>,
    /// Needed for log text and every act.
    pub token: Option<Secret>,
    /// Host headers that are accepted besides addresses and the host's own name, in lower case,
    /// without a port.
    pub allowed_hosts: Vec<String>,
}

/// `[journal]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// How many of its last lines are shown of a unit that failed.
    pub lines: usize,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// How large the database may grow, in bytes.
    pub max_size: u64,
    /// How long what is over is kept.
    pub retention: Duration,
}

/// `[outbound]`. Two that say the same are equal, wherever they say it.
#[derive(Debug, Clone, Default)]
pub struct Outbound {
    /// PEM file of certificates that are trusted besides the host's own.
    pub ca: Option<PathBuf>,
    /// The proxy of all channels.
    pub proxy: Proxy,
    /// Where `ca` stands, if it was written.
    pub ca_at: Option<Place>,
    /// Where `proxy` stands, if it was written.
    pub proxy_at: Option<Place>,
}

impl PartialEq for Outbound {
    fn eq(&self, other: &Self) -> bool {
        (&self.ca, &self.proxy) == (&other.ca, &other.proxy)
    }
}

impl Eq for Outbound {}

/// By which proxy HTTP goes out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Proxy {
    /// What the usual variables say (`HTTPS_PROXY`, `NO_PROXY`).
    #[default]
    Usual,
    /// None, whatever the variables say.
    Off,
    /// This one.
    Url(Secret),
}

/// `[telemetry]`, `[otlp]` and `[azure]`.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// How often measurements are sent.
    pub interval: Duration,
    /// `service.name`.
    pub service_name: String,
    /// Further attributes of the resource.
    pub attributes: BTreeMap<String, String>,
    /// Whether the cloud is asked where this host runs.
    pub cloud: Cloud,
    /// How much may wait in memory for one receiver, in bytes.
    pub buffer: u64,
    /// A receiver that takes nothing for so long is a warning.
    pub warn_after: Duration,
    /// By OTLP.
    pub otlp: Otlp,
    /// To Azure Monitor.
    pub azure: Azure,
}

impl Telemetry {
    /// The names of the exporters of measurements that are configured.
    pub fn exporters(&self) -> Vec<Arc<str>> {
        let otlp = self.otlp.metrics.is_some().then(|| "otlp".into());
        let azure = self.azure.connection_string.is_some() && self.azure.metrics;
        otlp.into_iter().chain(azure.then(|| "azure".into())).collect()
    }
}

impl Signal {
    /// `scheme://host:port`; what stands behind it may be a secret.
    pub fn shown(&self) -> &str {
        let host = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url[host..].find(['/', '?', '#']).map_or(self.url.len(), |at| host + at);
        &self.url[..end]
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { headers, timeout, gzip, .. } = self;
        let mut out = f.debug_struct("Signal");
        out.field("url", &self.shown()).field("headers", headers);
        out.field("timeout", timeout).field("gzip", gzip).finish_non_exhaustive()
    }
}

impl fmt::Display for Telemetry {
    /// Where measurements and alerts go; empty when nowhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let azure = self.azure.connection_string.as_ref().map(|_| "Application Insights");
        let all = [
            ("measurements", self.otlp.metrics.as_ref(), azure.filter(|_| self.azure.metrics)),
            ("alerts", self.otlp.logs.as_ref(), azure.filter(|_| self.azure.alerts)),
        ];
        let mut said = false;
        for (what, signal, azure) in all {
            let to: Vec<&str> = signal.map(Signal::shown).into_iter().chain(azure).collect();
            if !to.is_empty() {
                let before = if said { "; " } else { "" };
                write!(f, "{before}{what} to {}", to.join(" and "))?;
                said = true;
            }
        }
        Ok(())
    }
}

/// Whether the cloud's metadata service is asked where this host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Where the vendor of the machine says that it is one of Azure's.
    Auto,
    /// Yes.
    Azure,
    /// No.
    None,
}

/// `[otlp]`
#[derive(Debug, Clone, Default)]
pub struct Otlp {
    /// Where measurements go, if anywhere.
    pub metrics: Option<Signal>,
    /// Where alerts go as log records, if anywhere.
    pub logs: Option<Signal>,
    /// What counters say; by the receiver if not said.
    pub temporality: Option<Temporality>,
    /// Whether histograms are exponential; by the receiver if not said.
    pub exponential: Option<bool>,
    /// How it reaches the network.
    pub outbound: Outbound,
    /// `ca` stands in this section itself.
    pub own_ca: bool,
}

/// What counters say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporality {
    /// All since the start.
    Cumulative,
    /// What was added since they were last sent.
    Delta,
    /// What was added, where that costs no memory; else all since the start.
    LowMemory,
}

/// Where one signal goes by OTLP, and how.
#[derive(Clone)]
pub struct Signal {
    /// The whole URL, to be used as it is.
    pub url: String,
    /// Where it stands.
    pub at: Place,
    /// Headers of each request, and where they stand.
    pub headers: BTreeMap<String, (Secret, Place)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Bodies are compressed.
    pub gzip: bool,
}

/// `[azure]`
#[derive(Debug, Clone)]
pub struct Azure {
    /// Of an Application Insights resource, and where it stands.
    pub connection_string: Option<(Secret, Place)>,
    /// Measurements go there.
    pub metrics: bool,
    /// Alerts go there.
    pub alerts: bool,
    /// As whom OTLP is sent to Azure Monitor.
    pub identity: Identity,
    /// Where the keys stand that are set.
    pub places: BTreeMap<&'static str, Place>,
    /// The client id of the identity.
    pub client_id: Option<String>,
    /// The directory.
    pub tenant_id: Option<String>,
    /// The secret of an application.
    pub client_secret: Option<Secret>,
    /// The token of a workload identity.
    pub token_file: Option<PathBuf>,
    /// Who gives tokens, without a slash at the end.
    pub authority: String,
    /// The metadata service of the machine, without a slash at the end.
    pub metadata: String,
    /// How long one request may take.
    pub timeout: Duration,
    /// How it reaches the network.
    pub outbound: Outbound,
    /// `ca` stands in this section itself.
    pub own_ca: bool,
}

impl Azure {
    /// Where the first of these keys stands that is set.
    pub fn place_of(&self, keys: &[&str]) -> Option<Place> {
        keys.iter().find_map(|key| self.places.get(key).copied())
    }
}

/// As whom OTLP is sent to Azure Monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// What is set, else the identity of the machine; only for endpoints of Azure Monitor.
    Auto,
    /// The identity of the machine.
    Managed,
    /// A token in a file that is exchanged for one of the directory.
    Workload,
    /// An application with a secret.
    ClientSecret,
    /// Nobody: no token is sent.
    None,
}

/// One `[[channel]]`. Its kind reads `section`, from which the keys of every channel are taken out.
#[derive(Debug, Clone)]
pub struct ChannelSection {
    /// Unique among channels.
    pub name: Arc<str>,
    /// The word after `type =`.
    pub kind: String,
    /// What every channel can say, as the engine needs it.
    pub rule: ChannelRule,
    /// The keys of the kind.
    pub section: Section,
    /// Where the type stands.
    pub(super) kind_at: Place,
}

impl ChannelSection {
    /// Reports that no kind of this name exists; `known` are those that do.
    pub fn unknown_kind(&self, known: &[&str], sink: &mut Sink) {
        let message = format!("there is no channel type \"{}\"", brief(&self.kind));
        let hint = suggestion(&self.kind, known).replace("it takes", "types:");
        sink.error(self.kind_at, message).hint(hint);
    }
}

/// One `[[probe]]`. Its kind reads `section`, from which the keys of every probe are taken out.
#[derive(Debug, Clone)]
pub struct ProbeSection {
    /// Unique among probes.
    pub name: Arc<str>,
    /// The word after `type =`.
    pub kind: String,
    /// How often it looks; by its kind if not said.
    pub interval: Option<Duration>,
    /// How long one look may take.
    pub timeout: Duration,
    /// The keys of the kind.
    pub section: Section,
    /// Where the type stands.
    pub(super) kind_at: Place,
}

impl ProbeSection {
    /// Reports that no kind of this name exists; `known` are those that do.
    pub fn unknown_kind(&self, known: &[&str], sink: &mut Sink) {
        let message = format!("there is no probe type \"{}\"", brief(&self.kind));
        let hint = suggestion(&self.kind, known).replace("it takes", "types:");
        sink.error(self.kind_at, message).hint(hint);
    }
}

/// `[containers]`, apart from what is a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Containers {
    /// No container engine is looked for at all.
    pub off: bool,
    /// The engines that were named; `None`: those whose sockets there are.
    pub engines: Option<Vec<EngineAddress>>,
}

/// A container engine that was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineAddress {
    /// Unique, such as `docker` or `podman`.
    pub name: Arc<str>,
    /// `unix:///PATH` or `tcp://HOST:PORT`, checked to be one of them.
    pub url: String,
    /// Where it stands.
    pub at: Place,
}

/// One `[[hook]]`. Its kind reads `section`, from which the keys of every hook are taken out.
#[derive(Debug, Clone)]
pub struct HookSection {
    /// Unique among hooks.
    pub name: Arc<str>,
    /// The word after `type =`.
    pub kind: String,
    /// What every hook can say, as the engine needs it; where no events are said it is empty, and
    /// the kind says which.
    pub rule: HookRule,
    /// The keys of the kind.
    pub section: Section,
    /// Where the type stands.
    pub(super) kind_at: Place,
    /// Where the events stand, if they were said.
    pub(crate) events_at: Option<Place>,
}

impl HookSection {
    /// Reports that no kind of this name exists; `known` are those that do.
    pub fn unknown_kind(&self, known: &[&str], sink: &mut Sink) {
        let message = format!("there is no hook type \"{}\"", brief(&self.kind));
        let hint = suggestion(&self.kind, known).replace("it takes", "types:");
        sink.error(self.kind_at, message).hint(hint);
    }
}
