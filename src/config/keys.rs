//! Every key of the configuration, once: its type, default, example and meaning. The schema,
//! `config show`, the merging of documents and the tables of `docs/configuration.md` come from it;
//! a test keeps it true to what the readers ask for. The keys of a channel kind are the kind's own.

mod containers;
mod export;
mod hooks;
mod tell;
mod watch;

use containers::{CONTAINER, CONTAINERS};
use export::{AZURE, OTLP, TELEMETRY};
use hooks::HOOK;
use tell::{ALERTS, CHANNEL, ESCALATION, MAINTENANCE, OUTBOUND, REPORT, ROUTE};
use watch::{BACKOFF, CRASH_LOOP, HEARTBEAT, HOST, PROBE, UNIT, UNITS};

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number from, to.
    Integer(i64, i64),
    /// A number.
    Number,
    /// `"30s"`.
    Duration,
    /// `"80%"` or `0.8`, or `false`.
    Level,
    /// `"64MiB"`.
    Size,
    /// A text.
    Text,
    /// An address that is no secret but for what is asked behind its `?`.
    Address,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of texts.
    TextList,
    /// A text, a whole number, or a list of those.
    Identifiers,
    /// A table of texts with free keys.
    TextMap,
    /// A table of secrets with free keys.
    SecretMap,
    /// A text, `{ credential = … }`, `{ env = … }` or `{ file = … }`.
    Secret,
    /// An address with a port, a list of those, or `false`.
    Listen,
    /// A number of attempts, or `false`.
    Attempts,
    /// A duration, or `false`.
    DurationOrOff,
    /// A secret, or `false`.
    SecretOrOff,
    /// A table with these keys.
    Table(&'static [Key]),
    /// A table with these keys, or `false`.
    Switch(&'static [Key]),
    /// `[[…]]` sections with these keys.
    Sections(&'static [Key]),
    /// `[[…]]` sections with these keys and more.
    OpenSections(&'static [Key]),
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// Its name within its table.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its default as TOML; empty when it has none or takes it from elsewhere.
    pub default: &'static str,
    /// An example as TOML; empty for tables.
    pub example: &'static str,
    /// What it means.
    pub doc: &'static str,
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, kind, default, example, doc }
}

const fn table(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    key(name, kind, "", "", doc)
}

/// The words for a severity that alerts.
pub const SEVERITIES: &[&str] = &["warning", "critical"];

/// The top of the document.
pub const ROOT: &[Key] = &[
    table("agent", Kind::Table(AGENT), "keepwell itself."),
    table("units", Kind::Table(UNITS), "All units of the host."),
    table(
        "restart",
        Kind::Table(BACKOFF),
        "When to restart, for every unit that sets nothing else.",
    ),
    table(
        "crash_loop",
        Kind::Table(CRASH_LOOP),
        "When restarts are too many, for every unit that sets nothing else.",
    ),
    table("unit", Kind::Sections(UNIT), "A unit, or all that a pattern matches."),
    table("host", Kind::Table(HOST), "The host: disks, memory, processors."),
    table(
        "heartbeat",
        Kind::Sections(HEARTBEAT),
        "A file that a program touches while it is well.",
    ),
    table(
        "probe",
        Kind::OpenSections(PROBE),
        "Something that is asked at an interval; the type has more keys.",
    ),
    table("containers", Kind::Table(CONTAINERS), "Containers of Docker and Podman."),
    table(
        "container",
        Kind::Sections(CONTAINER),
        "A container, or all that fit; all that is said of which must fit.",
    ),
    table(
        "hook",
        Kind::OpenSections(HOOK),
        "A service that is told of the life of containers; the type has more keys.",
    ),
    table("alerts", Kind::Table(ALERTS), "How alerts are told."),
    table(
        "escalation",
        Kind::Sections(ESCALATION),
        "Further people who are told of what nobody acknowledges.",
    ),
    table("report", Kind::Table(REPORT), "The report of everything; off unless it says when."),
    table(
        "route",
        Kind::Sections(ROUTE),
        "Who is told of what; the first that fits counts. Without routes all channels are told.",
    ),
    table("maintenance", Kind::Sections(MAINTENANCE), "Recurring times without messages."),
    table("http", Kind::Table(HTTP), "The HTTP server."),
    table("journal", Kind::Table(JOURNAL), "The journal."),
    table("store", Kind::Table(STORE), "What is kept on disk."),
    table("telemetry", Kind::Table(TELEMETRY), "What is sent to collectors, and as whom."),
    table("otlp", Kind::Table(OTLP), "Sending by OTLP, over HTTP."),
    table("azure", Kind::Table(AZURE), "Sending to Azure Monitor."),
    table("outbound", Kind::Table(OUTBOUND), "How all that is sent reaches the network."),
    table("channel", Kind::OpenSections(CHANNEL), "Somebody who is told; the type has more keys."),
];

const AGENT: &[Key] = &[
    key(
        "interval",
        Kind::Duration,
        "\"30s\"",
        "\"10s\"",
        "How often the host is measured, 1s to 1h. Units are seen by event, at once.",
    ),
    key(
        "hostname",
        Kind::Text,
        "",
        "\"web-1\"",
        "The host's name in messages and metrics; the host's own by default.",
    ),
    key(
        "labels",
        Kind::TextMap,
        "{}",
        "{ env = \"prod\" }",
        "On every alert and message, and on the metric `keepwell_host_info`; names have letters, digits and `_`.",
    ),
    key(
        "state_dir",
        Kind::Text,
        "",
        "\"/srv/keepwell\"",
        "Where state is kept, an absolute path; see below by default.",
    ),
];

const HTTP: &[Key] = &[
    key(
        "listen",
        Kind::Listen,
        "[\"127.0.0.1:8080\"]",
        "[\"127.0.0.1:8080\", \"[::1]:8080\"]",
        "Where it listens; false for no HTTP at all.",
    ),
    key(
        "token",
        Kind::Secret,
        "",
        "{ credential = \"http-token\" }",
        "Log text and every act need this bearer token; without one they are not served over HTTP.",
    ),
    key(
        "allowed_hosts",
        Kind::TextList,
        "[]",
        "[\"status.example.org\"]",
        "`Host` headers that are accepted besides addresses and the host's own name.",
    ),
];

const JOURNAL: &[Key] = &[key(
    "lines",
    Kind::Integer(0, 200),
    "20",
    "50",
    "How many of its last lines are shown of a unit that failed, 0 to 200.",
)];

const STORE: &[Key] = &[
    key(
        "max_size",
        Kind::Size,
        "\"64MiB\"",
        "\"256MiB\"",
        "How large the database may grow, 1MiB to 1TiB.",
    ),
    key(
        "retention",
        Kind::Duration,
        "\"30d\"",
        "\"90d\"",
        "How long what is over is kept, 1h to 3650d.",
    ),
];

/// Calls `see` with the dotted path of every key, `unit[].backoff.first` for one in a section.
pub fn walk(see: &mut impl FnMut(&str, &Key)) {
    fn down(path: &str, keys: &[Key], see: &mut impl FnMut(&str, &Key)) {
        for key in keys {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{}", key.name);
            see(&path, key);
            match key.kind {
                Kind::Table(keys) | Kind::Switch(keys) => down(&path, keys, see),
                Kind::Sections(keys) | Kind::OpenSections(keys) => {
                    down(&format!("{path}[]"), keys, see);
                }
                _ => {}
            }
        }
    }
    down("", ROOT, see);
}
