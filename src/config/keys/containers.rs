//! The keys of containers.

use super::watch::{BACKOFF, CHANNELS, FAILURES, RECOVERY, SUCCESSES};
use super::{Key, Kind, SEVERITIES, key, table};

pub(super) const CONTAINERS: &[Key] = &[
    key("enabled", Kind::Bool, "true", "false", "Look for container engines; false watches none."),
    key(
        "engines",
        Kind::TextList,
        "",
        "[\"unix:///run/docker.sock\", \"tcp://127.0.0.1:2375\"]",
        "Where container engines listen, `unix:///PATH` or `tcp://HOST:PORT`; those whose sockets there are by default.",
    ),
    key(
        "all",
        Kind::Bool,
        "true",
        "false",
        "Report every container that goes down with an error, also those that nobody named.",
    ),
    key(
        "ignore",
        Kind::TextList,
        "[]",
        "[\"ci-*\"]",
        "Names or patterns that `all` leaves out; one with its own [[container]] is watched all the same.",
    ),
    key(
        "labels",
        Kind::Bool,
        "true",
        "false",
        "Labels of a container itself, such as `keepwell.restart`, count.",
    ),
    key(
        "cooldown",
        Kind::Duration,
        "\"5m\"",
        "\"15m\"",
        "How long a repeat of the same alert about a container is muted, at most 7d.",
    ),
    key(
        "for",
        Kind::Duration,
        "\"1m\"",
        "\"10s\"",
        "How long a container must be down to count, at most 1d. An unhealthy one counts at once.",
    ),
    RECOVERY,
    table(
        "backoff",
        Kind::Table(BACKOFF),
        "When to restart a container; the defaults of [restart] by default.",
    ),
    table(
        "restart_loop",
        Kind::Table(RESTART_LOOP),
        "When restarts of a container are too many; see below by default.",
    ),
    table(
        "memory",
        Kind::Switch(MEMORY),
        "Memory in use, as a part of the container's limit, or of the host's memory where it has none.",
    ),
    table(
        "cpu",
        Kind::Switch(CPU),
        "Processor time in use, as a part of the container's limit, or of the host's processors where it has none.",
    ),
];

pub(super) const CONTAINER: &[Key] = &[
    key(
        "name",
        Kind::Text,
        "",
        "\"web\"",
        "By name, or a pattern; of a further engine with its name before it, `podman/web`. At least one of `name`, `image`, `label`, `project` and `service`.",
    ),
    key("image", Kind::Text, "", "\"nginx:*\"", "By image as it was asked for, or a pattern."),
    key(
        "label",
        Kind::TextMap,
        "",
        "{ tier = \"front\" }",
        "By labels; each must be there, with this value or one that fits the pattern.",
    ),
    key("project", Kind::Text, "", "\"shop\"", "By Compose project, or a pattern."),
    key("service", Kind::Text, "", "\"db\"", "By Compose service, or a pattern."),
    key("restart", Kind::Bool, "false", "true", "Restart it when it is down or unhealthy."),
    key(
        "required",
        Kind::Bool,
        "false",
        "true",
        "It must be running: an end without an error is a fault as well, unless a person stopped it.",
    ),
    key(
        "severity",
        Kind::OneOf(SEVERITIES),
        "",
        "\"critical\"",
        "How bad it is when it is down; `warning`, or `critical` when `required`, by default.",
    ),
    key(
        "for",
        Kind::Duration,
        "",
        "\"10s\"",
        "How long it must be down to count, at most 1d; as [containers] by default.",
    ),
    key(
        "recovery",
        Kind::Duration,
        "",
        "\"1m\"",
        "How long it must be well again to be over, at most 1d; as [containers] by default.",
    ),
    table(
        "backoff",
        Kind::Table(BACKOFF),
        "The keys of [containers.backoff] for this container; what is not set comes from there; as [containers] by default.",
    ),
    table(
        "restart_loop",
        Kind::Table(RESTART_LOOP),
        "The keys of [containers.restart_loop] for this container; what is not set comes from there; as [containers] by default.",
    ),
    table(
        "memory",
        Kind::Switch(OWN),
        "The keys of [containers.memory] for this container; what is not set comes from there; as [containers] by default.",
    ),
    table(
        "cpu",
        Kind::Switch(OWN),
        "The keys of [containers.cpu] for this container; what is not set comes from there; as [containers] by default.",
    ),
    CHANNELS,
];

const RESTART_LOOP: &[Key] = &[
    key("max", Kind::Integer(1, 1000), "3", "5", "Restarts that are still acceptable, 1 to 1000."),
    key(
        "window",
        Kind::Duration,
        "\"5m\"",
        "\"1h\"",
        "The time they are counted over, at least 1s.",
    ),
];

const fn levels(
    warning: &'static str,
    lasting: &'static str,
    failures: Key,
    successes: Key,
) -> [Key; 6] {
    [
        key(
            "warning",
            Kind::Level,
            warning,
            "\"80%\"",
            "Over this it is a warning; false is never.",
        ),
        key(
            "critical",
            Kind::Level,
            if warning.is_empty() { "" } else { "false" },
            "\"98%\"",
            "Over this it is critical; above `warning`; false is never.",
        ),
        key(
            "for",
            Kind::Duration,
            lasting,
            "\"5m\"",
            "How long it must be over it to count, at most 1d.",
        ),
        key(
            "recovery",
            Kind::Duration,
            "",
            "\"5m\"",
            "How long it must be well again to be over, at most 1d; as `for` by default.",
        ),
        failures,
        successes,
    ]
}

const MEMORY: &[Key] = &levels("\"90%\"", "\"2m\"", FAILURES, SUCCESSES);
const CPU: &[Key] = &levels("false", "\"2m\"", FAILURES, SUCCESSES);
// What is not set comes from `[containers]`.
const OWN: &[Key] =
    &levels("", "", Key { default: "", ..FAILURES }, Key { default: "", ..SUCCESSES });
