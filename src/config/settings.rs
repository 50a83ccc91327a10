//! The configuration as the other rooms use it: typed and complete.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Rules;
use crate::engine::rules::ChannelRule;

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
    /// How channels reach the network.
    pub outbound: Outbound,
    /// Who is told; the kinds read the rest of each section.
    pub channels: Vec<ChannelSection>,
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFilters {
    /// Mount points or globs.
    pub ignore_mounts: Vec<glob::Pattern>,
    /// File system types.
    pub ignore_types: Vec<String>,
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
