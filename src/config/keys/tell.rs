//! The keys of who is told of what and when: alerts, routes, maintenance, the report, channels.

use super::{Key, Kind, SEVERITIES, key, table};

const CHECKS: Key = key(
    "checks",
    Kind::TextList,
    "",
    "[\"unit:web@*\", \"disk\"]",
    "Only these, a list of checks. All by default.",
);
const LABELS: Key = key(
    "labels",
    Kind::TextMap,
    "",
    "{ env = \"prod\" }",
    "Only on a host whose `agent.labels` have these. Any by default.",
);
const SEVERITY: Key = key(
    "severity",
    Kind::OneOf(SEVERITIES),
    "\"warning\"",
    "\"critical\"",
    "Only alerts that are this bad or worse.",
);
const DAYS: Key = key(
    "days",
    Kind::TextList,
    "",
    "[\"mon-fri\"]",
    "Only on these, `mon` to `sun`, a list of days or ranges of days. Every day by default.",
);
const FROM: Key = key(
    "from",
    Kind::Text,
    "",
    "\"22:00\"",
    "From then on, a time of day; `from` and `to` stand together. The whole day by default.",
);
const TO: Key = key(
    "to",
    Kind::Text,
    "",
    "\"06:00\"",
    "Until then, a time of day; on the next day when it is not after `from`; \"24:00\" is midnight. The whole day by default.",
);
const TIMEZONE: Key = key(
    "timezone",
    Kind::Text,
    "",
    "\"Europe/Berlin\"",
    "The zone of `days`, `from` and `to`, a time zone; the host's own by default.",
);

pub(super) const ALERTS: &[Key] = &[
    key(
        "cooldown",
        Kind::Duration,
        "\"15m\"",
        "\"1h\"",
        "How long a repeat of the same alert is muted, at most 7d. The end is always told.",
    ),
    key(
        "group_wait",
        Kind::Duration,
        "\"1s\"",
        "\"5s\"",
        "What opens within this time goes out as one message, at most 10s.",
    ),
    key(
        "remind",
        Kind::DurationOrOff,
        "\"1d\"",
        "\"4h\"",
        "How often those who know of an open alert are reminded of it while nobody acknowledges it, 1m to 30d; false is never.",
    ),
    table(
        "flapping",
        Kind::Switch(FLAPPING),
        "When an alert that comes and goes stays open instead; false is never.",
    ),
];

const FLAPPING: &[Key] = &[
    key(
        "openings",
        Kind::Integer(2, 1000),
        "4",
        "6",
        "Opened so often within `within` it is flapping, 2 to 1000.",
    ),
    key("within", Kind::Duration, "\"1h\"", "\"30m\"", "The time they are counted over, 1m to 7d."),
    key(
        "calm",
        Kind::Duration,
        "\"15m\"",
        "\"10m\"",
        "How long it must be well to be over, 1s to 1d.",
    ),
];

pub(super) const ESCALATION: &[Key] = &[
    key(
        "after",
        Kind::Duration,
        "",
        "\"15m\"",
        "So long after the alert was told, 1s to 7d. Required.",
    ),
    CHECKS,
    SEVERITY,
    LABELS,
    key(
        "channels",
        Kind::TextList,
        "",
        "[\"ops\"]",
        "Who is told then, a list of channels, at least one. Required.",
    ),
];

pub(super) const ROUTE: &[Key] = &[
    CHECKS,
    SEVERITY,
    LABELS,
    DAYS,
    FROM,
    TO,
    TIMEZONE,
    key(
        "channels",
        Kind::TextList,
        "",
        "[\"ops\"]",
        "Who is told, a list of channels; [] is nobody. Required.",
    ),
    key("continue", Kind::Bool, "false", "true", "Look at the routes after it as well."),
];

pub(super) const MAINTENANCE: &[Key] = &[
    key(
        "name",
        Kind::Text,
        "",
        "\"backup\"",
        "Its name, unique, for messages and status. Required.",
    ),
    CHECKS,
    LABELS,
    DAYS,
    FROM,
    TO,
    TIMEZONE,
];

pub(super) const REPORT: &[Key] = &[
    key(
        "every",
        Kind::DurationOrOff,
        "false",
        "\"6h\"",
        "A report so long after the last, 1m to 31d; false is none.",
    ),
    key(
        "at",
        Kind::TextList,
        "[]",
        "[\"08:00\", \"20:00\"]",
        "At these, a list of times of day, instead of `every`.",
    ),
    key(
        "timezone",
        Kind::Text,
        "",
        "\"Europe/Berlin\"",
        "The zone of `at`, a time zone; the host's own by default.",
    ),
    key(
        "channels",
        Kind::TextList,
        "",
        "[\"ops\"]",
        "Who gets it, a list of channels; every channel that is told of alerts by default.",
    ),
];

pub(super) const OUTBOUND: &[Key] = &[
    key(
        "ca",
        Kind::Text,
        "",
        "\"/etc/ssl/private-ca.pem\"",
        "A PEM file of certificates that are trusted besides the host's own, an absolute path.",
    ),
    key(
        "proxy",
        Kind::SecretOrOff,
        "",
        "\"http://proxy.example.org:3128\"",
        "The HTTP proxy, http:// or https://, perhaps with user and password; false is none. What the usual variables say by default.",
    ),
];

/// What `[[channel]]` has whatever its type is.
pub(super) const CHANNEL: &[Key] = &[
    key(
        "name",
        Kind::Text,
        "",
        "\"ops\"",
        "Its name, unique among channels: letters, digits, `-`, `_`. Required.",
    ),
    key("type", Kind::Text, "", "\"webhook\"", "What kind of channel. Required."),
    key(
        "min_severity",
        Kind::OneOf(&["info", "warning", "critical"]),
        "\"warning\"",
        "\"critical\"",
        "Only what is this bad or worse; `\"info\"` is notices too, such as a unit that somebody stopped.",
    ),
    key("send_resolved", Kind::Bool, "true", "false", "Is told when an alert is over."),
    key(
        "max_per_minute",
        Kind::Integer(1, 60),
        "10",
        "4",
        "At most so many messages a minute; what is more goes out as one summary.",
    ),
    key(
        "digest",
        Kind::Duration,
        "\"0s\"",
        "\"5m\"",
        "What happens within this time goes out as one message, at most 1h; what is critical goes out at once.",
    ),
];
