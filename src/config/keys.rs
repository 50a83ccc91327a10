//! Every key of the configuration, once: its type, default, example and meaning. The schema,
//! `config show`, the merging of documents and the test of `docs/configuration.md` use this table;
//! a test keeps it true to what the readers ask for. The keys of a channel kind are the kind's own.

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
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of texts.
    TextList,
    /// A table of texts with free keys.
    TextMap,
    /// A text, `{ credential = … }`, `{ env = … }` or `{ file = … }`.
    Secret,
    /// An address with a port, a list of those, or `false`.
    Listen,
    /// A number of attempts, or `false`.
    Attempts,
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
    table("alerts", Kind::Table(ALERTS), "Alerts."),
    table("http", Kind::Table(HTTP), "The HTTP server."),
    table("journal", Kind::Table(JOURNAL), "The journal."),
    table("store", Kind::Table(STORE), "What is kept on disk."),
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
        "The host's name in messages and metrics; its own name by default.",
    ),
    key("labels", Kind::TextMap, "{}", "{ env = \"prod\" }", "On every metric, alert and message."),
    key("state_dir", Kind::Text, "", "\"/srv/keepwell\"", "Where state is kept, an absolute path."),
];

const UNITS: &[Key] = &[
    key(
        "all",
        Kind::Bool,
        "true",
        "false",
        "Report every unit that fails, also those that nobody named.",
    ),
    key(
        "ignore",
        Kind::TextList,
        "[]",
        "[\"user@*.service\"]",
        "Units or patterns that `all` leaves out.",
    ),
];

const BACKOFF: &[Key] = &[
    key(
        "first",
        Kind::Duration,
        "\"10s\"",
        "\"5s\"",
        "The wait before the first restart, at least 100ms.",
    ),
    key("factor", Kind::Number, "2", "1.5", "How much longer each next wait is, 1 to 100."),
    key("max", Kind::Duration, "\"5m\"", "\"10m\"", "The longest wait, at most 1d."),
    key(
        "stable",
        Kind::Duration,
        "\"10m\"",
        "\"30m\"",
        "Up for this long, and the waits start afresh.",
    ),
    key(
        "verify",
        Kind::Duration,
        "\"5s\"",
        "\"10s\"",
        "Up for this long, and a restart counts as done.",
    ),
    key(
        "give_up_after",
        Kind::Attempts,
        "false",
        "6",
        "Give up after this many restarts that did not help; false is never.",
    ),
];

const CRASH_LOOP: &[Key] = &[
    key("max", Kind::Integer(1, 1000), "5", "3", "Restarts that are still acceptable, 1 to 1000."),
    key(
        "window",
        Kind::Duration,
        "\"1h\"",
        "\"30m\"",
        "The time they are counted over, at least 1s.",
    ),
];

const UNIT: &[Key] = &[
    key(
        "name",
        Kind::Text,
        "",
        "\"nginx.service\"",
        "The unit, or a pattern as systemctl takes it. Required.",
    ),
    key("restart", Kind::Bool, "false", "true", "Restart it when it has failed."),
    key(
        "required",
        Kind::Bool,
        "false",
        "true",
        "It must be running: stopped without a stop job is as bad as failed.",
    ),
    key(
        "severity",
        Kind::OneOf(SEVERITIES),
        "\"critical\"",
        "\"warning\"",
        "How bad it is when it is down.",
    ),
    table(
        "backoff",
        Kind::Table(BACKOFF),
        "As [restart], for this unit; what is not set comes from there.",
    ),
    table(
        "crash_loop",
        Kind::Table(CRASH_LOOP),
        "As [crash_loop], for this unit; what is not set comes from there.",
    ),
    key("errors", Kind::Bool, "true", "false", "Errors in its log are a warning."),
    table("heartbeat", Kind::Table(HEARTBEAT), "A file that the unit touches while it is well."),
];

const HOST: &[Key] = &[
    table("disk", Kind::Switch(DISK), "Space on every file system."),
    table("inodes", Kind::Switch(DISK), "Inodes of every file system."),
    table("memory", Kind::Switch(MEMORY), "Memory in use."),
    table("swap", Kind::Switch(SWAP), "Swap in use."),
    table("cpu", Kind::Switch(CPU), "Processor time in use."),
    table(
        "load",
        Kind::Switch(OFF),
        "5-minute load average per processor; 1.0 is every processor busy.",
    ),
    table(
        "pressure",
        Kind::Switch(PRESSURE),
        "Part of the last 60 s in which some task waited for a resource (PSI).",
    ),
    key(
        "ignore_mounts",
        Kind::TextList,
        "[]",
        "[\"/mnt/*\"]",
        "Mount points or patterns that are not looked at.",
    ),
    key(
        "ignore_types",
        Kind::TextList,
        "[]",
        "[\"nfs4\"]",
        "File system types that are not looked at.",
    ),
];

const fn levels(warning: &'static str, critical: &'static str, lasting: &'static str) -> [Key; 3] {
    [
        key(
            "warning",
            Kind::Level,
            warning,
            "\"70%\"",
            "Over this it is a warning; false is never.",
        ),
        key(
            "critical",
            Kind::Level,
            critical,
            "\"95%\"",
            "Over this it is critical; false is never.",
        ),
        key("for", Kind::Duration, lasting, "\"2m\"", "How long it must be over it."),
    ]
}

const DISK: &[Key] = &levels("\"80%\"", "\"90%\"", "\"0s\"");
const MEMORY: &[Key] = &levels("\"90%\"", "false", "\"1m\"");
const SWAP: &[Key] = &levels("\"80%\"", "\"95%\"", "\"2m\"");
const CPU: &[Key] = &levels("\"95%\"", "false", "\"2m\"");
const OFF: &[Key] = &levels("false", "false", "\"0s\"");

const PRESSURE: &[Key] = &[
    table("cpu", Kind::Switch(OFF), "Waiting for a processor."),
    table("memory", Kind::Switch(OFF), "Waiting for memory."),
    table("io", Kind::Switch(OFF), "Waiting for disks."),
];

const HEARTBEAT: &[Key] = &[
    key(
        "file",
        Kind::Text,
        "",
        "\"/run/app/heartbeat\"",
        "An absolute path or a pattern. Required.",
    ),
    key("max_age", Kind::Duration, "\"5m\"", "\"90s\"", "Older than this is stale, at least 1s."),
    key(
        "severity",
        Kind::OneOf(SEVERITIES),
        "\"warning\"",
        "\"critical\"",
        "How bad it is when it is missing or stale.",
    ),
];

const ALERTS: &[Key] = &[key(
    "cooldown",
    Kind::Duration,
    "\"15m\"",
    "\"1h\"",
    "How long a repeat of the same alert is muted, at most 7d. The end is always told.",
)];

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
        "Log text and every act need this bearer token; without one they are not served.",
    ),
    key(
        "allowed_hosts",
        Kind::TextList,
        "[]",
        "[\"status.example.org\"]",
        "Host headers that are accepted besides addresses and the host's own name.",
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

const CHANNEL: &[Key] = &[
    key("name", Kind::Text, "", "\"ops\"", "Its name: letters, digits, `-`, `_`. Required."),
    key("type", Kind::Text, "", "\"webhook\"", "What kind of channel. Required."),
    key(
        "min_severity",
        Kind::OneOf(SEVERITIES),
        "\"warning\"",
        "\"critical\"",
        "Only alerts that are this bad or worse.",
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
