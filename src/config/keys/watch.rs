//! The keys of what is watched: units, restarts, the host, heartbeats, probes.

use super::{Key, Kind, SEVERITIES, key, table};

pub(super) const UNITS: &[Key] = &[
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
        "Units or patterns that `all` leaves out; one with its own [[unit]] is watched all the same.",
    ),
];

pub(super) const BACKOFF: &[Key] = &[
    key(
        "first",
        Kind::Duration,
        "\"10s\"",
        "\"5s\"",
        "The wait before the first restart, at least 100ms.",
    ),
    key("factor", Kind::Number, "2", "1.5", "How much longer each next wait is, 1 to 100."),
    key(
        "max",
        Kind::Duration,
        "\"5m\"",
        "\"10m\"",
        "The longest wait, at most 1d; not shorter than `first`.",
    ),
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
        "Up for this long, and a restart counts as done; not longer than `stable`.",
    ),
    key(
        "give_up_after",
        Kind::Attempts,
        "false",
        "6",
        "Give up after this many restarts that did not help; false is never.",
    ),
];

pub(super) const CRASH_LOOP: &[Key] = &[
    key("max", Kind::Integer(1, 1000), "5", "3", "Restarts that are still acceptable, 1 to 1000."),
    key(
        "window",
        Kind::Duration,
        "\"1h\"",
        "\"30m\"",
        "The time they are counted over, at least 1s.",
    ),
];

pub(super) const UNIT: &[Key] = &[
    key(
        "name",
        Kind::Text,
        "",
        "\"nginx.service\"",
        "As systemctl takes it, a unit or a pattern; without a suffix it is a `.service`; of a template name an instance, or `worker@*`. Required.",
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
        "The keys of [restart] for this unit; what is not set comes from there; as [restart] by default.",
    ),
    table(
        "crash_loop",
        Kind::Table(CRASH_LOOP),
        "The keys of [crash_loop] for this unit; what is not set comes from there; as [crash_loop] by default.",
    ),
    key("errors", Kind::Bool, "true", "false", "Errors in its log are a warning."),
    FOR,
    RECOVERY,
    table(
        "heartbeat",
        Kind::Table(HEARTBEAT),
        "A file that the unit touches while it is well, with the keys of [[heartbeat]].",
    ),
    CHANNELS,
];

pub(super) const HOST: &[Key] = &[
    key(
        "root",
        Kind::Text,
        "\"/\"",
        "\"/host\"",
        "Where the host's own `/` is, an absolute path: elsewhere in a container. File systems mounted at or below it are called by the host's names.",
    ),
    table("disk", Kind::Switch(DISK), "Space in use on each file system."),
    table("inodes", Kind::Switch(DISK), "Inodes in use on each file system."),
    table("memory", Kind::Switch(MEMORY), "Memory that is not available."),
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

const fn levels(warning: &'static str, critical: &'static str, lasting: &'static str) -> [Key; 7] {
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
            "Over this it is critical; above `warning`; false is never.",
        ),
        key(
            "for",
            Kind::Duration,
            lasting,
            "\"2m\"",
            "How long it must be over it to count, at most 1d.",
        ),
        key(
            "recovery",
            Kind::Duration,
            "",
            "\"5m\"",
            "How long it must be well again to be over, at most 1d; as `for` by default.",
        ),
        FAILURES,
        SUCCESSES,
        CHANNELS,
    ]
}

pub(super) const FAILURES: Key = key(
    "failures",
    Kind::Integer(1, 1000),
    "1",
    "3",
    "How many times in a row it must be seen as bad to count.",
);
pub(super) const SUCCESSES: Key = key(
    "successes",
    Kind::Integer(1, 1000),
    "1",
    "2",
    "How many times in a row it must be seen as well to be over.",
);
const FOR: Key =
    key("for", Kind::Duration, "\"0s\"", "\"1m\"", "How long it must be bad to count, at most 1d.");
pub(super) const RECOVERY: Key = key(
    "recovery",
    Kind::Duration,
    "\"0s\"",
    "\"1m\"",
    "How long it must be well again to be over, at most 1d.",
);
pub(super) const CHANNELS: Key = key(
    "channels",
    Kind::TextList,
    "",
    "[\"ops\"]",
    "Who is told of it, a list of channels, as by a [[route]] before all others; `[]` is nobody.",
);

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

pub(super) const HEARTBEAT: &[Key] = &[
    key(
        "file",
        Kind::Text,
        "",
        "\"/run/app/heartbeat\"",
        "Which file, an absolute path or a pattern; a pattern stands for every file that it matches. Required.",
    ),
    key("max_age", Kind::Duration, "\"5m\"", "\"90s\"", "Older than this is stale, at least 1s."),
    key(
        "severity",
        Kind::OneOf(SEVERITIES),
        "\"warning\"",
        "\"critical\"",
        "How bad it is when it is missing or stale.",
    ),
    FOR,
    RECOVERY,
    FAILURES,
    SUCCESSES,
    CHANNELS,
];

/// What `[[probe]]` has whatever its type is.
pub(super) const PROBE: &[Key] = &[
    key("name", Kind::Text, "", "\"site\"", "Its name: letters, digits, `-`, `_`. Required."),
    key("type", Kind::Text, "", "\"git\"", "What kind of probe. Required."),
    key(
        "interval",
        Kind::Duration,
        "",
        "\"10m\"",
        "How often it looks, 10s to 1d; that of its type by default.",
    ),
    key(
        "timeout",
        Kind::Duration,
        "\"30s\"",
        "\"1m\"",
        "How long one look may take, 1s to 10m; not longer than the interval.",
    ),
    key(
        "severity",
        Kind::OneOf(SEVERITIES),
        "\"warning\"",
        "\"critical\"",
        "How bad it is when it finds something wrong.",
    ),
    FOR,
    RECOVERY,
    FAILURES,
    SUCCESSES,
    CHANNELS,
];
